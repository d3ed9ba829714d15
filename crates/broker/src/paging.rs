//! Which queues go to disk when memory is short: pages out, pages back in.
//!
//! Waiting messages of all sessions may hold [`crate::Limits::queued_memory_max`] bytes of memory.
//! Above that, runs of queues become pages ([`crate::session`]'s `queue`): first of the session
//! that made it so, then of sessions in turn. A page goes to the store with the record that says
//! what is in it ([`Record::Paged`]); when its turn comes it is read, and the session is owed its
//! messages by records again, so that what follows has something to refer to.

use std::sync::Arc;

use crate::outbox::{Outbox, Page, SessionRef};
use crate::reason::Dropped;
use crate::record::{PageId, Record, SavedPage, decode_page, encode_page};
use crate::session::{Queue, Queued};
use crate::shard::Shard;
use crate::slot::ShardId;
use crate::time::Now;

/// Messages at the head of a connected session's queue that stay in memory: so many, and no more
/// than one for each KiB that there may be.
const KEPT_CONNECTED: usize = 64;
/// Bytes of memory that a page frees at least, where its session made memory short: so many, or a
/// part of what there may be.
const OWN_LEAST: (usize, usize) = (16 << 10, 4);
/// The same for a session whose turn it is.
const OTHERS_LEAST: (usize, usize) = (1 << 10, 16);
/// Sessions looked at for one message that waits.
const LOOKS_MAX: usize = 64;
/// Bytes of pages written for one message that waits, about.
const WRITTEN_MAX: usize = 512 << 10;

/// How a shard keeps waiting messages out of memory.
#[derive(Debug)]
pub(crate) struct Paging {
    /// There is a disk to put them on.
    is_on: bool,
    /// Bytes of memory that waiting messages hold.
    pub(crate) memory: usize,
    memory_max: usize,
    /// Above so many bytes something is to be done.
    from: usize,
    /// The session whose turn it is.
    turn: usize,
    next: u64,
    /// Pages of this input.
    written: Vec<Page>,
}

impl Paging {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self {
            is_on: false,
            memory: 0,
            memory_max,
            from: memory_max,
            turn: 0,
            next: 1,
            written: Vec::new(),
        }
    }

    /// Below so many bytes memory is not short any more.
    fn enough(&self) -> usize {
        self.memory_max - self.memory_max / 16
    }

    fn least(&self, (bytes, part): (usize, usize)) -> usize {
        bytes.min(self.memory_max / part)
    }

    fn is_short(&mut self) -> bool {
        if self.memory <= self.enough() {
            self.from = self.memory_max;
        }
        self.is_on && self.memory > self.from
    }

    fn next_id(&mut self, shard: ShardId) -> PageId {
        let number = self.next;
        self.next += 1;
        PageId::new(shard, number)
    }

    fn next_turn(&mut self, sessions: usize) -> u32 {
        self.turn = if self.turn + 1 < sessions { self.turn + 1 } else { 0 };
        self.turn as u32
    }
}

impl Shard {
    /// The same shard with a store that keeps pages. `next` is a number that no page has had.
    pub fn keep_pages(&mut self, next: u64) {
        self.paging.is_on = true;
        self.paging.next = next;
    }

    /// A message waits for a session: where memory is short, some go to disk.
    pub(crate) fn relieve_memory(&mut self, now: Now, index: u32) {
        if !self.paging.is_short() || self.is_disk_full {
            return;
        }
        self.paging.from = self.paging.enough();
        let own = self.paging.least(OWN_LEAST);
        let others = self.paging.least(OTHERS_LEAST);
        let mut written = 0;
        while written < WRITTEN_MAX && self.paging.is_short() {
            let Some(bytes) = self.page_out(now, index, own) else { break };
            written += bytes;
        }
        for _ in 0..LOOKS_MAX {
            if written >= WRITTEN_MAX || !self.paging.is_short() {
                return;
            }
            let turn = self.paging.next_turn(self.sessions.capacity());
            written += self.page_out(now, turn, others).unwrap_or_default();
        }
        if written == 0 {
            // Nobody looks again before there is more.
            self.paging.from = self.paging.memory + self.paging.memory_max / 16;
        }
    }

    /// Makes the next page of a session's queue, where that frees so many bytes of memory; returns
    /// how many bytes it has.
    fn page_out(&mut self, now: Now, index: u32, least: usize) -> Option<usize> {
        let session = self.sessions.get_mut(index as usize)?;
        let kept = KEPT_CONNECTED.min(self.paging.memory_max >> 10);
        let keep = if session.connection.is_some() { kept } else { 0 };
        let outbound = session.outbound.as_mut()?;
        let run = outbound.queue.take_run(keep, least)?;
        let page = SavedPage {
            id: self.paging.next_id(self.id),
            first: run.first()?.number(),
            last: run.last()?.number(),
            count: run.len() as u32,
            bytes: run.iter().map(|held| held.bytes() as u64).sum(),
        };
        let mut bytes = Vec::with_capacity(page.bytes as usize / 2);
        encode_page(now, run.iter().map(Queued::saved), &mut bytes);
        self.paging.memory -= run.iter().map(Queued::memory).sum::<usize>();
        outbound.queue.put_page(page);
        let written = bytes.len();
        self.paging.written.push(Page { id: page.id, bytes });
        self.stats.pages_written += 1;
        if session.is_persistent() {
            let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
            self.record(slot, Record::Paged { client_id, page });
        }
        Some(written)
    }

    /// A page that a session asked for: its messages are next.
    pub(crate) fn on_loaded(
        &mut self,
        now: Now,
        session: SessionRef,
        page: PageId,
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(index) = self.resolve(session) else { return };
        let held = self.session(index);
        let Some(outbound) = &mut held.outbound else { return };
        let owed = decode_page(bytes, now);
        let is_readable = owed.is_ok();
        let owed = owed.unwrap_or_default();
        let messages: Vec<Queued> = owed.iter().cloned().filter_map(Queued::restored).collect();
        let memory = messages.iter().map(Queued::memory).sum::<usize>();
        let before = outbound.queue.bytes();
        let Some(taken) = outbound.queue.put_back(page, messages) else { return };
        let after = outbound.queue.bytes();
        let is_persistent = held.is_persistent();
        let (slot, client_id) = (held.slot, Arc::clone(&held.client_id));
        if !is_readable {
            self.stats.drop_many(Dropped::PageUnreadable, u64::from(taken.count));
        }
        self.queued_bytes = self.queued_bytes + after - before;
        self.paging.memory += memory;
        self.stats.pages_read += 1;
        if is_persistent {
            self.record(slot, Record::Unpaged { client_id: Arc::clone(&client_id), page });
            for owed in owed {
                let client_id = Arc::clone(&client_id);
                self.record(slot, Record::Owed { client_id, owed });
            }
        }
        out.freed.push(page);
        self.send_owed(now, index, out);
        self.remind_of_next(index);
    }

    /// A session is gone, and what waited for it.
    pub(crate) fn forget_queue(&mut self, queue: &Queue, out: &mut Outbox) {
        self.queued_bytes -= queue.bytes();
        self.paging.memory -= queue.memory();
        out.freed.extend(queue.pages().map(|page| page.id));
    }

    /// Hands over the pages of this input.
    pub(crate) fn hand_over_pages(&mut self, out: &mut Outbox) {
        out.pages.append(&mut self.paging.written);
    }
}
