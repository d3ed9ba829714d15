//! Acknowledgements of one connection that wait, in order, behind a request that is not carried
//! out.

use std::collections::VecDeque;

use bitts_mqtt::PacketType;

use crate::outbox::{Frame, Outbox};
use crate::record::Lsn;
use crate::shard::Shard;

/// Acknowledgements that may wait: as many as there are Packet Identifiers. More are not sent.
const HELD_MAX: usize = 65_535;

/// The first byte of a PUBACK.
const PUBACK: u8 = (PacketType::PubAck as u8) << 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Requests that are not answered, by number.
    unanswered: Vec<u64>,
    queue: VecDeque<Acknowledgement>,
}

#[derive(Debug)]
struct Acknowledgement {
    /// The request that it acknowledges; others only wait behind one.
    request: Option<u64>,
    bytes: Vec<u8>,
    gate: Lsn,
}

impl Held {
    /// Requests that are not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether an acknowledgement has to wait.
    pub(crate) fn is_holding(&self) -> bool {
        !self.queue.is_empty()
    }

    /// PUBACKs that wait: each is of a message that counts against our Receive Maximum.
    pub(crate) fn pubacks(&self) -> usize {
        let is_puback = |it: &&Acknowledgement| it.bytes.first() == Some(&PUBACK);
        self.queue.iter().filter(is_puback).count()
    }

    /// A request began; at QoS 0 nothing acknowledges it.
    pub(crate) fn ask(&mut self, number: u64, bytes: Option<Vec<u8>>) {
        self.unanswered.push(number);
        if let Some(bytes) = bytes {
            let request = Some(number);
            self.queue.push_back(Acknowledgement { request, bytes, gate: Lsn::default() });
        }
    }

    /// Another acknowledgement waits; `false` if too many do.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, gate: Lsn) -> bool {
        let has_room = self.queue.len() < HELD_MAX;
        if has_room {
            self.queue.push_back(Acknowledgement { request: None, bytes, gate });
        }
        has_room
    }

    fn answered(&mut self, number: u64) {
        self.unanswered.retain(|asked| *asked != number);
    }

    /// The next acknowledgement, if it waits for nothing here.
    fn pop(&mut self) -> Option<Acknowledgement> {
        let request = self.queue.front()?.request;
        let is_waiting = request.is_some_and(|number| self.unanswered.contains(&number));
        if is_waiting { None } else { self.queue.pop_front() }
    }
}

impl Shard {
    /// A client's request was carried out: its acknowledgement leaves, and those that waited behind
    /// it. A connection that came later knows nothing of it.
    pub(crate) fn on_client_answered(&mut self, index: u32, number: u64, out: &mut Outbox) {
        let Some(connection) = &mut self.sessions[index as usize].connection else { return };
        let Some(mut held) = connection.held.take() else { return };
        held.answered(number);
        while let Some(Acknowledgement { bytes, gate, .. }) = held.pop() {
            let frame = Frame {
                conn: connection.id,
                start: out.bytes.len() as u64,
                len: bytes.len() as u32,
                tail_len: 0,
                tail_start: 0,
                packet_id_at: 0,
                packet_id: 0,
            };
            out.bytes.extend_from_slice(&bytes);
            let gate = connection.ack_gate.max(gate);
            connection.ack_gate = connection.push(frame, gate, &mut self.gates, out);
        }
        connection.held = (held.in_flight() > 0).then_some(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-4.6.0-2]
    #[test]
    fn acknowledgements_leave_in_order() {
        let mut held = Held::default();
        held.ask(7, Some(vec![1]));
        held.ask(8, None);
        assert!(held.push(vec![2], Lsn(3)));
        held.ask(9, Some(vec![0x40]));
        assert_eq!(held.pubacks(), 1);
        held.answered(9);
        assert!(held.pop().is_none() && held.is_holding());
        held.answered(7);
        let mut popped = || held.pop().map(|it| (it.bytes, it.gate));
        assert_eq!(popped(), Some((vec![1], Lsn(0))));
        assert_eq!(popped(), Some((vec![2], Lsn(3))));
        assert_eq!(popped(), Some((vec![0x40], Lsn(0))));
        assert_eq!((popped(), held.in_flight()), (None, 1));
        assert!((0..HELD_MAX).all(|_| held.push(vec![5], Lsn(0))));
        assert!(!held.push(vec![5], Lsn(0)));
    }
}
