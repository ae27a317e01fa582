//! Certificates toward targets, against proof.
//!
//! A data plane holds no authority's key. For each session it hands in what the user's client signed to sign in, and the
//! control plane checks everything again before it signs anything itself:
//!
//! ```text
//!  user's certificate ── by our user CA, in its time, from that address
//!  user's signature   ── by the certified key, over this SSH session and the name "login@target"
//!  name               ── the login and the node that the data plane asks for
//!  policy             ── user, login, node, now
//!  session identifier ── not seen before
//! ```
//!
//! So a compromised data plane can at most misuse sessions that users really open through it, each once, for
//! the login and target that they named, during one minute: or for as long as it says that it may have to wait, which
//! neither outlives the user's own certificate nor a quarter of an hour.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ulid::Ulid;
use weir_api::ControlError;
use weir_api::audit::{CertCreate, CertRefused, CertType, Serial};
use weir_api::dataplane::{
    HostCertificate, HostCertificateRequest, Node, UpstreamCertificate, UpstreamCertificateRequest,
};
use weir_ca::{IssueError, UPSTREAM_VALIDITY, UPSTREAM_VALIDITY_LIMIT};
use weir_policy::{Deny, Grant, split_user_name};
use weir_ssh::auth::{Proof, ProofCheck, SignedRequest, verify_proof};
use weir_ssh::certificate::{Certificate, Network};
use weir_ssh::key::PublicKey;
use weir_store::AuditEvent;

use crate::authorities::{Authorities, UpstreamSession};
use crate::control::EMBEDDED;
use crate::convert;
use crate::journal::Journal;
use crate::proof_file::ProofFile;
use crate::replay::{NotTaken, ProofDigest, ProofMemory, proof_digest};
use crate::state::{Current, State};

/// Proofs that are remembered: 90 sessions a second for twelve hours, in some 130 MB when all are there.
pub(crate) const PROOF_CAPACITY: usize = 4_000_000;

/// Networks in one request: a data plane dials from a handful of addresses.
const NETWORK_LIMIT: usize = 16;

/// Names in one host certificate.
const HOST_NAME_LIMIT: usize = 64;

/// Longest name of a host: DNS has 253 characters.
const HOST_NAME_LENGTH_LIMIT: usize = 255;

/// Validity of a data plane's own host certificate: renewed long before, without anybody noticing an absence of some days.
const HOST_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Issues what data planes ask for.
pub(crate) struct Issuer {
    state: Arc<State>,
    authorities: Arc<Authorities>,
    proofs: Mutex<Proofs>,
    journal: Journal,
}

/// The proofs that were taken: all that matter, and the newest where a kill leaves them.
pub(crate) struct Proofs {
    pub(crate) memory: ProofMemory,
    pub(crate) file: ProofFile,
}

/// A request whose proof holds.
struct Proven {
    proof: Proof,
    login: String,
    target: String,
}

impl Issuer {
    pub(crate) fn new(
        state: Arc<State>,
        authorities: Arc<Authorities>,
        proofs: Proofs,
        journal: Journal,
    ) -> Issuer {
        Issuer {
            state,
            authorities,
            proofs: Mutex::new(proofs),
            journal,
        }
    }

    /// Judges a request and answers it; either way it becomes an audit event. `now`: seconds since 1970-01-01 UTC.
    pub(crate) fn upstream(
        &self,
        request: &UpstreamCertificateRequest,
        now: u64,
    ) -> Result<UpstreamCertificate, ControlError> {
        let answer = self.judge_upstream(request, now);
        if let Err(refusal) = &answer {
            tracing::warn!(session = request.session, %refusal, "certificate toward a target refused");
            self.journal.event(AuditEvent {
                session: request.session.clone(),
                login: request.login.clone(),
                client_address: request.client_address.clone(),
                data_plane: EMBEDDED.to_owned(),
                ..convert::event(&CertRefused {
                    reason: refusal.to_string(),
                    node_id: request.node_id.clone(),
                })
            });
        }
        answer
    }

    fn judge_upstream(
        &self,
        request: &UpstreamCertificateRequest,
        now: u64,
    ) -> Result<UpstreamCertificate, ControlError> {
        Ulid::from_string(&request.session).map_err(|_| {
            denied(format!(
                "got session id {:?} while expecting a ULID",
                request.session
            ))
        })?;
        let client: IpAddr = request.client_address.parse().map_err(|_| {
            denied(format!(
                "got client address {:?} while expecting an IP address",
                request.client_address
            ))
        })?;
        let networks = networks(&request.source_addresses)?;
        let key = PublicKey::from_blob(&request.public_key)
            .map_err(|problem| denied(format!("key to be certified: {problem}")))?;

        let current = self.state.current();
        let proven = prove(&current, request, client, now)?;
        let certificate = proven.proof.certificate.certificate();
        let user = certificate.key_id();
        let node = current.policy.target(&proven.target).map_err(refused)?;
        if *node.id != *request.node_id {
            return Err(denied(format!(
                "sign-in proof is for the target {:?} while the request is for another node",
                proven.target
            )));
        }
        let grant = current
            .policy
            .access(user, &proven.login, node)
            .map_err(refused)?;

        // Last of the checks: only what holds in every other way is worth remembering.
        let digest = proof_digest(&proven.proof.session_id);
        self.take(digest, certificate.valid_before(), now)?;

        let session = UpstreamSession {
            key: &key,
            user,
            session: &request.session,
            login: &proven.login,
            source_addresses: &networks,
            grant: &grant,
            validity: upstream_validity(request.valid_seconds, certificate.valid_before(), now),
        };
        let issued = self
            .authorities
            .upstream(&session, now)
            .map_err(|problem| not_issued("OpenSSH CA", problem))?;
        let answer = UpstreamCertificate {
            certificate: issued.blob().to_vec(),
            serial: issued.serial(),
            key_id: issued.key_id().to_owned(),
        };
        self.journal.event(AuditEvent {
            session: request.session.clone(),
            user: user.to_owned(),
            login: proven.login.clone(),
            node: node.name.to_string(),
            node_address: node.address.to_string(),
            client_address: request.client_address.clone(),
            data_plane: EMBEDDED.to_owned(),
            ..convert::event(&upstream_detail(&issued, &grant, digest, &proven))
        });
        Ok(answer)
    }

    fn take(&self, proof: ProofDigest, expires: u64, now: u64) -> Result<(), ControlError> {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.memory.take(proof, expires, now).map_err(|why| match why {
            NotTaken::Repeated => denied("sign-in proof has been used before".to_owned()),
            NotTaken::Full => ControlError::Unavailable(format!(
                "{PROOF_CAPACITY} sign-in proofs are remembered, which is the limit: give users shorter certificates"
            )),
        })?;
        // An empty report is answered when all before it is written.
        let mark = || self.journal.report_durably(Vec::new(), Vec::new());
        proofs.file.note(proof, expires, mark).map_err(|error| {
            tracing::error!(%error, "sign-in proof cannot be written down");
            ControlError::Unavailable("sign-in proofs cannot be written down".to_owned())
        })
    }

    /// Certifies a data plane's own host key.
    pub(crate) fn host(
        &self,
        request: &HostCertificateRequest,
        now: u64,
    ) -> Result<HostCertificate, ControlError> {
        let key = PublicKey::from_blob(&request.public_key)
            .map_err(|problem| denied(format!("host key to be certified: {problem}")))?;
        if request.names.is_empty() || request.names.len() > HOST_NAME_LIMIT {
            return Err(denied(format!(
                "got {} host names while expecting 1 to {HOST_NAME_LIMIT}",
                request.names.len()
            )));
        }
        if let Some(name) = request.names.iter().find(|name| !is_host_name(name)) {
            return Err(denied(format!(
                "got {name:?} while expecting a host name or address"
            )));
        }
        let current = self.state.current();
        let (withheld, names): (Vec<_>, Vec<_>) = request
            .names
            .iter()
            .cloned()
            .partition(|name| is_of_a_node(name, &current.snapshot.nodes));
        if names.is_empty() {
            return Err(denied(format!(
                "{} belongs to a node, for which a data plane must not be able to stand in: give the data plane a name of its own",
                withheld.join(", ")
            )));
        }
        if !withheld.is_empty() {
            tracing::warn!(
                ?withheld,
                "the data plane's host certificate leaves out what belongs to nodes: clients cannot reach it by these names"
            );
        }
        let issued = self
            .authorities
            .host(&key, &names, HOST_VALIDITY, now)
            .map_err(|problem| not_issued("host CA", problem))?;
        self.journal.event(AuditEvent {
            data_plane: EMBEDDED.to_owned(),
            ..convert::event(&CertCreate {
                withheld,
                ..created(CertType::Host, &issued)
            })
        });
        Ok(HostCertificate {
            certificate: issued.blob().to_vec(),
            valid_before: issued.valid_before(),
        })
    }
}

/// Fills a memory of proofs from the detail of a `cert.create`.
pub(crate) fn remember(memory: &mut ProofMemory, detail: &str, now: u64) {
    #[derive(serde::Deserialize)]
    struct Detail {
        proof: String,
        proof_expires: u64,
    }

    let Ok(detail) = serde_json::from_str::<Detail>(detail) else {
        return;
    };
    let Ok(proof) = u128::from_str_radix(&detail.proof, 16) else {
        return;
    };
    if detail.proof_expires > now {
        // A memory that is full refuses new proofs anyway.
        let _ = memory.take(proof.to_be_bytes(), detail.proof_expires, now);
    }
}

/// Whether a client that asks for this name could mean a registered node.
///
/// Loopback is excepted: everybody means their own machine by it, so it is no node's for anybody but the data plane itself.
fn is_of_a_node(name: &str, nodes: &[Node]) -> bool {
    let same = |a: &str, b: &str| match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.to_canonical() == b.to_canonical(),
        _ => a
            .trim_end_matches('.')
            .eq_ignore_ascii_case(b.trim_end_matches('.')),
    };
    let is_loopback = match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => same(name, "localhost"),
    };
    !is_loopback
        && nodes.iter().any(|node| {
            let host = node
                .address
                .rsplit_once(':')
                .map_or(&*node.address, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            same(name, &node.name) || same(name, host)
        })
}

/// Whether `name` can stand in a host certificate.
pub(crate) fn is_host_name(name: &str) -> bool {
    (1..=HOST_NAME_LENGTH_LIMIT).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))
}

fn prove(
    current: &Current,
    request: &UpstreamCertificateRequest,
    client: IpAddr,
    now: u64,
) -> Result<Proven, ControlError> {
    let signed = SignedRequest {
        signed_data: request.signed_data.clone(),
        signature: request.signature.clone(),
    };
    let check = ProofCheck {
        now,
        client,
        trusts_authority: &|key| current.snapshot.user_ca_keys.iter().any(|trusted| trusted == key),
        principal: &|name| split_user_name(name).map(|(login, _)| login),
    };
    let proof = verify_proof(&request.user_certificate, &signed, &check)
        .map_err(|problem| denied(format!("sign-in proof: {problem}")))?;
    let (login, target) = split_user_name(&proof.user).ok_or_else(|| {
        denied(format!(
            "sign-in proof is for {:?}, which names no login and target",
            proof.user
        ))
    })?;
    if login != request.login {
        return Err(denied(format!(
            "sign-in proof is for the login {login:?} while the request is for {:?}",
            request.login
        )));
    }
    let (login, target) = (login.to_owned(), target.to_owned());
    Ok(Proven { proof, login, target })
}

fn networks(addresses: &[String]) -> Result<Vec<Network>, ControlError> {
    if addresses.is_empty() || addresses.len() > NETWORK_LIMIT {
        return Err(denied(format!(
            "got {} source addresses while expecting 1 to {NETWORK_LIMIT}, from which the data plane dials",
            addresses.len()
        )));
    }
    addresses
        .iter()
        .map(|address| {
            address
                .parse()
                .map_err(|problem| denied(format!("source address: {problem}")))
        })
        .collect()
}

/// How long a certificate toward a target is good for, of what was asked for (0: the default).
///
/// Who is let in at its end still has the user's word for it, as far as that is longer than the default anyway.
fn upstream_validity(asked_seconds: u32, user_valid_before: u64, now: u64) -> Duration {
    if asked_seconds == 0 {
        return UPSTREAM_VALIDITY;
    }
    let left = Duration::from_secs(user_valid_before.saturating_sub(now));
    Duration::from_secs(asked_seconds.into())
        .min(UPSTREAM_VALIDITY_LIMIT)
        .min(left.max(UPSTREAM_VALIDITY))
}

fn upstream_detail(issued: &Certificate, grant: &Grant, proof: ProofDigest, proven: &Proven) -> CertCreate {
    let of_user = proven.proof.certificate.certificate();
    CertCreate {
        rule: Some(grant.rule.to_string()),
        user_serial: Some(Serial(of_user.serial())),
        user_key: Some(of_user.key().fingerprint()),
        proof: Some(format!("{:032x}", u128::from_be_bytes(proof))),
        proof_expires: Some(of_user.valid_before()),
        ..created(CertType::Upstream, issued)
    }
}

/// What the audit log has of every certificate.
pub(crate) fn created(kind: CertType, certificate: &Certificate) -> CertCreate {
    CertCreate {
        serial: Serial(certificate.serial()),
        key_id: certificate.key_id().to_owned(),
        principals: certificate.principals().to_vec(),
        valid_after: certificate.valid_after(),
        valid_before: certificate.valid_before(),
        key: certificate.key().fingerprint(),
        ..CertCreate::of(kind)
    }
}

/// The terms were refused, or the authority cannot sign at the moment.
fn not_issued(authority: &str, problem: IssueError) -> ControlError {
    match problem {
        IssueError::Terms { .. } => denied(format!("{authority}: {problem}")),
        IssueError::Signer(_) => ControlError::Unavailable(format!("{authority}: {problem}")),
    }
}

fn denied(text: String) -> ControlError {
    ControlError::Denied(text)
}

fn refused(deny: Deny) -> ControlError {
    ControlError::Denied(deny.message)
}

#[cfg(test)]
mod tests;
