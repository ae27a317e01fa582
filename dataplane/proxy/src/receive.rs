//! What one hop has received and not yet consumed.

use std::{io, ops::Range, os::fd::BorrowedFd, sync::Arc};

use rustix::net::RecvFlags;

use crate::buffer::{Buffer, BufferPool};

/// Bytes of one hop between the socket and the packet layer.
///
/// Holds a buffer only while there is something in it.
pub(crate) struct Received {
    pool: Arc<BufferPool>,
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// Unconsumed bytes that are needed before anything can be done.
    wanted: usize,
    /// The last read filled what it was offered or brought much: more is probably there already.
    flowing: bool,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes have been added.
    Bytes,
    /// Nothing is there now.
    NothingYet,
    /// The peer has closed its side.
    End,
}

impl Received {
    pub(crate) fn new(pool: Arc<BufferPool>) -> Self {
        Self {
            pool,
            buffer: None,
            start: 0,
            end: 0,
            wanted: 1,
            flowing: false,
        }
    }

    /// Bytes not yet consumed.
    pub(crate) fn unconsumed(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => &mut buffer.as_mut()[self.start..self.end],
            None => &mut [],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Marks the first `n` unconsumed bytes as dealt with. Their content stays readable by [`Self::at`]
    /// until the next read.
    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "a packet is consumed once");
        self.start += n;
        self.wanted = 1;
    }

    /// Where the unconsumed bytes begin, for [`Self::at`].
    pub(crate) fn position(&self) -> usize {
        self.start
    }

    /// A range that was given relative to `position`.
    pub(crate) fn at(&self, position: usize, range: &Range<usize>) -> &[u8] {
        let buffer = self.buffer.as_ref().map_or(&[][..], AsRef::as_ref);
        &buffer[position + range.start..position + range.end]
    }

    /// Nothing can be done until `n` unconsumed bytes are there.
    pub(crate) fn want(&mut self, n: usize) {
        self.wanted = n;
    }

    /// Whether a read is worth trying before waiting for readiness.
    pub(crate) fn is_flowing(&self) -> bool {
        self.flowing
    }

    /// So many bytes are waiting that no more should be read before they are dealt with.
    pub(crate) fn is_crowded(&self) -> bool {
        self.len() >= CROWDED
    }

    /// Reads once, without waiting.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> io::Result<Read> {
        self.make_room();
        let buffer = self.buffer.get_or_insert_with(|| self.pool.take()).as_mut();
        let free = &mut buffer[self.end..];
        let offered = free.len();
        match rustix::net::recv(socket, free, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Read::End),
            Ok((n, _)) => {
                self.end += n;
                self.flowing = n == offered || n >= FLOWING;
                Ok(Read::Bytes)
            }
            Err(rustix::io::Errno::AGAIN) => {
                self.flowing = false;
                self.rest();
                Ok(Read::NothingYet)
            }
            Err(rustix::io::Errno::INTR) => Ok(Read::Bytes),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives up the buffer before a wait, if nothing or only a partial packet that fits elsewhere is in it.
    pub(crate) fn rest(&mut self) {
        let Some(buffer) = &mut self.buffer else { return };
        if self.start == self.end {
            self.buffer = None;
            (self.start, self.end) = (0, 0);
        } else if buffer.is_pooled() && self.pool.is_scarce() {
            let mut own = Buffer::own(self.end - self.start);
            own.as_mut()
                .copy_from_slice(&buffer.as_ref()[self.start..self.end]);
            *buffer = own;
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Hands out the whole buffer, and goes on with a copy of the unconsumed bytes.
    ///
    /// Positions taken before are positions in the answer.
    pub(crate) fn lend(&mut self) -> Buffer {
        let Some(buffer) = self.buffer.take() else {
            return Buffer::own(0);
        };
        let left = self.start..self.end;
        (self.start, self.end) = (0, left.len());
        if !left.is_empty() {
            let mut next = self.pool.take();
            if next.as_ref().len() < left.len() {
                next = Buffer::own(left.len());
            }
            next.as_mut()[..left.len()].copy_from_slice(&buffer.as_ref()[left]);
            self.buffer = Some(next);
        }
        buffer
    }

    /// Sees to it that `wanted` bytes fit and that a read has something to read into.
    fn make_room(&mut self) {
        let Some(buffer) = &mut self.buffer else { return };
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let size = buffer.as_ref().len();
        if self.start + self.wanted <= size && self.end < size {
            return;
        }
        let left = self.start..self.end;
        let needed = self.wanted.max(left.len() + 1);
        if needed <= size {
            buffer.as_mut().copy_within(left.clone(), 0);
        } else {
            // The packet is larger than a small buffer. `wanted` is bounded by the packet layer's own limit.
            let mut larger = self.pool.take();
            if larger.as_ref().len() < needed {
                larger = Buffer::own(needed);
            }
            larger.as_mut()[..left.len()].copy_from_slice(&buffer.as_ref()[left.clone()]);
            *buffer = larger;
        }
        (self.start, self.end) = (0, left.len());
    }
}

/// What a client may have sent while its target is being dialled; a well-behaved one sends a few requests.
const CROWDED: usize = 32 * 1024;

/// A read of at least so many bytes is followed by another one at once; a keystroke is followed by a wait.
const FLOWING: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream};

    use super::*;

    fn pair(limit: usize) -> (UnixStream, UnixStream, Received) {
        let (writer, reader) = UnixStream::pair().unwrap();
        (writer, reader, Received::new(BufferPool::new(limit)))
    }

    #[test]
    fn holds_no_buffer_while_nothing_is_there() {
        let (mut writer, reader, mut received) = pair(1);
        assert_eq!(received.read(reader.as_fd()).unwrap(), Read::NothingYet);
        assert!(received.buffer.is_none());
        writer.write_all(b"abc").unwrap();
        assert_eq!(received.read(reader.as_fd()).unwrap(), Read::Bytes);
        assert_eq!(received.unconsumed(), b"abc");
        received.consume(3);
        assert_eq!(received.read(reader.as_fd()).unwrap(), Read::NothingYet);
        assert!(received.buffer.is_none());
        drop(writer);
        assert_eq!(received.read(reader.as_fd()).unwrap(), Read::End);
    }

    #[test]
    fn partial_packet_moves_out_of_a_scarce_pool() {
        let (mut writer, reader, mut received) = pair(1);
        writer.write_all(b"abcdef").unwrap();
        received.read(reader.as_fd()).unwrap();
        received.consume(2);
        assert_eq!(received.read(reader.as_fd()).unwrap(), Read::NothingYet);
        assert!(
            received.pool.take().is_pooled(),
            "the pooled buffer is free again"
        );
        assert_eq!(received.unconsumed(), b"cdef");
        writer.write_all(b"gh").unwrap();
        received.want(6);
        received.read(reader.as_fd()).unwrap();
        assert_eq!(received.unconsumed(), b"cdefgh");
    }

    #[test]
    fn packet_larger_than_a_small_buffer_still_fits() {
        let (mut writer, reader, mut received) = pair(0);
        let sent = std::thread::spawn(move || {
            writer.write_all(&[7; 100_000]).unwrap();
        });
        received.want(100_000);
        while received.len() < 100_000 {
            assert_ne!(received.read(reader.as_fd()).unwrap(), Read::End);
        }
        assert!(received.unconsumed().iter().all(|&b| b == 7));
        sent.join().unwrap();
    }

    #[test]
    fn lent_bytes_keep_their_positions_and_the_rest_goes_on() {
        let (mut writer, reader, mut received) = pair(2);
        writer.write_all(b"packetrest").unwrap();
        received.read(reader.as_fd()).unwrap();
        let position = received.position();
        received.consume(6);
        let lent = received.lend();
        assert_eq!(&lent.as_ref()[position..position + 6], b"packet");
        assert_eq!(received.unconsumed(), b"rest");
    }
}
