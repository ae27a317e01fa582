//! `weir demo`: a throwaway world to try Weir in.
//!
//! ```text
//! TEMP/ssh_config ─▶ ssh ─▶ Weir, in this process ─▶ sshd, as the current user, on loopback
//!                              └─▶ TEMP/data/recordings
//! ```
//!
//! Everything is set up through the same admin service as an operator's commands use, and gone when the process ends.

mod sshd;
mod world;

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::runtime::Runtime;
use weir_api::admin::ListSessionsRequest;
use weir_api::dataplane::{SessionRecord, SessionStatus};

use self::world::World;
use crate::arguments::Demo;
use crate::client::{Admin, LOOK_AGAIN};
use crate::command::recordings;
use crate::configuration::{Configuration, Log, LogFormat, Recording};
use crate::failure::{self, refusal};
use crate::service::Service;
use crate::signals::Signals;
use crate::{logging, process};

/// How long a recording may take from the session's end to the store.
const RECORDED_WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn run(demo: &Demo) -> anyhow::Result<()> {
    process::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop could be started")?;
    // From here on a signal ends the demonstration in order, and leaves no sshd and no directory behind.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let dir = tempfile::Builder::new()
        .prefix("weir-demo-")
        .tempdir()
        .context("no temporary directory")?;
    let log = dir.path().join("weir.log");
    let ending = stage(demo, dir.path(), &log, runtime, &mut signals);
    if ending
        .as_ref()
        .is_err_and(|error| !failure::is_output_closed(error))
    {
        tail("weir", &log);
        tail("sshd", &dir.path().join("sshd.log"));
    }
    match ending? {
        Ending::Done(done) => {
            ensure!(
                done.status.success(),
                "the command {:?} itself ended with {}",
                done.command,
                done.status
            );
            Ok(())
        }
        Ending::Interrupted if demo.run.is_some() => bail!("interrupted before the demonstration was over"),
        Ending::Interrupted => Ok(()),
    }
}

/// How a demonstration that nothing went wrong in came to its end.
enum Ending {
    /// The one session was had, replayed and found intact.
    Done(Done),
    /// By a signal, which is how one that waits for somebody to log in always ends.
    Interrupted,
}

/// The demonstration between the making of its directory and the removal.
fn stage(
    demo: &Demo,
    dir: &Path,
    log: &Path,
    runtime: Runtime,
    signals: &mut Signals,
) -> anyhow::Result<Ending> {
    let level = Log {
        level: "info".to_owned(),
        format: LogFormat::Text,
    };
    logging::start(&level, Mutex::new(File::create(log)?))?;

    say("starting Weir and an sshd for it to stand in front of");
    let data = dir.join("data");
    let configuration = Configuration {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        drain: Duration::ZERO,
        // A shorter wait than an operator would choose: somebody looks on.
        recording: Recording {
            flush_interval: Duration::from_millis(100),
            ..Recording::default()
        },
        ..Configuration::default()
    };
    let service = Service::start(&data, &configuration)?;
    let address = *service.addresses().first().context("weir listens nowhere")?;
    let ending = runtime.block_on(async {
        let play = async {
            let world = World::create(dir, &data, address).await?;
            match &demo.run {
                Some(command) => once(&world, command).await.map(Ending::Done),
                None => invite(&world).await.map(|never| match never {}),
            }
        };
        tokio::select! {
            biased;
            () = signals.any() => Ok(Ending::Interrupted),
            ending = play => ending,
        }
    });
    // With it goes the connection to the control plane, whose end would otherwise wait for it. Replay and verification
    // are commands of their own, with an event loop of their own.
    drop(runtime);
    let ending = ending.and_then(|ending| {
        if let Ending::Done(done) = &ending {
            review(&data, done)?;
        }
        Ok(ending)
    });
    service.shutdown();
    ending
}

/// What the session that was run came to.
struct Done {
    id: String,
    status: ExitStatus,
    command: String,
}

/// Runs `command` through the whole chain with the real `ssh`, and waits for its recording.
async fn once(world: &World, command: &str) -> anyhow::Result<Done> {
    say(&format!("{} {}", world.ssh_command(), quoted(command)));
    let status = tokio::process::Command::new("ssh")
        .arg("-F")
        .arg(world.ssh_config())
        .args(["-T", world::NODE, command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("ssh cannot be started: install openssh-client")?;
    let begin = Instant::now();
    loop {
        let sessions = sessions(world.admin()).await?;
        if let Some(session) = sessions
            .iter()
            .find(|session| session.status() != SessionStatus::Live)
        {
            return Ok(Done {
                id: session.id.clone(),
                status,
                command: command.to_owned(),
            });
        }
        ensure!(
            begin.elapsed() < RECORDED_WITHIN,
            "the session ended with {status}, but no recording of it came within {RECORDED_WITHIN:?}"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Replays and verifies what was recorded.
fn review(data: &Path, done: &Done) -> anyhow::Result<()> {
    say(&format!("recorded as {}; the recording says:", done.id));
    let mut out = crate::output::stdout();
    recordings::whole_text(data, done.id.clone(), &mut out)?;
    out.flush()?;
    drop(out);
    say("is it as it was written?");
    recordings::judge(data, done.id.clone(), None, false)?;
    Ok(())
}

/// Says what to type, and then what was recorded, until a signal comes.
async fn invite(world: &World) -> anyhow::Result<Infallible> {
    let weir = std::env::current_exe()?;
    let weir = weir.display();
    let data = world.data().display();
    print(&format!(
        "\nA session for you, from another terminal:\n\n    {}\n\n\
         Recordings are in {data}/recordings, and this is how to look at them:\n\n    \
         export WEIR_DATA={data}\n    {weir} recordings ls\n\n\
         The logs are {}/weir.log and sshd.log. ^C ends it all and leaves nothing behind.\n\n",
        world.ssh_command(),
        world.dir().display(),
    ));
    let mut told = HashSet::new();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for session in sessions(world.admin()).await? {
            if session.status() != SessionStatus::Live && told.insert(session.id.clone()) {
                print(&format!("recorded: {weir} --data {data} play {}\n", session.id));
            }
        }
    }
}

/// The newest sessions whose recordings are in the store.
async fn sessions(mut admin: Admin) -> anyhow::Result<Vec<SessionRecord>> {
    let request = ListSessionsRequest::default();
    let reply = admin.list_recordings(request).await.map_err(refusal)?;
    Ok(reply.into_inner().sessions)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A step, told apart from what programs print.
fn say(step: &str) {
    print(&format!("\n== {step}\n"));
}

/// Whoever stopped reading is not the demonstration's concern.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
    let _ = io::stdout().flush();
}

/// The end of a log, for whoever looks for the reason of a failure once the directory is gone.
fn tail(whose: &str, log: &Path) {
    let Ok(text) = std::fs::read_to_string(log) else {
        return;
    };
    let lines: Vec<_> = text.lines().collect();
    let _ = writeln!(io::stderr(), "-- the end of {whose}'s log");
    for line in lines.iter().skip(lines.len().saturating_sub(15)) {
        let _ = writeln!(io::stderr(), "{}", failure::printable(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_as_it_is_shown() {
        assert_eq!(quoted("echo 'a b'; id"), r"'echo '\''a b'\''; id'");
    }
}
