//! Two hops become one session: filter, policy hooks, taps.
//!
//! Both hops carry one user's one connection, so the packets of the connection protocol
//! (RFC 4254) pass *as they are*: channel numbers, windows, EOF, CLOSE, requests and their replies
//! are end to end and nothing is buffered here. A [`Relay`] looks at each decrypted payload and
//! says whether it may pass, what has to be sent in its place or beside it, and what the recorder
//! must see.
//!
//! ```text
//!                    payload                         Flow::Forward: the payload, then
//!   hop ──decrypt──▶ Relay::packet ──▶ Flow, Actions ───▶ the packets of Actions ──▶ hops
//!                       │    ▲                       └──▶ tap, events ──▶ recorder
//!                       ▼    │ Decision
//!                     Policy ┘
//! ```
//!
//! What a channel transfers of files is read in passing ([`transfers`]).
//!
//! The crate is pure: no IO, no clock, no allocation for a packet of data. What is typed on a terminal and may be recorded only
//! where it was shown goes through an [`Echo`](echo::Echo).

#![forbid(unsafe_code)]

mod actions;
pub mod echo;
mod error;
mod event;
mod policy;
mod relay;
mod replies;
mod side;
mod table;
pub mod transfers;

pub use actions::{Actions, OwnEvent, Stream, Tap};
pub use error::{Error, Refused};
pub use event::{ChannelId, ChannelKind, Endpoints, SessionEvent, TerminalSize};
pub use policy::{
    AGENT_FORWARDING_DENIED, Ask, Decision, PORT_FORWARDING_DENIED, Policy, Program, Recording,
    X11_FORWARDING_DENIED,
};
pub use relay::{Flow, OpenFailure, OwnChannel, Refusal, Relay, Upstream};
pub use side::Side;
pub use table::CHANNELS_MAX;
