//! How much of a channel is recorded: what a program without a terminal writes, up to a limit per direction.
//!
//! Kept on the session's own thread, so that bytes past the limit cost the recorder nothing. Where the cluster has them hashed they
//! cost that thread a pass of SHA-256, and each such stream some hundred bytes.

use weir_crypto::digest::{HashAlgorithm, Hasher};
use weir_record::{Event, Stream};

/// Channels of one connection that carry recorded data. Without an entry a channel is within its limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// 0: none.
    limit: u64,
    /// What passes past it is hashed.
    hashes: bool,
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Channel {
    number: u32,
    /// What a person watches is recorded whole.
    has_terminal: bool,
    /// Bytes that passed, by stream.
    passed: [u64; 3],
    /// Of the bytes past the limit, by stream; most channels have none.
    digests: Option<Box<[Option<Hasher>; 3]>>,
}

/// What to do with some data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// So many bytes of it are recorded.
    pub(super) len: usize,
    /// And then that the limit has been reached is.
    pub(super) reached: bool,
}

impl Limits {
    pub(super) fn new(limit: u64, hashes: bool) -> Self {
        Limits {
            limit,
            hashes,
            channels: Vec::new(),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn terminal(&mut self, channel: u32) {
        if self.limit > 0 {
            self.channel(channel).has_terminal = true;
        }
    }

    /// Whether any of the stream's next bytes will be recorded.
    pub(super) fn wants(&self, channel: u32, stream: Stream) -> bool {
        let limited = |c: &Channel| !c.has_terminal && c.passed[index(stream)] >= self.limit;
        self.limit == 0
            || !self
                .channels
                .iter()
                .find(|c| c.number == channel)
                .is_some_and(limited)
    }

    pub(super) fn admit(&mut self, channel: u32, stream: Stream, len: usize) -> Admitted {
        let limit = self.limit;
        if limit == 0 {
            return Admitted { len, reached: false };
        }
        let channel = self.channel(channel);
        let passed = &mut channel.passed[index(stream)];
        let room = limit.saturating_sub(*passed);
        *passed = passed.saturating_add(len as u64);
        if channel.has_terminal || room > len as u64 {
            return Admitted { len, reached: false };
        }
        // With room for exactly this the next byte will not be recorded: that is said here, once.
        Admitted {
            len: usize::try_from(room).unwrap_or(len),
            reached: room > 0,
        }
    }

    /// Takes note of what is not recorded, since it is past the limit.
    pub(super) fn pass(&mut self, channel: u32, stream: Stream, data: &[u8]) {
        if self.hashes && !data.is_empty() {
            let digests = self.channel(channel).digests.get_or_insert_default();
            let hasher = digests[index(stream)].get_or_insert_with(|| Hasher::new(HashAlgorithm::Sha256));
            hasher.update(data);
        }
    }

    /// The channel is closed: what of it was not recorded.
    pub(super) fn close(&mut self, channel: u32) -> Vec<Event<'static>> {
        match self.channels.iter().position(|c| c.number == channel) {
            Some(index) => self.channels.swap_remove(index).unrecorded(self.limit),
            None => Vec::new(),
        }
    }

    /// Some channel that has not been closed.
    pub(super) fn any_channel(&self) -> Option<u32> {
        self.channels.first().map(|c| c.number)
    }

    fn channel(&mut self, number: u32) -> &mut Channel {
        let index = self
            .channels
            .iter()
            .position(|c| c.number == number)
            .unwrap_or_else(|| {
                // One channel is what most sessions have.
                self.channels.reserve_exact(1);
                self.channels.push(Channel {
                    number,
                    has_terminal: false,
                    passed: [0; 3],
                    digests: None,
                });
                self.channels.len() - 1
            });
        &mut self.channels[index]
    }
}

impl Channel {
    fn unrecorded(mut self, limit: u64) -> Vec<Event<'static>> {
        let streams = [Stream::Output, Stream::ErrorOutput, Stream::Input];
        if self.has_terminal || limit == 0 {
            return Vec::new();
        }
        let mut events = Vec::new();
        for stream in streams {
            let bytes = self.passed[index(stream)].saturating_sub(limit);
            if bytes > 0 {
                events.push(Event::Unrecorded { stream, bytes });
            }
            let digests = self.digests.as_mut();
            if let Some(hasher) = digests.and_then(|digests| digests[index(stream)].take()) {
                let digest = hasher.finish();
                let sha256 = *digest.as_ref().as_array().expect("SHA-256 has 32 bytes");
                events.push(Event::Digest {
                    stream,
                    bytes,
                    sha256,
                });
            }
        }
        events
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Output => 0,
        Stream::ErrorOutput => 1,
        Stream::Input => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_is_counted_and_said_once() {
        let mut limits = Limits::new(10, false);
        assert_eq!(
            limits.admit(1, Stream::Output, 9),
            Admitted {
                len: 9,
                reached: false
            }
        );
        assert!(limits.wants(1, Stream::Output));
        assert_eq!(
            limits.admit(1, Stream::Output, 5),
            Admitted {
                len: 1,
                reached: true
            }
        );
        assert!(!limits.wants(1, Stream::Output));
        assert_eq!(
            limits.admit(1, Stream::Output, 100),
            Admitted {
                len: 0,
                reached: false
            }
        );
        assert!(limits.wants(1, Stream::ErrorOutput), "each direction has its own");
        assert!(limits.wants(2, Stream::Output), "each channel has its own");
        assert_eq!(
            limits.close(1),
            [Event::Unrecorded {
                stream: Stream::Output,
                bytes: 104
            }]
        );
        assert!(limits.wants(1, Stream::Output), "nothing is left of it");
    }

    #[test]
    fn what_is_past_the_limit_is_hashed_where_the_cluster_has_it_so() {
        let mut limits = Limits::new(10, true);
        limits.admit(1, Stream::Output, 12);
        limits.pass(1, Stream::Output, b"ab");
        limits.admit(1, Stream::ErrorOutput, 10);
        limits.pass(1, Stream::ErrorOutput, b"");
        limits.admit(1, Stream::Output, 1);
        limits.pass(1, Stream::Output, b"c");
        let stream = Stream::Output;
        let digest = weir_crypto::digest::hash(HashAlgorithm::Sha256, &[b"abc"]);
        let digest = Event::Digest {
            stream,
            bytes: 3,
            sha256: *digest.as_ref().as_array().unwrap(),
        };
        assert_eq!(limits.close(1), [Event::Unrecorded { stream, bytes: 3 }, digest]);
        let mut limits = Limits::new(10, false);
        limits.admit(1, stream, 13);
        limits.pass(1, stream, b"abc");
        assert_eq!(limits.close(1), [Event::Unrecorded { stream, bytes: 3 }]);
    }

    #[test]
    fn exactly_the_limit_loses_nothing() {
        let mut limits = Limits::new(10, false);
        assert_eq!(
            limits.admit(1, Stream::Output, 10),
            Admitted {
                len: 10,
                reached: true
            }
        );
        assert_eq!(limits.close(1), []);
    }

    #[test]
    fn terminals_and_limit_0_are_recorded_whole() {
        let mut limits = Limits::new(10, false);
        limits.terminal(1);
        assert_eq!(
            limits.admit(1, Stream::Output, 1000),
            Admitted {
                len: 1000,
                reached: false
            }
        );
        assert!(limits.wants(1, Stream::Output));
        assert_eq!(limits.close(1), []);
        let mut limits = Limits::new(0, false);
        assert_eq!(
            limits.admit(1, Stream::Output, 1000),
            Admitted {
                len: 1000,
                reached: false
            }
        );
        assert_eq!(limits.any_channel(), None);
    }
}
