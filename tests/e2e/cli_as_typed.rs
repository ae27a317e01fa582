//! The command line exactly as the manual shows it, run by `bash`.
//!
//! Nothing is changed but the two port numbers, so that runs do not take them from each other, and the
//! login where the suite does not run as root.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::world::free_port;
use weir_tests::{Screen, Terminal, World};

const SET_UP: &str = r#"
weir up --data D --listen 127.0.0.1:3023 &
weir status --data D --wait 10s
weir --data D ca export --type openssh > openssh_ca.pub
weir --data D ca sign-host --hosts web1,127.0.0.1 --out D/web1
weir --data D nodes add web1 --addr 127.0.0.1:7022 --labels env=dev
weir --data D users add alice --logins root --roles access
weir --data D users sign alice --public-key id.pub --ttl 8h --out id-cert.pub
echo "@cert-authority * $(weir --data D ca export --type host)" > known_hosts
"#;

/// What the manual says of `sshd_config`, and what a throwaway server needs besides.
const SSHD: &str = r#"
cat > sshd_config <<END
TrustedUserCAKeys $PWD/openssh_ca.pub
HostKey $PWD/D/web1
HostCertificate $PWD/D/web1-cert.pub
ListenAddress 127.0.0.1:7022
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
END
setpriv --pdeathsig KILL -- /usr/sbin/sshd -D -e -f sshd_config 2> sshd.log &
until grep -q 'Server listening' sshd.log; do sleep 0.02; done
"#;

const LOGIN: &str = r#"
ssh -i id -o CertificateFile=id-cert.pub -o UserKnownHostsFile=known_hosts -p 3023 root@web1@127.0.0.1 'echo out; echo err >&2; exit 7'
"#;

/// What each row of a listing tells.
const FIELDS: [&str; 9] = [
    "id", "user", "login", "node", "kind", "start", "end", "bytes", "status",
];

#[test]
fn a_first_session_from_nothing() {
    let scene = Scene::new();
    let up = scene
        .typed(&format!("{SET_UP}{SSHD}echo all-is-up; wait"))
        .spawn();
    let mut up = up;
    up.expect_stdout("all-is-up");
    let said = String::from_utf8_lossy(&up.stdout()).into_owned();
    let ready = format!("weir is ready: ssh on 127.0.0.1:{}, state in D", scene.listen);
    assert_eq!(
        said.lines()
            .filter(|line| line.contains("ready: "))
            .collect::<Vec<_>>(),
        [&ready],
        "{said}"
    );

    let seen = scene.typed(LOGIN).run().ended_with(7);
    assert_eq!((seen.out().as_str(), seen.err().as_str()), ("out\n", "err\n"));

    let recordings = weir_tests::eventually("the recording is listed", || {
        let listed = scene.json("weir --data D recordings ls --json");
        let rows = listed.as_array().expect("an array").clone();
        (rows.len() == 1).then_some(rows)
    });
    let row = &recordings[0];
    for (field, value) in [
        ("user", "alice"),
        ("login", scene.world.login()),
        ("node", "web1"),
        ("kind", "exec"),
        ("status", "complete"),
    ] {
        assert_eq!(row[field], value, "{row}");
    }
    let id = row["id"].as_str().expect("an identifier");
    assert_eq!(id.len(), 26, "{row}");
    let [start, end] = ["start", "end"].map(|field| row[field].as_str().expect("a time"));
    let is_time = |text: &str| text.len() >= 20 && text.contains('T') && text.ends_with('Z');
    assert!(is_time(start) && is_time(end) && start <= end, "{row}");
    assert!(row["bytes"].as_u64().is_some_and(|bytes| bytes >= 8), "{row}");
    let sessions = scene.json("weir --data D sessions ls --json");
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    for field in FIELDS {
        assert!(row.get(field).is_some(), "no {field} in {row}");
        assert_eq!(sessions[0].get(field), row.get(field), "{field} of {sessions}");
    }

    let text = scene
        .typed(&format!("weir --data D recordings export {id} --format text"))
        .succeed();
    assert!(text.out().contains("out") && text.out().contains("err"), "{text}");
    let cast = scene
        .typed(&format!("weir --data D recordings export {id} --format cast"))
        .succeed()
        .out();
    let header: Value = serde_json::from_str(cast.lines().next().expect("a header")).unwrap();
    assert_eq!(header["version"], 3, "{cast}");
    let json = scene
        .typed(&format!("weir --data D recordings export {id} --format json"))
        .succeed();
    assert!(weir_tests::weir::json_lines(&json.stdout).len() > 3, "{json}");
    scene
        .typed(&format!("weir --data D recordings verify {id}"))
        .succeed();
    let played = scene
        .typed(&format!("weir --data D play {id} --speed 4"))
        .succeed();
    assert!(
        played.out().contains("out") && played.out().contains("err"),
        "{played}"
    );

    // `--data` from the environment.
    let listed = scene
        .typed("weir sessions ls --json")
        .env("WEIR_DATA", scene.world.path("D"))
        .succeed();
    assert!(listed.out().contains(id), "{listed}");
}

/// Programs wait for that line, and may take it as the whole of what is said.
#[test]
fn up_prints_one_line_and_accepts_connections_from_then_on() {
    let scene = Scene::new();
    let mut up = scene
        .world
        .job("weir")
        .args([
            "up",
            "--data",
            "D",
            "--listen",
            &format!("127.0.0.1:{}", scene.listen),
        ])
        .spawn();
    up.expect_stdout("\n");
    TcpStream::connect(("127.0.0.1", scene.listen)).expect("connections are accepted");
    scene.typed("weir --data D users ls").succeed();
    up.signal(Signal::TERM);
    let seen = up.wait().succeeded();
    let ready = format!("weir is ready: ssh on 127.0.0.1:{}, state in D\n", scene.listen);
    assert_eq!(seen.out(), ready, "{seen}");
}

#[test]
fn a_live_session_is_listed_with_every_field() {
    let world = World::start();
    let mut session = world.exec("echo up; cat").spawn();
    session.expect_stdout("up");
    let listed = world.weir().json(&["sessions", "ls"]);
    let row = &listed[0];
    let missing: Vec<_> = FIELDS.iter().filter(|field| row.get(**field).is_none()).collect();
    assert!(missing.is_empty(), "no {missing:?} in {row}");
    assert_eq!((&row["status"], &row["end"]), (&"live".into(), &Value::Null));
    assert_eq!(world.weir().json(&["recordings", "ls"]), Value::Array(vec![]));
    session.close_stdin();
    session.wait().succeeded();
}

/// Each says what was seen, and what to do where that is not the same.
#[test]
fn errors_are_one_sentence_and_the_exit_status_tells_their_kind() {
    let world = World::start();
    let id = "01J9ZZZZZZZZZZZZZZZZZZZZZZ";
    let verify = format!("weir --data D recordings verify {id}");
    let play = format!("weir --data D play {id}");
    for (typed, says) in [
        (&*verify, [id, "does not exist: weir recordings ls shows"]),
        (&*play, [id, "does not exist: weir recordings ls shows"]),
        (
            "weir --data D nodes add web1 --addr 127.0.0.1:22",
            ["node \"web1\"", "exists already"],
        ),
        (
            "weir --data D nodes rm web9",
            ["node \"web9\"", "does not exist: weir nodes ls shows"],
        ),
        (
            "weir --data D users add bob --logins bob --roles nope",
            ["role \"nope\"", "does not exist: weir roles ls shows"],
        ),
        (
            "weir --data D users sign nobody --public-key id.pub --ttl 8h",
            ["user \"nobody\"", "does not exist: weir users ls shows"],
        ),
        (
            "weir --data D users sign alice --public-key no-such-file --ttl 8h",
            ["no-such-file", "No such file"],
        ),
        (
            "weir --data no-such-directory nodes ls",
            ["no-such-directory/control.sock", "start it with `weir up"],
        ),
        (
            "weir --data no-such-directory status",
            ["no-such-directory/control.sock", "start it with `weir up"],
        ),
    ] {
        let seen = world.bash(typed).run().ended_with(1);
        let said = seen.err();
        assert!(
            seen.stdout.is_empty()
                && said.starts_with("weir: ")
                && said.find('\n') == Some(said.len() - 1)
                && says.iter().all(|words| said.contains(words)),
            "one sentence with {says:?} is expected: {seen}"
        );
    }
}

#[test]
fn what_is_typed_wrong_ends_with_2_and_says_how_it_is_typed() {
    let world = World::start();
    for (typed, says) in [
        (
            "weir --data D nodes add",
            "Usage: weir nodes add --addr <HOST:PORT>",
        ),
        ("weir --data D no-such-command", "unrecognized subcommand"),
        (
            "weir --data D recordings export X --format pdf",
            "[possible values: text, cast, json]",
        ),
        ("weir up --listen nonsense", "--listen <ADDRESS:PORT>"),
    ] {
        let seen = world.bash(typed).run().ended_with(2);
        let said = seen.err();
        assert!(
            seen.stdout.is_empty() && said.contains(says) && said.contains("--help"),
            "{says:?} is expected: {seen}"
        );
    }
}

/// Seen on a screen as a person sees it: a pause holds everything, and what is sought back to is drawn anew.
#[test]
fn play_pauses_by_space_and_seeks_back_by_arrow() {
    let world = World::start();
    world
        .exec("echo first; sleep 1.5; echo second; sleep 1.5; echo third")
        .succeed();
    let session = world.weir().only_session();
    let screen = Screen::start(&world, &format!("weir --data D play {}", session.id()));
    screen.expect("first");
    screen.key("Space");
    screen.expect("paused 00:00 / 00:03");
    // Longer than it is to the next word.
    thread::sleep(Duration::from_secs(2));
    let held = screen.expect("paused 00:00 / 00:03");
    assert!(held.contains("first") && !held.contains("second"), "{held}");

    screen.key("Space");
    let second = screen.expect("second");
    assert!(!second.contains("paused"), "{second}");
    screen.key("Space");
    screen.expect("paused 00:01 / 00:03");
    // Five seconds back, which is the beginning: nothing was printed yet.
    screen.key("Left");
    let begin = screen.expect("paused 00:00 / 00:03");
    assert!(!begin.contains("first") && !begin.contains("second"), "{begin}");

    screen.key("Space");
    screen.expect("first");
    screen.expect("second");
    weir_tests::eventually("it ends by itself", || screen.is_over().then_some(()));
}

/// On standard error, where a person watches: a line that follows the work and is gone at its end.
#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let world = World::start();
    world.exec("head -c 10000000 /dev/urandom").succeed();
    let session = world.weir().only_session();
    let weir = weir_tests::weir::binary();
    // Whoever takes the output does not begin for a second, so the work is long at any speed.
    let export = format!(
        "{} --data D recordings export {} --format text | {{ sleep 1; wc -c; }}",
        weir.display(),
        session.id()
    );
    let cd = format!("cd {}; {export}", world.path_text(""));
    let mut terminal = Terminal::start(["bash", "-c", &cd], 24, 80);
    terminal.expect("exporting ");
    terminal.expect(" %  ");
    terminal.expect(" of 9.5 MiB");
    terminal.expect("\r\u{1b}[K");
    terminal.expect("10000000");
    assert_eq!(terminal.wait_within(Duration::from_secs(10)), 0);

    let seen = world.bash(&export).succeed();
    assert_eq!((seen.out().trim(), &*seen.err()), ("10000000", ""));
}

#[test]
fn play_draws_in_the_terminal_and_ends_by_key() {
    let world = World::start();
    world
        .exec("echo first; sleep 1.5; echo second; sleep 1.5; echo third")
        .succeed();
    let session = world.weir().only_session();
    let weir = weir_tests::weir::binary();
    let data = world.weir().data();
    let start = |options: &[&str]| {
        let mut args = vec![
            weir.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "play",
            session.id(),
        ];
        args.extend(options);
        let began = std::time::Instant::now();
        (Terminal::start(args, 24, 80), began)
    };

    let (mut fast, began) = start(&["--speed", "4"]);
    fast.expect("first");
    fast.expect("third");
    let took = began.elapsed().as_secs_f64();
    assert!(
        (0.6..2.5).contains(&took),
        "3 s at four times the speed took {took} s"
    );

    let (mut shortened, began) = start(&["--idle-limit", "100ms"]);
    shortened.expect("third");
    assert!(began.elapsed().as_secs_f64() < 1.5, "pauses were not shortened");

    let (mut quit, began) = start(&["--speed", "0.1"]);
    quit.expect("first");
    quit.type_in("q");
    assert_eq!(quit.wait_within(Duration::from_secs(5)), 0, "{}", quit.screen());
    assert!(began.elapsed().as_secs_f64() < 5.0 && !quit.screen().contains("second"));

    let (mut sought, began) = start(&["--speed", "0.1"]);
    sought.expect("first");
    // Five seconds on, which is past the end of a recording of three.
    sought.type_in("\x1b[C");
    sought.expect("third");
    assert!(began.elapsed().as_secs_f64() < 5.0);
}

/// An empty directory with a key pair in it, and two free ports.
struct Scene {
    world: World,
    listen: u16,
    sshd: u16,
}

impl Scene {
    fn new() -> Self {
        let world = World::builder().empty().start();
        Self {
            world,
            listen: free_port(),
            sshd: free_port(),
        }
    }

    fn typed(&self, script: &str) -> weir_tests::Job {
        let login = self.world.login();
        let script = script
            .replace("3023", &self.listen.to_string())
            .replace("7022", &self.sshd.to_string())
            .replace("root@web1", &format!("{login}@web1"))
            .replace("--logins root", &format!("--logins {login}"));
        self.world.job("bash").args(["-euo", "pipefail", "-c", &script])
    }

    fn json(&self, typed: &str) -> Value {
        serde_json::from_slice(&self.typed(typed).succeed().stdout).expect("JSON")
    }
}
