//! One target: its window, its sources, who is in flight and who waits.
//!
//! Invariant, after each call: nobody waits who could start now.

mod ending;

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use crate::{
    Admission, End, Event, Explanation, Hindrance, Request, Snapshot, TargetId, Ticket, Timestamp,
    config::Config,
    hint::Hint,
    penalty::{Credentials, Trust},
    queue::{Caller, LaneKey, Queue},
    retry::{Random, below},
    share::Share,
    source::{Gate, Sources},
    totals::Totals,
    waits::{Histogram, Waits},
    window::{SLOT, Window},
};

/// What a call brings with it.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a Config,
    pub(crate) share: Share,
    pub(crate) rng: Random<'a>,
    pub(crate) events: &'a mut VecDeque<Event>,
    /// The place of the target, for tickets.
    pub(crate) slot: u32,
}

impl Context<'_> {
    fn ticket(&self, number: u64) -> Ticket {
        Ticket {
            number,
            slot: self.slot,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Target {
    id: TargetId,
    /// Boxed: most targets have none.
    hint: Option<Box<Hint>>,
    window: Window,
    credentials: Credentials,
    sources: Sources,
    /// At most as many as the window has slots.
    flights: Vec<Flight>,
    queue: Option<Box<Queue>>,
    /// How long a handshake takes, a moving average.
    typical: Duration,
    last_contact: Option<Timestamp>,
    last_end: Option<Timestamp>,
    trouble: Trouble,
    counts: Counts,
    /// Boxed: at most targets nobody ever waits.
    waited: Option<Box<Histogram>>,
}

/// A handshake that has been admitted.
#[derive(Debug)]
struct Flight {
    number: u64,
    caller: Caller,
    admitted_at: Timestamp,
    /// It may cost a penalty yet.
    at_risk: bool,
    /// When its slot is given back, once it has authenticated.
    lingers_until: Option<Timestamp>,
}

/// What is wrong with a target whose sshd does not answer.
#[derive(Debug, Default)]
struct Trouble {
    /// The first refusal since the last contact.
    away_since: Option<Timestamp>,
    refusals: u32,
    silent: bool,
    unreachable: bool,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: u64,
    drops: u64,
    retries: u64,
    given_up: u64,
}

/// How much an operator has to see a target: by what accumulates, so that the order is nearly the same a minute later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank<'a> {
    given_up: u64,
    drops: u64,
    /// Those who wait yet included.
    waits: u64,
    admitted: u64,
    name: Reverse<&'a TargetId>,
}

/// A handshake with an untuned sshd nearby, until one has been seen.
const USUAL_HANDSHAKE: Duration = Duration::from_millis(100);

impl Target {
    pub(crate) fn new(id: TargetId, hint: Option<Hint>, config: &Config) -> Self {
        let first = u64::from(config.first_window) * SLOT;
        // Up to what sshd is known to take it grows fast; what is not known is felt out.
        let known = hint.as_ref().and_then(|hint| hint.max_startups);
        let known = known.map_or(0, |limits| u64::from(limits.start) * SLOT);
        Self {
            id,
            hint: hint.map(Box::new),
            window: Window::new(first, known.max(first)),
            credentials: Credentials::default(),
            sources: Sources::default(),
            flights: Vec::new(),
            queue: None,
            typical: USUAL_HANDSHAKE,
            last_contact: None,
            last_end: None,
            trouble: Trouble::default(),
            counts: Counts::default(),
            waited: None,
        }
    }

    pub(crate) fn request(&mut self, cx: &mut Context<'_>, number: u64, request: &Request<'_>) -> Admission {
        let source = self.sources.place(request.source);
        let trust = self.credentials.trust(request.credential);
        let mut caller = Caller {
            user: request.user.clone(),
            priority: request.priority,
            credential: request.credential,
            source,
            arrived_at: cx.now,
            ahead: 0,
            tries: 0,
            drops: 0,
            refusals: 0,
        };
        self.spread_first(cx);
        // Who waits for the same is waiting because it is shut, so nobody is overtaken by looking at the gates alone.
        self.pump(cx);
        if self.admits(cx, (source, trust)) {
            self.start(cx, number, caller, trust);
            return Admission::Admitted(cx.ticket(number));
        }
        let queue = self.queue.get_or_insert_default();
        // Who has just been served without having had to wait is not new when it has to.
        let is_under_way = |flight: &Flight| flight.caller.user == *request.user;
        let is_new = queue.is_new(request.user) && !self.flights.iter().any(is_under_way);
        let ahead = queue.ahead_of(request.user, is_new);
        caller.ahead = ahead;
        if queue.len() >= cx.config.queue_limit {
            let Some(displaced) = queue.displaced_by(request.user) else {
                caller.ahead = queue.len();
                return Admission::Refused(self.explain(cx.now, cx.config, &caller, End::QueueFull));
            };
            self.give_up(cx, displaced, End::Displaced);
        }
        let queue = self.queue.get_or_insert_default();
        queue.push(number, caller, trust, is_new);
        Admission::Queued {
            ticket: cx.ticket(number),
            ahead,
        }
    }

    /// A caller has gone: from the queue, or before it dialled. A handshake that has succeeded goes on to its end.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_>, number: u64) {
        if let Some(queue) = &mut self.queue {
            queue.remove(number);
        }
        let gone = |flight: &Flight| flight.number == number && flight.lingers_until.is_none();
        if let Some(place) = self.flights.iter().position(gone) {
            self.end(cx, place);
        }
        self.pump(cx);
    }

    /// Does what is due.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due = |flight: &Flight| flight.lingers_until.is_some_and(|until| until <= now);
        while let Some(place) = self.flights.iter().position(due) {
            self.release(cx, place);
        }
        while let Some((number, arrived_at)) = self.queue.as_ref().and_then(|queue| queue.oldest())
            && cx.now >= arrived_at + cx.config.wait_limit
        {
            self.give_up(cx, number, End::WaitLimit);
        }
        self.pump(cx);
    }

    /// When [`Target::poll`] has something to do, if nothing else happens before.
    pub(crate) fn next_timeout(&self, cx: &Context<'_>) -> Option<Timestamp> {
        let lingering = self.flights.iter().filter_map(|flight| flight.lingers_until);
        let first = lingering.min();
        let Some(queue) = &self.queue else {
            return first;
        };
        let deadline = queue
            .oldest()
            .map(|(_, arrived_at)| arrived_at + cx.config.wait_limit);
        let slice = self
            .window
            .opens_at(cx.now, self.flights.len() as u64, self.cap(cx));
        let gates = queue
            .heads()
            .filter_map(|(key, _)| match self.gate(cx.now, key, cx.config) {
                Gate::OpensAt(at) => Some(at),
                // The window, or the end of another, is what it waits for.
                Gate::Open | Gate::Shut => None,
            });
        // A slice that opens while the gates are shut would wake for nothing, once: it is not worth a rule.
        let waits = [deadline, queue.next_rouse(), slice, gates.min()];
        waits.into_iter().flatten().chain(first).min()
    }

    /// Starts whoever may start.
    pub(crate) fn pump(&mut self, cx: &mut Context<'_>) {
        let Some(mut queue) = self.queue.take() else {
            return;
        };
        queue.rouse(cx.now, |credential| self.credentials.trust(credential));
        while self
            .window
            .admits(cx.now, self.flights.len() as u64, self.cap(cx))
        {
            let open = queue
                .heads()
                .filter(|(key, _)| self.gate(cx.now, *key, cx.config) == Gate::Open)
                .min_by_key(|(_, turn)| *turn);
            let Some((key, _)) = open else { break };
            let (number, caller) = queue.pop(key).expect("a lane with a head has a caller");
            let waited = caller.waited(cx.now);
            if caller.tries == 0 {
                self.waited.get_or_insert_default().add(waited);
            }
            self.start(cx, number, caller, key.1);
            let ticket = cx.ticket(number);
            cx.events.push_back(Event::Admit { ticket, waited });
        }
        if !queue.is_empty() {
            self.queue = Some(queue);
        }
    }

    pub(crate) fn set_hint(&mut self, cx: &mut Context<'_>, hint: Option<Hint>) {
        self.hint = hint.map(Box::new);
        self.pump(cx);
    }

    pub(crate) fn id(&self) -> &TargetId {
        &self.id
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.queue.is_none()
    }

    /// Nothing would be lost by forgetting it.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.credentials.is_empty()
            && self.window.is_fresh()
            && self.trouble.away_since.is_none()
            && self.sources.iter().all(|source| source.is_fresh(now))
    }

    pub(crate) fn snapshot(&self, now: Timestamp, share: Share, config: &Config) -> Snapshot {
        let cap = share.cap(self.hint(), config.presumed);
        let slots = |parts: u64| parts as f64 / SLOT as f64;
        let penalties = self.sources.iter().map(|source| source.account.level(now));
        Snapshot {
            target: self.id.clone(),
            window: slots(self.window.limit(now, cap)),
            ceiling: self.window.ceiling(now),
            share: slots(cap),
            in_flight: self.flights.len(),
            waiting: self.waiting(),
            admitted: self.counts.admitted,
            drops: self.counts.drops,
            retries: self.counts.retries,
            given_up: self.counts.given_up,
            waits: self.waits(),
            penalty: penalties.max().unwrap_or_default(),
            ban_suspected: self.ban_suspected(config),
            handshake: self.typical,
        }
    }

    /// Adds what happens at the target now.
    pub(crate) fn add_present(&self, totals: &mut Totals, config: &Config) {
        totals.in_flight += self.flights.len();
        totals.waiting += self.waiting();
        totals.targets += 1;
        totals.bans_suspected += usize::from(self.ban_suspected(config));
    }

    /// Adds what has been counted since it was entered.
    pub(crate) fn add_counts(&self, totals: &mut Totals) {
        totals.admitted += self.counts.admitted;
        totals.drops += self.counts.drops;
        totals.retries += self.counts.retries;
        totals.given_up += self.counts.given_up;
        totals.waits.add(&self.waits());
    }

    pub(crate) fn rank(&self) -> Rank<'_> {
        let waited = self.waited.as_ref().map_or(0, |waited| waited.count());
        Rank {
            given_up: self.counts.given_up,
            drops: self.counts.drops,
            waits: waited + self.waiting() as u64,
            admitted: self.counts.admitted,
            name: Reverse(&self.id),
        }
    }

    fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    fn waits(&self) -> Waits {
        Waits::of(self.counts.admitted - self.counts.retries, self.waited.as_deref())
    }

    fn ban_suspected(&self, config: &Config) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| source.suspicion.is_raised(config))
    }

    fn hint(&self) -> &Hint {
        self.hint.as_deref().unwrap_or(&Hint::NONE)
    }

    fn cap(&self, cx: &Context<'_>) -> u64 {
        cx.share.cap(self.hint(), cx.config.presumed)
    }

    fn gate(&self, now: Timestamp, (source, trust): LaneKey, config: &Config) -> Gate {
        self.sources[source].gate(now, trust, self.hint(), config)
    }

    fn admits(&self, cx: &Context<'_>, key: LaneKey) -> bool {
        let in_flight = self.flights.len() as u64;
        self.window.admits(cx.now, in_flight, self.cap(cx)) && self.gate(cx.now, key, cx.config) == Gate::Open
    }

    fn start(&mut self, cx: &Context<'_>, number: u64, mut caller: Caller, trust: Trust) {
        let at_risk = trust != Trust::Proven;
        let source = &mut self.sources[caller.source];
        source.in_flight += 1;
        source.at_risk += u32::from(at_risk);
        self.counts.admitted += 1;
        self.counts.retries += u64::from(caller.tries > 0);
        caller.tries += 1;
        self.flights.push(Flight {
            number,
            caller,
            admitted_at: cx.now,
            at_risk,
            lingers_until: None,
        });
        let cap = self.cap(cx);
        self.window.taken(cx.now, self.flights.len() as u64, cap);
    }

    /// Gives back the slot of a flight.
    fn end(&mut self, cx: &mut Context<'_>, place: usize) -> Flight {
        let flight = self.flights.swap_remove(place);
        if self.flights.is_empty() {
            // Of a hundred thousand idle targets none keeps memory for it, and the next to be used finds it in the cache.
            self.flights = Vec::new();
        }
        let source = &mut self.sources[flight.caller.source];
        source.in_flight -= 1;
        source.at_risk -= u32::from(flight.at_risk);
        self.last_end = Some(cx.now);
        let (cap, longest) = (self.cap(cx), cx.config.wait_limit / 4);
        self.window
            .vacated(cx.now, self.flights.len() as u64, cap, longest, cx.rng);
        flight
    }

    fn spread_first(&mut self, cx: &mut Context<'_>) {
        if !self.is_idle() {
            return;
        }
        let spread = self.spread(cx);
        if !spread.is_zero() && self.last_end.is_none_or(|end| cx.now >= end + spread) {
            self.window.postpone(cx.now + below(cx.rng, spread));
        }
    }

    fn spread(&self, cx: &Context<'_>) -> Duration {
        cx.share.spread(self.hint(), cx.config.presumed, self.typical)
    }

    fn give_up(&mut self, cx: &mut Context<'_>, number: u64, end: End) {
        let queue = self.queue.as_mut().expect("who gives up has waited");
        let caller = queue.remove(number).expect("who gives up has waited");
        if queue.is_empty() {
            self.queue = None;
        }
        self.counts.given_up += 1;
        let explanation = self.explain(cx.now, cx.config, &caller, end);
        let ticket = cx.ticket(number);
        cx.events.push_back(Event::GiveUp { ticket, explanation });
    }

    /// What a caller in the queue waits for; none if it does not stand there.
    pub(crate) fn explain_wait(&self, now: Timestamp, number: u64, config: &Config) -> Option<Explanation> {
        let caller = self.queue.as_ref()?.caller(number)?;
        Some(self.explain(now, config, caller, End::NotYet))
    }

    fn explain(&self, now: Timestamp, config: &Config, caller: &Caller, end: End) -> Explanation {
        let source = &self.sources[caller.source];
        let trust = self.credentials.trust(caller.credential);
        let held = matches!(
            source.account_gate(now, trust, self.hint(), config),
            Gate::OpensAt(_)
        );
        let hindrance = if source.suspicion.is_raised(config) {
            Hindrance::SuspectedBan
        } else if self.trouble.away_since.is_some() {
            Hindrance::Away
        } else if self.trouble.silent {
            Hindrance::Silent
        } else if self.trouble.unreachable {
            Hindrance::Unreachable
        } else if caller.drops > 0 || !source.suspicion.is_fresh() {
            Hindrance::Drops
        } else if held {
            Hindrance::Penalties
        } else {
            Hindrance::Slow
        };
        Explanation {
            end,
            hindrance,
            waited: caller.waited(now),
            tries: caller.tries,
            drops: caller.drops,
            ahead: caller.ahead,
        }
    }
}
