//! Standard output and standard error arrive whole, each on its own stream.

use weir_tests::World;

use crate::claims::transparent;

transparent!(
    interleaved_lines_keep_their_streams,
    stderr_may_follow_the_end_of_stdout,
    bytes_of_every_value_pass,
    large_stderr_passes
);

fn interleaved_lines_keep_their_streams(world: &World) {
    let seen = world
        .exec("for i in $(seq 2000); do echo out $i; echo err $i >&2; done")
        .succeed();
    let lines = |word: &str| (1..=2000).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert_eq!(seen.out(), lines("out"));
    assert_eq!(seen.err(), lines("err"));
}

fn stderr_may_follow_the_end_of_stdout(world: &World) {
    let seen = world
        .exec("echo first; exec >&-; sleep 0.3; echo late >&2; exit 3")
        .run()
        .ended_with(3);
    assert_eq!((seen.out().as_str(), seen.err().as_str()), ("first\n", "late\n"));
}

fn bytes_of_every_value_pass(world: &World) {
    let all: Vec<u8> = (0..=255).cycle().take(256 * 300).collect();
    let seen = world.exec("cat").input(all.clone()).succeed();
    assert!(
        seen.stdout == all,
        "{} bytes came back of {}",
        seen.stdout.len(),
        all.len()
    );
}

fn large_stderr_passes(world: &World) {
    let seen = world
        .exec("head -c 5000000 /dev/zero | tr '\\0' e >&2; echo done")
        .succeed();
    assert_eq!(seen.out(), "done\n");
    assert_eq!(seen.stderr.len(), 5_000_000);
    assert!(seen.stderr.iter().all(|byte| *byte == b'e'));
}
