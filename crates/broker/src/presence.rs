//! Lifecycle events, and what is remembered of clients that are gone.
//!
//! Events go the ordinary way of a message (contract `mqtt-broker.md` §9) and are made only where
//! somebody subscribes to them. Client ids with `+` or `#` cause none (B-15).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bitts_aws::events::{ConnectFailed, Connected, Disconnected, Subscriptions, event_topic};
use bitts_mqtt::{ProtocolVersion, QoS};

use crate::command::ConnectionInfo;
use crate::input::Origin;
use crate::message::NewMessage;
use crate::outbox::Outbox;
use crate::reason::Cause;
use crate::record::{Gone, Record};
use crate::session::{Session, uuid_text};
use crate::shard::{Map, Shard, map};
use crate::time::{Moment, Now};
use crate::timers::Reminder;

/// Who a client without a certificate is, while nobody asks for credentials.
const ANONYMOUS: &str = "anonymous";

/// What is remembered of a client whose session is gone.
#[derive(Debug)]
struct Disconnect {
    info: ConnectionInfo,
    at: Moment,
    version_number: u32,
    /// Names the connection in events.
    identifier: u128,
}

/// The disconnects of the last 30 minutes whose sessions ended, by client id.
#[derive(Debug)]
pub(crate) struct Disconnects {
    by_client: Map<Arc<str>, Box<Disconnect>>,
    /// In the order in which they are forgotten; entries that were replaced since are passed over.
    order: VecDeque<(Moment, Arc<str>)>,
}

impl Disconnects {
    pub(crate) fn new(seed: u64) -> Self {
        Self { by_client: map(seed), order: VecDeque::new() }
    }

    /// What the version number of the next connection counts on from.
    pub(crate) fn next_version(&mut self, client_id: &str) -> u32 {
        self.by_client.remove(client_id).map_or(u32::MAX, |held| held.version_number)
    }

    pub(crate) fn find(&self, client_id: &str) -> Option<&ConnectionInfo> {
        self.by_client.get(client_id).map(|held| &held.info)
    }

    /// Everybody, in the order in which they are forgotten.
    pub(crate) fn saved(&self) -> Vec<Gone> {
        let current = |(at, client_id): &(Moment, Arc<str>)| {
            let held = self.by_client.get(client_id).filter(|held| held.at == *at)?;
            Some(held.saved(client_id))
        };
        self.order.iter().filter_map(current).collect()
    }

    fn forget_first(&mut self) -> bool {
        let Some((at, client_id)) = self.order.pop_front() else { return false };
        if self.by_client.get(&client_id).is_some_and(|held| held.at <= at) {
            self.by_client.remove(&client_id);
        }
        true
    }
}

impl Disconnect {
    fn saved(&self, client_id: &Arc<str>) -> Gone {
        let info = &self.info;
        Gone {
            client_id: Arc::clone(client_id),
            at_unix_ms: info.disconnected_since.unwrap_or_default(),
            cause: info.disconnect_reason,
            keep_alive: info.keep_alive.unwrap_or_default(),
            expiry: info.session_expiry.unwrap_or_default(),
            version: if info.mqtt5 { ProtocolVersion::V5 } else { ProtocolVersion::V3_1_1 },
            version_number: self.version_number,
            identifier: self.identifier,
        }
    }
}

impl Session {
    /// Who the client is: the certificate's id, as AWS computes it.
    pub(crate) fn principal(&self) -> Cow<'static, str> {
        if let Some(known) = self.access.as_ref().and_then(|access| access.principal_identifier()) {
            return Cow::Owned(known.to_owned());
        }
        let Some(certificate) = &self.certificate else { return Cow::Borrowed(ANONYMOUS) };
        let number = certificate
            .chunks(16)
            .map(|half| half.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte)));
        number.map(|half| format!("{half:032x}")).collect::<Vec<_>>().concat().into()
    }

    /// The thing that its client speaks for.
    pub(crate) fn thing(&self) -> Option<&str> {
        self.access.as_ref().and_then(|access| access.thing())
    }

    /// The thing that its client speaks for alone.
    fn exclusive_thing(&self) -> Option<&str> {
        self.access.as_ref().and_then(|access| access.exclusive_thing())
    }

    /// What GetConnection says of it (GC-1, GC-2, GC-5).
    pub(crate) fn info(&self, now: Now, memory_seconds: u64) -> ConnectionInfo {
        let connected = self.connection.is_some();
        let is_recent = self.disconnected_at.plus_seconds(memory_seconds) > now.moment;
        let gone = !connected && is_recent;
        let connection = self.connection.as_ref();
        ConnectionInfo {
            client_id: self.client_id.to_string(),
            connected,
            clean_session: !self.is_persistent(),
            connected_since: connected.then_some(self.changed_unix_ms),
            disconnected_since: gone.then_some(self.changed_unix_ms),
            disconnect_reason: self.cause.filter(|_| gone),
            thing_name: self.thing().map(str::to_owned),
            session_identifier: uuid_text(self.identifier),
            keep_alive: Some(self.keep_alive),
            session_expiry: self.is_persistent().then_some(self.expiry),
            source: connection.map(|held| held.source),
            target: connection.map(|held| held.target),
            mqtt5: self.is_mqtt5(),
            subscriptions: self.subscriptions.len(),
            queued: self.queued(),
        }
    }
}

impl Shard {
    /// The session is gone; GetConnection still tells of it for a while (GC-3, GC-6).
    pub(crate) fn remember_disconnect(&mut self, now: Moment, session: &Session) {
        let memory = self.limits.disconnect_memory_seconds;
        let at = session.disconnected_at.plus_seconds(memory);
        if at <= now {
            return;
        }
        let as_of = Now { moment: now, unix_ms: 0 };
        let mut info = session.info(as_of, memory);
        info.subscriptions = 0;
        info.queued = 0;
        let client_id = Arc::clone(&session.client_id);
        let version_number = session.version_number;
        let identifier = session.identifier;
        let held = Box::new(Disconnect { info, at, version_number, identifier });
        self.record(session.slot, Record::Gone(Box::new(held.saved(&client_id))));
        self.keep_disconnect(client_id, held);
    }

    /// A client that a process before this one remembered.
    pub fn restore_gone(&mut self, now: Now, gone: Gone) {
        let ended = now.moment_of(gone.at_unix_ms);
        let at = ended.plus_seconds(self.limits.disconnect_memory_seconds);
        if at <= now.moment {
            return;
        }
        let info = ConnectionInfo {
            client_id: gone.client_id.to_string(),
            connected: false,
            clean_session: gone.expiry == 0,
            connected_since: None,
            disconnected_since: Some(gone.at_unix_ms),
            disconnect_reason: gone.cause,
            keep_alive: Some(gone.keep_alive),
            session_expiry: (gone.expiry > 0).then_some(gone.expiry),
            source: None,
            target: None,
            mqtt5: gone.version == ProtocolVersion::V5,
            subscriptions: 0,
            queued: 0,
            thing_name: None,
            session_identifier: uuid_text(gone.identifier),
        };
        let (version_number, identifier) = (gone.version_number, gone.identifier);
        let held = Disconnect { info, at, version_number, identifier };
        self.keep_disconnect(gone.client_id, Box::new(held));
    }

    fn keep_disconnect(&mut self, client_id: Arc<str>, held: Box<Disconnect>) {
        let at = held.at;
        self.disconnects.by_client.insert(Arc::clone(&client_id), held);
        if self.disconnects.order.is_empty() {
            self.timers.remind(at, Reminder::Disconnects);
        }
        self.disconnects.order.push_back((at, client_id));
        if self.disconnects.order.len() > self.limits.disconnects_remembered_max {
            self.disconnects.forget_first();
        }
    }

    pub(crate) fn forget_disconnects(&mut self, now: Moment) {
        while self.disconnects.order.front().is_some_and(|(at, _)| *at <= now) {
            self.disconnects.forget_first();
        }
        if let Some((at, _)) = self.disconnects.order.front() {
            self.timers.remind(*at, Reminder::Disconnects);
        }
    }

    pub(crate) fn announce_connected(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let Some(topic) = self.topic_of_event("presence/connected", index) else { return };
        let session = self.session(index);
        let source = session.connection.as_ref().map(|held| held.source.ip().to_string());
        let payload = Connected {
            client_id: &session.client_id,
            thing_name: session.exclusive_thing(),
            timestamp: now.unix_ms,
            session_identifier: &uuid_text(session.identifier),
            principal_identifier: &session.principal(),
            ip_address: source.as_deref().unwrap_or_default(),
            version_number: u64::from(session.version_number),
        }
        .json();
        self.publish_event(now, topic, payload, out);
    }

    pub(crate) fn announce_disconnected(
        &mut self,
        now: Now,
        index: u32,
        cause: Cause,
        out: &mut Outbox,
    ) {
        let Some(topic) = self.topic_of_event("presence/disconnected", index) else { return };
        let session = self.session(index);
        let payload = Disconnected {
            client_id: &session.client_id,
            thing_name: session.exclusive_thing(),
            timestamp: now.unix_ms,
            session_identifier: &uuid_text(session.identifier),
            principal_identifier: &session.principal(),
            reason: cause.disconnect_reason(),
            version_number: u64::from(session.version_number),
        }
        .json();
        self.publish_event(now, topic, payload, out);
    }

    pub(crate) fn announce_subscriptions(
        &mut self,
        now: Now,
        index: u32,
        subscribed: bool,
        filters: &[&str],
        out: &mut Outbox,
    ) {
        let event =
            if subscribed { "subscriptions/subscribed" } else { "subscriptions/unsubscribed" };
        let Some(topic) = self.topic_of_event(event, index).filter(|_| !filters.is_empty()) else {
            return;
        };
        let session = self.session(index);
        let event = Subscriptions {
            client_id: &session.client_id,
            thing_name: session.exclusive_thing(),
            timestamp: now.unix_ms,
            session_identifier: &uuid_text(session.identifier),
            principal_identifier: &session.principal(),
            topics: filters,
        };
        let payload = if subscribed { event.subscribed_json() } else { event.unsubscribed_json() };
        self.publish_event(now, topic, payload, out);
    }

    /// A client proved who it is and may not connect. It has no session.
    pub(crate) fn announce_connect_failed(
        &mut self,
        now: Now,
        client_id: &str,
        principal: &str,
        origin: &Origin,
        out: &mut Outbox,
    ) {
        let Some(topic) = self.topic_of_client_event("presence/connect_failed", client_id) else {
            return;
        };
        let (session, address) = (uuid_text(origin.entropy), origin.source.ip().to_string());
        let unix_ms = now.unix_ms;
        let event = ConnectFailed::unauthorized(client_id, unix_ms, principal, &session, &address);
        self.publish_event(now, topic, event.json(), out);
    }

    /// The topic of an event, if it is to be published at all.
    fn topic_of_event(&self, event: &str, index: u32) -> Option<String> {
        let client_id = &self.sessions.get(index as usize)?.client_id;
        self.topic_of_client_event(event, client_id)
    }

    fn topic_of_client_event(&self, event: &str, client_id: &str) -> Option<String> {
        if client_id.contains(['+', '#']) {
            return None;
        }
        let topic = event_topic(event, client_id);
        (!self.interest.shards_for(&topic).is_empty()).then_some(topic)
    }

    fn publish_event(&mut self, now: Now, topic: String, payload: Vec<u8>, out: &mut Outbox) {
        let message = NewMessage {
            topic,
            payload: payload.into(),
            qos: QoS::One,
            retain: false,
            properties: Vec::new(),
            message_expiry_interval: None,
        };
        self.publish_new_from(now, &message, self.will_gate, out);
    }
}
