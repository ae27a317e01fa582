//! The configuration file: `weir.toml` beside this crate's sources documents every key.

mod audit;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use weir_objects::{S3Settings, StoreConfig};
use weir_pace::MaxStartups;
use weir_proxy::{IoMode, SourceBy, SourcePool};
use weir_server::RecordingMode;

use self::audit::Audit;
use crate::failure::usage;
use crate::files::unreadable;

/// The sample, printed by `weir up --print-config`.
pub(crate) const SAMPLE: &str = include_str!("../weir.toml");

/// What an operator decides about `weir up`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Configuration {
    pub(crate) cluster: Option<String>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) names: Vec<String>,
    pub(crate) host_keys: Vec<PathBuf>,
    pub(crate) proxy_checks_host_keys: bool,
    #[serde(deserialize_with = "duration")]
    pub(crate) max_user_ttl: Duration,
    pub(crate) io: IoMode,
    #[serde(deserialize_with = "some_workers")]
    pub(crate) workers: Option<usize>,
    #[serde(deserialize_with = "duration")]
    pub(crate) login_grace: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) connect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) handshake_timeout: Duration,
    #[serde(deserialize_with = "duration_or_zero")]
    pub(crate) drain: Duration,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) pacing: Pacing,
    pub(crate) sources: Sources,
    pub(crate) recording: Recording,
    pub(crate) audit: Audit,
    pub(crate) log: Log,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pacing {
    #[serde(deserialize_with = "wait_limit")]
    pub(crate) wait_limit: Duration,
    #[serde(deserialize_with = "queue_limit")]
    pub(crate) queue_limit: usize,
    #[serde(deserialize_with = "max_startups")]
    pub(crate) max_startups: MaxStartups,
    pub(crate) penalties: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sources {
    pool: Vec<String>,
    #[serde(deserialize_with = "source_by")]
    by: SourceBy,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recording {
    pub(crate) store: Option<String>,
    pub(crate) s3: S3Settings,
    #[serde(deserialize_with = "retention")]
    pub(crate) retention: Option<Duration>,
    pub(crate) mode: RecordingMode,
    #[serde(deserialize_with = "duration")]
    pub(crate) flush_interval: Duration,
    #[serde(deserialize_with = "one_line")]
    pub(crate) contact: String,
    #[serde(rename = "exec_output_limit", deserialize_with = "bytes")]
    pub(crate) exec_output_limit_bytes: u64,
    pub(crate) file_operations: bool,
    pub(crate) file_hashes: bool,
    pub(crate) hash_unrecorded: bool,
    #[serde(deserialize_with = "variables")]
    pub(crate) environment_values: Vec<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) own_identity: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

// Why each default is what it is stands in `weir.toml`, or where the value is used.
impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            cluster: None,
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 3023))],
            names: Vec::new(),
            host_keys: Vec::new(),
            proxy_checks_host_keys: true,
            max_user_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            io: IoMode::Auto,
            workers: None,
            login_grace: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(10),
            metrics: None,
            pacing: Pacing::default(),
            sources: Sources::default(),
            recording: Recording::default(),
            audit: Audit::default(),
            log: Log::default(),
        }
    }
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing {
            wait_limit: Duration::from_secs(30),
            queue_limit: 4096,
            max_startups: MaxStartups::DEFAULT,
            penalties: true,
        }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Sources {
            pool: Vec::new(),
            by: SourceBy::User,
        }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Recording {
            store: None,
            s3: S3Settings::default(),
            retention: None,
            mode: RecordingMode::Async,
            contact: String::new(),
            flush_interval: Duration::from_millis(250),
            exec_output_limit_bytes: 64 << 20,
            file_operations: true,
            file_hashes: false,
            hash_unrecorded: false,
            environment_values: ["LANG", "LC_ALL", "LC_CTYPE"].map(str::to_owned).into(),
            recipients: Vec::new(),
            own_identity: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Configuration {
    /// Reads a file; without one, the defaults.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(path).map_err(|error| usage(unreadable(path, &error)))?;
        Self::parse(&text).map_err(|text| usage(format!("{}: {text}", path.display())))
    }

    /// Parses a document; the error is one line that names the place.
    fn parse(text: &str) -> Result<Self, String> {
        let read: Self = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map(|span| 1 + text[..span.start].matches('\n').count());
            let message = without_secrets(error.message().trim().replace('\n', ", "));
            line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
        })?;
        if read.listen.is_empty() {
            return Err(
                "got no address in `listen` while expecting one or more: leave the key out for the default"
                    .into(),
            );
        }
        read.sources.pool()?;
        read.recording.store()?;
        read.audit.exports()?;
        Ok(read)
    }
}

impl Recording {
    /// The store, where one is named.
    pub(crate) fn store(&self) -> Result<Option<StoreConfig>, String> {
        match &self.store {
            Some(store) => StoreConfig::new(store, self.s3.clone())
                .map(Some)
                .map_err(|error| error.to_string()),
            None if self.s3 != S3Settings::default() => {
                Err("got a table [recording.s3] without `store`: set store = \"s3://BUCKET/PREFIX\" in [recording]".into())
            }
            None => Ok(None),
        }
    }
}

/// What is wrong, and where a key belongs that is here by mistake. Its value does not stand in the message.
fn without_secrets(message: String) -> String {
    let key = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
        .map(|(key, _)| key.to_ascii_lowercase());
    match key {
        Some(key)
            if ["access_key", "secret", "token"]
                .iter()
                .any(|part| key.contains(part)) =>
        {
            format!(
                "got `{key}`, which does not belong into this file: put credentials into a file that `credentials_file` in \
             [recording.s3] names, or into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment"
            )
        }
        Some(key) if key == "directory" => {
            format!("{message}; the directory of recordings is named by `store` now")
        }
        _ => message,
    }
}

impl Sources {
    /// The pool, where there is one.
    pub(crate) fn pool(&self) -> Result<Option<SourcePool>, String> {
        if self.pool.is_empty() {
            return Ok(None);
        }
        SourcePool::parse(&self.pool, self.by.clone()).map(Some)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match duration_or_zero(deserializer)? {
        Duration::ZERO => Err(de::Error::custom(
            "got no time at all while expecting one such as \"250ms\" or \"10s\"",
        )),
        duration => Ok(duration),
    }
}

fn duration_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        de::Error::custom(format!(
            "got {text:?} while expecting a time such as \"250ms\", \"10s\" or \"1h\""
        ))
    })
}

fn retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    // A slip of the pen, "90s" for "90d", would delete all there is.
    match duration(deserializer)? {
        keep if keep >= Duration::from_hours(1) => Ok(Some(keep)),
        keep => Err(de::Error::custom(format!(
            "got a retention of {} while expecting \"1h\" or more, \"90d\" for example: leave the key out to keep \
             recordings for ever",
            humantime::format_duration(keep)
        ))),
    }
}

fn wait_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    // Shorter than one handshake nobody would get in again who was dropped once; longer than the certificate of a session
    // can live its last tries would fail.
    match duration_or_zero(deserializer)? {
        limit if (Duration::from_secs(1)..=Duration::from_mins(10)).contains(&limit) => Ok(limit),
        limit => Err(de::Error::custom(format!(
            "got a wait limit of {} while expecting \"1s\" to \"10m\"",
            humantime::format_duration(limit)
        ))),
    }
}

fn queue_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(de::Error::custom(
            "got a queue limit of 0 while expecting 1 or more",
        )),
        limit => Ok(limit),
    }
}

fn max_startups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MaxStartups, D::Error> {
    let text = String::deserialize(deserializer)?;
    MaxStartups::parse(&text).ok_or_else(|| {
        de::Error::custom(format!(
            "got MaxStartups {text:?} while expecting \"start:rate:full\" as sshd has it, or one number"
        ))
    })
}

fn source_by<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SourceBy, D::Error> {
    let text = String::deserialize(deserializer)?;
    match (text.as_str(), text.strip_prefix("trait:")) {
        ("user", _) => Ok(SourceBy::User),
        (_, Some(name)) if !name.is_empty() => Ok(SourceBy::Trait(name.to_owned())),
        _ => Err(de::Error::custom(format!(
            "got {text:?} while expecting \"user\" or \"trait:NAME\""
        ))),
    }
}

/// Text that stands at the end of a sentence on a user's terminal.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.len() <= 200 && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err(de::Error::custom(
            "got a text of several lines or of more than 200 bytes while expecting one short line",
        )),
    }
}

/// Names of environment variables, each with or without `*` at its end.
fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let is_name = |name: &str| {
        let letters = name.strip_suffix('*').unwrap_or(name);
        !name.is_empty()
            && letters
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"*=".contains(&byte))
    };
    match names.iter().find(|name| !is_name(name)) {
        None => Ok(names),
        Some(name) => Err(de::Error::custom(format!(
            "got {name:?} while expecting the name of an environment variable, or the beginning of one and \"*\""
        ))),
    }
}

fn some_workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=1024 => Ok(Some(count)),
        count => Err(de::Error::custom(format!(
            "got {count} workers while expecting 1 to 1024: leave the key out for one per core"
        ))),
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u64),
        Text(String),
    }
    const EXPECTED: &str = "a number of bytes such as 65536 or \"64MiB\"";
    match Form::deserialize(deserializer) {
        Ok(Form::Number(bytes)) => Ok(bytes),
        Ok(Form::Text(text)) => parse_bytes(&text)
            .ok_or_else(|| de::Error::custom(format!("got {text:?} while expecting {EXPECTED}"))),
        Err(_) => Err(de::Error::custom(format!("expected {EXPECTED}"))),
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_default() {
        assert_eq!(Configuration::parse(SAMPLE).unwrap(), Configuration::default());
        assert_eq!(Configuration::parse("").unwrap(), Configuration::default());
    }

    #[test]
    fn keys_that_the_sample_shows_as_comments_exist() {
        let uncommented: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") && !rest.contains(": ") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let read = Configuration::parse(&uncommented).unwrap();
        assert_eq!(read.workers, Some(2));
        assert_eq!(read.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
        assert!(read.sources.pool().unwrap().is_some());
        let exports = read.audit.exports().unwrap();
        assert!(exports.file.is_some());
        assert!(exports.syslog.unwrap().tls.unwrap().client.is_some());
        assert_eq!(read.cluster.as_deref(), Some("weir"));
        let store = read.recording.store().unwrap().unwrap();
        assert_eq!(store.place.to_string(), "s3://audit/ssh");
        assert_eq!(store.s3.profile.as_deref(), Some("default"));
        assert_eq!(read.recording.retention, Some(Duration::from_hours(24 * 90)));
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        let error =
            Configuration::parse("io = \"epoll\"\n[recording]\nflush_intervall = \"1s\"\n").unwrap_err();
        assert!(
            error.starts_with("line 3") && error.contains("flush_intervall"),
            "{error}"
        );
        let error = Configuration::parse("[recordings]\n").unwrap_err();
        assert!(error.contains("recordings"), "{error}");
    }

    #[test]
    fn wrong_values_say_what_was_expected() {
        for (text, expected) in [
            ("login_grace = \"soon\"", "expecting a time"),
            ("login_grace = \"0s\"", "no time at all"),
            ("workers = 0", "one per core"),
            ("listen = [\"here\"]", "socket address"),
            ("listen = []", "leave the key out"),
            ("io = \"kqueue\"", "uring"),
            ("recording = { exec_output_limit = \"64MB\" }", "64MiB"),
            ("recording = { exec_output_limit = true }", "64MiB"),
            ("recording = { mode = \"often\" }", "unknown variant `often`"),
            ("recording = { contact = \"a\\nb\" }", "one short line"),
            (
                "recording = { environment_values = [\"A*B\"] }",
                "got \"A*B\" while",
            ),
            (
                "recording = { environment_values = [\"\"] }",
                "the name of an environment variable",
            ),
            ("metrics = \"9464\"", "socket address"),
            ("recording = { store = \"gs://x\" }", "s3://BUCKET/PREFIX"),
            ("recording = { directory = \"/r\" }", "named by `store` now"),
            ("recording = { retention = \"90s\" }", "a retention of 1m 30s"),
            ("[recording.s3]\nregion = \"x\"", "without `store`"),
            (
                "pacing = { wait_limit = \"999ms\" }",
                "expecting \"1s\" to \"10m\"",
            ),
            ("pacing = { wait_limit = \"601s\" }", "got a wait limit of 10m 1s"),
            ("pacing = { queue_limit = 0 }", "1 or more"),
            ("pacing = { max_startups = \"30:10:100:1\" }", "start:rate:full"),
            ("pacing = { max_startups = 10 }", "expected a string"),
            ("sources = { by = \"team\" }", "trait:NAME"),
            ("sources = { by = \"trait:\" }", "trait:NAME"),
            ("sources = { pool = [\"web1\"] }", "10.9.0.0/28"),
            (
                "sources = { pool = [\"10.9.0.1/28\"] }",
                "first address of the net",
            ),
            (
                "audit = { syslog = { address = \"logs:6514\" } }",
                "needs `ca_file`",
            ),
            ("audit = { syslog = { address = \"logs\" } }", "host:port"),
            ("audit = { syslog = { transport = \"udp\" } }", "tls"),
            ("audit = { syslog = { facility = \"local8\" } }", "authpriv"),
            ("audit = { syslog = { app_name = \"\" } }", "printable"),
            (
                "audit = { syslog = { address = \"logs:514\", transport = \"tcp\", ca_file = \"ca\" } }",
                "for \"tls\" alone",
            ),
            (
                "audit = { syslog = { address = \"logs:6514\", ca_file = \"ca\", key_file = \"k\" } }",
                "belong together",
            ),
            ("audit = { file = { rotate = 1 } }", "rotate_size"),
        ] {
            let error = Configuration::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_refused_by_name_and_not_repeated() {
        for key in ["secret_access_key", "aws_access_key_id", "session_token"] {
            let text = format!("[recording]\nstore = \"s3://audit\"\n[recording.s3]\n{key} = \"hunter2\"\n");
            let error = Configuration::parse(&text).unwrap_err();
            assert!(
                error.starts_with(&format!("line 4: got `{key}`")) && error.contains("credentials_file"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = Configuration::parse("recording = { store = \"s3://AK:hunter2@audit\" }").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn users_share_an_address_by_name_or_by_a_trait() {
        let by = |text: &str| Configuration::parse(text).unwrap().sources.by;
        assert_eq!(by("sources = { by = \"user\" }"), SourceBy::User);
        assert_eq!(
            by("sources = { by = \"trait:team\" }"),
            SourceBy::Trait("team".into())
        );
        assert!(Configuration::default().sources.pool().unwrap().is_none());
        let pool = Configuration::parse("sources = { pool = [\"10.9.0.0/28\", \"fd00::1\"] }").unwrap();
        assert!(pool.sources.pool().unwrap().is_some());
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_bytes("64MiB"), Some(64 << 20));
        assert_eq!(parse_bytes("1 GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("0"), Some(0));
        assert_eq!(parse_bytes("99999999999TiB"), None);
        assert_eq!(parse_bytes("MiB"), None);
    }
}
