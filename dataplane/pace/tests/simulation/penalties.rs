//! One user's failures never make the target refuse everybody.

use weir_pace::Config;

use crate::{
    MS, S, seeds,
    sshd::Machine,
    world::{Fate, Login, World},
};

#[test]
fn run_of_users_whose_credentials_are_refused_costs_the_others_nothing() {
    for seed in seeds(5) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1, &Config::default());
        let mut at = S;
        for user in 0..600 {
            at += world.rng.exponential(100 * MS);
            let good = user % 3 != 0;
            world.login(
                at,
                Login {
                    good,
                    ..Login::of(user)
                },
            );
        }
        world.run(at + 60 * S);
        let good = || world.clients.iter().filter(|client| client.login.good);
        let waited = good().map(|client| client.waited()).max().unwrap();
        println!(
            "{} bans, longest wait of the good {waited:?}",
            world.targets[0].bans
        );
        assert_eq!(world.targets[0].bans, 0);
        assert!(good().all(|client| client.is_in()));
        // One good login has to be let in among the bad ones before the rest are known to be good.
        assert!(waited < 6 * S, "{waited:?}");
        let answered = world
            .clients
            .iter()
            .filter(|client| matches!(client.fate, Fate::Failed(_)));
        assert!(answered.count() >= 10, "the bad ones get their answer in turn");
    }
}

#[test]
fn script_that_fails_in_a_loop_leaves_room_for_newcomers() {
    for seed in seeds(5) {
        let mut world = World::new(seed, vec![Machine::default()]).paced(1, &Config::default());
        let bad = Login {
            good: false,
            again: true,
            ..Login::of(0)
        };
        for _ in 0..20 {
            world.login(S, bad.clone());
        }
        // The first good login ever at this target comes into the middle of it.
        let newcomer = world.login(40 * S, Login::of(1));
        world.run(60 * S);
        let waited = world.clients[newcomer].waited();
        println!("waited {waited:?}, {} bans", world.targets[0].bans);
        assert!(world.clients[newcomer].is_in() && waited < S, "{waited:?}");
        assert_eq!(world.targets[0].bans, 0);
    }
}
