//! The pacer against sshd's own rules, in virtual time.
//!
//! Every scenario runs with several seeds, which are printed; `WEIR_SEED=7 cargo nextest run -p weir-pace SCENARIO --no-capture`
//! runs one again, to the last event.

mod capacity;
mod client;
mod fairness;
mod fleet;
mod outage;
mod penalties;
mod planes;
mod random;
#[expect(dead_code, reason = "samples are for the plots of `examples/report`")]
mod script;
mod sshd;
mod world;

use std::time::Duration;

use world::{Client, Fate, World};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// The seeds to run with, each printed before it is used.
#[expect(
    clippy::disallowed_methods,
    reason = "which run to replay is the developer's to say"
)]
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let chosen = std::env::var("WEIR_SEED").ok();
    let chosen = chosen.map(|seed| seed.parse::<u64>().expect("WEIR_SEED is a number"));
    let seeds = chosen.map_or(1..count + 1, |seed| seed..seed + 1);
    seeds.inspect(|seed| println!("seed {seed}"))
}

/// Everybody is in, and nobody has seen why it took a while.
fn assert_all_in(world: &World) {
    let failed = |client: &&Client| !matches!(client.fate, Fate::In { .. });
    if let Some(client) = world.clients.iter().find(failed) {
        let failures = world.clients.iter().filter(failed).count();
        panic!("{failures} of {} are not in: {client:?}", world.clients.len());
    }
}

/// The `part`-th of the sorted times, from 0.0 to 1.0.
fn quantile(mut times: Vec<Duration>, part: f64) -> Duration {
    times.sort_unstable();
    let place = (0..times.len()).rfind(|place| *place as f64 <= part * (times.len() - 1) as f64);
    times[place.expect("there are times")]
}
