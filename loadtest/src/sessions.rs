//! Sessions one after the other (closed loop), or at a rate whatever the server does (open loop).
//!
//! In the open loop a session's time counts from the moment at which it was *due*: a server that stalls for
//! a second is charged with every session that should have started in it, not with the one that was lucky
//! enough to be under way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;

use crate::connection::{Connection, SessionError, Target};
use crate::exec::{Exit, Progress};
use crate::report::{Phase, Report};

/// What to run and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Sessions at once at most.
    pub concurrency: usize,
    /// Sessions started per second; `None`: each as soon as another has ended.
    pub rate: Option<f64>,
    /// Sessions in all at most.
    pub count: u64,
    /// Starts no session after this time.
    pub duration: Duration,
    /// Gives a session up after this time.
    pub timeout: Duration,
}

/// Runs `command` in session after session.
pub async fn run(target: Arc<Target>, command: Arc<str>, plan: Plan) -> Report {
    let title = format!("sessions to {} as {}: `{command}`", target.address, target.login);
    let report = Arc::new(Mutex::new(Report::new(title)));
    let load = Load {
        target,
        command,
        plan,
        report: Arc::clone(&report),
    };
    let began = Instant::now();
    match plan.rate {
        None => load.closed(began).await,
        Some(rate) => load.open(began, rate).await,
    }
    let mut report = Arc::into_inner(report)
        .expect("every session is over")
        .into_inner()
        .expect(UNPOISONED);
    report.took(began.elapsed());
    report
}

const UNPOISONED: &str = "no session panics while it counts";

#[derive(Clone)]
struct Load {
    target: Arc<Target>,
    command: Arc<str>,
    plan: Plan,
    report: Arc<Mutex<Report>>,
}

impl Load {
    /// `concurrency` clients, each with one session after the other.
    async fn closed(self, began: Instant) {
        let taken = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..self.plan.concurrency {
            let (load, taken) = (self.clone(), Arc::clone(&taken));
            clients.spawn(async move {
                while began.elapsed() < load.plan.duration
                    && taken.fetch_add(1, Ordering::Relaxed) < load.plan.count
                {
                    load.session(Instant::now()).await;
                }
            });
        }
        drop(self);
        clients.join_all().await;
    }

    /// A session at every tick; one that finds all places taken counts as failed and is not waited for.
    async fn open(self, began: Instant, rate: f64) {
        let places = Arc::new(Semaphore::new(self.plan.concurrency));
        let mut sessions = JoinSet::new();
        for n in 0..self.plan.count {
            let due = began + Duration::from_secs_f64(n as f64 / rate);
            if due.duration_since(began) >= self.plan.duration {
                break;
            }
            time::sleep_until(due.into()).await;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                let cause = format!("not started: {} sessions were going on", self.plan.concurrency);
                self.report.lock().expect(UNPOISONED).failure(&cause);
                continue;
            };
            let load = self.clone();
            sessions.spawn(async move {
                load.session(due).await;
                drop(place);
            });
            // Finished tasks are let go as we go on.
            while sessions.try_join_next().is_some() {}
        }
        drop(self);
        sessions.join_all().await;
    }

    async fn session(&self, due: Instant) {
        let mut times = Times::new(due);
        let outcome = time::timeout(self.plan.timeout, self.dialogue(&mut times)).await;
        let mut report = self.report.lock().expect(UNPOISONED);
        match outcome {
            Ok(Ok(())) => {
                times
                    .noted
                    .into_iter()
                    .for_each(|(phase, took)| report.phase(phase, took));
                report.phase(Phase::Whole, due.elapsed());
                report.success();
            }
            Ok(Err(cause)) => report.failure(&cause),
            Err(_) => report.failure(&format!(
                "not over within {:?}, {}",
                self.plan.timeout,
                times.reached()
            )),
        }
    }

    async fn dialogue(&self, times: &mut Times) -> Result<(), String> {
        let mut connection = Connection::open(&self.target).await.map_err(in_words)?;
        times.note(Phase::KeyExchange);
        let mut exit = None;
        let noting = |progress: &Progress| {
            match progress {
                Progress::Same => {}
                Progress::Authenticated => times.note(Phase::Authentication),
                Progress::Started => times.note(Phase::Start),
                Progress::FirstOutput => times.note(Phase::FirstOutput),
                Progress::Over(end) => exit = Some(end.clone()),
            }
            false
        };
        connection
            .run(&self.target, &self.command, noting)
            .await
            .map_err(in_words)?;
        match exit {
            Some(Exit::Status(0)) => Ok(()),
            Some(Exit::Status(status)) => Err(format!("exit status {status}")),
            Some(Exit::Signal(signal)) => Err(format!("ended by signal {signal}")),
            None => Err("no end was told".to_owned()),
        }
    }
}

fn in_words(error: SessionError) -> String {
    error.to_string()
}

/// When each phase of a session ended.
struct Times {
    last: Instant,
    noted: Vec<(Phase, Duration)>,
}

impl Times {
    fn new(due: Instant) -> Self {
        Self {
            last: due,
            noted: Vec::with_capacity(4),
        }
    }

    fn note(&mut self, phase: Phase) {
        let now = Instant::now();
        self.noted.push((phase, now - self.last));
        self.last = now;
    }

    fn reached(&self) -> &'static str {
        match self.noted.last() {
            None => "not even its keys",
            Some((Phase::KeyExchange, _)) => "keys exchanged",
            Some((Phase::Authentication, _)) => "authenticated",
            Some(_) => "command started",
        }
    }
}
