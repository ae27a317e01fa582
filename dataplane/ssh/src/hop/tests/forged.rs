//! A peer that says what the test wants, under correct keys: what a hop would never say itself.

use std::sync::Arc;

use super::pair::{TestRandom, Verdict, host_keys};
use crate::algorithm::{CipherAlgorithm, KexAlgorithm};
use crate::config::TransportConfig;
use crate::error::Error;
use crate::hop::{Env, Hop, Timestamp};
use crate::kex::{ClientKey, ExchangeHash, KeySchedule, SessionId, respond};
use crate::key::HostKey;
use crate::negotiation::Protection;
use crate::packet::{Opened, Opener, Sealer};
use crate::wire::{Reader, Writer, msg};

/// The protection that every forged peer asks for.
const PROTECTION: Protection = Protection {
    cipher: CipherAlgorithm::Aes128Gcm,
    mac: None,
};

/// What a forged KEXINIT offers.
#[derive(Clone)]
pub(super) struct Offered {
    pub(super) kex: &'static str,
    pub(super) host_keys: &'static str,
    pub(super) guess_follows: bool,
}

pub(super) const STRICT: Offered = Offered {
    kex: "curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com,ext-info-s,kex-strict-s-v00@openssh.com",
    host_keys: "ssh-ed25519",
    guess_follows: false,
};

pub(super) const LAX: Offered = Offered {
    kex: "curve25519-sha256",
    ..STRICT
};

impl Offered {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload = vec![msg::KEXINIT];
        payload.put_bytes(&[7; 16]);
        payload.put_string(self.kex);
        payload.put_string(self.host_keys);
        for list in [
            PROTECTION.cipher.name(),
            PROTECTION.cipher.name(),
            "",
            "",
            "none",
            "none",
            "",
            "",
        ] {
            payload.put_string(list);
        }
        payload.put_bool(self.guess_follows);
        payload.put_u32(0);
        payload
    }
}

/// The forged peer's half of the wire, and the hop under test.
pub(super) struct Forged {
    pub(super) hop: Hop,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// What the hop has said and nobody has read.
    pub(super) said: Vec<u8>,
    pub(super) random: TestRandom,
    pub(super) session: Option<SessionId>,
    is_client: bool,
    strict: bool,
    key: Arc<[HostKey]>,
}

const IDENT: &str = "SSH-2.0-forged";

impl Forged {
    /// A forged client before a server; identifications are exchanged.
    pub(super) fn client() -> Forged {
        Forged::new(Hop::server(TransportConfig::server().into(), host_keys()), true)
    }

    /// A forged server before a client; identifications are exchanged.
    pub(super) fn server() -> Forged {
        Forged::new(
            Hop::client(TransportConfig::client().into(), Box::new(Verdict(Ok(())))),
            false,
        )
    }

    fn new(hop: Hop, is_client: bool) -> Forged {
        let mut forged = Forged {
            hop,
            sealer: Sealer::new(),
            opener: Opener::new(),
            said: Vec::new(),
            random: TestRandom(5),
            session: None,
            is_client,
            strict: false,
            key: host_keys(),
        };
        let mut env = Env {
            now: Timestamp::default(),
            random: &mut forged.random,
        };
        forged.hop.start(&mut env, &mut forged.said);
        let ident = forged.said.iter().position(|&byte| byte == b'\n').unwrap();
        forged.said.drain(..=ident);
        forged.bytes(format!("{IDENT}\r\n").as_bytes()).unwrap();
        forged
    }

    /// Gives raw bytes to the hop; returns the payloads that it passes up.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut buf = bytes.to_vec();
        let mut start = 0;
        let mut payloads = Vec::new();
        while start < buf.len() {
            let mut env = Env {
                now: Timestamp::default(),
                random: &mut self.random,
            };
            let step = self.hop.receive(&mut env, &mut buf[start..], &mut self.said)?;
            match step.event {
                crate::hop::Event::NeedMore { .. } | crate::hop::Event::Disconnected { .. } => break,
                crate::hop::Event::Packet(packet) => payloads.push(buf[start..][packet.payload].to_vec()),
                _ => {}
            }
            start += step.consumed;
        }
        Ok(payloads)
    }

    /// Seals a payload as this peer and gives it to the hop.
    pub(super) fn say(&mut self, payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut wire = Vec::new();
        self.sealer.seal(&mut self.random, payload, &mut wire).unwrap();
        self.bytes(&wire)
    }

    /// The next payload that the hop has said.
    pub(super) fn hear(&mut self) -> Vec<u8> {
        match self.opener.open(&mut self.said, 1 << 18).unwrap() {
            Opened::Packet { consumed, packet } => {
                let payload = self.said[packet.payload].to_vec();
                self.said.drain(..consumed);
                payload
            }
            Opened::NeedMore { at_least } => panic!("{at_least} bytes wanted, {} said", self.said.len()),
        }
    }

    /// Goes through a whole exchange; a later one as an authenticated peer.
    pub(super) fn exchange(&mut self, offered: &Offered) -> Result<(), Error> {
        let own = offered.payload();
        if self.session.is_some() {
            self.hop.set_authenticated();
        }
        self.say(&own)?;
        self.exchange_after(&own, self.session.is_none() && offered.kex.contains("strict"))
    }

    /// Goes on from this peer's KEXINIT.
    pub(super) fn exchange_after(&mut self, own: &[u8], strict: bool) -> Result<(), Error> {
        self.strict |= strict;
        let (schedule, _) = self.method(own)?;
        self.finish(&schedule)
    }

    /// Public values, up to the hop's NEWKEYS; gives what the keys are made of.
    pub(super) fn method(&mut self, own: &[u8]) -> Result<(KeySchedule, Vec<u8>), Error> {
        let theirs = self.hear();
        assert_eq!(theirs[0], msg::KEXINIT);
        let hop_ident = TransportConfig::server().ident;
        let hash = weir_crypto::digest::HashAlgorithm::Sha256;
        let schedule =
            match self.is_client {
                true => {
                    let key = ClientKey::generate(KexAlgorithm::Curve25519);
                    let public = key.public();
                    let mut request = vec![msg::KEX_ECDH_INIT];
                    request.put_string(&public);
                    self.say(&request)?;
                    let reply = self.hear();
                    let mut reader = Reader::new(&reply[1..]);
                    let (host_key, server_public) = (reader.string().unwrap(), reader.string().unwrap());
                    let secret = key.agree(server_public).unwrap();
                    ExchangeHash::new(hash, [IDENT.as_bytes(), hop_ident.as_bytes()], [own, &theirs]).finish(
                        host_key,
                        &public,
                        server_public,
                        secret,
                    )
                }
                false => {
                    let request = self.hear();
                    let client_public = Reader::new(&request[1..]).string().unwrap().to_vec();
                    let (public, secret) = respond(KexAlgorithm::Curve25519, &client_public).unwrap();
                    let algorithm = crate::algorithm::HostKeyAlgorithm::Ed25519;
                    let key = self.key.iter().find(|key| key.serves(algorithm)).unwrap().clone();
                    let schedule =
                        ExchangeHash::new(hash, [hop_ident.as_bytes(), IDENT.as_bytes()], [&theirs, own])
                            .finish(key.blob(), &client_public, &public, secret);
                    let mut reply = vec![msg::KEX_ECDH_REPLY];
                    reply.put_string(key.blob());
                    reply.put_string(&public);
                    reply.put_string(key.sign(algorithm, schedule.exchange_hash()).unwrap());
                    self.say(&reply)?;
                    schedule
                }
            };
        let newkeys = self.hear();
        assert_eq!(newkeys, [msg::NEWKEYS]);
        Ok((schedule, newkeys))
    }

    /// Puts the new keys in use for hearing, says NEWKEYS, and puts them in use for saying.
    pub(super) fn finish(&mut self, schedule: &KeySchedule) -> Result<(), Error> {
        let first = self.session.is_none();
        let session = *self.session.get_or_insert_with(|| schedule.session_id());
        let from_client = schedule.client_to_server(&session, PROTECTION);
        let from_server = schedule.server_to_client(&session, PROTECTION);
        let (hearing, saying) = if self.is_client {
            (from_server, from_client)
        } else {
            (from_client, from_server)
        };
        self.opener.install(hearing, self.strict);
        if first && self.strict {
            assert_eq!(self.hear()[0], msg::EXT_INFO);
        }
        self.say(&[msg::NEWKEYS])?;
        self.sealer.install(saying, self.strict);
        Ok(())
    }
}
