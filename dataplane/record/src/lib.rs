//! The recording format: encode, chain, seal, verify, read, export.
//!
//! `FORMAT.md` beside this crate is the specification; the types here are named as it names them. A recording is an
//! [`Envelope`] with the wrapped session key, then chunks of [events](Event), then an [`End`] that signs the chain.
//!
//! | to | use |
//! |---|---|
//! | write one | [`EventBuffer`] gathers events, [`Chain::seal`] makes chunks of them, [`Links::end`] ends it |
//! | close one that a crash left open | [`Links`], which needs no key |
//! | read one | [`Reader`], then [`export`] |
//! | wrap its key for other recipients | [`Draft`] |
//! | judge one | [`verify`](verify()) |
//!
//! Nothing here reads a clock, opens a file or draws randomness of its own, with one exception: `age` draws the
//! ephemeral keys of each wrapped session key itself, and gives no way to pass a source.
#![forbid(unsafe_code)]

mod chain;
mod chunk;
mod end;
mod envelope;
mod event;
pub mod export;
mod identities;
mod key;
mod note;
mod reader;
mod recipients;
mod rewrap;
mod scrub;
mod source;
mod transfer;
mod verify;
mod wire;

pub use chain::{BrokenChain, Chain, Hash, Links, Packer};
pub use chunk::{
    ChunkHead, EventBuffer, HEAD_LEN, Kind, MAX_CHUNK_LEN, MAX_PLAINTEXT_LEN, MalformedHead,
    TARGET_PLAINTEXT_LEN,
};
pub use end::{END_LEN, End, Signer, Status};
pub use envelope::{Envelope, EnvelopeFault, MAX_ENVELOPE_LEN, Opening};
pub use event::{Entry, Event, EventKind, Fields, ForwardKind, MAX_PAYLOAD_LEN, SessionMeta, Stream};
pub use identities::Identities;
pub use key::{KeyError, SessionKey, Unlock};
pub use note::{MAX_NOTE_LEN, Note};
pub use reader::{ChunkFault, ReadError, Reader};
pub use recipients::Recipients;
pub use rewrap::{Draft, Replacement, ReplacementFault, RewrapError};
pub use transfer::{FileAction, FileOperation, FileOutcome, TransferProtocol, TransferSummary, status_text};
pub use verify::{Fault, Finding, Place, Report, Seals, Trust, verify};
pub use wire::Malformed;
