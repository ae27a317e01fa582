//! A gigabyte each way arrives bit for bit, also while both hops re-key all the time.
//!
//! The stream is one random block many times over, each time after its number, so that a lost,
//! repeated or moved stretch changes the hash; `openssl` computes it, as it is three times as fast
//! as `sha256sum` here.

use std::time::Duration;

use weir_tests::{Job, World};

use crate::claims::transparent;

const LIMIT: Duration = Duration::from_secs(100);

transparent!(
    a_gigabyte_down,
    a_gigabyte_up,
    a_gigabyte_down_with_rekeys,
    a_gigabyte_up_with_rekeys,
    both_ways_at_once_with_rekeys
);

fn a_gigabyte_down(world: &World) {
    download(world, "").succeed();
}

fn a_gigabyte_up(world: &World) {
    upload(world, "").succeed();
}

fn a_gigabyte_down_with_rekeys(world: &World) {
    let seen = download(world, "-v -o RekeyLimit=16M").succeed();
    assert_rekeyed(&seen.err(), blocks(world) - 4);
}

fn a_gigabyte_up_with_rekeys(world: &World) {
    let seen = upload(world, "-v -o RekeyLimit=16M").succeed();
    assert_rekeyed(&seen.err(), blocks(world) - 4);
}

/// 128 MiB there and the same back at once: each hop re-keys while data is on its way in both directions.
fn both_ways_at_once_with_rekeys(world: &World) {
    let script = stream(8)
        + "stream | tee >(openssl dgst -sha256 -r > near) | ssh -F config -v -o RekeyLimit=8M target cat \
             | openssl dgst -sha256 -r > back
           cmp near back";
    let seen = world.bash(&script).limit(LIMIT).succeed();
    assert_rekeyed(&seen.err(), 15);
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

fn assert_rekeyed(log: &str, at_least: usize) {
    let rekeys = log
        .lines()
        .filter(|line| line.contains("SSH2_MSG_NEWKEYS sent"))
        .count();
    assert!(
        rekeys >= at_least,
        "{rekeys} key exchanges while at least {at_least} were forced"
    );
}
