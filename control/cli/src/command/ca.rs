//! `weir ca`: public keys of the authorities, and certificates for hosts.

use std::io::Write;
use std::path::Path;

use weir_api::admin::{CaType, ExportCaRequest, SignHostRequest};

use super::ttl_seconds;
use crate::arguments::{Ca, CaName};
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::files::{Access, beside, read_public_key, refuse_existing, write};
use crate::output::{rfc3339, stdout};

pub(crate) fn run(data: &Path, command: Ca) -> anyhow::Result<()> {
    match command {
        Ca::Export { ca } => {
            let keys = converse(export(data, ca))?;
            let mut out = stdout();
            for key in keys {
                writeln!(out, "{key}")?;
            }
            Ok(out.flush()?)
        }
        Ca::SignHost {
            hosts,
            out,
            public_key,
            ttl,
            force,
        } => {
            let private = out.clone();
            let public = beside(&out, ".pub");
            let certificate = beside(&out, "-cert.pub");
            let given = public_key.as_deref().map(read_public_key).transpose()?;
            let files: Vec<&Path> = if given.is_some() {
                vec![&certificate]
            } else {
                vec![&private, &public, &certificate]
            };
            refuse_existing(files.iter().copied(), force)?;

            let request = SignHostRequest {
                hosts,
                public_key: given.clone().unwrap_or_default(),
                ttl_seconds: ttl_seconds(ttl)?,
            };
            let reply = converse(async {
                Ok(connect(data)
                    .await?
                    .sign_host(request)
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            if given.is_none() {
                write(&private, Access::Owner, force, reply.private_key.as_bytes())?;
                write(
                    &public,
                    Access::Everybody,
                    force,
                    line(&reply.public_key).as_bytes(),
                )?;
            }
            write(
                &certificate,
                Access::Everybody,
                force,
                line(&reply.certificate).as_bytes(),
            )?;
            let until = rfc3339(reply.valid_before.saturating_mul(1_000_000));
            let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            let mut out = stdout();
            writeln!(out, "wrote {}, good until {until}", names.join(", "))?;
            Ok(out.flush()?)
        }
    }
}

/// The public keys of one authority, as lines for `known_hosts` or `TrustedUserCAKeys`.
pub(crate) async fn export(data: &Path, ca: CaName) -> anyhow::Result<Vec<String>> {
    let kind = match ca {
        CaName::User => CaType::User,
        CaName::Host => CaType::Host,
        CaName::Openssh => CaType::Openssh,
    };
    let request = ExportCaRequest { r#type: kind.into() };
    Ok(connect(data)
        .await?
        .export_ca(request)
        .await
        .map_err(refusal)?
        .into_inner()
        .public_keys)
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
