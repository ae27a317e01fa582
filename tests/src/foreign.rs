//! russh as client of Weir and as its target: for what the installed OpenSSH does not know.

use std::borrow::Cow;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{Certificate, PrivateKey, PublicKey, PublicKeyOrCertificate, load_secret_key};
use russh::server::{self, Auth, ChannelOpenHandle};
use russh::{Channel, ChannelId, Limits, Names, Preferred, client, kex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use crate::sshd::HostKey;
use crate::wait::PATIENCE;
use crate::world::World;

/// Keys are renewed each time that so much has gone one way.
const REKEY_BYTES: usize = 256 * 1024;

/// What a client has seen.
#[derive(Debug)]
pub struct RoundTrip {
    /// What came back.
    pub echoed: Vec<u8>,
    /// The algorithm of each key exchange, of the first and of those that renewed the keys.
    pub exchanges: Vec<&'static str>,
}

/// Signs in through Weir with the world's certificate, by this key exchange and no other, and sends `sent` to `cat`.
pub fn round_trip(world: &World, kex: &str, sent: &[u8]) -> RoundTrip {
    let exchanges = Arc::default();
    let trip = async {
        let config = Arc::new(client::Config {
            preferred: only(kex),
            limits: often(),
            ..client::Config::default()
        });
        let handler = Client(Arc::clone(&exchanges));
        let mut handle = client::connect(config, world.address(), handler).await?;
        let key = Arc::new(load_secret_key(world.path("id"), None)?);
        let verdict = handle
            .authenticate_openssh_cert(world.user(), key, certificate(&world.path("id-cert.pub")))
            .await?;
        assert!(verdict.success(), "Weir refuses the certificate");
        let channel = handle.channel_open_session().await?;
        channel.exec(true, "cat").await?;
        let (mut back, mut there) = tokio::io::split(channel.into_stream());
        let send = async {
            there.write_all(sent).await?;
            there.shutdown().await
        };
        let mut echoed = Vec::new();
        tokio::try_join!(send, back.read_to_end(&mut echoed))?;
        Ok::<_, russh::Error>(echoed)
    };
    let limited = async { tokio::time::timeout(PATIENCE, trip).await };
    let echoed = runtime().block_on(limited);
    let echoed = echoed.unwrap_or_else(|_| panic!("russh did not come to an end within {PATIENCE:?}"));
    RoundTrip {
        echoed: echoed.unwrap_or_else(|error| panic!("russh: {error}")),
        exchanges: exchanges.lock().expect("only appended to").clone(),
    }
}

struct Client(Arc<Mutex<Vec<&'static str>>>);

impl client::Handler for Client {
    type Error = russh::Error;

    /// Who Weir is, other tests check; the key's signature over the exchange russh has verified.
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let all = kex::ALL_KEX_ALGORITHMS.iter();
        let name = all
            .map(|name| name.as_ref())
            .find(|name| *name == names.kex.as_ref());
        let name = name.expect("what was agreed upon is among all");
        self.0.lock().expect("only appended to").push(name);
        Ok(())
    }
}

/// A server that takes the world's certificates and answers every command with its own input; ended when dropped.
pub struct Server {
    port: u16,
    _runtime: Runtime,
}

impl Server {
    /// Starts one that knows this key exchange and no other.
    pub fn start(world: &World, kex: &str, host_key: &HostKey) -> Self {
        let config = Arc::new(server::Config {
            keys: vec![secret(&host_key.key)],
            certificates: host_key
                .certificate
                .iter()
                .map(|file| certificate(file))
                .collect(),
            preferred: only(kex),
            limits: often(),
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        });
        let authority = world.weir().admin(&["ca", "export", "--type", "openssh"]);
        let echo = Echo {
            authority: PublicKey::from_openssh(authority.trim()).expect("a public key"),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the kernel's choice");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a socket of our own");
        let runtime = runtime();
        runtime.spawn(accept(listener, config, echo));
        Self {
            port,
            _runtime: runtime,
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, echo: Echo) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let (config, echo) = (Arc::clone(&config), echo.clone());
        // A connection that fails ends, which its client sees.
        tokio::spawn(async move { server::run_stream(config, stream, echo).await?.await });
    }
}

#[derive(Clone)]
struct Echo {
    authority: PublicKey,
}

impl server::Handler for Echo {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let trusted = certificate.signature_key() == self.authority.key_data()
            && certificate.verify_signature().is_ok()
            && certificate
                .valid_principals()
                .iter()
                .any(|principal| principal == user);
        Ok(if trusted { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.data(channel, data.to_vec())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

/// The library's own choice, except for the key exchange; the other names of that list turn extensions on.
fn only(kex: &str) -> Preferred {
    let kex = kex::Name::try_from(kex).unwrap_or_else(|()| panic!("russh does not know {kex}"));
    let list = vec![
        kex,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Preferred {
        kex: Cow::Owned(list),
        ..Preferred::default()
    }
}

fn often() -> Limits {
    Limits::new(REKEY_BYTES, REKEY_BYTES, Duration::from_secs(3600))
}

fn secret(file: &Path) -> PrivateKey {
    load_secret_key(file, None).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn certificate(file: &Path) -> Certificate {
    Certificate::read_file(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder.build().expect("threads can be started")
}
