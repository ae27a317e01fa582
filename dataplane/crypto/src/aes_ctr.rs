//! AES in counter mode as RFC 4344 §4 uses it: one keystream for the life of a key, the counter a 128-bit big-endian
//! number that starts at the IV.
//!
//! Neither backend has a counter mode that continues in place, so both take it from the `aes` and `ctr` crates.

use std::fmt;

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

/// Length of the initial counter in bytes.
pub const IV_LEN: usize = 16;

/// One direction's keystream. Encryption and decryption are the same operation.
///
/// It authenticates nothing: a MAC must be checked as well.
pub struct AesCtr(Keystream);

/// Boxed, because a key schedule that also serves CPUs without AES instructions has up to a kilobyte.
enum Keystream {
    Aes128(Box<Ctr128BE<Aes128Enc>>),
    Aes192(Box<Ctr128BE<Aes192Enc>>),
    Aes256(Box<Ctr128BE<Aes256Enc>>),
}

impl AesCtr {
    /// Expands `key` and sets the counter to `iv`.
    ///
    /// # Panics
    /// If `key` is not 16, 24 or 32 bytes long.
    #[must_use]
    pub fn new(key: &[u8], iv: &[u8; IV_LEN]) -> Self {
        fn start<C: KeyIvInit>(key: &[u8], iv: &[u8]) -> Box<C> {
            Box::new(C::new_from_slices(key, iv).expect("the caller chose the cipher by the key's length"))
        }
        AesCtr(match key.len() {
            16 => Keystream::Aes128(start(key, iv)),
            24 => Keystream::Aes192(start(key, iv)),
            32 => Keystream::Aes256(start(key, iv)),
            other => panic!("an AES-CTR key has 16, 24 or 32 bytes, got {other}"),
        })
    }

    /// How many bytes of the keystream have been used.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.0 {
            Keystream::Aes128(stream) => stream.current_pos(),
            Keystream::Aes192(stream) => stream.current_pos(),
            Keystream::Aes256(stream) => stream.current_pos(),
        }
    }

    /// Goes back to a [position](AesCtr::position): the keystream from there is used again. What it was combined with before
    /// must never have been seen by anybody.
    pub fn rewind(&mut self, position: u64) {
        match &mut self.0 {
            Keystream::Aes128(stream) => stream.seek(position),
            Keystream::Aes192(stream) => stream.seek(position),
            Keystream::Aes256(stream) => stream.seek(position),
        }
    }

    /// Combines `data` with the next `data.len()` bytes of the keystream.
    pub fn apply(&mut self, data: &mut [u8]) {
        match &mut self.0 {
            Keystream::Aes128(stream) => stream.apply_keystream(data),
            Keystream::Aes192(stream) => stream.apply_keystream(data),
            Keystream::Aes256(stream) => stream.apply_keystream(data),
        }
    }
}

impl fmt::Debug for AesCtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesCtr(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewound_keystream_is_the_same_from_that_place_on() {
        // The counter's lower half overflows within it.
        let iv = [0xff; IV_LEN];
        for key_len in [16, 24, 32] {
            let mut stream = AesCtr::new(&[7; 32][..key_len], &iv);
            let mut start = [0; 37];
            stream.apply(&mut start);
            assert_eq!(stream.position(), 37);
            let (mut first, mut second) = ([0; 100], [0; 100]);
            stream.apply(&mut first);
            stream.rewind(37);
            stream.apply(&mut second);
            assert_eq!(first, second);
            assert_eq!(stream.position(), 137);
        }
    }
}
