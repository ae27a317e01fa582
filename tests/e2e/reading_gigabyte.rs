//! A gigabyte is exported in constant memory, on either side, under the eyes of somebody at a terminal.

use std::fs;
use std::time::Duration;

use weir_tests::shelf::Shelf;
use weir_tests::{Terminal, eventually_within};

/// What the recording holds: text that nothing makes shorter, so that all of it is stored, sent and opened.
const GIB: u64 = 1 << 30;
/// What either process may grow by. Buffers of some 256 KiB are in flight, not megabytes of them.
const GROWTH: u64 = 24 << 20;

/// The greatest resident set that a process has had.
fn peak_bytes(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn a_gigabyte_is_exported_in_constant_memory_with_a_progress_bar() {
    let shelf = Shelf::in_memory();
    let mut draft = shelf.begin("alice");
    // xorshift64*: it need not be good, only incompressible.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = vec![0; 60 * 1024];
    for eight in noise.chunks_exact_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        eight.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    let mut written = 0;
    while written < GIB {
        draft.output(written, 0, &noise);
        written += noise.len() as u64;
    }
    let volume = draft.finish();
    let stored = fs::metadata(&volume.path).unwrap().len();
    assert!(stored > GIB, "{stored} bytes are stored");

    // This process is the server.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_bytes("self").unwrap();
    let weir = weir_tests::weir::binary();
    let [weir, data] = [weir, shelf.path("D")].map(|path| path.to_str().unwrap().to_owned());
    let order = format!(
        "exec {weir} --data {data} recordings export {} > /dev/null",
        volume.id
    );
    let mut terminal = Terminal::start(["sh", "-c", &order], 24, 100);
    let pid = terminal.pid().to_string();
    let mut peak = 0;
    let status = eventually_within(Duration::from_secs(60), "the export ends", || {
        peak = peak.max(peak_bytes(&pid).unwrap_or(0));
        terminal.ended()
    });
    let screen = terminal.screen();
    assert_eq!(status, 0, "{screen}");
    assert!(peak < GROWTH + (16 << 20), "the command took {peak} bytes");
    let grown = peak_bytes("self").unwrap() - before;
    assert!(grown < GROWTH, "the server grew by {grown} bytes");

    // Drawn over itself, and gone at the end.
    let drawn: Vec<&str> = screen.split('\r').filter(|line| !line.is_empty()).collect();
    let (last, bars) = drawn.split_last().expect("a line was drawn");
    assert_eq!(*last, "\x1b[K", "{screen:?}");
    assert!(bars.len() > 3, "{screen:?}");
    let measured = bars.last().unwrap();
    for part in ["exporting [=", " %  ", " of 1.0 GiB  ", "iB/s  ", " left"] {
        assert!(measured.contains(part), "no {part:?} in {measured:?}");
    }
    let percent = |bar: &&str| -> u32 {
        let text = bar.split_once("] ").unwrap().1.split_once(" %").unwrap().0;
        text.trim().parse().unwrap()
    };
    assert!(bars.iter().map(percent).is_sorted(), "{screen:?}");
}
