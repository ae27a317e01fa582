//! Watching a session that is still recorded.
//!
//! ```text
//! watch ──Message::Watch──▶ recorder: seals what is pending, begins a commit, adds a feed ─▶ chunks from then on
//!   ▲                          │ once that commit is durable
//!   └────── the way to it ◀── archive: where the chunks before are, files opened
//! ```
//!
//! Nothing of this waits for a watcher: the recorder hands over bytes that it has sealed anyway, the archive opens files,
//! and whoever watches reads them on a thread of his own. Deleted meanwhile, an open file can still be read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read, Take};
use std::path::Path;

use bytes::Bytes;
use futures_channel::oneshot;
use ulid::Ulid;
use weir_api::{Feed, Live, WatchError, feed};
use weir_record::Links;

use super::Recorder;
use super::handover::{Message, URGENT};
use crate::spool::frame::Location;
use crate::spool::segment::{self, Have, Origin, Segment};

/// A wish to watch, until it is answered.
pub(crate) struct Wish {
    pub(crate) session: Ulid,
    pub(crate) feed: Feed,
    pub(crate) reply: oneshot::Sender<Result<Recorded, WatchError>>,
}

/// A session's chunks up to the moment in which somebody came to watch.
pub(crate) struct Missed {
    session: Ulid,
    pub(crate) last: Option<Location>,
    /// The number of the first chunk that goes to the feed.
    next: u64,
    reply: oneshot::Sender<Result<Recorded, WatchError>>,
}

impl Missed {
    pub(crate) fn new(
        links: &Links,
        last: Option<Location>,
        reply: oneshot::Sender<Result<Recorded, WatchError>>,
    ) -> Self {
        Missed {
            session: links.session(),
            last,
            next: links.next_number(),
            reply,
        }
    }

    /// Opens all that is needed to read it; `side` gives what was copied out of the spool.
    pub(crate) fn answer(self, dir: &Path, side: impl FnOnce(Ulid) -> io::Result<Option<(u64, Take<File>)>>) {
        let found = side(self.session).and_then(|side| self.find(dir, side));
        // Whoever asked may have gone.
        drop(
            self.reply
                .send(found.map_err(|err| WatchError::Unreadable(err.to_string()))),
        );
    }

    fn find(&self, dir: &Path, side: Option<(u64, Take<File>)>) -> io::Result<Recorded> {
        let (have, copied, side) = match side {
            Some((next, file)) => (Have::ChunksBefore(next), next, Some(file)),
            None => (Have::Nothing, 0, None),
        };
        let frames = match self.last {
            // Else all of it has been copied out since, and the segment may be gone.
            Some(last) if side.is_none() || copied < self.next => segment::trace(dir, last, have)?,
            _ => Vec::new(),
        };
        let mut segments = HashMap::new();
        for number in frames.iter().map(|frame| frame.segment) {
            if let Entry::Vacant(place) = segments.entry(number) {
                place.insert(Segment::open(dir, number, Origin::Ours)?);
            }
        }
        Ok(Recorded {
            side,
            frames: frames.into_iter(),
            segments,
            next: self.next.max(copied),
            frame: io::Cursor::default(),
        })
    }
}

/// The same, to be read.
pub(crate) struct Recorded {
    /// The beginning, where that was copied out of the spool.
    side: Option<Take<File>>,
    frames: std::vec::IntoIter<Location>,
    segments: HashMap<u32, Segment>,
    /// The number of the first chunk that is not in it.
    next: u64,
    /// A frame that was read, and how far it was given.
    frame: io::Cursor<Vec<u8>>,
}

impl Read for Recorded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(side) = &mut self.side {
            match side.read(buf)? {
                0 if !buf.is_empty() => self.side = None,
                read => return Ok(read),
            }
        }
        if self.frame.position() == self.frame.get_ref().len() as u64
            && let Some(location) = self.frames.next()
        {
            let mut bytes = std::mem::take(&mut self.frame).into_inner();
            bytes.clear();
            let segment = self
                .segments
                .get(&location.segment)
                .ok_or(io::ErrorKind::NotFound)?;
            segment.payload(location.offset, &mut bytes)?;
            self.frame = io::Cursor::new(bytes);
        }
        self.frame.read(buf)
    }
}

impl Recorder {
    /// Opens the recording of a session that goes on: what has been recorded, and what comes after.
    pub(crate) fn watch(
        &self,
        session: &str,
    ) -> impl Future<Output = Result<Live, WatchError>> + Send + use<> {
        let not_live = WatchError::NotLive(session.to_owned());
        let (feed, follower) = feed();
        let (reply, answer) = oneshot::channel();
        let asked = Ulid::from_string(session).is_ok_and(|session| {
            let wish = Box::new(Wish { session, feed, reply });
            self.0.handover.send(Message::Watch(wish), URGENT).is_ok()
        });
        async move {
            if !asked {
                return Err(not_live);
            }
            let recorded = answer.await.map_err(|_| not_live)??;
            Ok(Live {
                follower: follower.from_chunk(recorded.next),
                recorded: Box::new(recorded),
            })
        }
    }
}

/// Those who watch a session.
#[derive(Default)]
pub(super) struct Watchers(Vec<Feed>);

impl Watchers {
    pub(super) fn add(&mut self, feed: Feed) {
        self.0.push(feed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands a chunk to each, and forgets those who have left or are too slow.
    pub(super) fn offer(&mut self, number: u64, chunk: &[u8]) {
        let chunk = Bytes::copy_from_slice(chunk);
        self.0.retain(|feed| feed.offer(number, &chunk));
    }
}
