//! The old protocol of scp, followed: what `scp -O` speaks (scp.c, `source` and `sink`).
//!
//! ```text
//!  sender    C0644 5 name\n ──┐          hello\0 ──┐       D0755 0 dir\n … E\n    \1 message\n
//!                             ▼ Head               ▼ Sent
//!  receiver  \0           \0, or \1 why\n       \0, or \1 why\n         \0, \0    (not answered)
//! ```
//!
//! Each end waits for the other, so what the sender means by its next byte hangs on the receiver's last answer: after a
//! refusal of a file another line follows, and not the file. A sender that does not wait is believed to send the file, and
//! is given up if it turns out that the file had been refused.

mod answers;
mod line;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::Fault;
use super::content::{Content, Flow};
use super::program::ScpHalf;
use super::report::{FileAction, FileName, FileOperation, Outcome};
use super::teller::Teller;
use crate::{SessionEvent, Side};

use answers::{Answer, Answers};
use line::{Directories, Line};

/// Answers that a sender may have outstanding. An honest one waits for each.
const AWAITED_MAX: usize = 64;

/// `SSH_FX_FAILURE`: the protocol has words and no codes.
const FAILURE: u32 = 4;

/// The decoder of one scp channel.
pub(super) struct Scp {
    sender: Side,
    /// What the command named on the target.
    argument: FileName,
    wants_hashes: bool,
    at: At,
    line: Vec<u8>,
    directories: Directories,
    /// The file whose head has been sent last, until its end has.
    current: Option<Sending>,
    /// What the receiver has still to answer, in order.
    awaited: VecDeque<Awaited>,
    answers: Answers,
}

/// What the sender's next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Of a line.
    Line,
    /// Of a file, of which so many are to come.
    Data(u64),
    /// Whether the file was read without an error.
    Verdict,
    /// Of the words about an error.
    Words,
}

/// A file under way.
struct Sending {
    path: FileName,
    passed: u64,
    content: Content,
    /// What went wrong, in the words of whoever said so.
    failure: Option<String>,
    is_accepted: bool,
}

/// What an answer will be about.
enum Awaited {
    /// The receiver begins by saying that it is there.
    Ready,
    /// A line that has no name: times, or the end of a directory.
    Line,
    Directory(FileName),
    /// The head of the current file.
    Head,
    /// A file that was sent whole.
    Sent(Sending),
}

impl Scp {
    pub(super) fn new(half: &ScpHalf<'_>, wants_hashes: bool) -> Scp {
        Scp {
            sender: half.sender,
            argument: half.argument(),
            wants_hashes,
            at: At::Line,
            line: Vec::new(),
            directories: Directories::default(),
            current: None,
            awaited: VecDeque::from([Awaited::Ready]),
            answers: Answers::default(),
        }
    }

    pub(super) fn data(
        &mut self,
        from: Side,
        mut data: &[u8],
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Fault> {
        if from != self.sender {
            while let Some(answer) = self.answers.next(&mut data) {
                self.answered(answer, teller, events)?;
            }
            return Ok(());
        }
        // Each turn takes a byte, but for the end of a file's bytes.
        while !data.is_empty() {
            match self.at {
                At::Line | At::Words => {
                    if line::gather(&mut self.line, &mut data)? {
                        let line = std::mem::take(&mut self.line);
                        self.said(&line, teller, events)?;
                    }
                }
                At::Data(0) => self.at = At::Verdict,
                At::Data(left) => {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                    let (piece, rest) = data.split_at(wanted.min(data.len()));
                    data = rest;
                    self.at = At::Data(left - piece.len() as u64);
                    self.passes(piece, teller);
                }
                At::Verdict => {
                    let (&verdict, rest) = data.split_first().expect("there is data");
                    data = rest;
                    match verdict {
                        0 => self.sent(None)?,
                        _ => self.at = At::Words,
                    }
                }
            }
        }
        Ok(())
    }

    /// A whole line of the sender's.
    fn said(
        &mut self,
        line: &[u8],
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Fault> {
        if self.at == At::Words {
            return self.sent(Some(String::from_utf8_lossy(line).into_owned()));
        }
        match Line::read(line)? {
            Line::Times => self.await_answer(Awaited::Line),
            Line::End => {
                self.directories.leave();
                self.await_answer(Awaited::Line)
            }
            Line::Directory(name) => {
                self.directories.enter(name)?;
                let path = self.directories.path();
                self.await_answer(Awaited::Directory(path))
            }
            Line::File { size, name } => {
                self.current = Some(Sending {
                    path: self.directories.below(name),
                    passed: 0,
                    content: Content::new(self.wants_hashes, true),
                    failure: None,
                    is_accepted: false,
                });
                self.at = At::Data(size);
                self.await_answer(Awaited::Head)
            }
            // Not answered, and about no file that was begun.
            Line::Error(words) => {
                teller.totals.failures += 1;
                let mut operation = self.operation(FileAction::File, FileName::default(), teller);
                operation.outcome = Outcome::Failed(FAILURE);
                operation.note = words;
                teller.tell(operation, events);
                Ok(())
            }
        }
    }

    fn passes(&mut self, piece: &[u8], teller: &mut Teller) {
        let bytes = piece.len() as u64;
        let total = match self.sender {
            Side::Client => &mut teller.totals.bytes_written,
            Side::Target => &mut teller.totals.bytes_read,
        };
        *total = total.saturating_add(bytes);
        if let Some(file) = &mut self.current {
            let (flow, offset) = (Flow::Write, file.passed);
            file.passed = file.passed.saturating_add(bytes);
            if file.content.begin(flow, offset) {
                file.content.update(piece);
            }
        }
    }

    /// The sender has nothing more of the file.
    fn sent(&mut self, failure: Option<String>) -> Result<(), Fault> {
        self.at = At::Line;
        let Some(mut file) = self.current.take() else {
            return Ok(());
        };
        file.failure = failure;
        self.await_answer(Awaited::Sent(file))
    }

    fn await_answer(&mut self, awaited: Awaited) -> Result<(), Fault> {
        if self.awaited.len() >= AWAITED_MAX {
            return Err(Fault::new(format!(
                "does not wait for the other: {AWAITED_MAX} answers are due"
            )));
        }
        self.awaited.push_back(awaited);
        Ok(())
    }

    /// The receiver's next answer.
    fn answered(
        &mut self,
        answer: Answer,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Fault> {
        let Some(awaited) = self.awaited.pop_front() else {
            teller.totals.unmatched += 1;
            return Ok(());
        };
        let refusal = match answer {
            Answer::Yes => None,
            Answer::No(words) => {
                teller.totals.failures += 1;
                Some(words)
            }
        };
        match awaited {
            Awaited::Ready => {}
            Awaited::Line => teller.totals.operations += 1,
            Awaited::Directory(path) => {
                teller.totals.operations += 1;
                let action = match self.sender {
                    Side::Client => FileAction::Mkdir,
                    Side::Target => FileAction::Opendir,
                };
                if refusal.is_some() {
                    self.directories.leave();
                }
                let operation = self.operation(action, path, teller);
                tell_with(operation, refusal, teller, events);
            }
            Awaited::Head => {
                teller.totals.operations += 1;
                return self.head_answered(refusal, teller, events);
            }
            Awaited::Sent(mut file) => {
                teller.totals.operations += 1;
                let failure = file.failure.take().or(refusal);
                self.tell_file(file, failure, teller, events);
            }
        }
        Ok(())
    }

    fn head_answered(
        &mut self,
        refusal: Option<String>,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Fault> {
        let begun = self.current.as_ref().map(|file| file.passed);
        match (refusal, begun) {
            (None, _) => {
                if let Some(file) = &mut self.current {
                    file.is_accepted = true;
                }
            }
            // It was refused before it was begun: the sender goes on with another line.
            (Some(words), Some(0)) if matches!(self.at, At::Data(_)) => {
                self.at = At::Line;
                if let Some(file) = self.current.take() {
                    self.tell_file(file, Some(words), teller, events);
                }
            }
            (Some(_), _) => {
                return Err(Fault::new("refused a file of which something had been sent"));
            }
        }
        Ok(())
    }

    fn tell_file(
        &self,
        mut file: Sending,
        failure: Option<String>,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) {
        let is_refused = !file.is_accepted;
        if failure.is_some() || is_refused {
            // Bytes that the sender made up, or the receiver did not keep.
            file.content.spoil();
        }
        let operation = self.file(file, teller);
        tell_with(operation, failure, teller, events);
    }

    /// A file with what is known of it.
    fn file(&self, file: Sending, teller: &Teller) -> FileOperation {
        let mut operation = self.operation(FileAction::File, file.path, teller);
        match self.sender {
            Side::Client => operation.bytes_written = file.passed,
            Side::Target => operation.bytes_read = file.passed,
        }
        operation.content = file.content.finish(file.passed == 0);
        operation
    }

    fn operation(&self, action: FileAction, path: FileName, teller: &Teller) -> FileOperation {
        let mut operation = teller.operation(action);
        operation.path = path;
        operation.target = self.argument.clone();
        if action == FileAction::File {
            operation.reads = self.sender == Side::Target;
            operation.writes = self.sender == Side::Client;
        }
        operation
    }
}

impl Scp {
    /// The channel has ended: tells what was not finished.
    pub(super) fn finish(&mut self, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        let sent: Vec<Sending> = std::mem::take(&mut self.awaited)
            .into_iter()
            .filter_map(|awaited| match awaited {
                Awaited::Sent(file) => Some(file),
                _ => None,
            })
            .chain(self.current.take())
            .collect();
        for mut file in sent {
            file.content.spoil();
            let mut operation = self.file(file, teller);
            operation.outcome = Outcome::Unfinished;
            teller.tell(operation, events);
        }
    }
}

fn tell_with(
    mut operation: FileOperation,
    failure: Option<String>,
    teller: &mut Teller,
    events: &mut Vec<SessionEvent>,
) {
    if let Some(words) = failure {
        operation.outcome = Outcome::Failed(FAILURE);
        operation.note = words;
    }
    teller.tell(operation, events);
}
