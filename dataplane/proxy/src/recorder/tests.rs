use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use object_store::memory::InMemory;
use weir_crypto::sign::PrivateKey;
use weir_objects::StoreConfig;
use weir_record::export::{Part, json};
use weir_record::{
    ChunkHead, Draft, Envelope, Event, EventKind, Identities, Kind, Reader, Stream, Trust, Unlock, verify,
};

use super::*;
use crate::spool::faults;
use crate::spool::frame::{FrameKind, session_of};

thread_local! {
    /// How the spools of the test that runs on this thread are written.
    static IO: Cell<SpoolIo> = const { Cell::new(SpoolIo::Auto) };
}

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Long enough that whatever comes before it came for another reason.
const NEVER: Duration = Duration::from_secs(3600);

/// A recorder and what it reports.
pub(crate) struct World {
    pub(crate) recorder: Recorder,
    finished: mpsc::Receiver<Finished>,
    recipients: Recipients,
    identities: Identities,
    store: std::path::PathBuf,
}

pub(crate) struct Options {
    pub(crate) io: SpoolIo,
    pub(crate) flush_interval: Duration,
    pub(crate) segment_bytes: u32,
    pub(crate) commit_limit: Duration,
    pub(crate) stall_limit: Duration,
    pub(crate) session_queue_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            io: IO.get(),
            flush_interval: Duration::from_millis(10),
            segment_bytes: 4 << 20,
            commit_limit: NEVER,
            stall_limit: NEVER,
            session_queue_bytes: 1 << 20,
        }
    }
}

pub(crate) const IDENTITY: &str =
    "AGE-SECRET-KEY-104TDKUVZ4UQSRMXJTWLNQMFKYLURUC5LP0R9G9S4VJHP3CSZVEXQSQ66V0";
pub(crate) const RECIPIENT: &str = "age1zcwudzxnafg7jgjvv6np0vkp4u7qvck7kn3qsndvusr4a828y9ksczgll5";

pub(crate) fn config(root: &Path, options: &Options, finished: mpsc::Sender<Finished>) -> RecorderConfig {
    let spool = root.join("spool");
    let store = Objects::open(&StoreConfig::directory(root.join("store"))).unwrap();
    RecorderConfig {
        flush_interval: options.flush_interval,
        segment_bytes: options.segment_bytes,
        commit_limit: options.commit_limit,
        stall_limit: options.stall_limit,
        session_queue_bytes: options.session_queue_bytes,
        io: options.io,
        ..RecorderConfig::new(
            root.join("spool"),
            store,
            PrivateKey::ed25519_from_seed(&[1; 32]),
            Box::new(move |one: Finished| {
                faults::note(&spool, |_| faults::Op::Stored(one.session));
                drop(finished.send(one));
            }),
        )
    }
}

pub(crate) fn world(root: &Path, options: &Options) -> World {
    let (sender, finished) = mpsc::channel();
    World {
        recorder: Recorder::start(config(root, options, sender)).unwrap(),
        finished,
        recipients: Recipients::parse(&[RECIPIENT]).unwrap(),
        identities: Identities::parse(IDENTITY).unwrap(),
        store: root.join("store"),
    }
}

/// A session that passes nothing on unrecorded, and waits for no disk.
pub(crate) fn strict(exec_limit: u64) -> Terms {
    Terms {
        exec_limit,
        hashes_unrecorded: false,
        is_strict: true,
        is_sync: false,
    }
}

pub(crate) const SYNC: Terms = Terms {
    exec_limit: 0,
    hashes_unrecorded: false,
    is_strict: true,
    is_sync: true,
};

const BEST_EFFORT: Terms = Terms {
    exec_limit: 0,
    hashes_unrecorded: false,
    is_strict: false,
    is_sync: false,
};

/// Whether the session ends because it cannot be recorded.
pub(crate) fn is_over(recording: &SessionRecording) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    recording.poll_failed(&mut cx).is_ready()
}

pub(crate) fn meta(number: u64) -> SessionMeta {
    SessionMeta {
        session: Ulid::from_parts(1_700_000_000_000 + number, u128::from(number)),
        started_us: 1_700_000_000_000_000,
        user: "alice".into(),
        login: "root".into(),
        node: "web1".into(),
        node_address: "10.0.0.1:22".into(),
        client_address: "192.0.2.7:50000".into(),
        cluster: "main".into(),
    }
}

impl World {
    pub(crate) fn begin(&self, number: u64, limit: u64) -> SessionRecording {
        self.begin_with(number, strict(limit)).unwrap()
    }

    pub(crate) fn begin_with(&self, number: u64, terms: Terms) -> Result<SessionRecording, RecordError> {
        self.recorder.begin(&meta(number), &self.recipients, terms)
    }

    pub(crate) fn next_finished(&self) -> Finished {
        self.finished.recv_timeout(SOON).unwrap()
    }

    /// Waits for the recording of that session, whatever else comes before.
    fn finished_of(&self, number: u64) -> Finished {
        loop {
            let finished = self.next_finished();
            if finished.session == meta(number).session {
                return finished;
            }
        }
    }

    /// What a recording in the store says was put out, once it has been verified.
    pub(crate) fn output(&self, finished: &Finished) -> Vec<u8> {
        let bytes = std::fs::read(self.store.join(&finished.object)).unwrap();
        assert_eq!(bytes.len() as u64, finished.object_bytes);
        let trusted = PrivateKey::ed25519_from_seed(&[1; 32]);
        let trusted = [Signer::new(trusted).unwrap().public_key()];
        let unlock = Unlock::Identities(&self.identities);
        let report = verify(&bytes[..], Some(unlock), Trust::Keys(&trusted)).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
        assert_eq!(report.session, Some(finished.session));
        assert_eq!(report.end.unwrap().plaintext_bytes, finished.bytes);
        let mut out = Vec::new();
        let mut reader = Reader::open(&bytes[..], unlock).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            if let Some((Stream::Output | Stream::ErrorOutput, data)) = entry.event.data() {
                out.extend_from_slice(data);
            }
        }
        out
    }

    pub(crate) fn json(&self, finished: &Finished) -> String {
        let bytes = std::fs::read(self.store.join(&finished.object)).unwrap();
        let mut out = Vec::new();
        let mut reader = Reader::open(&bytes[..], Unlock::Identities(&self.identities)).unwrap();
        json(&mut reader, Part::WHOLE, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

impl SessionRecording {
    /// Why the session is no longer recorded, if so.
    fn failed(&self) -> Option<String> {
        self.check().err().map(|err| err.to_string())
    }

    /// Lends a buffer of which all is to be recorded.
    fn lend_all(
        &mut self,
        at: Duration,
        channel: u32,
        stream: Stream,
        data: Vec<u8>,
    ) -> Result<(), RecordError> {
        let data = self.pin(data);
        self.lend(at, channel, stream, &data)
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

pub(crate) fn at(us: u64) -> Duration {
    Duration::from_micros(us)
}

pub(crate) fn spool_files(root: &Path, suffix: &str) -> usize {
    let names = std::fs::read_dir(root.join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(suffix))
        .count()
}

/// Waits, without a fixed sleep, for something that another thread brings about.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn a_session_comes_into_the_store() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    assert_eq!(world.recorder.uses_uring(), IO.get() == SpoolIo::Uring);
    let mut session = world.begin(1, 0);
    session
        .record(at(5), 0, &Event::Exec { command: b"make" })
        .unwrap();
    session.data(at(6), 0, Stream::Output, b"hello ").unwrap();
    session.data(at(7), 0, Stream::Output, &[b'x'; 5_000]).unwrap();
    session
        .lend_all(at(8), 0, Stream::ErrorOutput, noise(1, 300_000))
        .unwrap();
    session.record(at(9), 0, &Event::ExitStatus(2)).unwrap();
    session.finish(Status::Complete);
    let finished = world.next_finished();
    assert_eq!(finished.status, Status::Complete);
    assert_eq!(finished.object, format!("2023/11/14/{}.weir", meta(1).session));
    assert!(!finished.recovered && finished.duration.is_some());
    let expected = [&b"hello "[..], &[b'x'; 5_000], &noise(1, 300_000)].concat();
    assert!(world.output(&finished) == expected);
    world.recorder.shutdown();
}

fn sessions_side_by_side_are_kept_apart_and_large_ones_come_in_parts() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut sessions: Vec<_> = (0..5).map(|number| world.begin(number, 0)).collect();
    let mut written = vec![Vec::new(); 5];
    for round in 0..400u64 {
        for (index, session) in sessions.iter_mut().enumerate() {
            let len = if index == 0 { 60_000 } else { 50 * index };
            let data = noise(round * 5 + index as u64, len);
            written[index].extend_from_slice(&data);
            block_on(session.ready());
            if len > 4096 {
                session.lend_all(at(round), 0, Stream::Output, data).unwrap();
            } else {
                session.data(at(round), 0, Stream::Output, &data).unwrap();
            }
        }
    }
    sessions
        .into_iter()
        .for_each(|session| drop(session.finish(Status::Complete)));
    let finished: HashMap<_, _> = (0..5)
        .map(|_| world.next_finished())
        .map(|f| (f.session, f))
        .collect();
    for (number, written) in written.iter().enumerate() {
        assert!(
            world.output(&finished[&meta(number as u64).session]) == *written,
            "session {number}"
        );
    }
    assert!(finished[&meta(0).session].object_bytes > 20_000_000);
    eventually("segments of archived sessions are deleted", || {
        spool_files(root.path(), ".segment") <= 2
    });
    world.recorder.shutdown();
}

fn a_full_session_waits_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        session_queue_bytes: 100_000,
        flush_interval: NEVER,
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut session = world.begin(1, 0);
    let data = noise(7, 60_000);
    let mut waits = 0;
    for round in 0..200 {
        if session.is_full() {
            waits += 1;
            block_on(session.ready());
            assert!(!session.is_full());
        }
        session
            .lend_all(at(round), 0, Stream::Output, data.clone())
            .unwrap();
    }
    assert!(waits > 0, "the bound was never reached");
    session.finish(Status::Complete);
    world.recorder.shutdown();
    assert_eq!(world.output(&world.next_finished()).len(), 200 * 60_000);
}

fn output_past_the_limit_is_counted_and_the_recording_says_so() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 1_000);
    session
        .record(at(1), 3, &Event::Exec { command: b"yes" })
        .unwrap();
    session
        .lend_all(at(2), 3, Stream::Output, vec![b'y'; 5_000])
        .unwrap();
    assert!(!session.wants(3, Stream::Output));
    session.data(at(3), 3, Stream::Output, &[b'y'; 500]).unwrap();
    session.record(at(4), 3, &Event::Closed).unwrap();
    session.record(at(5), 4, &Event::Exec { command: b"no" }).unwrap();
    session.data(at(6), 4, Stream::Output, &[b'n'; 1_001]).unwrap();
    session.finish(Status::Complete);
    let finished = world.next_finished();
    assert_eq!(world.output(&finished), [[b'y'; 1_000], [b'n'; 1_000]].concat());
    let json = world.json(&finished);
    for line in [
        r#""channel":3,"kind":"limit_reached","limit_bytes":1000,"stream":"output""#,
        r#""bytes":4500,"channel":3,"kind":"unrecorded","stream":"output""#,
        r#""bytes":1,"channel":4,"kind":"unrecorded","stream":"output""#,
    ] {
        assert!(json.contains(line), "{line} is missing in {json}");
    }
    world.recorder.shutdown();
}

fn a_dropped_session_ends_as_interrupted_and_so_does_one_at_shutdown() {
    let root = tempfile::tempdir().unwrap();
    let world = world(
        root.path(),
        &Options {
            flush_interval: NEVER,
            ..Options::default()
        },
    );
    drop(world.begin(1, 0));
    let live = world.begin(2, 0);
    world.recorder.shutdown();
    for _ in 0..2 {
        assert_eq!(world.next_finished().status, Status::Interrupted);
    }
    assert_eq!(live.failed().unwrap(), RecordError::Stopped.to_string());
    assert_eq!(spool_files(root.path(), ".side"), 0);
}

fn a_second_recorder_on_a_spool_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let again = Recorder::start(config(root.path(), &Options::default(), mpsc::channel().0));
    assert!(matches!(again.unwrap_err(), StartError::InUse { .. }));
    world.recorder.shutdown();
}

fn a_shutdown_waits_for_no_timer() {
    let root = tempfile::tempdir().unwrap();
    let world = world(
        root.path(),
        &Options {
            flush_interval: NEVER,
            ..Options::default()
        },
    );
    let mut session = world.begin(1, 0);
    session.data(at(1), 0, Stream::Output, b"x").unwrap();
    session.finish(Status::Complete);
    world.recorder.shutdown();
    assert_eq!(world.output(&world.next_finished()), b"x");
}

/// Waits until what was recorded is durable, which is when a later session has come into the store.
fn flushed(world: &World, number: u64) {
    world.begin(number, 0).finish(Status::Complete);
    while world.next_finished().session != meta(number).session {}
}

fn what_was_durable_before_a_kill_is_recovered_and_reported_once() {
    let root = tempfile::tempdir().unwrap();
    let first = world(root.path(), &Options::default());
    first.begin(1, 0).finish(Status::Complete);
    let archived = first.next_finished();
    let mut live = first.begin(2, 0);
    live.data(at(1), 0, Stream::Output, b"before the kill").unwrap();
    flushed(&first, 3);
    first.recorder.die();
    drop(live);

    let second = world(root.path(), &Options::default());
    let mut new = second.begin(4, 0);
    new.data(at(1), 0, Stream::Output, b"after").unwrap();
    let mut recovered = HashMap::new();
    while !recovered.contains_key(&meta(2).session) {
        let finished = second.next_finished();
        recovered.insert(finished.session, finished);
    }
    let interrupted = &recovered[&meta(2).session];
    assert!(interrupted.recovered);
    assert_eq!(
        (interrupted.status, interrupted.duration),
        (Status::Interrupted, None)
    );
    assert_eq!(second.output(interrupted), b"before the kill");
    new.finish(Status::Complete);
    second.recorder.shutdown();
    // That the third was archived may not have been durable yet: it may come again. The first does not.
    let rest = second.finished.try_iter().map(|finished| finished.session);
    let rest: Vec<_> = rest.filter(|session| *session != meta(3).session).collect();
    assert_eq!(rest, [meta(4).session]);
    assert!(!recovered.contains_key(&meta(1).session));
    assert!(second.store.join(archived.object).exists());

    // A third start finds nothing to do.
    let third = world(root.path(), &Options::default());
    third.recorder.shutdown();
    assert_eq!(third.finished.try_iter().count(), 0);
    assert_eq!(spool_files(root.path(), ".segment"), 1);
}

fn a_spool_cut_at_any_byte_gives_what_was_whole_before_the_cut() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 0);
    for round in 0..3u8 {
        session
            .data(at(u64::from(round)), 0, Stream::Output, &[b'a' + round; 30])
            .unwrap();
        flushed(&world, 10 + u64::from(round));
    }
    world.recorder.die();
    drop(session);
    let dir = root.path().join("spool");
    let numbers = segment::list(&dir).unwrap();
    let path = segment::path(&dir, numbers[0]);
    let whole = std::fs::read(&path).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let signer = Signer::new(PrivateKey::ed25519_from_seed(&[1; 32])).unwrap();
    let mut last = 0;
    for cut in 0..=used {
        // Power loss leaves zeros where the length was written and the data was not.
        let torn: Vec<u8> = whole[..cut]
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, 64))
            .collect();
        std::fs::write(&path, torn).unwrap();
        let bytes = archive::recovered_bytes(&dir, &numbers, &signer, meta(1).session);
        let events = bytes.map_or(0, |bytes| {
            let report = verify(
                &bytes[..],
                Some(Unlock::Identities(&world.identities)),
                Trust::Envelope,
            )
            .unwrap();
            assert!(report.is_intact(), "cut at {cut}: {:?}", report.findings);
            assert_eq!(report.end.unwrap().status, Status::Interrupted);
            1 + report.chunks
        });
        assert!(events >= last, "cut at {cut}: less than before");
        last = events;
    }
    assert_eq!(last, 1 + 3);
}

fn long_sessions_do_not_keep_the_segments_of_others() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 128 * 1024,
        flush_interval: Duration::from_millis(1),
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut long = world.begin(1, 0);
    let mut written = Vec::new();
    let mut most = 0;
    for round in 0..60u64 {
        let line = format!("line {round}\n");
        long.data(at(round), 0, Stream::Output, line.as_bytes()).unwrap();
        written.extend_from_slice(line.as_bytes());
        let mut other = world.begin(100 + round, 0);
        other
            .lend_all(at(1), 0, Stream::Output, noise(round, 200_000))
            .unwrap();
        other.finish(Status::Complete);
        world.next_finished();
        most = most.max(spool_files(root.path(), ".segment"));
    }
    eventually("the long session has a file of its own", || {
        spool_files(root.path(), ".side") == 1
    });
    assert!(most <= 20, "{most} segments were held");
    // Both ways out of it: by a recovery, and by an end.
    flushed(&world, 2);
    let copy = root.path().join("copy");
    std::fs::create_dir_all(copy.join("spool")).unwrap();
    world.recorder.die();
    for entry in std::fs::read_dir(root.path().join("spool")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join("spool").join(entry.file_name())).unwrap();
    }
    drop(long);
    let second = self::world(&copy, &options);
    let recovered = second.finished_of(1);
    assert!(second.output(&recovered) == written);
    second.recorder.shutdown();
    assert_eq!(spool_files(&copy, ".side"), 0);
}

fn a_long_session_that_ends_is_put_together_from_side_file_and_segments() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 128 * 1024,
        flush_interval: Duration::from_millis(1),
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut long = world.begin(1, 0);
    let mut written = Vec::new();
    for round in 0..80u64 {
        let data = noise(round, 40_000);
        block_on(long.ready());
        long.lend_all(at(round), 0, Stream::Output, data.clone()).unwrap();
        written.extend_from_slice(&data);
        flushed(&world, 100 + round);
    }
    eventually("there is a side file", || spool_files(root.path(), ".side") == 1);
    long.finish(Status::Complete);
    assert!(world.output(&world.next_finished()) == written);
    world.recorder.shutdown();
    assert_eq!(spool_files(root.path(), ".side"), 0);
}

fn a_spool_that_cannot_be_written_stops_what_it_hits_and_is_got_over() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut early = world.begin(1, 0);
    early.data(at(1), 0, Stream::Output, b"before").unwrap();
    let idle = world.begin(2, 0);
    flushed(&world, 3);
    let spool = root.path().join("spool");
    faults::set(&spool, Some(rustix::io::Errno::IO));
    early.data(at(2), 0, Stream::Output, b" and during").unwrap();
    eventually("the session is told", || early.failed().is_some());
    let reason = early.failed().unwrap();
    assert!(reason.contains("Input/output error"), "{reason}");
    assert!(matches!(
        early.data(at(3), 0, Stream::Output, b"no"),
        Err(RecordError::Failed(_))
    ));
    block_on(early.ready());
    let refused = world.recorder.begin(&meta(4), &world.recipients, strict(0));
    assert!(matches!(refused.unwrap_err(), RecordError::Failed(_)));
    assert!(!is_over(&idle), "it has nothing that could not be written");
    early.finish(Status::Interrupted);

    faults::set(&spool, None);
    let finished = world.next_finished();
    assert_eq!(finished.session, meta(1).session);
    assert_eq!(world.output(&finished), b"before and during");
    let mut late = world.begin(5, 0);
    late.data(at(1), 0, Stream::Output, b"after").unwrap();
    late.finish(Status::Complete);
    assert_eq!(world.output(&world.next_finished()), b"after");
    idle.finish(Status::Complete);
    world.next_finished();
    world.recorder.shutdown();
}

fn a_session_that_waits_is_told_when_the_disk_has_what_it_handed_over() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        flush_interval: NEVER,
        ..Options::default()
    };
    let first = world(root.path(), &options);
    let mut session = first.begin_with(1, SYNC).unwrap();
    let stall = faults::stall(&root.path().join("spool"));
    session.data(at(1), 0, Stream::Output, b"kept").unwrap();
    stall.reached(1);
    let (durability, handed) = (session.durability(), session.handed());
    assert!(!durability.reached(handed), "the disk has not answered");
    assert!(!is_over(&session));
    drop(stall);
    block_on(std::future::poll_fn(|cx| durability.poll_reached(handed, cx)));
    first.recorder.die();
    drop(session);
    let second = world(root.path(), &options);
    assert_eq!(second.output(&second.next_finished()), b"kept");
    second.recorder.shutdown();
}

fn sessions_that_wait_share_the_commits() {
    const SESSIONS: u64 = 60;
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        flush_interval: NEVER,
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut sessions: Vec<_> = (0..SESSIONS)
        .map(|number| world.begin_with(number, SYNC).unwrap())
        .collect();
    let stall = faults::stall(&root.path().join("spool"));
    for (number, session) in sessions.iter_mut().enumerate() {
        session.data(at(1), 0, Stream::Output, b"x").unwrap();
        if number == 0 {
            // The others come while the disk works for this one.
            stall.reached(1);
        }
    }
    let mut syncs = 0;
    while !sessions.iter().all(|s| s.durability().reached(s.handed())) {
        syncs += 1;
        stall.reached(syncs);
        stall.let_one_go();
        assert!(syncs <= 4, "{SESSIONS} sessions took more than {syncs} syncs");
        eventually("the disk is asked again, or all are told", || {
            stall.has_reached(syncs + 1) || sessions.iter().all(|s| s.durability().reached(s.handed()))
        });
    }
    drop(stall);
    sessions
        .into_iter()
        .for_each(|session| drop(session.finish(Status::Complete)));
    world.recorder.shutdown();
}

fn a_full_disk_is_noticed_while_there_is_room_for_what_is_under_way() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let world = world(root.path(), &Options::default());
    faults::set_full(&spool, true);
    let mut stopped = world.begin(1, 0);
    let mut goes_on = world.begin_with(2, BEST_EFFORT).unwrap();
    goes_on.data(at(1), 0, Stream::Output, b"before, ").unwrap();
    // The spare segment is there and is taken; the one after it cannot be made.
    let mut written = Vec::new();
    let error = loop {
        let data = noise(written.len() as u64, 100_000);
        block_on(stopped.ready());
        match stopped.lend_all(at(2), 0, Stream::Output, data.clone()) {
            Ok(()) => written.extend_from_slice(&data),
            Err(error) => break error,
        }
        assert!(written.len() < 40 << 20, "nobody notices");
    };
    assert!(
        error
            .to_string()
            .contains("no space for the spool's next segment: No space left"),
        "{error}"
    );
    stopped.finish(Status::Interrupted);
    let finished = world.next_finished();
    assert_eq!(finished.status, Status::Interrupted);
    assert!(
        world.output(&finished) == written,
        "all that was handed over, and its end"
    );
    assert!(matches!(
        world.begin_with(3, strict(0)),
        Err(RecordError::Failed(_))
    ));

    goes_on.data(at(3), 0, Stream::Output, b"12345").unwrap();
    goes_on.record(at(4), 0, &Event::ExitStatus(0)).unwrap();
    let mut begun_meanwhile = world.begin_with(4, BEST_EFFORT).unwrap();
    begun_meanwhile.data(at(1), 0, Stream::Output, b"123").unwrap();
    assert_eq!(goes_on.take_gap(), None, "it is not over");
    faults::set_full(&spool, false);
    eventually("strict sessions are taken again", || {
        world.begin_with(5, strict(0)).is_ok()
    });
    goes_on.data(at(9), 0, Stream::Output, b"after").unwrap();
    let gap = goes_on.take_gap().unwrap();
    assert_eq!((gap.from, gap.to, gap.bytes, gap.events), (at(3), at(9), 5, 1));
    assert!(gap.reason.contains("No space left"), "{}", gap.reason);
    goes_on.finish(Status::Complete);
    let gap = begun_meanwhile.finish(Status::Complete).unwrap();
    assert_eq!((gap.from, gap.bytes), (at(1), 3));
    let mut expected = HashMap::from([
        (meta(2).session, (&b"before, after"[..], 5)),
        (meta(4).session, (&b""[..], 3)),
    ]);
    // They are put into the store side by side.
    while !expected.is_empty() {
        let finished = world.next_finished();
        let Some((output, bytes)) = expected.remove(&finished.session) else {
            continue;
        };
        assert_eq!(world.output(&finished), output);
        let json = world.json(&finished);
        assert!(json.contains("\"kind\":\"gap\""), "{json}");
        assert!(json.contains(&format!("\"bytes\":{bytes},")), "{json}");
    }
    world.recorder.shutdown();
}

fn a_start_on_a_full_disk_takes_what_was_reserved() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let first = world(root.path(), &Options::default());
    let session = first.begin(1, 0);
    eventually("another segment is reserved", || spool.join("spare").exists());
    flushed(&first, 2);
    first.recorder.die();
    drop(session);
    faults::set_full(&spool, true);
    let second = world(root.path(), &Options::default());
    second.finished_of(1);
    eventually("the lack of space is noticed", || {
        second.begin_with(3, strict(0)).is_err()
    });
    faults::set_full(&spool, false);
    second.recorder.shutdown();
}

fn a_disk_that_does_not_answer_stops_what_must_be_recorded_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let world = world(
        root.path(),
        &Options {
            commit_limit: Duration::from_millis(20),
            stall_limit: Duration::from_millis(300),
            ..Options::default()
        },
    );
    let mut strict_one = world.begin(1, 0);
    let idle = world.begin(2, 0);
    let mut waiting = world.begin_with(3, SYNC).unwrap();
    let mut other = world.begin_with(4, BEST_EFFORT).unwrap();
    flushed(&world, 5);
    let stall = faults::stall(&root.path().join("spool"));
    strict_one.data(at(1), 0, Stream::Output, b"handed over").unwrap();
    waiting.data(at(1), 0, Stream::Output, b"held back").unwrap();
    eventually("nothing more is passed on", || strict_one.is_full());
    block_on(strict_one.ready());
    let error = strict_one.data(at(2), 0, Stream::Output, b"no").unwrap_err();
    assert!(
        error.to_string().contains("has not answered for 0.3 s"),
        "{error}"
    );
    let failure = block_on(std::future::poll_fn(|cx| waiting.poll_failed(cx)));
    assert!(failure.to_string().contains("has not answered"), "{failure}");
    assert!(!is_over(&idle), "it has nothing to lose");
    assert!(world.begin_with(6, strict(0)).is_err());
    other.data(at(2), 0, Stream::Output, b"unrecorded").unwrap();

    drop(stall);
    eventually("the disk answers again", || {
        world.begin_with(7, strict(0)).is_ok()
    });
    other.data(at(3), 0, Stream::Output, b"recorded").unwrap();
    assert_eq!(other.take_gap().unwrap().bytes, 10);
    drop(strict_one);
    drop(waiting);
    idle.finish(Status::Complete);
    other.finish(Status::Complete);
    world.recorder.shutdown();
}

fn a_session_that_need_not_be_recorded_does_not_wait_for_a_recorder_that_is_behind() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        session_queue_bytes: 10_000,
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut session = world.begin_with(1, BEST_EFFORT).unwrap();
    flushed(&world, 2);
    let stall = faults::stall(&root.path().join("spool"));
    let lent = session.pin(vec![b'a'; 20_000]);
    session.lend(at(1), 0, Stream::Output, &lent).unwrap();
    assert!(session.is_full());
    session.suspend();
    assert!(!session.is_full(), "it does not wait");
    session.data(at(2), 0, Stream::Output, b"lost").unwrap();
    assert_eq!(session.take_gap(), None);
    drop(lent);
    drop(stall);
    eventually("there is room again", || {
        session.data(at(3), 0, Stream::Output, b"").unwrap();
        session.take_gap().is_some_and(|gap| gap.bytes == 4)
    });
    session.data(at(4), 0, Stream::Output, b"z").unwrap();
    session.finish(Status::Complete);
    let finished = world.finished_of(1);
    assert_eq!(world.output(&finished), [&[b'a'; 20_000][..], b"z"].concat());
    world.recorder.shutdown();
}

fn without_a_recorder_strict_sessions_end_and_others_count() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut strict_one = world.begin(1, 0);
    let mut other = world.begin_with(2, BEST_EFFORT).unwrap();
    world.recorder.die();
    assert_eq!(
        strict_one.data(at(1), 0, Stream::Output, b"x"),
        Err(RecordError::Stopped)
    );
    assert!(is_over(&strict_one));
    other.data(at(1), 0, Stream::Output, b"12").unwrap();
    assert_eq!(world.begin_with(3, strict(0)).unwrap_err(), RecordError::Stopped);
    let mut late = world.begin_with(4, BEST_EFFORT).unwrap();
    late.data(at(2), 0, Stream::Output, b"123").unwrap();
    assert_eq!(other.finish(Status::Complete).unwrap().bytes, 2);
    assert_eq!(late.finish(Status::Complete).unwrap().bytes, 3);
}

fn what_a_session_did_without_a_recorder_is_in_its_recording_after_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let first = world(root.path(), &Options::default());
    let mut session = first.begin_with(1, BEST_EFFORT).unwrap();
    session.data(at(1), 0, Stream::Output, b"seen").unwrap();
    flushed(&first, 2);
    first.recorder.die();
    session.data(at(3_000), 0, Stream::Output, b"not seen").unwrap();
    session.record(at(5_000), 0, &Event::ExitStatus(0)).unwrap();
    session.record(at(7_000), 0, &Event::Closed).unwrap();
    session.finish(Status::Complete);
    // One that began too late to have a recording at all.
    first
        .begin_with(3, BEST_EFFORT)
        .unwrap()
        .data(at(1), 0, Stream::Output, b"x")
        .unwrap();
    first.recorder.shutdown();
    assert_eq!(spool_files(root.path(), ".note"), 2);

    let second = world(root.path(), &Options::default());
    let recovered = second.finished_of(1);
    assert_eq!(
        (recovered.status, recovered.duration),
        (Status::Interrupted, Some(at(7_000)))
    );
    assert_eq!(second.output(&recovered), b"seen");
    let json = second.json(&recovered);
    let mut events = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let gap = events.find(|event| event["kind"] == "gap").unwrap();
    let told = ["from_us", "to_us", "bytes", "events"].map(|field| gap[field].as_u64().unwrap());
    assert_eq!(told, [3000, 7000, 8, 2], "{gap}");
    second.recorder.shutdown();
    assert_eq!(spool_files(root.path(), ".note"), 0);
}

fn a_failed_sync_is_not_believed_when_the_next_succeeds() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 0);
    flushed(&world, 2);
    let spool = root.path().join("spool");
    let before = segment::list(&spool).unwrap();
    faults::set_once(&spool, rustix::io::Errno::IO);
    session.data(at(1), 0, Stream::Output, b"twice written").unwrap();
    flushed(&world, 3);
    assert!(
        segment::list(&spool).unwrap().last() > before.last(),
        "it went into another segment"
    );
    assert_eq!(session.failed(), None, "nothing was lost");
    session
        .data(at(2), 0, Stream::Output, b", once recorded")
        .unwrap();
    flushed(&world, 4);
    world.recorder.die();
    drop(session);
    let second = self::world(root.path(), &Options::default());
    let recovered = second.finished_of(1);
    assert_eq!(second.output(&recovered), b"twice written, once recorded");
    second.recorder.shutdown();
}

fn a_store_that_is_away_is_tried_again_and_the_spool_waits_for_it() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let in_the_way = world.store.join("2023");
    std::fs::write(&in_the_way, b"").unwrap();
    let mut session = world.begin(1, 0);
    session.data(at(1), 0, Stream::Output, b"patience").unwrap();
    session.finish(Status::Complete);
    let early = world.finished.recv_timeout(Duration::from_millis(300));
    assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(world.output(&world.next_finished()), b"patience");
    world.recorder.shutdown();
}

fn what_the_store_did_not_take_before_shutdown_comes_with_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let first = world(root.path(), &Options::default());
    std::fs::write(first.store.join("2023"), b"").unwrap();
    first.begin(1, 0).finish(Status::Complete);
    first.recorder.shutdown();
    assert_eq!(first.finished.try_iter().count(), 0);
    std::fs::remove_file(first.store.join("2023")).unwrap();
    let second = world(root.path(), &Options::default());
    let finished = second.next_finished();
    assert_eq!((finished.status, finished.recovered), (Status::Complete, true));
    assert_eq!(second.output(&finished), b"");
    second.recorder.shutdown();
}

/// Killed between store and spool, and its key wrapped anew since: the first envelope must not come back.
fn a_recording_that_was_stored_and_wrapped_anew_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let first = world(root.path(), &Options::default());
    std::fs::write(first.store.join("2023"), b"").unwrap();
    let mut session = first.begin(1, 0);
    session.data(at(1), 0, Stream::Output, b"once").unwrap();
    session.finish(Status::Complete);
    first.recorder.shutdown();
    std::fs::remove_file(first.store.join("2023")).unwrap();

    // What the killed process has put into the store, by way of a copy of its spool.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("spool")).unwrap();
    for entry in std::fs::read_dir(root.path().join("spool")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join("spool").join(entry.file_name())).unwrap();
    }
    let earlier = world(copy.path(), &Options::default());
    let stored = earlier.next_finished();
    earlier.recorder.shutdown();
    let bytes = std::fs::read(earlier.store.join(&stored.object)).unwrap();
    let envelope = Envelope::parse_start(&bytes).unwrap();
    let (old, chunks) = bytes.split_at(envelope.len());
    let key = first.identities.unwrap(&envelope.wrapped_key).unwrap();
    let draft = Draft::new(old, &key, &first.recipients).unwrap();
    let signer = Signer::new(PrivateKey::ed25519_from_seed(&[1; 32])).unwrap();
    let rewrapped = [&draft.sign(&signer).unwrap(), chunks].concat();
    let object = first.store.join(&stored.object);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&object, &rewrapped).unwrap();

    let second = world(root.path(), &Options::default());
    let finished = second.next_finished();
    assert!(finished.recovered);
    assert_eq!(second.output(&finished), b"once");
    second.recorder.shutdown();
    assert!(std::fs::read(&object).unwrap() == rewrapped);
}

fn the_spool_keeps_a_recording_until_the_store_is_synced() {
    let root = tempfile::tempdir().unwrap();
    let (sender, finished) = mpsc::channel();
    let mut config = config(root.path(), &Options::default(), sender);
    let store = config.store.clone();
    let (synced, syncs) = mpsc::channel();
    let synced = Mutex::new(synced);
    config.sync_store = Some(Arc::new(move || {
        synced.lock().unwrap().send(()).unwrap();
        store.sync()
    }));
    let recorder = Recorder::start(config).unwrap();
    let recipients = Recipients::parse(&[RECIPIENT]).unwrap();
    for number in 0..3 {
        recorder
            .begin(&meta(number), &recipients, strict(0))
            .unwrap()
            .finish(Status::Complete);
    }
    for _ in 0..3 {
        finished.recv_timeout(SOON).unwrap();
    }
    assert!(syncs.try_recv().is_err(), "each is reported before");
    recorder.shutdown();
    assert_eq!(syncs.try_iter().count(), 1, "one for all");
    let again = world(root.path(), &Options::default());
    again.recorder.shutdown();
    assert_eq!(again.finished.try_iter().count(), 0);
}

fn any_object_store_will_do() {
    let root = tempfile::tempdir().unwrap();
    let (sender, finished) = mpsc::channel();
    let mut config = config(root.path(), &Options::default(), sender);
    let store = Arc::new(InMemory::new());
    config.store = Objects::of(Arc::<InMemory>::clone(&store), config.store.place().clone());
    let recorder = Recorder::start(config).unwrap();
    let recipients = Recipients::parse(&[RECIPIENT]).unwrap();
    recorder
        .begin(&meta(1), &recipients, strict(0))
        .unwrap()
        .finish(Status::Complete);
    let finished = finished.recv_timeout(SOON).unwrap();
    let object = object_store::path::Path::from(finished.object);
    let held = block_on(object_store::ObjectStoreExt::head(&*store, &object)).unwrap();
    assert_eq!(held.size, finished.object_bytes);
    recorder.shutdown();
}

const CHILD: &str = "WEIR_RECORDER_TEST_CHILD";
const CHILD_IO: &str = "WEIR_RECORDER_TEST_CHILD_IO";

/// Not a test of its own: the process that another one kills. Says how much of what it has put in is durable.
#[test]
fn child_that_records_until_it_is_killed() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    if std::env::var_os(CHILD_IO).is_some_and(|io| io == "plain") {
        IO.set(SpoolIo::Plain);
    }
    let world = world(Path::new(&root), &Options::default());
    let mut session = world.begin(1, 0);
    let mut before = None;
    for number in 0u64.. {
        session
            .data(at(number), 0, Stream::Output, format!("{number}\n").as_bytes())
            .unwrap();
        // One that comes after them is in the store only when they are durable.
        if before.is_none() {
            world.begin(2 + number, 0).finish(Status::Complete);
            before = Some(number + 1);
        }
        if world.finished.try_recv().is_ok() {
            println!("durable {}", before.take().unwrap());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn a_killed_process_keeps_all_from_before_its_last_completed_sync() {
    use std::io::BufRead;
    let root = tempfile::tempdir().unwrap();
    let io = match IO.get() {
        SpoolIo::Plain => "plain",
        SpoolIo::Auto | SpoolIo::Uring => "uring",
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "recorder::tests::child_that_records_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD, root.path())
        .env(CHILD_IO, io)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut durable = Vec::new();
    for line in lines.map_while(Result::ok) {
        durable.extend(
            line.strip_prefix("durable ")
                .and_then(|number| number.parse::<u64>().ok()),
        );
        if durable.len() == 20 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let world = world(root.path(), &Options::default());
    let finished = world.finished_of(1);
    let output = String::from_utf8(world.output(&finished)).unwrap();
    let recorded: Vec<u64> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert!(recorded.iter().copied().eq(0..recorded.len() as u64), "a gap");
    let durable = *durable.last().unwrap();
    assert!(
        recorded.len() as u64 >= durable,
        "{} recorded, {durable} were durable",
        recorded.len()
    );
    world.recorder.shutdown();
}

fn a_hundred_sessions_of_one_interval_cost_one_sync() {
    let root = tempfile::tempdir().unwrap();
    let stall = faults::stall(&root.path().join("spool"));
    let world = world(root.path(), &Options::default());
    let mut sessions = vec![world.begin(0, 0)];
    // While the recorder stands in the sync of the first, the others come.
    stall.reached(1);
    for number in 1..=100 {
        let mut session = world.begin(number, 0);
        session
            .data(at(number), 0, Stream::Output, b"one of many")
            .unwrap();
        sessions.push(session);
    }
    stall.let_one_go();
    stall.reached(2);
    let chunks = chunks_in_spool(root.path());
    assert_eq!(chunks.len(), 101, "all are written before the second sync");
    assert!(chunks.values().all(|&count| count == 1));
    // And the third is for what came after it.
    sessions.push(world.begin(101, 0));
    stall.let_one_go();
    stall.reached(3);
    assert!(chunks_in_spool(root.path()).contains_key(&meta(101).session));
    drop(stall);
    sessions
        .into_iter()
        .for_each(|session| drop(session.finish(Status::Complete)));
    world.recorder.shutdown();
    assert_eq!(world.finished.try_iter().count(), 102);
}

/// How many chunks the only segment has, by session.
fn chunks_in_spool(root: &Path) -> HashMap<Ulid, usize> {
    let dir = root.join("spool");
    let [number] = segment::list(&dir).unwrap()[..] else {
        panic!("one segment is enough for this")
    };
    let mut chunks = HashMap::new();
    let segment = segment::Segment::open(&dir, number, segment::Origin::Left).unwrap();
    segment
        .scan(|_, head, payload| {
            if head.kind == FrameKind::Chunk {
                *chunks.entry(session_of(head.kind, payload).unwrap()).or_default() += 1;
            }
            Ok(())
        })
        .unwrap();
    chunks
}

fn a_slice_counts_as_the_buffer_that_it_keeps_out() {
    let root = tempfile::tempdir().unwrap();
    let stall = faults::stall(&root.path().join("spool"));
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 0);
    // The recorder takes nothing on.
    stall.reached(1);
    let mut lent = 0;
    while !session.is_full() {
        let buffer = session.pin(vec![b'x'; 256 * 1024]);
        for _ in 0..10 {
            session
                .lend(at(1), 0, Stream::Output, &buffer.slice(7..17))
                .unwrap();
        }
        lent += 1;
    }
    assert_eq!(
        lent, 4,
        "1 MiB is four buffers, however little of them is recorded"
    );
    drop(stall);
    block_on(session.ready());
    session.finish(Status::Complete);
    assert_eq!(world.output(&world.next_finished()), [b'x'; 400]);
    world.recorder.shutdown();
}

fn a_buffer_counts_until_the_last_of_it_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let session = world.begin(1, 0);
    let buffer = session.pin(vec![0; 2 << 20]);
    let slice = buffer.slice(0..1);
    drop(buffer);
    assert!(session.is_full());
    drop(slice);
    assert!(!session.is_full());
    world.recorder.shutdown();
}

fn times_never_decrease() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 150_000);
    session
        .lend_all(at(50), 0, Stream::Output, noise(1, 140_000))
        .unwrap();
    // A chunk has its own first time: what comes now begins another.
    flushed(&world, 2);
    session.data(at(40), 0, Stream::Output, &noise(2, 9_000)).unwrap();
    session.record(at(60), 1, &Event::Shell).unwrap();
    session.data(at(70), 0, Stream::Output, &[b'x'; 9_000]).unwrap();
    // The channel is left open: what of it is missing is told at the end, which has no time of its own.
    session.finish(Status::Complete);
    let finished = world.next_finished();
    let bytes = std::fs::read(world.store.join(&finished.object)).unwrap();
    let mut reader = Reader::open(&bytes[..], Unlock::Identities(&world.identities)).unwrap();
    let mut times = Vec::new();
    let mut last = None;
    while let Some(entry) = reader.next_entry().unwrap() {
        times.push(entry.at);
        last = Some(entry.event.kind());
    }
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((times.last(), last), (Some(&at(70)), Some(EventKind::UNRECORDED)));
    world.recorder.shutdown();
}

fn what_can_be_compressed_is() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut session = world.begin(1, 0);
    let text = b"drwxr-xr-x 2 root root 4096 Jan  1 00:00 .\n".repeat(1_000);
    session.lend_all(at(1), 0, Stream::Output, text.clone()).unwrap();
    session.finish(Status::Complete);
    let finished = world.next_finished();
    assert!(world.output(&finished) == text);
    assert!(
        finished.object_bytes < finished.bytes / 4,
        "{} bytes became {}",
        finished.bytes,
        finished.object_bytes
    );
    let bytes = std::fs::read(world.store.join(&finished.object)).unwrap();
    let envelope_len = u32::from_le_bytes(*bytes[8..].first_chunk().unwrap());
    let first = bytes[envelope_len as usize..].first_chunk().unwrap();
    assert_eq!(ChunkHead::parse(first).unwrap().kind, Kind::Zstd);
    world.recorder.shutdown();
}

#[test]
fn io_uring_is_used_where_the_kernel_permits_it() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    assert_eq!(IO.get(), SpoolIo::Auto);
    assert_eq!(world.recorder.uses_uring(), kernel_permits_io_uring());
    world.recorder.shutdown();
}

/// Asks the kernel itself, by no library.
fn kernel_permits_io_uring() -> bool {
    // `struct io_uring_params` of <linux/io_uring.h>, all zero for the defaults.
    let mut parameters = [0u64; 15];
    // SAFETY: io_uring_setup(2) reads and writes the 120 bytes of `parameters`, which live until it returns.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    let Ok(ring) = i32::try_from(ring) else {
        return false;
    };
    if ring < 0 {
        return false;
    }
    // SAFETY: the call before has opened this descriptor, and nothing else knows it.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(ring) });
    true
}

/// Runs every test by each way to write a spool.
macro_rules! by_each_io {
    ($($name:ident),* $(,)?) => {
        mod by_uring {
            $(
                #[test]
                fn $name() {
                    if super::kernel_permits_io_uring() {
                        super::IO.set(super::SpoolIo::Uring);
                        super::$name();
                    } else {
                        eprintln!("skipped: this kernel permits no io_uring");
                    }
                }
            )*
        }
        mod by_plain_calls {
            $(
                #[test]
                fn $name() {
                    super::IO.set(super::SpoolIo::Plain);
                    super::$name();
                }
            )*
        }
    };
}

by_each_io!(
    a_session_comes_into_the_store,
    sessions_side_by_side_are_kept_apart_and_large_ones_come_in_parts,
    a_full_session_waits_and_loses_nothing,
    output_past_the_limit_is_counted_and_the_recording_says_so,
    a_dropped_session_ends_as_interrupted_and_so_does_one_at_shutdown,
    a_second_recorder_on_a_spool_is_refused,
    a_shutdown_waits_for_no_timer,
    what_was_durable_before_a_kill_is_recovered_and_reported_once,
    a_spool_cut_at_any_byte_gives_what_was_whole_before_the_cut,
    long_sessions_do_not_keep_the_segments_of_others,
    a_long_session_that_ends_is_put_together_from_side_file_and_segments,
    a_spool_that_cannot_be_written_stops_what_it_hits_and_is_got_over,
    a_session_that_waits_is_told_when_the_disk_has_what_it_handed_over,
    sessions_that_wait_share_the_commits,
    a_full_disk_is_noticed_while_there_is_room_for_what_is_under_way,
    a_start_on_a_full_disk_takes_what_was_reserved,
    a_disk_that_does_not_answer_stops_what_must_be_recorded_and_nothing_else,
    a_session_that_need_not_be_recorded_does_not_wait_for_a_recorder_that_is_behind,
    without_a_recorder_strict_sessions_end_and_others_count,
    what_a_session_did_without_a_recorder_is_in_its_recording_after_the_next_start,
    a_failed_sync_is_not_believed_when_the_next_succeeds,
    a_store_that_is_away_is_tried_again_and_the_spool_waits_for_it,
    what_the_store_did_not_take_before_shutdown_comes_with_the_next_start,
    a_recording_that_was_stored_and_wrapped_anew_stays_as_it_is,
    the_spool_keeps_a_recording_until_the_store_is_synced,
    any_object_store_will_do,
    a_killed_process_keeps_all_from_before_its_last_completed_sync,
    a_hundred_sessions_of_one_interval_cost_one_sync,
    a_slice_counts_as_the_buffer_that_it_keeps_out,
    a_buffer_counts_until_the_last_of_it_is_dropped,
    times_never_decrease,
    what_can_be_compressed_is,
);
