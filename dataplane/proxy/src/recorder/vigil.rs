//! The thread that notices when the disk does not answer.
//!
//! A commit that hangs may hang the recorder's thread with it, so another one looks at the time. It sleeps while no commit is under
//! way, and looks a few times per flush interval while one is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::handover::Handover;
use super::trouble::Trouble;

/// When the oldest commit under way began, told by the recorder's thread.
pub(super) struct Pulse {
    epoch: Instant,
    /// Microseconds since the epoch; 0 while none is under way.
    begun_us: AtomicU64,
    /// Whether the thread looks by itself.
    is_looking: AtomicBool,
    is_over: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Pulse {
    pub(super) fn new() -> Arc<Pulse> {
        Arc::new(Pulse {
            epoch: Instant::now(),
            begun_us: AtomicU64::new(0),
            is_looking: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    /// Called whenever that may have changed.
    pub(super) fn set(&self, oldest: Option<Instant>) {
        let begun_us = oldest.map_or(0, |begun| self.micros(begun));
        self.begun_us.store(begun_us, Ordering::SeqCst);
        if begun_us > 0 && !self.is_looking.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn age(&self) -> Option<Duration> {
        match self.begun_us.load(Ordering::SeqCst) {
            0 => None,
            begun_us => {
                let now_us = self.micros(Instant::now());
                Some(Duration::from_micros(now_us.saturating_sub(begun_us)))
            }
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX).max(1)
    }
}

/// How long a commit may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Then nothing more is passed on: what a crash can cost is bounded in time.
    pub(super) pause: Duration,
    /// Then the spool counts as failed.
    pub(super) stall: Duration,
}

pub(super) fn start(
    pulse: Arc<Pulse>,
    patience: Patience,
    handover: Arc<Handover>,
) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(&pulse);
    let thread = std::thread::Builder::new()
        .name("recorder-vigil".to_owned())
        .spawn(move || watch(&shared, patience, &handover))?;
    // The thread itself looks at once, so nothing is missed before it is known here.
    drop(pulse.thread.set(thread.thread().clone()));
    Ok(thread)
}

fn watch(pulse: &Pulse, patience: Patience, handover: &Handover) {
    let tick = (patience.pause / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
    while !pulse.is_over.load(Ordering::SeqCst) {
        let Some(age) = pulse.age() else {
            handover.set_overdue(false);
            pulse.is_looking.store(false, Ordering::SeqCst);
            // Told in between, it would not be looked at for ever.
            if pulse.age().is_none() {
                std::thread::park();
            }
            pulse.is_looking.store(true, Ordering::SeqCst);
            continue;
        };
        handover.set_overdue(age >= patience.pause);
        if age >= patience.stall {
            let reason = format!(
                "the spool has not answered for {} s",
                patience.stall.as_secs_f32()
            );
            if handover.set_trouble(Trouble::Stall, Some(reason)) {
                tracing::error!("the spool does not answer: sessions are no longer recorded");
            }
        }
        std::thread::park_timeout(tick);
    }
}
