//! Ten thousand targets, of which few are dialled often and most seldom.

use std::time::Duration;

use weir_pace::{Config, Outcome, Priority};

use crate::{
    MS, S, assert_all_in, quantile,
    random::Random,
    seeds,
    sshd::Machine,
    world::{Client, Fate, Login, Turn, World},
};

const TARGETS: usize = 10_000;

/// The n-th most popular is picked about 1/n as often as the first.
fn popular(rng: &mut Random) -> usize {
    let pick = (TARGETS as f64).powf(rng.unit());
    let below = (0..TARGETS.ilog2() + 1).map(|bit| 1_usize << bit);
    // Truncated by comparison: the largest whole number not above `pick`.
    let whole = below.rev().fold(0, |whole, bit| {
        if (whole + bit) as f64 <= pick {
            whole + bit
        } else {
            whole
        }
    });
    whole.clamp(1, TARGETS) - 1
}

/// The n-th target; those that are dialled most have the cores for it.
fn machine(n: usize, rng: &mut Random) -> Machine {
    let least = if n < 20 { 4 } else { 1 };
    Machine {
        cores: least + rng.below(4),
        round_trip: rng.log_normal(5 * MS, 0.7),
        work: rng.log_normal(20 * MS, 0.3),
        ..Machine::default()
    }
}

fn fleet(seed: u64, planes: u32, logins: usize, mean_us: u32) -> World {
    let mut rng = Random::seeded(seed);
    let machines = (0..TARGETS).map(|n| machine(n, &mut rng)).collect();
    let mut world = World::new(seed, machines).paced(planes, &Config::default());
    for n in 0..200 {
        let at = rng.between(S, 30 * S);
        let target = n;
        let mean = Some(rng.between(300 * MS, 2 * S));
        let stay = S;
        world.turn(at, Turn::Outside { target, mean, stay });
    }
    for _ in 0..100 {
        let (at, target) = (rng.between(S, 30 * S), popular(&mut rng));
        world.turn(at, Turn::Restart(target, 500 * MS));
    }
    let mut at = S;
    for _ in 0..logins {
        at += rng.exponential(Duration::from_micros(mean_us.into()));
        let login = Login {
            priority: if rng.below(3) == 0 {
                Priority::Interactive
            } else {
                Priority::Batch
            },
            ..Login::of(rng.below(2000))
        };
        world.login(at, login.at(rng.below(planes as usize), popular(&mut rng)));
    }
    world.run(at + 60 * S);
    world
}

/// Everybody is in, but for those who met a shut port at a target that their data plane had never reached before.
fn assert_none_lost(world: &World) {
    let refused = |client: &&Client| matches!(client.fate, Fate::Failed(Outcome::Refused));
    let refusals = world.clients.iter().filter(refused).count();
    let lost = world
        .clients
        .iter()
        .find(|client| !client.is_in() && !refused(client));
    assert!(lost.is_none(), "{lost:?}");
    println!("{refusals} at targets never seen before");
    assert!(refusals * 1000 < world.clients.len());
}

fn assert_well(world: &World) {
    let waited = || world.clients.iter().map(|client| client.waited()).collect();
    let peak = world.targets.iter().map(|sshd| sshd.peak).max().unwrap();
    println!(
        "{} logins; waits: half {:?}, 99 % {:?}, longest {:?}; peak {peak}",
        world.clients.len(),
        quantile(waited(), 0.5),
        quantile(waited(), 0.99),
        quantile(waited(), 1.0),
    );
    assert!(quantile(waited(), 0.5) < 5 * MS);
    assert!(peak < 100, "{peak}");
}

#[test]
fn ten_thousand_targets_behind_one_data_plane() {
    for seed in seeds(1) {
        let world = fleet(seed, 1, 60_000, 2000);
        assert_none_lost(&world);
        assert_well(&world);
    }
}

#[test]
fn ten_thousand_targets_behind_ten_data_planes() {
    for seed in seeds(1) {
        let world = fleet(seed, 10, 60_000, 2000);
        assert_none_lost(&world);
        assert_well(&world);
    }
}

#[test]
fn ten_thousand_targets_behind_a_thousand_data_planes() {
    for seed in seeds(1) {
        let mut rng = Random::seeded(seed);
        let machines = (0..TARGETS).map(|n| machine(n, &mut rng)).collect();
        let mut world = World::new(seed, machines).paced(1000, &Config::default());
        let mut at = S;
        for user in 0..30_000 {
            at += rng.exponential(2 * MS);
            // Popularity is less skewed than above: a thousand shares of one sshd are a thousandth each.
            let target = popular(&mut rng).max(rng.below(2000));
            world.login(at, Login::of(user).at(rng.below(1000), target));
        }
        world.run(at + 60 * S);
        assert_all_in(&world);
        let peak = world.targets.iter().map(|sshd| sshd.peak).max().unwrap();
        let waited: Vec<_> = world.clients.iter().map(|client| client.waited()).collect();
        println!(
            "peak {peak}; waits: half {:?}, 99 % {:?}",
            quantile(waited.clone(), 0.5),
            quantile(waited, 0.99)
        );
        assert!(peak < 60, "{peak}");
    }
}
