//! The session machine against packets of a server.

use std::num::{NonZeroU16, NonZeroU32};

use bitts_mqtt::{Malformed, PublishProperties, UserProperties};

use super::*;

/// The default Keep Alive, half of it, and the least that is left of them.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
const HALF_KEEP_ALIVE: Duration = Duration::from_secs(30);
const A_MOMENT: Duration = Duration::from_millis(1);

/// A session and what it asked for so far.
struct Table {
    version: ProtocolVersion,
    session: Session,
    now: Instant,
    out: Output,
    last_ticket: Ticket,
}

fn connack() -> ConnAck {
    ConnAck::from_packet(&bitts_mqtt::ConnAck {
        session_present: false,
        reason_code: ReasonCode::Success,
        properties: bitts_mqtt::ConnAckProperties::default(),
    })
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn message(topic: &str, qos: QoS) -> Publish {
    Publish::new(topic, "on").qos(qos)
}

fn delivery(topic: &str, qos: QoS, number: u16) -> bitts_mqtt::Publish<'_> {
    let packet_id = PacketId::new(number);
    bitts_mqtt::Publish { topic, qos, packet_id, payload: b"on", ..Default::default() }
}

impl Table {
    fn new(options: &ConnectOptions, connack: &ConnAck) -> Self {
        let now = Instant::now();
        let session = Session::new(options, connack, now);
        Self { version: options.version, session, now, out: Output::default(), last_ticket: 0 }
    }

    fn v5() -> Self {
        Self::new(&ConnectOptions::default(), &connack())
    }

    fn v3() -> Self {
        let version = ProtocolVersion::V3_1_1;
        Self::new(&ConnectOptions { version, ..ConnectOptions::default() }, &connack())
    }

    fn with(change: impl FnOnce(&mut ConnectOptions, &mut ConnAck)) -> Self {
        let (mut options, mut connack) = (ConnectOptions::default(), connack());
        change(&mut options, &mut connack);
        Self::new(&options, &connack)
    }

    fn publish(&mut self, publish: Publish) -> Ticket {
        self.last_ticket += 1;
        self.session.publish(self.now, self.last_ticket, publish, &mut self.out);
        self.last_ticket
    }

    fn subscribe(&mut self, filters: &[Filter]) -> Ticket {
        self.last_ticket += 1;
        self.session.subscribe(self.now, self.last_ticket, (filters, None), &mut self.out);
        self.last_ticket
    }

    fn unsubscribe(&mut self, filters: &[&str]) -> Ticket {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        self.last_ticket += 1;
        self.session.unsubscribe(self.now, self.last_ticket, &filters, &mut self.out);
        self.last_ticket
    }

    fn receive(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, self.version, &mut bytes);
        assert_eq!(self.session.receive(self.now, &bytes, &mut self.out), bytes.len());
    }

    fn acknowledge(&mut self, number: u16, reason_code: ReasonCode) {
        self.session.acknowledge(self.now, id(number), reason_code, &mut self.out);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.tick(self.now, &mut self.out);
    }

    /// What was written since the last call, decoded, in the form of its `Debug`.
    fn sent(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.out.bytes);
        let mut rest = bytes.as_slice();
        let mut sent = Vec::new();
        while let Some(frame) = split(rest, PACKET_BYTES_MAX).unwrap() {
            sent.push(match decode(self.version, &frame).unwrap() {
                Packet::Publish(p) => {
                    let number = p.packet_id.map_or(0, PacketId::number);
                    format!("PUBLISH {} q{} id={number}", p.topic, p.qos as u8)
                }
                Packet::PubAck(ack) => show("PUBACK", &ack),
                Packet::PubRec(ack) => show("PUBREC", &ack),
                Packet::PubRel(ack) => show("PUBREL", &ack),
                Packet::PubComp(ack) => show("PUBCOMP", &ack),
                Packet::Subscribe(p) => format!("SUBSCRIBE id={}", p.packet_id.number()),
                Packet::Unsubscribe(p) => format!("UNSUBSCRIBE id={}", p.packet_id.number()),
                Packet::PingReq => "PINGREQ".to_owned(),
                Packet::Disconnect(p) => format!("DISCONNECT {:#04X}", p.reason_code.number()),
                other => panic!("a client does not send {other:?}"),
            });
            rest = &rest[frame.len..];
        }
        assert!(rest.is_empty());
        sent
    }

    fn done(&mut self) -> Vec<(Ticket, Result<Vec<ReasonCode>, RequestError>)> {
        let done = std::mem::take(&mut self.out.done);
        done.into_iter().map(|(ticket, result)| (ticket, result.map(|a| a.codes))).collect()
    }

    fn topics(&mut self) -> Vec<String> {
        self.out.messages.drain(..).map(|message| message.topic).collect()
    }

    fn end(&self) -> &End {
        self.session.end().expect("the connection ended")
    }
}

fn show(name: &str, ack: &Ack<'_>) -> String {
    format!("{name} id={} {:#04X}", ack.packet_id.number(), ack.reason_code.number())
}

fn ack(number: u16) -> Ack<'static> {
    Ack::new(id(number), ReasonCode::Success)
}

const SUCCESS: ReasonCode = ReasonCode::Success;

#[test]
fn qos_0_is_done_at_once() {
    let mut t = Table::v5();
    let ticket = t.publish(message("a", QoS::Zero));
    assert_eq!(t.sent(), ["PUBLISH a q0 id=0"]);
    assert_eq!(t.done(), [(ticket, Ok(vec![SUCCESS]))]);
}

/// [MQTT-4.3.2-1]
#[test]
fn qos_1_is_done_with_puback() {
    for mut t in [Table::v5(), Table::v3()] {
        let ticket = t.publish(message("a", QoS::One));
        assert_eq!(t.sent(), ["PUBLISH a q1 id=1"]);
        assert_eq!(t.done(), []);
        t.receive(&Packet::PubAck(ack(1)));
        assert_eq!(t.done(), [(ticket, Ok(vec![SUCCESS]))]);
    }
}

#[test]
fn a_refused_message_says_why() {
    let mut t = Table::v5();
    let first = t.publish(message("a", QoS::One));
    let second = t.publish(message("a", QoS::Two));
    t.sent();
    let reason_code = ReasonCode::NotAuthorized;
    let refusal = Ack { reason_string: Some("no"), ..Ack::new(id(1), reason_code) };
    t.receive(&Packet::PubAck(refusal));
    t.receive(&Packet::PubRec(Ack::new(id(2), reason_code)));
    let refused = |reason_string: Option<&str>| {
        Err(RequestError::Refused { reason_code, reason_string: reason_string.map(Into::into) })
    };
    assert_eq!(t.done(), [(first, refused(Some("no"))), (second, refused(None))]);
    assert!(t.sent().is_empty(), "no PUBREL for what was refused");
}

/// [MQTT-4.3.3-1..8]
#[test]
fn qos_2_is_done_with_pubcomp() {
    for mut t in [Table::v5(), Table::v3()] {
        let ticket = t.publish(message("a", QoS::Two));
        t.receive(&Packet::PubRec(ack(1)));
        t.receive(&Packet::PubRec(ack(1)));
        assert_eq!(t.sent(), ["PUBLISH a q2 id=1", "PUBREL id=1 0x00", "PUBREL id=1 0x00"]);
        assert_eq!(t.done(), []);
        t.receive(&Packet::PubComp(ack(1)));
        assert_eq!(t.done(), [(ticket, Ok(vec![SUCCESS]))]);
    }
}

/// [MQTT-3.3.4-7]
#[test]
fn no_more_is_sent_than_the_receive_maximum() {
    let mut t = Table::with(|_, connack| connack.receive_maximum = NonZeroU16::new(1));
    let first = t.publish(message("1", QoS::Two));
    let second = t.publish(message("2", QoS::One));
    let third = t.publish(message("3", QoS::One));
    t.publish(message("0", QoS::Zero));
    assert_eq!(t.sent(), ["PUBLISH 1 q2 id=1", "PUBLISH 0 q0 id=0"]);
    t.out.done.clear();
    t.receive(&Packet::PubRec(ack(1)));
    assert_eq!(t.sent(), ["PUBREL id=1 0x00"]);
    t.receive(&Packet::PubComp(ack(1)));
    assert_eq!(t.sent(), ["PUBLISH 2 q1 id=2"]);
    t.receive(&Packet::PubAck(ack(2)));
    assert_eq!(t.sent(), ["PUBLISH 3 q1 id=3"]);
    t.receive(&Packet::PubAck(ack(3)));
    let all = [first, second, third].map(|ticket| (ticket, Ok(vec![SUCCESS])));
    assert_eq!(t.done(), all);
}

/// [MQTT-2.2.1-3]
#[test]
fn packet_identifiers_in_use_are_passed_over_and_zero_too() {
    let mut t = Table::v5();
    t.publish(message("held", QoS::One));
    t.session.last_id = u16::MAX;
    t.publish(message("next", QoS::One));
    assert_eq!(t.sent(), ["PUBLISH held q1 id=1", "PUBLISH next q1 id=2"]);
}

#[test]
fn subscribing_gives_a_code_for_each_filter() {
    for mut t in [Table::v5(), Table::v3()] {
        let ticket = t.subscribe(&[Filter::new("a", QoS::One), Filter::new("b/#", QoS::Two)]);
        assert_eq!(t.sent(), ["SUBSCRIBE id=1"]);
        let user_properties = UserProperties::EMPTY;
        t.receive(&Packet::SubAck(SubAck {
            packet_id: id(1),
            reason_string: None,
            user_properties,
            codes: &[1, 0x80],
        }));
        let codes = vec![ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
        assert_eq!(t.done(), [(ticket, Ok(codes))]);
    }
}

#[test]
fn unsubscribing_gives_a_code_for_each_filter() {
    for (mut t, codes) in [(Table::v5(), &[0, 0x11][..]), (Table::v3(), &[])] {
        let ticket = t.unsubscribe(&["a", "b"]);
        assert_eq!(t.sent(), ["UNSUBSCRIBE id=1"]);
        let user_properties = UserProperties::EMPTY;
        t.receive(&Packet::UnsubAck(SubAck {
            packet_id: id(1),
            reason_string: None,
            user_properties,
            codes,
        }));
        let second = if codes.is_empty() { SUCCESS } else { ReasonCode::NoSubscriptionExisted };
        assert_eq!(t.done(), [(ticket, Ok(vec![SUCCESS, second]))]);
    }
}

#[test]
fn messages_are_acknowledged_when_they_are_queued() {
    let mut t = Table::v5();
    for (qos, number) in [(QoS::Zero, 0), (QoS::One, 7), (QoS::Two, 8)] {
        t.receive(&Packet::Publish(delivery("a", qos, number)));
    }
    assert_eq!(t.topics(), ["a", "a", "a"]);
    assert_eq!(t.sent(), ["PUBACK id=7 0x00", "PUBREC id=8 0x00"]);
}

/// [MQTT-4.3.3-10]
#[test]
fn qos_2_is_delivered_once() {
    for mut t in [Table::v5(), Table::v3()] {
        let publish = delivery("a", QoS::Two, 8);
        t.receive(&Packet::Publish(publish.clone()));
        t.receive(&Packet::Publish(bitts_mqtt::Publish { dup: true, ..publish.clone() }));
        assert_eq!(t.topics(), ["a"]);
        assert_eq!(t.sent(), ["PUBREC id=8 0x00", "PUBREC id=8 0x00"]);
        t.receive(&Packet::PubRel(ack(8)));
        assert_eq!(t.sent(), ["PUBCOMP id=8 0x00"]);
        // [MQTT-4.3.3-12]: the identifier is free, so this is another message.
        t.receive(&Packet::Publish(publish));
        assert_eq!(t.topics(), ["a"]);
    }
}

#[test]
fn what_is_not_known_is_not_found() {
    let mut t = Table::v5();
    t.receive(&Packet::PubRel(ack(9)));
    t.receive(&Packet::PubRec(ack(9)));
    t.receive(&Packet::PubAck(ack(9)));
    t.receive(&Packet::PubComp(ack(9)));
    assert_eq!(t.sent(), ["PUBCOMP id=9 0x92", "PUBREL id=9 0x92"]);
    assert!(t.session.end().is_none());
}

#[test]
fn a_caller_who_acknowledges_is_waited_for() {
    let mut t = Table::with(|options, _| options.acknowledge = Acknowledge::ByCaller);
    t.receive(&Packet::Publish(delivery("1", QoS::One, 1)));
    t.receive(&Packet::Publish(delivery("2", QoS::Two, 2)));
    t.receive(&Packet::Publish(delivery("2", QoS::Two, 2)));
    t.receive(&Packet::Publish(delivery("3", QoS::Two, 3)));
    assert_eq!(t.topics(), ["1", "2", "3"]);
    assert!(t.sent().is_empty());
    t.acknowledge(1, SUCCESS);
    t.acknowledge(1, SUCCESS);
    t.acknowledge(2, SUCCESS);
    t.acknowledge(3, ReasonCode::NotAuthorized);
    t.acknowledge(4, SUCCESS);
    assert_eq!(t.sent(), ["PUBACK id=1 0x00", "PUBREC id=2 0x00", "PUBREC id=3 0x87"]);
    t.receive(&Packet::PubRel(ack(2)));
    assert_eq!(t.sent(), ["PUBCOMP id=2 0x00"]);
}

/// [MQTT-3.3.4-9]
#[test]
fn a_server_that_sends_beyond_our_receive_maximum_is_told_so() {
    let mut t = Table::with(|options, _| {
        options.acknowledge = Acknowledge::ByCaller;
        options.receive_maximum = NonZeroU16::new(1);
    });
    t.receive(&Packet::Publish(delivery("a", QoS::One, 1)));
    t.receive(&Packet::Publish(delivery("a", QoS::One, 1)));
    assert!(t.session.end().is_none());
    t.receive(&Packet::Publish(delivery("a", QoS::One, 2)));
    assert_eq!(t.sent(), ["DISCONNECT 0x93"]);
    assert!(matches!(t.end(), End::Protocol(_)));
}

#[test]
fn a_message_comes_with_all_its_properties() {
    let mut user = bitts_mqtt::UserPropertiesBuf::new();
    user.push("a", "1");
    user.push("a", "2");
    let mut t = Table::v5();
    let properties = PublishProperties {
        payload_format_indicator: Some(true),
        message_expiry_interval: Some(9),
        response_topic: Some("r"),
        correlation_data: Some(b"c"),
        content_type: Some("text/plain"),
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    };
    let publish = bitts_mqtt::Publish { retain: true, properties, ..delivery("a", QoS::Zero, 0) };
    t.receive(&Packet::Publish(publish));
    let message = t.out.messages.pop_front().unwrap();
    assert!(message.retain);
    assert_eq!(message.payload, "on");
    let sent = MessageProperties {
        payload_format_indicator: Some(true),
        message_expiry_interval: Some(9),
        response_topic: Some("r".into()),
        correlation_data: Some("c".into()),
        content_type: Some("text/plain".into()),
        user_properties: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        subscription_identifier: None,
    };
    assert_eq!(message.properties, sent);
    // And back: what we publish carries the same.
    t.publish(Publish { properties: sent.clone(), ..message_to("a") });
    let frame = split(&t.out.bytes, PACKET_BYTES_MAX).unwrap().unwrap();
    let Packet::Publish(publish) = decode(t.version, &frame).unwrap() else { panic!("PUBLISH") };
    assert_eq!(MessageProperties::from_packet(&publish.properties), sent);
}

fn message_to(topic: &str) -> Publish {
    message(topic, QoS::Zero)
}

/// [MQTT-3.3.2-9..12]
#[test]
fn topic_aliases_are_resolved() {
    let aliased = |topic: &'static str, alias| bitts_mqtt::Publish {
        properties: PublishProperties {
            topic_alias: NonZeroU16::new(alias),
            ..PublishProperties::default()
        },
        ..delivery(topic, QoS::Zero, 0)
    };
    let table = || Table::with(|options, _| options.topic_alias_maximum = Some(2));
    let mut t = table();
    for (topic, alias) in [("a", 2), ("", 2), ("b", 2), ("", 2)] {
        t.receive(&Packet::Publish(aliased(topic, alias)));
    }
    assert_eq!(t.topics(), ["a", "a", "b", "b"]);
    for (topic, alias) in [("a", 3), ("", 1)] {
        let mut t = table();
        t.receive(&Packet::Publish(aliased(topic, alias)));
        assert_eq!(t.sent(), ["DISCONNECT 0x94"]);
    }
}

#[test]
fn what_the_server_does_not_take_is_not_sent() {
    let refused = |t: &mut Table, publish: Publish, invalid| {
        let ticket = t.publish(publish);
        assert_eq!(t.done(), [(ticket, Err(RequestError::Invalid(invalid)))]);
        assert!(t.sent().is_empty());
    };
    let limit = |connack: &mut ConnAck| {
        connack.maximum_qos = Some(1);
        connack.retain_available = Some(false);
        connack.maximum_packet_size = NonZeroU32::new(20);
        connack.topic_alias_maximum = Some(1);
    };
    let mut t = Table::with(|_, connack| limit(connack));
    let topic_alias = NonZeroU16::new(2);
    refused(&mut t, message("a", QoS::Two), Invalid::QoS);
    refused(&mut t, message_to("a").retained(), Invalid::Retain);
    refused(&mut t, Publish { topic_alias, ..message_to("a") }, Invalid::TopicAlias);
    refused(&mut t, message(&"x".repeat(20), QoS::One), Invalid::PacketTooLarge);
    assert!(t.session.pending.is_empty());

    let mut t = Table::with(|options, connack| {
        limit(connack);
        options.heed_server_limits = false;
    });
    t.publish(message(&"x".repeat(20), QoS::Two).retained());
    assert_eq!(t.sent().len(), 1);
}

#[test]
fn what_is_not_mqtt_is_not_sent() {
    let mut t = Table::v5();
    let property = |name: &str| MessageProperties {
        user_properties: vec![(name.into(), String::new())],
        ..MessageProperties::default()
    };
    let response_topic = Some("a/+".to_owned());
    for properties in [
        property("\0"),
        property(&"x".repeat(65_536)),
        MessageProperties { response_topic, ..MessageProperties::default() },
    ] {
        t.publish(Publish { properties, ..message_to("a") });
    }
    t.publish(message_to("a/#"));
    t.publish(message_to(""));
    t.subscribe(&[]);
    t.subscribe(&[Filter::new("a#", QoS::Zero)]);
    t.unsubscribe(&[""]);
    let done = t.done();
    assert_eq!(done.len(), 8);
    assert!(done.iter().all(|(_, result)| matches!(result, Err(RequestError::Invalid(_)))));
    assert!(t.sent().is_empty());
}

/// [MQTT-3.1.2-20]
#[test]
fn an_idle_connection_is_pinged_for_the_keep_alive() {
    let mut t = Table::v5();
    t.wait(HALF_KEEP_ALIVE);
    t.publish(message_to("a"));
    t.sent();
    t.wait(KEEP_ALIVE.saturating_sub(A_MOMENT));
    assert!(t.sent().is_empty(), "what is sent counts");
    t.wait(A_MOMENT);
    assert_eq!(t.sent(), ["PINGREQ"]);
    t.receive(&Packet::PingResp);
    t.wait(KEEP_ALIVE);
    assert_eq!(t.sent(), ["PINGREQ"]);
    assert!(t.session.end().is_none());
}

#[test]
fn a_server_that_does_not_answer_a_ping_is_given_up() {
    let mut t = Table::v5();
    let ticket = t.publish(message("a", QoS::One));
    t.wait(KEEP_ALIVE);
    t.wait(HALF_KEEP_ALIVE.saturating_sub(A_MOMENT));
    assert!(t.session.end().is_none());
    t.wait(A_MOMENT);
    assert_eq!(*t.end(), End::KeepAliveTimeout);
    let ended = Err(RequestError::Ended(End::KeepAliveTimeout));
    assert_eq!(t.done(), [(ticket, ended)]);
}

#[test]
fn the_servers_keep_alive_counts() {
    let t = Table::with(|_, connack| connack.server_keep_alive = Some(5));
    assert_eq!(t.session.deadline(), Some(t.now + Duration::from_secs(5)));
    let t = Table::with(|_, connack| connack.server_keep_alive = Some(0));
    assert_eq!(t.session.deadline(), None);
}

#[test]
fn the_servers_disconnect_ends_what_waits() {
    let mut t = Table::with(|_, connack| connack.receive_maximum = NonZeroU16::new(1));
    let tickets = [
        t.publish(message("1", QoS::One)),
        t.publish(message("2", QoS::One)),
        t.subscribe(&[Filter::new("a", QoS::Zero)]),
    ];
    t.sent();
    t.receive(&Packet::Disconnect(bitts_mqtt::Disconnect {
        reason_code: ReasonCode::AdministrativeAction,
        session_expiry_interval: None,
        reason_string: Some("put off"),
        server_reference: None,
        user_properties: UserProperties::EMPTY,
    }));
    let End::ServerDisconnected(disconnect) = t.end().clone() else { panic!("{:?}", t.end()) };
    assert_eq!(disconnect.reason_code, ReasonCode::AdministrativeAction);
    assert_eq!(disconnect.reason_string.as_deref(), Some("put off"));
    let end = t.end().clone();
    assert_eq!(t.done(), tickets.map(|ticket| (ticket, Err(RequestError::Ended(end.clone())))));
    assert!(t.sent().is_empty());
}

#[test]
fn our_disconnect_says_why() {
    let mut t = Table::v5();
    let disconnect = Disconnect {
        reason_code: ReasonCode::DisconnectWithWill,
        session_expiry_interval: Some(7),
        ..Disconnect::default()
    };
    t.session.disconnect(t.now, &disconnect, &mut t.out);
    assert_eq!(*t.end(), End::Disconnected);
    assert_eq!(t.out.bytes, [0xE0, 7, 0x04, 5, 0x11, 0, 0, 0, 7]);
    let mut t = Table::v3();
    t.session.disconnect(t.now, &disconnect, &mut t.out);
    assert_eq!(t.out.bytes, [0xE0, 0]);
}

#[test]
fn what_a_server_may_not_send_ends_the_connection() {
    for packet in [
        Packet::PingReq,
        Packet::ConnAck(bitts_mqtt::ConnAck {
            session_present: false,
            reason_code: SUCCESS,
            properties: bitts_mqtt::ConnAckProperties::default(),
        }),
    ] {
        let mut t = Table::v5();
        t.receive(&packet);
        assert_eq!(t.sent(), ["DISCONNECT 0x82"]);
        assert!(matches!(t.end(), End::Protocol(_)));
    }
    let mut t = Table::v3();
    assert_eq!(t.session.receive(t.now, &[0xE0, 0], &mut t.out), 2);
    assert!(matches!(t.end(), End::Protocol(_)));
    assert!(t.sent().is_empty(), "3.1.1 has no words for it");
}

#[test]
fn an_acknowledgement_of_another_kind_ends_the_connection() {
    for packet in [Packet::PubRec(ack(1)), Packet::PubComp(ack(1))] {
        let mut t = Table::v5();
        t.publish(message("a", QoS::One));
        t.sent();
        t.receive(&packet);
        assert_eq!(t.sent(), ["DISCONNECT 0x82"]);
    }
}

#[test]
fn malformed_bytes_end_the_connection() {
    let mut t = Table::v5();
    t.session.receive(t.now, &[0x00], &mut t.out);
    assert_eq!(*t.end(), End::Malformed(Malformed::PacketType.into()));
    assert_eq!(t.sent(), ["DISCONNECT 0x81"]);
    let mut t = Table::with(|options, _| options.packet_bytes_max = NonZeroU32::MIN);
    t.session.receive(t.now, &[0x30, 0x7F], &mut t.out);
    assert_eq!(t.sent(), ["DISCONNECT 0x95"]);
}

#[test]
fn a_part_of_a_packet_waits_for_the_rest() {
    let mut t = Table::v5();
    let mut bytes = Vec::new();
    encode(&Packet::Publish(delivery("a", QoS::Zero, 0)), t.version, &mut bytes);
    let len = bytes.len();
    bytes.extend_from_within(..len - 1);
    assert_eq!(t.session.receive(t.now, &bytes, &mut t.out), len);
    assert_eq!(t.topics(), ["a"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(bytes: Vec<u8>, is_v5: bool) {
        let mut t = if is_v5 { Table::v5() } else { Table::v3() };
        t.publish(message("a", QoS::Two));
        t.subscribe(&[Filter::new("a", QoS::Zero)]);
        let used = t.session.receive(t.now, &bytes, &mut t.out);
        proptest::prop_assert!(used <= bytes.len());
    }
}
