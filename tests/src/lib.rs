//! End-to-end: real OpenSSH clients and servers, bad input, faults.
//!
//! A [`World`] is a directory with everything in it that a login needs: a throwaway `sshd` on
//! loopback, `weir up` in front of it, a user with a signed certificate, and an `ssh_config` in which
//! the host `target` is that `sshd` behind Weir. [`World::direct`] is the same without Weir: a claim
//! about transparency is made against both, so that a claim which real OpenSSH does not keep shows at
//! once as a fault of the test.
//!
//! Three rules keep the suite honest. Nothing outlives its test: each child is tied to its parent and
//! killed by its id. Nothing hangs: whatever is awaited has a limit, and what was typed and seen is
//! printed when it passes. Nothing sleeps to be right: conditions are polled until they hold.
//!
//! What is tested can be chosen by the environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `WEIR_BINARIES` | directory of `weir` and `weir-load`; default: where the test itself was built |
//! | `WEIR_TESTS_IO` | `uring` or `epoll`: Weir must run on it; default: what `weir up` chooses |
//! | `WEIR_TESTS_CONFIG` | lines for Weir's configuration file: `workers = 1` |
//! | `PATH` | another `ssh`, found there first |
//! | `WEIR_TESTS_SSHD` | another `sshd`; default `/usr/sbin/sshd` |
//! | `WEIR_TESTS_SSHD_OPTIONS` | lines for its `sshd_config` |
//! | `WEIR_TESTS_KEEP` | the directory of a world whose test fails is kept |

pub mod authority;
pub mod foreign;
pub mod load;
pub mod memory;
pub mod peer;
pub mod process;
pub mod rsyslog;
pub mod s3;
pub mod screen;
pub mod shelf;
pub mod sshd;
pub mod terminal;
pub mod wait;
pub mod weir;
pub mod wire;
pub mod world;

pub use process::{Job, Outcome, Running};
pub use rsyslog::Rsyslog;
pub use s3::S3;
pub use screen::Screen;
pub use terminal::Terminal;
pub use wait::{eventually, eventually_within};
pub use weir::{Driver, Session, Weir};
pub use world::World;
