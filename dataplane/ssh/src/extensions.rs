//! What the peer can do beyond the protocol (RFC 8308).

use crate::error::Error;
use crate::wire::{Reader, Writer, msg};

/// Extensions that the peer has told of in `SSH_MSG_EXT_INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    server_sig_algs: Option<Box<str>>,
    /// The server takes `publickey-hostbound-v00@openssh.com`.
    pub publickey_hostbound: bool,
    /// The peer answers `ping@openssh.com`.
    pub ping: bool,
    /// The client takes a second EXT_INFO during authentication.
    pub ext_info_in_auth: bool,
}

impl Extensions {
    /// Signature algorithms that the server takes for user keys (RFC 8308 §3.1); `None` if it did not say.
    pub fn server_sig_algs(&self) -> Option<impl Iterator<Item = &str>> {
        self.server_sig_algs
            .as_deref()
            .map(|list| list.split(',').filter(|name| !name.is_empty()))
    }

    /// Adds what an `SSH_MSG_EXT_INFO` tells; `payload` begins after the message number.
    pub(crate) fn receive(&mut self, payload: &[u8]) -> Result<(), Error> {
        let malformed = Error::malformed("EXT_INFO");
        let mut reader = Reader::new(payload);
        let count = reader.u32().map_err(&malformed)?;
        for _ in 0..count {
            let name = reader.string().map_err(&malformed)?;
            let value = reader.string().map_err(&malformed)?;
            match name {
                b"server-sig-algs" => {
                    let list = crate::wire::NameList::parse(value).map_err(&malformed)?;
                    self.server_sig_algs = Some(list.as_str().into());
                }
                b"publickey-hostbound@openssh.com" => self.publickey_hostbound = value == b"0",
                b"ping@openssh.com" => self.ping = value == b"0",
                b"ext-info-in-auth@openssh.com" => self.ext_info_in_auth = value == b"0",
                // RFC 8308 §2.5: "applications MUST ignore unrecognized extension names".
                _ => {}
            }
        }
        reader.finish().map_err(&malformed)
    }
}

/// The payload of a server's EXT_INFO.
pub(crate) fn server_ext_info<'n>(server_sig_algs: impl IntoIterator<Item = &'n str>) -> Vec<u8> {
    let mut payload = vec![msg::EXT_INFO];
    payload.put_u32(3);
    payload.put_string("server-sig-algs");
    payload.put_name_list(server_sig_algs);
    payload.put_string("publickey-hostbound@openssh.com");
    payload.put_string("0");
    payload.put_string("ping@openssh.com");
    payload.put_string("0");
    payload
}

/// The payload of a client's EXT_INFO.
pub(crate) fn client_ext_info() -> Vec<u8> {
    let mut payload = vec![msg::EXT_INFO];
    payload.put_u32(1);
    payload.put_string("ext-info-in-auth@openssh.com");
    payload.put_string("0");
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_tells_is_understood() {
        let algorithms = ["ssh-ed25519", "rsa-sha2-512"];
        let mut extensions = Extensions::default();
        assert!(extensions.server_sig_algs().is_none());
        extensions.receive(&server_ext_info(algorithms)[1..]).unwrap();
        assert!(extensions.server_sig_algs().unwrap().eq(algorithms));
        assert!(extensions.publickey_hostbound && extensions.ping && !extensions.ext_info_in_auth);
    }

    #[test]
    fn unknown_extensions_are_ignored_and_torn_ones_refused() {
        let mut payload = Vec::new();
        payload.put_u32(1);
        payload.put_string("x@example.org");
        payload.put_string([0xff]);
        Extensions::default().receive(&payload).unwrap();
        for len in 0..payload.len() {
            Extensions::default().receive(&payload[..len]).unwrap_err();
        }
        payload.splice(..4, u32::MAX.to_be_bytes());
        Extensions::default().receive(&payload).unwrap_err();
    }
}
