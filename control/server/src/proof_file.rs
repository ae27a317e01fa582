//! The newest proofs that were taken, where a kill of the process does not take them.
//!
//! A certificate must not wait for the disk: it is made on the thread that carries sessions. Its audit event follows within
//! moments, and a process that is killed before would take the proof a second time. So the proof is written to a file,
//! unsynced, before the certificate leaves: that costs some microseconds, and the kernel keeps it whatever becomes of the process.
//! What remains is a power failure within the same moments, which ends every session that the certificate was for.
//!
//! Two files by turns. One is emptied when it is the older one and the journal has written all that it speaks of.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::sync::oneshot;

use crate::replay::ProofDigest;

/// A digest, and in eight bytes, lowest first, when its certificate ends.
const RECORD_BYTES: usize = 24;

/// From this length on a file is followed by the other: 1.5 MB, a quarter of an hour of 70 sessions a second.
const TURN_BYTES: usize = RECORD_BYTES * 65_536;

pub(crate) struct ProofFile {
    current: File,
    other: File,
    current_bytes: usize,
    /// Comes when the journal has written everything up to when `current` was full.
    written: Option<oneshot::Receiver<()>>,
}

impl ProofFile {
    /// Opens the files in a directory, and gives what a former run left in them.
    pub(crate) fn open(directory: &Path) -> io::Result<(ProofFile, Vec<(ProofDigest, u64)>)> {
        let mut left = Vec::new();
        let mut open = |name| {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(directory.join(name))?;
            file.read_to_end(&mut left)?;
            // What a power failure tore is no record.
            left.truncate(left.len() / RECORD_BYTES * RECORD_BYTES);
            io::Result::Ok(file)
        };
        let (current, other) = (open("proofs.0")?, open("proofs.1")?);
        let records = left.chunks_exact(RECORD_BYTES).map(|record| {
            let (mut proof, mut expires) = (ProofDigest::default(), [0; 8]);
            proof.copy_from_slice(&record[..16]);
            expires.copy_from_slice(&record[16..]);
            (proof, u64::from_le_bytes(expires))
        });
        let records = records.collect();
        let file = ProofFile {
            current,
            other,
            current_bytes: 0,
            written: None,
        };
        Ok((file, records))
    }

    /// Forgets what a former run left, once it is known elsewhere.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.current.set_len(0)?;
        self.other.set_len(0)
    }

    /// Writes a proof down. `mark` asks the journal to say when all that it has been told is written.
    pub(crate) fn note(
        &mut self,
        proof: ProofDigest,
        expires: u64,
        mark: impl FnOnce() -> Option<oneshot::Receiver<()>>,
    ) -> io::Result<()> {
        if self.current_bytes >= TURN_BYTES {
            match &mut self.written {
                None => self.written = mark(),
                Some(written) => {
                    if written.try_recv().is_ok() {
                        self.turn()?;
                    }
                }
            }
        }
        let mut record = [0; RECORD_BYTES];
        record[..16].copy_from_slice(&proof);
        record[16..].copy_from_slice(&expires.to_le_bytes());
        self.current.write_all(&record)?;
        self.current_bytes += RECORD_BYTES;
        Ok(())
    }

    /// Empties the older file and goes on in it.
    fn turn(&mut self) -> io::Result<()> {
        self.other.set_len(0)?;
        mem::swap(&mut self.current, &mut self.other);
        self.current_bytes = 0;
        self.written = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(n: u64) -> ProofDigest {
        u128::from(n).to_be_bytes()
    }

    #[test]
    fn a_file_is_emptied_only_after_the_journal_has_what_it_speaks_of() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, left) = ProofFile::open(directory.path()).unwrap();
        assert!(left.is_empty());
        let full = (TURN_BYTES / RECORD_BYTES) as u64;
        let unasked = || panic!("not full yet");
        (0..full).for_each(|n| file.note(proof(n), n, unasked).unwrap());
        let (done, written) = oneshot::channel();
        file.note(proof(full), 7, || Some(written)).unwrap();
        file.note(proof(full + 1), 7, unasked).unwrap();
        done.send(()).unwrap();
        (full + 2..2 * full + 2).for_each(|n| file.note(proof(n), n, unasked).unwrap());
        drop(file);
        let left = ProofFile::open(directory.path()).unwrap().1;
        assert_eq!(
            left.len() as u64,
            2 * full + 2,
            "both files are there until the next turn"
        );

        let (mut file, _) = ProofFile::open(directory.path()).unwrap();
        file.clear().unwrap();
        file.note(proof(1), 9, unasked).unwrap();
        std::io::Write::write_all(&mut file.current, b"torn").unwrap();
        assert_eq!(ProofFile::open(directory.path()).unwrap().1, [(proof(1), 9)]);
    }
}
