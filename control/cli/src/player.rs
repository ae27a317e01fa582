//! Replays a recording in the terminal.
//!
//! ```text
//! reel ──▶ deck (position, speed, pause, seek) ──▶ filter ──▶ terminal
//!                 ▲ keys                                         │
//!                 └──────────────────────────────────────────────┘
//! ```

mod deck;
mod filter;
mod keys;
mod reel;
mod terminal;
mod window;

use std::time::{Duration, Instant};

use self::deck::{Deck, Draw};
use self::filter::Filter;
use self::keys::{Key, Keys};
pub(crate) use self::reel::Reel;
use self::terminal::Terminal;
pub(crate) use self::window::Window;
use crate::signals::Signals;

/// Plays `reel` until its end or until somebody quits.
///
/// # Errors
///
/// Standard output is no terminal, or is gone.
pub(crate) async fn play(reel: Reel, speed: f64) -> anyhow::Result<()> {
    let terminal = Terminal::open()?;
    let mut player = Player {
        deck: Deck::new(reel, speed, Duration::ZERO),
        filter: Filter::default(),
        terminal,
        clock: Instant::now(),
        pending: Vec::new(),
        drawn: 0,
        last: b'\n',
    };
    player.announce()?;
    let result = player.run().await;
    player.leave()?;
    result
}

struct Player {
    deck: Deck,
    filter: Filter,
    terminal: Terminal,
    clock: Instant,
    /// Bytes to be drawn, of which `drawn` already are.
    pending: Vec<u8>,
    drawn: usize,
    /// The last byte of the recording that was drawn.
    last: u8,
}

/// Small enough that a key is obeyed soon also while a long stretch is drawn.
const DRAW_AT_ONCE: usize = 32 * 1024;

/// What ends a wait.
enum Wake {
    Stop,
    Keys(usize),
    Draw,
    Due,
}

impl Player {
    async fn run(&mut self) -> anyhow::Result<()> {
        // They would otherwise end the process with the terminal still raw.
        let mut signals = Signals::new()?;
        let mut keys = Keys::default();
        let mut buffer = [0; 256];
        while !(self.pending.is_empty() && self.deck.is_finished(self.now())) {
            let drawing = !self.pending.is_empty();
            let wait = self.deck.until_due(self.now());
            let wake = tokio::select! {
                biased;
                () = signals.any() => Wake::Stop,
                count = self.terminal.keys(&mut buffer) => Wake::Keys(count?),
                () = std::future::ready(()), if drawing => Wake::Draw,
                () = sleep(wait), if !drawing => Wake::Due,
            };
            match wake {
                // The terminal itself is gone with its last byte.
                Wake::Stop | Wake::Keys(0) => return Ok(()),
                Wake::Keys(count) => {
                    if self.obey(&mut keys, &buffer[..count])? {
                        return Ok(());
                    }
                }
                Wake::Draw => self.draw_some()?,
                Wake::Due => {
                    if let Some(draw) = self.deck.due(self.now()) {
                        self.prepare(draw);
                    }
                }
            }
        }
        Ok(())
    }

    /// Obeys all keys in `bytes`; true if one of them was to quit.
    fn obey(&mut self, keys: &mut Keys, mut bytes: &[u8]) -> anyhow::Result<bool> {
        while !bytes.is_empty() {
            let (key, used) = keys.decode(bytes);
            bytes = &bytes[used..];
            match key {
                None => {}
                Some(Key::Quit) => return Ok(true),
                Some(key) => {
                    let draw = self.deck.key(key, self.now());
                    let drew = draw.is_some();
                    if let Some(draw) = draw {
                        self.prepare(draw);
                    }
                    if !drew && self.deck.is_paused() {
                        let line = self.status_line();
                        self.pending.extend_from_slice(&line);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Puts what is to be drawn in line; drawing again makes what still waits in line pointless.
    fn prepare(&mut self, draw: Draw) {
        match draw {
            Draw::Frames(range) => {
                let bytes = self.deck.reel().bytes(range);
                self.last = bytes.last().copied().unwrap_or(self.last);
                self.filter.pass(bytes, &mut self.pending);
            }
            Draw::Again(range) => {
                self.pending.clear();
                self.drawn = 0;
                // Terminals that know synchronised updates show only the result.
                self.pending.extend_from_slice(b"\x18\x1b[?2026h");
                if self.filter.is_alternate() {
                    self.pending.extend_from_slice(b"\x1b[?1049l");
                }
                self.filter = Filter::default();
                self.pending.extend_from_slice(terminal::PLAIN_SCREEN);
                self.pending.extend_from_slice(b"\x1b[?2026h\x1b[H\x1b[2J");
                let bytes = self.deck.reel().bytes(range);
                self.last = bytes.last().copied().unwrap_or(b'\n');
                self.filter.pass(bytes, &mut self.pending);
                if self.deck.is_paused() {
                    let line = self.status_line();
                    self.pending.extend_from_slice(&line);
                }
                self.pending.extend_from_slice(b"\x1b[?2026l");
            }
        }
    }

    fn draw_some(&mut self) -> anyhow::Result<()> {
        let end = self.pending.len().min(self.drawn + DRAW_AT_ONCE);
        self.terminal.draw(&self.pending[self.drawn..end])?;
        self.drawn = end;
        if end == self.pending.len() {
            self.pending.clear();
            self.drawn = 0;
        }
        Ok(())
    }

    /// The line at the foot of the window while paused. The cursor and its colours are saved around it.
    fn status_line(&self) -> Vec<u8> {
        let Some((columns, rows)) = self.terminal.size() else {
            return Vec::new();
        };
        let position = time(self.deck.position(self.now()));
        let length = time(self.deck.reel().length());
        let speed = self.deck.speed();
        let text = format!(
            " paused {position} / {length}  speed {speed}   space go on   . step   arrows seek, speed   q quit "
        );
        let text: String = text.chars().take(columns as usize).collect();
        format!("\x1b7\x1b[{rows};1H\x1b(B\x0f\x1b[0;7m{text}\x1b[0m\x1b[K\x1b8").into_bytes()
    }

    /// Says what the window cannot show, before it shows anything.
    fn announce(&mut self) -> anyhow::Result<()> {
        let (Some((columns, rows)), Some((width, height))) = (self.deck.reel().size(), self.terminal.size())
        else {
            return Ok(());
        };
        if columns > width || rows > height {
            let note = format!(
                "recorded in {columns} by {rows}, and this terminal has {width} by {height}: lines may break and \
                 overlap\r\n"
            );
            self.terminal.draw(note.as_bytes())?;
        }
        Ok(())
    }

    /// Leaves a terminal in which the shell's prompt starts on a line of its own.
    fn leave(&mut self) -> anyhow::Result<()> {
        let cut_short = !self.pending.is_empty();
        if self.filter.is_alternate() {
            self.terminal.draw(b"\x18\x1b[?1049l")?;
        }
        self.terminal.draw(terminal::PLAIN_SCREEN)?;
        if self.deck.is_paused() {
            // The status line stands at the foot; the prompt must not come to stand over it.
            self.terminal.draw(b"\x1b7\x1b[999;1H\x1b[K\x1b8")?;
        }
        if cut_short || self.last != b'\n' {
            self.terminal.draw(b"\r\n")?;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// `1:02:03` or `02:03`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}
