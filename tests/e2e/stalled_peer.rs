//! Peers that stop reading for ten seconds hold up nobody but themselves, and lose nothing.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_tests::{Running, World, eventually};

const STALL: Duration = Duration::from_secs(10);
/// More than all buffers between two stopped peers can hold.
const BYTES: usize = 150_000_000;
const OTHERS: usize = 20;
/// How long each of the others is silent between two lines.
const PAUSE: Duration = Duration::from_millis(200);
/// No echo may take longer. Whatever waits for a stalled peer waits for the rest of its stall, seconds in all but the
/// last of them; what a loaded machine adds is scheduling among some sixty processes, a few milliseconds each.
const LONGEST: Duration = Duration::from_millis(1500);
/// Half of the echoes may take longer, were it by chance. They take a millisecond, and are looked for every ten.
const USUAL: Duration = Duration::from_millis(100);
/// What the buffers of two stalled sessions and the heap's own slack may add.
const MEMORY: u64 = 64 << 20;

/// A client and a target stall at the same time, one in a download and the other in an upload.
#[test]
fn twenty_other_sessions_go_on_unharmed() {
    let world = World::start();
    thread::scope(|scope| {
        let (up, all_up) = channel();
        let others: Vec<_> = (0..OTHERS)
            .map(|n| {
                // Dropped at the end of the stall, or when this thread panics before.
                let (stall, until) = channel();
                let (world, up) = (&world, up.clone());
                (stall, scope.spawn(move || echo(world, n, &up, &until)))
            })
            .collect();
        // Or one that fails to come up would be waited for.
        drop(up);
        for _ in &others {
            all_up.recv().expect("each of the others comes up");
        }
        let rest = world.weir().resident_bytes();

        let stalled = Stalled::start(&world);
        let began = Instant::now();
        thread::sleep(STALL / 2);
        let got_before = stalled.got();
        thread::sleep(STALL.saturating_sub(began.elapsed()));
        assert_eq!(got_before, stalled.got(), "the stalled peers did not stall");
        let grown = world.weir().resident_bytes().saturating_sub(rest);
        assert!(
            grown < MEMORY,
            "two stalled sessions cost {grown} bytes of memory"
        );
        let (ends, others): (Vec<_>, Vec<_>) = others.into_iter().unzip();
        drop::<Vec<Sender<()>>>(ends);
        let echoes = others
            .into_iter()
            .map(|other| other.join().expect("it says what it saw"));
        assert_unharmed(&echoes.collect::<Vec<_>>());
        stalled.go_on_to_the_end();
    });
}

/// The two sessions whose peers have stopped.
struct Stalled<'a> {
    world: &'a World,
    download: Running,
    upload: Running,
    sshd: Pid,
}

impl<'a> Stalled<'a> {
    /// Starts both transfers and stops the client of the one, the server of the other.
    fn start(world: &'a World) -> Self {
        let dir = world.path_text("");
        let download = world
            .exec(&format!("head -c {BYTES} /dev/zero | tr '\\0' d"))
            .spawn();
        eventually("the download is under way", || {
            (!download.stdout().is_empty()).then_some(())
        });
        download.signal(Signal::STOP);

        let upload = world
            .bash(&format!(
                "head -c {BYTES} /dev/zero | tr '\\0' u \
                 | ssh -F config target 'cd {dir}; echo $PPID > sshd; cat > far; echo end'"
            ))
            .spawn();
        eventually("the upload is under way", || {
            Some(world.path("far").metadata().ok()?.len() > 0).filter(|it| *it)
        });
        let sshd: i32 = world.read("sshd").trim().parse().expect("a process id");
        let sshd = Pid::from_raw(sshd).expect("not zero");
        kill_process(sshd, Signal::STOP).expect("sshd is alive");
        Self {
            world,
            download,
            upload,
            sshd,
        }
    }

    /// How many bytes have arrived, of neither transfer all.
    fn got(&self) -> (usize, usize) {
        let far = self.world.path("far").metadata().expect("it is there").len();
        let got = (
            self.download.stdout().len(),
            usize::try_from(far).expect("of this size"),
        );
        assert!(
            got.0 < BYTES && got.1 < BYTES,
            "the transfers were over before the stall"
        );
        got
    }

    /// Nothing is lost: what was on its way arrives.
    fn go_on_to_the_end(self) {
        self.download.signal(Signal::CONT);
        kill_process(self.sshd, Signal::CONT).expect("sshd is alive");
        let seen = self.download.wait_within(Duration::from_secs(60)).succeeded();
        assert!(seen.stdout.len() == BYTES && seen.stdout.iter().all(|byte| *byte == b'd'));
        self.upload.wait_within(Duration::from_secs(60)).succeeded();
        self.world
            .bash(&format!("head -c {BYTES} /dev/zero | tr '\\0' u | cmp - far"))
            .succeed();
    }
}

/// A session that says a line now and then until `until` is dropped; gives how long each took to come back.
fn echo(world: &World, n: usize, up: &Sender<()>, until: &Receiver<()>) -> Vec<Duration> {
    let mut session = world.exec(&format!("cat; exit {n}")).spawn();
    let mut said = String::new();
    let mut took = Vec::new();
    loop {
        let line = format!("line {} of session {n}\n", took.len());
        said.push_str(&line);
        let began = Instant::now();
        session.write(line.as_bytes());
        session.expect_stdout(&line);
        took.push(began.elapsed());
        if took.len() == 1 {
            up.send(()).expect("it is waited for");
        }
        if until.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    session.close_stdin();
    let seen = session.wait().ended_with(i32::try_from(n).expect("below 20"));
    assert!(seen.out() == said, "{seen}");
    // The first waited for the session to come up.
    took.split_off(1)
}

fn assert_unharmed(echoes: &[Vec<Duration>]) {
    let least = (STALL.as_millis() / (PAUSE + LONGEST).as_millis()) as usize;
    for (n, session) in echoes.iter().enumerate() {
        assert!(
            session.len() >= least,
            "session {n} echoed {} lines",
            session.len()
        );
    }
    let mut all: Vec<Duration> = echoes.concat();
    all.sort_unstable();
    let (median, longest) = (all[all.len() / 2], all[all.len() - 1]);
    assert!(
        median < USUAL && longest < LONGEST,
        "of {} echoes half took {median:?} or more, and one {longest:?}",
        all.len()
    );
}
