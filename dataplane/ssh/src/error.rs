//! Errors of the transport, by whose fault they are.

use crate::wire::WireError;

/// Why a hop cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer broke the protocol.
    #[error("peer broke the protocol: {0}")]
    PeerMisbehaved(#[from] Misbehaviour),
    /// Both sides follow the protocol and have nothing in common.
    #[error("no common {what}: ours are {ours}, the peer offers {theirs}")]
    PeerIncompatible {
        /// What could not be agreed upon.
        what: &'static str,
        /// What this side would take, in its order.
        ours: String,
        /// What the peer offers, in its order.
        theirs: String,
    },
    /// The peer's host key was not accepted; the text is for the user.
    #[error("{0}")]
    Rejected(String),
    /// The peer did not get through the handshake and authentication in time.
    #[error("peer was not authenticated within {seconds} s")]
    TooSlow {
        /// The time it had.
        seconds: u64,
    },
    /// An authenticated peer began to exchange keys and did not get to the end.
    #[error("peer began a key exchange and did not finish it within {seconds} s")]
    ExchangeTooSlow {
        /// The time it had.
        seconds: u64,
    },
    /// The caller asked for something that this state does not allow.
    #[error("transport misused: {0}")]
    Misuse(&'static str),
}

/// How the peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// What should be an identification string is none (RFC 4253 §4.2).
    #[error("got {got:?} while expecting an identification beginning with SSH-2.0-")]
    Ident {
        /// The start of the line, made printable.
        got: String,
    },
    /// A line before the keys were exchanged is too long, or there are too many of them.
    #[error("{0}")]
    Greeting(&'static str),
    /// A packet announces a length that no packet has.
    #[error("got a packet of {length} bytes while expecting {expected}")]
    PacketLength {
        /// What the length field says.
        length: u32,
        /// What it may say.
        expected: &'static str,
    },
    /// The padding fills the packet, is shorter than four bytes, or the payload is empty.
    #[error("got padding of {padding} bytes in a packet of {length}")]
    Padding {
        /// What the padding length says.
        padding: u8,
        /// Bytes in the packet.
        length: usize,
    },
    /// A packet's authentication code does not verify.
    #[error("packet {sequence} does not authenticate")]
    Mac {
        /// Its sequence number.
        sequence: u32,
    },
    /// A message that has no place here.
    #[error("got message {got} while expecting {expected}")]
    Unexpected {
        /// The message's number.
        got: u8,
        /// What was awaited.
        expected: &'static str,
    },
    /// A message is not formed as its number demands.
    #[error("malformed {message}: {problem}")]
    Malformed {
        /// The message's name.
        message: &'static str,
        /// What is wrong with it.
        problem: WireError,
    },
    /// The public value in a key exchange is none.
    #[error("unusable public value in the key exchange")]
    KeyAgreement,
    /// The host key is not of the kind that was agreed upon, or did not sign the exchange.
    #[error("host key shown as {expected} does not stand for this exchange: {problem}")]
    HostKey {
        /// The algorithm that was negotiated.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Strict key exchange was agreed upon and the first packet was not KEXINIT.
    #[error("{packets} packets came before KEXINIT although strict key exchange was agreed upon")]
    StrictKex {
        /// How many.
        packets: u64,
    },
    /// More was sent than an unauthenticated peer may send.
    #[error("more than {limit} {unit} before authentication")]
    Budget {
        /// The allowance.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// A direction's keys have sealed as much as is safe and the peer goes on using them.
    #[error("peer did not exchange keys before they were used up")]
    KeysUsedUp,
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer's implementation is broken or hostile.
    Peer,
    /// Somebody has to change a configuration.
    Configuration,
    /// Nobody: this side refuses, as it should.
    Refused,
    /// This program.
    Caller,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Error::PeerMisbehaved(_) | Error::TooSlow { .. } | Error::ExchangeTooSlow { .. } => Fault::Peer,
            Error::PeerIncompatible { .. } => Fault::Configuration,
            Error::Rejected(_) => Fault::Refused,
            Error::Misuse(_) => Fault::Caller,
        }
    }

    /// The code to disconnect with: the one place that maps errors to RFC 4253 §11.1.
    pub fn disconnect_reason(&self) -> DisconnectReason {
        match self {
            Error::PeerMisbehaved(Misbehaviour::Mac { .. }) => DisconnectReason::MacError,
            Error::PeerMisbehaved(Misbehaviour::KeyAgreement | Misbehaviour::HostKey { .. })
            | Error::PeerIncompatible { .. } => DisconnectReason::KeyExchangeFailed,
            Error::PeerMisbehaved(_) => DisconnectReason::ProtocolError,
            Error::Rejected(_) => DisconnectReason::HostKeyNotVerifiable,
            Error::TooSlow { .. } | Error::ExchangeTooSlow { .. } | Error::Misuse(_) => {
                DisconnectReason::ByApplication
            }
        }
    }

    /// Whether the peer ran out of time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::TooSlow { .. })
    }

    pub(crate) fn malformed(message: &'static str) -> impl Fn(WireError) -> Error {
        move |problem| Misbehaviour::Malformed { message, problem }.into()
    }
}

/// Reason codes of `SSH_MSG_DISCONNECT` (RFC 4253 §11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// `SSH_DISCONNECT_HOST_NOT_ALLOWED_TO_CONNECT`
    HostNotAllowed,
    /// `SSH_DISCONNECT_PROTOCOL_ERROR`
    ProtocolError,
    /// `SSH_DISCONNECT_KEY_EXCHANGE_FAILED`
    KeyExchangeFailed,
    /// `SSH_DISCONNECT_MAC_ERROR`
    MacError,
    /// `SSH_DISCONNECT_SERVICE_NOT_AVAILABLE`
    ServiceNotAvailable,
    /// `SSH_DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED`
    VersionNotSupported,
    /// `SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE`
    HostKeyNotVerifiable,
    /// `SSH_DISCONNECT_CONNECTION_LOST`
    ConnectionLost,
    /// `SSH_DISCONNECT_BY_APPLICATION`
    ByApplication,
    /// `SSH_DISCONNECT_TOO_MANY_CONNECTIONS`
    TooManyConnections,
    /// `SSH_DISCONNECT_AUTH_CANCELLED_BY_USER`
    AuthCancelled,
    /// `SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE`
    NoMoreAuthMethods,
    /// `SSH_DISCONNECT_ILLEGAL_USER_NAME`
    IllegalUserName,
    /// A number that this side does not use: passed on as a peer has given it.
    Other(u32),
}

impl DisconnectReason {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::HostNotAllowed => 1,
            Self::ProtocolError => 2,
            Self::KeyExchangeFailed => 3,
            Self::MacError => 5,
            Self::ServiceNotAvailable => 7,
            Self::VersionNotSupported => 8,
            Self::HostKeyNotVerifiable => 9,
            Self::ConnectionLost => 10,
            Self::ByApplication => 11,
            Self::TooManyConnections => 12,
            Self::AuthCancelled => 13,
            Self::NoMoreAuthMethods => 14,
            Self::IllegalUserName => 15,
            Self::Other(code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_fault_and_its_code() {
        let misbehaved = Error::PeerMisbehaved(Misbehaviour::Greeting("x"));
        let incompatible = Error::PeerIncompatible {
            what: "cipher",
            ours: "a".into(),
            theirs: "b".into(),
        };
        for (error, fault, code) in [
            (misbehaved, Fault::Peer, 2),
            (incompatible, Fault::Configuration, 3),
            (Error::TooSlow { seconds: 1 }, Fault::Peer, 11),
            (Error::ExchangeTooSlow { seconds: 1 }, Fault::Peer, 11),
            (Error::Misuse("x"), Fault::Caller, 11),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
            assert_eq!(error.disconnect_reason().code(), code, "{error}");
        }
        assert_eq!(DisconnectReason::Other(4_000_000_000).code(), 4_000_000_000);
    }

    #[test]
    fn incompatible_peers_are_told_apart_with_both_lists() {
        let error = Error::PeerIncompatible {
            what: "cipher",
            ours: "aes128-gcm@openssh.com".into(),
            theirs: "3des-cbc".into(),
        };
        assert_eq!(
            error.to_string(),
            "no common cipher: ours are aes128-gcm@openssh.com, the peer offers 3des-cbc"
        );
        assert_eq!(error.disconnect_reason().code(), 3);
        assert_eq!(error.fault(), Fault::Configuration);
    }
}
