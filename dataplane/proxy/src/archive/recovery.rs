//! What an earlier process left in the spool, and what becomes of it.
//!
//! Needs no session key: the chain is followed by its hashes, and a recording that has no end gets one that says
//! "interrupted". A frame that was torn ends its segment; a chunk that does not follow ends its session.
//!
//! A side file has no frames, and what proves a part of it is the part behind it, which holds its hash. So the last part is under
//! suspicion: a crash may have torn it while it was copied. Then it still stands in a segment too, since segments are given up when
//! the copy is durable; a segment's word counts more.
//!
//! Cost: one pass over the segments with one SHA-256, a few hundred bytes of memory per session found.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ulid::Ulid;
use weir_record::{ChunkHead, End, HEAD_LEN, Kind, Links, MAX_ENVELOPE_LEN, Signer, Status};

use super::Upload;
use super::side::{self, Side, Sides};
use crate::recorder::notes;
use crate::spool::frame::{FrameKind, Location, session_of};
use crate::spool::segment::{self, Origin, Segment};

/// A session's recording as far as it was found.
struct Found {
    started_us: u64,
    links: Links,
    last: Option<Location>,
    end: Option<End>,
    /// When the file that holds its last part was written to, microseconds since 1970-01-01 UTC.
    written_us: u64,
    /// What of it is in a side file, without the part under suspicion.
    side: Option<Side>,
    suspect: Option<Suspect>,
}

/// The last chunk of a side file.
#[derive(Clone, Copy)]
struct Suspect {
    /// The chain with it.
    links: Links,
    end: Option<End>,
    /// The side file with it.
    side: Side,
}

/// Finds every recording that is not yet in the store, and ends those that have no end.
///
/// # Errors
/// If the spool cannot be read. Nothing in it is changed then.
pub(super) fn recover(
    dir: &Path,
    left: &[u32],
    signer: &Signer,
    sides: &mut Sides,
) -> io::Result<Vec<Upload>> {
    let mut found = HashMap::new();
    // Those of which no more than the envelope was copied, and that may be torn.
    let mut bare = HashMap::new();
    for session in side::list(dir)? {
        if let Some(recording) = read_side(&side::path(dir, session))? {
            let is_bare = recording.suspect.is_none();
            let place = if is_bare { &mut bare } else { &mut found };
            place.insert(session, recording);
        }
    }
    let mut archived = HashSet::new();
    for &number in left {
        let segment = Segment::open(dir, number, Origin::Left)?;
        let written_us = segment.written_us()?;
        segment.scan(|location, head, payload| {
            let Some(session) = session_of(head.kind, payload) else {
                return Ok(());
            };
            match head.kind {
                FrameKind::Archived => {
                    archived.insert(session);
                }
                FrameKind::Envelope => {
                    if let Ok((envelope, links)) = Links::start(payload) {
                        let recording = Found {
                            started_us: envelope.started_us,
                            links,
                            last: Some(location),
                            end: None,
                            written_us,
                            side: None,
                            suspect: None,
                        };
                        found.entry(session).or_insert(recording);
                    }
                }
                FrameKind::Chunk => {
                    if let Some(recording) = found.get_mut(&session) {
                        recording.follow(location, payload, written_us);
                    }
                }
            }
            Ok(())
        })?;
    }
    for (session, recording) in bare {
        found.entry(session).or_insert(recording);
    }
    for (session, recording) in &mut found {
        recording.trust_suspect();
        if let Some(side) = recording.side {
            sides.adopt(*session, side);
        }
    }
    for session in archived {
        found.remove(&session);
        sides.delete(session);
    }
    // Of one whose recording had not begun, or is in the store, nothing is left to be told.
    let noted = notes::list(dir)?.into_iter();
    noted
        .filter(|session| !found.contains_key(session))
        .for_each(|session| notes::remove(dir, session));
    let uploads = found
        .into_iter()
        .map(|(session, recording)| recording.into_upload(dir, session, signer));
    let mut uploads = uploads.collect::<io::Result<Vec<_>>>()?;
    // The oldest first, as they would have come.
    uploads.sort_by_key(|upload| upload.session);
    if !uploads.is_empty() {
        tracing::info!(
            sessions = uploads.len(),
            "recovering recordings that an earlier process left"
        );
    }
    Ok(uploads)
}

impl Found {
    fn follow(&mut self, location: Location, chunk: &[u8], written_us: u64) {
        if self.end.is_some() {
            return;
        }
        if let Some(suspect) = self.suspect {
            let (mut with, mut without) = (suspect.links, self.links);
            if with.follow(chunk).is_ok() {
                self.trust_suspect();
            } else if without.follow(chunk).is_ok() {
                self.suspect = None;
            }
        }
        // What does not follow was written twice, or has lost what came before it: then it proves nothing any more.
        if let Ok(kind) = self.links.follow(chunk) {
            if kind == Kind::End {
                self.end = End::parse(chunk);
            }
            self.last = Some(location);
            self.written_us = written_us;
        }
    }

    /// Nobody says otherwise: what may have been torn was not.
    fn trust_suspect(&mut self) {
        if let Some(suspect) = self.suspect.take() {
            self.links = suspect.links;
            self.end = suspect.end;
            self.side = Some(suspect.side);
        }
    }

    fn into_upload(mut self, dir: &Path, session: Ulid, signer: &Signer) -> io::Result<Upload> {
        let mut end_bytes = Vec::new();
        let end = match self.end {
            Some(end) => end,
            None => {
                let note = notes::read(dir, session)?;
                if let Some(note) = &note {
                    self.links.note(note, &mut end_bytes);
                }
                self.links
                    .end(
                        Status::Interrupted,
                        note.map(|note| note.until()),
                        signer,
                        &mut end_bytes,
                    )
                    .map_err(|err| {
                        io::Error::other(format!("the end of {session} cannot be signed: {err}"))
                    })?
            }
        };
        let mut upload = Upload::new(session, self.started_us, end, self.last);
        upload.end_bytes = end_bytes;
        upload.recovered_us = Some(self.written_us);
        Ok(upload)
    }
}

/// Reads a side file up to where it is torn; `None` if not even its envelope can be read.
fn read_side(path: &Path) -> io::Result<Option<Found>> {
    let file = File::open(path)?;
    let written_us = segment::written_us(&file)?;
    let mut file = io::BufReader::with_capacity(256 * 1024, file);
    let mut bytes = vec![0; 12];
    if !fill(&mut file, &mut bytes)? {
        return Ok(None);
    }
    let len = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if !(12..=MAX_ENVELOPE_LEN).contains(&len) {
        return Ok(None);
    }
    bytes.resize(len, 0);
    if !fill(&mut file, &mut bytes[12..])? {
        return Ok(None);
    }
    let Ok((envelope, links)) = Links::start(&bytes) else {
        return Ok(None);
    };
    let mut found = Found {
        started_us: envelope.started_us,
        links,
        last: None,
        end: None,
        written_us,
        side: Some(Side {
            next: 0,
            len: len as u64,
        }),
        suspect: None,
    };
    loop {
        let mut head = [0; HEAD_LEN];
        if !fill(&mut file, &mut head)? {
            break;
        }
        let Ok(parsed) = ChunkHead::parse(&head) else {
            break;
        };
        bytes.clear();
        bytes.extend_from_slice(&head);
        bytes.resize(parsed.len as usize, 0);
        if !fill(&mut file, &mut bytes[HEAD_LEN..])? {
            break;
        }
        let (mut links, side) = match found.suspect {
            Some(suspect) => (suspect.links, suspect.side),
            None => (found.links, found.side.unwrap_or_default()),
        };
        let Ok(kind) = links.follow(&bytes) else {
            break;
        };
        // It holds the hash of the one before.
        found.trust_suspect();
        found.suspect = Some(Suspect {
            links,
            end: (kind == Kind::End).then(|| End::parse(&bytes)).flatten(),
            side: Side {
                next: links.next_number(),
                len: side.len + bytes.len() as u64,
            },
        });
    }
    Ok(Some(found))
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(err) => Err(err),
    }
}
