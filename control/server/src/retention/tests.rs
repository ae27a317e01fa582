use std::sync::atomic::{AtomicBool, AtomicU32};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::sync::Semaphore;
use weir_objects::Place;
use weir_store::{EventFilter, SessionStatus};

use super::*;
use crate::control::{Control, ControlConfig};

const DAY_US: u64 = 24 * 3600 * 1_000_000;
const NOW_US: u64 = 1_000 * DAY_US;
const KEEP: Duration = Duration::from_hours(24 * 90);

/// A store in memory that deletes only what it has leave for, and can be away.
#[derive(Clone, Debug)]
struct Watched(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    inner: InMemory,
    /// One for each deletion.
    leave: Semaphore,
    /// What was asked to be deleted, in order.
    asked: watch::Sender<Vec<String>>,
    is_away: AtomicBool,
    refusals: AtomicU32,
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl Inside {
    async fn delete(&self, location: Path) -> object_store::Result<Path> {
        self.asked.send_modify(|asked| asked.push(location.to_string()));
        if self.is_away.load(Ordering::SeqCst) {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(object_store::Error::Generic {
                store: "Watched",
                source: "away".into(),
            });
        }
        self.leave.acquire().await.expect("it is never closed").forget();
        self.inner.delete(&location).await?;
        Ok(location)
    }
}

#[tonic::async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.0.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let inside = Arc::clone(&self.0);
        let delete = move |location: object_store::Result<Path>| {
            let inside = Arc::clone(&inside);
            async move { inside.delete(location?).await }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.inner.copy_opts(from, to, options).await
    }
}

struct World {
    control: Control,
    objects: Watched,
    directory: tempfile::TempDir,
}

fn open(directory: &tempfile::TempDir, objects: &Watched, retention: Option<Duration>) -> Control {
    let place = Place::Directory("watched".into());
    Control::open(ControlConfig {
        data_dir: directory.path().join("data"),
        recordings: Some(Objects::of(Arc::new(objects.clone()), place)),
        retention,
        retention_clock: Some(|| NOW_US),
        ..ControlConfig::default()
    })
    .unwrap()
}

/// With recordings of these ids and ages in days, and leave for so many deletions.
fn world(recordings: &[(&str, u64)], leave: usize) -> World {
    let directory = tempfile::tempdir().unwrap();
    let objects = Watched(Arc::new(Inside {
        inner: InMemory::new(),
        leave: Semaphore::new(leave),
        asked: watch::Sender::new(Vec::new()),
        is_away: AtomicBool::new(false),
        refusals: AtomicU32::new(0),
    }));
    let control = open(&directory, &objects, Some(KEEP));
    let world = World {
        control,
        objects,
        directory,
    };
    // What is recorded from now on is not for the sweep that each start makes.
    world.eventually("the start has swept", World::has_swept);
    let rows: Vec<_> = recordings.iter().map(|(id, days)| row(id, *days)).collect();
    world.put(rows.iter().map(|row| row.object.clone()).collect());
    world.run(|shared| async move { shared.state.store().record(&[], &rows).await.unwrap() });
    world
}

fn row(id: &str, days: u64) -> Session {
    Session {
        id: id.to_owned(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        kind: "exec".to_owned(),
        start_us: NOW_US - days * DAY_US,
        end_us: NOW_US - days * DAY_US + 1,
        bytes: 1,
        status: SessionStatus::Complete,
        object: format!("{id}.weir"),
        client_address: String::new(),
    }
}

impl World {
    fn run<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.control.run(work(Arc::clone(&self.control.shared)))
    }

    fn put(&self, names: Vec<String>) {
        let objects = self.objects.clone();
        self.run(|_| async move {
            for name in names {
                objects.put(&Path::from(name), "x".into()).await.unwrap();
            }
        });
    }

    fn sweep(&self) -> Result<Swept, SweepError> {
        self.run(|shared| async move { sweep(&shared, NOW_US).await })
    }

    fn asked(&self) -> Vec<String> {
        self.objects.0.asked.borrow().clone()
    }

    fn objects(&self) -> Vec<String> {
        let objects = self.objects.clone();
        let mut found = self.run(|_| async move {
            let found: Vec<_> = objects
                .list(None)
                .map(|object| object.unwrap().location.to_string())
                .collect()
                .await;
            found
        });
        found.sort();
        found
    }

    fn deleted_us(&self, id: &'static str) -> u64 {
        let fates = self.run(move |shared| async move { shared.state.store().fates(&[id]).await.unwrap() });
        fates.get(id).map_or(0, |fate| fate.deleted_us)
    }

    /// Sessions with an event that says that their recording was deleted.
    fn told(&self) -> Vec<String> {
        let filter = EventFilter {
            kind: "recording.delete".to_owned(),
            limit: 100,
            ..EventFilter::default()
        };
        let events = self.run(|shared| async move {
            shared.journal.flush().await;
            shared.state.store().events(&filter).await.unwrap()
        });
        let mut sessions: Vec<_> = events.into_iter().map(|(_, event)| event.session).collect();
        sessions.sort();
        sessions
    }

    fn hold(&self, id: &'static str) -> Held {
        self.run(move |shared| async move {
            let session = shared.state.store().session(id).await.unwrap().unwrap();
            hold(&shared, &session, "case 7").await.unwrap()
        })
    }

    fn restarted(self, retention: Option<Duration>) -> World {
        let World {
            control,
            objects,
            directory,
        } = self;
        control.shutdown();
        let control = open(&directory, &objects, retention);
        World {
            control,
            objects,
            directory,
        }
    }

    fn has_swept(&self) -> bool {
        self.run(|shared| async move { *shared.retention.sweeps.lock().await > 0 })
    }

    /// Waits for the sweep that each start makes.
    fn eventually(&self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !is_so(self) {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_is_over_goes_oldest_first_and_nothing_else_does() {
    let world = world(&[("s1", 91), ("s2", 400), ("s3", 100), ("s4", 89)], 9);
    world.put(vec!["of-somebody-else.weir".to_owned()]);
    assert_eq!(world.hold("s3"), Held::Now);
    let swept = world.sweep().unwrap();
    assert_eq!(
        swept,
        Swept {
            deleted: 2,
            failed: 0
        }
    );
    assert_eq!(world.asked(), ["s2.weir", "s1.weir"]);
    assert_eq!(world.objects(), ["of-somebody-else.weir", "s3.weir", "s4.weir"]);
    assert_eq!((world.deleted_us("s1"), world.deleted_us("s3")), (NOW_US, 0));
    assert_eq!(world.told(), ["s1", "s2"]);
    let row = world.run(|shared| async move { shared.state.store().session("s1").await.unwrap() });
    assert_eq!(row.unwrap().object, "s1.weir", "the row stays as it was");
    assert_eq!(world.sweep().unwrap(), Swept::default());

    // A hold survives a restart and the sweep that each start makes; when it ends, so does the recording.
    let world = world.restarted(Some(KEEP));
    world.eventually("the start has swept", World::has_swept);
    assert_eq!(world.objects().len(), 3);
    world.run(|shared| async move { shared.state.store().release_recording("s3").await.unwrap() });
    assert_eq!(world.sweep().unwrap().deleted, 1);
    assert_eq!(world.objects(), ["of-somebody-else.weir", "s4.weir"]);
}

#[test]
fn recordings_are_kept_for_ever_where_nothing_else_is_said() {
    let world = world(&[("s1", 900)], 9).restarted(None);
    assert_eq!(world.sweep().unwrap(), Swept::default());
    assert_eq!(world.objects(), ["s1.weir"]);
}

#[test]
fn more_than_a_batch_goes_too() {
    let ids: Vec<String> = (0..130).map(|number| format!("s{number:03}")).collect();
    let recordings: Vec<_> = ids.iter().map(|id| (id.as_str(), 100)).collect();
    let world = world(&recordings, 130);
    assert_eq!(world.sweep().unwrap().deleted, 130);
    assert_eq!(world.objects(), [""; 0]);
}

/// Two are marked in one batch, the first is being deleted: who holds the second comes in time and does not wait, and who holds the first
/// is told what came of it.
#[test]
fn a_hold_that_is_put_while_the_deletion_runs_wins() {
    let world = world(&[("s1", 200), ("s2", 100)], 0);
    let (sweeping, swept) = std::sync::mpsc::channel();
    let shared = Arc::clone(&world.control.shared);
    let mut asked = world.objects.0.asked.subscribe();
    world.run(|_| async move {
        tokio::spawn(async move { sweeping.send(sweep(&shared, NOW_US).await).unwrap() });
        asked.wait_for(|asked| asked.len() == 1).await.unwrap();
    });
    let fates = world.run(|shared| async move { shared.state.store().fates(&["s2"]).await.unwrap() });
    assert_eq!(fates["s2"].deleting_us, NOW_US, "it is marked");
    assert_eq!(world.hold("s2"), Held::Now);

    let (holding, held) = std::sync::mpsc::channel();
    world.run(|shared| async move {
        let session = shared.state.store().session("s1").await.unwrap().unwrap();
        tokio::spawn(async move {
            holding
                .send(hold(&shared, &session, "late").await.unwrap())
                .unwrap()
        });
    });
    assert!(held.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
    world.objects.0.leave.add_permits(2);
    assert_eq!(held.recv_timeout(Duration::from_secs(20)).unwrap(), Held::Deleted);
    let swept = swept.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(
        swept,
        Swept {
            deleted: 1,
            failed: 0
        }
    );
    assert_eq!(world.objects(), ["s2.weir"]);
    assert_eq!(world.asked(), ["s1.weir"]);
    assert_eq!(world.told(), ["s1"]);
    assert!(world.deleted_us("s1") > 0 && world.deleted_us("s2") == 0);
}

/// Killed after the mark, after the object is gone, and after the event was written: the next start ends it, and tells it once.
#[test]
fn what_a_crash_cut_short_is_ended_by_the_next_start() {
    let world = world(&[("s1", 100), ("s2", 100), ("s3", 100)], 9);
    let objects = world.objects.clone();
    world.run(|shared| async move {
        let store = shared.state.store();
        store
            .mark_recordings(&["s1", "s2", "s3"], NOW_US - 1)
            .await
            .unwrap();
        for gone in ["s2.weir", "s3.weir"] {
            objects.0.inner.delete(&Path::from(gone)).await.unwrap();
        }
        let told = AuditEvent {
            id: "s3-delete".to_owned(),
            kind: "recording.delete".to_owned(),
            session: "s3".to_owned(),
            ..AuditEvent::default()
        };
        shared
            .journal
            .report_durably(vec![told], Vec::new())
            .unwrap()
            .await
            .unwrap();
    });
    let world = world.restarted(Some(KEEP));
    world.eventually("the start ends what was begun", |world| {
        ["s1", "s2", "s3"].iter().all(|id| world.deleted_us(id) == NOW_US)
    });
    assert_eq!(world.objects(), [""; 0]);
    assert_eq!(world.told(), ["s1", "s2", "s3"]);
}

#[test]
fn a_mark_under_a_rule_that_is_gone_is_taken_back_where_the_object_is_still_there() {
    let world = world(&[("s1", 100), ("s2", 100)], 9);
    let objects = world.objects.clone();
    world.run(|shared| async move {
        let store = shared.state.store();
        store.mark_recordings(&["s1", "s2"], NOW_US - 1).await.unwrap();
        objects.0.inner.delete(&Path::from("s2.weir")).await.unwrap();
    });
    let world = world.restarted(None);
    world.eventually("the start looks at what was begun", |world| {
        world.deleted_us("s2") == NOW_US
    });
    let fates = world.run(|shared| async move { shared.state.store().fates(&["s1"]).await.unwrap() });
    assert_eq!((fates["s1"].deleting_us, fates["s1"].deleted_us), (0, 0));
    assert_eq!(
        (world.objects(), world.asked().len()),
        (vec!["s1.weir".to_owned()], 0)
    );
}

#[test]
fn a_hold_after_a_crash_says_whether_it_came_in_time() {
    let world = world(&[("s1", 100), ("s2", 100)], 9);
    let objects = world.objects.clone();
    world.run(|shared| async move {
        let store = shared.state.store();
        store.mark_recordings(&["s1", "s2"], NOW_US - 1).await.unwrap();
        objects.0.inner.delete(&Path::from("s2.weir")).await.unwrap();
    });
    assert_eq!(world.hold("s1"), Held::Now);
    assert_eq!(world.hold("s2"), Held::Deleted);
    assert_eq!(world.sweep().unwrap(), Swept::default());
    assert_eq!(world.objects(), ["s1.weir"]);
}

#[test]
fn a_store_that_is_away_ends_the_sweep_and_the_next_one_goes_on() {
    let world = world(
        &[("s1", 104), ("s2", 103), ("s3", 102), ("s4", 101), ("s5", 100)],
        9,
    );
    world.objects.0.is_away.store(true, Ordering::SeqCst);
    let error = world.sweep().unwrap_err().to_string();
    assert_eq!(error, "watched: away");
    assert_eq!(world.objects.0.refusals.load(Ordering::SeqCst), FAILURES);
    assert_eq!(world.objects().len(), 5);
    world.objects.0.is_away.store(false, Ordering::SeqCst);
    assert_eq!(
        world.sweep().unwrap(),
        Swept {
            deleted: 5,
            failed: 0
        }
    );
}
