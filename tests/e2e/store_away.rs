//! The S3 server is killed under load and comes back: no session notices, and everything is there once.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use weir_tests::world::free_port;
use weir_tests::{Running, S3, World, eventually};

use crate::store_s3::object_of;

#[test]
fn it_costs_disk_and_no_session_and_everything_is_put_once() {
    let mut s3 = S3::start();
    let metrics = free_port();
    let world = World::builder()
        .config(&format!("metrics = \"127.0.0.1:{metrics}\"\n{}", s3.config()))
        .start();
    world.exec("echo before").succeed();
    // Some go on all the time, and one large upload is cut.
    let long: Vec<Running> = (0..3)
        .map(|n| world.exec(&format!("cat; echo end-{n}")).spawn())
        .collect();
    world.exec("head -c 30000000 /dev/urandom").succeed();
    s3.kill();
    for n in 0..12 {
        let seen = world.exec(&format!("echo while-away-{n}")).succeed();
        assert_eq!(seen.out(), format!("while-away-{n}\n"));
    }
    world.weir().expect_log(&[
        "a recording cannot be put",
        "cannot be reached: Connection refused",
    ]);
    let page = eventually("the metrics tell that they wait", || {
        let page = get(metrics);
        (gauge(&page, "weir_recordings_waiting")? >= 12.0).then_some(page)
    });
    assert!(
        gauge(&page, "weir_recordings_waiting_bytes").is_some_and(|bytes| bytes > 0.0),
        "{page}"
    );
    assert!(
        gauge(&page, "weir_recordings_waiting_oldest_seconds").is_some(),
        "{page}"
    );
    assert!(
        gauge(&page, "weir_spool_bytes").is_some_and(|bytes| bytes > 0.0),
        "{page}"
    );
    assert!(
        gauge(&page, "weir_spool_free_bytes").is_some_and(|bytes| bytes > 0.0),
        "{page}"
    );
    let status = world.weir().admin(&["status"]);
    assert!(
        status.contains("store     away") && status.contains("cannot be reached"),
        "{status}"
    );
    let status = world.weir().json(&["status"]);
    assert!(status["store"]["waiting"].as_u64() >= Some(12), "{status}");

    s3.start_again();
    for (n, mut client) in long.into_iter().enumerate() {
        client.write(b"still here\n");
        client.close_stdin();
        let seen = client.wait().succeeded();
        assert_eq!(seen.out(), format!("still here\nend-{n}\n"));
    }
    let sessions = world.weir().finished_sessions(17);
    for session in &sessions {
        assert_eq!(object_of(&s3, session).len(), 1, "{}", session.id());
        world.weir().verify(session).succeeded();
    }
    assert_eq!(s3.objects().len(), 17);
    let uploads = world.weir().json(&["audit", "ls", "--kind", "session.upload"]);
    let uploads = uploads.as_array().unwrap();
    let named: HashSet<_> = uploads.iter().map(|event| event["session"].as_str()).collect();
    assert_eq!((uploads.len(), named.len()), (17, 17));
    eventually("nothing waits", || {
        (gauge(&get(metrics), "weir_recordings_waiting")? == 0.0).then_some(())
    });
    let status = world.weir().admin(&["status"]);
    assert!(
        status.contains("store     s3://audit/ssh/weir, 0 recordings wait"),
        "{status}"
    );
}

#[test]
fn weir_starts_and_ends_while_the_store_is_away_and_nothing_is_lost() {
    let mut s3 = S3::start();
    s3.kill();
    let mut world = World::builder().config(&s3.config()).start();
    world
        .weir()
        .expect_log(&["the store is away", "cannot be reached"]);
    world.exec("echo first").succeed();
    world.weir().signal(Signal::TERM);
    let status = world.weir_mut().wait_within(Duration::from_secs(20));
    assert!(status.success(), "{status}: {}", world.weir().log());
    s3.start_again();
    world.restart_weir();
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    assert_eq!(world.weir().export(&session, "text"), b"first\n");
}

fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the metrics address answers");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: weir\r\n\r\n")
        .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    answer
}

fn gauge(page: &str, name: &str) -> Option<f64> {
    let mut lines = page.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
