//! How much may wait to be written, in bytes, and who may have how much of it.
//!
//! | share | what | may hold |
//! |---|---|---|
//! | vital | that a session began, ended or was refused, certificates, administrators, rows of the index | all |
//! | attempt | strangers who failed to sign in | a quarter |
//! | detail | what is done in sessions | a half; of one user an eighth of that, of one session a quarter of the user's |
//! | file | what is done to files in them, which are details | as details, as long as those of all, of the user and of the session
//!   take no more than half of what they may |
//!
//! So whatever users and strangers do, a quarter of the room is there for what is vital, and a user who floods loses
//! details of their own. What is lost is counted by session, and becomes an `audit.gap` that names it.
//!
//! Invariant: `used` is the sum over the entries in the queue, by share; `by_session` and `by_user` hold the sums of
//! details of those who have any. Cost: one lock, and two look-ups for a detail.

use std::collections::HashMap;

use weir_api::audit::{
    AuditGap, Auth, Kind, RecordingFailed, RecordingGap, Scp, SessionEnd, SessionRejected, SessionStart,
    SessionUpload, Sftp,
};
use weir_store::{AuditEvent, Session};

use crate::convert;

/// Bytes in all: some 100,000 events, minutes of a busy data plane.
const LIMIT: usize = 64 * 1024 * 1024;
const ATTEMPT_LIMIT: usize = LIMIT / 4;
const DETAIL_LIMIT: usize = LIMIT / 2;
/// Eight users must flood at once to cost others their details.
const USER_LIMIT: usize = DETAIL_LIMIT / 8;
/// Some 2,000 events, many times what a session does within [`LINGER`](super::LINGER).
pub(super) const SESSION_LIMIT: usize = USER_LIMIT / 4;

/// Sessions that are named among those that have lost something; the rest are counted together.
const NAMED_GAPS: usize = 256;

/// What an entry takes besides its texts.
const ENTRY_BYTES: usize = size_of::<super::Entry>();

/// Which part of the room an event may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Vital,
    Attempt,
    Detail,
    /// A detail of which a session can have thousands a second: it leaves room for others.
    File,
}

impl Share {
    /// Of an event that a data plane reports. What is not known is a detail: nobody else loses anything by it.
    pub(super) fn of(event: &AuditEvent) -> Share {
        match event.kind.as_str() {
            SessionStart::KIND
            | SessionEnd::KIND
            | SessionRejected::KIND
            | SessionUpload::KIND
            | RecordingFailed::KIND
            | RecordingGap::KIND => Share::Vital,
            Auth::KIND => Share::Attempt,
            Sftp::KIND | Scp::KIND => Share::File,
            _ => Share::Detail,
        }
    }
}

pub(super) fn event_bytes(event: &AuditEvent) -> usize {
    ENTRY_BYTES + event.text_bytes()
}

pub(super) fn row_bytes(row: &Session) -> usize {
    ENTRY_BYTES + row.text_bytes()
}

#[derive(Default)]
pub(super) struct Room {
    vital: usize,
    attempts: usize,
    details: usize,
    by_session: HashMap<Box<str>, usize>,
    by_user: HashMap<Box<str>, usize>,
    gaps: HashMap<Box<str>, Gap>,
}

/// What a session has lost, or nobody in particular.
#[derive(Default)]
struct Gap {
    user: String,
    login: String,
    node: String,
    client_address: String,
    events: u64,
    rows: u64,
}

impl Room {
    /// Bytes that wait.
    pub(super) fn used(&self) -> usize {
        self.vital + self.attempts + self.details
    }

    /// Whether there is room for an event, which then takes it; else it is counted as lost.
    pub(super) fn admit_event(&mut self, event: &AuditEvent, share: Share) -> bool {
        let bytes = event_bytes(event);
        let fits = self.used() + bytes <= LIMIT
            && match share {
                Share::Vital => true,
                Share::Attempt => self.attempts + bytes <= ATTEMPT_LIMIT,
                Share::Detail => self.has_room_for_detail(event, bytes, 1),
                Share::File => self.has_room_for_detail(event, bytes, 2),
            };
        if !fits {
            self.gap(event).events += 1;
            return false;
        }
        match share {
            Share::Vital => self.vital += bytes,
            Share::Attempt => self.attempts += bytes,
            Share::Detail | Share::File => {
                self.details += bytes;
                hold(&mut self.by_session, &event.session, bytes);
                hold(&mut self.by_user, &event.user, bytes);
            }
        }
        true
    }

    /// Whether a detail keeps within the `part`-th part of what details may take.
    fn has_room_for_detail(&self, event: &AuditEvent, bytes: usize, part: usize) -> bool {
        self.details + bytes <= DETAIL_LIMIT / part
            && held(&self.by_session, &event.session) + bytes <= SESSION_LIMIT / part
            && held(&self.by_user, &event.user) + bytes <= USER_LIMIT / part
    }

    /// The same for a row of the index.
    pub(super) fn admit_row(&mut self, row: &Session) -> bool {
        if self.reserve(row_bytes(row)) {
            return true;
        }
        let event = AuditEvent {
            session: row.id.clone(),
            user: row.user.clone(),
            login: row.login.clone(),
            node: row.node.clone(),
            client_address: row.client_address.clone(),
            ..AuditEvent::default()
        };
        self.gap(&event).rows += 1;
        false
    }

    /// Takes room for what is vital, if it is there; nothing is counted else.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.used() + bytes <= LIMIT;
        if fits {
            self.vital += bytes;
        }
        fits
    }

    pub(super) fn release_event(&mut self, event: &AuditEvent, share: Share) {
        let bytes = event_bytes(event);
        match share {
            Share::Vital => self.vital -= bytes,
            Share::Attempt => self.attempts -= bytes,
            Share::Detail | Share::File => {
                self.details -= bytes;
                let_go(&mut self.by_session, &event.session, bytes);
                let_go(&mut self.by_user, &event.user, bytes);
            }
        }
    }

    pub(super) fn release_row(&mut self, row: &Session) {
        self.vital -= row_bytes(row);
    }

    /// What has been lost since the last call, an event for each session; still without ids and times.
    pub(super) fn take_gaps(&mut self) -> Vec<AuditEvent> {
        let gaps = self.gaps.drain().map(|(session, gap)| AuditEvent {
            session: session.into(),
            user: gap.user,
            login: gap.login,
            node: gap.node,
            client_address: gap.client_address,
            ..convert::event(&AuditGap {
                events: gap.events,
                sessions: gap.rows,
            })
        });
        gaps.collect()
    }

    fn gap(&mut self, event: &AuditEvent) -> &mut Gap {
        let is_named = self.gaps.len() < NAMED_GAPS || self.gaps.contains_key(event.session.as_str());
        if !is_named || event.session.is_empty() {
            return self.gaps.entry("".into()).or_default();
        }
        self.gaps
            .entry(event.session.as_str().into())
            .or_insert_with(|| Gap {
                user: event.user.clone(),
                login: event.login.clone(),
                node: event.node.clone(),
                client_address: event.client_address.clone(),
                ..Gap::default()
            })
    }
}

fn held(holders: &HashMap<Box<str>, usize>, who: &str) -> usize {
    holders.get(who).copied().unwrap_or(0)
}

fn hold(holders: &mut HashMap<Box<str>, usize>, who: &str, bytes: usize) {
    match holders.get_mut(who) {
        Some(held) => *held += bytes,
        None => drop(holders.insert(who.into(), bytes)),
    }
}

fn let_go(holders: &mut HashMap<Box<str>, usize>, who: &str, bytes: usize) {
    if let Some(held) = holders.get_mut(who) {
        *held -= bytes;
        if *held == 0 {
            holders.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, session: &str, user: &str) -> AuditEvent {
        AuditEvent {
            kind: kind.to_owned(),
            session: session.to_owned(),
            user: user.to_owned(),
            detail: "x".repeat(10_000),
            ..AuditEvent::default()
        }
    }

    /// Reports the event until there is no room for it, and gives how often there was.
    fn fill(room: &mut Room, event: &AuditEvent) -> usize {
        (0..)
            .take_while(|_| room.admit_event(event, Share::of(event)))
            .count()
    }

    #[test]
    fn a_session_that_floods_loses_its_own_details_and_nothing_else() {
        let mut room = Room::default();
        let flood = event("exec", "s1", "mallory");
        let taken = fill(&mut room, &flood);
        assert!(room.used() <= SESSION_LIMIT);
        for other in [
            event("exec", "s2", "alice"),
            event("session.end", "s1", "mallory"),
            event("auth", "", ""),
        ] {
            assert!(room.admit_event(&other, Share::of(&other)), "{}", other.kind);
        }
        let gaps = room.take_gaps();
        assert_eq!(gaps.len(), 1);
        assert_eq!(
            (
                gaps[0].session.as_str(),
                gaps[0].user.as_str(),
                gaps[0].detail.as_str()
            ),
            ("s1", "mallory", r#"{"events":1,"sessions":0}"#)
        );
        assert!(room.take_gaps().is_empty());

        (0..taken).for_each(|_| room.release_event(&flood, Share::Detail));
        assert_eq!(fill(&mut room, &flood), taken, "what is written makes room again");
    }

    #[test]
    fn a_flood_of_file_operations_leaves_room_for_what_else_is_done() {
        let mut room = Room::default();
        // Sixteen users with as many sessions each, all copying.
        let copying = |user: usize, session: usize| {
            event(
                ["sftp", "scp"][session % 2],
                &format!("s{user}.{session}"),
                &format!("u{user}"),
            )
        };
        let sessions = || (0..16).flat_map(|user| (0..16).map(move |session| (user, session)));
        let taken: usize = sessions()
            .map(|(user, session)| fill(&mut room, &copying(user, session)))
            .sum();
        assert!(taken > 1000 && room.used() <= DETAIL_LIMIT / 2, "{taken}");
        for (user, session) in sessions() {
            for kind in ["exec", "denied", "sftp_summary"] {
                let other = event(kind, &format!("s{user}.{session}"), &format!("u{user}"));
                assert!(
                    room.admit_event(&other, Share::of(&other)),
                    "{kind} of {user}.{session}"
                );
            }
        }
        assert_eq!(
            room.take_gaps().len(),
            256,
            "each session lost some, and each is named"
        );
    }

    #[test]
    fn floods_of_any_number_of_users_and_strangers_leave_room_for_what_is_vital() {
        let mut room = Room::default();
        fill(&mut room, &event("auth", "", ""));
        for user in 0..100 {
            for session in 0..10 {
                let flood = event("exec", &format!("s{user}.{session}"), &format!("u{user}"));
                fill(&mut room, &flood);
            }
        }
        assert!(room.used() > LIMIT / 2 && room.used() <= ATTEMPT_LIMIT + DETAIL_LIMIT);
        assert!(fill(&mut room, &event("session.start", "s1", "alice")) > 1000);
        assert!(room.used() <= LIMIT);
        let gaps = room.take_gaps();
        assert!(gaps.len() <= NAMED_GAPS + 1, "{}", gaps.len());
        assert_eq!(
            room.by_session.values().sum::<usize>(),
            room.by_user.values().sum::<usize>()
        );
    }
}
