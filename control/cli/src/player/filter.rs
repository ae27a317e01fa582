//! What a recording may do to the terminal that replays it.
//!
//! A recording is whatever the far side printed, and its author may have hoped for a replay: escape sequences can ask
//! the terminal to answer as if somebody typed, put text on the clipboard, resize the window or leave mouse reports
//! switched on. What draws passes as it is; what reaches past the picture is taken out.
//!
//! ```text
//! Ground ──ESC──▶ Escape ──[──▶ Csi ──final──▶ Ground          kept unless `reaches_out`
//!    ▲              │ ├──]──▶ Osc ──BEL, ST──▶ Ground           kept: title (0, 1, 2), hyperlink (8)
//!    └──any other───┘ └─P X ^ _─▶ Dropped ──ST──▶ Ground        device control, application strings
//! ```
//!
//! Invariant: a sequence is written as a whole or not at all, also where it is split over events.

/// Passes recorded output on, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The sequence so far, in the states that end with a decision.
    held: Vec<u8>,
    /// The alternate screen is on.
    alternate: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After 0xc2, which begins the UTF-8 form of the 8-bit controls U+0080 to U+009F.
    Latin,
    Escape,
    Csi,
    Osc,
    OscEscape,
    Dropped,
    DroppedEscape,
}

/// Longer sequences draw nothing that anybody wrote on purpose; hyperlinks are the longest that do.
const LONGEST: usize = 4096;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

impl Filter {
    /// Appends to `out` what of `input` may be shown.
    pub(crate) fn pass(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            self.byte(byte, out);
        }
    }

    /// Whether the alternate screen is on after what has passed.
    pub(crate) fn is_alternate(&self) -> bool {
        self.alternate
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Ground => self.ground(byte, out),
            State::Latin => {
                self.state = State::Ground;
                if !(0x80..0xa0).contains(&byte) {
                    out.push(0xc2);
                    self.ground(byte, out);
                }
            }
            // These two end any sequence, and a new ESC begins the next.
            State::Escape | State::Csi if matches!(byte, CAN | SUB) => self.state = State::Ground,
            State::Escape | State::Csi if byte == ESC => self.begin(),
            State::Escape => self.escape(byte, out),
            State::Csi => self.csi(byte, out),
            State::Osc => match byte {
                BEL => self.end_of_osc(b"\x07", out),
                ESC => self.state = State::OscEscape,
                CAN | SUB => self.state = State::Ground,
                _ => self.hold(byte),
            },
            State::OscEscape if byte == b'\\' => self.end_of_osc(b"\x1b\\", out),
            State::Dropped => match byte {
                ESC => self.state = State::DroppedEscape,
                CAN | SUB => self.state = State::Ground,
                _ => {}
            },
            State::DroppedEscape if byte == b'\\' => self.state = State::Ground,
            State::OscEscape | State::DroppedEscape => {
                self.begin();
                self.byte(byte, out);
            }
        }
    }

    fn ground(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            ESC => self.begin(),
            0xc2 => self.state = State::Latin,
            // ENQ: the terminal answers with its answerback text.
            0x05 => {}
            _ => out.push(byte),
        }
    }

    fn begin(&mut self) {
        self.held.clear();
        self.held.push(ESC);
        self.state = State::Escape;
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        match byte {
            b'[' => self.state = State::Csi,
            b']' => self.state = State::Osc,
            b'P' | b'X' | b'^' | b'_' => self.state = State::Dropped,
            // Intermediate bytes: a character set or an alignment test follows.
            b' '..=b'/' if self.held.len() < 4 => {}
            _ => {
                // DECID asks the terminal who it is.
                if byte != b'Z' {
                    out.extend_from_slice(&self.held);
                }
                // RIS also leaves the alternate screen.
                if byte == b'c' {
                    self.alternate = false;
                }
                self.state = State::Ground;
            }
        }
    }

    fn csi(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            // Parameters and intermediates.
            0x20..=0x3f => self.hold(byte),
            0x40..=0x7e => {
                self.held.push(byte);
                self.state = State::Ground;
                if !self.reaches_out() {
                    self.note_alternate();
                    out.extend_from_slice(&self.held);
                }
            }
            // A control character in the middle acts as if it stood before.
            0x00..=0x1f => self.ground_within(byte, out),
            _ => self.state = State::Ground,
        }
    }

    fn ground_within(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte != 0x05 {
            out.push(byte);
        }
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() < LONGEST {
            self.held.push(byte);
        } else {
            self.state = if self.state == State::Osc {
                State::Dropped
            } else {
                State::Ground
            };
        }
    }

    /// Whether the control sequence in `held` makes the terminal answer, or acts on more than the picture.
    fn reaches_out(&self) -> bool {
        let Some((&last, rest)) = self.held.split_last() else {
            return false;
        };
        let parameters = &rest[2..];
        let private = parameters
            .first()
            .copied()
            .filter(|byte| (b'<'..=b'?').contains(byte));
        let intermediate = parameters
            .iter()
            .copied()
            .rfind(|byte| (0x20..0x30).contains(byte));
        match (last, private, intermediate) {
            // DA, DSR, DECREQTPARM, window operations and reports, media copy to a printer.
            (b'c' | b'n' | b'x' | b't' | b'i', _, None) => true,
            // DECRQM, DECRQCRA and the other requests for checksums and presentation reports.
            (b'p' | b'w' | b'u', _, Some(b'$' | b'&')) | (b'y', _, Some(b'*')) => true,
            // XTVERSION; and modifyOtherKeys and the Kitty protocol, which change what the keys of the player send.
            (b'q' | b'm', Some(b'>'), None) | (b'u', Some(_), None) => true,
            (b'm', Some(b'?'), None) => true,
            (b'h' | b'l' | b's' | b'r', Some(b'?'), None) => self.switches_reports(&parameters[1..]),
            _ => false,
        }
    }

    /// DEC private modes after which the terminal sends more than keys: focus and mouse reports, bracketed paste,
    /// size and colour-scheme reports, application keypad and cursor keys.
    fn switches_reports(&self, parameters: &[u8]) -> bool {
        parameters.split(|&byte| byte == b';').any(|mode| {
            matches!(
                mode,
                b"1" | b"9"
                    | b"66"
                    | b"1000"
                    | b"1001"
                    | b"1002"
                    | b"1003"
                    | b"1004"
                    | b"1005"
                    | b"1006"
                    | b"1015"
                    | b"1016"
                    | b"2004"
                    | b"2031"
                    | b"2048"
                    | b"9001"
            )
        })
    }

    fn note_alternate(&mut self) {
        let on = match self.held.last() {
            Some(b'h') => true,
            Some(b'l') => false,
            _ => return,
        };
        let modes = self.held.strip_prefix(b"\x1b[?").unwrap_or_default();
        let modes = &modes[..modes.len().saturating_sub(1)];
        if modes
            .split(|&byte| byte == b';')
            .any(|mode| matches!(mode, b"47" | b"1047" | b"1049"))
        {
            self.alternate = on;
        }
    }

    fn end_of_osc(&mut self, terminator: &[u8], out: &mut Vec<u8>) {
        self.state = State::Ground;
        let text = self.held.get(2..).unwrap_or_default();
        let number = text.split(|&byte| byte == b';').next().unwrap_or_default();
        if matches!(number, b"0" | b"1" | b"2" | b"8") {
            out.extend_from_slice(&self.held);
            out.extend_from_slice(terminator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Filter::default().pass(input, &mut out);
        out
    }

    #[test]
    fn what_draws_passes_as_it_is() {
        for text in [
            "plain text\r\n\ttab \u{fc}\u{2500}\u{a0}\u{1f600}".as_bytes(),
            b"\x1b[1;31mred\x1b[0m\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[38;2;1;2;3m\x1b[4:3m",
            b"\x1b[?1049h\x1b[?25l\x1b[?7h\x1b[?1049l\x1b[!p\x1b[2 q\x1b[3;20r",
            b"\x1b(0lqk\x1b(B\x1b7\x1b8\x1bM\x1bD\x1b#8\x1b=\x1b>\x1b[s\x1b[u",
            b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
        ] {
            assert_eq!(shown(text), text, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_makes_the_terminal_answer_is_taken_out() {
        for text in [
            b"\x05".as_slice(),
            b"\x1b[c",
            b"\x1b[>0c",
            b"\x1b[6n",
            b"\x1b[?6n",
            b"\x1b[5n",
            b"\x1b[21t",
            b"\x1b[8;1;1t",
            b"\x1b[>q",
            b"\x1b[?2004$p",
            b"\x1b[1;1;1;1;1;1*y",
            b"\x1b[>4;2m",
            b"\x1b[?u",
            b"\x1b[>1u",
            b"\x1b[5i",
            b"\x1bZ",
            b"\x1b[?1000h",
            b"\x1b[?1002;1006h",
            b"\x1b[?2004h",
            b"\x1b]52;c;cm0gLXJm\x07",
            b"\x1b]11;?\x1b\\",
            b"\x1b]4;1;?\x07",
            b"\x1bP$qm\x1b\\",
            b"\x1bP+q544e\x1b\\",
            b"\x1b_Gi=1;AAAA\x1b\\",
            b"\x1b^x\x1b\\",
            b"\xc2\x9b6n".get(..2).unwrap(),
        ] {
            let surrounded = [b"a".as_slice(), text, b"b"].concat();
            assert_eq!(shown(&surrounded), b"ab", "{}", text.escape_ascii());
        }
    }

    #[test]
    fn splits_anywhere_change_nothing() {
        let text =
            b"a\x1b[31m\xc3\xbc\xc2\xa0\x1b[6n\x1b]0;t\x1b\\\x1b]52;c;eA==\x07\x1bP$qm\x1b\\z\x1b[?1049h";
        let whole = shown(text);
        for cut in 0..text.len() {
            let mut filter = Filter::default();
            let mut out = Vec::new();
            filter.pass(&text[..cut], &mut out);
            filter.pass(&text[cut..], &mut out);
            assert_eq!(out, whole, "cut at {cut}");
            assert!(filter.is_alternate());
        }
    }

    #[test]
    fn an_endless_sequence_holds_bounded_memory() {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        filter.pass(b"\x1b]0;", &mut out);
        for _ in 0..100 {
            filter.pass(&[b'x'; 1000], &mut out);
        }
        assert!(filter.held.len() <= LONGEST + 1);
        filter.pass(b"\x1b\\seen", &mut out);
        assert_eq!(out, b"seen");
    }

    #[test]
    fn a_broken_sequence_does_not_swallow_the_next() {
        assert_eq!(shown(b"\x1b[3\x1b[31mred"), b"\x1b[31mred");
        assert_eq!(shown(b"\x1b]52;c;x\x1b[31mred"), b"\x1b[31mred");
        assert_eq!(shown(b"\x1b[12\x18plain"), b"plain");
    }
}
