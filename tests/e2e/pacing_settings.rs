//! What three ways to set a server up mean for a crowd, and for somebody who types `ssh` beside it: README's table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir_tests::World;
use weir_tests::load::{Clients, Report, cheap_clients};
use weir_tests::world::NODE;

use crate::pacing_crowds::typed;

const CROWD: usize = 300;
const LIMIT: Duration = Duration::from_secs(120);

struct Setting {
    name: &'static str,
    /// The server's own.
    max_startups: &'static str,
    /// What Weir is told of it.
    told: &'static [&'static str],
}

const SETTINGS: [Setting; 3] = [
    Setting {
        name: "nothing set",
        max_startups: "10:30:100",
        told: &[],
    },
    Setting {
        name: "`MaxStartups 200:30:400`, and Weir told so",
        max_startups: "200:30:400",
        told: &["--max-startups", "200:30:400"],
    },
    Setting {
        name: "the same, and `--max-handshakes 4`",
        max_startups: "200:30:400",
        told: &["--max-startups", "200:30:400", "--max-handshakes", "4"],
    },
];

#[test]
#[ignore = "takes minutes: `make pacing`"]
fn a_crowd_and_one_who_types_under_three_settings() {
    let rows = SETTINGS.each_ref().map(measure);
    println!(
        "| server and Weir | a crowd of {CROWD} is in after | each of it, p50 / p99 | a typed `ssh`, p50 / longest | drops |"
    );
    println!("|---|---|---|---|---|\n{}", rows.join("\n"));
}

fn measure(setting: &Setting) -> String {
    let world = World::builder()
        .sshd(&format!("MaxStartups {}", setting.max_startups))
        .config(&format!("[pacing]\nwait_limit = \"{}s\"", LIMIT.as_secs()))
        .start();
    world.new_user("bob", world.login());
    if !setting.told.is_empty() {
        world
            .weir()
            .admin(&[&["nodes", "tune", NODE][..], setting.told].concat());
    }
    let is_over = AtomicBool::new(false);
    let (crowd, mut typed) = thread::scope(|scope| {
        let typing = scope.spawn(|| {
            let mut times = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                times.push(typed(&world, "bob").succeed().took);
                thread::sleep(Duration::from_millis(500));
            }
            times
        });
        let login = world.user();
        let crowd = cheap_clients(&world, "id", &login, Clients::at_once(CROWD), LIMIT).run();
        is_over.store(true, Ordering::Relaxed);
        let crowd = Report::of(crowd).all_succeeded(CROWD);
        (crowd, typing.join().expect("its own assertions hold"))
    });
    typed.sort();
    let rows = world.weir().json(&["nodes", "ls", "--pacing"]);
    let drops = &rows[0]["pacing"]["drops"];
    format!(
        "| {} | {:.0} s | {:.1} s / {:.1} s | {:.2} s / {:.2} s | {drops} |",
        setting.name,
        crowd.wall().as_secs_f64(),
        crowd.time("whole session", "p50").as_secs_f64(),
        crowd.time("whole session", "p99").as_secs_f64(),
        typed[typed.len() / 2].as_secs_f64(),
        typed[typed.len() - 1].as_secs_f64(),
    )
}
