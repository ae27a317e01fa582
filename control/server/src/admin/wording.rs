//! What administrators may write, and what they are told otherwise.

use tonic::{Code, Status};
use weir_ssh::key::PublicKey;
use weir_store::{Kind, StoreError};

use crate::error::OpenError;
use crate::state::ChangeError;

/// Longest name of a user, node, login or label.
const NAME_LENGTH_LIMIT: usize = 255;

impl From<ChangeError<Status>> for Status {
    fn from(error: ChangeError<Status>) -> Status {
        match error {
            ChangeError::Refused(status) => status,
            ChangeError::Store(error) => store_status(error),
            ChangeError::Damaged(error) => damaged_status(&error),
        }
    }
}

pub(super) fn store_status(error: StoreError) -> Status {
    let code = match &error {
        StoreError::AlreadyExists { .. } => Code::AlreadyExists,
        StoreError::NotFound { .. } => Code::NotFound,
        StoreError::Changed { .. } => Code::Aborted,
        StoreError::NewerSchema { .. } | StoreError::Refused { .. } | StoreError::Database { .. } => {
            Code::Internal
        }
    };
    if code == Code::Internal {
        tracing::error!(%error, "store");
    }
    Status::new(code, format!("{error}{}", advice(&error)))
}

/// What an administrator can do about a clash, where the store does not say so itself.
fn advice(error: &StoreError) -> String {
    match error {
        StoreError::AlreadyExists { kind, name } => match kind {
            Kind::User => format!(": choose another name, or remove it first with weir users rm {name}"),
            Kind::Node => format!(
                ": choose another name, remove it first with weir nodes rm {name}, or change what it takes with weir nodes tune {name}"
            ),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn damaged_status(error: &OpenError) -> Status {
    tracing::error!(%error, "a change was stored and cannot be read back");
    Status::internal(error.to_string())
}

/// A user's name: it becomes the key id of certificates, which sshd logs raw, followed by a colon and the session.
pub(super) fn user_name(name: &str) -> Result<(), Status> {
    word("user name", name, "@._+-")
}

/// A login, as it becomes a principal.
pub(super) fn login(name: &str) -> Result<(), Status> {
    word("login", name, "@._+-$\\")
}

/// A node's name, as it is typed behind the last `@`.
pub(super) fn node_name(name: &str) -> Result<(), Status> {
    word("node name", name, "._-:")
}

/// A label's key.
pub(super) fn label_key(key: &str) -> Result<(), Status> {
    word("label", key, "._-/")
}

fn word(what: &str, word: &str, punctuation: &str) -> Result<(), Status> {
    let fits = (1..=NAME_LENGTH_LIMIT).contains(&word.len())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c));
    if fits {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "got {what} {word:?} while expecting 1 to {NAME_LENGTH_LIMIT} letters, digits or {punctuation:?}"
    )))
}

/// `host:port`, `[v6]:port`, or either without a port, which is then 22.
pub(super) fn address(text: &str) -> Result<String, Status> {
    let refused = || {
        Status::invalid_argument(format!(
            "got address {text:?} while expecting a host name or address, with or without :port from 1 to 65535; \
             [address]:port for IPv6"
        ))
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(refused)?;
            let host: std::net::Ipv6Addr = host.parse().map_err(|_| refused())?;
            (
                format!("[{host}]"),
                port.strip_prefix(':').or(port.is_empty().then_some("22")),
            )
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, "22"));
            (host.to_owned(), Some(port))
        }
    };
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .filter(|port| *port > 0)
        .ok_or_else(refused)?;
    if host.starts_with('[') || is_host(&host) {
        Ok(format!("{host}:{port}"))
    } else {
        Err(refused())
    }
}

/// A name that a resolver can be asked for, or an IPv4 address.
fn is_host(host: &str) -> bool {
    // RFC 1123 §2.1: "If a dotted-decimal number can be entered without such identifying delimiters, then a full
    // syntactic check must be made, because a segment of a host domain name is now allowed to begin with a digit".
    // Which is told by the last label: no top-level domain is a number.
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.len() <= NAME_LENGTH_LIMIT && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    // RFC 1035 §2.3.4: "labels: 63 octets or less".
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A public key in OpenSSH's one-line form.
pub(super) fn public_key(line: &str) -> Result<PublicKey, Status> {
    PublicKey::from_openssh(line.trim()).map_err(|problem| {
        Status::invalid_argument(format!(
            "public key: {problem}: give the line of a .pub file, \"ssh-ed25519 AAAA… comment\""
        ))
    })
}

/// Third word of a one-line key.
pub(super) fn comment(line: &str) -> &str {
    line.trim().splitn(3, ' ').nth(2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_port_and_nonsense_is_refused() {
        assert_eq!(address("web1:7022").unwrap(), "web1:7022");
        assert_eq!(address("10.0.0.1").unwrap(), "10.0.0.1:22");
        assert_eq!(address("[fe80::1]:2222").unwrap(), "[fe80::1]:2222");
        assert_eq!(address("[::1]").unwrap(), "[::1]:22");
        assert_eq!(address("web1.example.").unwrap(), "web1.example.:22");
        assert_eq!(address("3com_x.example:65535").unwrap(), "3com_x.example:65535");
        let long = format!("{0}.{0}.{0}.{0}", "a".repeat(63));
        assert_eq!(address(&long).unwrap(), format!("{long}:22"));
        address(&format!("{long}.a")).unwrap_err();
        for wrong in [
            "",
            ":22",
            "web1:",
            "web1:0",
            "web1:99999",
            "fe80::1",
            "[web1]:22",
            "[::1]x",
            "a b:22",
            "web1:+",
            "web1:-1",
            "web1:65536",
            "web1:22:22",
            "root@web1",
            "ssh://web1:22",
            "-web1",
            "web1-.example",
            "web1..example",
            ".",
            "1.2.3",
            "10.0.0.256:22",
            "10.0.0.1.:22",
            "22",
            "[::1]:",
            "[::1:22",
        ] {
            assert!(
                address(wrong)
                    .unwrap_err()
                    .message()
                    .contains("expecting a host name or address"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn names_that_would_be_misread_elsewhere_are_refused() {
        for wrong in ["", "a b", "a:b", "a\nb", "ä"] {
            assert!(user_name(wrong).is_err(), "{wrong:?}");
        }
        user_name("alice@example.com").unwrap();
        for wrong in ["root@web1", "web%1", "web 1", ""] {
            assert!(node_name(wrong).is_err(), "{wrong:?}");
        }
        login("CORP\\joe").unwrap();
        assert_eq!(comment("ssh-ed25519 AAAA joe at home\n"), "joe at home");
    }
}
