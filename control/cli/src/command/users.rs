//! `weir users`: the people who may log in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use weir_api::admin::{
    AddUserRequest, ListUsersRequest, RemoveUserRequest, SignUserReply, SignUserRequest, UserEntry,
};

use super::{list, ttl_seconds};
use crate::arguments::{Users, distinct};
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::files::{Access, read_public_key, refuse_existing, write};
use crate::output::{rfc3339, stdout};

/// One row of `weir users ls --json`.
#[derive(Serialize)]
struct User {
    name: String,
    logins: Vec<String>,
    roles: Vec<String>,
    traits: BTreeMap<String, String>,
}

pub(crate) fn run(data: &Path, command: Users) -> anyhow::Result<()> {
    match command {
        Users::Add {
            name,
            logins,
            roles,
            traits,
        } => {
            let traits = distinct("trait", traits)?.into_iter().collect();
            let request = AddUserRequest {
                name,
                logins,
                roles,
                traits,
            };
            converse(async { connect(data).await?.add_user(request).await.map_err(refusal) })?;
            Ok(())
        }
        Users::Ls(listing) => {
            let reply = converse(async {
                Ok(connect(data)
                    .await?
                    .list_users(ListUsersRequest {})
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            let users: Vec<_> = reply.users.into_iter().map(row).collect();
            list(listing.json, ["NAME", "LOGINS", "ROLES"], &users, |user| {
                [user.name.clone(), user.logins.join(","), user.roles.join(",")]
            })
        }
        Users::Rm { name } => converse(async {
            connect(data)
                .await?
                .remove_user(RemoveUserRequest { name })
                .await
                .map_err(refusal)?;
            Ok(())
        }),
        Users::Sign {
            name,
            public_key,
            ttl,
            out,
            force,
        } => {
            refuse_existing(out.as_deref(), force)?;
            let public_key = read_public_key(&public_key)?;
            let asked = ttl_seconds(ttl)?;
            let reply = converse(async {
                let request = SignUserRequest {
                    name,
                    public_key,
                    ttl_seconds: asked,
                };
                Ok(connect(data)
                    .await?
                    .sign_user(request)
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            let certificate = format!("{}\n", reply.certificate.trim_end());
            match out {
                Some(path) => write(&path, Access::Everybody, force, certificate.as_bytes())?,
                None => {
                    let mut out = stdout();
                    out.write_all(certificate.as_bytes())?;
                    out.flush()?;
                }
            }
            // On standard error, because standard output may be the certificate itself.
            let _ = writeln!(std::io::stderr(), "{}", summary(&reply, asked));
            Ok(())
        }
    }
}

fn row(entry: UserEntry) -> User {
    let user = entry.user.unwrap_or_default();
    User {
        name: user.name,
        logins: user.logins,
        roles: user.roles,
        traits: user.traits.into_iter().collect(),
    }
}

/// One line on what was granted, and on what was not.
fn summary(reply: &SignUserReply, asked_seconds: u64) -> String {
    let until = rfc3339(reply.valid_before.saturating_mul(1_000_000));
    let mut line = format!("certified for {} until {until}", reply.principals.join(", "));
    if reply.ttl_seconds < asked_seconds {
        let granted = humantime::format_duration(std::time::Duration::from_secs(reply.ttl_seconds));
        line.push_str(&format!(", as {granted} is the longest that is permitted"));
    }
    line
}
