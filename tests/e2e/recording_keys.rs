//! Who can read a recording, and who no longer can.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use age_core::format::{FileKey, Stanza};
use rustix::process::Signal;
use weir_record::{
    ChunkFault, Envelope, Identities, MAX_ENVELOPE_LEN, ReadError, Reader, SessionKey, Unlock,
};
use weir_tests::memory::Needles;
use weir_tests::world::NODE;
use weir_tests::{Outcome, Session, World, eventually};

/// An auditor's age identity, which Weir never sees.
struct Auditor {
    private: String,
    public: String,
}

impl Auditor {
    fn new() -> Self {
        let (private, public) = Identities::generate();
        Auditor {
            private: private.to_string(),
            public,
        }
    }

    fn identities(&self) -> Identities {
        Identities::parse(&self.private).unwrap()
    }

    /// Its identity file.
    fn file(&self, world: &World) -> String {
        world.write("auditor.txt", format!("# of the auditor\n{}\n", self.private));
        world.path_text("auditor.txt")
    }
}

/// Recordings are wrapped to these alone.
fn world_of(auditors: &[&Auditor]) -> World {
    let keys: Vec<_> = auditors
        .iter()
        .map(|auditor| format!("{:?}", auditor.public))
        .collect();
    let lines = format!(
        "[recording]\nown_identity = false\nrecipients = [{}]",
        keys.join(", ")
    );
    World::builder().config(&lines).start()
}

fn recording_file(world: &World, session: &Session) -> PathBuf {
    let mut files = Vec::new();
    files_below(&world.weir().data().join("recordings"), &mut files);
    let name = format!("{}.weir", session.id());
    files.retain(|file| file.ends_with(&name));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

/// The envelope of the recording that is being spooled.
fn spooled_envelope(world: &World) -> Envelope {
    eventually("the spool holds an envelope", || {
        let mut files = Vec::new();
        files_below(&world.weir().data().join("spool"), &mut files);
        files.iter().find_map(|file| {
            let bytes = fs::read(file).ok()?;
            let at = bytes.windows(7).position(|window| window == b"WEIRREC")?;
            let end = bytes.len().min(at + MAX_ENVELOPE_LEN);
            Envelope::parse_start(&bytes[at..end]).ok()
        })
    })
}

/// An identity that keeps the file key that it unwraps.
struct Witness(age::x25519::Identity, RefCell<Vec<u8>>);

impl age::Identity for Witness {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        let unwrapped = self.0.unwrap_stanza(stanza);
        if let Some(Ok(file_key)) = &unwrapped {
            self.1.replace(file_key.expose_secret().to_vec());
        }
        unwrapped
    }
}

/// All that would open the recording: the session key and its halves, and the keys of the age file around it.
fn secrets_of(envelope: &Envelope, auditor: &Auditor) -> Needles {
    let session_key = auditor
        .identities()
        .unwrap(&envelope.wrapped_key)
        .unwrap()
        .to_bytes();
    let witness = Witness(auditor.private.parse().unwrap(), RefCell::default());
    age::Decryptor::new_buffered(&envelope.wrapped_key[..])
        .unwrap()
        .decrypt(std::iter::once(&witness as &dyn age::Identity))
        .unwrap();
    let file_key = witness.1.into_inner();
    // The file ends with its nonce (16 bytes), the sealed key (32) and the tag (16).
    let nonce = &envelope.wrapped_key[envelope.wrapped_key.len() - 64..][..16];
    let payload_key = age_core::primitives::hkdf(nonce, b"payload", &file_key);
    Needles::new(vec![
        ("the session key's first half", session_key[..16].to_vec()),
        ("the session key's second half", session_key[16..].to_vec()),
        ("the age file's key", file_key),
        ("the age file's payload key", payload_key[..16].to_vec()),
    ])
}

#[test]
fn a_data_plane_cannot_decrypt_what_it_has_finished() {
    let auditor = Auditor::new();
    let world = world_of(&[&auditor]);
    let mut running = world.exec("echo is-on''-its-way; cat").spawn();
    running.expect_stdout("is-on-its-way");
    let envelope = spooled_envelope(&world);
    let secrets = secrets_of(&envelope, &auditor);

    // It seals with the key: where it could not be found now, its absence below would say nothing.
    let during: HashSet<_> = secrets
        .in_memory(world.weir().pid())
        .into_iter()
        .map(|place| place.split(" at ").next().unwrap_or_default().to_owned())
        .collect();
    let of_session = ["the session key's first half", "the session key's second half"];
    assert_eq!(during, of_session.map(str::to_owned).into());

    running.close_stdin();
    running.wait().succeeded();
    let session = world.weir().only_session();
    assert_eq!(session.id(), envelope.session.to_string());
    assert_eq!(secrets.in_memory(world.weir().pid()), Vec::<String>::new());
    assert_eq!(
        secrets.in_files(world.weir().data()).unwrap(),
        Vec::<String>::new()
    );

    // And yet it is whole, for who may read it.
    let bytes = fs::read(recording_file(&world, &session)).unwrap();
    let identities = auditor.identities();
    Reader::open(&bytes[..], Unlock::Identities(&identities)).unwrap();
}

/// A key that was copied from Weir's files opens nothing, nor does Weir itself, told to do what it can.
#[test]
fn nothing_in_the_data_directory_opens_a_recording() {
    let auditor = Auditor::new();
    let mut world = world_of(&[&auditor]);
    world.exec("echo for the auditor").succeed();
    let session = world.weir().only_session();
    let bytes = fs::read(recording_file(&world, &session)).unwrap();
    let control_key = fs::read_to_string(world.weir().data().join("control.key")).unwrap();
    let control_key: Vec<_> = (0..32)
        .map(|at| u8::from_str_radix(&control_key[2 * at..][..2], 16).unwrap())
        .collect();
    let host_keys = fs::read_to_string(world.weir().data().join(NODE)).unwrap();
    assert!(Identities::parse(&host_keys).is_err());
    let key = SessionKey::from_bytes(control_key.try_into().unwrap());
    let mut reader = Reader::open(&bytes[..], Unlock::Key(&key)).unwrap();
    assert!(matches!(
        reader.next_entry(),
        Err(ReadError::Chunk {
            fault: ChunkFault::Seal,
            ..
        })
    ));

    // All that is there, with the program that knows how to use it.
    configure(&mut world, "own_identity = false", "own_identity = true");
    let id = session.id();
    for refused in [vec!["recordings", "export", id], vec!["play", id]] {
        let seen = world.weir().cli().args(refused).run().ended_with(1);
        assert!(seen.err().contains("Weir is not among its recipients"), "{seen}");
        assert!(seen.err().contains("--identity"), "{seen}");
    }
    let seen = world.weir().verify(&session).succeeded();
    assert!(
        seen.out().contains("is intact") && seen.out().contains("not the contents"),
        "{seen}"
    );
    assert!(world.weir().recordings().iter().any(|listed| listed.id() == id));

    // Who has the identity needs no more than Weir's help to get at the bytes.
    let file = auditor.file(&world);
    let cli = |args: &[&str]| {
        world
            .weir()
            .cli()
            .args(args)
            .args(["--identity", &file])
            .succeed()
            .out()
    };
    assert_eq!(cli(&["recordings", "export", id]), "for the auditor\n");
    assert_eq!(cli(&["play", id]), "for the auditor\n");
    assert!(!cli(&["recordings", "verify", id]).contains("not the contents"));
    let stranger = Auditor::new().file(&world);
    let seen = world
        .weir()
        .cli()
        .args(["recordings", "export", id, "--identity", &stranger])
        .run()
        .ended_with(1);
    assert!(seen.err().contains("none of the given age identities"), "{seen}");
}

#[test]
fn a_recipient_that_is_none_is_named_at_the_start() {
    let world = World::builder().empty().start();
    for (line, words) in [
        ("recipients = [\"age1nonsense\"]", "age1nonsense"),
        ("own_identity = false", "nobody could read them"),
    ] {
        let config = world.write("weir.toml", format!("[recording]\n{line}\n"));
        let data = world.path("D");
        let up = world
            .job("weir")
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data);
        let seen = up.arg("--config").arg(config).run().ended_with(1);
        assert!(seen.err().contains(words), "{seen}");
    }
}

/// Restarts Weir with one text in its configuration replaced by another.
fn configure(world: &mut World, from: &str, to: &str) {
    let config = world.read("weir.toml");
    assert!(config.contains(from), "{config}");
    world.write("weir.toml", config.replace(from, to));
    world.weir().signal(Signal::TERM);
    world.weir_mut().wait_within(Duration::from_secs(20));
    world.restart_weir();
}

fn rewrap(world: &World, args: &[&str]) -> Outcome {
    world.weir().cli().args(["recordings", "rewrap"]).args(args).run()
}

/// What stands behind the envelope.
fn chunks(recording: &[u8]) -> &[u8] {
    &recording[Envelope::parse_start(recording).unwrap().len()..]
}

#[test]
fn rewrapping_gives_recordings_to_the_present_recipients_and_leaves_their_chunks() {
    let [former, present] = [(); 2].map(|()| Auditor::new());
    let mut world = world_of(&[&former]);
    world.exec("echo one").succeed();
    world.exec("echo two").succeed();
    let sessions = world.weir().finished_sessions(2);
    let files: Vec<_> = sessions
        .iter()
        .map(|session| recording_file(&world, session))
        .collect();
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();

    configure(&mut world, &former.public, &present.public);
    let mut live = world.exec("echo is-li''ve; cat").spawn();
    live.expect_stdout("is-live");
    let seen = rewrap(&world, &["--all"]).ended_with(1);
    assert!(
        seen.out().contains("failed: Weir is not among its recipients"),
        "{seen}"
    );
    assert!(
        seen.out().contains("skipped: the session is still going on"),
        "{seen}"
    );
    assert!(
        seen.out().contains("0 wrapped anew, 1 skipped, 2 failed"),
        "{seen}"
    );

    let file = former.file(&world);
    let seen = rewrap(&world, &["--all", "--identity", &file]).succeeded();
    assert!(
        seen.out().contains("2 wrapped anew, 1 skipped, 0 failed"),
        "{seen}"
    );
    let text = |session: &Session, auditor: &Auditor| {
        let file = auditor.file(&world);
        let export = ["recordings", "export", session.id(), "--identity", &file];
        world.weir().cli().args(export).run()
    };
    for ((session, file), before) in sessions.iter().zip(&files).zip(&before) {
        let after = fs::read(file).unwrap();
        assert_ne!(&after, before);
        assert_eq!(chunks(&after), chunks(before));
        text(session, &former).ended_with(1);
        let said = text(session, &present).succeeded().out();
        assert!(said == "one\n" || said == "two\n", "{said}");
        world.weir().verify(session).succeeded();
        let audit = [
            "audit",
            "ls",
            "--kind",
            "recording.rewrap",
            "--session",
            session.id(),
        ];
        let events = world.weir().json(&audit);
        assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
        assert_eq!(events[0]["detail"]["unwrapped_by"], "administrator");
    }
    // Again there is nothing to do, and once it has ended the third needs nothing either but does not say so.
    let file = present.file(&world);
    let seen = rewrap(&world, &["--identity", &file, sessions[0].id()]).succeeded();
    assert!(
        seen.out()
            .contains("skipped: its key is wrapped to the present recipients already"),
        "{seen}"
    );
    live.close_stdin();
    live.wait().succeeded();
}

/// More than a part of the new object, so that it is on its way when Weir dies.
#[test]
fn a_kill_while_a_key_is_wrapped_anew_leaves_the_recording_as_it_was() {
    let mut world = World::start();
    world
        .exec("head -c 40000000 /dev/urandom")
        .limit(Duration::from_secs(60))
        .succeed();
    let session = world.weir().only_session();
    let file = recording_file(&world, &session);
    let before = fs::read(&file).unwrap();
    let staged = PathBuf::from(format!("{}#1", file.display()));
    let command = world
        .weir()
        .cli()
        .args(["recordings", "rewrap", session.id()])
        .spawn();
    eventually("the new object is on its way", || staged.exists().then_some(()));
    world.weir().signal(Signal::STOP);
    assert!(staged.exists(), "it came too late to be stopped");
    world.weir().signal(Signal::KILL);
    world.weir_mut().wait_within(Duration::from_secs(10));
    command.wait().ended_with(1);
    assert!(fs::read(&file).unwrap() == before);

    world.restart_weir();
    let seen = rewrap(&world, &[session.id()]).succeeded();
    assert!(
        seen.out().contains("1 wrapped anew, 0 skipped, 0 failed"),
        "{seen}"
    );
    let after = fs::read(&file).unwrap();
    assert!(after != before && chunks(&after) == chunks(&before));
    world.weir().verify(&session).succeeded();
}

#[test]
fn an_identity_of_weirs_own_is_retired_when_no_recording_needs_it() {
    let mut world = World::start();
    world.exec("echo old").succeed();
    let session = world.weir().only_session();
    let keys = |world: &World| -> Vec<(String, bool)> {
        let rows = world.weir().json(&["recordings", "identity", "ls"]);
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| {
            (
                row["public_key"].as_str().unwrap().to_owned(),
                row["current"] == true,
            )
        })
        .collect()
    };
    let first = keys(&world)[0].0.clone();
    let retire = |world: &World, key: &str| {
        world
            .weir()
            .cli()
            .args(["recordings", "identity", "retire", key])
            .run()
    };
    let seen = retire(&world, &first).ended_with(1);
    assert!(seen.err().contains("it is the newest identity"), "{seen}");

    let second = world
        .weir()
        .admin(&["recordings", "identity", "new"])
        .trim()
        .to_owned();
    assert_eq!(keys(&world), [(first.clone(), false), (second.clone(), true)]);
    let seen = retire(&world, &first).ended_with(1);
    assert!(
        seen.err()
            .contains("1 recordings are opened by it and by no other"),
        "{seen}"
    );
    rewrap(&world, &["--all"]).succeeded();
    retire(&world, &first).succeeded();
    assert_eq!(keys(&world), [(second.clone(), true)]);
    assert_eq!(world.weir().export(&session, "text"), b"old\n");

    // The same after a restart, for a session that was recorded to the new one.
    world.weir().signal(Signal::TERM);
    world.weir_mut().wait_within(Duration::from_secs(20));
    world.restart_weir();
    world.exec("echo new").succeed();
    let sessions = world.weir().finished_sessions(2);
    for session in &sessions {
        let text = world.weir().export(session, "text");
        assert!(text == b"old\n" || text == b"new\n");
    }
    assert_eq!(keys(&world), [(second, true)]);
}
