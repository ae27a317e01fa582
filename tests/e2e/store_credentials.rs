//! Credentials come from a file, the environment or the role of the instance, and show nowhere.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use weir_tests::s3::{KEY_ID, SECRET};
use weir_tests::{S3, World, eventually};

#[test]
fn wrong_ones_are_refused_and_what_was_recorded_is_put_when_the_file_is_right() {
    let s3 = S3::start();
    s3.write_credentials("not-the-secret");
    // It starts, says what is wrong, and records.
    let world = World::builder().config(&s3.config()).start();
    world.exec("echo kept").succeed();
    world
        .weir()
        .expect_log(&["the store is away", "does not accept the signature"]);
    world.weir().expect_log(&[
        "a recording cannot be put",
        "correct the secret key in",
        "credentials",
    ]);
    assert!(s3.objects().is_empty());

    s3.write_credentials(SECRET);
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    world.weir().expect_log(&["the store takes recordings again"]);
    assert_no_secret(&world, &[SECRET, "not-the-secret"]);
}

#[test]
fn the_environment_has_them_where_no_file_is_named() {
    let s3 = S3::start();
    let world = World::builder()
        .config(&s3.config_without_credentials())
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .start();
    world.exec("echo kept").succeed();
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    assert_no_secret(&world, &[SECRET]);
}

/// The metadata service is the one thing here that no machine but a cloud's has: two answers stand in for it, in the form
/// that its documentation gives (IMDSv2).
#[test]
fn the_role_of_the_instance_has_them_where_nothing_else_does() {
    let s3 = S3::start();
    let metadata = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", metadata.local_addr().unwrap());
    thread::spawn(move || {
        // Both planes ask, each on a connection that it keeps.
        for stream in metadata.incoming().flatten() {
            thread::spawn(move || answer_for_the_role(stream));
        }
    });
    let world = World::builder()
        .config(&s3.config_without_credentials())
        .env("AWS_METADATA_ENDPOINT", &endpoint)
        .start();
    world.exec("echo kept").succeed();
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    assert_no_secret(&world, &[SECRET]);
}

#[test]
fn without_any_it_says_where_they_may_be() {
    let s3 = S3::start();
    let nobody = weir_tests::world::free_port();
    let world = World::builder()
        .config(&s3.config_without_credentials())
        .env("AWS_METADATA_ENDPOINT", &format!("http://127.0.0.1:{nobody}"))
        .start();
    world.exec("echo kept").succeed();
    world.weir().expect_log(&[
        "the store is away",
        "there are no credentials",
        "credentials_file",
    ]);
}

#[test]
fn a_secret_in_the_configuration_is_refused_and_not_repeated() {
    let world = World::builder().empty().start();
    let config = "[recording]\nstore = \"s3://audit\"\n[recording.s3]\nsecret_access_key = \"hunter2\"\n";
    world.write("weir.toml", config);
    let seen = world
        .job("weir")
        .args(["up", "--data", "D", "--config", "weir.toml"])
        .run()
        .ended_with(2);
    assert!(
        seen.err().contains("secret_access_key") && seen.err().contains("credentials_file"),
        "{seen}"
    );
    assert!(!seen.err().contains("hunter2"), "{seen}");
}

/// Neither arguments nor log nor data directory have them.
fn assert_no_secret(world: &World, secrets: &[&str]) {
    let pid = world.weir().pid().as_raw_nonzero();
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let mut seen = vec![("arguments".to_owned(), arguments)];
    seen.push(("log".to_owned(), world.weir().log().into_bytes()));
    eventually("the data directory is read", || {
        let files = fs::read_dir(world.weir().data()).ok()?;
        for file in files.flatten().filter(|file| file.path().is_file()) {
            let name = file.file_name().to_string_lossy().into_owned();
            seen.push((name, fs::read(file.path()).ok()?));
        }
        Some(())
    });
    for (name, bytes) in seen {
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} stands in the {name}");
        }
    }
}

fn answer_for_the_role(mut stream: std::net::TcpStream) {
    loop {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let body = match request.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" => "token".to_owned(),
            "/latest/meta-data/iam/security-credentials/" => "weir-role".to_owned(),
            "/latest/meta-data/iam/security-credentials/weir-role" => format!(
                "{{\"Code\":\"Success\",\"AccessKeyId\":\"{KEY_ID}\",\"SecretAccessKey\":\"{SECRET}\",\
                 \"Token\":\"session\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
            ),
            other => panic!("asked for {other}"),
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
