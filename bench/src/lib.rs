//! Criterion benches and the side-by-side comparisons.
//!
//! `benches/` measures parts; the `compare` binary measures Weir as a whole beside what else stands between an
//! OpenSSH client and an `sshd`, all in one run on one machine, because figures of another day compare to nothing.

#![forbid(unsafe_code)]

pub mod compare;
pub mod russh_forwarder;
pub mod uring_relay;
