//! `weir recordings`: list, export, verify, hold; `rewrap.rs` has who can open them.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;
use weir_api::admin::{HoldRecordingRequest, ReleaseRecordingRequest};
use weir_record::export::{self, ExportError, Part};
use weir_record::{Reader, Report, Seals, Trust, verify};

use super::{rewrap, sessions};
use crate::arguments::{Format, Recordings};
use crate::client::{connect, converse};
use crate::failure::{refusal, usage};
use crate::files::{Access, NewFile, refuse_existing};
use crate::output::{size, stdout};
use crate::recording::{Opener, Recording};

pub(crate) fn run(data: &Path, command: Recordings) -> anyhow::Result<()> {
    match command {
        Recordings::Ls(listing) => sessions::list(data, &listing, true),
        Recordings::Export {
            id,
            format,
            channel,
            out,
            force,
            identity,
        } => {
            let identity = identity.as_deref();
            if format == Format::Json && channel.is_some() {
                return Err(usage(
                    "got --channel with --format json, which always has all: choose with a filter such as jq",
                ));
            }
            let Some(path) = out else {
                let mut out = stdout();
                // What is exported and how far it is would write over each other on one screen.
                write_as(
                    data,
                    id,
                    identity,
                    format,
                    channel,
                    io::stdout().is_terminal(),
                    &mut out,
                )?;
                return Ok(out.flush()?);
            };
            refuse_existing([path.as_path()], force)?;
            let mut out = BufWriter::new(NewFile::create(&path, Access::Owner, force)?);
            let ended = write_as(data, id, identity, format, channel, false, &mut out);
            if ended.as_ref().is_err_and(|error| !is_cut(error)) {
                return ended;
            }
            // Of a recording that was cut off, what there is is worth keeping.
            out.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .commit()?;
            ended
        }
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

/// Writes one recording in `format`.
pub(crate) fn write_as(
    data: &Path,
    id: String,
    identity: Option<&Path>,
    format: Format,
    channel: Option<u32>,
    quietly: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (header, recording) = Recording::open(data, id, "exporting")?;
    let recording = if quietly { recording.quietly() } else { recording };
    let opener = header.opener(identity)?;
    let mut reader = Reader::open(recording, opener.unlock())?;
    match format {
        Format::Text => export::text(&mut reader, channel, Part::WHOLE, out)?,
        Format::Cast => export::cast(&mut reader, channel, Part::WHOLE, out)?,
        Format::Json => export::json(&mut reader, Part::WHOLE, out)?,
    }
    Ok(())
}

fn is_cut(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<ExportError>()
        .is_some_and(ExportError::is_cut)
}

/// What `weir recordings verify --json` prints.
#[derive(Serialize)]
struct Verdict {
    id: String,
    intact: bool,
    /// Null without a true end.
    status: Option<&'static str>,
    chunks: u64,
    bytes: Option<u64>,
    /// Whether the contents were opened too, or the chain and its signature alone were checked.
    contents_checked: bool,
    findings: Vec<String>,
}

/// Verifies one recording and prints the verdict; one that is not intact is a failure.
pub(crate) fn judge(data: &Path, id: String, identity: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let (header, recording) = Recording::open(data, id.clone(), "verifying")?;
    // Without a key there is still much to verify; with a wrong file, not what was asked for.
    let opener = match (header.opener(identity), identity) {
        (Err(error), Some(_)) => return Err(error),
        (opener, _) => opener.ok(),
    };
    let unlock = opener.as_ref().map(Opener::unlock);
    let report = verify(recording, unlock, Trust::Keys(&header.signers))?;
    let locked = match &report.seals {
        Seals::Locked(problem) => Some(problem.to_string()),
        Seals::NoKey => header.key.as_ref().err().cloned(),
        Seals::Checked => None,
    };
    let verdict = Verdict::new(&id, &report);
    let mut out = stdout();
    if json {
        serde_json::to_writer(&mut out, &verdict)?;
        writeln!(out)?;
    } else {
        verdict.describe(header.size_bytes, locked.as_ref(), &mut out)?;
    }
    out.flush()?;
    anyhow::ensure!(
        verdict.intact,
        "recording {id} is not as it was written: keep it and its data plane's log for whoever investigates"
    );
    Ok(())
}

fn counted(chunks: u64) -> String {
    if chunks == 1 {
        "1 chunk".to_owned()
    } else {
        format!("{chunks} chunks")
    }
}

impl Verdict {
    fn new(id: &str, report: &Report) -> Self {
        let mut findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        if report.session.is_some_and(|session| session.to_string() != id) {
            findings.push(format!(
                "it is the recording of another session, {}",
                report.session.unwrap_or_default()
            ));
        }
        if report.more {
            findings.push("and more".to_owned());
        }
        Verdict {
            id: id.to_owned(),
            intact: findings.is_empty(),
            status: report.end.map(|end| end.status.as_str()),
            chunks: report.chunks,
            bytes: report.end.map(|end| end.plaintext_bytes),
            contents_checked: report.seals == Seals::Checked,
            findings,
        }
    }

    fn describe(&self, stored_bytes: u64, locked: Option<&String>, out: &mut impl Write) -> io::Result<()> {
        if self.intact {
            writeln!(
                out,
                "{} is intact: {}, {} stored, {}, signed by a data plane of this cluster",
                self.id,
                counted(self.chunks),
                size(stored_bytes),
                self.status.unwrap_or("without an end"),
            )?;
        } else {
            writeln!(out, "{} is NOT intact:", self.id)?;
            for finding in &self.findings {
                writeln!(out, "  {finding}")?;
            }
        }
        if let Some(why) = locked {
            writeln!(
                out,
                "only the chain and its signature were checked, not the contents: {why}"
            )?;
        }
        Ok(())
    }
}
