//! Keys wrapped anew: what each kind of verifier can conclude, and what a thief cannot make.

use weir_record::{
    Draft, Envelope, Fault, Finding, Identities, KeyError, Place, ReadError, Reader, Recipients, Report,
    RewrapError, SessionKey, Trust, Unlock, verify,
};

use crate::sample::{Sample, Scribe, sample, signer, stranger};
use weir_record::Status;

struct Person {
    identities: Identities,
    recipients: Recipients,
}

fn person() -> Person {
    let (private, public) = Identities::generate();
    Person {
        identities: Identities::parse(&private).unwrap(),
        recipients: Recipients::parse(&[public]).unwrap(),
    }
}

/// A recording that `owner` can read.
fn recording_of(owner: &Person) -> Sample {
    let key = SessionKey::from_bytes([1; 32]);
    let scribe = Scribe::begin(1, &owner.recipients.wrap(&key).unwrap());
    scribe.end(Status::Complete, None)
}

fn judge(sample: &Sample, unlock: Option<Unlock<'_>>, trust: Trust<'_>) -> Report {
    verify(&sample.bytes[..], unlock, trust).unwrap()
}

fn open(sample: &Sample, person: &Person) -> Result<(), ReadError> {
    Reader::open(&sample.bytes[..], Unlock::Identities(&person.identities)).map(drop)
}

#[test]
fn new_recipients_read_and_old_ones_do_not_and_the_chunks_are_the_same_bytes() {
    let (old, new, newest) = (person(), person(), person());
    let first = recording_of(&old);
    let second = first.rewrapped(&new.recipients);
    let third = second.rewrapped(&newest.recipients);
    let readers = [&old, &new, &newest];
    for (at, sample) in [&first, &second, &third].into_iter().enumerate() {
        for (who, reader) in readers.iter().enumerate() {
            match open(sample, reader) {
                Ok(()) => assert_eq!(who, at),
                Err(ReadError::Key(KeyError::NotForUs)) => assert_ne!(who, at),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(
            sample.bytes[sample.parts[0].end..],
            first.bytes[first.parts[0].end..]
        );
        let envelope = Envelope::parse(sample.envelope()).unwrap();
        assert_eq!(
            envelope.original(),
            Envelope::parse(first.envelope()).unwrap().original()
        );
        let keys = [sample.signer.public_key()];
        let report = judge(
            sample,
            Some(Unlock::Identities(&readers[at].identities)),
            Trust::Keys(&keys),
        );
        assert!(report.is_intact(), "{:?}", report.findings);
        assert_eq!(report.generation, u32::try_from(at).unwrap());
        assert!(judge(sample, None, Trust::Envelope).is_intact());
    }
}

#[test]
fn nothing_of_the_old_wrapped_key_stays() {
    let old = person();
    let first = recording_of(&old);
    let second = first.rewrapped(&stranger());
    let wrapped = Envelope::parse(first.envelope()).unwrap().wrapped_key;
    // The header's first line is every age file's.
    for piece in wrapped[24..].windows(16) {
        assert!(!second.envelope().windows(16).any(|window| window == piece));
    }
}

#[test]
fn a_thief_of_the_store_cannot_replace_an_envelope() {
    let thief = signer(9);
    let sample = sample(1);
    let keys = [sample.signer.public_key()];
    // Also one who has got hold of the session key.
    let draft = Draft::new(sample.envelope(), &sample.key, &stranger()).unwrap();
    let forged = sample.behind(&draft.sign(&thief).unwrap());
    for unlock in [None, Some(Unlock::Key(&sample.key))] {
        for trust in [Trust::Keys(&keys), Trust::Envelope] {
            let report = judge(&forged, unlock, trust);
            assert!(
                matches!(
                    report.findings[..],
                    [Finding {
                        place: Place::Envelope,
                        fault: Fault::FalseEnvelope(_),
                        ..
                    }]
                ),
                "{:?}",
                report.findings
            );
        }
    }
}

/// Who can sign and not read: unseen without the key, and named with it.
#[test]
fn a_signing_key_without_the_session_key_fools_nobody_who_can_read() {
    let sample = sample(1);
    let keys = [sample.signer.public_key()];
    let other = SessionKey::from_bytes([9; 32]);
    let draft = Draft::new(sample.envelope(), &other, &stranger()).unwrap();
    let forged = sample.behind(&draft.sign(&sample.signer).unwrap());
    assert!(judge(&forged, None, Trust::Keys(&keys)).is_intact());
    let report = judge(&forged, Some(Unlock::Key(&sample.key)), Trust::Keys(&keys));
    assert!(
        matches!(
            report.findings[..],
            [Finding {
                place: Place::Envelope,
                fault: Fault::FalseEnvelope(_),
                ..
            }]
        ),
        "{:?}",
        report.findings
    );
    let refused = Reader::open(&forged.bytes[..], Unlock::Key(&sample.key)).unwrap_err();
    assert!(refused.to_string().contains("did not have it"), "{refused}");
}

#[test]
fn an_envelope_of_another_recording_does_not_fit() {
    let (one, two) = (sample(1), sample(2));
    let replaced = two.rewrapped(&stranger());
    let report = judge(
        &one.behind(replaced.envelope()),
        None,
        Trust::Keys(&[one.signer.public_key(), two.signer.public_key()]),
    );
    assert!(!report.is_intact());
    assert_eq!(report.findings[0].place, Place::Chunk(0), "{:?}", report.findings);
}

#[test]
fn only_drafts_of_the_stored_envelope_are_taken_for_signing() {
    let sample = sample(1);
    let draft = Draft::new(sample.envelope(), &sample.key, &stranger()).unwrap();
    assert_eq!(
        Draft::parse(draft.as_bytes(), sample.envelope()),
        Ok(draft.clone())
    );
    // The session, the start, the signer, the predecessor's hash, the count.
    let predecessor = draft.as_bytes().len() - 3 * 32;
    for at in [16, 32, 40, predecessor, 12] {
        let mut altered = draft.as_bytes().to_vec();
        altered[at] ^= 2;
        assert!(
            matches!(
                Draft::parse(&altered, sample.envelope()),
                Err(RewrapError::Differs(_))
            ),
            "{at}"
        );
    }
    for cut in 0..draft.as_bytes().len() {
        assert!(Draft::parse(&draft.as_bytes()[..cut], sample.envelope()).is_err());
    }
    let replaced = sample.rewrapped(&stranger());
    assert!(Draft::parse(draft.as_bytes(), replaced.envelope()).is_err());
}

#[test]
fn whether_recipients_are_the_same_is_known_with_the_key() {
    let sample = sample(1);
    let (present, other) = (person(), person());
    let replaced = sample.rewrapped(&present.recipients);
    let envelope = Envelope::parse(replaced.envelope()).unwrap();
    assert!(envelope.is_wrapped_to(&present.recipients, &sample.key));
    assert!(!envelope.is_wrapped_to(&other.recipients, &sample.key));
    assert!(!envelope.is_wrapped_to(&present.recipients, &SessionKey::from_bytes([9; 32])));
    let first = Envelope::parse(sample.envelope()).unwrap();
    assert!(!first.is_wrapped_to(&present.recipients, &sample.key));
}
