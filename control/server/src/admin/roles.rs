use tonic::Status;
use weir_api::admin::{
    GetRoleRequest, ListRolesReply, PutRoleRequest, RemoveRoleReply, RemoveRoleRequest, RoleEntry,
};
use weir_api::audit::{RolePut, RoleRemove};
use weir_policy::Role;
use weir_store::{Expect, Kind};

use super::Caller;
use crate::control::Shared;
use crate::convert;
use crate::directory::{Directory, put_role, remove as remove_resource};

/// Bytes of a role's document: each data plane holds every role.
const DOCUMENT_LIMIT_BYTES: usize = 64 * 1024;

pub(super) async fn list(shared: &Shared) -> ListRolesReply {
    let directory = shared.state.directory().await;
    let entry = |(name, role): (&String, &crate::directory::Entry<String>)| RoleEntry {
        name: name.clone(),
        document: role.value.clone(),
        revision: role.revision,
    };
    ListRolesReply {
        roles: directory.roles.iter().map(entry).collect(),
    }
}

pub(super) async fn get(shared: &Shared, request: &GetRoleRequest) -> Result<RoleEntry, Status> {
    let directory = shared.state.directory().await;
    match directory.roles.get(&request.name) {
        Some(role) => Ok(RoleEntry {
            name: request.name.clone(),
            document: role.value.clone(),
            revision: role.revision,
        }),
        None => Err(Status::not_found(format!(
            "role {:?} does not exist: weir roles ls shows those that do",
            request.name
        ))),
    }
}

pub(super) async fn put(
    shared: &Shared,
    caller: Caller,
    request: PutRoleRequest,
) -> Result<RoleEntry, Status> {
    if request.document.len() > DOCUMENT_LIMIT_BYTES {
        return Err(Status::invalid_argument(format!(
            "got a role document of {} bytes while expecting at most {DOCUMENT_LIMIT_BYTES}",
            request.document.len()
        )));
    }
    let role = Role::parse(&request.document).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let expect = match request.expected_revision {
        0 => Expect::Any,
        revision => Expect::Revision(revision),
    };
    let change = put_role(role.name(), &request.document, expect);
    let revision = shared.state.change(|_| Ok::<_, Status>(vec![change])).await?;
    shared.journal.event(convert::event(&RolePut {
        role: role.name().to_owned(),
        revision,
        document: request.document.clone(),
        administrator: caller.as_administrator(),
    }));
    Ok(RoleEntry {
        name: role.name().to_owned(),
        document: request.document,
        revision,
    })
}

pub(super) async fn remove(
    shared: &Shared,
    caller: Caller,
    request: &RemoveRoleRequest,
) -> Result<RemoveRoleReply, Status> {
    let change = remove_resource(Kind::Role, &request.name);
    let plan = |directory: &Directory| {
        let holder = directory
            .users
            .values()
            .find(|user| user.value.roles.contains(&request.name));
        match holder {
            // A role that is gone denies its holders everything, since it may have been one that denies.
            Some(holder) => Err(Status::failed_precondition(format!(
                "role {:?} is held by user {:?} among others: take it from its users first",
                request.name, holder.value.name
            ))),
            None => Ok(vec![change]),
        }
    };
    shared.state.change(plan).await?;
    shared.journal.event(convert::event(&RoleRemove {
        role: request.name.clone(),
        administrator: caller.as_administrator(),
    }));
    Ok(RemoveRoleReply {})
}
