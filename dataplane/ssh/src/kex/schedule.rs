//! From the exchange to the keys (RFC 4253 §7.2).

use weir_crypto::digest::{Digest, HashAlgorithm, Hasher, hash};
use zeroize::{Zeroize, Zeroizing};

use super::Secret;
use crate::negotiation::Protection;
use crate::packet::{DirectionKeys, KeyPurpose};
use crate::wire::Writer;

/// The first exchange hash of a connection.
#[derive(Clone, Copy)]
pub(crate) struct SessionId(Digest);

impl AsRef<[u8]> for SessionId {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// The exchange hash under way.
///
/// What both sides have said so far is hashed as soon as it is known, so that neither KEXINIT needs to be kept.
#[derive(Debug)]
pub(crate) struct ExchangeHash {
    algorithm: HashAlgorithm,
    hasher: Hasher,
}

impl ExchangeHash {
    /// Begins with the identifications and the KEXINIT payloads, client's first.
    pub(crate) fn new(algorithm: HashAlgorithm, idents: [&[u8]; 2], kexinits: [&[u8]; 2]) -> ExchangeHash {
        let mut exchange = ExchangeHash {
            algorithm,
            hasher: Hasher::new(algorithm),
        };
        for string in idents.into_iter().chain(kexinits) {
            exchange.string(string);
        }
        exchange
    }

    /// RFC 5656 §4: ends with K_S, Q_C, Q_S and K.
    pub(crate) fn finish(
        mut self,
        host_key: &[u8],
        client_public: &[u8],
        server_public: &[u8],
        secret: Secret,
    ) -> KeySchedule {
        for string in [host_key, client_public, server_public] {
            self.string(string);
        }
        self.hasher.update(secret.encoded());
        KeySchedule {
            algorithm: self.algorithm,
            secret,
            exchange_hash: self.hasher.finish(),
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a message is shorter than 4 GiB");
        self.hasher.update(&length.to_be_bytes());
        self.hasher.update(bytes);
    }
}

/// What the keys of one exchange are made of.
pub(crate) struct KeySchedule {
    algorithm: HashAlgorithm,
    secret: Secret,
    exchange_hash: Digest,
}

impl KeySchedule {
    /// What the server signs.
    pub(crate) fn exchange_hash(&self) -> &[u8] {
        self.exchange_hash.as_ref()
    }

    /// The session identifier, if this is the first exchange.
    pub(crate) fn session_id(&self) -> SessionId {
        SessionId(self.exchange_hash)
    }

    /// Keys of the direction from client to server.
    pub(crate) fn client_to_server(&self, session: &SessionId, protection: Protection) -> DirectionKeys {
        self.keys(session, protection, [b'A', b'C', b'E'])
    }

    /// Keys of the direction from server to client.
    pub(crate) fn server_to_client(&self, session: &SessionId, protection: Protection) -> DirectionKeys {
        self.keys(session, protection, [b'B', b'D', b'F'])
    }

    fn keys(&self, session: &SessionId, protection: Protection, letters: [u8; 3]) -> DirectionKeys {
        let [vector, cipher, mac] = letters;
        DirectionKeys::new(protection, |purpose, out| {
            let letter = match purpose {
                KeyPurpose::InitialVector => vector,
                KeyPurpose::Cipher => cipher,
                KeyPurpose::Mac => mac,
            };
            self.derive(session, letter, out);
        })
    }

    /// RFC 4253 §7.2: "K1 = HASH(K || H || X || session_id)", "K2 = HASH(K || H || K1)", …
    fn derive(&self, session: &SessionId, letter: u8, out: &mut [u8]) {
        let (secret, exchange) = (self.secret.encoded(), self.exchange_hash.as_ref());
        let mut made = Zeroizing::new(Vec::with_capacity(128));
        let first = Zeroizing::new(hash(
            self.algorithm,
            &[secret, exchange, &[letter], session.as_ref()],
        ));
        made.put_bytes((*first).as_ref());
        while made.len() < out.len() {
            let more = Zeroizing::new(hash(self.algorithm, &[secret, exchange, &made]));
            made.put_bytes((*more).as_ref());
        }
        out.copy_from_slice(&made[..out.len()]);
        made.zeroize();
    }
}
