//! The journal on disks that lose power, tear writes and fail.

use std::io::ErrorKind;

use bitts_store::disk::Disk;
use bitts_store::segment::{FRAME_BYTES, Frame};
use bitts_store::{Journal, MemoryDisk, Opened, StoreError};
use proptest::prelude::*;

fn body(text: &str) -> Vec<u8> {
    let mut body = vec![0; FRAME_BYTES];
    body.extend_from_slice(text.as_bytes());
    body
}

/// What a disk's journal says, and the journal itself.
fn open(disk: &MemoryDisk) -> Result<(Opened<MemoryDisk>, Vec<String>), StoreError> {
    let mut texts = Vec::new();
    let mut apply = |_: u8, frame: Frame<'_>| {
        texts.push(String::from_utf8_lossy(frame.body).into_owned());
        Ok(())
    };
    let opened = Opened::read(disk.clone(), &mut apply)?;
    Ok((opened, texts))
}

fn begin(disk: &MemoryDisk) -> Result<(Journal<MemoryDisk>, Vec<String>), StoreError> {
    let (opened, texts) = open(disk)?;
    Ok((opened.begin(7, 2, true, &mut body("begin"))?, texts))
}

/// Appends and syncs until something fails; says what was promised.
fn work(journal: &mut Journal<MemoryDisk>, first: usize, count: usize) -> Vec<String> {
    let mut promised = Vec::new();
    for number in first..first + count {
        // Of several sectors, so that a write can be torn.
        let text = format!("{number} {}", "x".repeat(number * 97 % 1_500));
        let is_done = journal
            .append(&mut body(&text))
            .and_then(|()| if number % 5 == 4 { journal.rotate() } else { journal.sync() });
        if is_done.is_err() {
            break;
        }
        promised.push(text);
    }
    promised
}

fn without_begins(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().filter(|text| text != "begin").collect()
}

#[test]
fn frames_are_read_in_order_over_segments_and_restarts() {
    let disk = MemoryDisk::default();
    let mut promised = Vec::new();
    for start in 0..3 {
        let (mut journal, _) = begin(&disk).unwrap();
        promised.extend(work(&mut journal, start * 12, 12));
    }
    let (opened, texts) = open(&disk).unwrap();
    assert_eq!(without_begins(texts), promised);
    assert_eq!(opened.torn, None);
}

/// D5: an empty or foreign file is never mistaken for a new journal.
#[test]
fn a_journal_that_is_gone_is_missed() {
    let disk = MemoryDisk::default();
    drop(begin(&disk).unwrap());
    let (mut other, mut same) = (disk.clone(), disk.clone());
    let names = bitts_store::disk::Disk::names(&mut other).unwrap();
    for name in names.iter().filter(|name| name.starts_with("journal-")) {
        bitts_store::disk::Disk::remove(&mut same, name).unwrap();
    }
    assert!(matches!(open(&disk), Err(StoreError::Missing { .. })));
}

/// D6: killed at any operation of a restart, the next one gives the same state.
#[test]
fn a_restart_may_be_cut_short_anywhere() {
    for at in 1.. {
        let disk = MemoryDisk::default();
        let (mut journal, _) = begin(&disk).unwrap();
        let promised = work(&mut journal, 0, 7);
        disk.fail(at, ErrorKind::Other, true);
        let outcome = begin(&disk);
        let is_through = outcome.is_ok();
        drop(outcome);
        disk.lose_power(|| false);
        let (mut journal, texts) = begin(&disk).unwrap();
        assert_eq!(without_begins(texts), promised, "cut short at {at}");
        let more = work(&mut journal, 7, 3);
        disk.lose_power(|| false);
        let all = [promised, more].concat();
        assert_eq!(without_begins(open(&disk).unwrap().1), all, "cut short at {at}");
        if is_through {
            return;
        }
    }
}

/// D4: whatever operation fails, what was promised is there, and nothing is there that was not
/// written.
#[test]
fn every_operation_may_fail_once() {
    let (disk, mut reached) = (MemoryDisk::default(), 0);
    drop(begin(&disk).unwrap());
    for at in 1.. {
        let disk = MemoryDisk::default();
        let (mut journal, _) = begin(&disk).unwrap();
        disk.fail(at, ErrorKind::Other, false);
        let promised = work(&mut journal, 0, 12);
        let is_through = disk.operations() < at;
        disk.lose_power(|| false);
        let texts = without_begins(open(&disk).unwrap().1);
        assert_eq!(texts[..promised.len()], promised[..], "{at} fails");
        assert!(texts.len() <= promised.len() + 1, "{at} fails");
        reached = at;
        if is_through {
            break;
        }
    }
    assert!(reached > 30, "only {reached} operations were tried");
}

/// A full disk passes: the same frame is tried again, and is there once.
#[test]
fn a_write_that_had_no_space_is_tried_again() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = begin(&disk).unwrap();
    for number in 0..12 {
        let text = number.to_string();
        disk.fail(1, ErrorKind::StorageFull, false);
        let refused = journal.append(&mut body(&text)).expect_err("no space");
        assert!(refused.is_no_space(), "{refused}");
        journal.append(&mut body(&text)).and_then(|()| journal.sync()).unwrap();
    }
    let expected: Vec<String> = (0..12).map(|number: i32| number.to_string()).collect();
    assert_eq!(without_begins(open(&disk).unwrap().1), expected);
}

#[test]
fn a_sync_that_had_no_space_is_final() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = begin(&disk).unwrap();
    journal.append(&mut body("1")).unwrap();
    disk.fail(1, ErrorKind::StorageFull, false);
    assert!(!journal.sync().expect_err("it fails").is_no_space());
}

/// What is left of an earlier segment in the file is not read again, whatever frame ends before it.
#[test]
fn a_segment_is_written_over_an_earlier_one() {
    for count in 0..30 {
        let disk = MemoryDisk::default();
        let (mut journal, _) = begin(&disk).unwrap();
        let write = |journal: &mut Journal<MemoryDisk>, numbers: core::ops::Range<usize>| {
            let texts = numbers.map(|number| format!("{number} {}", "x".repeat(number * 31 % 700)));
            let texts: Vec<_> = texts.collect();
            for text in &texts {
                journal.append(&mut body(text)).and_then(|()| journal.sync()).unwrap();
            }
            texts
        };
        write(&mut journal, 0..29);
        journal.rotate().unwrap();
        journal.drop_before(journal.next()).unwrap();
        let files = disk.clone().names().unwrap();
        let spares = files.iter().filter(|name| name.starts_with("spare"));
        assert_eq!(spares.collect::<Vec<_>>(), ["spare", "spare-0000000000000001"]);
        write(&mut journal, 0..1);
        journal.rotate().unwrap();
        journal.drop_before(journal.next()).unwrap();
        let kept = write(&mut journal, 29..29 + count);
        assert_eq!(files.len(), disk.clone().names().unwrap().len(), "no file is made");
        drop(journal);
        let (opened, texts) = open(&disk).unwrap();
        assert_eq!((opened.torn, &texts), (None, &kept), "{count} frames");
        let (_, texts) = begin(&disk).unwrap();
        assert_eq!(texts, kept, "and not by the process after that");
    }
}

#[test]
fn segments_behind_a_checkpoint_go() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = begin(&disk).unwrap();
    work(&mut journal, 0, 12);
    journal.rotate().unwrap();
    let from = journal.next();
    let kept = work(&mut journal, 12, 3);
    journal.drop_before(from).unwrap();
    drop(journal);
    assert_eq!(open(&disk).unwrap().1, kept);
}

/// Whether what was promised on a disk with a mistake is there after loss of power.
fn is_kept(mistake: impl Fn(&MemoryDisk)) -> bool {
    let disk = MemoryDisk::default();
    let (mut journal, _) = begin(&disk).expect("a new journal");
    mistake(&disk);
    let promised = work(&mut journal, 0, 12);
    disk.lose_power(|| false);
    open(&disk).is_ok_and(|(_, texts)| without_begins(texts) == promised)
}

/// An acknowledgement before its sync, and a lost sync of the directory, do not stay unseen.
#[test]
fn what_is_not_synced_is_missed() {
    assert!(is_kept(|_| {}));
    assert!(!is_kept(MemoryDisk::forget_syncs));
    assert!(!is_kept(MemoryDisk::forget_directory_syncs));
}

proptest! {
    /// The power goes while frames are written that nobody was promised: every sector of them stays
    /// or not.
    #[test]
    fn torn_writes_lose_nothing_that_was_promised(
        count in 1..20_usize,
        more in 1..4_usize,
        sectors in proptest::collection::vec(any::<bool>(), 64),
        before in 0..20_usize,
    ) {
        let disk = MemoryDisk::default();
        let (mut journal, _) = begin(&disk).unwrap();
        // The next segment but one is written over this one.
        work(&mut journal, 0, before);
        journal.rotate().unwrap();
        journal.drop_before(journal.next()).unwrap();
        work(&mut journal, 0, 1);
        journal.rotate().unwrap();
        journal.drop_before(journal.next()).unwrap();
        let promised = work(&mut journal, 0, count);
        for number in 0..more {
            let text = format!("unpromised {number} {}", "y".repeat(900));
            journal.append(&mut body(&text)).unwrap();
        }
        let mut sectors = sectors.into_iter().cycle();
        disk.lose_power(|| sectors.next().unwrap_or_default());
        let (_, texts) = begin(&disk).unwrap();
        let texts = without_begins(texts);
        prop_assert_eq!(&texts[..promised.len()], &promised[..]);
        prop_assert!(texts[promised.len()..].iter().all(|text| text.starts_with("unpromised ")));
        // What was cut off stays so.
        prop_assert_eq!(without_begins(open(&disk).unwrap().1), texts);
    }

    /// D6: damage with good data behind it is refused, at the tail it is cut off: never garbage.
    #[test]
    fn no_damage_becomes_data(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let disk = MemoryDisk::default();
        let (mut journal, _) = begin(&disk).unwrap();
        let promised = [vec!["begin".to_owned()], work(&mut journal, 0, 4)].concat();
        drop(journal);
        let mut hurt = disk.clone();
        let name = "journal-0000000000000001";
        let mut bytes = hurt.read(name).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        // Behind the end stands a mark of it, and then anything.
        let at = at.index(end + 2 * FRAME_BYTES);
        bytes[at] ^= 1 << bit;
        hurt.write(name, 0, &bytes).unwrap();
        match open(&disk) {
            Ok((opened, texts)) => {
                prop_assert_eq!(opened.torn.is_some(), at < end + FRAME_BYTES);
                prop_assert_eq!(&texts[..], &promised[..texts.len()]);
                prop_assert_eq!(texts.len() + usize::from(at < end), promised.len());
            }
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
        }
    }
}
