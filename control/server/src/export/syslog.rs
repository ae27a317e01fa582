//! Events to a syslog receiver.
//!
//! Such a receiver confirms nothing. What is known is that the kernel gives a connection up whose data is not
//! acknowledged within [`ACKNOWLEDGED_WITHIN`]; so what was sent [`SAFE_AFTER`] ago over a connection that is still there has
//! reached the receiver's machine, and a receiver that reads had the rest of the time to take it. Only that moves the cursor: what is
//! younger is sent again when a connection breaks, or when Weir itself starts again.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::rfc5424::Header;
use super::tls::Connector;
use super::{FIRST_PAUSE, Feed, SyslogConfig, longer};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Data on the way that nobody acknowledges for so long ends a connection, and a receiver that takes nothing.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(8);

/// See the module.
const SAFE_AFTER: Duration = Duration::from_secs(10);

/// How exactly that is kept; with it, how many marks there are.
const TICK: Duration = Duration::from_secs(1);

/// Why a connection is over.
enum Over {
    /// There will be no more events.
    Finished,
    Broken(io::Error),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Over {
        Over::Broken(error)
    }
}

pub(super) async fn run(config: SyslogConfig, mut feed: Feed) {
    let header = Header::new(config.facility, &config.app_name);
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let problem = match serve(&config, &header, &mut feed).await {
            Over::Finished => return,
            Over::Broken(error) => format!("{}: {error}", config.address),
        };
        // One that lasted was a good one, and what ended it may be over.
        pause = if began.elapsed() > SAFE_AFTER {
            FIRST_PAUSE
        } else {
            longer(pause)
        };
        feed.place.pause_after(&problem, pause).await;
    }
}

/// Opens a connection and sends over it until it ends.
async fn serve(config: &SyslogConfig, header: &Header, feed: &mut Feed) -> Over {
    let opened = async {
        let socket = timeout(CONNECT_LIMIT, TcpStream::connect(&config.address))
            .await
            .map_err(|_| io::Error::other("no answer to the connection"))??;
        sockopt::set_tcp_user_timeout(&socket, millis(ACKNOWLEDGED_WITHIN))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        let Some(tls) = &config.tls else {
            return Ok((socket, None));
        };
        let connector = Connector::read(tls, &config.address).map_err(io::Error::other)?;
        Ok((socket, Some(connector)))
    };
    match opened.await {
        Err(error) => Over::Broken(error),
        Ok((socket, None)) => send(socket, header, feed).await,
        Ok((socket, Some(connector))) => match timeout(CONNECT_LIMIT, connector.connect(socket)).await {
            Ok(Ok(stream)) => send(stream, header, feed).await,
            Ok(Err(error)) => Over::Broken(error),
            Err(_) => Over::Broken(io::Error::other("the TLS handshake does not end")),
        },
    }
}

async fn send(stream: impl AsyncRead + AsyncWrite, header: &Header, feed: &mut Feed) -> Over {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut reader = std::pin::pin!(ended(&mut reader));
    let place = feed.place.clone();
    let mut sent_seq = place.cursor().await;
    let mut marks = Marks::new(Instant::now());
    let mut frames = Vec::new();
    loop {
        let after = sent_seq;
        // Half of it cannot be done again on the same connection, so it is not dropped as long as that is there.
        let mut batch = std::pin::pin!(async {
            let Some(events) = feed.after(after).await else {
                return Ok(None);
            };
            frames.clear();
            for (_, event) in &events {
                header.frame(event, &mut frames);
            }
            writer.write_all(&frames).await?;
            writer.flush().await?;
            Ok::<_, io::Error>(events.last().map(|(seq, _)| *seq))
        });
        let sent = loop {
            tokio::select! {
                sent = &mut batch => break sent,
                error = &mut reader => return Over::Broken(error),
                () = tokio::time::sleep_until(marks.due()), if marks.any() => {
                    if let Some(seq) = marks.pass(Instant::now()) {
                        place.is_safe(seq).await;
                    }
                }
            }
        };
        sent_seq = match sent {
            Err(error) => return Over::Broken(error),
            Ok(None) => return Over::Finished,
            Ok(Some(seq)) => seq,
        };
        place.sent(sent_seq);
        place.is_well();
        marks.add(sent_seq, Instant::now());
    }
}

/// When a receiver ends the connection. What it says meanwhile is not asked for.
async fn ended(reader: &mut (impl AsyncRead + Unpin)) -> io::Error {
    let mut unasked = [0; 512];
    loop {
        match reader.read(&mut unasked).await {
            Ok(0) => return io::Error::other("the receiver has closed the connection"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// What was sent and is not safe yet.
///
/// Invariant: times and events grow; there is one mark for each [`TICK`] at most, at its end, so that there are few however
/// much is sent.
struct Marks {
    start: Instant,
    marks: VecDeque<(Instant, u64)>,
}

impl Marks {
    fn new(start: Instant) -> Marks {
        Marks {
            start,
            marks: VecDeque::new(),
        }
    }

    fn add(&mut self, seq: u64, now: Instant) {
        let ticks = now.duration_since(self.start).as_millis() / TICK.as_millis() + 1;
        let safe_at = self.start + TICK * u32::try_from(ticks).unwrap_or(u32::MAX) + SAFE_AFTER;
        match self.marks.back_mut() {
            Some((last_at, last_seq)) if *last_at == safe_at => *last_seq = seq,
            _ => self.marks.push_back((safe_at, seq)),
        }
    }

    fn any(&self) -> bool {
        !self.marks.is_empty()
    }

    /// When the next is safe.
    fn due(&self) -> Instant {
        self.marks.front().map_or_else(Instant::now, |(at, _)| *at)
    }

    /// The newest event that is safe now.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let mut passed = None;
        while let Some((_, seq)) = self.marks.pop_front_if(|(at, _)| *at <= now) {
            passed = Some(seq);
        }
        passed
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_safe_ten_seconds_later_and_not_before() {
        let start = Instant::now();
        let mut marks = Marks::new(start);
        assert!(!marks.any());
        for tenth in 0..50_u32 {
            marks.add(u64::from(tenth), start + TICK * tenth / 10);
        }
        assert_eq!(marks.marks.len(), 5);
        assert_eq!(marks.pass(start + SAFE_AFTER), None);
        // Of the first second all, of the second nothing.
        assert_eq!(marks.pass(start + TICK + SAFE_AFTER), Some(9));
        assert_eq!(marks.due(), start + 2 * TICK + SAFE_AFTER);
        assert_eq!(marks.pass(start + 100 * TICK), Some(49));
        assert!(!marks.any());
    }

    #[test]
    fn what_is_not_acknowledged_in_time_is_not_safe_yet() {
        assert!(ACKNOWLEDGED_WITHIN + TICK < SAFE_AFTER);
    }
}
