//! A state written into a directory that is new: what was saved of a damaged one, or imported.

use bitts_broker::record::{Batch, Entry, Lsn, Record, encode};
use bitts_broker::recover::{Recovered, Untaken};
use bitts_broker::{Now, ShardId, ShardSet, Slot};

use crate::commit::put_unit;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{Journal, Opened, empty_frame};
use crate::open::Restart;

/// Bytes of records after which they are written as a frame.
const FRAME_BYTES_FULL: usize = 1 << 20;
/// Records after which they are encoded.
const RECORDS_PER_UNIT: usize = 256;

/// A new journal. Nothing is promised before [`Anew::end`].
#[derive(Debug)]
pub struct Anew<D> {
    journal: Journal<D>,
    now: Now,
    records: Vec<Record>,
    frame: Vec<u8>,
}

impl<D: Disk> Anew<D> {
    /// In a directory that is new, named by `identity`, as a process with this many shards would
    /// have left it.
    pub fn begin(disk: D, identity: u128, shards: u8, now: Now) -> Result<Self, StoreError> {
        let opened = Opened::read(disk, &mut |_, _| Ok(()))?;
        if opened.bytes() > 0 {
            return Err(StoreError::NotEmpty { place: opened.place() });
        }
        let journal = Restart::new(shards).begin(opened, identity, true)?;
        Ok(Self { journal, now, records: Vec::new(), frame: empty_frame() })
    }

    /// A record; what it names stands before it.
    pub fn record(&mut self, record: Record) -> Result<(), StoreError> {
        self.records.push(record);
        if self.records.len() < RECORDS_PER_UNIT {
            return Ok(());
        }
        self.encode_records();
        self.append(FRAME_BYTES_FULL)
    }

    /// A message that shards of the process before had not taken.
    pub fn untaken(&mut self, untaken: &Untaken) -> Result<(), StoreError> {
        let Some(log) = untaken.message.log else { return Ok(()) };
        self.encode_records();
        let entry = Entry {
            slot: Slot(0),
            lsn: Lsn(1),
            message: untaken.message.clone(),
            received: None,
            others: untaken.others.without(log.shard),
            keeper: untaken.to_retain.then(|| other_than(log.shard)),
        };
        let mut unit = Vec::new();
        encode(log.shard, self.now, &[], &[], &[entry], &mut unit);
        put_unit(&mut self.frame, &unit);
        self.append(FRAME_BYTES_FULL)
    }

    /// Everything is there: it is on stable storage when this returns.
    pub fn end(mut self) -> Result<(), StoreError> {
        self.encode_records();
        self.append(empty_frame().len() + 1)?;
        self.journal.sync()
    }

    fn encode_records(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let batch = Batch { slot: Slot(0), lsn: Lsn(1), records: records.into() };
        let mut unit = Vec::new();
        encode(ShardId(0), self.now, &[], std::slice::from_ref(&batch), &[], &mut unit);
        self.records = batch.records.into_vec();
        self.records.clear();
        put_unit(&mut self.frame, &unit);
    }

    /// Writes the frame if it has this many bytes.
    fn append(&mut self, from: usize) -> Result<(), StoreError> {
        if self.frame.len() < from {
            return Ok(());
        }
        self.journal.append(&mut self.frame)?;
        self.frame.truncate(empty_frame().len());
        Ok(())
    }
}

/// Writes a state into a directory that is new.
pub fn write_anew<D: Disk>(
    disk: D,
    identity: u128,
    recovered: &Recovered,
    now: Now,
) -> Result<(), StoreError> {
    let mut anew = Anew::begin(disk, identity, recovered.shards, now)?;
    let mut outcome = Ok(());
    recovered.each_record(&mut |record| {
        if outcome.is_ok() {
            outcome = anew.record(record);
        }
    });
    outcome?;
    for untaken in &recovered.untaken {
        anew.untaken(untaken)?;
    }
    anew.end()
}

/// Any other shard: who keeps a retained message is decided by its topic at the next start.
fn other_than(shard: ShardId) -> ShardId {
    if ShardSet::only(shard).contains(ShardId(0)) { ShardId(1) } else { ShardId(0) }
}
