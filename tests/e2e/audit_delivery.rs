//! Each audit event is there, and once, whatever happens to Weir and to its database.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{World, eventually};

/// The journal writes every 200 ms; a disk and two cores that everybody wants take some of their own.
const WRITTEN_WITHIN: Duration = Duration::from_millis(1200);

#[test]
fn what_was_reported_before_an_end_is_there_once_however_often_it_is_killed_or_stopped() {
    let mut world = World::start();
    let mut settled = Vec::new();
    // The second is stopped in order, and loses nothing at all.
    for (round, signal) in [Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let done = Mutex::new(Vec::new());
        let killed = thread::scope(|scope| {
            for client in 0..4 {
                let (world, done) = (&world, &done);
                scope.spawn(move || {
                    for n in 0.. {
                        let command = format!(": {round}-{client}-{n}");
                        if world.exec(&command).run().code() != 0 {
                            return;
                        }
                        done.lock().unwrap().push((command, Instant::now()));
                    }
                });
            }
            eventually("some sessions are over", || {
                (done.lock().unwrap().len() >= 6).then_some(())
            });
            // Not to be right, but to be somewhere: in the middle of a batch, of a line, of a transaction.
            let chance = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 700;
            thread::sleep(WRITTEN_WITHIN + Duration::from_millis(chance.into()));
            let killed = Instant::now();
            world.weir().signal(signal);
            killed
        });
        world.weir_mut().wait_within(Duration::from_secs(10));
        let done = done.into_inner().unwrap();
        let in_time = done
            .into_iter()
            .filter(|(_, over)| signal == Signal::TERM || *over + WRITTEN_WITHIN < killed);
        settled.extend(in_time.map(|(command, _)| command));
        world.restart_weir();
    }
    assert!(settled.len() >= 10, "{settled:?}");
    // What the recorder had no answer to is told again after the start.
    eventually("what was settled is in the store", || {
        let stored = stored(&world);
        let is_uploaded = |command: &String| {
            let exec = stored
                .iter()
                .find(|event| event["kind"] == "exec" && event["detail"]["command"] == **command);
            exec.is_some_and(|exec| {
                let of_session =
                    |event: &Value| event["kind"] == "session.upload" && event["session"] == exec["session"];
                stored.iter().any(of_session)
            })
        };
        settled.iter().all(is_uploaded).then_some(())
    });

    let stored = stored(&world);
    let logged = logged(&world);
    expect_no_repeats(&stored);
    expect_no_repeats(&logged);
    for events in [&stored, &logged] {
        for command in &settled {
            let execs: Vec<_> = events
                .iter()
                .filter(|event| event["kind"] == "exec" && event["detail"]["command"] == **command)
                .collect();
            let [exec] = execs.as_slice() else {
                panic!("{} times {command:?}", execs.len())
            };
            for kind in [
                "user.login",
                "session.connect",
                "session.start",
                "exit",
                "session.data",
                "session.end",
                "session.upload",
            ] {
                let of_session =
                    |event: &&Value| event["kind"] == kind && event["session"] == exec["session"];
                assert_eq!(
                    events.iter().filter(of_session).count(),
                    1,
                    "{kind} of {command:?}"
                );
            }
        }
    }
}

#[test]
fn a_locked_database_loses_nothing_and_doubles_nothing() {
    let world = World::start();
    world.exec(": before").succeed();
    world.weir().only_session();
    let database = fs::read_dir(world.weir().data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "db"))
        .expect("there is a database");
    let mut lock = world.job("python3").args(["-c", LOCK]).arg(&database).spawn();
    lock.expect_stdout("locked");
    for n in 0..3 {
        world.exec(&format!(": while-{n}")).succeed();
    }
    eventually("the log has what the database cannot take", || {
        let logged = logged(&world);
        let logins = logged.iter().filter(|event| event["kind"] == "user.login");
        (logins.count() > 1).then_some(())
    });
    lock.close_stdin();
    lock.wait().succeeded();
    world.weir().finished_sessions(4);
    eventually("the database has all that the log has", || {
        let (stored, logged) = (ids(&stored(&world)), ids(&logged(&world)));
        logged.is_subset(&stored).then_some(())
    });
    let (stored, logged) = (stored(&world), logged(&world));
    expect_no_repeats(&stored);
    expect_no_repeats(&logged);
    for n in 0..3 {
        let of_it = |event: &&Value| event["detail"]["command"] == format!(": while-{n}");
        let kinds: Vec<_> = stored.iter().filter(of_it).map(|event| &event["kind"]).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
    }
}

/// Holds the database's write lock until its input ends.
const LOCK: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.read()
connection.execute('ROLLBACK')
";

fn stored(world: &World) -> Vec<Value> {
    world
        .weir()
        .json(&["audit", "ls"])
        .as_array()
        .expect("an array")
        .clone()
}

fn logged(world: &World) -> Vec<Value> {
    let file = world.weir().data().join("audit").join("audit.jsonl");
    let text = fs::read(file).unwrap_or_default();
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1);
    weir_tests::weir::json_lines(&text[..whole])
}

fn ids(events: &[Value]) -> HashSet<String> {
    events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

fn expect_no_repeats(events: &[Value]) {
    assert_eq!(ids(events).len(), events.len());
}
