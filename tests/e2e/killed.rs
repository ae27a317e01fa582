//! Weir is killed and started again: every session has one end that says whose it was, and every recording is there.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{World, eventually};

#[test]
fn sessions_of_a_killed_weir_get_one_end_with_their_user_and_their_recordings() {
    let mut world = World::start();
    let mut live = world.exec("echo still''-here; cat").spawn();
    live.expect_stdout("still-here");
    world.exec("echo is''-over").succeed();
    let (live_id, over_id) = eventually("both sessions are in the index", || {
        let sessions = world.weir().sessions();
        let id = |kind: &str| {
            let of_kind = |event: &Value| {
                event["detail"]["command"]
                    .as_str()
                    .is_some_and(|c| c.contains(kind))
            };
            let events = world.weir().json(&["audit", "ls", "--kind", "exec"]);
            let event = events.as_array()?.iter().find(|event| of_kind(event))?;
            Some(event["session"].as_str()?.to_owned())
        };
        (sessions.len() == 2).then_some((id("still")?, id("over")?))
    });
    // What is younger than the recorder's interval is lost with the process. The spool still has the recording that is over,
    // and one flush writes all that there is of both.
    eventually(
        "the recording of the session that is over is in the store",
        || {
            let recordings = world.weir().data().join("recordings");
            let seen = world.bash(&format!("find '{}' -name '{over_id}.weir'", recordings.display()));
            (!seen.succeed().out().is_empty()).then_some(())
        },
    );
    world.weir().signal(Signal::KILL);
    world.weir_mut().wait_within(Duration::from_secs(10));
    drop(live);

    world.restart_weir();
    let sessions = world.weir().finished_sessions(2);
    for (id, status) in [(&live_id, "interrupted"), (&over_id, "complete")] {
        let session = sessions.iter().find(|session| session.id() == id).unwrap();
        assert_eq!(session.text("status"), status, "{session:?}");
        world.weir().verify(session).succeeded();
        let ends = eventually("the session has an end", || {
            let ends = ends_of(&world, id);
            (!ends.is_empty()).then_some(ends)
        });
        let [end] = ends.as_slice() else {
            panic!("{} ends of {id}: {ends:?}", ends.len())
        };
        assert_eq!(
            (&end["user"], &end["node"]),
            (&"alice".into(), &"web1".into()),
            "{end}"
        );
        assert_eq!(end["login"], world.login(), "{end}");
    }
    // Also in the file, and also after a further start, which finds nothing left to close.
    world.weir().signal(Signal::TERM);
    world.weir_mut().wait_within(Duration::from_secs(10));
    world.restart_weir();
    let file = world.weir().data().join("audit").join("audit.jsonl");
    let logged = weir_tests::weir::json_lines(&std::fs::read(file).unwrap());
    for id in [&live_id, &over_id] {
        assert_eq!(ends_of(&world, id).len(), 1);
        let in_file = logged
            .iter()
            .filter(|event| event["kind"] == "session.end" && event["session"] == **id);
        assert_eq!(in_file.count(), 1);
    }
}

fn ends_of(world: &World, session: &str) -> Vec<Value> {
    let events = world
        .weir()
        .json(&["audit", "ls", "--kind", "session.end", "--session", session]);
    events.as_array().cloned().unwrap_or_default()
}
