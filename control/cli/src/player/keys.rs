//! The keys of the player, out of the bytes that a terminal sends for them.

/// What somebody asks the player to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Pause,
    Step,
    Back,
    Forward,
    Faster,
    Slower,
    /// To this tenth of the recording, 0 to 9.
    Tenth(u8),
    Quit,
}

/// Decodes keys, and passes over everything else that a terminal may send: reports, pastes, unknown keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC [` or `ESC O`; whether parameters came.
    Sequence {
        plain: bool,
    },
    /// A string that the terminal answers with, up to BEL or ST.
    Answer,
    AnswerEscape,
}

impl Keys {
    /// The next key in `bytes`, with the number of bytes that were used up.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> (Option<Key>, usize) {
        for (index, &byte) in bytes.iter().enumerate() {
            if let Some(key) = self.byte(byte) {
                return (Some(key), index + 1);
            }
        }
        (None, bytes.len())
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        let (state, key) = match (self.state, byte) {
            (State::Answer, 0x1b) => (State::AnswerEscape, None),
            (State::Answer, 0x07) | (State::AnswerEscape, _) => (State::Ground, None),
            (State::Answer, _) => (State::Answer, None),
            (_, 0x1b) => (State::Escape, None),
            (State::Escape, b'[' | b'O') => (State::Sequence { plain: true }, None),
            (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => (State::Answer, None),
            (State::Escape, _) => (State::Ground, None),
            (State::Sequence { .. }, 0x20..=0x3f) => (State::Sequence { plain: false }, None),
            (State::Sequence { plain }, byte) => (State::Ground, plain.then(|| arrow(byte)).flatten()),
            (State::Ground, byte) => (State::Ground, character(byte)),
        };
        self.state = state;
        key
    }
}

fn arrow(last: u8) -> Option<Key> {
    match last {
        b'A' => Some(Key::Faster),
        b'B' => Some(Key::Slower),
        b'C' => Some(Key::Forward),
        b'D' => Some(Key::Back),
        b'H' => Some(Key::Tenth(0)),
        _ => None,
    }
}

fn character(byte: u8) -> Option<Key> {
    match byte {
        b' ' => Some(Key::Pause),
        b'.' => Some(Key::Step),
        b'+' | b'=' | b'>' => Some(Key::Faster),
        b'-' | b'<' => Some(Key::Slower),
        b'0'..=b'9' => Some(Key::Tenth(byte - b'0')),
        // ^C, ^D, ^\ and the letter.
        b'q' | b'Q' | 0x03 | 0x04 | 0x1c => Some(Key::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (key, used) = keys.decode(bytes);
            found.extend(key);
            bytes = &bytes[used..];
        }
        found
    }

    #[test]
    fn keys_are_told_from_reports_of_the_terminal() {
        assert_eq!(
            all(b" .\x1b[C\x1b[D\x1bOAq"),
            [
                Key::Pause,
                Key::Step,
                Key::Forward,
                Key::Back,
                Key::Faster,
                Key::Quit
            ]
        );
        // Cursor position, device attributes, mouse, focus, OSC and DCS answers, a function key: nothing.
        let reports =
            b"\x1b[24;80R\x1b[?62;c\x1b[<0;3;4M\x1b[I\x1b]11;rgb:0/0/0\x07\x1bP1$r0m\x1b\\\x1b[15~\x1b[1;5C";
        assert_eq!(all(reports), []);
        assert_eq!(all(b"7\x03"), [Key::Tenth(7), Key::Quit]);
    }

    #[test]
    fn a_key_may_come_in_pieces() {
        let mut keys = Keys::default();
        assert_eq!(keys.decode(b"\x1b"), (None, 1));
        assert_eq!(keys.decode(b"["), (None, 1));
        assert_eq!(keys.decode(b"C "), (Some(Key::Forward), 1));
    }
}
