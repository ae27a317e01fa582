//! What becomes of a batch's data on its way to the recorder.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ulid::Ulid;
use weir_api::BoxFuture;
use weir_api::ControlError;
use weir_api::dataplane::{
    AuditEvent, HostCertificate, HostCertificateRequest, SessionRecord, Snapshot, UpstreamCertificate,
    UpstreamCertificateRequest,
};

use super::*;
use crate::buffer::BufferPool;
use crate::recorder::tests::{Options, world};
use crate::spool::faults;

/// A control plane that listens to reports and does nothing.
struct Silent;

impl ControlPlane for Silent {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::default()
    }

    fn issue_upstream(
        &self,
        _: UpstreamCertificateRequest,
    ) -> BoxFuture<Result<UpstreamCertificate, ControlError>> {
        Box::pin(async { Err(ControlError::Unavailable("it is silent".to_owned())) })
    }

    fn certify_host(&self, _: HostCertificateRequest) -> BoxFuture<Result<HostCertificate, ControlError>> {
        Box::pin(async { Err(ControlError::Unavailable("it is silent".to_owned())) })
    }

    fn report(&self, _: Vec<AuditEvent>, _: Vec<SessionRecord>) {}

    fn report_durably(
        &self,
        _: Vec<AuditEvent>,
        _: Vec<SessionRecord>,
    ) -> BoxFuture<Result<(), ControlError>> {
        Box::pin(async { Err(ControlError::Unavailable("it is silent".to_owned())) })
    }

    fn recovered(&self) {}

    fn on_change(&self, _: Box<dyn Fn(u64) + Send + Sync>) {}

    fn on_inspect(&self, _: weir_api::Inspect) {}

    fn on_store(&self, _: weir_api::LookAtStore) {}

    fn on_watch(&self, _: weir_api::Watch) {}
}

/// The log of a session of which only the recording is kept.
pub(crate) fn log_of(recording: SessionRecording) -> SessionLog {
    SessionLog::over(subject(), Arc::new(Silent), Some(recording))
}

pub(crate) fn subject() -> Subject {
    let id = Ulid::from_parts(1, 1);
    Subject {
        id,
        session: id.to_string(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        node_address: "10.0.0.7:22".to_owned(),
        client: ([127, 0, 0, 1], 1).into(),
        recording: Some(weir_api::audit::RecordingMode::Async),
        start_us: 0,
    }
}

/// Whether a packet with so much data takes its receive buffer out with it.
fn is_lent(len: usize) -> bool {
    let root = tempfile::tempdir().unwrap();
    let stall = faults::stall(&root.path().join("spool"));
    let world = world(root.path(), &Options::default());
    let mut log = log_of(world.begin(1, 0));
    // The recorder gives nothing back while it stands still.
    stall.reached(1);
    let pool = BufferPool::new(1);
    let mut received = Received::new(Arc::clone(&pool));
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.write_all(&vec![7; len]).unwrap();
    while received.len() < len {
        received.read(reader.as_fd()).unwrap();
    }
    let position = received.position();
    received.consume(len);
    let payload = received.at(position, &(0..len)).to_vec();
    let tap = Tap {
        channel: ChannelId(0),
        stream: weir_relay::Stream::Output,
        range: 0..len,
    };
    log.tap(&tap, &payload, Some(position)).unwrap();
    log.hand_over(&mut received).unwrap();
    received.rest();
    let is_lent = !pool.take().is_pooled();
    drop(stall);
    log.finish(SessionStatus::Complete, "over");
    assert!(world.output(&world.next_finished()) == vec![7; len]);
    assert!(pool.take().is_pooled(), "it came home");
    world.recorder.shutdown();
    is_lent
}

#[test]
fn a_packet_in_bulk_lends_its_buffer_and_a_keystroke_is_copied() {
    assert!(is_lent(32 * 1024));
    assert!(is_lent(LEND));
    assert!(!is_lent(LEND - 1));
    assert!(!is_lent(100));
}

#[test]
fn a_recording_tells_where_forwards_lead_and_how_large_a_terminal_is() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut log = log_of(world.begin(1, 0));
    let size = weir_relay::TerminalSize {
        columns: 80,
        rows: 24,
        width_px: 640,
        height_px: 384,
    };
    log.event(SessionEvent::Pty {
        channel: ChannelId(0),
        term: "xterm".to_owned(),
        size,
        echo: true,
    })
    .unwrap();
    log.event(SessionEvent::Resize {
        channel: ChannelId(0),
        size: weir_relay::TerminalSize { rows: 25, ..size },
    })
    .unwrap();
    log.event(SessionEvent::ForwardOpened {
        channel: ChannelId(1),
        kind: ChannelKind::DirectTcpip,
        opener: weir_relay::Side::Client,
        destination: "[::1]:80".to_owned(),
        endpoints: weir_relay::Endpoints {
            host: "::1".to_owned(),
            port: 80,
            originator: "127.0.0.1".to_owned(),
            originator_port: 40000,
        },
    })
    .unwrap();
    log.finish(SessionStatus::Complete, "over");
    let json = world.json(&world.next_finished());
    for line in [
        r#""channel":0,"columns":80,"height_px":384,"kind":"terminal","rows":24"#,
        r#""channel":0,"columns":80,"height_px":384,"kind":"resize","rows":25"#,
        r#""channel":1,"host":"::1","kind":"forward","originator":"127.0.0.1","originator_port":40000,"port":80"#,
        r#""width_px":640"#,
    ] {
        assert!(json.contains(line), "{line} is missing in {json}");
    }
    world.recorder.shutdown();
}

/// The log of a session with a terminal on channel 0, of which only what was echoed is recorded.
fn log_with_terminal(recording: SessionRecording) -> SessionLog {
    let mut log = log_of(recording);
    log.withhold_unechoed();
    let size = weir_relay::TerminalSize {
        columns: 80,
        rows: 24,
        width_px: 0,
        height_px: 0,
    };
    log.event(SessionEvent::Pty {
        channel: ChannelId(0),
        term: "xterm".to_owned(),
        size,
        echo: true,
    })
    .unwrap();
    log
}

fn tapped(log: &mut SessionLog, stream: weir_relay::Stream, data: &[u8]) {
    let tap = Tap {
        channel: ChannelId(0),
        stream,
        range: 0..data.len(),
    };
    log.tap(&tap, data, None).unwrap();
}

/// Kind and text, or count, of the events that tell of input and output.
fn told(json: &str) -> Vec<(String, String)> {
    let events = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events
        .filter_map(|event| match &event["kind"] {
            kind if kind == "input" || kind == "output" => Some((kind.clone(), event["data"].clone())),
            kind if kind == "withheld_input" => Some((kind.clone(), event["bytes"].clone())),
            _ => None,
        })
        .map(|(kind, what)| (kind.as_str().unwrap().to_owned(), what.to_string()))
        .collect()
}

#[test]
fn what_was_typed_stands_behind_the_output_that_proves_it() {
    use weir_relay::Stream::{Input, Output};
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut log = log_with_terminal(world.begin(1, 0));
    tapped(&mut log, Input, b"ls\r");
    let handed = log.handed();
    tapped(&mut log, Input, b"secret");
    assert_eq!(log.handed(), handed, "what waits for its echo holds nothing back");
    tapped(&mut log, Output, b"ls\r\n");
    tapped(&mut log, Output, b"Password: ");
    tapped(&mut log, Input, b"word\r");
    log.event(SessionEvent::ChannelClosed {
        channel: ChannelId(0),
    })
    .unwrap();
    log.finish(SessionStatus::Complete, "over");
    let json = world.json(&world.next_finished());
    let expected = [
        ("output", r#""ls\r\n""#),
        ("input", r#""ls\r""#),
        ("output", r#""Password: ""#),
        ("withheld_input", "11"),
    ]
    .map(|(kind, what)| (kind.to_owned(), what.to_owned()));
    assert_eq!(told(&json), expected);
    world.recorder.shutdown();
}

#[test]
fn input_is_told_after_output_that_is_lent_and_what_is_left_at_the_end_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &Options::default());
    let mut log = log_with_terminal(world.begin(1, 0));
    tapped(&mut log, weir_relay::Stream::Input, b"ls\r");
    let mut output = b"ls\r\n".to_vec();
    output.resize(LEND, b'x');
    let mut received = Received::new(BufferPool::new(1));
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.write_all(&output).unwrap();
    while received.len() < output.len() {
        received.read(reader.as_fd()).unwrap();
    }
    let position = received.position();
    received.consume(output.len());
    let tap = Tap {
        channel: ChannelId(0),
        stream: weir_relay::Stream::Output,
        range: 0..output.len(),
    };
    log.tap(&tap, &output, Some(position)).unwrap();
    log.hand_over(&mut received).unwrap();
    tapped(&mut log, weir_relay::Stream::Input, b"half a line");
    log.finish(SessionStatus::Complete, "over");
    let told = told(&world.json(&world.next_finished()));
    let kinds: Vec<_> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["output", "input", "withheld_input"]);
    assert_eq!((&*told[1].1, &*told[2].1), (r#""ls\r""#, "11"));
    world.recorder.shutdown();
}
