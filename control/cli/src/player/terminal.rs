//! The terminal while a recording plays in it: raw keys in, the old settings back on every way out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, Once, PoisonError};

use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::net::unix::pipe::Receiver;

/// Settings to go back to; some while a [`Terminal`] lives.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The controlling terminal in raw mode.
pub(crate) struct Terminal {
    screen: File,
    /// None where the process has no controlling terminal: then there are no keys.
    keyboard: Option<Receiver>,
}

impl Terminal {
    /// Takes the terminal over. Call it within the event loop.
    pub(crate) fn open() -> io::Result<Self> {
        let screen = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let keyboard = match open_keyboard() {
            Ok(file) => {
                make_raw(&file)?;
                // From here on there is something to restore, so the guard has to exist before anything can fail.
                Some(file)
            }
            Err(_) => None,
        };
        let mut terminal = Terminal {
            screen,
            keyboard: None,
        };
        // Unchecked, for it is no pipe: what is wanted of it, readiness and reading, is the same.
        terminal.keyboard = keyboard.map(Receiver::from_file_unchecked).transpose()?;
        Ok(terminal)
    }

    /// Columns and rows of the window.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let size = tcgetwinsize(&self.screen).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
    }

    pub(crate) fn draw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.screen.write_all(bytes)
    }

    /// Waits for keys; never ready where there is no keyboard. Cancelling it loses nothing.
    pub(crate) async fn keys(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(keyboard) = &self.keyboard else {
            return std::future::pending().await;
        };
        loop {
            keyboard.readable().await?;
            match keyboard.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// A description of the terminal of our own: non-blocking reads on standard input would surprise the shell.
fn open_keyboard() -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open("/dev/tty", flags, rustix::fs::Mode::empty())?.into())
}

fn make_raw(keyboard: &File) -> io::Result<()> {
    let settings = tcgetattr(keyboard)?;
    let mut raw = settings.clone();
    raw.make_raw();
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
    // A panic's message would otherwise run down the screen in steps, and be cleared with it.
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
    Ok(tcsetattr(keyboard, OptionalActions::Now, &raw)?)
}

/// Brings the old settings and a plain screen back; does nothing the second time.
fn restore() {
    let Some(settings) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    // What still fails here has no better place to go.
    if let Ok(keyboard) = open_keyboard() {
        let _ = tcsetattr(&keyboard, OptionalActions::Flush, &settings);
    }
    let _ = io::stdout().write_all(PLAIN_SCREEN);
    let _ = io::stdout().flush();
}

/// Ends a sequence that was cut short, then undoes what a recording may have left on: modes, cursor shape, colours,
/// line drawing, margins. Between saving and restoring the cursor, because setting margins moves it.
pub(crate) const PLAIN_SCREEN: &[u8] =
    b"\x18\x1b[!p\x1b[?7h\x1b[?25h\x1b[4l\x1b[?5l\x1b[0 q\x1b>\x1b7\x1b[r\x1b8\x1b[0m\x1b(B\x0f\x1b[?2026l";
