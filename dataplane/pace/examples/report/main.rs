//! Plots of the simulation: `cargo run -p weir-pace --example report -- dataplane/pace/docs`
//!
//! Each scenario is a run of the simulation that the tests use, with seed 1, drawn as one SVG: window and handshakes in
//! flight beside sshd's own count, then who waits, then drops.

mod chart;
#[path = "../../tests/simulation/client.rs"]
#[expect(dead_code, reason = "the tests use more of the simulation than the plots do")]
mod client;
#[path = "../../tests/simulation/random.rs"]
mod random;
#[path = "../../tests/simulation/script.rs"]
#[expect(dead_code, reason = "the tests use more of the simulation than the plots do")]
mod script;
#[path = "../../tests/simulation/sshd.rs"]
#[expect(dead_code, reason = "the tests use more of the simulation than the plots do")]
mod sshd;
#[path = "../../tests/simulation/world.rs"]
#[expect(dead_code, reason = "the tests use more of the simulation than the plots do")]
mod world;

use std::{error::Error, fs, path::PathBuf, time::Duration};

use chart::{Chart, Panel};
use sshd::{Machine, Mood};
use weir_pace::{Config, MaxStartups};
use world::{Login, Turn, World};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const SEED: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("got no folder to write to; give one, as in `-- dataplane/pace/docs`")?;
    fs::create_dir_all(&folder)?;
    for (name, title, run) in scenarios() {
        let (world, end) = run();
        let path = folder.join(name).with_extension("svg");
        fs::write(&path, draw(title, &world, end))?;
        let sshd = &world.targets[0];
        println!(
            "{}: {} of {} in, peak {} of {}, {} drops",
            path.display(),
            world.logged_in(),
            world.clients.len(),
            sshd.peak,
            sshd.machine.limits,
            sshd.drops,
        );
    }
    Ok(())
}

type Scenario = (&'static str, &'static str, fn() -> (World, Duration));

fn scenarios() -> [Scenario; 5] {
    [
        (
            "rush",
            "1,000 logins at once, an untuned sshd (10:30:100) on two cores",
            rush,
        ),
        (
            "two",
            "MaxStartups 2, of which nobody has told: 300 logins at once",
            two,
        ),
        (
            "others",
            "40 users without end; direct logins come at 20 s, double at 50 s, go at 70 s",
            others,
        ),
        (
            "outage",
            "20 logins a second; everything is dropped from 20 s to 40 s",
            outage,
        ),
        (
            "planes",
            "20 data planes with 20 users each; 10 of them drain from 30 s on, and are gone at 38 s",
            planes,
        ),
    ]
}

fn world(machine: Machine, planes: u32) -> World {
    World::new(SEED, vec![machine]).paced(planes, &Config::default())
}

fn sampled(mut world: World, end: Duration) -> (World, Duration) {
    world.sample_every(end / 700, end);
    world.run(end);
    (world, end)
}

fn rush() -> (World, Duration) {
    let mut world = world(Machine::default(), 1);
    for user in 0..1000 {
        world.login(S, Login::of(user));
    }
    sampled(world, 14 * S)
}

fn two() -> (World, Duration) {
    let limits = MaxStartups::parse("2").expect("one number is enough");
    let machine = Machine {
        limits,
        ..Machine::default()
    };
    let mut world = world(machine, 1);
    for user in 0..300 {
        world.login(S, Login::of(user));
    }
    sampled(world, 12 * S)
}

fn without_end(world: &mut World, plane: usize, users: usize) {
    for user in 0..users {
        let login = Login {
            again: true,
            ..Login::of(user)
        };
        world.login(S, login.at(plane, 0));
    }
}

fn others() -> (World, Duration) {
    let mut world = world(Machine::default(), 1);
    without_end(&mut world, 0, 40);
    for (at, mean) in [(20, Some(400 * MS)), (50, Some(200 * MS)), (70, None)] {
        let stay = 2 * S;
        world.turn(
            at * S,
            Turn::Outside {
                target: 0,
                mean,
                stay,
            },
        );
    }
    sampled(world, 90 * S)
}

fn outage() -> (World, Duration) {
    let mut world = world(Machine::default(), 1);
    let mut at = S;
    for user in 0.. {
        at += world.rng.exponential(50 * MS);
        if at > 60 * S {
            break;
        }
        world.login(at, Login::of(user));
    }
    world.turn(20 * S, Turn::Mood(0, Mood::Dropping));
    world.turn(40 * S, Turn::Mood(0, Mood::Well));
    sampled(world, 60 * S)
}

fn planes() -> (World, Duration) {
    let mut world = world(Machine::default(), 20);
    for plane in 0..20 {
        without_end(&mut world, plane, 20);
    }
    for plane in 10..20 {
        world.turn(30 * S, Turn::Leave(plane));
    }
    // The others learn of it when they are gone.
    world.turn(38 * S, Turn::Planes(10));
    sampled(world, 60 * S)
}

fn draw(title: &str, world: &World, end: Duration) -> String {
    let line = |value: fn(&world::Sample) -> f64| -> Vec<(f64, f64)> {
        let points = world.samples.iter();
        points
            .map(|sample| (sample.at.as_secs_f64(), value(sample)))
            .collect()
    };
    let limits = world.targets[0].machine.limits;
    Chart {
        title,
        seconds: end.as_secs_f64(),
        panels: vec![
            Panel::new("handshakes")
                .line("in flight", "#7aa6d8", line(|sample| sample.in_flight as f64))
                .line(
                    "counted by sshd",
                    "#d98c5f",
                    line(|sample| f64::from(sample.startups)),
                )
                .line("window", "#1b3a5c", line(|sample| sample.window))
                .mark("start", f64::from(limits.start)),
            Panel::new("waiting").line("waiting", "#4c8c4a", line(|sample| sample.waiting as f64)),
            Panel::new("drops, in all").line("drops", "#a83232", line(|sample| sample.drops as f64)),
        ],
    }
    .svg()
}
