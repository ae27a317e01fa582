//! What a receiver says: a zero byte, or words about what went wrong.

/// Bytes that are kept of such words.
const WORDS_MAX: usize = 1024;

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    /// In the receiver's words.
    No(String),
}

/// The answers of one receiver, as they come.
#[derive(Default)]
pub(super) struct Answers {
    words: Vec<u8>,
    in_words: bool,
}

impl Answers {
    /// Takes bytes off the front of `data` until an answer is whole; `None` when all are taken.
    ///
    /// After 1 or 2 come words up to a line's end, and scp takes a line that begins with anything else for words, too
    /// (scp.c, `response`).
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Answer> {
        loop {
            let (&byte, rest) = data.split_first()?;
            *data = rest;
            match (self.in_words, byte) {
                (false, 0) => return Some(Answer::Yes),
                (false, 1 | 2) => self.in_words = true,
                (true, b'\n') | (false, b'\n') => {
                    self.in_words = false;
                    let words = std::mem::take(&mut self.words);
                    return Some(Answer::No(String::from_utf8_lossy(&words).into_owned()));
                }
                (_, byte) => {
                    self.in_words = true;
                    if self.words.len() < WORDS_MAX {
                        self.words.push(byte);
                    }
                }
            }
        }
    }
}
