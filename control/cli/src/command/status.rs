//! `weir status`: does it run, and does it accept connections?

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use weir_api::admin::{Export, StatusReply, StatusRequest};
use weir_api::dataplane::StoreStatus;

use crate::arguments::Status;
use crate::client::{LOOK_AGAIN, connect, converse};
use crate::failure::refusal;
use crate::output::{rfc3339, size, span, stdout};

/// What `weir status --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    version: &'a str,
    cluster: &'a str,
    pid: u32,
    started: String,
    listen: Vec<&'a str>,
    live_sessions: u64,
    users: u64,
    nodes: u64,
    roles: u64,
    revision: u64,
    /// Null until the data plane is there.
    store: Option<Store<'a>>,
    exports: Vec<ExportReport<'a>>,
}

#[derive(Serialize)]
struct ExportReport<'a> {
    place: &'a str,
    behind: u64,
    problem: Option<&'a str>,
}

impl<'a> From<&'a Export> for ExportReport<'a> {
    fn from(export: &'a Export) -> Self {
        ExportReport {
            place: &export.place,
            behind: export.behind,
            problem: (!export.problem.is_empty()).then_some(&export.problem),
        }
    }
}

/// How recordings come into the store.
#[derive(Serialize)]
struct Store<'a> {
    place: &'a str,
    /// Null if it took what it was last asked to take.
    problem: Option<&'a str>,
    /// Recordings that are not yet safe in it, and what was recorded in them.
    waiting: u64,
    waiting_bytes: u64,
    oldest_seconds: u64,
    spool_bytes: u64,
    spool_free_bytes: u64,
}

pub(crate) fn run(data: &Path, status: &Status) -> anyhow::Result<()> {
    let reply = converse(async {
        match status.wait {
            None => ask(data).await,
            Some(limit) => wait(data, limit).await,
        }
    })?;
    print(&reply, status.json)?;
    anyhow::ensure!(
        reply.ready,
        "weir runs as process {} but accepts no connections yet: see its log, or wait with --wait 10s",
        reply.pid
    );
    Ok(())
}

async fn ask(data: &Path) -> anyhow::Result<StatusReply> {
    Ok(connect(data)
        .await?
        .status(StatusRequest {})
        .await
        .map_err(refusal)?
        .into_inner())
}

/// Asks until Weir is ready; past `limit`, the last answer or failure is the result.
async fn wait(data: &Path, limit: Duration) -> anyhow::Result<StatusReply> {
    let begin = Instant::now();
    loop {
        let left = limit.saturating_sub(begin.elapsed());
        // A process that was stopped in mid-answer must not hold us past the limit.
        let answer = tokio::time::timeout(left.max(LOOK_AGAIN), ask(data)).await;
        match answer {
            Ok(Ok(reply)) if reply.ready => return Ok(reply),
            Ok(answer) if left.is_zero() => {
                return answer.map_err(|error| error.context(format!("weir was not ready within {limit:?}")));
            }
            Err(_) => anyhow::bail!("weir holds its socket but gave no answer within {limit:?}: see its log"),
            Ok(_) => tokio::time::sleep(LOOK_AGAIN.min(left)).await,
        }
    }
}

fn print(reply: &StatusReply, json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    let listen: Vec<&str> = reply
        .data_planes
        .iter()
        .flat_map(|plane| plane.listen.iter().map(String::as_str))
        .collect();
    if json {
        let report = Report {
            ready: reply.ready,
            version: &reply.version,
            cluster: &reply.cluster,
            pid: reply.pid,
            started: rfc3339(reply.started_us),
            listen,
            live_sessions: reply.live_sessions,
            users: reply.users,
            nodes: reply.nodes,
            roles: reply.roles,
            revision: reply.revision,
            store: reply.store.as_ref().map(Store::from),
            exports: reply.exports.iter().map(ExportReport::from).collect(),
        };
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let up = span(now.saturating_sub(Duration::from_micros(reply.started_us)));
        let state = if reply.ready { "ready" } else { "not ready" };
        let listen = if listen.is_empty() {
            "-".to_owned()
        } else {
            listen.join(", ")
        };
        writeln!(
            out,
            "weir {} is {state}, as process {} for {up}",
            reply.version, reply.pid
        )?;
        writeln!(out, "cluster   {}", reply.cluster)?;
        writeln!(out, "listens   {listen}")?;
        writeln!(out, "sessions  {} live", reply.live_sessions)?;
        writeln!(
            out,
            "knows     {} users, {} nodes, {} roles",
            reply.users, reply.nodes, reply.roles
        )?;
        if let Some(store) = &reply.store {
            describe(&Store::from(store), &mut out)?;
        }
        for export in &reply.exports {
            let problem = match export.problem.as_str() {
                "" => String::new(),
                problem => format!(": {problem}"),
            };
            writeln!(
                out,
                "exports   {}, {} events behind{problem}",
                export.place, export.behind
            )?;
        }
    }
    Ok(out.flush()?)
}

impl<'a> From<&'a StoreStatus> for Store<'a> {
    fn from(store: &'a StoreStatus) -> Self {
        Store {
            place: &store.place,
            problem: (!store.problem.is_empty()).then_some(&*store.problem),
            waiting: store.waiting,
            waiting_bytes: store.waiting_bytes,
            oldest_seconds: store.oldest_us / 1_000_000,
            spool_bytes: store.spool_bytes,
            spool_free_bytes: store.spool_free_bytes,
        }
    }
}

/// For people: where recordings go, and what waits for that.
fn describe(store: &Store<'_>, out: &mut impl Write) -> std::io::Result<()> {
    match store.problem {
        Some(problem) => writeln!(out, "store     away: {problem}")?,
        None => writeln!(
            out,
            "store     {}, {} recordings wait",
            store.place, store.waiting
        )?,
    }
    if store.waiting > 0 {
        let oldest = span(Duration::from_secs(store.oldest_seconds));
        writeln!(
            out,
            "waiting   {} recordings with {}, the oldest for {oldest}",
            store.waiting,
            size(store.waiting_bytes)
        )?;
    }
    writeln!(
        out,
        "spool     {} on disk, {} free",
        size(store.spool_bytes),
        size(store.spool_free_bytes)
    )
}
