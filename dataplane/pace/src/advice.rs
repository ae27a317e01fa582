//! What is said when waiting was in vain: to the user why, to the operator which line of `sshd_config` would help.

use std::{fmt, net::IpAddr, time::Duration};

use crate::TargetId;

/// Why a caller was not let through, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What ended it.
    pub end: End,
    /// What kept the target from taking it.
    pub hindrance: Hindrance,
    /// How long it waited.
    pub waited: Duration,
    /// Handshakes begun.
    pub tries: u32,
    /// Those that the target dropped.
    pub drops: u32,
    /// Callers that were before it when it came.
    pub ahead: usize,
}

/// What ended the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing: it goes on.
    NotYet,
    /// The wait limit.
    WaitLimit,
    /// No more callers may wait, and this user has as many there as anybody.
    QueueFull,
    /// No more callers may wait, and others have fewer there than this user.
    Displaced,
}

/// What kept a target from taking a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// It takes its logins slowly.
    Slow,
    /// It drops connections: others take its slots.
    Drops,
    /// It seems to refuse this proxy's address.
    SuspectedBan,
    /// Too many failed logins lately: another failure would make the target refuse this proxy.
    Penalties,
    /// It accepts connections and says nothing.
    Silent,
    /// Its port is shut.
    Away,
    /// No connection to it comes about.
    Unreachable,
}

impl Hindrance {
    /// The line of the target's `sshd_config` that would help, if one would.
    #[must_use]
    pub fn sshd_config_line(self) -> Option<&'static str> {
        match self {
            Self::Slow | Self::Drops => Some("MaxStartups 200:30:400"),
            Self::SuspectedBan | Self::Penalties => {
                Some("PerSourcePenaltyExemptList <address of this proxy>")
            }
            Self::Silent | Self::Away | Self::Unreachable => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Slow => "the target takes its logins slowly",
            Self::Drops => "the target drops connections, as it does when too many log in at once",
            Self::SuspectedBan => "the target seems to refuse every connection from this proxy",
            Self::Penalties => {
                "logins with credentials that this target has not accepted yet are held back after others failed"
            }
            Self::Silent => "the target accepts connections and says nothing",
            Self::Away => "the target's port is shut",
            Self::Unreachable => "no connection to the target comes about",
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = self.ahead;
        let wait = match self.end {
            End::NotYet => (ahead > 0).then(|| format!("behind {ahead} others")),
            End::WaitLimit => {
                let seconds = self.waited.as_secs();
                Some(format!("waited {seconds} s to connect, behind {ahead} others"))
            }
            End::QueueFull => Some(format!("{ahead} others wait to connect to this target already")),
            End::Displaced => Some("made room for users with fewer connections waiting".to_owned()),
        };
        let tries = match (self.tries, self.drops) {
            (0, _) => None,
            (tries, 0) => Some(format!("tried {tries} times")),
            (tries, drops) => Some(format!("tried {tries} times and was dropped {drops} times")),
        };
        let story: Vec<_> = wait.into_iter().chain(tries).collect();
        if !story.is_empty() {
            write!(f, "{}: ", story.join(", "))?;
        }
        f.write_str(self.hindrance.words())?;
        match (self.end, self.hindrance.sshd_config_line()) {
            (End::NotYet, _) => Ok(()),
            (_, Some(line)) => write!(
                f,
                "; try again, or ask its operator to set \"{line}\" in sshd_config"
            ),
            (_, None) => f.write_str("; ask its operator whether it runs well"),
        }
    }
}

/// A target seems to refuse a source address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanAlert {
    /// The target.
    pub target: TargetId,
    /// The address that connections come from, where the caller named one.
    pub source: Option<IpAddr>,
    /// Connections dropped in a row with no other in flight.
    pub drops: u32,
}

impl fmt::Display for BanAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            source,
            drops,
        } = self;
        let address = source.map_or_else(
            || "<address of this proxy>".to_owned(),
            |source| source.to_string(),
        );
        write!(
            f,
            "{target} dropped {drops} connections in a row that came one at a time: it seems to refuse this proxy's address; \
             set \"PerSourcePenaltyExemptList {address}\" in its sshd_config, and see that hosts.deny does not name it"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(end: End, hindrance: Hindrance, tries: u32, drops: u32) -> String {
        let waited = Duration::from_secs(30);
        let ahead = 12;
        Explanation {
            end,
            hindrance,
            waited,
            tries,
            drops,
            ahead,
        }
        .to_string()
    }

    #[test]
    fn explanation_tells_what_was_tried_who_was_ahead_and_what_to_set() {
        assert_eq!(
            explanation(End::WaitLimit, Hindrance::Drops, 7, 7),
            "waited 30 s to connect, behind 12 others, tried 7 times and was dropped 7 times: the target drops \
             connections, as it does when too many log in at once; try again, or ask its operator to set \
             \"MaxStartups 200:30:400\" in sshd_config"
        );
        let held = explanation(End::QueueFull, Hindrance::Penalties, 0, 0);
        assert!(held.starts_with("12 others wait"), "{held}");
        assert!(held.contains("PerSourcePenaltyExemptList"), "{held}");
        assert_eq!(
            explanation(End::NotYet, Hindrance::Slow, 0, 0),
            "behind 12 others: the target takes its logins slowly"
        );
        let silent = explanation(End::WaitLimit, Hindrance::Silent, 1, 0);
        assert!(
            silent.ends_with("ask its operator whether it runs well"),
            "{silent}"
        );
    }

    #[test]
    fn alert_names_the_address_to_exempt() {
        let alert = BanAlert {
            target: TargetId::from("web1:22"),
            source: Some(IpAddr::from([10, 0, 0, 7])),
            drops: 7,
        };
        let words = alert.to_string();
        assert!(
            words.contains("\"PerSourcePenaltyExemptList 10.0.0.7\""),
            "{words}"
        );
    }
}
