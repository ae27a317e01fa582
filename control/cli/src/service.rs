//! Both planes in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use weir_objects::{Objects, StoreConfig};
use weir_pace::Penalties;
use weir_proxy::{DataPlane, ProxyConfig};
use weir_server::{Control, ControlConfig};

use crate::configuration::{Configuration, Pacing};
use crate::failure::usage;

/// A running control plane, and the data plane that it serves.
pub(crate) struct Service {
    control: Control,
    data_plane: DataPlane,
    drain: Duration,
}

impl Service {
    /// Starts both; SSH clients and `weir status` are answered when this returns.
    pub(crate) fn start(data: &Path, configuration: &Configuration) -> anyhow::Result<Self> {
        let store = match configuration.recording.store().map_err(usage)? {
            Some(store) => store,
            None => StoreConfig::directory(data.join("recordings")),
        };
        let control = Control::open(control_config(data, &store, configuration)?)?;
        let config = ProxyConfig {
            store,
            recording_key: Some(control.embedded_signing_key()),
            ..proxy_config(data, configuration)?
        };
        let data_plane = match DataPlane::start(config, control.data_plane()) {
            Ok(data_plane) => data_plane,
            Err(error) => {
                control.shutdown();
                return Err(error.into());
            }
        };
        control.data_plane_ready(data_plane.local_addrs().iter().map(ToString::to_string).collect());
        Ok(Service {
            control,
            data_plane,
            drain: configuration.drain,
        })
    }

    /// Where SSH clients are accepted.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.data_plane.local_addrs()
    }

    /// Ends in order: first what makes audit events, then what keeps them.
    pub(crate) fn shutdown(self) {
        self.data_plane.shutdown(self.drain);
        self.control.shutdown();
    }
}

/// What the data plane is told by the configuration alone.
fn proxy_config(data: &Path, configuration: &Configuration) -> anyhow::Result<ProxyConfig> {
    let defaults = ProxyConfig::new(configuration.listen.clone(), data.to_owned());
    Ok(ProxyConfig {
        names: configuration.names.clone(),
        host_keys: configuration.host_keys.clone(),
        workers: configuration.workers,
        io: configuration.io,
        login_grace: configuration.login_grace,
        connect_timeout: configuration.connect_timeout,
        handshake_timeout: configuration.handshake_timeout,
        flush_interval: configuration.recording.flush_interval,
        metrics: configuration.metrics,
        source_pool: configuration.sources.pool().map_err(usage)?,
        pace: pace(&configuration.pacing, defaults.pace),
        ..defaults
    })
}

/// When handshakes to servers start.
fn pace(pacing: &Pacing, defaults: weir_pace::Config) -> weir_pace::Config {
    let penalties = if pacing.penalties {
        defaults.penalties
    } else {
        // What costs nothing is never added up, so nobody is held back for it.
        Penalties {
            rejected: Duration::ZERO,
            no_attempt: Duration::ZERO,
            login_timeout: Duration::ZERO,
            ..defaults.penalties
        }
    };
    weir_pace::Config {
        wait_limit: pacing.wait_limit,
        queue_limit: pacing.queue_limit,
        presumed: pacing.max_startups,
        penalties,
        ..defaults
    }
}

/// What the control plane is told; the rest it remembers.
fn control_config(
    data: &Path,
    store: &StoreConfig,
    configuration: &Configuration,
) -> anyhow::Result<ControlConfig> {
    Ok(ControlConfig {
        data_dir: data.to_owned(),
        cluster: configuration.cluster.clone(),
        proxy_checks_host_keys: Some(configuration.proxy_checks_host_keys),
        exec_output_limit_bytes: Some(configuration.recording.exec_output_limit_bytes),
        recording_mode: Some(configuration.recording.mode),
        recording_contact: Some(configuration.recording.contact.clone()),
        file_operations: Some(configuration.recording.file_operations),
        file_hashes: Some(configuration.recording.file_hashes),
        environment_values: Some(configuration.recording.environment_values.clone()),
        hash_unrecorded: Some(configuration.recording.hash_unrecorded),
        max_user_ttl_seconds: Some(configuration.max_user_ttl.as_secs()),
        extra_recording_recipients: configuration.recording.recipients.clone(),
        external_recipients_only: !configuration.recording.own_identity,
        recordings: Some(Objects::open(store)?),
        retention: configuration.recording.retention,
        exports: configuration.audit.exports().map_err(usage)?,
        ..ControlConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use weir_pace::MaxStartups;

    use super::*;

    #[test]
    fn the_default_configuration_is_the_pacers_own() {
        let config = proxy_config(Path::new("/nowhere"), &Configuration::default()).unwrap();
        assert!(config.source_pool.is_none());
        assert_eq!(
            format!("{:?}", config.pace),
            format!("{:?}", weir_pace::Config::default())
        );
    }

    #[test]
    fn metrics_are_served_where_the_configuration_says() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9464));
        let configuration = Configuration {
            metrics: Some(address),
            ..Configuration::default()
        };
        let config = proxy_config(Path::new("/nowhere"), &configuration).unwrap();
        assert_eq!(config.metrics, Some(address));
    }

    #[test]
    fn what_is_configured_reaches_those_who_keep_recordings() {
        let root = tempfile::tempdir().unwrap();
        let mut configuration = Configuration::default();
        configuration.recording.retention = Some(Duration::from_hours(24));
        let store = StoreConfig::directory(root.path().join("store"));
        let config = control_config(root.path(), &store, &configuration).unwrap();
        assert_eq!(config.retention, Some(Duration::from_hours(24)));
        assert_eq!(config.recordings.unwrap().place(), &store.place);
        assert!(config.retention_clock.is_none());
    }

    #[test]
    fn what_is_configured_reaches_the_pacer() {
        let pacing = Pacing {
            wait_limit: Duration::from_secs(90),
            queue_limit: 7,
            max_startups: MaxStartups::parse("200:30:400").unwrap(),
            penalties: false,
        };
        let config = pace(&pacing, weir_pace::Config::default());
        assert_eq!(
            (config.wait_limit, config.queue_limit, config.presumed),
            (pacing.wait_limit, pacing.queue_limit, pacing.max_startups)
        );
        let Penalties {
            rejected,
            no_attempt,
            login_timeout,
            ..
        } = config.penalties;
        assert_eq!([rejected, no_attempt, login_timeout], [Duration::ZERO; 3]);
    }
}
