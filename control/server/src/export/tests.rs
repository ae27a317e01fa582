//! A file export over a real store and journal, cut off in the middle and started again.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use tokio::runtime::Runtime;
use weir_store::SqliteStore;

use super::*;
use crate::audit_log::AuditLog;
use crate::journal::Journal;

const ROUNDS: usize = 4;
const EVENTS: usize = 400;

/// Opens everything in the directory, as a start does.
async fn start(directory: &Path) -> (Journal, Exports, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.join("weir.db")).await.unwrap());
    let (log, newest) = AuditLog::open(&directory.join("audit.jsonl")).unwrap();
    store.record(&newest, &[]).await.unwrap();
    let known = newest.into_iter().map(|event| event.id).collect();
    let journal = Journal::start(log, known, Arc::clone(&store), "weir".to_owned());
    let config = ExportConfig {
        syslog: None,
        file: Some(FileConfig {
            path: directory.join("exported"),
            rotate_size_bytes: 8 * 1024,
            rotate_age: Duration::ZERO,
            keep: 1000,
        }),
    };
    let exports = Exports::start(&config, &store, &journal.written()).unwrap();
    (journal, exports, store)
}

#[test]
fn rotation_under_load_and_starts_in_the_middle_neither_lose_nor_double_an_event() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (journal, exports, store) = start(directory.path()).await;
            for n in 0..EVENTS {
                let event = AuditEvent {
                    id: format!("{round}-{n}"),
                    kind: "exec".to_owned(),
                    user: format!("user-{}", n % 50),
                    session: format!("{n}"),
                    detail: "{}".to_owned(),
                    ..AuditEvent::default()
                };
                journal.report(vec![event], Vec::new());
                if n % 100 == 0 {
                    journal.flush().await;
                }
            }
            journal.flush().await;
            while round == ROUNDS - 1 && exports.standing(store.newest_event().await.unwrap())[0].behind > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        // Wherever the export is at that moment; only what a thread is writing is waited for.
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
    let mut copies: HashMap<String, usize> = HashMap::new();
    let mut files = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("exported")
        {
            files += 1;
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.len() <= 8 * 1024, "{}", path.display());
            for line in text.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                *copies
                    .entry(event["id"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
    }
    assert!(files > 20, "{files} files");
    assert_eq!(copies.len(), ROUNDS * EVENTS);
    assert!(copies.values().all(|count| *count == 1));
}

#[test]
fn pauses_grow_to_their_limit_and_are_never_the_same_for_long() {
    let mut pause = FIRST_PAUSE;
    for _ in 0..20 {
        let jittered = jittered(pause);
        assert!(
            jittered >= pause / 2 && jittered <= pause,
            "{jittered:?} of {pause:?}"
        );
        pause = longer(pause);
    }
    assert_eq!(pause, PAUSE_LIMIT);
    let several: std::collections::HashSet<_> = (0..20).map(|_| jittered(pause)).collect();
    assert!(several.len() > 10);
}
