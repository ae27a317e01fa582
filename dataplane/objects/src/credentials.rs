//! Credentials from a file in the format of `~/.aws/credentials`.
//!
//! The file is looked at before each request and read again when it has changed, so that who changes keys need not start Weir again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use zeroize::Zeroizing;

/// Longest file that is read.
const LIMIT: usize = 64 * 1024;

/// What one looks at to see whether the file has changed: a new file under the same name, a change within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    file: (u64, u64),
    changed: (i64, i64),
    len: u64,
}

#[derive(Debug)]
pub(crate) struct FileCredentials {
    path: PathBuf,
    profile: String,
    /// [`AwsCredential`] does not show its secrets when it is printed; that they are not wiped when it goes is up to its crate.
    read: Mutex<Option<(Version, Arc<AwsCredential>)>>,
}

/// Why the file gives no credentials. Says nothing of what stands in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("the credentials file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the credentials file {} is longer than {LIMIT} bytes or no text: expected the format of ~/.aws/credentials", .0.display())]
    NoText(PathBuf),
    #[error("the credentials file {} has no section [{profile}]: add it, or name another one in `profile`", path.display())]
    NoProfile { path: PathBuf, profile: String },
    #[error("section [{profile}] of the credentials file {} has no {key}: add it", path.display())]
    NoKey {
        path: PathBuf,
        profile: String,
        key: &'static str,
    },
}

impl FileCredentials {
    pub(crate) fn new(path: PathBuf, profile: Option<String>) -> Self {
        FileCredentials {
            path,
            profile: profile.unwrap_or_else(|| "default".to_owned()),
            read: Mutex::default(),
        }
    }

    fn current(&self) -> Result<Arc<AwsCredential>, FileError> {
        let unreadable = |source| FileError::Unreadable {
            path: self.path.clone(),
            source,
        };
        let version = version(&fs::metadata(&self.path).map_err(unreadable)?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, credential)) = &*read
            && *of == version
        {
            return Ok(Arc::clone(credential));
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.mode() & 0o004 != 0 {
            tracing::warn!(file = %self.path.display(), "the credentials of the store can be read by everybody on this machine: chmod 600");
        }
        let version = self::version(&metadata);
        // Long enough from the start: a buffer that grows leaves its former self behind.
        let mut text = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
        file.take(LIMIT as u64 + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        let text = std::str::from_utf8(&text)
            .ok()
            .filter(|text| text.len() <= LIMIT)
            .ok_or_else(|| FileError::NoText(self.path.clone()))?;
        let credential = Arc::new(self.parse(text)?);
        *read = Some((version, Arc::clone(&credential)));
        Ok(credential)
    }

    fn parse(&self, text: &str) -> Result<AwsCredential, FileError> {
        let mut in_section = false;
        let mut is_there = false;
        let (mut key_id, mut secret_key, mut token) = (None, None, None);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                in_section = name.trim() == self.profile;
                is_there |= in_section;
            } else if in_section
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                let value = Some(value.trim()).filter(|value| !value.is_empty());
                match key.trim().to_ascii_lowercase().as_str() {
                    "aws_access_key_id" => key_id = value,
                    "aws_secret_access_key" => secret_key = value,
                    "aws_session_token" => token = value,
                    // Other programs have others.
                    _ => {}
                }
            }
        }
        let (path, profile) = (self.path.clone(), self.profile.clone());
        if !is_there {
            return Err(FileError::NoProfile { path, profile });
        }
        let missing = |key| FileError::NoKey {
            path: path.clone(),
            profile: profile.clone(),
            key,
        };
        Ok(AwsCredential {
            key_id: key_id.ok_or_else(|| missing("aws_access_key_id"))?.to_owned(),
            secret_key: secret_key
                .ok_or_else(|| missing("aws_secret_access_key"))?
                .to_owned(),
            token: token.map(str::to_owned),
        })
    }
}

fn version(metadata: &fs::Metadata) -> Version {
    Version {
        file: (metadata.dev(), metadata.ino()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        len: metadata.len(),
    }
}

#[async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.current().map_err(|error| object_store::Error::Generic {
            store: "credentials",
            source: Box::new(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# keys\n[default]\naws_access_key_id = AKONE\naws_secret_access_key=s/e+c=ret\n\
                        region = nowhere\n\n[ weir ]\n; another\nAWS_ACCESS_KEY_ID=AKTWO\n\
                        aws_secret_access_key = two\naws_session_token = t==\n[empty]\naws_access_key_id =\n";

    fn provider(profile: Option<&str>) -> (tempfile::TempDir, FileCredentials) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        fs::write(&path, FILE).unwrap();
        (dir, FileCredentials::new(path, profile.map(str::to_owned)))
    }

    fn read(profile: Option<&str>) -> Result<(String, String, Option<String>), String> {
        let (_dir, provider) = provider(profile);
        provider
            .current()
            .map(|found| {
                (
                    found.key_id.clone(),
                    found.secret_key.clone(),
                    found.token.clone(),
                )
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_is_read_as_other_programs_read_it() {
        assert_eq!(read(None).unwrap(), ("AKONE".into(), "s/e+c=ret".into(), None));
        assert_eq!(
            read(Some("weir")).unwrap(),
            ("AKTWO".into(), "two".into(), Some("t==".into()))
        );
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_that_is_there() {
        let error = read(Some("other")).unwrap_err();
        assert!(error.contains("no section [other]"), "{error}");
        let error = read(Some("empty")).unwrap_err();
        assert!(error.contains("no aws_access_key_id"), "{error}");
        let missing = FileCredentials::new("/nonexistent/credentials".into(), None);
        let error = missing.current().unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/credentials cannot be read"),
            "{error}"
        );
        let (_dir, long) = provider(None);
        fs::write(&long.path, FILE.repeat(500)).unwrap();
        assert!(
            long.current()
                .unwrap_err()
                .to_string()
                .contains("longer than 65536")
        );
        fs::write(&long.path, [0xff; 9]).unwrap();
        assert!(long.current().unwrap_err().to_string().contains("no text"));
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_unchanged_one_is_not() {
        let (_dir, provider) = provider(None);
        let first = provider.current().unwrap();
        assert!(Arc::ptr_eq(&first, &provider.current().unwrap()));
        let replaced = provider.path.with_extension("new");
        fs::write(&replaced, FILE.replace("AKONE", "AKNEW")).unwrap();
        fs::rename(&replaced, &provider.path).unwrap();
        assert_eq!(provider.current().unwrap().key_id, "AKNEW");
    }

    #[test]
    fn secrets_do_not_show() {
        let (_dir, provider) = provider(None);
        provider.current().unwrap();
        let shown = format!("{provider:?}");
        assert!(shown.contains("AKONE") && !shown.contains("s/e+c=ret"), "{shown}");
    }
}
