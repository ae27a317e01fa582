//! How long an entry may be, whoever reports it: one that grows without bound would be the whole room, and more than the
//! store takes.

use ulid::Ulid;
use weir_api::audit::CutDetail;
use weir_crypto::digest::{HashAlgorithm, hash};
use weir_store::{AuditEvent, Session};

/// Bytes of a detail: 4 KiB of a command of which each byte needs six in JSON, and what stands beside it.
pub(super) const DETAIL_LIMIT: usize = 32 * 1024;

/// Bytes that are kept of a detail beyond that.
const DETAIL_KEPT: usize = 4 * 1024;

/// Bytes of an id: a ULID has 26, and the longest of ours some ten more.
const ID_LIMIT: usize = 128;

/// Bytes of each other text: names of users and hosts have at most 255, names of objects at most 1,024.
const TEXT_LIMIT: usize = 1024;

/// Brings an event within the bounds, and gives it an id if it has none: it would be the same as every other without one.
pub(super) fn event(event: &mut AuditEvent) {
    if event.id.is_empty() {
        event.id = Ulid::generate().to_string();
    }
    id(&mut event.id);
    id(&mut event.session);
    for text in [
        &mut event.kind,
        &mut event.user,
        &mut event.login,
        &mut event.node,
        &mut event.client_address,
        &mut event.cluster,
        &mut event.node_address,
        &mut event.data_plane,
        &mut event.recording_mode,
    ] {
        cut(text, TEXT_LIMIT);
    }
    if event.detail.len() > DETAIL_LIMIT {
        let (bytes, sha256) = (event.detail.len(), sha256(&event.detail));
        cut(&mut event.detail, DETAIL_KEPT);
        let cut = CutDetail {
            beginning: std::mem::take(&mut event.detail),
            detail_bytes: bytes as u64,
            detail_sha256: sha256,
        };
        event.detail = serde_json::to_string(&cut).expect("texts and a number always have a JSON form");
    }
}

/// Brings a row of the index within the bounds.
pub(super) fn row(row: &mut Session) {
    id(&mut row.id);
    for text in [
        &mut row.user,
        &mut row.login,
        &mut row.node,
        &mut row.kind,
        &mut row.object,
        &mut row.client_address,
    ] {
        cut(text, TEXT_LIMIT);
    }
}

/// Two ids that differ must still differ.
fn id(id: &mut String) {
    if id.len() > ID_LIMIT {
        *id = sha256(id);
    }
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
}

fn sha256(text: &str) -> String {
    hash(HashAlgorithm::Sha256, &[text.as_bytes()]).to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_says_how_long_it_was() {
        let long = "ä\\".repeat(100_000);
        let mut cut = AuditEvent {
            id: long.clone(),
            user: long.clone(),
            detail: long.clone(),
            ..AuditEvent::default()
        };
        event(&mut cut);
        assert!(cut.text_bytes() < DETAIL_LIMIT, "{}", cut.text_bytes());
        let detail: serde_json::Value = serde_json::from_str(&cut.detail).unwrap();
        assert_eq!(detail["detail_bytes"], 300_000);
        assert_eq!(detail["detail_sha256"].as_str(), Some(&*sha256(&long)));
        assert!(long.starts_with(detail["beginning"].as_str().unwrap()));

        let mut other = AuditEvent {
            id: format!("{long}-end"),
            ..AuditEvent::default()
        };
        event(&mut other);
        assert_ne!(cut.id, other.id);
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let whole = AuditEvent {
            id: "e1".to_owned(),
            detail: "x".repeat(DETAIL_LIMIT),
            ..AuditEvent::default()
        };
        let mut same = whole.clone();
        event(&mut same);
        assert_eq!(same, whole);
    }
}
