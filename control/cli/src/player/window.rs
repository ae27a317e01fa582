//! The terminal while somebody watches a session that goes on: what is printed is drawn, and the only keys are those
//! to leave.

use std::io;

use super::filter::Filter;
use super::keys::{Key, Keys};
use super::terminal::{PLAIN_SCREEN, Terminal};
use crate::signals::Signals;

pub(crate) struct Window {
    terminal: Terminal,
    signals: Signals,
    keys: Keys,
    filter: Filter,
    drawn: Vec<u8>,
    /// The last byte that was drawn.
    last: u8,
    is_told: bool,
}

impl Window {
    /// Takes the terminal over, until the value is dropped. Call it within the event loop.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Window {
            // They would otherwise end the process with the terminal still raw.
            signals: Signals::new()?,
            terminal: Terminal::open()?,
            keys: Keys::default(),
            filter: Filter::default(),
            drawn: Vec::new(),
            last: b'\n',
            is_told: false,
        })
    }

    /// Waits until somebody asks to leave, by a key or a signal. Cancelling it loses nothing.
    pub(crate) async fn left(&mut self) -> io::Result<()> {
        let mut buffer = [0; 256];
        loop {
            let count = tokio::select! {
                () = self.signals.any() => return Ok(()),
                count = self.terminal.keys(&mut buffer) => count?,
            };
            let mut bytes = &buffer[..count];
            // The terminal itself is gone with its last byte.
            if bytes.is_empty() {
                return Ok(());
            }
            while !bytes.is_empty() {
                let (key, used) = self.keys.decode(bytes);
                if key == Some(Key::Quit) {
                    return Ok(());
                }
                bytes = &bytes[used..];
            }
        }
    }

    pub(crate) fn show(&mut self, text: &[u8]) -> io::Result<()> {
        self.drawn.clear();
        self.filter.pass(text, &mut self.drawn);
        self.last = self.drawn.last().copied().unwrap_or(self.last);
        self.terminal.draw(&self.drawn)
    }

    /// Says once what the window cannot show.
    pub(crate) fn compare_size(&mut self, columns: u32, rows: u32) -> io::Result<()> {
        let Some((width, height)) = self.terminal.size() else {
            return Ok(());
        };
        if self.is_told || (columns <= width && rows <= height) {
            return Ok(());
        }
        self.is_told = true;
        let note = format!(
            "the session's terminal has {columns} by {rows}, and this one {width} by {height}: lines may break and \
             overlap\r\n"
        );
        self.terminal.draw(note.as_bytes())
    }

    /// Leaves a terminal in which the shell's prompt starts on a line of its own.
    pub(crate) fn close(mut self) -> io::Result<()> {
        if self.filter.is_alternate() {
            self.terminal.draw(b"\x18\x1b[?1049l")?;
        }
        self.terminal.draw(PLAIN_SCREEN)?;
        if self.last != b'\n' {
            self.terminal.draw(b"\r\n")?;
        }
        Ok(())
    }
}
