//! Sessions that are held open and do nothing, for measuring what one costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;

use crate::connection::{Connection, Target};
use crate::exec::Progress;
use crate::report::{Phase, Report};

/// What to hold, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Sessions to hold.
    pub sessions: usize,
    /// Sessions that are opened at once while they come up.
    pub concurrency: usize,
    /// How long to hold them once all are up.
    pub hold: Duration,
    /// Gives a session up that is not up, or does not answer, after this time.
    pub timeout: Duration,
}

/// Opens sessions that run `command`, tells `up` how many stand, holds them, and asks each whether it is still there.
pub async fn run(target: Arc<Target>, command: Arc<str>, plan: Plan, up: impl FnOnce(usize)) -> Report {
    let title = format!(
        "{} idle sessions to {} as {}",
        plan.sessions, target.address, target.login
    );
    let mut report = Report::new(title);
    let began = Instant::now();
    let places = Arc::new(Semaphore::new(plan.concurrency));
    let mut opening = JoinSet::new();
    for _ in 0..plan.sessions {
        let (target, command, places) = (Arc::clone(&target), Arc::clone(&command), Arc::clone(&places));
        opening.spawn(async move {
            let _place = places
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let began = Instant::now();
            let opened = time::timeout(plan.timeout, open(&target, &command)).await;
            (
                opened.unwrap_or_else(|_| Err(format!("not up within {:?}", plan.timeout))),
                began.elapsed(),
            )
        });
    }
    let mut held = Vec::with_capacity(plan.sessions);
    while let Some(opened) = opening.join_next().await {
        match opened.expect("opening a session does not panic") {
            (Ok(connection), took) => {
                report.phase(Phase::Start, took);
                held.push(connection);
            }
            (Err(cause), _) => report.failure(&cause),
        }
    }
    report.figure("up", held.len());
    report.figure("up_after_s", began.elapsed().as_secs_f64());
    up(held.len());
    time::sleep(plan.hold).await;
    for mut connection in held {
        match time::timeout(plan.timeout, connection.probe()).await {
            Ok(Ok(())) => report.success(),
            Ok(Err(error)) => report.failure(&format!("while held: {error}")),
            Err(_) => report.failure(&format!("held, but silent for {:?}", plan.timeout)),
        }
        // The answer to the goodbye is of no interest.
        drop(connection.close().await);
    }
    report.took(began.elapsed());
    report
}

async fn open(target: &Target, command: &str) -> Result<Connection, String> {
    let mut connection = Connection::open(target)
        .await
        .map_err(|error| error.to_string())?;
    let mut over = false;
    let running = |progress: &Progress| {
        over = matches!(progress, Progress::Over(_));
        matches!(progress, Progress::Started)
    };
    connection
        .run(target, command, running)
        .await
        .map_err(|error| error.to_string())?;
    if over {
        Err("the command ended at once".to_owned())
    } else {
        Ok(connection)
    }
}
