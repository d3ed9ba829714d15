//! An acknowledgement leaves when what it promises is durable.

use bitts_broker::Lsn;
use bitts_broker::record::Record;

use crate::machine::{Link, Log};
use crate::packet::{Kind, Packet};
use crate::world::World;
use crate::world::history::{History, Sent, matches};

impl World {
    /// A packet was written: is what it says durable?
    pub(in crate::world) fn check_written(
        &mut self,
        client: usize,
        link: Link,
        packet: &Packet,
    ) -> Result<(), String> {
        let Some(held) = self.clients.get(client) else { return Ok(()) };
        if held.link != Some(link) {
            return Ok(());
        }
        match packet.kind {
            Kind::Publish if client == crate::world::MONITOR => self.check_shadow_answer(packet),
            Kind::PubAck | Kind::PubRec if packet.code < 0x80 => {
                let qos = if packet.kind == Kind::PubAck { 1 } else { 2 };
                let at = held.outgoing_at(packet.packet_id, qos);
                let Some(sent) = at.and_then(|at| held.outgoing.get(at)) else { return Ok(()) };
                let number = sent.number;
                self.check_message(number).map_err(|why| format!("{packet} of m{number}: {why}"))
            }
            Kind::SubAck => {
                let session = held.session.and_then(|at| self.history.sessions.get(at));
                if !session.is_some_and(|session| session.persistent) {
                    return Ok(());
                }
                let asked = held.subscribing.get(&packet.packet_id.unwrap_or_default());
                for ((filter, _), code) in
                    asked.iter().flat_map(|one| &one.filters).zip(&packet.codes)
                {
                    if *code < 0x80 && !self.is_subscribed(&held.id, filter) {
                        return Err(format!("{packet} to {}: {filter} is not durable", held.id));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_message(&self, number: usize) -> Result<(), &'static str> {
        let Some(sent) = self.history.messages.get(number) else { return Ok(()) };
        let is_it = |payload: &[u8]| History::number(payload) == Some(number);
        if self.is_for_persistent(sent) && !sent.is_empty && sent.qos > 0 {
            let is_logged = self.logs().any(|log| {
                let mut entries = log.entries.iter().rev();
                entries.any(|entry| entry.lsn <= log.durable && is_it(&entry.message.payload))
            });
            if !is_logged {
                return Err("a persistent session is promised what is not durable");
            }
        }
        let placement = self.machine.placement();
        let owner = placement.owner_of(&sent.topic);
        let is_here = match sent.publisher {
            crate::world::history::Publisher::Client(client) => self
                .clients
                .get(client)
                .is_some_and(|client| placement.owner_of(&client.id) == owner),
            _ => true,
        };
        if sent.retain && !sent.is_empty && is_here {
            let is_kept = self.durable_records().any(|record| match record {
                Record::Retained { message } => is_it(&message.payload),
                _ => false,
            });
            if !is_kept {
                return Err("its retained message is not durable");
            }
        }
        Ok(())
    }

    /// Whether a session that outlives its connection surely holds a matching subscription: nothing
    /// has happened to it that its client cannot know.
    fn is_for_persistent(&self, sent: &Sent) -> bool {
        self.clients.iter().enumerate().any(|(number, client)| {
            let session = client.session.and_then(|at| self.history.sessions.get(at));
            let is_sure = client.stage == crate::world::Stage::Connected
                && client.unread.is_empty()
                && self.machine.is_performed(self.machine.placement().owner_of(&client.id))
                && client.link.is_some_and(|link| self.machine.is_heard(link));
            session.filter(|session| session.persistent && is_sure).is_some_and(|session| {
                session.held.iter().any(|held| {
                    // What was deleted since, the client does not know yet.
                    let is_deleted =
                        |(client, at): &(usize, usize)| *client == number && *at >= held.from;
                    held.until.is_none()
                        && !self.history.deleted.iter().any(is_deleted)
                        && held.qos > 0
                        && held.from < sent.sent_at
                        && !held.filter.starts_with("$share/")
                        && matches(&held.filter, &sent.topic)
                })
            })
        })
    }

    fn is_subscribed(&self, client_id: &str, wanted: &str) -> bool {
        self.durable_records().any(|record| match record {
            Record::Subscribed { client_id: held, filter, .. } => {
                &**held == client_id && &**filter == wanted
            }
            _ => false,
        })
    }

    fn logs(&self) -> impl Iterator<Item = &Log> {
        (0..self.plan.options.shards).filter_map(|shard| self.machine.log(shard))
    }

    pub(super) fn durable_records(&self) -> impl Iterator<Item = &Record> {
        self.logs().flat_map(|log| {
            let durable: Lsn = log.durable;
            let batches = log.batches.iter().rev().filter(move |batch| batch.lsn <= durable);
            batches.flat_map(|batch| batch.records.iter().rev())
        })
    }
}
