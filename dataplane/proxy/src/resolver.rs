//! Addresses of targets that are known by name.
//!
//! The C library's resolver knows what the operator has configured (hosts file, search domains, NSS), and blocks. So
//! each question has a thread of its own for as long as it takes, and a bounded number of them exist: names that nobody
//! answers for hold up other names, and never a session.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use futures_channel::oneshot;
use tokio::sync::Semaphore;

/// Questions that are open at the same time, over all cores. An unanswered one takes 10 s and more.
const OPEN_QUESTIONS: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    open: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self {
            open: Arc::new(Semaphore::new(OPEN_QUESTIONS)),
        }
    }

    /// All addresses of `host:port`, in the resolver's order; at least one. A wait for others counts against `limit`.
    pub(crate) async fn resolve(&self, address: &str, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = address.parse() {
            return Ok(vec![address]);
        }
        let late = |_| {
            let seconds = limit.as_secs();
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {seconds} s"))
        };
        let asking = Box::pin(self.ask(address.to_owned()));
        let found = monoio::time::timeout(limit, asking).await.map_err(late)??;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }

    async fn ask(&self, address: String) -> io::Result<Vec<SocketAddr>> {
        let ended = || io::Error::other("the resolver's thread has ended");
        let permit = Arc::clone(&self.open)
            .acquire_owned()
            .await
            .map_err(|_| ended())?;
        let (told, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                let found = address.to_socket_addrs().map(Vec::from_iter);
                drop(permit);
                // Who asked may have gone.
                drop(told.send(found));
            })?;
        answer.await.map_err(|_| ended())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn names_and_addresses_are_resolved_and_nonsense_is_not() {
        let resolver = Resolver::new();
        run(async {
            let literal = resolver.resolve("[::1]:22", LIMIT).await.unwrap();
            assert_eq!(literal, ["[::1]:22".parse().unwrap()]);
            let named = resolver.resolve("localhost:22", LIMIT).await.unwrap();
            assert!(named.contains(&"127.0.0.1:22".parse().unwrap()), "{named:?}");
            resolver.resolve("no port here", LIMIT).await.unwrap_err();
        });
    }

    #[test]
    fn question_behind_too_many_others_ends_at_its_limit() {
        let resolver = Resolver::new();
        let all = u32::try_from(OPEN_QUESTIONS).unwrap();
        let taken = resolver.open.try_acquire_many(all).unwrap();
        let limit = Duration::from_millis(20);
        let late = run(resolver.resolve("localhost:22", limit)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        // Who gave up holds no place.
        drop(taken);
        run(resolver.resolve("localhost:22", LIMIT)).unwrap();
        assert_eq!(resolver.open.available_permits(), OPEN_QUESTIONS);
    }
}
