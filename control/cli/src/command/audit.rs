//! `weir audit`: who did what, and who was refused.

use std::io::Write;
use std::path::Path;

use weir_api::admin::ListAuditEventsRequest;
use weir_api::audit::{Line, SCHEMA};
use weir_api::dataplane::AuditEvent;

use crate::arguments::Audit;
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::output::{Array, Table, date, stdout};

pub(crate) fn run(data: &Path, command: Audit) -> anyhow::Result<()> {
    let (json, user, node, session, kind, limit) = match command {
        Audit::Schema => {
            let mut out = stdout();
            out.write_all(SCHEMA.as_bytes())?;
            return Ok(out.flush()?);
        }
        Audit::Ls {
            json,
            user,
            node,
            session,
            kind,
            limit,
        } => (json, user, node, session, kind, limit),
    };
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
                    array.push(&mut out, &Line::from(event))?;
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
