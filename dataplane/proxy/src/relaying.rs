//! Packets between the two hops of a session.
//!
//! Each direction is a pump: read one hop, take its packets one by one, let the relay judge them, seal
//! them on the other hop, send the batch. A pump reads again only when the other hop has sent what was
//! sealed on it and the recorder has room, so nothing piles up.
//!
//! A batch is recorded before any of it is sent. Where the session is recorded synchronously it is held back until the record is
//! durable (`held`), in either direction; meanwhile the next batch may be read.
//!
//! Re-keying: while a hop exchanges keys nothing may be sealed on it. A packet for it then waits where it
//! was decrypted, and its pump with it; the hop that exchanges keys is driven by the other pump. This cannot
//! lock up: a pump waits for the other hop's exchange only with a packet in hand, and once a peer has begun an
//! exchange nothing but that exchange comes from it. Only an exchange of our own lets packets come
//! meanwhile, and we never begin one on a hop while the other is in one. Those packets are read even if the other
//! peer takes nothing: that one may be a client that writes before it reads, whose write waits for this very exchange.
//! They are sealed beyond a batch, up to [`EXCHANGE_BYTES`].

use std::{
    cell::RefCell,
    future::poll_fn,
    ops::Range,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tracing::debug;
use weir_relay::{Actions, Flow, Relay, Side};
use weir_ssh::{DisconnectReason, Hop};

use crate::{
    access::Access,
    alarm::Alarm,
    hop_stream::{HELD_BYTES, HopEnd, HopStream, Incoming},
    pacing::Slot,
    receive::Received,
    recorder::RecordError,
    session_log::SessionLog,
    worker::Worker,
};

/// Both hops of one session and what watches over them.
pub(crate) struct Relaying {
    client: HopStream,
    target: HopStream,
    /// Rung when a key exchange begins or ends on either hop.
    exchanges: Notify,
    state: RefCell<State>,
}

struct State {
    relay: Relay,
    /// Boxed: it is asked when something is opened, and a session at rest is to stay small.
    access: Box<Access>,
    log: SessionLog,
    actions: Actions,
    /// Replies that wait for the end of a key exchange, and to whom they go.
    deferred: Vec<(Side, Box<[u8]>)>,
    slot: Option<Slot>,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct RelayEnd {
    /// The hop that ended first; `None` when this side ended both.
    pub(crate) side: Option<Side>,
    pub(crate) why: String,
    /// Why the session can no longer be recorded, if that is what ended it.
    pub(crate) unrecorded: Option<RecordError>,
    farewell: Farewell,
}

/// What the hops that are left are told.
#[derive(Debug)]
struct Farewell {
    reason: DisconnectReason,
    text: String,
    told: Told,
}

impl RelayEnd {
    /// This side ends both hops.
    fn both(reason: DisconnectReason, why: String) -> Self {
        Self {
            side: None,
            farewell: Farewell {
                reason,
                text: why.clone(),
                told: Told::Both,
            },
            why,
            unrecorded: None,
        }
    }

    /// A user whose session cannot be recorded is told who can help.
    fn with_help(mut self, worker: &Worker) -> Self {
        if let Some(error) = &self.unrecorded {
            self.farewell.text = worker.shared.view.load().recording_failed(error);
            self.why.clone_from(&self.farewell.text);
        }
        self
    }

    fn unrecorded(error: RecordError) -> Self {
        Self {
            unrecorded: Some(error.clone()),
            ..Self::both(
                DisconnectReason::ByApplication,
                format!("session recording failed: {error}"),
            )
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The peer that is left.
    Other,
    /// Both, since both are there.
    Both,
}

/// A packet that waits for the other hop's keys, out of the receive buffer.
struct Parked {
    body: Box<[u8]>,
    /// Within `body`.
    payload: Range<usize>,
}

/// What a pump did with the bytes it has.
enum Progress {
    /// All are dealt with; more must be read.
    Drained,
    /// One packet waits until the other hop can seal.
    Parked(Parked),
    /// The transmit buffers are full.
    Full,
}

impl Relaying {
    pub(crate) fn new(
        client: HopStream,
        target: HopStream,
        relay: Relay,
        access: Access,
        log: SessionLog,
        slot: Slot,
    ) -> Self {
        let state = State {
            relay,
            access: Box::new(access),
            log,
            actions: Actions::new(),
            deferred: Vec::new(),
            slot: Some(slot),
        };
        Self {
            client,
            target,
            exchanges: Notify::new(),
            state: RefCell::new(state),
        }
    }

    /// Relays until a hop ends, then delivers what it had sent and closes the other.
    pub(crate) async fn run(
        &self,
        worker: &Rc<Worker>,
        from_client: &mut Received,
        from_target: &mut Received,
    ) -> RelayEnd {
        let end = {
            let upward = pin!(self.pump(Side::Client, from_client));
            let downward = pin!(self.pump(Side::Target, from_target));
            let clock = pin!(self.keep_time(&worker.alarm));
            let ending = pin!(worker.ending());
            let failure = pin!(poll_fn(|cx| self.state.borrow().log.poll_failed(cx)));
            match select(select(upward, downward), select(select(clock, failure), ending)).await {
                Either::Left((Either::Left((end, _)) | Either::Right((end, _)), _)) => end,
                Either::Right((Either::Left((Either::Left((end, _)), _)), _)) => end,
                Either::Right((Either::Left((Either::Right((error, _)), _)), _)) => {
                    RelayEnd::unrecorded(error)
                }
                Either::Right((Either::Right(_), _)) => RelayEnd::both(
                    DisconnectReason::ByApplication,
                    "weir is shutting down".to_owned(),
                ),
            }
        };
        let end = end.with_help(worker);
        self.tell_unfinished();
        self.say_goodbye(&end).await;
        end
    }

    /// Writes down which files were still being transferred. A recorder that has failed is known by now.
    fn tell_unfinished(&self) {
        let State {
            relay, log, actions, ..
        } = &mut *self.state.borrow_mut();
        relay.end(actions);
        for event in actions.events.drain(..) {
            if let Err(error) = log.event(event) {
                debug!(%error, "the end of a file transfer is not recorded");
            }
        }
    }

    /// What is left of a session that has ended.
    pub(crate) fn into_log(self) -> SessionLog {
        let State {
            mut relay,
            mut log,
            mut actions,
            ..
        } = self.state.into_inner();
        relay.end(&mut actions);
        for event in actions.events.drain(..) {
            // Where it cannot be recorded any more, that has been told, and the audit log has it.
            drop(log.event(event));
        }
        log
    }

    /// Moves packets away from one hop until it ends.
    async fn pump(&self, from: Side, received: &mut Received) -> RelayEnd {
        let mut parked = None;
        loop {
            // Registered before the look at the keys, so that a change in between is not missed.
            let keys_changed = self.hop(from.other()).keys_changed();
            let progress = match self.take_packets(from, received, parked.take()) {
                Ok(progress) => progress,
                Err(end) => {
                    // What this hop had sent before it ended is delivered first.
                    self.hop(from.other()).sent_within(DELIVERY).await;
                    return end;
                }
            };
            self.rekey_if_wanted(Side::Client);
            self.rekey_if_wanted(Side::Target);
            let (own, other) = (self.hop(from), self.hop(from.other()));
            own.send();
            other.send();
            if own.pending() > 0 || other.pending() > 0 || matches!(progress, Progress::Parked(_)) {
                // What follows may be a long wait, and others need the buffer.
                received.rest();
            }
            self.room_to_seal(own, other).await;
            if own.pending() >= REPLIES_BYTES {
                own.sent().await;
            }
            self.while_sending(own, pin!(self.room_to_record())).await;
            match progress {
                Progress::Full => {}
                Progress::Parked(packet) => {
                    parked = Some(packet);
                    self.while_sending(own, pin!(keys_changed)).await;
                }
                Progress::Drained => {
                    // During an exchange of this hop the other's bytes may still be on their way.
                    let read = pin!(own.read(received));
                    let read = pin!(self.while_sending(other, read));
                    if let Err(end) = self.while_sending(own, read).await {
                        return self.ended(from, end);
                    }
                }
            }
        }
    }

    /// Waits until the other peer has taken what was sealed for it; not while this hop exchanges keys, see the module.
    async fn room_to_seal(&self, own: &HopStream, other: &HopStream) {
        loop {
            let exchange = self.exchanges.notified();
            let exchange = pin!(exchange);
            if own.hop(Hop::is_rekeying) {
                if other.pending() < EXCHANGE_BYTES {
                    return;
                }
                let sent = pin!(other.sent());
                self.while_sending(own, pin!(select(sent, exchange))).await;
            } else {
                if other.has_room() {
                    return;
                }
                let room = pin!(other.room());
                self.while_sending(own, pin!(select(room, exchange))).await;
            }
        }
    }

    /// Waits for something while the hop's own replies go out. They are not waited for: a client that writes before
    /// it reads must be read, and its ^C must pass a screen of output that is still on its way.
    async fn while_sending<T>(&self, hop: &HopStream, something: Pin<&mut impl Future<Output = T>>) -> T {
        if hop.pending() == 0 {
            return something.await;
        }
        let sending = async {
            hop.sent().await;
            std::future::pending().await
        };
        match select(something, pin!(sending)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => never,
        }
    }

    /// Deals with the packets that are there.
    fn take_packets(
        &self,
        from: Side,
        received: &mut Received,
        parked: Option<Parked>,
    ) -> Result<Progress, RelayEnd> {
        let mut state = self.state.borrow_mut();
        state.log.check().map_err(RelayEnd::unrecorded)?;
        let was_rekeying = self.hop(from).hop(Hop::is_rekeying);
        let starts = SIDES.map(|side| self.hop(side).batch_start());
        let handed = state.log.handed();
        let outcome = self.take_batch(&mut state, from, received, parked);
        if was_rekeying != self.hop(from).hop(Hop::is_rekeying) {
            self.exchanges.notify_waiters();
        }
        // Recorded before it is sent, also where the batch ended badly.
        let recorded = state.log.hand_over(received);
        let outcome = recorded.map_err(RelayEnd::unrecorded).and(outcome);
        let waits_for = match &outcome {
            // Nobody gets what nobody keeps.
            Err(end) if end.unrecorded.is_some() => Some(u64::MAX),
            _ => Some(state.log.handed()).filter(|now| state.log.is_sync() && *now > handed),
        };
        if let Some(waits_for) = waits_for {
            for (side, start) in SIDES.into_iter().zip(starts) {
                self.hop(side)
                    .hold_since(start, waits_for, || state.log.durability());
            }
        }
        outcome
    }

    fn take_batch(
        &self,
        state: &mut State,
        from: Side,
        received: &mut Received,
        parked: Option<Parked>,
    ) -> Result<Progress, RelayEnd> {
        let (source, destination) = (self.hop(from), self.hop(from.other()));
        if let Some(parked) = parked {
            if !destination.hop(Hop::can_seal) {
                return Ok(Progress::Parked(parked));
            }
            self.relay_packet(
                state,
                from,
                &parked.body[parked.payload.clone()],
                &parked.body,
                None,
            )?;
        }
        loop {
            let bound = match source.hop(Hop::is_rekeying) {
                true => EXCHANGE_BYTES,
                false => BATCH_BYTES,
            };
            // Each of these is waited for in the pump: it would go round without an end otherwise.
            if destination.pending() - destination.held() >= bound || source.pending() >= REPLIES_BYTES {
                return Ok(Progress::Full);
            }
            let (position, packet) = match source.advance(received).map_err(|end| self.ended(from, end))? {
                None => return Ok(Progress::Drained),
                Some(Incoming::MaySeal | Incoming::KeysInstalled) => {
                    self.send_deferred(state, from)?;
                    continue;
                }
                Some(Incoming::Packet { position, packet }) => (position, packet),
            };
            let body = received.at(position, &packet.body);
            if !destination.hop(Hop::can_seal) {
                let start = packet.body.start;
                let payload = packet.payload.start - start..packet.payload.end - start;
                return Ok(Progress::Parked(Parked {
                    body: body.into(),
                    payload,
                }));
            }
            let payload = received.at(position, &packet.payload);
            self.relay_packet(state, from, payload, body, Some(position + packet.payload.start))?;
        }
    }

    /// Judges one packet and does what the relay says. `position` is the payload's in the receive buffer.
    fn relay_packet(
        &self,
        state: &mut State,
        from: Side,
        payload: &[u8],
        body: &[u8],
        position: Option<usize>,
    ) -> Result<(), RelayEnd> {
        if from == Side::Target
            && let Some(slot) = state.slot.take()
        {
            // The first packet after authentication: sshd no longer counts this connection.
            slot.counted();
        }
        let State {
            relay,
            access,
            log,
            actions,
            ..
        } = &mut *state;
        let flow = relay
            .packet(from, payload, &**access, actions)
            .map_err(|error| RelayEnd::both(DisconnectReason::ProtocolError, error.to_string()))?;
        for event in actions.events.drain(..) {
            log.event(event).map_err(RelayEnd::unrecorded)?;
        }
        if let Some(tap) = actions.tap.take() {
            log.tap(&tap, payload, position).map_err(RelayEnd::unrecorded)?;
        }
        match flow {
            Flow::Forward => {
                log.count(from, payload.len());
                let to = from.other();
                let sealed = self.hop(to).step(|hop, env, out| hop.reseal(env, body, out));
                sealed.map_err(|error| self.ended(to, error.into()))?;
            }
            Flow::Unimplemented => {
                let sealed = self.hop(from).step(|hop, env, out| hop.unimplemented(env, out));
                sealed.map_err(|error| self.ended(from, error.into()))?;
            }
            // The relay has its target: nothing waits any more.
            Flow::Stop | Flow::Wait => {}
        }
        if actions.has_packets() {
            let actions = std::mem::take(&mut state.actions);
            for (to, payload) in actions.packets() {
                self.seal_or_defer(state, to, payload)?;
            }
            state.actions = actions;
        }
        Ok(())
    }

    /// Seals a packet of the relay's own, or keeps it until the hop's key exchange is over.
    fn seal_or_defer(&self, state: &mut State, to: Side, payload: &[u8]) -> Result<(), RelayEnd> {
        let waiting = state.deferred.iter().filter(|(side, _)| *side == to).count();
        if waiting == 0 && self.hop(to).hop(Hop::can_seal) {
            return self.hop(to).seal(payload).map_err(|end| self.ended(to, end));
        }
        if waiting >= DEFERRED_REPLIES {
            let why = format!("the {to} asks for more than {DEFERRED_REPLIES} replies during a key exchange");
            return Err(RelayEnd::both(DisconnectReason::ProtocolError, why));
        }
        state.deferred.push((to, payload.into()));
        Ok(())
    }

    fn send_deferred(&self, state: &mut State, to: Side) -> Result<(), RelayEnd> {
        for (_, payload) in state.deferred.extract_if(.., |(side, _)| *side == to) {
            self.hop(to).seal(&payload).map_err(|end| self.ended(to, end))?;
        }
        Ok(())
    }

    async fn room_to_record(&self) {
        let Some(ready) = self.state.borrow().log.ready() else {
            return;
        };
        if self.state.borrow().log.is_strict() {
            return ready.await;
        }
        // Boxed, since few sessions ever come here.
        if Box::pin(monoio::time::timeout(PATIENCE, ready)).await.is_err() {
            self.state.borrow_mut().log.suspend();
        }
    }

    /// Exchanges keys when it is time.
    async fn keep_time(&self, alarm: &Alarm) -> RelayEnd {
        loop {
            // An exchange that begins has a deadline, and one that ends leaves keys whose age counts.
            let exchange = self.exchanges.notified();
            let due = [&self.client, &self.target].map(|hop| hop.hop(Hop::next_timeout));
            match due.into_iter().flatten().min() {
                None => exchange.await,
                Some(next) => {
                    let at = next.max(self.client.now().after(RETRY_INTERVAL));
                    select(pin!(alarm.until(at)), pin!(exchange)).await;
                }
            }
            for side in SIDES {
                if let Err(error) = self.hop(side).step(|hop, env, out| hop.handle_timeout(env, out)) {
                    return self.ended(side, error.into());
                }
                self.rekey_if_wanted(side);
            }
        }
    }

    /// Begins an exchange of keys on a hop if its limits ask for one and neither hop is in one already.
    fn rekey_if_wanted(&self, side: Side) {
        let (hop, other) = (self.hop(side), self.hop(side.other()));
        let busy = hop.hop(Hop::is_rekeying) || other.hop(Hop::is_rekeying);
        if !busy && hop.hop(|state| state.wants_rekey(hop.now())) {
            hop.step(|hop, env, out| hop.start_rekey(env, out));
            self.exchanges.notify_waiters();
            hop.send();
        }
    }

    fn ended(&self, side: Side, end: HopEnd) -> RelayEnd {
        let why = format!("{side}: {end}");
        let farewell = match end {
            HopEnd::Protocol(error) => Farewell {
                reason: error.disconnect_reason(),
                text: why.clone(),
                told: Told::Both,
            },
            HopEnd::Disconnected { reason, text } => Farewell {
                reason: DisconnectReason::Other(reason),
                text,
                told: Told::Other,
            },
            HopEnd::Closed | HopEnd::Socket(_) => Farewell {
                reason: DisconnectReason::ConnectionLost,
                text: why.clone(),
                told: Told::Other,
            },
        };
        RelayEnd {
            side: Some(side),
            why,
            unrecorded: None,
            farewell,
        }
    }

    async fn say_goodbye(&self, end: &RelayEnd) {
        let Farewell { reason, text, told } = &end.farewell;
        for side in SIDES {
            if *told == Told::Both || end.side != Some(side) {
                let hop = self.hop(side);
                match end.unrecorded {
                    Some(_) => hop.disconnect_instead(*reason, text),
                    None => hop.disconnect(*reason, text),
                }
                if !hop.sent_within(FAREWELL).await {
                    debug!(%side, "peer did not take the last bytes");
                }
            }
        }
    }

    fn hop(&self, side: Side) -> &HopStream {
        match side {
            Side::Client => &self.client,
            Side::Target => &self.target,
        }
    }
}

const SIDES: [Side; 2] = [Side::Client, Side::Target];

/// Sealed bytes after which a batch is sent: what one receive buffer holds.
const BATCH_BYTES: usize = 256 * 1024;

/// The same while the hop that is read exchanges keys: what its peer may send before it sees our wish. OpenSSH offers 2 MiB per
/// channel, and the sockets hold some more.
const EXCHANGE_BYTES: usize = 4 * 1024 * 1024;

/// Sealed bytes on a hop beyond which it is not read: what the other direction may seal on it at most, two batches, and
/// replies to what it asked, beside what is held back.
const REPLIES_BYTES: usize = EXCHANGE_BYTES + HELD_BYTES + 4 * BATCH_BYTES;

/// Replies kept during a key exchange; an honest peer has a few under way.
const DEFERRED_REPLIES: usize = 256;

/// How long a peer may take to accept what the other had sent before it ended.
const DELIVERY: Duration = Duration::from_secs(60);

/// How long a peer may take to accept the farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a session that need not be recorded waits for a recorder that is behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// A key exchange that is due while the other hop is in one is tried again so often.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
