//! User authentication (RFC 4252) by public key, on both sides.
//!
//! ```text
//! server   AwaitService ──SERVICE_REQUEST──▶ AwaitRequest ──signed request──▶ Done
//!                                             │  ▲
//!                                             └──┘ none, probe, refused request
//! ```
//!
//! The machines above the transport: payloads in, payloads out. Each takes the session identifier of its hop
//! when it is made, so a signature can stand for no other connection. What fails: a message that has no place here,
//! a name that changes between requests, a host key that is not ours and too many failures end the connection with an
//! [`AuthError`]; a request that is refused is a value for the audit log, and the client may try another.

pub mod client;
mod proof;
mod request;
pub mod server;

use crate::error::{DisconnectReason, Fault};
use crate::wire::{WireError, Writer, msg};

pub use proof::{Proof, ProofCheck, ProofError, SignedRequest, verify_proof};
pub use request::{Method, PublicKeyRequest, UserauthRequest};

/// The name of the authentication protocol itself.
const USERAUTH_SERVICE: &str = "ssh-userauth";

/// The only service that is let in.
const CONNECTION_SERVICE: &str = "ssh-connection";

/// RFC 4252 §7.
const PUBLICKEY: &str = "publickey";

/// OpenSSH PROTOCOL §3.1: the signature also covers the host key, so that an agent knows for which host it signs.
const PUBLICKEY_HOSTBOUND: &str = "publickey-hostbound-v00@openssh.com";

/// Longest user name that is read, in bytes: a login of 32, `@`, and a DNS name of 253 fit twice.
pub const MAX_USER_LEN: usize = 600;

/// Payloads to be sealed, in order.
pub type Replies = Vec<Vec<u8>>;

/// A USERAUTH_BANNER, without a language (RFC 4252 §5.4): lines that the client shows its user, each ended by a line feed. A
/// server may send it until it says that authentication was successful.
#[must_use]
pub fn banner(text: &str) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_BANNER];
    payload.put_string(text);
    payload.put_string("");
    payload
}

/// Why authentication cannot go on; the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A message that has no place here.
    #[error("got message {got} while expecting {expected}")]
    Unexpected {
        /// Its number.
        got: u8,
        /// What was awaited.
        expected: &'static str,
    },
    /// A message that is not formed as its number asks.
    #[error("malformed {message}: {problem}")]
    Malformed {
        /// Its name.
        message: &'static str,
        /// What is wrong.
        problem: WireError,
    },
    /// A message without a single byte, or a user name that is too long.
    #[error("{0}")]
    OutOfBounds(&'static str),
    /// RFC 4252 §5: "The 'service name' … or 'user name' MAY change"; sshd refuses that, and so does this.
    #[error("user or service changed from one authentication request to the next")]
    NameChanged,
    /// The request names the host key of some other server: it was made for that one.
    #[error("authentication request is bound to another host key than the one shown")]
    HostKeyMismatch,
    /// The client asked for something else than a login.
    #[error("service {0:?} is not available")]
    ServiceNotAvailable(String),
    /// The client may not try again.
    #[error("too many authentication failures")]
    TooManyFailures {
        /// The last of them, for the audit log.
        last: Option<Box<server::AuthFailure>>,
    },
    /// The private key cannot make what it was asked for.
    #[error("cannot sign: {0}")]
    Signing(String),
}

impl AuthError {
    /// The code to disconnect with (RFC 4253 §11.1).
    pub fn disconnect_reason(&self) -> DisconnectReason {
        match self {
            AuthError::ServiceNotAvailable(_) => DisconnectReason::ServiceNotAvailable,
            // What sshd says; clients know its text by that code.
            AuthError::TooManyFailures { .. } => DisconnectReason::ProtocolError,
            AuthError::Signing(_) => DisconnectReason::ByApplication,
            _ => DisconnectReason::ProtocolError,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            AuthError::TooManyFailures { .. } | AuthError::ServiceNotAvailable(_) => Fault::Refused,
            AuthError::Signing(_) => Fault::Configuration,
            _ => Fault::Peer,
        }
    }

    fn malformed(message: &'static str) -> impl Fn(WireError) -> AuthError {
        move |problem| AuthError::Malformed { message, problem }
    }
}
