use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{Credential, DropForm, End, Hindrance, MaxStartups, Priority, UserId};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const BUSY: Outcome = Outcome::Dropped(DropForm::NotAllowed);

/// A pacer with its clock, its random numbers, and what it has said.
struct Rig {
    pacer: Pacer,
    now: Timestamp,
    seed: u64,
    admitted: Vec<Ticket>,
    given_up: Vec<(Ticket, crate::Explanation)>,
    alerts: Vec<Event>,
}

impl Rig {
    fn new(config: Config) -> Self {
        Self {
            pacer: Pacer::new(config),
            now: 1000 * S,
            seed: 1,
            admitted: Vec::new(),
            given_up: Vec::new(),
            alerts: Vec::new(),
        }
    }

    fn with<T>(&mut self, step: impl FnOnce(&mut Pacer, Timestamp, Random<'_>) -> T) -> T {
        let seed = &mut self.seed;
        let mut rng = || {
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 31)
        };
        let answer = step(&mut self.pacer, self.now, &mut rng);
        while let Some(event) = self.pacer.next_event() {
            match event {
                Event::Admit { ticket, .. } => self.admitted.push(ticket),
                Event::GiveUp { ticket, explanation } => self.given_up.push((ticket, explanation)),
                alert => self.alerts.push(alert),
            }
        }
        answer
    }

    fn ask(&mut self, target: &str, user: &str, credential: u64, source: Option<IpAddr>) -> Admission {
        let (target, user) = (TargetId::from(target), UserId::from(user));
        let request = Request {
            target: &target,
            user: &user,
            source,
            priority: Priority::Batch,
            credential: Credential(credential),
        };
        self.with(|pacer, now, rng| pacer.request(now, &request, rng))
    }

    /// A request of `user` whose credential is good.
    fn request(&mut self, user: &str) -> Admission {
        self.ask("a:22", user, 0, None)
    }

    fn report(&mut self, ticket: Ticket, outcome: Outcome) -> Next {
        self.with(|pacer, now, rng| pacer.report(now, ticket, outcome, rng))
    }

    fn leave(&mut self, ticket: Ticket) {
        self.with(|pacer, now, rng| pacer.leave(now, ticket, rng));
    }

    /// Lets time pass, doing what is due when it is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.pacer.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.with(Pacer::poll);
        }
        self.now = until;
    }

    /// Makes credential 0 proven with `a:22`.
    fn prove(&mut self) {
        let ticket = admitted(self.request("prover"));
        self.report(ticket, Outcome::Counted);
    }

    fn snapshot(&self) -> Snapshot {
        self.pacer.snapshot(self.now, &TargetId::from("a:22")).unwrap()
    }
}

fn admitted(admission: Admission) -> Ticket {
    match admission {
        Admission::Admitted(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn queued(admission: Admission) -> Ticket {
    match admission {
        Admission::Queued { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

fn rig() -> Rig {
    let mut rig = Rig::new(Config::default());
    rig.prove();
    rig
}

#[test]
fn window_bounds_what_is_in_flight_per_target() {
    let mut rig = rig();
    for _ in 0..8 {
        admitted(rig.request("a"));
    }
    queued(rig.request("a"));
    admitted(rig.ask("b:22", "a", 0, None));
    let snapshot = rig.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (8, 1));
    assert_eq!(
        (snapshot.window, snapshot.share, snapshot.ceiling),
        (8.0, 9.0, None)
    );
}

#[test]
fn slot_is_given_back_at_the_first_packet_or_fifty_milliseconds_after_success() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    let waiting: Vec<_> = (0..2).map(|_| queued(rig.request("a"))).collect();
    rig.report(flying[0], Outcome::Authenticated);
    rig.report(flying[1], Outcome::Authenticated);
    assert!(
        rig.admitted.is_empty(),
        "the target may not have counted them yet"
    );
    rig.pass(20 * MS);
    rig.report(flying[1], Outcome::Counted);
    assert_eq!(rig.admitted, waiting[..1]);
    rig.pass(30 * MS);
    assert_eq!(rig.admitted, waiting);
    // The packet that comes later is no second release.
    assert_eq!(rig.report(flying[0], Outcome::Counted), Next::Done);
    assert_eq!(rig.snapshot().in_flight, 8);
}

#[test]
fn dropped_handshake_is_tried_again_under_the_same_ticket() {
    let mut rig = rig();
    let ticket = admitted(rig.request("a"));
    for n in 1..=4 {
        assert_eq!(rig.report(ticket, BUSY), Next::Wait);
        assert_eq!(rig.snapshot().waiting, 1);
        rig.pass(2 * S);
        assert_eq!(rig.admitted, vec![ticket; n]);
    }
    assert_eq!(rig.report(ticket, Outcome::Counted), Next::Done);
    assert_eq!((rig.snapshot().drops, rig.snapshot().retries), (4, 4));
}

#[test]
fn who_was_admitted_without_waiting_is_not_new_when_it_sends_more() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("many"))).collect();
    let many: Vec<_> = (0..2).map(|_| queued(rig.request("many"))).collect();
    let patient = queued(rig.request("patient"));
    let Admission::Queued { ticket: late, ahead } = rig.request("late") else {
        panic!("the window is full");
    };
    assert_eq!(ahead, 2, "one turn of each other");
    for ticket in flying.into_iter().take(4) {
        rig.report(ticket, Outcome::Counted);
    }
    assert_eq!(rig.admitted, [patient, many[0], late, many[1]]);
}

#[test]
fn wait_ends_in_words_at_the_limit() {
    let mut rig = rig();
    for _ in 0..8 {
        admitted(rig.request("a"));
    }
    let waiting = queued(rig.request("b"));
    let behind = queued(rig.request("c"));
    rig.pass(30 * S - MS);
    assert!(rig.given_up.is_empty());
    rig.pass(MS);
    let (ticket, explanation) = &rig.given_up[0];
    assert_eq!((*ticket, explanation.waited), (waiting, 30 * S));
    assert_eq!(
        (explanation.end, explanation.hindrance),
        (End::WaitLimit, Hindrance::Slow)
    );
    assert_eq!((rig.given_up[1].0, rig.given_up[1].1.ahead), (behind, 1));
    rig.leave(waiting);
    assert_eq!(rig.snapshot().waiting, 0);
}

#[test]
fn drop_after_the_wait_limit_is_told() {
    let mut rig = rig();
    let ticket = admitted(rig.request("a"));
    rig.now += 31 * S;
    let Next::GiveUp(explanation) = rig.report(ticket, BUSY) else {
        panic!("the limit is over");
    };
    assert_eq!((explanation.tries, explanation.drops), (1, 1));
    assert_eq!(explanation.hindrance, Hindrance::Drops);
}

#[test]
fn who_leaves_at_the_moment_it_is_admitted_passes_the_slot_on() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    let first = queued(rig.request("a"));
    let second = queued(rig.request("a"));
    rig.report(flying[0], Outcome::Counted);
    assert_eq!(rig.admitted, [first]);
    rig.leave(first);
    assert_eq!(rig.admitted, [first, second]);
    rig.leave(first);
    assert_eq!(rig.snapshot().in_flight, 8);
    assert_eq!(rig.snapshot().penalty, Duration::ZERO);
}

#[test]
fn full_queue_makes_room_for_who_has_less_in_it() {
    let mut rig = Rig::new(Config {
        queue_limit: 4,
        ..Config::default()
    });
    rig.prove();
    for _ in 0..8 {
        admitted(rig.request("many"));
    }
    let waiting: Vec<_> = (0..4).map(|_| queued(rig.request("many"))).collect();
    let Admission::Refused(explanation) = rig.request("many") else {
        panic!("the queue is full");
    };
    assert_eq!((explanation.end, explanation.ahead), (End::QueueFull, 4));
    queued(rig.request("one"));
    assert_eq!(rig.given_up.len(), 1);
    assert_eq!(
        (rig.given_up[0].0, rig.given_up[0].1.end),
        (waiting[3], End::Displaced)
    );
    assert_eq!(rig.snapshot().waiting, 4);
}

#[test]
fn unproven_credentials_cannot_bring_the_penalties_above_fifteen_seconds() {
    let mut rig = rig();
    let wrong: Vec<_> = (1..=3)
        .map(|n| admitted(rig.ask("a:22", "wrong", n, None)))
        .collect();
    queued(rig.ask("a:22", "wrong", 4, None));
    admitted(rig.request("good"));
    for ticket in wrong {
        rig.report(ticket, Outcome::Rejected);
    }
    assert_eq!(rig.snapshot().penalty, 15 * S);
    assert!(
        rig.admitted.is_empty(),
        "another failure would pass fifteen seconds"
    );
    admitted(rig.request("good"));
    rig.pass(5 * S);
    assert_eq!(rig.admitted.len(), 1);
}

#[test]
fn credential_that_proves_good_lets_all_with_it_go_on() {
    let mut rig = Rig::new(Config::default());
    let flying: Vec<_> = (0..3).map(|_| admitted(rig.request("a"))).collect();
    let waiting: Vec<_> = (0..5).map(|_| queued(rig.request("a"))).collect();
    rig.report(flying[0], Outcome::Authenticated);
    assert_eq!(rig.admitted, waiting);
}

#[test]
fn penalties_are_of_one_source_address_and_the_window_of_all() {
    let mut rig = rig();
    let addresses = [1, 2].map(|n| Some(IpAddr::from([10, 0, 0, n])));
    for n in 0..3 {
        let ticket = admitted(rig.ask("a:22", "wrong", 9 + n, addresses[0]));
        rig.report(ticket, Outcome::Rejected);
    }
    queued(rig.ask("a:22", "other", 8, addresses[0]));
    admitted(rig.ask("a:22", "other", 8, addresses[1]));
    for _ in 0..7 {
        admitted(rig.ask("a:22", "good", 0, addresses[0]));
    }
    queued(rig.ask("a:22", "good", 0, addresses[1]));
}

#[test]
fn suspected_ban_is_probed_one_at_a_time_and_alerts_once() {
    let mut rig = rig();
    let begin = rig.now;
    let mut flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    for _ in 0..50 {
        queued(rig.request("b"));
    }
    let mut tried_at = Vec::new();
    while rig.now < begin + 29 * S {
        for ticket in std::mem::take(&mut flying) {
            rig.report(ticket, BUSY);
        }
        rig.pass(MS);
        flying = std::mem::take(&mut rig.admitted);
        if rig.now > begin + 100 * MS {
            assert!(flying.len() <= 1, "one probe at a time");
        }
        tried_at.extend(flying.iter().map(|_| rig.now - begin));
    }
    for ticket in flying {
        rig.report(ticket, BUSY);
    }
    let late = tried_at.iter().filter(|at| **at > 8 * S);
    assert!(
        (4..=9).contains(&late.clone().count()),
        "few probes, and enough: {tried_at:?}"
    );
    let [Event::BanSuspected(alert)] = &rig.alerts[..] else {
        panic!("{:?}", rig.alerts);
    };
    assert!(alert.to_string().contains("PerSourcePenaltyExemptList"));
    assert!(rig.snapshot().ban_suspected);
    let (_, explanation) = {
        rig.pass(2 * S);
        rig.given_up.first().unwrap()
    };
    assert_eq!(explanation.hindrance, Hindrance::SuspectedBan);
    // Somebody gets in: all is well again.
    let newcomer = queued(rig.request("c"));
    for ticket in std::mem::take(&mut rig.admitted) {
        rig.report(ticket, BUSY);
    }
    rig.pass(10 * S);
    assert_eq!(rig.admitted, [newcomer]);
    rig.report(newcomer, Outcome::Counted);
    assert!(matches!(rig.alerts[1], Event::BanOver { .. }));
    assert!(!rig.snapshot().ban_suspected);
}

#[test]
fn restart_is_waited_for_and_a_dead_target_is_told_at_once() {
    let mut rig = rig();
    let ticket = admitted(rig.request("a"));
    assert_eq!(rig.report(ticket, Outcome::Refused), Next::Wait);
    rig.pass(2 * S);
    assert_eq!(rig.admitted, [ticket]);
    rig.pass(4 * S);
    assert_eq!(rig.report(ticket, Outcome::Refused), Next::Done, "down too long");
    let unknown = admitted(rig.ask("b:22", "a", 0, None));
    assert_eq!(rig.report(unknown, Outcome::Refused), Next::Done);
}

#[test]
fn silent_target_is_met_with_one_at_a_time() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    for _ in 0..20 {
        queued(rig.request("b"));
    }
    rig.pass(10 * S);
    for ticket in flying {
        rig.report(ticket, Outcome::Silent);
    }
    assert_eq!(rig.admitted.len(), 1);
    rig.pass(20 * S);
    assert_eq!(rig.given_up.len(), 19);
    assert_eq!(rig.given_up[0].1.hindrance, Hindrance::Silent);
}

/// Its host key no longer fits, say: each try costs a second, and they come without an end.
#[test]
fn good_credential_that_does_not_get_through_cannot_bring_a_ban() {
    let mut rig = rig();
    rig.prove();
    for _ in 0..600 {
        if let Admission::Admitted(ticket) = rig.request("robot") {
            rig.report(ticket, Outcome::Broken);
        }
        while let Some(ticket) = rig.admitted.pop() {
            rig.report(ticket, Outcome::Broken);
        }
        assert!(rig.snapshot().penalty <= 15 * S, "{:?}", rig.snapshot().penalty);
        rig.pass(100 * MS);
    }
}

#[test]
fn target_that_nobody_reaches_is_not_called_slow() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    let waits = queued(rig.request("b"));
    queued(rig.request("b"));
    for ticket in flying {
        rig.report(ticket, Outcome::Unreachable);
    }
    assert_eq!(rig.admitted, [waits]);
    rig.pass(30 * S);
    assert_eq!(rig.given_up[0].1.hindrance, Hindrance::Unreachable);
}

#[test]
fn who_waits_for_a_crowded_target_is_not_told_of_failed_logins() {
    let mut rig = rig();
    let dropped = admitted(rig.ask("a:22", "a", 1, None));
    rig.report(dropped, BUSY);
    let hindrance = |rig: &Rig, ticket| rig.pacer.explain(rig.now, ticket).unwrap().hindrance;
    // Whoever comes next finds the source put off by the drops of others.
    let dropped_again = loop {
        rig.pass(MS);
        if let Some(ticket) = rig.admitted.pop() {
            break ticket;
        }
    };
    rig.report(dropped_again, BUSY);
    let waits = queued(rig.ask("a:22", "b", 2, None));
    assert_eq!(hindrance(&rig, waits), Hindrance::Drops);

    let mut rig = self::rig();
    for credential in 1..=3 {
        let failed = admitted(rig.ask("a:22", "a", credential, None));
        rig.report(failed, Outcome::Rejected);
        rig.pass(MS);
    }
    let waits = queued(rig.ask("a:22", "b", 4, None));
    assert_eq!(hindrance(&rig, waits), Hindrance::Penalties);
}

#[test]
fn number_of_data_planes_may_change_at_any_time() {
    let mut rig = rig();
    rig.with(|pacer, now, rng| pacer.set_planes(now, 3, rng));
    let flying: Vec<_> = (0..3).map(|_| admitted(rig.request("a"))).collect();
    for _ in 0..10 {
        queued(rig.request("a"));
    }
    rig.with(|pacer, now, rng| pacer.set_planes(now, 1, rng));
    assert_eq!(rig.admitted.len(), 5, "the share has grown to 9, the window is 8");
    rig.with(|pacer, now, rng| pacer.set_planes(now, 9, rng));
    for ticket in flying {
        rig.report(ticket, Outcome::Counted);
    }
    assert_eq!(rig.admitted.len(), 5, "what is in flight is above the new share");
}

#[test]
fn hint_holds_for_targets_that_are_in_use_and_for_those_to_come() {
    let mut rig = rig();
    let hint = |text| {
        Some(Hint {
            max_startups: MaxStartups::parse(text),
            ..Hint::default()
        })
    };
    for (target, text) in [("a:22", "3"), ("b:22", "3")] {
        rig.with(|pacer, now, rng| pacer.set_hint(now, &TargetId::from(target), hint(text), rng));
        for _ in 0..2 {
            admitted(rig.ask(target, "a", 0, None));
        }
        queued(rig.ask(target, "a", 0, None));
    }
    rig.with(|pacer, now, rng| pacer.set_hint(now, &TargetId::from("a:22"), None, rng));
    assert_eq!(rig.admitted.len(), 1);
}

#[test]
fn what_was_learnt_outlives_idleness_for_a_time() {
    let mut rig = Rig::new(Config {
        memory_limit: 10,
        ..Config::default()
    });
    rig.prove();
    rig.pass(10 * Duration::from_mins(1));
    assert!(rig.pacer.snapshot(rig.now, &TargetId::from("a:22")).is_some());
    rig.pass(5 * Duration::from_mins(1));
    assert_eq!(rig.pacer.snapshots(rig.now).count(), 0);
    assert_eq!(rig.pacer.next_timeout(), None, "nothing is left to wait for");

    for n in 0..100 {
        let ticket = admitted(rig.ask(&format!("{n}:22"), "a", 0, None));
        rig.report(ticket, Outcome::Counted);
    }
    assert_eq!(rig.pacer.snapshots(rig.now).count(), 10);
    assert!(
        rig.pacer.slots.len() <= 11,
        "slots are used again: {}",
        rig.pacer.slots.len()
    );
}

#[test]
fn names_of_targets_that_do_not_exist_leave_nothing() {
    let mut rig = Rig::new(Config::default());
    for n in 0..1000 {
        let ticket = admitted(rig.ask(&format!("{n}:22"), "a", 0, None));
        rig.report(ticket, Outcome::Unreachable);
    }
    assert_eq!((rig.pacer.index.len(), rig.pacer.slots.len()), (0, 1));
}

#[test]
fn clock_that_runs_on_while_nothing_happens_changes_nothing() {
    let mut rig = rig();
    let waiting: Vec<_> = (0..9).map(|_| rig.request("a")).collect();
    assert!(matches!(waiting[8], Admission::Queued { .. }));
    // Nobody polls for a day: what is due is done by the next call.
    rig.now += 86_400 * S;
    rig.with(Pacer::poll);
    assert_eq!(rig.given_up.len(), 1);
    assert_eq!((rig.snapshot().in_flight, rig.snapshot().waiting), (8, 0));
    for admission in waiting.into_iter().take(8) {
        rig.report(admitted(admission), Outcome::Counted);
    }
    admitted(rig.request("a"));
}

#[test]
fn first_waits_are_counted_and_neither_retries_nor_those_who_give_up() {
    let mut rig = rig();
    let flying: Vec<_> = (0..8).map(|_| admitted(rig.request("a"))).collect();
    let waiting = queued(rig.request("b"));
    queued(rig.request("c"));
    rig.pass(60 * MS);
    rig.report(flying[0], Outcome::Counted);
    assert_eq!(rig.admitted, [waiting]);
    rig.report(waiting, BUSY);
    rig.pass(40 * S);
    let waits = rig.snapshot().waits;
    assert_eq!((waits.counts[0], waits.counts[3]), (9, 1));
    assert_eq!(waits.sum, 60 * MS);
    let first = rig.snapshot().admitted - rig.snapshot().retries;
    assert_eq!(waits.counts.iter().sum::<u64>(), first);
    assert!(rig.snapshot().given_up > 0);
}

#[test]
fn totals_include_targets_that_are_forgotten() {
    let mut rig = Rig::new(Config {
        memory_limit: 10,
        ..Config::default()
    });
    for n in 0..100 {
        let ticket = admitted(rig.ask(&format!("{n}:22"), "a", 0, None));
        rig.report(ticket, Outcome::Counted);
    }
    for _ in 0..4 {
        rig.ask("a:22", "a", 0, None);
    }
    let totals = rig.pacer.totals();
    assert_eq!((totals.admitted, totals.waits.counts[0]), (103, 103));
    assert_eq!((totals.in_flight, totals.waiting, totals.targets), (3, 1, 11));
    rig.pass(60 * Duration::from_mins(1));
    assert_eq!(rig.pacer.totals().admitted, 103);
    assert_eq!((rig.pacer.totals().given_up, rig.pacer.totals().waiting), (1, 0));
}

#[test]
fn busiest_are_those_with_trouble_then_those_with_waits_then_by_logins_and_name() {
    let mut rig = Rig::new(Config::default());
    for (target, logins) in [("d", 1), ("c", 1), ("many", 2)] {
        for _ in 0..logins {
            let ticket = admitted(rig.ask(target, "a", 0, None));
            rig.report(ticket, Outcome::Counted);
        }
    }
    for _ in 0..4 {
        rig.ask("waits", "a", 0, None);
    }
    let dropped = admitted(rig.ask("drops", "a", 0, None));
    rig.report(dropped, BUSY);
    let names = |limit| {
        let busiest = rig.pacer.busiest(rig.now, limit).into_iter();
        busiest.map(|seen| seen.target.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(9), ["drops", "waits", "many", "c", "d"]);
    assert_eq!(names(3), ["drops", "waits", "many"]);
    assert!(names(0).is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Request {
        target: u8,
        user: u8,
        credential: u8,
        source: u8,
    },
    Report {
        which: usize,
        outcome: Outcome,
    },
    Leave {
        which: usize,
    },
    Pass {
        ms: u64,
    },
    Planes(u32),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Counted),
        3 => Just(Outcome::Authenticated),
        4 => Just(BUSY),
        1 => Just(Outcome::Dropped(DropForm::ExceededMaxStartups)),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Broken),
        1 => Just(Outcome::Silent),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::NotDialled),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u8, 0..4u8, 0..4u8, 0..2u8).prop_map(|(target, user, credential, source)| {
            Step::Request { target, user, credential, source }
        }),
        6 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Step::Report { which, outcome }),
        1 => any::<usize>().prop_map(|which| Step::Leave { which }),
        2 => (0..3000u64).prop_map(|ms| Step::Pass { ms }),
        1 => prop_oneof![1..4u32, Just(1000)].prop_map(Step::Planes),
    ]
}

/// Where each ticket stands, by what the pacer has said of it.
#[derive(Default)]
struct Ledger {
    waiting: HashSet<Ticket>,
    flying: Vec<Ticket>,
    lingering: HashSet<Ticket>,
    target: HashMap<Ticket, TargetId>,
}

impl Ledger {
    fn hear(&mut self, rig: &mut Rig) {
        for ticket in rig.admitted.drain(..) {
            assert!(self.waiting.remove(&ticket), "woken without waiting: {ticket:?}");
            self.flying.push(ticket);
        }
        for (ticket, _) in rig.given_up.drain(..) {
            // Who was admitted and gives up after a drop hears it from the report alone.
            assert!(
                self.waiting.remove(&ticket),
                "given up without waiting: {ticket:?}"
            );
        }
    }

    fn take(&mut self, rig: &mut Rig, step: Step) {
        match step {
            Step::Request {
                target,
                user,
                credential,
                source,
            } => {
                let name = format!("{target}:22");
                let source = Some(IpAddr::from([10, 0, 0, source]));
                let admission = rig.ask(&name, &format!("user{user}"), credential.into(), source);
                match admission {
                    Admission::Admitted(ticket) => {
                        self.flying.push(ticket);
                        self.target.insert(ticket, TargetId::from(name));
                        self.within_the_window(rig, ticket);
                    }
                    Admission::Queued { ticket, .. } => {
                        self.waiting.insert(ticket);
                        self.target.insert(ticket, TargetId::from(name));
                    }
                    Admission::Refused(_) => {}
                }
            }
            Step::Report { which, outcome } if !self.flying.is_empty() => {
                let ticket = self.flying.swap_remove(which % self.flying.len());
                if outcome == Outcome::Authenticated {
                    self.lingering.insert(ticket);
                }
                if rig.report(ticket, outcome) == Next::Wait {
                    self.waiting.insert(ticket);
                }
            }
            Step::Leave { which } => {
                let all: Vec<_> = self.waiting.iter().chain(&self.flying).copied().collect();
                if let Some(ticket) = all.get(which % all.len().max(1)) {
                    self.waiting.remove(ticket);
                    self.flying.retain(|other| other != ticket);
                    rig.leave(*ticket);
                }
            }
            Step::Pass { ms } => rig.pass(Duration::from_millis(ms)),
            Step::Planes(planes) => rig.with(|pacer, now, rng| pacer.set_planes(now, planes, rng)),
            Step::Report { .. } => {}
        }
        self.hear(rig);
    }

    fn within_the_window(&self, rig: &Rig, ticket: Ticket) {
        let snapshot = rig.pacer.snapshot(rig.now, &self.target[&ticket]).unwrap();
        assert!(
            snapshot.in_flight as f64 <= snapshot.window.ceil(),
            "{snapshot:?}"
        );
        assert!(snapshot.window <= snapshot.share && snapshot.share <= 9.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: nobody is woken twice, nobody is lost, windows and bounds hold.
    #[test]
    fn every_ticket_ends_once_and_nothing_is_left_over(steps in prop::collection::vec(step(), 1..200)) {
        let mut rig = Rig::new(Config { queue_limit: 12, memory_limit: 2, ..Config::default() });
        let mut ledger = Ledger::default();
        for step in steps {
            ledger.take(&mut rig, step);
            for snapshot in rig.pacer.snapshots(rig.now) {
                prop_assert!(snapshot.waiting <= 12 + 9, "{snapshot:?}");
                prop_assert!(snapshot.in_flight <= 9, "{snapshot:?}");
            }
            prop_assert!(rig.pacer.slots.len() <= 5);
        }
        // The world becomes well: all who wait get in, or their time ends.
        for _ in 0..2000 {
            for ticket in std::mem::take(&mut ledger.flying) {
                rig.report(ticket, Outcome::Counted);
            }
            ledger.hear(&mut rig);
            if ledger.flying.is_empty() && ledger.waiting.is_empty() {
                break;
            }
            rig.pass(100 * MS);
            ledger.hear(&mut rig);
        }
        prop_assert!(ledger.waiting.is_empty(), "lost: {:?}", ledger.waiting);
        rig.pass(S);
        for snapshot in rig.pacer.snapshots(rig.now) {
            prop_assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0));
        }
        prop_assert!(rig.pacer.snapshots(rig.now).count() <= 2, "idle targets are bounded");
        rig.pass(2 * rig.pacer.config().memory_time);
        prop_assert_eq!(rig.pacer.slots.len(), rig.pacer.free.len());
        prop_assert!(rig.pacer.timers.is_empty() && rig.pacer.idle.order.is_empty());
    }

    /// With one slot and users who all have somebody waiting, nobody is served twice before everybody once.
    #[test]
    fn users_are_served_in_turns(users in prop::collection::vec(0..5u8, 1..60)) {
        let mut rig = rig();
        let target = TargetId::from("a:22");
        let one = Hint { window: Some(1), ..Hint::default() };
        rig.with(|pacer, now, rng| pacer.set_hint(now, &target, Some(one), rng));
        let mut flying = admitted(rig.request("first"));
        let mut left = HashMap::<u8, usize>::new();
        let mut owner = HashMap::new();
        for user in users {
            owner.insert(queued(rig.request(&user.to_string())), user);
            *left.entry(user).or_default() += 1;
        }
        let mut since = HashMap::<u8, usize>::new();
        for _ in 0..owner.len() {
            rig.admitted.clear();
            rig.report(flying, Outcome::Counted);
            prop_assert_eq!(rig.admitted.len(), 1);
            flying = rig.admitted[0];
            let served = owner[&flying];
            *left.get_mut(&served).unwrap() -= 1;
            since.insert(served, 0);
            left.retain(|_, left| *left > 0);
            for waiting in left.keys().filter(|user| **user != served) {
                let turns = since.entry(*waiting).or_default();
                *turns += 1;
                prop_assert!(*turns < 5, "user {waiting} is passed over");
            }
        }
    }
}
