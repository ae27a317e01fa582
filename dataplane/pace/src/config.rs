use std::time::Duration;

use crate::{hint::MaxStartups, penalty::Penalties};

/// What a [`Pacer`](crate::Pacer) goes by; the defaults suit an sshd that nobody has tuned.
#[derive(Debug, Clone)]
pub struct Config {
    /// Handshakes in flight to a target that nothing is known of.
    ///
    /// sshd drops none below `MaxStartups`' first number, 10 by default; 8 leaves room for
    /// connections that do not come through this proxy.
    pub first_window: u32,
    /// What `MaxStartups` is taken for where no [`Hint`](crate::Hint) tells: sshd's own default.
    ///
    /// A larger one is never searched for by trying: what is in flight beyond the true first number
    /// costs those who connect directly a drop.
    pub presumed: MaxStartups,
    /// Callers waiting for one target; beyond it somebody is answered at once.
    pub queue_limit: usize,
    /// How long a caller waits in all, retries included.
    ///
    /// Long enough for a thousand logins to an untuned sshd on two cores, shorter than the patience of
    /// a person and the timeout of most tools.
    pub wait_limit: Duration,
    /// The first retry after a drop comes within this time, each further one within twice as much.
    pub retry_base: Duration,
    /// No retry is put off longer.
    pub retry_limit: Duration,
    /// How long a slot stays taken after a success that no further packet has confirmed.
    ///
    /// sshd gives its own slot back 5 to 20 ms after the client has seen the success.
    pub linger: Duration,
    /// What a failure costs with `PerSourcePenalties`.
    pub penalties: Penalties,
    /// Drops in a row, each with nothing else in flight, after which a ban is suspected.
    ///
    /// Where others keep sshd half full (a drop in two), six in a row are one chance in 64.
    pub ban_after: u32,
    /// The first pause under a suspected ban; each further one is twice as long.
    pub ban_probe_base: Duration,
    /// No pause under a suspected ban is longer, nor longer than an eighth of `wait_limit`.
    ///
    /// A connection that a ban refuses does not extend it and costs sshd no process, and with two
    /// probes in thirty seconds most who wait would give up in between.
    pub ban_probe_limit: Duration,
    /// For how long a refused port is taken for a restart, where the target has answered just before.
    pub restart_grace: Duration,
    /// How long an idle target's window, ceiling and penalties are remembered at least; twice that at most.
    ///
    /// Longer than penalties last (600 s at most).
    pub memory_time: Duration,
    /// Idle targets remembered, at about 600 bytes each; beyond it one that has not been used for long is forgotten.
    pub memory_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_window: 8,
            presumed: MaxStartups::DEFAULT,
            queue_limit: 4096,
            wait_limit: Duration::from_secs(30),
            retry_base: Duration::from_millis(50),
            retry_limit: Duration::from_secs(2),
            linger: Duration::from_millis(50),
            penalties: Penalties::default(),
            ban_after: 6,
            ban_probe_base: Duration::from_secs(1),
            ban_probe_limit: Duration::from_secs(15),
            restart_grace: Duration::from_secs(5),
            memory_time: Duration::from_mins(15),
            memory_limit: 65_536,
        }
    }
}

impl Config {
    /// The longest pause under a suspected ban.
    pub(crate) fn longest_ban_probe(&self) -> Duration {
        self.ban_probe_limit
            .min(self.wait_limit / 8)
            .max(self.ban_probe_base)
    }
}
