//! Judging a recording: is it whole, in order, unaltered, and ended by who may end it?
//!
//! Without the key the chain of hashes and the signature are checked; with it the seals and their contents too.
//!
//! A chunk's hash stands in the chunk after it, so a hash that does not fit puts two chunks in doubt. The doubt is
//! settled by the seal where there is a key, else by the next chunk: if that confirms the later of the two, the earlier
//! was altered. Numbers tell the rest: one that is skipped and comes later was moved, one that never comes was removed,
//! one that was there already is a duplicate.

use std::fmt;
use std::io::{self, Read};

use ulid::Ulid;

use crate::chain::Hash;
use crate::chunk::{ChunkHead, Kind};
use crate::end::{End, EndFault};
use crate::envelope::{Envelope, EnvelopeFault};
use crate::key::{KeyError, Unlock};
use crate::reader::{ChunkFault, Opener, note};
use crate::rewrap::ReplacementFault;
use crate::source::{Front, Item, Source};

/// Findings beyond this many are counted as "more": a hostile input must not fill memory.
const MAX_FINDINGS: usize = 64;

/// Who may have signed the end.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The key that the recording's envelope names. Proves that begin and end are of one hand, not whose.
    Envelope,
    /// One of these Ed25519 public keys.
    Keys(&'a [[u8; 32]]),
}

/// A part of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What stands before chunk 0.
    Envelope,
    /// A chunk of events, or the place where it should stand.
    Chunk(u64),
    /// The signed last chunk.
    End,
}

impl Trust<'_> {
    /// Why a signature by `key` proves nothing in a recording that `beginner` has begun; `None` if it does.
    fn refuses(&self, key: &[u8; 32], beginner: &[u8; 32]) -> Option<&'static str> {
        match self {
            Trust::Envelope => (key != beginner)
                .then_some("it is signed by another key than the one that began the recording"),
            Trust::Keys(keys) => (!keys.contains(key)).then_some("it is signed by a key that is not trusted"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Envelope => f.write_str("the envelope"),
            Place::Chunk(number) => write!(f, "chunk {number}"),
            Place::End => f.write_str("the end"),
        }
    }
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Its bytes are not those that were written.
    Altered,
    /// It, or the part before it, was altered: they do not fit, and nothing after them tells which.
    Unlinked,
    /// It is not there.
    Removed,
    /// It stands behind a later chunk.
    Moved,
    /// It is there once more.
    Duplicated,
    /// In its place stands a chunk of another recording.
    Foreign,
    /// In its place stands no chunk: it, or the length of the one before, was altered. What follows was not examined.
    Unreadable,
    /// The recording breaks off within it.
    Truncated,
    /// There is no signed end.
    Missing,
    /// The end is not by a data plane that is trusted.
    FalseEnd(String),
    /// The key was wrapped anew by somebody who is not trusted.
    FalseEnvelope(String),
    /// Sealed by the key's owner, yet not in the format: written by a faulty or later program.
    Contents(String),
    /// It is not of a version that this program reads.
    Version(String),
}

/// One fault at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
    /// Bytes from the beginning of the recording to where the part begins, or to where it should stand.
    pub at: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, at) = (&self.place, self.at);
        match &self.fault {
            Fault::Altered => write!(f, "{place} at byte {at} was altered"),
            Fault::Unlinked => write!(f, "{place} at byte {at} or the part before it was altered"),
            Fault::Removed => write!(f, "{place} was removed: at byte {at} stands what came after it"),
            Fault::Moved => write!(f, "{place} was moved behind a later one, to byte {at}"),
            Fault::Duplicated => write!(f, "{place} stands there more than once, again at byte {at}"),
            Fault::Foreign => write!(
                f,
                "a chunk of another recording stands in the place of {place} at byte {at}"
            ),
            Fault::Unreadable => write!(
                f,
                "no chunk can be read in the place of {place} at byte {at}; what follows was not examined"
            ),
            Fault::Truncated => write!(
                f,
                "the recording breaks off within {place}, which begins at byte {at}"
            ),
            Fault::Missing => write!(
                f,
                "{place} is missing: the recording was cut off at byte {at} or is still going on"
            ),
            Fault::FalseEnd(why) | Fault::FalseEnvelope(why) => {
                write!(f, "{place} at byte {at} is false: {why}")
            }
            Fault::Contents(why) => {
                write!(f, "{place} at byte {at} is sealed but not in the format: {why}")
            }
            Fault::Version(why) => f.write_str(why),
        }
    }
}

/// Whether the seals were checked too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seals {
    /// Each chunk was opened.
    Checked,
    /// No key was given.
    NoKey,
    /// The key could not be had.
    Locked(KeyError),
}

/// The outcome of [`verify`].
#[derive(Clone, Debug)]
pub struct Report {
    /// The recording's identifier, if the envelope could be read.
    pub session: Option<Ulid>,
    /// Start of the session, microseconds since 1970-01-01 UTC; 0 without an envelope.
    pub started_us: u64,
    /// How often its key has been wrapped anew for other recipients.
    pub generation: u32,
    /// Chunks of events that were examined.
    pub chunks: u64,
    /// The signed end, if there is a true one.
    pub end: Option<End>,
    /// Whether the seals were checked.
    pub seals: Seals,
    /// What is wrong, in the order of the recording; empty if nothing is.
    pub findings: Vec<Finding>,
    /// Whether there were more findings than are kept.
    pub more: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Examines a recording to its end, as a stream and in constant memory.
///
/// # Errors
/// Only if the input itself cannot be read: all that is wrong with the recording is in the report.
pub fn verify(input: impl Read, unlock: Option<Unlock<'_>>, trust: Trust<'_>) -> io::Result<Report> {
    let mut source = Source::new(input);
    let mut judge = Judge::new(trust);
    match source.envelope()? {
        Front::Envelope => match Envelope::parse(source.bytes()) {
            Ok(envelope) => judge.begin(&envelope, unlock),
            Err(fault) => return Ok(judge.without_envelope(fault)),
        },
        Front::Torn => {
            judge.find(Place::Envelope, Fault::Truncated);
            return Ok(judge.report);
        }
        Front::Fault(fault) => return Ok(judge.without_envelope(fault)),
    }
    loop {
        let item = source.next()?;
        judge.here = source.start();
        match item {
            Item::Chunk(head) => judge.chunk(&head, source.bytes()),
            Item::Unreadable => {
                judge.unreadable();
                break;
            }
            Item::Torn => {
                judge.torn();
                break;
            }
            Item::Nothing => break,
        }
    }
    Ok(judge.finish())
}

struct Judge<'a> {
    trust: Trust<'a>,
    session: Ulid,
    signer: [u8; 32],
    opener: Option<Opener>,
    /// Number and predecessor of the chunk that should come next.
    expected: u64,
    previous: Hash,
    /// Where the part that is examined begins, and the one that was taken last.
    here: u64,
    previous_at: u64,
    /// The part before is known to be altered, so that its hash cannot fit.
    previous_altered: bool,
    /// Nothing that the envelope says can be believed.
    envelope_altered: bool,
    /// This chunk's hash did not fit the part before, and nothing has yet told which of the two is wrong.
    doubt: Option<Doubt>,
    /// Numbers that were skipped and may still come.
    gaps: Vec<Gap>,
    ended: bool,
    cut: bool,
    report: Report,
}

/// A chunk of which, or of its predecessor, something was altered.
#[derive(Clone, Copy)]
struct Doubt {
    number: u64,
    at: u64,
    before_at: u64,
}

/// Numbers without a chunk, and where the next one stands.
struct Gap {
    numbers: std::ops::Range<u64>,
    at: u64,
}

impl<'a> Judge<'a> {
    fn new(trust: Trust<'a>) -> Self {
        Judge {
            trust,
            session: Ulid::nil(),
            signer: [0; 32],
            opener: None,
            expected: 0,
            previous: Hash([0; 32]),
            here: 0,
            previous_at: 0,
            previous_altered: false,
            envelope_altered: false,
            doubt: None,
            gaps: Vec::new(),
            ended: false,
            cut: false,
            report: Report {
                session: None,
                started_us: 0,
                generation: 0,
                chunks: 0,
                end: None,
                seals: Seals::NoKey,
                findings: Vec::new(),
                more: false,
            },
        }
    }

    fn begin(&mut self, envelope: &Envelope, unlock: Option<Unlock<'_>>) {
        self.session = envelope.session;
        self.signer = envelope.signer;
        self.previous = envelope.original();
        self.report.session = Some(envelope.session);
        self.report.started_us = envelope.started_us;
        self.report.generation = envelope.generation();
        if let Some(fault) = envelope.check(None).err().map(|_| Fault::Altered) {
            self.distrust_envelope(fault);
        } else if let Some(replacement) = &envelope.replacement
            && let Some(why) = self.trust.refuses(&replacement.by, &envelope.signer)
        {
            self.distrust_envelope(Fault::FalseEnvelope(format!(
                "its key was wrapped anew, and {why}"
            )));
        }
        let Some(unlock) = unlock else {
            return;
        };
        match unlock.key(&envelope.wrapped_key) {
            Ok(key) => {
                if let Err(fault @ ReplacementFault::Code) = envelope.check(Some(&key)) {
                    self.distrust_envelope(Fault::FalseEnvelope(fault.to_string()));
                }
                self.opener = Some(Opener::new(key.cipher()));
                self.report.seals = Seals::Checked;
            }
            Err(err) => {
                if matches!(err, KeyError::Damaged(_)) {
                    self.distrust_envelope(Fault::Altered);
                }
                self.report.seals = Seals::Locked(err);
            }
        }
    }

    /// What is found of the envelope first says enough.
    fn distrust_envelope(&mut self, fault: Fault) {
        if !self.envelope_altered {
            self.find(Place::Envelope, fault);
        }
        self.envelope_altered = true;
        self.previous_altered = true;
    }

    fn without_envelope(mut self, fault: EnvelopeFault) -> Report {
        let fault = match fault {
            EnvelopeFault::Malformed(_) => Fault::Altered,
            other => Fault::Version(other.to_string()),
        };
        self.find(Place::Envelope, fault);
        self.report
    }

    fn chunk(&mut self, head: &ChunkHead, bytes: &mut [u8]) {
        if head.kind != Kind::End {
            self.report.chunks += 1;
        }
        let hash = Hash::of(&[bytes]);
        if self.envelope_altered && self.expected == 0 && head.number == 0 && head.previous == self.previous {
            // The hash in a replaced envelope fits, so that the session in it is what was altered.
            self.session = head.session;
        }
        let here = (
            head.session == self.session,
            head.number == self.expected,
            head.previous == self.previous,
        );
        if self.ended {
            return self.after_end(head, bytes);
        }
        match here {
            (true, true, _) => self.in_place(head, bytes, hash, here.2),
            // The hash of its predecessor is more than anybody could put in by accident: the rest of the head is wrong.
            (_, _, true) => self.take_altered(head, hash),
            (false, true, false) if self.is_ours(head, bytes) => {
                self.find_at(Place::Envelope, Fault::Altered, 0);
                self.session = head.session;
                self.take(head, hash);
            }
            (false, ..) => self.find(self.place(head.kind, self.expected), Fault::Foreign),
            (true, false, false) => self.out_of_place(head, bytes, hash),
        }
    }

    /// A chunk 0 under another name than the envelope's: if the envelope's key opens it, the envelope is what is wrong.
    fn is_ours(&mut self, head: &ChunkHead, bytes: &mut [u8]) -> bool {
        head.number == 0
            && head.kind != Kind::Note
            && self
                .opener
                .as_mut()
                .is_some_and(|opener| opener.open(head, bytes).is_ok())
    }

    fn in_place(&mut self, head: &ChunkHead, bytes: &mut [u8], hash: Hash, linked: bool) {
        let linked = linked || self.previous_altered;
        let before = self.before(head.number);
        let intact = if head.kind == Kind::End {
            self.end(head, bytes)
        } else {
            self.seal(head, bytes)
        };
        if !linked {
            match intact {
                Some(true) => self.find_once(before, Fault::Altered, self.previous_at),
                Some(false) => {}
                None if self.doubt.is_some() => self.find_at(before, Fault::Altered, self.previous_at),
                None => {
                    self.doubt = Some(Doubt {
                        number: head.number,
                        at: self.here,
                        before_at: self.previous_at,
                    });
                    self.take(head, hash);
                    return;
                }
            }
        } else if let Some(doubted) = self.doubt {
            // This chunk confirms the doubted one: so the one before that was altered.
            let culprit = self.before(doubted.number);
            self.find_once(culprit, Fault::Altered, doubted.before_at);
        }
        self.doubt = None;
        self.take(head, hash);
        self.previous_altered = intact == Some(false);
    }

    /// Whether the seal verifies; `None` if that cannot be known.
    fn seal(&mut self, head: &ChunkHead, bytes: &mut [u8]) -> Option<bool> {
        if head.kind == Kind::Note {
            // What tells whether it was altered is the signed end, which follows it.
            if let Err(fault) = note(bytes) {
                self.find(Place::Chunk(head.number), Fault::Contents(fault.to_string()));
            }
            return None;
        }
        let opener = self.opener.as_mut()?;
        let opened = opener.open(head, bytes).and_then(|()| opener.check_contents());
        let place = Place::Chunk(head.number);
        match opened {
            Ok(()) => Some(true),
            Err(ChunkFault::Seal) => {
                self.find(place, Fault::Altered);
                Some(false)
            }
            Err(fault) => {
                self.find(place, Fault::Contents(fault.to_string()));
                Some(true)
            }
        }
    }

    fn end(&mut self, head: &ChunkHead, bytes: &[u8]) -> Option<bool> {
        self.ended = true;
        let end = match End::decode(head, bytes) {
            Ok(end) => end,
            Err(fault @ (EndFault::Signature | EndFault::Malformed(_))) => {
                self.find(Place::End, Fault::FalseEnd(fault.to_string()));
                return Some(false);
            }
        };
        match self.trust.refuses(&end.signer, &self.signer) {
            None => self.report.end = Some(end),
            Some(why) => self.find(Place::End, Fault::FalseEnd(why.to_owned())),
        }
        Some(true)
    }

    fn take_altered(&mut self, head: &ChunkHead, hash: Hash) {
        let place = self.place(head.kind, self.expected);
        self.find(place, Fault::Altered);
        if head.kind == Kind::End {
            self.ended = true;
        }
        self.take(
            &ChunkHead {
                number: self.expected,
                ..*head
            },
            hash,
        );
        self.previous_altered = true;
        self.doubt = None;
    }

    fn out_of_place(&mut self, head: &ChunkHead, bytes: &mut [u8], hash: Hash) {
        if head.number > self.expected {
            self.gap(Gap {
                numbers: self.expected..head.number,
                at: self.here,
            });
            if head.kind == Kind::End {
                self.end(head, bytes);
            } else {
                self.seal(head, bytes);
            }
            self.take(head, hash);
            self.previous_altered = false;
            self.doubt = None;
        } else if self.fill_gap(head.number) {
            self.find(Place::Chunk(head.number), Fault::Moved);
            self.seal(head, bytes);
        } else {
            self.find(self.place(head.kind, head.number), Fault::Duplicated);
        }
    }

    fn after_end(&mut self, head: &ChunkHead, bytes: &mut [u8]) {
        let place = self.place(head.kind, head.number);
        if head.session != self.session {
            self.find(place, Fault::Foreign);
        } else if head.kind != Kind::End && self.fill_gap(head.number) {
            self.find(place, Fault::Moved);
            self.seal(head, bytes);
        } else {
            self.find(place, Fault::Duplicated);
        }
    }

    fn unreadable(&mut self) {
        self.cut = true;
        if self.ended {
            self.find(Place::Chunk(self.expected), Fault::Foreign);
        } else if !self.previous_altered {
            self.find(Place::Chunk(self.expected), Fault::Unreadable);
        }
    }

    fn torn(&mut self) {
        self.cut = true;
        let fault = if self.ended {
            Fault::Foreign
        } else {
            Fault::Truncated
        };
        self.find(Place::Chunk(self.expected), fault);
    }

    fn finish(mut self) -> Report {
        if let Some(doubted) = self.doubt {
            self.find_at(Place::Chunk(doubted.number), Fault::Unlinked, doubted.at);
        }
        for gap in std::mem::take(&mut self.gaps) {
            for number in gap.numbers.take(MAX_FINDINGS + 1) {
                self.find_at(Place::Chunk(number), Fault::Removed, gap.at);
            }
        }
        if !self.ended && !self.cut {
            self.find(Place::End, Fault::Missing);
        }
        self.report.findings.sort_by_key(|finding| finding.place);
        self.report
    }

    fn take(&mut self, head: &ChunkHead, hash: Hash) {
        self.expected = head.number.saturating_add(1);
        self.previous = hash;
        self.previous_at = self.here;
    }

    fn gap(&mut self, gap: Gap) {
        if self.gaps.len() < MAX_FINDINGS {
            self.gaps.push(gap);
        } else {
            self.report.more = true;
        }
    }

    /// Whether `number` had been skipped; it no longer is.
    fn fill_gap(&mut self, number: u64) -> bool {
        let Some(index) = self.gaps.iter().position(|gap| gap.numbers.contains(&number)) else {
            return false;
        };
        let Gap { numbers, at } = self.gaps.swap_remove(index);
        for numbers in [numbers.start..number, number + 1..numbers.end] {
            if !numbers.is_empty() {
                self.gap(Gap { numbers, at });
            }
        }
        true
    }

    fn before(&self, number: u64) -> Place {
        number.checked_sub(1).map_or(Place::Envelope, Place::Chunk)
    }

    fn place(&self, kind: Kind, number: u64) -> Place {
        if kind == Kind::End {
            Place::End
        } else {
            Place::Chunk(number)
        }
    }

    fn find_once(&mut self, place: Place, fault: Fault, at: u64) {
        let known = |finding: &Finding| finding.place == place && finding.fault == fault;
        if !self.report.findings.iter().any(known) {
            self.find_at(place, fault, at);
        }
    }

    /// Something is wrong with what is examined now.
    fn find(&mut self, place: Place, fault: Fault) {
        self.find_at(place, fault, self.here);
    }

    fn find_at(&mut self, place: Place, fault: Fault, at: u64) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(Finding { place, fault, at });
        } else {
            self.report.more = true;
        }
    }
}
