//! Which certificates let a user in, and that each refusal is told to the log and the audit log.

use serde_json::Value;
use weir_ssh::auth::client::{ClientStep, Credential};
use weir_ssh::certificate::Certificate;
use weir_ssh::key::SigningKey;
use weir_tests::peer::Peer;
use weir_tests::{World, authority, eventually};

/// What `ssh-keygen` is to sign, and a word of the reason for which it is refused.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "expired",
        "-n LOGIN -V 20200101:20210101",
        "certificate expired at 2021-01-01",
    ),
    (
        "not yet valid",
        "-n LOGIN -V 20400101:20410101",
        "certificate is not valid before 2040-01-01",
    ),
    (
        "wrong principal",
        "-n somebody-else",
        "certificate is for somebody-else while expecting",
    ),
    ("no principal", "", "certificate names no principals"),
    (
        "wrong source address",
        "-n LOGIN -O source-address=10.0.0.0/8",
        "certificate may not be used from 127.0.0.1",
    ),
    (
        "unknown critical option",
        "-n LOGIN -O critical:no-such-option=x",
        "unknown critical option",
    ),
];

#[test]
fn a_good_certificate_of_the_user_authority_is_accepted() {
    let scene = Scene::new();
    let ca = scene.user_authority();
    for options in [
        "-n LOGIN",
        "-n other,LOGIN -V -1m:+1h",
        "-n LOGIN -O source-address=10.0.0.0/8,127.0.0.0/8",
    ] {
        scene.certify(&ca, options);
        let seen = scene.log_in().succeed();
        assert_eq!(seen.out(), "in\n", "{seen}");
    }
}

#[test]
fn each_flaw_is_refused_by_its_name() {
    let scene = Scene::new();
    let ca = scene.user_authority();
    for (flaw, options, word) in REFUSED {
        scene.certify(&ca, options);
        scene.refused(flaw, word);
    }
}

#[test]
fn a_certificate_by_an_unknown_authority_is_refused() {
    let scene = Scene::new();
    scene
        .world
        .bash("ssh-keygen -q -t ed25519 -N '' -f unknown-ca")
        .succeed();
    scene.certify("unknown-ca", "-n LOGIN");
    scene.refused("unknown authority", "authority");
}

/// Weir's own host CA signs hosts, and no user.
#[test]
fn a_certificate_by_the_host_authority_is_refused() {
    let scene = Scene::new();
    let ca = authority::take(&scene.world, "host");
    scene.certify(ca.to_str().unwrap(), "-n LOGIN");
    scene.refused("host authority", "authority");
}

#[test]
fn a_plain_key_is_refused() {
    let scene = Scene::new();
    scene.world.bash("rm -f mine-cert.pub").succeed();
    scene.refused("plain key", "certificate");
}

#[test]
fn an_altered_certificate_is_refused() {
    let scene = Scene::new();
    scene.certify(&scene.user_authority(), "-n LOGIN");
    let mut blob = scene.certificate().blob().to_vec();
    let at = blob
        .windows(5)
        .position(|window| window == b"alice")
        .expect("the key id");
    blob[at..at + 5].copy_from_slice(b"malfi");
    scene.refused_to_our_client("altered", &Certificate::parse(&blob).unwrap(), "signature");
}

#[test]
fn a_host_certificate_is_no_users() {
    let scene = Scene::new();
    scene.certify(&scene.user_authority(), "-h -n LOGIN");
    let certificate = scene.certificate();
    scene.refused_to_our_client(
        "wrong type",
        &certificate,
        "got a host certificate while expecting a user certificate",
    );
}

/// A certificate is good until its end and not a second longer.
#[test]
fn a_certificate_ends_while_weir_runs() {
    let scene = Scene::new();
    let ca = scene.user_authority();
    scene.certify(&ca, "-n LOGIN -V -1m:+2s");
    scene.log_in().succeed();
    eventually("the certificate has expired", || {
        (scene.log_in().run().code() == 255).then_some(())
    });
    scene.refused("expired", "expired");
}

struct Scene {
    world: World,
}

impl Scene {
    fn new() -> Self {
        let world = World::start();
        weir_tests::world::make_key(&world.path("mine"), "ed25519");
        Self { world }
    }

    fn user_authority(&self) -> String {
        authority::take(&self.world, "user")
            .to_str()
            .expect("temporary paths are ASCII")
            .to_owned()
    }

    /// Has `ca` sign the key `mine`.
    fn certify(&self, ca: &str, options: &str) {
        let options = options.replace("LOGIN", self.world.login());
        self.world
            .bash(&format!(
                "rm -f mine-cert.pub; ssh-keygen -q -s {ca} -I alice {options} mine.pub"
            ))
            .succeed();
    }

    fn log_in(&self) -> weir_tests::Job {
        let certificate = if self.world.path("mine-cert.pub").exists() {
            "CertificateFile=mine-cert.pub"
        } else {
            "CertificateFile=none"
        };
        self.world
            .job("ssh")
            .args([
                "-F",
                "none",
                "-i",
                "mine",
                "-o",
                certificate,
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args(["-o", "BatchMode=yes", "-o", "UserKnownHostsFile=known_hosts"])
            .args(["-p", &self.world.weir().address().port().to_string()])
            .args([&format!("{}@web1@127.0.0.1", self.world.login()), "echo in"])
    }

    /// The client is refused, and both the log and the audit log say why.
    fn refused(&self, flaw: &str, word: &str) {
        let told = self.told(word);
        let seen = self.log_in().run().ended_with(255);
        assert!(
            seen.err().contains("Permission denied (publickey)"),
            "{flaw}: {seen}"
        );
        assert!(seen.stdout.is_empty(), "{flaw}: {seen}");
        self.expect_told(flaw, word, told);
        assert!(
            self.world
                .weir()
                .sessions()
                .iter()
                .all(|session| session.has_ended())
        );
    }

    /// As [`Scene::refused`], by our own client: OpenSSH's offers no certificate whose signature or type is wrong.
    fn refused_to_our_client(&self, flaw: &str, certificate: &Certificate, word: &str) {
        let told = self.told(word);
        let key = SigningKey::from_openssh(&self.world.read("mine")).unwrap();
        let credential = Credential::certified(key, certificate.clone()).unwrap();
        let verdict = Peer::connect(self.world.address()).authenticate(&self.world.user(), credential);
        assert!(matches!(verdict, ClientStep::Failed(_)), "{flaw}: {verdict:?}");
        self.expect_told(flaw, word, told);
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_openssh(self.world.read("mine-cert.pub").trim()).unwrap()
    }

    /// How often `word` stands in refusals of the log, and of the audit log.
    fn told(&self, word: &str) -> (usize, usize) {
        let log = self.world.weir().log();
        let lines = log
            .lines()
            .filter(|line| line.contains("client=127.0.0.1:") && line.contains(word));
        let events = self.world.weir().json(&["audit", "ls", "--kind", "auth"]);
        let refusal = |event: &&Value| {
            event["detail"]["success"] == false && event["detail"].to_string().contains(word)
        };
        (
            lines.count(),
            events
                .as_array()
                .expect("an array")
                .iter()
                .filter(refusal)
                .count(),
        )
    }

    fn expect_told(&self, flaw: &str, word: &str, (lines, events): (usize, usize)) {
        eventually(
            &format!("{flaw}: {word:?} in the log and in the audit log"),
            || {
                let told = self.told(word);
                (told.0 > lines && told.1 > events).then_some(())
            },
        );
    }
}
