//! Where there is no way to the target, the user is told why in words, and soon.
//!
//! OpenSSH's client prints the reason of a refused channel as `open failed: …: REASON` and exits with 255.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use weir_tests::world::{free_port, make_key};
use weir_tests::{Outcome, World};

/// Long for a refusal, short for a user who waits for one.
const SOON: Duration = Duration::from_secs(5);

const NOT_CERTIFIED: &str =
    "ssh: handshake failed: remote host presented a public key, expected a host certificate";

#[test]
fn an_unknown_target_is_named() {
    let world = World::start();
    let seen = refused(&world, "no-such-host", SOON);
    assert!(
        seen.err()
            .contains("target host no-such-host is offline or does not exist"),
        "{seen}"
    );
}

#[test]
fn a_name_without_a_target_says_how_to_give_one() {
    let world = World::start();
    let seen = world
        .ssh()
        .args(["-l", world.login(), "target", "true"])
        .run()
        .ended_with(255);
    assert!(seen.took < SOON, "{seen}");
    assert!(
        seen.err().contains("open failed") && seen.err().contains('@'),
        "{seen}"
    );
}

#[test]
fn a_refused_connection_is_said_so() {
    let world = World::start();
    let port = free_port();
    world.register("down", port);
    let seen = refused(&world, "down", SOON);
    assert!(
        seen.err().contains("refused") && seen.err().contains(&format!("127.0.0.1:{port}")),
        "{seen}"
    );
}

#[test]
fn a_target_that_does_not_answer_is_given_up() {
    let world = World::builder().config("connect_timeout = \"2s\"").start();
    let silent = Unanswering::new();
    world.register("silent", silent.port);
    let seen = refused(&world, "silent", Duration::from_secs(8));
    assert!(seen.err().contains("no answer within 2 s"), "{seen}");
}

#[test]
fn a_target_that_accepts_and_stays_silent_is_given_up() {
    let world = World::builder().config("handshake_timeout = \"2s\"").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    world.register("mute", listener.local_addr().unwrap().port());
    let seen = refused(&world, "mute", Duration::from_secs(8));
    assert!(
        seen.err().contains("did not finish the SSH handshake within 2 s"),
        "{seen}"
    );
}

#[test]
fn a_target_that_is_no_ssh_server_is_said_so() {
    let world = World::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    world.register("web", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let seen = refused(&world, "web", SOON);
    server.join().unwrap();
    assert!(seen.err().contains("HTTP/1.1 400 Bad Request"), "{seen}");
}

/// As sshd up to 8.1 does beyond `MaxStartups`, which passes; so it is tried again until the user's wait is over.
#[test]
fn a_target_that_hangs_up_before_a_word_is_tried_again_and_then_said_so() {
    let world = World::builder().config("[pacing]\nwait_limit = \"2s\"").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    world.register("curt", listener.local_addr().unwrap().port());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let seen = refused(&world, "curt", SOON);
    // Many drops come into these two seconds, or so many that a ban is suspected: chance decides how soon it tries again.
    for words in ["waited 2 s", "was dropped", " in sshd_config"] {
        assert!(seen.err().contains(words), "{seen}");
    }
}

#[test]
fn a_name_that_nobody_knows_is_said_so() {
    let world = World::start();
    world
        .weir()
        .admin(&["nodes", "add", "nameless", "--addr", "nameless.invalid:22"]);
    let seen = refused(&world, "nameless", Duration::from_secs(30));
    assert!(
        seen.err().contains("cannot resolve nameless.invalid:22"),
        "{seen}"
    );
}

/// It asks for no channel that could be refused.
#[test]
fn a_client_without_a_command_is_told_too() {
    let world = World::start();
    world.register("down", free_port());
    let seen = world
        .ssh()
        .args(["-N", "-l", &format!("{}@down", world.login()), "target"])
        .run()
        .ended_with(255);
    assert!(seen.err().contains("refused"), "{seen}");
}

#[test]
fn a_bare_host_key_is_refused_with_the_exact_text() {
    let mut world = World::start();
    let key = world.bare_host_key("bare", "ed25519");
    let port = world.start_sshd("bare", &[key], &[]);
    world.register("bare", port);
    let seen = refused(&world, "bare", SOON);
    assert!(seen.err().contains(NOT_CERTIFIED), "{seen}");
}

#[test]
fn a_certificate_that_does_not_fit_is_refused() {
    let mut world = World::start();

    let key = world.certified_host_key("elsewhere", "elsewhere.example");
    let port = world.start_sshd("other-name", &[key], &[]);
    world.register("other-name", port);
    let seen = refused(&world, "other-name", SOON);
    assert!(
        seen.err()
            .contains("certificate is for elsewhere.example while expecting \"127.0.0.1\""),
        "{seen}"
    );

    let key = self_certified(&world, "wrong-ca", "-V always:forever");
    let port = world.start_sshd("other-ca", &[key], &[]);
    world.register("other-ca", port);
    let seen = refused(&world, "other-ca", SOON);
    assert!(
        seen.err().contains("authority") || seen.err().contains("CA"),
        "{seen}"
    );
}

#[test]
fn checks_switched_off_accept_any_host_key_with_a_warning_at_start() {
    let mut world = World::builder().config("proxy_checks_host_keys = false").start();
    world.weir().expect_log(&["WARN", "proxy_checks_host_keys"]);
    let key = world.bare_host_key("bare", "ed25519");
    let port = world.start_sshd("bare", &[key], &[]);
    world.register("bare", port);
    assert_eq!(
        world.exec_on(world.login(), "bare", "echo in").succeed().out(),
        "in\n"
    );
}

#[test]
fn a_pinned_key_is_accepted_and_any_other_refused() {
    let mut world = World::start();
    let key = world.bare_host_key("pinned", "ed25519");
    make_key(&world.path("another"), "ed25519");
    let port = world.start_sshd("pinned", &[key], &[]);
    let address = format!("127.0.0.1:{port}");
    for (node, file) in [("right", "pinned.pub"), ("wrong", "another.pub")] {
        let pin = world.path_text(file);
        world
            .weir()
            .admin(&["nodes", "add", node, "--addr", &address, "--host-key", &pin]);
    }
    assert_eq!(
        world.exec_on(world.login(), "right", "echo in").succeed().out(),
        "in\n"
    );
    let seen = refused(&world, "wrong", SOON);
    assert!(seen.err().contains("which is not pinned for it"), "{seen}");
}

#[test]
fn a_login_that_policy_does_not_allow_is_refused() {
    let world = World::start();
    world.put_role("name = \"elsewhere\"\n[allow]\nlogins = \"*\"\nnode_labels = { env = \"prod\" }\n");
    make_key(&world.path("bob"), "ed25519");
    world.weir().admin(&[
        "users",
        "add",
        "bob",
        "--logins",
        world.login(),
        "--roles",
        "elsewhere",
    ]);
    world.sign("bob", "bob");
    let seen = as_user(&world, "bob", world.login()).run().ended_with(255);
    let login = world.login();
    assert!(
        seen.err()
            .contains(&format!("is not authorized to login as {login}@web1")),
        "{seen}"
    );
    assert!(seen.took < SOON, "{seen}");
}

#[test]
fn a_login_that_sshd_refuses_is_said_so() {
    let world = World::start();
    make_key(&world.path("carol"), "ed25519");
    world.weir().admin(&[
        "users",
        "add",
        "carol",
        "--logins",
        "nobody-of-this-name",
        "--roles",
        "access",
    ]);
    world.sign("carol", "carol");
    let seen = as_user(&world, "carol", "nobody-of-this-name")
        .run()
        .ended_with(255);
    assert!(
        seen.err().contains("does not let nobody-of-this-name in"),
        "{seen}"
    );
    assert!(seen.took < SOON, "{seen}");
}

#[test]
fn no_refusal_leaves_anything_behind() {
    let world = World::start();
    world.register("down", free_port());
    refused(&world, "down", SOON);
    let open = world.weir().open_files();
    for _ in 0..10 {
        refused(&world, "down", SOON);
    }
    weir_tests::eventually("no descriptor is left", || {
        (world.weir().open_files() <= open).then_some(())
    });
    assert!(world.weir().sessions().iter().all(|session| session.has_ended()));
}

fn refused(world: &World, node: &str, within: Duration) -> Outcome {
    let seen = world
        .exec_on(world.login(), node, "echo never")
        .run()
        .ended_with(255);
    assert!(
        seen.stdout.is_empty() && seen.err().contains("open failed"),
        "{seen}"
    );
    assert!(seen.took < within, "{seen}");
    seen
}

fn as_user(world: &World, user: &str, login: &str) -> weir_tests::Job {
    let certificate = format!("CertificateFile={}", world.path_text(&format!("{user}-cert.pub")));
    let job = world
        .job("ssh")
        .args(["-i", &world.path_text(user)])
        .option(&certificate);
    // The configuration's own key is left out, so that the other user's is the only one.
    job.option(&format!("UserKnownHostsFile={}", world.path_text("known_hosts")))
        .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
        .args(["-p", &world.weir().address().port().to_string()])
        .args(["-l", &format!("{login}@web1"), "127.0.0.1", "echo never"])
}

/// A host key certified by an authority that nobody knows.
fn self_certified(world: &World, file: &str, options: &str) -> weir_tests::sshd::HostKey {
    let mut key = world.bare_host_key(file, "ed25519");
    world
        .bash(&format!(
            "ssh-keygen -q -t ed25519 -N '' -f unknown-ca
             ssh-keygen -q -s unknown-ca -I host -h -n 127.0.0.1 {options} {file}.pub"
        ))
        .succeed();
    key.certificate = Some(world.path(format!("{file}-cert.pub")));
    key
}

/// A port whose SYNs are dropped: a listener that accepts nobody, with its queue full.
struct Unanswering {
    port: u16,
    _listener: OwnedFd,
    _waiting: Vec<TcpStream>,
}

impl Unanswering {
    fn new() -> Self {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the kernel's queue has no end");
        }
        Self {
            port,
            _listener: listener,
            _waiting: waiting,
        }
    }
}
