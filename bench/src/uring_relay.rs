//! The floor: a bare TCP relay on io_uring that does a proxy's AES-GCM on every byte and nothing else.
//!
//! Between `ssh` and `sshd` it passes their connection as it stands, and besides opens and seals each piece once
//! under keys of its own. No proxy that terminates both sides can cost less with the same reads and writes: what it costs above
//! this is protocol, policy and recording.

use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use weir_crypto::aes_gcm::{AesGcm, TAG_LEN};

/// How much a read asks for: enough for keystrokes, for a handshake, for bulk. A connection moves up when a read fills its
/// buffer, and down to the first when one leaves most of it empty, so that a read that waits holds little.
const READ_BYTES: [usize; 3] = [512, 4096, 256 * 1024];
/// The largest packet that OpenSSH makes of bulk data.
const PACKET_BYTES: usize = 32 * 1024;

/// Relays connections to `listen` on to `target`, with one io_uring per worker, until the process ends.
///
/// # Errors
/// If the address cannot be bound or io_uring is not to be had.
pub fn serve(listen: SocketAddr, target: SocketAddr, workers: usize) -> Result<()> {
    let workers: Vec<_> = (0..workers.max(1))
        .map(|_| thread::spawn(move || worker(listen, target)))
        .collect();
    for worker in workers {
        worker.join().expect("a worker never panics")?;
    }
    Ok(())
}

fn worker(listen: SocketAddr, target: SocketAddr) -> Result<()> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .build()
        .context("no io_uring here")?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        loop {
            let (client, _) = listener.accept().await.context("accept failed")?;
            monoio::spawn(async move {
                // A connection that fails ends; its client sees that, and nobody else is concerned.
                if let Ok(server) = TcpStream::connect_addr(target).await {
                    join(client, server);
                }
            });
        }
    })
}

fn join(client: TcpStream, server: TcpStream) {
    for stream in [&client, &server] {
        // Without it the echo of a keystroke waits for an acknowledgement; where it fails, that is what is measured.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    monoio::spawn(pass(from_client, to_server));
    monoio::spawn(pass(from_server, to_client));
}

/// Passes one direction until its end or an error, then shuts the far side's writing down.
async fn pass(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRent) {
    let mut cipher = Recrypt::new();
    let mut size = READ_BYTES[0];
    loop {
        let (read, returned) = from.read(buffer::take(size).slice_mut(..size)).await;
        let input = returned.into_inner();
        let Ok(count @ 1..) = read else { break };
        let mut output = buffer::take(count);
        cipher.recrypt(&input[..count], &mut output);
        buffer::give(input);
        let (written, returned) = to.write_all(output.slice_mut(..count)).await;
        buffer::give(returned.into_inner());
        if written.is_err() {
            break;
        }
        size = next_size(size, count);
    }
    let _ = to.shutdown().await;
}

fn next_size(size: usize, count: usize) -> usize {
    let [idle, middle, bulk] = READ_BYTES;
    match count {
        _ if count < idle => idle,
        _ if count < size => size,
        _ if size == idle => middle,
        _ => bulk,
    }
}

/// Buffers with room for so many bytes and a tag; large ones are kept, as many per worker as were ever busy at once.
mod buffer {
    use std::cell::RefCell;

    use super::{READ_BYTES, TAG_LEN};

    const LARGE: usize = READ_BYTES[2] + TAG_LEN;

    thread_local! {
        static LARGE_FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    /// What the buffer holds is left over from its last use.
    pub(super) fn take(bytes: usize) -> Vec<u8> {
        if bytes <= READ_BYTES[1] {
            return vec![0; bytes + TAG_LEN];
        }
        let mut buffer = LARGE_FREE
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; LARGE]);
        // A read leaves a buffer as long as what it read.
        buffer.resize(LARGE, 0);
        buffer
    }

    pub(super) fn give(buffer: Vec<u8>) {
        if buffer.capacity() >= LARGE {
            LARGE_FREE.with_borrow_mut(|free| free.push(buffer));
        }
    }
}

/// Seals and opens, so that the bytes come out as they went in. The order of the two is a proxy's reversed; their cost is not.
struct Recrypt {
    key: AesGcm,
    packets: u64,
}

impl Recrypt {
    fn new() -> Self {
        Recrypt {
            key: AesGcm::new(&[7; 16]),
            packets: 0,
        }
    }

    /// Fills the start of `output` with `input`, and [`TAG_LEN`] bytes more that mean nothing.
    fn recrypt(&mut self, input: &[u8], output: &mut [u8]) {
        for (i, packet) in input.chunks(PACKET_BYTES).enumerate() {
            // Each packet's tag is overwritten by the next packet.
            let start = i * PACKET_BYTES;
            let sealed = &mut output[start..start + packet.len() + TAG_LEN];
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&self.packets.to_be_bytes());
            self.packets += 1;
            self.key.seal_to(&nonce, b"size", packet, sealed);
            self.key
                .open_in_place(&nonce, b"size", sealed)
                .expect("what was just sealed opens");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut cipher = Recrypt::new();
        for len in [1, 36, PACKET_BYTES, PACKET_BYTES + 1]
            .into_iter()
            .chain(READ_BYTES)
        {
            let input: Vec<u8> = (0..=255).cycle().take(len).collect();
            let mut output = buffer::take(len);
            cipher.recrypt(&input, &mut output);
            assert_eq!(output[..len], input);
            buffer::give(output);
        }
    }

    #[test]
    fn reads_grow_with_bulk_and_shrink_when_it_ends() {
        let [idle, middle, bulk] = READ_BYTES;
        assert_eq!(next_size(idle, 36), idle);
        assert_eq!(next_size(idle, idle), middle);
        assert_eq!(next_size(middle, 1200), middle);
        assert_eq!(next_size(middle, middle), bulk);
        assert_eq!(next_size(bulk, 38_000), bulk);
        assert_eq!(next_size(bulk, bulk), bulk);
        assert_eq!(next_size(bulk, 100), idle);
    }
}
