//! A [`Client`] on a tokio socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use weir_ssh::auth::client::{ClientAuth, Credential};
use weir_ssh::certificate::{Certificate, HostKeyPolicy};
use weir_ssh::key::SigningKey;
use weir_ssh::{Timestamp, TransportConfig};

use crate::client::{Client, Heard};
use crate::exec::{Exec, Failure, Progress};

/// Whom to log in as, and where.
#[derive(Clone)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The user name, `root@web1` for instance.
    pub login: String,
    /// The key to sign with.
    pub key: SigningKey,
    /// Its certificate; without one the plain key is offered.
    pub certificate: Option<Certificate>,
    /// What the server's host key must be.
    pub host_key: HostKeyPolicy,
    /// Algorithms.
    pub transport: Arc<TransportConfig>,
}

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// TCP did not come about.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// The socket failed later.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    /// The server closed the connection without a word.
    #[error("connection closed{0}")]
    Closed(Greeting),
    /// The server ended the connection in words.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// The dialogue failed.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// What a server said in place of its identification, as sshd does when it drops a connection.
#[derive(Debug)]
pub struct Greeting(String);

impl std::fmt::Display for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0.trim())
        }
    }
}

/// One connection with one command on it.
pub struct Connection {
    stream: TcpStream,
    client: Client,
    exec: Option<Exec>,
    replies: Vec<Vec<u8>>,
    buffer: Box<[u8]>,
    epoch: Instant,
}

impl Connection {
    /// Connects and exchanges keys.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn open(target: &Target) -> Result<Self, SessionError> {
        let stream = TcpStream::connect(target.address)
            .await
            .map_err(SessionError::Connect)?;
        stream.set_nodelay(true).map_err(SessionError::Connect)?;
        let check = target.host_key.clone().at(seconds_since_1970());
        let client = Client::start(
            Arc::clone(&target.transport),
            Box::new(check),
            Timestamp(Duration::ZERO),
        );
        let mut connection = Self {
            stream,
            client,
            exec: None,
            replies: Vec::new(),
            buffer: vec![0; 32 * 1024].into(),
            epoch: Instant::now(),
        };
        while !matches!(connection.hear().await?, Heard::Ready) {}
        Ok(connection)
    }

    /// Logs in and runs `command`; each step is told to `note`, the last one is [`Progress::Over`] or where `note`
    /// says that it is enough.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn run(
        &mut self,
        target: &Target,
        command: &str,
        mut note: impl FnMut(&Progress) -> bool,
    ) -> Result<(), SessionError> {
        let credential = match &target.certificate {
            Some(certificate) => Credential::certified(target.key.clone(), certificate.clone()),
            None => Ok(Credential::plain(target.key.clone())),
        };
        let credential = credential.map_err(|error| Failure::Denied(error.to_string()))?;
        let hop = self.client.hop();
        let (session, host_key) = hop.session_id().zip(hop.host_key()).expect("keys are installed");
        let auth = ClientAuth::new(&target.login, credential, session, host_key);
        self.exec = Some(Exec::start(auth, command, &mut self.replies));
        loop {
            let progress = self.step().await?;
            if matches!(progress, Progress::Authenticated) {
                self.client.hop().set_authenticated();
            }
            let enough = note(&progress);
            if enough || matches!(progress, Progress::Over(_)) {
                self.flush().await?;
                return Ok(());
            }
        }
    }

    /// Asks whether the other end is there, and waits for its answer.
    ///
    /// # Errors
    /// [`SessionError`] if it is not.
    pub async fn probe(&mut self) -> Result<(), SessionError> {
        let question = self.exec.as_ref().map(Exec::are_you_there);
        self.replies.extend(question);
        self.step().await.map(drop)
    }

    /// Ends the command and the connection.
    ///
    /// # Errors
    /// [`SessionError`] if it is lost already.
    pub async fn close(mut self) -> Result<(), SessionError> {
        self.replies.extend(self.exec.as_ref().map(Exec::close));
        self.flush().await
    }

    async fn step(&mut self) -> Result<Progress, SessionError> {
        match self.hear().await? {
            Heard::Message(payload) => {
                let exec = self
                    .exec
                    .as_mut()
                    .ok_or(Failure::Unexpected(payload[0], "exchanging keys"))?;
                let extensions = self.client.hop().peer_extensions();
                Ok(exec.receive(&payload, extensions, &mut self.replies)?)
            }
            Heard::Disconnected { text, .. } => Err(SessionError::Disconnected(text)),
            Heard::Ready => Ok(Progress::Same),
        }
    }

    /// Sends what is to be said and waits for the next thing heard.
    async fn hear(&mut self) -> Result<Heard, SessionError> {
        loop {
            if let Some(heard) = self.client.next(self.now()).map_err(Failure::from)? {
                return Ok(heard);
            }
            self.flush().await?;
            let due = self.client.next_timeout().map(|due| self.epoch + due.0);
            let read = self.stream.read(&mut self.buffer);
            let read = match due {
                Some(due) => time::timeout_at(due.into(), read).await,
                None => Ok(read.await),
            };
            match read {
                Err(_due) => self.client.handle_timeout(self.now()).map_err(Failure::from)?,
                Ok(Ok(0)) => {
                    let said = self.client.hop().greeting().to_owned();
                    return Err(SessionError::Closed(Greeting(said)));
                }
                Ok(Ok(n)) => self.client.receive(&self.buffer[..n]),
                Ok(Err(error)) => return Err(SessionError::Lost(error)),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), SessionError> {
        let now = self.now();
        for reply in self.replies.drain(..) {
            self.client.say(now, &reply).map_err(Failure::from)?;
        }
        let out = self.client.output();
        let sent = self.stream.write_all(out).await;
        out.clear();
        sent.map_err(SessionError::Lost)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.epoch.elapsed())
    }
}

fn seconds_since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
