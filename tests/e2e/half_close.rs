//! The end of input travels on its own: the far program goes on and answers after it.

use std::time::Duration;

use weir_tests::{World, eventually};

use crate::claims::transparent;

transparent!(
    a_hash_of_piped_input_comes_back,
    empty_input_ends_at_once,
    output_goes_on_long_after_input_ended,
    input_goes_on_after_output_ended
);

fn a_hash_of_piped_input_comes_back(world: &World) {
    let seen = world
        .bash(
            "head -c 20000000 /dev/urandom > data
             cat data | ssh -F config target sha256sum > far
             sha256sum < data > near
             cmp near far",
        )
        .succeed();
    assert!(seen.stderr.is_empty(), "{seen}");
}

fn empty_input_ends_at_once(world: &World) {
    let seen = world.exec("sha256sum").succeed();
    assert!(
        seen.out()
            .starts_with("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        "{seen}"
    );
    assert!(seen.took < Duration::from_secs(5), "{seen}");
}

fn output_goes_on_long_after_input_ended(world: &World) {
    let seen = world
        .exec("cat; sleep 0.5; head -c 3000000 /dev/zero; exit 4")
        .input("in")
        .run()
        .ended_with(4);
    assert_eq!(seen.stdout.len(), 3_000_002);
}

fn input_goes_on_after_output_ended(world: &World) {
    let far = world.path_text("far");
    let mut running = world.exec(&format!("echo ready; exec >&-; cat > {far}")).spawn();
    running.expect_stdout("ready");
    // The client has seen the far end of file by now or will soon; either way these bytes must get there.
    let sent = vec![b'x'; 1_000_000];
    running.write(&sent);
    running.close_stdin();
    running.wait().succeeded();
    eventually("the far file is complete", || {
        (world.read("far").len() == sent.len()).then_some(())
    });
}
