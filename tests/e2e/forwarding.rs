//! Channels that the far side or the near side opens: forwarded ports, sockets and agents.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};

use weir_tests::world::free_port;
use weir_tests::{Running, World, eventually};

use crate::claims::transparent;

transparent!(
    local_ports_lead_to_the_far_network,
    remote_ports_lead_back,
    sockets_are_forwarded_both_ways,
    the_agent_is_reachable_from_the_far_side,
    several_remote_forwards_are_answered_in_order
);

fn local_ports_lead_to_the_far_network(world: &World) {
    let (server, served) = echo_in_capitals();
    let near = free_port();
    let _ssh = holding(world, &["-L", &format!("127.0.0.1:{near}:127.0.0.1:{server}")]);
    let mut stream = TcpStream::connect(("127.0.0.1", near)).unwrap();
    assert_eq!(converse(&mut stream), "HELLO");
    served.join().unwrap();
}

fn remote_ports_lead_back(world: &World) {
    let (server, served) = echo_in_capitals();
    let far = free_port();
    let _ssh = holding(world, &["-R", &format!("127.0.0.1:{far}:127.0.0.1:{server}")]);
    let mut stream = TcpStream::connect(("127.0.0.1", far)).unwrap();
    assert_eq!(converse(&mut stream), "HELLO");
    served.join().unwrap();
}

fn sockets_are_forwarded_both_ways(world: &World) {
    for direction in ["-L", "-R"] {
        let (near, far) = (
            world.path_text(&format!("near{direction}")),
            world.path_text(&format!("far{direction}")),
        );
        let listener = UnixListener::bind(&far).unwrap();
        let served = thread::spawn(move || capitals(&mut listener.accept().unwrap().0));
        let _ssh = holding(world, &[direction, &format!("{near}:{far}")]);
        let mut stream = UnixStream::connect(&near).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
        served.join().unwrap();
    }
}

fn the_agent_is_reachable_from_the_far_side(world: &World) {
    let seen = world
        .bash(
            "eval $(ssh-agent -s) >/dev/null; trap 'kill $SSH_AGENT_PID' EXIT
             ssh-keygen -q -t ed25519 -N '' -C shown-by-the-agent -f in-agent; ssh-add -q in-agent
             ssh -A -F config target 'ssh-add -l'",
        )
        .succeed();
    assert!(seen.out().contains("shown-by-the-agent"), "{seen}");
}

/// `tcpip-forward` for port 0 is answered with a port: the n-th answer must belong to the n-th request.
fn several_remote_forwards_are_answered_in_order(world: &World) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().port();
    let (first, last) = (free_port(), free_port());
    let forward = |port: u16| format!("127.0.0.1:{port}:127.0.0.1:1");
    let ssh = world
        .ssh()
        .args([
            "-v",
            "-R",
            &forward(first),
            "-R",
            &forward(busy),
            "-R",
            &forward(last),
        ])
        .args(["target", "echo up; cat"])
        .spawn();
    let mut ssh = ssh;
    ssh.expect_stdout("up");
    eventually("all three are answered", || {
        let said = ssh.stderr();
        (said.contains(&format!("remote forward success for: listen 127.0.0.1:{first},"))
            && said.contains(&format!("remote port forwarding failed for listen port {busy}"))
            && said.contains(&format!("remote forward success for: listen 127.0.0.1:{last},")))
        .then_some(())
    });
    ssh.close_stdin();
    ssh.wait().succeeded();
}

/// A session that keeps forwards open, once it has them.
fn holding(world: &World, forward: &[&str]) -> Running {
    let mut ssh = world
        .ssh()
        .option("ExitOnForwardFailure=yes")
        .args(forward)
        .args(["target", "echo up; cat"])
        .spawn();
    ssh.expect_stdout("up");
    ssh
}

/// Serves one connection.
fn echo_in_capitals() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (
        port,
        thread::spawn(move || capitals(&mut listener.accept().unwrap().0)),
    )
}

/// Reads to the end, then answers: half-closed connections pass too.
fn capitals(stream: &mut (impl Read + Write)) {
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    stream.write_all(heard.to_uppercase().as_bytes()).unwrap();
}

fn converse(stream: &mut TcpStream) -> String {
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
