//! A target is used as well as it can be.
//!
//! The oracle knows the machine: it tries every fixed number of handshakes in flight that sshd never drops (below `start`),
//! keeps exactly so many in flight from first to last, and the best of these is what counts. A fixed number is the best there
//! can be where nothing changes: fewer leave a core or the network idle, more only wait inside of sshd.

use std::time::Duration;

use weir_pace::{Config, Hint, MaxStartups};

use crate::{
    MS, S, assert_all_in, seeds,
    sshd::Machine,
    world::{Login, Turn, Width, World},
};

/// When the last of `clients` who come at once is in.
fn rush(mut world: World, clients: usize) -> (Duration, World) {
    for user in 0..clients {
        world.login(S, Login::of(user));
    }
    let mut until = S;
    while world.logged_in() < clients && until < 600 * S {
        until += 50 * MS;
        world.run(until);
    }
    (until - S, world)
}

fn oracle(seed: u64, machine: &Machine, clients: usize, widest: u32) -> (usize, Duration) {
    let runs = (1..=widest as usize).map(|width| {
        let world = World::new(seed, vec![machine.clone()]).oracle(Width::Fixed(width));
        (width, rush(world, clients).0)
    });
    runs.min_by_key(|(_, took)| *took).expect("one width at least")
}

fn assert_well_used(machine: &Machine, hint: Option<&Hint>, clients: usize, widest: u32) {
    for seed in seeds(5) {
        let (width, best) = oracle(seed, machine, clients, widest);
        let mut world = World::new(seed, vec![machine.clone()]).paced(1, &Config::default());
        if let Some(hint) = hint {
            world.hint(0, hint);
        }
        let (took, world) = rush(world, clients);
        assert_all_in(&world);
        let used = best.as_secs_f64() / took.as_secs_f64();
        println!(
            "{clients} in {took:?}, oracle with {width}: {best:?} ({used:.3}), {} drops",
            world.targets[0].drops
        );
        assert!(used >= 0.9, "{used}");
    }
}

#[test]
fn thousand_at_once_at_an_untuned_sshd() {
    assert_well_used(&Machine::default(), None, 1000, 9);
}

#[test]
fn untuned_sshd_far_away() {
    let machine = Machine {
        round_trip: 40 * MS,
        cores: 8,
        ..Machine::default()
    };
    assert_well_used(&machine, None, 500, 9);
}

#[test]
fn slow_machine_with_one_core() {
    let machine = Machine {
        cores: 1,
        work: 60 * MS,
        ..Machine::default()
    };
    assert_well_used(&machine, None, 300, 9);
}

#[test]
fn two_startups_that_nobody_has_told_of() {
    let machine = Machine {
        limits: MaxStartups::parse("2").unwrap(),
        ..Machine::default()
    };
    assert_well_used(&machine, None, 300, 2);
}

#[test]
fn three_startups_per_source_that_nobody_has_told_of() {
    let machine = Machine {
        per_source: Some(3),
        ..Machine::default()
    };
    assert_well_used(&machine, None, 300, 3);
}

/// How many of so many users, who come again and again, are in after a time.
fn busy(mut world: World, users: usize, time: Duration) -> World {
    for user in 0..users {
        let login = Login {
            again: true,
            ..Login::of(user)
        };
        world.login(Duration::ZERO, login);
    }
    world.run(time);
    world
}

#[test]
fn tuned_sshd_that_has_told_its_limits() {
    let machine = Machine {
        limits: MaxStartups::parse("200:30:400").unwrap(),
        cores: 32,
        round_trip: 20 * MS,
        ..Machine::default()
    };
    let hint = Hint {
        max_startups: Some(machine.limits),
        ..Hint::default()
    };
    for seed in seeds(3) {
        let world = || World::new(seed, vec![machine.clone()]);
        let fixed = (9..200).step_by(10);
        let fixed = fixed.map(|width| busy(world().oracle(Width::Fixed(width)), 500, 20 * S).logged_in());
        let best = fixed.max().unwrap();
        let mut paced = world().paced(1, &Config::default());
        paced.hint(0, &hint);
        let paced = busy(paced, 500, 20 * S);
        let used = paced.logged_in() as f64 / best as f64;
        println!("{} logins, oracle {best} ({used:.3})", paced.logged_in());
        assert!(used >= 0.9 && paced.targets[0].drops == 0, "{used}");
    }
}

/// Two minutes in which direct logins take nothing, then half of the slots, then nearly all, then nothing.
fn with_others(mut world: World) -> World {
    for (at, mean) in [(20, Some(400 * MS)), (50, Some(200 * MS)), (70, None)] {
        let turn = Turn::Outside {
            target: 0,
            mean,
            stay: 2 * S,
        };
        world.turn(at * S, turn);
    }
    busy(world, 40, 120 * S)
}

/// Here a fixed number would be unfair to those who come directly when they are many, and idle when they are few: the
/// oracle sees sshd's own counter, and fills what they leave, no more.
#[test]
fn others_that_come_and_go_are_given_room_and_their_room_is_taken_back() {
    for seed in seeds(5) {
        let world = || World::new(seed, vec![Machine::default()]);
        let room = (5..=9).map(|width| with_others(world().oracle(Width::Room(width))));
        let best = room.max_by_key(World::logged_in).unwrap();
        let paced = with_others(world().paced(1, &Config::default()));
        let used = paced.logged_in() as f64 / best.logged_in() as f64;
        println!(
            "{} logins, oracle {} ({used:.3}); direct in and dropped {:?}, oracle {:?}; drops {}, oracle {}",
            paced.logged_in(),
            best.logged_in(),
            paced.direct,
            best.direct,
            paced.targets[0].drops,
            best.targets[0].drops,
        );
        assert!(used >= 0.9, "{used}");
        let heedless = with_others(world().oracle(Width::Fixed(9)));
        assert!(
            paced.direct.1 < heedless.direct.1,
            "those who come directly are dropped less often than beside a fixed number: {:?}, {:?}",
            paced.direct,
            heedless.direct
        );
    }
}
