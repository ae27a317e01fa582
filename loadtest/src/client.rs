//! One SSH client connection without sockets: bytes in, messages out.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_crypto::random::SystemRandom;
use weir_ssh::{Env, Error, Event, Hop, HostKeyCheck, Timestamp, TransportConfig};

/// The client's side of a transport connection, with the buffers that a caller would otherwise keep.
pub struct Client {
    hop: Hop,
    random: SystemRandom,
    received: Vec<u8>,
    /// Bytes of `received` that are done with.
    consumed: usize,
    out: Vec<u8>,
    /// Said while keys were being renewed; bounded by what one exec says, a handful of messages.
    waiting: VecDeque<Vec<u8>>,
}

/// What the server has done.
#[derive(Debug)]
pub enum Heard {
    /// The first keys are in use.
    Ready,
    /// A message of the layers above the transport.
    Message(Vec<u8>),
    /// The server has ended the connection in words.
    Disconnected {
        /// RFC 4253 §11.1.
        reason: u32,
        /// Its words.
        text: String,
    },
}

impl Client {
    /// Begins a connection: what it says first is in [`Client::output`].
    pub fn start(config: Arc<TransportConfig>, check: Box<dyn HostKeyCheck>, now: Timestamp) -> Self {
        let mut client = Self {
            hop: Hop::client(config, check),
            random: SystemRandom,
            received: Vec::new(),
            consumed: 0,
            out: Vec::new(),
            waiting: VecDeque::new(),
        };
        client.hop.start(
            &mut Env {
                now,
                random: &mut client.random,
            },
            &mut client.out,
        );
        client
    }

    /// Bytes to be sent; the caller takes them out.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes bytes that came from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.drain(..self.consumed);
        self.consumed = 0;
        self.received.extend_from_slice(bytes);
    }

    /// The next thing heard in what was received; `None` if more bytes are needed.
    ///
    /// # Errors
    /// As [`Hop::receive`].
    pub fn next(&mut self, now: Timestamp) -> Result<Option<Heard>, Error> {
        loop {
            let unread = &mut self.received[self.consumed..];
            let mut env = Env {
                now,
                random: &mut self.random,
            };
            let step = self.hop.receive(&mut env, unread, &mut self.out)?;
            let heard = match step.event {
                Event::NeedMore { .. } => return Ok(None),
                Event::Handled | Event::RekeyStarted | Event::KeysInstalled { first: false } => None,
                Event::KeysInstalled { first: true } => Some(Heard::Ready),
                Event::Packet(packet) => Some(Heard::Message(unread[packet.payload].to_vec())),
                Event::Disconnected { reason, text } => Some(Heard::Disconnected { reason, text }),
            };
            self.consumed += step.consumed;
            self.say_what_waits(now)?;
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }

    /// Says a message, or keeps it until the renewal of keys that is going on is over.
    ///
    /// # Errors
    /// As [`Hop::seal`].
    pub fn say(&mut self, now: Timestamp, payload: &[u8]) -> Result<(), Error> {
        self.waiting.push_back(payload.to_vec());
        self.say_what_waits(now)
    }

    /// When [`Client::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.hop.next_timeout()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// As [`Hop::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) -> Result<(), Error> {
        self.hop.handle_timeout(
            &mut Env {
                now,
                random: &mut self.random,
            },
            &mut self.out,
        )
    }

    /// The transport itself.
    pub fn hop(&mut self) -> &mut Hop {
        &mut self.hop
    }

    fn say_what_waits(&mut self, now: Timestamp) -> Result<(), Error> {
        while self.hop.can_seal() {
            let Some(payload) = self.waiting.pop_front() else {
                break;
            };
            self.hop.seal(
                &mut Env {
                    now,
                    random: &mut self.random,
                },
                &payload,
                &mut self.out,
            )?;
        }
        Ok(())
    }
}
