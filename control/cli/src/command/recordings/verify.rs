//! `weir recordings verify`: is a recording what was written, and if not, what is the first part that is bad?

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use weir_record::{Report, Seals, Trust, verify};

use crate::output::{size, stdout};
use crate::progress::Meter;
use crate::recording::{Opener, Recording, RecordingAction};

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
    /// The first part that is not as it was written. Null if there is none.
    first: Option<BadPart>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct BadPart {
    /// `the envelope`, `chunk N` or `the end`.
    part: String,
    /// Where in the recording it begins, or should.
    byte: u64,
    /// The sentence that tells both, and what is wrong with it.
    problem: String,
}

/// Verifies one recording and prints the verdict; one that is not intact is a failure.
pub(crate) fn judge(data: &Path, id: String, identity: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let (header, recording) = Recording::open(data, id.clone(), RecordingAction::Verify)?;
    let progress = Meter::new("verifying");
    progress.lock().expect(header.size_bytes);
    // Without a key there is still much to verify; with a wrong file, not what was asked for.
    let opener = match (header.opener(identity), identity) {
        (Err(error), Some(_)) => return Err(error),
        (opener, _) => opener.ok(),
    };
    let unlock = opener.as_ref().map(Opener::unlock);
    let report = verify(recording.counted(&progress), unlock, Trust::Keys(&header.signers))?;
    drop(progress);
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
    match verdict.first {
        None => Ok(()),
        Some(first) => anyhow::bail!(
            "recording {id} is not as it was written: {}: keep it and its data plane's log for whoever investigates",
            first.problem
        ),
    }
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
        let mut parts: Vec<_> = report
            .findings
            .iter()
            .map(|finding| BadPart {
                part: finding.place.to_string(),
                byte: finding.at,
                problem: finding.to_string(),
            })
            .collect();
        let stranger = report.session.filter(|session| session.to_string() != id);
        if let Some(session) = stranger {
            // Whatever else is found is found in another recording than the one that was asked for.
            let part = "the envelope".to_owned();
            let problem = format!("{part} at byte 0 is that of another session, {session}");
            parts.insert(
                0,
                BadPart {
                    part,
                    byte: 0,
                    problem,
                },
            );
        }
        let mut findings: Vec<_> = parts.iter().map(|part| part.problem.clone()).collect();
        if report.more {
            findings.push("and more".to_owned());
        }
        Verdict {
            id: id.to_owned(),
            intact: parts.is_empty(),
            status: report.end.map(|end| end.status.as_str()),
            chunks: report.chunks,
            bytes: report.end.map(|end| end.plaintext_bytes),
            contents_checked: report.seals == Seals::Checked,
            first: parts.into_iter().next(),
            findings,
        }
    }

    fn describe(&self, stored_bytes: u64, locked: Option<&String>, out: &mut impl Write) -> io::Result<()> {
        match self.findings.split_first() {
            None => writeln!(
                out,
                "{} is intact: {}, {} stored, {}, signed by a data plane of this cluster",
                self.id,
                counted(self.chunks),
                size(stored_bytes),
                self.status.unwrap_or("without an end"),
            )?,
            Some((first, rest)) => {
                writeln!(out, "{} is NOT intact: {first}", self.id)?;
                for finding in rest {
                    writeln!(out, "  also: {finding}")?;
                }
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
