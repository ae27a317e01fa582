//! What an operator says about the store.

use std::fmt;
use std::path::PathBuf;

use object_store::path::Path;
use serde::Deserialize;

/// A store as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is.
    pub place: Place,
    /// How S3 is reached, where it is S3.
    pub s3: S3Settings,
}

/// Where recordings are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket, or what is below a prefix in it.
    S3 {
        /// Its name.
        bucket: String,
        /// Before each object's name; may be empty.
        prefix: Path,
    },
}

/// `[recording.s3]` of the configuration. No secret has a place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    /// Region that requests are signed for. `None`: `AWS_REGION`, else us-east-1.
    pub region: Option<String>,
    /// URL of a server other than AWS's.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path and not in the name of the host. `None`: yes with an endpoint, no with AWS.
    pub path_style: Option<bool>,
    /// Whether an endpoint may be spoken to without TLS.
    pub allow_http: bool,
    /// File in the format of `~/.aws/credentials`. `None`: the environment, else the role of the instance.
    pub credentials_file: Option<PathBuf>,
    /// Section of that file. `None`: `default`.
    pub profile: Option<String>,
}

/// What of it cannot be meant. A sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl StoreConfig {
    /// A store in a directory.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        StoreConfig {
            place: Place::Directory(path.into()),
            s3: S3Settings::default(),
        }
    }

    /// Puts together what `store` and `[recording.s3]` say.
    ///
    /// # Errors
    /// If they do not go together, or cannot be meant.
    pub fn new(store: &str, s3: S3Settings) -> Result<Self, ConfigError> {
        let place = Place::parse(store)?;
        match &place {
            Place::Directory(_) if s3 != S3Settings::default() => Err(ConfigError(format!(
                "got a table [recording.s3] while `store` is the directory {store:?}: set store = \"s3://BUCKET/PREFIX\", \
                 or take the table out"
            ))),
            Place::Directory(_) => Ok(StoreConfig { place, s3 }),
            Place::S3 { .. } => {
                s3.check()?;
                Ok(StoreConfig { place, s3 })
            }
        }
    }
}

impl Place {
    fn parse(store: &str) -> Result<Self, ConfigError> {
        let refused = |got: &str| {
            ConfigError(format!(
                "got {got} in `store` while expecting a directory or \"s3://BUCKET/PREFIX\""
            ))
        };
        let Some((scheme, rest)) = store.split_once("://") else {
            return match store {
                "" => Err(refused("nothing")),
                path => Ok(Place::Directory(path.into())),
            };
        };
        if scheme != "s3" {
            return Err(refused(&format!("a URL of the kind {scheme:?}")));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            // What stands there may be a secret, so it is not repeated.
            return Err(ConfigError(
                "got credentials or a port before the bucket in `store`: name the bucket alone, the server in `endpoint`, \
                 and the file with the credentials in `credentials_file`"
                    .to_owned(),
            ));
        }
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        // The rules of the oldest buckets, which are the widest.
        if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(is_fit) {
            return Err(refused(&format!("the bucket {bucket:?}")));
        }
        let prefix = Path::parse(prefix).map_err(|_| refused(&format!("the prefix {prefix:?}")))?;
        Ok(Place::S3 {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Directory(path) => path.display().fmt(f),
            Place::S3 { bucket, prefix } if prefix.as_ref().is_empty() => write!(f, "s3://{bucket}"),
            Place::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl S3Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        let Some(endpoint) = &self.endpoint else {
            return self.check_file();
        };
        let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains('@') {
            return refuse(
                "got credentials in `endpoint`: name the server alone, and the file with them in `credentials_file`"
                    .to_owned(),
            );
        }
        if !["http", "https"].contains(&scheme) || host.is_empty() || host.contains(['/', '?', '#']) {
            return refuse(format!(
                "got endpoint {endpoint:?} while expecting the URL of a server without a path, \
                 \"https://minio.example.org:9000\" for example"
            ));
        }
        if scheme == "http" && !self.allow_http {
            return refuse(format!(
                "got endpoint {endpoint:?} without TLS: write https, or set allow_http = true if whoever is between \
                 may see and change what passes"
            ));
        }
        self.check_file()
    }

    fn check_file(&self) -> Result<(), ConfigError> {
        if self.profile.is_some() && self.credentials_file.is_none() {
            return Err(ConfigError(
                "got `profile` without `credentials_file`, whose section it names: set both or none"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn is_path_style(&self, bucket: &str) -> bool {
        // A dot in the name would need a certificate for more than one label.
        self.path_style
            .unwrap_or(self.endpoint.is_some() || bucket.contains('.'))
    }

    /// The endpoint as the client wants it: with the bucket in the host's name where it belongs there.
    pub(crate) fn endpoint_of(&self, bucket: &str) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?.trim_end_matches('/');
        if self.is_path_style(bucket) {
            return Some(endpoint.to_owned());
        }
        let (scheme, host) = endpoint.split_once("://")?;
        Some(format!("{scheme}://{bucket}.{host}"))
    }
}
