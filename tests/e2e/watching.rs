//! A session that goes on is watched: from its beginning, without delay, by any number, and without its notice.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_tests::{Running, Terminal, World, eventually, eventually_within};

/// How far behind anybody who watches may be.
const BEHIND: Duration = Duration::from_millis(300);

/// A shell in a session, with a prompt that is easily told.
fn shell(world: &World, columns: u16) -> (Terminal, String) {
    let mut terminal = Terminal::start(["ssh", "-F", &world.path_text("config"), "target"], 24, columns);
    terminal.type_in("PS1='rea''dy> '; stty -echoctl; clear\n");
    terminal.expect("ready> ");
    let id = eventually("the session is listed", || {
        let sessions = world.weir().sessions();
        Some(
            sessions
                .iter()
                .find(|session| !session.has_ended())?
                .id()
                .to_owned(),
        )
    });
    (terminal, id)
}

fn watch(world: &World, id: &str) -> Running {
    world.weir().cli().args(["sessions", "watch", id]).spawn()
}

/// Types `count` characters one by one; how long each took to come back, shortest first.
fn echoes(terminal: &mut Terminal, count: usize) -> Vec<Duration> {
    let mut waits: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            terminal.type_in("x");
            terminal.expect("x");
            begun.elapsed()
        })
        .collect();
    waits.sort();
    waits
}

#[test]
fn a_watcher_sees_all_from_the_beginning_and_each_key_at_once() {
    let world = World::start();
    let (mut terminal, id) = shell(&world, 200);
    terminal.type_in("echo before-any''body-came\n");
    terminal.expect("before-anybody-came");
    let mut watcher = watch(&world, &id);
    watcher.expect_stdout("before-anybody-came");
    terminal.expect("ready> ");

    let text = |watcher: &Running| String::from_utf8_lossy(&watcher.stdout()).into_owned();
    eventually("the prompt is there", || {
        text(&watcher).ends_with("ready> ").then_some(())
    });
    let seen_before = watcher.stdout().len();
    // From where the user sees a key to where the watcher does, to within the ten milliseconds between two looks.
    let mut waits: Vec<_> = (0..100)
        .map(|n| {
            terminal.type_in("x");
            terminal.expect("x");
            let begun = Instant::now();
            eventually("the key is seen", || {
                (watcher.stdout().len() > seen_before + n).then_some(())
            });
            begun.elapsed()
        })
        .collect();
    waits.sort();
    let p99 = waits[98];
    println!("behind the user: p50 {:?}, p99 {p99:?}", waits[49]);
    assert!(p99 <= BEHIND, "{p99:?}: {waits:?}");

    // A second who comes late sees the same, by `play` too.
    let mut late = world.weir().cli().args(["play", &id]).spawn();
    late.expect_stdout(&"x".repeat(100));
    terminal.type_in("\x15exit 7\n");
    assert_eq!(terminal.wait_within(Duration::from_secs(10)), 7);
    let said = watcher.wait().succeeded();
    assert!(
        said.err()
            .contains(&format!("session {id} ended: complete, exit status 7")),
        "{said}"
    );
    let late = late.wait().succeeded();
    assert!(late.err().starts_with("the session still goes on"), "{late}");
    assert_eq!(said.stdout, late.stdout);

    // What was watched is what was recorded.
    let session = world.weir().only_session();
    let played = world.weir().cli().args(["play", &id]).succeed();
    assert_eq!(played.stdout, said.stdout);
    world.weir().verify(&session).succeeded();
    // And who watched is known.
    for (kind, count) in [("session.join", 2), ("session.leave", 2)] {
        let events = world.weir().json(&["audit", "ls", "--kind", kind]);
        let events = events.as_array().expect("an array");
        assert_eq!(events.len(), count, "{events:?}");
        assert!(
            events
                .iter()
                .all(|event| event["session"] == *id && event["user"] == "alice"),
            "{events:?}"
        );
    }
}

#[test]
fn two_hundred_watch_one_session() {
    const WATCHERS: usize = 200;
    let world = World::start();
    let (mut terminal, id) = shell(&world, 200);
    let mut watchers: Vec<_> = (0..WATCHERS).map(|_| watch(&world, &id)).collect();
    let seen = |watchers: &[Running], what: &str| {
        for watcher in watchers {
            let sees = || String::from_utf8_lossy(&watcher.stdout()).contains(what);
            eventually_within(Duration::from_secs(60), what, || sees().then_some(()));
        }
    };
    seen(&watchers, "ready> ");
    terminal.type_in("echo all-''see-this\n");
    terminal.expect("all-see-this");
    let begun = Instant::now();
    seen(&watchers, "all-see-this");
    println!("{WATCHERS} saw it after {:?}", begun.elapsed());
    let waits = echoes(&mut terminal, 50);
    println!(
        "echo with {WATCHERS} watchers: p50 {:?}, longest {:?}",
        waits[24], waits[49]
    );
    assert!(waits[24] < BEHIND, "{waits:?}");
    terminal.type_in("\x15exit\n");
    terminal.wait_within(Duration::from_secs(10));
    for watcher in watchers.drain(..) {
        watcher.wait().succeeded();
    }
}

#[test]
fn a_stopped_watcher_slows_nobody_and_is_dropped_and_told() {
    let world = World::start();
    let (mut terminal, id) = shell(&world, 200);
    let mut watcher = watch(&world, &id);
    watcher.expect_stdout("ready> ");
    watcher.signal(Signal::STOP);
    // 10 MB of which 7.5 are left when it is compressed: more than may wait for anybody.
    terminal.type_in("head -c 7500000 /dev/urandom | base64; echo all-''is-out\n");
    terminal.expect("all-is-out");
    let waits = echoes(&mut terminal, 50);
    println!(
        "echo beside a stopped watcher: p50 {:?}, longest {:?}",
        waits[24], waits[49]
    );
    assert!(waits[48] < BEHIND, "{waits:?}");
    watcher.signal(Signal::CONT);
    let said = watcher.wait().ended_with(1);
    assert!(
        said.err()
            .contains("you were too slow: more than 4 MiB had to wait"),
        "{said}"
    );
    let events = world.weir().json(&["audit", "ls", "--kind", "session.leave"]);
    let events = events.as_array().expect("an array");
    assert!(
        events.len() == 1 && events[0].to_string().contains("too slow"),
        "{events:?}"
    );
    terminal.type_in("\x15exit\n");
    terminal.wait_within(Duration::from_secs(10));
    world.weir().verify(&world.weir().only_session()).succeeded();
}

#[test]
fn who_leaves_gets_his_terminal_back_and_the_session_goes_on() {
    let world = World::start();
    let (mut terminal, id) = shell(&world, 80);
    let weir = weir_tests::weir::binary();
    let data = world.weir().data();
    let (weir, data) = (weir.display(), data.display());
    let order = format!(
        "stty -g > before; {weir} --data {data} sessions watch {id}; echo left=$?; stty -g > after; \
         cmp before after && echo as-before; read line; echo typed=$line"
    );
    let dir = world.path_text(".");
    for key in ["\x03", "q"] {
        let mut watcher = Terminal::start(["sh", "-c", &format!("cd {dir}; {order}")], 20, 60);
        watcher.expect("the session's terminal has 80 by 24, and this one 60 by 20");
        watcher.expect("ready> ");
        watcher.type_in(key);
        watcher.expect("left=0");
        watcher.expect("as-before");
        watcher.type_in("word\n");
        watcher.expect("typed=word");
    }
    // A signal is no other way out.
    let running = watch(&world, &id);
    eventually("it watches", || (!running.stdout().is_empty()).then_some(()));
    running.signal(Signal::TERM);
    running.wait();
    terminal.type_in("exit\n");
    assert_eq!(terminal.wait_within(Duration::from_secs(10)), 0);
}

#[test]
fn what_cannot_be_watched_is_told_in_words() {
    let world = World::start();
    world.exec("true").succeed();
    let session = world.weir().only_session();
    for (id, words) in [
        (
            session.id(),
            "it is over, or its role says that nothing is recorded",
        ),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "does not exist"),
        ("nonsense", "does not exist"),
    ] {
        let said = watch(&world, id).wait().ended_with(1);
        assert!(said.err().contains(words) && said.stdout.is_empty(), "{said}");
    }
}
