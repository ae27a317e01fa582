//! What one login costs the pacer: a request and the report that gives its slot back.
//!
//! `cargo bench -p weir-pace`

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use weir_pace::{
    Admission, Config, Credential, Event, Next, Outcome, Pacer, Priority, Request, TargetId, Ticket, UserId,
};

const TARGETS: usize = 100_000;

struct Rig {
    pacer: Pacer,
    targets: Vec<TargetId>,
    users: Vec<UserId>,
    now: Duration,
    seed: u64,
}

impl Rig {
    /// A pacer that remembers [`TARGETS`] targets, each of which has let somebody in.
    fn new() -> Self {
        let mut rig = Self {
            pacer: Pacer::new(Config {
                memory_limit: 2 * TARGETS,
                ..Config::default()
            }),
            targets: (0..TARGETS)
                .map(|n| TargetId::from(format!("node{n}.example:22")))
                .collect(),
            users: (0..1000).map(|n| UserId::from(format!("user{n}"))).collect(),
            now: Duration::from_secs(1),
            seed: 1,
        };
        for place in 0..TARGETS {
            rig.login(place, 0);
        }
        assert_eq!(rig.pacer.snapshots(rig.now).count(), TARGETS);
        rig
    }

    fn random(&mut self) -> usize {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap()
    }

    fn request(&mut self, target: usize, user: usize) -> Admission {
        let request = Request {
            target: &self.targets[target],
            user: &self.users[user],
            source: None,
            priority: Priority::Batch,
            credential: Credential(7),
        };
        let seed = &mut self.seed;
        self.pacer.request(self.now, &request, &mut || *seed)
    }

    fn report(&mut self, ticket: Ticket, outcome: Outcome) -> Next {
        let seed = &mut self.seed;
        self.pacer.report(self.now, ticket, outcome, &mut || *seed)
    }

    fn login(&mut self, target: usize, user: usize) {
        self.now += Duration::from_micros(10);
        let Admission::Admitted(ticket) = self.request(target, user) else {
            panic!("nothing else is in flight");
        };
        black_box(self.report(ticket, Outcome::Counted));
    }
}

fn admit_and_release(c: &mut Criterion) {
    let mut rig = Rig::new();
    c.bench_function("admit_and_release/100000_targets", |b| {
        b.iter(|| {
            let (target, user) = (rig.random() % TARGETS, rig.random() % 1000);
            rig.login(target, user);
        });
    });
    c.bench_function("admit_and_release/one_of_100000_targets", |b| {
        b.iter(|| rig.login(77, 5));
    });
    // With success told first and the first packet after it: the timer of the linger on top.
    c.bench_function("admit_success_and_release/100000_targets", |b| {
        b.iter(|| {
            let target = rig.random() % TARGETS;
            rig.now += Duration::from_micros(10);
            let Admission::Admitted(ticket) = rig.request(target, 3) else {
                panic!("nothing else is in flight");
            };
            rig.report(ticket, Outcome::Authenticated);
            rig.report(ticket, Outcome::Counted);
            let seed = &mut rig.seed;
            rig.pacer.poll(rig.now, &mut || *seed);
        });
    });
    // A full queue of a thousand users at one target: each release wakes one, who comes again at the end.
    let mut tickets = Vec::new();
    for user in 0..1000 {
        match rig.request(5, user) {
            Admission::Admitted(ticket) => tickets.push(ticket),
            Admission::Queued { .. } => {}
            Admission::Refused(explanation) => panic!("{explanation}"),
        }
    }
    c.bench_function("release_wakes_one_of_1000_waiting", |b| {
        b.iter(|| {
            let ticket = tickets.pop().unwrap();
            rig.report(ticket, Outcome::Counted);
            while let Some(event) = rig.pacer.next_event() {
                if let Event::Admit { ticket, .. } = event {
                    tickets.push(ticket);
                }
            }
            let user = rig.random() % 1000;
            rig.request(5, user);
        });
    });
}

criterion_group!(benches, admit_and_release);
criterion_main!(benches);
