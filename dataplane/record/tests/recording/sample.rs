//! A small recording to read, to alter and to export.

use std::ops::Range;
use std::time::Duration;

use ulid::Ulid;
use weir_crypto::sign::PrivateKey;
use weir_record::{
    Chain, Draft, Event, EventBuffer, Fields, Identities, Links, Note, Opening, Packer, Recipients,
    SessionKey, SessionMeta, Signer, Status,
};

pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    /// The envelope, each chunk, the end.
    pub(crate) parts: Vec<Range<usize>>,
    pub(crate) key: SessionKey,
    pub(crate) signer: Signer,
    pub(crate) session: Ulid,
}

pub(crate) fn signer(seed: u8) -> Signer {
    Signer::new(PrivateKey::ed25519_from_seed(&[seed; 32])).unwrap()
}

pub(crate) fn meta(session: Ulid) -> SessionMeta {
    SessionMeta {
        session,
        started_us: 1_700_000_000_000_000,
        user: "alice".into(),
        login: "root".into(),
        node: "web1".into(),
        node_address: "10.0.0.1:22".into(),
        client_address: "192.0.2.7:50000".into(),
        cluster: "main".into(),
    }
}

/// Writes a recording chunk by chunk.
pub(crate) struct Scribe {
    pub(crate) sample: Sample,
    chain: Chain,
    packer: Packer,
    events: EventBuffer,
}

impl Scribe {
    pub(crate) fn begin(seed: u8, wrapped_key: &[u8]) -> Self {
        let session = Ulid::from_parts(1_700_000_000_000, u128::from(seed));
        let key = SessionKey::from_bytes([seed; 32]);
        let signer = signer(seed);
        let mut bytes = Vec::new();
        let meta = meta(session);
        let opening = Opening {
            session,
            started_us: meta.started_us,
            signer: signer.public_key(),
            wrapped_key,
        };
        let chain = Chain::begin(&opening, &key, &mut bytes);
        let parts = std::iter::once(0..bytes.len()).collect();
        let mut scribe = Scribe {
            sample: Sample {
                bytes,
                parts,
                key,
                signer,
                session,
            },
            chain,
            packer: Packer::new(),
            events: EventBuffer::default(),
        };
        let payload = meta.encode();
        scribe.event(0, 0, &Event::Meta(Fields::new(&payload)));
        scribe
    }

    pub(crate) fn event(&mut self, at_us: u64, channel: u32, event: &Event<'_>) {
        let mut payload = Vec::new();
        event.encode_payload(&mut payload);
        assert!(self.events.push(at_us, channel, event.kind(), &payload));
    }

    pub(crate) fn chunk(&mut self) {
        let start = self.sample.bytes.len();
        self.chain
            .seal(&mut self.packer, &mut self.events, &mut self.sample.bytes);
        self.sample.parts.push(start..self.sample.bytes.len());
    }

    pub(crate) fn end(mut self, status: Status, duration: Option<Duration>) -> Sample {
        if !self.events.is_empty() {
            self.chunk();
        }
        let start = self.sample.bytes.len();
        self.chain
            .links()
            .end(status, duration, &self.sample.signer, &mut self.sample.bytes)
            .unwrap();
        self.sample.parts.push(start..self.sample.bytes.len());
        self.sample
    }
}

/// Six chunks, some stored and some compressed.
pub(crate) fn sample(seed: u8) -> Sample {
    let mut scribe = Scribe::begin(seed, b"an age file");
    scribe.event(
        10,
        0,
        &Event::Terminal {
            term: b"xterm-256color",
            columns: 100,
            rows: 30,
            width_px: 0,
            height_px: 0,
        },
    );
    scribe.event(20, 0, &Event::Shell);
    scribe.chunk();
    for at in 1..5u64 {
        if at % 2 == 0 {
            let text = format!("line {at}\r\n").repeat(60);
            scribe.event(at * 1_000_000, 0, &Event::Output(text.as_bytes()));
        } else {
            scribe.event(at * 1_000_000, 0, &Event::Output(b"$ "));
        }
        scribe.chunk();
    }
    scribe.event(5_000_000, 0, &Event::ExitStatus(0));
    scribe.event(5_000_100, 0, &Event::Closed);
    scribe.end(Status::Complete, Some(Duration::from_micros(5_000_200)))
}

/// A recipient whom nobody is.
pub(crate) fn stranger() -> Recipients {
    Recipients::parse(&[Identities::generate().1]).unwrap()
}

impl Sample {
    pub(crate) fn envelope(&self) -> &[u8] {
        &self.bytes[self.parts[0].clone()]
    }

    /// The same chunks behind another envelope.
    pub(crate) fn behind(&self, envelope: &[u8]) -> Sample {
        let chunks = &self.bytes[self.parts[0].end..];
        let moved = |at: usize| at - self.parts[0].end + envelope.len();
        let parts = self.parts[1..]
            .iter()
            .map(|part| moved(part.start)..moved(part.end));
        Sample {
            bytes: [envelope, chunks].concat(),
            parts: std::iter::once(0..envelope.len()).chain(parts).collect(),
            key: self.key.clone(),
            signer: self.signer.clone(),
            session: self.session,
        }
    }

    /// As it is when nobody could seal its last chunk.
    pub(crate) fn noted(&self) -> Sample {
        let mut sample = self.behind(&self.bytes[self.parts[0].clone()]);
        let kept = sample.parts.len() - 2;
        sample.parts.truncate(kept);
        sample.bytes.truncate(sample.parts[kept - 1].end);
        let mut links = Links::start(self.envelope()).unwrap().1;
        for part in &sample.parts[1..] {
            links.follow(&sample.bytes[part.clone()]).unwrap();
        }
        let note = Note::gap(
            Duration::from_secs(5),
            Duration::from_secs(9),
            4096,
            2,
            "the recorder has stopped",
        );
        links.note(&note, &mut sample.bytes);
        sample.parts.push(sample.parts[kept - 1].end..sample.bytes.len());
        let end = sample.bytes.len();
        links
            .end(
                Status::Complete,
                Some(note.until()),
                &sample.signer,
                &mut sample.bytes,
            )
            .unwrap();
        sample.parts.push(end..sample.bytes.len());
        sample
    }

    /// As it is when its key has been wrapped to `recipients`, by the data plane itself.
    pub(crate) fn rewrapped(&self, recipients: &Recipients) -> Sample {
        let draft = Draft::new(self.envelope(), &self.key, recipients).unwrap();
        self.behind(&draft.sign(&self.signer).unwrap())
    }
}

/// A recording as it is written, the same wrapped anew twice, and one that ends with a note; each with six chunks.
pub(crate) fn of_each_kind(seed: u8) -> [Sample; 3] {
    let sample = sample(seed);
    let again = sample.rewrapped(&stranger()).rewrapped(&stranger());
    let noted = sample.noted();
    [sample, again, noted]
}
