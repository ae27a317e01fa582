//! KEXINIT and what follows it, well framed, to either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{End, frame, parts};

fuzz_target!(|data: &[u8]| {
    let Some((&side, rest)) = data.split_first() else {
        return;
    };
    let mut end = if side & 1 == 0 {
        End::server()
    } else {
        End::client()
    };
    if !end.take(b"SSH-2.0-fuzz\r\n") {
        return;
    }
    for (i, content) in parts(rest).enumerate() {
        // The first message is always a KEXINIT, the others say themselves what they are.
        let payload = if i == 0 {
            [&[20], content].concat()
        } else {
            content.to_vec()
        };
        if !end.take(&frame(&payload)) {
            break;
        }
    }
    assert!(end.payloads.is_empty(), "a packet came up before there were keys");
});
