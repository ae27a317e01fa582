//! Certificates at work: OpenSSH's client signs in to our server side with them, our client side to OpenSSH's server.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use weir_ca::{Authority, HostTerms, KeySigner, Permission, UPSTREAM_VALIDITY, UpstreamTerms, UserTerms};
use weir_crypto::random::SystemRandom;
use weir_ssh::auth::client::{ClientAuth, ClientStep, Credential};
use weir_ssh::auth::server::{self, Authenticated, ServerAuth, ServerStep};
use weir_ssh::auth::{Proof, ProofCheck, verify_proof};
use weir_ssh::certificate::{Certificate, HostKeyPolicy, Network, PLAIN_HOST_KEY};
use weir_ssh::key::{HostKey, SigningKey};
use weir_ssh::{Env, Event, Hop, Timestamp, TransportConfig};

/// What ssh-keygen makes.
const KINDS: [(&str, &str); 5] = [
    ("ed25519", "256"),
    ("ecdsa", "256"),
    ("ecdsa", "384"),
    ("ecdsa", "521"),
    ("rsa", "2048"),
];

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOUR: Duration = Duration::from_secs(3600);
/// Far longer than anything takes; a test that hangs fails by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hop on a socket.
struct Line {
    hop: Hop,
    socket: TcpStream,
    inbox: Vec<u8>,
    start: usize,
}

impl Line {
    fn open(hop: Hop, socket: TcpStream) -> Line {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = Line {
            hop,
            socket,
            inbox: Vec::new(),
            start: 0,
        };
        line.send(|hop, env, out| hop.start(env, out));
        line
    }

    fn send(&mut self, step: impl FnOnce(&mut Hop, &mut Env<'_>, &mut Vec<u8>)) {
        let mut out = Vec::new();
        let mut random = SystemRandom;
        step(
            &mut self.hop,
            &mut Env {
                now: Timestamp::default(),
                random: &mut random,
            },
            &mut out,
        );
        self.socket.write_all(&out).unwrap();
    }

    fn send_all(&mut self, payloads: &mut Vec<Vec<u8>>) {
        for payload in payloads.drain(..) {
            self.send(|hop, env, out| hop.seal(env, &payload, out).unwrap());
        }
    }

    /// The next thing that is for the layers above; `Err` with the words of the end.
    fn next(&mut self) -> Result<Next, String> {
        loop {
            let mut out = Vec::new();
            let mut random = SystemRandom;
            let mut env = Env {
                now: Timestamp::default(),
                random: &mut random,
            };
            let step = self
                .hop
                .receive(&mut env, &mut self.inbox[self.start..], &mut out);
            self.socket.write_all(&out).map_err(|error| error.to_string())?;
            let step = step.map_err(|error| error.to_string())?;
            let buf = &self.inbox[self.start..];
            let next = match step.event {
                Event::Packet(packet) => Some(Next::Payload(buf[packet.payload].to_vec())),
                Event::KeysInstalled { first: true } => Some(Next::Keys),
                Event::Disconnected { text, .. } => return Err(text),
                Event::NeedMore { .. } => {
                    self.fill()?;
                    None
                }
                _ => None,
            };
            self.start += step.consumed;
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        self.inbox.drain(..std::mem::take(&mut self.start));
        let mut piece = [0; 4096];
        match self.socket.read(&mut piece) {
            Ok(0) => Err("the peer has hung up".into()),
            Ok(count) => {
                self.inbox.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

enum Next {
    Keys,
    Payload(Vec<u8>),
}

struct Trusting<'a>(&'a Authority);

impl server::Authority for Trusting<'_> {
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str> {
        user.split_once('@').map(|(login, _)| login)
    }

    fn trusts_user_ca(&self, key: &[u8]) -> bool {
        key == self.0.public_key().blob()
    }
}

/// Lets one client in, or says why not.
fn serve(
    listener: &TcpListener,
    host_key: HostKey,
    users: &Authority,
) -> Result<(Authenticated, Proof), String> {
    let (socket, _) = listener.accept().unwrap();
    let shown = host_key.blob().to_vec();
    let mut line = Line::open(
        Hop::server(TransportConfig::server().into(), Arc::new([host_key])),
        socket,
    );
    let mut auth: Option<ServerAuth> = None;
    let mut refusals = Vec::new();
    loop {
        let next = line
            .next()
            .map_err(|end| format!("{end}; refused before: {refusals:?}"))?;
        let Next::Payload(payload) = next else {
            let session_id = line.hop.session_id().unwrap();
            auth = Some(ServerAuth::new(
                session_id,
                HERE,
                line.hop.host_key().unwrap(),
                6,
                None,
            ));
            continue;
        };
        let mut replies = Vec::new();
        let auth = auth.as_mut().expect("nothing comes up before there are keys");
        let step = auth
            .receive(&payload, now(), &Trusting(users), &mut replies)
            .map_err(|error| error.to_string())?;
        line.send_all(&mut replies);
        match step {
            ServerStep::Continue => {}
            ServerStep::Refused(failure) => refusals.push(failure.why),
            ServerStep::Authenticated(user) => {
                let check = ProofCheck {
                    now: now(),
                    client: HERE,
                    trusts_authority: &|key| server::Authority::trusts_user_ca(&Trusting(users), key),
                    principal: &|name| server::Authority::principal(&Trusting(users), name),
                };
                let blob = user.certificate().certificate().blob();
                let proof = verify_proof(blob, user.proof(), &check).expect("what let the user in proves it");
                assert_eq!(Some(&*proof.session_id), line.hop.session_id());
                assert!(proof.host_key.as_ref().is_none_or(|bound| *bound == shown));
                return Ok((*user, proof));
            }
        }
    }
}

/// Runs `ssh -v` against the port until we hang up, and returns what it said.
fn ssh(directory: &TempDir, port: u16, options: &[String]) -> String {
    let output = Command::new("ssh")
        .args([
            "-v",
            "-F",
            "none",
            "-p",
            &port.to_string(),
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none"])
        .args([
            "-o",
            &format!("UserKnownHostsFile={}", path(directory, "known_hosts")),
        ])
        .args(options)
        .args(["root@web1@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .output()
        .expect("ssh is installed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

fn write_secret(directory: &TempDir, name: &str, text: &str) -> String {
    let path = path(directory, name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn keygen(directory: &TempDir, name: &str, (kind, bits): (&str, &str)) -> SigningKey {
    let path = path(directory, name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f", &path])
        .status();
    assert!(made.expect("ssh-keygen is installed").success());
    SigningKey::from_openssh(&fs::read_to_string(&path).unwrap()).unwrap()
}

fn authority() -> Authority {
    Authority::new(KeySigner::generate())
}

fn user_certificate(users: &Authority, key: &SigningKey, login: &str) -> Certificate {
    let terms = UserTerms {
        key: key.public_key(),
        user: "alice",
        logins: &[login.to_owned()],
        permissions: &[Permission::Pty],
        source_addresses: &[],
        validity: HOUR,
    };
    users.issue_user(&terms, 1, now(), &mut SystemRandom).unwrap()
}

fn host_certificate(hosts: &Authority, key: &SigningKey) -> Certificate {
    let terms = HostTerms {
        key: key.public_key(),
        names: &["127.0.0.1".to_owned()],
        validity: HOUR,
    };
    hosts.issue_host(&terms, 1, now(), &mut SystemRandom).unwrap()
}

#[test]
fn ssh_signs_in_with_every_kind_of_key_to_plain_and_certified_host_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (users, hosts) = (authority(), authority());
    let own = SigningKey::generate_ed25519();
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let known = format!(
        "[127.0.0.1]:{port} {}\n@cert-authority [127.0.0.1]:{port} {}\n",
        own.public_key().to_openssh(""),
        hosts.export("")
    );
    fs::write(path(&directory, "known_hosts"), known).unwrap();
    let certified = HostKey::certified(own.clone(), host_certificate(&hosts, &own)).unwrap();
    for kind in KINDS {
        let name = format!("id-{}-{}", kind.0, kind.1);
        let key = keygen(&directory, &name, kind);
        fs::write(
            path(&directory, &format!("{name}-cert.pub")),
            user_certificate(&users, &key, "root").to_openssh(""),
        )
        .unwrap();
        for host_key in [HostKey::plain(own.clone()), certified.clone()] {
            let options = ["-i".to_owned(), path(&directory, &name)];
            let (served, said) = thread::scope(|scope| {
                let client = scope.spawn(|| ssh(&directory, port, &options));
                let served = serve(&listener, host_key, &users);
                (served, client.join().unwrap())
            });
            let (user, proof) = served.unwrap_or_else(|why| panic!("{kind:?}: {why}\n{said}"));
            assert_eq!(
                (user.user(), user.certificate().principal()),
                ("root@web1", "root")
            );
            assert!(said.contains("using \"publickey\""), "{said}");
            // OpenSSH binds its requests since 8.9, if the server takes that.
            assert!(proof.host_key.is_some(), "{said}");
        }
    }
}

#[test]
fn ssh_is_refused_with_a_plain_key_and_with_a_certificate_for_somebody_else() {
    let directory = tempfile::tempdir().unwrap();
    let (users, own) = (authority(), SigningKey::generate_ed25519());
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let known = format!("[127.0.0.1]:{port} {}\n", own.public_key().to_openssh(""));
    fs::write(path(&directory, "known_hosts"), known).unwrap();
    let key = keygen(&directory, "id", KINDS[0]);
    let attempt = |options: &[String]| {
        thread::scope(|scope| {
            let client = scope.spawn(|| ssh(&directory, port, options));
            let served = serve(&listener, HostKey::plain(own.clone()), &users);
            (served.unwrap_err(), client.join().unwrap())
        })
    };
    let identity = ["-i".to_owned(), path(&directory, "id")];
    let (why, said) = attempt(&identity);
    assert!(why.contains("PlainKey"), "{why}");
    assert!(said.contains("Permission denied (publickey)"), "{said}");

    fs::write(
        path(&directory, "id-cert.pub"),
        user_certificate(&users, &key, "postgres").to_openssh(""),
    )
    .unwrap();
    let (why, said) = attempt(&identity);
    assert!(why.contains("WrongPrincipal"), "{why}");
    // The user reads why on the way to `Permission denied`.
    assert!(
        said.contains("certificate is for postgres while expecting \"root\""),
        "{said}"
    );
}

/// An sshd for one connection, which it gets as its standard input and output.
struct Sshd {
    directory: TempDir,
    login: String,
}

impl Sshd {
    fn new(openssh: &Authority, host_key: &SigningKey, host_certificate: Option<&Certificate>) -> Sshd {
        let directory = tempfile::tempdir().unwrap();
        let login = Command::new("id").arg("-un").output().unwrap();
        let login = String::from_utf8(login.stdout).unwrap().trim().to_owned();
        // Started by root, sshd wants the directory that its package's service makes at boot.
        if login == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let host = write_secret(&directory, "host", &host_key.to_openssh(""));
        fs::write(path(&directory, "ca.pub"), openssh.export("")).unwrap();
        let mut config = format!(
            "HostKey {host}\nTrustedUserCAKeys {}\nAuthorizedKeysFile none\nPermitRootLogin yes\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n",
            path(&directory, "ca.pub")
        );
        if let Some(certificate) = host_certificate {
            fs::write(path(&directory, "host-cert.pub"), certificate.to_openssh("")).unwrap();
            config += &format!("HostCertificate {}\n", path(&directory, "host-cert.pub"));
        }
        fs::write(path(&directory, "sshd_config"), config).unwrap();
        Sshd { directory, login }
    }

    /// Signs in with `credential`; returns the verdict (or why there was none) and what sshd logged.
    fn sign_in(&self, credential: Credential, policy: HostKeyPolicy) -> (Result<ClientStep, String>, String) {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let theirs: OwnedFd = listener.accept().unwrap().0.into();
        let log = path(&self.directory, "log");
        let mut sshd = Command::new("/usr/sbin/sshd")
            .args(["-i", "-e", "-f", &path(&self.directory, "sshd_config")])
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("sshd is installed");
        let verdict = sign_in(&self.login, ours, credential, policy);
        sshd.wait().unwrap();
        (verdict, fs::read_to_string(&log).unwrap())
    }
}

fn sign_in(
    login: &str,
    socket: TcpStream,
    credential: Credential,
    policy: HostKeyPolicy,
) -> Result<ClientStep, String> {
    let hop = Hop::client(TransportConfig::client().into(), Box::new(policy.at(now())));
    let mut line = Line::open(hop, socket);
    let mut auth: Option<ClientAuth> = None;
    let mut credential = Some(credential);
    loop {
        let mut replies = Vec::new();
        match line.next()? {
            Next::Keys => {
                let (session_id, host_key) = (line.hop.session_id().unwrap(), line.hop.host_key().unwrap());
                let mut started = ClientAuth::new(login, credential.take().unwrap(), session_id, host_key);
                started.start(&mut replies);
                auth = Some(started);
            }
            Next::Payload(payload) => {
                let auth = auth.as_mut().expect("nothing comes up before there are keys");
                let extensions = line.hop.peer_extensions().clone();
                let step = auth
                    .receive(&payload, &extensions, &mut replies)
                    .map_err(|error| error.to_string())?;
                if matches!(step, ClientStep::Success | ClientStep::Failed(_)) {
                    return Ok(step);
                }
            }
        }
        line.send_all(&mut replies);
    }
}

fn upstream(openssh: &Authority, key: &SigningKey, login: &str, from: &str) -> Credential {
    let network: Network = from.parse().unwrap();
    let terms = UpstreamTerms {
        key: key.public_key(),
        user: "alice",
        session: "01J9ZQ7VX8Y4K2M3N5P6R7S8T9",
        login,
        source_addresses: &[network],
        permissions: &[Permission::Pty],
        validity: UPSTREAM_VALIDITY,
    };
    let certificate = openssh
        .issue_upstream(&terms, 4711, now(), &mut SystemRandom)
        .unwrap();
    Credential::certified(key.clone(), certificate).unwrap()
}

fn certified_by(hosts: &Authority, name: &str) -> HostKeyPolicy {
    HostKeyPolicy::Certified {
        name: name.to_owned(),
        authorities: vec![hosts.public_key().blob().to_vec()],
    }
}

#[test]
fn sshd_lets_the_session_certificate_in_and_logs_which_recording_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (openssh, hosts) = (authority(), authority());
    let host_key = SigningKey::generate_ed25519();
    let sshd = Sshd::new(&openssh, &host_key, Some(&host_certificate(&hosts, &host_key)));
    for kind in KINDS {
        let key = keygen(&directory, &format!("id-{}-{}", kind.0, kind.1), kind);
        let credential = upstream(&openssh, &key, &sshd.login, "127.0.0.1");
        let (verdict, log) = sshd.sign_in(credential, certified_by(&hosts, "127.0.0.1"));
        assert_eq!(verdict, Ok(ClientStep::Success), "{kind:?}: {log}");
        let named = "ID alice:01J9ZQ7VX8Y4K2M3N5P6R7S8T9 (serial 4711) CA ED25519";
        assert!(
            log.contains(&format!("Accepted publickey for {} from 127.0.0.1", sshd.login)),
            "{log}"
        );
        assert!(log.contains(named), "{log}");
    }
}

#[test]
fn sshd_refuses_the_session_certificate_from_elsewhere_and_for_another_login() {
    let (openssh, hosts) = (authority(), authority());
    let host_key = SigningKey::generate_ed25519();
    let sshd = Sshd::new(&openssh, &host_key, None);
    let key = SigningKey::generate_ed25519();
    let pinned = || HostKeyPolicy::Pinned(vec![host_key.public_key().blob().to_vec()]);
    for credential in [
        upstream(&openssh, &key, &sshd.login, "192.0.2.7"),
        upstream(&openssh, &key, "somebody-else", "127.0.0.1"),
        upstream(&hosts, &key, &sshd.login, "127.0.0.1"),
        Credential::plain(key.clone()),
    ] {
        let (verdict, log) = sshd.sign_in(credential, pinned());
        let Ok(ClientStep::Failed(failure)) = verdict else {
            panic!("{verdict:?}: {log}")
        };
        assert_eq!(failure.methods_left, "publickey");
    }
    let (verdict, log) = sshd.sign_in(upstream(&openssh, &key, &sshd.login, "127.0.0.1"), pinned());
    assert_eq!(verdict, Ok(ClientStep::Success), "{log}");
}

#[test]
fn an_sshd_without_the_certificate_or_with_the_wrong_one_is_not_signed_in_to() {
    let (openssh, hosts) = (authority(), authority());
    let host_key = SigningKey::generate_ed25519();
    let key = SigningKey::generate_ed25519();
    let plain = Sshd::new(&openssh, &host_key, None);
    let certified = Sshd::new(&openssh, &host_key, Some(&host_certificate(&hosts, &host_key)));
    let refusal = |sshd: &Sshd, policy| {
        let (verdict, log) = sshd.sign_in(upstream(&openssh, &key, &sshd.login, "127.0.0.1"), policy);
        assert!(!log.contains("Accepted"), "{log}");
        verdict.unwrap_err()
    };
    assert_eq!(refusal(&plain, certified_by(&hosts, "127.0.0.1")), PLAIN_HOST_KEY);
    let name = refusal(&certified, certified_by(&hosts, "web1"));
    assert!(
        name.ends_with("certificate is for 127.0.0.1 while expecting \"web1\""),
        "{name}"
    );
    let authority = refusal(&certified, certified_by(&openssh, "127.0.0.1"));
    assert!(authority.ends_with("is not trusted"), "{authority}");
    let pinned = HostKeyPolicy::Pinned(vec![key.public_key().blob().to_vec()]);
    assert!(refusal(&plain, pinned).contains("not pinned"));
}
