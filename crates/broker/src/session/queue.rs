//! Messages that wait for a session: in memory, and behind the first of them in pages on a disk.
//!
//! A page is a run of a queue that went to the store because memory is short
//! ([`crate::paging`]). The order is that of acceptance: what is in memory and next, the pages,
//! what came since the last page was written. A page is read when what is before it has almost
//! left, and the core never waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use bitts_mqtt::QoS;

use super::Identifiers;
use crate::message::Message;
use crate::record::{PageId, SavedOwed, SavedPage};

/// Places that an empty queue keeps.
const KEPT_MAX: usize = 256;
/// Messages before a page at which it is read.
const READ_AHEAD: usize = 64;
/// Bytes of messages that make a page: it ends with the one that reaches them.
const PAGE_BYTES: usize = 64 << 10;
/// How many times the memory that a page frees it may have bytes: others share these messages.
const SHARED_MAX: usize = 8;

/// A message that waits for its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    /// Which of those that the session is owed.
    pub(super) owed: u64,
    pub(super) message: Arc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Bytes of memory that are counted for it: of a message that several hold, a part.
    pub(super) memory: u32,
    pub(super) identifiers: Identifiers,
    pub(super) group: Option<Arc<str>>,
}

impl Queued {
    /// What is owed and not sent.
    pub(crate) fn restored(saved: SavedOwed) -> Option<Self> {
        let SavedOwed { number: owed, qos, retain, identifiers, group, message, .. } = saved;
        let message = message?;
        let memory = Self::memory_of(&message);
        Some(Self { owed, message, qos, retain, memory, identifiers, group })
    }

    /// Bytes of memory that a queue holds on to with a message: a part of it where others do too.
    /// Whoever gives it to the queue holds it too, and the entry of the log, for a moment.
    pub(super) fn memory_of(message: &Arc<Message>) -> u32 {
        let passing = 1 + usize::from(message.log.is_some());
        let hands = Arc::strong_count(message).saturating_sub(passing).max(1);
        (size_of::<Self>() + message.bytes() / hands) as u32
    }

    /// Which of those that the session is owed.
    pub(crate) fn number(&self) -> u64 {
        self.owed
    }

    /// Bytes for the limits of queues.
    pub(crate) fn bytes(&self) -> usize {
        self.message.bytes()
    }

    /// Bytes of memory that are counted for it.
    pub(crate) fn memory(&self) -> usize {
        self.memory as usize
    }

    pub(crate) fn saved(&self) -> SavedOwed {
        SavedOwed {
            number: self.owed,
            qos: self.qos,
            retain: self.retain,
            identifiers: self.identifiers.clone(),
            group: self.group.clone(),
            sent: None,
            message: Some(Arc::clone(&self.message)),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    head: VecDeque<Queued>,
    paged: Option<Box<Paged>>,
    bytes: usize,
}

/// What is behind the head of a queue.
#[derive(Debug, Default)]
struct Paged {
    /// Never empty.
    pages: VecDeque<SavedPage>,
    tail: VecDeque<Queued>,
    /// The first page was asked for.
    is_reading: bool,
}

impl Queue {
    /// Messages of all of it.
    pub(crate) fn len(&self) -> usize {
        let paged = self.paged.as_ref().map_or(0, |paged| {
            paged.tail.len() + paged.pages.iter().map(|page| page.count as usize).sum::<usize>()
        });
        self.head.len() + paged
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.paged.is_none()
    }

    /// Bytes of all of it, for the limits of queues.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next message is in memory.
    pub(super) fn is_ready(&self) -> bool {
        !self.head.is_empty()
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.bytes += queued.message.bytes();
        match &mut self.paged {
            Some(paged) => paged.tail.push_back(queued),
            None => self.head.push_back(queued),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.head.pop_front()?;
        self.bytes -= queued.message.bytes();
        Some(queued)
    }

    /// What was long and is empty keeps no memory.
    pub(super) fn let_go(&mut self) {
        if self.is_empty() && self.head.capacity() > KEPT_MAX {
            self.head = VecDeque::new();
        }
    }

    /// Bytes of memory that are counted for what is in it.
    pub(crate) fn memory(&self) -> usize {
        self.in_memory_from(0).map(Queued::memory).sum()
    }

    /// What is in memory, in order.
    pub(super) fn into_memory(self) -> impl Iterator<Item = Queued> {
        self.head.into_iter().chain(self.paged.into_iter().flat_map(|paged| paged.tail))
    }

    /// What is in memory from a number on, in order.
    pub(super) fn in_memory_from(&self, number: u64) -> impl Iterator<Item = &Queued> {
        let from = move |held: &VecDeque<Queued>| held.partition_point(|it| it.owed < number);
        let tail = self.paged.as_ref().map(|paged| &paged.tail);
        let tail = tail.into_iter().flat_map(move |tail| tail.iter().skip(from(tail)));
        self.head.iter().skip(from(&self.head)).chain(tail)
    }

    /// What is on the disk, in order.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &SavedPage> {
        self.paged.iter().flat_map(|paged| &paged.pages)
    }

    /// The page that is to be read now, which is noted.
    pub(super) fn wants_page(&mut self) -> Option<PageId> {
        let paged = self.paged.as_mut().filter(|paged| !paged.is_reading)?;
        if self.head.len() > READ_AHEAD {
            return None;
        }
        paged.is_reading = true;
        paged.pages.front().map(|page| page.id)
    }

    /// Takes a run of messages that is to become the queue's last page, from behind so many that
    /// stay; none where that would free less memory than `least` bytes.
    ///
    /// What came from a `$share` group ends a run, and stays in memory: where the session ends, it
    /// goes to another member.
    pub(crate) fn take_run(&mut self, keep: usize, least: usize) -> Option<Vec<Queued>> {
        let (held, keep) = match &self.paged {
            Some(paged) => (&paged.tail, 0),
            None => (&self.head, keep),
        };
        let (mut count, mut bytes, mut memory) = (0, 0, 0);
        for queued in held.iter().skip(keep) {
            if queued.group.is_some() || bytes >= PAGE_BYTES {
                break;
            }
            count += 1;
            bytes += queued.message.bytes();
            memory += queued.memory as usize;
        }
        if count == 0 || memory < least || bytes > memory * SHARED_MAX {
            return None;
        }
        let paged = self.paged.get_or_insert_with(|| {
            let tail = self.head.split_off(keep);
            self.head.shrink_to_fit();
            Box::new(Paged { tail, ..Paged::default() })
        });
        let run = paged.tail.drain(..count).collect();
        // It is memory that is short.
        if paged.tail.capacity() > KEPT_MAX.max(4 * paged.tail.len()) {
            paged.tail.shrink_to(2 * paged.tail.len());
        }
        Some(run)
    }

    /// What [`Queue::take_run`] took is this page.
    pub(crate) fn put_page(&mut self, page: SavedPage) {
        self.paged.get_or_insert_default().pages.push_back(page);
    }

    /// Makes room for so many messages, and no more.
    pub(super) fn reserve(&mut self, messages: usize) {
        self.head.reserve_exact(messages);
    }

    /// A page of the session as it was before a restart, behind what was pushed.
    pub(super) fn restore_page(&mut self, page: SavedPage) {
        self.bytes += page.bytes as usize;
        self.put_page(page);
    }

    /// The first page was read: its messages are next. Returns what the page was, unless it is not
    /// the one that was asked for.
    pub(crate) fn put_back(&mut self, page: PageId, messages: Vec<Queued>) -> Option<SavedPage> {
        let paged = self.paged.as_mut().filter(|paged| paged.is_reading)?;
        let taken = paged.pages.pop_front_if(|first| first.id == page)?;
        paged.is_reading = false;
        let bytes: usize = messages.iter().map(Queued::bytes).sum();
        self.bytes = self.bytes + bytes - taken.bytes as usize;
        self.head.extend(messages);
        if paged.pages.is_empty()
            && let Some(mut paged) = self.paged.take()
        {
            self.head.append(&mut paged.tail);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Arc<Message> {
        Arc::new(Message {
            topic: "a".into(),
            payload: vec![0; 100].into(),
            properties: Box::default(),
            qos: QoS::One,
            retain: false,
            publisher: crate::NameKey(0),
            expires_at: None,
            accepted_unix_ms: 0,
            log: None,
        })
    }

    /// What went to the disk leaves no room behind that nothing is in.
    #[test]
    fn a_queue_on_the_disk_keeps_little_memory() {
        let mut queue = Queue::default();
        for owed in 0..10_000 {
            let message = message();
            let memory = Queued::memory_of(&message);
            let (qos, retain, identifiers, group) = (QoS::One, false, Identifiers::new(), None);
            queue.push(Queued { owed, message, qos, retain, memory, identifiers, group });
        }
        let mut first = 0;
        while let Some(run) = queue.take_run(0, 1) {
            let (count, bytes) = (run.len() as u32, run.iter().map(|it| it.bytes() as u64).sum());
            let last = first + u64::from(count) - 1;
            queue.put_page(SavedPage { id: PageId(first), first, last, count, bytes });
            first = last + 1;
        }
        assert_eq!((first, queue.len(), queue.memory()), (10_000, 10_000, 0));
        let tail = queue.paged.as_ref().map_or(0, |paged| paged.tail.capacity());
        assert!(queue.head.capacity() + tail <= 2 * KEPT_MAX);
    }

    /// One queue's whole, and each one's part where several have it.
    #[test]
    fn a_message_that_many_wait_for_counts_once() {
        let message = message();
        let alone = Queued::memory_of(&message) as usize - size_of::<Queued>();
        assert_eq!(alone, message.bytes());
        let others: Vec<_> = (0..4).map(|_| Arc::clone(&message)).collect();
        let part = Queued::memory_of(&message) as usize - size_of::<Queued>();
        assert_eq!(part, message.bytes() / others.len());
    }
}
