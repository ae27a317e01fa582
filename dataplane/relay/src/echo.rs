//! Which of what is typed on a terminal was shown on it.
//!
//! Whether the far terminal echoes cannot be asked from here, and a shell that edits its own line echoes by itself. So the proof is
//! what comes back. What was typed waits, line by line, until each character of it has come back **as the next thing that was
//! written**, and its line end as a new line after that:
//!
//! ```text
//!              every character came back next, then a new line
//!   waiting ────────────────────────────────────────────────────▶ shown
//!      │
//!      │ anything else was written first, nothing for PAUSE, or the line is too long
//!      └─────────▶ withheld, to the end of the line: only counted
//! ```
//!
//! Invariant: what is called shown has been written by the target, in that order. So a record of it holds nothing that the record
//! of the output does not hold.
//!
//! In doubt it is withheld:
//! - A password at a prompt without echo: nothing comes back, and then a new line or a text that begins otherwise. At one that
//!   shows `*`: another character came back; and a line that is nothing but one sign, over and over, is taken for such a mask.
//! - Typed ahead: where the terminal echoed, it did so at once, and that was seen. Where it did not (a shell that edits its line, a
//!   prompt that was about to turn the echo off), the next thing written is something else.
//! - Cursor keys, editing and other control functions (ECMA-48) need not come back and stay with their line; what a shell writes
//!   after one (a completion, a line of its history) is not held against the line. Without one, a text that comes in between is.
//!   Functions that carry text (strings, keys told as numbers) withhold their line.
//! - A pasted block is lines as any other. Full-screen programs redraw, which is no echo. Shells that colour the line or suggest
//!   one rewrite it, which is none either.
//! - Characters are compared byte by byte, so it does not matter where UTF-8 is divided.
//!
//! Memory: [`PENDING_MAX`] bytes and a byte for each, given back when nothing waits; overwritten before.

mod functions;
#[cfg(test)]
mod tests;

use std::time::Duration;

use zeroize::Zeroizing;

use self::functions::{Key, Keys, Mark, Screen};

/// Bytes that may wait. What people type on a line is shorter, and the kernel's own line editing ends at 4,095 (termios(3)).
pub const PENDING_MAX: usize = 4096;

/// How long what was typed may stay without an answer. An echo takes a round trip to the target and a shell's turn; after two
/// seconds whoever types sees that nothing comes.
pub const PAUSE: Duration = Duration::from_secs(2);

/// What became of some of what was typed, in the order of typing.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was shown: these bytes, with the control functions among them.
    Shown(Box<[u8]>),
    /// It was not, or not for certain: so many bytes.
    Withheld(u64),
}

impl std::fmt::Debug for Verdict {
    /// Prints no byte of what was typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Shown(bytes) => write!(f, "Shown({} bytes)", bytes.len()),
            Verdict::Withheld(bytes) => write!(f, "Withheld({bytes} bytes)"),
        }
    }
}

/// One terminal's input that waits for its echo. Times are those of its caller and never decrease.
pub struct Echo {
    pending: Pending,
    /// Bytes of the pending ones that have been answered, or need no answer.
    answered: usize,
    line: Line,
    /// Bytes of the line that is withheld, until its end.
    skipped: Option<u64>,
    /// A terminal that was asked for without echo has to show one line first.
    is_trusted: bool,
    /// A blank was written that nobody typed: the first half of a wrapped line or of an erased character.
    blank: bool,
    /// The last thing written was what answered a character.
    at_answer: bool,
    /// The last thing written was a new line that answered one.
    at_new_line: bool,
    keys: Keys,
    screen: Screen,
    last: Duration,
}

/// What has been seen of the line that is being typed, also of its parts that are no longer pending.
#[derive(Default)]
struct Line {
    /// A character of it came back.
    is_shown: bool,
    /// A control function was typed in it.
    is_edited: bool,
}

impl std::fmt::Debug for Echo {
    /// Prints no byte of what was typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Echo")
            .field("pending", &self.pending.len())
            .field("answered", &self.answered)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

impl Echo {
    /// A terminal on which nothing was typed. `is_on`: the client asked for one that echoes (RFC 4254 §8, `ECHO`). One that does
    /// not is believed to after a whole line was seen to come back; that line is still withheld.
    pub fn new(is_on: bool) -> Echo {
        Echo {
            pending: Pending::default(),
            answered: 0,
            line: Line::default(),
            skipped: None,
            is_trusted: is_on,
            blank: false,
            at_answer: false,
            at_new_line: false,
            keys: Keys::default(),
            screen: Screen::default(),
            last: Duration::ZERO,
        }
    }

    /// The user typed `data` at `at`.
    pub fn typed(&mut self, at: Duration, data: &[u8], verdicts: &mut Vec<Verdict>) {
        self.settle(at, verdicts);
        for &byte in data {
            self.key(byte, verdicts);
        }
    }

    /// The target wrote `data` at `at`.
    pub fn written(&mut self, at: Duration, data: &[u8], verdicts: &mut Vec<Verdict>) {
        self.settle(at, verdicts);
        let mut rest = data;
        while self.is_awaiting() {
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            rest = after;
            match self.screen.mark(byte) {
                Mark::Character => self.character(byte, verdicts),
                Mark::NewLine => self.new_line(byte, verdicts),
                Mark::Back => (self.blank, self.at_answer) = (false, false),
                Mark::Nothing => {}
            }
        }
        // Whatever comes while nothing waits is no answer.
        if !rest.is_empty() {
            (self.blank, self.at_answer, self.at_new_line) = (false, false, false);
            self.screen.skip(rest);
        }
    }

    /// The terminal is gone.
    pub fn close(&mut self, verdicts: &mut Vec<Verdict>) {
        while !self.pending.is_empty() {
            match self.answered == self.pending.len() && self.line.is_shown {
                true => self.judge(verdicts),
                false => self.withhold(verdicts),
            }
        }
        if let Some(bytes) = self.skipped.take() {
            withheld(bytes, verdicts);
        }
    }

    /// Whether anything written now says something about what was typed.
    fn is_awaiting(&self) -> bool {
        !self.pending.is_empty() || self.line.is_shown
    }

    /// Nothing happened since the last time: whatever waited for an answer has waited long enough or not.
    fn settle(&mut self, at: Duration, verdicts: &mut Vec<Verdict>) {
        let is_over = at.saturating_sub(self.last) >= PAUSE;
        self.last = self.last.max(at);
        if !is_over || self.pending.is_empty() {
            return;
        }
        if self.answered < self.pending.len() {
            self.withhold(verdicts);
        } else if self.line.is_shown {
            // The line goes on; what stands of it is told meanwhile.
            self.blank = false;
            self.judge(verdicts);
        }
    }

    fn key(&mut self, byte: u8, verdicts: &mut Vec<Verdict>) {
        let key = self.keys.key(byte);
        if let Some(bytes) = &mut self.skipped {
            *bytes += 1;
            if key.ends_line() {
                withheld(*bytes, verdicts);
                (self.skipped, self.line) = (None, Line::default());
            }
            return;
        }
        self.pending.push(byte, key);
        if self.pending.len() > PENDING_MAX {
            return self.withhold(verdicts);
        }
        self.go_on(verdicts);
    }

    /// Passes over what needs no answer.
    fn go_on(&mut self, verdicts: &mut Vec<Verdict>) {
        loop {
            match self.pending.key(self.answered) {
                Some(Key::Function) => {
                    self.answered += 1;
                    self.line.is_edited = true;
                }
                Some(Key::Break) => {
                    self.answered += 1;
                    self.judge(verdicts);
                    self.line = Line::default();
                }
                // When its turn has come.
                Some(Key::Opaque) => self.drop_line(verdicts),
                Some(Key::Character | Key::Enter) | None => return,
            }
        }
    }

    /// A character was written.
    fn character(&mut self, byte: u8, verdicts: &mut Vec<Verdict>) {
        (self.at_answer, self.at_new_line) = (false, false);
        let was_blank = std::mem::take(&mut self.blank);
        match self.pending.key(self.answered) {
            _ if was_blank => self.withhold(verdicts),
            Some(Key::Character) if self.pending.byte(self.answered) == byte => {
                self.answered += 1;
                self.line.is_shown = true;
                self.at_answer = true;
                self.go_on(verdicts);
            }
            None if self.pending.is_empty() => {
                // Told up to here. What comes now may be a question, and its answer is another matter.
                self.line = Line::default();
            }
            None if self.line.is_edited => {}
            _ if byte == b' ' => self.blank = true,
            _ => self.withhold(verdicts),
        }
    }

    /// CR or LF was written.
    fn new_line(&mut self, byte: u8, verdicts: &mut Vec<Verdict>) {
        // readline wraps a line by writing a blank beyond it and returning to the new line's begin; or, where it has the next
        // character already, that character, which it then writes again.
        let is_wrapped = std::mem::take(&mut self.blank);
        let is_answer = std::mem::take(&mut self.at_answer);
        if byte == b'\r' && (is_wrapped || (is_answer && self.take_back())) {
            return;
        }
        match self.pending.key(self.answered) {
            Some(_) if is_wrapped => self.withhold(verdicts),
            // CR LF is one, and a shell may write more of them.
            _ if self.at_new_line => {}
            Some(Key::Enter) => {
                self.answered += 1;
                let was_shown = self.line.is_shown;
                self.judge(verdicts);
                self.is_trusted |= was_shown;
                self.line = Line::default();
                self.at_new_line = true;
                self.go_on(verdicts);
            }
            Some(_) => self.withhold(verdicts),
            None => {}
        }
    }

    /// The last character that was answered waits once more, unless the line's end is what comes next. Less is called shown by
    /// that, never more.
    fn take_back(&mut self) -> bool {
        match self.pending.key(self.answered) {
            Some(Key::Character) => {}
            None if !self.line.is_edited => {}
            _ => return false,
        }
        let Some(begin) = self.pending.character_before(self.answered) else {
            return false;
        };
        self.answered = begin;
        true
    }

    /// Tells of all that has been answered.
    fn judge(&mut self, verdicts: &mut Vec<Verdict>) {
        let count = self.answered;
        match self.line.is_shown && self.is_trusted && !self.pending.is_mask(count) {
            true => verdicts.push(Verdict::Shown(self.pending.bytes(count).into())),
            false => withheld(count as u64, verdicts),
        }
        self.drop_first(count);
    }

    /// The first line that waits was not answered as an echo answers.
    fn withhold(&mut self, verdicts: &mut Vec<Verdict>) {
        self.drop_line(verdicts);
        self.go_on(verdicts);
    }

    fn drop_line(&mut self, verdicts: &mut Vec<Verdict>) {
        self.blank = false;
        self.line = Line::default();
        match self.pending.end_of_line() {
            Some(end) => {
                withheld(end as u64, verdicts);
                self.drop_first(end);
            }
            None => {
                self.skipped = Some(self.pending.len() as u64);
                self.drop_first(self.pending.len());
            }
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.pending.drop_first(count);
        self.answered = self.answered.saturating_sub(count);
    }
}

/// Adds to the last verdict where it says the same.
fn withheld(bytes: u64, verdicts: &mut Vec<Verdict>) {
    match verdicts.last_mut() {
        Some(Verdict::Withheld(before)) => *before += bytes,
        _ => verdicts.push(Verdict::Withheld(bytes)),
    }
}

/// What was typed and waits, with what each byte is.
#[derive(Default)]
struct Pending {
    bytes: Zeroizing<Vec<u8>>,
    keys: Vec<Key>,
}

impl Pending {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn key(&self, at: usize) -> Option<Key> {
        self.keys.get(at).copied()
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    fn bytes(&self, count: usize) -> &[u8] {
        &self.bytes[..count]
    }

    /// Where the character begins, in UTF-8, that ends at `end`.
    fn character_before(&self, end: usize) -> Option<usize> {
        let is_continued = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let tail = self.bytes[..end].iter().rev().take(3);
        let begin = end.checked_sub(1 + tail.take_while(|byte| is_continued(byte)).count())?;
        let is_text = self.keys[begin..end].iter().all(|key| *key == Key::Character);
        is_text.then_some(begin)
    }

    fn push(&mut self, byte: u8, key: Key) {
        if self.bytes.len() == self.bytes.capacity() {
            // A vector that grows by itself leaves what it held where it was.
            let mut larger = Zeroizing::new(Vec::with_capacity((self.bytes.len() * 2).max(64)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.push(byte);
        self.keys.push(key);
    }

    fn drop_first(&mut self, count: usize) {
        if count == self.bytes.len() {
            *self = Pending::default();
            return;
        }
        let left = self.bytes.len() - count;
        self.bytes.copy_within(count.., 0);
        self.bytes[left..].fill(0);
        self.bytes.truncate(left);
        self.keys.drain(..count);
    }

    /// Where the line after the first begins.
    fn end_of_line(&self) -> Option<usize> {
        self.keys.iter().position(|key| key.ends_line()).map(|at| at + 1)
    }

    /// Whether the characters among the first `count` bytes are one and the same sign: a prompt that masks a password looks so
    /// to whoever has such a password.
    fn is_mask(&self, count: usize) -> bool {
        let pairs = self.bytes.iter().zip(&self.keys).take(count);
        let characters = pairs.filter(|(_, key)| **key == Key::Character);
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(characters.map(|(byte, _)| *byte).collect());
        let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
        let mut characters = text.chars();
        characters
            .next()
            .is_some_and(|first| !first.is_alphanumeric() && characters.all(|next| next == first))
    }
}
