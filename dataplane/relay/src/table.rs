//! The channels of one connection.
//!
//! Each channel has two numbers, one chosen by either end. A message names the number that its
//! *receiver* chose, so there is one sorted index for each side's numbers.
//!
//! Invariant: every channel stands in the index of its opener, and in the other one from its
//! confirmation on; both indices hold nothing else. A channel leaves when both ends have sent
//! CLOSE, and only then may its numbers be given again.
//!
//! Cost: 64 bytes for a channel, found by binary search. Sorted arrays rather than hash maps: they
//! are smaller, and nobody can choose numbers that collide.

use std::ops::{Index, IndexMut};

use crate::{ChannelId, ChannelKind, Endpoints, Recording, Side, replies::Replies};

/// Channels that one connection may have open or in opening.
///
/// sshd allows 10 sessions on a connection by default and OpenSSH has 10,000 channels in all; a
/// browser behind a dynamic forward has some hundreds. At 80 bytes each with
/// its index entries this bounds the table to 330 KB, and to 6 MB if each is a forward whose names are as long as is kept. The next channel is refused with `SSH_OPEN_RESOURCE_SHORTAGE`.
pub const CHANNELS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    /// The numbers that client and target chose, by [`Side::index`]; the one of the side that did
    /// not open the channel is 0 until it confirms.
    numbers: [u32; 2],
    /// The largest piece of data that the client takes.
    pub(crate) client_maximum_packet: u32,
    /// Bytes of the client's window that the target does not know of.
    pub(crate) reserve: u16,
    /// What the reserve is filled up to again.
    pub(crate) reserve_full: u16,
    flags: u16,
    pub(crate) kind: ChannelKind,
    /// What client and target still await, by [`Side::index`].
    replies: [Replies; 2],
    /// What a forward joins and carries; `None` for sessions.
    pub(crate) forward: Option<Box<Forward>>,
}

/// What is told of a channel that is no session, at its beginning and its end.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) destination: String,
    pub(crate) endpoints: Endpoints,
    /// Bytes of data that passed from client and target, by [`Side::index`].
    pub(crate) bytes: [u64; 2],
}

/// Facts about a channel, each a bit.
pub(crate) mod flag {
    /// Both ends know it.
    pub(crate) const CONFIRMED: u16 = 1;
    pub(crate) const OPENED_BY_TARGET: u16 = 1 << 1;
    /// It ends here: the target does not know it.
    pub(crate) const OWN: u16 = 1 << 2;
    /// A program has been asked for.
    pub(crate) const STARTED: u16 = 1 << 3;
    /// A terminal has been asked for.
    pub(crate) const TERMINAL: u16 = 1 << 4;
    /// EOF came from client, target.
    pub(crate) const EOF_FROM: [u16; 2] = [1 << 5, 1 << 6];
    /// CLOSE came from client, target.
    pub(crate) const CLOSE_FROM: [u16; 2] = [1 << 7, 1 << 8];
    /// CLOSE was sent to client, target.
    pub(crate) const CLOSED_TO: [u16; 2] = [1 << 9, 1 << 10];
    /// What comes from client, target is recorded.
    pub(crate) const RECORDED_FROM: [u16; 2] = [1 << 11, 1 << 12];
    /// What it transfers of files is followed.
    pub(crate) const FOLLOWED: u16 = 1 << 13;
}

impl Channel {
    pub(crate) fn new(id: ChannelId, kind: ChannelKind, opener: Side, number: u32) -> Channel {
        let mut numbers = [0; 2];
        numbers[opener.index()] = number;
        Channel {
            id,
            numbers,
            client_maximum_packet: 0,
            reserve: 0,
            reserve_full: 0,
            flags: if opener == Side::Target {
                flag::OPENED_BY_TARGET
            } else {
                0
            },
            kind,
            replies: Default::default(),
            forward: None,
        }
    }

    /// The number by which `side` knows it: the recipient of messages to that side.
    pub(crate) fn number(&self, side: Side) -> u32 {
        self.numbers[side.index()]
    }

    pub(crate) fn opener(&self) -> Side {
        if self.has(flag::OPENED_BY_TARGET) {
            Side::Target
        } else {
            Side::Client
        }
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u16) {
        self.flags |= flag;
    }

    /// Whether messages of `from` about this channel reach the other end: it is confirmed, and
    /// nothing has closed it in that direction.
    pub(crate) fn carries(&self, from: Side) -> bool {
        let closed = flag::CLOSED_TO[from.other().index()];
        self.flags & (flag::CONFIRMED | flag::OWN | closed) == flag::CONFIRMED
    }

    /// Whether data of `from` is recorded.
    pub(crate) fn is_recorded(&self, from: Side) -> bool {
        self.has(flag::RECORDED_FROM[from.index()])
    }

    /// Sets what is recorded. What a first program had recorded stays so: RFC 4254 §6.5 lets only one
    /// succeed, and which one is not known here.
    pub(crate) fn record(&mut self, recording: Recording) {
        let [input, output] = flag::RECORDED_FROM;
        if !self.has(flag::STARTED) {
            self.flags &= !(input | output);
        }
        if recording.input {
            self.set(input);
        }
        if recording.output {
            self.set(output);
        }
    }

    pub(crate) fn replies(&mut self, requester: Side) -> &mut Replies {
        &mut self.replies[requester.index()]
    }

    pub(crate) fn held_replies(&self) -> u32 {
        self.replies.iter().map(Replies::held).sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: Vec<Channel>,
    /// Each side's numbers in ascending order, with the place in `channels`.
    index: [Vec<(u32, u16)>; 2],
}

/// A channel's place until the next removal.
pub(crate) type Slot = usize;

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.channels.len() >= CHANNELS_MAX
    }

    /// The channel that `side` knows by `number`.
    pub(crate) fn find(&self, side: Side, number: u32) -> Option<Slot> {
        let index = &self.index[side.index()];
        let at = index.binary_search_by_key(&number, |&(known, _)| known).ok()?;
        Some(usize::from(index[at].1))
    }

    /// Takes every channel out.
    pub(crate) fn take_all(&mut self) -> Vec<Channel> {
        self.index = Default::default();
        std::mem::take(&mut self.channels)
    }

    /// The channel with this identity; for rare use, it looks at each.
    pub(crate) fn find_id(&self, id: ChannelId) -> Option<Slot> {
        self.channels.iter().position(|channel| channel.id == id)
    }

    /// Adds a channel, known to its opener. The number must be free and the table not full.
    pub(crate) fn insert(&mut self, channel: Channel) -> Slot {
        assert!(!self.is_full(), "the caller refuses a channel that does not fit");
        let slot = self.channels.len();
        let (opener, number) = (channel.opener(), channel.number(channel.opener()));
        reserve_one(&mut self.channels);
        self.channels.push(channel);
        self.index_number(opener, number, slot);
        slot
    }

    /// Enters the number of the side that accepted the channel; it must be free.
    pub(crate) fn confirm(&mut self, slot: Slot, number: u32) {
        let channel = &mut self.channels[slot];
        let acceptor = channel.opener().other();
        channel.numbers[acceptor.index()] = number;
        channel.set(flag::CONFIRMED);
        self.index_number(acceptor, number, slot);
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Channel {
        let channel = self.channels.swap_remove(slot);
        for (side, number) in known_numbers(&channel) {
            let at = self.place(side, number);
            self.index[side.index()].remove(at);
        }
        let moved = self.channels.get(slot).map(known_numbers);
        for (side, number) in moved.into_iter().flatten() {
            let at = self.place(side, number);
            self.index[side.index()][at].1 = short(slot);
        }
        if self.channels.capacity() > 8 && self.channels.len() < self.channels.capacity() / 4 {
            self.channels.shrink_to(self.channels.len() * 2);
            self.index
                .iter_mut()
                .for_each(|index| index.shrink_to(index.len() * 2));
        }
        channel
    }

    fn index_number(&mut self, side: Side, number: u32, slot: Slot) {
        let index = &mut self.index[side.index()];
        let at = index.partition_point(|&(known, _)| known < number);
        reserve_one(index);
        index.insert(at, (number, short(slot)));
    }

    fn place(&self, side: Side, number: u32) -> usize {
        self.index[side.index()]
            .binary_search_by_key(&number, |&(known, _)| known)
            .expect("a channel stands in the index of each side that knows it")
    }
}

impl Index<Slot> for Table {
    type Output = Channel;

    fn index(&self, slot: Slot) -> &Channel {
        &self.channels[slot]
    }
}

impl IndexMut<Slot> for Table {
    fn index_mut(&mut self, slot: Slot) -> &mut Channel {
        &mut self.channels[slot]
    }
}

/// The sides that know the channel, and by which number.
fn known_numbers(channel: &Channel) -> impl Iterator<Item = (Side, u32)> + use<> {
    let opener = channel.opener();
    let acceptor = channel.has(flag::CONFIRMED).then(|| opener.other());
    let entry = |side| (side, channel.number(side));
    [Some(entry(opener)), acceptor.map(entry)].into_iter().flatten()
}

/// Room for one more, starting with one: most connections have a single channel.
fn reserve_one<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(1));
    }
}

fn short(slot: Slot) -> u16 {
    u16::try_from(slot).expect("CHANNELS_MAX fits into 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_channel_takes_at_most_72_bytes() {
        assert!(size_of::<Channel>() <= 64, "{}", size_of::<Channel>());
    }

    proptest! {
        #[test]
        fn each_number_finds_its_channel(ops in proptest::collection::vec((0u8..3, 0u32..12, any::<bool>()), 1..200)) {
            let mut table = Table::default();
            let mut model: Vec<(ChannelId, Side, u32, Option<u32>)> = Vec::new();
            let taken = |model: &[(ChannelId, Side, u32, Option<u32>)], side: Side, number: u32| {
                model.iter().any(|&(_, opener, own, other)| if opener == side { own == number } else { other == Some(number) })
            };
            for (step, (op, number, target)) in (0u32..).zip(ops) {
                let side = if target { Side::Target } else { Side::Client };
                match op {
                    0 if !taken(&model, side, number) => {
                        let id = ChannelId(step);
                        table.insert(Channel::new(id, ChannelKind::Session, side, number));
                        model.push((id, side, number, None));
                    }
                    1 => {
                        let waiting = model.iter().position(|entry| entry.1 == side && entry.3.is_none());
                        if let Some(at) = waiting && !taken(&model, side.other(), number) {
                            table.confirm(table.find(side, model[at].2).unwrap(), number);
                            model[at].3 = Some(number);
                        }
                    }
                    2 if !model.is_empty() => {
                        let (id, opener, own, _) = model.swap_remove(number as usize % model.len());
                        let slot = table.find(opener, own).unwrap();
                        prop_assert_eq!(table.remove(slot).id, id);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
                for &(id, opener, own, other) in &model {
                    prop_assert_eq!(table[table.find(opener, own).unwrap()].id, id);
                    if let Some(other) = other {
                        prop_assert_eq!(table[table.find(opener.other(), other).unwrap()].id, id);
                    }
                }
                let known = |side: Side| (0..12).filter(|&n| table.find(side, n).is_some()).count();
                let modelled = |side: Side| (0..12).filter(|&n| taken(&model, side, n)).count();
                prop_assert_eq!(known(Side::Client), modelled(Side::Client));
                prop_assert_eq!(known(Side::Target), modelled(Side::Target));
            }
        }
    }
}
