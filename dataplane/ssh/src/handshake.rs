//! The key exchange as states, each named for what it awaits and consumed by what it gets.
//!
//! ```text
//! AwaitIdent ─▶ AwaitKexInit ─┬▶ AwaitKexRequest (server) ─┬▶ AwaitNewKeys ─▶ Established ─▶ AwaitKexInit …
//!                             └▶ AwaitKexReply   (client) ─┘
//! ```
//!
//! `AwaitIdent` and the first `AwaitKexInit` exist with and without an own KEXINIT on its way: a server holds its own
//! back until the client's has come or the steering wait is over. Any other message than the awaited one ends the
//! connection, with the exceptions that `hop::phase` lists.
//!
//! Keys are installed for sending when this side's NEWKEYS is sealed, in the step that leads to `AwaitNewKeys`, and
//! for receiving when the peer's has come. The only values from which keys can be made, [`Proven`], exist where the
//! server has signed the exchange hash or the client has checked that signature.

use std::sync::Arc;

use weir_crypto::digest::{HashAlgorithm, hash};

use crate::algorithm::HostKeyAlgorithm;
use crate::config::TransportConfig;
use crate::error::{Error, Misbehaviour};
use crate::extensions;
use crate::hop::{Env, HostKeyCheck, Timestamp};
use crate::kex::{self, ClientKey, ExchangeHash, KeySchedule, SessionId};
use crate::key::{HostKey, verify_host_signature};
use crate::negotiation::{self, KexInit, Negotiated, Offer, Outcome, Side};
use crate::packet::{DirectionKeys, Sealer};
use crate::wire::{Reader, Writer, msg};

/// What outlives each exchange.
pub(crate) struct Core {
    pub(crate) config: Arc<TransportConfig>,
    pub(crate) role: Role,
    pub(crate) sealer: Sealer,
    pub(crate) peer_ident: Box<str>,
    pub(crate) session: Option<Session>,
    /// Steering has decided for AES-GCM; a KEXINIT sent before the client's lists nothing else.
    pub(crate) gcm_only: bool,
    /// A DISCONNECT has been sealed.
    pub(crate) farewell_said: bool,
}

/// The connection since its first keys.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) negotiated: Negotiated,
    /// When this side began to use its current keys.
    pub(crate) keys_since: Timestamp,
}

/// What differs between the sides.
pub(crate) enum Role {
    Server {
        keys: Arc<[HostKey]>,
        shown: Option<usize>,
    },
    Client {
        check: Box<dyn HostKeyCheck>,
        /// SHA-256 of the host key.
        accepted: Option<[u8; 32]>,
        proof: Option<Box<HostKeyProof>>,
    },
}

/// The host key that a server has shown in the first exchange, and its signature over the session identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyProof {
    /// The key's or the certificate's blob.
    pub host_key: Vec<u8>,
    /// The signature blob.
    pub signature: Vec<u8>,
}

impl Core {
    pub(crate) fn side(&self) -> Side {
        match self.role {
            Role::Server { .. } => Side::Server,
            Role::Client { .. } => Side::Client,
        }
    }

    /// Seals a KEXINIT and returns its payload, which the exchange hash needs.
    pub(crate) fn send_kexinit(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
        let offer = Offer {
            side: self.side(),
            config: &self.config,
            host_keys: self.host_key_algorithms(),
            gcm_only: self.gcm_only,
            first: self.session.is_none(),
        };
        let payload = offer.compose(env.random);
        self.sealer.seal(env.random, &payload, out)?;
        Ok(payload)
    }

    fn host_key_algorithms(&self) -> Vec<HostKeyAlgorithm> {
        let configured = &self.config.host_key_algs;
        match &self.role {
            Role::Server { keys, .. } => {
                let has = |wanted: &&HostKeyAlgorithm| index_of_key(keys, **wanted).is_some();
                configured.iter().filter(has).copied().collect()
            }
            Role::Client { check, .. } => match check.algorithms() {
                Some(wanted) => wanted
                    .into_iter()
                    .filter(|wanted| configured.contains(wanted))
                    .collect(),
                None => configured.clone(),
            },
        }
    }

    /// Ends this side's part of an exchange: NEWKEYS under the old keys, everything after it under the new ones.
    fn change_keys(
        &mut self,
        env: &mut Env<'_>,
        proven: Proven,
        terms: Terms,
        out: &mut Vec<u8>,
    ) -> Result<AwaitNewKeys, Error> {
        let Terms {
            negotiated,
            first,
            tell_extensions,
        } = terms;
        let Proven(schedule) = proven;
        let id = self
            .session
            .as_ref()
            .map_or_else(|| schedule.session_id(), |session| session.id);
        let to_server = schedule.client_to_server(&id, negotiated.client_to_server);
        let to_client = schedule.server_to_client(&id, negotiated.server_to_client);
        let (sending, receiving) = match self.side() {
            Side::Client => (to_server, to_client),
            Side::Server => (to_client, to_server),
        };
        self.sealer.seal(env.random, &[msg::NEWKEYS], out)?;
        self.sealer.install(sending, negotiated.strict);
        self.session = Some(Session {
            id,
            negotiated,
            keys_since: env.now,
        });
        if tell_extensions {
            // RFC 8308 §2.4: "as the next packet following the first SSH_MSG_NEWKEYS".
            let payload = match self.side() {
                Side::Client => extensions::client_ext_info(),
                Side::Server => {
                    let names = self
                        .config
                        .server_sig_algs
                        .iter()
                        .map(|algorithm| algorithm.name());
                    extensions::server_ext_info(names)
                }
            };
            self.sealer.seal(env.random, &payload, out)?;
        }
        Ok(AwaitNewKeys {
            keys: receiving,
            first,
            strict: negotiated.strict,
        })
    }
}

/// The exchange hash with the server's signature made or checked: what keys may be made of.
struct Proven(KeySchedule);

/// An exchange between both KEXINITs and NEWKEYS.
pub(crate) struct Exchange {
    pub(crate) terms: Terms,
    hash: ExchangeHash,
    /// The next packet is the peer's wrong guess.
    pub(crate) skip_guess: bool,
}

/// What both KEXINITs have settled.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) negotiated: Negotiated,
    /// It is the connection's first exchange.
    pub(crate) first: bool,
    /// This side's first packet under the new keys is EXT_INFO.
    tell_extensions: bool,
}

/// Awaits the peer's KEXINIT.
pub(crate) struct AwaitKexInit {
    /// The payload of the KEXINIT that this side has sent already.
    pub(crate) own: Option<Vec<u8>>,
}

/// What follows KEXINIT.
pub(crate) enum AwaitMethod {
    Request(AwaitKexRequest),
    Reply(AwaitKexReply),
}

impl AwaitKexInit {
    /// Takes the peer's KEXINIT; `packets_before` came from it earlier, under no keys.
    pub(crate) fn receive(
        self,
        core: &mut Core,
        env: &mut Env<'_>,
        payload: &[u8],
        packets_before: u64,
        out: &mut Vec<u8>,
    ) -> Result<AwaitMethod, Error> {
        let peer = KexInit::parse(payload).map_err(Error::malformed("KEXINIT"))?;
        // Also where the own KEXINIT could not wait for this one: the next exchange of keys steers then.
        core.gcm_only =
            core.side() == Side::Server && core.config.prefer_gcm && peer.offers_gcm(&core.config);
        let own_payload = match self.own {
            Some(payload) => payload,
            None => core.send_kexinit(env, out)?,
        };
        let own = KexInit::parse(&own_payload).expect("an own KEXINIT is well-formed");
        let strict = core.session.as_ref().map(|session| session.negotiated.strict);
        let outcome = negotiation::negotiate(core.side(), &own, &peer, strict)?;
        let first = core.session.is_none();
        // OpenSSH PROTOCOL §1.10: "terminating the connection if the first packet received is not
        // SSH2_MSG_KEXINIT".
        if first && outcome.negotiated.strict && packets_before > 0 {
            return Err(Misbehaviour::StrictKex {
                packets: packets_before,
            }
            .into());
        }
        let exchange = Exchange::new(core, outcome, [&own_payload, payload], first);
        match core.side() {
            Side::Server => Ok(AwaitMethod::Request(AwaitKexRequest { exchange })),
            Side::Client => AwaitKexReply::request(exchange, core, env, out).map(AwaitMethod::Reply),
        }
    }
}

impl Exchange {
    fn new(core: &Core, outcome: Outcome, [own, peer]: [&[u8]; 2], first: bool) -> Exchange {
        let idents = [core.config.ident.as_bytes(), core.peer_ident.as_bytes()];
        let (idents, kexinits) = match core.side() {
            Side::Client => (idents, [own, peer]),
            Side::Server => ([idents[1], idents[0]], [peer, own]),
        };
        let negotiated = outcome.negotiated;
        Exchange {
            terms: Terms {
                negotiated,
                first,
                tell_extensions: first && outcome.peer_takes_ext_info,
            },
            hash: ExchangeHash::new(kex::hash_of(negotiated.kex), idents, kexinits),
            skip_guess: outcome.peer_guessed_wrong,
        }
    }
}

/// A server: awaits the client's public value.
pub(crate) struct AwaitKexRequest {
    pub(crate) exchange: Exchange,
}

impl AwaitKexRequest {
    /// Answers with this side's public value and the host key's signature, and changes keys.
    pub(crate) fn receive(
        self,
        core: &mut Core,
        env: &mut Env<'_>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<AwaitNewKeys, Error> {
        let malformed = Error::malformed("KEX_ECDH_INIT");
        let mut reader = Reader::new(&payload[1..]);
        let client_public = reader.string().map_err(&malformed)?;
        reader.finish().map_err(&malformed)?;

        let Exchange { terms, hash, .. } = self.exchange;
        let Negotiated {
            kex,
            host_key: algorithm,
            ..
        } = terms.negotiated;
        let (server_public, secret) =
            kex::respond(kex, client_public).map_err(|_| Misbehaviour::KeyAgreement)?;
        let host_key = core.show_host_key(algorithm);
        let schedule = hash.finish(host_key.blob(), client_public, &server_public, secret);
        let signature = host_key
            .sign(algorithm, schedule.exchange_hash())
            .map_err(|_| Error::Misuse("a host key could not sign as it offers"))?;

        let mut reply =
            Vec::with_capacity(16 + host_key.blob().len() + server_public.len() + signature.len());
        reply.put_u8(msg::KEX_ECDH_REPLY);
        reply.put_string(host_key.blob());
        reply.put_string(&server_public);
        reply.put_string(&signature);
        core.sealer.seal(env.random, &reply, out)?;
        core.change_keys(env, Proven(schedule), terms, out)
    }
}

/// A client: awaits the server's public value, host key and signature.
pub(crate) struct AwaitKexReply {
    pub(crate) exchange: Exchange,
    key: ClientKey,
}

impl AwaitKexReply {
    /// Sends a fresh public value.
    fn request(
        exchange: Exchange,
        core: &mut Core,
        env: &mut Env<'_>,
        out: &mut Vec<u8>,
    ) -> Result<AwaitKexReply, Error> {
        let key = ClientKey::generate(exchange.terms.negotiated.kex);
        let mut request = vec![msg::KEX_ECDH_INIT];
        request.put_string(key.public());
        core.sealer.seal(env.random, &request, out)?;
        Ok(AwaitKexReply { exchange, key })
    }

    /// Checks that the server is whom it claims to be, and changes keys.
    pub(crate) fn receive(
        self,
        core: &mut Core,
        env: &mut Env<'_>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<AwaitNewKeys, Error> {
        let malformed = Error::malformed("KEX_ECDH_REPLY");
        let mut reader = Reader::new(&payload[1..]);
        let host_key = reader.string().map_err(&malformed)?;
        let server_public = reader.string().map_err(&malformed)?;
        let signature = reader.string().map_err(&malformed)?;
        reader.finish().map_err(&malformed)?;

        let Exchange { terms, hash, .. } = self.exchange;
        let client_public = self.key.public();
        let secret = self
            .key
            .agree(server_public)
            .map_err(|_| Misbehaviour::KeyAgreement)?;
        let schedule = hash.finish(host_key, &client_public, server_public, secret);
        core.accept_host_key(terms, host_key, &schedule, signature)?;
        core.change_keys(env, Proven(schedule), terms, out)
    }
}

impl Core {
    /// The host key for an algorithm that was offered.
    fn show_host_key(&mut self, algorithm: HostKeyAlgorithm) -> HostKey {
        let Role::Server { keys, shown } = &mut self.role else {
            unreachable!("only a server awaits a request")
        };
        let index = index_of_key(keys, algorithm).expect("only the algorithms of own host keys are offered");
        *shown = Some(index);
        keys[index].clone()
    }

    /// The signature first, so that a question to the user is never about a key that the server does not hold.
    fn accept_host_key(
        &mut self,
        terms: Terms,
        host_key: &[u8],
        schedule: &KeySchedule,
        signature: &[u8],
    ) -> Result<(), Error> {
        let Role::Client {
            check,
            accepted,
            proof,
        } = &mut self.role
        else {
            unreachable!("only a client awaits a reply")
        };
        let algorithm = terms.negotiated.host_key;
        verify_host_signature(algorithm, host_key, schedule.exchange_hash(), signature).map_err(|error| {
            Misbehaviour::HostKey {
                expected: algorithm.name(),
                problem: error.to_string(),
            }
        })?;
        // A key that was accepted stays so for the connection: a certificate may run out meanwhile.
        let digest = hash(HashAlgorithm::Sha256, &[host_key]);
        let digest = *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        if *accepted != Some(digest) {
            check.check(host_key).map_err(Error::Rejected)?;
            *accepted = Some(digest);
        }
        if terms.first {
            let shown = HostKeyProof {
                host_key: host_key.to_vec(),
                signature: signature.to_vec(),
            };
            *proof = Some(Box::new(shown));
        }
        Ok(())
    }
}

/// Awaits the peer's NEWKEYS.
pub(crate) struct AwaitNewKeys {
    /// What the peer uses after it.
    pub(crate) keys: DirectionKeys,
    pub(crate) first: bool,
    pub(crate) strict: bool,
}

fn index_of_key(keys: &[HostKey], algorithm: HostKeyAlgorithm) -> Option<usize> {
    keys.iter().position(|key| key.serves(algorithm))
}
