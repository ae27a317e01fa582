//! What a run has found: latencies by phase, failures by cause.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Three significant digits, from a microsecond to an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Kinds of failure told apart; what comes beyond is counted together, so that a server which words each
/// failure differently cannot make the report grow without bound.
const CAUSES: usize = 32;

/// A phase of a session, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the start to the first keys: TCP, identification, key exchange.
    KeyExchange,
    /// From there to the server's consent.
    Authentication,
    /// From there to the running command: behind a proxy this is where the target is dialled.
    Start,
    /// From there to the first byte of output.
    FirstOutput,
    /// From the start to the end, or from the moment at which a session was due.
    Whole,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::KeyExchange => "key exchange",
            Self::Authentication => "authentication",
            Self::Start => "command started",
            Self::FirstOutput => "first output",
            Self::Whole => "whole session",
        }
    }
}

/// The tally of a run.
pub struct Report {
    /// What was run.
    title: String,
    phases: BTreeMap<Phase, Histogram<u64>>,
    succeeded: u64,
    failures: BTreeMap<String, u64>,
    wall: Duration,
    /// Further figures of one kind of run, in the order in which they are shown.
    extra: Vec<(&'static str, Value)>,
}

impl Report {
    /// An empty tally.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            phases: BTreeMap::new(),
            succeeded: 0,
            failures: BTreeMap::new(),
            wall: Duration::ZERO,
            extra: Vec::new(),
        }
    }

    /// Notes how long a phase took.
    pub fn phase(&mut self, phase: Phase, took: Duration) {
        let new = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are sound");
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
        self.phases
            .entry(phase)
            .or_insert_with(new)
            .saturating_record(micros.max(1));
    }

    /// Counts a session that did what it should.
    pub fn success(&mut self) {
        self.succeeded += 1;
    }

    /// Counts a session that did not, by its cause.
    pub fn failure(&mut self, cause: &str) {
        let known = self.failures.contains_key(cause) || self.failures.len() < CAUSES;
        let cause = if known { cause } else { "(other causes)" };
        *self.failures.entry(cause.to_owned()).or_default() += 1;
    }

    /// Notes how long the run took.
    pub fn took(&mut self, wall: Duration) {
        self.wall = wall;
    }

    /// Notes a further figure.
    pub fn figure(&mut self, name: &'static str, value: impl Into<Value>) {
        self.extra.push((name, value.into()));
    }

    /// Sessions that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Sessions that did what they should.
    pub fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Everything, for programs. Times are in microseconds.
    pub fn json(&self) -> Value {
        let phases: serde_json::Map<_, _> = self
            .phases
            .iter()
            .map(|(phase, times)| (phase.name().to_owned(), percentiles_json(times)))
            .collect();
        let mut report = json!({
            "run": self.title,
            "succeeded": self.succeeded,
            "failed": self.failed(),
            "failures": self.failures,
            "wall_s": self.wall.as_secs_f64(),
            "sessions_per_s": self.rate(),
            "latency_us": phases,
        });
        for (name, value) in &self.extra {
            report[*name] = value.clone();
        }
        report
    }

    fn rate(&self) -> f64 {
        let seconds = self.wall.as_secs_f64();
        // The count of a run is far below 2^53.
        if seconds > 0.0 {
            self.succeeded as f64 / seconds
        } else {
            0.0
        }
    }

    /// The most frequent first.
    fn causes(&self) -> Vec<(&str, u64)> {
        let mut causes: Vec<_> = self
            .failures
            .iter()
            .map(|(cause, count)| (cause.as_str(), *count))
            .collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        causes
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let (seconds, rate) = (self.wall.as_secs_f64(), self.rate());
        writeln!(
            f,
            "{} succeeded, {} failed in {seconds:.2} s: {rate:.1}/s",
            self.succeeded,
            self.failed()
        )?;
        for (name, value) in &self.extra {
            writeln!(f, "{}: {value}", name.replace('_', " "))?;
        }
        if !self.phases.is_empty() {
            writeln!(
                f,
                "\n{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}   ms",
                "", "p50", "p90", "p99", "p99.9", "max"
            )?;
        }
        for (phase, times) in &self.phases {
            write!(f, "{:<16}", phase.name())?;
            for micros in percentiles(times) {
                write!(f, "{:>9.2}", micros as f64 / 1000.0)?;
            }
            writeln!(f)?;
        }
        if !self.failures.is_empty() {
            writeln!(f, "\nfailures")?;
        }
        self.causes()
            .into_iter()
            .try_for_each(|(cause, count)| writeln!(f, "{count:>8}  {cause}"))
    }
}

fn percentiles(times: &Histogram<u64>) -> [u64; 5] {
    let [p50, p90, p99, p999] = [50.0, 90.0, 99.0, 99.9].map(|p| times.value_at_percentile(p));
    [p50, p90, p99, p999, times.max()]
}

fn percentiles_json(times: &Histogram<u64>) -> Value {
    let [p50, p90, p99, p999, max] = percentiles(times);
    json!({ "count": times.len(), "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_noted() {
        let mut report = Report::new("a run");
        for millis in 1..=1000 {
            report.phase(Phase::Whole, Duration::from_millis(millis));
            report.success();
        }
        report.took(Duration::from_secs(10));
        let json = report.json();
        let close = |name: &str, expected: f64| {
            let got = json["latency_us"]["whole session"][name].as_f64().unwrap();
            assert!((got / expected - 1.0).abs() < 0.002, "{name}: {got}");
        };
        close("p50", 500_000.0);
        close("p99", 990_000.0);
        close("max", 1_000_000.0);
        assert_eq!(json["sessions_per_s"], 100.0);
    }

    #[test]
    fn causes_are_counted_and_bounded() {
        let mut report = Report::new("a run");
        for n in 0..1000 {
            report.failure(&format!("cause {n}"));
        }
        report.failure("cause 1");
        assert_eq!(report.failed(), 1001);
        assert!(report.failures.len() <= CAUSES + 1);
        assert_eq!(report.causes()[0].0, "(other causes)");
        assert_eq!(report.causes()[1], ("cause 1", 2));
    }

    #[test]
    fn times_out_of_range_are_kept_at_its_ends() {
        let mut report = Report::new("a run");
        report.phase(Phase::Whole, Duration::ZERO);
        report.phase(Phase::Whole, Duration::from_secs(1_000_000));
        let json = report.json();
        assert_eq!(json["latency_us"]["whole session"]["count"], 2);
        assert!(report.to_string().contains("whole session"));
    }
}
