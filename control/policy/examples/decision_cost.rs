//! What one decision costs in CPU time, in an installation of 100,000 nodes and 1,000 roles, for a user who holds ten of them.
//!
//! `cargo run --release -p weir-policy --example decision_cost`

use std::hint::black_box;
use std::time::Duration;

use weir_policy::{Labels, Node, PolicySet, User};

const NODES: u32 = 100_000;
const ROLES: u32 = 1_000;
const HELD: u32 = 10;
const DECISIONS: u32 = 200_000;

fn main() {
    let roles: Vec<(String, String)> = (0..ROLES)
        .map(|n| {
            let name = format!("role{n}");
            let document = format!(
                "name = \"{name}\"\n[allow]\nlogins = [\"^svc-{n}-.*$\", \"root\"]\n\
                 node_labels = {{ env = [\"dev\", \"^prod-(eu|us)-{n}$\"], team = \"*\" }}\n\
                 [deny]\nnode_labels = {{ tier = \"^secret.*$\" }}\n"
            );
            (name, document)
        })
        .collect();
    let nodes = (0..NODES).map(|n| Node {
        id: format!("01J9ZQ7VX8Y4K2M3N5{n:08}").into(),
        name: format!("web{n}").into(),
        address: format!("web{n}.example.com:22").into(),
        labels: Labels::from_iter([
            ("env".to_owned(), format!("prod-eu-{}", n % HELD)),
            ("team".to_owned(), format!("team{}", n % 50)),
            ("tier".to_owned(), "front".to_owned()),
        ]),
    });
    let user = User {
        name: "alice".to_owned(),
        logins: vec!["root".to_owned()],
        roles: (0..HELD).map(|n| format!("role{n}")).collect(),
    };

    let start = cpu_time();
    let documents = roles.iter().map(|(name, document)| (&**name, &**document));
    let set = PolicySet::new("weir", documents, [user], nodes);
    println!(
        "reading {ROLES} roles and {NODES} nodes: {:.0} ms",
        (cpu_time() - start).as_secs_f64() * 1e3
    );

    let names: Vec<String> = (0..1_000).map(|n| format!("WEB{}", n * 97)).collect();
    let start = cpu_time();
    let mut granted = 0;
    for name in names.iter().cycle().take(DECISIONS as usize) {
        let node = set.target(name).expect("the node is there");
        granted += u32::from(black_box(set.access("alice", "root", node)).is_ok());
    }
    let each = (cpu_time() - start) / DECISIONS;
    println!("finding the node and deciding: {each:?} ({granted} of {DECISIONS} granted)");
}

/// Time that this thread was on a CPU, from proc_pid_schedstat.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel keeps schedstat");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("its first field is a time in nanoseconds"))
}
