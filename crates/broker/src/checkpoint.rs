//! A checkpoint: everything durable is written again, so that what was written before can go.
//!
//! It runs in steps between other inputs. A session, a retained message or a group's queue may
//! change before or after its turn: what is written is true at that point of the journal, and what
//! changes later follows it. Messages of the log are written once, before what refers to them.
//!
//! What is taken from the inbox meanwhile may be an entry from before the checkpoint, which goes
//! with what was written before. So until the store confirms that nothing of that kind is left,
//! whatever a record names is written too.

use std::sync::Arc;

use bitts_aws::shadow::ShadowId;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::message::Message;
use crate::outbox::Outbox;
use crate::publish::is_of_server;
use crate::record::{LogId, Record, Taken};
use crate::shard::Shard;
use crate::slot::Slot;

/// Bytes of messages in one step; the rest waits for the next.
const STEP_BYTES: usize = 256 << 10;
/// Sessions, retained messages or groups in one step.
const STEP_ITEMS: usize = 512;

/// The slot of all records of a checkpoint, so that they stay in the order in which they are made.
pub(crate) const SLOT: Slot = Slot(0);

/// Which messages of the log were written, and how far it is.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    kept: HashSet<LogId, FixedState>,
    /// The number of the first message of our log that is behind its beginning.
    first_entry: u64,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// What is remembered of clients and of other shards' logs.
    Memory,
    /// A session, and which of the messages it is owed; 0 where the session itself is due.
    Session { at: usize, owed: u64 },
    /// The retained messages behind a topic.
    Retained { behind: Option<Box<str>> },
    /// A group.
    Group { at: usize },
    /// The shadows behind one.
    Shadows { behind: Option<ShadowId> },
    /// All of it is written, and not yet confirmed.
    Written,
}

impl Shard {
    /// Whether a checkpoint is under way, which needs [`crate::Input::Checkpoint`] to go on.
    #[must_use]
    pub fn is_checkpointing(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(|it| !matches!(it.next, Next::Written))
    }

    /// Begins one, from the start if one is under way.
    pub(crate) fn begin_checkpoint(&mut self) {
        let kept = HashSet::with_hasher(FixedState::with_seed(self.placement.seed()));
        let first_entry = self.next_entry;
        self.checkpoint = Some(Box::new(Checkpoint { kept, first_entry, next: Next::Memory }));
    }

    /// What a record names, if it may go with what was written before a checkpoint that is not
    /// confirmed; the checkpoint has it from now on.
    pub(crate) fn keep_named(&mut self, record: &Record) -> Option<Arc<Message>> {
        let checkpoint = self.checkpoint.as_deref_mut()?;
        let message = match record {
            Record::Owed { owed, .. } => owed.message.as_ref()?,
            Record::Retained { message } | Record::Parked { message, .. } => message,
            Record::SessionAttached { .. }
            | Record::Principal { .. }
            | Record::SessionDetached { .. }
            | Record::SessionEnded { .. }
            | Record::Gone(_)
            | Record::WillDone { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::ReceivedReleased { .. }
            | Record::Paged { .. }
            | Record::Unpaged { .. }
            | Record::Sent { .. }
            | Record::Released { .. }
            | Record::Settled { .. }
            | Record::Shadow { .. }
            | Record::Unparked { .. }
            | Record::Session(_)
            | Record::Kept { .. } => return None,
        };
        let log = message.log?;
        let is_behind = log.shard == self.id && log.number >= checkpoint.first_entry;
        (!is_behind && checkpoint.kept.insert(log)).then(|| Arc::clone(message))
    }

    /// Does one step. A checkpoint of which all is written, this ends.
    pub(crate) fn go_on_with_checkpoint(&mut self, out: &mut Outbox) {
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        let Checkpoint { kept, next, .. } = &mut *checkpoint;
        let after = match next {
            Next::Memory => Some(self.write_memory(out)),
            Next::Session { at, owed } => Some(self.write_sessions(*at, *owed, kept)),
            Next::Retained { behind } => Some(self.write_retained(behind.take(), kept)),
            Next::Group { at } => Some(self.write_groups(*at, kept)),
            Next::Shadows { behind } => Some(self.write_shadows(behind.take())),
            Next::Written => None,
        };
        if let Some(after) = after {
            *next = after;
            self.checkpoint = Some(checkpoint);
        }
    }

    fn write_memory(&mut self, out: &mut Outbox) -> Next {
        out.taken.clear();
        let taken = self.taken.iter().map(|((from, to_retain), up_to)| Taken {
            from: *from,
            to_retain: *to_retain,
            up_to: *up_to,
        });
        out.taken.extend(taken);
        for gone in self.disconnects.saved() {
            self.record(SLOT, Record::Gone(Box::new(gone)));
        }
        Next::Session { at: 0, owed: 0 }
    }

    fn write_sessions(
        &mut self,
        from: usize,
        owed: u64,
        kept: &mut HashSet<LogId, FixedState>,
    ) -> Next {
        let mut owed = owed;
        let mut left = STEP_BYTES;
        for at in from..(from + STEP_ITEMS) {
            if at >= self.sessions.capacity() {
                return Next::Retained { behind: None };
            }
            let Some(session) = self.sessions.get(at).filter(|session| session.is_recorded) else {
                continue;
            };
            let client_id = Arc::clone(&session.client_id);
            if owed == 0 {
                let mut saved = session.saved();
                let principal = saved.principal.take();
                self.record(SLOT, Record::Session(Box::new(saved)));
                if let Some(principal) = principal {
                    let client_id = Arc::clone(&client_id);
                    self.record(SLOT, Record::Principal { client_id, principal });
                }
                for page in self.saved_pages(at as u32) {
                    let client_id = Arc::clone(&client_id);
                    self.record(SLOT, Record::Paged { client_id, page });
                }
            }
            for one in self.saved_owed(at as u32, owed, left) {
                owed = one.number + 1;
                if let Some(message) = &one.message {
                    left = left.saturating_sub(message.bytes());
                    self.keep(message, kept);
                }
                let client_id = Arc::clone(&client_id);
                self.record(SLOT, Record::Owed { client_id, owed: one });
            }
            if left == 0 {
                return Next::Session { at, owed: owed.max(1) };
            }
            owed = 0;
        }
        Next::Session { at: from + STEP_ITEMS, owed: 0 }
    }

    fn write_retained(
        &mut self,
        behind: Option<Box<str>>,
        kept: &mut HashSet<LogId, FixedState>,
    ) -> Next {
        let messages = self.retained.behind(behind.as_deref(), STEP_ITEMS, STEP_BYTES);
        let Some(last) = messages.last() else { return Next::Group { at: 0 } };
        let behind = Some(last.topic.clone());
        for message in messages {
            if is_of_server(&message.topic) {
                continue;
            }
            self.keep(&message, kept);
            self.record(SLOT, Record::Retained { message });
        }
        Next::Retained { behind }
    }

    fn write_groups(&mut self, from: usize, kept: &mut HashSet<LogId, FixedState>) -> Next {
        let mut left = STEP_BYTES;
        for at in from..(from + STEP_ITEMS) {
            if at >= self.groups.capacity() {
                return Next::Shadows { behind: None };
            }
            let Some(group) = self.groups.at(at as u32) else { continue };
            let name = Arc::clone(&group.name);
            for (number, message) in group.saved() {
                left = left.saturating_sub(message.bytes());
                self.keep(&message, kept);
                let group = Arc::clone(&name);
                self.record(SLOT, Record::Parked { group, number, message });
            }
            if left == 0 {
                return Next::Group { at: at + 1 };
            }
        }
        Next::Group { at: from + STEP_ITEMS }
    }

    fn write_shadows(&mut self, behind: Option<ShadowId>) -> Next {
        let shadows = self.reserved.shadows.saved(behind.as_ref(), STEP_ITEMS);
        let Some(behind) = shadows.last().map(|(id, _)| id.clone()) else { return Next::Written };
        for (id, state) in shadows {
            let (thing, shadow) = (id.thing().into(), id.name().map(Into::into));
            self.record(SLOT, Record::Shadow { thing, shadow, state });
        }
        Next::Shadows { behind: Some(behind) }
    }

    /// Writes a message of the log, unless this checkpoint did.
    fn keep(&mut self, message: &Arc<Message>, kept: &mut HashSet<LogId, FixedState>) {
        // Whoever gave it here has the one, and what is to be written the other.
        let is_alone = Arc::strong_count(message) <= 2;
        if let Some(log) = message.log
            && (is_alone || kept.insert(log))
        {
            self.record(SLOT, Record::Kept { message: Arc::clone(message) });
        }
    }
}
