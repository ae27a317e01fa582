//! A segment's file, written through io_uring or by plain calls.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::Io;

/// Shared by the writes that are under way on it.
#[derive(Clone)]
pub(super) struct Disk(Rc<Kind>, #[cfg(test)] Rc<super::faults::Watched>);

enum Kind {
    Uring(tokio_uring::fs::File),
    /// Blocks the recorder's thread, which is there for it: sessions wait only for room in the hand-over.
    Plain(File),
}

impl Disk {
    pub(super) fn new(file: File, io: Io, #[cfg(test)] watched: super::faults::Watched) -> Self {
        let kind = match io {
            Io::Uring => Kind::Uring(tokio_uring::fs::File::from_std(file)),
            Io::Plain => Kind::Plain(file),
        };
        Disk(
            Rc::new(kind),
            #[cfg(test)]
            Rc::new(watched),
        )
    }

    /// Writes all of `bytes` at `offset` and gives them back.
    pub(super) async fn write(&self, bytes: Vec<u8>, offset: u32) -> (io::Result<()>, Vec<u8>) {
        #[cfg(test)]
        let writing = match self.1.write(u64::from(offset), &bytes) {
            Ok(writing) => writing,
            Err(err) => return (Err(err), bytes),
        };
        let written = match &*self.0 {
            Kind::Uring(file) => file.write_all_at(bytes, u64::from(offset)).await,
            Kind::Plain(file) => (file.write_all_at(&bytes, u64::from(offset)), bytes),
        };
        #[cfg(test)]
        self.1.written(writing);
        written
    }

    /// Returns when all that was written before is durable.
    pub(super) async fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        let syncing = self.1.sync()?;
        match &*self.0 {
            Kind::Uring(file) => file.sync_data().await?,
            Kind::Plain(file) => file.sync_data()?,
        }
        #[cfg(test)]
        self.1.synced(syncing);
        Ok(())
    }
}
