//! `weir sessions ls` and `weir recordings ls`: the index, page by page.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use weir_api::admin::ListSessionsRequest;
use weir_api::dataplane::{SessionRecord, SessionStatus};

use crate::arguments::{SessionListing, Sessions};
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::output::{Array, Table, date, rfc3339, size, span, stdout};

/// One row of `weir sessions ls --json`; the names are an interface.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    user: String,
    login: String,
    node: String,
    /// `terminal`, `exec`, `subsystem`, `forward` or `none`.
    kind: String,
    start: String,
    /// Null while it is going on.
    end: Option<String>,
    bytes: u64,
    pub(crate) status: &'static str,
    client_address: String,
    /// `none`, `stored` or `deleted`.
    recording: &'static str,
    /// When the recording was deleted, its time being over; null if it was not.
    deleted: Option<String>,
    /// Null unless the recording is held.
    hold: Option<Hold>,
}

/// Why a recording is not deleted, however old it gets.
#[derive(Debug, Serialize)]
struct Hold {
    since: String,
    reason: String,
}

pub(crate) fn run(data: &Path, command: Sessions) -> anyhow::Result<()> {
    match command {
        Sessions::Ls(listing) => list(data, &listing, false),
        Sessions::Watch {
            id,
            identity,
            channel,
        } => super::watch::run(data, &id, identity.as_deref(), channel),
    }
}

/// Prints sessions, or those alone that have a recording in the store.
pub(crate) fn list(data: &Path, listing: &SessionListing, recordings: bool) -> anyhow::Result<()> {
    converse(async {
        let mut admin = connect(data).await?;
        let mut request = ListSessionsRequest {
            user: listing.user.clone().unwrap_or_default(),
            node: listing.node.clone().unwrap_or_default(),
            page_size: PAGE,
            ..ListSessionsRequest::default()
        };
        let mut left = listing.limit.unwrap_or(usize::MAX);
        let mut printer = Printer::new(listing.json);
        while left > 0 {
            let reply = if recordings {
                admin.list_recordings(request.clone()).await
            } else {
                admin.list_sessions(request.clone()).await
            };
            let mut reply = reply.map_err(refusal)?.into_inner();
            reply.sessions.truncate(left);
            left -= reply.sessions.len();
            printer.print(&reply.sessions)?;
            if reply.next_page_token.is_empty() {
                break;
            }
            request.page_token = reply.next_page_token;
        }
        printer.end()
    })
}

/// Large enough that the round trips do not count, small enough that the first lines come at once.
const PAGE: u32 = 500;

struct Printer {
    out: std::io::BufWriter<crate::output::Stdout>,
    json: bool,
    array: Array,
    table: Table<10>,
}

impl Printer {
    fn new(json: bool) -> Self {
        let head = [
            "ID",
            "USER",
            "LOGIN",
            "NODE",
            "KIND",
            "START",
            "LENGTH",
            "BYTES",
            "STATUS",
            "RECORDING",
        ];
        Printer {
            out: stdout(),
            json,
            array: Array::new(),
            table: Table::new(head),
        }
    }

    fn print(&mut self, sessions: &[SessionRecord]) -> anyhow::Result<()> {
        if self.json {
            return sessions
                .iter()
                .try_for_each(|session| self.array.push(&mut self.out, &Session::from(session)));
        }
        let rows: Vec<_> = sessions.iter().map(row).collect();
        Ok(self.table.print(&mut self.out, &rows)?)
    }

    fn end(mut self) -> anyhow::Result<()> {
        if self.json {
            self.array.end(&mut self.out)?;
        }
        Ok(self.out.flush()?)
    }
}

impl From<&SessionRecord> for Session {
    fn from(record: &SessionRecord) -> Self {
        Session {
            id: record.id.clone(),
            user: record.user.clone(),
            login: record.login.clone(),
            node: record.node.clone(),
            kind: record.kind.clone(),
            start: rfc3339(record.start_us),
            end: (record.end_us != 0).then(|| rfc3339(record.end_us)),
            bytes: record.bytes,
            status: status(record),
            client_address: record.client_address.clone(),
            recording: recording(record),
            deleted: (record.deleted_us != 0).then(|| rfc3339(record.deleted_us)),
            hold: (record.held_us != 0).then(|| Hold {
                since: rfc3339(record.held_us),
                reason: record.hold_reason.clone(),
            }),
        }
    }
}

fn status(record: &SessionRecord) -> &'static str {
    match record.status() {
        SessionStatus::Live => "live",
        SessionStatus::Complete => "complete",
        SessionStatus::Interrupted => "interrupted",
        SessionStatus::Unspecified => "unknown",
    }
}

fn recording(record: &SessionRecord) -> &'static str {
    match (record.deleted_us, &*record.object) {
        (1.., _) => "deleted",
        (_, "") => "none",
        _ => "stored",
    }
}

/// The same with what a person wants to know of it.
fn fate(record: &SessionRecord) -> String {
    match recording(record) {
        "deleted" => format!("deleted {}", date(record.deleted_us)),
        _ if record.held_us != 0 => format!("held: {}", record.hold_reason),
        "none" => "-".to_owned(),
        stored => stored.to_owned(),
    }
}

fn row(record: &SessionRecord) -> [String; 10] {
    [
        record.id.clone(),
        record.user.clone(),
        record.login.clone(),
        record.node.clone(),
        record.kind.clone(),
        date(record.start_us),
        span(length(record)),
        size(record.bytes),
        status(record).to_owned(),
        fate(record),
    ]
}

/// How long the session took, or has taken so far.
fn length(record: &SessionRecord) -> Duration {
    let end = if record.end_us != 0 {
        Duration::from_micros(record.end_us)
    } else {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    };
    end.saturating_sub(Duration::from_micros(record.start_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_rows_have_the_promised_fields() {
        let record = SessionRecord {
            id: "01J9".into(),
            start_us: 1_000_000,
            status: SessionStatus::Live.into(),
            ..SessionRecord::default()
        };
        let live = serde_json::to_value(Session::from(&record)).unwrap();
        for field in [
            "id",
            "user",
            "login",
            "node",
            "kind",
            "start",
            "end",
            "bytes",
            "status",
            "recording",
            "deleted",
            "hold",
        ] {
            assert!(live.get(field).is_some(), "{field}");
        }
        assert_eq!(live["start"], "1970-01-01T00:00:01.000000Z");
        assert!(live["end"].is_null());
        assert_eq!(live["status"], "live");
        assert!(live["hold"].is_null() && live["deleted"].is_null());
        assert_eq!(fate(&record), "-");
    }

    #[test]
    fn holds_and_deletions_are_told() {
        let stored = SessionRecord {
            object: "x.weir".into(),
            ..SessionRecord::default()
        };
        assert_eq!(fate(&stored), "stored");
        let held = SessionRecord {
            held_us: 1_000_000,
            hold_reason: "case 7".into(),
            ..stored.clone()
        };
        assert_eq!(fate(&held), "held: case 7");
        let row = serde_json::to_value(Session::from(&held)).unwrap();
        assert_eq!(row["hold"]["reason"], "case 7");
        assert_eq!(row["hold"]["since"], "1970-01-01T00:00:01.000000Z");
        let deleted = SessionRecord {
            deleted_us: 1_000_000,
            ..stored
        };
        assert!(
            fate(&deleted).starts_with("deleted 1970-01-01"),
            "{}",
            fate(&deleted)
        );
        let row = serde_json::to_value(Session::from(&deleted)).unwrap();
        assert_eq!(
            (&row["recording"], row["deleted"].is_null()),
            (&"deleted".into(), false)
        );
    }
}
