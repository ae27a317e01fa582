//! A stored recording behind a new envelope.
//!
//! ```text
//! store ──read──▶ verify, envelope to end ──intact?──▶ complete ──▶ store, in place of the old
//!            └───▶ new envelope, then the same chunks, in parts ─┘ else abort: the old one stays
//! ```
//!
//! The recording passes once and is judged as it passes: nothing is signed into the store whose chain does not hold. Memory: one
//! part and one chunk, however long it is. Killed in between, the store still has the old object, whole.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use weir_api::admin::RewrapRecordingReply;
use weir_record::{SessionKey, Trust, Unlock, verify};

/// S3 wants 5 MiB at least of all parts but the last.
const PART_LEN: usize = 8 * 1024 * 1024;

/// One replacement.
pub(crate) struct Rewrite {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    /// What stands in front of the chunks, and what shall.
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
    /// Where it is there, the seals are checked, too.
    pub(crate) key: Option<SessionKey>,
    /// Public keys of data planes.
    pub(crate) trusted: Vec<[u8; 32]>,
    /// Length of the object.
    pub(crate) total_bytes: u64,
    /// Is told how far it is. Closed: nobody waits any longer, and the old object stays.
    pub(crate) progress: mpsc::Sender<RewrapRecordingReply>,
}

/// Why the old object is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error("it is not intact and was left as it is: {0}")]
    NotIntact(String),
    #[error("it cannot be copied: {0}")]
    Io(#[from] io::Error),
    #[error("the store does not take it: {0}")]
    Store(#[from] object_store::Error),
}

impl Rewrite {
    pub(crate) async fn run(self) -> Result<(), RewriteError> {
        let stored = self.objects.get(&self.path).await?;
        let source = stored.into_stream().boxed();
        let runtime = Handle::current();
        let copied = tokio::task::spawn_blocking(move || self.copy(source, runtime));
        copied
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic).into()))
    }

    fn copy(
        self,
        source: BoxStream<'static, Result<Bytes, object_store::Error>>,
        runtime: Handle,
    ) -> Result<(), RewriteError> {
        let mut tee = Tee {
            source,
            piece: Bytes::new(),
            expected: self.old,
            passed: 0,
            copy: Copy {
                objects: self.objects,
                path: self.path,
                part: self.new,
                upload: None,
                runtime,
            },
            total_bytes: self.total_bytes,
            progress: self.progress,
        };
        let unlock = self.key.as_ref().map(Unlock::Key);
        let judged = verify(&mut tee, unlock, Trust::Keys(&self.trusted));
        let refusal = match judged {
            Ok(report) => match report.findings.first() {
                None => return tee.copy.complete(),
                Some(finding) => RewriteError::NotIntact(finding.to_string()),
            },
            Err(error) => error.into(),
        };
        tee.copy.abort();
        Err(refusal)
    }
}

/// Gives the object to be judged, and its chunks to the copy.
struct Tee {
    source: BoxStream<'static, Result<Bytes, object_store::Error>>,
    piece: Bytes,
    /// The envelope that is replaced: it must still be that one.
    expected: Vec<u8>,
    passed: u64,
    copy: Copy,
    total_bytes: u64,
    progress: mpsc::Sender<RewrapRecordingReply>,
}

impl Read for Tee {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.copy.runtime.block_on(self.source.next()) {
                Some(piece) => self.take(piece.map_err(io::Error::other)?)?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buf.len());
        self.piece.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

impl Tee {
    fn take(&mut self, piece: Bytes) -> io::Result<()> {
        let begin = usize::try_from(self.passed).unwrap_or(usize::MAX);
        let of_envelope = self.expected.len().saturating_sub(begin).min(piece.len());
        if piece[..of_envelope] != self.expected[self.expected.len().min(begin)..][..of_envelope] {
            return Err(io::Error::other("it was replaced meanwhile: try again"));
        }
        self.copy.push(&piece[of_envelope..])?;
        self.passed += piece.len() as u64;
        self.piece = piece;
        let step = RewrapRecordingReply {
            done_bytes: self.passed,
            total_bytes: self.total_bytes,
            ..RewrapRecordingReply::default()
        };
        match self.progress.try_send(step) {
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(io::Error::other("nobody waits for it any longer"))
            }
            // Who is slow to look is told the next number.
            _ => Ok(()),
        }
    }
}

/// The new object, in the making.
struct Copy {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    part: Vec<u8>,
    /// Where there is more than a part.
    upload: Option<Box<dyn MultipartUpload>>,
    runtime: Handle,
}

impl Copy {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.part.extend_from_slice(bytes);
        if self.part.len() < PART_LEN {
            return Ok(());
        }
        let part = PutPayload::from(std::mem::take(&mut self.part));
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let begun = self.runtime.block_on(self.objects.put_multipart(&self.path));
                none.insert(begun.map_err(io::Error::other)?)
            }
        };
        self.runtime
            .block_on(upload.put_part(part))
            .map_err(io::Error::other)
    }

    fn complete(mut self) -> Result<(), RewriteError> {
        let rest = PutPayload::from(std::mem::take(&mut self.part));
        let Some(mut upload) = self.upload.take() else {
            return Ok(self
                .runtime
                .block_on(self.objects.put(&self.path, rest))
                .map(drop)?);
        };
        let completed = self.runtime.block_on(async {
            if rest.content_length() > 0 {
                upload.put_part(rest).await?;
            }
            upload.complete().await
        });
        if completed.is_err() {
            self.upload = Some(upload);
            self.abort();
        }
        Ok(completed.map(drop)?)
    }

    fn abort(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // It would cost space in some stores; where this fails too, their own clean-up remains.
            drop(self.runtime.block_on(upload.abort()));
        }
    }
}
