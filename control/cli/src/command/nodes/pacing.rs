//! `weir nodes ls --pacing`: how handshakes to the nodes are paced.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use weir_api::admin::{ListPacingRequest, NodePacing};
use weir_api::dataplane::{TargetPacing, WaitHistogram};

use super::hint;
use crate::client::{connect, converse};
use crate::failure::{printable, refusal};
use crate::output::{Array, Table, brief, stdout};

/// Nodes asked for at once.
const PAGE: u32 = 1000;

const HEAD: [&str; 11] = [
    "NODE",
    "WINDOW",
    "IN\nFLIGHT",
    "WAITING",
    "ADMITTED",
    "DROPS",
    "RE-\nTRIES",
    "GIVEN\nUP",
    "WAIT\np50/p99",
    "HAND-\nSHAKE",
    "PENALTY",
];

/// One row of `weir nodes ls --pacing --json`.
#[derive(Serialize)]
struct Row {
    node: String,
    address: String,
    pacing_hint: Option<hint::Shown>,
    /// Null where none has dialled the node, or not for long; `pacing` is so then too.
    data_plane: Option<String>,
    pacing: Option<Pacing>,
}

#[derive(Serialize)]
struct Pacing {
    window: f64,
    ceiling: Option<u64>,
    share: f64,
    in_flight: u64,
    waiting: u64,
    admitted: u64,
    drops: u64,
    retries: u64,
    given_up: u64,
    handshake_us: u64,
    penalty_us: u64,
    ban_suspected: bool,
    waits: Waits,
}

/// How long users waited. The last of `counts` is of those beyond all `bounds_us`.
#[derive(Serialize)]
struct Waits {
    bounds_us: Vec<u64>,
    counts: Vec<u64>,
    sum_us: u64,
}

pub(super) fn list(data: &Path, json: bool) -> anyhow::Result<()> {
    let rows: Vec<Row> = converse(ask(data))?.into_iter().map(Row::from).collect();
    let mut out = stdout();
    if json {
        let mut array = Array::new();
        for row in &rows {
            array.push(&mut out, row)?;
        }
        array.end(&mut out)?;
    } else {
        print(&mut out, &rows)?;
    }
    Ok(out.flush()?)
}

/// All rows, a page at a time.
pub(super) async fn ask(data: &Path) -> anyhow::Result<Vec<NodePacing>> {
    let mut admin = connect(data).await?;
    let mut rows = Vec::new();
    let mut request = ListPacingRequest {
        page_size: PAGE,
        ..ListPacingRequest::default()
    };
    loop {
        let reply = admin
            .list_pacing(request.clone())
            .await
            .map_err(refusal)?
            .into_inner();
        rows.extend(reply.rows);
        if reply.next_page_token.is_empty() {
            return Ok(rows);
        }
        request.page_token = reply.next_page_token;
    }
}

/// The table, and below it what needs a sentence.
fn print(out: &mut impl Write, rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    Table::new(HEAD).print(out, &cells)?;
    let banned = |row: &&Row| row.pacing.as_ref().is_some_and(|pacing| pacing.ban_suspected);
    for row in rows.iter().filter(banned) {
        writeln!(
            out,
            "{}: ban suspected: name this machine in PerSourcePenaltyExemptList on the server",
            printable(&row.node)
        )?;
    }
    Ok(())
}

impl Row {
    fn cells(&self) -> [String; HEAD.len()] {
        let Some(pacing) = &self.pacing else {
            let mut cells = [const { String::new() }; HEAD.len()];
            cells[0].clone_from(&self.node);
            return cells;
        };
        [
            self.node.clone(),
            format!("{:.1}", pacing.window),
            pacing.in_flight.to_string(),
            pacing.waiting.to_string(),
            pacing.admitted.to_string(),
            pacing.drops.to_string(),
            pacing.retries.to_string(),
            pacing.given_up.to_string(),
            pacing.waits.cell(),
            micros(pacing.handshake_us),
            micros(pacing.penalty_us),
        ]
    }
}

impl Waits {
    /// `p50/p99`; empty where nobody has come yet.
    fn cell(&self) -> String {
        match (self.quantile(50), self.quantile(99)) {
            (Some(half), Some(most)) => format!("{half}/{most}"),
            _ => String::new(),
        }
    }

    /// What `percent` of the waits did not exceed, as far as buckets tell: the upper bound of the one where it lies.
    fn quantile(&self, percent: u128) -> Option<String> {
        let total: u128 = self.counts.iter().copied().map(u128::from).sum();
        if total == 0 {
            return None;
        }
        let rank = (total * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        })?;
        Some(match (self.bounds_us.get(bucket), self.bounds_us.last()) {
            (Some(bound), _) => brief(Duration::from_micros(*bound)),
            (None, Some(last)) => format!(">{}", brief(Duration::from_micros(*last))),
            (None, None) => return None,
        })
    }
}

/// Empty for 0, which stands for nothing measured or nothing held against us.
fn micros(micros: u64) -> String {
    if micros == 0 {
        return String::new();
    }
    brief(Duration::from_micros(micros))
}

impl From<NodePacing> for Row {
    fn from(row: NodePacing) -> Self {
        let node = row.node.unwrap_or_default();
        Row {
            node: node.name,
            address: node.address,
            pacing_hint: node.pacing.map(hint::Shown::from),
            data_plane: Some(row.data_plane).filter(|name| !name.is_empty()),
            pacing: row.pacing.map(Pacing::from),
        }
    }
}

impl From<TargetPacing> for Pacing {
    fn from(pacing: TargetPacing) -> Self {
        Pacing {
            window: pacing.window,
            ceiling: Some(pacing.ceiling).filter(|ceiling| *ceiling > 0),
            share: pacing.share,
            in_flight: pacing.in_flight,
            waiting: pacing.waiting,
            admitted: pacing.admitted,
            drops: pacing.drops,
            retries: pacing.retries,
            given_up: pacing.given_up,
            handshake_us: pacing.handshake_us,
            penalty_us: pacing.penalty_us,
            ban_suspected: pacing.ban_suspected,
            waits: pacing.waits.unwrap_or_default().into(),
        }
    }
}

impl From<WaitHistogram> for Waits {
    fn from(waits: WaitHistogram) -> Self {
        Waits {
            bounds_us: waits.bounds_us,
            counts: waits.counts,
            sum_us: waits.sum_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(counts: &[u64]) -> Waits {
        Waits {
            bounds_us: vec![5_000, 50_000, 1_000_000],
            counts: counts.to_vec(),
            sum_us: 0,
        }
    }

    fn row(node: &str, pacing: Option<Pacing>) -> Row {
        Row {
            node: node.to_owned(),
            address: format!("{node}:22"),
            pacing_hint: None,
            data_plane: pacing.as_ref().map(|_| "embedded".to_owned()),
            pacing,
        }
    }

    #[test]
    fn quantiles_are_the_bound_of_their_bucket() {
        assert_eq!(waits(&[50, 49, 1, 0]).cell(), "5.0ms/50ms");
        assert_eq!(waits(&[49, 49, 2, 0]).cell(), "50ms/1.0s");
        assert_eq!(waits(&[0, 0, 0, 1]).cell(), ">1.0s/>1.0s");
        assert_eq!(waits(&[1, 0, 0, 0]).cell(), "5.0ms/5.0ms");
        assert_eq!(waits(&[0, 0, 0, 0]).cell(), "");
        assert_eq!(waits(&[]).cell(), "");
        assert_eq!(waits(&[u64::MAX, u64::MAX, 0, 0]).cell(), "5.0ms/50ms");
        let without_bounds = Waits {
            bounds_us: Vec::new(),
            ..waits(&[7])
        };
        assert_eq!(without_bounds.cell(), "");
    }

    #[test]
    fn the_table_fits_a_terminal_of_100_columns_and_shows_dashes_for_what_was_never_dialled() {
        let busy = Pacing {
            window: 199.25,
            ceiling: Some(200),
            share: 199.25,
            in_flight: 199,
            waiting: 4096,
            admitted: 1_234_567,
            drops: 12_345,
            retries: 12_345,
            given_up: 1234,
            handshake_us: 123_456,
            penalty_us: 12_500_000,
            ban_suspected: true,
            waits: waits(&[50, 0, 40, 10]),
        };
        let mut out = Vec::new();
        print(
            &mut out,
            &[row("database-node1", Some(busy)), row("web1\x1b", None)],
        )
        .unwrap();
        let printed = String::from_utf8(out).unwrap();
        let expected = [
            "                        IN                                RE-    GIVEN  WAIT         HAND-",
            "NODE            WINDOW  FLIGHT  WAITING  ADMITTED  DROPS  TRIES  UP     p50/p99      SHAKE  PENALTY",
            "database-node1  199.2   199     4096     1234567   12345  12345  1234   5.0ms/>1.0s  123ms  12s",
            "web1\\u{1b}      -       -       -        -         -      -      -      -            -      -",
            "database-node1: ban suspected: name this machine in PerSourcePenaltyExemptList on the server",
        ];
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
        assert!(expected.iter().all(|line| line.chars().count() <= 100));
    }
}
