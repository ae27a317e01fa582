//! The far command's end is the near one's: exit statuses and death by a signal.

use weir_tests::World;

use crate::claims::transparent;

transparent!(
    each_exit_status_arrives,
    death_by_signal_is_told_as_exit_signal,
    a_missing_command_is_127
);

fn each_exit_status_arrives(world: &World) {
    for code in [0, 1, 7, 42, 126, 254] {
        let seen = world.exec(&format!("exit {code}")).run().ended_with(code);
        assert!(seen.stdout.is_empty() && seen.stderr.is_empty(), "{seen}");
    }
}

fn death_by_signal_is_told_as_exit_signal(world: &World) {
    for signal in ["TERM", "KILL", "SEGV"] {
        let seen = world
            .ssh()
            .args(["-v", "target", &format!("kill -{signal} $$")])
            .run();
        // OpenSSH's client has no status to give for a signal, and says 255.
        assert_eq!(seen.code(), 255, "{seen}");
        assert!(seen.err().contains("rtype exit-signal"), "{seen}");
    }
}

fn a_missing_command_is_127(world: &World) {
    let seen = world.exec("no-such-command-anywhere").run().ended_with(127);
    assert!(seen.err().contains("no-such-command-anywhere"), "{seen}");
}
