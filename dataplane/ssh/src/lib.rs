//! SSH-2 transport and user authentication as sans-IO state machines.

#![forbid(unsafe_code)]

pub mod wire;
