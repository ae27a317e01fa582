//! The side that signs in.
//!
//! ```text
//! AwaitAccept ──SERVICE_ACCEPT──▶ AwaitVerdict ──SUCCESS──▶ Done
//!                                     └────────FAILURE──▶ Done
//! ```
//!
//! One credential, one request, signed at once: neither `none` nor a probe. To sshd a connection that ends after a
//! failed attempt costs the same whatever the number of its requests, and each would be a round trip.

use std::fmt;

use super::request::write_public_key;
use super::{AuthError, Replies, USERAUTH_SERVICE};
use crate::certificate::{Certificate, CertificateError};
use crate::extensions::Extensions;
use crate::key::{PublicKeyAlgorithm, SignatureAlgorithm, SigningKey, printable};
use crate::wire::{NameList, Reader, Writer, msg};

/// What a client signs in with.
#[derive(Clone, Debug)]
pub struct Credential {
    key: SigningKey,
    certificate: Option<Certificate>,
}

impl Credential {
    /// A key that the server knows.
    pub fn plain(key: SigningKey) -> Credential {
        Credential {
            key,
            certificate: None,
        }
    }

    /// A key with a certificate of an authority that the server knows.
    ///
    /// # Errors
    /// [`CertificateError::OtherKey`] if the certificate is for another key.
    pub fn certified(key: SigningKey, certificate: Certificate) -> Result<Credential, CertificateError> {
        if certificate.key() != key.public_key() {
            return Err(CertificateError::OtherKey);
        }
        Ok(Credential {
            key,
            certificate: Some(certificate),
        })
    }

    fn blob(&self) -> &[u8] {
        match &self.certificate {
            Some(certificate) => certificate.blob(),
            None => self.key.public_key().blob(),
        }
    }
}

/// What a message led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Nothing to be told.
    Continue,
    /// Text of the server for the user, with control characters but newline and tab replaced.
    Banner(String),
    /// The server has let us in.
    Success,
    /// The server has refused.
    Failed(ClientFailure),
}

/// Why a server did not let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFailure {
    /// The login that was asked for.
    pub user: String,
    /// Methods that the server would still take, comma-separated.
    pub methods_left: String,
    /// The credential was accepted, and the server wants more than that.
    pub is_partial: bool,
    /// A certificate was shown rather than a plain key.
    pub is_certified: bool,
}

impl fmt::Display for ClientFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_certified { "certificate" } else { "key" };
        let (user, methods) = (&self.user, &self.methods_left);
        match self.is_partial {
            true => write!(
                f,
                "the {what} for login {user:?} was accepted, but {methods} is required as well"
            ),
            false => write!(
                f,
                "the {what} for login {user:?} was refused (accepted there: {methods})"
            ),
        }
    }
}

/// Longest banner that is passed on, in bytes: a screen of text.
const MAX_BANNER_LEN: usize = 8 * 1024;

/// Most banners that are passed on; further ones are dropped.
const MAX_BANNERS: u32 = 16;

/// The client's side of authentication on one connection.
#[derive(Debug)]
pub struct ClientAuth {
    state: State,
    user: String,
    credential: Credential,
    session_id: Vec<u8>,
    host_key: Vec<u8>,
    banners: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    AwaitAccept,
    AwaitVerdict,
    Done,
}

impl ClientAuth {
    /// For a connection whose keys are installed. `session_id` and `host_key` (the blob that the server showed in the
    /// first key exchange) are the hop's.
    ///
    /// # Panics
    /// If `session_id` or `host_key` is empty: a signature over no session could be shown on any connection.
    pub fn new(user: &str, credential: Credential, session_id: &[u8], host_key: &[u8]) -> ClientAuth {
        assert!(
            !session_id.is_empty(),
            "authentication begins on a connection that has exchanged keys"
        );
        assert!(!host_key.is_empty(), "the server has shown a host key");
        ClientAuth {
            state: State::AwaitAccept,
            user: user.to_owned(),
            credential,
            session_id: session_id.to_vec(),
            host_key: host_key.to_vec(),
            banners: 0,
        }
    }

    /// Appends the first message. Called once.
    pub fn start(&mut self, replies: &mut Replies) {
        let mut request = vec![msg::SERVICE_REQUEST];
        request.put_string(USERAUTH_SERVICE);
        replies.push(request);
    }

    /// Takes one payload from the server and appends what is to be answered. `extensions` is what the server has told
    /// of itself so far; sshd does so before it accepts the service.
    ///
    /// # Errors
    /// [`AuthError`]: the connection is of no use.
    pub fn receive(
        &mut self,
        payload: &[u8],
        extensions: &Extensions,
        replies: &mut Replies,
    ) -> Result<ClientStep, AuthError> {
        let mut reader = Reader::new(payload);
        let number = reader
            .u8()
            .map_err(|_| AuthError::OutOfBounds("got a message without a number"))?;
        match (self.state, number) {
            (State::AwaitAccept, msg::SERVICE_ACCEPT) => {
                // RFC 4253 §10 repeats the service's name here; very old servers leave it out.
                replies.push(self.request(extensions)?);
                self.state = State::AwaitVerdict;
                Ok(ClientStep::Continue)
            }
            (State::AwaitAccept | State::AwaitVerdict, msg::USERAUTH_BANNER) => {
                let text = reader.string().map_err(AuthError::malformed("USERAUTH_BANNER"))?;
                Ok(self.banner(text))
            }
            (State::AwaitAccept, got) => Err(AuthError::Unexpected {
                got,
                expected: "SERVICE_ACCEPT",
            }),
            (State::AwaitVerdict, msg::USERAUTH_SUCCESS) => {
                self.state = State::Done;
                reader
                    .finish()
                    .map_err(AuthError::malformed("USERAUTH_SUCCESS"))?;
                Ok(ClientStep::Success)
            }
            (State::AwaitVerdict, msg::USERAUTH_FAILURE) => {
                self.state = State::Done;
                self.failure(&mut reader).map(ClientStep::Failed)
            }
            (State::AwaitVerdict, got) => Err(AuthError::Unexpected {
                got,
                expected: "USERAUTH_SUCCESS or USERAUTH_FAILURE",
            }),
            (State::Done, got) => Err(AuthError::Unexpected {
                got,
                expected: "nothing after the verdict",
            }),
        }
    }

    fn request(&self, extensions: &Extensions) -> Result<Vec<u8>, AuthError> {
        let signature = self.signature_algorithm(extensions)?;
        let certified = self.credential.certificate.is_some();
        let algorithm = PublicKeyAlgorithm { signature, certified };
        let host_key = extensions.publickey_hostbound.then_some(&self.host_key[..]);
        let mut request = Vec::with_capacity(1024);
        write_public_key(
            &mut request,
            &self.user,
            true,
            algorithm,
            self.credential.blob(),
            host_key,
        );
        let mut signed_data = Vec::with_capacity(4 + self.session_id.len() + request.len());
        signed_data.put_string(&self.session_id);
        signed_data.put_bytes(&request);
        let key = &self.credential.key;
        let signature = key
            .sign(signature, &signed_data)
            .map_err(|error| AuthError::Signing(error.to_string()))?;
        request.put_string(&signature);
        Ok(request)
    }

    /// RFC 8308 §3.1: which signatures the server takes. Only RSA keys have a choice.
    fn signature_algorithm(&self, extensions: &Extensions) -> Result<SignatureAlgorithm, AuthError> {
        let ours = self.credential.key.public_key().key_type().signature_algorithms();
        let Some(theirs) = extensions.server_sig_algs() else {
            return Ok(ours[0]);
        };
        let theirs: Vec<&str> = theirs.collect();
        match ours.iter().find(|algorithm| theirs.contains(&algorithm.name())) {
            Some(&algorithm) => Ok(algorithm),
            // sshd before 7.8 does not list all that it takes but for RSA, where the list is the point of it.
            None if ours.len() == 1 => Ok(ours[0]),
            None => Err(AuthError::Signing(format!(
                "the server takes signatures of {} only",
                printable(theirs.join(",").as_bytes())
            ))),
        }
    }

    fn banner(&mut self, text: &[u8]) -> ClientStep {
        self.banners = self.banners.saturating_add(1);
        if self.banners > MAX_BANNERS {
            return ClientStep::Continue;
        }
        // RFC 4252 §5.4: "control character filtering … SHOULD be used to avoid attacks by including terminal control
        // characters".
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_BANNER_LEN)]);
        let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        ClientStep::Banner(
            text.chars()
                .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
                .collect(),
        )
    }

    fn failure(&self, reader: &mut Reader<'_>) -> Result<ClientFailure, AuthError> {
        let malformed = AuthError::malformed("USERAUTH_FAILURE");
        let methods: NameList<'_> = reader.name_list().map_err(&malformed)?;
        let is_partial = reader.bool().map_err(&malformed)?;
        reader.finish().map_err(&malformed)?;
        Ok(ClientFailure {
            user: self.user.clone(),
            methods_left: printable(methods.as_str().as_bytes()),
            is_partial,
            is_certified: self.credential.certificate.is_some(),
        })
    }
}

#[cfg(test)]
mod tests;
