//! SFTP read in passing: no bytes of either end make the decoder fail, hang or grow, and their division changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::check_transfer;
use weir_relay::transfers::program::CopyProgram;

fuzz_target!(|data: &[u8]| check_transfer(&CopyProgram::Sftp, data));
