//! Performing what the shard asked for, in the order that [`Outbox`] documents.
//!
//! Records to the store, parcels and messages to the neighbours, answers, packets into write
//! buffers, one write for each connection, closes. What waits for the store leaves when the store
//! says so.

use std::sync::Arc;

use bitts_broker::{Close, ConnId, Frame, Input, Lsn, Message, Outbox, Parcel, ShardId, ShardSet};
use bitts_store::{Store, StoreEvent};
use bytes::Bytes;

use crate::conn::Phase;
use crate::mesh::Mail;
use crate::worker::Worker;
use crate::write_buffer::SHARED_FROM;

/// Packets in the outbox from which on it is performed before the turn ends.
const FRAMES_LARGE: usize = 8_192;
/// Unwritten bytes that make a connection slow while all together hold too many.
const SLOW_FROM: usize = 16 << 10;
/// Packets of one connection that wait for the store from which on it is not read.
pub(crate) const GATED_MAX: u32 = 1_000;
/// Bytes of packets in the outbox from which on it is performed before the turn ends.
const BYTES_LARGE: usize = 1 << 20;

impl Worker {
    /// Whether enough is to be done that nothing should be added first.
    pub(crate) fn is_large(&self) -> bool {
        self.out.frames.len() >= FRAMES_LARGE || self.out.bytes.len() >= BYTES_LARGE
    }

    pub(crate) fn flush_if_large(&mut self) {
        if self.is_large() {
            self.flush();
        }
    }

    /// Performs everything.
    pub(crate) fn flush(&mut self) {
        self.store_all();
        self.send_mail();
        let mut out = std::mem::take(&mut self.out);
        for (reply, answer) in out.replies.drain(..) {
            self.reply(reply, answer);
        }
        let mut shared = None;
        for frame in &out.frames {
            self.put_frame(&out, frame, &mut shared);
        }
        self.put_gated(&out, &mut shared);
        self.gated_replies.extend(out.gated_replies.drain(..));
        for id in out.refreshes.drain(..) {
            self.refresh(id);
        }
        for (id, close) in out.closes.drain(..) {
            self.close(id, close);
        }
        out.clear();
        self.out = out;
        self.release_gated();
        for id in std::mem::take(&mut self.dirty) {
            self.write(id);
        }
    }

    fn store_all(&mut self) {
        self.store.submit(self.now, &mut self.out);
        if std::mem::take(&mut self.is_checkpointed) {
            self.store.checkpointed(self.id);
        }
        while let Some(StoreEvent::Durable(lsn)) = self.store.poll() {
            self.durable = lsn;
            self.handle(Input::Durable(lsn));
        }
    }

    fn send_mail(&mut self) {
        let (from, is_holding) = (self.id, !self.gated_messages.is_empty());
        for (to, parcel) in self.out.parcels.drain(..) {
            if is_holding && parcel.is_in_order() {
                self.gated_parcels.push_back((Lsn::default(), to, parcel));
            } else {
                send_parcel(&mut self.lanes, &mut self.own_mails, from, to, parcel);
            }
        }
        self.send_lanes();
        let mut messages = std::mem::take(&mut self.out.messages);
        for (shards, message) in messages.drain(..) {
            if is_holding && message.is_in_order() {
                self.gated_messages.push_back((Lsn::default(), shards, message));
            } else {
                self.send_message(shards, &message);
            }
        }
        self.out.messages = messages;
        self.send_lanes();
        self.gated_parcels.extend(self.out.gated_parcels.drain(..));
        self.gated_messages.extend(self.out.gated_messages.drain(..));
        self.release_gated_mail();
    }

    /// Puts a message into the lanes of the shards that may want it.
    fn send_message(&mut self, mut shards: ShardSet, message: &Arc<Message>) {
        if message.retain {
            shards = shards.union(self.mesh.interest.shards_for(&message.topic));
        }
        for shard in shards.without(self.id).iter() {
            if let Some(lane) = self.lanes.get_mut(usize::from(shard.0)) {
                lane.push(Mail::Message(Arc::clone(message)));
            }
        }
    }

    /// Mail that waited for the store, and need not any more.
    pub(crate) fn release_gated_mail(&mut self) {
        if self.gated_parcels.is_empty() && self.gated_messages.is_empty() {
            return;
        }
        let (from, durable) = (self.id, self.durable);
        while let Some((_, to, parcel)) =
            self.gated_parcels.pop_front_if(|(lsn, ..)| *lsn <= durable)
        {
            send_parcel(&mut self.lanes, &mut self.own_mails, from, to, parcel);
        }
        self.send_lanes();
        while let Some((_, shards, message)) =
            self.gated_messages.pop_front_if(|(lsn, ..)| *lsn <= durable)
        {
            self.send_message(shards, &message);
        }
        self.send_lanes();
    }

    fn send_lanes(&mut self) {
        for (inbox, lane) in self.mesh.inboxes.iter().zip(&mut self.lanes) {
            inbox.send(lane);
        }
    }

    fn reply(&mut self, id: bitts_broker::ReplyId, answer: bitts_broker::command::Reply) {
        // Whoever asked may have gone meanwhile; nobody is left to be told.
        if let Some(sender) = self.replies.try_remove(id.0 as usize)
            && sender.send(answer).is_err()
        {
            tracing::trace!("nobody waits for this answer");
        }
    }

    /// Appends a packet to its connection's buffer. Hot: once per delivery.
    fn put_frame(&mut self, out: &Outbox, frame: &Frame, shared: &mut Option<(u64, Bytes)>) {
        let Some(conn) = self.conns.get_mut(frame.conn.index as usize) else { return };
        if conn.id != frame.conn {
            return;
        }
        if frame.tail_len as usize >= SHARED_FROM {
            let tail = match shared {
                Some((start, tail)) if *start == frame.tail_start => tail.clone(),
                _ => {
                    let tail = Bytes::copy_from_slice(out.tail(frame));
                    *shared = Some((frame.tail_start, tail.clone()));
                    tail
                }
            };
            conn.writes.append(&mut self.spares, |buffer| out.copy_head(frame, buffer));
            conn.writes.append_shared(tail);
        } else {
            conn.writes.append(&mut self.spares, |buffer| out.copy_frame(frame, buffer));
        }
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push(frame.conn);
        }
    }

    /// This turn writes it.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id)
            && !conn.is_dirty
        {
            conn.is_dirty = true;
            self.dirty.push(id);
        }
    }

    /// Packets whose position is durable leave; the others are kept, behind those that wait
    /// already.
    fn put_gated(&mut self, out: &Outbox, shared: &mut Option<(u64, Bytes)>) {
        for (lsn, frame) in &out.gated {
            if *lsn <= self.durable && self.gated.is_empty() {
                self.put_frame(out, frame, shared);
            } else {
                let mut bytes = Vec::new();
                out.copy_frame(frame, &mut bytes);
                if let Some(conn) = self.conn(frame.conn) {
                    conn.gated += 1;
                }
                self.gated.push_back((*lsn, frame.conn, bytes));
            }
        }
    }

    pub(crate) fn release_gated(&mut self) {
        while self.gated.front().is_some_and(|(lsn, ..)| *lsn <= self.durable) {
            let Some((_, id, bytes)) = self.gated.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id)
            else {
                continue;
            };
            conn.writes.append(&mut self.spares, |buffer| buffer.extend_from_slice(&bytes));
            conn.gated -= 1;
            if conn.is_held && conn.gated <= GATED_MAX / 2 && !conn.is_listed {
                conn.is_held = false;
                conn.is_listed = true;
                self.ready.push(id);
            }
            self.mark_dirty(id);
        }
        while self.gated_replies.front().is_some_and(|(lsn, ..)| *lsn <= self.durable) {
            if let Some((_, reply, answer)) = self.gated_replies.pop_front() {
                self.reply(reply, answer);
            }
        }
    }

    fn close(&mut self, id: ConnId, close: Close) {
        match close {
            Close::Now => self.drop_conn(id),
            Close::Flush => {
                self.set_phase(id, Phase::Closing);
                let linger = self.limits.linger.as_millis() as u64;
                self.linger_watch.set(self.now.moment.plus_millis(linger), id);
                self.mark_dirty(id);
            }
        }
    }

    /// Writes what a connection is to be sent, as far as it takes it.
    pub(crate) fn write(&mut self, id: ConnId) {
        let (now, limits) = (self.now.moment, &self.limits);
        let stall = limits.stall_timeout;
        let Some(conn) = self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id) else {
            return;
        };
        conn.is_dirty = false;
        let before = conn.writes.len();
        let mut outcome = conn.write(&mut self.spares);
        let is_last = conn.phase == Phase::Closing && conn.gated == 0;
        if let (Ok(true), true, Some(layers)) = (&outcome, is_last, &mut conn.layers)
            && layers.say_goodbye()
        {
            outcome = conn.write(&mut self.spares);
        }
        let left = conn.writes.len();
        self.unwritten_bytes += left;
        self.unwritten_bytes -= std::mem::replace(&mut conn.unwritten, left);
        let is_much = self.unwritten_bytes > limits.unwritten_bytes_max / self.lanes.len().max(1);
        let write_bytes_max = if is_much { SLOW_FROM } else { limits.write_bytes_max };
        if left < before || !conn.is_stall_watched {
            conn.taken_at = now;
        }
        if conn.has_to_write() && !conn.is_stall_watched {
            conn.is_stall_watched = true;
            self.stall_watch.set(now.plus_millis(stall.as_millis() as u64), id);
        }
        if conn.is_held && conn.gated <= GATED_MAX / 2 && left <= limits.write_bytes_max / 4 {
            conn.is_held = false;
            if !conn.is_listed {
                conn.is_listed = true;
                self.ready.push(id);
            }
        }
        if left > write_bytes_max && !conn.is_congested {
            conn.is_congested = true;
            self.shard.handle(self.now, Input::Congested { conn: id }, &mut self.out);
        } else if left <= write_bytes_max / 4 && conn.is_congested {
            conn.is_congested = false;
            self.relieved.push(id);
        }
        match outcome {
            Ok(true) if is_last => self.say_goodbye(id),
            Ok(_) => {}
            Err(error) => {
                tracing::trace!(%error, "cannot write to a connection");
                // Reading it will tell that it is broken.
                conn.is_read_closed = true;
                conn.writes = crate::write_buffer::WriteBuffer::default();
                if !conn.is_listed {
                    conn.is_listed = true;
                    self.ready.push(id);
                }
            }
        }
    }

    /// Everything is written: the peer closes, or is reset when its time to linger is over.
    fn say_goodbye(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.shut_down_writes().is_err() || conn.is_read_closed {
            self.drop_conn(id);
        }
    }
}

fn send_parcel(
    lanes: &mut [Vec<Mail>],
    own: &mut Vec<Mail>,
    from: ShardId,
    to: ShardId,
    parcel: Parcel,
) {
    if to == from {
        own.push(Mail::Parcel { from, parcel });
    } else if let Some(lane) = lanes.get_mut(usize::from(to.0)) {
        lane.push(Mail::Parcel { from, parcel });
    }
}
