//! The log: on standard error for daemons, in a file for the demonstration.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::configuration::{Log, LogFormat};
use crate::failure::usage;

/// Starts the log; to be called once per process.
pub(crate) fn start(
    log: &Log,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let (level, source) = match std::env::var("RUST_LOG") {
        Ok(level) if !level.is_empty() => (level, "RUST_LOG"),
        _ => (log.level.clone(), "log.level"),
    };
    let filter = EnvFilter::try_new(&level).map_err(|error| {
        usage(format!(
            "got {source} {level:?}, which is no log level ({error}): use info, or info,weir_proxy=debug"
        ))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}
