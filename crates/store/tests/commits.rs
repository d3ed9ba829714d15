//! When a commit begins: at once where somebody waits, soon where nobody does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use bitts_broker::command::Reply;
use bitts_broker::record::{Batch, Lsn, Record};
use bitts_broker::{Now, Outbox, ReplyId, ShardId, ShardSet, Slot};
use bitts_store::{Committer, JournalStore, MemoryDisk, Notice, Restart, Store, StoreError};
use bitts_store::{Submissions, recover};

const SHARD: ShardId = ShardId(0);
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

/// A journal whose committer has a thread of its own.
struct Running {
    store: JournalStore,
    submissions: Arc<Submissions>,
    notices: Receiver<Notice>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    fn begin(disk: &MemoryDisk) -> Self {
        let (opened, _) = recover(disk.clone(), Now::default()).expect("a new directory");
        let journal = Restart::new(1).begin(opened, 7, true).expect("a journal");
        let (submissions, pages) = (Submissions::new(1), journal.page_index());
        let committer = Committer::new(journal, Arc::clone(&submissions), ShardSet::only(SHARD));
        let store = JournalStore::new(SHARD, Arc::clone(&submissions), pages);
        let (sender, notices) = mpsc::channel();
        let notify = move |_, notice| sender.send(notice).unwrap_or_default();
        let thread = std::thread::spawn(move || committer.run(&notify));
        Self { store, submissions, notices, thread }
    }

    fn submit(&mut self, lsn: u64, record: Option<Record>, awaited: Option<u64>) {
        let mut out = Outbox::default();
        if let Some(record) = record {
            let records = vec![record].into();
            out.batches.push(Batch { slot: Slot(0), lsn: Lsn(lsn), records });
        }
        out.gated_replies.extend(awaited.map(|gate| (Lsn(gate), ReplyId(1), Reply::Done)));
        self.store.submit(Now::default(), &mut out);
    }

    fn end(self) {
        self.submissions.close();
        self.thread.join().expect("no panic").expect("no failure");
    }

    fn commits(&self) -> u64 {
        self.submissions.gauges.commits.load(Ordering::Relaxed)
    }
}

fn settled(number: u64) -> Option<Record> {
    Some(Record::Settled { client_id: "lamp".into(), number })
}

/// Neither a later turn nor the end of the process is needed.
#[test]
fn what_nobody_waits_for_is_durable_soon() {
    let mut running = Running::begin(&MemoryDisk::default());
    for lsn in 1..=3 {
        running.submit(lsn, settled(lsn), None);
        assert_eq!(running.notices.recv_timeout(LONG), Ok(Notice::Durable(Lsn(lsn))));
    }
    running.end();
}

#[test]
fn what_nobody_waits_for_goes_with_what_somebody_waits_for() {
    let mut running = Running::begin(&MemoryDisk::default());
    for lsn in 1..=100 {
        running.submit(lsn, settled(lsn), None);
    }
    let ended = Some(Record::SessionEnded { client_id: "lamp".into() });
    running.submit(101, ended, Some(101));
    while running.notices.recv_timeout(LONG).expect("a commit") != Notice::Durable(Lsn(101)) {}
    // In a later turn somebody turns out to wait for what is there.
    running.submit(102, settled(102), None);
    running.submit(103, None, Some(102));
    assert_eq!(running.notices.recv_timeout(LONG), Ok(Notice::Durable(Lsn(102))));
    assert!(running.commits() < 20, "{} commits", running.commits());
    running.end();
}
