//! How long forwards were open, and what they carried by type.

use std::time::Duration;

use weir_api::audit::{ForwardTotal, Port};
use weir_record::{Event, ForwardKind};
use weir_relay::{ChannelId, SessionEvent, Side};

use super::{forward_kind, forward_name};

/// The forwards of one session.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    open: Vec<Open>,
    totals: Vec<Total>,
}

#[derive(Debug)]
struct Open {
    channel: ChannelId,
    since: Duration,
    /// How long it was open, once it no longer is.
    lasted: Option<Duration>,
}

/// What the forwards of one type carried.
#[derive(Debug)]
struct Total {
    name: &'static str,
    channels: u64,
    from_client: u64,
    from_target: u64,
}

impl Forwards {
    /// Takes note of what happened at `at`.
    pub(super) fn note(&mut self, at: Duration, event: &SessionEvent) {
        match event {
            SessionEvent::ForwardOpened { channel, kind, .. } => {
                self.open.push(Open {
                    channel: *channel,
                    since: at,
                    lasted: None,
                });
                self.total(forward_name(*kind)).channels += 1;
            }
            SessionEvent::ForwardClosed {
                channel, kind, bytes, ..
            } => {
                if let Some(open) = self.find(*channel) {
                    open.lasted = Some(at.saturating_sub(open.since));
                }
                let total = self.total(forward_name(*kind));
                total.from_client = total.from_client.saturating_add(bytes[0]);
                total.from_target = total.from_target.saturating_add(bytes[1]);
            }
            _ => {}
        }
    }

    /// The end of a port's or socket's forward, as the audit log has it; X11 and agent channels are summed up at the session's end.
    pub(super) fn audited(&mut self, event: &SessionEvent) -> Option<Port> {
        let SessionEvent::ForwardClosed {
            channel,
            kind,
            opener,
            destination,
            bytes: [from_client, from_target],
            ..
        } = event
        else {
            return None;
        };
        if matches!(forward_kind(*kind), Some(ForwardKind::X11 | ForwardKind::Agent)) {
            return None;
        }
        let lasted = self.find(*channel).and_then(|open| open.lasted);
        Some(Port {
            channel: Some(channel.0),
            kind: forward_name(*kind).to_owned(),
            opener: Some(opener.to_string()),
            remote: Some(destination.clone()),
            destination: Some(destination.clone()),
            closed: Some(true),
            bytes_from_client: Some(*from_client),
            bytes_from_target: Some(*from_target),
            duration_us: lasted.map(super::micros),
            ..Port::default()
        })
    }

    /// The same as the recording has it. The forward is forgotten.
    pub(super) fn recorded<'a>(&mut self, event: &'a SessionEvent) -> Option<(ChannelId, Event<'a>)> {
        let SessionEvent::ForwardClosed {
            channel,
            kind,
            opener,
            endpoints,
            bytes: [from_client, from_target],
            ..
        } = event
        else {
            return None;
        };
        let place = self.open.iter().position(|open| open.channel == *channel);
        let lasted = place.and_then(|place| self.open.swap_remove(place).lasted);
        let end = Event::ForwardEnd {
            kind: forward_kind(*kind)?,
            by_target: *opener == Side::Target,
            host: endpoints.host.as_bytes(),
            port: endpoints.port,
            from_client: *from_client,
            from_target: *from_target,
            duration: lasted.unwrap_or_default(),
        };
        Some((*channel, end))
    }

    /// Counts and bytes by type, for the audit log; empty where there were none.
    pub(super) fn summary(&self) -> Vec<ForwardTotal> {
        let totals = self.totals.iter().map(|total| ForwardTotal {
            kind: total.name.to_owned(),
            channels: total.channels,
            bytes_from_client: total.from_client,
            bytes_from_target: total.from_target,
        });
        totals.collect()
    }

    fn find(&mut self, channel: ChannelId) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.channel == channel)
    }

    fn total(&mut self, name: &'static str) -> &mut Total {
        let place = self.totals.iter().position(|total| total.name == name);
        let place = place.unwrap_or_else(|| {
            self.totals.push(Total {
                name,
                channels: 0,
                from_client: 0,
                from_target: 0,
            });
            self.totals.len() - 1
        });
        &mut self.totals[place]
    }
}
