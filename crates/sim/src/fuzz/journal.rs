//! The bytes of a journal's unit: reading ends; what it adds up to can be written and read again.

use bitts_broker::record::{Batch, encode};
use bitts_broker::recover::Recovery;
use bitts_broker::{Lsn, Moment, Now, ShardId, Slot};

const NOW: Now = Now { moment: Moment(1 << 42), unix_ms: 1_767_225_600_000 };

/// Takes a unit; whatever it says, the state is one that can be written and read.
pub fn journal(data: &[u8]) {
    let mut recovery = Recovery::new(NOW);
    if recovery.apply(data).is_err() {
        return;
    }
    recovery.end_frame();
    let first = recovery.finish();
    let mut records = Vec::new();
    first.each_record(&mut |record| records.push(record));
    let batch = Batch { slot: Slot(0), lsn: Lsn(1), records: records.into() };
    let mut unit = Vec::new();
    encode(ShardId(0), NOW, &[], &[batch], &[], &mut unit);
    let mut again = Recovery::new(NOW);
    assert_eq!(again.apply(&unit), Ok(()), "what was written is not read");
    let second = again.finish();
    assert_eq!(second.unknown, 0, "a record is about what was not written");
    // Names of messages that the input gives to two of them are its own mistake.
    assert_eq!(second.sessions.len(), first.sessions.len());
    assert_eq!(second.shadows, first.shadows);
}
