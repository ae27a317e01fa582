//! Recordings made to measure, in the store and the index of a control plane within this process.
//!
//! What reads recordings is tested against them: no session has to have taken the hours or printed the gigabytes, and
//! each of their bytes can be altered before it is read.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use ulid::Ulid;
use weir_api::dataplane::{SessionRecord, SessionStatus};
use weir_crypto::sign::PrivateKey;
use weir_record::{
    Chain, Event, EventBuffer, EventKind, Fields, Identities, Opening, Packer, Recipients, SessionKey,
    SessionMeta, Signer, Status,
};
use weir_server::{Control, ControlConfig};

use crate::process::Job;
use crate::weir::binary;

/// When the first recording begins, microseconds since 1970: 2023-11-14 22:13:20 UTC. Each one after it begins an hour
/// later.
pub const STARTED_US: u64 = 1_700_000_000_000_000;

/// A control plane with nothing but recordings.
pub struct Shelf {
    control: Control,
    dir: TempDir,
    count: std::cell::Cell<u64>,
}

/// A recording that is being made.
pub struct Draft<'a> {
    shelf: &'a Shelf,
    id: Ulid,
    user: &'static str,
    chain: Chain,
    packer: Packer,
    events: EventBuffer,
    sealed: Vec<u8>,
    file: BufWriter<File>,
    object: String,
    written: usize,
    parts: Vec<Range<usize>>,
    last_us: u64,
}

/// A recording on the shelf.
pub struct Volume {
    /// The session's id.
    pub id: String,
    /// The stored object.
    pub path: PathBuf,
    /// Where the envelope, each chunk and the end lie in it.
    pub parts: Vec<Range<usize>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Self {
        Self::within(tempfile::tempdir())
    }

    /// An empty one on a file system in memory, for what is larger than a disk should be troubled with.
    pub fn in_memory() -> Self {
        Self::within(tempfile::tempdir_in("/dev/shm"))
    }

    fn within(dir: std::io::Result<TempDir>) -> Self {
        let dir = dir.expect("a temporary directory");
        let config = ControlConfig {
            data_dir: dir.path().join("D"),
            ..ControlConfig::default()
        };
        let control = Control::open(config).unwrap_or_else(|error| panic!("{error}"));
        Self {
            control,
            dir,
            count: std::cell::Cell::new(0),
        }
    }

    /// A path in the shelf's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `weir --data D ARGS`.
    pub fn weir<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Job {
        Job::new(binary())
            .arg("--data")
            .arg(self.control.data_dir())
            .args(args)
            .current_dir(self.dir.path())
    }

    /// Begins a recording of `user` that Weir can read.
    pub fn begin(&self, user: &'static str) -> Draft<'_> {
        let snapshot = self.control.data_plane().snapshot();
        let settings = snapshot.settings.as_ref().expect("a control plane has settings");
        self.begin_for(user, &settings.recording_recipients)
    }

    /// Begins a recording that somebody else alone can read.
    pub fn begin_sealed_to_others(&self, user: &'static str) -> Draft<'_> {
        let (_, recipient) = Identities::generate();
        self.begin_for(user, &[recipient])
    }

    fn begin_for(&self, user: &'static str, recipients: &[String]) -> Draft<'_> {
        let number = self.count.replace(self.count.get() + 1);
        let started_us = STARTED_US + number * 3_600_000_000;
        let id = Ulid::from_parts(started_us / 1_000, u128::from(number));
        let key = SessionKey::from_bytes([7; 32]);
        let recipients = Recipients::parse(recipients).expect("recipients are well-formed");
        let mut sealed = Vec::new();
        let opening = Opening {
            session: id,
            started_us,
            signer: self.signer().public_key(),
            wrapped_key: &recipients.wrap(&key).expect("a key can be wrapped"),
        };
        let chain = Chain::begin(&opening, &key, &mut sealed);
        let object = format!("{id}.weir");
        let dir = self.control.recordings_dir();
        fs::create_dir_all(&dir).expect("the recordings' directory can be made");
        let file = File::create_new(dir.join(&object)).expect("the object is new");
        let mut draft = Draft {
            shelf: self,
            id,
            user,
            chain,
            packer: Packer::new(),
            events: EventBuffer::default(),
            sealed,
            file: BufWriter::with_capacity(1 << 20, file),
            object,
            written: 0,
            parts: Vec::new(),
            last_us: 0,
        };
        draft.write();
        let meta = SessionMeta {
            session: id,
            started_us,
            user: user.into(),
            login: "root".into(),
            node: "web1".into(),
            node_address: "10.0.0.1:22".into(),
            client_address: "192.0.2.7:50000".into(),
            cluster: "weir".into(),
        };
        let meta = meta.encode();
        draft.event(0, 0, &Event::Meta(Fields::new(&meta)));
        draft
    }

    /// With which the data plane of this control plane signs.
    fn signer(&self) -> Signer {
        Signer::new(self.control.embedded_signing_key()).expect("it is an ed25519 key")
    }
}

impl Draft<'_> {
    /// Adds an event, in a chunk with those before it.
    pub fn event(&mut self, at_us: u64, channel: u32, event: &Event<'_>) {
        let mut payload = Vec::new();
        event.encode_payload(&mut payload);
        self.payload(at_us, channel, event.kind(), &payload);
    }

    /// Adds a terminal of 100 columns and 30 rows with a shell in it.
    pub fn terminal(&mut self, at_us: u64, channel: u32) {
        let terminal = Event::Terminal {
            term: b"xterm-256color",
            columns: 100,
            rows: 30,
            width_px: 0,
            height_px: 0,
        };
        self.event(at_us, channel, &terminal);
        self.event(at_us, channel, &Event::Shell);
    }

    /// Adds output.
    pub fn output(&mut self, at_us: u64, channel: u32, bytes: &[u8]) {
        self.payload(at_us, channel, EventKind::OUTPUT, bytes);
    }

    fn payload(&mut self, at_us: u64, channel: u32, kind: EventKind, payload: &[u8]) {
        self.last_us = at_us;
        while !self.events.push(at_us, channel, kind, payload) {
            self.chunk();
        }
    }

    /// Ends a chunk.
    pub fn chunk(&mut self) {
        self.chain
            .seal(&mut self.packer, &mut self.events, &mut self.sealed);
        self.write();
    }

    /// Ends it as the data plane does, and puts it into the index.
    pub fn finish(self) -> Volume {
        let signer = self.shelf.signer();
        self.finish_by(&signer)
    }

    /// Ends it with the signature of a key that nobody knows.
    pub fn finish_as_a_stranger(self) -> Volume {
        let key = PrivateKey::ed25519_from_seed(&[9; 32]);
        let signer = Signer::new(key).expect("it is an ed25519 key");
        self.finish_by(&signer)
    }

    fn finish_by(mut self, signer: &Signer) -> Volume {
        if !self.events.is_empty() {
            self.chunk();
        }
        let duration = Duration::from_micros(self.last_us);
        let links = *self.chain.links();
        let ended = links.end(Status::Complete, Some(duration), signer, &mut self.sealed);
        ended.expect("an ed25519 key signs");
        self.write();
        self.file.flush().expect("the object can be written");
        let number = self.id.random();
        let start_us = STARTED_US + u64::try_from(number).expect("a count") * 3_600_000_000;
        let row = SessionRecord {
            id: self.id.to_string(),
            user: self.user.to_owned(),
            login: "root".to_owned(),
            node: "web1".to_owned(),
            kind: "terminal".to_owned(),
            start_us,
            end_us: start_us + self.last_us,
            bytes: links.plaintext_bytes(),
            status: SessionStatus::Complete.into(),
            object: self.object.clone(),
            client_address: "192.0.2.7:50000".to_owned(),
            ..SessionRecord::default()
        };
        self.shelf.control.data_plane().report(Vec::new(), vec![row]);
        Volume {
            id: self.id.to_string(),
            path: self.shelf.control.recordings_dir().join(&self.object),
            parts: self.parts,
        }
    }

    fn write(&mut self) {
        self.file
            .write_all(&self.sealed)
            .expect("the object can be written");
        self.parts.push(self.written..self.written + self.sealed.len());
        self.written += self.sealed.len();
        self.sealed.clear();
    }
}

impl Volume {
    /// Its bytes as stored.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the object is there")
    }

    /// Puts other bytes in its place.
    pub fn replace(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("the object can be written");
    }
}
