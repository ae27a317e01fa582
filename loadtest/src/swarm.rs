//! Many copies of a real client at the same moment, or so many at a time.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;

use crate::report::{Phase, Report};

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub clients: usize,
    /// At once at most; each further one starts when another has ended.
    pub concurrency: usize,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What standard output must be, without white space around it; `None`: anything.
    pub expect: Option<String>,
    /// Kills a client after this time.
    pub timeout: Duration,
}

impl Plan {
    fn is_at_once(&self) -> bool {
        self.concurrency >= self.clients
    }

    fn title(&self, line: &str) -> String {
        let Self {
            clients, concurrency, ..
        } = self;
        if self.is_at_once() {
            format!("{clients} clients at once: `{line}`")
        } else {
            format!("{clients} clients, {concurrency} at a time: `{line}`")
        }
    }
}

/// Of what a client prints, this much is kept; no cause needs more, and an expectation of more can never be met.
const KEPT: usize = 64 * 1024;
/// The end of a client's last words says the cause.
const CAUSE: usize = 110;

/// Starts all clients, as many at once as may be, and waits for each.
pub async fn run(plan: Plan) -> Report {
    let line: Vec<_> = plan.command.iter().map(|word| word.to_string_lossy()).collect();
    let mut report = Report::new(plan.title(&line.join(" ")));
    let began = Instant::now();
    let places = Arc::new(Semaphore::new(plan.concurrency));
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        let (plan, places) = (plan.clone(), Arc::clone(&places));
        clients.spawn(async move {
            let _place = places.acquire().await.expect("never closed");
            // All at once means: however long it took to start the others.
            let began = if plan.is_at_once() { began } else { Instant::now() };
            let outcome = time::timeout(plan.timeout, client(&plan)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("not over within {:?}", plan.timeout)));
            (outcome, began.elapsed())
        });
    }
    while let Some(ended) = clients.join_next().await {
        match ended.expect("running a client does not panic") {
            (Ok(()), took) => {
                report.phase(Phase::Whole, took);
                report.success();
            }
            (Err(cause), _) => report.failure(&cause),
        }
    }
    report.took(began.elapsed());
    report
}

async fn client(plan: &Plan) -> Result<(), String> {
    let (program, arguments) = plan.command.split_first().ok_or("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.to_string_lossy()))?;
    let stdout = child.stdout.take().expect("piped");
    let stderr = child.stderr.take().expect("piped");
    let (stdout, stderr, status) = tokio::join!(the_start(stdout), the_start(stderr), child.wait());
    let status = status.map_err(|error| format!("cannot wait for a client: {error}"))?;
    let said = String::from_utf8_lossy(&stdout);
    if !status.success() {
        return Err(cause(&String::from_utf8_lossy(&stderr), &status.to_string()));
    }
    match &plan.expect {
        Some(expected) if said.trim() != expected.trim() => Err(format!("printed {:?}", end_of(said.trim()))),
        _ => Ok(()),
    }
}

/// Reads to the end and keeps the beginning, so that no client is held up by a full pipe.
async fn the_start(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..n.min(KEPT - kept.len())]);
    }
    kept
}

/// A client's last line, without what differs from client to client.
fn cause(stderr: &str, status: &str) -> String {
    match stderr.trim().lines().next_back() {
        None => status.to_owned(),
        Some(line) => without_ports(end_of(line.trim())),
    }
}

fn end_of(text: &str) -> &str {
    let from = text.char_indices().rev().nth(CAUSE - 1).map_or(0, |(at, _)| at);
    &text[from..]
}

/// Port numbers would make each client's failure a cause of its own.
fn without_ports(text: &str) -> String {
    let mut words = text.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if word == "port"
            && words
                .next_if(|next| next.starts_with(|c: char| c.is_ascii_digit()))
                .is_some()
        {
            kept.push("N");
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(script: &str, clients: usize) -> Plan {
        let command = ["sh", "-c", script].map(OsString::from).to_vec();
        Plan {
            clients,
            concurrency: clients,
            command,
            expect: Some("ok".to_owned()),
            timeout: Duration::from_secs(10),
        }
    }

    fn run_to_end(plan: Plan) -> Report {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(run(plan))
    }

    #[test]
    fn successes_and_causes_are_told_apart() {
        assert_eq!(run_to_end(plan("echo ok", 5)).succeeded(), 5);
        let report = run_to_end(plan("echo 'kex: reset by 127.0.0.1 port '$$ >&2; exit 255", 4)).json();
        assert_eq!(report["failures"]["kex: reset by 127.0.0.1 port N"], 4);
        let report = run_to_end(plan("echo something else", 1)).json();
        assert_eq!(report["failures"]["printed \"something else\""], 1);
        assert_eq!(
            run_to_end(plan("exit 3", 1)).json()["failures"]["exit status: 3"],
            1
        );
    }

    #[test]
    fn no_more_than_may_run_at_once() {
        let limited = Plan {
            concurrency: 2,
            ..plan("sleep 0.05; echo ok", 8)
        };
        let report = run_to_end(limited).json();
        assert_eq!(report["succeeded"], 8);
        let wall = report["wall_s"].as_f64().unwrap();
        assert!(wall >= 0.2, "four pairs one after the other took {wall} s");
    }

    #[test]
    fn a_client_that_hangs_is_killed() {
        let hanging = Plan {
            timeout: Duration::from_millis(50),
            ..plan("exec sleep 600", 1)
        };
        assert_eq!(run_to_end(hanging).json()["failures"]["not over within 50ms"], 1);
    }

    #[test]
    fn much_output_neither_blocks_nor_is_kept() {
        let report = run_to_end(plan("head -c 1000000 /dev/zero | tr '\\0' x", 1));
        assert_eq!(report.failed(), 1);
    }
}
