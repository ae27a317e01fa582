//! Data planes that share a target know how many they are, and nothing else of each other.

use std::time::Duration;

use weir_pace::Config;

use crate::{
    MS, S, assert_all_in, seeds,
    sshd::Machine,
    world::{Fate, Login, Turn, World},
};

/// `each` users of every data plane come again and again.
fn crowd(world: &mut World, planes: usize, each: usize) {
    for plane in 0..planes {
        for user in 0..each {
            let again = true;
            let at = world.rng.between(S, S + 100 * MS);
            let login = Login {
                again,
                ..Login::of(user)
            };
            world.login(at, login.at(plane, 0));
        }
    }
}

/// Logins of each data plane that were in between two times.
fn parts(world: &World, planes: usize, from: u32) -> Vec<usize> {
    let mut parts = vec![0; planes];
    for client in &world.clients {
        if let Fate::In { at } = client.fate
            && at >= from * S
        {
            parts[client.login.plane] += 1;
        }
    }
    parts
}

/// Jain's index: 1 where all parts are equal, 1/n where one has all.
fn fairness(parts: &[usize]) -> f64 {
    let sum: f64 = parts.iter().map(|part| *part as f64).sum();
    let squares: f64 = parts.iter().map(|part| (*part as f64).powi(2)).sum();
    sum * sum / (parts.len() as f64 * squares)
}

#[test]
fn data_planes_share_a_target_equally_and_use_it_well() {
    for planes in [2, 3, 5, 10, 20] {
        for seed in seeds(2) {
            let mut world = World::new(seed, vec![Machine::default()]).paced(planes, &Config::default());
            crowd(&mut world, planes as usize, 20);
            world.run(61 * S);
            let parts = parts(&world, planes as usize, 11);
            let (sum, fair) = (parts.iter().sum::<usize>(), fairness(&parts));
            let sshd = &world.targets[0];
            println!(
                "{planes}: {sum} logins, fairness {fair:.3}, peak {}, {} drops",
                sshd.peak, sshd.drops
            );
            assert!(fair > 0.95, "{parts:?}");
            // Two cores take 100 in a second.
            assert!(sum > 50 * 80, "{sum}");
            assert!(sshd.peak <= 20);
        }
    }
}

#[test]
fn data_planes_that_take_themselves_for_alone_still_converge() {
    for seed in seeds(3) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(10, &Config::default());
        world.turn(Duration::ZERO, Turn::Planes(1));
        crowd(&mut world, 10, 20);
        world.run(61 * S);
        let parts = parts(&world, 10, 11);
        let (sum, fair, sshd) = (parts.iter().sum::<usize>(), fairness(&parts), &world.targets[0]);
        println!(
            "{sum} logins, fairness {fair:.3}, peak {}, {} drops",
            sshd.peak, sshd.drops
        );
        assert!(fair > 0.9 && sum > 50 * 80, "{parts:?}");
        assert!(sshd.peak < sshd.machine.limits.full);
    }
}

#[test]
fn thousand_data_planes_at_one_target_stay_below_full_and_all_get_their_turn() {
    for seed in seeds(2) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1000, &Config::default());
        for plane in 0..1000 {
            // The full hour: everybody within a tenth of a second.
            let at = world.rng.between(S, S + 100 * MS);
            world.login(at, Login::of(plane).at(plane, 0));
        }
        world.run(45 * S);
        let sshd = &world.targets[0];
        let mut ends: Vec<_> = world
            .clients
            .iter()
            .filter_map(|client| match client.fate {
                Fate::In { at } => Some(at - S),
                _ => None,
            })
            .collect();
        ends.sort_unstable();
        println!(
            "{} in, the middle one after {:?}, the last after {:?}, peak {}, {} drops",
            ends.len(),
            ends[ends.len() / 2],
            ends.last(),
            sshd.peak,
            sshd.drops
        );
        assert_eq!(ends.len(), 1000);
        assert!(sshd.peak < 40, "{}", sshd.peak);
    }
}

#[test]
fn data_planes_that_come_and_go_keep_below_full_and_lose_nobody() {
    for seed in seeds(3) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(20, &Config::default());
        for (at, planes) in [(0, 1), (10, 2), (20, 20), (40, 3)] {
            world.turn(at * S, Turn::Planes(planes));
        }
        let mut at = S;
        for user in 0..2500 {
            // Only as many data planes are in use as there are.
            let planes = match at.as_secs() {
                0..10 => 1,
                10..20 => 2,
                20..40 => 20,
                _ => 3,
            };
            let plane = world.rng.below(planes);
            world.login(at, Login::of(user).at(plane, 0));
            at += world.rng.exponential(25 * MS);
        }
        world.run(at + 40 * S);
        assert_all_in(&world);
        let sshd = &world.targets[0];
        println!("peak {}, {} drops", sshd.peak, sshd.drops);
        assert!(sshd.peak <= 20, "{}", sshd.peak);
    }
}
