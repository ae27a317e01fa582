//! Who can open recordings: keys wrapped anew, and the identities of the control plane's own.

use std::iter;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use tokio::sync::mpsc;
use tonic::Status;
use weir_api::admin::{
    GetEnvelopeReply, GetEnvelopeRequest, IdentityEntry, ListIdentitiesReply, RetireIdentityReply,
    RetireIdentityRequest, RewrapOutcome, RewrapRecordingReply, RewrapRecordingRequest,
};
use weir_api::audit::{IdentityAdd, IdentityRetire, RecordingRewrap};
use weir_record::{Draft, Envelope, Identities, KeyError, Recipients, Signer};
use weir_store::{Kind, Session, SessionFilter, SessionStatus};

use super::{Caller, records, wording};
use crate::clock::now_us;
use crate::control::Shared;
use crate::convert;
use crate::directory::{Directory, Settings, put_settings, remove};
use crate::recordings::{NOT_OURS, OwnIdentity};
use crate::rewrap::Rewrite;
use crate::start::{identity_name, make_identity, recording_identities};

/// Sessions that are looked at together.
const PAGE: u32 = 500;

/// How long a session that has ended may take into the store. One that takes longer has been waiting for a store that is
/// out of order, and says so in the log.
const ON_ITS_WAY_US: u64 = 60_000_000;

pub(super) async fn envelope(
    shared: &Shared,
    request: &GetEnvelopeRequest,
) -> Result<GetEnvelopeReply, Status> {
    let session = records::session(shared, &request.id).await?;
    let recipients = recipients_of(shared).await;
    let Some(reason) = not_stored(&session) else {
        let (_, envelope, _) = stored_envelope(shared, &session).await?;
        return Ok(GetEnvelopeReply {
            envelope,
            reason: String::new(),
            recipients,
        });
    };
    Ok(GetEnvelopeReply {
        envelope: Vec::new(),
        reason: reason.to_owned(),
        recipients,
    })
}

/// Wraps one recording's key anew; the work goes on in a task of its own, which ends when nobody listens any longer.
pub(super) async fn rewrap(
    shared: Arc<Shared>,
    caller: Caller,
    request: RewrapRecordingRequest,
) -> Result<BoxStream<'static, Result<RewrapRecordingReply, Status>>, Status> {
    let session = records::session(&shared, &request.id).await?;
    let (progress, news) = mpsc::channel(1);
    let job = Job {
        session,
        draft: request.draft,
        caller,
    };
    let ended = tokio::spawn(async move { job.run(&shared, progress).await });
    let steps = stream::unfold(
        news,
        |mut news| async move { Some((Ok(news.recv().await?), news)) },
    );
    let last = stream::once(async move {
        ended
            .await
            .unwrap_or_else(|_| Err(Status::internal("the work ended without a word: see weir's log")))
    });
    Ok(steps.chain(last).boxed())
}

/// One recording's replacement.
struct Job {
    session: Session,
    /// Made by the caller; empty where Weir opens the recording itself.
    draft: Vec<u8>,
    caller: Caller,
}

impl Job {
    async fn run(
        self,
        shared: &Shared,
        progress: mpsc::Sender<RewrapRecordingReply>,
    ) -> Result<RewrapRecordingReply, Status> {
        if let Some(reason) = not_stored(&self.session) {
            return Ok(skipped(reason));
        }
        let _turn = shared.rewrapping.lock().await;
        let (envelope, old, total_bytes) = stored_envelope(shared, &self.session).await?;
        let names = recipients_of(shared).await;
        let recipients = Recipients::parse(&names).map_err(refused)?;
        let (draft, key) = if self.draft.is_empty() {
            let key = shared
                .recordings
                .unwrap(&envelope)
                .map_err(|problem| match problem {
                    KeyError::NotForUs => Status::failed_precondition(NOT_OURS),
                    other => refused(other),
                })?;
            if envelope.is_wrapped_to(&recipients, &key) {
                return Ok(skipped("its key is wrapped to the present recipients already"));
            }
            (Draft::new(&old, &key, &recipients).map_err(refused)?, Some(key))
        } else {
            (Draft::parse(&self.draft, &old).map_err(refused)?, None)
        };
        let detail = RecordingRewrap {
            recipients: names.len() as u64,
            unwrapped_by: if key.is_some() { "weir" } else { "administrator" }.to_owned(),
            administrator: self.caller.as_administrator(),
        };
        let signer = Signer::new(shared.embedded_key.clone()).expect("the embedded key is an ed25519 key");
        let rewrite = Rewrite {
            objects: Arc::clone(shared.recordings.objects().durable()),
            path: Path::parse(&self.session.object).map_err(refused)?,
            old,
            new: draft.sign(&signer).map_err(refused)?,
            key,
            trusted: records::signing_keys(shared).await,
            total_bytes,
            progress,
        };
        rewrite.run().await.map_err(refused)?;
        shared.journal.event(convert::event_about(&self.session, &detail));
        Ok(RewrapRecordingReply {
            done_bytes: total_bytes,
            total_bytes,
            outcome: RewrapOutcome::Done.into(),
            reason: String::new(),
        })
    }
}

/// Why there is nothing in the store to work on.
fn not_stored(session: &Session) -> Option<&'static str> {
    if session.status == SessionStatus::Live {
        Some("the session is still going on")
    } else if session.object.is_empty() {
        Some("it has no recording in the store: it was not recorded, or is still in the spool")
    } else {
        None
    }
}

fn skipped(reason: &str) -> RewrapRecordingReply {
    RewrapRecordingReply {
        outcome: RewrapOutcome::Skipped.into(),
        reason: reason.to_owned(),
        ..RewrapRecordingReply::default()
    }
}

/// The envelope, its bytes, and the length of the whole object.
async fn stored_envelope(shared: &Shared, session: &Session) -> Result<(Envelope, Vec<u8>, u64), Status> {
    let (start, total_bytes) = shared
        .recordings
        .start(&session.object)
        .await
        .map_err(|error| records::not_to_be_had(shared.recordings.objects(), &session.object, &error))?;
    let envelope = Envelope::parse_start(&start).map_err(refused)?;
    let bytes = start[..envelope.len()].to_vec();
    Ok((envelope, bytes, total_bytes))
}

fn refused(error: impl std::fmt::Display) -> Status {
    Status::failed_precondition(error.to_string())
}

async fn recipients_of(shared: &Shared) -> Vec<String> {
    shared
        .state
        .directory()
        .await
        .settings
        .recording_recipients
        .clone()
}

pub(super) fn identities(shared: &Shared) -> ListIdentitiesReply {
    let own = shared.recordings.identities();
    let entries = own.iter().enumerate().map(|(at, identity)| IdentityEntry {
        public_key: identity.public.clone(),
        current: at + 1 == own.len() && !shared.external_recipients_only,
    });
    ListIdentitiesReply {
        identities: entries.collect(),
    }
}

pub(super) async fn add_identity(shared: &Shared, caller: Caller) -> Result<IdentityEntry, Status> {
    let _turn = shared.rewrapping.lock().await;
    let (change, public_key) = make_identity(&identity_name(), &shared.key_encryption_key);
    let own = shared.recordings.identities();
    let current = !shared.external_recipients_only;
    let newest = public_key.clone();
    let plan = move |directory: &Directory| {
        let mut changes = vec![change];
        if current {
            let recipients = directory.settings.recording_recipients.iter();
            let others = recipients.filter(|key| own.iter().all(|own| own.public != **key));
            changes.push(put_settings(&Settings {
                recording_recipients: iter::once(newest).chain(others.cloned()).collect(),
                ..directory.settings.clone()
            }));
        }
        Ok::<_, Status>(changes)
    };
    shared.state.change(plan).await?;
    reload(shared).await?;
    shared.journal.event(convert::event(&IdentityAdd {
        public_key: public_key.clone(),
        administrator: caller.as_administrator(),
    }));
    Ok(IdentityEntry { public_key, current })
}

pub(super) async fn retire_identity(
    shared: &Shared,
    caller: Caller,
    request: &RetireIdentityRequest,
) -> Result<RetireIdentityReply, Status> {
    let _turn = shared.rewrapping.lock().await;
    let own = shared.recordings.identities();
    let at = own
        .iter()
        .position(|identity| identity.public == request.public_key);
    let Some(at) = at else {
        return Err(Status::not_found(format!(
            "identity {:?} does not exist: weir recordings identity ls shows them",
            request.public_key
        )));
    };
    if at + 1 == own.len() {
        return Err(Status::failed_precondition(
            "it is the newest identity: make another with weir recordings identity new first",
        ));
    }
    let needs = needs(shared, &own, at).await?;
    if let Some(sentence) = needs.sentence() {
        return Err(Status::failed_precondition(sentence));
    }
    let change = remove(Kind::Identity, &own[at].name);
    shared
        .state
        .change(move |_| Ok::<_, Status>(vec![change]))
        .await?;
    reload(shared).await?;
    shared.journal.event(convert::event(&IdentityRetire {
        public_key: request.public_key.clone(),
        administrator: caller.as_administrator(),
    }));
    Ok(RetireIdentityReply {})
}

async fn reload(shared: &Shared) -> Result<(), Status> {
    let directory = shared.state.directory().await;
    let identities = recording_identities(&directory, &shared.key_encryption_key)
        .map_err(|error| Status::internal(error.to_string()))?;
    drop(directory);
    shared.recordings.set_identities(identities);
    Ok(())
}

/// What would be lost to Weir with an identity.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// Stored recordings that none of the others opens.
    recordings: u64,
    /// Sessions whose recordings are not in the store yet.
    coming: u64,
    /// Recordings of which nobody can say.
    unreadable: u64,
}

impl Needs {
    fn sentence(&self) -> Option<String> {
        let &Needs {
            recordings,
            coming,
            unreadable,
        } = self;
        match (recordings, coming, unreadable) {
            (0, 0, 0) => None,
            (0, 0, _) => Some(format!(
                "{unreadable} recordings cannot be read, and may need it: weir recordings verify says more"
            )),
            (0, _, _) => Some(format!(
                "{coming} sessions are going on, or their recordings are on their way into the store, and may need it: \
                 try again when they are there"
            )),
            _ => Some(format!(
                "{recordings} recordings are opened by it and by no other identity of Weir: run weir recordings rewrap \
                 --all first"
            )),
        }
    }
}

async fn needs(shared: &Shared, own: &[OwnIdentity], retired: usize) -> Result<Needs, Status> {
    shared.journal.flush().await;
    let mut needs = Needs::default();
    let mut filter = SessionFilter {
        limit: PAGE,
        ..SessionFilter::default()
    };
    loop {
        let page = shared
            .state
            .store()
            .sessions(&filter)
            .await
            .map_err(wording::store_status)?;
        for session in &page {
            need(shared, own, retired, session, &mut needs).await;
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => filter.before_id.clone_from(&last.id),
            _ => return Ok(needs),
        }
    }
}

async fn need(shared: &Shared, own: &[OwnIdentity], retired: usize, session: &Session, needs: &mut Needs) {
    if not_stored(session).is_some() {
        let is_coming =
            session.status == SessionStatus::Live || now_us().saturating_sub(session.end_us) < ON_ITS_WAY_US;
        needs.coming += u64::from(is_coming);
        return;
    }
    let Ok((envelope, ..)) = stored_envelope(shared, session).await else {
        needs.unreadable += 1;
        return;
    };
    let opens = |identities: &Identities| identities.unwrap(&envelope.wrapped_key).is_ok();
    let mut others = own.iter().enumerate().filter(|(at, _)| *at != retired);
    let is_needed = opens(&own[retired].identities) && !others.any(|(_, other)| opens(&other.identities));
    needs.recordings += u64::from(is_needed);
}
