//! Client swarms for Weir and for any SSH server: how many sessions a second, how fast each, and what fails.
//!
//! Two kinds of client. [`swarm`] starts the OpenSSH client itself, which is what users run and costs
//! 10 to 20 ms of CPU time each. [`sessions`] and [`idle`] speak SSH with this project's own transport, which
//! costs a tenth of that and so leaves the machine to the server.

pub mod client;
pub mod connection;
pub mod exec;
pub mod idle;
pub mod report;
pub mod sessions;
pub mod swarm;
