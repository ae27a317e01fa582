use std::path::PathBuf;

use crate::Kind;

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller wanted to make something new.
    #[error("{kind} {name:?} exists already")]
    AlreadyExists {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The caller wanted to change or remove something.
    #[error("{kind} {name:?} does not exist")]
    NotFound {
        /// What it would be.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Somebody else changed it after the caller had read it.
    #[error(
        "{kind} {name:?} has revision {found} while expecting {expected}: read it again and repeat the change"
    )]
    Changed {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// The revision that the caller had read.
        expected: u64,
        /// The revision that is stored.
        found: u64,
    },
    /// The database is from a later version of Weir.
    #[error(
        "database {path} has schema version {version}, which this version of weir does not know: run a newer one"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The migration that is not known here.
        version: i64,
    },
    /// What was handed in cannot be stored, and could not be the next time either; the store itself is well.
    #[error("database {path} refuses an entry: {problem}")]
    Refused {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        problem: String,
    },
    /// The environment: disk, permissions, a damaged file.
    #[error("database {path}: {source}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// The request clashes with what is stored; the store itself is well.
    pub fn is_clash(&self) -> bool {
        matches!(
            self,
            Self::AlreadyExists { .. } | Self::NotFound { .. } | Self::Changed { .. }
        )
    }

    /// What was handed in is at fault: to hand it in again is of no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
