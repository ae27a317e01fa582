use tonic::Status;
use weir_api::admin::{AddUserRequest, ListUsersReply, RemoveUserReply, RemoveUserRequest, UserEntry};
use weir_api::audit::{UserAdd, UserRemove};
use weir_api::dataplane::User;
use weir_store::{AuditEvent, Expect, Kind};

use super::{Caller, wording};
use crate::control::Shared;
use crate::convert;
use crate::directory::{Directory, put_user, remove as remove_resource};

/// What a user gets when no role is named.
const DEFAULT_ROLE: &str = "access";

pub(super) async fn add(
    shared: &Shared,
    caller: Caller,
    request: AddUserRequest,
) -> Result<UserEntry, Status> {
    wording::user_name(&request.name)?;
    if request.logins.is_empty() {
        return Err(Status::invalid_argument(format!(
            "user {:?} got no login while expecting at least one: name those on the targets that it may use",
            request.name
        )));
    }
    request
        .logins
        .iter()
        .try_for_each(|login| wording::login(login))?;
    let roles = if request.roles.is_empty() {
        vec![DEFAULT_ROLE.to_owned()]
    } else {
        request.roles
    };
    let user = User {
        name: request.name,
        logins: request.logins,
        roles,
        traits: request.traits,
    };
    let change = put_user(&user, Expect::Absent);
    let plan = |directory: &Directory| match user
        .roles
        .iter()
        .find(|role| !directory.roles.contains_key(*role))
    {
        Some(missing) => Err(Status::failed_precondition(format!(
            "role {missing:?} does not exist: weir roles ls shows those that do"
        ))),
        None => Ok(vec![change]),
    };
    let revision = shared.state.change(plan).await?;
    let detail = UserAdd {
        logins: user.logins.clone(),
        roles: user.roles.clone(),
        administrator: caller.as_administrator(),
    };
    shared.journal.event(AuditEvent {
        user: user.name.clone(),
        ..convert::event(&detail)
    });
    Ok(UserEntry {
        user: Some(user),
        revision,
    })
}

pub(super) async fn list(shared: &Shared) -> ListUsersReply {
    let directory = shared.state.directory().await;
    let users = directory.users.values();
    ListUsersReply {
        users: users
            .map(|entry| UserEntry {
                user: Some(entry.value.clone()),
                revision: entry.revision,
            })
            .collect(),
    }
}

pub(super) async fn remove(
    shared: &Shared,
    caller: Caller,
    request: &RemoveUserRequest,
) -> Result<RemoveUserReply, Status> {
    let change = remove_resource(Kind::User, &request.name);
    shared.state.change(|_| Ok::<_, Status>(vec![change])).await?;
    let detail = UserRemove {
        administrator: caller.as_administrator(),
    };
    shared.journal.event(AuditEvent {
        user: request.name.clone(),
        ..convert::event(&detail)
    });
    Ok(RemoveUserReply {})
}
