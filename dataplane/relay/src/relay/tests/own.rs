//! Channels that the proxy opens toward the client.

use Side::{Client, Target};

use super::*;
use crate::{OwnChannel, OwnEvent, Refused};

fn opened(rig: &mut Rig, client: u32) -> (OwnChannel, u32) {
    rig.actions.clear();
    let own = rig
        .relay
        .open_own("auth-agent@openssh.com", 1000, &mut rig.actions)
        .unwrap();
    let delivered = rig.outcome(Flow::Stop, Client, &[]);
    let [packet] = &delivered.client[..] else {
        panic!("one packet to the client")
    };
    let mut reader = Reader::new(&packet[1..]);
    assert_eq!(reader.string(), Ok(&b"auth-agent@openssh.com"[..]));
    let number = reader.u32().unwrap();
    assert!(number >= 0xffff_0000);
    let window = 100u32;
    let accepted = message(msg::CHANNEL_OPEN_CONFIRMATION, |out| {
        [client, number, window, 40]
            .into_iter()
            .enumerate()
            .for_each(|(i, value)| {
                // Recipient first, then the client's own number.
                out.put_u32(if i == 0 {
                    number
                } else if i == 1 {
                    client
                } else {
                    value
                });
            });
    });
    assert_eq!(rig.deliver(Client, &accepted), Delivered::default());
    assert_eq!(rig.actions.own, Some(OwnEvent::Opened(own)));
    (own, number)
}

#[test]
fn an_own_channel_works_while_the_target_is_dialled() {
    let mut rig = Rig {
        relay: Relay::new(false),
        ..Rig::open()
    };
    assert_eq!(rig.send(Client, &open("session", 0, 0, &[])), Flow::Wait);
    let (own, number) = opened(&mut rig, 1);
    rig.is_dropped(Client, &data(number, b"answer"));
    let Some(OwnEvent::Data(from, range)) = rig.actions.own.clone() else {
        panic!("data")
    };
    assert_eq!((from, &data(number, b"answer")[range]), (own, &b"answer"[..]));

    // Window 100, maximum packet 40.
    rig.actions.clear();
    assert_eq!(rig.relay.own_send(own, &[b'q'; 150], &mut rig.actions), 100);
    let sent = rig.outcome(Flow::Stop, Client, &[]).client;
    assert_eq!(
        sent,
        [data(1, &[b'q'; 40]), data(1, &[b'q'; 40]), data(1, &[b'q'; 20])]
    );
    assert_eq!(rig.relay.own_send(own, b"more", &mut rig.actions), 0);
    rig.is_dropped(Client, &adjust(number, 3));
    assert_eq!(rig.actions.own, Some(OwnEvent::Writable(own)));
    assert_eq!(rig.relay.own_send(own, b"more", &mut rig.actions), 3);

    rig.actions.clear();
    rig.relay.own_consumed(own, 6, &mut rig.actions);
    assert_eq!(rig.outcome(Flow::Stop, Client, &[]).client, [adjust(1, 6)]);

    rig.actions.clear();
    rig.relay.own_finish(own, &mut rig.actions);
    let ended = rig.outcome(Flow::Stop, Client, &[]).client;
    assert_eq!(ended, [about(msg::CHANNEL_EOF, 1), about(msg::CHANNEL_CLOSE, 1)]);
    rig.is_dropped(Client, &data(number, b"late"));
    assert_eq!(rig.actions.own, None);
    rig.is_dropped(Client, &about(msg::CHANNEL_CLOSE, number));
    assert_eq!(rig.actions.own, Some(OwnEvent::Closed(own)));
    assert_eq!(rig.relay.channels(), 0);
}

#[test]
fn an_own_channel_is_kept_from_the_target() {
    let mut rig = Rig::open();
    rig.session(0, 5, 0);
    let (_, number) = opened(&mut rig, 1);
    for recipient in [1, number] {
        for packet in [
            data(recipient, b"forged"),
            error_output(recipient, "forged"),
            adjust(recipient, 1),
            about(msg::CHANNEL_EOF, recipient),
            about(msg::CHANNEL_CLOSE, recipient),
            about(msg::CHANNEL_SUCCESS, recipient),
            request(recipient, "x", true, &[]),
            confirm(recipient, 9),
            open_failure(recipient, 1, "x"),
        ] {
            rig.is_dropped(Target, &packet);
            assert_eq!(rig.actions.own, None);
        }
    }
    rig.is_answered(
        Client,
        &request(number, "x", true, &[]),
        &about(msg::CHANNEL_FAILURE, 1),
    );
    rig.is_answered(
        Client,
        &about(msg::CHANNEL_CLOSE, number),
        &about(msg::CHANNEL_CLOSE, 1),
    );
    assert!(matches!(rig.actions.own, Some(OwnEvent::Closed(_))));
}

#[test]
fn the_target_may_not_use_reserved_numbers() {
    let mut rig = Rig::open();
    rig.passes(Client, &open("session", 0xffff_0001, 0, &[]));
    let number = 0xffff_0000;
    assert_eq!(
        rig.try_send(Target, &confirm(0xffff_0001, number)),
        Err(Error::NumberReserved { number })
    );
    let forged = forwarded_tcpip(number, "", 1);
    assert_eq!(
        rig.try_send(Target, &forged),
        Err(Error::NumberReserved { number })
    );
}

#[test]
fn a_client_may_refuse_and_flood_in_vain() {
    let mut rig = Rig::open();
    let own = rig
        .relay
        .open_own("auth-agent@openssh.com", 4, &mut rig.actions)
        .unwrap();
    rig.is_dropped(Client, &open_failure(0xffff_0000, 1, "no agent"));
    assert_eq!(
        rig.actions.own,
        Some(OwnEvent::Refused(own, "no agent".to_owned()))
    );
    assert_eq!(rig.relay.channels(), 0);

    let (_, number) = opened(&mut rig, 0);
    rig.is_dropped(Client, &data(number, &[0; 1001]));
    assert_eq!(rig.actions.own, None, "beyond the window");

    for _ in 1..16 {
        rig.relay
            .open_own("auth-agent@openssh.com", 4, &mut rig.actions)
            .unwrap();
    }
    let too_many = rig.relay.open_own("auth-agent@openssh.com", 4, &mut rig.actions);
    assert_eq!(too_many, Err(Refused::TooMany));
}
