//! `[audit.syslog]` and `[audit.file]`: where audit events are taken to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use weir_server::{ExportConfig, Facility, FileConfig, SyslogConfig, TlsConfig};

use super::{bytes, duration_or_zero};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    syslog: Syslog,
    file: File,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Syslog {
    address: Option<String>,
    transport: Transport,
    ca_file: Option<PathBuf>,
    server_name: Option<String>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(deserialize_with = "facility")]
    facility: Facility,
    #[serde(deserialize_with = "app_name")]
    app_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Tls,
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    path: Option<PathBuf>,
    #[serde(rename = "rotate_size", deserialize_with = "bytes")]
    rotate_size_bytes: u64,
    #[serde(deserialize_with = "duration_or_zero")]
    rotate_age: Duration,
    keep: u32,
}

impl Default for Syslog {
    fn default() -> Self {
        Syslog {
            address: None,
            transport: Transport::Tls,
            ca_file: None,
            server_name: None,
            certificate_file: None,
            key_file: None,
            facility: Facility::AUTHPRIV,
            app_name: "weir".to_owned(),
        }
    }
}

impl Default for File {
    fn default() -> Self {
        File {
            path: None,
            rotate_size_bytes: 100 << 20,
            rotate_age: Duration::from_hours(24),
            keep: 30,
        }
    }
}

impl Audit {
    /// What the control plane is told; the error is a sentence for the operator.
    pub(crate) fn exports(&self) -> Result<ExportConfig, String> {
        let file = self.file.path.clone().map(|path| FileConfig {
            path,
            rotate_size_bytes: self.file.rotate_size_bytes,
            rotate_age: self.file.rotate_age,
            keep: self.file.keep,
        });
        Ok(ExportConfig {
            syslog: self.syslog.config()?,
            file,
        })
    }
}

impl Syslog {
    fn config(&self) -> Result<Option<SyslogConfig>, String> {
        let Some(address) = &self.address else {
            return Ok(None);
        };
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(format!(
                "got audit.syslog.address {address:?} while expecting host:port"
            ));
        }
        Ok(Some(SyslogConfig {
            address: address.clone(),
            tls: self.tls()?,
            facility: self.facility,
            app_name: self.app_name.clone(),
        }))
    }

    fn tls(&self) -> Result<Option<TlsConfig>, String> {
        let client = match (&self.certificate_file, &self.key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            _ => {
                return Err(
                    "audit.syslog: `certificate_file` and `key_file` belong together, and one is missing"
                        .into(),
                );
            }
        };
        match (self.transport, &self.ca_file) {
            (Transport::Tls, Some(ca_file)) => Ok(Some(TlsConfig {
                ca_file: ca_file.clone(),
                server_name: self.server_name.clone(),
                client,
            })),
            (Transport::Tls, None) => Err(
                "audit.syslog: transport \"tls\" needs `ca_file`, the authorities for the receiver's certificate".into(),
            ),
            (Transport::Tcp, None) if client.is_none() && self.server_name.is_none() => Ok(None),
            (Transport::Tcp, _) => Err(
                "audit.syslog: `ca_file`, `server_name`, `certificate_file` and `key_file` are for \"tls\" alone".into(),
            ),
        }
    }
}

fn facility<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Facility, D::Error> {
    let name = String::deserialize(deserializer)?;
    Facility::parse(&name).ok_or_else(|| {
        de::Error::custom(format!(
            "got facility {name:?} while expecting one such as \"authpriv\", \"auth\" or \"local0\""
        ))
    })
}

fn app_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    // RFC 5424 §6: APP-NAME = NILVALUE / 1*48PRINTUSASCII
    let is_token = (1..=48).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token {
        Ok(name)
    } else {
        Err(de::Error::custom(format!(
            "got app_name {name:?} while expecting 1 to 48 printable ASCII characters without spaces"
        )))
    }
}
