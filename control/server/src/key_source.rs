use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weir_ca::KeyEncryptionKey;
use weir_crypto::random::{Random, SystemRandom};
use zeroize::Zeroizing;

use crate::error::OpenError;

const KEY_BYTES: usize = 32;

/// Where the key-encryption key comes from: 32 bytes as 64 hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// `control.key` in the data directory, made at the first start. It guards against a copy of the database alone; who wants
    /// more keeps the key elsewhere.
    #[default]
    DataDirectory,
    /// A file that somebody else provides.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

impl KeySource {
    /// Gets the key. `fresh`: nothing has been sealed yet, so that a missing key file may be made.
    pub(crate) fn load(&self, key_file: &Path, fresh: bool) -> Result<KeyEncryptionKey, OpenError> {
        let text = match self {
            KeySource::DataDirectory => own_file(key_file, fresh)?,
            KeySource::File(path) => read_file(path)?,
            KeySource::Environment(name) => std::env::var(name).map(Zeroizing::new).map_err(|_| {
                OpenError::Key(format!(
                    "environment variable {name} is not set while the configuration names it"
                ))
            })?,
        };
        let key = parse(text.trim()).ok_or_else(|| {
            OpenError::Key(format!(
                "got {} characters while expecting 64 hexadecimal digits",
                text.trim().chars().count()
            ))
        })?;
        Ok(KeyEncryptionKey::new(&key))
    }
}

fn own_file(path: &Path, fresh: bool) -> Result<Zeroizing<String>, OpenError> {
    match read_file(path) {
        Err(OpenError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if fresh {
                return make_file(path);
            }
            // A new key would open nothing, and hide that the old one is gone.
            Err(OpenError::Key(format!(
                "{} is missing, and the database holds keys encrypted under it: put it back",
                path.display()
            )))
        }
        other => other,
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, OpenError> {
    let metadata = fs::metadata(path).map_err(OpenError::file(path, "read the key"))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(OpenError::Unsafe {
            path: path.to_owned(),
            got: format!("mode {:04o}", metadata.mode() & 0o7777),
            expected: "a key that only its owner can read".to_owned(),
            advice: format!("run chmod 600 {}", path.display()),
        });
    }
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(OpenError::file(path, "read the key"))
}

fn make_file(path: &Path) -> Result<Zeroizing<String>, OpenError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom.fill(&mut *key);
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
    for byte in *key {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).expect("a nibble is a hexadecimal digit"));
        }
    }
    text.push('\n');
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(OpenError::file(path, "write the key"))?;
    Ok(text)
}

fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in digits {
            *byte = *byte << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(directory: &Path, fresh: bool) -> Result<KeyEncryptionKey, OpenError> {
        KeySource::DataDirectory.load(&directory.join("control.key"), fresh)
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        load(directory.path(), true).unwrap();
        let path = directory.path().join("control.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = load(directory.path(), false).unwrap_err().to_string();
        assert!(
            refusal.contains("got mode 0640") && refusal.contains("chmod 600"),
            "{refusal}"
        );
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let refusal = load(directory.path(), false).unwrap_err().to_string();
        assert!(
            refusal.contains("is missing") && refusal.contains("put it back"),
            "{refusal}"
        );
    }

    #[test]
    fn a_malformed_key_is_not_repeated_in_the_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "0123456789abcdefg").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let source = KeySource::File(path.clone());
        let refusal = source.load(&path, false).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "key-encryption key: got 17 characters while expecting 64 hexadecimal digits"
        );
        let missing = KeySource::Environment("WEIR_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(
            missing
                .load(&path, false)
                .unwrap_err()
                .to_string()
                .contains("is not set")
        );
    }
}
