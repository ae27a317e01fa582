//! `weir recordings search`: where was it that somebody saw this text?
//!
//! The newest recording comes first. Each is read as a stream, and of it nothing is kept but the lines that are not
//! ended yet, so memory does not depend on how much there is to search.

mod hits;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use regex::bytes::{Regex, RegexBuilder};
use weir_api::admin::ListSessionsRequest;
use weir_api::dataplane::SessionRecord;
use weir_record::export::{self, MAX_MATCH_LEN};
use weir_record::{Identities, KeyError, ReadError, Reader, Unlock};

use self::hits::{Hits, Tally};
use crate::arguments::Search;
use crate::client::{connect, converse};
use crate::failure::{refusal, usage};
use crate::progress::Meter;
use crate::recording::{Recording, RecordingAction, read_identities};

/// Large enough that the round trips do not count.
const PAGE: u32 = 500;

pub(super) fn run(data: &Path, order: Search) -> anyhow::Result<()> {
    let pattern = pattern(&order)?;
    let identities = order.identity.as_deref().map(read_identities).transpose()?;
    let now = SystemTime::now();
    let mut request = ListSessionsRequest {
        user: order.user.clone().unwrap_or_default(),
        node: order.node.clone().unwrap_or_default(),
        since_us: order.since.map_or(0, |since| since.before(now)),
        until_us: order.until.map_or(0, |until| until.before(now)),
        page_size: PAGE,
        ..ListSessionsRequest::default()
    };
    let progress = Meter::new("searching");
    let mut hits = Hits::new(order.json, order.limit, progress.clone());
    let mut tally = Tally::default();
    'pages: loop {
        let page = converse(async {
            let mut admin = connect(data).await?;
            let reply = admin.list_recordings(request.clone()).await;
            Ok(reply.map_err(refusal)?.into_inner())
        })?;
        for session in &page.sessions {
            if hits.is_full() {
                break 'pages;
            }
            let number = tally.begin();
            progress.lock().rename(format!("searching recording {number}"));
            search(
                data,
                session,
                identities.as_ref(),
                &pattern,
                &mut hits,
                &mut tally,
                &progress,
            )?;
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let (found, searched_bytes) = (hits.end()?, progress.lock().done_bytes());
    drop(progress);
    tally.conclude(found, searched_bytes)
}

/// Searches one recording. What is wrong with it alone is told in the tally: the others are searched all the same.
fn search(
    data: &Path,
    session: &SessionRecord,
    identities: Option<&Identities>,
    pattern: &Regex,
    hits: &mut Hits,
    tally: &mut Tally,
    progress: &Meter,
) -> anyhow::Result<()> {
    let (header, recording) = match Recording::open(data, session.id.clone(), RecordingAction::Search) {
        Ok(opened) => opened,
        Err(error) => {
            tally.unread(&session.id, &error);
            return Ok(());
        }
    };
    let unlock = match (identities, &header.key) {
        (Some(identities), _) => Unlock::Identities(identities),
        (None, Ok(key)) => Unlock::Key(key),
        (None, Err(why)) => {
            tally.locked(why);
            return Ok(());
        }
    };
    let mut printed = Ok(());
    let searched = Reader::open(recording.counted(progress), unlock)
        .map_err(anyhow::Error::from)
        .and_then(|mut reader| {
            let each = |line: &export::Line<'_>| {
                printed = hits.find(session, line, pattern);
                if printed.is_err() || hits.is_full() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            Ok(export::lines(&mut reader, each)?)
        });
    printed?;
    match searched {
        Ok(()) => tally.searched(),
        Err(error) if is_not_for_us(&error) => tally.locked("sealed to others than the given identity"),
        Err(error) => tally.unread(&session.id, &error),
    }
    Ok(())
}

/// Whether none of the given identities opens it.
fn is_not_for_us(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ReadError::Key(KeyError::NotForUs)))
}

/// What to look for, on one line.
fn pattern(order: &Search) -> anyhow::Result<Regex> {
    let text = &order.text;
    if text.is_empty() {
        return Err(usage("got an empty text while expecting what to search for"));
    }
    if text.contains('\n') {
        return Err(usage(
            "got a text of several lines while expecting one: each line is searched by itself",
        ));
    }
    if text.len() > MAX_MATCH_LEN {
        return Err(usage(format!(
            "got a text of {} bytes while expecting at most {MAX_MATCH_LEN}: search for a part of it",
            text.len()
        )));
    }
    let expression = if order.regex {
        text.clone()
    } else {
        regex::escape(text)
    };
    RegexBuilder::new(&expression)
        .case_insensitive(order.ignore_case)
        .build()
        .map_err(|error| {
            let error = error.to_string().replace('\n', " ");
            usage(format!(
                "got {text:?} while expecting a regular expression: {error}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str, regex: bool, ignore_case: bool) -> Search {
        Search {
            text: text.to_owned(),
            regex,
            ignore_case,
            ..Search::default()
        }
    }

    #[test]
    fn text_is_taken_as_it_stands_and_expressions_as_such() {
        assert!(pattern(&order("a.c", false, false)).unwrap().is_match(b"x a.c"));
        assert!(!pattern(&order("a.c", false, false)).unwrap().is_match(b"abc"));
        assert!(pattern(&order("a.c", true, false)).unwrap().is_match(b"abc"));
        assert!(
            pattern(&order("GRÜSSE", false, true))
                .unwrap()
                .is_match("grüsse".as_bytes())
        );
        assert!(pattern(&order("a", false, false)).unwrap().is_match(b"\xff\xfea"));
    }

    #[test]
    fn what_cannot_be_searched_for_is_wrong_usage() {
        let long = "x".repeat(MAX_MATCH_LEN + 1);
        for (text, is_regex) in [("", false), ("a\nb", false), (&*long, false), ("(", true)] {
            let error = pattern(&order(text, is_regex, false)).unwrap_err();
            assert!(crate::failure::is_usage(&error), "{error}");
        }
    }
}
