//! A forwarder on russh: what an afternoon with a good SSH library gives.
//!
//! It accepts one user key, opens one connection to the target for each client, and passes session channels through.
//! There is no certificate, policy or recording. Requests are answered when the target has answered, data passes as
//! reference-counted buffers, and both windows hold back their senders.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use russh::keys::{
    PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_public_key, load_secret_key,
};
use russh::server::{self, Auth, ChannelOpenHandle, Session, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Pty, client,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Which keys the forwarder has and whom it believes.
pub struct Keys {
    host: PrivateKey,
    user: Arc<PrivateKey>,
    target_host: PublicKey,
}

impl Keys {
    /// Reads the forwarder's host key, the key of the one user (whose public half signs in here, whose private half
    /// signs in at the target), and the target's public host key.
    ///
    /// # Errors
    /// If a file is missing or not a key.
    pub fn load(host: &Path, user: &Path, target_host: &Path) -> Result<Keys> {
        let secret = |path: &Path| {
            load_secret_key(path, None).with_context(|| format!("no key in {}", path.display()))
        };
        Ok(Keys {
            host: secret(host)?,
            user: Arc::new(secret(user)?),
            target_host: load_public_key(target_host)
                .with_context(|| format!("no key in {}", target_host.display()))?,
        })
    }
}

/// Forwards connections to `listen` on to `target` until the process ends.
///
/// # Errors
/// If the address cannot be bound.
pub fn serve(listen: SocketAddr, target: SocketAddr, workers: usize, keys: Keys) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .enable_all()
        .build()?;
    runtime.block_on(accept(listen, target, keys))
}

async fn accept(listen: SocketAddr, target: SocketAddr, keys: Keys) -> Result<()> {
    let server_config = Arc::new(server::Config {
        keys: vec![keys.host.clone()],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    });
    let upstream = Arc::new(Upstream {
        target,
        user_key: keys.user,
        host_key: keys.target_host,
        config: Arc::new(client::Config {
            nodelay: true,
            ..client::Config::default()
        }),
    });
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await.context("accept failed")?;
        let (config, upstream) = (server_config.clone(), upstream.clone());
        tokio::spawn(async move {
            // A connection that fails ends; its client sees that, and nobody else is concerned.
            let _ = serve_client(config, stream, upstream).await;
        });
    }
}

async fn serve_client(config: Arc<server::Config>, stream: TcpStream, upstream: Arc<Upstream>) -> Result<()> {
    stream.set_nodelay(true)?;
    let handler = Forwarder {
        upstream,
        user: None,
        target: None,
        channels: HashMap::new(),
    };
    server::run_stream(config, stream, handler).await?.await?;
    Ok(())
}

/// How to reach the target, the same for every client.
struct Upstream {
    target: SocketAddr,
    user_key: Arc<PrivateKey>,
    host_key: PublicKey,
    config: Arc<client::Config>,
}

impl Upstream {
    async fn sign_in(&self, user: &str) -> Result<client::Handle<PinnedHostKey>> {
        let pinned = PinnedHostKey(self.host_key.clone());
        let mut handle = client::connect(self.config.clone(), self.target, pinned).await?;
        let key = PrivateKeyWithHashAlg::new(self.user_key.clone(), None);
        if !handle.authenticate_publickey(user, key).await?.success() {
            bail!("{} refuses the key of {user}", self.target);
        }
        Ok(handle)
    }
}

struct PinnedHostKey(PublicKey);

impl client::Handler for PinnedHostKey {
    type Error = anyhow::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

/// One client's connection.
struct Forwarder {
    upstream: Arc<Upstream>,
    user: Option<String>,
    target: Option<client::Handle<PinnedHostKey>>,
    channels: HashMap<ChannelId, Requests>,
}

/// The way of a channel's requests: out, and their answers back, in order.
struct Requests {
    target: Arc<ChannelWriteHalf<client::Msg>>,
    answers: mpsc::Receiver<bool>,
}

impl Forwarder {
    async fn open(&mut self) -> Result<Channel<client::Msg>> {
        let target = match &self.target {
            Some(target) => target,
            None => {
                let user = self.user.as_deref().context("no user has signed in")?;
                self.target.insert(self.upstream.sign_in(user).await?)
            }
        };
        Ok(target.channel_open_session().await?)
    }

    fn requests(&mut self, id: ChannelId) -> Result<&mut Requests> {
        self.channels
            .get_mut(&id)
            .context("a request names a channel that is not open")
    }

    /// Tells the client what the target said to the request just sent.
    async fn answer(&mut self, id: ChannelId, session: &mut Session) -> Result<()> {
        match self.requests(id)?.answers.recv().await {
            Some(true) => session.channel_success(id)?,
            _ => session.channel_failure(id)?,
        }
        Ok(())
    }
}

impl server::Handler for Forwarder {
    type Error = anyhow::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth> {
        if key.public_key.key_data() != self.upstream.user_key.public_key().key_data() {
            return Ok(Auth::reject());
        }
        self.user = Some(user.to_owned());
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        client: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<()> {
        let Ok(target) = self.open().await else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let id = client.id();
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let to_target = Arc::new(to_target);
        let (answer, answers) = mpsc::channel(8);
        self.channels.insert(
            id,
            Requests {
                target: to_target.clone(),
                answers,
            },
        );
        tokio::spawn(pass_to_target(from_client, to_target));
        tokio::spawn(pass_to_client(from_target, to_client, session.handle(), answer));
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<()> {
        self.requests(id)?
            .target
            .request_pty(true, term, columns, rows, width, height, modes)
            .await?;
        self.answer(id, session).await
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<()> {
        self.requests(id)?.target.set_env(true, name, value).await?;
        self.answer(id, session).await
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<()> {
        self.requests(id)?.target.request_shell(true).await?;
        self.answer(id, session).await
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<()> {
        self.requests(id)?.target.exec(true, command).await?;
        self.answer(id, session).await
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<()> {
        self.requests(id)?.target.request_subsystem(true, name).await?;
        self.answer(id, session).await
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<()> {
        self.channels.remove(&id);
        Ok(())
    }
}

/// What needs no answer goes this way, in order with the data; what does is answered in the handler above.
async fn pass_to_target(
    mut client: ChannelReadHalf,
    target: Arc<ChannelWriteHalf<client::Msg>>,
) -> Result<(), russh::Error> {
    while let Some(message) = client.wait().await {
        match message {
            ChannelMsg::Data { data } => target.data_bytes(data).await?,
            ChannelMsg::ExtendedData { data, ext } => target.extended_data_bytes(ext, data).await?,
            ChannelMsg::Eof => target.eof().await?,
            ChannelMsg::Signal { signal } => target.signal(signal).await?,
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                pix_width,
                pix_height,
            } => {
                target
                    .window_change(col_width, row_height, pix_width, pix_height)
                    .await?;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    target.close().await
}

async fn pass_to_client(
    mut target: ChannelReadHalf,
    client: ChannelWriteHalf<server::Msg>,
    session: server::Handle,
    answer: mpsc::Sender<bool>,
) -> Result<(), russh::Error> {
    while let Some(message) = target.wait().await {
        match message {
            ChannelMsg::Data { data } => client.data_bytes(data).await?,
            ChannelMsg::ExtendedData { data, ext } => client.extended_data_bytes(ext, data).await?,
            ChannelMsg::Eof => client.eof().await?,
            ChannelMsg::ExitStatus { exit_status } => client.exit_status(exit_status).await?,
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                error_message,
                lang_tag,
            } => {
                let told = session
                    .exit_signal_request(client.id(), signal_name, core_dumped, error_message, lang_tag)
                    .await;
                told.map_err(|()| russh::Error::SendError)?;
            }
            ChannelMsg::Success | ChannelMsg::Failure => {
                let _ = answer.send(matches!(message, ChannelMsg::Success)).await;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    client.close().await
}
