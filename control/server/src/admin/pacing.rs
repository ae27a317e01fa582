//! What is known of how many handshakes a node takes.

use tonic::Status;
use weir_api::dataplane::PacingHint;

/// A hint that can be stored; none where it says nothing.
pub(super) fn checked(hint: PacingHint) -> Result<Option<PacingHint>, Status> {
    if !hint.max_startups.is_empty() && !is_max_startups(&hint.max_startups) {
        return Err(Status::invalid_argument(format!(
            "got MaxStartups {:?} while expecting start:rate:full as sshd has it, 200:30:400 for example, with a start \
             of 1 or more that is no larger than full and a rate of 1 to 100; or one number",
            hint.max_startups
        )));
    }
    Ok((hint != PacingHint::default()).then_some(hint))
}

/// Whether sshd takes this for its `MaxStartups`.
///
/// The rule is the data plane's own (`MaxStartups::parse` in `dataplane/pace`), which the control plane does not use: a
/// test of the binary, where both are at hand, holds the two together.
fn is_max_startups(text: &str) -> bool {
    let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([limit]) => *limit >= 1,
        Ok([start, rate, full]) => *start >= 1 && start <= full && (1..=100).contains(rate),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_startups_is_refused_where_sshd_would_refuse_it() {
        let with = |max_startups: &str| {
            checked(PacingHint {
                max_startups: max_startups.to_owned(),
                no_penalties: true,
                ..PacingHint::default()
            })
        };
        for good in ["", "5", "10:30:100", "200:30:400", "7:100:7"] {
            assert_eq!(with(good).unwrap().unwrap().max_startups, good);
        }
        for wrong in [
            "0",
            "x",
            "10:30",
            "20:30:10",
            "10:0:100",
            "10:101:100",
            "1:2:3:4",
            "-1",
        ] {
            let refusal = with(wrong).unwrap_err();
            assert!(
                refusal.message().contains("start:rate:full"),
                "{wrong}: {refusal}"
            );
        }
    }

    #[test]
    fn a_hint_that_says_nothing_is_none() {
        assert_eq!(checked(PacingHint::default()).unwrap(), None);
    }
}
