//! Performing what a shard asked for, in the order that [`bitts_broker::Outbox`] documents.

use bitts_broker::command::Reply;
use bitts_broker::record::encode;
use std::sync::Arc;

use bitts_broker::{Close, ConnId, Input, Lsn, Message, ReplyId, ShardId, ShardSet};
use bitts_store::{Store, StoreEvent};

use super::conn::Ended;
use super::{Machine, Mail};

impl Machine {
    /// Performs a shard's outbox.
    pub(crate) fn flush(&mut self, shard: ShardId) {
        self.spoil(shard);
        let now = self.now;
        let core = self.core(shard);
        core.inputs = 0;
        let out = &core.out;
        if !(out.batches.is_empty() && out.entries.is_empty() && out.taken.is_empty()) {
            let mut unit = Vec::new();
            encode(shard, now, &out.taken, &out.batches, &out.entries, &mut unit);
            self.journal.push(unit);
            self.mark_submitted();
        }
        self.keep_pages(shard);
        let core = self.core(shard);
        core.store.submit(now, &mut core.out);
        while let Some(StoreEvent::Durable(lsn)) = core.store.poll() {
            core.durable = lsn;
            core.shard.handle(now, Input::Durable(lsn), &mut core.out);
        }
        self.send_mail(shard);
        let mut out = std::mem::take(&mut self.core(shard).out);
        for (reply, answer) in out.replies.drain(..) {
            self.answer_one(reply, answer);
        }
        for frame in &out.frames {
            let mut bytes = Vec::new();
            out.copy_frame(frame, &mut bytes);
            self.put_frame(shard, frame.conn, &bytes);
        }
        let durable = self.core(shard).durable;
        for (lsn, frame) in &out.gated {
            let mut bytes = Vec::new();
            out.copy_frame(frame, &mut bytes);
            if *lsn <= durable && self.core(shard).gated.is_empty() {
                self.put_frame(shard, frame.conn, &bytes);
            } else {
                self.core(shard).gated.push_back((*lsn, frame.conn, bytes));
            }
        }
        self.core(shard).gated_replies.extend(out.gated_replies.drain(..));
        for (conn, close) in out.closes.drain(..) {
            self.close(shard, conn, close);
        }
        out.clear();
        self.core(shard).out = out;
        self.release_gated(shard);
    }

    fn keep_pages(&mut self, shard: ShardId) {
        let is_on_disk = self.medium.is_some();
        let core = &mut self.cores[usize::from(shard.0)];
        core.reads.extend(core.out.reads.drain(..));
        if is_on_disk {
            if !core.out.pages.is_empty() || !core.out.freed.is_empty() {
                self.mark_submitted();
            }
            return;
        }
        for page in core.out.pages.drain(..) {
            if self.pages.insert(page.id, page.bytes).is_some() {
                self.faults.push(format!("{:?} is written again", page.id));
            }
        }
        for page in core.out.freed.drain(..) {
            if self.pages.remove(&page).is_none() {
                self.faults.push(format!("{page:?} is freed and is not there"));
            }
        }
    }

    /// A command is answered, for which there is one answer.
    fn answer_one(&mut self, ReplyId(id): ReplyId, answer: Reply) {
        if !self.answered.insert(id) {
            self.faults.push(format!("a command is answered again: {answer:?}"));
        }
        self.replies.insert(id, answer);
    }

    fn send_mail(&mut self, from: ShardId) {
        let is_holding = !self.core(from).gated_messages.is_empty();
        let parcels = std::mem::take(&mut self.core(from).out.parcels);
        for (to, parcel) in parcels {
            if is_holding && parcel.is_in_order() {
                self.core(from).gated_parcels.push_back((Lsn::default(), to, parcel));
            } else {
                self.post(to, from.0, Mail::Parcel(from, parcel));
            }
        }
        let messages = std::mem::take(&mut self.core(from).out.messages);
        for (shards, message) in messages {
            if is_holding && message.is_in_order() {
                self.core(from).gated_messages.push_back((Lsn::default(), shards, message));
            } else {
                self.send_message(from, shards, &message);
            }
        }
        let core = self.core(from);
        core.gated_parcels.extend(core.out.gated_parcels.drain(..));
        core.gated_messages.extend(core.out.gated_messages.drain(..));
        self.release_gated_mail(from);
    }

    fn send_message(&mut self, from: ShardId, mut shards: ShardSet, message: &Arc<Message>) {
        if message.retain {
            shards = shards.union(self.interest.shards_for(&message.topic));
        }
        for to in shards.without(from).iter() {
            self.post(to, from.0, Mail::Message(Arc::clone(message)));
        }
    }

    /// Mail that waited for the store, and need not any more.
    pub(super) fn release_gated_mail(&mut self, from: ShardId) {
        let durable = self.core(from).durable;
        let is_due = |lsn: Lsn| lsn <= durable;
        while let Some((_, to, parcel)) =
            self.core(from).gated_parcels.pop_front_if(|(lsn, ..)| is_due(*lsn))
        {
            self.post(to, from.0, Mail::Parcel(from, parcel));
        }
        while let Some((_, shards, message)) =
            self.core(from).gated_messages.pop_front_if(|(lsn, ..)| is_due(*lsn))
        {
            self.send_message(from, shards, &message);
        }
    }

    fn put_frame(&mut self, shard: ShardId, conn: ConnId, bytes: &[u8]) {
        let Some(link) = self.link_of(shard, conn) else { return };
        if self.conn(link).ended.is_some() {
            self.faults.push(format!("{link:?} is sent {bytes:02x?} behind its end"));
        }
        self.conn(link).received.extend_from_slice(bytes);
    }

    /// The link of a connection that the shard still holds.
    fn link_of(&mut self, shard: ShardId, conn: ConnId) -> Option<super::Link> {
        let link = (*self.core(shard).links.get(conn.index as usize)?)?;
        (self.conn(link).place == Some((shard, conn))).then_some(link)
    }

    fn close(&mut self, shard: ShardId, conn: ConnId, close: Close) {
        let Some(link) = self.link_of(shard, conn) else { return };
        self.set_closing(link);
        match close {
            Close::Flush => self.end_if_written(shard, conn),
            Close::Now => {
                self.release(link);
                self.conn(link).ended = Some(Ended::Dropped);
            }
        }
    }

    /// A connection that is to be closed ends when everything for it is written.
    fn end_if_written(&mut self, shard: ShardId, conn: ConnId) {
        if self.core(shard).gated.iter().any(|(_, held, _)| *held == conn) {
            return;
        }
        if let Some(link) = self.link_of(shard, conn)
            && self.conn(link).is_closing()
        {
            self.conn(link).ended = Some(Ended::Closed);
        }
    }

    fn release_gated(&mut self, shard: ShardId) {
        let durable = self.core(shard).durable;
        while self.core(shard).gated.front().is_some_and(|(lsn, ..)| *lsn <= durable) {
            if let Some((_, conn, bytes)) = self.core(shard).gated.pop_front() {
                self.put_frame(shard, conn, &bytes);
                self.end_if_written(shard, conn);
            }
        }
        while self.core(shard).gated_replies.front().is_some_and(|(lsn, ..)| *lsn <= durable) {
            if let Some((_, reply, answer)) = self.core(shard).gated_replies.pop_front() {
                self.answer_one(reply, answer);
            }
        }
    }

    /// The committer made everything of a shard durable up to here.
    pub(super) fn reach(&mut self, shard: ShardId, lsn: Lsn) {
        let now = self.now;
        let core = self.core(shard);
        core.durable = lsn;
        core.shard.handle(now, Input::Durable(lsn), &mut core.out);
        self.flush(shard);
    }

    /// A shard's store made everything durable that it was given.
    pub(crate) fn on_durable(&mut self, shard: ShardId) {
        let now = self.now;
        let core = self.core(shard);
        if let Some(lsn) = core.store.finish() {
            core.durable = lsn;
            core.shard.handle(now, Input::Durable(lsn), &mut core.out);
            self.flush(shard);
        }
    }
}
