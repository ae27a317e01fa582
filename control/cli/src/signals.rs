//! The signals that ask a process to end.

use std::io::{IsTerminal, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM, SIGHUP and SIGQUIT, which from the first value on no longer end the process by themselves.
pub(crate) struct Signals([Signal; 4]);

impl Signals {
    /// Call it within the event loop.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    /// Waits for the next of them. Cancelling it loses none.
    pub(crate) async fn any(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Upon the first of them calls `last`, prints what that says and ends the process with status 1, whatever the process
/// is doing then: it may wait for a disk.
pub(crate) fn end_with(last: impl FnOnce() -> String + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    std::thread::spawn(move || {
        runtime.block_on(signals.any());
        let mut stderr = std::io::stderr();
        // A line of progress may stand there.
        let begin = if stderr.is_terminal() { "\r\x1b[K" } else { "" };
        let _ = writeln!(stderr, "{begin}weir: {}", last());
        std::process::exit(1);
    });
    Ok(())
}
