//! Characters and control functions (ECMA-48) apart, in what is typed and in what is written.
//!
//! Bytes from 0x80 on are taken for parts of characters: terminals of today speak UTF-8, in which C1 controls are not single bytes.

const ESC: u8 = 0x1b;

/// What a typed byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It has to come back.
    Character,
    /// Part of a control function that edits or moves; nothing has to come back.
    Function,
    /// The end of a line: a new line has to come back.
    Enter,
    /// The end of a line by interrupt, end of file, suspend or quit; nothing has to come back.
    Break,
    /// Part of a function that carries text, or that is not known.
    Opaque,
}

impl Key {
    pub(super) fn ends_line(self) -> bool {
        matches!(self, Key::Enter | Key::Break)
    }
}

/// Where the typed bytes are within a control function.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Keys {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After SS3: one more byte.
    Single,
    /// After CSI, with bytes and parameters so far.
    Control { bytes: u8, parameters: u8 },
}

/// Longer than any key or report of a terminal is.
const FUNCTION_MAX: u8 = 32;

impl Keys {
    pub(super) fn key(&mut self, byte: u8) -> Key {
        let (next, key) = match (*self, byte) {
            // The end of a line is one wherever it comes, and ESC begins anew.
            (_, b'\r' | b'\n') => (Keys::Text, Key::Enter),
            (_, 0x03 | 0x04 | 0x1a | 0x1c) => (Keys::Text, Key::Break),
            (_, ESC) => (Keys::Escape, Key::Function),
            (Keys::Text, 0x00..=0x1f | 0x7f) => (Keys::Text, Key::Function),
            (Keys::Text, _) => (Keys::Text, Key::Character),
            (Keys::Escape, b'[') => (
                Keys::Control {
                    bytes: 0,
                    parameters: 0,
                },
                Key::Function,
            ),
            (Keys::Escape, b'O') => (Keys::Single, Key::Function),
            // OSC, DCS, SOS, PM and APC carry text, such as a terminal's answers.
            (Keys::Escape, b']' | b'P' | b'X' | b'^' | b'_' | 0x80..) => (Keys::Text, Key::Opaque),
            (Keys::Escape | Keys::Single, 0x00..=0x7f) => (Keys::Text, Key::Function),
            (Keys::Control { bytes, parameters }, 0x20..=0x3f) if bytes < FUNCTION_MAX => (
                Keys::Control {
                    bytes: bytes + 1,
                    parameters: parameters + u8::from(byte == b';'),
                },
                Key::Function,
            ),
            // Cursor and function keys, the borders of a paste, reports of focus and of the cursor's place.
            (Keys::Control { .. }, b'A'..=b'I' | b'P'..=b'S' | b'Z') => (Keys::Text, Key::Function),
            // With three parameters, or with `u`, it is a character told as a number.
            (Keys::Control { parameters, .. }, b'~') if parameters < 2 => (Keys::Text, Key::Function),
            (Keys::Single | Keys::Control { .. }, _) => (Keys::Text, Key::Opaque),
        };
        *self = next;
        key
    }
}

/// What a written byte does to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Part of a character that is shown.
    Character,
    /// CR or LF.
    NewLine,
    /// BS: one place back.
    Back,
    /// Nothing that an echo would be taken for.
    Nothing,
}

/// Where the written bytes are within a control function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Screen {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and intermediate bytes: one final byte follows.
    Intermediate,
    /// After CSI: parameters, then a final byte of 0x40 to 0x7e.
    Control,
    /// After OSC, DCS, SOS, PM or APC: up to ST, or BEL as xterm has it.
    String,
}

impl Screen {
    pub(super) fn mark(&mut self, byte: u8) -> Mark {
        let (next, mark) = match (*self, byte) {
            (_, ESC) => (Screen::Escape, Mark::Nothing),
            (Screen::Text, b'\r' | b'\n') => (Screen::Text, Mark::NewLine),
            (Screen::Text, 0x08) => (Screen::Text, Mark::Back),
            (Screen::Text, 0x00..=0x1f | 0x7f) => (Screen::Text, Mark::Nothing),
            (Screen::Text, _) => (Screen::Text, Mark::Character),
            (Screen::String, 0x07) => (Screen::Text, Mark::Nothing),
            (Screen::String, _) => (Screen::String, Mark::Nothing),
            (Screen::Escape, b'[') => (Screen::Control, Mark::Nothing),
            (Screen::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (Screen::String, Mark::Nothing),
            (Screen::Escape | Screen::Intermediate, 0x20..=0x2f) => (Screen::Intermediate, Mark::Nothing),
            (Screen::Control, 0x00..=0x3f | 0x7f..) => (Screen::Control, Mark::Nothing),
            (Screen::Escape | Screen::Intermediate | Screen::Control, _) => (Screen::Text, Mark::Nothing),
        };
        *self = next;
        mark
    }

    /// Passes over bytes of which only the end matters: within a function, or after the last one that begins.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        let begin = match bytes.iter().rposition(|byte| *byte == ESC) {
            Some(last) => last,
            None if *self == Screen::Text => return,
            None => 0,
        };
        for &byte in &bytes[begin..] {
            self.mark(byte);
        }
    }
}
