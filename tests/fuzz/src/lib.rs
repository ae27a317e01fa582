//! What the fuzz targets share: keys, a generator that replays, and ways to cut an input into parts.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weir_crypto::random::Random;
use weir_relay::transfers::{Decoder, program::CopyProgram};
use weir_relay::{ChannelId, SessionEvent, Side};
use weir_ssh::algorithm::{CipherAlgorithm, HostKeyAlgorithm, KexAlgorithm, MacAlgorithm};
use weir_ssh::auth::server::Authority;
use weir_ssh::certificate::{Certificate, CertificateRequest, CertificateType};
use weir_ssh::key::{HostKey, PublicKey, SigningKey};
use weir_ssh::{Env, Event, Hop, HostKeyCheck, Timestamp, TransportConfig};

/// The time at which everything happens, in seconds since 1970.
pub const NOW: u64 = 1_782_864_000;
/// Where the client is.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// The session identifier of connections that are not real.
pub const SESSION: &[u8] = b"the first exchange hash of this connection";
/// The login that certificates are for.
pub const LOGIN: &str = "root";

/// The user authority that is trusted.
pub fn authority() -> SigningKey {
    SigningKey::ed25519_from_seed(&[1; 32])
}

/// The user's key.
pub fn user_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[2; 32])
}

/// The host key of servers.
pub fn host_key() -> HostKey {
    HostKey::plain(SigningKey::ed25519_from_seed(&[3; 32]))
}

/// A request for a certificate that lets its holder in.
pub fn certificate_request(key: &PublicKey) -> CertificateRequest {
    CertificateRequest::new(CertificateType::User, key.clone(), "alice", NOW - 60..NOW + 60).principal(LOGIN)
}

/// A certificate that lets the user in.
pub fn user_certificate() -> Certificate {
    certificate_request(user_key().public_key())
        .extension("permit-pty")
        .sign(&authority(), &mut Replay(5))
}

/// Trusts [`authority`] and takes user names as they are up to an `@`.
pub struct Cluster;

impl Authority for Cluster {
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str> {
        user.split('@').next()
    }

    fn trusts_user_ca(&self, key: &[u8]) -> bool {
        key == authority().public_key().blob()
    }
}

/// A generator that gives the same bytes in every run (xorshift64*).
pub struct Replay(pub u64);

impl Random for Replay {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let bytes = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The input as parts, each behind its length in two bytes; the last takes what is left.
pub fn parts(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = data.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(length)).min(rest.len()));
        data = rest;
        Some(part)
    })
}

/// The reverse of [`parts`].
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        data.extend_from_slice(&u16::try_from(part.len()).expect("seeds are short").to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

/// RFC 4253 §6 without encryption.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    // At least four bytes, up to the next multiple of eight.
    let padding = 4 + 7 - (payload.len() + 5 + 4 + 7) % 8;
    let length = u32::try_from(1 + payload.len() + padding).expect("an input is short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("padding is short"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Lets a decoder of file transfers read the parts of the input by turns from either end (the client's first, and an empty
/// part changes nothing but the turn), once whole and once byte by byte.
pub fn check_transfer(program: &CopyProgram<'_>, data: &[u8]) {
    let told = |piece: usize| {
        let mut decoder = Decoder::new(ChannelId(0), program, true);
        let mut events = Vec::new();
        let sides = [Side::Client, Side::Target].into_iter().cycle();
        for (from, part) in sides.zip(parts(data)) {
            for bytes in part.chunks(piece) {
                decoder.data(from, bytes, &mut events);
            }
        }
        decoder.finish(&mut events);
        events
    };
    let events = told(usize::MAX);
    assert_eq!(told(1), events, "the division changes what is told");
    let summaries = events
        .iter()
        .filter(|event| matches!(event, SessionEvent::TransferSummary { .. }));
    assert_eq!(summaries.count(), 1, "one sum is told");
    // Every report takes a request or an answer of some bytes.
    assert!(
        events.len() <= data.len() + 4,
        "{} reports of {} bytes",
        events.len(),
        data.len()
    );
}

struct AnyHostKey;

impl HostKeyCheck for AnyHostKey {
    fn algorithms(&self) -> Option<Vec<HostKeyAlgorithm>> {
        None
    }

    fn check(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// One end of a connection, with what it has received and not consumed.
pub struct End {
    /// The transport.
    pub hop: Hop,
    inbox: Vec<u8>,
    /// Bytes for the peer.
    pub out: Vec<u8>,
    /// Packets that came up.
    pub payloads: Vec<Vec<u8>>,
    /// Why the connection ended.
    pub error: Option<weir_ssh::Error>,
    random: Replay,
    is_over: bool,
}

impl End {
    /// A client and a server that have said nothing yet.
    pub fn pair(cipher: CipherAlgorithm, mac: MacAlgorithm) -> (End, End) {
        let fixed = |mut config: TransportConfig| {
            config.kex = vec![KexAlgorithm::Curve25519];
            config.ciphers = vec![cipher];
            config.macs = vec![mac];
            config.prefer_gcm = false;
            Arc::new(config)
        };
        let client = Hop::client(fixed(TransportConfig::client()), Box::new(AnyHostKey));
        let server = Hop::server(fixed(TransportConfig::server()), Arc::new([host_key()]));
        (End::new(client), End::new(server))
    }

    /// The end that `hop` is, having said what it says unasked.
    pub fn new(mut hop: Hop) -> End {
        let (mut out, mut random) = (Vec::new(), Replay(77));
        hop.start(
            &mut Env {
                now: Timestamp::default(),
                random: &mut random,
            },
            &mut out,
        );
        End {
            hop,
            inbox: Vec::new(),
            out,
            payloads: Vec::new(),
            random,
            error: None,
            is_over: false,
        }
    }

    /// A client with everything on offer, as it is by default.
    pub fn client() -> End {
        End::new(Hop::client(
            TransportConfig::client().into(),
            Box::new(AnyHostKey),
        ))
    }

    /// A server with everything on offer, as it is by default.
    pub fn server() -> End {
        End::new(Hop::server(
            TransportConfig::server().into(),
            Arc::new([host_key()]),
        ))
    }

    /// Takes bytes off the wire and does all that can be done with them. Answers whether the connection goes on.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.inbox.extend_from_slice(bytes);
        let mut start = 0;
        while !self.is_over {
            let mut env = Env {
                now: Timestamp::default(),
                random: &mut self.random,
            };
            let left = self.inbox.len() - start;
            let step = match self
                .hop
                .receive(&mut env, &mut self.inbox[start..], &mut self.out)
            {
                Ok(step) => step,
                Err(error) => {
                    self.error = Some(error);
                    self.is_over = true;
                    break;
                }
            };
            assert!(step.consumed <= left, "consumed more than there is");
            match step.event {
                Event::NeedMore { at_least } => {
                    assert!(at_least > left, "asks for what is there");
                    // What a peer may have us hold for one packet, above the largest packet itself.
                    assert!(at_least <= 300 * 1024, "asks for {at_least} bytes");
                    break;
                }
                Event::Packet(packet) => {
                    assert!(packet.body.start < packet.payload.start && packet.payload.end < packet.body.end);
                    self.payloads.push(self.inbox[start..][packet.payload].to_vec());
                }
                Event::Disconnected { text, .. } => {
                    assert!(!text.contains('\x1b'), "the peer's words are printed");
                    self.is_over = true;
                }
                Event::Handled | Event::KeysInstalled { .. } | Event::RekeyStarted => {}
            }
            start += step.consumed;
        }
        self.inbox.drain(..start);
        !self.is_over
    }

    /// Seals one payload for the peer, if that is possible now.
    pub fn seal(&mut self, payload: &[u8]) -> bool {
        let mut env = Env {
            now: Timestamp::default(),
            random: &mut self.random,
        };
        self.hop.can_seal() && self.hop.seal(&mut env, payload, &mut self.out).is_ok()
    }
}

/// Carries bytes to and fro until both ends are silent.
pub fn converse(client: &mut End, server: &mut End) {
    while !(client.out.is_empty() && server.out.is_empty()) {
        let (to_server, to_client) = (std::mem::take(&mut client.out), std::mem::take(&mut server.out));
        server.take(&to_server);
        client.take(&to_client);
    }
}

/// A client and a server that have exchanged keys, for the cipher that `choice` stands for.
pub fn connected(choice: u8) -> (End, End) {
    let ciphers = CipherAlgorithm::ALL;
    let macs = MacAlgorithm::ALL;
    let cipher = ciphers[usize::from(choice) % ciphers.len()];
    let mac = macs[usize::from(choice / 16) % macs.len()];
    let (mut client, mut server) = End::pair(cipher, mac);
    converse(&mut client, &mut server);
    assert!(
        client.hop.can_seal() && server.hop.can_seal(),
        "two honest ends agree"
    );
    (client, server)
}
