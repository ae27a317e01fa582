//! How a command ends: exit status 0, 1 or 2, and one sentence on standard error.

use std::io;
use std::process::ExitCode;

/// The request as typed can never succeed: exit status 2.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The reader of our standard output has seen enough: the end of the command, but no failure.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl std::fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output was closed by its reader")
    }
}

impl std::error::Error for OutputClosed {}

/// An error for which the command line is to blame.
pub(crate) fn usage(sentence: impl Into<String>) -> anyhow::Error {
    Usage(sentence.into()).into()
}

/// The control plane's refusal, in its own words.
pub(crate) fn refusal(status: tonic::Status) -> anyhow::Error {
    let message = printable(status.message());
    match status.code() {
        tonic::Code::InvalidArgument => Usage(message).into(),
        tonic::Code::Unavailable | tonic::Code::Unknown if message.is_empty() || is_transport(&status) => {
            anyhow::anyhow!("the connection to weir ended before its answer came: see its log, and try again")
        }
        tonic::Code::Unimplemented => {
            anyhow::anyhow!("the running weir does not know this request: restart it with this version")
        }
        _ => anyhow::anyhow!(message),
    }
}

fn is_transport(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Reports the end of the command and gives its exit status.
pub(crate) fn conclude(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if is_output_closed(&error) {
        return ExitCode::SUCCESS;
    }
    // Standard error may be gone too; then nobody is left to tell.
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("weir: {}\n", sentence(&error)).as_bytes(),
    );
    ExitCode::from(if is_usage(&error) { 2 } else { 1 })
}

/// Whether the command line is to blame.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<Usage>()
}

/// The chain of an error as one line.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many errors tell their source's text within their own.
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    printable(&line)
}

/// Whether the command ended because nobody reads its output any more.
pub(crate) fn is_output_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<OutputClosed>())
    })
}

/// Text of strangers, fit for a terminal: control characters are shown, not obeyed.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_becomes_one_line_without_repeats() {
        let error = anyhow::anyhow!("no such file")
            .context("reading a: no such file")
            .context("no answer");
        assert_eq!(sentence(&error), "no answer: reading a: no such file");
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("grüße"), "grüße");
    }

    #[test]
    fn usage_is_told_from_failure() {
        let refused = refusal(tonic::Status::invalid_argument(
            "got port 0 while expecting 1 to 65535",
        ));
        assert!(refused.is::<Usage>());
        let missing = refusal(tonic::Status::not_found("got node x, which does not exist"));
        assert!(!missing.is::<Usage>());
        assert_eq!(sentence(&missing), "got node x, which does not exist");
    }
}
