//! An SSH client that knows how to behave and need not: it exchanges keys, and then says what a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_loadtest::client::{Client, Heard};
use weir_ssh::auth::client::{ClientAuth, ClientStep, Credential};
use weir_ssh::certificate::{Certificate, HostKeyPolicy};
use weir_ssh::key::SigningKey;
use weir_ssh::wire::{Writer, msg};
use weir_ssh::{Timestamp, TransportConfig};

use crate::wire::Ending;
use crate::world::World;

/// A connection with its keys exchanged.
pub struct Peer {
    stream: TcpStream,
    client: Client,
    epoch: Instant,
    ending: Option<Ending>,
}

impl Peer {
    /// Connects and exchanges keys.
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, TransportConfig::client())
    }

    /// As [`Peer::connect`], with other algorithms.
    pub fn connect_with(address: SocketAddr, config: TransportConfig) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout above zero");
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout above zero");
        let check = Box::new(HostKeyPolicy::Unchecked.at(0));
        let client = Client::start(Arc::new(config), check, Timestamp(Duration::ZERO));
        let mut peer = Self {
            stream,
            client,
            epoch: Instant::now(),
            ending: None,
        };
        peer.flush();
        assert!(
            matches!(peer.hear(), Some(Heard::Ready)),
            "no keys were agreed upon: {:?}",
            peer.ending
        );
        peer
    }

    /// Our own address, as it stands in the server's log.
    pub fn local_address(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Logs in as the world's user; the first message after that is the caller's.
    pub fn log_in(&mut self, world: &World) {
        let key = SigningKey::from_openssh(&world.read("id")).expect("a key of ssh-keygen");
        let credential = if world.is_direct() {
            Credential::plain(key)
        } else {
            let certificate =
                Certificate::from_openssh(world.read("id-cert.pub").trim()).expect("a certificate");
            Credential::certified(key, certificate).expect("it is this key's")
        };
        let step = self.authenticate(&world.user(), credential);
        assert_eq!(step, ClientStep::Success);
        self.client.hop().set_authenticated();
    }

    /// Tries to log in; gives the server's verdict.
    pub fn authenticate(&mut self, user: &str, credential: Credential) -> ClientStep {
        let hop = self.client.hop();
        let (session, host_key) = hop.session_id().zip(hop.host_key()).expect("keys are installed");
        let mut auth = ClientAuth::new(user, credential, session, host_key);
        let mut replies = Vec::new();
        auth.start(&mut replies);
        loop {
            replies.drain(..).for_each(|reply| assert!(self.say(&reply)));
            let payload = self.message().expect("a verdict");
            let extensions = self.client.hop().peer_extensions();
            match auth
                .receive(&payload, extensions, &mut replies)
                .expect("the server keeps to the protocol")
            {
                ClientStep::Continue | ClientStep::Banner(_) => {}
                verdict => return verdict,
            }
        }
    }

    /// Says a message; false if the server has closed the connection.
    pub fn say(&mut self, payload: &[u8]) -> bool {
        let now = Timestamp(self.epoch.elapsed());
        self.client
            .say(now, payload)
            .expect("a message that can be sealed");
        self.flush()
    }

    /// Seals a message and changes what goes out on the wire.
    pub fn say_altered(&mut self, payload: &[u8], alter: impl FnOnce(&mut Vec<u8>)) -> bool {
        let now = Timestamp(self.epoch.elapsed());
        self.client
            .say(now, payload)
            .expect("a message that can be sealed");
        alter(self.client.output());
        self.flush()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.client.output().extend_from_slice(bytes);
        self.flush()
    }

    /// The next message of the layers above the transport; `None` at the connection's end.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        while self.ending.is_none() {
            match self.hear()? {
                Heard::Message(payload) => return Some(payload),
                Heard::Ready => {}
                Heard::Disconnected { reason, text } => {
                    self.ending = Some(Ending::Disconnect { reason, text });
                }
            }
        }
        None
    }

    /// Opens a session channel with this window and runs `command` in it; gives the server's number of the channel.
    pub fn exec(&mut self, command: &str, window: u32) -> u32 {
        let mut open = vec![msg::CHANNEL_OPEN];
        open.put_string("session");
        open.put_u32(0);
        open.put_u32(window);
        open.put_u32(32 * 1024);
        assert!(self.say(&open));
        let confirmation = self.expect_message(msg::CHANNEL_OPEN_CONFIRMATION);
        let channel = u32::from_be_bytes(confirmation[5..9].try_into().expect("four bytes"));
        let mut exec = vec![msg::CHANNEL_REQUEST];
        exec.put_u32(channel);
        exec.put_string("exec");
        exec.put_bool(true);
        exec.put_string(command);
        assert!(self.say(&exec));
        self.expect_message(msg::CHANNEL_SUCCESS);
        channel
    }

    /// The next message with this number; others before it are passed over.
    pub fn expect_message(&mut self, number: u8) -> Vec<u8> {
        loop {
            let payload = self.message();
            let payload = payload.unwrap_or_else(|| panic!("no message {number}: {:?}", self.ending));
            if payload[0] == number {
                return payload;
            }
        }
    }

    /// Passes over what still comes, and tells how the connection ended.
    pub fn ending(mut self) -> Ending {
        while self.message().is_some() {}
        self.ending.unwrap_or(Ending::Closed)
    }

    /// The TCP connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn hear(&mut self) -> Option<Heard> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let now = Timestamp(self.epoch.elapsed());
            let heard = self.client.next(now).expect("the server keeps to the protocol");
            self.flush();
            if heard.is_some() {
                return heard;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.client.receive(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the server neither answers nor closes: {error}"),
            }
        }
    }

    fn flush(&mut self) -> bool {
        let out = std::mem::take(self.client.output());
        match self.stream.write_all(&out) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("the server takes nothing more and does not close either: {error}"),
        }
    }
}
