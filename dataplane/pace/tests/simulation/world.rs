//! Targets, data planes, users and time.
//!
//! Everything happens in the order of a heap of events; the random numbers of a world come from its seed, so a seed is a run.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use weir_pace::{
    Admission, Config, Credential, Event, Hint, Next, Outcome, Pacer, Request, TargetId, Ticket, UserId,
};

pub(crate) use crate::{
    client::{Client, Fate, Login},
    script::{Sample, Turn},
};
use crate::{
    random::Random,
    script::Outside,
    sshd::{Machine, Reception, Sshd},
};

/// How long a data plane waits for a target that says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who decides when a data plane dials.
#[derive(Debug)]
pub(crate) enum Driver {
    Paced(Box<Pacer>),
    /// The oracle's: so many in flight, whatever is dropped is dialled again at once.
    Oracle {
        width: Width,
        in_flight: usize,
        queue: VecDeque<usize>,
    },
}

/// What an oracle goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Width {
    Fixed(usize),
    /// It sees sshd's own counter, and fills up what others leave of `start - 1`, or keeps to so many if that is less.
    Room(usize),
}

#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) driver: Driver,
    pub(crate) tickets: HashMap<Ticket, usize>,
    pub(crate) timer: Option<Duration>,
    pub(crate) left: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Arrive(usize),
    Timer(usize),
    Reach {
        client: usize,
    },
    End {
        client: usize,
        end: End,
    },
    Free {
        target: usize,
        source: usize,
        listener: u32,
    },
    Outside {
        target: usize,
        era: u32,
    },
    Script(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Dropped,
    Refused,
    Silent,
    Rejected,
    Authenticated,
    Counted,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) rng: Random,
    /// Those who come directly do so at the same times whatever we do.
    pub(crate) others: Random,
    pub(crate) targets: Vec<Sshd>,
    pub(crate) clients: Vec<Client>,
    pub(crate) alerts: Vec<(Duration, Event)>,
    pub(crate) samples: Vec<Sample>,
    /// Direct logins: let in, dropped.
    pub(crate) direct: (u64, u64),
    /// When each connection of ours reached target 0.
    pub(crate) dials: Vec<Duration>,
    pub(crate) names: Vec<TargetId>,
    users: HashMap<usize, UserId>,
    pub(crate) planes: Vec<Plane>,
    tickets: Vec<Option<Ticket>>,
    pub(crate) outside: Vec<Outside>,
    pub(crate) script: Vec<Turn>,
    heap: BinaryHeap<Reverse<(Duration, u64, What)>>,
    order: u64,
}

impl World {
    pub(crate) fn new(seed: u64, machines: Vec<Machine>) -> Self {
        let names = (0..machines.len())
            .map(|n| TargetId::from(format!("node{n}:22")))
            .collect();
        Self {
            now: Duration::ZERO,
            rng: Random::seeded(seed),
            others: Random::seeded(!seed),
            outside: vec![Outside::default(); machines.len()],
            targets: machines.into_iter().map(Sshd::new).collect(),
            clients: Vec::new(),
            alerts: Vec::new(),
            samples: Vec::new(),
            direct: (0, 0),
            dials: Vec::new(),
            names,
            users: HashMap::new(),
            planes: Vec::new(),
            tickets: Vec::new(),
            script: Vec::new(),
            heap: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Adds data planes that know of each other.
    pub(crate) fn paced(mut self, planes: u32, config: &Config) -> Self {
        for _ in 0..planes {
            let mut pacer = Pacer::new(config.clone());
            pacer.set_planes(Duration::ZERO, planes, &mut || 0);
            self.plane(Driver::Paced(Box::new(pacer)));
        }
        self
    }

    /// Adds a data plane that has been told.
    pub(crate) fn oracle(mut self, width: Width) -> Self {
        self.plane(Driver::Oracle {
            width,
            in_flight: 0,
            queue: VecDeque::new(),
        });
        self
    }

    pub(crate) fn hint(&mut self, target: usize, hint: &Hint) {
        let (now, name) = (self.now, self.names[target].clone());
        for plane in &mut self.planes {
            if let Driver::Paced(pacer) = &mut plane.driver {
                pacer.set_hint(now, &name, Some(hint.clone()), &mut || 0);
            }
        }
    }

    pub(crate) fn login(&mut self, at: Duration, login: Login) -> usize {
        let client = self.clients.len();
        self.clients.push(Client {
            login,
            arrived_at: at,
            began_at: None,
            tries: 0,
            fate: Fate::Open,
        });
        self.tickets.push(None);
        self.at(at, What::Arrive(client));
        client
    }

    /// Lets everything happen that happens until `until`.
    pub(crate) fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, _, _))) = self.heap.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, what))) = self.heap.pop() else {
                break;
            };
            self.now = at;
            self.happen(what);
        }
        self.now = until;
    }

    /// Logins that are in by now.
    pub(crate) fn logged_in(&self) -> usize {
        self.clients.iter().filter(|client| client.is_in()).count()
    }

    fn plane(&mut self, driver: Driver) {
        self.planes.push(Plane {
            driver,
            tickets: HashMap::new(),
            timer: None,
            left: false,
        });
    }

    pub(crate) fn at(&mut self, at: Duration, what: What) {
        self.order += 1;
        self.heap.push(Reverse((at, self.order, what)));
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive(client) => self.arrive(client),
            What::Timer(plane) => {
                if self.planes[plane].timer == Some(self.now) {
                    self.planes[plane].timer = None;
                    self.ask(plane, |pacer, now, rng| pacer.poll(now, rng));
                }
            }
            What::Reach { client } => self.reach(client),
            What::End { client, end } => self.end(client, end),
            What::Free {
                target,
                source,
                listener,
            } => {
                self.targets[target].free(source, listener);
                for plane in 0..self.planes.len() {
                    self.feed(plane);
                }
            }
            What::Outside { target, era } => self.come_directly(target, era),
            What::Script(turn) => self.play(self.script[turn].clone()),
        }
    }

    fn arrive(&mut self, client: usize) {
        let login = self.clients[client].login.clone();
        if let Driver::Oracle { queue, .. } = &mut self.planes[login.plane].driver {
            queue.push_back(client);
            self.feed(login.plane);
            return;
        }
        let user = self
            .users
            .entry(login.user)
            .or_insert_with(|| UserId::from(format!("user{}", login.user)))
            .clone();
        let name = self.names[login.target].clone();
        let request = Request {
            target: &name,
            user: &user,
            source: None,
            priority: login.priority,
            // Good ones share a login, bad ones have each their own.
            credential: Credential(if login.good { 0 } else { 1 + login.user as u64 }),
        };
        let admission = self.ask(login.plane, |pacer, now, rng| pacer.request(now, &request, rng));
        match admission {
            Admission::Admitted(ticket) => {
                self.bind(client, ticket);
                self.dial(client);
            }
            Admission::Queued { ticket, .. } => self.bind(client, ticket),
            Admission::Refused(explanation) => self.settle(client, Fate::GaveUp(explanation)),
        }
        self.listen(login.plane);
    }

    fn bind(&mut self, client: usize, ticket: Ticket) {
        let plane = self.clients[client].login.plane;
        self.tickets[client] = Some(ticket);
        self.planes[plane].tickets.insert(ticket, client);
    }

    /// A call of a data plane's pacer; [`World::listen`] has to follow.
    pub(crate) fn ask<T>(
        &mut self,
        plane: usize,
        call: impl FnOnce(&mut Pacer, Duration, weir_pace::Random<'_>) -> T,
    ) -> T {
        let rng = &mut self.rng;
        let Driver::Paced(pacer) = &mut self.planes[plane].driver else {
            panic!("an oracle is not asked");
        };
        let answer = call(pacer, self.now, &mut || rng.next_u64());
        self.at_timeout(plane);
        answer
    }

    fn at_timeout(&mut self, plane: usize) {
        let Driver::Paced(pacer) = &self.planes[plane].driver else {
            return;
        };
        let due = pacer.next_timeout().map(|due| due.max(self.now));
        let timer = &mut self.planes[plane].timer;
        if let Some(due) = due
            && timer.is_none_or(|timer| due < timer)
        {
            *timer = Some(due);
            self.at(due, What::Timer(plane));
        }
        self.listen(plane);
    }

    /// Takes what the pacer has to say.
    fn listen(&mut self, plane: usize) {
        loop {
            let Driver::Paced(pacer) = &mut self.planes[plane].driver else {
                return;
            };
            let Some(event) = pacer.next_event() else {
                return;
            };
            match event {
                Event::Admit { ticket, .. } => {
                    let client = self.planes[plane].tickets[&ticket];
                    self.dial(client);
                }
                Event::GiveUp { ticket, explanation } => {
                    let client = self.planes[plane].tickets[&ticket];
                    self.settle(client, Fate::GaveUp(explanation));
                }
                alert => self.alerts.push((self.now, alert)),
            }
        }
    }

    fn feed(&mut self, plane: usize) {
        while let Driver::Oracle {
            width,
            in_flight,
            queue,
        } = &mut self.planes[plane].driver
            && let Some(client) = queue.front()
        {
            let target = &self.targets[self.clients[*client].login.target];
            let width = match *width {
                Width::Fixed(width) => width,
                Width::Room(width) => {
                    let room = target
                        .machine
                        .limits
                        .start
                        .saturating_sub(1 + target.of_others(plane));
                    width.min(room as usize)
                }
            };
            if *in_flight >= width {
                return;
            }
            let client = queue.pop_front().expect("seen just now");
            *in_flight += 1;
            self.dial(client);
        }
    }

    fn dial(&mut self, client: usize) {
        let one_way = self.one_way(client);
        let state = &mut self.clients[client];
        state.began_at.get_or_insert(self.now);
        state.tries += 1;
        self.at(self.now + one_way, What::Reach { client });
    }

    fn one_way(&self, client: usize) -> Duration {
        self.targets[self.clients[client].login.target].machine.round_trip / 2
    }

    fn reach(&mut self, client: usize) {
        let Login {
            plane, target, good, ..
        } = self.clients[client].login;
        let one_way = self.one_way(client);
        if target == 0 {
            self.dials.push(self.now);
        }
        let reception = self.targets[target].connect(self.now, plane, &mut self.rng);
        let (at, end) = match reception {
            Reception::Refused => (self.now + one_way, End::Refused),
            Reception::Dropped(_) => (self.now + one_way, End::Dropped),
            Reception::Silent => (self.now + PATIENCE, End::Silent),
            Reception::Accepted(handshake) => {
                let free = What::Free {
                    target,
                    source: plane,
                    listener: handshake.listener,
                };
                self.at(handshake.freed_at, free);
                if good {
                    let counted = What::End {
                        client,
                        end: End::Counted,
                    };
                    self.at(handshake.freed_at + one_way, counted);
                    (handshake.ends_at, End::Authenticated)
                } else {
                    (handshake.freed_at + one_way, End::Rejected)
                }
            }
        };
        self.at(at, What::End { client, end });
    }

    fn end(&mut self, client: usize, end: End) {
        let login = self.clients[client].login.clone();
        match end {
            End::Authenticated => self.settle(client, Fate::In { at: self.now }),
            End::Rejected => {
                let cost = Duration::from_secs(5);
                self.targets[login.target].penalise(self.now, login.plane, cost);
                self.settle(client, Fate::Failed(Outcome::Rejected));
            }
            End::Silent => self.settle(client, Fate::Failed(Outcome::Silent)),
            End::Dropped | End::Refused | End::Counted => {}
        }
        if let Driver::Oracle { in_flight, queue, .. } = &mut self.planes[login.plane].driver {
            match end {
                End::Authenticated => return,
                End::Dropped | End::Refused => queue.push_front(client),
                End::Silent | End::Rejected | End::Counted => {}
            }
            *in_flight -= 1;
            self.feed(login.plane);
            return;
        }
        let outcome = match end {
            End::Dropped => Outcome::Dropped(weir_pace::DropForm::NotAllowed),
            End::Refused => Outcome::Refused,
            End::Silent => Outcome::Silent,
            End::Rejected => Outcome::Rejected,
            End::Authenticated => Outcome::Authenticated,
            End::Counted => Outcome::Counted,
        };
        let ticket = self.tickets[client].expect("it was admitted");
        let next = self.ask(login.plane, |pacer, now, rng| {
            pacer.report(now, ticket, outcome, rng)
        });
        match next {
            Next::Wait => {}
            Next::GiveUp(explanation) => self.settle(client, Fate::GaveUp(explanation)),
            Next::Done if end == End::Refused => self.settle(client, Fate::Failed(outcome)),
            Next::Done => {}
        }
        if matches!(end, End::Counted | End::Rejected) {
            self.planes[login.plane].tickets.remove(&ticket);
        }
    }

    fn settle(&mut self, client: usize, fate: Fate) {
        self.clients[client].fate = fate;
        let mut login = self.clients[client].login.clone();
        login.tasks -= 1;
        if !login.again || login.tasks == 0 || self.planes[login.plane].left {
            return;
        }
        let mut at = self.now;
        if !login.pause.is_zero() {
            at += self.rng.between(login.pause / 2, login.pause * 3 / 2);
        }
        self.login(at, login);
    }
}
