//! What stands in a process's memory and in its files.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Secrets to look for, each with a name for the report.
///
/// Invariant: a secret has 16 to 64 bytes, so that none is found by chance.
pub struct Needles {
    needles: Vec<(&'static str, Vec<u8>)>,
    /// Whether any needle begins with this byte: most places are passed by with one look.
    begins: [bool; 256],
}

/// No needle is longer.
const LONGEST: usize = 64;
/// Pages that are searched at a time.
const RUN: usize = 256;

// Of a page's entry in `pagemap`, bits of its last byte.
const ENTRY_LEN: usize = 8;
const PRESENT: u8 = 0x80;
const SWAPPED: u8 = 0x40;

impl Needles {
    /// Takes what is to be found.
    pub fn new(needles: Vec<(&'static str, Vec<u8>)>) -> Self {
        let mut begins = [false; 256];
        for (name, needle) in &needles {
            assert!(
                (16..=LONGEST).contains(&needle.len()),
                "{name} has {} bytes",
                needle.len()
            );
            begins[usize::from(needle[0])] = true;
        }
        Needles { needles, begins }
    }

    /// Where they stand in the memory of a process, in words.
    pub fn in_memory(&self, process: Pid) -> Vec<String> {
        let directory = PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()));
        let maps = fs::read_to_string(directory.join("maps")).expect("weir is alive");
        // Weir closes its memory to its own user, so that only the system's administrator can do this.
        let memory = File::open(directory.join("mem"))
            .expect("the memory of weir can be read by root, or with CAP_SYS_PTRACE: run the tests with it");
        let resident = File::open(directory.join("pagemap")).expect("weir is alive");
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (
                fields.next().unwrap_or_default(),
                fields.next().unwrap_or_default(),
            );
            let (begin, end) = range.split_once('-').expect("a line of maps begins with a range");
            let [begin, end] = [begin, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
            if rights.starts_with('r') && !line.ends_with("[vvar]") && !line.ends_with("[vsyscall]") {
                self.in_range(&memory, &resident, begin..end, line, &mut found);
            }
        }
        found
    }

    /// Searches the pages that were ever touched; an allocator reserves a thousand times as many.
    fn in_range(
        &self,
        memory: &File,
        resident: &File,
        range: Range<u64>,
        line: &str,
        found: &mut Vec<String>,
    ) {
        let page = rustix::param::page_size();
        let pages =
            usize::try_from(range.end - range.start).expect("a mapping fits the address space") / page;
        let mut entries = vec![0; pages * ENTRY_LEN];
        let table = range.start / page as u64 * ENTRY_LEN as u64;
        // The kernel's own mappings have no entries.
        let listed = resident.read_at(&mut entries, table).unwrap_or(0) / ENTRY_LEN;
        let is_touched = |at: usize| entries[at * ENTRY_LEN + 7] & (PRESENT | SWAPPED) != 0;
        let mut at = 0;
        while at < listed {
            let run = (at..listed.min(at + RUN))
                .take_while(|&at| is_touched(at))
                .count();
            if run > 0 {
                let begin = range.start + (at * page) as u64;
                // A needle that reaches into the next page begins in this run.
                let beyond = if at + run < listed { LONGEST } else { 0 };
                let mut bytes = vec![0; run * page + beyond];
                // What was unmapped meanwhile is nobody's any more.
                let read = memory.read_at(&mut bytes, begin).unwrap_or(0);
                self.search(&bytes[..read], |name, offset| {
                    if offset < run * page {
                        found.push(format!("{name} at {:x} in {line}", begin + offset as u64));
                    }
                });
            }
            at += run.max(1);
        }
    }

    /// In which files below a directory they stand.
    pub fn in_files(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                found.extend(self.in_files(&path)?);
            } else if entry.file_type()?.is_file() {
                match fs::read(&path) {
                    Ok(bytes) => self.search(&bytes, |name, _| {
                        found.push(format!("{name} in {}", path.display()));
                    }),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    fn search(&self, bytes: &[u8], mut found: impl FnMut(&'static str, usize)) {
        for (offset, byte) in bytes.iter().enumerate() {
            if !self.begins[usize::from(*byte)] {
                continue;
            }
            for (name, needle) in &self.needles {
                if bytes[offset..].starts_with(needle) {
                    found(name, offset);
                }
            }
        }
    }
}
