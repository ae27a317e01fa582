//! Callers that wait for one target: in a lane, or for the time of their next try.
//!
//! Invariant: every caller stands in exactly one of a lane and `resting`, its user is counted once for it, and the lanes
//! hold nobody else. The number of callers is bounded by who calls [`Queue::push`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    Priority, Timestamp, UserId,
    lane::{Lane, Turn},
    penalty::{Credential, Trust},
};

/// Somebody who wants a handshake, from the request to its end.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) priority: Priority,
    pub(crate) credential: Credential,
    /// Which of the target's sources it comes from.
    pub(crate) source: usize,
    pub(crate) arrived_at: Timestamp,
    /// Callers that were before it.
    pub(crate) ahead: usize,
    /// Handshakes begun.
    pub(crate) tries: u32,
    /// Those that the target dropped.
    pub(crate) drops: u32,
    /// Those for which the port was shut.
    pub(crate) refusals: u32,
}

impl Caller {
    pub(crate) fn waited(&self, now: Timestamp) -> Duration {
        now.saturating_sub(self.arrived_at)
    }
}

/// The lane that a caller waits in.
pub(crate) type LaneKey = (usize, Trust);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    callers: BTreeMap<u64, Waiting>,
    resting: BTreeSet<(Timestamp, u64)>,
    /// Few: the sources in use, times three.
    lanes: Vec<(LaneKey, Lane)>,
    /// Callers of each user.
    users: HashMap<UserId, usize>,
    /// The round that was served last.
    round: u64,
    /// Turns given out.
    turns: u64,
}

#[derive(Debug)]
struct Waiting {
    caller: Caller,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Lane(Trust),
    Resting(Timestamp),
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.callers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// At most so many are served before a further caller of `user`.
    pub(crate) fn ahead_of(&self, user: &UserId) -> usize {
        let own = self.users.get(user).copied().unwrap_or(0);
        let others = self.users.len() - usize::from(own > 0);
        own + (self.callers.len() - own).min(others.saturating_mul(own + 1))
    }

    pub(crate) fn push(&mut self, number: u64, caller: Caller, trust: Trust) {
        *self.users.entry(caller.user.clone()).or_default() += 1;
        let place = Place::Lane(trust);
        self.callers.insert(number, Waiting { caller, place });
        self.join(number);
    }

    /// A caller that has been served comes back at `until`, before others of its round.
    pub(crate) fn rest(&mut self, number: u64, caller: Caller, until: Timestamp) {
        *self.users.entry(caller.user.clone()).or_default() += 1;
        let place = Place::Resting(until);
        self.resting.insert((until, number));
        self.callers.insert(number, Waiting { caller, place });
    }

    /// Those whose rest is over wait for their turn again.
    pub(crate) fn rouse(&mut self, now: Timestamp, trust: impl Fn(Credential) -> Trust) {
        while let Some(&(until, number)) = self.resting.first()
            && until <= now
        {
            self.resting.pop_first();
            let waiting = self
                .callers
                .get_mut(&number)
                .expect("who rests is among the callers");
            waiting.place = Place::Lane(trust(waiting.caller.credential));
            self.stand(number, (self.round, 0));
        }
    }

    /// Each lane's next turn.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (LaneKey, Turn)> {
        self.lanes
            .iter()
            .filter_map(|(key, lane)| Some((*key, lane.head()?)))
    }

    /// Takes the caller whose turn it is in the lane.
    pub(crate) fn pop(&mut self, key: LaneKey) -> Option<(u64, Caller)> {
        let lane = self.lanes.iter_mut().find(|(other, _)| *other == key)?;
        self.turns += 1;
        let turn = lane.1.pop(self.turns)?;
        self.round = self.round.max(turn.round);
        let waiting = self
            .callers
            .remove(&turn.number)
            .expect("who is in a lane is among the callers");
        self.uncount(&waiting.caller.user);
        Some((turn.number, waiting.caller))
    }

    /// Takes out a caller, wherever it stands.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Caller> {
        let Waiting { caller, place } = self.callers.remove(&number)?;
        match place {
            Place::Lane(trust) => self.lane((caller.source, trust)).remove(&caller.user, number),
            Place::Resting(until) => {
                self.resting.remove(&(until, number));
            }
        }
        self.uncount(&caller.user);
        Some(caller)
    }

    /// Moves those who wait with `credential` to the lane that fits what is now known of it.
    pub(crate) fn reclassify(&mut self, credential: Credential, trust: Trust) {
        let moved: Vec<u64> = self
            .callers
            .iter()
            .filter(|(_, waiting)| waiting.caller.credential == credential)
            .filter(|(_, waiting)| matches!(waiting.place, Place::Lane(now) if now != trust))
            .map(|(number, _)| *number)
            .collect();
        for number in moved {
            let waiting = self.callers.get_mut(&number).expect("found just now");
            let (source, place) = (waiting.caller.source, Place::Lane(trust));
            let Place::Lane(from) = std::mem::replace(&mut waiting.place, place) else {
                continue;
            };
            let user = waiting.caller.user.clone();
            self.lane((source, from)).remove(&user, number);
            self.join(number);
        }
    }

    /// The one who has waited longest.
    pub(crate) fn oldest(&self) -> Option<(u64, Timestamp)> {
        let (number, waiting) = self.callers.first_key_value()?;
        Some((*number, waiting.caller.arrived_at))
    }

    /// When the first rest is over.
    pub(crate) fn next_rouse(&self) -> Option<Timestamp> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Who has to go so that a further caller of `user` finds room: the last caller of the user that has the most, if
    /// that is more than `user` would have.
    pub(crate) fn displaced_by(&self, user: &UserId) -> Option<u64> {
        let own = self.users.get(user).copied().unwrap_or(0);
        // Equal ones are told apart by name, not by the map's order.
        let (largest, count) = self.users.iter().max_by_key(|(name, count)| (**count, *name))?;
        if *count <= own + 1 {
            return None;
        }
        let last = self
            .callers
            .iter()
            .rev()
            .find(|(_, waiting)| waiting.caller.user == *largest);
        last.map(|(number, _)| *number)
    }

    /// At the end of the next round.
    fn join(&mut self, number: u64) {
        self.turns += 1;
        self.stand(number, (self.round + 1, self.turns));
    }

    fn stand(&mut self, number: u64, place: (u64, u64)) {
        let waiting = &self.callers[&number];
        let Place::Lane(trust) = waiting.place else {
            return;
        };
        let caller = &waiting.caller;
        let (user, priority, key) = (caller.user.clone(), caller.priority, (caller.source, trust));
        self.lane(key).push(place, &user, number, priority);
    }

    fn lane(&mut self, key: LaneKey) -> &mut Lane {
        let place = self.lanes.iter().position(|(other, _)| *other == key);
        let place = place.unwrap_or_else(|| {
            self.lanes.push((key, Lane::default()));
            self.lanes.len() - 1
        });
        &mut self.lanes[place].1
    }

    fn uncount(&mut self, user: &UserId) {
        let count = self.users.get_mut(user).expect("each caller is counted");
        *count -= 1;
        if *count == 0 {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const LANE: LaneKey = (0, Trust::Proven);

    fn caller(user: &str, credential: u64) -> Caller {
        Caller {
            user: UserId::from(user),
            priority: Priority::Batch,
            credential: Credential(credential),
            source: 0,
            arrived_at: S,
            ahead: 0,
            tries: 0,
            drops: 0,
            refusals: 0,
        }
    }

    fn queue(users: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (number, user) in (0..).zip(users) {
            queue.push(number, caller(user, 0), Trust::Proven);
        }
        queue
    }

    fn order(queue: &mut Queue, lane: LaneKey) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(lane))
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn number_ahead_is_counted_by_turns() {
        let queue = queue(&["a", "a", "a", "a", "b"]);
        assert_eq!(queue.ahead_of(&UserId::from("c")), 2, "one turn of each other");
        assert_eq!(queue.ahead_of(&UserId::from("b")), 1 + 2);
        assert_eq!(queue.ahead_of(&UserId::from("a")), 4 + 1);
    }

    #[test]
    fn who_rests_is_not_served_and_then_goes_before_its_round() {
        let mut queue = queue(&["a", "b", "c"]);
        let (number, dropped) = queue.pop(LANE).unwrap();
        queue.rest(number, dropped, 5 * S);
        assert_eq!(queue.pop(LANE).unwrap().0, 1);
        queue.rouse(4 * S, |_| Trust::Proven);
        assert_eq!((queue.len(), queue.next_rouse()), (2, Some(5 * S)));
        queue.rouse(5 * S, |_| Trust::Proven);
        assert_eq!(queue.next_rouse(), None);
        assert_eq!(order(&mut queue, LANE), [0, 2]);
        assert!(queue.is_empty() && queue.users.is_empty());
    }

    #[test]
    fn who_has_the_most_makes_room() {
        let queue = queue(&["a", "b", "a", "b", "a"]);
        assert_eq!(queue.displaced_by(&UserId::from("c")), Some(4));
        assert_eq!(queue.displaced_by(&UserId::from("a")), None);
        assert_eq!(
            queue.displaced_by(&UserId::from("b")),
            None,
            "no better than the one it would displace"
        );
    }

    #[test]
    fn credential_that_is_proven_takes_all_its_callers_along() {
        let mut queue = Queue::default();
        for number in 0..4 {
            queue.push(number, caller("a", number % 2), Trust::Unproven);
        }
        queue.reclassify(Credential(1), Trust::Proven);
        assert_eq!(order(&mut queue, LANE), [1, 3]);
        assert_eq!(order(&mut queue, (0, Trust::Unproven)), [0, 2]);
    }

    #[test]
    fn who_leaves_is_gone_from_wherever_it_stood() {
        let mut queue = queue(&["a", "b"]);
        let (number, dropped) = queue.pop(LANE).unwrap();
        queue.rest(number, dropped, 5 * S);
        assert!(queue.remove(0).is_some() && queue.remove(1).is_some());
        assert!(queue.remove(1).is_none());
        assert!(queue.is_empty() && queue.resting.is_empty() && queue.users.is_empty());
        assert_eq!(queue.heads().count(), 0);
    }
}
