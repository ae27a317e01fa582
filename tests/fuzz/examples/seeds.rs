//! Writes the first inputs of each target into its corpus: honest messages, from which the fuzzer goes astray.
//! `cargo run --example seeds`, without coverage.

use std::fs;
use std::path::Path;

use weir_crypto::random::SystemRandom;
use weir_fuzz::{
    CLIENT, Cluster, End, LOGIN, NOW, SESSION, certificate_request, connected, converse, frame, host_key,
    join, user_certificate, user_key,
};
use weir_ssh::auth::server::{ServerAuth, ServerStep};
use weir_ssh::certificate::{CertificateRequest, CertificateType};
use weir_ssh::key::SigningKey;
use weir_ssh::wire::Writer;

fn main() {
    packet();
    kexinit();
    certificate();
    auth_request();
    recording();
    sftp();
    scp();
}

/// A packet of SFTP: its type, a number, and the rest.
fn sftp_packet(kind: u8, id: u32, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = vec![kind];
    body.put_u32(id);
    rest(&mut body);
    let mut packet = Vec::new();
    packet.put_string(&body);
    packet
}

/// Honest conversations: the parts are the client's and the target's by turns.
fn sftp() {
    let strings =
        |texts: &'static [&str]| move |out: &mut Vec<u8>| texts.iter().for_each(|text| out.put_string(text));
    let greeting = |version| [sftp_packet(1, version, |_| {}), sftp_packet(2, version, |_| {})];
    let open = sftp_packet(3, 1, |out| {
        out.put_string("/tmp/f");
        out.put_u32(0x1a);
        out.put_u32(0);
    });
    let handle = sftp_packet(102, 1, strings(&["h"]));
    let write = sftp_packet(6, 2, |out| {
        out.put_string("h");
        out.put_u32(0);
        out.put_u32(0);
        out.put_string("contents");
    });
    let read = sftp_packet(5, 3, |out| {
        out.put_string("h");
        out.put_u32(0);
        out.put_u32(0);
        out.put_u32(9);
    });
    let status = |id, code| sftp_packet(101, id, |out| out.put_u32(code));
    let data = sftp_packet(103, 3, strings(&["contents"]));
    let close = sftp_packet(4, 4, strings(&["h"]));
    let [init, version] = greeting(3);
    let requests = [write, read, close].concat();
    let answers = [status(2, 0), data, status(4, 0)].concat();
    write_parts(
        "sftp",
        "file",
        &[&init, &version, &open, &handle, &requests, &answers],
    );
    let names = [
        (13, &["f"][..]),
        (14, &["d"]),
        (15, &["d"]),
        (18, &["a", "b"]),
        (20, &["t", "l"]),
        (11, &["d"]),
    ];
    let requests: Vec<u8> = names
        .iter()
        .flat_map(|&(kind, texts)| {
            sftp_packet(kind, u32::from(kind), |out| {
                texts.iter().for_each(|text| out.put_string(text))
            })
        })
        .collect();
    let answers: Vec<u8> = names
        .iter()
        .flat_map(|&(kind, _)| status(u32::from(kind), u32::from(kind) % 3))
        .collect();
    write_parts("sftp", "names", &[&init, &version, &requests, &answers]);
    let extensions = [
        sftp_packet(200, 1, strings(&["posix-rename@openssh.com", "a", "b"])),
        sftp_packet(200, 2, strings(&["hardlink@openssh.com", "a", "b"])),
        sftp_packet(200, 3, strings(&["lsetstat@openssh.com", "a"])),
        sftp_packet(200, 4, strings(&["version-select", "6"])),
        sftp_packet(200, 5, strings(&["unknown@example.org", "a"])),
    ];
    let answers: Vec<u8> = (1..6).flat_map(|id| status(id, 0)).collect();
    write_parts(
        "sftp",
        "extensions",
        &[&init, &version, &extensions.concat(), &answers],
    );
    let [init, version] = greeting(6);
    let link = sftp_packet(21, 1, strings(&["new", "old"]));
    write_parts(
        "sftp",
        "version-6",
        &[
            &init,
            &version,
            &[open, link].concat(),
            &[handle, status(1, 0)].concat(),
        ],
    );
}

fn scp() {
    write_parts(
        "scp",
        "upload",
        &[
            b"",
            b"\0",
            b"T1 0 1 0\n",
            b"\0",
            b"D0755 0 d\n",
            b"\0",
            b"C0644 5 f\n",
            b"\0",
            b"hello\0",
            b"\0",
            b"E\n",
            b"\0",
        ],
    );
    write_parts(
        "scp",
        "download",
        &[
            b"\0",
            b"C0644 5 f\n",
            b"\0",
            b"hello\0",
            b"\0",
            b"\x01no such file\n",
        ],
    );
    write_parts(
        "scp",
        "refused",
        &[
            b"",
            b"\0",
            b"C0644 5 f\n",
            b"\x01denied\n",
            b"C0644 0 g\n",
            b"\0",
            b"\0",
            b"\0",
        ],
    );
}

/// An input that is its parts and nothing before them.
fn write_parts(target: &str, name: &str, parts: &[&[u8]]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory).expect("the corpus can be written");
    fs::write(directory.join(name), join(parts)).expect("the corpus can be written");
}

fn write(target: &str, name: &str, mode: u8, content: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory).expect("the corpus can be written");
    fs::write(directory.join(name), [&[mode], content].concat()).expect("the corpus can be written");
}

/// What an end says first: its identification, and a client its KEXINIT behind it.
fn opening(end: End) -> (Vec<u8>, Vec<u8>) {
    let line = end
        .out
        .iter()
        .position(|&byte| byte == b'\n')
        .expect("an identification is a line")
        + 1;
    (end.out[..line].to_vec(), end.out[line..].to_vec())
}

fn packet() {
    let (ident, kexinit) = opening(End::client());
    let with_choice = |choice: u8, data: Vec<u8>| [&[choice], &data[..]].concat();
    write(
        "packet",
        "client-opening",
        0,
        &with_choice(0, join(&[&ident, &kexinit])),
    );
    write(
        "packet",
        "client-opening-split",
        0,
        &with_choice(0, join(&[&ident[..5], &ident[5..], &kexinit[..3], &kexinit[3..]])),
    );
    write(
        "packet",
        "greeting",
        1,
        &with_choice(0, join(&[b"hello\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n"])),
    );
    write(
        "packet",
        "dropped",
        1,
        &with_choice(0, join(&[b"Exceeded MaxStartups\r\n"])),
    );
    let mut disconnect = vec![1];
    disconnect.put_u32(11);
    disconnect.put_string("bye");
    disconnect.put_string("");
    let mut ignore = vec![2];
    ignore.put_string("padding");
    let mut debug = vec![4, 1];
    debug.put_string("debug");
    debug.put_string("");
    let ext_info = ext_info("rsa-sha2-256");
    let rekey = &kexinit[5..kexinit.len() - usize::from(kexinit[4])];
    for choice in 0..6 {
        let messages = join(&[&ignore, &debug, b"\x05hello", &ext_info, rekey, &disconnect]);
        write(
            "packet",
            &format!("sealed-{choice}"),
            2,
            &with_choice(choice | 0x10 * choice, messages.clone()),
        );
        write(
            "packet",
            &format!("sealed-by-server-{choice}"),
            2,
            &with_choice(choice | 0x80, messages),
        );
        let (mut client, mut server) = connected(choice);
        client.seal(b"\x05hello");
        let sealed = client.out.clone();
        converse(&mut client, &mut server);
        assert_eq!(server.payloads, [b"\x05hello"], "the honest seed arrives");
        write(
            "packet",
            &format!("forged-{choice}"),
            3,
            &with_choice(choice, join(&[&sealed])),
        );
    }
}

/// RFC 8308 §2.3, as sshd sends it.
fn ext_info(server_sig_algs: &str) -> Vec<u8> {
    let mut payload = vec![7];
    payload.put_u32(3);
    for (name, value) in [
        ("server-sig-algs", server_sig_algs),
        ("publickey-hostbound@openssh.com", "0"),
        ("ping@openssh.com", "0"),
    ] {
        payload.put_string(name);
        payload.put_string(value);
    }
    payload
}

fn kexinit() {
    let (_, framed) = opening(End::client());
    let payload = &framed[5..framed.len() - usize::from(framed[4])];
    let mut ecdh = vec![30];
    ecdh.put_string([9; 32]);
    let mut hybrid = vec![30];
    hybrid.put_string([9; 1216]);
    write("kexinit", "to-server", 0, &join(&[&payload[1..], &ecdh]));
    write("kexinit", "to-server-hybrid", 0, &join(&[&payload[1..], &hybrid]));
    write("kexinit", "to-client", 1, &join(&[&payload[1..], &ecdh]));
    let mut server = End::server();
    server.take(b"SSH-2.0-fuzz\r\n");
    for message in [payload, &hybrid, &[21]] {
        assert!(
            server.take(&frame(message)),
            "the honest seed does not exchange keys: {:?}",
            server.error
        );
    }
    // A list of each kind that names what was left out of the default order, and a guess behind it.
    let mut guessed = vec![0; 16];
    for list in [
        "ecdh-sha2-nistp256,ext-info-c",
        "ssh-ed25519",
        "aes128-ctr",
        "aes128-ctr",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ] {
        guessed.put_string(list);
    }
    guessed.put_bool(true);
    guessed.put_u32(0);
    let mut guess = vec![30];
    guess.put_string([4; 65]);
    write("kexinit", "guessed", 0, &join(&[&guessed, &guess, &guess]));
    let mut reply = vec![31];
    reply.put_string(host_key().blob());
    reply.put_string([9; 32]);
    reply.put_string([0; 83]);
    write("kexinit", "reply", 1, &join(&[&guessed, &reply]));
}

fn certificate() {
    let certificate = user_certificate();
    write("certificate", "user", 0, certificate.blob());
    let host = CertificateRequest::new(
        CertificateType::Host,
        user_key().public_key().clone(),
        "web1",
        NOW - 60..NOW + 60,
    );
    let host = host
        .principal("web1")
        .sign(&SigningKey::ed25519_from_seed(&[1; 32]), &mut SystemRandom);
    write("certificate", "host", 0, host.blob());
    write("certificate", "plain", 0, user_key().public_key().blob());
    let options: [&[u8]; 6] = [
        b"source-address=192.0.2.0/24,2001:db8::/32",
        b"permit-pty",
        b"root",
        b"force-command=id",
        b"no-touch-required",
        b"",
    ];
    write("certificate", "options", 1, &join(&options));
    write(
        "certificate",
        "verify-required",
        1,
        &join(&[b"verify-required", b"permit-X11-forwarding"]),
    );
    let key = user_key();
    write(
        "certificate",
        "key",
        2,
        &join(&[key.public_key().blob(), &key.sign_with_best(b"something else")]),
    );
    let mut ecdsa = Vec::new();
    ecdsa.put_string("ecdsa-sha2-nistp256");
    ecdsa.put_string("nistp256");
    ecdsa.put_string([&[4][..], &[7; 64]].concat());
    let mut signature = Vec::new();
    signature.put_string("ecdsa-sha2-nistp256");
    signature.put_nested(|out| {
        out.put_mpint(&[0xff; 32]);
        out.put_mpint(&[0x7f; 32]);
    });
    write("certificate", "key-ecdsa", 2, &join(&[&ecdsa, &signature]));
    let mut rsa = Vec::new();
    rsa.put_string("ssh-rsa");
    rsa.put_mpint(&[1, 0, 1]);
    rsa.put_mpint(&[0xa5; 256]);
    let mut signature = Vec::new();
    signature.put_string("rsa-sha2-512");
    signature.put_string([5; 256]);
    write("certificate", "key-rsa", 2, &join(&[&rsa, &signature]));
    let mut security_key = Vec::new();
    security_key.put_string("sk-ssh-ed25519@openssh.com");
    security_key.put_string([9; 32]);
    security_key.put_string("ssh:");
    let mut signature = Vec::new();
    signature.put_string("sk-ssh-ed25519@openssh.com");
    signature.put_string([5; 64]);
    signature.put_u8(1);
    signature.put_u32(7);
    write("certificate", "key-sk", 2, &join(&[&security_key, &signature]));
    write(
        "certificate",
        "line",
        3,
        certificate.to_openssh("comment").as_bytes(),
    );
    write(
        "certificate",
        "line-key",
        3,
        user_key().public_key().to_openssh("comment").as_bytes(),
    );
    write(
        "certificate",
        "networks",
        3,
        b"192.0.2.0/24,10.0.0.1,2001:db8::/32,::1",
    );
    write(
        "certificate",
        "private",
        3,
        SigningKey::ed25519_from_seed(&[4; 32])
            .to_openssh("comment")
            .as_bytes(),
    );
}

/// A request by public key up to its signature.
fn request(user: &str, is_signed: bool, host_key: Option<&[u8]>) -> Vec<u8> {
    let mut payload = vec![50];
    payload.put_string(user);
    payload.put_string("ssh-connection");
    payload.put_string(if host_key.is_some() {
        "publickey-hostbound-v00@openssh.com"
    } else {
        "publickey"
    });
    payload.put_bool(is_signed);
    payload.put_string("ssh-ed25519-cert-v01@openssh.com");
    payload.put_string(user_certificate().blob());
    if let Some(host_key) = host_key {
        payload.put_string(host_key);
    }
    payload
}

/// Whether the server lets in who signs this request.
fn lets_in(request: &[u8]) -> bool {
    let mut server = ServerAuth::new(SESSION, CLIENT, host_key().blob(), 6, None);
    let mut replies = Vec::new();
    let service = [&[5, 0, 0, 0, 12][..], b"ssh-userauth"].concat();
    server
        .receive(&service, NOW, &Cluster, &mut replies)
        .expect("the service that there is");
    let mut signed_data = Vec::new();
    signed_data.put_string(SESSION);
    signed_data.put_bytes(request);
    let mut payload = request.to_vec();
    payload.put_string(user_key().sign_with_best(&signed_data));
    matches!(
        server.receive(&payload, NOW, &Cluster, &mut replies),
        Ok(ServerStep::Authenticated(_))
    )
}

fn auth_request() {
    let service = [&[5, 0, 0, 0, 12][..], b"ssh-userauth"].concat();
    let mut none = vec![50];
    none.put_string(LOGIN);
    none.put_string("ssh-connection");
    none.put_string("none");
    let probe = request(LOGIN, false, None);
    let mut signed = request(LOGIN, true, None);
    // A signature of somebody else, so that the seed does not let anybody in.
    let stranger = SigningKey::ed25519_from_seed(&[6; 32]);
    signed.put_string(stranger.sign_with_best(&signed));
    let bound = request(LOGIN, false, Some(host_key().blob()));
    write(
        "auth_request",
        "probe",
        0,
        &join(&[&service, &none, &probe, &signed]),
    );
    write("auth_request", "probe-bound", 0, &join(&[&service, &bound]));
    assert!(
        lets_in(&request("root@web1", true, None)),
        "the honest seed lets its user in"
    );
    assert!(
        lets_in(&request(LOGIN, true, Some(host_key().blob()))),
        "the honest seed lets its user in"
    );
    write("auth_request", "signed", 1, &request("root@web1", true, None));
    write(
        "auth_request",
        "signed-bound",
        1,
        &request(LOGIN, true, Some(host_key().blob())),
    );
    let key = certificate_request(user_key().public_key())
        .force_command("id")
        .sign(&stranger, &mut SystemRandom);
    let mut foreign = vec![50];
    foreign.put_string(LOGIN);
    foreign.put_string("ssh-connection");
    foreign.put_string("publickey");
    foreign.put_bool(true);
    foreign.put_string("ssh-ed25519-cert-v01@openssh.com");
    foreign.put_string(key.blob());
    write("auth_request", "foreign", 1, &foreign);

    let accept = [&[6, 0, 0, 0, 12][..], b"ssh-userauth"].concat();
    let mut banner = vec![53];
    banner.put_string("welcome\n");
    banner.put_string("");
    let mut failure = vec![51];
    failure.put_name_list(["publickey", "password"]);
    failure.put_bool(true);
    write(
        "auth_request",
        "success",
        2,
        &[&[1], &join(&[&accept, &banner, &[52]])[..]].concat(),
    );
    write(
        "auth_request",
        "failure",
        2,
        &[&[0], &join(&[&accept, &failure])[..]].concat(),
    );

    let mut signed_data = Vec::new();
    signed_data.put_string(SESSION);
    signed_data.put_bytes(&request(LOGIN, true, None));
    let signature = user_key().sign_with_best(&signed_data);
    // The third mode takes a certificate, signed data and a signature, and signs the data itself as well.
    write(
        "auth_request",
        "proof",
        3,
        &join(&[user_certificate().blob(), &signed_data, &signature]),
    );
}

fn recording() {
    let example = include_bytes!("../../../dataplane/record/tests/data/example-v1.weir");
    write("recording", "example", 0, example);
    write("recording", "unaltered", 1, &[]);
    write("recording", "altered", 1, &[0, 9, 1, 0, 200, 255]);
    let mut terminal = vec![5];
    terminal.put_string("xterm");
    let events: [&[u8]; 8] = [
        b"\x02output\x1b[31mred\x1b[0m\r\n",
        b"\x03error",
        &terminal,
        b"\x06\0\0\0\x50\0\0\0\x18\0\0\0\0\0\0\0\0",
        b"\x07",
        b"\x08ls -l",
        b"\x0a\0\0\0\x07",
        b"\x0bTERM",
    ];
    write("recording", "events", 2, &join(&events));
}
