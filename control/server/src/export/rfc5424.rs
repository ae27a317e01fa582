//! An audit event as a syslog message (RFC 5424).
//!
//! The common fields are structured data, so that a receiver can file and find by them; the whole event is the message, the
//! same JSON as in the log.

use std::fmt::Write;

use weir_api::audit::{
    AuditGap, AuditRefused, Auth, AuthRepeated, BanSuspected, CertRefused, Denied, Kind, RecordingFailed,
    RecordingGap, SessionRejected,
};
use weir_store::AuditEvent;

use crate::convert::line_of;

/// Under which heading a receiver files messages (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// Security and authorization messages that not everybody may read.
    pub const AUTHPRIV: Facility = Facility(10);

    /// By its usual name.
    pub fn parse(name: &str) -> Option<Facility> {
        let number = NAMES.iter().position(|it| *it == name)?;
        u8::try_from(number).ok().map(Facility)
    }
}

/// By number, as syslog.conf(5) has them; 12 to 15 have no common name.
const NAMES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// Severities (RFC 5424 §6.2.1).
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// What stands in every message of this process.
pub(super) struct Header {
    facility: Facility,
    /// HOSTNAME, APP-NAME and PROCID, with a space after each.
    origin: String,
}

impl Header {
    pub(super) fn new(facility: Facility, app_name: &str) -> Header {
        let host = rustix::system::uname();
        let host = token(&host.nodename().to_string_lossy(), 255);
        let app = token(app_name, 48);
        let process = std::process::id();
        Header {
            facility,
            origin: format!("{host} {app} {process} "),
        }
    }

    /// Appends an event with the count of its octets before it (RFC 6587 §3.4.1).
    pub(super) fn frame(&self, event: &AuditEvent, out: &mut Vec<u8>) {
        let message = self.message(event);
        out.extend_from_slice(format!("{} ", message.len()).as_bytes());
        out.extend_from_slice(message.as_bytes());
    }

    fn message(&self, event: &AuditEvent) -> String {
        let line = line_of(event);
        let json = serde_json::to_string(&line).expect("a line always has a JSON form");
        let priority = self.facility.0 * 8 + severity(&event.kind);
        let mut message = format!(
            "<{priority}>1 {} {}{} [{DATA_ID}",
            line.time,
            self.origin,
            token(&event.kind, 32)
        );
        for (name, value) in [
            ("id", &event.id),
            ("kind", &event.kind),
            ("cluster", &event.cluster),
            ("session", &event.session),
            ("user", &event.user),
            ("login", &event.login),
            ("node", &event.node),
            ("node_address", &event.node_address),
            ("client_address", &event.client_address),
            ("data_plane", &event.data_plane),
            ("recording_mode", &event.recording_mode),
        ] {
            if !value.is_empty() {
                write!(message, " {name}=\"{}\"", escaped(value)).expect("a string takes everything");
            }
        }
        message.push_str("] ");
        message.push_str(&json);
        message
    }
}

/// RFC 5424 §7.2.2 wants an enterprise number of its own for private data; this is the one that RFC 5612 reserves for those
/// who have none.
const DATA_ID: &str = "weir@32473";

fn severity(kind: &str) -> u8 {
    match kind {
        RecordingFailed::KIND | RecordingGap::KIND | AuditGap::KIND | AuditRefused::KIND => ERROR,
        Auth::KIND
        | AuthRepeated::KIND
        | SessionRejected::KIND
        | Denied::KIND
        | CertRefused::KIND
        | BanSuspected::KIND => WARNING,
        _ => INFORMATIONAL,
    }
}

/// A text as a field of the header: printable ASCII without spaces, or "-" for nothing.
fn token(text: &str, limit: usize) -> String {
    let token: String = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .take(limit)
        .collect();
    if token.is_empty() { "-".to_owned() } else { token }
}

/// A text as a parameter's value (RFC 5424 §6.3.3). Control characters, which receivers treat each in a way of its own, are
/// replaced; the message has them.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' | ']' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AuditEvent {
        AuditEvent {
            id: "01J".to_owned(),
            time_us: 1_795_181_160_000_001,
            kind: "denied".to_owned(),
            user: "a\"b]c\\d\ne".to_owned(),
            detail: r#"{"reason":"ü"}"#.to_owned(),
            ..AuditEvent::default()
        }
    }

    #[test]
    fn a_message_is_as_the_standard_has_it_with_its_octets_counted() {
        let header = Header::new(Facility::AUTHPRIV, "we ir");
        let mut out = Vec::new();
        header.frame(&event(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let (count, message) = text.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), message.len());
        let mut fields = message.splitn(7, ' ');
        assert_eq!(fields.next(), Some("<84>1"));
        assert_eq!(fields.next(), Some("2026-11-20T13:26:00.000001Z"));
        assert!(fields.next().is_some_and(|host| !host.is_empty()));
        assert_eq!(fields.next(), Some("we?ir"));
        assert_eq!(fields.next(), Some(&*std::process::id().to_string()));
        assert_eq!(fields.next(), Some("denied"));
        let rest = fields.next().unwrap();
        let data = r#"[weir@32473 id="01J" kind="denied" user="a\"b\]c\\d�e"] "#;
        let json = rest.strip_prefix(data).unwrap_or_else(|| panic!("{rest}"));
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            (&json["user"], &json["detail"]["reason"]),
            (&event().user.into(), &"ü".into())
        );
    }

    #[test]
    fn facilities_have_their_usual_numbers() {
        for (name, number) in [
            ("kern", 0),
            ("auth", 4),
            ("authpriv", 10),
            ("local0", 16),
            ("local7", 23),
        ] {
            assert_eq!(Facility::parse(name), Some(Facility(number)), "{name}");
        }
        assert_eq!(Facility::parse("local8"), None);
    }
}
