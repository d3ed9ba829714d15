//! Who asked is told when what the answer tells is durable, in the order of the changes.
//!
//! Nothing that shows a change leaves before its record is on the disk, and no answer overtakes an
//! earlier one: what a get shows may be an update that is still to be written.

use std::collections::VecDeque;

use super::Asker;
use crate::command::Reply;
use crate::input::ReplyId;
use crate::outbox::{Outbox, Parcel};
use crate::record::Lsn;
use crate::shard::Shard;
use crate::time::Now;

/// Who is told, and what.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Whoever published the request hears, on their shard, that it is carried out.
    Tell(Asker),
    /// A command is answered.
    Reply(ReplyId, Reply),
}

impl Answer {
    fn bytes(&self) -> usize {
        let body = match self {
            Self::Reply(_, Reply::Shadow(body)) => body.len(),
            Self::Reply(..) | Self::Tell(_) => 0,
        };
        size_of::<Self>() + body
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: VecDeque<(Lsn, Answer)>,
    bytes: usize,
    /// The position of the last change of a shadow.
    changed: Lsn,
}

impl Answers {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The position that must be durable before anybody hears of what was just done: that of its
    /// change, or of the last one before it.
    pub(crate) fn gate(&mut self, change: Option<Lsn>) -> Lsn {
        self.changed = change.unwrap_or(self.changed);
        self.changed
    }

    fn pop(&mut self, durable: Lsn) -> Option<Answer> {
        let (_, answer) = self.waiting.pop_front_if(|(gate, _)| *gate <= durable)?;
        self.bytes -= answer.bytes();
        Some(answer)
    }
}

impl Shard {
    /// Gives an answer, or lets it wait for the store.
    pub(crate) fn answer_when_durable(
        &mut self,
        now: Now,
        gate: Lsn,
        answer: Answer,
        out: &mut Outbox,
    ) {
        if gate <= self.gates.durable {
            self.give(now, answer, out);
            return;
        }
        let answers = &mut self.reserved.answers;
        answers.bytes += answer.bytes();
        answers.waiting.push_back((gate, answer));
    }

    /// The store wrote something: what waited for it is given in a turn of its own.
    pub(crate) fn call_answers(&self, out: &mut Outbox) {
        let first = self.reserved.answers.waiting.front();
        if first.is_some_and(|(gate, _)| *gate <= self.gates.durable) {
            out.parcels.push((self.id, Parcel::AnswersDue));
        }
    }

    /// Gives the answers whose changes are durable.
    pub(crate) fn on_answers_due(&mut self, now: Now, out: &mut Outbox) {
        while let Some(answer) = self.reserved.answers.pop(self.gates.durable) {
            self.give(now, answer, out);
        }
    }

    fn give(&mut self, now: Now, answer: Answer, out: &mut Outbox) {
        match answer {
            Answer::Reply(reply, answer) => out.replies.push((reply, answer)),
            Answer::Tell(asker) => {
                let shard = match asker {
                    Asker::Client { session, .. } => session.shard,
                    Asker::Publish { shard, .. } => shard,
                };
                self.tell(now, shard, Parcel::Answered { asker }, out);
            }
        }
    }
}
