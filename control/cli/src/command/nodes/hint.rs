//! What an administrator says of how many handshakes a server takes, as flags and as `sshd -T` prints it.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use weir_api::dataplane::PacingHint;

use crate::arguments::Hint;
use crate::failure::usage;
use crate::files::read_text;

/// The hint in `weir nodes ls --json`; null where a value is not known.
#[derive(Serialize)]
pub(super) struct Shown {
    max_startups: Option<String>,
    per_source_max_startups: Option<u32>,
    max_handshakes: Option<u32>,
    no_penalties: bool,
}

impl From<PacingHint> for Shown {
    fn from(hint: PacingHint) -> Self {
        let known = |number| Some(number).filter(|number| *number > 0);
        Shown {
            max_startups: Some(hint.max_startups).filter(|text| !text.is_empty()),
            per_source_max_startups: known(hint.per_source_max_startups),
            max_handshakes: known(hint.max_handshakes),
            no_penalties: hint.no_penalties,
        }
    }
}

impl Shown {
    /// One short word, most often `MaxStartups` alone.
    pub(super) fn word(&self) -> String {
        let mut word = self.max_startups.clone().unwrap_or_default();
        let mut add = |part: std::fmt::Arguments<'_>| {
            let comma = if word.is_empty() { "" } else { "," };
            let _ = write!(word, "{comma}{part}");
        };
        if let Some(limit) = self.per_source_max_startups {
            add(format_args!("source={limit}"));
        }
        if let Some(limit) = self.max_handshakes {
            add(format_args!("max={limit}"));
        }
        if self.no_penalties {
            add(format_args!("no-penalties"));
        }
        word
    }
}

/// The hint of all flags together; none where no flag was given.
pub(super) fn of_flags(flags: Hint) -> anyhow::Result<Option<PacingHint>> {
    let mut hint = match &flags.sshd_config {
        Some(file) => from_sshd(file, &read_text(file)?)?,
        None => PacingHint::default(),
    };
    let said = flags.sshd_config.is_some() || hint_is_said(&flags);
    // What was typed is what is meant.
    hint.max_startups = flags.max_startups.unwrap_or(hint.max_startups);
    hint.per_source_max_startups = flags
        .per_source_max_startups
        .unwrap_or(hint.per_source_max_startups);
    hint.max_handshakes = flags.max_handshakes.unwrap_or(hint.max_handshakes);
    hint.no_penalties |= flags.no_penalties;
    Ok(said.then_some(hint))
}

fn hint_is_said(flags: &Hint) -> bool {
    flags.max_startups.is_some()
        || flags.per_source_max_startups.is_some()
        || flags.max_handshakes.is_some()
        || flags.no_penalties
}

/// Reads what `sshd -T` prints. sshd_config(5): "keywords are case-insensitive and arguments are case-sensitive".
fn from_sshd(file: &Path, text: &str) -> anyhow::Result<PacingHint> {
    let mut hint = PacingHint::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(keyword), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        match &*keyword.to_ascii_lowercase() {
            // The server judges it, as it judges the flag.
            "maxstartups" => value.clone_into(&mut hint.max_startups),
            "persourcemaxstartups" => hint.per_source_max_startups = per_source(file, value)?,
            "persourcepenalties" => hint.no_penalties = value == "no",
            _ => {}
        }
    }
    // Every sshd prints it.
    if hint.max_startups.is_empty() {
        return Err(usage(format!(
            "got no MaxStartups in {} while expecting what `sshd -T` prints: run that on the server, as root",
            file.display()
        )));
    }
    Ok(hint)
}

fn per_source(file: &Path, value: &str) -> anyhow::Result<u32> {
    if value == "none" {
        return Ok(0);
    }
    value.parse().map_err(|_| {
        usage(format!(
            "got PerSourceMaxStartups {value:?} in {} while expecting a number or none",
            file.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Hint {
        Hint {
            max_startups: None,
            per_source_max_startups: None,
            max_handshakes: None,
            no_penalties: false,
            sshd_config: None,
        }
    }

    #[test]
    fn what_sshd_prints_is_read_and_flags_win_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("printed");
        std::fs::write(
            &file,
            "port 22\nMaxStartups 200:30:400\nPERSOURCEMAXSTARTUPS 7\npersourcepenalties no\nbanner\n",
        )
        .unwrap();
        let read = Hint {
            sshd_config: Some(file),
            ..flags()
        };
        let typed = Hint {
            max_startups: Some("5".to_owned()),
            max_handshakes: Some(4),
            sshd_config: read.sshd_config.clone(),
            ..flags()
        };
        let printed = PacingHint {
            max_startups: "200:30:400".to_owned(),
            per_source_max_startups: 7,
            max_handshakes: 0,
            no_penalties: true,
        };
        assert_eq!(of_flags(read).unwrap(), Some(printed.clone()));
        let expected = PacingHint {
            max_startups: "5".to_owned(),
            max_handshakes: 4,
            ..printed
        };
        assert_eq!(of_flags(typed).unwrap(), Some(expected));
        assert_eq!(of_flags(flags()).unwrap(), None);
    }

    #[test]
    fn penalties_and_sources_without_a_limit_are_told_apart_from_none() {
        let read = |text: &str| from_sshd(Path::new("F"), text);
        let hint =
            read("maxstartups 10:30:100\npersourcemaxstartups none\npersourcepenalties crash:90 noauth:1\n");
        assert_eq!(
            hint.unwrap(),
            PacingHint {
                max_startups: "10:30:100".to_owned(),
                ..PacingHint::default()
            }
        );
        for (text, says) in [
            ("", "no MaxStartups in F"),
            ("port 22\n", "`sshd -T`"),
            ("maxstartups 5\npersourcemaxstartups many\n", "a number or none"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_hint_is_one_word() {
        let hint = PacingHint {
            max_startups: "200:30:400".to_owned(),
            per_source_max_startups: 7,
            max_handshakes: 50,
            no_penalties: true,
        };
        assert_eq!(
            Shown::from(hint).word(),
            "200:30:400,source=7,max=50,no-penalties"
        );
        assert_eq!(Shown::from(PacingHint::default()).word(), "");
    }
}
