//! What people type is recorded where policy says so, and on a terminal only where it was echoed.

use std::time::Duration;

use serde_json::Value;
use weir_tests::{Terminal, World, eventually};

const TYPED_AHEAD: &str = "sesame-ahead";

/// A terminal through Weir, and all that was typed in it.
struct Typing {
    terminal: Terminal,
    typed: usize,
}

impl Typing {
    fn start(world: &World, columns: u16) -> Self {
        let terminal = Terminal::start(["ssh", "-F", &world.path_text("config"), "target"], 30, columns);
        let mut typing = Typing { terminal, typed: 0 };
        // The first line may be typed before there is a shell, and tells nothing.
        typing.all("PS1='rea''dy> '; TERM=xterm; set -o emacs\n");
        typing.prompt();
        typing
    }

    /// Types `text` at once; the key at the end of a line sends a carriage return.
    fn all(&mut self, text: &str) {
        self.exactly(&text.replace('\n', "\r"));
    }

    fn exactly(&mut self, text: &str) {
        self.typed += text.len();
        self.terminal.type_in(text);
    }

    /// Types `line` key by key, each after the one before was shown, and the end of the line.
    fn by_key(&mut self, line: &str) {
        for key in line.chars() {
            self.all(&key.to_string());
            self.terminal.expect(&key.to_string());
        }
        self.all("\n");
    }

    /// Types `line` and the end of the line key by key, none of which is shown.
    fn unseen(&mut self, line: &str) {
        for key in line.chars().chain(['\n']) {
            self.all(&key.to_string());
        }
    }

    fn expect(&mut self, text: &str) {
        self.terminal.expect(text);
    }

    fn prompt(&mut self) {
        self.expect("ready> ");
    }

    /// Ends the shell; gives the recording's events and how many bytes were typed.
    fn end(mut self, world: &World) -> (Vec<Value>, u64) {
        self.all("exit\n");
        assert_eq!(self.terminal.wait_within(Duration::from_secs(10)), 0);
        let session = world.weir().only_session();
        world.weir().verify(&session).succeeded();
        (world.weir().exported_events(&session), self.typed as u64)
    }
}

fn world_that_records(input: &str) -> World {
    let world = World::start();
    world.put_role(&format!(
        "name = \"access\"\n[allow]\nlogins = \"*\"\nnode_labels = {{ \"*\" = \"*\" }}\n\
         [options]\nrecord_input = {input}\n",
    ));
    world
}

fn input(events: &[Value]) -> String {
    let data = events
        .iter()
        .filter(|event| event["kind"] == "input")
        .map(|event| event["data"].as_str().expect("typed text"));
    data.collect()
}

fn withheld(events: &[Value]) -> u64 {
    let counts = events
        .iter()
        .filter(|event| event["kind"] == "withheld_input")
        .filter_map(|event| event["bytes"].as_u64());
    counts.sum()
}

#[test]
fn lines_that_a_real_shell_echoed_are_recorded_and_no_password_is() {
    let world = world_that_records("true");
    let key = world.path_text("locked");
    world
        .bash("ssh-keygen -q -t ed25519 -N locked-up -f locked")
        .succeed();
    let mut typing = Typing::start(&world, 60);
    let mut shown = Vec::new();
    let mut hidden = Vec::new();
    let mut line = |typing: &mut Typing, text: &str| {
        typing.all(&format!("{text}\n"));
        shown.push(format!("{text}\r"));
    };

    line(&mut typing, "echo at-on''ce");
    typing.expect("at-once");
    typing.prompt();
    typing.by_key("echo by-k''ey");
    typing.expect("by-key");
    typing.prompt();
    typing.all("echo lz");
    typing.expect("echo lz");
    typing.all("\x7f");
    typing.all("s-edi''ted\n");
    typing.expect("ls-edited");
    typing.prompt();
    // Longer than the window is wide.
    typing.by_key("echo 0123456789 0123456789 0123456789 0123456789 0123456789 wra''pped");
    typing.expect("wrapped");
    typing.prompt();
    // The terminal itself echoes, not the shell.
    line(&mut typing, "cat");
    typing.expect("cat");
    line(&mut typing, "cooked caf\u{e9}");
    typing.expect("cooked caf\u{e9}\r\ncooked caf\u{e9}");
    typing.all("\x04");
    typing.prompt();

    // Without echo, at once and key by key.
    line(&mut typing, "read -s -p 'Pass''word: ' x; echo got=${#x}");
    typing.expect("Password: ");
    typing.all("sesame-silent\n");
    hidden.push("sesame-silent");
    typing.expect("got=13");
    typing.prompt();
    line(
        &mut typing,
        "stty -echo; printf 'Sa''y: '; read x; stty echo; echo heard=${#x}",
    );
    typing.expect("Say: ");
    typing.unseen("sesame-stty");
    hidden.push("sesame-stty");
    typing.expect("heard=11");
    typing.prompt();
    // With a star for each key.
    line(
        &mut typing,
        "printf 'Ma''sk: '; while IFS= read -rsn1 c && [ \"$c\" ]; do printf '*'; done; echo sta''rs",
    );
    typing.expect("Mask: ");
    for key in "sesame-masked".chars() {
        typing.all(&key.to_string());
        typing.expect("*");
    }
    typing.all("\n");
    hidden.push("sesame-masked");
    typing.expect("stars");
    typing.prompt();
    // A program that asks for a passphrase as ssh and sudo do.
    line(&mut typing, &format!("ssh-keygen -y -f {key} 2>&1 | tr a-z A-Z"));
    typing.expect("passphrase");
    typing.unseen("sesame-phrase");
    hidden.push("sesame-phrase");
    typing.expect("PASSPHRASE");
    typing.prompt();
    // Typed before the prompt turned the echo off, in one go with the command: the shell reads no further than the line, and
    // nobody echoes what stands behind it. While a shell edits its line, no carriage return ends one for others.
    typing.exactly(&format!(
        "read -s -p 'Ah''ead: ' x; echo; echo ahead=${{#x}}\n{TYPED_AHEAD}\n"
    ));
    hidden.push(TYPED_AHEAD);
    typing.expect("ahead=12");
    typing.prompt();
    line(&mut typing, "echo af''terwards");
    typing.expect("afterwards");
    typing.prompt();

    let (events, typed) = typing.end(&world);
    let input = input(&events);
    for wanted in [
        "echo by-k''ey\r",
        "echo lz\x7fs-edi''ted\r",
        "echo 0123456789 0123456789 0123456789 0123456789 0123456789 wra''pped\r",
        "read -s -p 'Ah''ead: ' x; echo; echo ahead=${#x}\n",
        "exit\r",
    ]
    .into_iter()
    .chain(shown.iter().map(String::as_str))
    {
        assert!(input.contains(wanted), "{wanted:?} is missing in {input:?}");
    }
    for secret in hidden {
        for format in ["json", "text", "cast"] {
            let session = world.weir().only_session();
            let export = world.weir().export(&session, format);
            let export = String::from_utf8_lossy(&export);
            assert!(
                !export.contains(secret),
                "{secret} stands in the {format}:\n{export}"
            );
        }
    }
    // Every byte is recorded or counted.
    assert_eq!(input.len() as u64 + withheld(&events), typed, "{input:?}");
    // What was typed stands behind the output that proves it, and before what came of it.
    let place = |kind: &str, text: &str| {
        let found = events.iter().position(|event| {
            event["kind"] == kind && event["data"].as_str().is_some_and(|it| it.contains(text))
        });
        found.unwrap_or_else(|| panic!("no {kind} with {text:?}"))
    };
    assert!(place("input", "af''terwards") > place("output", "af''terwards"));
}

#[test]
fn a_full_screen_programs_input_is_counted() {
    let world = world_that_records("true");
    let mut typing = Typing::start(&world, 80);
    let file = world.path_text("edited");
    typing.all(&format!("vi -u NONE {file} 2>/dev/null || vi {file}\n"));
    typing.expect("~");
    typing.all("isesame-in-vi\x1b:wq\n");
    typing.prompt();
    assert_eq!(world.read("edited"), "sesame-in-vi\n");
    let (events, typed) = typing.end(&world);
    let input = input(&events);
    assert!(!input.contains("sesame"), "{input:?}");
    assert_eq!(input.len() as u64 + withheld(&events), typed);
}

#[test]
fn always_records_passwords_too_and_at_once() {
    let world = world_that_records("\"always\"");
    let mut typing = Typing::start(&world, 80);
    typing.all("read -s -p 'Pass''word: ' x; echo got=${#x}\n");
    typing.expect("Password: ");
    typing.all("sesame-silent\n");
    typing.expect("got=13");
    typing.prompt();
    let (events, typed) = typing.end(&world);
    let input = input(&events);
    assert!(input.contains("sesame-silent\r"), "{input:?}");
    assert_eq!((input.len() as u64, withheld(&events)), (typed, 0));
}

/// Nothing is passed on before its record is durable; what waits for its echo is passed on all the same, or no echo would come.
#[test]
fn keys_that_wait_for_their_echo_are_not_held_back_by_a_synchronous_record() {
    let world = World::start();
    world.put_role(
        "name = \"access\"\n[allow]\nlogins = \"*\"\nnode_labels = { \"*\" = \"*\" }\n\
         [options]\nrecord_input = true\nrecording_mode = \"sync\"\n",
    );
    let mut typing = Typing::start(&world, 80);
    typing.by_key("echo dur''able");
    typing.expect("durable");
    typing.prompt();
    let (events, typed) = typing.end(&world);
    let input = input(&events);
    assert!(input.contains("echo dur''able\r"), "{input:?}");
    assert_eq!(input.len() as u64 + withheld(&events), typed);
}

#[test]
fn input_of_a_program_without_a_terminal_is_data_and_ends_up_whole() {
    let world = world_that_records("true");
    let data: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let seen = world.exec("wc -c").input(data.as_str()).succeed();
    assert_eq!(seen.out().trim(), data.len().to_string());
    let session = eventually("the session is over", || world.weir().finished_sessions(1).pop());
    let events = world.weir().exported_events(&session);
    assert_eq!((input(&events), withheld(&events)), (data, 0));
}
