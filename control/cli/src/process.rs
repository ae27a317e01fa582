//! What the process of a running Weir is allowed, set before any thread or key exists.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

/// Puts the process in order for holding secrets and many connections.
pub(crate) fn prepare() -> anyhow::Result<()> {
    forbid_core_dumps()?;
    keep_pages_small();
    raise_open_files();
    Ok(())
}

/// Keys and sessions' plaintext stand in memory: neither a crash nor another process of the same user may copy it.
fn forbid_core_dumps() -> anyhow::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
    .map_err(|error| anyhow::anyhow!("core dumps cannot be switched off: {error}"))
}

/// The allocator asks the kernel for huge pages, and then a few hundred bytes of a new size or thread cost 2 MiB: a hundred
/// idle sessions took 130 KiB each, where 38 KiB each were touched.
fn keep_pages_small() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages cannot be switched off: idle sessions will cost more memory");
    }
}

/// A session costs two sockets, and distributions still start processes with 1024 descriptors.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, limit = ?limit.current, "the limit of open files cannot be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_leaves_no_core_and_may_open_all_it_can() {
        prepare().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let files = getrlimit(Resource::Nofile);
        assert_eq!(files.current, files.maximum);
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }
}
