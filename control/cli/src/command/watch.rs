//! `weir sessions watch`: a session as it goes on, from its beginning, at its own pace.
//!
//! ```text
//! socket ─▶ thread: opens and checks the recording as it is written ─▶ few pieces ─▶ screen, keys, signals
//! ```
//!
//! The thread waits where the screen does, and then so does the socket; who falls too far behind is told by the other
//! side. The session notices nothing of it.

mod stage;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use tokio::sync::mpsc;
use weir_record::{ReadError, Reader, Status, Unlock};

use self::stage::Stage;
use crate::client::converse;
use crate::output::stdout;
use crate::player::Window;
use crate::recording::{Header, Recording};

/// Pieces between the thread and the screen.
const PIECES: usize = 16;

/// What the thread has to say.
enum Word {
    Text(Vec<u8>),
    /// The size of the terminal that is shown.
    Size(u32, u32),
    Over(anyhow::Result<Ending>),
}

/// How the session ended.
struct Ending {
    status: Status,
    /// The exit status of what was shown, in words.
    exit: Option<String>,
}

pub(crate) fn run(
    data: &Path,
    id: &str,
    identity: Option<&Path>,
    channel: Option<u32>,
) -> anyhow::Result<()> {
    follow(id, Recording::watch(data, id.to_owned())?, identity, channel)
}

/// Shows a live recording until it ends or somebody leaves.
pub(crate) fn follow(
    id: &str,
    (header, recording): (Header, Recording),
    identity: Option<&Path>,
    channel: Option<u32>,
) -> anyhow::Result<()> {
    let opener = header.opener(identity)?;
    let watched = io::stdout().is_terminal();
    let (words, spoken) = mpsc::channel(PIECES);
    std::thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            let over = read(recording, opener.unlock(), Stage::new(channel, watched), &words);
            // Nobody is left to be told where the screen is gone.
            let _ = words.blocking_send(Word::Over(over));
        })
        .context("no thread could be started")?;
    let ending = if watched {
        converse(show(spoken))?
    } else {
        write_through(spoken)?
    };
    let Some(Ending { status, exit }) = ending else {
        return Ok(());
    };
    let exit = exit.map_or(String::new(), |exit| format!(", {exit}"));
    let line = format!("session {id} ended: {}{exit}", status.as_str());
    anyhow::ensure!(status == Status::Complete, line);
    let _ = writeln!(io::stderr(), "{line}");
    Ok(())
}

/// Reads the recording to its end, and says what is to be shown of it.
fn read(
    recording: Recording,
    unlock: Unlock<'_>,
    mut stage: Stage,
    words: &mpsc::Sender<Word>,
) -> anyhow::Result<Ending> {
    let mut reader = Reader::open(recording, unlock)?;
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                let shown = stage.entry(&entry);
                let size = stage.new_size().map(|(columns, rows)| Word::Size(columns, rows));
                for word in size.into_iter().chain(shown.map(Word::Text)) {
                    if words.blocking_send(word).is_err() {
                        anyhow::bail!("nobody watches any more");
                    }
                }
            }
            Ok(None) => {
                let status = reader.end().map_or(Status::Interrupted, |end| end.status);
                let exit = stage.exit();
                return Ok(Ending { status, exit });
            }
            // The other side's words are enough.
            Err(ReadError::Io(error)) => return Err(error.into()),
            Err(ReadError::Cut { .. }) => anyhow::bail!("weir has ended, and the session with it"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Shows it in the terminal; none if somebody left.
async fn show(mut spoken: mpsc::Receiver<Word>) -> anyhow::Result<Option<Ending>> {
    let mut window = Window::open()?;
    let over = loop {
        tokio::select! {
            biased;
            left = window.left() => {
                left?;
                break None;
            }
            word = spoken.recv() => match word {
                Some(Word::Text(text)) => window.show(&text)?,
                Some(Word::Size(columns, rows)) => window.compare_size(columns, rows)?,
                Some(Word::Over(over)) => break Some(over),
                None => break Some(Err(anyhow::anyhow!("the thread that reads has ended"))),
            },
        }
    };
    window.close()?;
    over.transpose()
}

/// Writes it to what is no terminal, as it comes.
fn write_through(mut spoken: mpsc::Receiver<Word>) -> anyhow::Result<Option<Ending>> {
    let mut out = stdout();
    while let Some(word) = spoken.blocking_recv() {
        match word {
            Word::Text(text) => {
                out.write_all(&text)?;
                out.flush()?;
            }
            Word::Size(..) => {}
            Word::Over(over) => return over.map(Some),
        }
    }
    anyhow::bail!("the thread that reads has ended")
}
