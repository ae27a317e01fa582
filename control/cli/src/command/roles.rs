//! `weir roles`: what users may do, and where.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use weir_api::admin::{GetRoleRequest, ListRolesRequest, PutRoleRequest, RemoveRoleRequest};

use super::list;
use crate::arguments::Roles;
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::files::read_text;
use crate::output::stdout;

/// One row of `weir roles ls --json`.
#[derive(Serialize)]
struct Role {
    name: String,
    revision: u64,
    document: String,
}

pub(crate) fn run(data: &Path, command: Roles) -> anyhow::Result<()> {
    match command {
        Roles::Ls(listing) => {
            let reply = converse(async {
                Ok(connect(data)
                    .await?
                    .list_roles(ListRolesRequest {})
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            let roles: Vec<_> = reply
                .roles
                .into_iter()
                .map(|role| Role {
                    name: role.name,
                    revision: role.revision,
                    document: role.document,
                })
                .collect();
            list(listing.json, ["NAME", "REVISION"], &roles, |role| {
                [role.name.clone(), role.revision.to_string()]
            })
        }
        Roles::Get { name } => {
            let role = converse(async {
                Ok(connect(data)
                    .await?
                    .get_role(GetRoleRequest { name })
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            let mut out = stdout();
            out.write_all(role.document.as_bytes())?;
            if !role.document.ends_with('\n') {
                out.write_all(b"\n")?;
            }
            Ok(out.flush()?)
        }
        Roles::Put { file } => {
            let document = read_text(&file)?;
            converse(async {
                let request = PutRoleRequest {
                    document,
                    expected_revision: 0,
                };
                connect(data).await?.put_role(request).await.map_err(refusal)?;
                Ok(())
            })
        }
        Roles::Rm { name } => converse(async {
            connect(data)
                .await?
                .remove_role(RemoveRoleRequest { name })
                .await
                .map_err(refusal)?;
            Ok(())
        }),
    }
}
