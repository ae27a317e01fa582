use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::grant::{Feature, FeatureSet, Record, RecordInput, RecordingMode};
use crate::matcher::{LabelMatchers, Matchers};

/// Characters in a role's name.
const NAME_LENGTH_LIMIT: usize = 64;

/// A role, read from its document.
///
/// ```toml
/// name = "developers"
/// description = "shells on everything but production"
///
/// [allow]
/// logins = ["ubuntu", "^dev-.*$"]     # a literal, "*", or a pattern between ^ and $; one or a list
/// node_labels = { env = ["dev", "staging"], team = "*" }     # every key must match; { "*" = "*" } is every node
/// pty = true                          # default true
/// exec = true                         # default true
/// file_copy = true                    # default true
/// local_forwarding = false            # default false
/// remote_forwarding = false           # default false
/// agent_forwarding = false            # default false
/// x11 = false                         # default false
///
/// [deny]                              # any match refuses, whatever other roles allow
/// logins = "root"
/// node_labels = { env = "prod" }
/// x11 = true                          # taken away in every session of those who hold this role
///
/// [options]
/// record_session = "strict"           # strict, best_effort, off; default strict; of several roles the strictest counts
/// record_exempt = false               # true: what would be strict is best_effort for those who hold this role; default false
/// recording_mode = "sync"             # sync, async; default what the cluster has; sync counts before async
/// record_input = false                # true: what goes into programs, and on terminals what was seen to be echoed; "always":
///                                     # everything, passwords too; default false; of several roles the most counts
/// max_session_ttl = "8h"              # longest user certificate
/// ```
#[derive(Clone, Debug)]
pub struct Role {
    pub(crate) name: Arc<str>,
    pub(crate) allow: Rules,
    pub(crate) deny: Rules,
    pub(crate) options: Options,
}

impl Role {
    /// Reads a role's document; unknown keys are refused by name.
    pub fn parse(document: &str) -> Result<Role, RoleError> {
        let raw: Document = toml::from_str(document).map_err(|error| RoleError {
            line: error
                .span()
                .map(|span| 1 + document[..span.start].matches('\n').count()),
            message: error.message().trim_end().replace('\n', "; "),
        })?;
        if !is_name(&raw.name) {
            return Err(RoleError {
                line: None,
                message: format!(
                    "got name {:?} while expecting 1 to {NAME_LENGTH_LIMIT} letters, digits, '.', '_' or '-'",
                    raw.name
                ),
            });
        }
        Ok(Role {
            name: raw.name.into(),
            allow: raw.allow.into(),
            deny: raw.deny.into(),
            options: raw.options,
        })
    }

    /// The name in the document.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Longest certificate that a holder of this role is given.
    pub fn max_session_ttl(&self) -> Option<Duration> {
        self.options.max_session_ttl
    }
}

/// A role's document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleError {
    line: Option<usize>,
    message: String,
}

impl std::fmt::Display for RoleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "role document, line {line}: {}", self.message),
            None => write!(f, "role document: {}", self.message),
        }
    }
}

impl std::error::Error for RoleError {}

/// One of the tables `allow` and `deny`.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) logins: Matchers,
    pub(crate) node_labels: LabelMatchers,
    pub(crate) features: FeatureSet,
}

/// The table `options`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    // Its first name stands in roles that are stored.
    #[serde(alias = "record")]
    pub(crate) record_session: Record,
    pub(crate) record_exempt: bool,
    pub(crate) recording_mode: Option<RecordingMode>,
    pub(crate) record_input: RecordInput,
    #[serde(deserialize_with = "duration")]
    pub(crate) max_session_ttl: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    allow: AllowTable,
    #[serde(default)]
    deny: DenyTable,
    #[serde(default)]
    options: Options,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AllowTable {
    logins: Matchers,
    node_labels: LabelMatchers,
    pty: bool,
    exec: bool,
    file_copy: bool,
    local_forwarding: bool,
    remote_forwarding: bool,
    agent_forwarding: bool,
    x11: bool,
}

impl Default for AllowTable {
    fn default() -> AllowTable {
        AllowTable {
            logins: Matchers::default(),
            node_labels: LabelMatchers::default(),
            // To work on a host is what a login is for.
            pty: true,
            exec: true,
            file_copy: true,
            // These open ways past the host, into its network or back into the user's machine: they are asked for.
            local_forwarding: false,
            remote_forwarding: false,
            agent_forwarding: false,
            x11: false,
        }
    }
}

impl From<AllowTable> for Rules {
    fn from(table: AllowTable) -> Rules {
        Rules {
            features: FeatureSet::default()
                .with(Feature::Pty, table.pty)
                .with(Feature::Exec, table.exec)
                .with(Feature::FileCopy, table.file_copy)
                .with(Feature::LocalForwarding, table.local_forwarding)
                .with(Feature::RemoteForwarding, table.remote_forwarding)
                .with(Feature::AgentForwarding, table.agent_forwarding)
                .with(Feature::X11, table.x11),
            logins: table.logins,
            node_labels: table.node_labels,
        }
    }
}

/// As [`AllowTable`], but nothing is denied that is not named.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DenyTable {
    logins: Matchers,
    node_labels: LabelMatchers,
    pty: bool,
    exec: bool,
    file_copy: bool,
    local_forwarding: bool,
    remote_forwarding: bool,
    agent_forwarding: bool,
    x11: bool,
}

impl From<DenyTable> for Rules {
    fn from(table: DenyTable) -> Rules {
        let DenyTable {
            logins,
            node_labels,
            pty,
            exec,
            file_copy,
            local_forwarding,
            remote_forwarding,
            agent_forwarding,
            x11,
        } = table;
        AllowTable {
            logins,
            node_labels,
            pty,
            exec,
            file_copy,
            local_forwarding,
            remote_forwarding,
            agent_forwarding,
            x11,
        }
        .into()
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if duration >= Duration::from_secs(60) => Ok(Some(duration)),
        Ok(_) => Err(de::Error::custom(format!(
            "got {text:?} while expecting at least \"1m\""
        ))),
        Err(error) => Err(de::Error::custom(format!(
            "got {text:?} while expecting a time like \"8h\": {error}"
        ))),
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH_LIMIT).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(document: &str) -> String {
        Role::parse(document).unwrap_err().to_string()
    }

    #[test]
    fn the_default_role_is_readable() {
        let role = Role::parse(crate::ACCESS_ROLE).unwrap();
        assert_eq!(role.name(), "access");
        assert_eq!(role.options.record_session, Record::Strict);
        assert!(
            Feature::ALL
                .into_iter()
                .all(|feature| role.allow.features.contains(feature))
        );
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        let text = error("name = \"a\"\n[allow]\nlogin = \"root\"\n");
        assert!(
            text.starts_with("role document, line 3: unknown field `login`"),
            "{text}"
        );
        assert!(error("name = \"a\"\n[alow]\n").contains("unknown field `alow`"));
        assert!(error("name = \"a\"\n[options]\nmfa = true\n").contains("unknown field `mfa`"));
        assert!(error("name = \"a\"\n[deny]\nroot = true\n").contains("unknown field `root`"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_was_expected() {
        assert!(error("[allow]\n").contains("missing field `name`"));
        assert!(error("name = \"a b\"\n").contains("got name \"a b\" while expecting"));
        assert!(error("name = \"a\"\nallow.logins = 5\n").contains("expected a string or a list of strings"));
        assert!(error("name = \"a\"\nallow.logins = \"^(\u{24}\"\n").contains("cannot be read"));
        assert!(
            error("name = \"a\"\nallow.node_labels = { \"*\" = \"x\" }\n").contains("takes only the value")
        );
        assert!(
            error("name = \"a\"\noptions.record_session = \"some\"\n").contains("unknown variant `some`")
        );
        assert!(
            error("name = \"a\"\noptions.recording_mode = \"often\"\n").contains("unknown variant `often`")
        );
        assert!(error("name = \"a\"\noptions.max_session_ttl = \"8\"\n").contains("a time like \"8h\""));
        assert!(error("name = \"a\"\noptions.max_session_ttl = \"1s\"\n").contains("at least \"1m\""));
        assert!(error("name = ").starts_with("role document, line 1: "));
    }

    #[test]
    fn input_is_recorded_not_at_all_where_echoed_or_always() {
        let read = |value: &str| Role::parse(&format!("name = \"a\"\noptions.record_input = {value}\n"));
        let record_input = |value: &str| read(value).unwrap().options.record_input;
        assert_eq!(
            Role::parse("name = \"a\"").unwrap().options.record_input,
            RecordInput::Off
        );
        assert_eq!(record_input("false"), RecordInput::Off);
        assert_eq!(record_input("true"), RecordInput::Echoed);
        assert_eq!(record_input("\"always\""), RecordInput::Always);
        for wrong in ["\"echoed\"", "1", "\"true\""] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("true, false or \"always\""), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_leads_past_the_host_is_off_unless_named() {
        let role = Role::parse("name = \"a\"").unwrap();
        let on = |feature| role.allow.features.contains(feature);
        assert!(on(Feature::Pty) && on(Feature::Exec) && on(Feature::FileCopy));
        assert!(!on(Feature::LocalForwarding) && !on(Feature::RemoteForwarding));
        assert!(!on(Feature::AgentForwarding) && !on(Feature::X11));
        assert_eq!(role.deny.features, FeatureSet::default());
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let role = Role::parse("name = \"a\"\noptions.max_session_ttl = \"8h 30m\"\n").unwrap();
        assert_eq!(role.max_session_ttl(), Some(Duration::from_secs(8 * 3600 + 1800)));
    }
}
