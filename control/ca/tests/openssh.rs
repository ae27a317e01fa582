//! What `ssh-keygen` makes of our certificates and keys, and we of its.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use weir_ca::{Authority, HostTerms, KeySigner, Permission, UPSTREAM_VALIDITY, UpstreamTerms, UserTerms};
use weir_crypto::random::SystemRandom;
use weir_ssh::certificate::{Certificate, CertificateError, CertificateType};
use weir_ssh::key::{PublicKey, SigningKey};

/// Kinds of keys as `ssh-keygen -t … -b …` makes them.
const KINDS: [(&str, &str); 6] = [
    ("ed25519", "256"),
    ("ecdsa", "256"),
    ("ecdsa", "384"),
    ("ecdsa", "521"),
    ("rsa", "2048"),
    ("rsa", "3072"),
];

/// 2026-07-01T00:00:00Z
const NOW: u64 = 1_782_864_000;

struct Workshop(TempDir);

impl Workshop {
    fn new() -> Workshop {
        Workshop(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs ssh-keygen and returns what it printed. Times are printed in UTC.
    fn keygen(&self, args: &[&str]) -> String {
        let output = Command::new("ssh-keygen")
            .args(args)
            .env("TZ", "UTC")
            .output()
            .expect("ssh-keygen is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "ssh-keygen {args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Keys of ssh-keygen's making, one of each kind, with the paths of their files.
    fn keys(&self, purpose: &str) -> Vec<(String, SigningKey)> {
        let make = |(kind, bits): (&str, &str)| {
            let name = format!("{purpose}-{kind}-{bits}");
            let path = self.path(&name);
            self.keygen(&[
                "-q",
                "-t",
                kind,
                "-b",
                bits,
                "-N",
                "",
                "-C",
                "made by ssh-keygen",
                "-f",
                &path,
            ]);
            (path, SigningKey::from_openssh(&self.read(&name)).unwrap())
        };
        KINDS.into_iter().map(make).collect()
    }

    /// What `ssh-keygen -L` prints of a certificate, trimmed line by line.
    fn listed(&self, certificate: &Certificate) -> Vec<String> {
        fs::write(
            self.path("listed-cert.pub"),
            certificate.to_openssh("listed") + "\n",
        )
        .unwrap();
        let listing = self.keygen(&["-L", "-f", &self.path("listed-cert.pub")]);
        listing
            .lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

#[test]
fn user_certificates_read_in_ssh_keygen_as_they_were_meant() {
    let workshop = Workshop::new();
    let keys = workshop.keys("id");
    for (_, authority_key) in workshop.keys("ca") {
        let authority = Authority::new(KeySigner::new(authority_key.clone()));
        for (_, key) in &keys {
            let terms = UserTerms {
                key: key.public_key(),
                user: "alice",
                logins: &["root".to_owned(), "ubuntu".to_owned()],
                permissions: &[Permission::PortForwarding, Permission::Pty, Permission::Pty],
                source_addresses: &["192.0.2.0/24".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                validity: Duration::from_secs(8 * 3600),
            };
            let issued = authority
                .issue_user(&terms, u64::MAX, NOW, &mut SystemRandom)
                .unwrap();
            let listed = workshop.listed(&issued);
            let name = issued.key().key_type().certificate_name();
            assert_eq!(listed[0], format!("Type: {name} user certificate"));
            assert!(
                listed[1].ends_with(&key.public_key().fingerprint()),
                "{}",
                listed[1]
            );
            assert!(
                listed[2].contains(&authority_key.public_key().fingerprint()),
                "{}",
                listed[2]
            );
            let signature = authority_key.public_key().key_type().signature_algorithms()[0];
            assert!(
                listed[2].ends_with(&format!("(using {signature})")),
                "{}",
                listed[2]
            );
            assert_eq!(
                listed[3..],
                [
                    "Key ID: \"alice\"",
                    "Serial: 18446744073709551615",
                    "Valid: from 2026-06-30T23:59:00 to 2026-07-01T08:00:00",
                    "Principals:",
                    "root",
                    "ubuntu",
                    "Critical Options:",
                    "source-address 192.0.2.0/24,2001:db8::1/128",
                    "Extensions:",
                    "permit-port-forwarding",
                    "permit-pty",
                ]
            );
        }
    }
}

#[test]
fn host_certificates_read_in_ssh_keygen_as_they_were_meant() {
    let workshop = Workshop::new();
    let authority = Authority::new(KeySigner::generate());
    for (_, key) in workshop.keys("host") {
        let terms = HostTerms {
            key: key.public_key(),
            names: &[
                "web1".to_owned(),
                "127.0.0.1".to_owned(),
                "2001:db8::1".to_owned(),
            ],
            validity: Duration::from_secs(24 * 3600),
        };
        let issued = authority.issue_host(&terms, 7, NOW, &mut SystemRandom).unwrap();
        let listed = workshop.listed(&issued);
        assert_eq!(
            listed[0],
            format!(
                "Type: {} host certificate",
                issued.key().key_type().certificate_name()
            )
        );
        assert_eq!(
            listed[3..],
            [
                "Key ID: \"web1\"",
                "Serial: 7",
                "Valid: from 2026-06-30T23:59:00 to 2026-07-02T00:00:00",
                "Principals:",
                "web1",
                "127.0.0.1",
                "2001:db8::1",
                "Critical Options: (none)",
                "Extensions: (none)",
            ]
        );
    }
}

#[test]
fn upstream_certificates_read_in_ssh_keygen_as_they_were_meant() {
    let workshop = Workshop::new();
    let authority = Authority::new(KeySigner::generate());
    let key = SigningKey::generate_ed25519();
    let terms = UpstreamTerms {
        key: key.public_key(),
        user: "alice",
        session: "01J9ZQ7VX8Y4K2M3N5P6R7S8T9",
        login: "root",
        source_addresses: &["127.0.0.1".parse().unwrap()],
        permissions: &[Permission::Pty],
        validity: UPSTREAM_VALIDITY,
    };
    let issued = authority
        .issue_upstream(&terms, 4242, NOW, &mut SystemRandom)
        .unwrap();
    assert_eq!(
        workshop.listed(&issued)[3..],
        [
            "Key ID: \"alice:01J9ZQ7VX8Y4K2M3N5P6R7S8T9\"",
            "Serial: 4242",
            "Valid: from 2026-06-30T23:59:00 to 2026-07-01T00:01:00",
            "Principals:",
            "root",
            "Critical Options:",
            "source-address 127.0.0.1/32",
            "Extensions:",
            "permit-pty",
        ]
    );
}

#[test]
fn certificates_of_ssh_keygen_are_read_and_checked() {
    let workshop = Workshop::new();
    let keys = workshop.keys("id");
    for (ca, authority) in workshop.keys("ca") {
        for (id, key) in &keys {
            let public = format!("{id}.pub");
            workshop.keygen(&[
                "-q", "-s", &ca, "-I", "bob", "-n", "root", "-z", "9", "-V", "-1m:+1h", &public,
            ]);
            let line = fs::read_to_string(format!("{id}-cert.pub")).unwrap();
            let made = Certificate::from_openssh(&line).unwrap();
            assert_eq!(made.key(), key.public_key());
            assert_eq!((made.key_id(), made.serial()), ("bob", 9));
            assert_eq!(made.certificate_type(), CertificateType::User);
            let check = |login, now| {
                let trusted = |key: &[u8]| key == authority.public_key().blob();
                made.clone()
                    .check_user(login, now, "::1".parse().unwrap(), trusted)
            };
            let now = made.valid_after() + 1;
            assert!(check("root", now).unwrap().permits_pty());
            assert!(matches!(
                check("bob", now),
                Err(CertificateError::WrongPrincipal { .. })
            ));
            assert!(matches!(
                check("root", made.valid_before()),
                Err(CertificateError::Expired { .. })
            ));
        }
    }
}

#[test]
fn keys_that_we_write_are_taken_by_ssh_keygen() {
    let workshop = Workshop::new();
    let write = |key: &SigningKey| {
        use std::os::unix::fs::PermissionsExt;
        let path = workshop.path("written");
        fs::write(&path, &**key.to_openssh("written by weir")).unwrap();
        fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let made = workshop.keys("id").into_iter().map(|(_, key)| key);
    for key in made.chain([SigningKey::generate_ed25519()]) {
        let path = write(&key);
        let public = workshop.keygen(&["-y", "-P", "", "-f", &path]);
        assert_eq!(public.trim_end(), key.public_key().to_openssh("written by weir"));
        let fingerprint = workshop.keygen(&["-l", "-f", &path]);
        assert!(
            fingerprint.contains(&key.public_key().fingerprint()),
            "{fingerprint}"
        );
    }
    // An exported authority is a public key file.
    let authority = Authority::new(KeySigner::generate());
    fs::write(
        workshop.path("ca.pub"),
        authority.export("weir openssh authority") + "\n",
    )
    .unwrap();
    let fingerprint = workshop.keygen(&["-l", "-f", &workshop.path("ca.pub")]);
    assert!(
        fingerprint.contains(&authority.public_key().fingerprint()),
        "{fingerprint}"
    );
    assert_eq!(
        &PublicKey::from_openssh(&authority.export("")).unwrap(),
        authority.public_key()
    );
}
