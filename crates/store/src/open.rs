//! From a directory to what it adds up to, and the first frame of the process that goes on with it.

use std::collections::BTreeSet;

use bitts_broker::record::{Batch, Entry, Taken, encode, encode_restart};
use bitts_broker::recover::{Recovered, Recovery};
use bitts_broker::{Input, Now, Outbox, PageId, Shard, ShardId};

use crate::commit::{put_unit, units};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{Journal, Opened, empty_frame};
use crate::pages::missing_page;
use crate::segment::Frame;

/// Reads a journal, and adds up what it says.
pub fn recover<D: Disk>(disk: D, now: Now) -> Result<(Opened<D>, Recovered), StoreError> {
    let mut recovery = Recovery::new(now);
    let mut apply = |shards: u8, frame: Frame<'_>| {
        recovery.set_shards(shards);
        for unit in units(frame.body) {
            let unit = unit.ok_or("a unit that is cut off")?;
            recovery.apply(unit).map_err(|_| "not records of this version")?;
        }
        recovery.end_frame();
        Ok(())
    };
    let mut opened = Opened::read(disk, &mut apply)?;
    let mut recovered = recovery.finish();
    keep_needed_pages(&mut opened, &mut recovered)?;
    Ok((opened, recovered))
}

/// Every page that a session's queue is in must be there; no other is needed.
fn keep_needed_pages<D: Disk>(
    opened: &mut Opened<D>,
    recovered: &mut Recovered,
) -> Result<(), StoreError> {
    let pages = recovered.sessions.iter().flat_map(|session| &session.pages);
    let needed: BTreeSet<PageId> = pages.map(|page| page.id).collect();
    let place = opened.place();
    let pages = opened.pages();
    if let Some(missing) = needed.iter().find(|page| !pages.has(**page)) {
        return Err(missing_page(place, *missing));
    }
    recovered.next_page = recovered.next_page.max(pages.next_page());
    pages.retain(|page| needed.contains(&page));
    Ok(())
}

/// The first frame of a process: that it goes on from here, and what restoring its shards led to.
#[derive(Debug)]
pub struct Restart {
    shards: u8,
    body: Vec<u8>,
}

impl Restart {
    /// Of a process with this many shards.
    #[must_use]
    pub fn new(shards: u8) -> Self {
        let mut body = empty_frame();
        let mut unit = Vec::new();
        encode_restart(shards, &mut unit);
        put_unit(&mut body, &unit);
        Self { shards, body }
    }

    /// Takes what is to become durable of the shards out of their outboxes, and tells them that it
    /// is. Messages come first: a record may name one of another shard.
    pub fn submit(&mut self, now: Now, shards: &mut [Shard], outs: &mut [Outbox]) {
        for (number, out) in (0_u8..).zip(outs.iter()) {
            self.put(ShardId(number), now, (&[], &[], &out.entries));
        }
        for (number, (shard, out)) in (0_u8..).zip(shards.iter_mut().zip(outs)) {
            self.put(ShardId(number), now, (&out.taken, &out.batches, &[]));
            let entries = out.entries.drain(..).map(|entry| entry.lsn);
            let durable = out.batches.drain(..).map(|batch| batch.lsn).chain(entries).max();
            out.taken.clear();
            shard.handle(now, Input::Durable(durable.unwrap_or_default()), out);
        }
    }

    fn put(
        &mut self,
        shard: ShardId,
        now: Now,
        (taken, batches, entries): (&[Taken], &[Batch], &[Entry]),
    ) {
        if taken.is_empty() && batches.is_empty() && entries.is_empty() {
            return;
        }
        let mut unit = Vec::new();
        encode(shard, now, taken, batches, entries, &mut unit);
        put_unit(&mut self.body, &unit);
    }

    /// Writes it. A new directory is named by `identity`.
    pub fn begin<D: Disk>(
        mut self,
        opened: Opened<D>,
        identity: u128,
        is_synced: bool,
    ) -> Result<Journal<D>, StoreError> {
        opened.begin(identity, self.shards, is_synced, &mut self.body)
    }
}
