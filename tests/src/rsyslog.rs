//! A real rsyslogd that receives over TCP or TLS and writes what it gets to a file.

use std::collections::HashSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Daemon, Job};
use crate::wait::eventually;

/// One of them; killed when dropped.
pub struct Rsyslog {
    daemon: Daemon,
    dir: PathBuf,
    port: u16,
}

/// What a receiver needs to speak TLS.
pub struct Certificates {
    /// The authority of both ends.
    pub ca: PathBuf,
    /// The receiver's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Rsyslog {
    /// Starts one with its files below `dir`; with certificates, clients must show one of the same authority.
    pub fn start(dir: &Path, port: u16, tls: Option<&Certificates>) -> Self {
        fs::create_dir_all(dir).expect("a directory for rsyslogd");
        let (global, module) = match tls {
            None => (String::new(), String::new()),
            Some(tls) => (
                format!(
                    " defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\" \
                     defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\"",
                    tls.ca.display(),
                    tls.certificate.display(),
                    tls.key.display()
                ),
                " streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/certvalid\"".to_owned(),
            ),
        };
        let received = dir.join("received");
        let configuration = format!(
            "global(workDirectory=\"{dir}\" maxMessageSize=\"64k\"{global})\n\
             module(load=\"imtcp\"{module})\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             template(name=\"seen\" type=\"string\" string=\"%pri% %app-name% %msgid% %structured-data% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{received}\" template=\"seen\")\n",
            dir = dir.display(),
            received = received.display(),
        );
        fs::write(dir.join("rsyslog.conf"), configuration).expect("rsyslog.conf");
        Self {
            daemon: launch(dir, port),
            dir: dir.to_owned(),
            port,
        }
    }

    /// Ends it without a chance to write what it holds.
    pub fn kill(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.wait_within(Duration::from_secs(10));
    }

    /// Starts it on the same port and configuration, after [`Rsyslog::kill`].
    pub fn start_again(&mut self) {
        self.daemon = launch(&self.dir, self.port);
    }

    /// The lines that it has written: priority, application, message id, structured data and message.
    pub fn received(&self) -> Vec<String> {
        let text = fs::read(self.dir.join("received")).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The ids of the events among them. A kill may have torn a line.
    pub fn received_ids(&self) -> HashSet<String> {
        let id = |line: &String| {
            let message = &line[line.find('{')?..];
            let event: Value = serde_json::from_str(message).ok()?;
            Some(event["id"].as_str()?.to_owned())
        };
        self.received().iter().filter_map(id).collect()
    }
}

fn launch(dir: &Path, port: u16) -> Daemon {
    fs::remove_file(dir.join("pid")).ok();
    let job = Job::new("/usr/sbin/rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(dir.join("rsyslog.conf"))
        .arg("-i")
        .arg(dir.join("pid"));
    let log = dir.join("log");
    let daemon = Daemon::start(job, &log);
    eventually("rsyslogd accepts connections", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    daemon
}
