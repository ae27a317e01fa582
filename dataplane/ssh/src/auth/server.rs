//! The side that lets users in, or not.

use core::net::IpAddr;

use super::proof::{UserNotVerified, certified_algorithm, check_verification};
use super::request::{Method, PublicKeyRequest, Signature, UserauthRequest};
use super::{AuthError, CONNECTION_SERVICE, PUBLICKEY, Replies, SignedRequest, USERAUTH_SERVICE, banner};
use crate::certificate::{Certificate, CertificateError, UserCertificate};
use crate::key::{KeyType, PublicKey, SignatureError, fingerprint_sha256, printable};
use crate::wire::{Reader, Writer, msg};

/// Whom to believe.
pub trait Authority {
    /// The login that the certificate must name, of the user name as typed (`root@web1` asks for `root`). `None`
    /// for a name that asks for nothing that there is.
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str>;

    /// Whether the key, in wire format, is a user authority's.
    fn trusts_user_ca(&self, key: &[u8]) -> bool;
}

/// A user has proved who he is. Made by [`ServerAuth::receive`] alone, for a request whose signature verified under
/// a certificate that was checked in the same step.
#[derive(Clone, Debug)]
pub struct Authenticated {
    user: String,
    certificate: UserCertificate,
    proof: SignedRequest,
}

impl Authenticated {
    /// The user name as typed.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The certificate, checked for the login in that name.
    pub fn certificate(&self) -> &UserCertificate {
        &self.certificate
    }

    /// What convinces somebody who was not there.
    pub fn proof(&self) -> &SignedRequest {
        &self.proof
    }
}

/// What a message led to.
#[derive(Debug)]
pub enum ServerStep {
    /// The client may go on.
    Continue,
    /// A request was refused; the client has been told, and may try another.
    Refused(AuthFailure),
    /// The user is in. The last of the replies says so to the client.
    Authenticated(Box<Authenticated>),
}

/// A refused request, for the audit log. What the client claimed in it is unproven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFailure {
    /// The user name as typed.
    pub user: String,
    /// The method that was tried.
    pub method: String,
    /// SHA-256 fingerprint of the key that was shown (for a certificate, of the key in it).
    pub fingerprint: Option<String>,
    /// Key id and serial of the certificate that was shown. Only trust them if `why` says that its signature stood.
    pub certificate: Option<(String, u64)>,
    /// Why it was refused.
    pub why: Refusal,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user name names no login.
    #[error("the user name asks for no login that there is")]
    UnknownUser,
    /// A key without a certificate.
    #[error(
        "a plain {0} key was offered, and only certificates are accepted; sign it with the user authority"
    )]
    PlainKey(KeyType),
    /// The certificate does not do.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The signature does not do.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// `verify-required`, and the security key verified nobody.
    #[error("the security key did not verify its user, which the certificate requires")]
    UserNotVerified,
    /// The name of the algorithm is unknown, SHA-1, or does not belong to the key.
    #[error("public key algorithm {0:?} is not accepted for this key")]
    Algorithm(String),
    /// Passwords and the like.
    #[error("method {0:?} is not accepted")]
    Method(String),
}

impl Refusal {
    /// Whether the client proved nothing and cost nothing: such requests are counted less strictly, because an
    /// agent offers all the keys that it holds.
    fn is_cheap(&self) -> bool {
        matches!(self, Refusal::PlainKey(_))
    }

    /// Whether the words are of use to the user, and of none to a stranger: a trusted authority signed the certificate.
    fn concerns_own_certificate(&self) -> bool {
        use CertificateError::{
            Expired, NoPrincipals, NotYetValid, SourceAddress, UnknownCriticalOption, VerificationImpossible,
            WrongPrincipal,
        };
        matches!(
            self,
            Refusal::Certificate(
                Expired { .. }
                    | NotYetValid { .. }
                    | NoPrincipals
                    | WrongPrincipal { .. }
                    | SourceAddress { .. }
                    | UnknownCriticalOption(_)
                    | VerificationImpossible(_)
            ) | Refusal::UserNotVerified
        )
    }
}

/// The server's side of authentication on one connection.
#[derive(Debug)]
pub struct ServerAuth {
    state: State,
    session_id: Vec<u8>,
    client: IpAddr,
    host_key: Vec<u8>,
    tries_left: u32,
    requests_left: u32,
    banner: Option<String>,
    /// The refusal has been explained to the user, which is done once.
    explained: bool,
}

#[derive(Debug)]
enum State {
    AwaitService,
    /// The user name and service of the first request, once there was one.
    AwaitRequest(Option<Identity>),
    Done,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    user: String,
    service: String,
}

/// Requests of any kind on one connection, on top of the counted tries. An agent with many keys asks for each of
/// them; nothing that is cheap needs more.
const MAX_REQUESTS: u32 = 64;

impl ServerAuth {
    /// For a connection whose keys are installed.
    ///
    /// `session_id` and `host_key` (the blob that the client was shown in the first key exchange) are the hop's;
    /// `max_tries` bounds refused requests, as sshd's `MaxAuthTries` does (6 there); `banner` is sent at the first
    /// request.
    ///
    /// # Panics
    /// If `session_id` or `host_key` is empty: a signature over no session would stand for every connection.
    pub fn new(
        session_id: &[u8],
        client: IpAddr,
        host_key: &[u8],
        max_tries: u32,
        banner: Option<String>,
    ) -> ServerAuth {
        assert!(
            !session_id.is_empty(),
            "authentication begins on a connection that has exchanged keys"
        );
        assert!(!host_key.is_empty(), "the client was shown a host key");
        ServerAuth {
            state: State::AwaitService,
            session_id: session_id.to_vec(),
            client,
            host_key: host_key.to_vec(),
            tries_left: max_tries,
            requests_left: MAX_REQUESTS,
            banner,
            explained: false,
        }
    }

    /// Takes one payload from the client and appends what is to be answered. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`AuthError`]: the connection is over. Replies appended so far may still be sent.
    pub fn receive(
        &mut self,
        payload: &[u8],
        now: u64,
        authority: &dyn Authority,
        replies: &mut Replies,
    ) -> Result<ServerStep, AuthError> {
        let &number = payload
            .first()
            .ok_or(AuthError::OutOfBounds("got a message without a number"))?;
        match (&mut self.state, number) {
            (State::AwaitService, msg::SERVICE_REQUEST) => self.start_service(payload, replies),
            (State::AwaitService, got) => Err(AuthError::Unexpected {
                got,
                expected: "SERVICE_REQUEST",
            }),
            (State::AwaitRequest(_), msg::USERAUTH_REQUEST) => {
                self.receive_request(payload, now, authority, replies)
            }
            (State::AwaitRequest(_), got) => Err(AuthError::Unexpected {
                got,
                expected: "USERAUTH_REQUEST",
            }),
            // RFC 4252 §5.1: requests after SUCCESS "SHOULD be silently ignored".
            (State::Done, msg::USERAUTH_REQUEST) => Ok(ServerStep::Continue),
            (State::Done, got) => Err(AuthError::Unexpected {
                got,
                expected: "nothing after authentication",
            }),
        }
    }

    fn start_service(&mut self, payload: &[u8], replies: &mut Replies) -> Result<ServerStep, AuthError> {
        let malformed = AuthError::malformed("SERVICE_REQUEST");
        let mut reader = Reader::new(&payload[1..]);
        let service = reader.string().map_err(&malformed)?;
        reader.finish().map_err(&malformed)?;
        // RFC 4253 §10: "If the server rejects the service request, it SHOULD send an appropriate
        // SSH_MSG_DISCONNECT message and MUST disconnect." A service before authentication is none.
        if service != USERAUTH_SERVICE.as_bytes() {
            return Err(AuthError::ServiceNotAvailable(printable(service)));
        }
        let mut accept = vec![msg::SERVICE_ACCEPT];
        accept.put_string(USERAUTH_SERVICE);
        replies.push(accept);
        self.state = State::AwaitRequest(None);
        Ok(ServerStep::Continue)
    }

    fn receive_request(
        &mut self,
        payload: &[u8],
        now: u64,
        authority: &dyn Authority,
        replies: &mut Replies,
    ) -> Result<ServerStep, AuthError> {
        let request = UserauthRequest::parse(payload)?;
        let is_first = self.fix_identity(&request)?;
        self.requests_left = self
            .requests_left
            .checked_sub(1)
            .ok_or(AuthError::TooManyFailures { last: None })?;
        if let Some(text) = self.banner.take() {
            replies.push(banner(&text));
        }
        let failure = match request.method {
            // RFC 4252 §5.2: the first `none` asks for the methods; whoever goes on asking is guessing.
            Method::None if is_first => {
                replies.push(failure_message());
                return Ok(ServerStep::Continue);
            }
            Method::None => unsigned_failure(request.user, "none"),
            Method::Other(method) => unsigned_failure(request.user, method),
            Method::PublicKey(ref offered) => {
                if offered.host_key.is_some_and(|bound_to| bound_to != self.host_key) {
                    return Err(AuthError::HostKeyMismatch);
                }
                match self.judge(request.user, offered, now, authority) {
                    Ok(Judgement::WorthSigning) => {
                        replies.push(pk_ok_message(offered));
                        return Ok(ServerStep::Continue);
                    }
                    Ok(Judgement::Proved(authenticated)) => {
                        replies.push(vec![msg::USERAUTH_SUCCESS]);
                        self.state = State::Done;
                        return Ok(ServerStep::Authenticated(authenticated));
                    }
                    Err(why) => offered_failure(request.user, offered, why),
                }
            }
        };
        self.refuse(failure, replies)
    }

    /// Keeps user and service as the first request named them. Answers whether this is the first.
    fn fix_identity(&mut self, request: &UserauthRequest<'_>) -> Result<bool, AuthError> {
        // RFC 4252 §5: "If the requested service is not available, the server MAY disconnect immediately".
        if request.service != CONNECTION_SERVICE {
            return Err(AuthError::ServiceNotAvailable(printable(
                request.service.as_bytes(),
            )));
        }
        match &mut self.state {
            State::AwaitRequest(Some(identity)) => {
                // RFC 4252 §5 lets both change and has the server flush its state then. What was answered about one
                // name must not be taken for an answer about another; sshd ends the connection, and so does this.
                match identity.user == request.user && identity.service == request.service {
                    true => Ok(false),
                    false => Err(AuthError::NameChanged),
                }
            }
            State::AwaitRequest(identity) => {
                let (user, service) = (request.user.to_owned(), request.service.to_owned());
                *identity = Some(Identity { user, service });
                Ok(true)
            }
            State::AwaitService | State::Done => unreachable!("requests are read while they are awaited"),
        }
    }

    /// Probe and signed request are judged alike and from the start: nothing is remembered of a probe that a signed
    /// request could lean on.
    fn judge(
        &self,
        user: &str,
        offered: &PublicKeyRequest<'_>,
        now: u64,
        authority: &dyn Authority,
    ) -> Result<Judgement, Refusal> {
        let Some(algorithm) = certified_algorithm(offered.algorithm, offered.key) else {
            return Err(match PublicKey::from_blob(offered.key) {
                Ok(plain) => Refusal::PlainKey(plain.key_type()),
                Err(_) => Refusal::Algorithm(printable(offered.algorithm)),
            });
        };
        let principal = authority.principal(user).ok_or(Refusal::UnknownUser)?;
        let trusted = |key: &[u8]| authority.trusts_user_ca(key);
        let certificate =
            Certificate::parse(offered.key)?.check_user(principal, now, self.client, trusted)?;
        let Some(Signature { blob, covers }) = offered.signature else {
            return Ok(Judgement::WorthSigning);
        };
        let mut signed_data = Vec::with_capacity(4 + self.session_id.len() + covers.len());
        signed_data.put_string(&self.session_id);
        signed_data.put_bytes(covers);
        let verified = certificate
            .certificate()
            .key()
            .verify(algorithm.signature, &signed_data, blob)?;
        check_verification(&certificate, verified).map_err(|UserNotVerified| Refusal::UserNotVerified)?;
        Ok(Judgement::Proved(Box::new(Authenticated {
            user: user.to_owned(),
            certificate,
            proof: SignedRequest {
                signed_data,
                signature: blob.to_vec(),
            },
        })))
    }

    fn refuse(&mut self, failure: AuthFailure, replies: &mut Replies) -> Result<ServerStep, AuthError> {
        if !failure.why.is_cheap() {
            self.tries_left = self.tries_left.saturating_sub(1);
        }
        // `Permission denied (publickey)` is all that a client makes of a FAILURE. The holder of an expired
        // certificate deserves to know; RFC 4252 §5.4 allows a banner at any time before success.
        if failure.why.concerns_own_certificate() && !self.explained {
            self.explained = true;
            replies.push(banner(&format!("{}\n", failure.why)));
        }
        if self.tries_left == 0 {
            return Err(AuthError::TooManyFailures {
                last: Some(Box::new(failure)),
            });
        }
        replies.push(failure_message());
        Ok(ServerStep::Refused(failure))
    }
}

enum Judgement {
    WorthSigning,
    Proved(Box<Authenticated>),
}

fn unsigned_failure(user: &str, method: &str) -> AuthFailure {
    let method = printable(method.as_bytes());
    let why = Refusal::Method(method.clone());
    AuthFailure {
        user: user.to_owned(),
        method,
        fingerprint: None,
        certificate: None,
        why,
    }
}

fn offered_failure(user: &str, offered: &PublicKeyRequest<'_>, why: Refusal) -> AuthFailure {
    let certificate = Certificate::parse(offered.key).ok();
    let fingerprint = match &certificate {
        Some(certificate) => certificate.key().fingerprint(),
        None => fingerprint_sha256(offered.key),
    };
    AuthFailure {
        user: user.to_owned(),
        method: PUBLICKEY.to_owned(),
        fingerprint: Some(fingerprint),
        certificate: certificate
            .map(|certificate| (printable(certificate.key_id().as_bytes()), certificate.serial())),
        why,
    }
}

/// RFC 4252 §5.1, naming the one method there is.
fn failure_message() -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_FAILURE];
    payload.put_name_list([PUBLICKEY]);
    payload.put_bool(false);
    payload
}

/// RFC 4252 §7: algorithm and key "from the request".
fn pk_ok_message(offered: &PublicKeyRequest<'_>) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_PK_OK];
    payload.put_string(offered.algorithm);
    payload.put_string(offered.key);
    payload
}

#[cfg(test)]
mod tests;
