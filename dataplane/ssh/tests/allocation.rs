//! What a hop allocates: nothing for a packet that it opens and another one seals, and little while it rests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use weir_crypto::random::SystemRandom;
use weir_ssh::algorithm::{CipherAlgorithm, MacAlgorithm};
use weir_ssh::key::SigningKey;
use weir_ssh::{Env, Event, Hop, HostKey, HostKeyCheck, Timestamp, TransportConfig};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn count(calls: u64, bytes: i64) {
    // A thread that is being torn down has no counters any more, and nothing to prove.
    let _ = CALLS.try_with(|cell| cell.set(cell.get() + calls));
    let _ = LIVE.try_with(|cell| cell.set(cell.get() + bytes));
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to `System` with the arguments it came with, so its contract is kept as the caller keeps it;
// the counters are plain cells of this thread that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, size(layout));
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -size(layout));
        // SAFETY: `pointer` came from `System.alloc` with this `layout`, for nothing else allocates here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Accepts every host key.
struct Accept;

impl HostKeyCheck for Accept {
    fn check(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

struct Ends {
    client: Hop,
    server: Hop,
}

fn host_key() -> Arc<[HostKey]> {
    [HostKey::plain(SigningKey::ed25519_from_seed(&[3; 32]))].into()
}

/// Both ends of a connection with its keys installed and its peers authenticated.
fn established(client: Hop, server: Hop) -> Ends {
    let mut ends = Ends { client, server };
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    with_env(|env| ends.client.start(env, &mut to_server));
    with_env(|env| ends.server.start(env, &mut to_client));
    let mut key_changes = 0;
    while key_changes < 2 {
        key_changes += feed(&mut ends.server, &mut to_server, &mut to_client);
        key_changes += feed(&mut ends.client, &mut to_client, &mut to_server);
    }
    feed(&mut ends.server, &mut to_server, &mut to_client);
    ends.client.set_authenticated();
    ends.server.set_authenticated();
    ends
}

fn feed(hop: &mut Hop, from: &mut Vec<u8>, out: &mut Vec<u8>) -> usize {
    let mut key_changes = 0;
    while !from.is_empty() {
        let step = with_env(|env| hop.receive(env, from, out)).unwrap();
        match step.event {
            Event::NeedMore { .. } => break,
            Event::KeysInstalled { .. } => key_changes += 1,
            _ => {}
        }
        from.drain(..step.consumed);
    }
    key_changes
}

fn with_env<R>(step: impl FnOnce(&mut Env<'_>) -> R) -> R {
    let mut random = SystemRandom;
    step(&mut Env {
        now: Timestamp(Duration::from_secs(1)),
        random: &mut random,
    })
}

fn config(cipher: CipherAlgorithm, mac: MacAlgorithm) -> Arc<TransportConfig> {
    TransportConfig {
        ciphers: vec![cipher],
        macs: vec![mac],
        ..TransportConfig::client()
    }
    .into()
}

fn pair(config: &Arc<TransportConfig>) -> Ends {
    let client = Hop::client(config.clone(), Box::new(Accept));
    established(client, Hop::server(config.clone(), host_key()))
}

#[test]
fn a_packet_from_one_hop_to_the_other_allocates_nothing() {
    use CipherAlgorithm::{Aes128Ctr, Aes128Gcm, Aes256Ctr, Aes256Gcm, ChaCha20Poly1305};
    use MacAlgorithm::{HmacSha256, HmacSha256Etm, HmacSha512Etm};
    let protections = [
        (Aes128Gcm, HmacSha256),
        (Aes256Gcm, HmacSha256),
        (ChaCha20Poly1305, HmacSha256),
        (Aes128Ctr, HmacSha256Etm),
        (Aes256Ctr, HmacSha512Etm),
        (Aes128Ctr, HmacSha256),
    ];
    for from in protections {
        for to in protections {
            let mut left = pair(&config(from.0, from.1));
            let mut right = pair(&config(to.0, to.1));
            let mut wire = Vec::new();
            for len in [1, 37, 1000, 32 * 1024, 200 * 1024] {
                with_env(|env| left.client.seal(env, &vec![94; len], &mut wire)).unwrap();
            }
            let mut out = Vec::with_capacity(512 * 1024);

            let before = CALLS.get();
            let mut start = 0;
            while start < wire.len() {
                with_env(|env| {
                    let buf = &mut wire[start..];
                    let step = left.server.receive(env, buf, &mut out).unwrap();
                    start += step.consumed;
                    let Event::Packet(packet) = step.event else {
                        panic!("{step:?}")
                    };
                    right.client.reseal(env, &buf[packet.body], &mut out).unwrap();
                });
            }
            assert_eq!(CALLS.get() - before, 0, "from {from:?} to {to:?}");
            feed(&mut right.server, &mut out, &mut Vec::new());
            assert!(out.is_empty(), "all of it was opened");
        }
    }
}

#[test]
fn a_hop_at_rest_takes_about_two_kibibytes() {
    const LIMIT: usize = 2048;
    // With what the allocator loses between blocks.
    const RESIDENT_LIMIT: usize = 2560;
    const PAIRS: usize = 500;
    let (client, server) = (
        Arc::new(TransportConfig::client()),
        Arc::new(TransportConfig::server()),
    );
    let keys = host_key();
    let connect = || {
        established(
            Hop::client(client.clone(), Box::new(Accept)),
            Hop::server(server.clone(), keys.clone()),
        )
    };
    let rest = |count: usize| (0..count).map(|_| connect()).collect::<Vec<_>>();
    // What the first exchanges leave in the allocator's hands serves the later ones.
    let first = rest(20);

    let (live, resident) = (LIVE.get(), resident_bytes());
    let pairs = rest(PAIRS);
    let rust = usize::try_from(LIVE.get() - live).unwrap() / (2 * PAIRS);
    // The cryptography library's own allocations are in this one.
    let all = resident_bytes().saturating_sub(resident) / (2 * PAIRS);
    println!(
        "a hop at rest: {} bytes, {rust} allocated from Rust, {all} resident",
        size_of::<Hop>()
    );
    assert!(
        rust <= LIMIT && all <= RESIDENT_LIMIT,
        "{rust} bytes allocated from Rust, {all} resident"
    );
    drop(pairs);
    assert_eq!(LIVE.get(), live, "nothing stays behind");
    drop(first);
}

/// Bytes of this process in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process of itself");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("its second field");
    pages * 4096
}
