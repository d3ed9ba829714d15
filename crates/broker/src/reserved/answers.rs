//! Answers that wait until what they tell is durable, in the order of the changes.
//!
//! Nothing that shows a change leaves before its record is on the disk, and no answer overtakes an
//! earlier one: what a get shows may be an update that is still to be written.

use std::collections::VecDeque;

use super::Asker;
use crate::command::Reply;
use crate::input::ReplyId;
use crate::message::NewMessage;
use crate::outbox::{Outbox, Parcel};
use crate::record::Lsn;
use crate::shard::Shard;
use crate::time::Now;

/// An answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The position that must be durable; none where nothing was changed.
    pub(crate) gate: Option<Lsn>,
    /// What is published.
    pub(crate) messages: Vec<NewMessage>,
    /// What happens then.
    pub(crate) then: Then,
}

/// How the answer ends.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nobody waits: that the request is in the log was answered.
    Nothing,
    /// Whoever asked is told, on their shard.
    Tell(Asker),
    /// A command is answered.
    Reply(ReplyId, Reply),
}

impl Waiting {
    fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|it| it.topic.len() + it.payload.len());
        let body = match &self.then {
            Then::Reply(_, Reply::Shadow(body)) => body.len(),
            Then::Reply(..) | Then::Tell(_) | Then::Nothing => 0,
        };
        size_of::<Self>() + body + messages.sum::<usize>()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: VecDeque<(Lsn, Waiting)>,
    bytes: usize,
}

impl Answers {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn pop(&mut self, durable: Lsn) -> Option<Waiting> {
        self.waiting.front().filter(|(gate, _)| *gate <= durable)?;
        let (_, waiting) = self.waiting.pop_front()?;
        self.bytes -= waiting.bytes();
        Some(waiting)
    }
}

impl Shard {
    /// Gives an answer, or lets it wait for the store and for those before it.
    pub(crate) fn answer_when_durable(&mut self, now: Now, waiting: Waiting, out: &mut Outbox) {
        let answers = &mut self.reserved.answers;
        let before = answers.waiting.back().map(|(gate, _)| *gate);
        match waiting.gate.or(before) {
            Some(gate) => {
                answers.bytes += waiting.bytes();
                answers.waiting.push_back((gate, waiting));
            }
            None => self.give(now, waiting, out),
        }
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
        while let Some(waiting) = self.reserved.answers.pop(self.gates.durable) {
            self.give(now, waiting, out);
        }
    }

    fn give(&mut self, now: Now, waiting: Waiting, out: &mut Outbox) {
        for message in &waiting.messages {
            self.publish_new(now, message, out);
        }
        match waiting.then {
            Then::Nothing => {}
            Then::Reply(reply, answer) => out.replies.push((reply, answer)),
            Then::Tell(asker) => {
                let shard = match asker {
                    Asker::Client { session, .. } => session.shard,
                    Asker::Publish { shard, .. } => shard,
                };
                self.tell(now, shard, Parcel::Answered { asker }, out);
            }
        }
    }
}
