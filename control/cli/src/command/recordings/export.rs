//! `weir recordings export`: a recording, or a part of one, in the forms that other programs read.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use weir_record::Reader;
use weir_record::export::{self, ExportError, Part};

use crate::arguments::{Export, Format};
use crate::failure::usage;
use crate::files::{Access, NewFile, refuse_existing};
use crate::moment::Moment;
use crate::output::stdout;
use crate::progress::Meter;
use crate::recording::{Header, Recording, RecordingAction};

/// Bytes gathered before they are written to a file.
const GATHERED: usize = 256 * 1024;

pub(super) fn run(data: &Path, order: Export) -> anyhow::Result<()> {
    if order.format == Format::Json && order.channel.is_some() {
        return Err(usage(
            "got --channel with --format json, which always has all: choose with a filter such as jq",
        ));
    }
    let Some(path) = &order.out else {
        let (header, recording) = Recording::open(data, order.id.clone(), RecordingAction::Export)?;
        let mut out = stdout();
        // What is exported and how far it is would write over each other on one screen.
        if io::stdout().is_terminal() {
            write_as(&header, recording, &order, &mut out)?;
        } else {
            write_counted(&header, recording, &order, &mut out)?;
        }
        return Ok(out.flush()?);
    };
    refuse_existing([path.as_path()], order.force)?;
    let (header, recording) = Recording::open(data, order.id.clone(), RecordingAction::Export)?;
    let file = NewFile::create(path, Access::Owner, order.force)?;
    file.remove_on_signal()?;
    let mut out = BufWriter::with_capacity(GATHERED, file);
    let ended = write_counted(&header, recording, &order, &mut out);
    if ended.as_ref().is_err_and(|error| !is_cut(error)) {
        return ended;
    }
    // Of a recording that was cut off, what there is is worth keeping.
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .commit()?;
    ended
}

/// Writes the text of a whole recording, and shows no progress.
pub(crate) fn whole_text(data: &Path, id: String, out: &mut impl Write) -> anyhow::Result<()> {
    let (header, recording) = Recording::open(data, id, RecordingAction::Export)?;
    let opener = header.opener(None)?;
    let mut reader = Reader::open(recording, opener.unlock())?;
    Ok(export::text(&mut reader, None, Part::WHOLE, out)?)
}

fn write_counted(
    header: &Header,
    recording: Recording,
    order: &Export,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let progress = Meter::new("exporting");
    progress.lock().expect(header.size_bytes);
    write_as(header, recording.counted(&progress), order, out)
}

fn write_as(
    header: &Header,
    recording: Recording,
    order: &Export,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let opener = header.opener(order.identity.as_deref())?;
    let mut reader = Reader::open(recording, opener.unlock())?;
    let part = part(order, reader.envelope().started_us)?;
    let written = match order.format {
        Format::Text => export::text(&mut reader, order.channel, part, out),
        Format::Cast => export::cast(&mut reader, order.channel, part, out),
        Format::Json => export::json(&mut reader, part, out),
    };
    match written {
        Err(ExportError::Beyond { last }) => Err(usage(format!(
            "got --from {} while the last that was recorded is {} after the start: choose an earlier time",
            humantime::format_duration(part.from),
            humantime::format_duration(last),
        ))),
        written => Ok(written?),
    }
}

/// The part that was asked for, of a session that began at `started_us`.
fn part(order: &Export, started_us: u64) -> anyhow::Result<Part> {
    let into = |moment: Moment| moment.into_session(started_us);
    // What began before the session begins with it.
    let from = order.from.and_then(into).unwrap_or_default();
    let to = order.to.map(|moment| into(moment).unwrap_or_default());
    if to.is_some_and(|to| to <= from) {
        return Err(usage(format!(
            "got a --to that is not behind --from, which is {} after the session's start: choose a later one",
            humantime::format_duration(from),
        )));
    }
    Ok(Part { from, to })
}

fn is_cut(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<ExportError>()
        .is_some_and(ExportError::is_cut)
}
