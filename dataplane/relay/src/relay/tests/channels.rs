//! What passes on channels, and when they are gone.

use Side::{Client, Target};

use super::*;

#[test]
fn data_passes_whole_whatever_its_size() {
    let mut rig = Rig::with_session();
    // Above the channel's maximum packet, which is the ends' affair, and as large as a hop takes.
    for size in [0, 1, 32768, 32769, 35000, 256 * 1024 - 64] {
        rig.passes(Client, &data(5, &vec![b'i'; size]));
        rig.passes(Target, &data(0, &vec![b'o'; size]));
        rig.passes(Target, &error_output(0, vec![b'e'; size]));
        rig.passes(Client, &adjust(5, 1));
        rig.passes(Target, &adjust(0, u32::MAX));
    }
}

#[test]
fn taps_name_channel_stream_and_range() {
    let mut rig = Rig::open();
    rig.rules.records = |_| Recording {
        output: true,
        input: true,
    };
    rig.session(0, 5, 0);
    rig.session(1, 6, 0);
    let tap = |rig: &mut Rig, from, payload: &[u8]| {
        assert_eq!(rig.send(from, payload), Flow::Forward);
        let tap = rig.actions.tap.clone().unwrap();
        (tap.channel, tap.stream, payload[tap.range].to_vec())
    };
    assert_eq!(
        tap(&mut rig, Target, &data(0, b"out")),
        (ChannelId(0), Stream::Output, b"out".to_vec())
    );
    assert_eq!(
        tap(&mut rig, Target, &data(1, b"two")),
        (ChannelId(1), Stream::Output, b"two".to_vec())
    );
    assert_eq!(
        tap(&mut rig, Target, &error_output(0, "err")),
        (ChannelId(0), Stream::ErrorOutput, b"err".to_vec())
    );
    assert_eq!(
        tap(&mut rig, Client, &data(6, b"in")),
        (ChannelId(1), Stream::Input, b"in".to_vec())
    );
}

#[test]
fn what_is_recorded_follows_the_program_and_never_shrinks() {
    let mut rig = Rig::open();
    rig.rules.records = |program| Recording {
        output: !matches!(program, Some(Program::Subsystem { .. })),
        input: matches!(program, Some(Program::Shell)),
    };
    let recorded = |rig: &mut Rig, from, payload: &[u8]| {
        rig.passes(from, payload);
        rig.actions.tap.is_some()
    };
    rig.session(0, 5, 0);
    assert!(recorded(&mut rig, Target, &data(0, b"before any program")));
    rig.passes(Client, &request(5, "subsystem", true, &strings(&["sftp"])));
    assert!(!recorded(&mut rig, Target, &data(0, b"sftp")));

    // The subsystem may have been refused by the target, so a second request counts.
    rig.passes(Client, &request(5, "shell", true, &[]));
    assert!(recorded(&mut rig, Target, &data(0, b"$ ")));
    assert!(recorded(&mut rig, Client, &data(5, b"id\n")));

    // And one more, which the target will refuse, must not switch the recording off.
    rig.passes(Client, &request(5, "subsystem", true, &strings(&["sftp"])));
    assert!(recorded(&mut rig, Target, &data(0, b"uid=0")));
}

fn endpoints(host: &str, port: u32, originator: &str, originator_port: u32) -> Endpoints {
    Endpoints {
        host: host.to_owned(),
        port,
        originator: originator.to_owned(),
        originator_port,
    }
}

#[test]
fn every_forward_is_told_with_both_its_ends() {
    let from = host_port("192.0.2.7", 6010);
    let socket = strings(&["/run/x.sock", ""]);
    for (opener, kind, rest, expected) in [
        (
            Client,
            "direct-tcpip",
            [host_port("::1", 80), from.clone()].concat(),
            ("[::1]:80", endpoints("::1", 80, "192.0.2.7", 6010)),
        ),
        (
            Target,
            "forwarded-tcpip",
            [host_port("localhost", 8080), from.clone()].concat(),
            ("localhost:8080", endpoints("localhost", 8080, "192.0.2.7", 6010)),
        ),
        (
            Client,
            "direct-streamlocal@openssh.com",
            [socket.clone(), vec![0; 4]].concat(),
            ("/run/x.sock", endpoints("/run/x.sock", 0, "", 0)),
        ),
        (
            Target,
            "forwarded-streamlocal@openssh.com",
            socket,
            ("/run/x.sock", endpoints("/run/x.sock", 0, "", 0)),
        ),
        (Target, "x11", from, ("x11", endpoints("", 0, "192.0.2.7", 6010))),
        (
            Target,
            "auth-agent@openssh.com",
            Bytes::new(),
            ("agent", Endpoints::default()),
        ),
    ] {
        let mut rig = Rig::open();
        rig.passes(opener, &open(kind, 3, 1 << 21, &rest));
        rig.passes(opener.other(), &confirm(3, 0));
        let events = rig.events();
        let [
            SessionEvent::ForwardOpened {
                destination,
                endpoints,
                ..
            },
        ] = events
        else {
            panic!("{kind}: {events:?}")
        };
        assert_eq!((destination.as_str(), endpoints.clone()), expected, "{kind}");
    }
}

#[test]
fn forwards_are_not_recorded() {
    let mut rig = Rig::open();
    rig.passes(Client, &direct_tcpip(3, "db", 5432));
    rig.passes(Target, &confirm(3, 0));
    assert_eq!(
        rig.events(),
        [SessionEvent::ForwardOpened {
            channel: ChannelId(0),
            kind: ChannelKind::DirectTcpip,
            opener: Client,
            destination: "db:5432".to_owned(),
            endpoints: endpoints("db", 5432, "127.0.0.1", 40000),
        }]
    );
    rig.passes(Target, &data(3, b"x"));
    assert_eq!(rig.actions.tap, None);
}

#[test]
fn bytes_of_forwards_are_counted_each_way_and_told_at_their_end() {
    let mut rig = Rig::open();
    rig.session(0, 0, 0);
    for (number, destination) in [(3, "db"), (4, "web"), (5, "gone")] {
        rig.passes(Client, &direct_tcpip(number, destination, 80));
        if number < 5 {
            rig.passes(Target, &confirm(number, number));
        }
    }
    for _ in 0..3 {
        rig.passes(Client, &data(3, &[0; 100]));
        rig.passes(Target, &data(3, &[0; 7]));
    }
    rig.passes(Target, &data(4, b"banner"));
    // What the other end has closed already does not arrive, and does not count.
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 3));
    rig.is_dropped(Target, &data(3, b"late"));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 3));
    let counted = |events: &[SessionEvent]| -> Vec<(String, [u64; 2])> {
        let ends = events.iter().filter_map(|event| match event {
            SessionEvent::ForwardClosed {
                destination, bytes, ..
            } => Some((destination.clone(), *bytes)),
            _ => None,
        });
        ends.collect()
    };
    assert_eq!(counted(rig.events()), [("db:80".to_owned(), [300, 21])]);
    // The connection ends: the one that was open is told, the one that was never confirmed is not.
    rig.relay.end(&mut rig.actions);
    assert_eq!(rig.events().len(), 1, "{:?}", rig.events());
    assert_eq!(counted(rig.events()), [("web:80".to_owned(), [0, 6])]);
    assert_eq!(rig.relay.channels(), 0);
}

#[test]
fn a_variables_value_is_told_where_policy_lets_it() {
    let mut rig = Rig::with_session();
    rig.rules.tells = |name| name == b"LANG";
    for (name, expected) in [("LANG", Some("secret")), ("TOKEN", None)] {
        rig.passes(Client, &request(5, "env", false, &strings(&[name, "secret"])));
        let told = format!("{:?}", rig.events());
        assert_eq!(told.contains("secret"), expected.is_some(), "{told}");
        assert!(matches!(rig.events(), [SessionEvent::Env { value, .. }] if value.as_deref() == expected));
    }
}

#[test]
fn error_output_may_follow_eof_and_the_end_keeps_its_order() {
    let mut rig = Rig::with_session();
    rig.passes(Target, &about(msg::CHANNEL_EOF, 0));
    rig.passes(Target, &error_output(0, "late"));
    assert!(rig.actions.tap.is_some());
    rig.passes(Target, &request(0, "exit-status", false, &[0, 0, 0, 7]));
    assert_eq!(
        rig.events(),
        [SessionEvent::ExitStatus {
            channel: ChannelId(0),
            status: 7
        }]
    );
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    assert_eq!(
        rig.events(),
        [SessionEvent::ChannelClosed {
            channel: ChannelId(0)
        }]
    );
    assert_eq!(rig.relay.channels(), 0);
}

#[test]
fn half_close_leaves_the_other_direction() {
    let mut rig = Rig::with_session();
    rig.passes(Client, &about(msg::CHANNEL_EOF, 5));
    rig.passes(Target, &data(0, b"sum"));
    rig.passes(Client, &adjust(5, 3));
    rig.passes(Client, &request(5, "signal", false, &strings(&["INT"])));
    rig.is_dropped(Client, &about(msg::CHANNEL_EOF, 5));
}

#[test]
fn nothing_follows_a_close() {
    let mut rig = Rig::with_session();
    rig.passes(Client, &exec(5, "true"));
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    for late in [
        data(0, b"late"),
        error_output(0, "late"),
        adjust(0, 1),
        about(msg::CHANNEL_SUCCESS, 0),
        about(msg::CHANNEL_EOF, 0),
        about(msg::CHANNEL_CLOSE, 0),
        request(0, "exit-status", false, &[0; 4]),
    ] {
        rig.is_dropped(Target, &late);
    }
    // The client has not closed yet, and the target still knows the channel until it does.
    rig.passes(Client, &data(5, b"still"));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    rig.is_dropped(Client, &data(5, b"gone"));
    rig.is_dropped(Client, &adjust(5, 1));
}

#[test]
fn a_number_is_free_again_after_both_closes_only() {
    let mut rig = Rig::with_session();
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    assert_eq!(
        rig.try_send(Client, &open("session", 0, 0, &[])),
        Err(Error::NumberInUse {
            by: Client,
            number: 0
        })
    );
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    rig.passes(Client, &open("session", 0, 0, &[]));
    rig.passes(Target, &confirm(0, 5));
    assert_eq!(
        rig.events(),
        [SessionEvent::ChannelOpened {
            channel: ChannelId(1)
        }]
    );
}

#[test]
fn a_refused_open_frees_its_number() {
    let mut rig = Rig::open();
    rig.passes(Client, &open("session", 0, 0, &[]));
    rig.passes(Target, &open_failure(0, 2, "open failed"));
    assert_eq!(
        rig.events(),
        [SessionEvent::OpenFailed {
            channel: ChannelId(0),
            kind: ChannelKind::Session,
            code: 2,
            reason: "open failed".to_owned(),
        }]
    );
    rig.is_dropped(Target, &open_failure(0, 2, "again"));
    rig.is_dropped(Target, &confirm(0, 5));
    rig.passes(Client, &open("session", 0, 0, &[]));
}

#[test]
fn unknown_and_unconfirmed_channels_are_never_heard_of() {
    let mut rig = Rig::open();
    rig.passes(Client, &open("session", 0, 0, &[]));
    for recipient in [0, 7] {
        rig.is_dropped(Target, &data(recipient, b"early"));
        rig.is_dropped(Target, &adjust(recipient, 9));
        rig.is_dropped(Target, &about(msg::CHANNEL_CLOSE, recipient));
        rig.is_dropped(Target, &request(recipient, "keepalive@openssh.com", true, &[]));
        rig.is_dropped(Client, &data(recipient, b"lost"));
        rig.is_dropped(Client, &confirm(recipient, 1));
        rig.is_dropped(Client, &open_failure(recipient, 1, ""));
    }
    rig.passes(Target, &confirm(0, 5));
    rig.passes(Target, &data(0, b"now"));
}

#[test]
fn both_ends_may_use_the_same_number_for_different_channels() {
    let mut rig = Rig::open();
    rig.session(0, 1, 0);
    rig.passes(Target, &forwarded_tcpip(0, "", 80));
    rig.passes(Client, &confirm(0, 1));
    rig.rules.records = |_| OUTPUT;
    rig.passes(Target, &data(0, b"session"));
    assert_eq!(
        rig.actions.tap.as_ref().map(|tap| tap.channel),
        Some(ChannelId(0))
    );
    rig.passes(Target, &data(1, b"forward"));
    assert_eq!(rig.actions.tap, None);
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 0));
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 1));
    assert_eq!(
        rig.events(),
        [SessionEvent::ForwardClosed {
            channel: ChannelId(1),
            kind: ChannelKind::ForwardedTcpip,
            opener: Target,
            destination: ":80".to_owned(),
            endpoints: endpoints("", 80, "127.0.0.1", 40000),
            bytes: [0, 7],
        }]
    );
    rig.passes(Target, &data(0, b"session"));
}

#[test]
fn unknown_requests_pass_as_they_are() {
    let mut rig = Rig::with_session();
    for (from, number) in [(Client, 5), (Target, 0)] {
        for name in [
            "winadj@putty.projects.tartarus.org",
            "simple@putty.projects.tartarus.org",
            "eow@openssh.com",
            "signal",
            "break",
            "xon-xoff",
            "never-heard-of@example.org",
        ] {
            rig.passes(from, &request(number, name, true, b"\0\0\0\x01x"));
        }
    }
    rig.passes(Client, &global("no-more-sessions@openssh.com", false, &[]));
    rig.passes(Client, &global("never-heard-of@example.org", true, b"anything"));
}

#[test]
fn putty_gets_its_failure_in_order() {
    let mut rig = Rig::new(|ask| matches!(ask, Ask::Env { .. }).then_some("no"));
    rig.session(0, 5, 0);
    rig.passes(
        Client,
        &request(5, "winadj@putty.projects.tartarus.org", true, &[]),
    );
    rig.is_dropped(Client, &request(5, "env", true, &strings(&["A", "b"])));
    rig.passes(
        Client,
        &request(5, "winadj@putty.projects.tartarus.org", true, &[]),
    );
    let failure = about(msg::CHANNEL_FAILURE, 0);
    let both = vec![failure.clone(), failure.clone()];
    assert_eq!(
        rig.deliver(Target, &failure),
        Delivered {
            client: both,
            target: vec![]
        }
    );
    rig.passes(Target, &failure);
    rig.is_dropped(Target, &failure);
}

#[test]
fn programs_and_their_ends_are_told() {
    let mut rig = Rig::with_session();
    let channel = ChannelId(0);
    rig.passes(Client, &exec(5, "uname -a"));
    let command = b"uname -a".to_vec();
    assert_eq!(
        rig.events(),
        [SessionEvent::Exec {
            channel,
            command,
            recording: OUTPUT
        }]
    );
    rig.passes(Client, &request(5, "env", false, &strings(&["LANG", "de"])));
    assert_eq!(
        rig.events(),
        [SessionEvent::Env {
            channel,
            name: "LANG".to_owned(),
            value: None,
        }]
    );
    let mut killed = strings(&["TERM"]);
    killed.put_bool(true);
    killed.put_bytes(&strings(&["bye", ""]));
    rig.passes(Target, &request(0, "exit-signal", false, &killed));
    assert_eq!(
        rig.events(),
        [SessionEvent::ExitSignal {
            channel,
            signal: "TERM".to_owned(),
            core_dumped: true,
            message: "bye".to_owned()
        }]
    );
}

#[test]
fn an_exec_command_is_kept_whole_and_other_text_is_cut() {
    let mut rig = Rig::with_session();
    let command = format!("{};evil", "true;".repeat(40_000));
    rig.passes(Client, &exec(5, &command));
    assert!(
        matches!(&rig.events()[0], SessionEvent::Exec { command: kept, .. } if kept == command.as_bytes())
    );
    rig.passes(
        Client,
        &request(5, "env", false, &strings(&[&"N".repeat(9000), ""])),
    );
    assert!(matches!(&rig.events()[0], SessionEvent::Env { name, .. } if name.len() == 256));
}

#[test]
fn a_channel_too_many_is_refused_to_either_end() {
    let mut rig = Rig::open();
    for number in 0..4096 {
        rig.passes(Client, &direct_tcpip(number, "h", 1));
    }
    let refusal = |number| open_failure(number, 4, "too many channels are open");
    rig.is_answered(Client, &direct_tcpip(4096, "h", 1), &refusal(4096));
    rig.is_answered(Target, &forwarded_tcpip(9, "", 1), &refusal(9));
    assert_eq!(rig.relay.channels(), CHANNELS_MAX);
    rig.passes(Target, &open_failure(17, 2, "no"));
    rig.passes(Client, &direct_tcpip(4096, "h", 1));
}
