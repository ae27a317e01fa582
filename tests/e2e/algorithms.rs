//! Each algorithm forced in turn: by the client toward Weir, and by the target's `sshd`.
//!
//! What an older OpenSSH does not know (`ssh -Q`) is forced with russh, on both sides as well.

use weir_tests::foreign;
use weir_tests::sshd::HostKey;
use weir_tests::world::make_key;
use weir_tests::{Outcome, World};

const CIPHERS: &[&str] = &[
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];
const MACS: &[&str] = &[
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
];
const KEX: &[&str] = &[
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
];
/// Of these names, those that not every OpenSSH knows: they are forced with russh, whatever is installed.
const WITH_RUSSH: &[&str] = &["mlkem768x25519-sha256"];
/// A key type of `ssh-keygen`, and the algorithms under which such a key signs.
const KEY_TYPES: &[(&str, &[&str])] = &[
    ("ed25519", &["ssh-ed25519"]),
    ("ecdsa-256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-521", &["ecdsa-sha2-nistp521"]),
    ("rsa-3072", &["rsa-sha2-512", "rsa-sha2-256"]),
];

#[test]
fn each_cipher_on_the_client() {
    let world = World::start();
    for cipher in known("cipher", CIPHERS) {
        let seen = round_trip(&world, &[&format!("Ciphers={cipher}")]);
        assert_says(&seen, &format!("kex: server->client cipher: {cipher}"));
        assert_says(&seen, &format!("kex: client->server cipher: {cipher}"));
    }
}

#[test]
fn each_mac_on_the_client() {
    let world = World::start();
    for mac in known("mac", MACS) {
        let seen = round_trip(&world, &["Ciphers=aes128-ctr", &format!("MACs={mac}")]);
        assert_says(
            &seen,
            &format!("kex: server->client cipher: aes128-ctr MAC: {mac}"),
        );
    }
}

#[test]
fn each_key_exchange_on_the_client() {
    let world = World::start();
    for kex in known("kex", KEX) {
        // Twice: the first exchange, and those by which keys are renewed.
        let seen = round_trip(&world, &[&format!("KexAlgorithms={kex}"), "RekeyLimit=256K"]);
        assert_says(&seen, &format!("kex: algorithm: {kex}"));
    }
}

#[test]
fn each_key_exchange_that_openssh_may_not_know_on_the_client() {
    let world = World::start();
    let sent = a_megabyte();
    for kex in WITH_RUSSH {
        let seen = foreign::round_trip(&world, kex, &sent);
        assert!(
            seen.echoed == sent,
            "{} bytes came back by {kex}",
            seen.echoed.len()
        );
        // The first exchange, and those by which keys are renewed.
        let exchanges = seen.exchanges;
        assert!(
            exchanges.len() > 2 && exchanges.iter().all(|used| used == kex),
            "{exchanges:?}"
        );
    }
}

/// Weir shows a host key of each type, as a certificate of the host CA and bare.
#[test]
fn each_host_key_type_on_the_client() {
    let keys: Vec<_> = KEY_TYPES.iter().skip(1).map(|(kind, _)| *kind).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for kind in keys {
        let path = dir.path().join(kind);
        make_key(&path, kind);
        files.push(format!("{path:?}"));
    }
    let world = World::builder()
        .config(&format!("host_keys = [{}]", files.join(", ")))
        .start();
    for algorithm in KEY_TYPES.iter().flat_map(|(_, algorithms)| *algorithms) {
        let certified = format!("{algorithm}-cert-v01@openssh.com");
        let seen = round_trip(&world, &[&format!("HostKeyAlgorithms={certified}")]);
        assert_says(&seen, &format!("kex: host key algorithm: {certified}"));

        // Nothing is known of the bare key beforehand.
        let bare = [
            &format!("HostKeyAlgorithms={algorithm}"),
            "StrictHostKeyChecking=accept-new",
            &format!(
                "UserKnownHostsFile={}",
                world.path_text(&format!("known_{algorithm}"))
            ),
        ];
        let seen = round_trip(&world, &bare);
        assert_says(&seen, &format!("kex: host key algorithm: {algorithm}"));
    }
}

/// A user's key of each type, certified by Weir.
#[test]
fn each_user_key_type_on_the_client() {
    let world = World::start();
    for (kind, algorithms) in KEY_TYPES {
        let file = format!("user-{kind}");
        make_key(&world.path(&file), kind);
        world.sign("alice", &file);
        for algorithm in *algorithms {
            let certified = format!("{algorithm}-cert-v01@openssh.com");
            let (key, certificate) = (
                world.path_text(&file),
                world.path_text(&format!("{file}-cert.pub")),
            );
            let seen = world
                .job("ssh")
                .args([
                    "-v",
                    "-F",
                    "none",
                    "-i",
                    &key,
                    "-o",
                    &format!("CertificateFile={certificate}"),
                ])
                .args([
                    "-o",
                    &format!("PubkeyAcceptedAlgorithms={certified},{algorithm}"),
                    "-o",
                    "BatchMode=yes",
                ])
                .args([
                    "-o",
                    "IdentitiesOnly=yes",
                    "-o",
                    &format!("UserKnownHostsFile={}", world.path_text("known_hosts")),
                ])
                .args(["-p", &world.weir().address().port().to_string()])
                .args([&format!("{}@web1@127.0.0.1", world.login()), "echo in"])
                .succeed();
            assert_eq!(seen.out(), "in\n", "{algorithm}: {seen}");
        }
    }
}

/// An OpenSSH client before 10 asks for ChaCha20 first, which costs ten times AES-GCM here.
#[test]
fn a_client_that_leaves_it_open_is_steered_to_aes_gcm() {
    let world = World::start();
    let seen = round_trip(&world, &[]);
    assert_says(&seen, "kex: server->client cipher: aes128-gcm@openssh.com");
    assert_says(&seen, "kex: client->server cipher: aes128-gcm@openssh.com");
}

#[test]
fn each_cipher_and_mac_on_the_target() {
    let mut world = World::start();
    let key = shared_host_key(&world);
    for cipher in known("cipher", CIPHERS) {
        target_with(&mut world, &key, cipher, &[format!("Ciphers {cipher}")]);
    }
    for mac in known("mac", MACS) {
        target_with(
            &mut world,
            &key,
            mac,
            &["Ciphers aes256-ctr".to_owned(), format!("MACs {mac}")],
        );
    }
}

#[test]
fn each_key_exchange_on_the_target() {
    let mut world = World::start();
    let key = shared_host_key(&world);
    for kex in known("kex", KEX) {
        target_with(
            &mut world,
            &key,
            kex,
            &[format!("KexAlgorithms {kex}"), "RekeyLimit 256K".to_owned()],
        );
    }
}

#[test]
fn each_key_exchange_that_openssh_may_not_know_on_the_target() {
    let world = World::start();
    let key = shared_host_key(&world);
    for kex in WITH_RUSSH {
        let server = foreign::Server::start(&world, kex, &key);
        world.register(kex, server.port());
        assert_echoes(&world, kex);
    }
}

/// The target shows a host key of each type: certified, and bare with the key pinned.
#[test]
fn each_host_key_type_on_the_target() {
    let mut world = World::start();
    for (kind, algorithms) in KEY_TYPES {
        let bare = world.bare_host_key(&format!("host-{kind}"), kind);
        let public = world.path_text(&format!("host-{kind}.pub"));
        let out = world.path_text(&format!("host-{kind}"));
        world.weir().admin(&[
            "ca",
            "sign-host",
            "--hosts",
            "127.0.0.1",
            "--public-key",
            &public,
            "--out",
            &out,
        ]);
        let certified = HostKey {
            certificate: Some(world.path(format!("host-{kind}-cert.pub"))),
            ..bare.clone()
        };
        for algorithm in *algorithms {
            let only = format!("HostKeyAlgorithms {algorithm}-cert-v01@openssh.com");
            target_with(&mut world, &certified, &format!("certified-{algorithm}"), &[only]);

            let name = format!("pinned-{algorithm}");
            let port = world.start_sshd(
                &name,
                std::slice::from_ref(&bare),
                &[format!("HostKeyAlgorithms {algorithm}")],
            );
            let address = format!("127.0.0.1:{port}");
            world
                .weir()
                .admin(&["nodes", "add", &name, "--addr", &address, "--host-key", &public]);
            assert_echoes(&world, &name);
        }
    }
}

/// A session over one connection with these client options: a megabyte goes there and comes back.
fn round_trip(world: &World, options: &[&str]) -> Outcome {
    let sent = a_megabyte();
    let job = options
        .iter()
        .fold(world.ssh().arg("-v"), |job, option| job.option(option));
    let seen = job.args(["target", "cat"]).input(sent.clone()).succeed();
    assert!(
        seen.stdout == sent,
        "{} bytes came back with {options:?}",
        seen.stdout.len()
    );
    seen
}

/// Of the client's own log, a line begins with `words`, and they are whole words.
fn assert_says(seen: &Outcome, words: &str) {
    let says = |line: &str| {
        line.trim_start_matches("debug1: ")
            .trim_end()
            .strip_prefix(words.trim_end())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let log: Vec<_> = seen
        .err()
        .lines()
        .filter(|line| line.contains("kex:"))
        .map(str::to_owned)
        .collect();
    assert!(log.iter().any(|line| says(line)), "no line {words:?} in {log:#?}");
}

fn target_with(world: &mut World, key: &HostKey, name: &str, options: &[String]) {
    let name = name.replace('@', ".");
    let port = world.start_sshd(&name, std::slice::from_ref(key), options);
    world.register(&name, port);
    assert_echoes(world, &name);
}

fn assert_echoes(world: &World, node: &str) {
    let sent = a_megabyte();
    let seen = world
        .exec_on(world.login(), node, "cat")
        .input(sent.clone())
        .succeed();
    assert!(
        seen.stdout == sent,
        "{} bytes came back from {node}",
        seen.stdout.len()
    );
}

fn a_megabyte() -> Vec<u8> {
    (0..1_000_003_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

/// One certified host key serves many `sshd`s on one address.
fn shared_host_key(world: &World) -> HostKey {
    world.certified_host_key("shared", "127.0.0.1")
}

/// Of `names`, those that the installed OpenSSH knows. Whatever it does not know is forced with russh.
fn known<'a>(query: &str, names: &'a [&'a str]) -> Vec<&'a str> {
    let listed = weir_tests::Job::new("ssh").args(["-Q", query]).succeed().out();
    let (known, unknown): (Vec<&str>, Vec<&str>) = names
        .iter()
        .partition(|name| listed.lines().any(|line| line == **name));
    let by_nobody: Vec<_> = unknown.iter().filter(|name| !WITH_RUSSH.contains(name)).collect();
    assert!(
        by_nobody.is_empty(),
        "neither this OpenSSH nor russh knows {by_nobody:?}: install OpenSSH 8.5 or newer"
    );
    known
}
