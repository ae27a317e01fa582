use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use weir_objects::Objects;
use weir_record::{Envelope, Identities, MAX_ENVELOPE_LEN};
use zeroize::Zeroizing;

/// Recordings in the object store, and the identity that opens them.
pub(crate) struct Recordings {
    objects: Objects,
    identities: Identities,
}

/// A recording that is about to be read.
pub(crate) struct Opened {
    pub(crate) size_bytes: u64,
    /// The unwrapped session key, or why there is none.
    pub(crate) session_key: Result<Zeroizing<[u8; 32]>, String>,
    pub(crate) bytes: BoxStream<'static, Result<Bytes, object_store::Error>>,
}

impl Recordings {
    pub(crate) fn new(objects: Objects, identities: Identities) -> Recordings {
        Recordings { objects, identities }
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) async fn open(&self, object: &str) -> Result<Opened, object_store::Error> {
        let path = Path::parse(object)?;
        let store = self.objects.store();
        let size_bytes = store.head(&path).await?.size;
        let start = store
            .get_range(&path, 0..size_bytes.min(MAX_ENVELOPE_LEN as u64))
            .await?;
        let stored = store.get(&path).await?;
        Ok(Opened {
            // Of the object that is streamed, should it have been replaced since.
            size_bytes: stored.meta.size,
            session_key: self.session_key(&start),
            bytes: stored.into_stream().boxed(),
        })
    }

    fn session_key(&self, start: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
        let envelope = Envelope::parse_start(start).map_err(|fault| fault.to_string())?;
        let key = self
            .identities
            .unwrap(&envelope.wrapped_key)
            .map_err(|problem| problem.to_string())?;
        Ok(key.to_bytes())
    }
}
