//! weir-load: client swarms and reports.

mod arguments;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use weir_loadtest::connection::Target;
use weir_loadtest::report::Report;
use weir_loadtest::{idle, sessions, swarm};
use weir_ssh::TransportConfig;
use weir_ssh::certificate::{Certificate, HostKeyPolicy};
use weir_ssh::key::{PublicKey, SigningKey};

use arguments::{Arguments, Command, Login, Sessions};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => conclude(&arguments, &report),
        Err(error) => {
            eprintln!("weir-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn conclude(arguments: &Arguments, report: &Report) -> ExitCode {
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    if report.failed() <= arguments.max_failures {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "weir-load: {} failed while at most {} may",
        report.failed(),
        arguments.max_failures
    );
    ExitCode::FAILURE
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let timeout = arguments.timeout;
    match &arguments.command {
        Command::Burst(burst) => {
            let plan = swarm::Plan {
                clients: burst.clients,
                concurrency: burst.concurrency.unwrap_or(burst.clients),
                command: burst.line.clone(),
                expect: burst.expect.clone(),
                timeout,
            };
            Ok(runtime(Some(1))?.block_on(swarm::run(plan)))
        }
        Command::Sessions(options) => {
            let target = target(&options.login)?;
            let load = sessions::run(target, options.command.as_str().into(), plan(options, timeout));
            Ok(runtime(options.login.threads)?.block_on(load))
        }
        Command::Idle(options) => {
            let target = target(&options.login)?;
            let plan = idle::Plan {
                sessions: options.sessions,
                concurrency: options.concurrency,
                hold: options.duration,
                timeout,
            };
            let up = |count| eprintln!("{count} sessions are up");
            Ok(runtime(options.login.threads)?.block_on(idle::run(
                target,
                options.command.as_str().into(),
                plan,
                up,
            )))
        }
    }
}

fn plan(options: &Sessions, timeout: Duration) -> sessions::Plan {
    /// Without any limit a run would never end.
    const COUNT: u64 = 1000;
    let count = options.count.unwrap_or(if options.duration.is_some() {
        u64::MAX
    } else {
        COUNT
    });
    sessions::Plan {
        concurrency: options.concurrency,
        rate: options.rate,
        count,
        duration: options.duration.unwrap_or(Duration::MAX),
        timeout,
    }
}

fn runtime(threads: Option<usize>) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("cannot start the threads")
}

fn target(login: &Login) -> anyhow::Result<Arc<Target>> {
    let key = read(&login.identity)?;
    let key = SigningKey::from_openssh(&key).with_context(|| login.identity.display().to_string())?;
    let host_key = match &login.host_ca {
        None => HostKeyPolicy::Unchecked,
        Some(file) => {
            let ca =
                PublicKey::from_openssh(read(file)?.trim()).with_context(|| file.display().to_string())?;
            HostKeyPolicy::Certified {
                name: login.to.ip().to_string(),
                authorities: vec![ca.blob().to_vec()],
            }
        }
    };
    Ok(Arc::new(Target {
        address: login.to,
        login: login.login.clone(),
        key,
        certificate: certificate(login)?,
        host_key,
        transport: Arc::new(TransportConfig::client()),
    }))
}

/// The certificate that was named, or the one that lies beside the key, as `ssh` takes it.
fn certificate(login: &Login) -> anyhow::Result<Option<Certificate>> {
    let beside = || {
        let mut path = login.identity.clone().into_os_string();
        path.push("-cert.pub");
        Some(PathBuf::from(path)).filter(|path| path.exists())
    };
    let Some(file) = login.certificate.clone().or_else(beside) else {
        return Ok(None);
    };
    let text = read(&file)?;
    let certificate = Certificate::from_openssh(text.trim()).with_context(|| file.display().to_string())?;
    Ok(Some(certificate))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}
