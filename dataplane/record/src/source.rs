//! A recording's bytes cut into envelope and chunks, one at a time in one buffer.
//!
//! The buffer never exceeds [`MAX_CHUNK_LEN`](crate::MAX_CHUNK_LEN): a length is checked before it is believed.

use std::io::{self, ErrorKind, Read};

use crate::chunk::{ChunkHead, HEAD_LEN};
use crate::envelope::{EnvelopeFault, PREFIX_LEN, envelope_len};

pub(crate) struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes that have been read, and of these the ones before the item in the buffer.
    position: u64,
    start: u64,
}

/// What stands next in the input.
pub(crate) enum Item {
    /// A whole chunk; its bytes are in the buffer.
    Chunk(ChunkHead),
    /// Bytes that are no chunk, so that what follows cannot be told apart either.
    Unreadable,
    /// A chunk that the end of the input cuts short.
    Torn,
    /// The end of the input, between chunks.
    Nothing,
}

/// What stands at the front of the input.
pub(crate) enum Front {
    Envelope,
    Torn,
    Fault(EnvelopeFault),
}

impl<R: Read> Source<R> {
    pub(crate) fn new(input: R) -> Self {
        Source {
            input,
            buffer: Vec::new(),
            position: 0,
            start: 0,
        }
    }

    /// The bytes of the item that was read last.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Where that item begins, or would.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn envelope(&mut self) -> io::Result<Front> {
        if !self.fill(PREFIX_LEN)? {
            // A short file of something else is rather that than a torn recording.
            let begun = crate::envelope::MAGIC.starts_with(&self.buffer[..self.buffer.len().min(7)]);
            return Ok(if begun {
                Front::Torn
            } else {
                Front::Fault(EnvelopeFault::NotARecording)
            });
        }
        let mut prefix = [0; PREFIX_LEN];
        prefix.copy_from_slice(&self.buffer);
        match envelope_len(&prefix) {
            Err(fault) => Ok(Front::Fault(fault)),
            Ok(len) if self.extend(len)? => Ok(Front::Envelope),
            Ok(_) => Ok(Front::Torn),
        }
    }

    pub(crate) fn next(&mut self) -> io::Result<Item> {
        if !self.fill(HEAD_LEN)? {
            return Ok(if self.buffer.is_empty() {
                Item::Nothing
            } else {
                Item::Torn
            });
        }
        let mut head = [0; HEAD_LEN];
        head.copy_from_slice(&self.buffer);
        let Ok(head) = ChunkHead::parse(&head) else {
            return Ok(Item::Unreadable);
        };
        Ok(if self.extend(head.len as usize)? {
            Item::Chunk(head)
        } else {
            Item::Torn
        })
    }

    /// Replaces the buffer by the next `len` bytes; false if the input ends before.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        self.buffer.clear();
        self.start = self.position;
        self.extend(len)
    }

    /// Reads on until the buffer holds `len` bytes; false, with what there was, if the input ends before.
    fn extend(&mut self, len: usize) -> io::Result<bool> {
        let mut have = self.buffer.len();
        self.buffer.resize(len, 0);
        while have < len {
            match self.input.read(&mut self.buffer[have..]) {
                Ok(0) => {
                    self.buffer.truncate(have);
                    return Ok(false);
                }
                Ok(read) => {
                    have += read;
                    self.position += read as u64;
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(true)
    }
}
