//! A client whose target cannot be reached is told why.

use std::{rc::Rc, time::Duration};

use futures_util::future::{Either, select};
use tracing::debug;
use weir_relay::{Actions, Ask, Decision, Flow, Policy, Program, Recording, Relay, Side};
use weir_ssh::DisconnectReason;

use crate::{
    hop_stream::{HopEnd, HopStream, Incoming},
    receive::Received,
    worker::Worker,
};

/// How long a client may take to ask for its first channel and read the answer. `ssh -N` asks for none: it learns
/// the reason when this is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refuses what the client asks for, until it leaves or its time is over.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    client: &HopStream,
    received: Received,
    relay: Relay,
    reason: &str,
) {
    let refusing = std::pin::pin!(refuse(client, received, relay));
    let in_time = std::pin::pin!(monoio::time::timeout(PATIENCE, refusing));
    match select(in_time, std::pin::pin!(worker.ending())).await {
        Either::Left((Ok(end), _)) => debug!(%end, "refused client left"),
        Either::Left((Err(_), _)) | Either::Right(_) => {
            client.disconnect(DisconnectReason::ByApplication, reason);
            client.sent_within(PATIENCE).await;
        }
    }
}

async fn refuse(client: &HopStream, mut received: Received, mut relay: Relay) -> HopEnd {
    let mut actions = Actions::new();
    loop {
        let (position, packet) = match client.next(&mut received).await {
            Ok(Incoming::Packet { position, packet }) => (position, packet),
            Ok(Incoming::MaySeal | Incoming::KeysInstalled) => continue,
            Err(end) => return end,
        };
        let payload = received.at(position, &packet.payload);
        match relay.packet(Side::Client, payload, &Nothing, &mut actions) {
            Ok(Flow::Unimplemented) => {
                if let Err(error) = client.step(|hop, env, out| hop.unimplemented(env, out)) {
                    return error.into();
                }
            }
            Ok(Flow::Forward | Flow::Stop | Flow::Wait) => {}
            Err(error) => {
                client.disconnect(DisconnectReason::ProtocolError, &error.to_string());
                return HopEnd::Closed;
            }
        }
        for (_, payload) in actions.packets() {
            if let Err(end) = client.seal(payload) {
                return end;
            }
        }
    }
}

/// There is nothing to permit and nothing to record.
struct Nothing;

impl Policy for Nothing {
    fn decide(&self, _ask: &Ask<'_>) -> Decision {
        Decision::Deny("there is no connection to the target".to_owned())
    }

    fn recording(&self, _program: Option<&Program<'_>>) -> Recording {
        Recording::default()
    }
}
