//! Which programs copy files, and how they are started.
//!
//! The far half of a copy is a program like any other to SSH. What is told of it here serves two: the decoders, which
//! follow whatever looks like one, and the policy for roles that may copy and run nothing, which looks closer itself.

use super::report::FileName;
use crate::{Program, Side};

/// A program whose channel carries a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyProgram<'a> {
    /// A server of SFTP.
    Sftp,
    /// The far half of an scp.
    Scp(ScpHalf<'a>),
}

/// `scp -t` or `scp -f`, as it stands in a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScpHalf<'a> {
    /// Who sends the files: with `-f` the target, with `-t` the client.
    pub sender: Side,
    /// The names after the options, as the shell will read them.
    pub names: Vec<&'a [u8]>,
}

impl<'a> CopyProgram<'a> {
    /// What `program` is, if it copies files in a way that can be followed.
    ///
    /// Found by name: a program called `sftp-server` in any directory, also behind `exec`, `sudo` or `doas`. One that turns
    /// out to be another is given up at its first bytes.
    pub fn of(program: &Program<'a>) -> Option<CopyProgram<'a>> {
        match *program {
            Program::Shell => None,
            Program::Subsystem { name } => (name == b"sftp").then_some(CopyProgram::Sftp),
            Program::Exec { command } => {
                let mut words = words(command).skip_while(|word| is_runner(word));
                match base_name(words.next()?) {
                    b"sftp-server" | b"internal-sftp" => Some(CopyProgram::Sftp),
                    b"scp" => scp_half(words).map(CopyProgram::Scp),
                    _ => None,
                }
            }
        }
    }
}

/// The words of a command line that quotes nothing.
pub fn words(command: &[u8]) -> impl Iterator<Item = &[u8]> {
    command
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
}

/// Reads what follows `scp`. `scp -t` receives and `scp -f` sends (scp.c), and neither connects to anything. Without one of
/// them, or with an option that only a client has, it is no half: `None`.
pub fn scp_half<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<ScpHalf<'a>> {
    let mut sender = None;
    let mut names = Vec::new();
    let mut options_end = false;
    for word in words {
        match word.strip_prefix(b"-") {
            _ if options_end => names.push(word),
            Some(b"-") => options_end = true,
            Some(flags) if !flags.is_empty() && flags.iter().all(|flag| b"dfpqrtv".contains(flag)) => {
                for flag in flags {
                    match flag {
                        b'f' => sender = Some(Side::Target),
                        b't' => sender = Some(Side::Client),
                        _ => {}
                    }
                }
            }
            Some(_) => return None,
            None => {
                options_end = true;
                names.push(word);
            }
        }
    }
    Some(ScpHalf {
        sender: sender?,
        names,
    })
}

impl ScpHalf<'_> {
    /// The names in one, as they stand.
    pub(super) fn argument(&self) -> FileName {
        FileName::of(&self.names.join(&b' '))
    }
}

/// Programs in front of another that they become, and their options without arguments.
fn is_runner(word: &[u8]) -> bool {
    matches!(base_name(word), b"exec" | b"sudo" | b"doas") || matches!(word, b"-n" | b"-E" | b"-H" | b"--")
}

fn base_name(word: &[u8]) -> &[u8] {
    word.rsplit(|byte| *byte == b'/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Option<CopyProgram<'_>> {
        CopyProgram::of(&Program::Exec {
            command: command.as_bytes(),
        })
    }

    #[test]
    fn servers_of_sftp_are_known_wherever_they_are() {
        for command in [
            "/usr/lib/openssh/sftp-server",
            "/opt/homebrew/libexec/sftp-server -l INFO",
            "sftp-server",
            "internal-sftp",
            "sudo -n /usr/lib/openssh/sftp-server",
            "exec sftp-server -R",
        ] {
            assert_eq!(of(command), Some(CopyProgram::Sftp), "{command}");
        }
        for name in [&b"sftp"[..], b"netconf"] {
            let expected = (name == b"sftp").then_some(CopyProgram::Sftp);
            assert_eq!(CopyProgram::of(&Program::Subsystem { name }), expected);
        }
    }

    #[test]
    fn halves_of_scp_are_known_by_who_sends() {
        let half = |command| match of(command) {
            Some(CopyProgram::Scp(half)) => Some((half.sender, half.argument())),
            _ => None,
        };
        let name = |text: &str| FileName::of(text.as_bytes());
        assert_eq!(half("scp -t /tmp"), Some((Side::Client, name("/tmp"))));
        assert_eq!(
            half("/usr/bin/scp -r -p -d -t -- -x"),
            Some((Side::Client, name("-x")))
        );
        assert_eq!(half("scp -v -f a b"), Some((Side::Target, name("a b"))));
    }

    #[test]
    fn what_is_no_transfer_is_left_alone() {
        for command in [
            "",
            "ls /usr/lib/openssh/sftp-server",
            "scp a:b c",
            "scp -S /tmp/x -t y",
            "scp a -t",
            "rsync --server . x",
            "sudo -n",
            "my-sftp-server",
        ] {
            assert_eq!(of(command), None, "{command}");
        }
        assert_eq!(CopyProgram::of(&Program::Shell), None);
    }
}
