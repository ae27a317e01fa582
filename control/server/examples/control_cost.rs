//! What a session costs the control plane: CPU time of the whole process, its writer and its database included.
//!
//! `cargo run --release -p weir-server --example control_cost`

use std::error::Error;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use weir_api::ControlPlane;
use weir_api::admin::admin_client::AdminClient;
use weir_api::admin::{AddNodeRequest, AddUserRequest, SignUserRequest, StatusRequest};
use weir_api::audit::{
    ClientDisconnect, Ender, Exec, Exit, SessionConnect, SessionData, SessionEnd, SessionStart, UserLogin,
};
use weir_api::dataplane::{AuditEvent, SessionRecord, SessionStatus, UpstreamCertificateRequest};
use weir_server::{Control, ControlConfig};
use weir_ssh::certificate::Certificate;
use weir_ssh::key::SigningKey;
use weir_ssh::wire::{Writer, msg};

const SESSIONS: u32 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let control = Control::open(ControlConfig {
        data_dir: directory.path().to_owned(),
        ..ControlConfig::default()
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut admin = runtime.block_on(connect(directory.path().join("control.sock")))?;
    let key = SigningKey::generate_ed25519();
    let certificate = runtime.block_on(enroll(&mut admin, &key))?;
    let plane = control.data_plane();
    let node = plane.snapshot().nodes[0].id.clone();

    let requests: Vec<_> = (0..SESSIONS)
        .map(|n| request(&key, &certificate, n, &node))
        .collect();
    let flush = |admin: &mut AdminClient<Channel>| runtime.block_on(admin.status(StatusRequest {})).map(drop);
    measure("certificate against proof, with its audit event", || {
        for request in requests {
            runtime.block_on(plane.issue_upstream(request))?;
        }
        Ok(flush(&mut admin)?)
    })?;
    // At 500 sessions a second, so that batches are as they would be.
    measure("start, command and end of a session in audit and index", || {
        for n in 0..SESSIONS {
            report(&*plane);
            if n % 100 == 99 {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(flush(&mut admin)?)
    })?;
    Ok(())
}

fn measure(what: &str, work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let (cpu, wall) = (cpu_time()?, Instant::now());
    work()?;
    let (cpu, wall) = (cpu_time()? - cpu, wall.elapsed());
    println!("{what}: {:.1} µs of CPU, {:.1} µs in all", each(cpu), each(wall));
    Ok(())
}

fn each(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(SESSIONS)
}

/// CPU time of all threads of this process, from proc_pid_schedstat: nanoseconds on a CPU.
fn cpu_time() -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text
            .split(' ')
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn request(key: &SigningKey, certificate: &Certificate, n: u32, node: &str) -> UpstreamCertificateRequest {
    let mut signed_data = Vec::new();
    signed_data.put_string(format!("{n:032}"));
    signed_data.put_u8(msg::USERAUTH_REQUEST);
    signed_data.put_string("root@web1");
    signed_data.put_string("ssh-connection");
    signed_data.put_string("publickey");
    signed_data.put_bool(true);
    signed_data.put_string("ssh-ed25519-cert-v01@openssh.com");
    signed_data.put_string(certificate.blob());
    UpstreamCertificateRequest {
        session: ulid::Ulid::generate().to_string(),
        login: "root".to_owned(),
        node_id: node.to_owned(),
        user_certificate: certificate.blob().to_vec(),
        signature: key.sign_with_best(&signed_data),
        signed_data,
        public_key: SigningKey::generate_ed25519().public_key().blob().to_vec(),
        client_address: "192.0.2.7".to_owned(),
        source_addresses: vec!["203.0.113.9".to_owned()],
        valid_seconds: 0,
    }
}

/// What a session of one command reports, in the portions in which it does.
fn report(plane: &dyn ControlPlane) {
    let id = ulid::Ulid::generate().to_string();
    let of_session = |event: AuditEvent| AuditEvent {
        id: ulid::Ulid::generate().to_string(),
        time_us: START_US,
        session: id.clone(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        node_address: "web1:22".to_owned(),
        client_address: "192.0.2.7:40000".to_owned(),
        recording_mode: "async".to_owned(),
        ..event
    };
    let with_id = |suffix: &str, event: AuditEvent| AuditEvent {
        id: format!("{id}-{suffix}"),
        ..of_session(event)
    };
    let record = |status: SessionStatus| SessionRecord {
        id: id.clone(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        kind: "exec".to_owned(),
        start_us: START_US,
        status: status.into(),
        client_address: "192.0.2.7:40000".to_owned(),
        ..SessionRecord::default()
    };
    let exec = Exec {
        command: "uname -a".to_owned(),
        ..Exec::default()
    };
    let exit = Exit {
        command: Some("uname -a".to_owned()),
        exit_code: Some(0),
        ..Exit::default()
    };
    let disconnect = ClientDisconnect {
        reason: "client: disconnected by user".to_owned(),
        by: Ender::Client,
    };
    let begun = vec![
        of_session((&SessionConnect::default()).into()),
        with_id("start", (&SessionStart::default()).into()),
    ];
    let over = vec![
        of_session((&SessionData::default()).into()),
        with_id("end", (&SessionEnd::default()).into()),
    ];
    plane.report(vec![of_session((&UserLogin::default()).into())], Vec::new());
    plane.report(begun, vec![record(SessionStatus::Live)]);
    plane.report(vec![of_session((&exec).into())], Vec::new());
    plane.report(vec![of_session((&exit).into())], Vec::new());
    plane.report(vec![of_session((&disconnect).into())], Vec::new());
    plane.report(over, vec![record(SessionStatus::Complete)]);
}

const START_US: u64 = 1_795_181_160_000_000;

async fn enroll(admin: &mut AdminClient<Channel>, key: &SigningKey) -> Result<Certificate, Box<dyn Error>> {
    let user = AddUserRequest {
        name: "alice".to_owned(),
        logins: vec!["root".to_owned()],
        ..AddUserRequest::default()
    };
    admin.add_user(user).await?;
    let node = AddNodeRequest {
        name: "web1".to_owned(),
        address: "web1:22".to_owned(),
        ..AddNodeRequest::default()
    };
    admin.add_node(node).await?;
    let sign = SignUserRequest {
        name: "alice".to_owned(),
        public_key: key.public_key().to_openssh(""),
        ttl_seconds: 0,
    };
    Ok(Certificate::from_openssh(
        &admin.sign_user(sign).await?.into_inner().certificate,
    )?)
}

async fn connect(path: std::path::PathBuf) -> Result<AdminClient<Channel>, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    Ok(AdminClient::new(
        Endpoint::from_static("http://weir.invalid")
            .connect_with_connector(connector)
            .await?,
    ))
}
