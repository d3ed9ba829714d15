//! Every operation of the disk fails once, at every place, in everything that a store does: what
//! was promised before is there afterwards, and what failed promised nothing.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Arc;

use bitts_broker::record::{Batch, Record};
use bitts_broker::recover::Recovered;
use bitts_broker::{Lsn, Now, Outbox, ShardId, ShardSet, Slot};
use bitts_store::{
    Anew, Committer, JournalStore, MemoryDisk, Notice, Restart, Store as _, StoreError,
    Submissions, recover, salvage, write_anew,
};
use bytes::Bytes;

/// A shadow with a number for a state: a fact that is easily told.
fn fact(number: u64) -> Record {
    let state = Bytes::from(format!("{number} {}", "x".repeat(200)));
    Record::Shadow { thing: format!("thing-{number}").into(), shadow: None, state }
}

/// The numbers of the facts that a state has, ascending.
fn numbers(recovered: &Recovered) -> Vec<u64> {
    let number = |name: &str| name.strip_prefix("thing-").and_then(|digits| digits.parse().ok());
    let mut numbers: Vec<u64> =
        recovered.shadows.iter().filter_map(|(thing, ..)| number(thing)).collect();
    numbers.sort_unstable();
    numbers
}

/// Opens the journal, hands facts over, lets them be committed, and has checkpoints: what a process
/// does. Says which facts it was told are durable.
fn live(disk: &MemoryDisk, facts: std::ops::Range<u64>) -> (Vec<u64>, Result<(), StoreError>) {
    let promised = RefCell::new(Vec::new());
    let outcome = live_on(disk, facts, &promised);
    (promised.into_inner(), outcome)
}

fn live_on(
    disk: &MemoryDisk,
    facts: std::ops::Range<u64>,
    promised: &RefCell<Vec<u64>>,
) -> Result<(), StoreError> {
    let now = Now::default();
    let (opened, before) = recover(disk.clone(), now)?;
    let mut held = numbers(&before);
    let journal = Restart::new(1).begin(opened, 7, true)?;
    let (submissions, pages) = (Submissions::new(1), journal.page_index());
    let mut store = JournalStore::new(ShardId(0), Arc::clone(&submissions), pages);
    let shards = ShardSet::only(ShardId(0));
    let mut committer =
        Committer::new(journal, Arc::clone(&submissions), shards).with_checkpoints_from(2_000);
    let notices = RefCell::new(Vec::new());
    let notify = |_: ShardId, notice: Notice| notices.borrow_mut().push(notice);
    for number in facts {
        held.push(number);
        submit(&mut store, number, vec![fact(number)]);
        while committer.step(&notify)? {
            for notice in notices.take() {
                match notice {
                    Notice::Durable(Lsn(lsn)) => promised.borrow_mut().push(lsn),
                    Notice::Checkpoint => {
                        let all = held.iter().map(|number| fact(*number)).collect();
                        submit(&mut store, number, all);
                        submissions.checkpointed(ShardId(0));
                    }
                    Notice::Confirm => submissions.checkpointed(ShardId(0)),
                }
            }
        }
    }
    Ok(())
}

fn submit(store: &mut JournalStore, number: u64, records: Vec<Record>) {
    let mut out = Outbox::default();
    out.batches.push(Batch { slot: Slot(0), lsn: Lsn(number), records: records.into() });
    store.submit(Now::default(), &mut out);
}

/// What the disk has after the power went, which must be readable.
fn after_power(disk: &MemoryDisk) -> Vec<u64> {
    disk.lose_power(|| false);
    numbers(&recover(disk.clone(), Now::default()).expect("it starts").1)
}

/// Open, append, sync, roll a segment, checkpoint, remove segments: each may fail once.
#[test]
fn what_a_process_promised_survives_any_operation_that_fails() {
    for with_more in [false, true] {
        for at in 1.. {
            let disk = MemoryDisk::default();
            let (first, outcome) = live(&disk, 1..8);
            outcome.expect("nothing fails");
            disk.fail(at, ErrorKind::Other, with_more);
            let (promised, outcome) = live(&disk, 8..30);
            let is_through = disk.operations() < at;
            assert_eq!(outcome.is_ok(), is_through, "{at}");
            let there = after_power(&disk);
            for number in first.iter().chain(&promised) {
                assert!(there.contains(number), "{at} fails, and {number} is lost: {there:?}");
            }
            if is_through {
                assert!(at > 60, "only {at} operations were tried");
                break;
            }
        }
    }
}

/// A new journal is there as a whole, or what made it says that it is not.
#[test]
fn a_new_journal_survives_any_operation_that_fails() {
    let source = MemoryDisk::default();
    live(&source, 1..20).1.expect("nothing fails");
    let (_, state) = recover(source, Now::default()).expect("it is read");
    for at in 1.. {
        let disk = MemoryDisk::default();
        disk.fail(at, ErrorKind::Other, false);
        let outcome = write_anew(disk.clone(), 9, &state, Now::default());
        let is_through = disk.operations() < at;
        assert_eq!(outcome.is_ok(), is_through, "{at}");
        if is_through {
            assert_eq!(after_power(&disk), (1..20).collect::<Vec<_>>());
            assert!(at > 10, "only {at} operations were tried");
            return;
        }
    }
}

/// An import that fails leaves nothing that is taken for a directory of its own.
#[test]
fn a_journal_is_not_written_over() {
    let disk = MemoryDisk::default();
    live(&disk, 1..3).1.expect("nothing fails");
    let refused = Anew::begin(disk.clone(), 9, 1, Now::default());
    assert!(matches!(refused, Err(StoreError::NotEmpty { .. })));
    assert_eq!(after_power(&disk), [1, 2]);
}

/// A salvage changes nothing, and says so where it cannot read.
#[test]
fn a_salvage_reads_all_or_says_that_it_cannot() {
    let disk = MemoryDisk::default();
    live(&disk, 1..20).1.expect("nothing fails");
    for at in 1.. {
        disk.fail(at, ErrorKind::Other, false);
        let salvaged = salvage(&mut disk.clone(), Now::default());
        let is_through = disk.operations() < at;
        disk.revive();
        assert_eq!(salvaged.is_ok(), is_through, "{at}");
        if let Ok(salvaged) = salvaged {
            assert_eq!(numbers(&salvaged.recovered), (1..20).collect::<Vec<_>>());
            assert!(salvaged.damages.is_empty());
            return;
        }
    }
}
