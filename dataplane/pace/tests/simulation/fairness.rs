//! One user's crowd does not stand in another's way.

use weir_pace::{Config, Priority};

use crate::{
    MS, S, assert_all_in, quantile, seeds,
    sshd::Machine,
    world::{Fate, Login, World},
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
