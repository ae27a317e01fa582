use std::sync::atomic::{AtomicU32, Ordering};

use weir_api::audit::Kind as _;
use weir_api::dataplane::User;
use weir_ca::{Authority, KeySigner, UserTerms};
use weir_crypto::random::SystemRandom;
use weir_ssh::certificate::Certificate;
use weir_ssh::key::SigningKey;
use weir_ssh::wire::{Writer, msg};
use weir_store::{EventFilter, Expect, Kind};

use super::*;
use crate::clock::now_seconds;
use crate::control::{Control, ControlConfig};
use crate::directory::{Directory, put_node, put_role, put_user, remove};

const CLIENT: &str = "192.0.2.7";

/// A control plane with two users and two nodes.
struct World {
    control: Control,
    directory: tempfile::TempDir,
    now: u64,
}

/// Somebody with a key and a certificate.
struct Person {
    key: SigningKey,
    certificate: Certificate,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let world = World {
            control: open(&directory),
            directory,
            now: now_seconds(),
        };
        let user = |name: &str, logins: &[&str]| {
            let logins = logins.iter().map(|login| (*login).to_owned()).collect();
            put_user(
                &User {
                    name: name.to_owned(),
                    logins,
                    roles: vec!["access".to_owned()],
                    ..User::default()
                },
                Expect::Absent,
            )
        };
        let node = |name: &str| {
            let address = format!("{name}:22");
            put_node(
                &Node {
                    id: format!("id-{name}"),
                    name: name.to_owned(),
                    address,
                    ..Node::default()
                },
                &[],
                Expect::Absent,
            )
        };
        world.change(vec![
            user("alice", &["root", "ubuntu"]),
            user("bob", &["ubuntu"]),
            node("web1"),
            node("web2"),
        ]);
        world
    }

    fn change(&self, changes: Vec<weir_store::Change>) {
        let state = Arc::clone(&self.control.shared.state);
        self.control
            .run(async move { state.change(|_: &Directory| Ok::<_, ()>(changes)).await.map(drop) })
            .unwrap();
    }

    fn person(&self, name: &str, logins: &[&str]) -> Person {
        let key = SigningKey::generate_ed25519();
        let logins: Vec<_> = logins.iter().map(|login| (*login).to_owned()).collect();
        let hour = Duration::from_secs(3600);
        let certificate = self
            .control
            .shared
            .authorities
            .user(key.public_key(), name, &logins, hour, self.now)
            .unwrap();
        Person { key, certificate }
    }

    fn issue(&self, request: &UpstreamCertificateRequest) -> Result<UpstreamCertificate, ControlError> {
        self.control.shared.issuer.upstream(request, self.now)
    }

    fn refusal(&self, request: &UpstreamCertificateRequest) -> String {
        match self.issue(request) {
            Err(ControlError::Denied(text)) => text,
            other => panic!("got {other:?} while expecting a denial"),
        }
    }

    /// Those that were made toward targets.
    fn certificates(&self) -> Vec<AuditEvent> {
        let made = self.events(CertCreate::KIND);
        made.into_iter()
            .filter(|event| event.detail.contains("\"type\":\"upstream\""))
            .collect()
    }

    fn events(&self, kind: &str) -> Vec<AuditEvent> {
        let shared = Arc::clone(&self.control.shared);
        let filter = EventFilter {
            kind: kind.to_owned(),
            limit: 1000,
            ..EventFilter::default()
        };
        self.control.run(async move {
            shared.journal.flush().await;
            let events = shared.state.store().events(&filter).await.unwrap();
            events.into_iter().map(|(_, event)| event).collect()
        })
    }

    fn restarted(self) -> World {
        let World {
            control,
            directory,
            now,
        } = self;
        control.shutdown();
        World {
            control: open(&directory),
            directory,
            now,
        }
    }
}

fn open(directory: &tempfile::TempDir) -> Control {
    let data_dir = directory.path().join("data");
    Control::open(ControlConfig {
        data_dir,
        ..ControlConfig::default()
    })
    .unwrap()
}

/// What the client of `person` signs to sign in as `user_name`, over a session that nobody else has.
fn signed_data(person: &Person, user_name: &str) -> Vec<u8> {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let mut data = Vec::new();
    data.put_string(format!(
        "session identifier {:032}",
        SESSIONS.fetch_add(1, Ordering::Relaxed)
    ));
    data.put_u8(msg::USERAUTH_REQUEST);
    data.put_string(user_name);
    data.put_string("ssh-connection");
    data.put_string("publickey");
    data.put_bool(true);
    data.put_string("ssh-ed25519-cert-v01@openssh.com");
    data.put_string(person.certificate.blob());
    data
}

fn request(person: &Person, user_name: &str, login: &str, node: &str) -> UpstreamCertificateRequest {
    let signed_data = signed_data(person, user_name);
    UpstreamCertificateRequest {
        session: Ulid::generate().to_string(),
        login: login.to_owned(),
        node_id: format!("id-{node}"),
        user_certificate: person.certificate.blob().to_vec(),
        signature: person.key.sign_with_best(&signed_data),
        signed_data,
        public_key: SigningKey::generate_ed25519().public_key().blob().to_vec(),
        client_address: CLIENT.to_owned(),
        source_addresses: vec!["203.0.113.9".to_owned()],
        valid_seconds: 0,
    }
}

#[test]
fn a_proof_gets_a_certificate_for_its_login_its_session_and_a_minute() {
    let world = World::new();
    let alice = world.person("alice", &["root", "ubuntu"]);
    let request = request(&alice, "root@WEB1", "root", "web1");
    let issued = world.issue(&request).unwrap();

    let certificate = Certificate::parse(&issued.certificate).unwrap();
    assert_eq!(certificate.key().blob(), request.public_key);
    assert_eq!(certificate.key_id(), format!("alice:{}", request.session));
    assert_eq!(
        (issued.key_id.as_str(), issued.serial),
        (certificate.key_id(), certificate.serial())
    );
    assert_eq!(certificate.principals(), ["root"]);
    assert_eq!(certificate.valid_before(), world.now + 60);
    let openssh_ca = certificate.authority().blob().to_vec();
    let from = |address: &str| {
        certificate
            .clone()
            .check_user("root", world.now, address.parse().unwrap(), |key| {
                key == openssh_ca
            })
    };
    assert!(from("203.0.113.9").unwrap().permits_pty());
    from("203.0.113.10").unwrap_err();
    let snapshot = world.control.data_plane().snapshot();
    assert!(
        !snapshot.user_ca_keys.contains(&openssh_ca),
        "the OpenSSH CA must not open the proxy"
    );
    assert!(!snapshot.host_ca_keys.contains(&openssh_ca));

    let events = world.certificates();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        (&*event.user, &*event.login, &*event.node),
        ("alice", "root", "web1")
    );
    assert_eq!(event.session, request.session);
    assert!(
        event
            .detail
            .contains(&format!("\"serial\":\"{}\"", issued.serial)),
        "{}",
        event.detail
    );
    assert!(
        event.detail.contains("\"rule\":\"role access: allow\""),
        "{}",
        event.detail
    );
}

#[test]
fn a_certificate_lives_as_long_as_is_asked_but_no_longer_than_a_quarter_of_an_hour() {
    let mut world = World::new();
    let alice = world.person("alice", &["root"]);
    let end = alice.certificate.valid_before();
    let lives = |world: &World, valid_seconds| {
        let request = UpstreamCertificateRequest {
            valid_seconds,
            ..request(&alice, "root@web1", "root", "web1")
        };
        let issued = world.issue(&request).unwrap();
        Certificate::parse(&issued.certificate).unwrap().valid_before() - world.now
    };
    for (asked, given) in [(0, 60), (5, 5), (90, 90), (900, 900), (901, 900), (u32::MAX, 900)] {
        assert_eq!(lives(&world, asked), given, "{asked}");
    }
    // Beyond the default minute the user's own certificate is the limit.
    world.now = end - 120;
    assert_eq!((lives(&world, 90), lives(&world, 900)), (90, 120));
    world.now = end - 10;
    assert_eq!((lives(&world, 0), lives(&world, 900)), (60, 60));
}

#[test]
fn a_replayed_proof_is_refused_also_for_another_session_and_after_a_restart() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let first = request(&alice, "root@web1", "root", "web1");
    world.issue(&first).unwrap();
    let again = UpstreamCertificateRequest {
        session: Ulid::generate().to_string(),
        signature: alice.key.sign_with_best(&first.signed_data),
        ..first.clone()
    };
    assert_eq!(world.refusal(&first), "sign-in proof has been used before");
    assert_eq!(world.refusal(&again), "sign-in proof has been used before");

    let world = world.restarted();
    assert_eq!(world.refusal(&again), "sign-in proof has been used before");
    world
        .issue(&request(&alice, "root@web1", "root", "web1"))
        .unwrap();
    assert_eq!(world.events(CertRefused::KIND).len(), 3);
}

#[test]
fn a_proof_is_refused_also_after_a_kill_before_its_audit_event_was_written() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let first = request(&alice, "root@web1", "root", "web1");
    let past = UpstreamCertificateRequest {
        session: Ulid::generate().to_string(),
        ..first.clone()
    };
    let World {
        control,
        directory,
        now,
    } = world;
    control.shutdown();
    // What the disk has when a kill comes right after the certificate: all as before, and the proof.
    let killed = tempfile::tempdir().unwrap();
    let (live_dir, killed_dir) = (directory.path().join("data"), killed.path().join("data"));
    std::fs::create_dir(&killed_dir).unwrap();
    std::fs::create_dir(killed_dir.join("audit")).unwrap();
    for name in ["weir.db", "control.key", "audit/audit.jsonl"] {
        std::fs::copy(live_dir.join(name), killed_dir.join(name)).unwrap();
    }
    // Whether the last connection was closed in time to fold the write-ahead log in is SQLite's affair.
    let unfolded = live_dir.join("weir.db-wal");
    if unfolded.exists() {
        std::fs::copy(unfolded, killed_dir.join("weir.db-wal")).unwrap();
    }
    let live = World {
        control: open(&directory),
        directory,
        now,
    };
    live.issue(&first).unwrap();
    for name in ["proofs.0", "proofs.1"] {
        std::fs::copy(live_dir.join(name), killed_dir.join(name)).unwrap();
    }

    let control = open(&killed);
    let world = World {
        control,
        directory: killed,
        now,
    };
    assert_eq!(world.refusal(&past), "sign-in proof has been used before");
    let events = world.certificates();
    assert_eq!(events.len(), 1);
    assert!(events[0].detail.contains("was killed"), "{}", events[0].detail);
    // From now on the audit log knows.
    let world = world.restarted();
    assert_eq!(world.refusal(&past), "sign-in proof has been used before");
    assert_eq!(world.certificates().len(), 1);
}

/// What was issued while longer certificates were allowed is remembered for as long as those live.
#[test]
fn a_replayed_proof_is_refused_after_a_restart_with_shorter_certificates() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let first = request(&alice, "root@web1", "root", "web1");
    let past = UpstreamCertificateRequest {
        session: Ulid::generate().to_string(),
        ..first.clone()
    };
    world.issue(&first).unwrap();
    let World {
        control,
        directory,
        now,
    } = world;
    control.shutdown();
    let control = Control::open(ControlConfig {
        data_dir: directory.path().join("data"),
        max_user_ttl_seconds: Some(0),
        ..ControlConfig::default()
    })
    .unwrap();
    let world = World {
        control,
        directory,
        now,
    };
    assert_eq!(world.refusal(&past), "sign-in proof has been used before");
}

#[test]
fn of_many_requests_at_once_with_one_proof_one_succeeds() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let request = request(&alice, "root@web1", "root", "web1");
    let issued: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| usize::from(world.issue(&request).is_ok())))
            .collect();
        tries.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(issued, 1);
}

#[test]
fn a_forged_proof_is_refused() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let mallory = SigningKey::generate_ed25519();

    let mut forged = request(&alice, "root@web1", "root", "web1");
    forged.signature = mallory.sign_with_best(&forged.signed_data);
    assert!(
        world.refusal(&forged).starts_with("sign-in proof: "),
        "{}",
        world.refusal(&forged)
    );

    let good = request(&alice, "root@web1", "root", "web1");
    for at in 0..good.signed_data.len() {
        let mut altered = good.clone();
        altered.signed_data[at] ^= 1;
        world.refusal(&altered);
    }
    for at in 0..good.signature.len() {
        let mut altered = good.clone();
        altered.signature[at] ^= 1;
        world.refusal(&altered);
    }
    for at in 0..good.user_certificate.len() {
        let mut altered = good.clone();
        altered.user_certificate[at] ^= 1;
        world.refusal(&altered);
    }
    // None of those used it up.
    world.issue(&good).unwrap();
}

#[test]
fn a_certificate_of_another_authority_is_refused_also_when_it_is_one_of_our_own() {
    let world = World::new();
    let key = SigningKey::generate_ed25519();
    let logins = ["root".to_owned()];
    let terms = UserTerms {
        key: key.public_key(),
        user: "alice",
        logins: &logins,
        permissions: &[],
        source_addresses: &[],
        validity: Duration::from_secs(3600),
    };
    let foreign = Authority::new(KeySigner::generate());
    let certificate = foreign
        .issue_user(&terms, 1, world.now, &mut SystemRandom)
        .unwrap();
    let mallory = Person { key, certificate };
    let refusal = world.refusal(&request(&mallory, "root@web1", "root", "web1"));
    assert!(refusal.contains("is not trusted"), "{refusal}");

    // What the OpenSSH CA signs opens targets, not the proxy.
    let key = SigningKey::generate_ed25519();
    let alice = world.person("alice", &["root"]);
    let mut first = request(&alice, "root@web1", "root", "web1");
    first.public_key = key.public_key().blob().to_vec();
    first.source_addresses = vec!["0.0.0.0/0".to_owned()];
    let certificate = Certificate::parse(&world.issue(&first).unwrap().certificate).unwrap();
    let upstream = Person { key, certificate };
    let refusal = world.refusal(&request(&upstream, "root@web1", "root", "web1"));
    assert!(refusal.contains("is not trusted"), "{refusal}");
}

#[test]
fn a_proof_outside_of_its_certificates_time_is_refused() {
    let mut world = World::new();
    let alice = world.person("alice", &["root"]);
    let now = world.now;
    world.now = alice.certificate.valid_before();
    let refusal = world.refusal(&request(&alice, "root@web1", "root", "web1"));
    assert!(refusal.contains("certificate expired at"), "{refusal}");
    world.now = alice.certificate.valid_after() - 1;
    let refusal = world.refusal(&request(&alice, "root@web1", "root", "web1"));
    assert!(refusal.contains("certificate is not valid before"), "{refusal}");
    world.now = now;
    world
        .issue(&request(&alice, "root@web1", "root", "web1"))
        .unwrap();
}

#[test]
fn another_users_proof_or_certificate_is_refused() {
    let world = World::new();
    let (alice, bob) = (
        world.person("alice", &["root", "ubuntu"]),
        world.person("bob", &["ubuntu"]),
    );
    let of_alice = request(&alice, "ubuntu@web1", "ubuntu", "web1");
    let of_bob = request(&bob, "ubuntu@web1", "ubuntu", "web1");

    let swapped = UpstreamCertificateRequest {
        user_certificate: of_bob.user_certificate.clone(),
        ..of_alice.clone()
    };
    let refusal = world.refusal(&swapped);
    assert!(refusal.contains("made with another certificate"), "{refusal}");
    let mixed = UpstreamCertificateRequest {
        signature: of_bob.signature.clone(),
        ..of_alice.clone()
    };
    world.refusal(&mixed);
    world.issue(&of_alice).unwrap();
    world.issue(&of_bob).unwrap();
}

#[test]
fn another_login_than_the_one_signed_for_is_refused() {
    let world = World::new();
    let alice = world.person("alice", &["root", "ubuntu"]);
    let refusal = world.refusal(&request(&alice, "ubuntu@web1", "root", "web1"));
    assert!(
        refusal.contains("is for the login \"ubuntu\" while the request is for \"root\""),
        "{refusal}"
    );

    // Neither in the certificate, nor among the user's logins.
    let narrow = world.person("alice", &["ubuntu"]);
    let refusal = world.refusal(&request(&narrow, "root@web1", "root", "web1"));
    assert!(refusal.contains("certificate is for ubuntu"), "{refusal}");
    let wide = world.person("bob", &["root"]);
    let refusal = world.refusal(&request(&wide, "root@web1", "root", "web1"));
    assert_eq!(refusal, "user bob@weir is not authorized to login as root@web1");
}

#[test]
fn another_node_than_the_one_signed_for_is_refused() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let refusal = world.refusal(&request(&alice, "root@web1", "root", "web2"));
    assert!(
        refusal.contains("is for the target \"web1\" while the request is for another node"),
        "{refusal}"
    );
    let refusal = world.refusal(&request(&alice, "root@web9", "root", "web9"));
    assert_eq!(refusal, "target host web9 is offline or does not exist");
    let refusal = world.refusal(&request(&alice, "root", "root", "web1"));
    assert!(refusal.contains("who asked for no such login"), "{refusal}");
}

#[test]
fn policy_decides_at_the_time_of_the_request() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let denied = "user alice@weir is not authorized to login as root@web1";
    world
        .issue(&request(&alice, "root@web1", "root", "web1"))
        .unwrap();

    let no_root = format!("{}\n[deny]\nlogins = \"root\"\n", weir_policy::ACCESS_ROLE);
    world.change(vec![put_role("access", &no_root, Expect::Present)]);
    assert_eq!(
        world.refusal(&request(&alice, "root@web1", "root", "web1")),
        denied
    );

    world.change(vec![put_role(
        "access",
        weir_policy::ACCESS_ROLE,
        Expect::Present,
    )]);
    world
        .issue(&request(&alice, "root@web1", "root", "web1"))
        .unwrap();
    world.change(vec![remove(Kind::User, "alice")]);
    assert_eq!(
        world.refusal(&request(&alice, "root@web1", "root", "web1")),
        denied
    );
}

#[test]
fn a_request_that_is_not_one_is_refused_with_what_was_expected() {
    let world = World::new();
    let alice = world.person("alice", &["root"]);
    let good = request(&alice, "root@web1", "root", "web1");
    let with = |change: &dyn Fn(&mut UpstreamCertificateRequest)| {
        let mut altered = good.clone();
        change(&mut altered);
        world.refusal(&altered)
    };
    assert!(with(&|request| request.session = "a b".to_owned()).contains("expecting a ULID"));
    assert!(with(&|request| request.client_address = "x".to_owned()).contains("expecting an IP address"));
    assert!(with(&|request| request.source_addresses.clear()).contains("got 0 source addresses"));
    assert!(
        with(&|request| request.source_addresses[0] = "10.0.0.1/8".to_owned()).contains("source address")
    );
    assert!(with(&|request| request.public_key.truncate(9)).contains("key to be certified"));
    assert!(with(&|request| request.signed_data.clear()).contains("sign-in proof"));
    world.issue(&good).unwrap();
}

#[test]
fn a_data_plane_gets_host_certificates_for_its_names_and_for_none_of_a_node() {
    let world = World::new();
    let at = |name: &str, address: &str| {
        let node = Node {
            id: format!("id-{name}"),
            name: name.to_owned(),
            address: address.to_owned(),
            ..Node::default()
        };
        put_node(&node, &[], Expect::Absent)
    };
    world.change(vec![
        at("db1", "10.0.0.7:22"),
        at("db2", "[2001:db8::7]:22"),
        at("own", "127.0.0.1:22"),
    ]);
    let key = SigningKey::generate_ed25519();
    let names = |names: &[&str]| HostCertificateRequest {
        public_key: key.public_key().blob().to_vec(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let issued = world
        .control
        .shared
        .issuer
        .host(&names(&["proxy", "127.0.0.1"]), world.now)
        .unwrap();
    let certificate = Certificate::parse(&issued.certificate).unwrap();
    let snapshot = world.control.data_plane().snapshot();
    certificate
        .check_host("PROXY", world.now, |key| {
            snapshot.host_ca_keys.iter().any(|ca| ca == key)
        })
        .unwrap();
    let issued = world
        .control
        .shared
        .issuer
        .host(
            &names(&["proxy", "WEB1", "web2.", "localhost", "10.0.0.7", "2001:db8::0:7"]),
            world.now,
        )
        .unwrap();
    let certificate = Certificate::parse(&issued.certificate).unwrap();
    assert_eq!(certificate.principals(), ["proxy", "localhost"]);
    for wrong in [&[][..], &["a b"], &["*"], &["Web1"], &["web2", "::ffff:10.0.0.7"]] {
        world
            .control
            .shared
            .issuer
            .host(&names(wrong), world.now)
            .unwrap_err();
    }
}
