//! `weir recordings`: list, export, search, verify, hold; `rewrap.rs` has who can open them.

mod export;
mod search;
mod verify;

use std::io::Write;
use std::path::Path;

use weir_api::admin::{HoldRecordingRequest, ReleaseRecordingRequest};

use super::{rewrap, sessions};
use crate::arguments::Recordings;
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::output::stdout;

pub(crate) use export::whole_text;
pub(crate) use verify::judge;

pub(crate) fn run(data: &Path, command: Recordings) -> anyhow::Result<()> {
    match command {
        Recordings::Ls(listing) => sessions::list(data, &listing, true),
        Recordings::Export(export) => export::run(data, export),
        Recordings::Search(search) => search::run(data, search),
        Recordings::Verify { id, identity, json } => judge(data, id, identity.as_deref(), json),
        Recordings::Rewrap { ids, all, identity } => rewrap::run(data, ids, all, identity),
        Recordings::Identity(command) => rewrap::identity(data, command),
        Recordings::Hold { id, reason } => hold(data, id, reason),
        Recordings::Release { id } => release(data, id),
    }
}

fn hold(data: &Path, id: String, reason: String) -> anyhow::Result<()> {
    let held = converse(async {
        let request = HoldRecordingRequest { id, reason };
        let reply = connect(data).await?.hold_recording(request).await;
        Ok(reply.map_err(refusal)?.into_inner())
    })?;
    let mut out = stdout();
    writeln!(out, "{} is held: {}", held.id, held.hold_reason)?;
    if !held.hold_doubt.is_empty() {
        writeln!(
            out,
            "but {}: verify it when the store is there again",
            held.hold_doubt
        )?;
    }
    Ok(out.flush()?)
}

fn release(data: &Path, id: String) -> anyhow::Result<()> {
    let released = converse(async {
        let request = ReleaseRecordingRequest { id };
        let reply = connect(data).await?.release_recording(request).await;
        Ok(reply.map_err(refusal)?.into_inner())
    })?;
    let mut out = stdout();
    writeln!(
        out,
        "{} is no longer held, and is deleted when its time is over",
        released.id
    )?;
    Ok(out.flush()?)
}
