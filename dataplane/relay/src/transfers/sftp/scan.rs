//! SFTP packets, taken apart as they pass, whatever pieces they come in.
//!
//! ```text
//!   uint32 length │ byte type │ fields, as its type has them │ what nobody reads
//!                             └▶ Step::Head                  └▶ skipped
//!                                and, where the last field is a file's bytes,
//!                                Step::Bulk… Step::BulkEnd
//! ```
//!
//! Invariant: `left` is what of the packet has not come yet, so no field reaches beyond its packet. Kept are the numbers
//! and the beginnings of two names, whatever lengths the peer gives.

use super::super::Fault;
use super::super::report::PATH_MAX;
use super::packet::{self, Field};
use crate::Side;

/// The longest packet that is believed. OpenSSH ends at 256 KiB, and the text of a login script read as a length is never
/// below 512 MiB.
pub(super) const PACKET_MAX: u32 = 16 * 1024 * 1024;

/// Bytes that a handle may have (draft-ietf-secsh-filexfer-02 §6.3: "up to 256").
const HANDLE_MAX: u32 = 256;

/// One direction of an SFTP connection.
pub(super) struct Scanner {
    from: Side,
    /// The version of the protocol in use.
    pub(super) version: u32,
    at: At,
    /// Bytes of the packet that have not come yet.
    left: u32,
    fields: &'static [Field],
    number: u64,
    /// Bytes of `number` that have come.
    gathered: u8,
    head: Head,
    is_first: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Length,
    Kind,
    Field,
    /// In a string, of which so many bytes are to come.
    Text(u32),
    Bulk(u32),
    Skip,
}

/// The fields of one packet.
#[derive(Default)]
pub(super) struct Head {
    pub(super) kind: u8,
    /// What an `EXTENDED` request asks for.
    pub(super) extension: packet::Extension,
    /// The version under which it was read.
    pub(super) version: u32,
    /// Length of the file's bytes that follow.
    pub(super) bulk: u32,
    numbers: [u64; 4],
    numbers_read: usize,
    texts: [Text; 2],
    texts_read: usize,
}

/// A string, or its beginning.
#[derive(Default)]
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) is_cut: bool,
}

/// What has become known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'d> {
    /// All fields of a packet: [`Scanner::head`].
    Head,
    /// Some of a file's bytes.
    Bulk(&'d [u8]),
    /// All of a file's bytes have come.
    BulkEnd,
}

impl Head {
    /// The field of that place among the numbers; 0 if the packet has none there.
    pub(super) fn number(&self, place: usize) -> u64 {
        self.numbers[place]
    }

    /// The same, of a field that has 32 bits on the wire.
    pub(super) fn short(&self, place: usize) -> u32 {
        u32::try_from(self.numbers[place]).unwrap_or(u32::MAX)
    }

    pub(super) fn id(&self) -> u32 {
        self.short(0)
    }

    pub(super) fn text(&self, place: usize) -> &Text {
        &self.texts[place]
    }

    fn clear(&mut self, kind: u8, version: u32) {
        self.kind = kind;
        self.version = version;
        self.bulk = 0;
        self.extension = packet::Extension::Unknown;
        self.numbers = [0; 4];
        self.numbers_read = 0;
        self.texts_read = 0;
        for text in &mut self.texts {
            text.bytes.clear();
            text.is_cut = false;
        }
    }
}

impl Scanner {
    pub(super) fn new(from: Side) -> Scanner {
        Scanner {
            from,
            version: 3,
            at: At::Length,
            left: 0,
            fields: &[],
            number: 0,
            gathered: 0,
            head: Head::default(),
            is_first: true,
        }
    }

    /// The packet that [`Step::Head`] was told of.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Takes bytes off the front of `input` until something is known; `None` when all are taken.
    pub(super) fn step<'d>(&mut self, input: &mut &'d [u8]) -> Result<Option<Step<'d>>, Fault> {
        // Each turn takes a byte or goes on to the next place, and only a packet's end leads back to the first.
        loop {
            match self.at {
                At::Length => {
                    let Some(length) = self.gather(4, input) else {
                        return Ok(None);
                    };
                    self.begin(length)?;
                }
                At::Kind => {
                    let Some(kind) = self.take(1, input).first().copied() else {
                        return Ok(None);
                    };
                    self.open(kind)?;
                }
                At::Field => {
                    let Some((field, rest)) = self.fields.split_first() else {
                        self.at = At::Skip;
                        return Ok(Some(Step::Head));
                    };
                    if *field == Field::Size && self.head.short(1) & packet::ATTR_SIZE == 0 {
                        self.fields = rest;
                        continue;
                    }
                    let width = if matches!(field, Field::U64 | Field::Size) {
                        8
                    } else {
                        4
                    };
                    if self.left + u32::from(self.gathered) < u32::from(width) {
                        return Err(self.short());
                    }
                    let Some(number) = self.gather_field(width, input) else {
                        return Ok(None);
                    };
                    self.fields = rest;
                    if self.field(*field, number)? {
                        return Ok(Some(Step::Head));
                    }
                }
                At::Text(0) => {
                    self.end_text();
                    self.at = At::Field;
                }
                At::Text(to_come) => {
                    let piece = self.take(to_come, input);
                    if piece.is_empty() {
                        return Ok(None);
                    }
                    let text = &mut self.head.texts[self.head.texts_read];
                    let room = PATH_MAX.saturating_sub(text.bytes.len()).min(piece.len());
                    text.bytes.extend_from_slice(&piece[..room]);
                    text.is_cut |= room < piece.len();
                    self.at = At::Text(to_come - length(piece));
                }
                At::Bulk(0) => {
                    self.at = At::Skip;
                    return Ok(Some(Step::BulkEnd));
                }
                At::Bulk(to_come) => {
                    let piece = self.take(to_come, input);
                    if piece.is_empty() {
                        return Ok(None);
                    }
                    self.at = At::Bulk(to_come - length(piece));
                    return Ok(Some(Step::Bulk(piece)));
                }
                At::Skip if self.left == 0 => self.at = At::Length,
                At::Skip => {
                    if self.take(self.left, input).is_empty() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn begin(&mut self, length: u64) -> Result<(), Fault> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length == 0 || length > PACKET_MAX {
            return Err(Fault::new(format!(
                "got a packet of {length} bytes while expecting 1 to {PACKET_MAX}"
            )));
        }
        self.left = length;
        self.at = At::Kind;
        Ok(())
    }

    fn open(&mut self, kind: u8) -> Result<(), Fault> {
        let expected = match self.from {
            Side::Client => packet::INIT,
            Side::Target => packet::VERSION,
        };
        if std::mem::take(&mut self.is_first) && kind != expected {
            return Err(Fault::new(format!(
                "got a first packet of type {kind} while expecting {expected}"
            )));
        }
        self.head.clear(kind, self.version);
        self.fields = packet::fields(self.from, kind, self.version);
        self.at = At::Field;
        Ok(())
    }

    /// Deals with a field's number, which for a string is its length; whether the head is whole with it.
    fn field(&mut self, field: Field, number: u64) -> Result<bool, Fault> {
        let length = u32::try_from(number).unwrap_or(u32::MAX);
        match field {
            Field::U32 | Field::U64 | Field::Size => {
                self.head.numbers[self.head.numbers_read] = number;
                self.head.numbers_read += 1;
            }
            Field::Handle if length > HANDLE_MAX => {
                return Err(Fault::new(format!(
                    "got a handle of {length} bytes while expecting at most {HANDLE_MAX}"
                )));
            }
            Field::Handle | Field::Path | Field::Name | Field::Bulk if length > self.left => {
                return Err(self.short());
            }
            Field::Handle | Field::Path | Field::Name => self.at = At::Text(length),
            Field::Bulk => {
                self.head.bulk = length;
                self.at = At::Bulk(length);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A string is whole. The name of an extension says which fields follow, and makes room for theirs unless it is all
    /// that will be known.
    fn end_text(&mut self) {
        self.head.texts_read += 1;
        if self.head.kind != packet::EXTENDED || self.head.texts_read != 1 || !self.fields.is_empty() {
            return;
        }
        if self.head.extension != packet::Extension::Unknown {
            return;
        }
        let name = &mut self.head.texts[0];
        let (extension, fields) = packet::extension(&name.bytes);
        self.head.extension = extension;
        self.fields = fields;
        if extension != packet::Extension::Unknown {
            name.bytes.clear();
            name.is_cut = false;
            self.head.texts_read = 0;
        }
    }

    /// A number of `width` bytes of the packet, once all have come.
    fn gather_field(&mut self, width: u8, input: &mut &[u8]) -> Option<u64> {
        let before = input.len();
        let number = self.gather(width, input);
        self.left -= u32::try_from(before - input.len()).unwrap_or(0);
        number
    }

    fn gather(&mut self, width: u8, input: &mut &[u8]) -> Option<u64> {
        while self.gathered < width {
            let (&byte, rest) = input.split_first()?;
            *input = rest;
            self.number = self.number << 8 | u64::from(byte);
            self.gathered += 1;
        }
        self.gathered = 0;
        Some(std::mem::take(&mut self.number))
    }

    /// At most `wanted` bytes of the packet.
    fn take<'d>(&mut self, wanted: u32, input: &mut &'d [u8]) -> &'d [u8] {
        let wanted = usize::try_from(wanted.min(self.left)).unwrap_or(usize::MAX);
        let (taken, rest) = input.split_at(wanted.min(input.len()));
        *input = rest;
        self.left -= length(taken);
        taken
    }

    fn short(&self) -> Fault {
        Fault::new(format!(
            "got a packet of type {} that is shorter than its fields",
            self.head.kind
        ))
    }
}

/// The length of a piece of a packet, which is never longer than [`PACKET_MAX`].
fn length(piece: &[u8]) -> u32 {
    u32::try_from(piece.len()).expect("a piece is no longer than its packet")
}
