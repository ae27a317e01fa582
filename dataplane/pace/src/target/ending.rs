//! What becomes of a handshake, and what is learnt from it.

use std::time::Duration;

use super::{Context, Flight, Target, Trouble};
use crate::{
    BanAlert, Credential, End, Event,
    outcome::{DropForm, Next, Outcome},
    penalty::Trust,
    queue::Caller,
    retry::{around, full_jitter},
};

impl Target {
    pub(crate) fn report(&mut self, cx: &mut Context<'_>, number: u64, outcome: Outcome) -> Next {
        let Some(place) = self.flights.iter().position(|flight| flight.number == number) else {
            // The slot of a success was given back when its time was over.
            return Next::Done;
        };
        let next = match outcome {
            Outcome::Authenticated => self.authenticated(cx, place),
            Outcome::Counted => {
                self.authenticated(cx, place);
                self.release(cx, place)
            }
            Outcome::Dropped(form) => self.dropped(cx, place, form),
            Outcome::Rejected => {
                let credential = self.flights[place].caller.credential;
                self.learn(credential, Trust::Failed);
                self.failed(cx, place, cx.config.penalties.rejected)
            }
            Outcome::Broken => {
                self.doubt(place);
                self.failed(cx, place, cx.config.penalties.no_attempt)
            }
            Outcome::LoginTimeout => {
                self.doubt(place);
                self.failed(cx, place, cx.config.penalties.login_timeout)
            }
            Outcome::Silent => {
                self.doubt(place);
                self.silent(cx, place)
            }
            Outcome::Refused => self.refused(cx, place),
            Outcome::Unreachable => {
                self.trouble.unreachable = true;
                self.window.collapse(cx.now, self.cap(cx));
                self.end(cx, place);
                Next::Done
            }
            Outcome::NotDialled => {
                self.end(cx, place);
                Next::Done
            }
        };
        self.pump(cx);
        next
    }

    fn authenticated(&mut self, cx: &mut Context<'_>, place: usize) -> Next {
        let flight = &mut self.flights[place];
        if flight.lingers_until.is_some() {
            return Next::Done;
        }
        flight.lingers_until = Some(cx.now + cx.config.linger);
        let took = cx.now.saturating_sub(flight.admitted_at);
        self.typical = (self.typical * 7 + took) / 8;
        let (source, credential) = (flight.caller.source, flight.caller.credential);
        if std::mem::take(&mut flight.at_risk) {
            self.sources[source].at_risk -= 1;
        }
        self.let_in(cx, source);
        self.learn(credential, Trust::Proven);
        Next::Done
    }

    /// The target no longer counts it.
    pub(super) fn release(&mut self, cx: &mut Context<'_>, place: usize) -> Next {
        self.grow(cx);
        self.end(cx, place);
        Next::Done
    }

    fn failed(&mut self, cx: &mut Context<'_>, place: usize, cost: Duration) -> Next {
        self.grow(cx);
        let source = self.end(cx, place).caller.source;
        let limit = cx.config.penalties.limit;
        self.sources[source].account.charge(cx.now, cost, limit);
        self.let_in(cx, source);
        Next::Done
    }

    fn silent(&mut self, cx: &mut Context<'_>, place: usize) -> Next {
        self.window.collapse(cx.now, self.cap(cx));
        let source = self.end(cx, place).caller.source;
        let penalties = &cx.config.penalties;
        let account = &mut self.sources[source].account;
        account.charge(cx.now, penalties.no_attempt, penalties.limit);
        self.trouble.silent = true;
        Next::Done
    }

    fn dropped(&mut self, cx: &mut Context<'_>, place: usize, form: DropForm) -> Next {
        let (in_flight, admitted_at) = (self.flights.len() as u64, self.flights[place].admitted_at);
        self.window.dropped(cx.now, admitted_at, in_flight, self.cap(cx));
        let Flight {
            number, mut caller, ..
        } = self.end(cx, place);
        self.spread_next(cx);
        self.counts.drops += 1;
        caller.drops += 1;
        self.trouble = Trouble::default();
        let source = &mut self.sources[caller.source];
        if source.in_flight == 0 && source.suspicion.dropped(cx.now, form, cx.config, cx.rng) {
            let alert = BanAlert {
                target: self.id.clone(),
                source: source.address,
                drops: cx.config.ban_after + 1,
            };
            cx.events.push_back(Event::BanSuspected(alert));
        }
        let n = caller.drops - 1;
        self.again(cx, number, caller, n)
    }

    /// A target that answered a moment ago restarts; another is down, and its callers learn so at once.
    fn refused(&mut self, cx: &mut Context<'_>, place: usize) -> Next {
        self.window.collapse(cx.now, self.cap(cx));
        let Flight {
            number, mut caller, ..
        } = self.end(cx, place);
        self.spread_next(cx);
        let since = *self.trouble.away_since.get_or_insert(cx.now);
        let restarts = self.last_contact.is_some() && cx.now < since + cx.config.restart_grace;
        if !restarts {
            return Next::Done;
        }
        let n = self.trouble.refusals;
        self.trouble.refusals += 1;
        self.sources[caller.source]
            .suspicion
            .put_off(cx.now, n, cx.config, cx.rng);
        caller.refusals += 1;
        let n = caller.refusals - 1;
        self.again(cx, number, caller, n)
    }

    /// A caller tries again later, if its time is not over.
    fn again(&mut self, cx: &mut Context<'_>, number: u64, caller: Caller, n: u32) -> Next {
        if caller.waited(cx.now) >= cx.config.wait_limit {
            self.counts.given_up += 1;
            return Next::GiveUp(self.explain(cx.now, cx.config, &caller, End::WaitLimit));
        }
        let pause = full_jitter(cx.rng, cx.config.retry_base, n, cx.config.retry_limit);
        let queue = self.queue.get_or_insert_default();
        queue.rest(number, caller, cx.now + pause);
        Next::Wait
    }

    /// sshd has let a handshake in.
    fn let_in(&mut self, cx: &mut Context<'_>, source: usize) {
        self.last_contact = Some(cx.now);
        self.trouble = Trouble::default();
        let source = &mut self.sources[source];
        if source.suspicion.is_raised(cx.config) {
            cx.events.push_back(Event::BanOver {
                target: self.id.clone(),
                source: source.address,
            });
        }
        source.suspicion.let_in();
    }

    /// One of those in flight is through, and was not dropped.
    fn grow(&mut self, cx: &Context<'_>) {
        let cap = self.cap(cx);
        let full = !self.window.admits(cx.now, self.flights.len() as u64, cap);
        self.window.succeeded(cx.now, full, cap);
    }

    /// A credential that was good did not come to be tried: whatever is in its way may be in the way of all that follow, and each
    /// costs a penalty.
    fn doubt(&mut self, place: usize) {
        let credential = self.flights[place].caller.credential;
        if self.credentials.trust(credential) == Trust::Proven {
            self.learn(credential, Trust::Unproven);
        }
    }

    fn learn(&mut self, credential: Credential, trust: Trust) {
        if self.credentials.learn(credential, trust)
            && let Some(queue) = &mut self.queue
        {
            queue.reclassify(credential, trust);
        }
    }

    /// All data planes may have met the same trouble, and are not to come back together.
    fn spread_next(&mut self, cx: &mut Context<'_>) {
        let spread = self.spread(cx);
        self.window.postpone(cx.now + around(cx.rng, spread));
    }
}
