//! JSON lines: every event as one object, nothing left out.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{ExportError, Part};
use crate::event::{Entry, Event};
use crate::reader::Reader;
use crate::transfer::{FileAction, FileOperation, TransferSummary, status_text};

/// Writes a recording as JSON lines: a `recording` object, one object per event, an `end` object.
///
/// Of a part the first object tells the bounds, and `meta` is there although it stands at the recording's beginning.
/// `end` is there only where the part reaches it.
///
/// Times are integer microseconds since the session's start. A peer's bytes stand as a string where they are UTF-8, else
/// in base64 under the same name with `_base64` behind it, so that nothing is lost.
///
/// # Errors
/// If the recording cannot be read or the output not be written. Of a recording that is cut off all is written first.
pub fn json<R: Read, W: Write>(reader: &mut Reader<R>, part: Part, out: &mut W) -> Result<(), ExportError> {
    let envelope = reader.envelope();
    let mut first = json!({
        "kind": "recording",
        "session": envelope.session.to_string(),
        "start_us": envelope.started_us,
    });
    if part != Part::WHOLE {
        first["from_us"] = micros(part.from).into();
        first["to_us"] = part.to.map(micros).into();
    }
    line(out, &first)?;
    let ended = part.walk(reader, |entry, is_wanted| {
        if is_wanted || matches!(entry.event, Event::Meta(_)) {
            line(out, &Value::Object(object(entry)))
        } else {
            Ok(())
        }
    })?;
    if let Some(end) = reader.end() {
        line(
            out,
            &json!({
                "kind": "end",
                "status": end.status.as_str(),
                "duration_us": end.duration.map(micros),
                "chunks": end.chunks,
                "plaintext_bytes": end.plaintext_bytes,
            }),
        )?;
    }
    out.flush()?;
    ended
}

fn line<W: Write>(out: &mut W, value: &Value) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn object(entry: &Entry<'_>) -> Map<String, Value> {
    let mut o = Map::new();
    o.insert("time_us".to_owned(), micros(entry.at).into());
    if !matches!(entry.event, Event::Meta(_)) {
        o.insert("channel".to_owned(), entry.channel.into());
    }
    o.insert("kind".to_owned(), name(&entry.event).into());
    let mut set = |name: &str, value: Value| o.insert(name.to_owned(), value);
    match entry.event {
        Event::Meta(fields) => {
            for (name, value) in fields.iter() {
                set(name, value.into());
            }
        }
        Event::Output(data) | Event::ErrorOutput(data) | Event::Input(data) => bytes(&mut o, "data", data),
        Event::Terminal {
            term,
            columns,
            rows,
            width_px,
            height_px,
        } => {
            set("columns", columns.into());
            set("rows", rows.into());
            set("width_px", width_px.into());
            set("height_px", height_px.into());
            bytes(&mut o, "term", term);
        }
        Event::Resize {
            columns,
            rows,
            width_px,
            height_px,
        } => {
            set("columns", columns.into());
            set("rows", rows.into());
            set("width_px", width_px.into());
            set("height_px", height_px.into());
        }
        Event::Exec { command } => bytes(&mut o, "command", command),
        Event::Subsystem { name } => bytes(&mut o, "name", name),
        Event::ExitStatus(status) => {
            set("status", status.into());
        }
        Event::ExitSignal {
            signal,
            core_dumped,
            message,
        } => {
            set("core_dumped", core_dumped.into());
            bytes(&mut o, "signal", signal);
            bytes(&mut o, "message", message);
        }
        Event::LimitReached { stream, limit } => {
            set("stream", stream.as_str().into());
            set("limit_bytes", limit.into());
        }
        Event::Unrecorded { stream, bytes } => {
            set("stream", stream.as_str().into());
            set("bytes", bytes.into());
        }
        Event::Forward {
            kind,
            host,
            port,
            originator,
            originator_port,
        } => {
            set("type", kind.as_str().into());
            set("port", port.into());
            set("originator_port", originator_port.into());
            bytes(&mut o, "host", host);
            bytes(&mut o, "originator", originator);
        }
        Event::Gap {
            from,
            to,
            bytes: count,
            events,
            reason,
        } => {
            set("from_us", micros(from).into());
            set("to_us", micros(to).into());
            set("bytes", count.into());
            set("events", events.into());
            bytes(&mut o, "reason", reason);
        }
        Event::FileOperation(operation) => file_operation(&mut o, &operation),
        Event::TransferSummary(summary) => transfer_summary(&mut o, &summary),
        Event::Environment { name, value } => {
            bytes(&mut o, "name", name);
            if let Some(value) = value {
                bytes(&mut o, "value", value);
            }
        }
        Event::ForwardEnd {
            kind,
            by_target,
            host,
            port,
            from_client,
            from_target,
            duration,
        } => {
            set("type", kind.as_str().into());
            set("opener", if by_target { "target" } else { "client" }.into());
            set("port", port.into());
            set("bytes_from_client", from_client.into());
            set("bytes_from_target", from_target.into());
            set("duration_us", micros(duration).into());
            bytes(&mut o, "host", host);
        }
        Event::WithheldInput { bytes } => {
            set("bytes", bytes.into());
        }
        Event::Digest {
            stream,
            bytes,
            sha256,
        } => {
            set("stream", stream.as_str().into());
            set("bytes", bytes.into());
            let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            set("sha256", hex.into());
        }
        Event::Unknown { kind, payload } => {
            set("code", kind.0.into());
            bytes(&mut o, "payload", payload);
        }
        Event::Shell | Event::Closed => {}
    }
    o
}

fn file_operation(o: &mut Map<String, Value>, operation: &FileOperation<'_>) {
    let mut set = |name: &str, value: Value| o.insert(name.to_owned(), value);
    set("protocol", operation.protocol.as_str().into());
    set("action", operation.action_str().into());
    if operation.action == FileAction::Begin {
        return;
    }
    set("outcome", operation.outcome.as_str().into());
    set("status", operation.outcome.status().into());
    set("status_text", status_text(operation.outcome.status()).into());
    if operation.action == FileAction::File {
        set("direction", operation.direction().into());
        set("bytes_read", operation.bytes_read.into());
        set("bytes_written", operation.bytes_written.into());
    }
    if operation.is_cut {
        set("name_cut", true.into());
    }
    if let Some(sha256) = operation.sha256_text() {
        set("sha256", sha256.into());
    }
    bytes(o, "path", operation.path);
    if !operation.target.is_empty() {
        bytes(o, "target", operation.target);
    }
    if !operation.note.is_empty() {
        bytes(o, "note", operation.note);
    }
}

fn transfer_summary(o: &mut Map<String, Value>, summary: &TransferSummary) {
    let mut set = |name: &str, value: Value| o.insert(name.to_owned(), value);
    set("protocol", summary.protocol.as_str().into());
    set("whole", summary.is_whole.into());
    set("files", summary.files.into());
    set("unfinished", summary.unfinished.into());
    set("bytes_read", summary.bytes_read.into());
    set("bytes_written", summary.bytes_written.into());
    set("operations", summary.operations.into());
    set("failures", summary.failures.into());
    set("unmatched", summary.unmatched.into());
}

fn bytes(o: &mut Map<String, Value>, name: &str, data: &[u8]) {
    match std::str::from_utf8(data) {
        Ok(text) => o.insert(name.to_owned(), text.into()),
        Err(_) => o.insert(format!("{name}_base64"), STANDARD.encode(data).into()),
    };
}

fn name(event: &Event<'_>) -> &'static str {
    match event {
        Event::Meta(_) => "meta",
        Event::Output(_) => "output",
        Event::ErrorOutput(_) => "error_output",
        Event::Input(_) => "input",
        Event::Terminal { .. } => "terminal",
        Event::Resize { .. } => "resize",
        Event::Shell => "shell",
        Event::Exec { .. } => "exec",
        Event::Subsystem { .. } => "subsystem",
        Event::ExitStatus(_) => "exit_status",
        Event::ExitSignal { .. } => "exit_signal",
        Event::LimitReached { .. } => "limit_reached",
        Event::Unrecorded { .. } => "unrecorded",
        Event::Closed => "closed",
        Event::Forward { .. } => "forward",
        Event::Gap { .. } => "gap",
        Event::FileOperation(_) => "file_operation",
        Event::TransferSummary(_) => "transfer_summary",
        Event::Environment { .. } => "environment",
        Event::ForwardEnd { .. } => "forward_end",
        Event::WithheldInput { .. } => "withheld_input",
        Event::Digest { .. } => "digest",
        Event::Unknown { .. } => "unknown",
    }
}
