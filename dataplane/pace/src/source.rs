//! What one of our addresses is to a target: sshd counts penalties and `PerSourceMaxStartups` by it.

use std::{
    net::IpAddr,
    ops::{Index, IndexMut},
    time::Duration,
};

use crate::{
    Timestamp,
    config::Config,
    hint::Hint,
    penalty::{Account, Trust},
    suspicion::Suspicion,
};

#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) address: Option<IpAddr>,
    pub(crate) account: Account,
    pub(crate) suspicion: Suspicion,
    pub(crate) in_flight: u32,
    /// Those of them that may cost a penalty yet.
    pub(crate) at_risk: u32,
}

/// Whether a handshake from a source may start, as far as the source matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// It opens by itself.
    OpensAt(Timestamp),
    /// It opens when a handshake ends.
    Shut,
}

impl Source {
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    pub(crate) fn gate(&self, now: Timestamp, trust: Trust, hint: &Hint, config: &Config) -> Gate {
        if hint
            .per_source_max_startups
            .is_some_and(|limit| self.in_flight >= limit)
        {
            return Gate::Shut;
        }
        let not_before = self.suspicion.not_before();
        if now < not_before {
            return Gate::OpensAt(not_before);
        }
        // A suspected ban is probed by one at a time, and so is a port that was refused.
        if not_before > Duration::ZERO && self.in_flight > 0 {
            return Gate::Shut;
        }
        self.account_gate(now, trust, hint, config)
    }

    /// The part of it that penalties have; open to a credential that is proven.
    pub(crate) fn account_gate(&self, now: Timestamp, trust: Trust, hint: &Hint, config: &Config) -> Gate {
        let penalties = &config.penalties;
        let ceiling = trust.ceiling(penalties).filter(|_| !hint.no_penalties);
        let Some(ceiling) = ceiling else {
            return Gate::Open;
        };
        let worst = penalties.rejected * (self.at_risk + 1);
        if worst > ceiling && self.at_risk > 0 {
            return Gate::Shut;
        }
        let drained = self.account.drained_to(ceiling.saturating_sub(worst));
        if now < drained {
            Gate::OpensAt(drained)
        } else {
            Gate::Open
        }
    }

    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.suspicion.is_fresh() && self.account.level(now).is_zero()
    }
}

/// The addresses that one target has been dialled from.
///
/// Nearly always it is one, which is found without following a pointer.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    first: Source,
    others: Vec<Source>,
    used: bool,
}

impl Sources {
    /// The place of an address, which is made if it is new.
    pub(crate) fn place(&mut self, address: Option<IpAddr>) -> usize {
        if !self.used {
            self.used = true;
            self.first.address = address;
        }
        if self.first.address == address {
            return 0;
        }
        let known = self.others.iter().position(|source| source.address == address);
        1 + known.unwrap_or_else(|| {
            self.others.push(Source::at(address));
            self.others.len() - 1
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Index<usize> for Sources {
    type Output = Source;

    fn index(&self, place: usize) -> &Source {
        match place {
            0 => &self.first,
            _ => &self.others[place - 1],
        }
    }
}

impl IndexMut<usize> for Sources {
    fn index_mut(&mut self, place: usize) -> &mut Source {
        match place {
            0 => &mut self.first,
            _ => &mut self.others[place - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Duration::from_secs(100);

    fn gate(source: &Source, trust: Trust) -> Gate {
        source.gate(NOW, trust, &Hint::default(), &Config::default())
    }

    #[test]
    fn who_may_fail_is_held_back_while_all_failures_together_would_pass_fifteen_seconds() {
        let mut source = Source::default();
        for at_risk in 0..3 {
            source.at_risk = at_risk;
            assert_eq!(gate(&source, Trust::Unproven), Gate::Open);
        }
        source.at_risk = 3;
        assert_eq!(gate(&source, Trust::Unproven), Gate::Shut);
        assert_eq!(gate(&source, Trust::Proven), Gate::Open);

        source.at_risk = 1;
        source.account.charge(NOW, 8 * S, 600 * S);
        assert_eq!(gate(&source, Trust::Unproven), Gate::OpensAt(NOW + 3 * S));
        let exempt = Hint {
            no_penalties: true,
            ..Hint::default()
        };
        let open = source.gate(NOW, Trust::Unproven, &exempt, &Config::default());
        assert_eq!(open, Gate::Open);
    }

    #[test]
    fn who_failed_before_leaves_the_last_place_to_others() {
        let mut source = Source {
            at_risk: 2,
            ..Source::default()
        };
        assert_eq!(gate(&source, Trust::Failed), Gate::Shut);
        assert_eq!(gate(&source, Trust::Unproven), Gate::Open);
        source.at_risk = 0;
        source.account.charge(NOW, 10 * S, 600 * S);
        assert_eq!(gate(&source, Trust::Failed), Gate::OpensAt(NOW + 5 * S));
    }

    #[test]
    fn limit_per_source_is_kept() {
        let hint = Hint {
            per_source_max_startups: Some(3),
            ..Hint::default()
        };
        let source = Source {
            in_flight: 3,
            ..Source::default()
        };
        let gate = source.gate(NOW, Trust::Proven, &hint, &Config::default());
        assert_eq!(gate, Gate::Shut);
    }
}
