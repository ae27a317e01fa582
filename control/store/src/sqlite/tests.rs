use sqlx::Connection;

use super::*;
use crate::{Action, Expect, Kind, SessionStatus};

struct World {
    directory: tempfile::TempDir,
    store: SqliteStore,
}

async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("weir.db"))
        .await
        .unwrap();
    World { directory, store }
}

fn put(name: &str, body: &str, expect: Expect) -> Change {
    let action = Action::Put {
        body: body.to_owned(),
        sealed: None,
    };
    Change {
        kind: Kind::User,
        name: name.to_owned(),
        expect,
        action,
    }
}

fn remove(name: &str, expect: Expect) -> Change {
    Change {
        kind: Kind::User,
        name: name.to_owned(),
        expect,
        action: Action::Remove,
    }
}

fn event(id: &str, session: &str, time_us: u64) -> AuditEvent {
    AuditEvent {
        id: id.to_owned(),
        time_us,
        kind: "exec".to_owned(),
        session: session.to_owned(),
        user: "alice".to_owned(),
        detail: "{\"command\":\"it's \\\"quoted\\\"\"}".to_owned(),
        ..AuditEvent::default()
    }
}

fn session(id: &str, status: SessionStatus, end_us: u64) -> Session {
    Session {
        id: id.to_owned(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        kind: String::new(),
        start_us: 100,
        end_us,
        bytes: 0,
        status,
        object: String::new(),
        client_address: "192.0.2.1".to_owned(),
    }
}

#[tokio::test]
async fn every_commit_raises_the_revision_and_survives_reopening() {
    let world = world().await;
    assert_eq!(
        world
            .store
            .commit(&[put("alice", "{}", Expect::Absent)])
            .await
            .unwrap(),
        1
    );
    let sealed = Change {
        kind: Kind::Authority,
        name: "user".to_owned(),
        expect: Expect::Absent,
        action: Action::Put {
            body: "{\"a\":1}".to_owned(),
            sealed: Some(vec![0, 255, 1]),
        },
    };
    assert_eq!(world.store.commit(&[sealed]).await.unwrap(), 2);
    drop(world.store);

    let store = SqliteStore::open(&world.directory.path().join("weir.db"))
        .await
        .unwrap();
    let all = store.resources().await.unwrap();
    assert_eq!(all.revision, 2);
    assert_eq!(all.resources.len(), 2);
    assert_eq!(all.resources[0].sealed.as_deref(), Some(&[0, 255, 1][..]));
    assert_eq!(
        (all.resources[1].name.as_str(), all.resources[1].revision),
        ("alice", 1)
    );
}

#[tokio::test]
async fn a_change_whose_expectation_fails_says_which_and_changes_nothing() {
    let world = world().await;
    let store = &world.store;
    store.commit(&[put("alice", "1", Expect::Absent)]).await.unwrap();

    let clash = store
        .commit(&[put("bob", "1", Expect::Any), put("alice", "2", Expect::Absent)])
        .await;
    assert_eq!(clash.unwrap_err().to_string(), "user \"alice\" exists already");
    let clash = store
        .commit(&[put("alice", "2", Expect::Revision(7))])
        .await
        .unwrap_err();
    assert!(clash.is_clash());
    assert!(
        clash
            .to_string()
            .starts_with("user \"alice\" has revision 1 while expecting 7"),
        "{clash}"
    );
    for change in [
        put("carl", "2", Expect::Present),
        put("carl", "2", Expect::Revision(1)),
    ] {
        let clash = store.commit(&[change]).await.unwrap_err();
        assert_eq!(clash.to_string(), "user \"carl\" does not exist");
    }
    let clash = store
        .commit(&[remove("carl", Expect::Present)])
        .await
        .unwrap_err();
    assert_eq!(clash.to_string(), "user \"carl\" does not exist");

    let all = store.resources().await.unwrap();
    assert_eq!(
        (all.revision, all.resources.len(), all.resources[0].body.as_str()),
        (1, 1, "1")
    );
}

#[tokio::test]
async fn resources_are_replaced_and_removed_as_expected() {
    let world = world().await;
    let store = &world.store;
    store.commit(&[put("alice", "1", Expect::Any)]).await.unwrap();
    store
        .commit(&[put("alice", "2", Expect::Revision(1))])
        .await
        .unwrap();
    store.commit(&[put("alice", "3", Expect::Present)]).await.unwrap();
    assert_eq!(store.resources().await.unwrap().resources[0].body, "3");
    store
        .commit(&[
            remove("alice", Expect::Revision(3)),
            remove("nobody", Expect::Any),
        ])
        .await
        .unwrap();
    assert_eq!(
        store.resources().await.unwrap(),
        Resources {
            revision: 4,
            resources: Vec::new()
        }
    );
}

#[tokio::test]
async fn audit_events_can_be_appended_but_neither_changed_nor_removed() {
    let world = world().await;
    let store = &world.store;
    store.record(&[event("e1", "s1", 5)], &[]).await.unwrap();
    let mut connection = store.log.lock().await;
    for statement in [
        "UPDATE audit_events SET user_name = 'mallory'",
        "DELETE FROM audit_events",
        "INSERT OR REPLACE INTO audit_events VALUES (1, 'e1', 0, '', '', '', '', '', '', '', '', '', '', '')",
        "DELETE FROM sessions WHERE true",
    ] {
        sqlx::query("INSERT OR IGNORE INTO sessions VALUES ('s', '', '', '', '', 0, 0, 0, 2, '', '', 0)")
            .execute(&mut *connection)
            .await
            .unwrap();
        let refusal = sqlx::query(statement)
            .execute(&mut *connection)
            .await
            .unwrap_err();
        assert!(
            refusal.to_string().contains("append-only"),
            "{statement}: {refusal}"
        );
    }
    let reopened = sqlx::query("UPDATE sessions SET status = 1")
        .execute(&mut *connection)
        .await
        .unwrap_err();
    assert!(reopened.to_string().contains("stays ended"), "{reopened}");
}

#[tokio::test]
async fn an_event_delivered_twice_is_kept_once() {
    let world = world().await;
    let store = &world.store;
    store
        .record(&[event("e1", "s1", 5), event("e1", "s1", 6)], &[])
        .await
        .unwrap();
    store
        .record(&[event("e1", "s1", 7), event("e2", "s1", 8)], &[])
        .await
        .unwrap();
    let events = store
        .events(&EventFilter {
            limit: 10,
            ..EventFilter::default()
        })
        .await
        .unwrap();
    let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [event("e2", "s1", 8), event("e1", "s1", 5)]);
}

#[tokio::test]
async fn an_absurd_number_does_not_fail_its_batch() {
    let world = world().await;
    let store = &world.store;
    let mut absurd = session("s1", SessionStatus::Live, 0);
    absurd.start_us = u64::MAX;
    store
        .record(&[event("e1", "s1", u64::MAX), event("e2", "", 1)], &[absurd])
        .await
        .unwrap();
    let filter = EventFilter {
        limit: 10,
        ..EventFilter::default()
    };
    assert_eq!(store.events(&filter).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_page_of_large_events_ends_by_their_bytes() {
    let world = world().await;
    let store = &world.store;
    let events: Vec<_> = (0..5)
        .map(|n| AuditEvent {
            detail: "x".repeat(1000),
            ..event(&format!("e{n}"), "s1", 5)
        })
        .collect();
    store.record(&events, &[]).await.unwrap();
    for session in ["", "s1"] {
        let filter = EventFilter {
            session: session.to_owned(),
            limit: 5,
            limit_bytes: 2000,
            ..EventFilter::default()
        };
        assert_eq!(store.events(&filter).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_is_refused_for_its_content_is_told_from_trouble_with_the_database() {
    let world = world().await;
    let store = &world.store;
    sqlx::query(
        "CREATE TEMP TRIGGER poison BEFORE INSERT ON main.audit_events WHEN NEW.login = 'poison'
         BEGIN SELECT RAISE(ABORT, 'poison'); END",
    )
    .execute(&mut *store.log.lock().await)
    .await
    .unwrap();
    let poison = AuditEvent {
        login: "poison".to_owned(),
        ..event("e1", "s1", 5)
    };
    let refusal = store
        .record(&[event("e2", "s1", 5), poison], &[])
        .await
        .unwrap_err();
    assert!(refusal.is_refusal(), "{refusal}");
    let all = EventFilter {
        limit: 10,
        ..EventFilter::default()
    };
    assert!(store.events(&all).await.unwrap().is_empty());

    sqlx::query("ALTER TABLE audit_events RENAME TO elsewhere")
        .execute(&mut *store.log.lock().await)
        .await
        .unwrap();
    let trouble = store.record(&[event("e3", "s1", 5)], &[]).await.unwrap_err();
    assert!(!trouble.is_refusal(), "{trouble}");
}

#[tokio::test]
async fn proofs_are_found_by_when_they_expire_whatever_stands_in_other_details() {
    let world = world().await;
    let store = &world.store;
    let proof = |id: &str, detail: &str| AuditEvent {
        kind: "cert.upstream".to_owned(),
        detail: detail.to_owned(),
        ..event(id, "s1", 5)
    };
    store
        .record(
            &[
                proof("past", r#"{"proof":"a","proof_expires":100}"#),
                proof("live", r#"{"proof":"b","proof_expires":101}"#),
                proof("endless", r#"{"proof":"c","proof_expires":18446744073709551615}"#),
                proof("other", "no JSON"),
                proof("none", "{}"),
                event("exec", "s1", 5),
                AuditEvent {
                    kind: "cert.create".to_owned(),
                    ..proof("now", r#"{"proof":"d","proof_expires":101}"#)
                },
            ],
            &[],
        )
        .await
        .unwrap();
    let mut found = Vec::new();
    store
        .each_live_proof(100, &mut |detail| {
            found.push(detail.split('"').nth(3).unwrap().to_owned())
        })
        .await
        .unwrap();
    found.sort();
    assert_eq!(found, ["b", "c", "d"]);
}

#[tokio::test]
async fn events_are_filtered_and_paged_newest_first() {
    let world = world().await;
    let store = &world.store;
    let mut events: Vec<_> = (0..10)
        .map(|n| event(&format!("e{n}"), &format!("s{}", n % 2), 10 + n))
        .collect();
    events[3].user = "bob".to_owned();
    store.record(&events, &[]).await.unwrap();

    let ids = async |filter: EventFilter| -> Vec<String> {
        store
            .events(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, event)| event.id)
            .collect()
    };
    let all = || EventFilter {
        limit: 100,
        ..EventFilter::default()
    };
    assert_eq!(
        ids(EventFilter {
            user: "bob".to_owned(),
            ..all()
        })
        .await,
        ["e3"]
    );
    assert_eq!(
        ids(EventFilter {
            since_us: 12,
            until_us: 14,
            ..all()
        })
        .await,
        ["e3", "e2"]
    );
    assert_eq!(
        ids(EventFilter {
            session: "s0".to_owned(),
            limit: 2,
            ..all()
        })
        .await,
        ["e8", "e6"]
    );
    assert_eq!(
        ids(EventFilter {
            kind: "auth".to_owned(),
            ..all()
        })
        .await,
        [""; 0]
    );

    let first = store.events(&EventFilter { limit: 4, ..all() }).await.unwrap();
    let rest = ids(EventFilter {
        before_seq: first[3].0,
        ..all()
    })
    .await;
    assert_eq!(rest, ["e5", "e4", "e3", "e2", "e1", "e0"]);
}

#[tokio::test]
async fn a_session_opens_learns_its_kind_ends_and_gets_its_recording() {
    let world = world().await;
    let store = &world.store;
    let row = async || store.session("s1").await.unwrap().unwrap();
    let live = session("s1", SessionStatus::Live, 0);
    store.record(&[], std::slice::from_ref(&live)).await.unwrap();
    assert_eq!(store.live_sessions().await.unwrap(), 1);

    store
        .record(
            &[],
            &[Session {
                kind: "exec".to_owned(),
                ..live.clone()
            }],
        )
        .await
        .unwrap();
    let ended = Session {
        bytes: 9,
        ..session("s1", SessionStatus::Complete, 300)
    };
    store.record(&[], &[ended.clone(), live]).await.unwrap();
    assert_eq!(
        row().await,
        Session {
            kind: "exec".to_owned(),
            ..ended.clone()
        }
    );

    let stored = Session {
        object: "s1.weir".to_owned(),
        ..ended
    };
    store.record(&[], std::slice::from_ref(&stored)).await.unwrap();
    store
        .record(
            &[],
            &[Session {
                object: "other".to_owned(),
                ..stored
            }],
        )
        .await
        .unwrap();
    assert_eq!((row().await.object.as_str(), row().await.bytes), ("s1.weir", 9));
    assert_eq!(store.live_sessions().await.unwrap(), 0);
}

#[tokio::test]
async fn sessions_left_live_are_interrupted_at_their_last_event_and_a_recovered_recording_still_finds_its_row()
 {
    let world = world().await;
    let store = &world.store;
    let live = |id| session(id, SessionStatus::Live, 0);
    store
        .record(
            &[event("e1", "s1", 700)],
            &[live("s1"), live("s2"), session("s3", SessionStatus::Complete, 5)],
        )
        .await
        .unwrap();
    let interrupted = store.interrupt_live_sessions().await.unwrap();
    let ends: Vec<_> = interrupted
        .iter()
        .map(|session| (session.id.as_str(), session.end_us))
        .collect();
    assert_eq!(ends, [("s1", 700), ("s2", 100)]);
    // A run that is killed before it has closed them leaves them to the next.
    store.record(&[event("s2-end", "s2", 800)], &[]).await.unwrap();
    let unclosed = store.interrupt_live_sessions().await.unwrap();
    assert_eq!(
        unclosed
            .iter()
            .map(|session| session.id.as_str())
            .collect::<Vec<_>>(),
        ["s1"]
    );
    let known = store.subjects(&["s1", "s3", "none"]).await.unwrap();
    assert_eq!(known.len(), 2);

    let recovered = Session {
        object: "s1.weir".to_owned(),
        bytes: 12,
        ..session("s1", SessionStatus::Interrupted, 650)
    };
    store.record(&[], std::slice::from_ref(&recovered)).await.unwrap();
    assert_eq!(store.session("s1").await.unwrap(), Some(recovered));
}

#[tokio::test]
async fn sessions_are_filtered_and_paged_newest_first() {
    let world = world().await;
    let store = &world.store;
    let mut sessions: Vec<_> = (0..6)
        .map(|n| session(&format!("s{n}"), SessionStatus::Complete, 200))
        .collect();
    sessions[1].object = "o1".to_owned();
    sessions[2].user = "bob".to_owned();
    sessions[3].status = SessionStatus::Live;
    sessions[4].start_us = 500;
    store.record(&[], &sessions).await.unwrap();

    let ids = async |filter: SessionFilter| -> Vec<String> {
        store
            .sessions(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|session| session.id)
            .collect()
    };
    let all = || SessionFilter {
        limit: 100,
        ..SessionFilter::default()
    };
    assert_eq!(
        ids(SessionFilter {
            user: "bob".to_owned(),
            ..all()
        })
        .await,
        ["s2"]
    );
    assert_eq!(
        ids(SessionFilter {
            recorded: true,
            ..all()
        })
        .await,
        ["s1"]
    );
    assert_eq!(
        ids(SessionFilter {
            status: Some(SessionStatus::Live),
            ..all()
        })
        .await,
        ["s3"]
    );
    assert_eq!(
        ids(SessionFilter {
            since_us: 101,
            ..all()
        })
        .await,
        ["s4"]
    );
    assert_eq!(
        ids(SessionFilter {
            until_us: 101,
            node: "web1".to_owned(),
            limit: 2,
            ..all()
        })
        .await,
        ["s5", "s3"]
    );
    assert_eq!(
        ids(SessionFilter {
            before_id: "s2".to_owned(),
            ..all()
        })
        .await,
        ["s1", "s0"]
    );
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let World { store, directory } = world().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, x'00', 0)",
    )
    .execute(&mut *store.resources.lock().await)
    .await
    .unwrap();
    drop(store);
    let refusal = SqliteStore::open(&directory.path().join("weir.db"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("has schema version 9999") && refusal.contains("run a newer one"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_is_named() {
    let refusal = SqliteStore::open(Path::new("/nonexistent/weir.db"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with("database /nonexistent/weir.db: "),
        "{refusal}"
    );
}

/// A session of that start, with a recording.
fn stored(id: &str, start_us: u64) -> Session {
    Session {
        start_us,
        object: format!("{id}.weir"),
        ..session(id, SessionStatus::Complete, start_us + 1)
    }
}

fn ids(sessions: &[Session]) -> Vec<&str> {
    sessions.iter().map(|session| session.id.as_str()).collect()
}

#[tokio::test]
async fn recordings_are_due_by_age_and_those_that_are_held_are_not() {
    let world = world().await;
    let store = &world.store;
    let rows = [
        stored("s3", 300),
        stored("s1", 100),
        stored("s2", 100),
        Session {
            object: String::new(),
            ..stored("s4", 50)
        },
        session("s5", SessionStatus::Live, 0),
    ];
    store.record(&[], &rows).await.unwrap();
    assert_eq!(
        ids(&store.due_recordings(300, (0, ""), 9).await.unwrap()),
        ["s1", "s2"]
    );
    assert_eq!(
        ids(&store.due_recordings(301, (100, "s1"), 9).await.unwrap()),
        ["s2", "s3"]
    );
    assert_eq!(ids(&store.due_recordings(301, (0, ""), 1).await.unwrap()), ["s1"]);

    assert_eq!(
        store.hold_recording("s2", "case 7", 1_000).await.unwrap(),
        Held::Now
    );
    assert_eq!(
        store.hold_recording("s2", "again", 1_001).await.unwrap(),
        Held::Before
    );
    assert_eq!(
        store.hold_recording("s9", "x", 1_001).await.unwrap(),
        Held::Unknown
    );
    assert_eq!(
        ids(&store.due_recordings(301, (0, ""), 9).await.unwrap()),
        ["s1", "s3"]
    );
    assert_eq!(store.mark_recordings(&["s1", "s2"], 1_002).await.unwrap(), ["s1"]);
    let fates = store.fates(&["s1", "s2", "s3"]).await.unwrap();
    assert_eq!(
        (fates["s2"].held_us, &*fates["s2"].hold_reason),
        (1_000, "case 7")
    );
    assert_eq!((fates["s1"].deleting_us, fates.len()), (1_002, 2));

    // What was said survives a restart.
    drop(world.store);
    let store = SqliteStore::open(&world.directory.path().join("weir.db"))
        .await
        .unwrap();
    assert_eq!(ids(&store.marked_recordings().await.unwrap()), ["s1"]);
    assert_eq!(store.mark_recordings(&["s2"], 1_003).await.unwrap(), [""; 0]);
    assert_eq!(
        store.release_recording("s2").await.unwrap().as_deref(),
        Some("case 7")
    );
    assert_eq!(store.release_recording("s2").await.unwrap(), None);
    assert_eq!(store.mark_recordings(&["s2"], 1_004).await.unwrap(), ["s2"]);
}

#[tokio::test]
async fn a_hold_takes_a_mark_away_and_what_is_deleted_stays_so() {
    let world = world().await;
    let store = &world.store;
    store
        .record(&[], &[stored("s1", 1), stored("s2", 2), stored("s3", 3)])
        .await
        .unwrap();
    store.mark_recordings(&["s1", "s2", "s3"], 10).await.unwrap();
    assert_eq!(
        store.hold_recording("s1", "case", 11).await.unwrap(),
        Held::AtTheLastMoment
    );
    store.finish_deletions(&["s1", "s2"], 12).await.unwrap();
    let fates = store.fates(&["s1", "s2"]).await.unwrap();
    assert_eq!((fates["s1"].held_us, fates["s1"].deleted_us), (11, 0));
    assert_eq!((fates["s2"].deleting_us, fates["s2"].deleted_us), (0, 12));
    assert_eq!(
        store.hold_recording("s2", "late", 13).await.unwrap(),
        Held::Deleted
    );
    assert_eq!(store.mark_recordings(&["s2"], 14).await.unwrap(), [""; 0]);
    store.unmark_recording("s3").await.unwrap();
    assert_eq!(ids(&store.due_recordings(9, (0, ""), 9).await.unwrap()), ["s3"]);
    store.lose_recording("s1", 15).await.unwrap();
    assert_eq!(store.fates(&["s1"]).await.unwrap()["s1"].deleted_us, 15);
    let recorded = SessionFilter {
        recorded: true,
        limit: 9,
        ..SessionFilter::default()
    };
    assert_eq!(ids(&store.sessions(&recorded).await.unwrap()), ["s3"]);
    let all = SessionFilter {
        limit: 9,
        ..SessionFilter::default()
    };
    assert_eq!(store.sessions(&all).await.unwrap().len(), 3, "the rows stay");
    // Not even a statement from elsewhere gets around it.
    let mut connection = store.log.lock().await;
    for statement in [
        "UPDATE fates SET held_us = 5, deleting_us = 5 WHERE session = 's3'",
        "UPDATE fates SET deleted_us = 0 WHERE session = 's2'",
        "DELETE FROM fates",
    ] {
        sqlx::query(statement)
            .execute(&mut *connection)
            .await
            .unwrap_err();
    }
}

fn full(id: &str, session: &str) -> AuditEvent {
    AuditEvent {
        login: "root".to_owned(),
        node: "web1".to_owned(),
        client_address: "192.0.2.1:4000".to_owned(),
        cluster: "weir".to_owned(),
        node_address: "10.0.0.7:22".to_owned(),
        data_plane: "embedded".to_owned(),
        recording_mode: "sync".to_owned(),
        ..event(id, session, 5)
    }
}

#[tokio::test]
async fn who_and_where_of_a_session_is_what_its_row_and_its_start_say() {
    let world = world().await;
    let store = &world.store;
    let rows = [
        session("s1", SessionStatus::Live, 0),
        session("s2", SessionStatus::Live, 0),
    ];
    store.record(&[full("s1-start", "s1")], &rows).await.unwrap();
    let mut subjects = store.subjects(&["s1", "s2", "s3"]).await.unwrap();
    subjects.sort_by(|a, b| a.session.cmp(&b.session));
    let [first, second] = &subjects[..] else {
        panic!("{subjects:?}")
    };
    assert_eq!(
        (&*first.user, &*first.node_address, &*first.recording_mode),
        ("alice", "10.0.0.7:22", "sync")
    );
    assert_eq!((&*second.user, &*second.node_address), ("alice", ""));
}

#[tokio::test]
async fn events_are_read_onward_from_a_place_and_the_place_is_remembered() {
    let world = world().await;
    let store = &world.store;
    let events: Vec<_> = (0..10).map(|n| full(&format!("e{n}"), "s1")).collect();
    store.record(&events, &[]).await.unwrap();
    // A repeat takes no place that would be read again.
    store.record(&events[3..5], &[]).await.unwrap();

    let first = store.events_after(0, 4, usize::MAX).await.unwrap();
    assert_eq!(
        first.iter().map(|(_, event)| event).collect::<Vec<_>>(),
        events[..4].iter().collect::<Vec<_>>()
    );
    let (last, _) = first[3];
    let second = store.events_after(last, 100, 1).await.unwrap();
    assert_eq!((second.len(), &*second[0].1.id), (1, "e4"));
    let newest = store.newest_event().await.unwrap();
    assert!(
        store
            .events_after(newest, 100, usize::MAX)
            .await
            .unwrap()
            .is_empty()
    );

    assert_eq!(store.export_cursor("syslog a").await.unwrap(), 0);
    store.move_export_cursor("syslog a", 7).await.unwrap();
    store.move_export_cursor("syslog a", 5).await.unwrap();
    assert_eq!(store.export_cursor("syslog a").await.unwrap(), 7);
    assert_eq!(store.export_cursor("syslog b").await.unwrap(), 0);

    let mut known = store.known_events(&["e0", "e9", "e10"]).await.unwrap();
    known.sort();
    assert_eq!(known, ["e0", "e9"]);
}

/// What a version before wrote is there after its schema has been brought up to date, and stays append-only.
#[tokio::test]
async fn events_of_former_versions_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let mut old = Migrator::DEFAULT;
    old.migrations = MIGRATIONS.iter().filter(|it| it.version < 6).cloned().collect();
    old.run_direct(None, &mut connection, false).await.unwrap();
    sqlx::query(
        "INSERT INTO audit_events VALUES (7, 'e1', 5, 'exec', 's1', 'alice', 'root', 'web1', '', '{}')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let events = store.events_after(0, 10, usize::MAX).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].0, &*events[0].1.user, &*events[0].1.cluster),
        (7, "alice", "")
    );
}
