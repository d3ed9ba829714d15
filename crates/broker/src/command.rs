//! What applications ask of the owner of a client, a topic or a shard, and the answers.
//!
//! DeleteConnection, GetConnection and ListSubscriptions go to the shard that owns the Client
//! Identifier, Publish and GetRetainedMessage to the owner of the topic, what is about shadows to
//! the owner of the thing, the lists and `Stats` to every shard. Whether the caller may is decided
//! before a command is sent.

use std::sync::Arc;

use bitts_aws::api::{ListNamedShadowsForThing, NamedShadowPage};
use bitts_aws::registry::Registry;
use bitts_aws::shadow::{Rejection, parse_request_topic};

use crate::direct::{DirectMessage, NotDelivered};
use crate::input::ReplyId;
use crate::message::{Message, NewMessage};
use crate::needs::Need;
use crate::outbox::Outbox;
use crate::rates::AccountRate;
use crate::reason::{Cause, Dropped, Stats};
use crate::reserved::ShadowRequest;
use crate::select::{Selected, Selector};
use crate::session::{Session, uuid_text};
use crate::shard::Shard;
use crate::time::Now;

/// A request to a shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// Put a client off (`delete-connection.md` §1.4).
    DeleteConnection {
        /// The client to put off; 1 to 128 bytes on AWS's path.
        client_id: String,
        /// End its session as well.
        clean_session: bool,
        /// Suppress its Will, also one that waits for its delay.
        prevent_will_message: bool,
        /// What goes further than AWS.
        further: Further,
    },
    /// One step over this shard's sessions: those that are selected.
    Select {
        /// Which.
        selector: Selector,
        /// Where to go on; 0 first.
        from: usize,
    },
    /// The state of one client id.
    GetConnection {
        /// The client asked for.
        client_id: String,
    },
    /// The subscriptions of one session, in the order of their filters' bytes.
    ListSubscriptions {
        /// The client asked for.
        client_id: String,
        /// Only filters behind this one.
        after: Option<String>,
        /// At most this many.
        max: usize,
    },
    /// Publish a message that no client sent.
    Publish(NewMessage),
    /// Publish a message of the server's own, under `$SYS`.
    PublishSystem(NewMessage),
    /// The retained message of one topic.
    GetRetainedMessage {
        /// Exact Topic Name.
        topic: String,
    },
    /// This shard's retained messages, by topic.
    ListRetainedMessages {
        /// Only topics behind this one.
        after: Option<String>,
        /// At most this many.
        max: usize,
    },
    /// This shard's sessions, by Client Identifier.
    ListConnections {
        /// Only Client Identifiers that begin so.
        prefix: String,
        /// Only Client Identifiers behind this one.
        after: Option<String>,
        /// At most this many.
        max: usize,
        /// `Some(true)`: connected ones only; `Some(false)`: offline ones only.
        connected: Option<bool>,
    },
    /// One message to one client. To the client's owner.
    SendDirectMessage(DirectMessage),
    /// GetThingShadow, UpdateThingShadow or DeleteThingShadow. To the thing's owner.
    Shadow(ShadowRequest),
    /// ListNamedShadowsForThing. To the thing's owner.
    ListNamedShadows(ListNamedShadowsForThing),
    /// This shard's counters.
    Stats,
    /// What clients of this shard needed to be decided in the last hour.
    Needs,
    /// Another registry decides from now on.
    SetRegistry(Arc<Registry>),
}

/// What a DeleteConnection may ask beyond AWS's; the default is AWS's.
#[derive(Clone, Debug, Default)]
pub struct Further {
    /// Only if this is the `sessionIdentifier` of its latest connection.
    pub if_session: Option<String>,
    /// For how long the Client Identifier may not connect, in seconds.
    pub hold_off_seconds: u32,
    /// Server Reference of the DISCONNECT, which is 0x9C then [MQTT5 4.13].
    pub server_reference: Option<Arc<str>>,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done; and stays done.
    Done,
    /// Nothing is known of that name.
    NotFound,
    /// The session is another than the one asked for.
    OtherSession,
    /// Those selected, and where to go on.
    Selected {
        /// In this step.
        clients: Vec<Selected>,
        /// There are more sessions to look at from here.
        next: Option<usize>,
    },
    /// GetConnection.
    Connection(Box<ConnectionInfo>),
    /// ListSubscriptions.
    Subscriptions {
        /// One page.
        subscriptions: Vec<SubscriptionInfo>,
        /// More follow the last one.
        more: bool,
    },
    /// GetRetainedMessage.
    Retained(Arc<Message>),
    /// ListRetainedMessages: one page of this shard's.
    RetainedList {
        /// One page.
        messages: Vec<Arc<Message>>,
        /// More follow the last one on this shard.
        more: bool,
    },
    /// ListConnections: one page of this shard's.
    Connections {
        /// One page.
        connections: Vec<ConnectionInfo>,
        /// More follow the last one on this shard.
        more: bool,
    },
    /// SendDirectMessage.
    NotDelivered(NotDelivered),
    /// The shadow's answer, as it is sent.
    Shadow(Vec<u8>),
    /// The shadow service refused.
    ShadowRejected(Rejection),
    /// ListNamedShadowsForThing.
    NamedShadows(NamedShadowPage),
    /// The disk is full, and it would have had to be kept.
    DiskFull,
    /// A limit refused it (retained messages).
    QuotaExceeded,
    /// It came too soon after others.
    Throttled,
    /// The topic is reserved for a service that does not exist here.
    Reserved,
    /// What was decided.
    Needs(Vec<Need>),
    /// This shard's counters.
    Stats(Box<Stats>),
}

/// What is known of a client id (contract `delete-connection.md` §2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionInfo {
    /// Client Identifier.
    pub client_id: String,
    /// A Network Connection is open.
    pub connected: bool,
    /// The session ends with its connection.
    pub clean_session: bool,
    /// Milliseconds since 1970; only while connected.
    pub connected_since: Option<u64>,
    /// Milliseconds since 1970; kept for 30 minutes after the disconnect.
    pub disconnected_since: Option<u64>,
    /// Why it was disconnected; as long as `disconnected_since`.
    pub disconnect_reason: Option<Cause>,
    /// `sessionIdentifier` of its latest connection.
    pub session_identifier: String,
    /// The thing that it speaks for.
    pub thing_name: Option<String>,
    /// Keep Alive as the client asked for it, in seconds.
    pub keep_alive: Option<u16>,
    /// Session Expiry Interval in seconds; absent for clean sessions.
    pub session_expiry: Option<u32>,
    /// The client's address; only while connected.
    pub source: Option<core::net::SocketAddr>,
    /// The listener's address; only while connected.
    pub target: Option<core::net::SocketAddr>,
    /// MQTT 5 (else 3.1.1).
    pub mqtt5: bool,
    /// Subscriptions of the session.
    pub subscriptions: usize,
    /// Messages waiting for the client.
    pub queued: usize,
}

/// One subscription of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionInfo {
    /// Topic Filter as sent, with its `$share` prefix if it has one.
    pub topic_filter: Arc<str>,
    /// Granted Maximum QoS.
    pub qos: u8,
}

impl Shard {
    pub(crate) fn on_command(
        &mut self,
        now: Now,
        command: Command,
        reply: ReplyId,
        out: &mut Outbox,
    ) {
        let before = self.lsn;
        let answer = match command {
            Command::DeleteConnection {
                client_id,
                clean_session,
                prevent_will_message,
                further,
            } => {
                let switches = (clean_session, prevent_will_message);
                self.delete_connection(now, &client_id, switches, &further, out)
            }
            Command::Select { selector, from } => {
                let (clients, next) = self.select(&selector, from);
                Reply::Selected { clients, next }
            }
            Command::GetConnection { client_id } => self.get_connection(now, &client_id),
            Command::ListSubscriptions { client_id, after, max } => {
                self.list_subscriptions(&client_id, after.as_deref(), max)
            }
            Command::Publish(message) => match parse_request_topic(&message.topic) {
                Some(asked) => {
                    return self.ask_shadow_by_publish(now, asked, &message.payload, reply, out);
                }
                None => self.publish_command(now, &message, out),
            },
            Command::SendDirectMessage(message) => {
                return self.send_direct_message(now, &message, reply, out);
            }
            Command::Shadow(request) => return self.on_shadow_command(now, request, reply, out),
            Command::ListNamedShadows(asked) => {
                return self.list_named_shadows(now, &asked, reply, out);
            }
            Command::PublishSystem(message) => {
                self.publish_new(now, &message, out);
                Reply::Done
            }
            Command::GetRetainedMessage { topic } if topic.starts_with('$') => Reply::NotFound,
            Command::GetRetainedMessage { topic } => {
                self.retained.find(&topic, now.moment).map_or(Reply::NotFound, Reply::Retained)
            }
            Command::ListRetainedMessages { after, max } => {
                let (messages, more) = self.retained.page(after.as_deref(), max, now.moment);
                Reply::RetainedList { messages, more }
            }
            Command::ListConnections { prefix, after, max, connected } => {
                self.list_connections(now, &prefix, after.as_deref(), max, connected)
            }
            Command::Needs => {
                let needs = self.authority.as_ref().map(|it| it.needs.all(now.unix_ms));
                Reply::Needs(needs.unwrap_or_default())
            }
            Command::SetRegistry(registry) => {
                self.take_registry(now, registry, out);
                Reply::Done
            }
            Command::Stats => Reply::Stats(Box::new(self.stats())),
        };
        if self.is_pending(out) && before > self.gates.durable {
            out.gated_replies.push((before, reply, answer));
        } else {
            out.replies.push((reply, answer));
        }
    }

    /// Puts a client off: contract `delete-connection.md` §1.4, row by row.
    ///
    /// The connection, the session and this call meet on one thread, so a client that returns
    /// meanwhile is served before or after it (DC-15, DC-16).
    fn delete_connection(
        &mut self,
        now: Now,
        client_id: &str,
        (clean_session, prevent_will_message): (bool, bool),
        further: &Further,
        out: &mut Outbox,
    ) -> Reply {
        // DC-10: neither a connection nor a session.
        let Some(index) = self.by_client.get(client_id).copied() else { return Reply::NotFound };
        let identifier = self.session(index).identifier;
        if further.if_session.as_ref().is_some_and(|asked| *asked != uuid_text(identifier)) {
            return Reply::OtherSession;
        }
        if further.hold_off_seconds > 0 {
            self.hold_offs.hold(client_id, now.moment, further.hold_off_seconds);
        }
        // DC-3, DC-6, DC-9: also a Will that waits for its delay.
        if prevent_will_message {
            self.discard_will(index);
        }
        let is_connected = self.session(index).connection.is_some();
        match (is_connected, clean_session) {
            // DC-5, DC-6: the session ends with its connection.
            (true, true) => {
                self.set_expiry(index, 0);
                self.server_reference.clone_from(&further.server_reference);
                self.end_connection(now, index, Cause::ApiInitiated, out);
            }
            // DC-1 to DC-4: the session lives as long as was agreed.
            (true, false) => {
                self.server_reference.clone_from(&further.server_reference);
                self.end_connection(now, index, Cause::ApiInitiated, out);
            }
            // DC-8.
            (false, true) => {
                self.end_session(now, index, out);
            }
            // DC-7: kept, and its expiry counts on.
            (false, false) => {}
        }
        Reply::Done
    }

    fn publish_command(&mut self, now: Now, message: &NewMessage, out: &mut Outbox) -> Reply {
        let is_retained = message.retain && !message.payload.is_empty();
        if message.topic.starts_with('$') {
            return if self.take_reserved(&message.topic) { Reply::Done } else { Reply::Reserved };
        }
        if !self.account_may(now, AccountRate::InboundPublish, self.rates.inbound_publish_requests)
            || (message.retain && !self.retains_in_time(now, &message.topic))
        {
            return Reply::Throttled;
        }
        if is_retained && self.is_retained_full(&message.topic) {
            return Reply::QuotaExceeded;
        }
        if self.has_no_disk(&message.topic, message.retain) {
            self.stats.drop_one(Dropped::DiskFull);
            return Reply::DiskFull;
        }
        self.publish_new(now, message, out);
        Reply::Done
    }

    fn get_connection(&self, now: Now, client_id: &str) -> Reply {
        let memory = self.limits.disconnect_memory_seconds;
        let session =
            self.by_client.get(client_id).and_then(|index| self.sessions.get(*index as usize));
        match (session, self.disconnects.find(client_id)) {
            (Some(session), _) => Reply::Connection(Box::new(session.info(now, memory))),
            (None, Some(gone)) => Reply::Connection(Box::new(gone.clone())),
            (None, None) => Reply::NotFound,
        }
    }

    fn list_subscriptions(&self, client_id: &str, after: Option<&str>, max: usize) -> Reply {
        let session =
            self.by_client.get(client_id).and_then(|index| self.sessions.get(*index as usize));
        let Some(session) = session else { return Reply::NotFound };
        let behind = session
            .subscriptions
            .iter()
            .filter(|held| after.is_none_or(|after| &*held.filter > after));
        let mut subscriptions: Vec<_> = behind
            .take(max.saturating_add(1))
            .map(|held| SubscriptionInfo {
                topic_filter: Arc::clone(&held.filter),
                qos: held.options.qos as u8,
            })
            .collect();
        let more = subscriptions.len() > max;
        subscriptions.truncate(max);
        Reply::Subscriptions { subscriptions, more }
    }

    fn list_connections(
        &self,
        now: Now,
        prefix: &str,
        after: Option<&str>,
        max: usize,
        connected: Option<bool>,
    ) -> Reply {
        let mut found: Vec<&Session> = self
            .sessions
            .iter()
            .map(|(_, session)| session)
            .filter(|session| session.client_id.starts_with(prefix))
            .filter(|session| after.is_none_or(|after| &*session.client_id > after))
            .filter(|session| connected.is_none_or(|is| session.connection.is_some() == is))
            .collect();
        found.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
        let more = found.len() > max;
        let memory = self.limits.disconnect_memory_seconds;
        let page = found.iter().take(max).map(|session| session.info(now, memory));
        Reply::Connections { connections: page.collect(), more }
    }
}
