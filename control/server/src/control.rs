use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_api::admin::DataPlane;
use weir_api::dataplane::{
    AuditEvent, HostCertificate, HostCertificateRequest, SessionRecord, Snapshot, UpstreamCertificate,
    UpstreamCertificateRequest,
};
use weir_api::{BoxFuture, ControlError, ControlPlane, Inspect, LookAtStore, Watch};
use weir_ca::KeyEncryptionKey;
use weir_crypto::sign::PrivateKey;
use weir_objects::Objects;
use weir_policy::RecordingMode;
use weir_store::Session;

use crate::authorities::Authorities;
use crate::clock::{now_seconds, now_us};
use crate::convert::{event_of, session_of};
use crate::data_dir::DataDir;
use crate::error::OpenError;
use crate::export::{ExportConfig, Exports};
use crate::issuance::Issuer;
use crate::journal::Journal;
use crate::key_source::KeySource;
use crate::recordings::Recordings;
use crate::retention::{self, Retention};
use crate::start;
use crate::state::State;
use crate::{admin, recovery, socket};

/// Name of the data plane that lives in the control plane's own process.
pub(crate) const EMBEDDED: &str = "embedded";

/// Threads of the control plane: one signs while another answers an administrator.
const WORKER_THREADS: usize = 2;

/// How long a shutdown waits for administrators' calls to end, and then for the last events to reach the disk.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Why nothing is answered any more.
const STOPPING: &str = "it is shutting down";

/// How the control plane is set up.
#[derive(Clone, Debug, Default)]
pub struct ControlConfig {
    /// Where everything is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// Name of the cluster. `None`: as before, at first `weir`.
    pub cluster: Option<String>,
    /// Where the key-encryption key comes from.
    pub key_encryption_key: KeySource,
    /// Whether targets' host certificates are checked. `None`: as before, at first yes.
    pub proxy_checks_host_keys: Option<bool>,
    /// Bytes of exec output recorded per channel and direction, 0: no limit. `None`: as before, at first 64 MiB.
    pub exec_output_limit_bytes: Option<u64>,
    /// Whether recordings and the audit log tell what SFTP and scp do. `None`: as before, at first yes.
    pub file_operations: Option<bool>,
    /// Whether they tell the SHA-256 of files, too. `None`: as before, at first no.
    pub file_hashes: Option<bool>,
    /// Longest user certificate in seconds. `None`: as before, at first seven days.
    pub max_user_ttl_seconds: Option<u64>,
    /// When recorded bytes are passed on, where no role says so. `None`: as before, at first at once.
    pub recording_mode: Option<RecordingMode>,
    /// Whom users ask when sessions cannot be recorded. `None`: as before, at first nobody by name.
    pub recording_contact: Option<String>,
    /// Environment variables whose values are recorded, `*` at the end of a name for any rest. `None`: as before, at first those
    /// that name the characters in use.
    pub environment_values: Option<Vec<String>>,
    /// Whether exec output past the limit is hashed. `None`: as before, at first not.
    pub hash_unrecorded: Option<bool>,
    /// age recipients of recordings besides the control plane's own.
    pub extra_recording_recipients: Vec<String>,
    /// Recordings are wrapped to those alone, and the control plane cannot open them.
    pub external_recipients_only: bool,
    /// Where recordings are. `None`: in the data directory, see [`Control::recordings_dir`].
    pub recordings: Option<Objects>,
    /// How long after its session's start a recording is kept, unless it is held. `None`: for ever.
    pub retention: Option<Duration>,
    /// What tells a recording's age, microseconds since 1970-01-01 UTC. `None`: the system's clock.
    pub retention_clock: Option<fn() -> u64>,
    /// Where audit events are taken to besides the data directory.
    pub exports: ExportConfig,
}

/// The control plane, on threads of its own until [`Control::shutdown`] or the drop of the value.
pub struct Control {
    pub(crate) shared: Arc<Shared>,
    running: Option<Running>,
    /// Locked for this process until everything above has ended.
    data_dir: DataDir,
}

struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    service: JoinHandle<()>,
}

/// What the admin service and the data plane's interface work with.
pub(crate) struct Shared {
    pub(crate) state: Arc<State>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) issuer: Issuer,
    pub(crate) journal: Journal,
    pub(crate) exports: Exports,
    pub(crate) recordings: Recordings,
    pub(crate) retention: Retention,
    /// Held while a recording's key is wrapped anew, or an identity is retired: one at a time, in one buffer, and none with
    /// an identity that is about to go.
    pub(crate) rewrapping: tokio::sync::Mutex<()>,
    pub(crate) external_recipients_only: bool,
    /// For identities that are made while it runs.
    pub(crate) key_encryption_key: KeyEncryptionKey,
    /// Data planes that accept connections.
    pub(crate) data_planes: Mutex<Vec<DataPlane>>,
    /// Whom to ask how the embedded data plane paces its handshakes.
    pub(crate) inspect: ArcSwapOption<Inspect>,
    /// Whom to ask how its recordings come into the store.
    pub(crate) look_at_store: ArcSwapOption<LookAtStore>,
    /// Who opens the live recordings of the embedded data plane.
    pub(crate) watch: ArcSwapOption<Watch>,
    pub(crate) started_us: u64,
    /// With which the embedded data plane signs the ends of recordings.
    pub(crate) embedded_key: PrivateKey,
    /// Sessions that former runs left without an end, until recovery is over.
    pub(crate) abandoned: Mutex<Vec<Session>>,
    /// Nothing more is issued: its audit event might not be written.
    pub(crate) is_stopping: AtomicBool,
}

impl Control {
    /// Opens the data directory, makes what is missing in it, and serves administrators on its socket when it returns.
    /// May be called from any thread, and blocks it for some milliseconds.
    ///
    /// # Errors
    /// [`OpenError`], a sentence for the operator.
    pub fn open(config: ControlConfig) -> Result<Control, OpenError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let plan = start::Plan::new(config, &data_dir)?;
        let socket_path = data_dir.socket();
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("weir-control")
            .enable_all()
            .build()
            .map_err(OpenError::file(
                data_dir.path(),
                "start the control plane's threads",
            ))?;
        let opened = wait(&runtime, async move {
            let shared = Arc::new(plan.run().await?);
            Ok((shared, socket::bind(&socket_path)?))
        });
        let (shared, listener) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Dropped, it would wait for its threads, which the caller's own runtime may forbid.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (stop, stopping) = oneshot::channel();
        let service = runtime.spawn(admin::serve(Arc::clone(&shared), listener, stopping));
        runtime.spawn(retention::run(Arc::clone(&shared)));
        Ok(Control {
            shared,
            running: Some(Running {
                runtime,
                stop,
                service,
            }),
            data_dir,
        })
    }

    /// The interface for a data plane in this process.
    pub fn data_plane(&self) -> Arc<dyn ControlPlane> {
        let runtime = &self
            .running
            .as_ref()
            .expect("a control plane runs until it is shut down")
            .runtime;
        Arc::new(InProcess {
            shared: Arc::clone(&self.shared),
            runtime: runtime.handle().clone(),
        })
    }

    /// The ed25519 key with which the data plane in this process signs the ends of recordings. Made at the
    /// first start, kept encrypted, known to whoever verifies.
    pub fn embedded_signing_key(&self) -> PrivateKey {
        self.shared.embedded_key.clone()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Where recordings are when [`ControlConfig::recordings`] does not say otherwise.
    pub fn recordings_dir(&self) -> PathBuf {
        self.data_dir.recordings()
    }

    /// Says that the data plane in this process accepts connections on these addresses; from now on the control plane reports
    /// to be ready.
    pub fn data_plane_ready(&self, listen: Vec<String>) {
        let ready = DataPlane {
            name: EMBEDDED.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen,
            last_contact_us: now_us(),
        };
        *self
            .shared
            .data_planes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = vec![ready];
    }

    /// Stops serving, and returns when everything reported so far is on disk.
    pub fn shutdown(mut self) {
        self.stop();
    }

    #[cfg(test)]
    pub(crate) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        wait(&self.running.as_ref().unwrap().runtime, future)
    }

    fn stop(&mut self) {
        let Some(Running {
            runtime,
            stop,
            service,
        }) = self.running.take()
        else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        shared.is_stopping.store(true, Ordering::Release);
        // The service may have ended already.
        let _ = stop.send(());
        let (done, ended) = mpsc::channel();
        runtime.spawn(async move {
            if tokio::time::timeout(SHUTDOWN_LIMIT, service).await.is_err() {
                tracing::warn!("administrators' calls are still open and are cut off");
            }
            shared.journal.finish().await;
            let _ = done.send(());
        });
        if ended.recv_timeout(2 * SHUTDOWN_LIMIT).is_err() {
            tracing::error!("the last audit events could not be written before the shutdown");
        }
        // Not waiting, since this may be a thread of some other runtime; nothing is left to be waited for.
        runtime.shutdown_background();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("data_dir", &self.data_dir.path())
            .finish_non_exhaustive()
    }
}

/// Runs a future on the runtime's threads while this one waits, which also works inside of another runtime.
fn wait<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    runtime.spawn(async move { done.send(future.await) });
    result.recv().expect("opening the control plane does not panic")
}

/// [`ControlPlane`] for a data plane in the same process.
struct InProcess {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
}

impl InProcess {
    /// Runs `work` on the control plane's threads, for what is not asked for once per session.
    fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ControlError> + Send + 'static,
    ) -> BoxFuture<Result<T, ControlError>> {
        let shared = Arc::clone(&self.shared);
        let (answer, answered) = futures_channel::oneshot::channel();
        self.runtime.spawn(async move {
            // The session may be gone by now.
            let _ = answer.send(work(&shared));
        });
        Box::pin(async move {
            answered
                .await
                .unwrap_or_else(|_| Err(ControlError::Unavailable(STOPPING.to_owned())))
        })
    }
}

/// An event that the data plane in this process reports.
fn reported(event: AuditEvent) -> weir_store::AuditEvent {
    weir_store::AuditEvent {
        // Not the reporter's to say.
        data_plane: EMBEDDED.to_owned(),
        ..event_of(event)
    }
}

impl ControlPlane for InProcess {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.state.current().snapshot)
    }

    fn issue_upstream(
        &self,
        request: UpstreamCertificateRequest,
    ) -> BoxFuture<Result<UpstreamCertificate, ControlError>> {
        // Judged on the caller's thread: that is a tenth of a millisecond of signatures, less than the key exchanges
        // which the same thread does for the session, and the way to another thread and back costs as much again.
        let answer = if self.shared.is_stopping.load(Ordering::Acquire) {
            Err(ControlError::Unavailable(STOPPING.to_owned()))
        } else {
            self.shared.issuer.upstream(&request, now_seconds())
        };
        Box::pin(std::future::ready(answer))
    }

    fn certify_host(
        &self,
        request: HostCertificateRequest,
    ) -> BoxFuture<Result<HostCertificate, ControlError>> {
        self.off_thread(move |shared| shared.issuer.host(&request, now_seconds()))
    }

    fn report(&self, events: Vec<AuditEvent>, sessions: Vec<SessionRecord>) {
        let events = events.into_iter().map(reported).collect();
        let sessions = sessions.into_iter().filter_map(session_of).collect();
        self.shared.journal.report(events, sessions);
    }

    fn report_durably(
        &self,
        events: Vec<AuditEvent>,
        sessions: Vec<SessionRecord>,
    ) -> BoxFuture<Result<(), ControlError>> {
        let events = events.into_iter().map(reported).collect();
        let sessions = sessions.into_iter().filter_map(session_of).collect();
        let written = self.shared.journal.report_durably(events, sessions);
        Box::pin(async move {
            match written {
                Some(written) => written
                    .await
                    .map_err(|_| ControlError::Unavailable(STOPPING.to_owned())),
                None => Err(ControlError::Unavailable("its audit queue is full".to_owned())),
            }
        })
    }

    fn recovered(&self) {
        let shared = Arc::clone(&self.shared);
        self.runtime
            .spawn(async move { recovery::close_abandoned(&shared).await });
    }

    fn on_change(&self, listener: Box<dyn Fn(u64) + Send + Sync>) {
        self.shared.state.on_change(listener);
    }

    fn on_inspect(&self, inspect: Inspect) {
        self.shared.inspect.store(Some(Arc::new(inspect)));
    }

    fn on_store(&self, look: LookAtStore) {
        self.shared.look_at_store.store(Some(Arc::new(look)));
    }

    fn on_watch(&self, watch: Watch) {
        self.shared.watch.store(Some(Arc::new(watch)));
    }
}
