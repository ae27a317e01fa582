//! What recording costs: CPU time by thread for key strokes, bulk and whole sessions, heap of a session at rest.
//!
//! `cargo run --release -p weir-proxy --example record_cost [DIRECTORY]`

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;
use weir_crypto::random::{Random, SystemRandom};
use weir_crypto::sign::PrivateKey;
use weir_objects::{Objects, StoreConfig};
use weir_proxy::recorder::{Finished, Recorder, RecorderConfig, SessionRecording, Terms};
use weir_record::{Event, Identities, Recipients, SessionMeta, Status, Stream};

/// What most sessions are promised.
const TERMS: Terms = Terms {
    exec_limit: 0,
    hashes_unrecorded: false,
    is_strict: true,
    is_sync: false,
};

/// Counts the bytes that are allocated and not freed.
struct Counting;

static HEAP: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: `block` came from `alloc` above with this layout, so from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let root = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let root = tempfile::tempdir_in(root).expect("the directory can be written to");
    let mut bench = Bench::start(root.path());
    if std::env::var_os("BULK").is_some() {
        let mut noise = vec![0; 256 * 1024];
        SystemRandom.fill(&mut noise);
        bench.bulk("noise", Bytes::from(noise), 4_000);
        return;
    }
    bench.sessions(2_000);
    bench.rest(2_000);
    for sessions in [1, 200, 5_000] {
        bench.keystrokes(sessions, 10);
    }
    bench.bulk("zeros", Bytes::from(vec![0; 256 * 1024]), 4_000);
    let mut noise = vec![0; 256 * 1024];
    SystemRandom.fill(&mut noise);
    bench.bulk("noise", Bytes::from(noise), 4_000);
    bench.recorder.shutdown();
}

struct Bench {
    recorder: Recorder,
    recipients: Recipients,
    finished: mpsc::Receiver<Finished>,
}

impl Bench {
    fn start(root: &Path) -> Self {
        let (sender, finished) = mpsc::channel();
        let store = Objects::open(&StoreConfig::directory(root.join("store")))
            .expect("a new directory takes another");
        let stored = store.clone();
        let mut config = RecorderConfig::new(
            root.join("spool"),
            store,
            PrivateKey::generate_ed25519(),
            Box::new(move |one| drop(sender.send(one))),
        );
        config.sync_store = Some(Arc::new(move || stored.sync()));
        let recorder = Recorder::start(config).expect("a recorder starts");
        println!("io_uring: {}", recorder.uses_uring());
        let recipients = Recipients::parse(&[Identities::generate().1]).expect("it was just made");
        Bench {
            recorder,
            recipients,
            finished,
        }
    }

    fn begin(&self) -> SessionRecording {
        let meta = SessionMeta {
            session: Ulid::generate(),
            started_us: 1_700_000_000_000_000,
            user: "alice".to_owned(),
            login: "root".to_owned(),
            node: "web1".to_owned(),
            node_address: "10.0.0.1:22".to_owned(),
            client_address: "192.0.2.7:50000".to_owned(),
            cluster: "main".to_owned(),
        };
        self.recorder
            .begin(&meta, &self.recipients, TERMS)
            .expect("the recorder runs")
    }

    fn archived(&self, count: usize) {
        for _ in 0..count {
            self.finished.recv().expect("the archive runs");
        }
    }

    /// Commands that print a line, one after another, in bursts that the archive keeps up with.
    fn sessions(&mut self, count: usize) {
        self.begin().finish(Status::Complete);
        self.archived(1);
        let before = Cpu::now();
        for _ in 0..count / 50 {
            for _ in 0..50 {
                let mut session = self.begin();
                let at = Duration::from_millis(1);
                session
                    .record(at, 0, &Event::Exec { command: b"uname -a" })
                    .expect("recorded");
                session
                    .data(at, 0, Stream::Output, b"Linux web1 6.1.0 x86_64 GNU/Linux\n")
                    .expect("recorded");
                session.record(at, 0, &Event::ExitStatus(0)).expect("recorded");
                session.finish(Status::Complete);
            }
            self.archived(50);
        }
        before.print(
            &format!("{count} sessions of one command, µs each"),
            1e6 / count as f64,
        );
    }

    fn rest(&mut self, count: usize) {
        std::thread::sleep(Duration::from_secs(1));
        let before = HEAP.load(Ordering::Relaxed);
        let mut sessions: Vec<_> = (0..count).map(|_| self.begin()).collect();
        for session in &mut sessions {
            let shell = Event::Terminal {
                term: b"xterm",
                columns: 80,
                rows: 24,
                width_px: 0,
                height_px: 0,
            };
            session.record(Duration::ZERO, 0, &shell).expect("recorded");
            session
                .record(Duration::ZERO, 0, &Event::Shell)
                .expect("recorded");
            session
                .data(Duration::ZERO, 0, Stream::Output, &[b'x'; 3_000])
                .expect("recorded");
        }
        std::thread::sleep(Duration::from_secs(2));
        let used = HEAP.load(Ordering::Relaxed) - before;
        println!(
            "{count} sessions at rest: {} bytes of heap each",
            used / count.cast_signed()
        );
        let cpu = Cpu::now();
        std::thread::sleep(Duration::from_secs(2));
        cpu.print("2 s of rest, ms in all", 1e3);
        drop(sessions);
        self.archived(count);
    }

    /// Echoed keys, ten a second in each session, for some seconds.
    fn keystrokes(&mut self, count: usize, seconds: u32) {
        let mut sessions: Vec<_> = (0..count).map(|_| self.begin()).collect();
        std::thread::sleep(Duration::from_secs(1));
        let before = Cpu::now();
        let start = Instant::now();
        let mut events = 0u32;
        for tick in 0..seconds * 10 {
            for session in &mut sessions {
                session
                    .data(start.elapsed(), 0, Stream::Output, b"l\x1b[K")
                    .expect("recorded");
                events += 1;
            }
            let next = Duration::from_millis(100) * (tick + 1);
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
        let label = format!("{count} sessions typing for {seconds} s, µs per key");
        before.print(&label, 1e6 / f64::from(events));
        sessions
            .into_iter()
            .for_each(|session| drop(session.finish(Status::Complete)));
        self.archived(count);
    }

    /// Reads of 256 KiB that are handed over by reference, as fast as the recorder takes them.
    fn bulk(&mut self, what: &str, data: Bytes, count: u32) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let mut session = self.begin();
        let before = Cpu::now();
        let start = Instant::now();
        for _ in 0..count {
            if session.is_full() {
                runtime.block_on(session.ready());
            }
            let data = session.pin(data.clone());
            session
                .lend(start.elapsed(), 0, Stream::Output, &data)
                .expect("recorded");
        }
        let handed_over = start.elapsed().as_secs_f64();
        session.finish(Status::Complete);
        self.archived(1);
        let gb = f64::from(count) * data.len() as f64 / 1e9;
        let stored = start.elapsed().as_secs_f64();
        println!("{gb:.2} GB of {what} handed over in {handed_over:.2} s, stored after {stored:.2} s");
        before.print(&format!("{gb:.2} GB of {what}, s per GB"), 1.0 / gb);
    }
}

/// CPU time used, in seconds by the thread's name.
struct Cpu(BTreeMap<String, f64>);

impl Cpu {
    fn now() -> Self {
        let mut used = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task")
            .expect("Linux has it")
            .flatten()
        {
            let read = |file| std::fs::read_to_string(task.path().join(file));
            // A thread may end in between.
            let (Ok(name), Ok(time)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let nanoseconds = time.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
            *used.entry(name.trim().to_owned()).or_default() += nanoseconds.unwrap_or(0.0) / 1e9;
        }
        Cpu(used)
    }

    fn print(&self, label: &str, factor: f64) {
        let now = Cpu::now();
        let used =
            |name: &str| now.0.get(name).copied().unwrap_or(0.0) - self.0.get(name).copied().unwrap_or(0.0);
        let parts: Vec<_> = now
            .0
            .keys()
            .map(|name| format!("{name} {:.3}", used(name) * factor))
            .collect();
        println!("{label}: {}", parts.join(", "));
    }
}
