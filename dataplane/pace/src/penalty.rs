//! What the target holds against our address: sshd's `PerSourcePenalties`, kept in step from outside.
//!
//! sshd adds up what connections from an address have cost, lets the sum drain by a second each second, and
//! once it is above 15 s refuses the address until it is empty. A proxy is one address for thousands of users, so
//! one user's failures must never get it there: who might fail is let in only while the sum stays
//! below even if everybody that might fail does.

use std::time::Duration;

use crate::Timestamp;

/// What a connection that ends without success costs, by the way it ends; sshd_config(5), `PerSourcePenalties`.
#[derive(Debug, Clone)]
pub struct Penalties {
    /// "min: … the minimum penalty that must accrue before it is enforced", 15 s by default.
    pub enforced_above: Duration,
    /// "max: … for how long penalties accumulate at most", 600 s by default.
    pub limit: Duration,
    /// `authfail`: ended after at least one attempt.
    pub rejected: Duration,
    /// `noauth`: ended before any attempt.
    pub no_attempt: Duration,
    /// `grace-exceeded`: 10 s, 20 s in 9.8; 9.8 and 9.9 charge 90 s for it by mistake, which is assumed.
    pub login_timeout: Duration,
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            enforced_above: Duration::from_secs(15),
            limit: Duration::from_mins(10),
            rejected: Duration::from_secs(5),
            no_attempt: Duration::from_secs(1),
            login_timeout: Duration::from_secs(90),
        }
    }
}

/// The sum that the target holds against one source address.
#[derive(Debug, Default)]
pub(crate) struct Account {
    sum: Duration,
    as_of: Timestamp,
}

impl Account {
    pub(crate) fn level(&self, now: Timestamp) -> Duration {
        self.sum.saturating_sub(now.saturating_sub(self.as_of))
    }

    pub(crate) fn charge(&mut self, now: Timestamp, cost: Duration, limit: Duration) {
        self.sum = (self.level(now) + cost).min(limit);
        self.as_of = now;
    }

    /// When the sum has drained to `level`.
    pub(crate) fn drained_to(&self, level: Duration) -> Timestamp {
        self.as_of + self.sum.saturating_sub(level)
    }
}

/// How far a credential is known to be good with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// It has been accepted before: it is not expected to fail.
    Proven,
    /// It may fail, which costs [`Penalties::rejected`].
    Unproven,
    /// It has failed the last time.
    Failed,
}

impl Trust {
    /// Up to which sum a handshake may drive the account in the worst case; none where it is not held back.
    ///
    /// Who failed before leaves room for the failure of one who did not.
    pub(crate) fn ceiling(self, penalties: &Penalties) -> Option<Duration> {
        match self {
            Self::Proven => None,
            Self::Unproven => Some(penalties.enforced_above),
            Self::Failed => Some(penalties.enforced_above.saturating_sub(penalties.rejected)),
        }
    }
}

/// Which credential is used with a target: what is accepted once is expected to be accepted again.
///
/// For a certificate that is made per session it names the login and the way to sign in, not the single certificate;
/// for a user's own key it names the user too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential(pub u64);

/// What is remembered of credentials at one target: bounded, the last used ones.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    /// Kept apart because most targets have one, and it is found without following a pointer.
    newest: Option<(Credential, Trust)>,
    /// Oldest first.
    older: Vec<(Credential, Trust)>,
}

impl Credentials {
    /// A target has a handful of logins; who is forgotten is unproven again, which costs a moment.
    const LIMIT: usize = 32;

    pub(crate) fn trust(&self, credential: Credential) -> Trust {
        let mut known = self.newest.iter().chain(&self.older);
        let known = known.find(|(known, _)| *known == credential);
        known.map_or(Trust::Unproven, |(_, trust)| *trust)
    }

    /// Remembers `trust`. True when that is news.
    pub(crate) fn learn(&mut self, credential: Credential, trust: Trust) -> bool {
        let before = self.newest.replace((credential, trust));
        let Some(before) = before.filter(|(known, _)| *known != credential) else {
            return before.is_none_or(|(_, known)| known != trust);
        };
        let place = self.older.iter().position(|(known, _)| *known == credential);
        let known = place.map(|place| self.older.remove(place).1);
        if self.older.len() == Self::LIMIT - 1 {
            // Who failed goes first, or a user who tries many wrong logins would wash the good ones out.
            let failed = self.older.iter().position(|(_, trust)| *trust == Trust::Failed);
            self.older.remove(failed.unwrap_or(0));
        }
        self.older.push(before);
        known != Some(trust)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn account_drains_a_second_each_second() {
        let mut account = Account::default();
        account.charge(100 * S, 5 * S, 600 * S);
        account.charge(102 * S, 5 * S, 600 * S);
        assert_eq!(account.level(102 * S), 8 * S);
        assert_eq!(account.level(109 * S), S);
        assert_eq!(account.level(200 * S), Duration::ZERO);
        assert_eq!(account.drained_to(5 * S), 105 * S);
        account.charge(110 * S, 9999 * S, 600 * S);
        assert_eq!(account.level(110 * S), 600 * S);
    }

    #[test]
    fn who_failed_leaves_room_for_one_who_did_not() {
        let penalties = Penalties::default();
        assert_eq!(Trust::Proven.ceiling(&penalties), None);
        assert_eq!(Trust::Unproven.ceiling(&penalties), Some(15 * S));
        assert_eq!(Trust::Failed.ceiling(&penalties), Some(10 * S));
    }

    #[test]
    fn wrong_logins_do_not_wash_out_the_good_ones() {
        let mut credentials = Credentials::default();
        assert!(credentials.learn(Credential(1), Trust::Proven));
        assert!(!credentials.learn(Credential(1), Trust::Proven), "no news");
        for wrong in 100..1000 {
            credentials.learn(Credential(wrong), Trust::Failed);
        }
        assert_eq!(credentials.trust(Credential(1)), Trust::Proven);
        assert_eq!(credentials.trust(Credential(999)), Trust::Failed);
        assert_eq!(credentials.trust(Credential(100)), Trust::Unproven, "forgotten");
        assert_eq!(credentials.older.len() + 1, Credentials::LIMIT);
    }
}
