//! The pacer as all cores share it: who waits on which core is woken there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use weir_pace::{Admission, Config, Outcome, Pacer, TargetId, Ticket};

/// Admission of upstream handshakes, one view of each target for all cores.
///
/// The lock is held for a map look-up and a queue operation, twice per session.
#[derive(Debug)]
pub(crate) struct Pacing {
    epoch: Instant,
    wait_limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pacer: Pacer,
    waiting: HashMap<Ticket, oneshot::Sender<Slot>>,
}

/// Why a handshake was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacedOut {
    #[error(
        "waited {waited_s} s to connect, behind {ahead} others: the target takes its logins slowly; \
         try again, or ask its operator to raise MaxStartups in sshd_config"
    )]
    Expired { waited_s: u64, ahead: usize },
    #[error(
        "{ahead} others wait to connect to this target already; try again later, \
         or ask its operator to raise MaxStartups in sshd_config"
    )]
    QueueFull { ahead: usize },
}

impl Pacing {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            wait_limit: config.wait_limit,
            state: Mutex::new(State {
                pacer: Pacer::new(config),
                waiting: HashMap::new(),
            }),
        })
    }

    /// Waits until a handshake to `target` may start. Dropping the future leaves the queue.
    pub(crate) async fn admit(self: &Arc<Self>, target: &TargetId) -> Result<Slot, PacedOut> {
        let (ticket, ahead, admitted) = {
            let mut state = self.lock();
            match state.pacer.request(self.now(), target) {
                Admission::Admitted => return Ok(self.slot(target)),
                Admission::Refused { ahead } => return Err(PacedOut::QueueFull { ahead }),
                Admission::Queued { ticket, ahead } => {
                    let (sender, admitted) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    (ticket, ahead, admitted)
                }
            }
        };
        let place = Place {
            pacing: self,
            target,
            ticket,
        };
        let outcome = monoio::time::timeout(self.wait_limit, admitted).await;
        drop(place);
        match outcome {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(PacedOut::Expired {
                waited_s: self.wait_limit.as_secs(),
                ahead,
            }),
        }
    }

    fn slot(self: &Arc<Self>, target: &TargetId) -> Slot {
        Slot {
            pacing: Arc::clone(self),
            target: TargetId::clone(target),
            outcome: Outcome::Failed,
        }
    }

    fn release(self: &Arc<Self>, target: &TargetId, outcome: Outcome) {
        let woken = {
            let mut state = self.lock();
            let Some(ticket) = state.pacer.release(self.now(), target, outcome) else {
                return;
            };
            state.waiting.remove(&ticket)
        };
        let slot = self.slot(target);
        if let Some(sender) = woken {
            // Who has gone meanwhile drops the slot, which passes it on.
            drop(sender.send(slot));
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; leaving it early frees it.
struct Place<'a> {
    pacing: &'a Arc<Pacing>,
    target: &'a TargetId,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pacing.lock();
        state.pacer.cancel(self.target, self.ticket);
        state.waiting.remove(&self.ticket);
    }
}

/// The right to one handshake with a target; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pacing: Arc<Pacing>,
    target: TargetId,
    outcome: Outcome,
}

impl Slot {
    /// The target has counted the login: it no longer counts against `MaxStartups`.
    pub(crate) fn authenticated(mut self) {
        self.outcome = Outcome::Authenticated;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pacing.release(&self.target, self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    fn pacing(wait_limit: Duration) -> Arc<Pacing> {
        Pacing::new(Config {
            window: 1,
            queue_limit: 1,
            wait_limit,
        })
    }

    #[test]
    fn waiter_on_another_core_is_woken_by_a_release() {
        let pacing = pacing(Duration::from_secs(20));
        let target = TargetId::from("a:22");
        let slot = run(pacing.admit(&target)).unwrap();
        let other = Arc::clone(&pacing);
        let waiter = std::thread::spawn(move || run(other.admit(&TargetId::from("a:22"))).is_ok());
        while pacing.lock().pacer.load(&target).1 == 0 {
            std::thread::yield_now();
        }
        slot.authenticated();
        assert!(waiter.join().unwrap());
        assert_eq!(pacing.lock().pacer.load(&target), (0, 0));
    }

    #[test]
    fn wait_ends_in_words_at_the_limit_and_beyond_the_queue() {
        let pacing = pacing(Duration::from_millis(20));
        let target = TargetId::from("a:22");
        run(async {
            let slot = pacing.admit(&target).await.unwrap();
            let refused = async {
                monoio::time::sleep(Duration::from_millis(1)).await;
                pacing.admit(&target).await
            };
            let (waited, refused) = futures_util::future::join(pacing.admit(&target), refused).await;
            assert_eq!(
                waited.unwrap_err(),
                PacedOut::Expired {
                    waited_s: 0,
                    ahead: 0
                }
            );
            assert_eq!(refused.unwrap_err(), PacedOut::QueueFull { ahead: 1 });
            drop(slot);
            assert_eq!(pacing.lock().pacer.load(&target), (0, 0));
        });
    }
}
