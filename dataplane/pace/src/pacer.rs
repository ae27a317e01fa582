use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, VecDeque},
};

use crate::{
    Admission, Config, Event, Explanation, Hint, Next, Outcome, Random, Request, Snapshot, TargetId, Ticket,
    Timestamp,
    share::Share,
    target::{Context, Target},
    totals::Totals,
};

/// Admission of handshakes to many targets.
///
/// A request and a report cost a map look-up each and do not depend on the number of targets but for the
/// timers, which are a tree. Who waits costs O(log n) of its own target's queue.
#[derive(Debug)]
pub struct Pacer {
    config: Config,
    share: Share,
    hints: HashMap<TargetId, Hint>,
    index: HashMap<TargetId, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// At most one for each target.
    timers: BTreeSet<(Timestamp, u32)>,
    idle: Idle,
    events: VecDeque<Event>,
    next_number: u64,
    /// What was counted at targets that are forgotten.
    forgotten: Totals,
}

/// Whole cache lines: a login at a target that has not been used for long costs as much as it has lines to fetch.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    target: Option<Target>,
    timer: Option<Timestamp>,
    idle_since: Option<Timestamp>,
    /// The number of its entry in the order of the idle.
    listed: Option<u64>,
}

/// Targets without anybody, in the order in which they are looked at again.
///
/// A target has one entry at most, which stays where it is while the target is used: only when it comes to the front is the
/// target looked at, and put at the end again if it was used meanwhile. So becoming idle costs nothing, and a target is
/// remembered for at least `memory_time` and less than twice that.
#[derive(Debug, Default)]
struct Idle {
    order: VecDeque<Entry>,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    listed_at: Timestamp,
    number: u64,
    slot: u32,
}

impl Pacer {
    /// A pacer that knows no target yet, alone with its targets.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            share: Share::of(1),
            hints: HashMap::new(),
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            idle: Idle::default(),
            events: VecDeque::new(),
            next_number: 0,
            forgotten: Totals::default(),
        }
    }

    /// Asks for a handshake.
    pub fn request(&mut self, now: Timestamp, request: &Request<'_>, rng: Random<'_>) -> Admission {
        let number = self.number();
        let slot = self.enter(request.target);
        self.with(now, slot, rng, |target, cx| target.request(cx, number, request))
            .expect("the target has just been entered")
    }

    /// Tells what has become of an admitted handshake. A ticket that has ended is ignored: the first packet may come after
    /// the slot was given back.
    pub fn report(&mut self, now: Timestamp, ticket: Ticket, outcome: Outcome, rng: Random<'_>) -> Next {
        self.with(now, ticket.slot, rng, |target, cx| {
            target.report(cx, ticket.number, outcome)
        })
        .unwrap_or(Next::Done)
    }

    /// The caller waits no longer, or has not dialled; right at any time, also when it has been admitted meanwhile.
    ///
    /// A handshake that is on its way is not left but finished and reported: cut off, it would cost a penalty.
    pub fn leave(&mut self, now: Timestamp, ticket: Ticket, rng: Random<'_>) {
        self.with(now, ticket.slot, rng, |target, cx| {
            target.leave(cx, ticket.number)
        });
    }

    /// What a ticket waits for; none if it does not wait.
    #[must_use]
    pub fn explain(&self, now: Timestamp, ticket: Ticket) -> Option<Explanation> {
        let target = self.slots.get(ticket.slot as usize)?.target.as_ref()?;
        target.explain_wait(now, ticket.number, &self.config)
    }

    /// Does what is due: slots given back, waits that are over, tries after a pause. Right at any time.
    pub fn poll(&mut self, now: Timestamp, rng: Random<'_>) {
        while let Some(&(due, slot)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            self.slots[slot as usize].timer = None;
            self.with(now, slot, rng, |target, cx| target.poll(cx));
        }
        self.forget_idle(now);
    }

    /// When [`Pacer::poll`] is due. It may change with every other call.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let idle = self
            .idle
            .order
            .front()
            .map(|entry| entry.listed_at + self.config.memory_time);
        timer.into_iter().chain(idle).min()
    }

    /// The next of what has happened to others than the caller of the last call.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// So many data planes share the targets now, this one included.
    pub fn set_planes(&mut self, now: Timestamp, planes: u32, rng: Random<'_>) {
        if planes.max(1) == self.share.planes() {
            return;
        }
        self.share = Share::of(planes);
        let slots = u32::try_from(self.slots.len()).expect("slots are numbered by u32");
        for slot in 0..slots {
            // The idle have nobody to whom it matters.
            if self.slots[slot as usize].idle_since.is_none() {
                self.with(now, slot, rng, |target, cx| target.pump(cx));
            }
        }
    }

    /// What is known of a target beforehand; none takes it back. The caller bounds the number of hints.
    pub fn set_hint(&mut self, now: Timestamp, target: &TargetId, hint: Option<Hint>, rng: Random<'_>) {
        let known = hint.clone();
        match hint {
            Some(hint) => self.hints.insert(target.clone(), hint),
            None => self.hints.remove(target),
        };
        if let Some(slot) = self.index.get(target).copied() {
            self.with(now, slot, rng, |target, cx| target.set_hint(cx, known));
        }
    }

    /// One target, if it is in use or remembered.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp, target: &TargetId) -> Option<Snapshot> {
        let slot = *self.index.get(target)?;
        let target = self.slots[slot as usize].target.as_ref()?;
        Some(target.snapshot(now, self.share, &self.config))
    }

    /// All targets that are in use or remembered, in no order.
    pub fn snapshots(&self, now: Timestamp) -> impl Iterator<Item = Snapshot> {
        let targets = self.slots.iter().filter_map(|slot| slot.target.as_ref());
        targets.map(move |target| target.snapshot(now, self.share, &self.config))
    }

    /// All targets together. It looks at each, as [`Pacer::snapshots`] does.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.forgotten.clone();
        for target in self.slots.iter().filter_map(|slot| slot.target.as_ref()) {
            target.add_counts(&mut totals);
            target.add_present(&mut totals, &self.config);
        }
        totals
    }

    /// At most `limit` targets, those first that an operator has to see: where most gave up, then most drops, then most
    /// waited or wait, then most logins; equal ones by name.
    ///
    /// It looks at each target, and makes a snapshot of these only.
    #[must_use]
    pub fn busiest(&self, now: Timestamp, limit: usize) -> Vec<Snapshot> {
        let mut first = BinaryHeap::new();
        for target in self.slots.iter().filter_map(|slot| slot.target.as_ref()) {
            let rank = Reverse(target.rank());
            if first.len() < limit {
                first.push((rank, target.id()));
            } else if let Some(mut last) = first.peek_mut()
                && rank < last.0
            {
                *last = (rank, target.id());
            }
        }
        let ranked = first.into_sorted_vec().into_iter();
        ranked
            .filter_map(|(_, target)| self.snapshot(now, target))
            .collect()
    }

    /// The limits that this pacer goes by.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The slot of a target, which is made if nothing is known of it.
    fn enter(&mut self, id: &TargetId) -> u32 {
        if let Some(slot) = self.index.get(id) {
            return *slot;
        }
        let hint = self.hints.get(id).cloned();
        let target = Target::new(id.clone(), hint, &self.config);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("memory ends before four billion targets")
        });
        self.slots[slot as usize].target = Some(target);
        self.index.insert(id.clone(), slot);
        slot
    }

    /// One step of one target, and what follows from it for timers and memory. None if the target is forgotten.
    fn with<T>(
        &mut self,
        now: Timestamp,
        slot: u32,
        rng: Random<'_>,
        step: impl FnOnce(&mut Target, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let place = &mut self.slots[slot as usize];
        let target = place.target.as_mut()?;
        let mut cx = Context {
            now,
            config: &self.config,
            share: self.share,
            rng,
            events: &mut self.events,
            slot,
        };
        let answer = step(target, &mut cx);
        if target.is_idle() {
            let fresh = target.is_fresh(now);
            // A timer that was left over does not make it younger.
            if place.idle_since.is_none() {
                self.rest(now, slot, fresh);
            }
            return Some(answer);
        }
        if place.idle_since.take().is_some() {
            self.idle.count -= 1;
        }
        if let Some(due) = target.next_timeout(&cx)
            && place.timer.is_none_or(|timer| due < timer)
        {
            // A timer that has become too early fires for nothing and is set anew; one that is too late would be missed.
            if let Some(timer) = place.timer.replace(due) {
                self.timers.remove(&(timer, slot));
            }
            self.timers.insert((due, slot));
        }
        Some(answer)
    }

    /// Nobody is left at a target: it is forgotten, or remembered for what was learnt.
    fn rest(&mut self, now: Timestamp, slot: u32, fresh: bool) {
        if fresh || self.config.memory_limit == 0 {
            self.forget(slot);
            return;
        }
        let place = &mut self.slots[slot as usize];
        place.idle_since = Some(now);
        self.idle.count += 1;
        if place.listed.is_none() {
            self.list(now, slot);
        }
        self.forget_idle(now);
    }

    fn list(&mut self, now: Timestamp, slot: u32) {
        let number = self.number();
        self.slots[slot as usize].listed = Some(number);
        self.idle.order.push_back(Entry {
            listed_at: now,
            number,
            slot,
        });
    }

    /// Forgets who is idle for too long, or is one too many.
    fn forget_idle(&mut self, now: Timestamp) {
        while let Some(&Entry {
            listed_at,
            number,
            slot,
        }) = self.idle.order.front()
        {
            let due = now >= listed_at + self.config.memory_time;
            let crowded = self.idle.count > self.config.memory_limit;
            if !due && !crowded {
                return;
            }
            self.idle.order.pop_front();
            let place = &mut self.slots[slot as usize];
            if place.listed != Some(number) {
                continue;
            }
            match place.idle_since {
                None => place.listed = None,
                Some(since) if since + self.config.memory_time <= now => self.forget(slot),
                Some(since) if crowded && since <= listed_at => self.forget(slot),
                Some(_) => self.list(now, slot),
            }
        }
    }

    fn forget(&mut self, slot: u32) {
        let place = std::mem::take(&mut self.slots[slot as usize]);
        if let Some(timer) = place.timer {
            self.timers.remove(&(timer, slot));
        }
        self.idle.count -= usize::from(place.idle_since.is_some());
        if let Some(target) = place.target {
            target.add_counts(&mut self.forgotten);
            self.index.remove(target.id());
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
