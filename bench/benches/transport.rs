//! What SSH itself costs: sealing and opening packets, exchanging keys, and passing packets from one hop to the other.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_crypto::random::PooledRandom;
use weir_relay::{Actions, Ask, Decision, Flow, Policy, Program, Recording, Relay, Side, Upstream};
use weir_ssh::algorithm::{CipherAlgorithm, KexAlgorithm};
use weir_ssh::config::TransportConfig;
use weir_ssh::hop::{Env, Event, Hop, HostKeyCheck, Timestamp};
use weir_ssh::key::{HostKey, SigningKey};
use weir_ssh::wire::{Writer, msg};

/// A keystroke, and what OpenSSH fills a packet of bulk data to.
const SIZES: [usize; 2] = [1, 32 * 1024];
/// Packets sealed ahead of a measurement that opens them.
const BATCH: usize = 16;

struct AnyHostKey;

impl HostKeyCheck for AnyHostKey {
    fn check(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Both ends of one connection, the bytes between them carried by hand.
struct Pair {
    client: Hop,
    server: Hop,
    random: PooledRandom,
}

impl Pair {
    fn new(host_keys: &Arc<[HostKey]>, kex: KexAlgorithm, cipher: CipherAlgorithm) -> Pair {
        let narrow = |mut config: TransportConfig| {
            (config.kex, config.ciphers, config.prefer_gcm) = (vec![kex], vec![cipher], false);
            Arc::new(config)
        };
        Pair {
            client: Hop::client(narrow(TransportConfig::client()), Box::new(AnyHostKey)),
            server: Hop::server(narrow(TransportConfig::server()), host_keys.clone()),
            random: PooledRandom::default(),
        }
    }

    fn established(kex: KexAlgorithm, cipher: CipherAlgorithm) -> Pair {
        let mut pair = Pair::new(&host_keys(), kex, cipher);
        pair.exchange();
        pair
    }

    /// From the identification to new keys on both sides.
    fn exchange(&mut self) {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut env = Env {
            now: Timestamp(Duration::ZERO),
            random: &mut self.random,
        };
        self.client.start(&mut env, &mut to_server);
        self.server.start(&mut env, &mut to_client);
        while !(to_server.is_empty() && to_client.is_empty()) {
            drain(&mut self.server, &mut env, &mut to_server, &mut to_client);
            drain(&mut self.client, &mut env, &mut to_client, &mut to_server);
        }
        assert!(
            self.client.can_seal() && self.server.can_seal(),
            "the exchange is complete"
        );
        self.client.set_authenticated();
        self.server.set_authenticated();
    }
}

fn drain(hop: &mut Hop, env: &mut Env<'_>, input: &mut Vec<u8>, output: &mut Vec<u8>) {
    loop {
        let step = hop.receive(env, input, output).expect("both sides are ours");
        input.drain(..step.consumed);
        if matches!(step.event, Event::NeedMore { .. }) {
            return;
        }
    }
}

fn host_keys() -> Arc<[HostKey]> {
    Arc::new([HostKey::plain(SigningKey::generate_ed25519())])
}

/// `CHANNEL_DATA` on channel 0.
fn channel_data(len: usize) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_DATA];
    payload.put_u32(0);
    payload.put_string(vec![b'x'; len]);
    payload
}

fn key_exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("key exchange, both sides");
    let keys = host_keys();
    for kex in [
        KexAlgorithm::MlKem768X25519,
        KexAlgorithm::Sntrup761X25519,
        KexAlgorithm::Curve25519,
        KexAlgorithm::EcdhP256,
        KexAlgorithm::EcdhP384,
        KexAlgorithm::EcdhP521,
    ] {
        group.bench_function(kex.name(), |b| {
            b.iter(|| Pair::new(&keys, kex, CipherAlgorithm::Aes128Gcm).exchange());
        });
    }
    group.finish();
}

fn packets(c: &mut Criterion) {
    for cipher in CipherAlgorithm::ALL {
        let mut group = c.benchmark_group(format!("packet, {}", cipher.name()));
        for size in SIZES {
            let payload = channel_data(size);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("seal", size), |b| {
                let Pair {
                    client: mut hop,
                    mut random,
                    ..
                } = Pair::established(KexAlgorithm::Curve25519, *cipher);
                let mut out = Vec::new();
                b.iter(|| {
                    let mut env = Env {
                        now: Timestamp(Duration::ZERO),
                        random: &mut random,
                    };
                    out.clear();
                    hop.seal(&mut env, black_box(&payload), &mut out)
                });
            });
            group.bench_function(BenchmarkId::new("open", size), |b| {
                let Pair {
                    client: mut from,
                    server: mut hop,
                    mut random,
                } = Pair::established(KexAlgorithm::Curve25519, *cipher);
                let (mut sealed, mut answers) = (Vec::new(), Vec::new());
                b.iter_custom(|packets| {
                    let mut env = Env {
                        now: Timestamp(Duration::ZERO),
                        random: &mut random,
                    };
                    in_batches(packets, |count| {
                        seal_batch(&mut from, &mut env, &payload, count, &mut sealed);
                        let began = Instant::now();
                        let mut rest = &mut sealed[..];
                        while !rest.is_empty() {
                            let step = hop
                                .receive(&mut env, rest, &mut answers)
                                .expect("what we sealed opens");
                            rest = &mut rest[step.consumed..];
                        }
                        began.elapsed()
                    })
                });
            });
        }
        group.finish();
    }
}

/// Runs `batch` until `packets` are done; the sum of what it measures.
fn in_batches(packets: u64, mut batch: impl FnMut(usize) -> Duration) -> Duration {
    let mut left = usize::try_from(packets).expect("a count of packets fits");
    let mut spent = Duration::ZERO;
    while left > 0 {
        let count = left.min(BATCH);
        spent += batch(count);
        left -= count;
    }
    spent
}

fn seal_batch(hop: &mut Hop, env: &mut Env<'_>, payload: &[u8], count: usize, out: &mut Vec<u8>) {
    out.clear();
    for _ in 0..count {
        hop.seal(env, payload, out).expect("keys are installed");
    }
}

struct AllowAll;

impl Policy for AllowAll {
    fn decide(&self, _: &Ask<'_>) -> Decision {
        Decision::Allow
    }

    fn recording(&self, _: Option<&Program<'_>>) -> Recording {
        Recording {
            output: true,
            input: false,
        }
    }
}

/// A relay with one open session channel, 0 on both sides.
fn relay_with_channel() -> Relay {
    let (mut relay, mut actions) = (Relay::new(false), Actions::new());
    relay.attach(Upstream::default());
    let mut open = vec![msg::CHANNEL_OPEN];
    open.put_string(b"session");
    let mut confirmation = vec![msg::CHANNEL_OPEN_CONFIRMATION];
    confirmation.put_u32(0);
    for payload in [&mut open, &mut confirmation] {
        [0, u32::MAX, 32768]
            .into_iter()
            .for_each(|field| payload.put_u32(field));
    }
    for (from, payload) in [(Side::Client, open), (Side::Target, confirmation)] {
        let flow = relay.packet(from, &payload, &AllowAll, &mut actions);
        assert!(flow.is_ok(), "the channel opens: {flow:?}");
    }
    relay
}

/// One packet's way through the proxy: opened on the hop to the target, looked at, sealed on the hop to the client.
fn relaying(c: &mut Criterion) {
    let gcm = CipherAlgorithm::Aes128Gcm;
    for (to_target, to_client) in [(gcm, gcm), (gcm, CipherAlgorithm::ChaCha20Poly1305)] {
        let mut group = c.benchmark_group(format!("relay, {} to {}", to_target.name(), to_client.name()));
        for size in SIZES {
            let payload = channel_data(size);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(size.to_string(), |b| {
                let Pair {
                    client: mut upstream,
                    server: mut sshd,
                    mut random,
                } = Pair::established(KexAlgorithm::Curve25519, to_target);
                let Pair {
                    server: mut downstream,
                    ..
                } = Pair::established(KexAlgorithm::Curve25519, to_client);
                let (mut relay, mut actions) = (relay_with_channel(), Actions::new());
                let (mut sealed, mut answers, mut out) = (Vec::new(), Vec::new(), Vec::new());
                b.iter_custom(|packets| {
                    let mut env = Env {
                        now: Timestamp(Duration::ZERO),
                        random: &mut random,
                    };
                    in_batches(packets, |count| {
                        seal_batch(&mut sshd, &mut env, &payload, count, &mut sealed);
                        out.clear();
                        let began = Instant::now();
                        let mut rest = &mut sealed[..];
                        while !rest.is_empty() {
                            let step = upstream
                                .receive(&mut env, rest, &mut answers)
                                .expect("what we sealed opens");
                            let Event::Packet(packet) = step.event else {
                                panic!("got {:?}", step.event)
                            };
                            let flow =
                                relay.packet(Side::Target, &rest[packet.payload], &AllowAll, &mut actions);
                            assert_eq!(flow, Ok(Flow::Forward));
                            downstream
                                .reseal(&mut env, &rest[packet.body], &mut out)
                                .expect("keys are installed");
                            rest = &mut rest[step.consumed..];
                        }
                        began.elapsed()
                    })
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = key_exchange, packets, relaying
}
criterion_main!(benches);
