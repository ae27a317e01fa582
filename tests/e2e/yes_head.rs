//! A near reader that has had enough ends the far writer.
//!
//! OpenSSH's client tells its server so by `eow@openssh.com`, and only where the server's identification
//! begins with `OpenSSH`: a proxy that names itself otherwise lets `yes | head` hang for ever.

use std::time::Duration;

use weir_tests::{World, eventually};

use crate::claims::transparent;

transparent!(the_far_writer_ends_at_once);

fn the_far_writer_ends_at_once(world: &World) {
    let far = world.path_text("pid");
    let script = format!("set +o pipefail; ssh -F config target 'echo $$ > {far}; exec yes' | head -n 1");
    let seen = world.bash(&script).limit(Duration::from_secs(10)).succeed();
    assert_eq!(seen.out(), "y\n");
    assert!(seen.took < Duration::from_secs(5), "{seen}");
    let pid = world.read("pid").trim().to_owned();
    eventually("the far `yes` has ended", || {
        (!std::path::Path::new("/proc").join(&pid).exists()).then_some(())
    });
}
