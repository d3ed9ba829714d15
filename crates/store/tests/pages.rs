//! Pages of queues on a disk: there before the journal names them, gone when nothing needs them.

use std::io::ErrorKind;
use std::sync::Arc;

use bitts_broker::record::{Batch, Lsn, Record, SavedPage};
use bitts_broker::recover::Recovered;
use bitts_broker::{Moment, Now, Outbox, Page, PageId, ShardId, ShardSet, Slot};
use bitts_mqtt::ProtocolVersion;
use bitts_store::disk::Disk;
use bitts_store::{Committer, JournalStore, MemoryDisk, Restart, Store, StoreError, Submissions};
use bitts_store::{Opened, recover};

const NOW: Now = Now { moment: Moment(0), unix_ms: 1_767_225_600_000 };
const SHARD: ShardId = ShardId(0);

fn client() -> Arc<str> {
    Arc::from("lamp")
}

fn page(number: u64, bytes: usize) -> Page {
    Page { id: PageId::new(SHARD, number), bytes: vec![number as u8; bytes] }
}

fn attached() -> Record {
    Record::SessionAttached {
        client_id: client(),
        version: ProtocolVersion::V5,
        expiry: 60,
        keep_alive: 0,
        version_number: 1,
        identifier: 1,
        will: None,
    }
}

fn paged(number: u64) -> Record {
    let id = PageId::new(SHARD, number);
    let page = SavedPage { id, first: number * 10, last: number * 10 + 9, count: 10, bytes: 1_000 };
    Record::Paged { client_id: client(), page }
}

fn unpaged(number: u64) -> Record {
    Record::Unpaged { client_id: client(), page: PageId::new(SHARD, number) }
}

/// A journal with its one shard.
struct Written {
    committer: Committer<MemoryDisk>,
    store: JournalStore,
    lsn: u64,
}

impl Written {
    fn begin(disk: &MemoryDisk) -> Result<(Self, Recovered), StoreError> {
        let (opened, recovered) = recover(disk.clone(), NOW)?;
        let journal = Restart::new(1).begin(opened, 7, true)?;
        let (submissions, pages) = (Submissions::new(1), journal.page_index());
        let committer = Committer::new(journal, Arc::clone(&submissions), ShardSet::only(SHARD));
        let store = JournalStore::new(SHARD, submissions, pages);
        Ok((Self { committer, store, lsn: 0 }, recovered))
    }

    /// Hands over, and writes; says whether all of it is durable.
    fn commit(
        &mut self,
        pages: Vec<Page>,
        records: Vec<Record>,
        freed: &[u64],
    ) -> Result<(), StoreError> {
        self.lsn += 1;
        let mut out = Outbox { pages, ..Outbox::default() };
        out.freed.extend(freed.iter().map(|number| PageId::new(SHARD, *number)));
        out.batches.push(Batch { slot: Slot(0), lsn: Lsn(self.lsn), records: records.into() });
        self.store.submit(NOW, &mut out);
        while self.committer.step(&|_, _| {})? {}
        Ok(())
    }
}

fn pages_of(recovered: &Recovered) -> Vec<u64> {
    let pages = recovered.sessions.iter().flat_map(|session| &session.pages);
    pages.map(|page| page.id.number()).collect()
}

fn page_files(disk: &MemoryDisk) -> Vec<String> {
    let mut names = disk.clone().names().expect("names");
    names.retain(|name| name.starts_with("pages-"));
    names
}

fn reopened(disk: &MemoryDisk) -> (Opened<MemoryDisk>, Recovered) {
    recover(disk.clone(), NOW).expect("a sound directory")
}

#[test]
fn a_page_is_there_after_the_power_went() {
    let disk = MemoryDisk::default();
    let (mut written, _) = Written::begin(&disk).unwrap();
    written.commit(vec![], vec![attached()], &[]).unwrap();
    written.commit(vec![page(1, 500), page(2, 70_000)], vec![paged(1), paged(2)], &[]).unwrap();
    drop(written);
    disk.lose_power(|| false);
    let (mut opened, recovered) = reopened(&disk);
    assert_eq!(pages_of(&recovered), [1, 2]);
    assert_eq!(recovered.next_page, 3);
    for page in [page(1, 500), page(2, 70_000)] {
        assert_eq!(opened.read_page(page.id).unwrap(), page.bytes);
    }
}

#[test]
fn a_directory_whose_names_were_not_synced_is_refused() {
    let disk = MemoryDisk::default();
    let (mut written, _) = Written::begin(&disk).unwrap();
    written.commit(vec![], vec![attached()], &[]).unwrap();
    disk.forget_directory_syncs();
    written.commit(vec![page(1, 500)], vec![paged(1)], &[]).unwrap();
    drop(written);
    disk.lose_power(|| false);
    let error = recover(disk.clone(), NOW).expect_err("the page is gone");
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn what_is_in_a_page_is_checked_when_it_is_read() {
    let disk = MemoryDisk::default();
    let (mut written, _) = Written::begin(&disk).unwrap();
    written.commit(vec![page(1, 500)], vec![attached(), paged(1)], &[]).unwrap();
    drop(written);
    let [file] = &page_files(&disk)[..] else { panic!("one file") };
    disk.clone().write(file, 300, b"other").unwrap();
    let (mut opened, _) = reopened(&disk);
    let error = opened.read_page(PageId::new(SHARD, 1)).expect_err("it is damaged");
    assert!(error.to_string().contains(&format!("{file}: damaged at byte 64")), "{error}");
}

#[test]
fn pages_that_nobody_names_go_at_the_next_start() {
    let disk = MemoryDisk::default();
    let (mut written, _) = Written::begin(&disk).unwrap();
    written.commit(vec![page(1, 500)], vec![attached()], &[]).unwrap();
    drop(written);
    let (written, recovered) = Written::begin(&disk).unwrap();
    assert_eq!(recovered.next_page, 2, "its number is not used again");
    assert_eq!(page_files(&disk), Vec::<String>::new());
    drop(written);
}

#[test]
fn files_of_which_little_is_needed_are_written_together() {
    let disk = MemoryDisk::default();
    let (mut written, _) = Written::begin(&disk).unwrap();
    written.commit(vec![], vec![attached()], &[]).unwrap();
    let all: Vec<u64> = (1..=200).collect();
    for number in &all {
        written.commit(vec![page(*number, 1 << 20)], vec![paged(*number)], &[]).unwrap();
    }
    assert!(page_files(&disk).len() > 10);
    let (kept, gone): (Vec<u64>, Vec<u64>) = all.iter().partition(|number| **number % 15 == 0);
    for number in &gone {
        written.commit(vec![], vec![unpaged(*number)], &[*number]).unwrap();
    }
    let files = page_files(&disk).len();
    assert!(files <= 6, "{files} files of 16 MiB for {} pages of 1 MiB", kept.len());
    drop(written);
    disk.lose_power(|| false);
    let (mut opened, recovered) = reopened(&disk);
    assert_eq!(pages_of(&recovered), kept);
    for number in kept {
        let bytes = opened.read_page(PageId::new(SHARD, number)).unwrap();
        assert_eq!(bytes, page(number, 1 << 20).bytes);
    }
}

/// Whatever operation fails, what was durable before is there, and what the journal names is too.
#[test]
fn every_operation_may_fail() {
    for at in 1.. {
        let disk = MemoryDisk::default();
        let (mut written, _) = Written::begin(&disk).unwrap();
        written.commit(vec![page(1, 500)], vec![attached(), paged(1)], &[]).unwrap();
        disk.fail(at, ErrorKind::Other, true);
        let first = written.commit(vec![page(2, 500)], vec![paged(2)], &[]);
        let second = first
            .is_ok()
            .then(|| written.commit(vec![page(3, 500)], vec![paged(3), unpaged(1)], &[1]));
        let operations = disk.operations();
        drop(written);
        disk.lose_power(|| at % 2 == 0);
        let (mut opened, recovered) = reopened(&disk);
        let there = pages_of(&recovered);
        assert!(there.contains(&1) || there.contains(&3), "operation {at}: {there:?}");
        if first.is_ok() {
            assert!(there.contains(&2), "operation {at}: {there:?}");
        }
        for number in there {
            let bytes = opened.read_page(PageId::new(SHARD, number)).unwrap();
            assert_eq!(bytes, page(number, 500).bytes, "operation {at}");
        }
        if operations < at {
            assert!(second.is_some_and(|outcome| outcome.is_ok()));
            break;
        }
    }
}
