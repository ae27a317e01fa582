use std::fmt;

/// sshd's `MaxStartups start:rate:full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxStartups {
    /// Unauthenticated connections below which none is dropped.
    pub start: u32,
    /// The chance of a drop at `start`, in percent.
    pub rate: u32,
    /// Unauthenticated connections from which every further one is dropped.
    pub full: u32,
}

impl MaxStartups {
    /// sshd_config(5): "The default is 10:30:100."
    pub const DEFAULT: Self = Self {
        start: 10,
        rate: 30,
        full: 100,
    };

    /// Reads `start:rate:full`, or one number that is both ends.
    ///
    /// None where sshd would not take it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(str::parse::<u32>);
        let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(start)), None, None, None) => Self {
                start,
                rate: 100,
                full: start,
            },
            (Some(Ok(start)), Some(Ok(rate)), Some(Ok(full)), None) => Self { start, rate, full },
            _ => return None,
        };
        let sound = parsed.start >= 1 && parsed.start <= parsed.full && (1..=100).contains(&parsed.rate);
        sound.then_some(parsed)
    }
}

impl fmt::Display for MaxStartups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.start, self.rate, self.full)
    }
}

/// What is known of a target's sshd beforehand, from configuration or from its registration.
///
/// A hint bounds what is tried. It is not believed against evidence: drops below it still lower the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// `MaxStartups`.
    pub max_startups: Option<MaxStartups>,
    /// `PerSourceMaxStartups`, where it is a number.
    pub per_source_max_startups: Option<u32>,
    /// Handshakes in flight that the operator allows, whatever sshd would take; for all data planes together.
    pub window: Option<u32>,
    /// The target takes no `PerSourcePenalties` from this proxy: too old, turned off, or the proxy is exempt.
    pub no_penalties: bool,
}

impl Hint {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self {
        max_startups: None,
        per_source_max_startups: None,
        window: None,
        no_penalties: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_startups_is_read_as_sshd_reads_it() {
        assert_eq!(MaxStartups::parse("10:30:100"), Some(MaxStartups::DEFAULT));
        let plain = MaxStartups::parse("2").unwrap();
        assert_eq!((plain.start, plain.rate, plain.full), (2, 100, 2));
        for refused in [
            "",
            "0",
            "x",
            "10:30",
            "20:30:10",
            "10:0:100",
            "10:101:100",
            "1:2:3:4",
            "-1",
        ] {
            assert_eq!(MaxStartups::parse(refused), None, "{refused}");
        }
    }
}
