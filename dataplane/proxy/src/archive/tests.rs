//! The archive beside a store that misbehaves, in virtual time.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc as std_mpsc};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use weir_crypto::sign::PrivateKey;
use weir_objects::Place;
use weir_record::export::{Part, text};
use weir_record::{Identities, Reader, Recipients, Status, Stream, Trust, Unlock, verify};

use super::*;
use crate::recorder::Recorder;
use crate::recorder::tests::{
    IDENTITY, Options, RECIPIENT, SOON, at, block_on, config, eventually, is_over, meta, noise, spool_files,
    strict,
};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn objects_are_filed_under_the_day_in_utc() {
    let session = Ulid::from_parts(1_700_000_000_000, 1);
    let path = object_path(session, 1_700_000_000_000_000);
    assert_eq!(path.to_string(), format!("2023/11/14/{session}.weir"));
}

/// Decides what becomes of each attempt to put an object.
type Judge = Box<dyn Fn(&ObjectPath) -> Result<(), Error> + Send + Sync>;

/// A store in memory that is asked first, and counts.
struct Judged {
    inner: InMemory,
    judge: Judge,
    /// How often each object came through.
    taken: Mutex<HashMap<ObjectPath, usize>>,
    parts: Arc<Parted>,
}

/// What is under way in parts.
#[derive(Default)]
struct Parted {
    under_way: AtomicUsize,
    most: AtomicUsize,
    begun: AtomicUsize,
    aborted: AtomicUsize,
    /// The part that fails, counted from one; none if zero.
    fails: AtomicUsize,
}

impl Judged {
    fn new(judge: impl Fn(&ObjectPath) -> Result<(), Error> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Judged {
            inner: InMemory::new(),
            judge: Box::new(judge),
            taken: Mutex::default(),
            parts: Arc::default(),
        })
    }

    fn objects(self: &Arc<Self>) -> Objects {
        let place = Place::Directory("in memory".into());
        Objects::of(Arc::<Judged>::clone(self), place)
    }

    /// What an object says was put out, once it has been verified.
    fn output(&self, object: &str) -> Vec<u8> {
        let bytes = block_on(async {
            let found = self.inner.get(&ObjectPath::from(object)).await.unwrap();
            found.bytes().await.unwrap()
        });
        let trusted = [Signer::new(PrivateKey::ed25519_from_seed(&[1; 32]))
            .unwrap()
            .public_key()];
        let identities = Identities::parse(IDENTITY).unwrap();
        let unlock = Unlock::Identities(&identities);
        let report = verify(&bytes[..], Some(unlock), Trust::Keys(&trusted)).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
        let mut out = Vec::new();
        text(
            &mut Reader::open(&bytes[..], unlock).unwrap(),
            None,
            Part::WHOLE,
            &mut out,
        )
        .unwrap();
        out
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

fn away() -> Error {
    Error::Generic {
        store: "Judged",
        source: "away".into(),
    }
}

#[async_trait]
impl ObjectStore for Judged {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        (self.judge)(location)?;
        *self.taken.lock().unwrap().entry(location.clone()).or_default() += 1;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        (self.judge)(location)?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SlowUpload {
            inner,
            parts: Arc::clone(&self.parts),
        }))
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Takes a second for each part.
#[derive(Debug)]
struct SlowUpload {
    inner: Box<dyn MultipartUpload>,
    parts: Arc<Parted>,
}

impl fmt::Debug for Parted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parted")
    }
}

#[async_trait]
impl MultipartUpload for SlowUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (len, parts) = (data.content_length(), Arc::clone(&self.parts));
        let number = 1 + parts.begun.fetch_add(1, Ordering::SeqCst);
        let under_way = len + parts.under_way.fetch_add(len, Ordering::SeqCst);
        parts.most.fetch_max(under_way, Ordering::SeqCst);
        let sent = self.inner.put_part(data);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            parts.under_way.fetch_sub(len, Ordering::SeqCst);
            if number == parts.fails.load(Ordering::SeqCst) {
                return Err(away());
            }
            sent.await
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.parts.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

/// A recorder over that store, whose archive has a clock of its own.
struct World {
    root: tempfile::TempDir,
    recorder: Recorder,
    finished: std_mpsc::Receiver<Finished>,
    recipients: Recipients,
}

fn world(store: &Arc<Judged>, sync_store: Option<SyncStore>) -> World {
    let root = tempfile::tempdir().unwrap();
    let (sender, finished) = std_mpsc::channel();
    let mut config = config(root.path(), &Options::default(), sender);
    config.store = store.objects();
    config.sync_store = sync_store;
    config.virtual_time = true;
    World {
        recorder: Recorder::start(config).unwrap(),
        root,
        finished,
        recipients: Recipients::parse(&[RECIPIENT]).unwrap(),
    }
}

impl World {
    /// Records a session with some output, from its beginning to its end.
    fn session(&self, number: u64) {
        let mut session = self
            .recorder
            .begin(&meta(number), &self.recipients, strict(0))
            .unwrap();
        let output = format!("output of {number}");
        session.data(at(1), 0, Stream::Output, output.as_bytes()).unwrap();
        assert!(!is_over(&session));
        session.finish(Status::Complete);
    }

    fn finished(&self, count: u64) -> HashMap<Ulid, Finished> {
        let finished = (0..count).map(|_| self.finished.recv_timeout(SOON).unwrap());
        finished.map(|one| (one.session, one)).collect()
    }

    fn waiting(&self) -> u64 {
        self.recorder.backlog().look().recordings
    }
}

/// The store is away for an hour, in which sessions begin, go on and end as ever. That costs disk while it lasts; then
/// each recording comes into the store once, and the store is not run over.
#[test]
fn a_store_that_is_away_for_an_hour_costs_disk_and_no_session() {
    const BEFORE: u64 = 40;
    let (told, tells) = std_mpsc::channel::<Duration>();
    let (go_on, goes_on) = std_mpsc::channel::<()>();
    let (told, goes_on) = (Mutex::new(told), Mutex::new(goes_on));
    let begun = OnceLock::new();
    let met = AtomicUsize::new(0);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let store = Judged::new(move |_| {
        let away_for = begun.get_or_init(Instant::now).elapsed();
        if away_for >= HOUR {
            return Ok(());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        // Every ten minutes the archive's clock stands still, and the test records.
        let tens = 1 + usize::try_from(away_for.as_secs() / 600).unwrap();
        if met.fetch_max(tens, Ordering::SeqCst) < tens {
            told.lock().unwrap().send(away_for).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
        }
        Err(away())
    });
    let world = world(&store, None);
    let mut long = world
        .recorder
        .begin(&meta(1000), &world.recipients, strict(0))
        .unwrap();
    let mut recorded = 0;
    for tens in 0..6 {
        if tens == 0 {
            world.session(0);
        }
        let away_for = tells.recv_timeout(SOON).unwrap();
        assert!(away_for >= Duration::from_secs(600 * tens));
        long.data(at(tens), 0, Stream::Output, b".").unwrap();
        let more = if tens == 0 {
            1..BEFORE
        } else {
            recorded..recorded + 1
        };
        recorded = more.end;
        more.for_each(|number| world.session(number));
        eventually("all of them wait in the spool", || world.waiting() == recorded);
        go_on.send(()).unwrap();
    }
    let finished = world.finished(recorded);
    assert_eq!(finished.len() as u64, recorded);
    // A try a second at first, a try a minute later, however many wait.
    let tries = tries.load(Ordering::SeqCst);
    assert!((60..150).contains(&tries), "{tries} tries in an hour");
    long.data(at(7), 0, Stream::Output, b"!").unwrap();
    assert!(!is_over(&long));
    long.finish(Status::Complete);
    let last = world.finished.recv_timeout(SOON).unwrap();
    assert_eq!(store.output(&last.object), b"......!");
    for number in 0..recorded {
        let one = &finished[&meta(number).session];
        assert_eq!(
            store.output(&one.object),
            format!("output of {number}").as_bytes()
        );
    }
    assert!(store.taken.lock().unwrap().values().all(|times| *times == 1));
    eventually("the spool is let go of", || {
        world.waiting() == 0 && spool_files(world.root.path(), ".segment") <= 2
    });
    world.recorder.shutdown();
    assert_eq!(world.finished.try_iter().count(), 0, "each is reported once");
}

/// Neither one that the store refuses nor one whose spool cannot be read holds up the others, and each is tried again.
#[test]
fn a_recording_that_cannot_be_put_holds_up_no_other() {
    let refused = meta(0).session.to_string();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let store = Judged::new(move |object| {
        if object.as_ref().contains(&refused) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(away());
        }
        Ok(())
    });
    let world = world(&store, None);
    (0..30).for_each(|number| world.session(number));
    assert_eq!(world.finished(29).len(), 29);
    let before = tries.load(Ordering::SeqCst);
    eventually("it is tried again and again", || {
        tries.load(Ordering::SeqCst) > before + 5 && world.waiting() == 1
    });
    let look = world.recorder.backlog().look();
    assert_eq!(look.problem.as_deref(), Some("in memory: away"));
    assert!(
        look.bytes > 0 && look.spool_bytes > 0 && look.free_bytes > 0,
        "{look:?}"
    );
    world.recorder.die();
}

/// What a failed sync of the store, or a control plane that confirms nothing, leaves in the spool is let go of by the same
/// process, without being put or reported again.
#[test]
fn a_store_that_could_not_be_synced_is_synced_again() {
    let store = Judged::new(|_| Ok(()));
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync: SyncStore = Arc::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
        0..5 => Err(io::Error::other("not confirmed")),
        _ => Ok(()),
    });
    let world = world(&store, Some(sync));
    (0..3).for_each(|number| world.session(number));
    assert_eq!(world.finished(3).len(), 3);
    eventually("they are let go of", || world.waiting() == 0);
    assert!(syncs.load(Ordering::SeqCst) > 5);
    world.recorder.shutdown();
    assert!(store.taken.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(world.finished.try_iter().count(), 0);
}

/// Two recordings of 28 MB that are still in the spool, and a shelf with so many mebibytes of room.
fn two_large(store: &Arc<Judged>, room_mib: usize) -> (tempfile::TempDir, Shelf, Vec<Upload>) {
    let closed = Judged::new(|_| Err(away()));
    let world = world(&closed, None);
    for number in 0..2 {
        let mut session = world
            .recorder
            .begin(&meta(number), &world.recipients, strict(0))
            .unwrap();
        for round in 0..28 {
            block_on(session.ready());
            let data = session.pin(noise(number * 100 + round, 1_000_000));
            session.lend(at(round), 0, Stream::Output, &data).unwrap();
        }
        session.finish(Status::Complete);
    }
    eventually("both are in the spool", || world.waiting() == 2);
    world.recorder.die();
    let dir = world.root.path().join("spool");
    let mut sides = Sides::new(dir.clone());
    let signer = Signer::new(PrivateKey::ed25519_from_seed(&[1; 32])).unwrap();
    let uploads = recovery::recover(&dir, &segment::list(&dir).unwrap(), &signer, &mut sides).unwrap();
    assert_eq!(uploads.len(), 2);
    let shelf = Shelf {
        dir,
        store: store.objects(),
        sides,
        room: Arc::new(Semaphore::new(room_mib)),
    };
    (world.root, shelf, uploads)
}

#[test]
fn parts_go_side_by_side_within_the_room_that_all_share_and_are_taken_back_on_failure() {
    let store = Judged::new(|_| Ok(()));
    // Room for two parts, and for three.
    let (_root, shelf, uploads) = two_large(&store, 16);
    let run = |shelf: &Shelf| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let both = futures_util::future::join(put::put(shelf, &uploads[0]), put::put(shelf, &uploads[1]));
            let (first, second) = both.await;
            [first, second]
        })
    };
    let lens = run(&shelf).map(Result::unwrap);
    assert!(lens.iter().all(|len| *len > 28_000_000), "{lens:?}");
    assert_eq!(
        store.parts.most.load(Ordering::SeqCst),
        16 << 20,
        "in bytes at once"
    );
    for number in 0..2 {
        let expected: Vec<u8> = (0..28)
            .flat_map(|round| noise(number * 100 + round, 1_000_000))
            .collect();
        let object = object_path(meta(number).session, meta(number).started_us);
        assert!(store.output(object.as_ref()) == expected, "recording {number}");
    }
    assert_eq!(store.parts.aborted.load(Ordering::SeqCst), 0);

    let begun = store.parts.begun.load(Ordering::SeqCst);
    store.parts.fails.store(begun + 2, Ordering::SeqCst);
    let results = run(&shelf);
    assert_eq!(
        results.iter().filter(|result| result.is_err()).count(),
        1,
        "{results:?}"
    );
    assert_eq!(store.parts.aborted.load(Ordering::SeqCst), 1);
    assert_eq!(shelf.room.available_permits(), 16, "all room was given back");
}

/// A store that is away does not hold up a shutdown, whatever waits.
#[test]
fn a_shutdown_does_not_try_everything_on_a_store_that_is_away() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let store = Judged::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        // In real time, in which the clock of the archive stands still.
        std::thread::sleep(Duration::from_millis(1));
        Err(away())
    });
    let world = world(&store, None);
    (0..300).for_each(|number| world.session(number));
    eventually("all wait", || world.waiting() == 300);
    let before = tries.load(Ordering::SeqCst);
    world.recorder.shutdown();
    let at_shutdown = tries.load(Ordering::SeqCst) - before;
    assert!(at_shutdown < 300, "{at_shutdown} tries");
    assert_eq!(
        recovered(world.root.path()),
        300,
        "all are there for the next start"
    );
}

fn recovered(root: &Path) -> usize {
    let dir = root.join("spool");
    let signer = Signer::new(PrivateKey::ed25519_from_seed(&[1; 32])).unwrap();
    let mut sides = Sides::new(dir.clone());
    recovery::recover(&dir, &segment::list(&dir).unwrap(), &signer, &mut sides)
        .unwrap()
        .len()
}
