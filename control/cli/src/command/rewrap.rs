//! `weir recordings rewrap` and `weir recordings identity`: who can open recordings.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use weir_api::admin::{
    AddIdentityRequest, GetEnvelopeRequest, ListIdentitiesRequest, ListSessionsRequest,
    RetireIdentityRequest, RewrapOutcome, RewrapRecordingRequest,
};
use weir_record::{Draft, Envelope, Identities, Recipients};

use super::list;
use crate::arguments::Identity;
use crate::client::{Admin, connect, converse};
use crate::failure::{refusal, sentence};
use crate::output::stdout;
use crate::progress::Progress;
use crate::recording::read_identities;

/// Sessions that are asked for together.
const PAGE: u32 = 500;

pub(crate) fn run(data: &Path, ids: Vec<String>, all: bool, identity: Option<PathBuf>) -> anyhow::Result<()> {
    let identities = identity.as_deref().map(read_identities).transpose()?;
    converse(async {
        let mut work = Work {
            admin: connect(data).await?,
            identities,
            done: 0,
            skipped: 0,
            failed: 0,
        };
        if all {
            work.all().await?;
        } else {
            for id in ids {
                work.one(id).await?;
            }
        }
        work.end()
    })
}

/// What became of one recording.
enum Outcome {
    Done,
    Skipped(String),
}

struct Work {
    admin: Admin,
    /// The administrator's own; without them, Weir opens what it can.
    identities: Option<Identities>,
    done: u64,
    skipped: u64,
    failed: u64,
}

impl Work {
    async fn all(&mut self) -> anyhow::Result<()> {
        let mut request = ListSessionsRequest {
            page_size: PAGE,
            ..ListSessionsRequest::default()
        };
        loop {
            let listed = self.admin.list_sessions(request.clone()).await;
            let reply = listed.map_err(refusal)?.into_inner();
            for session in reply.sessions {
                self.one(session.id).await?;
            }
            if reply.next_page_token.is_empty() {
                return Ok(());
            }
            request.page_token = reply.next_page_token;
        }
    }

    /// Says what became of it. One that fails does not stop the others, unless nobody answers any more.
    async fn one(&mut self, id: String) -> anyhow::Result<()> {
        let ended = self.rewrap(&id).await;
        let mut out = stdout();
        match ended {
            Ok(Outcome::Done) => {
                self.done += 1;
                writeln!(out, "{id} wrapped anew")?;
            }
            Ok(Outcome::Skipped(reason)) => {
                self.skipped += 1;
                writeln!(out, "{id} skipped: {reason}")?;
            }
            Err(error) => {
                self.failed += 1;
                writeln!(out, "{id} failed: {}", sentence(&error))?;
                out.flush()?;
                // Where nobody answers any more, all others would fail for that reason.
                let answer = self.admin.list_identities(ListIdentitiesRequest {}).await;
                answer.map_err(refusal)?;
            }
        }
        Ok(out.flush()?)
    }

    async fn rewrap(&mut self, id: &str) -> anyhow::Result<Outcome> {
        let draft = match &self.identities {
            None => Vec::new(),
            Some(identities) => {
                let request = GetEnvelopeRequest { id: id.to_owned() };
                let reply = self
                    .admin
                    .get_envelope(request)
                    .await
                    .map_err(refusal)?
                    .into_inner();
                if reply.envelope.is_empty() {
                    return Ok(Outcome::Skipped(reply.reason));
                }
                let recipients = Recipients::parse(&reply.recipients)?;
                let envelope = Envelope::parse(&reply.envelope)?;
                let key = identities.unwrap(&envelope.wrapped_key)?;
                if envelope.is_wrapped_to(&recipients, &key) {
                    return Ok(Outcome::Skipped(
                        "its key is wrapped to the present recipients already".to_owned(),
                    ));
                }
                Draft::new(&reply.envelope, &key, &recipients)?
                    .as_bytes()
                    .to_vec()
            }
        };
        let request = RewrapRecordingRequest {
            id: id.to_owned(),
            draft,
        };
        let replies = self.admin.rewrap_recording(request).await;
        let mut replies = replies.map_err(refusal)?.into_inner();
        let mut progress = None;
        let mut seen = 0;
        while let Some(reply) = replies.message().await.map_err(refusal)? {
            match reply.outcome() {
                RewrapOutcome::Done => return Ok(Outcome::Done),
                RewrapOutcome::Skipped => return Ok(Outcome::Skipped(reply.reason)),
                RewrapOutcome::Unspecified => progress
                    .get_or_insert_with(|| Progress::of("wrapping anew", reply.total_bytes))
                    .advance(reply.done_bytes - std::mem::replace(&mut seen, reply.done_bytes)),
            }
        }
        anyhow::bail!("the answer broke off: see weir's log, and try again")
    }

    fn end(self) -> anyhow::Result<()> {
        let Work {
            done,
            skipped,
            failed,
            ..
        } = self;
        let mut out = stdout();
        writeln!(out, "{done} wrapped anew, {skipped} skipped, {failed} failed")?;
        out.flush()?;
        anyhow::ensure!(
            failed == 0,
            "{failed} recordings are still wrapped as they were: the lines above say why"
        );
        Ok(())
    }
}

/// One row of `weir recordings identity ls --json`; the names are an interface.
#[derive(Serialize)]
struct Row {
    public_key: String,
    /// Whether new recordings are wrapped to it.
    current: bool,
}

pub(crate) fn identity(data: &Path, command: Identity) -> anyhow::Result<()> {
    converse(async {
        let mut admin = connect(data).await?;
        match command {
            Identity::Ls(listing) => {
                let reply = admin.list_identities(ListIdentitiesRequest {}).await;
                let rows: Vec<_> = reply
                    .map_err(refusal)?
                    .into_inner()
                    .identities
                    .into_iter()
                    .map(|entry| Row {
                        public_key: entry.public_key,
                        current: entry.current,
                    })
                    .collect();
                let state = |row: &Row| if row.current { "wraps and opens" } else { "opens" };
                list(listing.json, ["PUBLIC KEY", "USE"], &rows, |row| {
                    [row.public_key.clone(), state(row).to_owned()]
                })
            }
            Identity::New => {
                let made = admin.add_identity(AddIdentityRequest {}).await;
                let made = made.map_err(refusal)?.into_inner();
                let mut out = stdout();
                writeln!(out, "{}", made.public_key)?;
                Ok(out.flush()?)
            }
            Identity::Retire { public_key } => {
                let request = RetireIdentityRequest { public_key };
                admin.retire_identity(request).await.map_err(refusal)?;
                Ok(())
            }
        }
    })
}
