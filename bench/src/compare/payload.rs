//! What bulk sessions carry: zeros, which a recording compresses to nothing, or bytes that nothing shortens.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::{NamedTempFile, TempPath};

/// The two kinds of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Data {
    /// Zeros: the least that compressing and storing a recording can cost.
    Zeros,
    /// Random bytes out of a file in memory: the most that it can cost.
    Random,
}

impl Data {
    /// As it stands after "of".
    pub(super) fn name(self) -> &'static str {
        match self {
            Data::Zeros => "zeros",
            Data::Random => "random bytes",
        }
    }
}

/// Where bulk data comes from, on either side; a file that was made for it goes with it.
pub(super) struct Payload {
    gigabytes: f64,
    command: String,
    _block: Option<TempPath>,
}

/// Repeating a block of this length costs no memory, and no chunk of a recording sees the repetition.
const BLOCK_BYTES: u64 = 100_000_000;

impl Payload {
    pub(super) fn prepare(data: Data, gigabytes: f64) -> Result<Payload> {
        // By its digits, since a cast would make something of what is no amount.
        let bytes: u64 = format!("{:.0}", gigabytes * 1e9)
            .parse()
            .with_context(|| format!("{gigabytes} GB cannot be moved"))?;
        if data == Data::Zeros || bytes == 0 {
            return Ok(Payload {
                gigabytes,
                command: format!("head -c {bytes} /dev/zero"),
                _block: None,
            });
        }
        let copies = bytes.div_ceil(BLOCK_BYTES);
        let block = random_file(bytes / copies).context("cannot prepare random bytes")?;
        Ok(Payload {
            gigabytes: (bytes / copies * copies) as f64 / 1e9,
            command: format!("for n in $(seq {copies}); do cat {}; done", block.display()),
            _block: Some(block),
        })
    }

    /// How much it is, in 10⁹ bytes.
    pub(super) fn gigabytes(&self) -> f64 {
        self.gigabytes
    }

    /// A command for a shell that prints it all.
    pub(super) fn command(&self) -> &str {
        &self.command
    }
}

fn random_file(bytes: u64) -> Result<TempPath> {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let mut file = NamedTempFile::with_prefix_in("weir-compare-", dir)?;
    io::copy(&mut File::open("/dev/urandom")?.take(bytes), &mut file)?;
    Ok(file.into_temp_path())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_kinds_print_as_much_as_was_asked_for() {
        for data in [Data::Zeros, Data::Random] {
            let payload = Payload::prepare(data, 0.250_000_001).unwrap();
            let script = format!("{{ {}; }} | wc -c", payload.command());
            let printed = Command::new("sh").args(["-c", &script]).output().unwrap();
            let printed: f64 = String::from_utf8(printed.stdout).unwrap().trim().parse().unwrap();
            assert_eq!(printed, (payload.gigabytes() * 1e9).round());
            // Blocks of one length: a byte for each may be missing.
            assert!((249_999_998.0..=250_000_001.0).contains(&printed), "{printed}");
        }
    }
}
