//! What comes back, and what is made of it, in scripts that are divided at every byte.

use proptest::prelude::*;

use super::*;

/// One step: who wrote what, or how long nothing happened.
#[derive(Clone, Debug)]
enum Step<'a> {
    Typed(&'a str),
    Written(&'a str),
    Quiet(Duration),
}
use Step::{Quiet, Typed, Written};

/// What was told: the bytes that were shown, and counts between.
type Told = Vec<Result<String, u64>>;

fn shown(text: &str) -> Result<String, u64> {
    Ok(text.to_owned())
}

fn told(verdicts: Vec<Verdict>) -> Told {
    let mut told = Told::new();
    for verdict in verdicts {
        match (told.last_mut(), verdict) {
            (Some(Ok(before)), Verdict::Shown(bytes)) => {
                before.push_str(std::str::from_utf8(&bytes).unwrap())
            }
            (_, Verdict::Shown(bytes)) => told.push(Ok(String::from_utf8(bytes.into()).unwrap())),
            (Some(Err(before)), Verdict::Withheld(bytes)) => *before += bytes,
            (_, Verdict::Withheld(bytes)) => told.push(Err(bytes)),
        }
    }
    told
}

/// Runs a script of which each step is divided after `cut` bytes.
fn run_cut(mut echo: Echo, script: &[Step<'_>], cut: usize) -> Told {
    let mut verdicts = Vec::new();
    let mut at = Duration::ZERO;
    for step in script {
        let text = match step {
            Typed(text) | Written(text) => text.as_bytes(),
            Quiet(time) => {
                at += *time;
                continue;
            }
        };
        let (first, second) = text.split_at(cut.min(text.len()));
        for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
            match step {
                Typed(_) => echo.typed(at, part, &mut verdicts),
                _ => echo.written(at, part, &mut verdicts),
            }
        }
    }
    echo.close(&mut verdicts);
    told(verdicts)
}

#[track_caller]
fn expect(script: &[Step<'_>], expected: &[Result<String, u64>]) {
    for cut in 0..24 {
        assert_eq!(
            run_cut(Echo::new(true), script, cut),
            expected,
            "cut at {cut}: {script:?}"
        );
    }
}

/// Each character typed on its own and shown at once, as people type.
fn typing(text: &str) -> Vec<Step<'_>> {
    let characters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
    characters.flat_map(|c| [Typed(c), Written(c)]).collect()
}

#[test]
fn a_line_that_came_back_is_shown_with_its_end() {
    let mut script = typing("ls -l");
    script.extend([Typed("\r"), Written("\r\n\x1b[?2004l\rtotal 0\r\n$ ")]);
    expect(&script, &[shown("ls -l\r")]);
    let whole = [Typed("ls\n"), Written("ls\r\n")];
    expect(&whole, &[shown("ls\n")]);
}

#[test]
fn a_password_without_echo_is_only_counted() {
    // With a new line of the program's own, without one, and where what follows begins alike.
    for after in [
        "\r\nok\r\n",
        "ok\r\n",
        "hunter\r\n",
        "hunter2!\r\n",
        "",
        "\r\nhunter2\r\n",
    ] {
        let script = [Written("Password: "), Typed("hunter2\r"), Written(after)];
        expect(&script, &[Err(8)]);
        let mut script = vec![Written("Password: ")];
        let keys = "hunter2\r";
        script.extend((0..keys.len()).map(|at| Typed(&keys[at..=at])));
        script.push(Written(after));
        expect(&script, &[Err(8)]);
    }
}

#[test]
fn a_password_behind_stars_is_only_counted() {
    let keys = "hunter2";
    let mut script: Vec<_> = (0..keys.len())
        .flat_map(|at| [Typed(&keys[at..=at]), Written("*")])
        .collect();
    script.extend([Typed("\x7f"), Written("\x08 \x08"), Typed("\r"), Written("\r\n")]);
    expect(&script, &[Err(9)]);
    for mask in ["*", "\u{2022}", "."] {
        let mut script: Vec<_> = [Typed(mask), Written(mask)].into_iter().cycle().take(8).collect();
        script.extend([Typed("\r"), Written("\r\n")]);
        expect(&script, &[Err(4 * mask.len() as u64 + 1)]);
    }
}

#[test]
fn a_password_typed_ahead_is_shown_only_where_the_terminal_showed_it() {
    // The shell edits: it shows the command, and what stands behind it goes to the prompt.
    let script = [
        Typed("sudo id\rsecret\r"),
        Written("sudo id\r\n[sudo] password for a: "),
        Written("\r\nuid=0\r\n"),
    ];
    expect(&script, &[shown("sudo id\r"), Err(7)]);
    // The terminal echoes while a program runs: the password stands on the screen already.
    let script = [
        Typed("sudo id\r"),
        Written("sudo id\r\n"),
        Typed("secret\r"),
        Written("secret\r\n[sudo] password"),
    ];
    expect(&script, &[shown("sudo id\rsecret\r")]);
    // The prompt's new line is not the echo of the line's end.
    let script = [
        Typed("ssh a\r"),
        Written("ssh a\r\n"),
        Typed("secret\r"),
        Written("\r\n\r\nPassword: "),
    ];
    expect(&script, &[shown("ssh a\r"), Err(7)]);
}

#[test]
fn an_answer_to_one_key_is_not_an_echo_of_it() {
    // `read -sn1`: what is written then begins with that very key.
    let mut script = vec![Written("Continue? "), Typed("y"), Written("yes, going on\r\n$ ")];
    script.extend(typing("ls"));
    script.extend([Typed("\r"), Written("\r\n$ "), Typed("id\r"), Written("id\r\n")]);
    expect(&script, &[Err(4), shown("id\r")]);
}

#[test]
fn empty_lines_and_interrupts_tell_nothing() {
    expect(
        &[Typed("\r"), Written("\r\n$ "), Typed("\x03"), Written("^C\r\n$ ")],
        &[Err(2)],
    );
    let mut script = typing("cat");
    script.extend([Typed("\x03"), Written("^C\r\n$ ")]);
    expect(&script, &[shown("cat\x03")]);
    expect(&[Typed("secret\x03"), Written("^C\r\n$ ")], &[Err(7)]);
}

#[test]
fn editing_stays_with_the_line_that_was_shown() {
    let mut script = typing("lz");
    script.extend([Typed("\x7f"), Written("\x08\x1b[K")]);
    script.extend(typing("s"));
    script.extend([Typed("\r"), Written("\r\n")]);
    expect(&script, &[shown("lz\x7fs\r")]);
    // A line of the history, completed, and changed within.
    let mut script = vec![Typed("\x1b[A"), Written("ls /et"), Typed("\t"), Written("c/")];
    script.extend([
        Typed("\x1b[D"),
        Written("\x08"),
        Typed("x"),
        Written("x/\x08"),
        Typed("\r"),
        Written("\r\n"),
    ]);
    expect(&script, &[shown("\x1b[A\t\x1b[Dx\r")]);
    // In no other line what is written between is let pass.
    let mut script = typing("l");
    script.push(Written("[1]+ Done"));
    script.extend(typing("s"));
    script.extend([Typed("\r"), Written("\r\n")]);
    expect(&script, &[Err(3)]);
}

#[test]
fn functions_that_carry_text_withhold_their_line() {
    for opaque in [
        "\x1b]11;rgb:0\x07",
        "\x1b[115;1u",
        "\x1b[27;5;115~",
        "\x1bPq",
        "\x1b[<0;1;1M",
        "\x1bO\u{e9}",
    ] {
        let mut script = typing("l");
        script.push(Typed(opaque));
        script.extend(typing("s"));
        script.extend([Typed("\r"), Written("\r\n")]);
        expect(&script, &[Err(opaque.len() as u64 + 3)]);
    }
}

#[test]
fn a_pasted_block_is_lines_as_any_other() {
    let script = [
        Typed("\x1b[200~cd /\rls\r\x1b[201~"),
        Written("\x1b[7mcd /\x1b[27m\r\n\x1b[7mls\x1b[27m\r\n"),
    ];
    expect(&script, &[shown("\x1b[200~cd /\rls\r"), Err(6)]);
}

#[test]
fn a_wrapped_line_is_one_and_a_title_is_no_text() {
    let script = [
        Typed("abcdef"),
        Written("abc \r"),
        Written("def"),
        Typed("\r"),
        Written("\x1b]0;abc\x07\r\n"),
    ];
    expect(&script, &[shown("abcdef\r")]);
    expect(
        &[Typed("ab\r"), Written("\x1b]0;ab\x1b\\"), Written("\r\nab\r\n")],
        &[Err(3)],
    );
}

#[test]
fn a_character_written_beyond_the_margin_is_written_again() {
    for (typed, written) in [
        ("echo heard\r", "echo \r heard\r\n"),
        ("abcdef\r", "abcd\rdef\r\n"),
        (
            "ab\u{e9}\u{1f980}f\r",
            "ab\u{e9}\r\u{e9}\u{1f980}\r\u{1f980}f\r\n",
        ),
    ] {
        expect(&[Typed(typed), Written(written)], &[shown(typed)]);
    }
    // Another one than was written before, none, and one too many.
    for written in ["abcd\ref\r\n", "abcd\r\r\n", "abcd\rddef\r\n"] {
        expect(&[Typed("abcdef\r"), Written(written)], &[Err(7)]);
    }
    // A question that is answered without echo, and the first sign of it shown.
    expect(
        &[Typed("s"), Written("s\r"), Typed("ecret\r"), Written("\r\n")],
        &[Err(7)],
    );
}

#[test]
fn characters_of_several_bytes_are_compared_by_byte() {
    let mut script = typing("caf\u{e9} \u{1f980}");
    script.extend([Typed("\r"), Written("\r\n")]);
    expect(&script, &[shown("caf\u{e9} \u{1f980}\r")]);
    expect(&[Typed("\u{e9}\r"), Written("\u{e8}\r\n")], &[Err(3)]);
}

#[test]
fn a_screen_that_is_redrawn_is_no_echo() {
    let script = [
        Typed("i"),
        Written("\x1b[24;1H-- INSERT --\x1b[1;1H"),
        Typed("x"),
        Written("x\x1b[24;70H1,2\x1b[1;2H"),
        Typed("\x1b:wq\r"),
        Written("\x1b[24;1H:wq\r\n"),
    ];
    expect(&script, &[Err(7)]);
}

#[test]
fn what_is_not_answered_in_time_is_withheld_and_what_was_is_told() {
    let script = [Typed("secret\r"), Quiet(PAUSE), Written("secret\r\n")];
    expect(&script, &[Err(7)]);
    let mut script = typing("ls");
    script.push(Quiet(PAUSE));
    script.extend(typing(" -l"));
    script.extend([Typed("\r"), Written("\r\n")]);
    expect(&script, &[shown("ls -l\r")]);
    // After a pause a question may come, and its answer is no part of the line.
    let mut script = typing("bob1");
    script.extend([Quiet(PAUSE), Written("PIN: "), Typed("\r"), Written("\r\n")]);
    expect(&script, &[shown("bob1"), Err(1)]);
    let mut script = typing("ls");
    script.extend([Quiet(PAUSE), Typed("\x1b[A\x03")]);
    expect(&script, &[shown("ls\x1b[A\x03")]);
}

#[test]
fn a_terminal_asked_for_without_echo_has_to_show_a_line_first() {
    let script = [
        Typed("ls\r"),
        Written("ls\r\n$ "),
        Typed("id\r"),
        Written("id\r\n"),
    ];
    for cut in 0..6 {
        assert_eq!(run_cut(Echo::new(false), &script, cut), [Err(3), shown("id\r")]);
    }
}

#[test]
fn a_line_without_an_end_is_bounded_and_given_back() {
    let mut echo = Echo::new(true);
    let mut verdicts = Vec::new();
    echo.typed(Duration::ZERO, &[b'x'; 100_000], &mut verdicts);
    assert!(echo.pending.is_empty() && echo.pending.bytes.capacity() == 0 && verdicts.is_empty());
    echo.typed(Duration::ZERO, b"\r", &mut verdicts);
    assert_eq!(verdicts, [Verdict::Withheld(100_001)]);
    let mut peak = 0;
    for _ in 0..10_000 {
        echo.typed(Duration::ZERO, b"ab\r\x03", &mut verdicts);
        peak = peak.max(echo.pending.bytes.capacity());
    }
    assert!(peak <= 2 * PENDING_MAX, "{peak}");
    assert!(echo.pending.len() <= PENDING_MAX);
}

#[test]
fn nothing_typed_stands_in_a_debug_line() {
    let mut echo = Echo::new(true);
    let mut verdicts = Vec::new();
    echo.typed(Duration::ZERO, b"zebra", &mut verdicts);
    let mut text = format!("{echo:?}");
    echo.written(Duration::ZERO, b"zebra", &mut verdicts);
    echo.close(&mut verdicts);
    text.push_str(&format!("{verdicts:?}"));
    assert!(
        text.contains("Shown(5 bytes)") && !text.contains("zebra") && !text.contains("122"),
        "{text}"
    );
}

/// A byte of those that the machine treats apart.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        5 => prop::sample::select(b"ab *".to_vec()),
        2 => prop::sample::select(b"\r\n\x08\x7f\t\x03".to_vec()),
        1 => prop::sample::select(b"\x1b[]Om;u~\x07\x1c".to_vec()),
        1 => any::<u8>(),
    ]
}

proptest! {
    /// The invariant: what is told has been written, in that order; and every byte is told or counted, once.
    #[test]
    fn only_what_was_written_is_told_and_every_byte_is_accounted_for(
        steps in prop::collection::vec((0u8..8, prop::collection::vec(byte(), 1..6)), 1..60),
    ) {
        let mut echo = Echo::new(true);
        let (mut typed, mut written, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = Duration::ZERO;
        for (who, bytes) in steps {
            match who {
                0..=2 => {
                    typed.extend_from_slice(&bytes);
                    echo.typed(at, &bytes, &mut verdicts);
                }
                // The far side answers with what was typed, or with anything.
                3..=5 => {
                    let answer: Vec<u8> = typed.iter().rev().take(3).rev().copied().collect();
                    written.extend_from_slice(&answer);
                    echo.written(at, &answer, &mut verdicts);
                }
                6 => {
                    written.extend_from_slice(&bytes);
                    echo.written(at, &bytes, &mut verdicts);
                }
                _ => at += PAUSE / 2,
            }
        }
        echo.close(&mut verdicts);
        let (mut place, mut rest) = (0usize, written.iter());
        let mut keys = Keys::default();
        let keys: Vec<_> = typed.iter().map(|byte| keys.key(*byte)).collect();
        for verdict in verdicts {
            match verdict {
                Verdict::Withheld(bytes) => place += usize::try_from(bytes).unwrap(),
                Verdict::Shown(bytes) => {
                    prop_assert_eq!(&typed[place..place + bytes.len()], &bytes[..]);
                    let pairs = bytes.iter().zip(&keys[place..]);
                    for (character, _) in pairs.filter(|(_, key)| **key == Key::Character) {
                        prop_assert!(rest.any(|byte| byte == character), "{character} was not written");
                    }
                    place += bytes.len();
                }
            }
        }
        prop_assert_eq!(place, typed.len());
    }
}
