//! Where finished recordings are kept: a directory, or a bucket of an S3 server.
//!
//! ```text
//! weir.toml ─▶ StoreConfig ─▶ Objects ─▶ data plane: puts what is finished
//!                                    └─▶ control plane: reads it back, deletes it when its time is over
//! ```
//!
//! Nothing here waits for the store: one that is away is opened like any other, and found out by whoever uses it. What
//! goes wrong is told in words by [`Objects::explain`]. Each plane opens the store for itself: an HTTP connection belongs to the threads of
//! whoever has made it, and one plane's must not wait for the other's.

mod config;
mod credentials;
mod directory;
mod fault;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};

pub use config::{ConfigError, Place, S3Settings, StoreConfig};

use credentials::FileCredentials;
use directory::Directory;

/// A request that has not got its answer is given up after this: a part of a recording passes in it at 70 kB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What one request is tried again for at once, so that a dropped connection does not cost a large recording all its
/// parts. A store that is away for longer is its user's affair, who puts off the whole.
const REQUEST_RETRIES: usize = 2;

/// Where S3 is reached when nothing else is said: AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// Variables from which credentials are taken, with what says where they come from. Nothing else is taken from the
/// environment beside the region: what is not in the configuration should not change where recordings go.
const CREDENTIAL_VARIABLES: [(&str, AmazonS3ConfigKey); 11] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        AmazonS3ConfigKey::WebIdentityTokenFile,
    ),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
    ),
    ("AWS_METADATA_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

/// An object store that recordings are kept in. Clones are handles to the same one.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The same, where a put that has returned is durable.
    durable: Arc<dyn ObjectStore>,
    config: Arc<StoreConfig>,
    directory: Option<Arc<Directory>>,
}

/// What stands in the way of a store that may be there all the same.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("the directory of recordings, {}, cannot be used: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is configured, or found in the environment, cannot be used together.
    #[error("the store {place} cannot be used: {problem}")]
    S3 {
        /// Which.
        place: Place,
        /// Why, without secrets.
        problem: String,
    },
}

impl Objects {
    /// Opens the store, and makes its directory if that is missing. A remote one is not spoken to.
    ///
    /// # Errors
    /// [`OpenError`], a sentence for the operator.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        Self::open_with(config, |name| std::env::var(name).ok())
    }

    fn open_with(
        config: &StoreConfig,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OpenError> {
        let (store, durable, directory): (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>, _) = match &config.place
        {
            Place::Directory(path) => {
                let failed = |source| OpenError::Directory {
                    path: path.clone(),
                    source,
                };
                let directory = Directory::open(path).map_err(failed)?;
                let store = LocalFileSystem::new_with_prefix(path)
                    .map_err(|error| failed(io::Error::other(error)))?;
                let durable = store.clone().with_fsync(true);
                (Arc::new(store), Arc::new(durable), Some(Arc::new(directory)))
            }
            Place::S3 { bucket, prefix } => {
                let s3 = s3(bucket, &config.s3, environment).map_err(|problem| OpenError::S3 {
                    place: config.place.clone(),
                    problem,
                })?;
                let store = Arc::new(PrefixStore::new(s3, prefix.clone()));
                (store.clone(), store, None)
            }
        };
        Ok(Objects {
            store,
            durable,
            config: Arc::new(config.clone()),
            directory,
        })
    }

    /// A store of another kind, under the name of a place.
    #[must_use]
    pub fn of(store: Arc<dyn ObjectStore>, place: Place) -> Self {
        let config = StoreConfig {
            place,
            s3: S3Settings::default(),
        };
        Objects {
            durable: Arc::clone(&store),
            store,
            config: Arc::new(config),
            directory: None,
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The store for what takes the place of an object: a power failure finds the one or the other, whole. For many
    /// new objects [`store`](Objects::store) and one [`sync`](Objects::sync) are cheaper.
    #[must_use]
    pub fn durable(&self) -> &Arc<dyn ObjectStore> {
        &self.durable
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.config.place
    }

    /// Makes durable what the store has taken, and what was deleted from it, where that is not so by itself. Blocks.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&self) -> io::Result<()> {
        self.directory
            .as_ref()
            .map_or(Ok(()), |directory| directory.sync())
    }

    /// Removes what attempts that a kill cut short have left beside an object. In a bucket they are out of sight: there its
    /// own rule for incomplete uploads clears them away.
    pub fn clear_leftovers(&self, object: &Path) {
        if let Some(directory) = &self.directory {
            directory.clear_leftovers(object);
        }
    }

    /// Asks the store for something that is not there, to learn whether it could be had.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn probe(&self) -> Result<(), String> {
        match self.store.get(&Path::from(PROBE)).await {
            Ok(_) => Ok(()),
            Err(error) if Self::is_missing(&error) => Ok(()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Whether nothing is wrong with the store, and the object alone is not there.
    #[must_use]
    pub fn is_missing(error: &object_store::Error) -> bool {
        fault::is_missing_object(error)
    }

    /// What went wrong and what to do about it, in one sentence without secrets.
    #[must_use]
    pub fn explain(&self, error: &object_store::Error) -> String {
        fault::explain(&self.config, error)
    }
}

/// Never written.
const PROBE: &str = "is-the-store-there";

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("place", &self.config.place)
            .finish_non_exhaustive()
    }
}

fn s3(
    bucket: &str,
    settings: &S3Settings,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<object_store::aws::AmazonS3, String> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let region = settings
        .region
        .clone()
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(!settings.is_path_style(bucket))
        // One object at a time is deleted, which takes no list of them.
        .with_disable_bulk_delete(true)
        .with_client_options(
            ClientOptions::new()
                .with_allow_http(settings.allow_http)
                .with_timeout(REQUEST_TIMEOUT)
                .with_connect_timeout(CONNECT_TIMEOUT),
        )
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(2),
                base: 2.0,
            },
            max_retries: REQUEST_RETRIES,
            retry_timeout: Duration::from_secs(10),
        });
    if let Some(endpoint) = settings.endpoint_of(bucket) {
        builder = builder.with_endpoint(endpoint);
    }
    match &settings.credentials_file {
        Some(path) => {
            let file = FileCredentials::new(path.clone(), settings.profile.clone());
            builder = builder.with_credentials(Arc::new(file) as AwsCredentialProvider);
        }
        None => {
            for (name, key) in CREDENTIAL_VARIABLES {
                if let Some(value) = variable(name) {
                    builder = builder.with_config(key, value);
                }
            }
        }
    }
    // Its errors speak of what is missing, never of values.
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
