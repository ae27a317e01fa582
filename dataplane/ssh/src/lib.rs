//! SSH-2 transport and user authentication as sans-IO state machines.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod auth;
pub mod certificate;
pub mod config;
pub mod error;
pub mod extensions;
mod handshake;
pub mod hop;
mod ident;
mod kex;
pub mod key;
pub mod negotiation;
mod packet;
pub mod wire;

pub use config::{Limits, RekeyLimits, TransportConfig};
pub use error::{DisconnectReason, Error, Fault, Misbehaviour};
pub use extensions::Extensions;
pub use handshake::HostKeyProof;
pub use hop::{Env, Event, Hop, HostKeyCheck, Packet, Step, Timestamp};
pub use key::HostKey;
pub use negotiation::{Negotiated, Protection};
pub use packet::SealPoint;
