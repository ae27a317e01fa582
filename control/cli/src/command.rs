//! The commands that ask the running control plane, one file per resource.

pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod nodes;
pub(crate) mod play;
pub(crate) mod recordings;
pub(crate) mod rewrap;
pub(crate) mod roles;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod users;
pub(crate) mod watch;

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::output::{Array, Table, stdout};

/// Prints a listing that came in one piece.
fn list<const N: usize, T: Serialize>(
    json: bool,
    head: [&'static str; N],
    entries: &[T],
    row: impl Fn(&T) -> [String; N],
) -> anyhow::Result<()> {
    let mut out = stdout();
    if json {
        let mut array = Array::new();
        for entry in entries {
            array.push(&mut out, entry)?;
        }
        array.end(&mut out)?;
    } else {
        let rows: Vec<_> = entries.iter().map(row).collect();
        Table::new(head).print(&mut out, &rows)?;
    }
    std::io::Write::flush(&mut out)?;
    Ok(())
}

/// `k=v,k=v` in the order of the keys.
fn joined_pairs<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{key}={value}");
    }
    text
}

/// A time to live as the schema has it: whole seconds, 0 for the default.
fn ttl_seconds(ttl: Option<Duration>) -> anyhow::Result<u64> {
    match ttl.map(|ttl| ttl.as_secs()) {
        None => Ok(0),
        Some(0) => Err(crate::failure::usage(
            "got a --ttl below one second while expecting 1s or more",
        )),
        Some(seconds) => Ok(seconds),
    }
}
