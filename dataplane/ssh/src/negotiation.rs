//! What both sides have agreed on.

use crate::algorithm::{CipherAlgorithm, HostKeyAlgorithm, KexAlgorithm, MacAlgorithm};

/// The algorithms of a key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// How the secret is agreed upon.
    pub kex: KexAlgorithm,
    /// How the server proves its identity.
    pub host_key: HostKeyAlgorithm,
    /// What protects packets from the client.
    pub client_to_server: Protection,
    /// What protects packets from the server.
    pub server_to_client: Protection,
    /// Strict key exchange: sequence numbers begin anew with each key.
    pub strict: bool,
}

/// The protection of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Encrypts.
    pub cipher: CipherAlgorithm,
    /// Authenticates, where the cipher does not.
    pub mac: Option<MacAlgorithm>,
}
