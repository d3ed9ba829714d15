//! Topic Aliases, which last as long as a Network Connection [MQTT-3.3.2-7].

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::limits::Limits;
use crate::reason::Violation;

/// What the client's aliases stand for.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    topics: Vec<Option<Arc<str>>>,
    bytes: usize,
}

impl InboundAliases {
    /// Lets an alias stand for a topic [MQTT-3.3.2-12].
    pub(crate) fn set(
        &mut self,
        alias: NonZeroU16,
        topic: &str,
        limits: &Limits,
    ) -> Result<(), Violation> {
        let at = usize::from(alias.get()) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        let Some(held) = self.topics.get_mut(at) else { return Ok(()) };
        if held.as_deref() == Some(topic) {
            return Ok(());
        }
        let bytes = self.bytes - held.as_ref().map_or(0, |held| held.len()) + topic.len();
        if bytes > limits.topic_alias_bytes_max {
            return Err(Violation::TopicAliasBytes);
        }
        self.bytes = bytes;
        *held = Some(topic.into());
        Ok(())
    }

    /// The topic an alias stands for.
    pub(crate) fn topic(&self, alias: NonZeroU16) -> Option<Arc<str>> {
        self.topics.get(usize::from(alias.get()) - 1)?.clone()
    }
}

/// What our aliases stand for: the first topics sent, as many as the client takes.
#[derive(Debug)]
pub(crate) struct OutboundAliases {
    topics: Vec<Box<str>>,
    max: usize,
    /// Bytes that further topics may take.
    bytes_left: usize,
}

impl OutboundAliases {
    pub(crate) fn new(max: u16, bytes_max: usize) -> Self {
        Self { topics: Vec::new(), max: usize::from(max), bytes_left: bytes_max }
    }

    /// The alias for a topic, and whether the client knows it already.
    pub(crate) fn find(&self, topic: &str) -> Option<(u16, bool)> {
        let number = |at: usize| u16::try_from(at + 1).ok();
        match self.topics.iter().position(|held| &**held == topic) {
            Some(at) => Some((number(at)?, true)),
            None if self.topics.len() < self.max && topic.len() <= self.bytes_left => {
                Some((number(self.topics.len())?, false))
            }
            None => None,
        }
    }

    /// The client was told what the next alias stands for.
    pub(crate) fn told(&mut self, topic: &str) {
        self.bytes_left = self.bytes_left.saturating_sub(topic.len());
        self.topics.push(topic.into());
    }
}
