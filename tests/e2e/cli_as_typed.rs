//! The command line exactly as the manual shows it, run by `bash`.
//!
//! Nothing is changed but the two port numbers, so that runs do not take them from each other, and the
//! login where the suite does not run as root.

use serde_json::Value;
use weir_tests::world::free_port;
use weir_tests::{Terminal, World};

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

#[test]
fn a_first_session_from_nothing() {
    let scene = Scene::new();
    let up = scene
        .typed(&format!("{SET_UP}{SSHD}echo all-is-up; wait"))
        .spawn();
    let mut up = up;
    up.expect_stdout("all-is-up");
    let said = String::from_utf8_lossy(&up.stdout()).into_owned();
    let ready: Vec<_> = said
        .lines()
        .filter(|line| line.contains(&format!("127.0.0.1:{}", scene.listen)))
        .collect();
    assert!(!ready.is_empty(), "no line says where it listens:\n{said}");

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
    for field in ["id", "start", "end"] {
        assert!(
            row[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} of {row}"
        );
    }
    assert!(row["bytes"].as_u64().is_some_and(|bytes| bytes >= 8), "{row}");
    let id = row["id"].as_str().unwrap();
    let sessions = scene.json("weir --data D sessions ls --json");
    assert_eq!(sessions[0]["id"], id, "{sessions}");

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

#[test]
fn errors_are_one_sentence_and_the_exit_status_tells_their_kind() {
    let world = World::start();
    for (typed, status) in [
        ("weir --data D nodes add", 2),
        ("weir --data D no-such-command", 2),
        ("weir --data D recordings export X --format pdf", 2),
        ("weir --data D recordings verify 01J9ZZZZZZZZZZZZZZZZZZZZZZ", 1),
        ("weir --data D play 01J9ZZZZZZZZZZZZZZZZZZZZZZ", 1),
        ("weir --data D nodes add web1 --addr 127.0.0.1:22", 1),
        ("weir --data D users sign nobody --public-key id.pub --ttl 8h", 1),
        (
            "weir --data D users sign alice --public-key no-such-file --ttl 8h",
            1,
        ),
        ("weir --data no-such-directory nodes ls", 1),
        ("weir --data no-such-directory status", 1),
    ] {
        let seen = world.bash(typed).run().ended_with(status);
        assert!(seen.stdout.is_empty(), "{seen}");
        if status == 1 {
            assert_eq!(
                seen.err().trim_end().lines().count(),
                1,
                "one sentence is expected: {seen}"
            );
        }
    }
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
    assert_eq!(
        quit.wait_within(std::time::Duration::from_secs(5)),
        0,
        "{}",
        quit.screen()
    );
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
