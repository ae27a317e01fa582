//! What a store's refusal means, and what to do about it.
//!
//! The library wraps what it got in sentences of its own with URLs, counts and the server's whole answer in them. What counts is the code in
//! that answer (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>) or how the connection failed.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::config::{Place, StoreConfig};
use crate::credentials::FileError;

/// What Weir needs leave for.
const ACTIONS: &str =
    "s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket";

/// Characters of the store's own words that are passed on.
const QUOTED: usize = 200;

/// Whether nothing but the object is missing.
pub(crate) fn is_missing_object(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && code(error).is_none_or(|code| code != "NoSuchBucket")
}

pub(crate) fn explain(config: &StoreConfig, error: &Error) -> String {
    let place = &config.place;
    match place {
        Place::Directory(_) => format!("{place}: {}", quoted(&root(error).to_string())),
        Place::S3 { bucket, .. } => format!("{place}: {}", s3(config, bucket, error)),
    }
}

fn s3(config: &StoreConfig, bucket: &str, error: &Error) -> String {
    if let Some(file) = find::<FileError>(error) {
        return file.to_string();
    }
    let text = error.to_string();
    let is_metadata = [
        "/latest/api/token",
        "/latest/meta-data",
        "169.254.170.2",
        "InstanceCredential",
    ]
    .iter()
    .any(|mark| text.contains(mark));
    if is_metadata {
        return "there are no credentials: neither `credentials_file` nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are \
                set, and no role of this instance answers: set one of them"
            .to_owned();
    }
    if let Some(http) = find::<HttpError>(error) {
        return transport(config, http);
    }
    let code = code(error).unwrap_or_default();
    let keys = credentials(config);
    match &*code {
        "NoSuchBucket" => format!("there is no bucket {bucket:?}: make it, or correct `store`"),
        "InvalidAccessKeyId" | "NotSignedUp" | "InvalidToken" => {
            format!("the store does not know the access key ({code}): correct {keys}")
        }
        "SignatureDoesNotMatch" => {
            format!("the store does not accept the signature: correct the secret key in {keys}, or `region`")
        }
        "ExpiredToken" | "TokenRefreshRequired" => {
            format!("the credentials have expired: renew {keys}")
        }
        "RequestTimeTooSkewed" => {
            "this machine's clock and the store's differ too much: set them by NTP".to_owned()
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            format!("the bucket is in another region ({code}): set `region` in [recording.s3]")
        }
        "" if text.contains("redirect") => {
            "the bucket is in another region: set `region` in [recording.s3]".to_owned()
        }
        "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" => {
            format!("the store has trouble of its own ({code}), and is asked again")
        }
        _ if matches!(
            error,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
        ) =>
        {
            let code = if code.is_empty() { "a refusal" } else { &code };
            format!("got {code} while expecting leave for {ACTIONS}: give it to {keys}")
        }
        "NoSuchKey" => "there is no such object".to_owned(),
        "" => quoted(&text),
        code => match between(&text, "<Message>", "</Message>") {
            Some(message) => format!("got {}: {}", quoted(code), quoted(message)),
            None => format!("got {}", quoted(code)),
        },
    }
}

fn transport(config: &StoreConfig, error: &HttpError) -> String {
    let endpoint = config.s3.endpoint.as_deref().unwrap_or("AWS");
    let cause = quoted(&root(error).to_string());
    match error.kind() {
        HttpErrorKind::Timeout => {
            format!("no answer in time from {endpoint}: see whether the network or the store is slow")
        }
        HttpErrorKind::Connect | HttpErrorKind::Request => {
            format!(
                "{endpoint} cannot be reached: {cause}: see whether it runs, and that `endpoint` is right"
            )
        }
        _ => format!("the connection to {endpoint} broke: {cause}"),
    }
}

fn credentials(config: &StoreConfig) -> String {
    match &config.s3.credentials_file {
        Some(path) => path.display().to_string(),
        None => "the credentials of the environment or of this instance's role".to_owned(),
    }
}

fn code(error: &Error) -> Option<String> {
    between(&error.to_string(), "<Code>", "</Code>").map(str::to_owned)
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Somebody else's words for a log and a terminal.
fn quoted(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut quoted: String = plain.clone().take(QUOTED).collect();
    if plain.count() > QUOTED {
        quoted.push('…');
    }
    quoted
}

fn find<E: StdError + 'static>(error: &Error) -> Option<&E> {
    let mut current: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// The innermost cause.
fn root<'e>(error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current
}
