//! Recordings that somebody had in his hands before they were read.
#![no_main]

use std::ops::ControlFlow;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ulid::Ulid;
use weir_crypto::sign::PrivateKey;
use weir_fuzz::parts;
use weir_record::{
    Chain, EventBuffer, EventKind, Opening, Packer, Reader, SessionKey, Signer, Status, Trust, Unlock,
    export, export::Part, verify,
};

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let key = SessionKey::from_bytes([7; 32]);
    match mode % 3 {
        // Bytes as they are.
        0 => read(rest, &key),
        // A true recording with bytes exchanged: it must not pass.
        1 => {
            let original = written(&[(2, b"output"), (2, b"more"), (10, &[0, 0, 0, 0])], &key);
            let mut altered = original.clone();
            for edit in rest.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % altered.len();
                altered[at] ^= edit[2];
            }
            read(&altered, &key);
            let report = verify(
                &altered[..],
                Some(Unlock::Key(&key)),
                Trust::Keys(&[public_key()]),
            );
            let is_intact = report.expect("memory does not fail").is_intact();
            assert_eq!(
                is_intact,
                altered == original,
                "an altered recording passed, or a true one did not"
            );
        }
        // Sealed and signed, and its events are whatever they are: the key's owner is not trusted either.
        _ => {
            let events: Vec<(u8, &[u8])> = parts(rest)
                .filter_map(|part| part.split_first().map(|(&kind, payload)| (kind, payload)))
                .collect();
            read(&written(&events, &key), &key);
        }
    }
});

fn signer() -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[8; 32])
}

fn public_key() -> [u8; 32] {
    Signer::new(signer()).expect("an ed25519 key").public_key()
}

/// A recording of these events, one chunk for each three.
fn written(events: &[(u8, &[u8])], key: &SessionKey) -> Vec<u8> {
    let signer = Signer::new(signer()).expect("an ed25519 key");
    let opening = Opening {
        session: Ulid::from_parts(1_700_000_000_000, 5),
        started_us: 1_700_000_000_000_000,
        signer: signer.public_key(),
        wrapped_key: b"",
    };
    let (mut out, mut packer, mut buffer) = (Vec::new(), Packer::new(), EventBuffer::default());
    let mut chain = Chain::begin(&opening, key, &mut out);
    for (at, three) in (0u64..).zip(events.chunks(3)) {
        for &(kind, payload) in three {
            let _ = buffer.push(at, u32::from(kind >> 6), EventKind(kind & 0x1f), payload);
        }
        if !buffer.is_empty() {
            chain.seal(&mut packer, &mut buffer, &mut out);
        }
    }
    chain
        .links()
        .end(Status::Complete, None, &signer, &mut out)
        .expect("signing");
    out
}

fn read(bytes: &[u8], key: &SessionKey) {
    let _ = verify(bytes, None, Trust::Envelope).expect("memory does not fail");
    let _ =
        verify(bytes, Some(Unlock::Key(key)), Trust::Keys(&[public_key()])).expect("memory does not fail");
    let open = || Reader::open(bytes, Unlock::Key(key)).ok();
    if let Some(mut reader) = open() {
        while let Ok(Some(_)) = reader.next_entry() {}
    }
    let mut sink = Vec::new();
    // The whole, and a part that begins and ends within what the seeds hold.
    for part in [
        Part::WHOLE,
        Part {
            from: Duration::from_micros(1),
            to: Some(Duration::from_micros(3)),
        },
    ] {
        export_all(open, part, &mut sink);
    }
    if let Some(mut reader) = open() {
        let _ = export::lines(&mut reader, |line| {
            assert!(line.bytes.len() <= export::MAX_LINE_LEN, "a line is bounded");
            let _ = line.time_at(line.bytes.len());
            ControlFlow::Continue(())
        });
    }
}

fn export_all<'a>(open: impl Fn() -> Option<Reader<&'a [u8]>>, part: Part, sink: &mut Vec<u8>) {
    if let Some(mut reader) = open() {
        let _ = export::text(&mut reader, None, part, sink);
    }
    if let Some(mut reader) = open() {
        let _ = export::cast(&mut reader, None, part, sink);
    }
    if let Some(mut reader) = open() {
        let _ = export::json(&mut reader, part, sink);
    }
}
