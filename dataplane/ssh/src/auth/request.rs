//! `SSH_MSG_USERAUTH_REQUEST` (RFC 4252 §5, §7 and OpenSSH PROTOCOL §3.1).

use super::{AuthError, CONNECTION_SERVICE, MAX_USER_LEN, PUBLICKEY, PUBLICKEY_HOSTBOUND};
use crate::key::PublicKeyAlgorithm;
use crate::wire::{Reader, WireError, Writer, msg};

/// A request for authentication, read and not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserauthRequest<'a> {
    /// The user name as typed.
    pub user: &'a str,
    /// What to start afterwards.
    pub service: &'a str,
    /// How the user wants to be authenticated.
    pub method: Method<'a>,
}

/// The method and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// RFC 4252 §5.2: asks which methods there are.
    None,
    /// By public key.
    PublicKey(PublicKeyRequest<'a>),
    /// Anything else; its fields are not read.
    Other(&'a str),
}

/// The fields of both public key methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeyRequest<'a> {
    /// Name of the public key algorithm, as sent.
    pub algorithm: &'a [u8],
    /// The key or certificate, in wire format.
    pub key: &'a [u8],
    /// The server's host key, where the method binds the request to it.
    pub host_key: Option<&'a [u8]>,
    /// The signature blob; `None` asks whether it would be worth to sign.
    pub signature: Option<Signature<'a>>,
}

/// A signature and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// The signature blob.
    pub blob: &'a [u8],
    /// The message up to the signature, which the client signed behind the session identifier.
    pub covers: &'a [u8],
}

impl<'a> UserauthRequest<'a> {
    /// Reads a whole payload, message number included.
    ///
    /// # Errors
    /// [`AuthError::Unexpected`] for another message, [`AuthError::Malformed`], [`AuthError::OutOfBounds`] for a user
    /// name longer than [`MAX_USER_LEN`].
    pub fn parse(payload: &'a [u8]) -> Result<UserauthRequest<'a>, AuthError> {
        let malformed = AuthError::malformed("USERAUTH_REQUEST");
        let mut reader = Reader::new(payload);
        match reader.u8().map_err(&malformed)? {
            msg::USERAUTH_REQUEST => {}
            got => {
                return Err(AuthError::Unexpected {
                    got,
                    expected: "USERAUTH_REQUEST",
                });
            }
        }
        let user = reader.text().map_err(&malformed)?;
        if user.len() > MAX_USER_LEN {
            return Err(AuthError::OutOfBounds("got a user name of more than 600 bytes"));
        }
        let service = reader.text().map_err(&malformed)?;
        let method = match reader.text().map_err(&malformed)? {
            "none" => Method::None,
            PUBLICKEY => Method::PublicKey(read_public_key(&mut reader, payload, false).map_err(&malformed)?),
            PUBLICKEY_HOSTBOUND => {
                Method::PublicKey(read_public_key(&mut reader, payload, true).map_err(&malformed)?)
            }
            other => {
                return Ok(UserauthRequest {
                    user,
                    service,
                    method: Method::Other(other),
                });
            }
        };
        reader.finish().map_err(&malformed)?;
        Ok(UserauthRequest {
            user,
            service,
            method,
        })
    }
}

fn read_public_key<'a>(
    reader: &mut Reader<'a>,
    payload: &'a [u8],
    is_hostbound: bool,
) -> Result<PublicKeyRequest<'a>, WireError> {
    let is_signed = reader.bool()?;
    let algorithm = reader.string()?;
    let key = reader.string()?;
    let host_key = if is_hostbound {
        Some(reader.string()?)
    } else {
        None
    };
    let covers = &payload[..reader.position()];
    let signature = match is_signed {
        true => Some(Signature {
            blob: reader.string()?,
            covers,
        }),
        false => None,
    };
    Ok(PublicKeyRequest {
        algorithm,
        key,
        host_key,
        signature,
    })
}

/// Appends a request by public key up to its signature; with `is_signed`, that is what is signed behind the session
/// identifier. With a host key, the request is bound to it.
pub(super) fn write_public_key(
    out: &mut Vec<u8>,
    user: &str,
    is_signed: bool,
    algorithm: PublicKeyAlgorithm,
    key: &[u8],
    host_key: Option<&[u8]>,
) {
    out.put_u8(msg::USERAUTH_REQUEST);
    out.put_string(user);
    out.put_string(CONNECTION_SERVICE);
    out.put_string(if host_key.is_some() {
        PUBLICKEY_HOSTBOUND
    } else {
        PUBLICKEY
    });
    out.put_bool(is_signed);
    out.put_string(algorithm.name());
    out.put_string(key);
    if let Some(host_key) = host_key {
        out.put_string(host_key);
    }
}
