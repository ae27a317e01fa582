//! Messages that hold keys: `Debug` says whether there is one, never what it is, and what is dropped is wiped.
//!
//! What the transport makes of them on the way through the socket is its own.

use std::fmt;

use zeroize::Zeroize;

use crate::admin::{RecordingHeader, SignHostReply};

impl fmt::Debug for RecordingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingHeader")
            .field("session", &self.session)
            .field("session_key", &shown(self.session_key.is_empty()))
            .field("session_key_error", &self.session_key_error)
            .field("data_plane_keys", &self.data_plane_keys.len())
            .field("size_bytes", &self.size_bytes)
            .finish()
    }
}

impl fmt::Debug for SignHostReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignHostReply")
            .field("private_key", &shown(self.private_key.is_empty()))
            .field("public_key", &self.public_key)
            .field("certificate", &self.certificate)
            .field("serial", &self.serial)
            .field("valid_before", &self.valid_before)
            .finish()
    }
}

impl Drop for RecordingHeader {
    fn drop(&mut self) {
        self.session_key.zeroize();
    }
}

impl Drop for SignHostReply {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

fn shown(empty: bool) -> fmt::Arguments<'static> {
    if empty {
        format_args!("none")
    } else {
        format_args!("redacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ReadRecordingReply;
    use crate::admin::read_recording_reply::Part;

    #[test]
    fn keys_are_not_printed() {
        let mut header = RecordingHeader::default();
        header.session_key = vec![0xab; 32];
        let reply = ReadRecordingReply {
            part: Some(Part::Header(Box::new(header))),
        };
        let text = format!("{reply:?}");
        assert!(
            text.contains("session_key: redacted") && !text.contains("171"),
            "{text}"
        );

        let mut reply = SignHostReply::default();
        reply.private_key = "-----BEGIN".to_owned();
        let text = format!("{reply:?}");
        assert!(
            text.contains("private_key: redacted") && !text.contains("BEGIN"),
            "{text}"
        );
        assert!(format!("{:?}", SignHostReply::default()).contains("private_key: none"));
    }
}
