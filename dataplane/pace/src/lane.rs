//! Callers that wait for the same thing, in fair order.
//!
//! Users take turns: each that waits stands in the ring once, whatever the number of callers it has sent, and after its turn
//! goes to the end of the next round. Within a round interactive callers go first, within a user who came first.
//!
//! A newcomer stands among the newcomers too, and is served by whichever comes first; once served it is no newcomer.
//! Who pops decides how often the newcomers are asked first.
//!
//! Nothing is remembered here of a user who does not wait. All steps cost O(log n); leaving costs O(callers of that user).

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{Priority, UserId};

/// When it is whose turn; the least is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    round: u64,
    priority: Priority,
    /// Grows with each turn that is given out; 0 for who comes back.
    stamp: u64,
    pub(crate) number: u64,
}

impl Turn {
    /// The round of a turn in the ring; none of a newcomer's turn.
    pub(crate) fn round(&self) -> Option<u64> {
        (self.round != NEWCOMERS).then_some(self.round)
    }
}

/// Newcomers are before all rounds, which are counted from 1.
const NEWCOMERS: u64 = 0;

/// Where a user stands: after all with a lower stamp in its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) round: u64,
    pub(crate) stamp: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    users: HashMap<UserId, Line>,
    ring: BTreeMap<Turn, UserId>,
    /// Those in the ring that have not been served yet.
    newcomers: BTreeMap<Turn, UserId>,
}

/// One user's callers; never empty.
#[derive(Debug)]
struct Line {
    place: Place,
    is_new: bool,
    /// By number, least first.
    callers: VecDeque<(u64, Priority)>,
}

impl Line {
    /// Where the ring has it, and where the newcomers.
    fn turns(&self) -> Option<(Turn, Option<Turn>)> {
        let &(number, priority) = self.callers.front()?;
        let turn = Turn {
            round: self.place.round,
            priority,
            stamp: self.place.stamp,
            number,
        };
        let round = NEWCOMERS;
        Some((turn, self.is_new.then_some(Turn { round, ..turn })))
    }
}

impl Lane {
    /// Adds a caller. Its user stands at `place`, and among the newcomers if it `is_new`; if it stands here already it moves
    /// only where that is earlier. Numbers grow with time; a caller who comes back keeps its number, and comes first with stamp 0.
    pub(crate) fn push(
        &mut self,
        place: Place,
        is_new: bool,
        user: &UserId,
        number: u64,
        priority: Priority,
    ) {
        self.change(user, |line| {
            let line = line.get_or_insert_with(|| Line {
                place,
                is_new,
                callers: VecDeque::new(),
            });
            line.place = line.place.min(place);
            let at = line.callers.partition_point(|(other, _)| *other < number);
            line.callers.insert(at, (number, priority));
        });
    }

    /// Newcomers that wait here.
    pub(crate) fn newcomers(&self) -> usize {
        self.newcomers.len()
    }

    /// Whose turn it is.
    pub(crate) fn head(&self, newcomers_first: bool) -> Option<Turn> {
        let newcomer = self.newcomers.first_key_value().filter(|_| newcomers_first);
        newcomer
            .or_else(|| self.ring.first_key_value())
            .map(|(turn, _)| *turn)
    }

    /// Takes the caller whose `turn` it is; its user's next turn is at `next`.
    pub(crate) fn pop(&mut self, turn: Turn, next: Place) -> Option<UserId> {
        let turns = turn.round().map_or(&self.newcomers, |_| &self.ring);
        let user = turns.get(&turn)?.clone();
        self.change(&user, |line| {
            let line = line.as_mut().expect("who has a turn has a line");
            line.callers.pop_front();
            line.place = next;
            line.is_new = false;
        });
        Some(user)
    }

    /// A caller leaves. Tells where its user stood, and whether as a newcomer.
    pub(crate) fn remove(&mut self, user: &UserId, number: u64) -> Option<(Place, bool)> {
        let line = self.users.get(user)?;
        let stood = (line.place, line.is_new);
        let place = line.callers.binary_search_by_key(&number, |(other, _)| *other);
        if let Ok(place) = place {
            self.change(user, |line| {
                let line = line.as_mut().expect("seen just now");
                line.callers.remove(place);
            });
        }
        Some(stood)
    }

    /// Changes the line of `user`, and where it stands by that.
    fn change(&mut self, user: &UserId, change: impl FnOnce(&mut Option<Line>)) {
        let (key, mut line) = match self.users.remove_entry(user) {
            Some((key, line)) => (key, Some(line)),
            None => (user.clone(), None),
        };
        let before = line.as_ref().and_then(Line::turns);
        change(&mut line);
        let after = line.as_ref().and_then(Line::turns);
        if before != after {
            if let Some((turn, new)) = before {
                self.ring.remove(&turn);
                new.map(|new| self.newcomers.remove(&new));
            }
            if let Some((turn, new)) = after {
                self.ring.insert(turn, key.clone());
                new.map(|new| self.newcomers.insert(new, key.clone()));
            }
        }
        if let Some(line) = line.filter(|line| !line.callers.is_empty()) {
            self.users.insert(key, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::from(name)
    }

    fn place(round: u64, stamp: u64) -> Place {
        Place { round, stamp }
    }

    /// Whoever is served goes to the end of the next round.
    fn pop(lane: &mut Lane, newcomers_first: bool, stamp: u64) -> Option<Turn> {
        let turn = lane.head(newcomers_first)?;
        lane.pop(turn, place(turn.round.max(1) + 1, stamp)).unwrap();
        Some(turn)
    }

    fn order(lane: &mut Lane) -> Vec<u64> {
        let turns = (100..).map_while(|stamp| pop(lane, false, stamp));
        turns.map(|turn| turn.number).collect()
    }

    #[test]
    fn users_take_turns_and_each_is_served_as_it_came() {
        let mut lane = Lane::default();
        for number in 0..4 {
            lane.push(place(1, number), false, &user("many"), number, Priority::Batch);
        }
        lane.push(place(1, 4), false, &user("one"), 4, Priority::Batch);
        lane.push(place(1, 5), false, &user("two"), 5, Priority::Batch);
        lane.push(place(1, 6), false, &user("two"), 6, Priority::Batch);
        assert_eq!(order(&mut lane), [0, 4, 5, 1, 6, 2, 3]);
        assert!(lane.users.is_empty());
    }

    #[test]
    fn interactive_goes_first_within_a_round_and_not_across_rounds() {
        let mut lane = Lane::default();
        lane.push(place(1, 0), false, &user("batch"), 0, Priority::Batch);
        lane.push(place(1, 1), false, &user("typing"), 1, Priority::Interactive);
        lane.push(place(1, 2), false, &user("typing"), 2, Priority::Interactive);
        assert_eq!(order(&mut lane), [1, 0, 2]);
    }

    #[test]
    fn newcomer_is_served_once_by_whichever_of_its_turns_comes_first() {
        let mut lane = Lane::default();
        lane.push(place(1, 1), false, &user("old"), 1, Priority::Batch);
        lane.push(place(1, 2), true, &user("new"), 2, Priority::Batch);
        lane.push(place(1, 3), true, &user("typing"), 3, Priority::Interactive);
        lane.push(place(1, 4), false, &user("new"), 4, Priority::Batch);
        assert_eq!(
            lane.head(true).unwrap().number,
            3,
            "interactive first among newcomers too"
        );
        assert_eq!(pop(&mut lane, false, 10).unwrap().number, 3);
        assert_eq!(pop(&mut lane, true, 11).unwrap().number, 2);
        assert!(lane.newcomers.is_empty());
        assert_eq!(order(&mut lane), [1, 4]);
        assert!(lane.users.is_empty() && lane.ring.is_empty());
    }

    #[test]
    fn who_comes_back_keeps_its_place() {
        let mut lane = Lane::default();
        lane.push(place(1, 1), false, &user("a"), 0, Priority::Batch);
        lane.push(place(1, 2), false, &user("a"), 1, Priority::Batch);
        lane.push(place(1, 3), false, &user("b"), 2, Priority::Batch);
        let turn = pop(&mut lane, false, 4).unwrap();
        assert_eq!(turn.number, 0);
        lane.push(place(turn.round, 0), false, &user("a"), 0, Priority::Batch);
        assert_eq!(order(&mut lane), [0, 2, 1]);
    }

    #[test]
    fn who_leaves_leaves_nothing() {
        let mut lane = Lane::default();
        for number in 0..3 {
            lane.push(place(1, number), true, &user("a"), number, Priority::Batch);
        }
        assert_eq!(lane.remove(&user("a"), 0), Some((place(1, 0), true)));
        lane.remove(&user("a"), 2);
        lane.remove(&user("a"), 2);
        assert_eq!(lane.remove(&user("b"), 1), None);
        assert_eq!(lane.head(false).unwrap().number, 1);
        assert_eq!(lane.head(true).unwrap().number, 1);
        lane.remove(&user("a"), 1);
        assert_eq!((lane.head(false), lane.head(true)), (None, None));
        assert!(lane.users.is_empty() && lane.ring.is_empty() && lane.newcomers.is_empty());
    }
}
