//! Why a connection cannot go on, by whose fault.

use weir_ssh::wire::WireError;

use crate::Side;

/// A peer broke the connection protocol in a way that cannot be passed on or dropped; both hops
/// are to be disconnected with [`PROTOCOL_ERROR`](https://www.rfc-editor.org/rfc/rfc4253#section-11.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message ends early or holds more than it should.
    #[error("malformed message {message} from the {by}: {source}")]
    Malformed {
        /// Who sent it.
        by: Side,
        /// The message number; 0 for an empty packet.
        message: u8,
        /// What was wrong with it.
        source: WireError,
    },
    /// A channel number that has not been closed by both ends was given to a new channel.
    #[error("the {by} gave number {number} to a new channel while another channel holds it")]
    NumberInUse {
        /// Who did.
        by: Side,
        /// The number.
        number: u32,
    },
    /// The target chose a number that is kept for channels which the proxy opens itself.
    #[error("the target gave number {number:#x} to a channel, which is kept for the proxy's own")]
    NumberReserved {
        /// The number.
        number: u32,
    },
    /// More denied requests wait for earlier replies than is bearable.
    #[error(
        "the {by} has {count} denied requests waiting behind requests that the other side never answered"
    )]
    RepliesOutstanding {
        /// Who asked.
        by: Side,
        /// Denied requests waiting.
        count: usize,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Side {
        match self {
            Error::Malformed { by, .. }
            | Error::NumberInUse { by, .. }
            | Error::RepliesOutstanding { by, .. } => *by,
            Error::NumberReserved { .. } => Side::Target,
        }
    }

    pub(crate) fn malformed(by: Side, payload: &[u8]) -> impl Fn(WireError) -> Error + use<> {
        let message = payload.first().copied().unwrap_or(0);
        move |source| Error::Malformed { by, message, source }
    }
}

/// The relay could not do what its owner asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The channel is unknown, not open yet, or closed toward the client.
    #[error("the channel is not open toward the client")]
    NotOpen,
    /// The client's window has no room for it now.
    #[error("the text does not fit into the client's window")]
    NoRoom,
    /// No further channel fits.
    #[error("too many channels are open")]
    TooMany,
}
