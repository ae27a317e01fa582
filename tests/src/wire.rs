//! SSH by hand, as far as a stranger gets before encryption: for saying what no client would say.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Message numbers of RFC 4253 §12 and its neighbours.
pub mod msg {
    #![expect(missing_docs, reason = "the names are the RFCs' own")]
    pub const DISCONNECT: u8 = 1;
    pub const SERVICE_REQUEST: u8 = 5;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const KEX_ECDH_INIT: u8 = 30;
    pub const USERAUTH_REQUEST: u8 = 50;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const CHANNEL_DATA: u8 = 94;
}

/// The identification of a well-behaved client.
pub const IDENT: &[u8] = b"SSH-2.0-OpenSSH_9.2 a-test\r\n";

/// How the other side ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a DISCONNECT message, then the end of the stream.
    Disconnect {
        /// RFC 4253 §11.1.
        reason: u32,
        /// Its description.
        text: String,
    },
    /// Without a word.
    Closed,
}

/// A TCP connection to an SSH server, without encryption.
pub struct Stranger {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Stranger {
    /// Connects. Every read is bounded: a server that neither answers nor closes fails the test.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout above zero");
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout above zero");
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    /// Connects and sends [`IDENT`].
    pub fn introduced(address: SocketAddr) -> Self {
        let mut stranger = Self::connect(address);
        assert!(stranger.send(IDENT));
        stranger
    }

    /// Our own address, as it stands in the server's log.
    pub fn local_address(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Sends bytes; false if the server has closed the connection already.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("the server takes nothing more and does not close either: {error}"),
        }
    }

    /// Sends a packet without encryption.
    pub fn send_packet(&mut self, payload: &[u8]) -> bool {
        self.send(&clear_packet(payload))
    }

    /// Reads until the server closes, and tells how it did.
    pub fn ending(mut self) -> Ending {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!(
                    "the server neither answers nor closes: {error}; heard {:?}",
                    self.heard
                ),
            }
        }
        ending_of(&self.heard)
    }
}

/// `payload` framed by RFC 4253 §6 for a cipher of 8-byte blocks, which `none` is.
pub fn clear_packet(payload: &[u8]) -> Vec<u8> {
    let mut padding = 8 - (5 + payload.len()) % 8;
    if padding < 4 {
        padding += 8;
    }
    let length = u32::try_from(1 + payload.len() + padding).expect("a test's packet is small");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("below 12"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// A KEXINIT with these lists for kex, host keys, ciphers and MACs.
pub fn kexinit(kex: &str, host_keys: &str, ciphers: &str, macs: &str) -> Vec<u8> {
    let mut payload = vec![msg::KEXINIT];
    payload.extend_from_slice(&[7; 16]);
    for list in [
        kex, host_keys, ciphers, ciphers, macs, macs, "none", "none", "", "",
    ] {
        string(&mut payload, list.as_bytes());
    }
    payload.push(0);
    payload.extend_from_slice(&[0; 4]);
    payload
}

/// Appends an SSH string.
pub fn string(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.extend_from_slice(
        &u32::try_from(bytes.len())
            .expect("a test's string is small")
            .to_be_bytes(),
    );
    payload.extend_from_slice(bytes);
}

/// Looks for a DISCONNECT among the packets after the server's identification.
fn ending_of(heard: &[u8]) -> Ending {
    let Some(end) = heard.iter().position(|byte| *byte == b'\n') else {
        return Ending::Closed;
    };
    let mut rest = &heard[end + 1..];
    while let Some((payload, after)) = next_packet(rest) {
        if payload.first() == Some(&msg::DISCONNECT) {
            return disconnect(&payload[1..]).expect("a DISCONNECT holds a reason and a text");
        }
        rest = after;
    }
    Ending::Closed
}

fn next_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (packet, after) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (&padding, body) = packet.split_first()?;
    Some((body.get(..body.len().checked_sub(padding.into())?)?, after))
}

fn disconnect(fields: &[u8]) -> Option<Ending> {
    let (reason, rest) = fields.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let text = rest.get(..u32::from_be_bytes(*length) as usize)?;
    let text = String::from_utf8_lossy(text).into_owned();
    Some(Ending::Disconnect {
        reason: u32::from_be_bytes(*reason),
        text,
    })
}
