//! Which certificates let a user in, and that each refusal is told to the log and the audit log.

use serde_json::Value;
use weir_tests::{World, authority, eventually};

/// What `ssh-keygen` is to sign, and a word of the reason for which it is refused.
const REFUSED: &[(&str, &str, &str)] = &[
    ("expired", "-n LOGIN -V 20200101:20210101", "expired"),
    ("not yet valid", "-n LOGIN -V 20400101:20410101", "not yet valid"),
    ("wrong principal", "-n somebody-else", "principal"),
    ("no principal", "", "principal"),
    ("wrong type", "-h -n LOGIN", "host certificate"),
    (
        "wrong source address",
        "-n LOGIN -O source-address=10.0.0.0/8",
        "127.0.0.1",
    ),
    (
        "unknown critical option",
        "-n LOGIN -O critical:no-such-option=x",
        "no-such-option",
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
    for (n, (flaw, options, word)) in REFUSED.iter().enumerate() {
        scene.certify(&ca, options);
        scene.refused(flaw, n + 1, word);
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
    scene.refused("unknown authority", 1, "authority");
}

/// Weir's own host CA signs hosts, and no user.
#[test]
fn a_certificate_by_the_host_authority_is_refused() {
    let scene = Scene::new();
    let ca = authority::take(&scene.world, "host");
    scene.certify(ca.to_str().unwrap(), "-n LOGIN");
    scene.refused("host authority", 1, "authority");
}

#[test]
fn a_plain_key_is_refused() {
    let scene = Scene::new();
    scene.world.bash("rm -f mine-cert.pub").succeed();
    scene.refused("plain key", 1, "certificate");
}

#[test]
fn an_altered_certificate_is_refused() {
    let scene = Scene::new();
    let ca = scene.user_authority();
    scene.certify(&ca, "-n LOGIN -I original-key-id");
    scene
        .world
        .bash(
            "read kind blob rest < mine-cert.pub
             echo \"$kind $(echo $blob | base64 -d | sed s/original-key-id/modified-key-id/ | base64 -w0)\" > mine-cert.pub",
        )
        .succeed();
    scene.refused("altered", 1, "signature");
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
    scene.refused("expired", 1, "expired");
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

    /// The client is refused, the log says why, and so does at least the `count`-th audit event of a failed sign-in.
    fn refused(&self, flaw: &str, count: usize, word: &str) {
        let seen = self.log_in().run().ended_with(255);
        assert!(
            seen.err().contains("Permission denied (publickey)"),
            "{flaw}: {seen}"
        );
        assert!(seen.stdout.is_empty(), "{flaw}: {seen}");
        self.world.weir().expect_log(&["127.0.0.1:", word]);
        eventually(&format!("{flaw}: an audit event with {word:?}"), || {
            let events = self.world.weir().json(&["audit", "ls", "--kind", "auth"]);
            let told = |event: &&Value| {
                event["detail"]["success"] == false && event["detail"].to_string().contains(word)
            };
            let events = events.as_array().expect("an array");
            (events.len() >= count && events.iter().any(|event| told(&event))).then_some(())
        });
        assert!(
            self.world
                .weir()
                .sessions()
                .iter()
                .all(|session| session.has_ended())
        );
    }
}
