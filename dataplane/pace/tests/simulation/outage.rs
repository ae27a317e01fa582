//! A target goes away and comes back: nobody is lost, and it is not run over.

use std::time::Duration;

use weir_pace::{Config, Event, Hindrance};

use crate::{
    MS, S, assert_all_in, seeds,
    sshd::{Machine, Mood},
    world::{Client, Fate, Login, Turn, World},
};

const BEGINS: Duration = Duration::from_secs(20);

/// Data planes whose users come at random, about 20 in a second, while target 0 is in `mood` for `time`.
fn outage(seed: u64, planes: u32, mood: Mood, time: Duration) -> World {
    let mut world = World::new(seed, vec![Machine::default()]).paced(planes, &Config::default());
    let mut at = S;
    let mut user = 0;
    while at < BEGINS + time + 10 * S {
        let plane = world.rng.below(planes as usize);
        world.login(at, Login::of(user).at(plane, 0));
        at += world.rng.exponential(50 * MS);
        user += 1;
    }
    match mood {
        Mood::Down => world.turn(BEGINS, Turn::Restart(0, time)),
        _ => {
            world.turn(BEGINS, Turn::Mood(0, mood));
            world.turn(BEGINS + time, Turn::Mood(0, Mood::Well));
        }
    }
    world
}

/// The most connections that reached the target in a second from `begin` on.
fn busiest_second(world: &World, begin: Duration) -> usize {
    let dials: Vec<_> = world.dials.iter().filter(|at| **at >= begin).collect();
    let within = |begin: &Duration| {
        dials
            .iter()
            .filter(|at| ***at >= *begin && ***at < *begin + S)
            .count()
    };
    dials.iter().map(|begin| within(begin)).max().unwrap_or(0)
}

fn assert_no_herd(world: &World, end: Duration) {
    let sshd = &world.targets[0];
    let busiest = busiest_second(world, end);
    println!(
        "peak {} of {}, busiest second {busiest}, {} drops",
        sshd.peak, sshd.machine.limits, sshd.drops
    );
    // Two cores take 100 in a second: 20 ms of work each.
    assert!(busiest <= 110, "{busiest}");
    assert!(sshd.peak < sshd.machine.limits.full);
}

#[test]
fn target_that_drops_everything_for_twenty_seconds_loses_nobody_and_meets_no_herd() {
    for planes in [1, 4] {
        for seed in seeds(5) {
            let mut world = outage(seed, planes, Mood::Dropping, 20 * S);
            world.run(BEGINS + 20 * S);
            let during = world.dials.iter().filter(|at| **at > BEGINS + S).count();
            assert!(during < 40 * planes as usize, "few tries meanwhile: {during}");
            world.run(BEGINS + 80 * S);
            assert_all_in(&world);
            assert_no_herd(&world, BEGINS + 20 * S);
            assert!(world.targets[0].peak <= 12, "{}", world.targets[0].peak);
        }
    }
}

#[test]
fn restart_is_not_noticed() {
    for planes in [1, 4] {
        for seed in seeds(5) {
            let mut world = outage(seed, planes, Mood::Down, 3 * S);
            world.run(BEGINS + 60 * S);
            assert_all_in(&world);
            assert_no_herd(&world, BEGINS + 3 * S);
        }
    }
}

#[test]
fn thousand_data_planes_after_an_outage_stay_below_full() {
    for seed in seeds(2) {
        for mood in [Mood::Dropping, Mood::Down] {
            // Each has a user that waits when the target comes back.
            let mut world = World::new(seed, vec![Machine::default()]).paced(
                1000,
                &Config {
                    restart_grace: 30 * S,
                    ..Config::default()
                },
            );
            for plane in 0..1000 {
                // The target is known to all.
                let at = world.rng.between(S, 40 * S);
                world.login(at, Login::of(plane).at(plane, 0));
            }
            world.turn(60 * S, Turn::Mood(0, mood));
            for plane in 0..1000 {
                let at = world.rng.between(61 * S, 70 * S);
                world.login(at, Login::of(plane).at(plane, 0));
            }
            world.turn(75 * S, Turn::Mood(0, Mood::Well));
            world.run(150 * S);
            let lost = world.clients.iter().filter(|client| !client.is_in()).count();
            let peak = world.targets[0].peak;
            println!(
                "peak {peak}, lost {lost}, busiest {}",
                busiest_second(&world, 75 * S)
            );
            assert!(peak < 60, "{peak}");
            // Fourteen seconds were lost, and ninety in a second are let in: the last ones meet their wait limit, nothing else.
            assert!(lost < 20, "{lost}");
            let told = |client: &&Client| client.is_in() || matches!(client.fate, Fate::GaveUp(_));
            assert!(world.clients.iter().all(|client| told(&client)));
        }
    }
}

#[test]
fn target_that_says_nothing_is_not_filled_with_those_who_wait_for_it() {
    for seed in seeds(5) {
        let mut world = outage(seed, 1, Mood::Silent, 60 * S);
        world.run(BEGINS + 60 * S);
        let began = |client: &&Client| client.began_at.is_some_and(|at| at > BEGINS + 11 * S);
        let tried = world.clients.iter().filter(began).count();
        assert!(tried <= 8, "one at a time: {tried}");
        world.run(BEGINS + 130 * S);
        let told = world.clients.iter().filter(
            |client| matches!(&client.fate, Fate::GaveUp(told) if told.hindrance == Hindrance::Silent),
        );
        assert!(told.count() > 500, "those who wait in vain are told why");
        let late = world
            .clients
            .iter()
            .filter(|client| client.arrived_at > BEGINS + 61 * S);
        let waited = late.map(|client| client.waited()).max().unwrap();
        assert!(waited < 30 * S && world.targets[0].peak <= 10, "{waited:?}");
    }
}

#[test]
fn ban_is_reported_and_its_end_is_found() {
    for seed in seeds(5) {
        let mut world = outage(seed, 1, Mood::Well, S);
        // Somebody else behind our address has failed to log in.
        let cost = 19 * S;
        let (target, source) = (0, 0);
        world.turn(BEGINS, Turn::Penalise { target, source, cost });
        world.run(BEGINS + 60 * S);
        assert_all_in(&world);
        let [(at, Event::BanSuspected(_)), (over, Event::BanOver { .. })] = &world.alerts[..] else {
            panic!("{:?}", world.alerts);
        };
        println!("suspected at {at:?}, over at {over:?}");
        assert!(*at < BEGINS + 5 * S && *over < BEGINS + 25 * S, "{at:?} {over:?}");
        assert_no_herd(&world, BEGINS + cost);
    }
}
