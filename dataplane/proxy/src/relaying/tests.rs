//! Two pumps between two scripted ends, over loopback, on one thread.

use std::cell::Cell;
use std::sync::Arc;

use futures_util::future::join;
use monoio::io::{AsyncReadRentExt, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use weir_api::dataplane::SessionStatus;
use weir_relay::Upstream;
use weir_ssh::certificate::HostKeyPolicy;
use weir_ssh::key::SigningKey;
use weir_ssh::wire::{Reader, Writer, msg};
use weir_ssh::{HostKey, TransportConfig};

use super::*;
use crate::buffer::{BufferPool, LARGE};
use crate::clock::Clock;
use crate::recorder::tests::{Options, SYNC, world};
use crate::session_log::tests::log_of;
use crate::spool::faults;
use crate::testing::run;

/// One end of a connection on which keys are installed.
struct End {
    hop: HopStream,
    received: Received,
    key_changes: usize,
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (near, accepted) = join(TcpStream::connect_addr(address), listener.accept()).await;
    (near.unwrap(), accepted.unwrap().0)
}

/// A client and a server that have exchanged keys and let each other in.
async fn connection(pool: &Arc<BufferPool>, client: TransportConfig) -> (End, End) {
    let (near, far) = sockets().await;
    let key = HostKey::plain(SigningKey::ed25519_from_seed(&[9; 32]));
    let client = Hop::client(Arc::new(client), Box::new(HostKeyPolicy::Unchecked.at(0)));
    let server = Hop::server(Arc::new(TransportConfig::server()), Arc::new([key]));
    let clock = Clock::start();
    let end = |socket, hop| End {
        hop: HopStream::new(socket, hop, clock, Rc::default()),
        received: Received::new(Arc::clone(pool)),
        key_changes: 0,
    };
    let (mut client, mut server) = (end(near, client), end(far, server));
    join(client.install_keys(), server.install_keys()).await;
    // What comes right behind the keys (EXT_INFO) is dealt with once something else has come.
    client.send(&[msg::SERVICE_REQUEST]).await;
    server.next().await;
    server.send(&[msg::SERVICE_ACCEPT]).await;
    client.next().await;
    for end in [&client, &server] {
        end.hop.step(|hop, _, _| hop.set_authenticated());
    }
    (client, server)
}

impl End {
    async fn install_keys(&mut self) {
        self.hop.start();
        while !matches!(
            self.hop.next(&mut self.received).await.unwrap(),
            Incoming::KeysInstalled
        ) {}
    }

    async fn send(&self, payload: &[u8]) {
        self.hop.seal(payload).unwrap();
        self.hop.sent().await;
    }

    async fn next(&mut self) -> Vec<u8> {
        loop {
            if let Incoming::Packet { position, packet } = self.hop.next(&mut self.received).await.unwrap() {
                return self.received.at(position, &packet.payload).to_vec();
            }
        }
    }

    /// The same for an end that goes on sending meanwhile, as sshd does.
    async fn next_while_sending(&mut self) -> Vec<u8> {
        loop {
            match self.hop.advance(&mut self.received).unwrap() {
                Some(Incoming::Packet { position, packet }) => {
                    return self.received.at(position, &packet.payload).to_vec();
                }
                Some(Incoming::KeysInstalled) => self.key_changes += 1,
                Some(Incoming::MaySeal) => {}
                None => {
                    let sending = async {
                        self.hop.sent().await;
                        std::future::pending::<()>().await;
                    };
                    select(pin!(self.hop.read(&mut self.received)), pin!(sending)).await;
                }
            }
        }
    }
}

/// Opens session channel 0 and accepts it as channel 0.
async fn open_channel(client: &mut End, target: &mut End) {
    let mut open = vec![msg::CHANNEL_OPEN];
    open.put_string("session");
    let mut confirmation = vec![msg::CHANNEL_OPEN_CONFIRMATION];
    confirmation.put_u32(0);
    for out in [&mut open, &mut confirmation] {
        [0, 1 << 30, 32_768]
            .into_iter()
            .for_each(|value| out.put_u32(value));
    }
    client.send(&open).await;
    assert_eq!(target.next().await[0], msg::CHANNEL_OPEN);
    target.send(&confirmation).await;
    assert_eq!(client.next().await, confirmation);
}

/// Lets the runtime look at all its sockets: a byte goes over one of its own and comes.
async fn turn(near: &mut TcpStream, far: &mut TcpStream) {
    // Read first: what is there already would be had without a look at the others.
    let (read, written) = join(far.read_exact(vec![0]), near.write_all(vec![0])).await;
    read.0.unwrap();
    written.0.unwrap();
}

/// Both hops of a session, and the ends that talk through it.
struct Scene {
    client: End,
    target: End,
    relaying: Relaying,
    from_client: Received,
    from_target: Received,
}

impl Scene {
    /// `toward_target` is what this side's hop to the target goes by.
    async fn new(log: SessionLog, toward_target: TransportConfig) -> Self {
        let pool = BufferPool::new(64);
        let (client, own_server) = connection(&pool, TransportConfig::client()).await;
        let (own_client, target) = connection(&pool, toward_target).await;
        let mut relay = Relay::new(false);
        relay.attach(Upstream::default());
        let state = State {
            relay,
            access: Box::new(Access::recorded()),
            log,
            actions: Actions::new(),
            deferred: Vec::new(),
            slot: None,
        };
        Self {
            client,
            target,
            relaying: Relaying {
                client: own_server.hop,
                target: own_client.hop,
                exchanges: Notify::new(),
                state: RefCell::new(state),
            },
            from_client: own_server.received,
            from_target: own_client.received,
        }
    }

    /// Relays while the two ends do what `script` says, which must be over before the session is.
    async fn play<T>(&mut self, script: impl AsyncFnOnce(&mut End, &mut End, &Relaying) -> T) -> T {
        let upward = pin!(self.relaying.pump(Side::Client, &mut self.from_client));
        let downward = pin!(self.relaying.pump(Side::Target, &mut self.from_target));
        let ends = pin!(script(&mut self.client, &mut self.target, &self.relaying));
        match select(select(upward, downward), ends).await {
            Either::Left((Either::Left((end, _)) | Either::Right((end, _)), _)) => {
                panic!("the session ended: {}", end.why)
            }
            Either::Right((outcome, _)) => outcome,
        }
    }
}

fn data_packet(piece: &[u8]) -> Vec<u8> {
    let mut packet = vec![msg::CHANNEL_DATA];
    packet.put_u32(0);
    packet.put_string(piece);
    packet
}

/// Without the wait for the recorder in the pump a download went on while the disk stood still, until the session was ended
/// for having handed over more than the recorder has room for.
#[test]
fn recorder_stall_stops_reads_before_any_byte_is_lost() {
    const PACKETS: usize = 256;
    const PACKET_BYTES: usize = 32_000;
    const TURNS: usize = 500;
    let sent: Vec<u8> = (0..PACKETS * PACKET_BYTES)
        .map(|index| (index * index / 1_000).to_le_bytes()[0])
        .collect();
    let bound = Options::default().session_queue_bytes;
    assert!(sent.len() > 4 * bound, "a download far beyond the bound");

    let root = tempfile::tempdir().unwrap();
    let stall = faults::stall(&root.path().join("spool"));
    let world = world(root.path(), &Options::default());
    let log = log_of(world.begin(1, 0));
    // From here on the recorder takes nothing over.
    stall.reached(1);

    let scenario = async {
        let mut scene = Scene::new(log, TransportConfig::client()).await;
        let delivered = Cell::new(0);
        let got = scene
            .play(async |client, target, relaying| {
                open_channel(client, target).await;
                let download = async {
                    for piece in sent.chunks(PACKET_BYTES) {
                        target.send(&data_packet(piece)).await;
                    }
                };
                let reading = async {
                    let mut got = Vec::new();
                    while got.len() < sent.len() {
                        let packet = client.next().await;
                        assert_eq!(packet[0], msg::CHANNEL_DATA);
                        let mut reader = Reader::new(&packet[5..]);
                        got.extend_from_slice(reader.string().unwrap());
                        delivered.set(got.len());
                    }
                    got
                };
                let watching = async {
                    let (mut near, mut far) = sockets().await;
                    while relaying.state.borrow().log.ready().is_none() {
                        turn(&mut near, &mut far).await;
                    }
                    for _ in 0..TURNS {
                        turn(&mut near, &mut far).await;
                    }
                    // All that was read is recorded before it is sent, and the client takes everything.
                    let read = delivered.get();
                    assert!(
                        (1..=bound + LARGE).contains(&read),
                        "{read} bytes were read, the bound is {bound}"
                    );
                    drop(stall);
                };
                join(join(download, reading), watching).await.0.1
            })
            .await;
        assert!(got == sent, "delivered as it was sent");
        scene.relaying.into_log()
    };
    let log = run(scenario);
    log.finish(SessionStatus::Complete, "over");
    assert!(
        world.output(&world.next_finished()) == sent,
        "recorded as it was sent"
    );
    world.recorder.shutdown();
}

/// What the target said stays here until the disk has it, and nothing else does.
#[test]
fn nothing_reaches_the_client_before_its_record_is_durable() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let log = log_of(world.begin_with(1, SYNC).unwrap());
    let scenario = async {
        let mut scene = Scene::new(log, TransportConfig::client()).await;
        scene
            .play(async |client, target, relaying| {
                open_channel(client, target).await;
                let stall = faults::stall(&root.path().join("spool"));
                for number in 0..3 {
                    target.send(&data_packet(&[number])).await;
                }
                let (mut near, mut far) = sockets().await;
                while relaying.client.held() == 0 {
                    turn(&mut near, &mut far).await;
                }
                stall.reached(1);
                for number in 0..20 {
                    // Nobody records what is typed here, so it does not wait.
                    client.send(&data_packet(&[number])).await;
                    assert_eq!(target.next().await, data_packet(&[number]));
                }
                let early = {
                    let next = pin!(client.next());
                    let turns = pin!(async {
                        for _ in 0..20 {
                            turn(&mut near, &mut far).await;
                        }
                    });
                    matches!(select(next, turns).await, Either::Left(_))
                };
                assert!(!early, "the disk does not have it");
                drop(stall);
                for number in 0..3 {
                    assert_eq!(client.next().await, data_packet(&[number]));
                }
            })
            .await;
        scene.relaying.into_log()
    };
    run(scenario).finish(SessionStatus::Complete, "over");
    assert_eq!(world.output(&world.next_finished()), [0, 1, 2]);
    world.recorder.shutdown();
}

/// The farewell could not be read behind a gap in the sequence: it takes the place of what nobody may see.
#[test]
fn user_is_told_instead_of_what_could_not_be_recorded() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let log = log_of(world.begin_with(1, SYNC).unwrap());
    let scenario = async {
        let mut scene = Scene::new(log, TransportConfig::client()).await;
        let stall = scene
            .play(async |client, target, relaying| {
                open_channel(client, target).await;
                let stall = faults::stall(&root.path().join("spool"));
                target.send(&data_packet(b"a secret")).await;
                let (mut near, mut far) = sockets().await;
                while relaying.client.held() == 0 {
                    turn(&mut near, &mut far).await;
                }
                stall
            })
            .await;
        let failed = RelayEnd::unrecorded(RecordError::Stopped);
        scene.relaying.say_goodbye(&failed).await;
        let told = scene.client.hop.next(&mut scene.client.received).await;
        let Err(HopEnd::Disconnected { text, .. }) = told else {
            panic!("the client got something else");
        };
        assert!(text.starts_with("session recording failed: "), "{text}");
        drop(stall);
        scene.relaying.into_log()
    };
    run(scenario).finish(SessionStatus::Interrupted, "over");
    world.recorder.shutdown();
}

/// A pump that found a batch for its own peer unsent took no packet and waited for nothing: a ^C in a stuck screen of output
/// made the core go round for ever.
#[test]
fn interrupt_passes_while_the_output_before_it_is_stuck() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let log = log_of(world.begin(1, 0));
    let scenario = async {
        let mut scene = Scene::new(log, TransportConfig::client()).await;
        let sending = scene.relaying.client.fd();
        rustix::net::sockopt::set_socket_send_buffer_size(sending, 64 * 1024).unwrap();
        scene
            .play(async |client, target, relaying| {
                open_channel(client, target).await;
                let output = data_packet(&[7; 32_000]);
                while relaying.client.pending() < BATCH_BYTES {
                    relaying.client.seal(&output).unwrap();
                    relaying.client.send();
                }
                client.send(&data_packet(b"\x03")).await;
                let interrupt = monoio::time::timeout(Duration::from_secs(30), target.next()).await;
                assert_eq!(interrupt.expect("it arrives"), data_packet(b"\x03"));
            })
            .await;
        scene.relaying.into_log()
    };
    run(scenario).finish(SessionStatus::Complete, "over");
    world.recorder.shutdown();
}

/// A pump used to wait for the client to take its bytes before it read the target, also while the target was asked for new
/// keys: a client that wrote before it read was then blocked in a write that waited for the very exchange.
#[test]
fn client_that_writes_before_it_reads_outlives_an_exchange_with_the_target() {
    const UP: usize = 24 * 1024 * 1024;
    const DOWN: usize = 2 * 1024 * 1024;
    const SOCKET: usize = 64 * 1024;
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let log = log_of(world.begin(1, 0));
    let rekey = weir_ssh::RekeyLimits {
        bytes: 6 * 1024 * 1024,
        ..weir_ssh::RekeyLimits::default()
    };
    let toward_target = TransportConfig {
        rekey,
        ..TransportConfig::client()
    };
    let scenario = async {
        let mut scene = Scene::new(log, toward_target.clone()).await;
        // What the client does not read stays on this side of its socket.
        let (reading, sending) = (scene.client.hop.fd(), scene.relaying.client.fd());
        rustix::net::sockopt::set_socket_recv_buffer_size(reading, SOCKET).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(sending, SOCKET).unwrap();
        scene
            .play(async |client, target, relaying| {
                open_channel(client, target).await;
                let piece = vec![7; 32_000];
                let packet = data_packet(&piece);
                let below = async {
                    for _ in 0..DOWN / piece.len() {
                        target.hop.seal(&packet).unwrap();
                    }
                    let mut read = 0;
                    while read < UP / piece.len() {
                        // Sends and reads, as sshd does.
                        assert_eq!(target.next_while_sending().await[0], msg::CHANNEL_DATA);
                        read += 1;
                    }
                };
                let above = async {
                    while relaying.client.pending() == 0 {
                        monoio::time::sleep(Duration::from_millis(1)).await;
                    }
                    for _ in 0..UP / piece.len() {
                        client.send(&packet).await;
                    }
                    for _ in 0..DOWN / piece.len() {
                        assert_eq!(client.next().await[0], msg::CHANNEL_DATA);
                    }
                };
                let both = join(below, above);
                let in_time = monoio::time::timeout(Duration::from_secs(30), both).await;
                assert!(in_time.is_ok(), "nothing moves any more");
                // Each is begun when a batch is over.
                let exchanges = UP / (6 * 1024 * 1024 + BATCH_BYTES);
                assert!(
                    target.key_changes >= exchanges,
                    "{} exchanges of our own while {exchanges} were due",
                    target.key_changes
                );
            })
            .await;
        scene.relaying.into_log()
    };
    run(scenario).finish(SessionStatus::Complete, "over");
    world.recorder.shutdown();
}

/// RFC 4253 §11.1 leaves most numbers to whoever needs one: what a peer says is passed on, not translated.
#[test]
fn farewell_comes_as_it_was_said_and_after_what_was_sent_before_it() {
    for leaves in [Side::Target, Side::Client] {
        let root = tempfile::tempdir().unwrap();
        let world = world(root.path(), &Options::default());
        let log = log_of(world.begin(1, 0));
        let scenario = async {
            let scene = Scene::new(log, TransportConfig::client()).await;
            let Scene {
                mut client,
                mut target,
                relaying,
                mut from_client,
                mut from_target,
            } = scene;
            let relayed = async {
                let upward = pin!(relaying.pump(Side::Client, &mut from_client));
                let downward = pin!(relaying.pump(Side::Target, &mut from_target));
                let end = match select(upward, downward).await {
                    Either::Left((end, _)) | Either::Right((end, _)) => end,
                };
                relaying.say_goodbye(&end).await;
            };
            let script = async {
                open_channel(&mut client, &mut target).await;
                let (leaving, left) = match leaves {
                    Side::Client => (&mut client, &mut target),
                    Side::Target => (&mut target, &mut client),
                };
                let last = data_packet(&[7; 20_000]);
                for _ in 0..50 {
                    leaving.hop.seal(&last).unwrap();
                }
                leaving
                    .hop
                    .disconnect(weir_ssh::DisconnectReason::Other(4_000_000_001), "so long");
                leaving.hop.sent().await;
                for _ in 0..50 {
                    assert_eq!(left.next().await, last);
                }
                match left.hop.next(&mut left.received).await {
                    Err(HopEnd::Disconnected { reason, text }) => {
                        assert_eq!((reason, &*text), (4_000_000_001, "so long"), "{leaves}");
                    }
                    _ => panic!("{leaves}: the farewell does not arrive"),
                }
            };
            join(relayed, script).await;
            relaying.into_log()
        };
        run(scenario).finish(SessionStatus::Complete, "over");
        world.recorder.shutdown();
    }
}
