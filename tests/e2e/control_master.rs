//! Many sessions over one connection.

use weir_tests::{Running, World, eventually};

use crate::claims::transparent;

transparent!(eight_sessions_at_once_keep_apart);

/// All eight far commands wait for each other, so none could end if one were held back by another.
fn eight_sessions_at_once_keep_apart(world: &World) {
    let far = world.far_dir("far");
    let socket = world.path_text("mux");
    let mut master = world.ssh().args(["-M", "-N", "-S", &socket, "target"]).spawn();
    eventually("the master is up", || {
        assert!(master.is_running(), "the master ended: {}", master.stderr());
        world
            .ssh()
            .args(["-S", &socket, "-O", "check", "target"])
            .run()
            .status
            .success()
            .then_some(())
    });
    let sessions: Vec<Running> = (0..8)
        .map(|n| {
            let command = format!(
                "cd {}; touch {n}; until [ $(ls | wc -l) = 8 ]; do sleep 0.02; done
                 echo out {n}; echo err {n} >&2; head -c 2000000 /dev/zero | tr '\\0' {n}; exit {n}",
                far.display()
            );
            world
                .ssh()
                .args(["-S", &socket, "-o", "ControlMaster=no", "target", &command])
                .spawn()
        })
        .collect();
    for (n, session) in (0..).zip(sessions) {
        let seen = session.wait().ended_with(n);
        let expected = format!("out {n}\n{}", n.to_string().repeat(2_000_000));
        assert!(seen.stdout == expected.as_bytes(), "{seen}");
        assert_eq!(seen.err(), format!("err {n}\n"));
    }
    world
        .ssh()
        .args(["-S", &socket, "-O", "exit", "target"])
        .succeed();
    master.wait();
}
