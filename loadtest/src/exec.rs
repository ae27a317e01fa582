//! One command on one connection, without sockets: authentication, a session channel, `exec`, its end.
//!
//! ```text
//! Authenticating ─▶ Opening ─▶ Asking ─▶ Running ─▶ Over
//!       │ denied       │ refused   │ refused   │ closed without a status
//!       └──────────────┴───────────┴───────────┴──▶ Failure
//! ```

use weir_ssh::Extensions;
use weir_ssh::auth::AuthError;
use weir_ssh::auth::client::{ClientAuth, ClientStep};
use weir_ssh::wire::{Reader, WireError, Writer, msg};

/// Our number for the one channel there is.
const CHANNEL: u32 = 0;
/// What the server may send us; counted, not kept.
const WINDOW: u32 = 2 << 20;
const MAXIMUM_PACKET: u32 = 32 << 10;

/// A command from the first key exchange to its end.
pub struct Exec {
    stage: Stage,
    command: String,
    peer_channel: u32,
    /// What the server may still send before it needs an adjustment.
    window: u32,
    received_bytes: u64,
    exit: Option<Exit>,
}

/// How far a command has come.
pub enum Progress {
    /// Nothing worth a note.
    Same,
    /// The server has let us in.
    Authenticated,
    /// The command runs.
    Started,
    /// The first byte of its output has come.
    FirstOutput,
    /// The channel is closed, in order.
    Over(Exit),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u32),
    /// By this signal, without `SIG`.
    Signal(String),
}

/// Why a command did not come to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The server did not let us in.
    #[error("authentication: {0}")]
    Denied(String),
    /// The server did not open the channel.
    #[error("channel refused: {0}")]
    Refused(String),
    /// The server did not run the command.
    #[error("exec refused")]
    NotRun,
    /// The channel was closed before the command's end was told.
    #[error("channel closed without an exit status")]
    NoStatus,
    /// A message that has no place here.
    #[error("got message {0} while {1}")]
    Unexpected(u8, &'static str),
    /// A message that cannot be read.
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    /// The server broke the authentication protocol.
    #[error("authentication: {0}")]
    Authentication(#[from] AuthError),
    /// The transport cannot go on.
    #[error("{0}")]
    Transport(#[from] weir_ssh::Error),
}

enum Stage {
    Authenticating(Box<ClientAuth>),
    Opening,
    Asking,
    Running,
    Over,
}

impl Exec {
    /// Begins: what is to be said first is appended to `replies`.
    pub fn start(mut auth: ClientAuth, command: &str, replies: &mut Vec<Vec<u8>>) -> Self {
        auth.start(replies);
        Self {
            stage: Stage::Authenticating(Box::new(auth)),
            command: command.to_owned(),
            peer_channel: 0,
            window: WINDOW,
            received_bytes: 0,
            exit: None,
        }
    }

    /// Bytes of output so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Takes a message; answers go to `replies`. `extensions` is what the server has told of itself.
    ///
    /// # Errors
    /// [`Failure`], after which the connection is of no further use.
    pub fn receive(
        &mut self,
        payload: &[u8],
        extensions: &Extensions,
        replies: &mut Vec<Vec<u8>>,
    ) -> Result<Progress, Failure> {
        if let Stage::Authenticating(auth) = &mut self.stage {
            return match auth.receive(payload, extensions, replies)? {
                ClientStep::Continue | ClientStep::Banner(_) => Ok(Progress::Same),
                ClientStep::Failed(failure) => Err(Failure::Denied(failure.to_string())),
                ClientStep::Success => {
                    replies.push(channel_open());
                    self.stage = Stage::Opening;
                    Ok(Progress::Authenticated)
                }
            };
        }
        let mut reader = Reader::new(payload);
        let number = reader.u8()?;
        match number {
            msg::GLOBAL_REQUEST => {
                reader.string()?;
                // hostkeys-00, keepalive: OpenSSH counts a refusal as an answer.
                if reader.bool()? {
                    replies.push(vec![msg::REQUEST_FAILURE]);
                }
                Ok(Progress::Same)
            }
            msg::CHANNEL_OPEN_CONFIRMATION | msg::CHANNEL_OPEN_FAILURE => {
                self.opened(number, reader, replies)
            }
            msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => self.answered(number),
            msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA => self.data(number, reader, replies),
            msg::CHANNEL_REQUEST => self.request(reader, replies),
            msg::CHANNEL_CLOSE => self.closed(replies),
            msg::CHANNEL_WINDOW_ADJUST | msg::CHANNEL_EOF => Ok(Progress::Same),
            other => Err(Failure::Unexpected(other, self.stage.name())),
        }
    }

    /// A request that a living session answers: what an idle session is checked with.
    pub fn are_you_there(&self) -> Vec<u8> {
        let mut payload = vec![msg::CHANNEL_REQUEST];
        payload.put_u32(self.peer_channel);
        payload.put_string("keepalive@openssh.com");
        payload.put_bool(true);
        payload
    }

    /// Ends the command from this side.
    pub fn close(&self) -> Vec<u8> {
        let mut payload = vec![msg::CHANNEL_CLOSE];
        payload.put_u32(self.peer_channel);
        payload
    }

    fn opened(
        &mut self,
        number: u8,
        mut reader: Reader<'_>,
        replies: &mut Vec<Vec<u8>>,
    ) -> Result<Progress, Failure> {
        if !matches!(self.stage, Stage::Opening) {
            return Err(Failure::Unexpected(number, self.stage.name()));
        }
        let _ours = reader.u32()?;
        if number == msg::CHANNEL_OPEN_FAILURE {
            let _reason = reader.u32()?;
            return Err(Failure::Refused(
                String::from_utf8_lossy(reader.string()?).into_owned(),
            ));
        }
        self.peer_channel = reader.u32()?;
        let mut payload = vec![msg::CHANNEL_REQUEST];
        payload.put_u32(self.peer_channel);
        payload.put_string("exec");
        payload.put_bool(true);
        payload.put_string(&self.command);
        replies.push(payload);
        self.stage = Stage::Asking;
        Ok(Progress::Same)
    }

    fn answered(&mut self, number: u8) -> Result<Progress, Failure> {
        match self.stage {
            Stage::Asking if number == msg::CHANNEL_SUCCESS => {
                self.stage = Stage::Running;
                Ok(Progress::Started)
            }
            Stage::Asking => Err(Failure::NotRun),
            // An answer to `are_you_there`: either way the other side is.
            _ => Ok(Progress::Same),
        }
    }

    fn data(
        &mut self,
        number: u8,
        mut reader: Reader<'_>,
        replies: &mut Vec<Vec<u8>>,
    ) -> Result<Progress, Failure> {
        let _channel = reader.u32()?;
        if number == msg::CHANNEL_EXTENDED_DATA {
            let _kind = reader.u32()?;
        }
        let length = u32::try_from(reader.string()?.len()).unwrap_or(u32::MAX);
        let first = self.received_bytes == 0 && length > 0;
        self.received_bytes += u64::from(length);
        self.window = self.window.saturating_sub(length);
        if self.window < WINDOW / 2 {
            let mut payload = vec![msg::CHANNEL_WINDOW_ADJUST];
            payload.put_u32(self.peer_channel);
            payload.put_u32(WINDOW - self.window);
            replies.push(payload);
            self.window = WINDOW;
        }
        Ok(if first {
            Progress::FirstOutput
        } else {
            Progress::Same
        })
    }

    fn request(&mut self, mut reader: Reader<'_>, replies: &mut Vec<Vec<u8>>) -> Result<Progress, Failure> {
        let _channel = reader.u32()?;
        let kind = reader.string()?;
        let wants_reply = reader.bool()?;
        match kind {
            b"exit-status" => self.exit = Some(Exit::Status(reader.u32()?)),
            b"exit-signal" => {
                self.exit = Some(Exit::Signal(
                    String::from_utf8_lossy(reader.string()?).into_owned(),
                ));
            }
            _ if wants_reply => {
                let mut payload = vec![msg::CHANNEL_FAILURE];
                payload.put_u32(self.peer_channel);
                replies.push(payload);
            }
            _ => {}
        }
        Ok(Progress::Same)
    }

    fn closed(&mut self, replies: &mut Vec<Vec<u8>>) -> Result<Progress, Failure> {
        replies.push(self.close());
        self.stage = Stage::Over;
        self.exit.clone().map(Progress::Over).ok_or(Failure::NoStatus)
    }
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Authenticating(_) => "authenticating",
            Self::Opening => "a channel was being opened",
            Self::Asking => "a command was being started",
            Self::Running => "a command ran",
            Self::Over => "the command was over",
        }
    }
}

fn channel_open() -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string("session");
    payload.put_u32(CHANNEL);
    payload.put_u32(WINDOW);
    payload.put_u32(MAXIMUM_PACKET);
    payload
}
