use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_util::{Stream, StreamExt, future};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use crate::error::OpenError;

/// Longest path of a UNIX socket, in bytes: `sun_path` with its terminating zero (unix(7)).
const PATH_LIMIT: usize = 107;

/// Binds the admin socket for the owner of the data directory alone. One that a former run left is replaced: the
/// lock on the directory says that nobody answers there.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, OpenError> {
    if path.as_os_str().len() > PATH_LIMIT {
        return Err(OpenError::Configuration(format!(
            "{}: got a socket path of {} bytes while expecting at most {PATH_LIMIT}: choose a shorter --data",
            path.display(),
            path.as_os_str().len()
        )));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(OpenError::file(path, "replace the admin socket")(error));
        }
        _ => {}
    }
    // Until its mode is set, the directory's keeps others out.
    let listener = UnixListener::bind(path).map_err(OpenError::file(path, "open the admin socket"))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(OpenError::file(path, "set the mode to 0600"))?;
    Ok(listener)
}

/// Connections of the same user or root; others are closed at once.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let own = rustix::process::geteuid().as_raw();
    UnixListenerStream::new(listener).filter(move |connection| {
        let admitted = match connection {
            Ok(stream) => is_admitted(stream, own),
            Err(_) => true,
        };
        future::ready(admitted)
    })
}

fn is_admitted(stream: &UnixStream, own: u32) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "connection to the admin socket refused");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "connection to the admin socket refused: its peer is unknown");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        let _listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn peers_are_told_apart_by_their_user() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert!(is_admitted(&one, own));
        assert_eq!(is_admitted(&one, own + 1), own == 0);
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_refused_in_words() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let refusal = bind(&path).unwrap_err().to_string();
        assert!(
            refusal.contains("got a socket path of 125 bytes while expecting at most 107"),
            "{refusal}"
        );
    }
}
