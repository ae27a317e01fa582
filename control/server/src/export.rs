//! Audit events on their way to where others look for them.
//!
//! Each export reads the store onward from a cursor that the store keeps for its place, so what happens while a receiver
//! is away waits in the store and nowhere else. A cursor moves when the events before it are safe: so each event arrives at
//! least once, and the receiver tells repeats apart by the id. A new place gets all that there is.

mod file;
mod rfc5424;
mod syslog;
mod tls;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use weir_crypto::random::{Random, SystemRandom};
use weir_store::{AuditEvent, Store};

use crate::error::OpenError;

pub use rfc5424::Facility;

/// Where audit events are taken to.
#[derive(Clone, Debug, Default)]
pub struct ExportConfig {
    /// A syslog receiver.
    pub syslog: Option<SyslogConfig>,
    /// A file that is rotated.
    pub file: Option<FileConfig>,
}

/// A syslog receiver (RFC 5424), over TCP with octet counting (RFC 6587 §3.4.1).
#[derive(Clone, Debug)]
pub struct SyslogConfig {
    /// `host:port`.
    pub address: String,
    /// How the connection is protected (RFC 5425); `None`: not at all.
    pub tls: Option<TlsConfig>,
    /// Under which facility events go.
    pub facility: Facility,
    /// Under which name.
    pub app_name: String,
}

/// How a receiver proves who it is, and Weir to it. The files are read anew for each connection.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificates (PEM) of the authorities by one of which the receiver's must be.
    pub ca_file: PathBuf,
    /// The name that the receiver's certificate must bear. `None`: the host of the address.
    pub server_name: Option<String>,
    /// Our certificate and its key (PEM), if the receiver wants one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A file of JSON lines that is rotated: `path`, `path.1` before it, and so on.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// The file.
    pub path: PathBuf,
    /// Bytes beyond which the next event begins a new file. 0: no limit.
    pub rotate_size_bytes: u64,
    /// Age from which on the next event begins a new file. Zero: no limit.
    pub rotate_age: Duration,
    /// Former files that are kept.
    pub keep: u32,
}

/// Texts of the events that are read at once: what an export holds in memory is a small multiple of it.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_EVENTS: u32 = 1000;

/// Between two tries at a receiver that is away: doubled up to the limit, and a random part of it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_LIMIT: Duration = Duration::from_secs(30);

/// The exports of this process.
#[derive(Default)]
pub(crate) struct Exports {
    running: Vec<Arc<Progress>>,
}

/// How an export is getting on.
pub(crate) struct Progress {
    place: String,
    state: Mutex<ProgressState>,
}

#[derive(Clone, Default)]
struct ProgressState {
    /// The newest event that was handed over.
    sent_seq: u64,
    problem: Option<String>,
}

/// How an export stands, for an administrator.
pub(crate) struct Standing {
    pub(crate) place: String,
    /// Events that it has not handed over.
    pub(crate) behind: u64,
    /// Why not; empty if nothing is known to be wrong.
    pub(crate) problem: String,
}

impl Exports {
    /// Checks what is configured, and starts it on the current tokio runtime. It ends with the journal that `written` is of.
    pub(crate) fn start(
        config: &ExportConfig,
        store: &Arc<dyn Store>,
        written: &watch::Receiver<()>,
    ) -> Result<Exports, OpenError> {
        let mut running = Vec::new();
        let mut feed = |place: String| {
            let progress = Arc::new(Progress {
                place,
                state: Mutex::default(),
            });
            running.push(Arc::clone(&progress));
            Feed {
                place: Place {
                    store: Arc::clone(store),
                    progress,
                },
                written: written.clone(),
            }
        };
        if let Some(config) = &config.file {
            let out = file::RotatedFile::open(config.clone())
                .map_err(OpenError::file(&config.path, "export audit events"))?;
            let feed = feed(format!("file {}", config.path.display()));
            tokio::spawn(file::run(out, feed));
        }
        if let Some(config) = &config.syslog {
            if let Some(tls) = &config.tls {
                // What is wrong with the files is said at the start; later the last good connection goes on.
                tls::Connector::read(tls, &config.address).map_err(OpenError::Configuration)?;
            }
            let feed = feed(format!("syslog {}", config.address));
            tokio::spawn(syslog::run(config.clone(), feed));
        }
        Ok(Exports { running })
    }

    /// How each stands, when `newest` is the newest event of the store.
    pub(crate) fn standing(&self, newest: u64) -> Vec<Standing> {
        let of = |progress: &Arc<Progress>| {
            let ProgressState { sent_seq, problem } = progress.state().clone();
            Standing {
                place: progress.place.clone(),
                behind: newest.saturating_sub(sent_seq),
                problem: problem.unwrap_or_default(),
            }
        };
        self.running.iter().map(of).collect()
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an export reads from.
struct Feed {
    place: Place,
    written: watch::Receiver<()>,
}

impl Feed {
    /// The events after `seq`, once there are any; `None` when there will be no more.
    async fn after(&mut self, seq: u64) -> Option<Vec<(u64, AuditEvent)>> {
        loop {
            // Before the look, so that what comes during it is seen.
            self.written.mark_unchanged();
            match self
                .place
                .store
                .events_after(seq, BATCH_EVENTS, BATCH_BYTES)
                .await
            {
                Ok(events) if !events.is_empty() => return Some(events),
                Ok(_) => self.written.changed().await.ok()?,
                Err(error) => self.place.pause_after(&error.to_string(), FIRST_PAUSE).await,
            }
        }
    }
}

/// Where events are taken to, as the store knows it.
#[derive(Clone)]
struct Place {
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
}

impl Place {
    fn name(&self) -> &str {
        &self.progress.place
    }

    /// How far all is safe.
    async fn cursor(&self) -> u64 {
        loop {
            match self.store.export_cursor(self.name()).await {
                Ok(seq) => {
                    self.sent(seq);
                    return seq;
                }
                Err(error) => self.pause_after(&error.to_string(), FIRST_PAUSE).await,
            }
        }
    }

    /// Everything up to `seq` is safe. Where that cannot be written down, it is sent again.
    async fn is_safe(&self, seq: u64) {
        if let Err(error) = self.store.move_export_cursor(self.name(), seq).await {
            tracing::warn!(%error, place = self.name(), "an export's place cannot be remembered");
        }
    }

    fn sent(&self, seq: u64) {
        self.progress.state().sent_seq = seq;
    }

    fn is_well(&self) {
        if self.progress.state().problem.take().is_some() {
            tracing::info!(place = self.name(), "audit events are exported again");
        }
    }

    /// Says what is wrong, once, and waits.
    async fn pause_after(&self, problem: &str, pause: Duration) {
        let before = self.progress.state().problem.replace(problem.to_owned());
        if before.as_deref() != Some(problem) {
            tracing::warn!(
                problem,
                place = self.name(),
                "audit events are not exported at the moment, and wait"
            );
        }
        tokio::time::sleep(jittered(pause)).await;
    }
}

/// Half to all of it: data planes that lost the same receiver do not return at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    SystemRandom.fill(&mut random);
    pause / 2 + pause.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0)
}

/// The next pause.
fn longer(pause: Duration) -> Duration {
    (2 * pause).min(PAUSE_LIMIT)
}

#[cfg(test)]
mod tests;
