//! What is typed on terminals, where only what was echoed is recorded.
//!
//! It is passed on at once and recorded later, when its echo is complete, behind the output that proves it: so where nothing is
//! passed on before its record is durable, that does not hold for these bytes.

use std::time::Duration;

use weir_relay::{
    ChannelId, Stream,
    echo::{Echo, Verdict},
};

/// The terminals of one session. A session has as many at most as it has channels.
#[derive(Debug, Default)]
pub(super) struct Typed {
    terminals: Vec<(ChannelId, Echo)>,
}

impl Typed {
    /// A terminal was asked for on `channel`, one that echoes or not. A second one of a channel is refused by the target.
    pub(super) fn begin(&mut self, channel: ChannelId, echo: bool) {
        if !self.watches(channel) {
            self.terminals.push((channel, Echo::new(echo)));
        }
    }

    /// Whether what is typed on `channel` has to be echoed first.
    pub(super) fn watches(&self, channel: ChannelId) -> bool {
        self.terminals.iter().any(|(known, _)| *known == channel)
    }

    /// Takes what passed on `channel` at `at`.
    pub(super) fn take(
        &mut self,
        at: Duration,
        (channel, stream): (ChannelId, Stream),
        data: &[u8],
    ) -> Vec<Verdict> {
        // Most packets decide nothing, and an empty vector costs nothing.
        let mut verdicts = Vec::new();
        let known = self.terminals.iter_mut().find(|(known, _)| *known == channel);
        if let Some((_, echo)) = known {
            match stream {
                Stream::Input => echo.typed(at, data, &mut verdicts),
                Stream::Output | Stream::ErrorOutput => echo.written(at, data, &mut verdicts),
            }
        }
        verdicts
    }

    /// The terminal of `channel` is gone, if it had one.
    pub(super) fn end(&mut self, channel: ChannelId) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (_, mut echo) in self.terminals.extract_if(.., |(known, _)| *known == channel) {
            echo.close(&mut verdicts);
        }
        verdicts
    }

    /// A channel that still has a terminal.
    pub(super) fn any(&self) -> Option<ChannelId> {
        self.terminals.first().map(|(channel, _)| *channel)
    }
}
