//! `weir audit ls`: who did what, and who was refused.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use weir_api::admin::ListAuditEventsRequest;
use weir_api::dataplane::AuditEvent;

use crate::arguments::Audit;
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::output::{Array, Table, date, rfc3339, stdout};

/// One row of `weir audit ls --json`.
#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    time: String,
    kind: &'a str,
    session: &'a str,
    user: &'a str,
    login: &'a str,
    node: &'a str,
    client_address: &'a str,
    detail: serde_json::Value,
}

pub(crate) fn run(data: &Path, command: Audit) -> anyhow::Result<()> {
    let Audit::Ls {
        json,
        user,
        node,
        session,
        kind,
        limit,
    } = command;
    converse(async {
        let mut admin = connect(data).await?;
        let mut request = ListAuditEventsRequest {
            user: user.unwrap_or_default(),
            node: node.unwrap_or_default(),
            session: session.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            page_size: 500,
            ..ListAuditEventsRequest::default()
        };
        let mut left = limit.unwrap_or(usize::MAX);
        let mut out = stdout();
        let mut array = Array::new();
        let mut table = Table::new([
            "TIME", "KIND", "USER", "LOGIN", "NODE", "FROM", "SESSION", "DETAIL",
        ]);
        while left > 0 {
            let mut reply = admin
                .list_audit_events(request.clone())
                .await
                .map_err(refusal)?
                .into_inner();
            reply.events.truncate(left);
            left -= reply.events.len();
            if json {
                for event in &reply.events {
                    array.push(&mut out, &Event::from(event))?;
                }
            } else {
                let rows: Vec<_> = reply.events.into_iter().map(row).collect();
                table.print(&mut out, &rows)?;
            }
            if reply.next_page_token.is_empty() {
                break;
            }
            request.page_token = reply.next_page_token;
        }
        if json {
            array.end(&mut out)?;
        }
        Ok(out.flush()?)
    })
}

impl<'a> From<&'a AuditEvent> for Event<'a> {
    fn from(event: &'a AuditEvent) -> Self {
        Event {
            id: &event.id,
            time: rfc3339(event.time_us),
            kind: &event.kind,
            session: &event.session,
            user: &event.user,
            login: &event.login,
            node: &event.node,
            client_address: &event.client_address,
            // Shown as text where it is not what the schema promises: an audit event is never dropped for its form.
            detail: serde_json::from_str(&event.detail_json)
                .unwrap_or_else(|_| serde_json::Value::String(event.detail_json.clone())),
        }
    }
}

fn row(event: AuditEvent) -> [String; 8] {
    [
        date(event.time_us),
        event.kind,
        event.user,
        event.login,
        event.node,
        event.client_address,
        event.session,
        event.detail_json,
    ]
}
