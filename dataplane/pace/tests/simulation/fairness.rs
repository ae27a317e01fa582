//! One user's crowd does not stand in another's way.

use std::time::Duration;

use weir_pace::{Config, Priority};

use crate::{
    MS, S, assert_all_in, quantile, seeds,
    sshd::Machine,
    world::{Client, Fate, Login, World},
};

#[test]
fn single_connect_beside_five_hundred_of_another_waits_less_than_two_handshakes() {
    for seed in seeds(20) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1, &Config::default());
        for _ in 0..500 {
            world.login(S, Login::of(0));
        }
        let single = world.login(S + 700 * MS, Login::of(1));
        world.run(30 * S);
        assert_all_in(&world);
        let took = world.clients.iter().map(|client| match client.fate {
            Fate::In { at } => at - client.arrived_at - client.waited(),
            _ => unreachable!("all are in"),
        });
        let (handshake, waited) = (quantile(took.collect(), 0.5), world.clients[single].waited());
        println!("waited {waited:?}, a handshake takes {handshake:?}");
        assert!(waited < 2 * handshake);
    }
}

#[test]
fn five_who_type_beside_twenty_with_fifty_forks_each_are_in_within_a_second() {
    for seed in seeds(5) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1, &Config::default());
        for user in 0..20 {
            for _ in 0..50 {
                world.login(S, Login::of(user));
            }
        }
        let mut typing = Vec::new();
        for user in 100..105 {
            let login = Login {
                priority: Priority::Interactive,
                ..Login::of(user)
            };
            let at = world.rng.between(S, 10 * S);
            typing.push(world.login(at, login));
        }
        world.run(40 * S);
        assert_all_in(&world);
        let waited = typing.iter().map(|client| world.clients[*client].waited());
        let longest = waited.max().unwrap();
        println!("longest wait {longest:?}");
        assert!(longest < 500 * MS, "{longest:?}");
    }
}

/// Twenty users with fifty forks each, of which each has three tasks, one after the other, at a target that takes twelve logins
/// a second; and so many people, who connect every four seconds. The program that they use says nothing of who waits.
fn forks_beside(people: usize, seed: u64) -> World {
    let machine = Machine {
        work: 158 * MS,
        ..Machine::default()
    };
    // A thousand forks wait for a thousand twelfths of a second.
    let config = Config {
        wait_limit: 300 * S,
        ..Config::default()
    };
    let mut world = World::new(seed, vec![machine]).paced(1, &config);
    for fork in 0..1000 {
        let login = Login {
            again: true,
            tasks: 3,
            ..Login::of(fork / 50)
        };
        world.login(S, login);
    }
    for person in 0..people {
        let login = Login {
            again: true,
            tasks: 40,
            pause: 4 * S,
            ..Login::of(PEOPLE + person)
        };
        let at = world.rng.between(Duration::ZERO, 8 * S);
        world.login(at, login);
    }
    world.run(500 * S);
    assert_all_in(&world);
    world
}

/// The first of those who are not programs.
const PEOPLE: usize = 100;

fn is_person(client: &&Client) -> bool {
    client.login.user >= PEOPLE
}

/// When the last of the thousand forks has done its tasks.
fn forks_done(world: &World) -> Duration {
    let forks = world.clients.iter().filter(|client| !is_person(client));
    let done = forks.filter_map(|client| match client.fate {
        Fate::In { at } => Some(at),
        _ => None,
    });
    done.max().expect("they are in") - S
}

#[test]
fn five_people_beside_a_thousand_forks_wait_for_a_few_turns_though_nobody_tells_them_apart() {
    for seed in seeds(5) {
        let (alone, world) = (forks_beside(0, seed), forks_beside(5, seed));
        let (before, after) = (forks_done(&alone), forks_done(&world));
        let busy = |client: &&Client| client.arrived_at < S + after;
        let people = || world.clients.iter().filter(is_person).filter(busy);
        let turn = after / u32::try_from(3000 + people().count()).unwrap();
        let connect = |client: &Client| match client.fate {
            Fate::In { at } => at - client.arrived_at,
            _ => unreachable!("all are in"),
        };
        let waited: Vec<_> = people().map(Client::waited).collect();
        let took: Vec<_> = people().map(connect).collect();
        let show = |times: &[Duration]| {
            let [half, most, all] = [0.5, 0.99, 1.0].map(|part| quantile(times.to_vec(), part));
            format!("{half:.2?}, {most:.2?}, {all:.2?}")
        };
        println!(
            "{} logins of people, a turn is {turn:.0?}: waited {}, connected after {} (50 %, 99 %, all); \
             forks done after {after:.1?}, {before:.1?} without them",
            waited.len(),
            show(&waited),
            show(&took),
        );
        assert!(quantile(waited, 0.99) <= 5 * turn);
        // At first the twenty are as new as anybody.
        let settled = people().filter(|client| client.arrived_at > S + 40 * turn);
        let longest = settled.map(Client::waited).max().unwrap();
        println!("longest wait after the first rounds {longest:.2?}");
        assert!(longest <= 5 * turn, "{longest:?}");
        // What people take is taken from the forks, and no more.
        let fair = before * u32::try_from(3000 + people().count()).unwrap() / 3000;
        assert!(after <= fair.mul_f64(1.05), "{after:?}, {fair:?}");
    }
}

#[test]
fn users_who_come_again_and_again_get_equal_parts() {
    for seed in seeds(5) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1, &Config::default());
        // The n-th user keeps n² connects in the air.
        for user in 3..10 {
            for _ in 0..user * user {
                let again = true;
                world.login(
                    S,
                    Login {
                        again,
                        ..Login::of(user)
                    },
                );
            }
        }
        world.run(61 * S);
        let parts = (3..10).map(|user| {
            let theirs = world.clients.iter().filter(|client| client.login.user == user);
            theirs.filter(|client| client.is_in()).count()
        });
        let parts: Vec<usize> = parts.collect();
        println!("{parts:?}");
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(least * 10 >= most * 9, "{parts:?}");
    }
}
