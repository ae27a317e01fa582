//! A terminal of its own for a command, with a window that can be resized.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::Job;
use crate::wait::eventually;

/// A command on a pseudo-terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    typed: String,
    master: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Everything before this was matched already.
    seen: usize,
}

impl Terminal {
    /// Runs `program` with `args` as the leader of a session whose terminal has this size.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        args: impl IntoIterator<Item = A>,
        rows: u16,
        columns: u16,
    ) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        tcsetwinsize(&master, window(rows, columns)).expect("a pty has a size");
        let name = ptsname(&master, Vec::new())
            .expect("ptsname")
            .into_string()
            .expect("a path in ASCII");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(&name)
            .expect("the other side of the pty");

        let job = Job::in_session_of_its_own("setsid")
            .arg("--ctty")
            .arg("--")
            .args(args)
            .env("TERM", "xterm");
        let (mut command, typed) = job.into_command();
        command.stdin(Stdio::from(slave.try_clone().expect("a file can be duplicated")));
        command.stdout(Stdio::from(slave.try_clone().expect("a file can be duplicated")));
        command.stderr(Stdio::from(slave));
        let child = command.spawn().expect("setpriv (util-linux) must be installed");
        // The command holds the other side until it is dropped: an end of file would never come.
        drop(command);

        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut reader = master.try_clone().expect("a file can be duplicated");
        let sink = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO when the last process on the terminal has gone.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock()
                    .expect("only appended to")
                    .extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            child,
            typed,
            master,
            screen,
            seen: 0,
        }
    }

    /// The process id of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types `text`.
    pub fn type_in(&mut self, text: &str) {
        self.master
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }

    /// Resizes the window; the foreground process gets SIGWINCH.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, window(rows, columns)).expect("a pty has a size");
    }

    /// Waits for `needle` after everything matched before.
    pub fn expect(&mut self, needle: &str) {
        let what = format!("`{}` shows {needle:?}", self.typed);
        let screen = Arc::clone(&self.screen);
        let from = self.seen;
        self.seen = eventually(&what, || {
            let shown = screen.lock().expect("only appended to");
            let at = shown[from..]
                .windows(needle.len())
                .position(|window| window == needle.as_bytes())?;
            Some(from + at + needle.len())
        });
    }

    /// Everything shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("only appended to")).into_owned()
    }

    /// The command's exit status as a shell sees it, once it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("our child")?;
        Some(status.code().unwrap_or(-1))
    }

    /// Waits for the command's end within `limit` and gives its exit status as a shell sees it.
    pub fn wait_within(&mut self, limit: Duration) -> i32 {
        let what = format!("`{}` ends; it shows {:?}", self.typed, self.screen());
        crate::eventually_within(limit, &what, || self.ended())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("`{}` at the panic showed:\n{}", self.typed, self.screen());
        }
    }
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
