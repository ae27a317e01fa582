//! A client and a server joined by wires that deliver bytes in pieces, on a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use weir_crypto::random::Random;

use crate::algorithm::HostKeyAlgorithm;
use crate::certificate::{CertificateRequest, CertificateType};
use crate::config::TransportConfig;
use crate::error::Error;
use crate::hop::{Env, Event, Hop, HostKeyCheck, Timestamp};
use crate::key::fixtures::signing_key;
use crate::key::{HostKey, SigningKey};

/// A generator that replays a run from its seed (xorshift64*).
#[derive(Clone)]
pub(super) struct TestRandom(pub(super) u64);

impl TestRandom {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

impl Random for TestRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// One end: a hop, what it has received and not consumed, and what came of it.
pub(super) struct End {
    pub(super) hop: Hop,
    pub(super) inbox: Vec<u8>,
    /// Sealed and not yet on the wire.
    pub(super) out: Vec<u8>,
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) key_changes: usize,
    pub(super) farewell: Option<(u32, String)>,
}

impl End {
    pub(super) fn new(hop: Hop) -> End {
        End {
            hop,
            inbox: Vec::new(),
            out: Vec::new(),
            payloads: Vec::new(),
            key_changes: 0,
            farewell: None,
        }
    }

    /// Takes bytes off the wire and does all that can be done with them.
    pub(super) fn take(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> Result<(), Error> {
        self.inbox.extend_from_slice(bytes);
        let mut start = 0;
        let result = loop {
            if self.farewell.is_some() {
                break Ok(());
            }
            let before = self.inbox.clone();
            let step = match self.hop.receive(env, &mut self.inbox[start..], &mut self.out) {
                Ok(step) => step,
                Err(error) => break Err(error),
            };
            match step.event {
                Event::NeedMore { at_least } => {
                    assert!(
                        at_least > self.inbox.len() - start,
                        "more is asked for than is there"
                    );
                    assert_eq!(step.consumed, 0);
                    assert_eq!(before, self.inbox, "the buffer is left as it was");
                    break Ok(());
                }
                Event::Handled | Event::RekeyStarted => {}
                Event::KeysInstalled { first } => {
                    assert_eq!(first, self.key_changes == 0);
                    self.key_changes += 1;
                }
                Event::Packet(packet) => {
                    assert!(packet.payload.start > packet.body.start && packet.payload.end < packet.body.end);
                    let buf = &self.inbox[start..];
                    self.payloads.push(buf[packet.payload].to_vec());
                }
                Event::Disconnected { reason, text } => self.farewell = Some((reason, text)),
            }
            start += step.consumed;
        };
        self.inbox.drain(..start);
        result
    }
}

/// A client and a server.
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
    pub(super) now: Timestamp,
    pub(super) random: TestRandom,
}

pub(super) fn host_keys() -> Arc<[HostKey]> {
    let mut random = TestRandom(7);
    let authority = SigningKey::ed25519_from_seed(&[9; 32]);
    let mut keys = Vec::new();
    for name in ["ed25519", "ecdsa256", "ecdsa384", "ecdsa521", "rsa"] {
        let key = signing_key(name);
        let request = CertificateRequest::new(
            CertificateType::Host,
            key.public_key().clone(),
            "host",
            0..u64::MAX,
        );
        let certificate = request.principal("web1").sign(&authority, &mut random);
        keys.push(HostKey::certified(key.clone(), certificate).unwrap());
        keys.push(HostKey::plain(key));
    }
    keys.into()
}

/// Accepts every key, or refuses every key with a text.
pub(super) struct Verdict(pub(super) Result<(), String>);

impl HostKeyCheck for Verdict {
    fn algorithms(&self) -> Option<Vec<HostKeyAlgorithm>> {
        None
    }

    fn check(&mut self, _: &[u8]) -> Result<(), String> {
        self.0.clone()
    }
}

impl Pair {
    pub(super) fn new(client: TransportConfig, server: TransportConfig) -> Pair {
        Pair {
            client: End::new(Hop::client(client.into(), Box::new(Verdict(Ok(()))))),
            server: End::new(Hop::server(server.into(), host_keys())),
            now: Timestamp(Duration::from_secs(1000)),
            random: TestRandom(42),
        }
    }

    /// A pair with its keys installed.
    pub(super) fn established(client: TransportConfig, server: TransportConfig) -> Pair {
        let mut pair = Pair::new(client, server);
        pair.start();
        pair.settle(usize::MAX).unwrap();
        assert_eq!((pair.client.key_changes, pair.server.key_changes), (1, 1));
        pair
    }

    pub(super) fn start(&mut self) {
        for end in [&mut self.client, &mut self.server] {
            let mut env = Env {
                now: self.now,
                random: &mut self.random,
            };
            end.hop.start(&mut env, &mut end.out);
        }
    }

    /// Carries at most `most` bytes from the server to the client, then from the client to the server.
    pub(super) fn exchange(&mut self, most: usize) -> Result<bool, Error> {
        let mut moved = false;
        for from_server in [true, false] {
            let (from, to) = match from_server {
                true => (&mut self.server, &mut self.client),
                false => (&mut self.client, &mut self.server),
            };
            let bytes: Vec<u8> = from.out.drain(..from.out.len().min(most)).collect();
            let mut env = Env {
                now: self.now,
                random: &mut self.random,
            };
            if !bytes.is_empty() {
                moved = true;
                to.take(&mut env, &bytes)?;
            }
        }
        Ok(moved)
    }

    /// Carries bytes in pieces of `piece` until the wires are empty.
    pub(super) fn settle(&mut self, piece: usize) -> Result<(), Error> {
        while self.exchange(piece)? {}
        Ok(())
    }

    pub(super) fn seal(&mut self, from_client: bool, payload: &[u8]) -> Result<(), Error> {
        let end = if from_client {
            &mut self.client
        } else {
            &mut self.server
        };
        let mut env = Env {
            now: self.now,
            random: &mut self.random,
        };
        end.hop.seal(&mut env, payload, &mut end.out)
    }

    pub(super) fn rekey(&mut self, from_client: bool) {
        self.set_authenticated();
        let end = if from_client {
            &mut self.client
        } else {
            &mut self.server
        };
        let mut env = Env {
            now: self.now,
            random: &mut self.random,
        };
        end.hop.start_rekey(&mut env, &mut end.out);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    pub(super) fn handle_timeouts(&mut self) -> Result<(), Error> {
        for end in [&mut self.client, &mut self.server] {
            let mut env = Env {
                now: self.now,
                random: &mut self.random,
            };
            end.hop.handle_timeout(&mut env, &mut end.out)?;
        }
        Ok(())
    }

    pub(super) fn set_authenticated(&mut self) {
        self.client.hop.set_authenticated();
        self.server.hop.set_authenticated();
    }
}
