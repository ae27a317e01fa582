//! `weir up`: both planes in one process, until a signal asks them to end.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use crate::arguments::Up;
use crate::configuration::{Configuration, SAMPLE};
use crate::service::Service;
use crate::signals::Signals;
use crate::{logging, output, process};

pub(crate) fn run(data: &Path, up: Up) -> anyhow::Result<()> {
    if up.print_config {
        let mut out = output::stdout();
        out.write_all(SAMPLE.as_bytes())?;
        return Ok(out.flush()?);
    }
    let mut configuration = Configuration::read(up.config.as_deref())?;
    if !up.listen.is_empty() {
        configuration.listen = up.listen;
    }
    logging::start(&configuration.log, io::stderr)?;
    process::prepare()?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop could be started")?;
    // Before anything is started that a signal would have to end.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let service = Service::start(data, &configuration)?;
    announce(&service, data);

    runtime.block_on(signals.any());
    tracing::info!(drain = ?configuration.drain, "ending; a second signal ends live sessions at once");
    // The second one is waited for beside the orderly end, and does not outlive it.
    std::thread::spawn(move || {
        runtime.block_on(signals.any());
        std::process::exit(1);
    });
    service.shutdown();
    tracing::info!("ended");
    Ok(())
}

/// The one line on standard output that says that connections are accepted.
fn announce(service: &Service, data: &Path) {
    let addresses: Vec<_> = service.addresses().iter().map(ToString::to_string).collect();
    // Whoever started us may not care to read it.
    let _ = writeln!(
        io::stdout(),
        "weir is ready: ssh on {}, state in {}",
        addresses.join(", "),
        data.display()
    );
}
