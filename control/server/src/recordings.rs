use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use weir_objects::Objects;
use weir_record::{Envelope, Identities, KeyError, MAX_ENVELOPE_LEN, SessionKey};
use zeroize::Zeroizing;

/// Recordings in the object store, and the identities that open them.
pub(crate) struct Recordings {
    objects: Objects,
    identities: RwLock<Arc<Vec<OwnIdentity>>>,
}

/// An age identity of the control plane's own.
pub(crate) struct OwnIdentity {
    /// Its name in the directory: in the order of names they were made.
    pub(crate) name: String,
    pub(crate) public: String,
    pub(crate) identities: Identities,
}

/// A recording that is about to be read.
pub(crate) struct Opened {
    pub(crate) size_bytes: u64,
    /// The unwrapped session key, or why there is none.
    pub(crate) session_key: Result<Zeroizing<[u8; 32]>, String>,
    pub(crate) bytes: BoxStream<'static, Result<Bytes, object_store::Error>>,
}

impl Recordings {
    pub(crate) fn new(objects: Objects, identities: Vec<OwnIdentity>) -> Recordings {
        Recordings {
            objects,
            identities: RwLock::new(Arc::new(identities)),
        }
    }

    /// Oldest first.
    pub(crate) fn identities(&self) -> Arc<Vec<OwnIdentity>> {
        Arc::clone(&self.identities.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_identities(&self, identities: Vec<OwnIdentity>) {
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identities);
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) async fn open(&self, object: &str) -> Result<Opened, object_store::Error> {
        let (start, _) = self.start(object).await?;
        let stored = self.objects.store().get(&Path::parse(object)?).await?;
        Ok(Opened {
            // Of the object that is streamed, should it have been replaced since.
            size_bytes: stored.meta.size,
            session_key: self.session_key(&start),
            bytes: stored.into_stream().boxed(),
        })
    }

    /// The bytes among which the envelope is, and the object's length.
    pub(crate) async fn start(&self, object: &str) -> Result<(Bytes, u64), object_store::Error> {
        let path = Path::parse(object)?;
        let store = self.objects.store();
        let size_bytes = store.head(&path).await?.size;
        let start = store
            .get_range(&path, 0..size_bytes.min(MAX_ENVELOPE_LEN as u64))
            .await?;
        Ok((start, size_bytes))
    }

    /// The session key, out of a recording's first bytes.
    pub(crate) fn session_key(&self, start: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
        let envelope = Envelope::parse_start(start).map_err(|fault| fault.to_string())?;
        let key = self.unwrap(&envelope).map_err(|problem| match problem {
            KeyError::NotForUs => NOT_OURS.to_owned(),
            other => other.to_string(),
        })?;
        Ok(key.to_bytes())
    }

    /// The session key, with whatever own identity opens it.
    pub(crate) fn unwrap(&self, envelope: &Envelope) -> Result<SessionKey, KeyError> {
        let mut refused = KeyError::NotForUs;
        for own in self.identities().iter().rev() {
            match own.identities.unwrap(&envelope.wrapped_key) {
                Ok(key) => return Ok(key),
                Err(KeyError::NotForUs) => {}
                Err(other) => refused = other,
            }
        }
        Err(refused)
    }
}

/// Who can, where Weir cannot.
pub(crate) const NOT_OURS: &str = "Weir is not among its recipients: who has the age identity of one of them reads it with \
                                   --identity FILE";
