//! A message that is sent now or never.

use bitts_mqtt::{PacketId, QoS};

use super::{Delivery, Identifiers, Inflight, NOT_OWED, Sent, Transit, write_publish};
use crate::outbox::Outbox;
use crate::record::{Lsn, Stage};
use crate::shard::Shard;
use crate::time::Now;

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Once {
    /// It is on its way, at QoS 1 under this Packet Identifier.
    Sent(Option<PacketId>),
    /// The client takes no more for now.
    NoRoom,
    /// The client takes no packet this large [MQTT-3.1.2-24].
    TooLarge,
}

impl Shard {
    /// Sends a message now or never: past the queue, and not again on another connection.
    pub(crate) fn send_once(
        &mut self,
        now: Now,
        index: u32,
        transit: &mut Transit<'_>,
        out: &mut Outbox,
    ) -> Once {
        let session = &mut self.sessions[index as usize];
        let is_numbered = transit.qos > QoS::Zero;
        let has_room = !is_numbered || session.has_room();
        let Some(connection) = &mut session.connection else { return Once::NoRoom };
        if !has_room
            || connection.congested
            || !connection.delivers_in_time(now, &self.rates, &self.interest)
        {
            return Once::NoRoom;
        }
        let qos = transit.qos;
        let delivery = Delivery { qos, retain: false, identifiers: &[], group: None };
        let outbound = is_numbered.then(|| session.outbound.get_or_insert_default());
        let numbered = outbound.map(|outbound| (outbound.next_packet_id(), outbound));
        let packet_id = numbered.as_ref().map(|((packet_id, _), _)| *packet_id);
        let way = (packet_id, !connection.is_open(Lsn::default(), &self.gates));
        let Some(frame) =
            write_publish(connection, session.version, way, now, transit, delivery, out)
        else {
            return Once::TooLarge;
        };
        if let Some(((packet_id, number), outbound)) = numbered {
            outbound.window_used += 1;
            outbound.inflight.push_back(Inflight {
                owed: NOT_OWED,
                packet_id,
                stage: Stage::Published,
                sent: Sent::Publish,
                number,
                qos,
                retain: false,
                identifiers: Identifiers::new(),
                group: None,
                message: None,
            });
        }
        self.stats.sent[qos as usize] += 1;
        connection.push_free(frame, &mut self.gates, out);
        Once::Sent(packet_id)
    }
}
