//! CONNECT to CONNACK: refusals, takeover, resumption, and what is agreed for the connection.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bitts_mqtt::{
    ConnAck, ConnAckProperties, Connect, ConnectVersion, DecodeError, Packet, ProtocolVersion,
    ReasonCode, SubscriptionOptions,
};

use super::{Connection, EXPIRY_NEVER, Session, encode_frame, uuid_text};
use crate::input::{ConnId, Origin, Proof};
use crate::outbox::{Close, Outbox};
use crate::permit::Access;
use crate::profile::Profile;
use crate::rates::{AccountRate, Rates};
use crate::reason::Cause;
use crate::record::{Lsn, Record};
use crate::route::Holder;
use crate::session::alias::OutboundAliases;
use crate::session::will::SessionWill;
use crate::shard::Shard;
use crate::time::Now;
use crate::timers::NEVER;

/// The Client Identifier of a client that sent none [MQTT-3.1.3-6]; on AWS one that no client can
/// ask for (B-8).
#[must_use]
pub fn assigned_client_id(profile: Profile, entropy: u128) -> String {
    let prefix = if profile.reserves_dollar_clients() { "$GEN/" } else { "auto-" };
    format!("{prefix}{}", uuid_text(entropy))
}

impl Shard {
    pub(crate) fn on_connect(
        &mut self,
        now: Now,
        conn: ConnId,
        connect: &Connect<'_>,
        (origin, proof): (Origin, Proof),
        out: &mut Outbox,
    ) {
        if let Err(reason) = self.is_acceptable(connect) {
            self.refuse(conn, connect.version, reason, reason.phrase(), out);
            return;
        }
        let assigned =
            connect.client_id.is_empty().then(|| assigned_client_id(self.profile, origin.entropy));
        let client_id: &str = assigned.as_deref().unwrap_or(connect.client_id);
        let expiry = self.agreed_expiry(connect);
        // Who may not connect learns nothing of what there is.
        let admitted = self.admit(now, connect, client_id, (&origin, proof, expiry > 0), out);
        let admitted = admitted.and_then(|access| {
            self.has_room_for_client(now, connect.client_id)?;
            Ok(access)
        });
        let access = match admitted {
            Ok(access) => access,
            Err(reason) => {
                self.refuse(conn, connect.version, reason, reason.phrase(), out);
                return;
            }
        };
        if !self.fits_connack(connect, expiry, assigned.as_deref(), out) {
            *self.stats.refused.entry("connack_too_large").or_default() += 1;
            out.closes.push((conn, Close::Now));
            return;
        }
        let resumed = self.take_over(now, client_id, connect, access.as_deref(), out);
        let index = resumed.unwrap_or_else(|| self.new_session(client_id.into()));
        self.attach(now, index, conn, connect, origin);
        self.session(index).access = access;
        self.set_expiry(index, expiry);
        self.record_attached(index, resumed.is_some());
        let packet = self.connack(connect, expiry, assigned.as_deref(), resumed.is_some());
        // Also on the end of the session that this one replaces.
        let gate = self.is_pending(out).then_some(self.lsn);
        self.acknowledge(index, &packet, gate, out);
        if let Some(connection) = &mut self.session(index).connection {
            connection.open_gate = connection.ack_gate;
        }
        self.stats.connects += 1;
        self.remind_of_next(index);
        self.announce_connected(now, index, out);
        if resumed.is_some() {
            self.resume_deliveries(now, index, out);
        }
        self.update_memberships(now, index, out);
    }

    /// Ends what the client had; its session, where it goes on with that.
    fn take_over(
        &mut self,
        now: Now,
        client_id: &str,
        connect: &Connect<'_>,
        access: Option<&Access>,
        out: &mut Outbox,
    ) -> Option<u32> {
        // What was due of the session before this moment happens first.
        if let Some(old) = self.by_client.get(client_id).copied() {
            self.settle_offline(now, old, out);
        }
        if let Some(old) = self.by_client.get(client_id).copied() {
            self.end_connection(now, old, Cause::DuplicateClientId, out);
        }
        // A session without expiry went with its connection, or with the process that had it: then
        // only its Will is left, and the client is back in time.
        let old = self.by_client.get(client_id).copied();
        if let Some(old) = old.filter(|old| !self.session(*old).is_persistent()) {
            self.discard_will(old);
        }
        let is_resumed = old.is_some_and(|old| self.may_resume(old, connect, access));
        if let Some(old) = old.filter(|_| !is_resumed) {
            self.end_session(now, old, out);
        }
        old.filter(|_| is_resumed)
    }

    fn may_resume(&mut self, index: u32, connect: &Connect<'_>, access: Option<&Access>) -> bool {
        let session = self.session(index);
        let is_its = access.is_none_or(|access| access.owns(session.access.as_deref()));
        let is_same_version = session.version == connect.version;
        session.is_persistent()
            && is_its
            && !connect.clean_start
            && (is_same_version || self.profile.resumes_across_versions())
    }

    /// What refuses a CONNECT that is well-formed, whoever sends it.
    fn is_acceptable(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        if connect.properties.authentication_method.is_some() {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        let is_reserved =
            self.profile.reserves_dollar_clients() && connect.client_id.starts_with('$');
        if connect.client_id.len() > self.limits.client_id_bytes_max || is_reserved {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.will.as_ref().is_some_and(|will| will.qos > self.profile.maximum_qos()) {
            return Err(ReasonCode::QoSNotSupported);
        }
        if let Some(will) = &connect.will
            && will.payload.len() > self.profile.payload_bytes_max()
        {
            return Err(ReasonCode::QuotaExceeded);
        }
        if let Some(will) = &connect.will
            && (will.topic.starts_with('$') || self.is_topic_too_long(will.topic))
        {
            return Err(ReasonCode::TopicNameInvalid);
        }
        Ok(())
    }

    /// Whether one more client fits, and this one is in time.
    fn has_room_for_client(&mut self, now: Now, client_id: &str) -> Result<(), ReasonCode> {
        let known = self.by_client.get(client_id);
        let known = known.and_then(|index| self.sessions.get(*index as usize));
        let is_takeover = known.is_some_and(|session| session.connection.is_some());
        if !is_takeover && self.connected >= self.limits.connections_max {
            return Err(ReasonCode::ServerBusy);
        }
        if known.is_none() && self.sessions.len() >= self.limits.sessions_max {
            return Err(ReasonCode::QuotaExceeded);
        }
        if self.hold_offs.holds(client_id, now.moment) {
            return Err(ReasonCode::ServerBusy);
        }
        let is_in_time = self.connects_in_time(now, client_id);
        is_in_time.then_some(()).ok_or_else(|| self.profile.connect_rate_reason())
    }

    /// Whether neither the account nor this client connects more often than it may.
    fn connects_in_time(&mut self, now: Now, client_id: &str) -> bool {
        let Rates { connect_requests, connect_requests_per_client_id: per_client, .. } = self.rates;
        let key = self.placement.key_of(client_id);
        (client_id.is_empty() || self.connect_rates.take(now.moment, key, per_client))
            && self.account_may(now, AccountRate::Connect, connect_requests)
    }

    pub(crate) fn is_topic_too_long(&self, topic: &str) -> bool {
        let topic = self.profile.counted_topic(topic);
        topic.len() > self.limits.topic_bytes_max
            || topic.bytes().filter(|byte| *byte == b'/').count() >= self.limits.topic_levels_max
    }

    /// Seconds the session outlives its connection; 3.1.1 knows only none or as long as we keep it.
    fn agreed_expiry(&self, connect: &Connect<'_>) -> u32 {
        match connect.version {
            ProtocolVersion::V3_1_1 if connect.clean_start => 0,
            ProtocolVersion::V3_1_1 => self.profile.persistent_expiry(&self.limits),
            ProtocolVersion::V5 => connect
                .properties
                .session_expiry_interval
                .unwrap_or(0)
                .min(self.limits.session_expiry_max),
        }
    }

    pub(super) fn new_session(&mut self, client_id: Arc<str>) -> u32 {
        self.next_generation = self.next_generation.wrapping_add(1);
        let key = self.placement.key_of(&client_id);
        let index = self.sessions.insert(Session {
            client_id: Arc::clone(&client_id),
            key,
            slot: self.placement.slot_of(&client_id),
            generation: self.next_generation,
            version: ProtocolVersion::V3_1_1,
            expiry: 0,
            keep_alive: 0,
            keep_alive_counted: 0,
            connection: None,
            last_packet: crate::time::Moment::default(),
            changed_unix_ms: 0,
            disconnected_at: crate::time::Moment::default(),
            cause: None,
            identifier: 0,
            version_number: self.disconnects.next_version(&client_id),
            certificate: None,
            access: None,
            is_recorded: false,
            reminder: NEVER,
            subscriptions: Vec::new(),
            will: None,
            inbound: None,
            outbound: None,
            shapes: None,
            extra: None,
        }) as u32;
        self.by_client.insert(client_id, index);
        index
    }

    fn attach(
        &mut self,
        now: Now,
        index: u32,
        conn: ConnId,
        connect: &Connect<'_>,
        origin: Origin,
    ) {
        let properties = &connect.properties;
        let offered = properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        let alias_max =
            properties.topic_alias_maximum.unwrap_or(0).min(self.limits.topic_alias_maximum);
        let alias_bytes = self.limits.topic_alias_bytes_max;
        let keep_alive_counted = self.profile.keep_alive(connect.keep_alive);
        let window = offered.min(self.limits.inflight_max);
        let rates = self.rates.of_connection();
        let lasts = self.profile.connection_seconds_max(origin.is_websocket);
        // A Will that still waited for its delay is not sent: the client is back [MQTT-3.1.3-9].
        self.discard_will(index);
        let session = self.session(index);
        session.connection = Some(Box::new(Connection {
            id: conn,
            source: origin.source,
            target: origin.target,
            congested: false,
            problem_information: properties.request_problem_information.unwrap_or(true),
            window,
            packet_bytes_max: properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get),
            inbound_aliases: None,
            outbound_aliases: (alias_max > 0)
                .then(|| Box::new(OutboundAliases::new(alias_max, alias_bytes))),
            ack_gate: Lsn::default(),
            open_gate: Lsn::default(),
            last_gate: Lsn::default(),
            ends: lasts.map_or(NEVER, |seconds| now.moment.plus_seconds(seconds)),
            is_websocket: origin.is_websocket,
            rates,
            received: 0,
            held: None,
            unacknowledged: None,
        }));
        let was = std::mem::replace(&mut session.version, connect.version);
        session.keep_alive = connect.keep_alive;
        session.keep_alive_counted = keep_alive_counted;
        session.last_packet = now.moment;
        session.changed_unix_ms = now.unix_ms;
        session.cause = None;
        session.identifier = origin.entropy;
        session.certificate = origin.certificate.map(Box::new);
        session.version_number = session.version_number.wrapping_add(1);
        session.will =
            connect.will.as_ref().map(|will| Box::new(SessionWill::new(will, session.key)));
        if was == ProtocolVersion::V5 && connect.version == ProtocolVersion::V3_1_1 {
            self.forget_options(index);
        }
        let at = conn.index as usize;
        if self.conns.len() <= at {
            self.conns.resize(at + 1, None);
        }
        if let Some(place) = self.conns.get_mut(at) {
            *place = Some((conn.generation, index));
        }
        self.connected += 1;
    }

    /// 3.1.1 knows of a subscription only its QoS [MQTT3-3.3.1-9].
    fn forget_options(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let is_persistent = session.is_persistent();
        for held in &mut session.subscriptions {
            held.options = SubscriptionOptions { qos: held.options.qos, ..Default::default() };
            if bitts_mqtt::shared_filter(&held.filter).is_none() {
                let holder = Holder::Session(held.as_subscriber(index));
                self.router.hold(&held.filter, holder, false, is_persistent);
            }
        }
    }

    fn record_attached(&mut self, index: u32, resumed: bool) {
        let session = self.session(index);
        let will = session.will.as_deref().map(|will| Box::new(will.saved()));
        // A clean session leaves nothing behind.
        if !session.is_persistent() && !resumed && will.is_none() {
            return;
        }
        session.is_recorded = true;
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let record = Record::SessionAttached {
            client_id,
            version: session.version,
            expiry: session.expiry,
            keep_alive: session.keep_alive,
            version_number: session.version_number,
            identifier: session.identifier,
            will,
        };
        self.record(slot, record);
        self.record_principal(index);
    }

    /// Who the client of a session is that the store knows of.
    pub(crate) fn record_principal(&mut self, index: u32) {
        let session = self.session(index);
        let Some(access) = session.access.as_deref().filter(|_| session.is_recorded) else {
            return;
        };
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let principal = Box::new(access.saved());
        self.record(slot, Record::Principal { client_id, principal });
    }

    fn connack<'a>(
        &self,
        connect: &Connect<'_>,
        expiry: u32,
        assigned: Option<&'a str>,
        session_present: bool,
    ) -> Packet<'a> {
        let asked = connect.properties.session_expiry_interval.unwrap_or(0);
        let (limits, profile) = (&self.limits, self.profile);
        let properties = ConnAckProperties {
            session_expiry_interval: (asked != expiry).then_some(expiry),
            receive_maximum: NonZeroU16::new(limits.receive_maximum),
            maximum_packet_size: NonZeroU32::new(limits.packet_bytes_max),
            assigned_client_identifier: assigned,
            topic_alias_maximum: Some(limits.topic_alias_maximum),
            maximum_qos: profile.announced_maximum_qos(),
            retain_available: profile.names_defaults().then_some(true),
            wildcard_subscription_available: profile.names_defaults().then_some(true),
            shared_subscription_available: profile.names_defaults().then_some(true),
            subscription_identifiers_available: (!profile.takes_subscription_identifiers())
                .then_some(false),
            server_keep_alive: profile
                .names_defaults()
                .then(|| profile.keep_alive(connect.keep_alive)),
            ..ConnAckProperties::default()
        };
        Packet::ConnAck(ConnAck { session_present, reason_code: ReasonCode::Success, properties })
    }

    /// Whether the client takes the CONNACK it would get [MQTT-3.1.2-24].
    fn fits_connack(
        &self,
        connect: &Connect<'_>,
        expiry: u32,
        assigned: Option<&str>,
        out: &mut Outbox,
    ) -> bool {
        let Some(maximum) = connect.properties.maximum_packet_size else { return true };
        let packet = self.connack(connect, expiry, assigned, false);
        let before = out.bytes.len();
        bitts_mqtt::encode(&packet, connect.version, &mut out.bytes);
        let len = out.bytes.len() - before;
        out.bytes.truncate(before);
        len <= maximum.get() as usize
    }

    /// Answers a CONNECT with an error and closes; nothing else changes.
    fn refuse(
        &mut self,
        conn: ConnId,
        version: ProtocolVersion,
        reason: ReasonCode,
        name: &'static str,
        out: &mut Outbox,
    ) {
        *self.stats.refused.entry(name).or_default() += 1;
        if !self.profile.answers_refused(version) {
            out.closes.push((conn, Close::Now));
            return;
        }
        let packet = Packet::ConnAck(ConnAck {
            session_present: false,
            reason_code: reason,
            properties: ConnAckProperties::default(),
        });
        let frame = encode_frame(conn, &packet, version, out);
        out.frames.push(frame);
        out.closes.push((conn, Close::Flush));
    }

    /// Bytes that are no packet: the end of a connection, or of an attempt to make one.
    pub(crate) fn on_undecodable(
        &mut self,
        now: Now,
        conn: ConnId,
        error: DecodeError,
        first: Option<ConnectVersion>,
        out: &mut Outbox,
    ) {
        if let Some(index) = self.session_of(conn) {
            let cause = Cause::ClientError(crate::Violation::Undecodable(error));
            self.end_connection(now, index, cause, out);
            return;
        }
        let reason = error.reason_code();
        match first {
            Some(ConnectVersion::V5) => {
                self.refuse(conn, ProtocolVersion::V5, reason, error.name(), out);
            }
            // 3.1.1 has a return code for few of them; the others only close [MQTT3-3.2.2-6].
            Some(ConnectVersion::V3_1_1) if reason == ReasonCode::ClientIdentifierNotValid => {
                self.refuse(conn, ProtocolVersion::V3_1_1, reason, error.name(), out);
            }
            // [MQTT-3.1.2-2]: a later client hears it in MQTT 5, an earlier one in 3.1.1.
            Some(ConnectVersion::Unsupported { level }) => {
                // With the highest bit set it is 3.1.1 between brokers.
                let is_later = level > 5 && level < 0x80;
                let version = if is_later { ProtocolVersion::V5 } else { ProtocolVersion::V3_1_1 };
                let reason = ReasonCode::UnsupportedProtocolVersion;
                self.refuse(conn, version, reason, "unsupported_protocol_version", out);
            }
            // It is being closed already.
            None => {}
            Some(ConnectVersion::V3_1_1 | ConnectVersion::NotMqtt) => {
                *self.stats.refused.entry(error.name()).or_default() += 1;
                out.closes.push((conn, Close::Now));
            }
        }
    }

    /// Sets how long the session lives, and tells the router what that makes of its subscriptions.
    pub(crate) fn set_expiry(&mut self, index: u32, expiry: u32) {
        let expiry = if self.limits.session_expiry_max == EXPIRY_NEVER {
            expiry
        } else {
            expiry.min(self.limits.session_expiry_max)
        };
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let was = session.is_persistent();
        session.expiry = expiry;
        if was == session.is_persistent() {
            return;
        }
        for held in &session.subscriptions {
            if bitts_mqtt::shared_filter(&held.filter).is_none() {
                self.router.set_persistent(&held.filter, expiry > 0);
            }
        }
    }
}
