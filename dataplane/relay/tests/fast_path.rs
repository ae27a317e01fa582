//! What a packet of data and an idle session cost in memory, counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use weir_relay::{Actions, Ask, Decision, Flow, Policy, Program, Recording, Relay, Side, Upstream};
use weir_ssh::wire::{Writer, msg};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    CALLS.set(CALLS.get() + calls);
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("an allocation is at most isize::MAX bytes")
}

// SAFETY: every call goes to `System` with the arguments as they came; counting touches only
// thread-local cells, which have no destructor and do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: the caller upholds what `System::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -signed(layout.size()));
        // SAFETY: the pointer came from `System` with this layout, by `alloc` above or `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct AllowAll;

impl Policy for AllowAll {
    fn decide(&self, _: &Ask<'_>) -> Decision {
        Decision::Allow
    }

    fn recording(&self, _: Option<&Program<'_>>) -> Recording {
        Recording {
            output: true,
            input: true,
        }
    }
}

fn message(number: u8, fields: &[u32], string: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![number];
    fields.iter().for_each(|&field| out.put_u32(field));
    if let Some(string) = string {
        out.put_string(string);
    }
    out
}

fn session(relay: &mut Relay, actions: &mut Actions, number: u32) {
    let mut open = vec![msg::CHANNEL_OPEN];
    open.put_string("session");
    [number, 1 << 21, 32768]
        .into_iter()
        .for_each(|field| open.put_u32(field));
    let confirm = message(
        msg::CHANNEL_OPEN_CONFIRMATION,
        &[number, number, 1 << 21, 32768],
        None,
    );
    let _ = relay.packet(Side::Client, &open, &AllowAll, actions).unwrap();
    assert_eq!(
        relay.packet(Side::Target, &confirm, &AllowAll, actions),
        Ok(Flow::Forward)
    );
}

fn forward(relay: &mut Relay, actions: &mut Actions, number: u32) {
    let mut open = vec![msg::CHANNEL_OPEN];
    open.put_string("direct-tcpip");
    [number, 1 << 21, 32768]
        .into_iter()
        .for_each(|field| open.put_u32(field));
    for end in ["db", "127.0.0.1"] {
        open.put_string(end);
        open.put_u32(5432);
    }
    let confirm = message(
        msg::CHANNEL_OPEN_CONFIRMATION,
        &[number, number, 1 << 21, 32768],
        None,
    );
    for (from, packet) in [(Side::Client, open), (Side::Target, confirm)] {
        assert_eq!(relay.packet(from, &packet, &AllowAll, actions), Ok(Flow::Forward));
    }
}

#[test]
fn data_and_adjustments_allocate_nothing() {
    let (mut relay, mut actions) = (Relay::new(false), Actions::new());
    relay.attach(Upstream::default());
    (0..100).for_each(|number| session(&mut relay, &mut actions, number));
    forward(&mut relay, &mut actions, 500);
    let packets = [
        // A forward's bytes are counted.
        (
            Side::Target,
            message(msg::CHANNEL_DATA, &[500], Some(&[b'x'; 32768])),
        ),
        (Side::Client, message(msg::CHANNEL_DATA, &[500], Some(b"k"))),
        (
            Side::Target,
            message(msg::CHANNEL_DATA, &[57], Some(&[b'x'; 32768])),
        ),
        (
            Side::Target,
            message(msg::CHANNEL_EXTENDED_DATA, &[3, 1], Some(b"err")),
        ),
        (Side::Client, message(msg::CHANNEL_DATA, &[99], Some(b"k"))),
        (
            Side::Client,
            message(msg::CHANNEL_WINDOW_ADJUST, &[57, 32768], None),
        ),
        (Side::Target, message(msg::CHANNEL_WINDOW_ADJUST, &[0, 1], None)),
        (
            Side::Target,
            message(msg::CHANNEL_DATA, &[1000], Some(b"unknown")),
        ),
    ];
    let before = CALLS.get();
    for _ in 0..1000 {
        for (from, packet) in &packets {
            let flow = relay.packet(*from, packet, &AllowAll, &mut actions);
            assert!(matches!(flow, Ok(Flow::Forward | Flow::Stop)));
        }
    }
    assert_eq!(CALLS.get() - before, 0);
}

#[test]
fn an_idle_session_holds_at_most_300_bytes() {
    let mut actions = Actions::new();
    let before = LIVE_BYTES.get();
    let mut relay = Box::new(Relay::new(false));
    relay.attach(Upstream::default());
    let boxed = LIVE_BYTES.get() - before;
    // The buffers of `actions` belong to the worker, not to the session: warmed up with another.
    let mut other = Relay::new(false);
    other.attach(Upstream::default());
    session(&mut other, &mut actions, 0);
    let warm = LIVE_BYTES.get();
    session(&mut relay, &mut actions, 0);
    let channel = LIVE_BYTES.get() - warm;
    assert!(channel <= 100, "a channel takes {channel} bytes of heap");
    assert!(
        boxed + channel <= 300,
        "a relay with one channel takes {boxed} + {channel} bytes"
    );
}
