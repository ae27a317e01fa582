//! What a directory needs beside what the local store of the library does.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};

use object_store::path::Path;

pub(crate) struct Directory {
    path: PathBuf,
    open: File,
}

impl Directory {
    /// Opens it; one that is missing is made for its owner alone.
    pub(crate) fn open(path: &FilePath) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Directory {
            path: path.to_owned(),
            open: File::open(path)?,
        })
    }

    /// Syncs the file system that holds it.
    ///
    /// One sync of a file system for a hundred recordings costs a hundredth of the three syncs (file, name, directory)
    /// that each would need of its own.
    pub(crate) fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.open).map_err(io::Error::from)
    }

    /// The store writes `NAME#1`, `NAME#2` and so on before it renames to `NAME`.
    pub(crate) fn clear_leftovers(&self, object: &Path) {
        let file = self.path.join(object.as_ref());
        let (Some(day), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return;
        };
        let Ok(entries) = fs::read_dir(day) else { return };
        for entry in entries.flatten() {
            let found = entry.file_name();
            let attempt = found
                .to_str()
                .and_then(|found| found.strip_prefix(name))
                .and_then(|rest| rest.strip_prefix('#'));
            if attempt.is_some_and(|number| number.parse::<u64>().is_ok()) {
                // Left there it costs space and nothing else.
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let day = root.path().join("2026/11/28");
        fs::create_dir_all(&day).unwrap();
        for name in ["a.weir", "a.weir#1", "a.weir#22", "b.weir#1", "a.weir#x"] {
            fs::write(day.join(name), b"").unwrap();
        }
        directory.clear_leftovers(&Path::from("2026/11/28/a.weir"));
        directory.clear_leftovers(&Path::from("2026/11/29/a.weir"));
        let mut left: Vec<_> = fs::read_dir(day)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a.weir", "a.weir#x", "b.weir#1"]);
    }
}
