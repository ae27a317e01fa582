//! Callers that wait for one target: in a lane, or for the time of their next try.
//!
//! Who leaves and returns stands where it would have stood had it never left; who has not been served for a whole round, or
//! ever, is a newcomer and goes early. So a single connect passes the forks of twenty users, though nothing tells it from one
//! of them.
//!
//! - A newcomer keeps a place at the end of the next round as well, and every other turn goes by the rounds alone: however
//!   many newcomers come, who waits is put off to twice its time at most.
//! - Who comes again and again is served no more often than who never stopped waiting, so it overtakes no turn of another twice
//!   (interactive callers, which go first in each round: twice at most).
//! - Users served in this round and the last are remembered, while anybody waits at all. At least every other turn is one
//!   of the rounds', so these are about as many as wait.
//!
//! Invariant: every caller stands in exactly one of a lane and `resting`, its user is counted once for it, and the lanes
//! hold nobody else. The number of callers is bounded by who calls [`Queue::push`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    Priority, Timestamp, UserId,
    lane::{Lane, Place as Standing, Turn},
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

#[derive(Debug)]
pub(crate) struct Queue {
    callers: BTreeMap<u64, Waiting>,
    resting: BTreeSet<(Timestamp, u64)>,
    /// Few: the sources in use, times three.
    lanes: Vec<(LaneKey, Lane)>,
    /// Callers of each user.
    users: HashMap<UserId, usize>,
    /// The round that is served, from 1.
    round: u64,
    /// Turns given out.
    turns: u64,
    /// The last turn was a newcomer's, so the next is not.
    was_newcomer: bool,
    served: Served,
}

/// The stamps of the next turns of users served in this round and in the one before.
#[derive(Debug, Default)]
struct Served {
    now: HashMap<UserId, u64>,
    before: HashMap<UserId, u64>,
}

impl Served {
    /// Against those who come back each round together with ever more others. Beyond it, users are taken for new.
    const LIMIT: usize = 4096;

    fn next_round(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }

    fn insert(&mut self, user: UserId, stamp: u64) {
        if self.now.len() < Self::LIMIT {
            self.now.insert(user, stamp);
        }
    }

    /// The place of a user's next turn, if it is remembered.
    fn next(&self, user: &UserId, round: u64) -> Option<Standing> {
        let standing = |round, stamp: &u64| Standing { round, stamp: *stamp };
        let now = self.now.get(user).map(|stamp| standing(round + 1, stamp));
        now.or_else(|| self.before.get(user).map(|stamp| standing(round, stamp)))
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            callers: BTreeMap::new(),
            resting: BTreeSet::new(),
            lanes: Vec::new(),
            users: HashMap::new(),
            round: 1,
            turns: 0,
            was_newcomer: false,
            served: Served::default(),
        }
    }
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

    /// Nobody of `user` waits, nor has been served in this round or the last.
    pub(crate) fn is_new(&self, user: &UserId) -> bool {
        !self.users.contains_key(user) && self.served.next(user, self.round).is_none()
    }

    /// At most so many of those who wait now are served before a further caller of `user`.
    pub(crate) fn ahead_of(&self, user: &UserId, is_new: bool) -> usize {
        let own = self.users.get(user).copied().unwrap_or(0);
        let others = self.users.len() - usize::from(own > 0);
        let ahead = own + (self.callers.len() - own).min(others.saturating_mul(own + 1));
        if !is_new {
            return ahead;
        }
        // Between each two newcomers lies one turn of the rounds.
        let newcomers: usize = self.lanes.iter().map(|(_, lane)| lane.newcomers()).sum();
        ahead.min(2 * newcomers + 1)
    }

    /// Adds a caller, `is_new` if its user [is](Queue::is_new) and has no handshake under way.
    pub(crate) fn push(&mut self, number: u64, caller: Caller, trust: Trust, is_new: bool) {
        *self.users.entry(caller.user.clone()).or_default() += 1;
        let standing = self.served.next(&caller.user, self.round);
        let standing = standing.unwrap_or_else(|| self.end_of_next_round());
        let place = Place::Lane(trust);
        self.callers.insert(number, Waiting { caller, place });
        self.stand(number, standing, is_new);
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
            let first = Standing {
                round: self.round,
                stamp: 0,
            };
            self.stand(number, first, false);
        }
    }

    /// Each lane's next turn.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (LaneKey, Turn)> {
        self.lanes
            .iter()
            .filter_map(|(key, lane)| Some((*key, lane.head(!self.was_newcomer)?)))
    }

    /// Takes the caller whose turn it is in the lane.
    pub(crate) fn pop(&mut self, key: LaneKey) -> Option<(u64, Caller)> {
        let (_, lane) = self.lanes.iter_mut().find(|(other, _)| *other == key)?;
        let turn = lane.head(!self.was_newcomer)?;
        self.was_newcomer = turn.round().is_none();
        if turn.round().is_some_and(|round| round > self.round) {
            self.round += 1;
            self.served.next_round();
        }
        self.turns += 1;
        // A lane that was shut for rounds does not make up for them.
        let next = Standing {
            round: self.round + 1,
            stamp: self.turns,
        };
        let user = lane.pop(turn, next)?;
        self.uncount(&user);
        self.served.insert(user, next.stamp);
        let waiting = self
            .callers
            .remove(&turn.number)
            .expect("who is in a lane is among the callers");
        Some((turn.number, waiting.caller))
    }

    /// A caller, wherever it stands.
    pub(crate) fn caller(&self, number: u64) -> Option<&Caller> {
        Some(&self.callers.get(&number)?.caller)
    }

    /// Takes out a caller, wherever it stands.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Caller> {
        let Waiting { caller, place } = self.callers.remove(&number)?;
        match place {
            Place::Lane(trust) => {
                self.lane((caller.source, trust)).remove(&caller.user, number);
            }
            Place::Resting(until) => {
                self.resting.remove(&(until, number));
            }
        }
        self.uncount(&caller.user);
        Some(caller)
    }

    /// Moves those who wait with `credential` to the lane that fits what is now known of it; they keep their places.
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
            let stood = self.lane((source, from)).remove(&user, number);
            let (standing, is_new) = stood.expect("who waits in a lane stands there");
            self.stand(number, standing, is_new);
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

    fn end_of_next_round(&mut self) -> Standing {
        self.turns += 1;
        Standing {
            round: self.round + 1,
            stamp: self.turns,
        }
    }

    fn stand(&mut self, number: u64, standing: Standing, is_new: bool) {
        let waiting = &self.callers[&number];
        let Place::Lane(trust) = waiting.place else {
            return;
        };
        let caller = &waiting.caller;
        let (user, priority, key) = (caller.user.clone(), caller.priority, (caller.source, trust));
        self.lane(key).push(standing, is_new, &user, number, priority);
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
            queue.push(number, caller(user, 0), Trust::Proven, false);
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
        let ahead = |user, is_new| queue.ahead_of(&UserId::from(user), is_new);
        assert_eq!(ahead("c", false), 2, "one turn of each other");
        assert_eq!(ahead("c", true), 1, "who is new goes second at the latest");
        assert_eq!(ahead("b", false), 1 + 2);
        assert_eq!(ahead("a", false), 4 + 1);
    }

    /// A queue in which each of `users` has two callers and has been served once; further callers have numbers from 100 on.
    fn busy(users: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (number, user) in (0..).zip([users, users, users].concat()) {
            queue.push(number, caller(user, 0), Trust::Proven, false);
        }
        for number in 0..users.len() as u64 {
            assert_eq!(queue.pop(LANE).unwrap().0, number);
        }
        queue
    }

    /// `user` asks for a handshake, having none under way.
    fn ask(queue: &mut Queue, number: u64, user: &str) {
        let is_new = queue.is_new(&UserId::from(user));
        queue.push(number, caller(user, 0), Trust::Proven, is_new);
    }

    fn serve(queue: &mut Queue) -> u64 {
        queue.pop(LANE).unwrap().0
    }

    #[test]
    fn who_is_new_goes_before_all_who_have_been_served() {
        let mut queue = busy(&["a", "b", "c"]);
        ask(&mut queue, 100, "new");
        ask(&mut queue, 101, "new");
        assert_eq!(order(&mut queue, LANE), [100, 3, 4, 5, 101, 6, 7, 8]);
    }

    #[test]
    fn newcomers_without_end_leave_every_other_turn_to_those_who_wait() {
        let mut queue = busy(&["a", "b", "c"]);
        let mut served = Vec::new();
        for number in 100..130 {
            ask(&mut queue, number, &format!("new{number}"));
            ask(&mut queue, 100 + number, &format!("new{}", 100 + number));
            served.push(serve(&mut queue));
        }
        assert_eq!(served[..6], [100, 3, 200, 4, 101, 5]);
        // In the rounds each newcomer stands once, as anybody does.
        assert!(
            (6..9).all(|patient| served.contains(&patient)),
            "all are served: {served:?}"
        );
    }

    #[test]
    fn who_returns_stands_where_it_would_have_stood_had_it_stayed() {
        let mut queue = busy(&["a", "eager", "c"]);
        for number in [4, 7] {
            queue.remove(number);
        }
        // Served in this round, and back before the next begins.
        ask(&mut queue, 100, "eager");
        assert_eq!([serve(&mut queue), serve(&mut queue)], [3, 100]);
        // In the next round its turn has passed, and is made up for at once; then there is none to make up for.
        assert_eq!([serve(&mut queue), serve(&mut queue)], [5, 6]);
        ask(&mut queue, 101, "eager");
        assert_eq!(serve(&mut queue), 101);
        ask(&mut queue, 102, "eager");
        assert_eq!([serve(&mut queue), serve(&mut queue)], [8, 102]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_comes_again_and_again_overtakes_no_turn_twice() {
        let mut queue = busy(&["a", "b", "c", "d"]);
        let (mut number, mut since) = (100, [0; 4]);
        for turn in 0..8 {
            if !queue.users.contains_key("eager") {
                ask(&mut queue, number, "eager");
                number += 1;
            }
            match serve(&mut queue) {
                served @ 0..100 => since[(served % 4) as usize] = 0,
                _ => since.iter_mut().for_each(|eager| *eager += 1),
            }
            assert!(since.iter().all(|eager| *eager <= 1), "turn {turn}: {since:?}");
        }
    }

    #[test]
    fn lane_that_was_shut_for_rounds_does_not_make_up_for_them() {
        let mut queue = busy(&["a", "b"]);
        let shut = (0, Trust::Unproven);
        for number in 100..104 {
            queue.push(number, caller("held", 1), Trust::Unproven, true);
        }
        for _ in 0..2 {
            queue.pop(LANE);
        }
        let mut served = Vec::new();
        for _ in 0..4 {
            let heads = queue.heads().min_by_key(|(_, turn)| *turn);
            served.push(queue.pop(heads.unwrap().0).unwrap().0);
        }
        assert_eq!(served, [100, 4, 5, 101]);
        assert_eq!(order(&mut queue, shut), [102, 103]);
    }

    #[test]
    fn those_who_are_remembered_are_bounded_by_those_who_wait() {
        let mut queue = busy(&["a", "b", "c"]);
        let mut number = 100;
        for old in ["a", "b", "c"].into_iter().cycle().take(10_000) {
            ask(&mut queue, number, &format!("new{number}"));
            ask(&mut queue, number + 1, old);
            serve(&mut queue);
            number += 2;
            if queue.len() > 20 {
                queue.remove(*queue.callers.keys().next_back().unwrap());
                serve(&mut queue);
            }
            let remembered = queue.served.now.len() + queue.served.before.len();
            assert!(remembered <= 100, "{remembered} of {} who wait", queue.len());
        }
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
            queue.push(number, caller("a", number % 2), Trust::Unproven, true);
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
