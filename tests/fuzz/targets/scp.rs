//! scp read in passing: no bytes of either end make the decoder fail, hang or grow, and their division changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::check_transfer;
use weir_relay::Side;
use weir_relay::transfers::program::{CopyProgram, ScpHalf};

fuzz_target!(|data: &[u8]| {
    for sender in [Side::Client, Side::Target] {
        let half = ScpHalf {
            sender,
            names: vec![b"/tmp"],
        };
        check_transfer(&CopyProgram::Scp(half), data);
    }
});
