//! Files that commands write: private ones for their owner alone, and none in place of another unless asked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// 0600: it holds a private key or what somebody typed.
    Owner,
    /// 0644: a certificate or a public key.
    Everybody,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Access::Owner => 0o600,
            Access::Everybody => 0o644,
        }
    }
}

/// Refuses before any work is done if one of `paths` exists and may not be replaced.
pub(crate) fn refuse_existing<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
    force: bool,
) -> anyhow::Result<()> {
    for path in paths {
        if !force && path.symlink_metadata().is_ok() {
            anyhow::bail!(exists(path));
        }
    }
    Ok(())
}

fn exists(path: &Path) -> String {
    format!(
        "got {}, which exists, while expecting a new file: choose another --out, or replace it with --force",
        path.display()
    )
}

/// A file in the making beside its later name; nothing is seen under that name until [`NewFile::commit`].
pub(crate) struct NewFile {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
    force: bool,
}

impl NewFile {
    pub(crate) fn create(path: &Path, access: Access, force: bool) -> anyhow::Result<Self> {
        refuse_existing([path], force)?;
        let mut name = path
            .file_name()
            .with_context(|| format!("got {} while expecting the name of a file", path.display()))?
            .to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(access.mode())
            .open(&unfinished)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(NewFile {
            file,
            unfinished,
            path: path.to_owned(),
            force,
        })
    }

    /// Removes what was written and ends the process if a signal asks it to end.
    pub(crate) fn remove_on_signal(&self) -> io::Result<()> {
        let (unfinished, path) = (self.unfinished.clone(), self.path.clone());
        crate::signals::end_with(move || {
            // Gone already where it has just been finished.
            let _ = fs::remove_file(unfinished);
            format!("interrupted: {} was not written", path.display())
        })
    }

    /// Gives the file its name, once its bytes are on the disk.
    pub(crate) fn commit(self) -> anyhow::Result<()> {
        self.file.sync_all().map_err(|error| self.unwritable(error))?;
        if self.force {
            fs::rename(&self.unfinished, &self.path)?;
            return Ok(());
        }
        // A link, unlike a rename, never replaces what somebody else has put there meanwhile.
        match fs::hard_link(&self.unfinished, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => anyhow::bail!(exists(&self.path)),
            result => result.with_context(|| format!("{} cannot be written", self.path.display())),
        }
    }
}

impl NewFile {
    /// Says of which file a failure is, and what helps: the error passes through code that knows of no file.
    fn unwritable(&self, error: io::Error) -> io::Error {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => io::Error::new(
                kind,
                format!(
                    "{path} cannot be written: {error}: make room there, or write to another file system"
                ),
            ),
            kind => io::Error::new(kind, format!("{path} cannot be written: {error}")),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf).map_err(|error| self.unwritable(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Writes one whole file.
pub(crate) fn write(path: &Path, access: Access, force: bool, contents: &[u8]) -> anyhow::Result<()> {
    let mut file = NewFile::create(path, access, force)?;
    file.write_all(contents)?;
    file.commit()
}

/// `path` with `ending` after its last name: `D/web1` and `-cert.pub` give `D/web1-cert.pub`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The text of a file, or of standard input where `path` is `-`.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return io::read_to_string(io::stdin()).context("standard input cannot be read");
    }
    fs::read_to_string(path).map_err(|error| anyhow::anyhow!(unreadable(path, &error)))
}

/// Why a file cannot be read, and what to do.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "name a file that exists",
        io::ErrorKind::PermissionDenied => "become a user who may read it, or let this one",
        io::ErrorKind::IsADirectory => "name a file in it",
        io::ErrorKind::InvalidData => "name a file of text",
        _ => "see to what it lies on, or name another file",
    };
    format!("{} cannot be read: {error}: {advice}", path.display())
}

/// The one public key in a file of the format that `ssh-keygen` writes.
pub(crate) fn read_public_key(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).map_err(|error| anyhow::anyhow!(unreadable(path, &error)))?;
    if text.contains("PRIVATE KEY-----") {
        return Err(crate::failure::usage(format!(
            "got a private key in {} while expecting a public one: give {}.pub",
            path.display(),
            path.display()
        )));
    }
    let mut keys = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        (None, _) => anyhow::bail!("got no key in {} while expecting a public key", path.display()),
        (Some(_), Some(_)) => {
            anyhow::bail!(
                "got several lines in {} while expecting one public key",
                path.display()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_appear_whole_with_their_mode_and_replace_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web1");
        write(&path, Access::Owner, false, b"secret").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let error = write(&path, Access::Everybody, false, b"other").unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"secret");

        write(&path, Access::Everybody, true, b"other").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing unfinished is left"
        );
    }

    #[test]
    fn an_abandoned_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NewFile::create(&dir.path().join("x"), Access::Owner, false).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &Path| read_text(path).unwrap_err().to_string();
        let missing = text(&dir.path().join("x"));
        assert!(
            missing.contains("/x cannot be read: No such file")
                && missing.ends_with(": name a file that exists"),
            "{missing}"
        );
        assert!(text(dir.path()).ends_with(": name a file in it"));
        let binary = dir.path().join("binary");
        fs::write(&binary, [0xff]).unwrap();
        assert!(text(&binary).ends_with(": name a file of text"));
        assert_eq!(
            read_public_key(&dir.path().join("x")).unwrap_err().to_string(),
            missing
        );
    }

    #[test]
    fn a_private_key_is_not_taken_for_a_public_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        assert!(read_public_key(&path).unwrap_err().to_string().contains("id.pub"));
        fs::write(&path, "\nssh-ed25519 AAAA me\n").unwrap();
        assert_eq!(read_public_key(&path).unwrap(), "ssh-ed25519 AAAA me");
    }
}
