//! The one place that names a cryptography library.
//!
//! Everything that Weir encrypts, signs, hashes or agrees on goes through this crate. Behind it stands
//! one of two backends with the same surface, chosen when Weir is built: AWS-LC (feature `aws-lc-rs`,
//! the default) or *ring* (feature `ring`). What a backend lacks comes from crates that implement just
//! that primitive: AES-CTR (`aes`, `ctr`) and Streamlined NTRU Prime (`sntrup`) with both, P-521 and
//! ML-KEM with *ring*.
//!
//! The crate knows primitives, not SSH: wire encodings, key blobs and packet layouts live in `weir-ssh`.
//! The one exception is [`chachapoly`], because that cipher is defined on SSH packets.
//!
//! Failures say nothing about their cause ([`Unauthentic`]), so that no caller can turn one into an oracle.
//! A key of a wrong length is a bug of the caller, not input, and panics with a sentence.

#![forbid(unsafe_code)]

use std::fmt;

use subtle::ConstantTimeEq;

pub mod aes_ctr;
pub mod aes_gcm;
pub mod agreement;
mod backend;
pub mod chacha20poly1305;
pub mod chachapoly;
pub mod digest;
pub mod hmac;
pub mod random;
pub mod sign;

/// A tag or signature does not verify, or a peer's share of a key agreement is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthentic;

impl fmt::Display for Unauthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tag, signature or key share does not verify")
    }
}

impl std::error::Error for Unauthentic {}

/// Compares two byte strings in a time that depends on their lengths alone.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The name of the backend that this build uses, for `--version` and the log.
#[must_use]
pub fn backend_name() -> &'static str {
    backend::NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_time_eq_agrees_with_plain_equality() {
        assert!(constant_time_eq(b"", b""));
        assert!(constant_time_eq(b"weir", b"weir"));
        assert!(!constant_time_eq(b"weir", b"weiR"));
        assert!(!constant_time_eq(b"weir", b"weirs"));
    }
}
