//! Building chunks: what recording costs on the recorder's thread.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ulid::Ulid;
use weir_crypto::random::{PooledRandom, Random};
use weir_record::{
    Chain, EventBuffer, EventKind, Opening, Packer, Recipients, SessionKey, TARGET_PLAINTEXT_LEN,
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = chunks
}
criterion_main!(benches);
