//! The retained messages this shard owns: the last one of each topic.
//!
//! Kept in the order of their topics, so that lists are pages of it and a filter is answered in
//! steps from the part that its literal beginning selects.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::message::Message;
use crate::time::Moment;

/// Bytes of messages that end one step of answering a filter.
const STEP_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RetainedTable {
    messages: BTreeMap<Box<str>, Arc<Message>>,
    bytes: usize,
}

/// How the number and the bytes of retained messages changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) messages: i64,
    pub(crate) bytes: i64,
}

impl Change {
    fn less(&mut self, old: Option<&Arc<Message>>) {
        if let Some(old) = old {
            self.messages -= 1;
            self.bytes -= old.bytes() as i64;
        }
    }
}

impl RetainedTable {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.messages.contains_key(topic)
    }

    /// Keeps the message, or removes its topic's where the payload is empty [MQTT-3.3.1-5..7].
    pub(crate) fn keep(&mut self, message: Arc<Message>) -> Change {
        let mut change = Change::default();
        if message.payload.is_empty() {
            change.less(self.messages.remove(&message.topic).as_ref());
        } else {
            change.messages += 1;
            change.bytes += message.bytes() as i64;
            change.less(self.messages.insert(message.topic.clone(), message).as_ref());
        }
        self.count(change)
    }

    fn count(&mut self, change: Change) -> Change {
        self.bytes = self.bytes.saturating_add_signed(change.bytes as isize);
        change
    }

    /// The topic's message, unless it expired.
    pub(crate) fn find(&self, topic: &str, now: Moment) -> Option<Arc<Message>> {
        self.messages.get(topic).filter(|message| !message.is_expired(now)).cloned()
    }

    /// Messages behind a topic, expired or not: at most `max`, and no more behind so many bytes.
    pub(crate) fn behind(
        &self,
        topic: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Vec<Arc<Message>> {
        let lower = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let mut bytes = 0;
        let messages = self.messages.range::<str, _>((lower, Bound::Unbounded));
        let messages = messages.map(|(_, message)| message).take(max).take_while(|message| {
            let is_room = bytes < bytes_max;
            bytes += message.bytes();
            is_room
        });
        messages.cloned().collect()
    }

    fn forget(&mut self, topics: &[Box<str>]) -> Change {
        let mut change = Change::default();
        for topic in topics {
            change.less(self.messages.remove(topic).as_ref());
        }
        self.count(change)
    }

    /// One page of the clients' part of the table behind a topic, and whether more follow.
    pub(crate) fn page(
        &self,
        after: Option<&str>,
        max: usize,
        now: Moment,
    ) -> (Vec<Arc<Message>>, bool) {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let live = self.messages.range::<str, _>((lower, Bound::Unbounded));
        let mut live =
            live.filter(|(topic, message)| !topic.starts_with('$') && !message.is_expired(now));
        let page: Vec<_> =
            live.by_ref().take(max).map(|(_, message)| Arc::clone(message)).collect();
        let more = live.next().is_some();
        (page, more)
    }

    /// One step of answering a Topic Filter: what matches among the next `step` topics behind
    /// `after`, the topic to go on behind, and what expired on the way.
    pub(crate) fn scan(
        &mut self,
        filter: &str,
        after: Option<&str>,
        step: usize,
        now: Moment,
    ) -> (Vec<Arc<Message>>, Option<Box<str>>, Change) {
        if !filter.contains(['+', '#']) {
            return (self.find(filter, now).into_iter().collect(), None, Change::default());
        }
        let prefix = literal_prefix(filter);
        let lower = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut found = Vec::new();
        let mut expired = Vec::new();
        let mut last = None;
        let mut seen = 0;
        let mut bytes = 0;
        let mut is_cut = false;
        for (topic, message) in self.messages.range::<str, _>((lower, Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                last = None;
                break;
            }
            last = Some(topic);
            if message.is_expired(now) {
                expired.push(topic.clone());
            } else if bitts_mqtt::matches(filter, topic) {
                bytes += message.bytes();
                found.push(Arc::clone(message));
            }
            seen += 1;
            is_cut = seen == step || bytes >= STEP_BYTES;
            if is_cut {
                break;
            }
        }
        let next = if is_cut { last.cloned() } else { None };
        (found, next, self.forget(&expired))
    }
}

/// The part of a filter before its first wildcard level, without the `/` that a `#` makes optional.
fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = filter.get(..end).unwrap_or_default();
    if filter.get(end..) == Some("#") { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitts_mqtt::QoS;

    fn message(topic: &str, payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: topic.into(),
            payload: payload.into(),
            properties: Box::default(),
            qos: QoS::Zero,
            retain: true,
            publisher: crate::NameKey(0),
            expires_at: None,
            accepted_unix_ms: 0,
            log: None,
        })
    }

    fn topics(found: &[Arc<Message>]) -> Vec<&str> {
        found.iter().map(|message| &*message.topic).collect()
    }

    /// [MQTT-3.3.1-5..7]
    #[test]
    fn the_last_message_of_a_topic_is_kept_and_an_empty_one_removes_it() {
        let mut table = RetainedTable::default();
        table.keep(message("a", "1"));
        table.keep(message("a", "2"));
        assert_eq!(table.len(), 1);
        assert_eq!(&*table.find("a", Moment(0)).unwrap().payload, b"2");
        table.keep(message("a", ""));
        assert_eq!((table.len(), table.bytes()), (0, 0));
    }

    #[test]
    fn a_filter_is_answered_in_steps() {
        let mut table = RetainedTable::default();
        for topic in ["a", "a/b", "a/b/c", "a/d", "ab", "b/b", "$x/b"] {
            table.keep(message(topic, "1"));
        }
        let (found, next, _) = table.scan("a/#", None, 2, Moment(0));
        assert_eq!(topics(&found), ["a", "a/b"]);
        let (found, next, _) = table.scan("a/#", next.as_deref(), 2, Moment(0));
        assert_eq!(topics(&found), ["a/b/c", "a/d"]);
        let (found, next, _) = table.scan("a/#", next.as_deref(), 9, Moment(0));
        assert_eq!((found.len(), next), (0, None));
        assert_eq!(topics(&table.scan("+/b", None, 99, Moment(0)).0), ["a/b", "b/b"]);
        assert_eq!(topics(&table.page(Some("a"), 2, Moment(0)).0), ["a/b", "a/b/c"]);
    }
}
