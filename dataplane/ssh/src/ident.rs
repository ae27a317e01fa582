//! The identification strings that precede all packets (RFC 4253 §4.2).

use crate::error::Misbehaviour;

/// RFC 4253 §4.2: "The maximum length of the string is 255 characters, including the Carriage Return and Line
/// Feed." Lines before it are held to the same.
pub(crate) const MAX_LINE: usize = 255;

/// What stands at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// No whole line yet.
    Unfinished,
    /// The identification, without its line end.
    Ident { consumed: usize, ident: &'a str },
    /// A line before it, which only servers may send.
    Greeting { consumed: usize, text: &'a [u8] },
}

/// Reads a line of a client: the identification and nothing before it.
///
/// What cannot become an identification is refused at its first wrong byte, so that a stranger who speaks
/// HTTP or TLS does not have to finish a line.
pub(crate) fn read_client_line(buf: &[u8]) -> Result<Line<'_>, Misbehaviour> {
    if !agrees_with(buf, b"SSH-2.0-") {
        return Err(not_an_ident(buf));
    }
    match split_line(buf)? {
        Some((line, consumed)) => ident(line, consumed),
        None => Ok(Line::Unfinished),
    }
}

/// Reads a line of a server.
pub(crate) fn read_server_line(buf: &[u8]) -> Result<Line<'_>, Misbehaviour> {
    let Some((line, consumed)) = split_line(buf)? else {
        return Ok(Line::Unfinished);
    };
    if !line.starts_with(b"SSH-") {
        return Ok(Line::Greeting { consumed, text: line });
    }
    // RFC 4253 §5.1: "clients using protocol 2.0 MUST be able to identify 1.99 as identical to 2.0".
    if !line.starts_with(b"SSH-2.0-") && !line.starts_with(b"SSH-1.99-") {
        return Err(not_an_ident(line));
    }
    ident(line, consumed)
}

/// A peer's words for people: bounded in bytes, and free of what could act on a terminal.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]);
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn ident(line: &[u8], consumed: usize) -> Result<Line<'_>, Misbehaviour> {
    // RFC 4253 §4.2: "MUST consist of printable US-ASCII characters" and spaces before comments. OpenSSH asks for none of
    // that and sends its operator's `VersionAddendum` as it stands, so text in UTF-8 is taken; what could act on a
    // terminal is not.
    match std::str::from_utf8(line) {
        Ok(ident) if !ident.chars().any(char::is_control) => Ok(Line::Ident { consumed, ident }),
        _ => Err(not_an_ident(line)),
    }
}

/// The first line without its end, and its length with it. Ends of LF alone are tolerated, as everywhere.
fn split_line(buf: &[u8]) -> Result<Option<(&[u8], usize)>, Misbehaviour> {
    let window = &buf[..buf.len().min(MAX_LINE)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = &window[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
        }
        None if window.len() == MAX_LINE => {
            Err(Misbehaviour::Greeting("a line before the keys exceeds 255 bytes"))
        }
        None => Ok(None),
    }
}

fn agrees_with(buf: &[u8], prefix: &[u8]) -> bool {
    buf.iter().zip(prefix).all(|(a, b)| a == b)
}

fn not_an_ident(bytes: &[u8]) -> Misbehaviour {
    let first_line = bytes.split(|&byte| byte == b'\n').next().unwrap_or(bytes);
    Misbehaviour::Ident {
        got: printable(first_line, 40),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_refused_at_its_first_wrong_byte() {
        for garbage in [
            &b"G"[..],
            b"\x16\x03\x01",
            b"SSH-1",
            b"SSH-2.1-x\r\n",
            b"\0",
            b"\r\n",
        ] {
            assert!(
                matches!(read_client_line(garbage), Err(Misbehaviour::Ident { .. })),
                "{garbage:?}"
            );
        }
        for beginning in [&b""[..], b"S", b"SSH-2.0-", b"SSH-2.0-OpenSSH_9.9\r"] {
            assert_eq!(read_client_line(beginning), Ok(Line::Unfinished));
        }
    }

    #[test]
    fn line_ends_are_cut_off() {
        for line in [&b"SSH-2.0-x y\r\nrest"[..], b"SSH-2.0-x y\nrest"] {
            let consumed = line.len() - 4;
            assert_eq!(
                read_client_line(line),
                Ok(Line::Ident {
                    consumed,
                    ident: "SSH-2.0-x y"
                })
            );
            assert_eq!(
                read_server_line(line),
                Ok(Line::Ident {
                    consumed,
                    ident: "SSH-2.0-x y"
                })
            );
        }
    }

    #[test]
    fn a_server_may_greet_and_be_of_version_1_99() {
        let refusal = b"Exceeded MaxStartups\r\n";
        let greeting = Line::Greeting {
            consumed: 22,
            text: &refusal[..20],
        };
        assert_eq!(read_server_line(refusal), Ok(greeting));
        assert!(matches!(
            read_server_line(b"SSH-1.99-x\n"),
            Ok(Line::Ident { .. })
        ));
        assert!(matches!(
            read_server_line(b"SSH-1.5-x\n"),
            Err(Misbehaviour::Ident { .. })
        ));
    }

    #[test]
    fn lines_end_within_255_bytes() {
        let mut line = b"SSH-2.0-".to_vec();
        line.resize(254, b'x');
        assert_eq!(read_client_line(&line), Ok(Line::Unfinished));
        line.push(b'\n');
        assert!(matches!(
            read_client_line(&line),
            Ok(Line::Ident { consumed: 255, .. })
        ));
        line[254] = b'x';
        line.push(b'\n');
        assert!(matches!(read_client_line(&line), Err(Misbehaviour::Greeting(_))));
        assert!(matches!(
            read_server_line(&[b'x'; 10_000]),
            Err(Misbehaviour::Greeting(_))
        ));
    }

    #[test]
    fn an_operators_own_words_need_not_be_ascii() {
        let line = "SSH-2.0-OpenSSH_9.2p1 Grüße\r\n";
        let ident = "SSH-2.0-OpenSSH_9.2p1 Grüße";
        let consumed = line.len();
        assert_eq!(
            read_server_line(line.as_bytes()),
            Ok(Line::Ident { consumed, ident })
        );
    }

    #[test]
    fn control_characters_are_no_part_of_an_ident() {
        for bad in [
            &b"SSH-2.0-x\0y\n"[..],
            b"SSH-2.0-\x1b[2J\n",
            b"SSH-2.0-\xff\n",
            b"SSH-2.0-x\r\r\n",
            "SSH-2.0-x\u{9b}2J\n".as_bytes(),
        ] {
            assert!(
                matches!(read_client_line(bad), Err(Misbehaviour::Ident { .. })),
                "{bad:?}"
            );
        }
    }
}
