use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::dataplane::AuditEvent;

/// One audit event as a JSON object: in the log, in listings and in what is exported. Texts are empty where they do not
/// apply.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Line<'a> {
    /// Tells repeated deliveries apart: two events with one id are the same event.
    pub id: Cow<'a, str>,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    /// The same in microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// What happened; decides what stands in the detail.
    pub kind: Cow<'a, str>,
    /// Name of the cluster.
    #[serde(default)]
    pub cluster: Cow<'a, str>,
    /// Session it belongs to, a ULID.
    pub session: Cow<'a, str>,
    /// User: the key id of the user's certificate.
    pub user: Cow<'a, str>,
    /// Login on the node.
    pub login: Cow<'a, str>,
    /// Name of the node.
    pub node: Cow<'a, str>,
    /// The node's address as configured, `host:port`.
    #[serde(default)]
    pub node_address: Cow<'a, str>,
    /// Where the client came from, with its port where that is known.
    pub client_address: Cow<'a, str>,
    /// Name of the data plane that reports it.
    #[serde(default)]
    pub data_plane: Cow<'a, str>,
    /// When what the session does is passed on: `sync`, once it is durably recorded, `async`, at once, or `off`, unrecorded.
    #[serde(default)]
    pub recording_mode: Cow<'a, str>,
    /// More, by kind.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub detail: Cow<'a, RawValue>,
}

impl<'a> From<&'a AuditEvent> for Line<'a> {
    fn from(event: &'a AuditEvent) -> Self {
        Line {
            id: Cow::Borrowed(&event.id),
            time: rfc3339(event.time_us),
            time_us: event.time_us,
            kind: Cow::Borrowed(&event.kind),
            cluster: Cow::Borrowed(&event.cluster),
            session: Cow::Borrowed(&event.session),
            user: Cow::Borrowed(&event.user),
            login: Cow::Borrowed(&event.login),
            node: Cow::Borrowed(&event.node),
            node_address: Cow::Borrowed(&event.node_address),
            client_address: Cow::Borrowed(&event.client_address),
            data_plane: Cow::Borrowed(&event.data_plane),
            recording_mode: Cow::Borrowed(&event.recording_mode),
            detail: detail_of(&event.detail_json),
        }
    }
}

/// A detail as it stands in a line: as it came, unless it would break the line or is no JSON, and then as the text
/// that it is. An event is never dropped for its form.
pub fn detail_of(text: &str) -> Cow<'_, RawValue> {
    let text = if text.is_empty() { "{}" } else { text };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if !text.contains(['\n', '\r']) => Cow::Borrowed(value),
        _ => Cow::Owned(to_raw_value(text).expect("a string always has a JSON form")),
    }
}

/// A time in microseconds since 1970-01-01 UTC as RFC 3339 has it; the last second that it can write stands for all after.
pub fn rfc3339(time_us: u64) -> String {
    /// 9999-12-31T23:59:59Z.
    const LAST_TIME_US: u64 = 253_402_300_799_000_000;
    UNIX_EPOCH
        .checked_add(Duration::from_micros(time_us.min(LAST_TIME_US)))
        .map(|time| humantime::format_rfc3339_micros(time).to_string())
        .unwrap_or_default()
}
