//! Command lines by which copying clients start their other half on the target.
//!
//! For roles that give file copy and no commands. The target's shell reads the line, so one passes only if it holds nothing
//! that a shell acts on, names a program that users do not install, and gives it no option that has it run another: what
//! `scp`, `rsync` and `sftp` send by themselves, and little more.
//!
//! It is no wall around the account: a login that may write its own files can leave there what its next shell runs. Where that
//! matters, the target has to confine it (sshd_config(5), `ChrootDirectory`).

use weir_relay::transfers::program::scp_half;

/// Whether `command` starts the other half of a copy and can run nothing else.
pub(super) fn starts_other_half(command: &[u8]) -> bool {
    // A shell would run what follows these; then it is a command like any other.
    if command
        .iter()
        .any(|byte| byte.is_ascii_control() || b";|&`$()<>".contains(byte))
    {
        return false;
    }
    let mut words = command
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    match words.next().and_then(installed) {
        Some(b"scp") => scp_half(words).is_some(),
        Some(b"rsync") => is_rsync(words),
        // sftp-server(8): none of its options runs anything.
        Some(b"sftp-server") => true,
        _ => false,
    }
}

/// A program's name, if it is looked for in `PATH` or stands where only the system's owner puts programs. What was
/// copied to the target under a copier's name is no copier, and `X=/sftp-server reboot` is no path.
fn installed(program: &[u8]) -> Option<&[u8]> {
    match program.iter().rposition(|byte| *byte == b'/') {
        None => Some(program),
        Some(slash) => DIRECTORIES
            .contains(&&program[..slash])
            .then(|| &program[slash + 1..]),
    }
}

/// Where programs are, and where distributions and BSDs keep sftp-server.
const DIRECTORIES: [&[u8]; 11] = [
    b"/bin",
    b"/usr/bin",
    b"/usr/local/bin",
    b"/usr/lib",
    b"/usr/lib/openssh",
    b"/usr/lib/ssh",
    b"/usr/lib/misc",
    b"/usr/lib64/misc",
    b"/usr/libexec",
    b"/usr/libexec/openssh",
    b"/usr/local/libexec",
];

/// `rsync --server` is driven over its own input. As a daemon it would obey a configuration that runs commands, and rsync
/// takes options anywhere in its line.
fn is_rsync<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> bool {
    words.next() == Some(b"--server")
        && words.all(|word| match reading(word) {
            Reading::Name => true,
            Reading::Option => is_rsync_option(word),
            Reading::Either => false,
        })
}

/// What a word can be once a shell has read it.
enum Reading {
    Name,
    Option,
    /// An option in disguise, or what could come out as one.
    Either,
}

fn reading(word: &[u8]) -> Reading {
    if word == b"-" {
        return Reading::Name;
    }
    if word[0] == b'-' {
        return Reading::Option;
    }
    let quotes = word.iter().take_while(|byte| b"'\"".contains(byte)).count();
    match &word[quotes..] {
        // Clients escape neither letters, to which some shells give a meaning, nor what needs no escape.
        [b'-', ..] | [b'\\', b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z', ..] => Reading::Either,
        // `*.txt` is asked for every day, and no file of that name is an option that matters.
        [b'*', ending @ ..] if is_plain(ending) && !b"--daemon".ends_with(ending) => Reading::Name,
        // A file could have been put there whose name is an option. `./*` says what is meant.
        [b'*' | b'?' | b'[' | b'{', ..] => Reading::Either,
        _ => Reading::Name,
    }
}

fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// What rsync's own restricting script, rrsync(1), lets a client send. Not `-s`, as there: it moves the line to where it is
/// not seen.
fn is_rsync_option(word: &[u8]) -> bool {
    if let Some(long) = word.strip_prefix(b"--") {
        let name = long.split(|byte| *byte == b'=').next().unwrap_or_default();
        return RSYNC_OPTIONS
            .split_ascii_whitespace()
            .any(|option| option.as_bytes() == name);
    }
    let flags = &word[1..];
    if let Some((b'B' | b'@', number)) = flags.split_first()
        && !number.is_empty()
        && number.iter().all(u8::is_ascii_digit)
    {
        return true;
    }
    let letters = flags
        .iter()
        .take_while(|flag| b"ACDEHIJKLNORSUWXbcdgklmnopqrtuvxyz".contains(flag))
        .count();
    match &flags[letters..] {
        [] => letters > 0,
        // What the client's version understands, `-e.LsfxCIvu`; a client's `-e` names the program that connects.
        [b'e', versions @ ..] => {
            let number = versions.iter().take_while(|byte| byte.is_ascii_digit()).count();
            matches!(&versions[number..], [b'.', rest @ ..] if rest.iter().all(u8::is_ascii_alphanumeric))
        }
        _ => false,
    }
}

const RSYNC_OPTIONS: &str = "\
    append backup-dir block-size bwlimit checksum-choice checksum-seed compare-dest compress-choice compress-level \
    copy-dest copy-devices copy-unsafe-links debug delay-updates delete delete-after delete-before delete-delay \
    delete-during delete-excluded delete-missing-args existing fake-super files-from force from0 fsync fuzzy group \
    groupmap hard-links iconv ignore-errors ignore-existing ignore-missing-args ignore-times info inplace link-dest \
    links list-only log-format max-alloc max-delete max-size min-size mkpath modify-window msgs2stderr munge-links \
    new-compress no-W no-implied-dirs no-msgs2stderr no-munge-links no-r no-relative no-specials numeric-ids \
    old-compress one-file-system only-write-batch open-noatime owner partial partial-dir perms preallocate recursive \
    remove-sent-files remove-source-files safe-links sender size-only skip-compress specials stats stderr suffix super \
    temp-dir timeout times use-qsort usermap write-devices";

#[cfg(test)]
mod tests {
    use super::*;

    fn every(commands: &[&str], expected: bool) {
        for command in commands {
            assert_eq!(starts_other_half(command.as_bytes()), expected, "{command}");
        }
    }

    #[test]
    fn what_copying_clients_send_is_known() {
        every(
            &[
                // OpenSSH.
                "scp -t /tmp",
                "scp -v -r -p -d -t -- -name",
                "scp -d -f a b",
                "scp -f Artist\\ -\\ Song.mp3",
                "/usr/lib/openssh/sftp-server",
                "/usr/libexec/sftp-server -l INFO",
                // libssh2, and others after it.
                "scp -pt '/tmp/a b'",
                "scp -qrf x",
                "/usr/bin/scp -r -t x",
                // rsync 3.2.7.
                "rsync --server -vlogDtprze.iLsfxCIvu --delete . /tmp/x\\ y",
                "rsync --server -blHogDtpAXre.iLsfxCIvu --backup-dir old\\ ones --partial . /tmp",
                "rsync --server -logDtpre.iLsfxCIvu -B1000 --timeout=5 --bwlimit=100 . /tmp",
                "rsync --server -logDtpRe.LsfxCIvu --usermap=\\*:a --groupmap=\\*:b . /tmp",
                "rsync --server --sender -e.LsfxCIvu . *.txt a\\ b",
                "rsync --server --sender -logDtpre.iLsfxCIvu . ./-x ./* \\[x\\]",
                // rsync 2.6.
                "rsync --server --sender -vlogDtpr . 'my - file'",
            ],
            true,
        );
    }

    #[test]
    fn what_a_shell_would_act_on_is_no_copy() {
        every(
            &[
                "",
                "cat",
                "scp -t /tmp; reboot",
                "scp -t $(id)",
                "scp -t `id`",
                "scp -t x | sh",
                "scp -t x\nreboot",
                "scp -t x > .profile",
                "sftp-server\treboot",
                "X=/sftp-server reboot",
                "LD_PRELOAD=/tmp/x.so /usr/bin/scp -t x",
            ],
            false,
        );
    }

    #[test]
    fn a_program_that_was_copied_there_is_no_copier() {
        every(
            &[
                "/tmp/scp -t x",
                "./rsync --server . x",
                "/usr/lib/../../tmp/sftp-server",
                "/usr/{lib,../tmp}/sftp-server",
                "/usr/bin/*/scp -t x",
                "~/sftp-server",
            ],
            false,
        );
    }

    #[test]
    fn scp_as_a_client_runs_programs() {
        every(
            &[
                "scp",
                "scp a b",
                "scp -r a b",
                "scp -S /tmp/x a:b c",
                "scp -S/tmp/x a:b c",
                "scp -oProxyCommand=/tmp/x a:b c",
                "scp -o ProxyCommand=/tmp/x a:b c",
                "scp -F /tmp/config a:b c",
                "scp -rS /tmp/x a:b c",
                "scp -3 a:b c:d",
                "scp -D /tmp/x a:b c",
                "scp -- -t x",
                "scp a:b -t",
                "scp '-S' /tmp/x a:b c",
                "scp \\-S /tmp/x -t",
                "scp - -t x",
            ],
            false,
        );
    }

    #[test]
    fn rsync_as_a_client_or_daemon_runs_programs() {
        every(
            &[
                "rsync",
                "rsync -a a b",
                "rsync -e /tmp/x a:b c",
                "rsync --daemon --config=/tmp/x",
                "rsync --server --daemon .",
                "rsync --server --daemon --config=/tmp/x .",
                "rsync --server . . --daemon",
                "rsync --server '--daemon' .",
                "rsync --server \"\"--daemon .",
                "rsync --server -'-daemon' .",
                "rsync --server \\--daemon .",
                "rsync --server \\x2d-daemon .",
                "rsync --server {--daemon,.}",
                "rsync --server ''{--daemon,.}",
                "rsync --server . *",
                "rsync --server . *n",
                "rsync --server . ?-daemon",
                "rsync --server . [-]-daemon",
                "rsync --server -slogDtpr",
                "rsync --server --secluded-args",
                "rsync --server --log-file=/tmp/x . y",
                "rsync --server --rsh=/tmp/x . y",
                "rsync --server -e /tmp/x . y",
                "rsync --server -e/tmp/x . y",
                "rsync --server -re. /tmp/x,y --rsync-path=z",
                "rsync --server -M--daemon . y",
                "rsync --sender --server . y",
            ],
            false,
        );
    }
}
