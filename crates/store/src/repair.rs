//! What can be read of a damaged journal.

use bitts_broker::Now;
use bitts_broker::record::decode_page;
use bitts_broker::recover::{Recovered, Recovery};

use crate::commit::units;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{failed, segments_of};
use crate::pages::Pages;
use crate::segment::{Frame, HEADER_BYTES, Header, is_end, next_frame, torn_bytes};

/// A place of a journal that could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The file.
    pub place: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What could be read.
#[derive(Debug)]
pub struct Salvaged {
    /// The state that it adds up to.
    pub recovered: Recovered,
    /// What names the directory, if any segment says so.
    pub identity: Option<u128>,
    /// What could not be read.
    pub damages: Vec<Damage>,
}

/// Reads every good frame of every segment, whatever stands between them. Nothing is changed.
pub fn salvage<D: Disk>(disk: &mut D, now: Now) -> Result<Salvaged, StoreError> {
    let mut recovery = Recovery::new(now);
    let mut salvaged = (None, Vec::new());
    let mut next = 0;
    let names = segments_of(disk)?;
    for name in &names {
        let is_last = Some(name) == names.last();
        let place = disk.place(name);
        let failed = |source| StoreError::Io { place: place.clone(), operation: "read", source };
        let bytes = disk.read(name).map_err(failed)?;
        let mut at = 0;
        if let Ok(header) = Header::parse(&bytes) {
            recovery.set_shards(header.shards);
            salvaged.0 = salvaged.0.or(Some(header.identity));
            at = HEADER_BYTES;
        }
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let here = Frame::parse(rest).map(|frame| (0, frame));
            let found = here.or_else(|| next_frame(rest, next));
            if found.is_none() && is_last && is_end(rest) {
                break;
            }
            let skipped = found.map_or(rest.len(), |(skipped, _)| skipped);
            if skipped > 0 {
                let gap = rest.get(..skipped).unwrap_or_default();
                let (place, offset, bytes) = (place.clone(), at as u64, torn_bytes(gap).max(1));
                salvaged.1.push(Damage { place, offset, bytes });
            }
            let Some((_, frame)) = found else { break };
            at += skipped + frame.len();
            // One that was written before what is known is a copy.
            if frame.number < next {
                continue;
            }
            next = frame.number + 1;
            let bad =
                units(frame.body).filter(|unit| unit.is_none_or(|it| recovery.apply(it).is_err()));
            if bad.count() > 0 {
                let bytes = frame.len() as u64;
                let (place, offset) = (place.clone(), at as u64 - bytes);
                salvaged.1.push(Damage { place, offset, bytes });
            }
            recovery.end_frame();
        }
    }
    let (identity, mut damages) = salvaged;
    let mut recovered = recovery.finish();
    put_back_pages(disk, now, &mut recovered, &mut damages)?;
    Ok(Salvaged { recovered, identity, damages })
}

/// Pages that can be read are owed without them; the new directory has none.
fn put_back_pages<D: Disk>(
    disk: &mut D,
    now: Now,
    recovered: &mut Recovered,
    damages: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    let names = disk.names().map_err(failed(disk, "", "list"))?;
    let pages = Pages::open(disk, &names)?;
    for session in &mut recovered.sessions {
        for page in session.pages.clone() {
            let owed = match pages.read(disk, page.id) {
                Ok(bytes) => decode_page(&bytes, now).ok(),
                Err(StoreError::Io { place, operation, source }) => {
                    return Err(StoreError::Io { place, operation, source });
                }
                Err(_) => None,
            };
            if owed.is_none() {
                let (place, offset) = pages.place(disk, page.id);
                damages.push(Damage { place, offset, bytes: page.bytes });
            }
            session.put_back(page.id, owed.unwrap_or_default());
        }
    }
    Ok(())
}
