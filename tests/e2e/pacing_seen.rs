//! Who waits for a target is seen by those who run it, in the list of nodes and in the metrics, and leaves no trace when it
//! hangs up.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::world::{NODE, free_port};
use weir_tests::{Running, World, eventually};

use crate::pacing_outage::crowd;

#[test]
fn who_hangs_up_leaves_the_queue_at_once() {
    let world = World::builder().sshd("MaxStartups 5").start();
    world.exec("true").succeed();
    let crowd = crowd(&world, 5);
    let mut clients: Vec<Running> = (0..6).map(|_| world.exec("echo in").spawn()).collect();
    // Between two tries the one that is tried waits too.
    eventually("all of them wait", || {
        (pacing(&world)["waiting"] == 6).then_some(())
    });
    for client in clients.drain(..4) {
        client.signal(Signal::INT);
        client.wait();
    }
    eventually("those who have left wait no more", || {
        let pacing = pacing(&world);
        let left = pacing["waiting"].as_u64()? + pacing["in_flight"].as_u64()?;
        (left == 2).then_some(())
    });
    drop(crowd);
    for client in clients {
        assert_eq!(client.wait().succeeded().out(), "in\n");
    }
    assert_eq!(world.sshd().log_lines("Accepted publickey").len(), 3);
    let pacing = pacing(&world);
    assert!(pacing["drops"].as_u64() > Some(0), "{pacing}");
    assert_eq!(pacing["given_up"], 0, "{pacing}");
}

#[test]
fn metrics_tell_of_each_target() {
    let port = free_port();
    let world = World::builder()
        .config(&format!("metrics = \"127.0.0.1:{port}\""))
        .start();
    for _ in 0..2 {
        world.exec("true").succeed();
    }
    let answer = get(port, "/metrics");
    let target = format!("target=\"127.0.0.1:{}\",node=\"{NODE}\"", world.sshd().port());
    for line in [
        "weir_sessions_total 2".to_owned(),
        "weir_pacing_admitted_total 2".to_owned(),
        format!("weir_pacing_target_admitted_total{{{target}}} 2"),
        format!("weir_pacing_target_drops_total{{{target}}} 0"),
        format!("weir_pacing_target_waiting{{{target}}} 0.0"),
        format!("weir_pacing_target_wait_seconds_bucket{{le=\"0.0\",{target}}} 2"),
        "# EOF".to_owned(),
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "no {line:?} in {answer}"
        );
    }
    assert!(get(port, "/").starts_with("HTTP/1.1 404"));
}

/// What is told of the world's own node; the table for people has the same.
fn pacing(world: &World) -> Value {
    let rows = world.weir().json(&["nodes", "ls", "--pacing"]);
    assert_eq!(rows[0]["node"], NODE, "{rows}");
    rows[0]["pacing"].clone()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the metrics address answers");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weir\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    answer
}
