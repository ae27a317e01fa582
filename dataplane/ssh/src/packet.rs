//! The binary packet protocol (RFC 4253 §6): one opener for what comes, one sealer for what goes.
//!
//! | protection | length field | padded to, with the length field | authentication covers |
//! |---|---|---|---|
//! | none yet | clear | 8, counted | |
//! | AES-GCM (RFC 5647 as OpenSSH has it) | clear | 16, not counted | length, ciphertext |
//! | `chacha20-poly1305@openssh.com` | encrypted apart | 8, not counted | both ciphertexts |
//! | AES-CTR with an etm MAC | clear | 16, not counted | sequence number, length, ciphertext |
//! | AES-CTR with a plain MAC | encrypted with the rest | 16, counted | sequence number, plaintext |
//!
//! Nothing of a packet is looked at before it has authenticated but its length, and that is bounded
//! before it is used. With the plain MAC the length costs the decryption of one block, no more.

mod open;
mod seal;

pub(crate) use open::{Opened, Opener};
pub use seal::SealPoint;
pub(crate) use seal::Sealer;

use weir_crypto::aes_ctr::AesCtr;
use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::chachapoly::ChaChaPoly;
use weir_crypto::hmac::{HmacAlgorithm, HmacKey};
use zeroize::Zeroizing;

use crate::algorithm::{CipherAlgorithm, MacAlgorithm};
use crate::negotiation::Protection;

/// RFC 4253 §4 wants no more than 2^32 packets under a key, because a sequence number must not come again;
/// with ChaCha20 it is the nonce, too.
pub(crate) const PACKETS_PER_KEY: u64 = 1 << 32;

/// Half of [`PACKETS_PER_KEY`]: when to ask for new keys at the latest, as OpenSSH does.
pub(crate) const SAFE_PACKETS: u64 = 1 << 31;

/// RFC 4344 §3.2: with blocks of L bits no more than 2^(L/4) blocks under a key, here 2^32 of 16 bytes. Beyond it
/// nothing is sealed or opened.
pub(crate) const BYTES_PER_KEY: u64 = 1 << 36;

/// Half of [`BYTES_PER_KEY`]: when to ask for new keys at the latest, whatever is configured.
pub(crate) const SAFE_BYTES: u64 = 1 << 35;

/// RFC 4253 §6: "There MUST be at least four bytes of padding."
const MIN_PADDING: usize = 4;

/// Room for the longest padding that this side makes: less than one block more than the minimum.
const MAX_OWN_PADDING: usize = MIN_PADDING + 15;

const LENGTH_LEN: usize = 4;
const AEAD_TAG_LEN: usize = 16;

/// Keys and state of one direction's protection. Boxed is what is larger than what most connections use, AES-GCM.
enum Cipher {
    Clear,
    Gcm {
        key: AesGcm,
        nonce: GcmNonce,
    },
    ChaCha {
        key: Box<ChaChaPoly>,
    },
    Etm {
        cipher: AesCtr,
        mac: HmacKey,
        tag_len: u8,
    },
    Mac {
        cipher: AesCtr,
        mac: HmacKey,
        tag_len: u8,
        first_block: Option<[u8; 16]>,
    },
}

/// The keys of one direction, ready to be put in use.
pub(crate) struct DirectionKeys(Cipher);

impl DirectionKeys {
    /// Makes the keys; `derive` fills a buffer with the initial vector, the key or the MAC key.
    pub(crate) fn new(
        protection: Protection,
        mut derive: impl FnMut(KeyPurpose, &mut [u8]),
    ) -> DirectionKeys {
        let mut key = Zeroizing::new([0; 64]);
        let key = &mut key[..protection.cipher.key_len()];
        derive(KeyPurpose::Cipher, key);
        let mut iv = Zeroizing::new([0; 16]);
        let iv = &mut iv[..protection.cipher.iv_len()];
        derive(KeyPurpose::InitialVector, iv);

        DirectionKeys(match protection.cipher {
            CipherAlgorithm::Aes128Gcm | CipherAlgorithm::Aes256Gcm => {
                let nonce = GcmNonce(*iv.first_chunk().expect("an initial vector of GCM has 12 bytes"));
                Cipher::Gcm {
                    key: AesGcm::new(key),
                    nonce,
                }
            }
            CipherAlgorithm::ChaCha20Poly1305 => {
                let key = key
                    .first_chunk()
                    .expect("a key of ChaCha20-Poly1305 has 64 bytes");
                Cipher::ChaCha {
                    key: Box::new(ChaChaPoly::new(key)),
                }
            }
            CipherAlgorithm::Aes128Ctr | CipherAlgorithm::Aes192Ctr | CipherAlgorithm::Aes256Ctr => {
                let iv = iv.first_chunk().expect("an initial vector of CTR has 16 bytes");
                let cipher = AesCtr::new(key, iv);
                let algorithm = protection
                    .mac
                    .expect("a MAC is negotiated for every cipher without its own");
                let mut mac = Zeroizing::new([0; 64]);
                let mac = &mut mac[..algorithm.tag_len()];
                derive(KeyPurpose::Mac, mac);
                Cipher::with_mac(cipher, algorithm, mac)
            }
        })
    }
}

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyPurpose {
    InitialVector,
    Cipher,
    Mac,
}

impl Cipher {
    fn with_mac(cipher: AesCtr, algorithm: MacAlgorithm, key: &[u8]) -> Cipher {
        let (hmac, tag_len) = match algorithm {
            MacAlgorithm::HmacSha256 | MacAlgorithm::HmacSha256Etm => (HmacAlgorithm::Sha256, 32),
            MacAlgorithm::HmacSha512 | MacAlgorithm::HmacSha512Etm => (HmacAlgorithm::Sha512, 64),
        };
        let mac = HmacKey::new(hmac, key);
        match algorithm.is_etm() {
            true => Cipher::Etm { cipher, mac, tag_len },
            false => Cipher::Mac {
                cipher,
                mac,
                tag_len,
                first_block: None,
            },
        }
    }

    /// How the packet without its authentication code must be aligned.
    fn alignment(&self) -> Alignment {
        match self {
            Cipher::Clear => Alignment {
                block: 8,
                counted: LENGTH_LEN,
            },
            Cipher::Gcm { .. } | Cipher::Etm { .. } => Alignment {
                block: 16,
                counted: 0,
            },
            Cipher::ChaCha { .. } => Alignment { block: 8, counted: 0 },
            Cipher::Mac { .. } => Alignment {
                block: 16,
                counted: LENGTH_LEN,
            },
        }
    }

    fn tag_len(&self) -> usize {
        match self {
            Cipher::Clear => 0,
            Cipher::Gcm { .. } | Cipher::ChaCha { .. } => AEAD_TAG_LEN,
            Cipher::Etm { tag_len, .. } | Cipher::Mac { tag_len, .. } => usize::from(*tag_len),
        }
    }
}

#[derive(Clone, Copy)]
struct Alignment {
    block: usize,
    /// Bytes before the body that count.
    counted: usize,
}

impl Alignment {
    fn fits(self, body: usize) -> bool {
        (self.counted + body).is_multiple_of(self.block)
    }

    /// Bytes of padding for a payload of that length.
    fn padding(self, payload: usize) -> usize {
        let short = self.block - (self.counted + 1 + payload) % self.block;
        if short < MIN_PADDING {
            short + self.block
        } else {
            short
        }
    }
}

/// RFC 5647 §7.1: four fixed bytes and a counter of eight, both from the initial vector.
#[derive(Clone, Copy)]
struct GcmNonce([u8; 12]);

impl GcmNonce {
    fn advance(&mut self) {
        let (_, counter) = self
            .0
            .split_last_chunk_mut::<8>()
            .expect("a nonce is longer than its counter");
        *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
    }
}

/// How much a key has been used, and the sequence number, which outlives keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// RFC 4253 §6.4: of the next packet; never reset but by strict key exchange.
    pub(crate) sequence: u32,
    /// Packets under the current keys.
    pub(crate) packets: u64,
    /// Bytes on the wire under the current keys.
    pub(crate) bytes: u64,
}

impl Usage {
    fn count(&mut self, bytes: usize) {
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    fn renew(&mut self, reset_sequence: bool) {
        *self = Usage {
            sequence: if reset_sequence { 0 } else { self.sequence },
            packets: 0,
            bytes: 0,
        };
    }

    fn is_used_up(&self) -> bool {
        self.packets >= PACKETS_PER_KEY || self.bytes >= BYTES_PER_KEY
    }
}
