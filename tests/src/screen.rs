//! A program in a real terminal emulator, tmux, whose screen can be read as a person would read it.

use crate::process::{Outcome, Running};
use crate::wait::eventually;
use crate::world::World;

/// One terminal of 80 columns and 24 rows; killed, with what runs in it, when dropped.
pub struct Screen<'a> {
    world: &'a World,
    /// In the foreground, so that it cannot outlive the test; what runs in it gets SIGHUP at its end.
    _server: Running,
}

impl<'a> Screen<'a> {
    /// Runs `command` in a shell, in the world's directory.
    pub fn start(world: &'a World, command: &str) -> Self {
        let server = world
            .job("tmux")
            .args(["-D", "-f", "/dev/null", "-S", SOCKET])
            .spawn();
        let screen = Self {
            world,
            _server: server,
        };
        eventually("tmux listens", || world.path(SOCKET).exists().then_some(()));
        screen
            .tmux(&["new-session", "-d", "-x", "80", "-y", "24", command])
            .succeeded();
        screen
    }

    /// What is shown now: 24 lines, without the spaces at their ends.
    pub fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).succeeded().out()
    }

    /// Waits until `wanted` is shown, and gives the whole screen.
    pub fn expect(&self, wanted: &str) -> String {
        eventually(&format!("{wanted:?} on this screen:\n{}", self.shown()), || {
            let shown = self.shown();
            shown.contains(wanted).then_some(shown)
        })
    }

    /// Types a key by tmux's name for it: `Space`, `Left`, `q`.
    pub fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]).succeeded();
    }

    /// Whether the command has ended, and with it the terminal.
    pub fn is_over(&self) -> bool {
        !self.tmux(&["has-session"]).status.success()
    }

    /// The client's directory and environment become the command's.
    fn tmux(&self, args: &[&str]) -> Outcome {
        self.world.job("tmux").args(["-S", SOCKET]).args(args).run()
    }
}

const SOCKET: &str = "tmux";
