//! The pacer as all cores share it: who waits on which core is woken there.
//!
//! ```text
//!  admit ──▶ Turn ──▶ dial, handshake ──▶ authenticated ──▶ Slot ──▶ first packet: counted
//!    ▲ waits           │ dropped                             (or the pacer's own 50 ms)
//!    └──── again ◀─────┘
//! ```
//!
//! One lock, held for some map look-ups, a few times per session. A thread of its own keeps the pacer's time and sleeps
//! until something is due.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_channel::oneshot;
use tracing::{info, warn};
use weir_crypto::random::{PooledRandom, Random};
use weir_pace::{
    Admission, BanAlert, Config, Event, Explanation, Hint, Next, Outcome, Pacer, Request, TargetId, Ticket,
    Timestamp,
};

use crate::view::View;

/// Admission of upstream handshakes, one view of each target for all cores. Dropped, it lets nobody wait any longer.
#[derive(Debug)]
pub(crate) struct Pacing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    state: Mutex<State>,
    /// Rung when something is due sooner than the timekeeper sleeps.
    sooner: Condvar,
}

struct State {
    pacer: Pacer,
    waiting: HashMap<Ticket, oneshot::Sender<Result<(), Explanation>>>,
    /// What the pacer has been told beforehand.
    hints: HashMap<TargetId, Hint>,
    random: PooledRandom,
    /// Until when the timekeeper sleeps; `None`: until it is rung for.
    sleeps_until: Option<Timestamp>,
    on_alert: OnAlert,
    is_stopped: bool,
}

/// What is done about a target that seems to refuse this proxy; called with the lock held, so it must not come back here.
pub(crate) type OnAlert = Box<dyn Fn(&BanAlert) + Send>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("waiting", &self.waiting.len())
            .field("sleeps_until", &self.sleeps_until)
            .finish_non_exhaustive()
    }
}

/// Somebody who is to be told what has become of the wait.
type Told = (oneshot::Sender<Result<(), Explanation>>, Result<(), Explanation>);

impl Pacing {
    /// Starts the timekeeper too.
    pub(crate) fn start(config: Config, on_alert: OnAlert) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            epoch: Instant::now(),
            state: Mutex::new(State {
                pacer: Pacer::new(config),
                waiting: HashMap::new(),
                hints: HashMap::new(),
                random: PooledRandom::default(),
                sleeps_until: None,
                on_alert,
                is_stopped: false,
            }),
            sooner: Condvar::new(),
        });
        let timekeeper = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("pacer".into())
            .spawn(move || timekeeper.keep_time())?;
        Ok(Self(inner))
    }

    /// Asks for a handshake.
    pub(crate) fn admit(&self, request: &Request<'_>) -> Result<Place, Explanation> {
        let inner = &self.0;
        let mut state = inner.lock();
        let State { pacer, random, .. } = &mut *state;
        let admission = pacer.request(inner.now(), request, &mut || number(random));
        let answer = match admission {
            Admission::Admitted(ticket) => Ok(Place::Admitted(Turn::of(inner, ticket))),
            Admission::Queued { ticket, .. } => Ok(Place::Queued(Waiting {
                admitted: state.wait(ticket),
                turn: Turn::of(inner, ticket),
            })),
            Admission::Refused(explanation) => Err(explanation),
        };
        inner.settle(state);
        answer
    }

    /// Goes by what the control plane knows now: how many data planes share the targets, and what is known of them beforehand.
    pub(crate) fn follow_view(&self, view: &ArcSwap<View>) {
        let mut state = self.0.lock();
        // Looked at under the lock, so that of two who follow the last one has the newest.
        let view = view.load();
        state.follow(self.0.now(), view.settings.live_data_planes, &view.pacing_hints);
        self.0.settle(state);
    }

    /// Looks at what the pacer knows, at its present time.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Pacer, Timestamp) -> R) -> R {
        let state = self.0.lock();
        look(&state.pacer, self.0.now())
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_stopped = true;
        // Who waits is told by the end of the channel.
        state.waiting.clear();
        self.0.sooner.notify_one();
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.epoch.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the last step has brought for others, and sees to it that the next is made in time.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let told = state.take_events();
        let due = state.pacer.next_timeout();
        let rings = due.is_some_and(|due| state.sleeps_until.is_none_or(|until| due < until));
        drop(state);
        if rings {
            self.sooner.notify_one();
        }
        for (sender, answer) in told {
            // Who has gone meanwhile leaves by itself.
            drop(sender.send(answer));
        }
    }

    fn report(&self, ticket: Ticket, outcome: Outcome) -> Reported {
        let mut state = self.lock();
        let State { pacer, random, .. } = &mut *state;
        let reported = match pacer.report(self.now(), ticket, outcome, &mut || number(random)) {
            Next::Done => Reported::Done,
            Next::GiveUp(explanation) => Reported::GiveUp(explanation),
            Next::Wait => Reported::Wait(state.wait(ticket)),
        };
        self.settle(state);
        reported
    }

    fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.waiting.remove(&ticket);
        let State { pacer, random, .. } = &mut *state;
        pacer.leave(self.now(), ticket, &mut || number(random));
        self.settle(state);
    }

    fn keep_time(&self) {
        let mut state = self.lock();
        while !state.is_stopped {
            let now = self.now();
            let State { pacer, random, .. } = &mut *state;
            pacer.poll(now, &mut || number(random));
            let told = state.take_events();
            if !told.is_empty() {
                drop(state);
                for (sender, answer) in told {
                    drop(sender.send(answer));
                }
                state = self.lock();
                continue;
            }
            state.sleeps_until = state.pacer.next_timeout();
            state = match state.sleeps_until {
                None => self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let sleep = due.saturating_sub(self.now()).max(SHORTEST_SLEEP);
                    let woken = self.sooner.wait_timeout(state, sleep);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// What is due is done together with what is due within this time, so that a busy pacer does not wake a thread for each.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// What came of a report.
enum Reported {
    Done,
    Wait(oneshot::Receiver<Result<(), Explanation>>),
    GiveUp(Explanation),
}

impl State {
    fn follow(&mut self, now: Timestamp, planes: u32, hints: &HashMap<TargetId, Hint>) {
        let (pacer, random) = (&mut self.pacer, &mut self.random);
        let rng = &mut || number(random);
        pacer.set_planes(now, planes, rng);
        self.hints.retain(|target, _| {
            let stays = hints.contains_key(target);
            if !stays {
                pacer.set_hint(now, target, None, rng);
            }
            stays
        });
        for (target, hint) in hints {
            if self.hints.get(target) != Some(hint) {
                pacer.set_hint(now, target, Some(hint.clone()), rng);
                self.hints.insert(target.clone(), hint.clone());
            }
        }
    }

    fn wait(&mut self, ticket: Ticket) -> oneshot::Receiver<Result<(), Explanation>> {
        let (sender, receiver) = oneshot::channel();
        // After the end the channel is closed at once.
        if !self.is_stopped {
            self.waiting.insert(ticket, sender);
        }
        receiver
    }

    fn take_events(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(event) = self.pacer.next_event() {
            match event {
                Event::Admit { ticket, .. } => {
                    told.extend(self.waiting.remove(&ticket).map(|sender| (sender, Ok(()))));
                }
                Event::GiveUp { ticket, explanation } => {
                    let sender = self.waiting.remove(&ticket);
                    told.extend(sender.map(|sender| (sender, Err(explanation))));
                }
                Event::BanSuspected(alert) => {
                    warn!(target = &*alert.target, "{alert}");
                    (self.on_alert)(&alert);
                }
                Event::BanOver { target, .. } => {
                    info!(target = &*target, "the target lets this proxy in again")
                }
            }
        }
        told
    }
}

fn number(random: &mut PooledRandom) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// The answer to [`Pacing::admit`].
#[derive(Debug)]
pub(crate) enum Place {
    /// At once.
    Admitted(Turn),
    /// Later.
    Queued(Waiting),
}

/// A place in the queue. Dropped, it is left.
#[derive(Debug)]
pub(crate) struct Waiting {
    turn: Turn,
    admitted: oneshot::Receiver<Result<(), Explanation>>,
}

impl Place {
    /// Waits for the turn.
    pub(crate) async fn admitted(self) -> Result<Turn, Explanation> {
        match self {
            Self::Admitted(turn) => Ok(turn),
            Self::Queued(Waiting {
                mut turn,
                mut admitted,
            }) => {
                turn.wait(&mut admitted).await?;
                Ok(turn)
            }
        }
    }

    /// Sees what it waits for, now and between two tries.
    pub(crate) fn watch(&self) -> Watch {
        let (Self::Admitted(turn) | Self::Queued(Waiting { turn, .. })) = self;
        Watch {
            inner: Arc::clone(&turn.inner),
            ticket: turn.ticket,
        }
    }
}

/// A look at somebody's wait.
#[derive(Debug)]
pub(crate) struct Watch {
    inner: Arc<Inner>,
    ticket: Ticket,
}

impl Watch {
    /// What it is that has to be waited for; nothing while it is nobody's turn but its own.
    pub(crate) fn explanation(&self) -> Option<Explanation> {
        self.inner.lock().pacer.explain(self.inner.now(), self.ticket)
    }
}

/// The right to one handshake with a target. Dropped, nothing was dialled.
#[derive(Debug)]
pub(crate) struct Turn {
    inner: Arc<Inner>,
    ticket: Ticket,
    is_over: bool,
}

/// Why there is no other try.
#[derive(Debug)]
pub(crate) enum NoTurn {
    /// It would end as the last one did.
    Pointless,
    /// The wait was too long already.
    PacedOut(Explanation),
}

impl Turn {
    fn of(inner: &Arc<Inner>, ticket: Ticket) -> Self {
        Self {
            inner: Arc::clone(inner),
            ticket,
            is_over: false,
        }
    }

    /// The handshake failed. Waits for another turn, where one promises better.
    pub(crate) async fn again(mut self, outcome: Outcome) -> Result<Turn, NoTurn> {
        match self.inner.report(self.ticket, outcome) {
            Reported::Wait(mut admitted) => {
                self.wait(&mut admitted).await.map_err(NoTurn::PacedOut)?;
                Ok(self)
            }
            Reported::Done => {
                self.is_over = true;
                Err(NoTurn::Pointless)
            }
            Reported::GiveUp(explanation) => {
                self.is_over = true;
                Err(NoTurn::PacedOut(explanation))
            }
        }
    }

    /// The target has let the user in.
    pub(crate) fn authenticated(mut self) -> Slot {
        self.is_over = true;
        self.inner.report(self.ticket, Outcome::Authenticated);
        Slot {
            inner: Arc::clone(&self.inner),
            ticket: self.ticket,
        }
    }

    /// The handshake failed, and there is nobody who would try again.
    pub(crate) fn failed(self, outcome: Outcome) {
        // What waits now is left by the drop.
        drop(self.inner.report(self.ticket, outcome));
    }

    async fn wait(
        &mut self,
        admitted: &mut oneshot::Receiver<Result<(), Explanation>>,
    ) -> Result<(), Explanation> {
        match admitted.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(explanation)) => {
                // The pacer has forgotten the ticket.
                self.is_over = true;
                Err(explanation)
            }
            // The data plane ends: nothing is told any more, to nobody.
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.inner.leave(self.ticket);
        }
    }
}

/// A login that the target still counts, for some milliseconds.
#[derive(Debug)]
pub(crate) struct Slot {
    inner: Arc<Inner>,
    ticket: Ticket,
}

impl Slot {
    /// The first packet after authentication has come: the target counts it no longer.
    pub(crate) fn counted(self) {
        self.inner.report(self.ticket, Outcome::Counted);
    }
}

#[cfg(test)]
mod tests {
    use weir_pace::{Credential, End, Hindrance, Priority, UserId};

    use super::*;
    use crate::testing::run;

    fn pacing(wait_limit: Duration, queue_limit: usize) -> Arc<Pacing> {
        let config = Config {
            first_window: 1,
            wait_limit,
            queue_limit,
            presumed: weir_pace::MaxStartups::parse("2").unwrap(),
            ..Config::default()
        };
        Arc::new(Pacing::start(config, Box::new(|_| {})).unwrap())
    }

    fn ask(pacing: &Pacing) -> Result<Place, Explanation> {
        let (target, user) = (TargetId::from("a:22"), UserId::from("alice"));
        let request = Request {
            target: &target,
            user: &user,
            source: None,
            priority: Priority::Interactive,
            credential: Credential(1),
        };
        pacing.admit(&request)
    }

    async fn admit(pacing: &Pacing) -> Result<Turn, Explanation> {
        ask(pacing)?.admitted().await
    }

    fn waiting(pacing: &Pacing) -> usize {
        pacing.0.lock().waiting.len()
    }

    #[test]
    fn waiter_on_another_core_is_woken_by_the_first_packet() {
        let pacing = pacing(Duration::from_secs(20), 10);
        let turn = run(admit(&pacing)).unwrap();
        let other = Arc::clone(&pacing);
        let waiter = std::thread::spawn(move || run(admit(&other)).map(drop));
        while waiting(&pacing) == 0 {
            std::thread::yield_now();
        }
        turn.authenticated().counted();
        waiter.join().unwrap().unwrap();
        assert_eq!(waiting(&pacing), 0);
    }

    #[test]
    fn silent_target_frees_the_slot_all_the_same() {
        let pacing = pacing(Duration::from_secs(20), 10);
        run(async {
            let slot = admit(&pacing).await.unwrap().authenticated();
            let waited = Instant::now();
            drop(admit(&pacing).await.unwrap());
            assert!(waited.elapsed() >= Duration::from_millis(45), "{waited:?}");
            slot.counted();
        });
    }

    #[test]
    fn dropped_handshake_is_tried_again() {
        let pacing = pacing(Duration::from_secs(20), 10);
        run(async {
            let turn = admit(&pacing).await.unwrap();
            let form = weir_pace::DropForm::ExceededMaxStartups;
            let turn = turn.again(Outcome::Dropped(form)).await.unwrap();
            let end = turn.again(Outcome::Rejected).await.unwrap_err();
            assert!(matches!(end, NoTurn::Pointless), "{end:?}");
        });
    }

    #[test]
    fn wait_ends_in_words_at_the_limit_and_beyond_the_queue() {
        let pacing = pacing(Duration::from_millis(30), 1);
        run(async {
            let turn = admit(&pacing).await.unwrap();
            let refused = async {
                monoio::time::sleep(Duration::from_millis(1)).await;
                admit(&pacing).await
            };
            let (waited, refused) = futures_util::future::join(admit(&pacing), refused).await;
            assert_eq!(waited.unwrap_err().end, End::WaitLimit);
            assert_eq!(refused.unwrap_err().end, End::QueueFull);
            drop(turn);
            drop(admit(&pacing).await.unwrap());
            assert_eq!(waiting(&pacing), 0);
        });
    }

    #[test]
    fn who_waits_can_ask_why() {
        let pacing = pacing(Duration::from_secs(20), 10);
        let Ok(Place::Admitted(turn)) = ask(&pacing) else {
            panic!("nobody else is there")
        };
        let place = ask(&pacing).unwrap();
        let watch = place.watch();
        let why = watch.explanation().unwrap();
        assert_eq!(
            (why.end, why.hindrance, why.ahead),
            (End::NotYet, Hindrance::Slow, 0)
        );
        drop(turn);
        assert_eq!(watch.explanation(), None, "it is its turn");
        drop(place);
    }

    #[test]
    fn hints_come_and_go() {
        let pacing = pacing(Duration::from_secs(20), 10);
        let target = TargetId::from("a:22");
        let share = |pacing: &Pacing| pacing.look(|pacer, now| pacer.snapshot(now, &target).unwrap().share);
        let Ok(Place::Admitted(_turn)) = ask(&pacing) else {
            panic!("nobody else is there")
        };
        assert!((share(&pacing) - 1.0).abs() < 1e-9);
        let hint = Hint {
            max_startups: weir_pace::MaxStartups::parse("11"),
            ..Hint::default()
        };
        let follow = |planes, hints| pacing.0.lock().follow(pacing.0.now(), planes, &hints);
        follow(2, HashMap::from([(target.clone(), hint)]));
        assert!((share(&pacing) - 5.0).abs() < 1e-9);
        follow(1, HashMap::new());
        assert!((share(&pacing) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn who_hangs_up_leaves_the_queue_at_once() {
        let pacing = pacing(Duration::from_secs(20), 10);
        run(async {
            let turn = admit(&pacing).await.unwrap();
            let gone = monoio::time::timeout(Duration::from_millis(5), admit(&pacing)).await;
            assert!(gone.is_err());
            assert_eq!(waiting(&pacing), 0);
            turn.authenticated().counted();
            drop(admit(&pacing).await.unwrap());
        });
    }
}
