//! Strangers who do not speak SSH, or speak it wrong: each is told or dropped, the log says why, and nobody else notices.

use std::net::TcpStream;
use std::time::Duration;

use weir_tests::wire::{Ending, IDENT, Stranger, clear_packet, kexinit, msg, string};
use weir_tests::{Running, World, eventually};

const KEX: &str = "curve25519-sha256";
const HOST_KEYS: &str = "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com";
const CIPHERS: &str = "aes128-gcm@openssh.com";
const MACS: &str = "hmac-sha2-256";
/// What the log says of a first line that is none of SSH 2's.
const NO_IDENT: &str = "while expecting an identification beginning with SSH-2.0-";
/// What it says of a packet that is too short or too long.
pub(crate) const OUT_OF_BOUNDS: &str = "while expecting a length between";

#[test]
fn garbage_instead_of_a_banner() {
    let scene = Scene::new();
    scene.says(
        b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n",
        &["got \"GET / HTTP/1.1", NO_IDENT],
    );
    scene.says(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
        &["got ", NO_IDENT],
    );
    scene.says(b"\0\0\0\n", &["got ", NO_IDENT]);
}

#[test]
fn an_identification_of_another_protocol_version() {
    let scene = Scene::new();
    scene.says(b"SSH-1.5-old\r\n", &["got \"SSH-1.5-old", NO_IDENT]);
    scene.says(b"SSH-3.0-new\r\n", &["got \"SSH-3.0-new", NO_IDENT]);
}

#[test]
fn a_banner_of_ten_megabytes() {
    let scene = Scene::new();
    let without_end = vec![b'A'; 10_000_000];
    let memory = scene.world.weir().resident_bytes();
    scene.says(&without_end, &["got \"AAAA", NO_IDENT]);
    let mut long_ident = b"SSH-2.0-".to_vec();
    long_ident.extend_from_slice(&without_end);
    scene.says(&long_ident, &["a line before the keys exceeds 255 bytes"]);
    scene.says(&b"a line\r\n".repeat(1_250_000), &["got \"a line", NO_IDENT]);
    let grown = scene.world.weir().resident_bytes().saturating_sub(memory);
    assert!(grown < 8 << 20, "three banners cost {grown} bytes of memory");
}

#[test]
fn packets_of_impossible_length() {
    let scene = Scene::new();
    for (length, expected) in [
        (0_u32, OUT_OF_BOUNDS),
        (1, OUT_OF_BOUNDS),
        (4, OUT_OF_BOUNDS),
        (13, "a multiple of the cipher's block"),
        (256 * 1024 + 1, OUT_OF_BOUNDS),
        (0x7fff_ffff, OUT_OF_BOUNDS),
        (0xffff_ffff, OUT_OF_BOUNDS),
    ] {
        let mut bytes = IDENT.to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(bytes.len() + 64, 0);
        scene.says(&bytes, &[&format!("got a packet of {length} bytes"), expected]);
    }
}

#[test]
fn padding_longer_than_its_packet() {
    let scene = Scene::new();
    let mut bytes = IDENT.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 12, 200]);
    bytes.resize(bytes.len() + 11, 0);
    scene.says(&bytes, &["got padding of 200 bytes in a packet of 12"]);
}

#[test]
fn messages_out_of_order() {
    let scene = Scene::new();
    let mut service = vec![msg::SERVICE_REQUEST];
    string(&mut service, b"ssh-userauth");
    let mut request = vec![msg::USERAUTH_REQUEST];
    for field in ["root@web1", "ssh-connection", "none"] {
        string(&mut request, field.as_bytes());
    }
    let mut open = vec![msg::CHANNEL_OPEN];
    string(&mut open, b"session");
    open.extend_from_slice(&[0; 12]);
    let mut point = vec![msg::KEX_ECDH_INIT];
    string(&mut point, &[9; 32]);
    let kexinit = well_formed_kexinit();
    for payload in [&service, &request, &open, &point, &vec![msg::NEWKEYS]] {
        let got = |expected| format!("got message {} while expecting {expected}", payload[0]);
        scene.says_packets(&[payload], &got("KEXINIT"));
        let then = if payload == &point {
            "malformed KEX_ECDH_INIT".to_owned()
        } else {
            got("KEX_ECDH_INIT")
        };
        scene.says_packets(&[&kexinit, &payload[..1]], &then);
    }
    scene.says_packets(
        &[&kexinit, &kexinit],
        "got message 20 while expecting KEX_ECDH_INIT",
    );
}

#[test]
fn a_key_exchange_that_cannot_be_read() {
    let scene = Scene::new();
    let whole = well_formed_kexinit();
    scene.says_packets(&[&whole[..1]], "malformed KEXINIT");
    scene.says_packets(&[&whole[..40]], "malformed KEXINIT");
    let mut huge_list = whole[..17].to_vec();
    huge_list.extend_from_slice(&0xffff_fff0_u32.to_be_bytes());
    scene.says_packets(&[&huge_list], "malformed KEXINIT");
    let mut not_text = whole.clone();
    not_text[22] = 0xff;
    scene.says_packets(&[&not_text], "malformed KEXINIT: malformed name-list");
    for bad_point in [&[0; 32][..], &[5; 31], &[]] {
        let mut point = vec![msg::KEX_ECDH_INIT];
        string(&mut point, bad_point);
        scene.says_packets(&[&whole, &point], "unusable public value in the key exchange");
    }
}

/// For the operator, both lists are in the log.
#[test]
fn no_algorithm_in_common() {
    let scene = Scene::new();
    for (ours, theirs, lists) in [
        (
            "kex-of-mars",
            "curve25519-sha256",
            kexinit("kex-of-mars", HOST_KEYS, CIPHERS, MACS),
        ),
        ("ssh-dss", "ssh-ed25519", kexinit(KEX, "ssh-dss", CIPHERS, MACS)),
        (
            "3des-cbc",
            "aes256-ctr",
            kexinit(KEX, HOST_KEYS, "3des-cbc", MACS),
        ),
    ] {
        let (address, ending) = scene.attempt(&[IDENT, &clear_packet(&lists)].concat());
        assert!(
            matches!(ending, Ending::Disconnect { .. } | Ending::Closed),
            "{ending:?}"
        );
        scene.world.weir().expect_log(&[&address, ours, theirs]);
    }
}

#[test]
fn whoever_says_nothing_is_dropped_after_the_login_grace() {
    let scene = Scene::with(World::builder().config("login_grace = \"1s\"").start());
    for opening in [&b""[..], b"SSH-2.0-half", IDENT] {
        let mut stranger = Stranger::connect(scene.world.weir().address());
        let address = stranger.local_address().to_string();
        stranger.send(opening);
        stranger.ending();
        scene
            .world
            .weir()
            .expect_log(&[&address, "not signed in within 1 s"]);
    }
    scene.goes_on();
}

#[test]
fn a_hundred_half_open_connections_harm_nobody() {
    let scene = Scene::new();
    let address = scene.world.weir().address();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    scene.world.exec("true").limit(Duration::from_secs(5)).succeed();
    let open = scene.world.weir().open_files();
    drop(idle);
    eventually("their descriptors are closed", || {
        (scene.world.weir().open_files() + 90 <= open).then_some(())
    });
    scene.goes_on();
}

/// Weir with a session going on, which must notice nothing.
pub(crate) struct Scene {
    pub(crate) world: World,
    bystander: std::cell::RefCell<(Running, usize)>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(World::start())
    }

    pub(crate) fn with(world: World) -> Self {
        let bystander = world.exec("cat").spawn();
        let scene = Self {
            world,
            bystander: std::cell::RefCell::new((bystander, 0)),
        };
        scene.goes_on();
        scene
    }

    /// A stranger says `bytes`: the connection ends, a line of the log names it and says why in `words`, and the other
    /// session goes on.
    fn says(&self, bytes: &[u8], words: &[&str]) {
        let (address, _) = self.attempt(bytes);
        self.world.weir().expect_log(&[&[&*address], words].concat());
        self.goes_on();
    }

    /// As [`Scene::says`], in packets after a proper identification.
    fn says_packets(&self, payloads: &[&[u8]], words: &str) {
        let packets: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| clear_packet(payload))
            .collect();
        self.says(&[IDENT, &packets].concat(), &[words]);
    }

    fn attempt(&self, bytes: &[u8]) -> (String, Ending) {
        let mut stranger = Stranger::connect(self.world.weir().address());
        let address = stranger.local_address().to_string();
        stranger.send(bytes);
        (address, stranger.ending())
    }

    /// The session beside it still echoes.
    pub(crate) fn goes_on(&self) {
        let (bystander, count) = &mut *self.bystander.borrow_mut();
        *count += 1;
        let line = format!("line {count} of the bystander");
        bystander.write(format!("{line}\n").as_bytes());
        bystander.expect_stdout(&line);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let log = self.world.weir().log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

fn well_formed_kexinit() -> Vec<u8> {
    kexinit(KEX, HOST_KEYS, CIPHERS, MACS)
}
