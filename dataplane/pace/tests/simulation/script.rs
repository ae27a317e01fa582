//! What a scenario lets happen to the targets, and what is seen of one.

use std::time::Duration;

use crate::{
    sshd::{Mood, Reception},
    world::{Driver, What, World},
};

/// Something that the scenario does at a time.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    Mood(usize, Mood),
    /// The listener ends, and is back after a time.
    Restart(usize, Duration),
    /// Direct logins to a target come every `mean`, and each stays for about `stay`.
    Outside {
        target: usize,
        mean: Option<Duration>,
        stay: Duration,
    },
    /// All data planes are told that they are so many.
    Planes(u32),
    Sample,
    /// Users of this data plane do not come again.
    Leave(usize),
    Penalise {
        target: usize,
        source: usize,
        cost: Duration,
    },
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outside {
    mean: Option<Duration>,
    stay: Duration,
    era: u32,
}

/// One target at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) window: f64,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) startups: u32,
    pub(crate) drops: u64,
}

impl World {
    pub(crate) fn turn(&mut self, at: Duration, turn: Turn) {
        self.script.push(turn);
        self.at(at, What::Script(self.script.len() - 1));
    }

    pub(crate) fn sample_every(&mut self, step: Duration, until: Duration) {
        let mut at = Duration::ZERO;
        while at <= until {
            self.turn(at, Turn::Sample);
            at += step;
        }
    }

    pub(crate) fn come_directly(&mut self, target: usize, era: u32) {
        let Outside {
            mean,
            stay,
            era: current,
        } = self.outside[target];
        let Some(mean) = mean.filter(|_| era == current) else {
            return;
        };
        // Each direct login has an address of its own.
        let source = usize::MAX - self.others.below(1 << 30);
        let stay = self.others.exponential(stay);
        match self.targets[target].connect(self.now, source, &mut self.rng) {
            Reception::Accepted(handshake) => {
                self.direct.0 += 1;
                let at = handshake.freed_at + stay;
                let free = What::Free {
                    target,
                    source,
                    listener: handshake.listener,
                };
                self.at(at, free);
            }
            _ => self.direct.1 += 1,
        }
        let next = self.now + self.others.exponential(mean);
        self.at(next, What::Outside { target, era });
    }

    pub(crate) fn play(&mut self, turn: Turn) {
        match turn {
            Turn::Mood(target, mood) => self.targets[target].mood = mood,
            Turn::Restart(target, down) => {
                self.targets[target].stop();
                self.turn(self.now + down, Turn::Mood(target, Mood::Well));
            }
            Turn::Outside { target, mean, stay } => {
                let era = self.outside[target].era + 1;
                self.outside[target] = Outside { mean, stay, era };
                if let Some(mean) = mean {
                    let first = self.now + self.others.exponential(mean);
                    self.at(first, What::Outside { target, era });
                }
            }
            Turn::Planes(planes) => {
                for plane in 0..self.planes.len() {
                    self.ask(plane, |pacer, now, rng| pacer.set_planes(now, planes, rng));
                }
            }
            Turn::Sample => self.sample(),
            Turn::Leave(plane) => self.planes[plane].left = true,
            Turn::Penalise { target, source, cost } => self.targets[target].penalise(self.now, source, cost),
        }
    }

    /// Target 0, all data planes together.
    fn sample(&mut self) {
        let mut sample = Sample {
            at: self.now,
            window: 0.0,
            in_flight: 0,
            waiting: 0,
            startups: self.targets[0].startups,
            drops: 0,
        };
        for plane in &self.planes {
            if let Driver::Paced(pacer) = &plane.driver
                && let Some(seen) = pacer.snapshot(self.now, &self.names[0])
            {
                // What is remembered of a target is not a window that anybody uses.
                if !plane.left || seen.in_flight + seen.waiting > 0 {
                    sample.window += seen.window;
                }
                sample.in_flight += seen.in_flight;
                sample.waiting += seen.waiting;
                sample.drops += seen.drops;
            }
        }
        self.samples.push(sample);
    }
}
