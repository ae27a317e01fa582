//! The table, as text and as JSON.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Kind, Options};

/// The figures of one row, one entry per round.
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) down_cpu: Vec<Option<f64>>,
    pub(super) down_rate: Vec<f64>,
    pub(super) up_cpu: Vec<Option<f64>>,
    pub(super) up_rate: Vec<f64>,
    pub(super) session_ms: Vec<Option<f64>>,
    pub(super) echo_p50: Vec<f64>,
    pub(super) echo_p99: Vec<f64>,
    pub(super) key_us: Vec<Option<f64>>,
    pub(super) crowd_p50: Vec<f64>,
    pub(super) crowd_p99: Vec<f64>,
    pub(super) crowd_key_us: Vec<Option<f64>>,
    pub(super) idle_kib: Vec<Option<f64>>,
    pub(super) failures: Vec<String>,
}

impl Row {
    pub(super) fn new(kind: Kind) -> Row {
        Row {
            kind,
            down_cpu: Vec::new(),
            down_rate: Vec::new(),
            up_cpu: Vec::new(),
            up_rate: Vec::new(),
            session_ms: Vec::new(),
            echo_p50: Vec::new(),
            echo_p99: Vec::new(),
            key_us: Vec::new(),
            crowd_p50: Vec::new(),
            crowd_p99: Vec::new(),
            crowd_key_us: Vec::new(),
            idle_kib: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn figures(&self) -> [Option<f64>; COLUMNS.len()] {
        let own = |values: &[Option<f64>]| median(values.iter().copied().flatten());
        let seen = |values: &[f64]| median(values.iter().copied());
        [
            own(&self.down_cpu),
            own(&self.up_cpu),
            own(&self.session_ms),
            seen(&self.echo_p50),
            seen(&self.echo_p99),
            own(&self.key_us),
            seen(&self.crowd_p50),
            seen(&self.crowd_p99),
            own(&self.crowd_key_us),
            own(&self.idle_kib),
            seen(&self.down_rate),
            seen(&self.up_rate),
        ]
    }
}

struct Column {
    head: [&'static str; 2],
    key: &'static str,
    decimals: usize,
}

const fn column(head: [&'static str; 2], key: &'static str, decimals: usize) -> Column {
    Column { head, key, decimals }
}

const COLUMNS: [Column; 12] = [
    column(["CPU s/GB", "down"], "cpu_s_per_gb_down", 3),
    column(["CPU s/GB", "up"], "cpu_s_per_gb_up", 3),
    column(["CPU ms", "/session"], "cpu_ms_per_session", 2),
    column(["echo us", "p50"], "echo_p50_us", 0),
    column(["echo us", "p99"], "echo_p99_us", 0),
    column(["CPU us", "/key"], "cpu_us_per_key", 1),
    column(["in crowd", "p50"], "crowd_echo_p50_us", 0),
    column(["in crowd", "p99"], "crowd_echo_p99_us", 0),
    column(["in crowd", "us/key"], "crowd_cpu_us_per_key", 1),
    column(["idle KiB", "/session"], "idle_kib_per_session", 1),
    column(["GB/s", "down"], "gb_per_s_down", 2),
    column(["GB/s", "up"], "gb_per_s_up", 2),
];

/// The table, with what was measured and where above it.
pub(super) fn text(rows: &[Row], options: &Options, recordings: Option<usize>) -> String {
    let mut out = format!("{}\n{}\n", machine().join(" · "), amounts(options));
    if let Some(recordings) = recordings {
        out += &format!("Weir lists {recordings} recordings of this run.\n");
    }
    let name_width = rows.iter().map(|row| row.kind.title().len()).max().unwrap_or(0);
    for line in 0..2 {
        out += &format!("\n{:name_width$}", "");
        COLUMNS
            .iter()
            .for_each(|column| out += &format!("  {:>9}", column.head[line]));
    }
    out += "\n";
    for row in rows {
        out += &format!("{:name_width$}", row.kind.title());
        for (column, figure) in COLUMNS.iter().zip(row.figures()) {
            let shown = figure.map_or("-".to_owned(), |figure| format!("{figure:.*}", column.decimals));
            out += &format!("  {shown:>9}");
        }
        out += "\n";
    }
    for row in rows {
        row.failures
            .iter()
            .for_each(|failure| out += &format!("{}: failed: {failure}\n", row.kind.title()));
    }
    out
}

/// The same as one JSON object.
pub(super) fn json(rows: &[Row], options: &Options, recordings: Option<usize>) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let figures = COLUMNS.iter().zip(row.figures());
            let figures: serde_json::Map<String, Value> = figures
                .map(|(column, figure)| (column.key.to_owned(), json!(figure)))
                .collect();
            json!({ "name": row.kind.title(), "figures": figures, "failures": row.failures })
        })
        .collect();
    json!({ "machine": machine(), "amounts": amounts(options), "recordings": recordings, "rows": rows })
}

fn amounts(options: &Options) -> String {
    format!(
        "{} GB of {} each way, {} sessions ({} at once), {} keystrokes (crowd: {} others type), {} idle sessions; {}",
        options.gigabytes,
        options.data.name(),
        options.sessions,
        options.parallel,
        options.keys,
        options.typists,
        options.idle,
        if options.rounds == 1 {
            "one round".to_owned()
        } else {
            format!("medians of {} rounds", options.rounds)
        }
    )
}

/// What the figures were taken on.
pub(super) fn machine() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(": ")?.1.to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned());
    // `ssh -V` answers on standard error.
    let ssh = Command::new("ssh")
        .arg("-V")
        .output()
        .map(|done| String::from_utf8_lossy(&done.stderr).into_owned());
    let ssh = ssh
        .ok()
        .and_then(|version| Some(version.split([',', '\n']).next()?.to_owned()));
    let kernel = kernel.ok().map(|release| format!("Linux {release}"));
    [Some(format!("{cores} cores")), model, kernel, ssh]
        .into_iter()
        .flatten()
        .collect()
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        (values[middle - 1] + upper) / 2.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_rounds() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
