//! SSH-2 transport and user authentication as sans-IO state machines.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod auth;
pub mod certificate;
pub mod config;
pub mod error;
pub mod extensions;
pub mod hop;
pub mod key;
pub mod negotiation;
pub mod wire;

pub use config::{Limits, RekeyLimits, TransportConfig};
pub use error::{DisconnectReason, Error, Fault, Misbehaviour};
pub use extensions::Extensions;
pub use hop::{Env, Event, Hop, HostKey, HostKeyCheck, Packet, Step, Timestamp};
pub use negotiation::{Negotiated, Protection};
