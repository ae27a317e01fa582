//! Waits that are long or many, on one timer for a whole core.
//!
//! A timer of the runtime takes 640 bytes, and every session has a wait in it, most of the time for an exchange of keys
//! an hour away. Here a wait costs an entry in a map.
//!
//! Invariant: while anything waits, [`Alarm::keep`] sleeps until the earliest of it or has been told to look again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use tokio::sync::Notify;
use weir_ssh::Timestamp;

use crate::clock::Clock;

/// The waits of one core.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    /// By time and, where that is the same, by number.
    waits: RefCell<BTreeMap<(Timestamp, u64), Waker>>,
    next: Cell<u64>,
    /// Rung when something waits for less long than all before it.
    sooner: Notify,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            waits: RefCell::default(),
            next: Cell::new(0),
            sooner: Notify::new(),
        }
    }

    /// Resolves at `due` or some milliseconds later.
    pub(crate) async fn until(&self, due: Timestamp) {
        let number = self.next.replace(self.next.get() + 1);
        let wait = Wait {
            alarm: self,
            key: (due, number),
        };
        // Whoever waits is polled for other reasons too, with every packet of its session.
        let mut waits_as: Option<Waker> = None;
        poll_fn(|context| {
            if self.clock.now() >= due {
                return Poll::Ready(());
            }
            if !waits_as
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                waits_as = Some(context.waker().clone());
                self.insert(wait.key, context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// As [`Self::until`], for a time from now.
    pub(crate) async fn after(&self, time: Duration) {
        self.until(self.clock.now().after(time)).await;
    }

    /// Wakes what is due, for as long as the core runs.
    pub(crate) async fn keep(&self) {
        loop {
            let sooner = self.sooner.notified();
            match self.wake_due() {
                None => sooner.await,
                // Whichever comes first, the next look finds out what it was.
                Some(next) => drop(monoio::time::timeout(self.clock.until(next), sooner).await),
            }
        }
    }

    fn insert(&self, key: (Timestamp, u64), waker: Waker) {
        let mut waits = self.waits.borrow_mut();
        waits.insert(key, waker);
        if waits.first_key_value().map(|(first, _)| *first) == Some(key) {
            self.sooner.notify_one();
        }
    }

    /// Wakes what is due, and tells when the next is.
    fn wake_due(&self) -> Option<Timestamp> {
        loop {
            let mut waits = self.waits.borrow_mut();
            let first = waits.first_entry()?;
            let (due, _) = *first.key();
            if due > self.clock.now() {
                return Some(due);
            }
            let waker = first.remove();
            // What is woken may wait again at once.
            drop(waits);
            waker.wake();
        }
    }
}

struct Wait<'a> {
    alarm: &'a Alarm,
    key: (Timestamp, u64),
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.alarm.waits.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::future::{Either, join, select};

    use super::*;
    use crate::testing::run;

    fn with_alarm<F: Future>(test: impl FnOnce(Rc<Alarm>) -> F) -> F::Output {
        run(async {
            let alarm = Rc::new(Alarm::new(Clock::start()));
            let test = std::pin::pin!(test(Rc::clone(&alarm)));
            match select(test, std::pin::pin!(alarm.keep())).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(((), _)) => unreachable!("it is kept for ever"),
            }
        })
    }

    #[test]
    fn waits_end_in_their_order_whichever_began_first() {
        let order = RefCell::new(Vec::new());
        with_alarm(|alarm| async move {
            let wait = async |name, millis| {
                let due = alarm.clock.now().after(Duration::from_millis(millis));
                alarm.until(due).await;
                assert!(alarm.clock.now() >= due);
                order.borrow_mut().push(name);
            };
            join(wait("later", 30), wait("sooner", 10)).await;
            assert_eq!(*order.borrow(), ["sooner", "later"]);
            wait("past", 0).await;
        });
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing() {
        with_alarm(|alarm| async move {
            let hour = std::pin::pin!(alarm.after(Duration::from_secs(3600)));
            let soon = std::pin::pin!(alarm.after(Duration::from_millis(5)));
            assert!(matches!(select(hour, soon).await, Either::Right(_)));
            assert_eq!(alarm.waits.borrow().len(), 1, "the hour is still held, and waits");
        });
        with_alarm(|alarm| async move {
            {
                let hour = std::pin::pin!(alarm.after(Duration::from_secs(3600)));
                select(hour, std::pin::pin!(std::future::ready(()))).await;
            }
            assert!(alarm.waits.borrow().is_empty());
        });
    }
}
