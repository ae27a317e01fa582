use std::time::Duration;

use tonic::Status;
use weir_api::admin::{
    CaType, ExportCaReply, ExportCaRequest, SignHostReply, SignHostRequest, SignUserReply, SignUserRequest,
};
use weir_api::audit::{CertCreate, CertType};
use weir_ca::IssueError;
use weir_ssh::key::SigningKey;
use weir_store::AuditEvent;
use zeroize::Zeroizing;

use super::{Caller, wording};
use crate::clock::now_seconds;
use crate::control::Shared;
use crate::convert;
use crate::directory::Purpose;
use crate::issuance::{created, is_host_name};

/// Ten years: a host certificate that lapses takes the host out of reach, and one made by hand is renewed by nobody.
const DEFAULT_HOST_TTL_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// A hundred years, past every use and far from the end of the number.
const MAX_HOST_TTL_SECONDS: u64 = 100 * 365 * 24 * 3600;

/// A working day and some of the evening, which is what the reference system gives.
const DEFAULT_USER_TTL_SECONDS: u64 = 12 * 3600;

/// Nobody signs in within less.
const MIN_TTL_SECONDS: u64 = 60;

pub(super) async fn export(shared: &Shared, request: &ExportCaRequest) -> Result<ExportCaReply, Status> {
    let purpose = match request.r#type() {
        CaType::User => Purpose::User,
        CaType::Host => Purpose::Host,
        CaType::Openssh => Purpose::OpenSsh,
        CaType::Unspecified => {
            return Err(Status::invalid_argument(
                "got no CA type while expecting user, host or openssh",
            ));
        }
    };
    let directory = shared.state.directory().await;
    let comment = format!("{}-{}-ca", directory.settings.cluster, purpose.as_str());
    Ok(ExportCaReply {
        public_keys: directory
            .authority_keys(purpose)
            .map(|key| key.to_openssh(&comment))
            .collect(),
    })
}

pub(super) fn sign_host(
    shared: &Shared,
    caller: Caller,
    request: &SignHostRequest,
) -> Result<SignHostReply, Status> {
    let Some(first) = request.hosts.first() else {
        return Err(Status::invalid_argument(
            "got no host name while expecting those by which the host is dialled",
        ));
    };
    if let Some(wrong) = request.hosts.iter().find(|host| !is_host_name(host)) {
        return Err(Status::invalid_argument(format!(
            "got {wrong:?} while expecting a host name or address"
        )));
    }
    let ttl = match request.ttl_seconds {
        0 => DEFAULT_HOST_TTL_SECONDS,
        MIN_TTL_SECONDS..=MAX_HOST_TTL_SECONDS => request.ttl_seconds,
        ttl => {
            return Err(Status::invalid_argument(format!(
                "got a validity of {ttl} seconds while expecting {MIN_TTL_SECONDS} to {MAX_HOST_TTL_SECONDS}"
            )));
        }
    };
    let (key, mut private_key, comment) = if request.public_key.is_empty() {
        let made = SigningKey::generate_ed25519();
        (made.public_key().clone(), made.to_openssh(first), first.as_str())
    } else {
        (
            wording::public_key(&request.public_key)?,
            Zeroizing::default(),
            wording::comment(&request.public_key),
        )
    };
    let certificate = shared
        .authorities
        .host(&key, &request.hosts, Duration::from_secs(ttl), now_seconds())
        .map_err(|problem| not_issued("host CA", &problem))?;
    shared.journal.event(convert::event(&CertCreate {
        administrator: Some(caller.as_administrator()),
        ..created(CertType::Host, &certificate)
    }));
    Ok(SignHostReply {
        // Moved, not copied; the message wipes it.
        private_key: std::mem::take(&mut *private_key),
        public_key: certificate.key().to_openssh(comment),
        certificate: certificate.to_openssh(comment),
        serial: certificate.serial(),
        valid_before: certificate.valid_before(),
    })
}

pub(super) async fn sign_user(
    shared: &Shared,
    caller: Caller,
    request: &SignUserRequest,
) -> Result<SignUserReply, Status> {
    let key = wording::public_key(&request.public_key)?;
    let (logins, limit) = {
        let directory = shared.state.directory().await;
        let user = directory.users.get(&request.name).ok_or_else(|| {
            Status::not_found(format!(
                "user {:?} does not exist: weir users ls shows those who do",
                request.name
            ))
        })?;
        (user.value.logins.clone(), directory.settings.max_user_ttl_seconds)
    };
    let of_roles = shared.state.current().policy.max_session_ttl(&request.name);
    let limit = limit.min(of_roles.as_ref().map_or(u64::MAX, Duration::as_secs));
    let ttl = match request.ttl_seconds {
        0 => DEFAULT_USER_TTL_SECONDS.min(limit),
        ttl if ttl < MIN_TTL_SECONDS => {
            return Err(Status::invalid_argument(format!(
                "got a validity of {ttl} seconds while expecting at least {MIN_TTL_SECONDS}"
            )));
        }
        ttl => ttl.min(limit),
    };
    let certificate = shared
        .authorities
        .user(
            &key,
            &request.name,
            &logins,
            Duration::from_secs(ttl),
            now_seconds(),
        )
        .map_err(|problem| not_issued("user CA", &problem))?;
    shared.journal.event(AuditEvent {
        user: request.name.clone(),
        ..convert::event(&CertCreate {
            administrator: Some(caller.as_administrator()),
            ..created(CertType::User, &certificate)
        })
    });
    Ok(SignUserReply {
        certificate: certificate.to_openssh(wording::comment(&request.public_key)),
        serial: certificate.serial(),
        key_id: certificate.key_id().to_owned(),
        principals: certificate.principals().to_vec(),
        valid_before: certificate.valid_before(),
        ttl_seconds: ttl,
    })
}

fn not_issued(authority: &str, problem: &IssueError) -> Status {
    let text = format!("{authority}: {problem}");
    match problem {
        IssueError::Terms { .. } => Status::invalid_argument(text),
        IssueError::Signer(_) => Status::unavailable(text),
    }
}
