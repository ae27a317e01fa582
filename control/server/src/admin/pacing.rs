//! How many handshakes a node takes: what is known beforehand, and what the data planes have found.

use std::collections::HashMap;
use std::ops::Bound;

use tonic::Status;
use weir_api::admin::{ListPacingReply, ListPacingRequest, NodePacing};
use weir_api::dataplane::{Node, PacingHint, PacingQuery, TargetPacing};

use crate::control::{EMBEDDED, Shared};

/// Nodes on a page that does not say how many.
const DEFAULT_PAGE: u32 = 100;

/// Nodes on any page; with a histogram each, some 500 KB.
const PAGE_LIMIT: u32 = 1000;

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

/// One page of nodes, each with what the data plane in this process says of it.
pub(super) async fn list(shared: &Shared, request: &ListPacingRequest) -> Result<ListPacingReply, Status> {
    let (nodes, next_page_token) = page(shared, request).await;
    let pacing = inspect(shared, &nodes).await?;
    let rows = nodes.into_iter().map(|node| {
        let pacing = pacing.get(&node.address).cloned();
        NodePacing {
            data_plane: pacing.as_ref().map_or_else(String::new, |_| EMBEDDED.to_owned()),
            node: Some(node),
            pacing,
        }
    });
    Ok(ListPacingReply {
        rows: rows.collect(),
        next_page_token,
    })
}

/// Nodes by name from the token on, and the token of the page after.
async fn page(shared: &Shared, request: &ListPacingRequest) -> (Vec<Node>, String) {
    let size = match request.page_size {
        0 => DEFAULT_PAGE,
        size => size.min(PAGE_LIMIT),
    } as usize;
    let directory = shared.state.directory().await;
    // A name sorts behind the empty token, and the one of the last page may be gone.
    let behind = (Bound::Excluded(request.page_token.as_str()), Bound::Unbounded);
    let mut rest = directory.nodes.range::<str, _>(behind);
    let mut token = String::new();
    let nodes = rest
        .by_ref()
        .take(size)
        .map(|(key, entry)| {
            token.clone_from(key);
            entry.value.clone()
        })
        .collect();
    if rest.next().is_none() {
        token.clear();
    }
    (nodes, token)
}

/// What the data plane says of the nodes' addresses; nothing where it has not said whom to ask.
async fn inspect(shared: &Shared, nodes: &[Node]) -> Result<HashMap<String, TargetPacing>, Status> {
    let (Some(inspect), false) = (shared.inspect.load_full(), nodes.is_empty()) else {
        return Ok(HashMap::new());
    };
    let mut addresses: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    // It may have to wait for a lock that every session of the data plane takes.
    let asked = tokio::task::spawn_blocking(move || inspect(&PacingQuery { addresses }));
    let found = asked.await.map_err(|error| {
        tracing::error!(%error, "the data plane cannot say how it paces");
        Status::internal("the data plane cannot say how it paces: see the log")
    })?;
    let by_address = |pacing: TargetPacing| (pacing.address.clone(), pacing);
    Ok(found.into_iter().map(by_address).collect())
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
