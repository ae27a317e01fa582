//! The proof that a user signed in, for somebody who was not there.
//!
//! A user's signature over one SSH session names that session, the user, and the key; shown to the control plane together
//! with the certificate it stands for "this user, with this certificate, opened this session". Whoever holds a proof can
//! show it again: taking each once is the verifier's matter.

use core::net::IpAddr;

use super::{CONNECTION_SERVICE, Method, UserauthRequest};
use crate::certificate::{Certificate, CertificateError, UserCertificate};
use crate::key::{PublicKeyAlgorithm, SignatureError, Verified, printable};
use crate::wire::{Reader, WireError, Writer};

/// What a user signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// RFC 4252 §7: the session identifier as a string, then the request up to the signature.
    pub signed_data: Vec<u8>,
    /// The signature blob.
    pub signature: Vec<u8>,
}

/// What a proof says, once it has been verified. Made by [`verify_proof`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The user name as typed.
    pub user: String,
    /// The session identifier of the user's connection. One proof stands for one of them.
    pub session_id: Vec<u8>,
    /// The host key to which the user's agent bound the request, if it did.
    pub host_key: Option<Vec<u8>>,
    /// The certificate, checked.
    pub certificate: UserCertificate,
}

/// Why a proof does not prove anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The signed data is not a session identifier and a request by public key.
    #[error("malformed proof: {0}")]
    Malformed(String),
    /// The request was made with another key than that of the certificate at hand.
    #[error("proof was made with another certificate")]
    OtherCertificate,
    /// The request asks for another service than a login.
    #[error("proof is for the service {0:?}")]
    OtherService(String),
    /// The user name asks for another login.
    #[error("proof is for the user {0:?}, who asked for no such login")]
    OtherLogin(String),
    /// The certificate does not do.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The signature does not do.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// `verify-required`, and the security key verified nobody.
    #[error("the security key did not verify its user, which the certificate requires")]
    UserNotVerified,
}

/// RFC 4253 §7.2: the session identifier is an exchange hash, and the weakest hash in use is SHA-256.
const MIN_SESSION_ID_LEN: usize = 32;

/// What the one who verifies a proof knows by himself.
pub struct ProofCheck<'a> {
    /// Seconds since 1970.
    pub now: u64,
    /// Where the user's client is, as the data plane says.
    pub client: IpAddr,
    /// Whether the key, in wire format, is a user authority's.
    pub trusts_authority: &'a dyn Fn(&[u8]) -> bool,
    /// The login that the certificate must name, of the user name as typed; `None` for a name that asks for none.
    pub principal: &'a dyn for<'u> Fn(&'u str) -> Option<&'u str>,
}

/// Verifies that the holder of `certificate` signed in to an SSH session.
///
/// # Errors
/// [`ProofError`].
pub fn verify_proof(
    certificate: &[u8],
    request: &SignedRequest,
    check: &ProofCheck<'_>,
) -> Result<Proof, ProofError> {
    let malformed = |problem: WireError| ProofError::Malformed(problem.to_string());
    let mut reader = Reader::new(&request.signed_data);
    let session_id = reader.string().map_err(malformed)?;
    // One proof stands for one session, so the name of the session must be one that no two sessions have.
    if session_id.len() < MIN_SESSION_ID_LEN {
        return Err(ProofError::Malformed(
            "its session identifier is shorter than a SHA-256 hash".into(),
        ));
    }
    // The signed request lacks the signature, which is the last thing in a message: with one appended it is the message.
    let mut message = reader.rest().to_vec();
    message.put_string(&request.signature);
    let parsed =
        UserauthRequest::parse(&message).map_err(|error| ProofError::Malformed(error.to_string()))?;
    // A mere question has no place for a signature, and the one appended was then left over.
    let Method::PublicKey(public_key) = parsed.method else {
        return Err(ProofError::Malformed("it is not a request by public key".into()));
    };
    if parsed.service != CONNECTION_SERVICE {
        return Err(ProofError::OtherService(printable(parsed.service.as_bytes())));
    }
    if public_key.key != certificate {
        return Err(ProofError::OtherCertificate);
    }
    let Some(principal) = (check.principal)(parsed.user) else {
        return Err(ProofError::OtherLogin(printable(parsed.user.as_bytes())));
    };
    let algorithm = certified_algorithm(public_key.algorithm, certificate)
        .ok_or_else(|| ProofError::Malformed("its algorithm does not belong to its key".into()))?;
    let certificate = Certificate::parse(certificate)?.check_user(
        principal,
        check.now,
        check.client,
        check.trusts_authority,
    )?;
    let verified = certificate.certificate().key().verify(
        algorithm.signature,
        &request.signed_data,
        &request.signature,
    )?;
    check_verification(&certificate, verified).map_err(|UserNotVerified| ProofError::UserNotVerified)?;
    Ok(Proof {
        user: parsed.user.to_owned(),
        session_id: session_id.to_vec(),
        host_key: public_key.host_key.map(<[u8]>::to_vec),
        certificate,
    })
}

/// The algorithm of that name, if it is for certificates and `key` is one of its kind.
///
/// Without this, a request could name one algorithm and carry a key of another, and what is judged as a certificate would
/// be used as a plain key, or the reverse.
pub(super) fn certified_algorithm(name: &[u8], key: &[u8]) -> Option<PublicKeyAlgorithm> {
    let algorithm = PublicKeyAlgorithm::from_name(name)?;
    let fits = Reader::new(key).string() == Ok(algorithm.blob_name().as_bytes());
    (algorithm.certified && fits).then_some(algorithm)
}

pub(super) struct UserNotVerified;

/// The last question about a signature: did the security key verify its user, where the certificate requires that?
pub(super) fn check_verification(
    certificate: &UserCertificate,
    verified: Verified,
) -> Result<(), UserNotVerified> {
    match certificate.requires_verification() && !verified.user_verified {
        true => Err(UserNotVerified),
        false => Ok(()),
    }
}
