//! SHA-256 of a file while its bytes pass.
//!
//! Only bytes in order from the file's first can be hashed without a copy of them. Whatever else happens to a file
//! makes its hash unknown: none is better than a wrong one.

use weir_crypto::digest::{HashAlgorithm, Hasher};

use super::ContentHash;

/// Which way a file's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Read,
    Write,
}

/// The hash of one file under way.
pub(super) enum Content {
    NotAsked,
    Hashing(Box<Hashing>),
    Unknown,
}

pub(super) struct Hashing {
    hasher: Hasher,
    /// Where the next byte must come from.
    next: u64,
    /// Which way the first bytes went.
    flow: Option<Flow>,
    /// Whether nothing was in the file that has not passed.
    is_whole: bool,
}

impl Content {
    /// `is_whole`: the file has no contents but those that will pass.
    pub(super) fn new(is_asked: bool, is_whole: bool) -> Content {
        if !is_asked {
            return Content::NotAsked;
        }
        Content::Hashing(Box::new(Hashing {
            hasher: Hasher::new(HashAlgorithm::Sha256),
            next: 0,
            flow: None,
            is_whole,
        }))
    }

    /// Bytes from `offset` on are about to pass; whether [`update`](Content::update) is to be given them.
    pub(super) fn begin(&mut self, flow: Flow, offset: u64) -> bool {
        let Content::Hashing(hashing) = self else {
            return false;
        };
        if hashing.next != offset || hashing.flow.is_some_and(|before| before != flow) {
            self.spoil();
            return false;
        }
        hashing.flow = Some(flow);
        true
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        if let Content::Hashing(hashing) = self {
            hashing.hasher.update(data);
            hashing.next = hashing.next.saturating_add(data.len() as u64);
        }
    }

    /// A read found the file's end at `offset`: there is nothing more of it, and perhaps nothing at all.
    pub(super) fn ended(&mut self, offset: u64) {
        if let Content::Hashing(hashing) = self
            && hashing.next == offset
            && hashing.flow.is_none()
        {
            hashing.flow = Some(Flow::Read);
        }
    }

    /// The file is about to be given this size; whether that is where it ends by what has passed.
    pub(super) fn resize(&mut self, size: u64) -> bool {
        let is_end = matches!(self, Content::Hashing(hashing) if hashing.next == size);
        if !is_end {
            self.spoil();
        }
        is_end
    }

    /// It has been given the size of what had passed: nothing else is left in it.
    pub(super) fn made_whole(&mut self) {
        if let Content::Hashing(hashing) = self {
            hashing.is_whole = true;
        }
    }

    pub(super) fn spoil(&mut self) {
        if matches!(self, Content::Hashing(_)) {
            *self = Content::Unknown;
        }
    }

    /// The hash. A file of which nothing passed has one only if it is known to be `empty`.
    pub(super) fn finish(self, empty: bool) -> ContentHash {
        match self {
            Content::NotAsked => ContentHash::NotAsked,
            Content::Hashing(hashing) if hashing.is_whole && (hashing.flow.is_some() || empty) => {
                let digest = hashing.hasher.finish();
                <[u8; 32]>::try_from(digest.as_ref()).map_or(ContentHash::NotHashed, ContentHash::Sha256)
            }
            Content::Hashing(_) | Content::Unknown => ContentHash::NotHashed,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_crypto::digest::hash;

    use super::*;

    fn sha256(data: &[u8]) -> ContentHash {
        let digest = hash(HashAlgorithm::Sha256, &[data]);
        ContentHash::Sha256(digest.as_ref().try_into().unwrap())
    }

    #[test]
    fn bytes_in_order_are_hashed() {
        let mut content = Content::new(true, true);
        for (offset, piece) in [(0, &b"he"[..]), (2, b""), (2, b"llo")] {
            assert!(content.begin(Flow::Write, offset));
            content.update(piece);
        }
        assert_eq!(content.finish(false), sha256(b"hello"));
    }

    #[test]
    fn a_gap_a_repeat_or_both_directions_leave_no_hash() {
        for (flow, offset) in [(Flow::Write, 3), (Flow::Write, 0), (Flow::Read, 2)] {
            let mut content = Content::new(true, true);
            assert!(content.begin(Flow::Write, 0));
            content.update(b"he");
            assert!(!content.begin(flow, offset));
            assert_eq!(content.finish(false), ContentHash::NotHashed);
        }
    }

    #[test]
    fn an_empty_file_has_a_hash_only_if_it_is_known_to_be_empty() {
        assert_eq!(Content::new(true, true).finish(false), ContentHash::NotHashed);
        assert_eq!(Content::new(true, true).finish(true), sha256(b""));
        let mut read = Content::new(true, true);
        read.ended(0);
        assert_eq!(read.finish(false), sha256(b""));
        let mut sparse = Content::new(true, true);
        sparse.ended(7);
        assert_eq!(sparse.finish(false), ContentHash::NotHashed);
        assert_eq!(Content::new(false, true).finish(true), ContentHash::NotAsked);
    }

    #[test]
    fn a_file_that_had_contents_is_whole_once_it_ends_where_they_do() {
        let written = || {
            let mut content = Content::new(true, false);
            assert!(content.begin(Flow::Write, 0));
            content.update(b"hello");
            content
        };
        assert_eq!(written().finish(false), ContentHash::NotHashed);
        let mut content = written();
        assert!(content.resize(5));
        content.made_whole();
        assert_eq!(content.finish(false), sha256(b"hello"));
        let mut content = written();
        assert!(!content.resize(4));
        assert_eq!(content.finish(false), ContentHash::NotHashed);
    }
}
