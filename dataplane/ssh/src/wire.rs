//! The data types of RFC 4251 §5 over byte slices, and the message numbers.
//!
//! [`Reader`] borrows from the input and never allocates; every length is checked against what is
//! there before anything is cut. [`Writer`] extends `Vec<u8>`, so that a message is written straight
//! into the buffer in which it is sealed.

use std::ops::Range;

/// Message numbers (RFC 4250 §4.1 and OpenSSH's PROTOCOL).
pub mod msg {
    /// RFC 4253 §11.1.
    pub const DISCONNECT: u8 = 1;
    /// RFC 4253 §11.2.
    pub const IGNORE: u8 = 2;
    /// RFC 4253 §11.4.
    pub const UNIMPLEMENTED: u8 = 3;
    /// RFC 4253 §11.3.
    pub const DEBUG: u8 = 4;
    /// RFC 4253 §10.
    pub const SERVICE_REQUEST: u8 = 5;
    /// RFC 4253 §10.
    pub const SERVICE_ACCEPT: u8 = 6;
    /// RFC 8308 §2.3.
    pub const EXT_INFO: u8 = 7;
    /// RFC 8308 §3.3.
    pub const NEWCOMPRESS: u8 = 8;
    /// RFC 4253 §7.1.
    pub const KEXINIT: u8 = 20;
    /// RFC 4253 §7.3.
    pub const NEWKEYS: u8 = 21;
    /// RFC 5656 §7.1; also the client's message of the hybrid and Curve25519 methods.
    pub const KEX_ECDH_INIT: u8 = 30;
    /// RFC 5656 §7.1; also the server's message of the hybrid and Curve25519 methods.
    pub const KEX_ECDH_REPLY: u8 = 31;
    /// RFC 4252 §5.
    pub const USERAUTH_REQUEST: u8 = 50;
    /// RFC 4252 §5.1.
    pub const USERAUTH_FAILURE: u8 = 51;
    /// RFC 4252 §5.1.
    pub const USERAUTH_SUCCESS: u8 = 52;
    /// RFC 4252 §5.4.
    pub const USERAUTH_BANNER: u8 = 53;
    /// RFC 4252 §7.
    pub const USERAUTH_PK_OK: u8 = 60;
    /// RFC 4256 §5.
    pub const USERAUTH_INFO_REQUEST: u8 = 60;
    /// RFC 4256 §5.
    pub const USERAUTH_INFO_RESPONSE: u8 = 61;
    /// RFC 4254 §4.
    pub const GLOBAL_REQUEST: u8 = 80;
    /// RFC 4254 §4.
    pub const REQUEST_SUCCESS: u8 = 81;
    /// RFC 4254 §4.
    pub const REQUEST_FAILURE: u8 = 82;
    /// RFC 4254 §5.1.
    pub const CHANNEL_OPEN: u8 = 90;
    /// RFC 4254 §5.1.
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    /// RFC 4254 §5.1.
    pub const CHANNEL_OPEN_FAILURE: u8 = 92;
    /// RFC 4254 §5.2.
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    /// RFC 4254 §5.2.
    pub const CHANNEL_DATA: u8 = 94;
    /// RFC 4254 §5.2.
    pub const CHANNEL_EXTENDED_DATA: u8 = 95;
    /// RFC 4254 §5.3.
    pub const CHANNEL_EOF: u8 = 96;
    /// RFC 4254 §5.3.
    pub const CHANNEL_CLOSE: u8 = 97;
    /// RFC 4254 §5.4.
    pub const CHANNEL_REQUEST: u8 = 98;
    /// RFC 4254 §5.4.
    pub const CHANNEL_SUCCESS: u8 = 99;
    /// RFC 4254 §5.4.
    pub const CHANNEL_FAILURE: u8 = 100;
    /// `ping@openssh.com` (OpenSSH PROTOCOL §1.9).
    pub const PING: u8 = 192;
    /// `ping@openssh.com` (OpenSSH PROTOCOL §1.9).
    pub const PONG: u8 = 193;
}

/// Why bytes could not be read as the type that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends before the value does.
    #[error("message ends in the middle of a {0}")]
    Truncated(&'static str),
    /// Bytes are left where the message should have ended.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// A string that must be text is not UTF-8.
    #[error("text is not valid utf-8")]
    NotText,
    /// RFC 4251 §5: names are printable US-ASCII, separated by single commas, never empty.
    #[error("malformed name-list")]
    NameList,
    /// An `mpint` that must not be negative is.
    #[error("negative mpint")]
    NegativeMpint,
}

/// Reads SSH data types off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    whole: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            whole: bytes,
            position: 0,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.whole.len() - self.position
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes between `start`, a former [`position`](Reader::position), and here.
    ///
    /// # Panics
    /// If `start` lies ahead of the position.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.whole[start..self.position]
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.whole[self.position..];
        self.position = self.whole.len();
        rest
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }

    /// `byte`.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>("byte").map(|[byte]| byte)
    }

    /// `boolean`; RFC 4251 §5: "All non-zero values MUST be interpreted as TRUE".
    pub fn bool(&mut self) -> Result<bool, WireError> {
        self.array::<1>("boolean").map(|[byte]| byte != 0)
    }

    /// `uint32`.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array("uint32").map(u32::from_be_bytes)
    }

    /// `uint64`.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array("uint64").map(u64::from_be_bytes)
    }

    /// `len` bytes as they are.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        self.take(len, "run of bytes")
    }

    /// `string`: a length and that many bytes.
    pub fn string(&mut self) -> Result<&'a [u8], WireError> {
        let start = self.position;
        let len = self.array("string").map(u32::from_be_bytes)?;
        let bytes = usize::try_from(len)
            .ok()
            .and_then(|len| self.take(len, "string").ok());
        bytes.ok_or_else(|| {
            self.position = start;
            WireError::Truncated("string")
        })
    }

    /// Like [`string`](Reader::string), as the range of its bytes in the whole input.
    pub fn string_range(&mut self) -> Result<Range<usize>, WireError> {
        let len = self.string()?.len();
        Ok(self.position - len..self.position)
    }

    /// `string` that must be UTF-8.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.string()?).map_err(|_| WireError::NotText)
    }

    /// `mpint` ≥ 0, as its magnitude, big-endian, without leading zeros (empty for 0).
    pub fn mpint(&mut self) -> Result<&'a [u8], WireError> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(WireError::NegativeMpint);
        }
        Ok(without_leading_zeros(bytes))
    }

    /// `name-list`.
    pub fn name_list(&mut self) -> Result<NameList<'a>, WireError> {
        NameList::parse(self.string()?)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (array, _) = self.whole[self.position..]
            .split_first_chunk()
            .ok_or(WireError::Truncated(what))?;
        self.position += N;
        Ok(*array)
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let taken = self.whole[self.position..]
            .get(..len)
            .ok_or(WireError::Truncated(what))?;
        self.position += len;
        Ok(taken)
    }
}

/// A `name-list` (RFC 4251 §5): comma-separated names in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameList<'a>(&'a str);

impl<'a> NameList<'a> {
    /// Checks `bytes` as the content of a name-list.
    pub fn parse(bytes: &'a [u8]) -> Result<NameList<'a>, WireError> {
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::NameList)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WireError::NameList);
        }
        // RFC 4251 §5: "A name MUST have a non-zero length".
        if !text.is_empty() && text.split(',').any(str::is_empty) {
            return Err(WireError::NameList);
        }
        Ok(NameList(text))
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    /// Whether `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|listed| listed == name)
    }

    /// The first name.
    pub fn first(&self) -> Option<&'a str> {
        self.iter().next()
    }

    /// The list as it was written.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Appends SSH data types to a buffer.
pub trait Writer {
    /// `byte`.
    fn put_u8(&mut self, value: u8);
    /// `boolean`.
    fn put_bool(&mut self, value: bool);
    /// `uint32`.
    fn put_u32(&mut self, value: u32);
    /// `uint64`.
    fn put_u64(&mut self, value: u64);
    /// Bytes as they are.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// `string`.
    ///
    /// # Panics
    /// If `bytes` is 4 GiB or longer.
    fn put_string(&mut self, bytes: impl AsRef<[u8]>);
    /// `mpint` of a non-negative number, given as its magnitude, big-endian; leading zeros are dropped.
    fn put_mpint(&mut self, magnitude: &[u8]);
    /// `name-list`.
    fn put_name_list<'n>(&mut self, names: impl IntoIterator<Item = &'n str>);
    /// `string` whose content `content` appends.
    fn put_nested(&mut self, content: impl FnOnce(&mut Self));
}

impl Writer for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_string(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.put_u32(length(bytes.len()));
        self.extend_from_slice(bytes);
    }

    fn put_mpint(&mut self, magnitude: &[u8]) {
        let magnitude = without_leading_zeros(magnitude);
        // RFC 4251 §5: "If the most significant bit would be set for a positive number, the number
        // MUST be preceded by a zero byte."
        let sign = magnitude.first().is_some_and(|first| first & 0x80 != 0);
        self.put_u32(length(magnitude.len() + usize::from(sign)));
        if sign {
            self.push(0);
        }
        self.extend_from_slice(magnitude);
    }

    fn put_name_list<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        self.put_nested(|out| {
            for (i, name) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
            }
        });
    }

    fn put_nested(&mut self, content: impl FnOnce(&mut Vec<u8>)) {
        let start = self.len();
        self.put_u32(0);
        content(self);
        let written = length(self.len() - start - 4);
        self[start..start + 4].copy_from_slice(&written.to_be_bytes());
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an SSH string is shorter than 4 GiB")
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mpints_are_written_as_in_rfc_4251() {
        let written = |magnitude: &[u8]| {
            let mut out = Vec::new();
            out.put_mpint(magnitude);
            out
        };
        assert_eq!(written(&[]), [0, 0, 0, 0]);
        assert_eq!(written(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(
            written(&[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7]),
            [0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7]
        );
        assert_eq!(written(&[0, 0, 1]), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_negative_mpint_is_refused() {
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0x80]).mpint(),
            Err(WireError::NegativeMpint)
        );
    }

    #[test]
    fn a_string_longer_than_the_message_leaves_the_position() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(reader.string(), Err(WireError::Truncated("string")));
        assert_eq!(reader.position(), 0);
    }

    #[test]
    fn name_lists_with_empty_or_unprintable_names_are_refused() {
        for bad in [&b"a,,b"[..], b",a", b"a,", b",", b"a b", b"a\0b", b"\xff"] {
            assert_eq!(NameList::parse(bad), Err(WireError::NameList), "{bad:?}");
        }
        assert_eq!(NameList::parse(b"").unwrap().iter().count(), 0);
        let list = NameList::parse(b"b,a@x.org").unwrap();
        assert_eq!(list.first(), Some("b"));
        assert!(list.contains("a@x.org") && !list.contains("a"));
    }

    #[test]
    fn what_is_left_over_is_counted() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u8().unwrap();
        assert_eq!(reader.finish(), Err(WireError::Trailing(2)));
        assert_eq!(reader.rest(), [2, 3]);
        reader.finish().unwrap();
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            byte: u8, flag: bool, short: u32, long: u64, string: Vec<u8>,
            number: Vec<u8>, names in proptest::collection::vec("[a-z0-9@.-]{1,20}", 0..5),
        ) {
            let mut out = Vec::new();
            out.put_u8(byte);
            out.put_bool(flag);
            out.put_u32(short);
            out.put_u64(long);
            out.put_nested(|out| out.put_string(&string));
            out.put_mpint(&number);
            out.put_name_list(names.iter().map(String::as_str));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u8().unwrap(), byte);
            prop_assert_eq!(reader.bool().unwrap(), flag);
            prop_assert_eq!(reader.u32().unwrap(), short);
            prop_assert_eq!(reader.u64().unwrap(), long);
            let nested = reader.string().unwrap();
            prop_assert_eq!(Reader::new(nested).string().unwrap(), &string[..]);
            prop_assert_eq!(reader.mpint().unwrap(), without_leading_zeros(&number));
            prop_assert!(reader.name_list().unwrap().iter().eq(names.iter().map(String::as_str)));
            reader.finish().unwrap();
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.string().is_ok() {}
            let _ = reader.clone().mpint();
            let _ = reader.clone().name_list();
            let _ = reader.clone().u64();
            let _ = reader.rest();
        }
    }
}
