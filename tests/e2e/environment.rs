//! Requests on a session beside its command: environment, subsystems, unknown ones.

use weir_tests::World;
use weir_tests::world::Builder;

use crate::claims::transparent;

transparent!(with accepting: variables_pass, an_unknown_subsystem_is_refused);

fn accepting() -> Builder {
    World::builder().sshd("AcceptEnv GIFT")
}

fn variables_pass(world: &World) {
    let seen = world
        .ssh()
        .args(["-o", "SendEnv=GIFT", "target", "echo \"[$GIFT]\""])
        .env("GIFT", "ä b")
        .succeed();
    assert_eq!(seen.out(), "[ä b]\n");
}

fn an_unknown_subsystem_is_refused(world: &World) {
    let seen = world
        .ssh()
        .args(["-s", "target", "no-such-subsystem"])
        .run()
        .ended_with(255);
    assert!(seen.err().contains("subsystem request failed"), "{seen}");
}
