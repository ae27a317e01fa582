//! Power failures: of what was asked of the disk before a moment, what was synced is there, and of the rest anything may be, whole,
//! torn, in any order, or nothing. Whatever it is, every recording that recovery makes of it verifies, has all that anybody was told is
//! durable, and nothing that was not handed over.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_crypto::sign::PrivateKey;
use weir_record::export::{Part, text};
use weir_record::{Identities, Reader, Signer, Stream, Trust, Unlock, verify};

use super::tests::{IDENTITY, Options, SYNC, meta, strict, world};
use super::*;
use crate::archive::recover_all;
use crate::spool::faults::{self, Op};
use crate::spool::segment;

/// A generator that replays a run from its seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(drawn % bound as u64).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| b'a' + u8::try_from(self.below(26)).unwrap())
            .collect()
    }
}

/// What was done to the disk, and what each session has handed over in all.
struct Run {
    ops: Vec<Op>,
    handed: HashMap<usize, Vec<u8>>,
}

/// Sessions of all kinds, long ones whose older segments are given up, short ones that come into the store.
fn run(io: SpoolIo, seed: u64) -> Run {
    const STEPS: usize = 2_500;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("spool");
    faults::begin_journal(&dir);
    let options = Options {
        io,
        segment_bytes: 64 << 10,
        ..Options::default()
    };
    let world = world(root.path(), &options);
    let mut dice = Dice(seed);
    let mut live: Vec<(usize, SessionRecording)> = Vec::new();
    let mut handed: HashMap<usize, Vec<u8>> = HashMap::new();
    let mut begun = 0;
    for _ in 0..STEPS {
        if live.len() < 3 || (live.len() < 7 && dice.below(8) == 0) {
            let terms = if dice.below(2) == 0 { SYNC } else { strict(0) };
            live.push((begun, world.begin_with(begun as u64, terms).unwrap()));
            handed.insert(begun, Vec::new());
            begun += 1;
        }
        let chosen = dice.below(live.len());
        // The first three go on to the end of the run.
        if chosen >= 3 && dice.below(6) == 0 {
            live.remove(chosen).1.finish(Status::Complete);
            continue;
        }
        let (session, recording) = &mut live[chosen];
        let len = [3, 40, 700, 9_000][dice.below(4)];
        let data = dice.bytes(len);
        recording.data(Duration::ZERO, 0, Stream::Output, &data).unwrap();
        let all = handed.get_mut(session).unwrap();
        all.extend_from_slice(&data);
        if recording.is_sync() && dice.below(3) == 0 {
            let (durability, count) = (recording.durability(), recording.handed());
            let waiting = std::future::poll_fn(|cx| durability.poll_reached(count, cx));
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(waiting);
            let (session, bytes) = (*session, all.len());
            faults::note(&dir, |_| Op::Told { session, bytes });
        }
    }
    world.recorder.die();
    let ops = faults::take_journal(&dir);
    Run { ops, handed }
}

/// The files as a power failure after `ops` may leave them.
fn leave(ops: &[Op], dir: &Path, dice: &mut Dice) {
    let durable = durable_writes(ops);
    let mut files: HashMap<PathBuf, File> = HashMap::new();
    let open = |path: &Path| {
        let path = dir.join(path.file_name().unwrap());
        let mut options = File::options();
        options
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(path)
            .unwrap()
    };
    let mut uncertain = Vec::new();
    let mut removals = Vec::new();
    for op in ops {
        match op {
            Op::Made(path) => {
                let file = files.entry(path.clone()).or_insert_with(|| open(path));
                let number: u32 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                file.write_all_at(b"WEIRSPOOL\x01\0\0", 0).unwrap();
                file.write_all_at(&number.to_le_bytes(), 12).unwrap();
                // What a segment is longer than what was written to it is zeros.
                file.set_len(256 << 10).unwrap();
            }
            Op::Write {
                id,
                file,
                offset,
                bytes,
            } if durable.contains(id) => {
                let file = files.entry(file.clone()).or_insert_with(|| open(file));
                file.write_all_at(bytes, *offset).unwrap();
            }
            Op::Write {
                file, offset, bytes, ..
            } => uncertain.push((file, *offset, bytes)),
            Op::Removed(path) => removals.push(path),
            _ => {}
        }
    }
    while !uncertain.is_empty() {
        let (path, offset, bytes) = uncertain.swap_remove(dice.below(uncertain.len()));
        let fate = dice.below(4);
        if fate == 0 {
            continue;
        }
        let file = files.entry(path.clone()).or_insert_with(|| open(path));
        // A disk writes sectors whole.
        for (number, sector) in bytes.chunks(512).enumerate() {
            let is_there = match fate {
                1 => true,
                2 => dice.below(2) == 0,
                _ => number < bytes.len() / 1024,
            };
            if is_there {
                file.write_all_at(sector, offset + 512 * number as u64).unwrap();
            }
        }
    }
    // A file system keeps the order of deletions: the last of them may not have come about.
    let gone = removals.len() - dice.below(removals.len().min(4) + 1);
    for path in &removals[..gone] {
        drop(std::fs::remove_file(dir.join(path.file_name().unwrap())));
    }
}

/// The writes that were over when a sync of their file began that has ended well.
fn durable_writes(ops: &[Op]) -> HashSet<usize> {
    let file_of = |id: usize| match &ops[id] {
        Op::Write { file, .. } | Op::Sync { file } => file,
        op => panic!("{op:?} is no write and no sync"),
    };
    let mut durable = HashSet::new();
    for op in ops {
        let Op::Synced { id: sync } = op else { continue };
        let before = ops[..*sync].iter();
        let written = before.filter_map(|op| match op {
            Op::Written { id } if file_of(*id) == file_of(*sync) => Some(*id),
            _ => None,
        });
        durable.extend(written);
    }
    durable
}

/// Recovers what is there, and looks at every session.
fn check(run: &Run, ops: &[Op], dir: &Path, what: &str) {
    let signer = Signer::new(PrivateKey::ed25519_from_seed(&[1; 32])).unwrap();
    let left = segment::list(dir).unwrap();
    let recovered = recover_all(dir, &left, &signer);
    let identities = Identities::parse(IDENTITY).unwrap();
    let unlock = Unlock::Identities(&identities);
    let mut found = HashMap::new();
    for (session, bytes) in &recovered {
        let report = verify(&bytes[..], Some(unlock), Trust::Keys(&[signer.public_key()])).unwrap();
        assert!(report.is_intact(), "{what}: {session}: {:?}", report.findings);
        let mut output = Vec::new();
        text(
            &mut Reader::open(&bytes[..], unlock).unwrap(),
            None,
            Part::WHOLE,
            &mut output,
        )
        .unwrap();
        assert!(
            found.insert(*session, output).is_none(),
            "{what}: {session} comes once"
        );
    }
    let stored: HashSet<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Stored(session) => Some(*session),
            _ => None,
        })
        .collect();
    for (number, handed) in &run.handed {
        let told = ops.iter().rev().find_map(|op| match op {
            Op::Told { session, bytes } if session == number => Some(*bytes),
            _ => None,
        });
        let session = meta(*number as u64).session;
        match found.get(&session) {
            Some(output) => {
                assert!(
                    handed.starts_with(output),
                    "{what}: session {number} has what nobody said"
                );
                let told = told.unwrap_or(0);
                // What is in the store already may come again only as it is there: whole.
                let least = if stored.contains(&session) {
                    handed.len()
                } else {
                    told
                };
                assert!(
                    output.len() >= least,
                    "{what}: of session {number} {} of {least} bytes are there",
                    output.len()
                );
            }
            None => assert!(
                told.is_none() || stored.contains(&session),
                "{what}: session {number} is gone, of which {told:?} bytes were durable"
            ),
        }
    }
}

/// A start has a gibibyte in the store within ten seconds, and takes sessions meanwhile.
#[test]
#[ignore = "writes three gibibytes: make killed"]
fn gibibyte_of_spool_is_recovered_in_seconds() {
    const SESSIONS: u64 = 1_000;
    const PIECE: usize = 256 << 10;
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 64 << 20,
        session_queue_bytes: 4 << 20,
        ..Options::default()
    };
    let first = world(root.path(), &options);
    let mut dice = Dice(1);
    let noise: Vec<u8> = (0..PIECE)
        .map(|_| u8::try_from(dice.below(256)).unwrap())
        .collect();
    let mut sessions: Vec<_> = (0..SESSIONS).map(|number| first.begin(number, 0)).collect();
    for _ in 0..4 {
        for session in &mut sessions {
            let waiting = session.ready();
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(waiting);
            let lent = session.pin(noise.clone());
            session.lend(Duration::ZERO, 0, Stream::Output, &lent).unwrap();
        }
    }
    // With the end of one that came last all before it is durable.
    first.begin(SESSIONS + 1, 0).finish(Status::Complete);
    while first.next_finished().session != meta(SESSIONS + 1).session {}
    first.recorder.die();
    drop(sessions);
    let spooled: u64 = std::fs::read_dir(root.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(spooled >= 1 << 30, "{spooled} bytes");

    let begun = std::time::Instant::now();
    let second = world(root.path(), &options);
    let mut new = second.begin(SESSIONS, 0);
    new.data(Duration::ZERO, 0, Stream::Output, b"meanwhile").unwrap();
    new.finish(Status::Complete);
    let accepted = begun.elapsed();
    let mut interrupted = 0;
    for _ in 0..=SESSIONS {
        interrupted += usize::from(second.next_finished().status == Status::Interrupted);
    }
    let took = begun.elapsed();
    println!(
        "{spooled} bytes of {SESSIONS} sessions: recovered in {took:?}, a new one begun after {accepted:?}"
    );
    assert_eq!(interrupted, usize::try_from(SESSIONS).unwrap());
    assert!(accepted < Duration::from_secs(1) && took < Duration::from_secs(10));
    second.recorder.shutdown();
}

fn survives(io: SpoolIo, seed: u64, crashes: usize) {
    let run = run(io, seed);
    let told = run.ops.iter().filter(|op| matches!(op, Op::Told { .. })).count();
    let removed = run.ops.iter().filter(|op| matches!(op, Op::Removed(_))).count();
    assert!(
        told > 20 && removed > 5,
        "{told} {removed}: a run that shows little"
    );
    let mut dice = Dice(seed ^ 0xffff);
    for crash in 0..crashes {
        let moment = 1 + dice.below(run.ops.len() - 1);
        let image = tempfile::tempdir().unwrap();
        let what = format!("seed {seed}, crash {crash}, after {moment} of {}", run.ops.len());
        leave(&run.ops[..moment], image.path(), &mut dice);
        check(&run, &run.ops[..moment], image.path(), &what);
    }
}

/// Many runs, of which the first that fails names its seed.
#[test]
#[ignore = "takes minutes: make killed"]
fn recordings_survive_any_power_failure_in_many_runs() {
    for seed in 100..140 {
        survives(SpoolIo::Plain, seed, 60);
        survives(SpoolIo::Auto, seed, 60);
    }
}

#[test]
fn recordings_survive_any_power_failure_by_plain_calls() {
    survives(SpoolIo::Plain, 1, 60);
}

#[test]
fn recordings_survive_any_power_failure_by_what_the_kernel_permits() {
    survives(SpoolIo::Auto, 2, 60);
}
