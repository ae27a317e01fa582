//! What recording costs: building chunks, on the recorder's thread, and handing over to it, on the thread of the session.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ulid::Ulid;
use weir_crypto::random::{PooledRandom, Random};
use weir_crypto::sign::PrivateKey;
use weir_objects::{Objects, StoreConfig};
use weir_proxy::recorder::{Recorder, RecorderConfig, SessionRecording, Terms};
use weir_record::{
    Chain, EventBuffer, EventKind, Opening, Packer, Recipients, SessionKey, SessionMeta, Stream,
    TARGET_PLAINTEXT_LEN,
};

fn chain() -> Chain {
    let key = SessionKey::generate(&mut PooledRandom::default());
    let (_, recipient) = weir_record::Identities::generate();
    let wrapped = Recipients::parse(&[recipient]).and_then(|recipients| recipients.wrap(&key));
    let opening = Opening {
        session: Ulid::from_parts(1, 1),
        started_us: 1,
        signer: [7; 32],
        wrapped_key: &wrapped.expect("a generated recipient is valid"),
    };
    Chain::begin(&opening, &key, &mut Vec::new())
}

/// What a terminal shows: lines that resemble each other.
fn terminal_text(len: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|n| {
            format!(
                "-rw-r--r-- 1 root root {:>8} Nov 20 13:{:02} file-{n}.log\r\n",
                n * 37,
                n % 60
            )
            .into_bytes()
        })
        .take(len)
        .collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    PooledRandom::default().fill(&mut bytes);
    bytes
}

fn events(data: &[u8], piece: usize) -> EventBuffer {
    let mut events = EventBuffer::with_storage(Vec::with_capacity(2 * TARGET_PLAINTEXT_LEN));
    for (at_us, piece) in (0..).zip(data.chunks(piece)) {
        assert_eq!(
            events.push_data(at_us, 0, EventKind::OUTPUT, piece),
            piece.len(),
            "a chunk's worth fits"
        );
    }
    events
}

fn chunks(c: &mut Criterion) {
    // Room for the events' heads.
    let bulk = TARGET_PLAINTEXT_LEN - 1024;
    let cases = [
        ("bulk, zeros", vec![0; bulk], 32 * 1024),
        ("bulk, terminal text", terminal_text(bulk), 32 * 1024),
        ("bulk, noise", noise(bulk), 32 * 1024),
        ("keystrokes, a second of them", terminal_text(200), 20),
    ];
    let mut group = c.benchmark_group("chunk");
    for (name, data, piece) in cases {
        let (mut chain, mut packer, mut out) = (chain(), Packer::new(), Vec::new());
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || events(&data, piece),
                |events| {
                    out.clear();
                    chain.seal(&mut packer, black_box(events), &mut out)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A real recorder, of which the thread works beside what is measured.
fn hand_over(c: &mut Criterion) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let store = Objects::open(&StoreConfig::directory(root.path().join("store"))).expect("a new directory");
    let spool = root.path().join("spool");
    let config = RecorderConfig::new(spool, store, PrivateKey::generate_ed25519(), Box::new(drop));
    let recorder = Recorder::start(config).expect("a recorder starts");
    let (_, recipient) = weir_record::Identities::generate();
    let recipients = Recipients::parse(&[recipient]).expect("it was just made");
    let begin = || {
        let meta = SessionMeta {
            session: Ulid::generate(),
            started_us: 1,
            user: "alice".to_owned(),
            login: "root".to_owned(),
            node: "web1".to_owned(),
            node_address: "10.0.0.1:22".to_owned(),
            client_address: "192.0.2.7:50000".to_owned(),
            cluster: "main".to_owned(),
        };
        let terms = Terms {
            exec_limit: 0,
            hashes_unrecorded: false,
            is_strict: true,
            is_sync: false,
        };
        recorder
            .begin(&meta, &recipients, terms)
            .expect("the recorder runs")
    };
    let mut group = c.benchmark_group("hand-over");
    let mut session = begin();
    group.bench_function("echo of a key", |b| {
        b.iter_custom(|count| {
            timed_in_batches(count, 256, &mut session, |session, at| {
                let echo = black_box(&b"l\x1b[K"[..]);
                session.data(at, 0, Stream::Output, echo).expect("recorded");
            })
        });
    });
    let read = Bytes::from(vec![0; 256 * 1024]);
    group.throughput(Throughput::Bytes(read.len() as u64));
    group.bench_function("256 KiB by reference", |b| {
        b.iter_custom(|count| {
            timed_in_batches(count, 1, &mut session, |session, at| {
                let lent = session.pin(read.clone());
                session.lend(at, 0, Stream::Output, &lent).expect("recorded");
            })
        });
    });
    group.finish();
    drop(session);
    recorder.shutdown();
}

/// How long `count` calls take, without the waits of a session that is ahead of its recorder.
fn timed_in_batches(
    count: u64,
    batch: u64,
    session: &mut SessionRecording,
    mut call: impl FnMut(&mut SessionRecording, Duration),
) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut spent = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        if session.is_full() {
            runtime.block_on(session.ready());
        }
        let now = left.min(batch);
        let begin = Instant::now();
        (0..now).for_each(|_| call(session, spent));
        spent += begin.elapsed();
        left -= now;
    }
    spent
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = chunks, hand_over
}
criterion_main!(benches);
