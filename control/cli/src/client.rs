//! The admin socket of the control plane, seen from a command.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use weir_api::ADMIN_SOCKET;
use weir_api::admin::admin_client::AdminClient;

/// A connection to the control plane.
pub(crate) type Admin = AdminClient<Channel>;

/// Runs one command's conversation on this thread.
pub(crate) fn converse<T>(talk: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop could be started")?
        .block_on(talk)
}

/// Connects to the control plane that keeps its state in `data`.
pub(crate) async fn connect(data: &Path) -> anyhow::Result<Admin> {
    let path = data.join(ADMIN_SOCKET);
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|error| unreachable_socket(&path, data, error))?;
    over(stream).await
}

/// The client of a connection that stands already.
async fn over(stream: UnixStream) -> anyhow::Result<Admin> {
    let mut stream = Some(stream);
    // The address is never looked at: the connector has the connection in hand.
    let channel = Endpoint::from_static("http://weir.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            // One connection is one command: a second would talk to another process than the first.
            let taken = stream
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset));
            async move { taken.map(TokioIo::new) }
        }))
        .await
        .context("the control plane did not answer on its socket")?;
    Ok(AdminClient::new(channel))
}

fn unreachable_socket(path: &Path, data: &Path, error: io::Error) -> anyhow::Error {
    let (path, data) = (path.display(), data.display());
    match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "got no {path} while expecting a running weir's socket: start it with `weir up --data {data}`, or name \
             its directory with --data or WEIR_DATA"
        ),
        io::ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("nobody answers on {path}: start weir with `weir up --data {data}`")
        }
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "got permission denied on {path} while expecting to be the user that runs weir: become that user"
        ),
        _ => anyhow::Error::new(error).context(format!("{path} cannot be reached")),
    }
}

/// Where the state of Weir is, unless somebody says otherwise.
pub(crate) fn data_directory(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(directory) = given {
        return Ok(directory);
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/weir".into());
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("weir"))
        .ok_or_else(|| {
            crate::failure::usage(
                "got neither --data nor WEIR_DATA nor HOME: say with --data where Weir's state is",
            )
        })
}

/// How often a waiting command looks again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);
