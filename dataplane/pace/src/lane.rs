//! Callers that wait for the same thing, in fair order.
//!
//! Users take turns: each that waits stands in the ring once, whatever the number of callers it has sent, and after its turn
//! goes to the end of the next round. A user who joins does so there too, so nobody is overtaken twice by the same
//! user, but by interactive callers: within a round they go first. Within a user who came first goes first.
//!
//! Nothing is remembered of a user who does not wait. All steps cost O(log n); leaving costs O(callers of that user).

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{Priority, UserId};

/// When it is whose turn; the least is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) round: u64,
    priority: Priority,
    /// Grows with each turn that is given out; 0 for who comes back.
    stamp: u64,
    pub(crate) number: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    users: HashMap<UserId, Line>,
    ring: BTreeMap<Turn, UserId>,
}

/// One user's callers; never empty.
#[derive(Debug)]
struct Line {
    turn: Turn,
    /// By number, least first.
    callers: VecDeque<(u64, Priority)>,
}

impl Lane {
    /// Adds a caller, whose user's turn is at the end of `round` if it has none yet. Numbers and stamps grow with time; a
    /// caller who comes back keeps its number, and comes first with stamp 0.
    pub(crate) fn push(
        &mut self,
        (round, stamp): (u64, u64),
        user: &UserId,
        number: u64,
        priority: Priority,
    ) {
        let Some(line) = self.users.get_mut(user) else {
            let turn = Turn {
                round,
                priority,
                stamp,
                number,
            };
            let callers = VecDeque::from([(number, priority)]);
            self.users.insert(user.clone(), Line { turn, callers });
            self.ring.insert(turn, user.clone());
            return;
        };
        let place = line.callers.partition_point(|(other, _)| *other < number);
        line.callers.insert(place, (number, priority));
        // Who comes back before the others of its user may have a turn that is due earlier, never a later one.
        let place = (line.turn.round, line.turn.stamp).min((round, stamp));
        self.queue_up(user, place);
    }

    /// Whose turn it is.
    pub(crate) fn head(&self) -> Option<Turn> {
        self.ring.first_key_value().map(|(turn, _)| *turn)
    }

    /// Takes the caller whose turn it is; its user's next turn gets `stamp`.
    pub(crate) fn pop(&mut self, stamp: u64) -> Option<Turn> {
        let (turn, user) = self.ring.pop_first()?;
        let line = self.users.get_mut(&user).expect("who is in the ring has a line");
        line.callers.pop_front();
        self.queue_up(&user, (turn.round + 1, stamp));
        Some(turn)
    }

    /// A caller leaves.
    pub(crate) fn remove(&mut self, user: &UserId, number: u64) {
        let Some(line) = self.users.get_mut(user) else {
            return;
        };
        if let Ok(place) = line.callers.binary_search_by_key(&number, |(other, _)| *other) {
            line.callers.remove(place);
            let place = (line.turn.round, line.turn.stamp);
            self.queue_up(user, place);
        }
    }

    /// Puts `user` where its first caller belongs.
    fn queue_up(&mut self, user: &UserId, (round, stamp): (u64, u64)) {
        let line = self.users.get_mut(user).expect("asked for by its own user");
        self.ring.remove(&line.turn);
        let Some(&(number, priority)) = line.callers.front() else {
            self.users.remove(user);
            return;
        };
        line.turn = Turn {
            round,
            priority,
            stamp,
            number,
        };
        self.ring.insert(line.turn, user.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::from(name)
    }

    fn order(lane: &mut Lane) -> Vec<u64> {
        let turns = (100..).map_while(|stamp| lane.pop(stamp));
        turns.map(|turn| turn.number).collect()
    }

    #[test]
    fn users_take_turns_and_each_is_served_as_it_came() {
        let mut lane = Lane::default();
        for number in 0..4 {
            lane.push((1, number), &user("many"), number, Priority::Batch);
        }
        lane.push((1, 4), &user("one"), 4, Priority::Batch);
        lane.push((1, 5), &user("two"), 5, Priority::Batch);
        lane.push((1, 6), &user("two"), 6, Priority::Batch);
        assert_eq!(order(&mut lane), [0, 4, 5, 1, 6, 2, 3]);
        assert!(lane.users.is_empty());
    }

    #[test]
    fn interactive_goes_first_within_a_round_and_not_across_rounds() {
        let mut lane = Lane::default();
        lane.push((1, 0), &user("batch"), 0, Priority::Batch);
        lane.push((1, 1), &user("typing"), 1, Priority::Interactive);
        lane.push((1, 2), &user("typing"), 2, Priority::Interactive);
        assert_eq!(order(&mut lane), [1, 0, 2]);
    }

    #[test]
    fn who_comes_again_and_again_does_not_overtake() {
        let mut lane = Lane::default();
        for number in 0..3 {
            lane.push((1, number), &user("patient"), number, Priority::Batch);
        }
        let (mut number, mut round, mut served) = (10, 0, Vec::new());
        for _ in 0..5 {
            lane.push((round + 1, number), &user("eager"), number, Priority::Interactive);
            number += 1;
            let turn = lane.pop(number).unwrap();
            round = round.max(turn.round);
            served.push(turn.number);
        }
        assert_eq!(served, [10, 0, 11, 1, 12]);
    }

    #[test]
    fn who_comes_back_keeps_its_place() {
        let mut lane = Lane::default();
        lane.push((1, 0), &user("a"), 0, Priority::Batch);
        lane.push((1, 1), &user("a"), 1, Priority::Batch);
        lane.push((1, 2), &user("b"), 2, Priority::Batch);
        let turn = lane.pop(3).unwrap();
        assert_eq!(turn.number, 0);
        lane.push((turn.round, 0), &user("a"), 0, Priority::Batch);
        assert_eq!(order(&mut lane), [0, 2, 1]);
    }

    #[test]
    fn who_leaves_leaves_nothing() {
        let mut lane = Lane::default();
        for number in 0..3 {
            lane.push((1, number), &user("a"), number, Priority::Batch);
        }
        lane.remove(&user("a"), 0);
        lane.remove(&user("a"), 2);
        lane.remove(&user("a"), 2);
        lane.remove(&user("b"), 1);
        assert_eq!(lane.head().unwrap().number, 1);
        lane.remove(&user("a"), 1);
        assert_eq!(lane.head(), None);
        assert!(lane.users.is_empty() && lane.ring.is_empty());
    }
}
