//! One recording into the store, at once or in parts.
//!
//! Memory: all uploads together hold parts of [`ROOM_MIB`] at most, and a chunk more for each; one part alone where a recording
//! is so long (beyond 620 GiB) that its parts are longer than that.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, path::Path};
use tokio::sync::OwnedSemaphorePermit;
use weir_objects::Objects;
use weir_record::{Envelope, MAX_ENVELOPE_LEN};

use super::parts::Parts;
use super::{Shelf, Upload};

/// Eight parts: enough to fill a line of 1 Gbit/s to a store that answers within half a second.
pub(super) const ROOM_MIB: u32 = 64;

/// Why a recording is not in the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// Returns the object's length.
pub(super) async fn put(shelf: &Shelf, upload: &Upload) -> Result<u64, PutError> {
    let object = upload.object();
    if upload.recovered_us.is_some() || upload.failures > 0 {
        shelf.store.clear_leftovers(&object);
    }
    if upload.recovered_us.is_some()
        && let Some(len) = rewrapped(shelf, upload, &object).await?
    {
        return Ok(len);
    }
    let mut parts = Parts::begin(&shelf.dir, &shelf.sides, upload)?;
    let room = room(shelf, &parts).await;
    let first = parts.next()?;
    let store = shelf.store.store();
    if parts.is_done() {
        let len = first.len() as u64;
        store.put(&object, PutPayload::from_bytes(first)).await?;
        return Ok(len);
    }
    let mut multipart = store.put_multipart(&object).await?;
    let sent = send(shelf, &mut *multipart, parts, (first, room)).await;
    let result = match sent {
        Ok(len) => multipart.complete().await.map(|_| len).map_err(PutError::from),
        Err(error) => Err(error),
    };
    if result.is_err() {
        // It would cost space in some stores; where this fails too, their own clean-up remains.
        drop(multipart.abort().await);
    }
    result
}

/// The length of what the store has already, if that is the recording behind a newer envelope: an earlier process had
/// stored it and did not live to say so, and to put the first envelope back would give it back to old recipients.
async fn rewrapped(shelf: &Shelf, upload: &Upload, object: &Path) -> Result<Option<u64>, PutError> {
    let store = shelf.store.store();
    let len = match store.head(object).await {
        Ok(found) => found.size,
        Err(error) if Objects::is_missing(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if len == 0 {
        return Ok(None);
    }
    let start = store
        .get_range(object, 0..len.min(MAX_ENVELOPE_LEN as u64))
        .await?;
    let envelope = Envelope::parse_start(&start).ok();
    let is_newer = envelope.is_some_and(|found| found.generation() > 0 && found.session == upload.session);
    Ok(is_newer.then_some(len))
}

/// Sends the parts, as many at a time as there is room for.
async fn send(
    shelf: &Shelf,
    multipart: &mut dyn MultipartUpload,
    mut parts: Parts<'_>,
    first: (Bytes, OwnedSemaphorePermit),
) -> Result<u64, PutError> {
    let mut len = 0;
    let mut under_way = FuturesUnordered::new();
    let mut next = Some(first);
    loop {
        if let Some((part, room)) = next.take() {
            len += part.len() as u64;
            let sent = multipart.put_part(PutPayload::from_bytes(part));
            under_way.push(async move {
                let result = sent.await;
                drop(room);
                result
            });
        }
        tokio::select! {
            Some(result) = under_way.next() => result?,
            room = room(shelf, &parts), if !parts.is_done() => next = Some((parts.next()?, room)),
            else => return Ok(len),
        }
    }
}

async fn room(shelf: &Shelf, parts: &Parts<'_>) -> OwnedSemaphorePermit {
    Arc::clone(&shelf.room)
        .acquire_many_owned(parts.part_mib().min(ROOM_MIB))
        .await
        .expect("the semaphore is never closed")
}
