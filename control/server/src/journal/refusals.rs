use weir_api::audit::AuditRefused;
use weir_store::{AuditEvent, Session, Store, StoreError};

use crate::convert;

/// Stores events and rows. What the store refuses for its content is looked for by halves, and an event that says so is
/// stored in its place; gives those events.
///
/// # Errors
/// If the store is in trouble. To do it all again is right then: nothing comes to be there twice.
pub(crate) async fn store_all(
    store: &dyn Store,
    events: &[AuditEvent],
    sessions: &[Session],
) -> Result<Vec<AuditEvent>, StoreError> {
    let mut refused = Vec::new();
    let mut rest = vec![(events, sessions)];
    while let Some((events, sessions)) = rest.pop() {
        let Err(error) = store.record(events, sessions).await else {
            continue;
        };
        if !error.is_refusal() {
            return Err(error);
        }
        match (events, sessions) {
            ([], []) => return Err(error),
            ([event], []) => refused.push(instead_of_event(event, &error)),
            ([], [row]) => refused.push(instead_of_row(row, &error)),
            ([], rows) => {
                let (first, second) = rows.split_at(rows.len() / 2);
                rest.extend([(events, second), (events, first)]);
            }
            (many, []) => {
                let (first, second) = many.split_at(many.len() / 2);
                rest.extend([(second, sessions), (first, sessions)]);
            }
            (events, rows) => rest.extend([(&[][..], rows), (events, &[][..])]),
        }
    }
    if !refused.is_empty() {
        // Should even these be refused, it is the store that is at fault.
        store.record(&refused, &[]).await?;
    }
    Ok(refused)
}

fn instead_of_event(event: &AuditEvent, error: &StoreError) -> AuditEvent {
    tracing::error!(id = event.id, kind = event.kind, %error, "an audit event is refused by the store");
    AuditEvent {
        // One event, however often the other is handed in.
        id: format!("{}-refused", event.id),
        time_us: event.time_us,
        session: event.session.clone(),
        cluster: event.cluster.clone(),
        ..convert::event(&AuditRefused {
            refused: "event".to_owned(),
            id: Some(event.id.clone()),
            kind: Some(event.kind.clone()),
            object: None,
            bytes: event.text_bytes() as u64,
            problem: error.to_string(),
        })
    }
}

fn instead_of_row(row: &Session, error: &StoreError) -> AuditEvent {
    tracing::error!(session = row.id, %error, "a row of the session index is refused by the store");
    AuditEvent {
        id: format!("{}-row-refused", row.id),
        time_us: row.start_us.max(row.end_us),
        session: row.id.clone(),
        ..convert::event(&AuditRefused {
            refused: "session".to_owned(),
            id: None,
            kind: None,
            object: Some(row.object.clone()),
            bytes: row.text_bytes() as u64,
            problem: error.to_string(),
        })
    }
}
