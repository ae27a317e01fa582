//! The envelope that replaces one when the session key is wrapped for other recipients (version 2).
//!
//! What it must carry on is what the first envelope says in clear and chunk 0 commits to: session, start, signer, and that
//! envelope's own hash. It cannot be recomputed without the old wrapped key, which must go, or old recipients would be
//! recipients for ever. So three things vouch for it:
//!
//! - a **signature** of whom verifiers trust. Without any key it shows that the envelope is by somebody who is trusted and
//!   who has seen it fit the chain before replacing it;
//! - a **code** under the session key: whoever wrapped it had it, so that a stolen signing key alone replaces nothing
//!   unseen by those who can read;
//! - the **hash of the first envelope**, which chunk 0 holds, and the signed end by way of all chunks: so a replacement of
//!   another recording's envelope does not fit.
//!
//! ```text
//! envelope ──Draft::new (who has the session key)──▶ Draft ──sign (who is trusted)──▶ envelope
//! ```

use weir_crypto::sign::{PublicKey, SignError, SignatureScheme, verify};

use crate::chain::Hash;
use crate::end::Signer;
use crate::envelope::{Envelope, EnvelopeFault, FIXED_LEN, MAX_ENVELOPE_LEN, Opening, REPLACED};
use crate::key::{KeyError, SessionKey};
use crate::recipients::Recipients;
use crate::wire::{Cursor, Malformed};

const SIGNATURE_LEN: usize = 64;
/// The signer's public key and the signature.
const SIGNED_BY_LEN: usize = 32 + SIGNATURE_LEN;
/// What stands behind the wrapped key: hash of the first envelope, recipients, code, signer and signature.
pub(crate) const TAIL_LEN: usize = 3 * 32 + SIGNED_BY_LEN;

// Each so that a code or signature over one thing is never one over another.
const CODE_CONTEXT: &[u8] = b"weir recording envelope v2\0";
const RECIPIENTS_CONTEXT: &[u8] = b"weir recording recipients v2\0";
const SIGNATURE_CONTEXT: &[u8] = b"weir recording envelope v2\0";

/// What a replaced envelope has beside the fields of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// How often the key has been wrapped anew, from 1.
    pub generation: u32,
    /// SHA-256 of the first envelope, which chunk 0 names as its predecessor.
    pub original: Hash,
    /// The Ed25519 public key that signed the replacement.
    pub by: [u8; 32],
    recipients: [u8; 32],
    code: [u8; 32],
    signature: [u8; SIGNATURE_LEN],
    /// Of all bytes before the code.
    coded: Hash,
    /// Of all bytes before the signature.
    signed: Hash,
}

/// Why a replaced envelope proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplacementFault {
    /// It is not as its signer made it.
    #[error("the signature of whoever wrapped its key anew does not verify")]
    Signature,
    /// Its signer had another key than it holds, or none.
    #[error("its key was wrapped anew by somebody who did not have it")]
    Code,
}

impl Replacement {
    /// Reads what is left of the envelope `whole`.
    pub(crate) fn read(p: &mut Cursor<'_>, generation: u32, whole: &[u8]) -> Result<Self, Malformed> {
        let before = |tail: usize| {
            whole
                .get(..whole.len().saturating_sub(tail))
                .map(|part| Hash::of(&[part]))
                .ok_or(Malformed("envelope length"))
        };
        Ok(Replacement {
            generation,
            original: Hash(p.array("hash of the first envelope")?),
            recipients: p.array("recipients")?,
            code: p.array("code")?,
            by: p.array("signer")?,
            signature: p.array("signature")?,
            coded: before(32 + SIGNED_BY_LEN)?,
            signed: before(SIGNATURE_LEN)?,
        })
    }

    pub(crate) fn check(&self, key: Option<&SessionKey>) -> Result<(), ReplacementFault> {
        let message = [SIGNATURE_CONTEXT, &self.signed.0].concat();
        let signer = PublicKey::Ed25519(&self.by);
        verify(SignatureScheme::Ed25519, &signer, &message, &self.signature)
            .map_err(|_| ReplacementFault::Signature)?;
        match key {
            Some(key) if !self.is_coded_by(key) => Err(ReplacementFault::Code),
            _ => Ok(()),
        }
    }

    fn is_coded_by(&self, key: &SessionKey) -> bool {
        let code = key.authenticate(CODE_CONTEXT, &self.coded.0);
        weir_crypto::constant_time_eq(&code, &self.code)
    }
}

impl Envelope {
    /// Whether the key has been wrapped to just these recipients already. Of an envelope of version 1 that cannot be known,
    /// and is denied.
    #[must_use]
    pub fn is_wrapped_to(&self, recipients: &Recipients, key: &SessionKey) -> bool {
        self.replacement
            .as_ref()
            .is_some_and(|replacement| replacement.recipients == recipients_code(recipients, key))
    }
}

/// Tells whether recipients are the same, to those alone who have the key: `age` does not say who they are.
fn recipients_code(recipients: &Recipients, key: &SessionKey) -> [u8; 32] {
    key.authenticate(RECIPIENTS_CONTEXT, &recipients.digest())
}

/// Why an envelope cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// There is no sound envelope to replace.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// The key cannot be wrapped.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are too many recipients.
    #[error(
        "got a wrapped key of {0} bytes while expecting one that fits an envelope: name fewer recipients"
    )]
    TooLong(usize),
    /// The draft is none, or of another envelope.
    #[error(
        "got a new envelope that differs from the stored one in its {0}: was it replaced meanwhile? try again"
    )]
    Differs(&'static str),
}

/// A replacement that nobody has signed yet.
///
/// Whoever has the session key makes it, whoever is trusted signs it: those need not be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft(Vec<u8>);

impl Draft {
    /// Wraps `key`, which is that of the recording behind `envelope`, to `recipients`.
    ///
    /// # Errors
    /// If `envelope` is none, was replaced by somebody without the key, or there are too many recipients.
    pub fn new(envelope: &[u8], key: &SessionKey, recipients: &Recipients) -> Result<Draft, RewrapError> {
        let old = Envelope::parse(envelope)?;
        old.check(Some(key)).map_err(EnvelopeFault::from)?;
        let wrapped_key = recipients.wrap(key)?;
        let len = FIXED_LEN + wrapped_key.len() + TAIL_LEN;
        if len > MAX_ENVELOPE_LEN {
            return Err(RewrapError::TooLong(wrapped_key.len()));
        }
        let new = Opening {
            session: old.session,
            started_us: old.started_us,
            signer: old.signer,
            wrapped_key: &wrapped_key,
        };
        let mut draft = Vec::with_capacity(len);
        new.put(REPLACED, len, old.generation().saturating_add(1), &mut draft);
        draft.extend_from_slice(&old.original().0);
        draft.extend_from_slice(&recipients_code(recipients, key));
        let code = key.authenticate(CODE_CONTEXT, &Hash::of(&[&draft]).0);
        draft.extend_from_slice(&code);
        Ok(Draft(draft))
    }

    /// Takes a draft that somebody else has made, to be signed in the place of `envelope`.
    ///
    /// # Errors
    /// If it would not replace just that envelope, or says anything else of the session.
    pub fn parse(draft: &[u8], envelope: &[u8]) -> Result<Draft, RewrapError> {
        let old = Envelope::parse(envelope)?;
        let unsigned = [draft, &[0; SIGNED_BY_LEN]].concat();
        let new = Envelope::parse(&unsigned)?;
        let fields = [
            ("session", new.session == old.session),
            ("start", new.started_us == old.started_us),
            ("signer", new.signer == old.signer),
            ("predecessor", new.original() == old.original()),
            (
                "count of replacements",
                new.generation() == old.generation().saturating_add(1),
            ),
        ];
        match fields.iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(RewrapError::Differs(field)),
            None => Ok(Draft(draft.to_vec())),
        }
    }

    /// As it is handed to who signs it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The envelope: to be put in the place of the one that it was made of, in front of the same chunks.
    ///
    /// The signer vouches for what the old envelope said, so it must have seen it fit the chain.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(self, signer: &Signer) -> Result<Vec<u8>, SignError> {
        let mut envelope = self.0;
        envelope.extend_from_slice(&signer.public_key());
        let message = [SIGNATURE_CONTEXT, &Hash::of(&[&envelope]).0].concat();
        envelope.extend_from_slice(&signer.sign(&message)?);
        Ok(envelope)
    }
}
