//! The certificate authorities: who may be certified as what, and the keys that say so.
//!
//! Weir has three: the *user* authority certifies people to the data plane, the *host* authority certifies hosts to people and
//! to the data plane, and the *OpenSSH* authority certifies one session of a person to one target. Each is an [`Authority`]
//! over a [`Signer`]: a key in memory that is stored encrypted ([`SealedKey`]) today, a PKCS#11 token or a key management
//! service behind the same two functions later.
//!
//! Nothing is read from a clock or drawn from a store here: the moment and the serial number are arguments.

#![forbid(unsafe_code)]

mod authority;
mod sealed;
mod signer;

pub use authority::{
    Authority, CLOCK_SKEW, HostTerms, IssueError, Permission, UPSTREAM_VALIDITY, UPSTREAM_VALIDITY_LIMIT,
    UpstreamTerms, UserTerms,
};
pub use sealed::{KeyEncryptionKey, OpenError, SealedKey};
pub use signer::{KeySigner, Signer, SignerError};
