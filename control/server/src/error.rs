use std::io;
use std::path::PathBuf;

use weir_store::StoreError;

/// Why the control plane does not start. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory, or a file in it, cannot be used.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else's directory or key file.
    #[error("{path}: got {got} while expecting {expected}: {advice}", path = path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What was seen.
        got: String,
        /// What was expected.
        expected: String,
        /// What to do.
        advice: String,
    },
    /// A second instance.
    #[error(
        "data directory {path} is in use by another weir (process {pid}): stop it, or choose another directory with --data",
        path = path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// As the other one wrote it into its lock file.
        pid: String,
    },
    /// The key-encryption key cannot be had.
    #[error("key-encryption key: {0}")]
    Key(String),
    /// What is stored was encrypted under another key, or altered.
    #[error(
        "{what}: {problem}: give the key-encryption key under which this data directory was made, or restore the database"
    )]
    Sealed {
        /// Which secret.
        what: String,
        /// Why it does not open.
        problem: weir_ca::OpenError,
    },
    /// Where recordings are kept.
    #[error(transparent)]
    Recordings(#[from] weir_objects::OpenError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored resource cannot be read.
    #[error("stored {what} cannot be read: {problem}: restore the database from a backup")]
    Damaged {
        /// Kind and name.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The configuration asks for something impossible.
    #[error("{0}")]
    Configuration(String),
}

impl OpenError {
    pub(crate) fn file(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |source| OpenError::File { path, action, source }
    }

    pub(crate) fn sealed(what: impl Into<String>, problem: &weir_ca::OpenError) -> OpenError {
        OpenError::Sealed {
            what: what.into(),
            problem: problem.clone(),
        }
    }
}
