//! sshd as a client sees it: the rule of `MaxStartups`, `PerSourceMaxStartups`, `PerSourcePenalties`, and a handshake that
//! takes the network's time and a core's.

use std::{collections::HashMap, time::Duration};

use weir_pace::{DropForm, MaxStartups};

use crate::random::Random;

/// What a target is made of.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) limits: MaxStartups,
    pub(crate) per_source: Option<u32>,
    /// 9.8 and newer.
    pub(crate) penalties: bool,
    pub(crate) cores: usize,
    /// What a handshake takes of a core.
    pub(crate) work: Duration,
    pub(crate) round_trip: Duration,
}

impl Default for Machine {
    /// An untuned sshd 9.8 or newer on two cores in the same building.
    fn default() -> Self {
        Self {
            limits: MaxStartups::DEFAULT,
            per_source: None,
            penalties: true,
            cores: 2,
            work: Duration::from_millis(20),
            round_trip: Duration::from_millis(4),
        }
    }
}

/// What the network and the listener do to whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// The port is shut.
    Down,
    /// Whoever connects is dropped.
    Dropping,
    /// Connections are accepted and nothing is said.
    Silent,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reception {
    Refused,
    Dropped(DropForm),
    Silent,
    Accepted(Handshake),
}

/// When what happens in a handshake that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The client sees the end of authentication.
    pub(crate) ends_at: Duration,
    /// sshd no longer counts it.
    pub(crate) freed_at: Duration,
    /// Which listener counts it: a restarted one knows nothing of those before.
    pub(crate) listener: u32,
}

#[derive(Debug)]
pub(crate) struct Sshd {
    pub(crate) machine: Machine,
    pub(crate) mood: Mood,
    /// Unauthenticated connections.
    pub(crate) startups: u32,
    /// The most there ever were.
    pub(crate) peak: u32,
    pub(crate) accepted: u64,
    pub(crate) drops: u64,
    pub(crate) bans: u64,
    listener: u32,
    of_source: HashMap<usize, u32>,
    held_against: HashMap<usize, Penalty>,
    /// When each core is free.
    cores: Vec<Duration>,
}

#[derive(Debug, Default)]
struct Penalty {
    sum: Duration,
    as_of: Duration,
    active: bool,
}

impl Penalty {
    fn drain(&mut self, now: Duration) {
        self.sum = self.sum.saturating_sub(now - self.as_of);
        self.as_of = now;
        self.active &= !self.sum.is_zero();
    }
}

impl Sshd {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            mood: Mood::Well,
            startups: 0,
            peak: 0,
            accepted: 0,
            drops: 0,
            bans: 0,
            listener: 0,
            of_source: HashMap::new(),
            held_against: HashMap::new(),
            cores: vec![Duration::ZERO; machine.cores],
            machine,
        }
    }

    /// A connection from `source` arrives.
    pub(crate) fn connect(&mut self, now: Duration, source: usize, rng: &mut Random) -> Reception {
        match self.mood {
            Mood::Down => return Reception::Refused,
            Mood::Silent => return Reception::Silent,
            Mood::Dropping => return self.drop_it(),
            Mood::Well => {}
        }
        let of_source = self.of_source.get(&source).copied().unwrap_or(0);
        let crowded = self.machine.per_source.is_some_and(|limit| of_source >= limit);
        if self.is_banned(now, source) || self.dropped_by_chance(rng) || crowded {
            return self.drop_it();
        }
        self.accepted += 1;
        self.startups += 1;
        self.peak = self.peak.max(self.startups);
        *self.of_source.entry(source).or_default() += 1;

        // Half of the messages pass before the work, half after it; processes above the number of cores get in each other's way.
        let latency = rng.log_normal(self.machine.round_trip, 0.3) * 5;
        let crowd = f64::from(self.startups) / self.machine.cores as f64;
        let work = rng
            .log_normal(self.machine.work, 0.25)
            .mul_f64(1.0 + 0.01 * crowd);
        let core = self.cores.iter_mut().min().expect("a machine has a core");
        *core = (*core).max(now + latency / 2) + work;
        let ends_at = *core + latency / 2;
        let lag = rng.between(Duration::from_millis(5), Duration::from_millis(20));
        Reception::Accepted(Handshake {
            ends_at,
            freed_at: ends_at + lag,
            listener: self.listener,
        })
    }

    /// One that was let in is no longer counted.
    pub(crate) fn free(&mut self, source: usize, listener: u32) {
        if listener == self.listener {
            self.startups -= 1;
            *self.of_source.get_mut(&source).expect("counted when it came") -= 1;
        }
    }

    /// Unauthenticated connections that are not from `source`.
    pub(crate) fn of_others(&self, source: usize) -> u32 {
        self.startups - self.of_source.get(&source).copied().unwrap_or(0)
    }

    /// A connection has ended without success.
    pub(crate) fn penalise(&mut self, now: Duration, source: usize, cost: Duration) {
        if !self.machine.penalties {
            return;
        }
        let penalty = self.held_against.entry(source).or_default();
        penalty.drain(now);
        penalty.sum = (penalty.sum + cost).min(Duration::from_mins(10));
        if penalty.sum > Duration::from_secs(15) && !penalty.active {
            penalty.active = true;
            self.bans += 1;
        }
    }

    /// The listener ends; what it had let in goes on.
    pub(crate) fn stop(&mut self) {
        self.mood = Mood::Down;
        self.listener += 1;
        self.startups = 0;
        self.of_source.clear();
        self.held_against.clear();
    }

    fn is_banned(&mut self, now: Duration, source: usize) -> bool {
        let Some(penalty) = self.held_against.get_mut(&source) else {
            return false;
        };
        penalty.drain(now);
        penalty.active
    }

    /// servconf.c, sshd.c: `should_drop_connection`, in the same integers.
    fn dropped_by_chance(&self, rng: &mut Random) -> bool {
        let MaxStartups { start, rate, full } = self.machine.limits;
        if self.startups < start {
            return false;
        }
        if self.startups >= full || rate == 100 {
            return true;
        }
        let p = (100 - rate) * (self.startups - start) / (full - start) + rate;
        rng.below(100) < p as usize
    }

    fn drop_it(&mut self) -> Reception {
        self.drops += 1;
        Reception::Dropped(DropForm::NotAllowed)
    }
}

#[test]
fn drop_rule_is_that_of_sshd() {
    let mut rng = Random::seeded(1);
    for (startups, expected) in [
        (9, 0),
        (10, 30),
        (11, 30),
        (20, 37),
        (55, 65),
        (99, 99),
        (100, 100),
    ] {
        let mut sshd = Sshd::new(Machine::default());
        sshd.startups = startups;
        let drops = (0..20_000).filter(|_| sshd.dropped_by_chance(&mut rng)).count();
        let percent = drops as f64 / 200.0;
        assert!(
            (percent - f64::from(expected)).abs() < 1.5,
            "{startups}: {percent} %"
        );
    }
}

#[test]
fn four_quick_failures_are_a_ban_until_all_has_drained() {
    let (mut sshd, mut rng) = (Sshd::new(Machine::default()), Random::seeded(1));
    let at = Duration::from_secs;
    for _ in 0..3 {
        sshd.penalise(at(100), 7, at(5));
    }
    assert!(matches!(
        sshd.connect(at(100), 7, &mut rng),
        Reception::Accepted(_)
    ));
    sshd.penalise(at(101), 7, at(5));
    assert_eq!(
        sshd.connect(at(119), 7, &mut rng),
        Reception::Dropped(DropForm::NotAllowed)
    );
    assert!(matches!(
        sshd.connect(at(119), 8, &mut rng),
        Reception::Accepted(_)
    ));
    assert!(matches!(
        sshd.connect(at(121), 7, &mut rng),
        Reception::Accepted(_)
    ));
}
