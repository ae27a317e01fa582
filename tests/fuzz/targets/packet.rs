//! The packet layer: bytes of a stranger, before keys and after, to either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{End, connected, converse, parts};

fuzz_target!(|data: &[u8]| {
    let Some((&[mode, choice], rest)) = data.split_first_chunk() else {
        return;
    };
    match mode % 4 {
        // Identification, framing and everything in the clear, in the pieces that the input says.
        0 => deliver(End::server(), rest),
        1 => deliver(End::client(), rest),
        // Sealed with the right keys: what an authenticated peer can send.
        2 => {
            let (mut client, mut server) = connected(choice);
            let (sender, receiver) = if choice & 0x80 == 0 {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            for payload in parts(rest) {
                if !sender.seal(payload) {
                    break;
                }
                converse(sender, receiver);
            }
        }
        // Sealed with no keys at all: nothing of it may come up.
        _ => {
            let (_, mut server) = connected(choice);
            let before = server.payloads.len();
            let _ = parts(rest).all(|piece| server.take(piece));
            assert_eq!(server.payloads.len(), before, "a forged packet was opened");
        }
    }
});

fn deliver(mut end: End, data: &[u8]) {
    let _ = parts(data).all(|piece| end.take(piece));
    assert!(end.payloads.is_empty(), "a packet came up before there were keys");
}
