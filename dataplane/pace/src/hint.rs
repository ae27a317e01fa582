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

    /// Reads the output of `sshd -T`; lines of other keywords are passed over.
    #[must_use]
    pub fn from_sshd_config(text: &str) -> Self {
        let mut hint = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(keyword), Some(value)) = (words.next(), words.next()) else {
                continue;
            };
            match keyword.to_ascii_lowercase().as_str() {
                "maxstartups" => hint.max_startups = MaxStartups::parse(value),
                "persourcemaxstartups" => {
                    hint.per_source_max_startups = value.parse().ok().filter(|limit| *limit > 0);
                }
                "persourcepenalties" => hint.no_penalties = value == "no",
                _ => {}
            }
        }
        hint
    }
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

    #[test]
    fn hint_is_what_sshd_prints_of_its_configuration() {
        let printed = "port 22\nmaxstartups 200:30:400\npersourcemaxstartups none\n\
                       persourcepenalties crash:90 authfail:5 noauth:1 grace-exceeded:10 max:600 min:15\n";
        let hint = Hint::from_sshd_config(printed);
        assert_eq!(hint.max_startups, MaxStartups::parse("200:30:400"));
        assert_eq!(hint.per_source_max_startups, None);
        assert!(!hint.no_penalties);

        let printed = "MaxStartups 5\nPerSourceMaxStartups 3\nPerSourcePenalties no\nbanner\n";
        let hint = Hint::from_sshd_config(printed);
        assert_eq!(hint.max_startups, MaxStartups::parse("5"));
        assert_eq!(hint.per_source_max_startups, Some(3));
        assert!(hint.no_penalties);
    }
}
