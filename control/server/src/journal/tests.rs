use std::sync::atomic::{AtomicBool, Ordering};

use weir_store::{
    Change, EventFilter, Fate, Held, Resources, SessionFilter, SessionStatus, SqliteStore, StoreError,
};

use super::*;

/// A store that refuses whatever is by the user `poison`, and everything while it is ill.
struct Picky {
    inner: SqliteStore,
    is_ill: AtomicBool,
}

#[tonic::async_trait]
impl Store for Picky {
    async fn resources(&self) -> Result<Resources, StoreError> {
        self.inner.resources().await
    }

    async fn commit(&self, changes: &[Change]) -> Result<u64, StoreError> {
        self.inner.commit(changes).await
    }

    async fn record(&self, events: &[AuditEvent], sessions: &[Session]) -> Result<(), StoreError> {
        let is_poisoned = events.iter().any(|event| event.user == "poison")
            || sessions.iter().any(|row| row.user == "poison");
        if is_poisoned || self.is_ill.load(Ordering::Acquire) {
            return Err(StoreError::Refused {
                path: "weir.db".into(),
                problem: "string or blob too big".to_owned(),
            });
        }
        self.inner.record(events, sessions).await
    }

    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<Session>, StoreError> {
        self.inner.sessions(filter).await
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.inner.session(id).await
    }

    async fn live_sessions(&self) -> Result<u64, StoreError> {
        self.inner.live_sessions().await
    }

    async fn subjects(&self, sessions: &[&str]) -> Result<Vec<AuditEvent>, StoreError> {
        self.inner.subjects(sessions).await
    }

    async fn interrupt_live_sessions(&self) -> Result<Vec<Session>, StoreError> {
        self.inner.interrupt_live_sessions().await
    }

    async fn events(&self, filter: &EventFilter) -> Result<Vec<(u64, AuditEvent)>, StoreError> {
        self.inner.events(filter).await
    }

    async fn each_live_proof(
        &self,
        now: u64,
        each: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), StoreError> {
        self.inner.each_live_proof(now, each).await
    }

    async fn fates(&self, ids: &[&str]) -> Result<HashMap<String, Fate>, StoreError> {
        self.inner.fates(ids).await
    }

    async fn hold_recording(&self, id: &str, reason: &str, now_us: u64) -> Result<Held, StoreError> {
        self.inner.hold_recording(id, reason, now_us).await
    }

    async fn release_recording(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.inner.release_recording(id).await
    }

    async fn due_recordings(
        &self,
        before_us: u64,
        after: (u64, &str),
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        self.inner.due_recordings(before_us, after, limit).await
    }

    async fn mark_recordings(&self, ids: &[&str], now_us: u64) -> Result<Vec<String>, StoreError> {
        self.inner.mark_recordings(ids, now_us).await
    }

    async fn marked_recordings(&self) -> Result<Vec<Session>, StoreError> {
        self.inner.marked_recordings().await
    }

    async fn unmark_recording(&self, id: &str) -> Result<(), StoreError> {
        self.inner.unmark_recording(id).await
    }

    async fn finish_deletions(&self, ids: &[&str], now_us: u64) -> Result<(), StoreError> {
        self.inner.finish_deletions(ids, now_us).await
    }

    async fn lose_recording(&self, id: &str, now_us: u64) -> Result<(), StoreError> {
        self.inner.lose_recording(id, now_us).await
    }

    async fn known_events(&self, ids: &[&str]) -> Result<Vec<String>, StoreError> {
        self.inner.known_events(ids).await
    }

    async fn events_after(
        &self,
        seq: u64,
        limit: u32,
        limit_bytes: usize,
    ) -> Result<Vec<(u64, AuditEvent)>, StoreError> {
        self.inner.events_after(seq, limit, limit_bytes).await
    }

    async fn export_cursor(&self, place: &str) -> Result<u64, StoreError> {
        self.inner.export_cursor(place).await
    }

    async fn move_export_cursor(&self, place: &str, seq: u64) -> Result<(), StoreError> {
        self.inner.move_export_cursor(place, seq).await
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        self.inner.newest_event().await
    }
}

struct World {
    journal: Journal,
    store: Arc<Picky>,
    directory: tempfile::TempDir,
}

async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Picky {
        inner: SqliteStore::open(&directory.path().join("weir.db"))
            .await
            .unwrap(),
        is_ill: AtomicBool::new(false),
    });
    let (log, _) = AuditLog::open(&directory.path().join("audit.jsonl")).unwrap();
    let journal = Journal::start(
        log,
        Vec::new(),
        Arc::clone(&store) as Arc<dyn Store>,
        "weir".to_owned(),
    );
    World {
        journal,
        store,
        directory,
    }
}

impl World {
    async fn stored(&self, kind: &str) -> Vec<AuditEvent> {
        let filter = EventFilter {
            kind: kind.to_owned(),
            limit: 100_000,
            ..EventFilter::default()
        };
        let events = self.store.events(&filter).await.unwrap();
        events.into_iter().map(|(_, event)| event).collect()
    }
}

fn event(id: &str, kind: &str, session: &str, user: &str) -> AuditEvent {
    AuditEvent {
        id: id.to_owned(),
        kind: kind.to_owned(),
        session: session.to_owned(),
        user: user.to_owned(),
        detail: "{}".to_owned(),
        ..AuditEvent::default()
    }
}

fn row(id: &str, user: &str) -> Session {
    Session {
        id: id.to_owned(),
        user: user.to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        kind: String::new(),
        start_us: 1,
        end_us: 0,
        bytes: 0,
        status: SessionStatus::Live,
        object: String::new(),
        client_address: "192.0.2.1".to_owned(),
    }
}

/// On one thread the writer does not run between reports: all of a flood waits at once.
#[tokio::test]
async fn one_users_flood_displaces_neither_their_sessions_end_nor_anything_of_others() {
    let world = world().await;
    let flood = AuditEvent {
        detail: serde_json::json!({ "command": "\u{1}".repeat(256 * 1024) }).to_string(),
        ..event("", "exec", "s1", "mallory")
    };
    for _ in 0..4_000 {
        world.journal.report(vec![flood.clone()], Vec::new());
    }
    let used = world.journal.inbox.gate().room.used();
    assert!(used <= room::SESSION_LIMIT, "{used} bytes wait");
    world.journal.report(
        vec![event("e1", "session.end", "s1", "mallory")],
        vec![row("s1", "mallory")],
    );
    world
        .journal
        .report(vec![event("e2", "exec", "s2", "alice")], vec![row("s2", "alice")]);
    world.journal.flush().await;

    assert_eq!(world.stored("session.end").await.len(), 1);
    let commands = world.stored("exec").await;
    assert!(commands.iter().any(|event| event.user == "alice"));
    let gaps = world.stored("audit.gap").await;
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].session.as_str(), gaps[0].user.as_str()),
        ("s1", "mallory")
    );
    let lost = serde_json::from_str::<serde_json::Value>(&gaps[0].detail).unwrap()["events"].as_u64();
    assert_eq!(lost, Some(4_001 - commands.len() as u64));
    assert_eq!(world.store.subjects(&["s1", "s2"]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_store_refuses_is_replaced_and_all_around_it_is_stored() {
    let world = world().await;
    let events: Vec<_> = (0..50)
        .map(|n| {
            let user = if n == 17 || n == 18 { "poison" } else { "alice" };
            event(&format!("e{n}"), "session.start", &format!("s{n}"), user)
        })
        .collect();
    let rows = vec![row("s1", "alice"), row("s2", "poison"), row("s3", "alice")];
    world.journal.report(events, rows);
    world.journal.flush().await;

    assert_eq!(world.stored("session.start").await.len(), 48);
    let mut refused = world.stored("audit.refused").await;
    refused.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<_> = refused.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["e17-refused", "e18-refused", "s2-row-refused"]);
    assert!(
        refused[0].detail.contains("string or blob too big"),
        "{}",
        refused[0].detail
    );
    assert_eq!(world.store.subjects(&["s1", "s2", "s3"]).await.unwrap().len(), 2);
    // The log has both: what was refused, and that it was.
    let log = std::fs::read_to_string(world.directory.path().join("audit.jsonl")).unwrap();
    assert!(log.contains("\"id\":\"e17\"") && log.contains("\"id\":\"e17-refused\""));
}

#[tokio::test]
async fn a_durable_report_is_answered_when_it_is_on_disk_and_not_before() {
    let world = world().await;
    world.store.is_ill.store(true, Ordering::Release);
    let stored = Session {
        object: "s1.weir".to_owned(),
        status: SessionStatus::Complete,
        ..row("s1", "alice")
    };
    let mut written = world
        .journal
        .report_durably(vec![event("e1", "session.upload", "s1", "")], vec![stored])
        .unwrap();
    let log = world.directory.path().join("audit.jsonl");
    while !std::fs::read_to_string(&log).unwrap().contains("\"e1\"") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(written.try_recv().is_err());
    world.store.is_ill.store(false, Ordering::Release);
    written.await.unwrap();
    let row = world.store.session("s1").await.unwrap().unwrap();
    assert_eq!(row.object, "s1.weir");
    // Its reporter did not know whose it was.
    assert_eq!(world.stored("session.upload").await[0].user, "alice");
}

#[tokio::test]
async fn a_durable_report_that_finds_no_room_is_refused() {
    let world = world().await;
    while world.journal.inbox.gate().room.reserve(1024 * 1024) {}
    let report = world
        .journal
        .report_durably(vec![], (0..100_000).map(|_| row("s1", "alice")).collect());
    assert!(report.is_none());
}

#[tokio::test]
async fn attempts_beyond_thirty_are_one_event_at_the_latest_at_the_end() {
    let world = world().await;
    for _ in 0..500 {
        let attempt = AuditEvent {
            client_address: "192.0.2.9:4711".to_owned(),
            ..event("", "auth", "", "root")
        };
        world.journal.report(vec![attempt], Vec::new());
    }
    world.journal.flush().await;
    assert_eq!(world.stored("auth").await.len(), 30);
    assert!(world.stored("auth.repeated").await.is_empty());
    world.journal.finish().await;
    let repeated = world.stored("auth.repeated").await;
    assert_eq!(repeated.len(), 1);
    assert!(
        repeated[0].detail.contains("\"attempts\":470"),
        "{}",
        repeated[0].detail
    );
}

#[tokio::test]
async fn an_event_that_comes_again_is_kept_once_however_long_ago_it_came() {
    let world = world().await;
    let first: Vec<_> = (0..20)
        .map(|n| event(&format!("first-{n}"), "exec", "s1", "alice"))
        .collect();
    world.journal.report(first.clone(), Vec::new());
    world.journal.report(first[..3].to_vec(), Vec::new());
    world.journal.flush().await;
    // Enough to push the first out of the writer's memory.
    for many in 0..20 {
        let others = (0..1000).map(|n| event(&format!("other-{many}-{n}"), "exec", &format!("t{n}"), "bob"));
        world.journal.report(others.collect(), Vec::new());
        world.journal.flush().await;
    }
    world.journal.report(first.clone(), Vec::new());
    world.journal.flush().await;

    assert_eq!(world.stored("exec").await.len(), 20_020);
    let log = std::fs::read_to_string(world.directory.path().join("audit.jsonl")).unwrap();
    for event in &first {
        assert_eq!(
            log.matches(&format!("\"id\":\"{}\"", event.id)).count(),
            1,
            "{}",
            event.id
        );
    }
    assert_eq!(log.lines().count(), 20_020);
}

#[tokio::test]
async fn what_comes_while_the_store_fails_is_in_both_once_when_it_is_well_again() {
    let world = world().await;
    world.store.is_ill.store(true, Ordering::Release);
    let events: Vec<_> = (0..50)
        .map(|n| event(&format!("e{n}"), "exec", "s1", "alice"))
        .collect();
    world.journal.report(events.clone(), Vec::new());
    let log = world.directory.path().join("audit.jsonl");
    while std::fs::read_to_string(&log).unwrap().lines().count() < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The reporter has no answer and hands them in again.
    world.journal.report(events, Vec::new());
    world
        .journal
        .report(vec![event("late", "exec", "s1", "alice")], Vec::new());
    world.store.is_ill.store(false, Ordering::Release);
    world.journal.flush().await;
    assert_eq!(world.stored("exec").await.len(), 51);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 51);
}

/// Where a start finds a torn line, the event that it was comes again from its reporter, and stands there once.
#[tokio::test]
async fn a_torn_line_is_written_again_and_nothing_else_is() {
    let world = world().await;
    let events = [
        event("a", "exec", "s1", "alice"),
        event("b", "exec", "s1", "alice"),
    ];
    world.journal.report(events.to_vec(), Vec::new());
    world.journal.flush().await;
    drop(world.journal);
    let path = world.directory.path().join("audit.jsonl");
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"id\":\"c\",\"ti");
    std::fs::write(&path, torn).unwrap();

    let (log, newest) = AuditLog::open(&path).unwrap();
    let ids = newest.into_iter().map(|event| event.id).collect();
    let journal = Journal::start(
        log,
        ids,
        Arc::clone(&world.store) as Arc<dyn Store>,
        "weir".to_owned(),
    );
    let mut again = events.to_vec();
    again.push(event("c", "exec", "s1", "alice"));
    journal.report(again, Vec::new());
    journal.flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    let ids: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let stored = world.store.events_after(0, 10, usize::MAX).await.unwrap();
    assert_eq!(stored.len(), 3);
}

#[tokio::test]
async fn every_event_says_of_which_cluster_it_is() {
    let world = world().await;
    world
        .journal
        .report(vec![event("a", "exec", "s1", "alice")], Vec::new());
    world.journal.event(event("", "control.start", "", ""));
    world.journal.flush().await;
    let stored = world.store.events_after(0, 10, usize::MAX).await.unwrap();
    assert_eq!(stored.len(), 2);
    assert!(
        stored.iter().all(|(_, event)| event.cluster == "weir"),
        "{stored:?}"
    );
}
