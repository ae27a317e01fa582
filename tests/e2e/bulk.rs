//! A gigabyte each way arrives bit for bit, also while both hops re-key all the time: the client asks for it on the
//! one, the target on the other, and each log tells how often it was done.
//!
//! The stream is one random block many times over, each time after its number, so that a lost,
//! repeated or moved stretch changes the hash; `openssl` computes it, as it is three times as fast
//! as `sha256sum` here.

use std::time::Duration;

use weir_tests::world::Builder;
use weir_tests::{Job, Outcome, World};

use crate::claims::transparent;

const LIMIT: Duration = Duration::from_secs(100);

transparent!(a_gigabyte_down, a_gigabyte_up);
transparent!(with rekeying:
    a_gigabyte_down_with_rekeys,
    a_gigabyte_up_with_rekeys,
    both_ways_at_once_with_rekeys
);

/// A target that renews its keys each 16 MiB, and says so.
fn rekeying() -> Builder {
    World::builder().sshd("RekeyLimit 16M").sshd("LogLevel DEBUG1")
}

fn a_gigabyte_down(world: &World) {
    download(world, "").succeed();
}

fn a_gigabyte_up(world: &World) {
    upload(world, "").succeed();
}

fn a_gigabyte_down_with_rekeys(world: &World) {
    let seen = download(world, "-v -o RekeyLimit=16M").succeed();
    assert_rekeyed(world, &seen, [blocks(world) - 4; 2]);
}

fn a_gigabyte_up_with_rekeys(world: &World) {
    let seen = upload(world, "-v -o RekeyLimit=16M").succeed();
    assert_rekeyed(world, &seen, [blocks(world) - 4; 2]);
}

/// 128 MiB there and the same back at once: each hop re-keys while data is on its way in both directions.
fn both_ways_at_once_with_rekeys(world: &World) {
    let script = stream(8)
        + "stream | tee >(openssl dgst -sha256 -r > near) | ssh -F config -v -o RekeyLimit=8M target cat \
             | openssl dgst -sha256 -r > back
           cmp near back";
    let seen = world.bash(&script).limit(LIMIT).succeed();
    assert_rekeyed(world, &seen, [15, 7]);
}

fn download(world: &World, options: &str) -> Job {
    let dir = world.path_text("");
    let far = stream(blocks(world)) + "stream";
    world.write("stream.sh", far);
    let script = stream(blocks(world))
        + &format!(
            "stream | openssl dgst -sha256 -r > near &
             ssh -F config {options} target 'cd {dir} && bash stream.sh' | openssl dgst -sha256 -r > far
             wait $!
             cmp near far"
        );
    world.bash(&script).limit(LIMIT)
}

fn upload(world: &World, options: &str) -> Job {
    let script = stream(blocks(world))
        + &format!(
            "stream | openssl dgst -sha256 -r > near &
             stream | ssh -F config {options} target openssl dgst -sha256 -r > far
             wait $!
             cmp near far"
        );
    world.bash(&script).limit(LIMIT)
}

/// A gigabyte, where it goes through Weir. The claim itself is checked with less.
fn blocks(world: &World) -> usize {
    if world.is_direct() { 8 } else { 64 }
}

/// A shell function that writes `blocks` times 16 MiB.
fn stream(blocks: usize) -> String {
    format!(
        "[ -f block ] || head -c 16777216 /dev/urandom > block
         stream() {{ for i in $(seq {blocks}); do echo $i; cat block; done; }}
         "
    )
}

/// Keys were exchanged at least so often on the client's hop, and on the target's.
fn assert_rekeyed(world: &World, seen: &Outcome, at_least: [usize; 2]) {
    let logs = [("client", seen.err()), ("target", world.sshd().log())];
    for ((whose, log), at_least) in logs.into_iter().zip(at_least) {
        let exchanges = log.matches("SSH2_MSG_NEWKEYS sent").count();
        assert!(
            exchanges >= at_least,
            "the {whose} exchanged keys {exchanges} times while at least {at_least} were forced"
        );
    }
}
