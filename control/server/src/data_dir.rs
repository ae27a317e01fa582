use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use weir_api::ADMIN_SOCKET;

use crate::error::OpenError;

/// The directory that holds everything the control plane keeps, locked for this process as long as the value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock goes with the file: also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, closes it to others, and locks it.
    pub(crate) fn open(path: &Path) -> Result<DataDir, OpenError> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(OpenError::file(path, "make the directory"))?;
        close_to_others(path)?;
        let lock = lock(path)?;
        for directory in [path.join("audit"), path.join("recordings")] {
            builder
                .create(&directory)
                .map_err(OpenError::file(&directory, "make the directory"))?;
        }
        Ok(DataDir {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("weir.db")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(ADMIN_SOCKET)
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path.join("audit").join("audit.jsonl")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("control.key")
    }

    pub(crate) fn recordings(&self) -> PathBuf {
        self.path.join("recordings")
    }
}

fn close_to_others(path: &Path) -> Result<(), OpenError> {
    let metadata = fs::metadata(path).map_err(OpenError::file(path, "read the directory"))?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(OpenError::Unsafe {
            path: path.to_owned(),
            got: format!("a directory of uid {}", metadata.uid()),
            expected: format!("one of uid {own}, under which weir runs"),
            advice: "choose another directory with --data".to_owned(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(OpenError::file(path, "set the mode to 0700"))?;
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("control.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(OpenError::file(&path, "open the lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message: who cannot read it learns less.
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() {
                "unknown"
            } else {
                pid.trim()
            };
            return Err(OpenError::InUse {
                path: directory.to_owned(),
                pid: pid.to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => {
            return Err(OpenError::File {
                path,
                action: "lock the file",
                source,
            });
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(OpenError::file(&path, "write the lock file"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_made_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let directory = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(directory.recordings()).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_second_instance_is_refused_with_the_first_ones_process() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataDir::open(parent.path()).unwrap();
        let refusal = DataDir::open(parent.path()).unwrap_err().to_string();
        assert!(refusal.contains("is in use by another weir"), "{refusal}");
        assert!(
            refusal.contains(&format!("(process {})", std::process::id())),
            "{refusal}"
        );
        drop(first);
        DataDir::open(parent.path()).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::write(&path, "").unwrap();
        let refusal = DataDir::open(&path).unwrap_err().to_string();
        assert!(refusal.contains("data: cannot make the directory"), "{refusal}");
    }
}
