//! A recording as the control plane hands it over: sealed bytes, and with them what opens and verifies them.

use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use tokio::runtime::Runtime;
use tonic::{Response, Status, Streaming};
use weir_api::admin::read_recording_reply::Part;
use weir_api::admin::{ReadRecordingReply, ReadRecordingRequest, RecordingHeader, WatchSessionRequest};
use weir_record::{Identities, SessionKey, Unlock};
use zeroize::{Zeroize, Zeroizing};

use crate::client::{Admin, connect};
use crate::failure::{refusal, sentence};
use crate::progress::Meter;

/// What a recording is read for: the audit log has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordingAction {
    Play,
    Export,
    Search,
    Verify,
}

impl RecordingAction {
    fn as_str(self) -> &'static str {
        match self {
            RecordingAction::Play => "play",
            RecordingAction::Export => "export",
            RecordingAction::Search => "search",
            RecordingAction::Verify => "verify",
        }
    }
}

/// The stored bytes of one recording, as they arrive.
pub(crate) struct Recording {
    // The connection lives on this runtime, which runs only while somebody waits for bytes.
    runtime: Runtime,
    stream: Streaming<ReadRecordingReply>,
    piece: Vec<u8>,
    read: usize,
    progress: Option<Meter>,
}

/// What comes before a recording's bytes.
pub(crate) struct Header {
    /// None where Weir itself was not among the recipients; the text says so.
    pub(crate) key: Result<SessionKey, String>,
    /// Ed25519 public keys of the data planes that may have signed its end.
    pub(crate) signers: Vec<[u8; 32]>,
    pub(crate) size_bytes: u64,
}

/// What opens a recording.
pub(crate) enum Opener {
    /// Weir has unwrapped the key.
    Key(SessionKey),
    /// The caller's own identities do, in this process.
    Identities(Identities),
}

impl Opener {
    pub(crate) fn unlock(&self) -> Unlock<'_> {
        match self {
            Opener::Key(key) => Unlock::Key(key),
            Opener::Identities(identities) => Unlock::Identities(identities),
        }
    }
}

impl Header {
    /// The identities in the file, if one is named; else what Weir has.
    pub(crate) fn opener(&self, identity: Option<&Path>) -> anyhow::Result<Opener> {
        if let Some(file) = identity {
            return read_identities(file).map(Opener::Identities);
        }
        self.key
            .clone()
            .map(Opener::Key)
            .map_err(|why| anyhow::anyhow!("the recording cannot be opened: {why}"))
    }
}

/// Reads an age identity file.
pub(crate) fn read_identities(path: &Path) -> anyhow::Result<Identities> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("the identity file {} cannot be read", path.display()))?;
    Identities::parse(&text).with_context(|| format!("{} opens nothing", path.display()))
}

impl Recording {
    /// Asks for a recording, and says what for.
    pub(crate) fn open(data: &Path, id: String, action: RecordingAction) -> anyhow::Result<(Header, Self)> {
        Self::begin(data, async |mut admin| {
            let action = action.as_str().to_owned();
            admin.read_recording(ReadRecordingRequest { id, action }).await
        })
    }

    /// Asks for the recording of a session that goes on: its bytes come as they are recorded.
    pub(crate) fn watch(data: &Path, id: String) -> anyhow::Result<(Header, Self)> {
        Self::begin(data, async |mut admin| {
            admin.watch_session(WatchSessionRequest { id }).await
        })
    }

    fn begin(
        data: &Path,
        ask: impl AsyncFnOnce(Admin) -> Result<Response<Streaming<ReadRecordingReply>>, Status>,
    ) -> anyhow::Result<(Header, Self)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no event loop could be started")?;
        let (header, stream) = runtime.block_on(async {
            let admin = connect(data).await?;
            let mut stream = ask(admin).await.map_err(refusal)?.into_inner();
            match stream
                .message()
                .await
                .map_err(refusal)?
                .and_then(|reply| reply.part)
            {
                Some(Part::Header(header)) => Ok((header, stream)),
                _ => anyhow::bail!("got bytes of a recording while expecting its header: see weir's log"),
            }
        })?;
        let header = Header::try_from(*header)?;
        Ok((
            header,
            Recording {
                runtime,
                stream,
                piece: Vec::new(),
                read: 0,
                progress: None,
            },
        ))
    }

    /// Counts what is read as progress of some work.
    pub(crate) fn counted(mut self, progress: &Meter) -> Self {
        self.progress = Some(progress.clone());
        self
    }
}

impl Read for Recording {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            match self.runtime.block_on(self.stream.message()) {
                Ok(Some(ReadRecordingReply {
                    part: Some(Part::Data(piece)),
                })) => {
                    self.piece = piece;
                    self.read = 0;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(0),
                Err(status) => return Err(io::Error::other(sentence(&refusal(status)))),
            }
        }
        let piece = &self.piece[self.read..];
        let count = piece.len().min(buf.len());
        buf[..count].copy_from_slice(&piece[..count]);
        self.read += count;
        if let Some(progress) = &self.progress {
            progress.lock().advance(count as u64);
        }
        Ok(count)
    }
}

impl TryFrom<RecordingHeader> for Header {
    type Error = anyhow::Error;

    fn try_from(mut header: RecordingHeader) -> anyhow::Result<Self> {
        let key = match <[u8; 32]>::try_from(header.session_key.as_slice()) {
            Ok(key) => Ok(SessionKey::from_bytes(key)),
            Err(_) if header.session_key.is_empty() => Err(std::mem::take(&mut header.session_key_error)),
            Err(_) => anyhow::bail!(
                "got a session key of {} bytes while expecting 32: is this `weir` of the running one's version?",
                header.session_key.len()
            ),
        };
        header.session_key.zeroize();
        let signers = header
            .data_plane_keys
            .iter()
            .map(|key| {
                <[u8; 32]>::try_from(key.as_slice())
                    .ok()
                    .with_context(|| format!("got a signing key of {} bytes while expecting 32", key.len()))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Header {
            key,
            signers,
            size_bytes: header.size_bytes,
        })
    }
}
