//! The codec: what is encoded is decoded, whatever else comes is refused, and nothing is left over.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::{NonZeroU16, NonZeroU32};

use bitts_mqtt::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet,
    PacketId, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, SubAck,
    SubscribeRequest, SubscriptionOptions, UserPropertiesBuf, Will, decode, encode,
    encode_subscribe, encode_unsubscribe, split,
};
use proptest::prelude::*;

/// What packets are made of.
#[derive(Clone, Debug)]
struct Material {
    is_mqtt5: bool,
    kind: u8,
    qos: u8,
    flags: [bool; 12],
    numbers: [u32; 4],
    /// Non-empty, without wildcards.
    names: [String; 4],
    data: [Vec<u8>; 2],
    user: Vec<(String, String)>,
}

fn material() -> impl Strategy<Value = Material> {
    let name = || "[a-zé/]{1,9}";
    let data = || prop::collection::vec(any::<u8>(), 0..200);
    let user = prop::collection::vec(("[a-z]{0,5}", "[ -~]{0,9}"), 0..4);
    let names = [name(), name(), name(), name()];
    let numbers = prop::array::uniform4(1..u32::from(u16::MAX));
    let head = (any::<bool>(), 0..15_u8, 0..3_u8, any::<[bool; 12]>());
    (head, numbers, names, [data(), data()], user).prop_map(
        |((is_mqtt5, kind, qos, flags), numbers, names, data, user)| Material {
            is_mqtt5,
            kind,
            qos,
            flags,
            numbers,
            names,
            data,
            user,
        },
    )
}

impl Material {
    fn version(&self) -> ProtocolVersion {
        if self.is_mqtt5 { ProtocolVersion::V5 } else { ProtocolVersion::V3_1_1 }
    }

    fn qos(&self) -> QoS {
        QoS::from_number(self.qos).unwrap()
    }

    fn id(&self) -> PacketId {
        PacketId::new(self.numbers[0] as u16).unwrap()
    }

    fn user(&self) -> UserPropertiesBuf {
        let mut user = UserPropertiesBuf::new();
        for (name, value) in self.user.iter().filter(|_| self.is_mqtt5) {
            assert!(user.push(name, value));
        }
        user
    }

    /// A value of MQTT 5 that is there or not.
    fn five<T>(&self, flag: usize, value: T) -> Option<T> {
        (self.is_mqtt5 && self.flags[flag]).then_some(value)
    }

    fn text(&self, flag: usize, name: usize) -> Option<&str> {
        self.five(flag, self.names[name].as_str())
    }

    fn publish_properties<'a>(&'a self, user: &'a UserPropertiesBuf) -> PublishProperties<'a> {
        PublishProperties {
            payload_format_indicator: self.five(0, self.flags[1]),
            message_expiry_interval: self.five(2, self.numbers[1]),
            topic_alias: None,
            response_topic: self.text(3, 1),
            correlation_data: self.five(4, &self.data[1]),
            content_type: self.text(5, 2),
            subscription_identifier: None,
            user_properties: user.as_properties(),
        }
    }

    fn connect<'a>(&'a self, user: &'a UserPropertiesBuf) -> Connect<'a> {
        let has_username = self.flags[8];
        Connect {
            version: self.version(),
            clean_start: self.flags[6],
            keep_alive: self.numbers[0] as u16,
            client_id: &self.names[0],
            will: self.flags[7].then(|| Will {
                topic: &self.names[1],
                payload: &self.data[0],
                qos: self.qos(),
                retain: self.flags[9],
                delay_interval: self.five(10, self.numbers[2]).unwrap_or(0),
                properties: self.publish_properties(user),
            }),
            username: has_username.then_some(&self.names[2]),
            password: (self.flags[11] && has_username).then_some(&self.data[1]),
            properties: ConnectProperties {
                session_expiry_interval: self.five(0, self.numbers[1]),
                receive_maximum: self.five(1, NonZeroU16::new(self.numbers[2] as u16)).flatten(),
                maximum_packet_size: self.five(2, NonZeroU32::new(self.numbers[3])).flatten(),
                topic_alias_maximum: self.five(3, self.numbers[0] as u16),
                request_response_information: self.five(4, self.flags[5]),
                request_problem_information: self.five(5, self.flags[4]),
                authentication_method: self.text(6, 3),
                authentication_data: self.five(6, &self.data[0]),
                user_properties: user.as_properties(),
            },
        }
    }

    fn connack<'a>(&'a self, user: &'a UserPropertiesBuf) -> ConnAck<'a> {
        ConnAck {
            session_present: self.flags[6],
            reason_code: [ReasonCode::Success, ReasonCode::NotAuthorized]
                [usize::from(self.flags[7])],
            properties: ConnAckProperties {
                session_expiry_interval: self.five(0, self.numbers[1]),
                receive_maximum: self.five(1, NonZeroU16::new(self.numbers[2] as u16)).flatten(),
                maximum_qos: self.five(2, u8::from(self.flags[3])),
                retain_available: self.five(3, self.flags[2]),
                assigned_client_identifier: self.text(4, 0),
                reason_string: self.text(5, 1),
                server_keep_alive: self.five(8, self.numbers[0] as u16),
                response_information: self.text(9, 2),
                server_reference: self.text(10, 3),
                subscription_identifiers_available: self.five(11, self.flags[0]),
                user_properties: user.as_properties(),
                ..ConnAckProperties::default()
            },
        }
    }

    fn ack<'a>(&'a self, user: &'a UserPropertiesBuf, bad: ReasonCode) -> Ack<'a> {
        Ack {
            packet_id: self.id(),
            reason_code: self.five(0, bad).unwrap_or(ReasonCode::Success),
            reason_string: self.text(1, 0),
            user_properties: user.as_properties(),
        }
    }

    /// The bytes of a packet of this kind, and the packet.
    fn check(&self, bytes: &mut Vec<u8>) -> Result<(), TestCaseError> {
        let user = self.user();
        let codes: &[u8] = if self.flags[2] { &[0, 0x80] } else { &[0] };
        let suback = |codes| SubAck {
            packet_id: self.id(),
            reason_string: self.text(0, 0),
            user_properties: user.as_properties(),
            codes,
        };
        let (unknown, in_use) =
            (ReasonCode::PacketIdentifierNotFound, ReasonCode::PacketIdentifierInUse);
        let packet = match self.kind {
            0 => Packet::Connect(self.connect(&user)),
            1 => Packet::ConnAck(self.connack(&user)),
            2 => Packet::Publish(Publish {
                dup: self.flags[6] && self.qos > 0,
                qos: self.qos(),
                retain: self.flags[7],
                topic: &self.names[0],
                packet_id: (self.qos > 0).then(|| self.id()),
                properties: self.publish_properties(&user),
                payload: &self.data[0],
            }),
            3 => Packet::PubAck(self.ack(&user, in_use)),
            4 => Packet::PubRec(self.ack(&user, in_use)),
            5 => Packet::PubRel(self.ack(&user, unknown)),
            6 => Packet::PubComp(self.ack(&user, unknown)),
            7 => return self.check_subscribe(bytes),
            8 => Packet::SubAck(suback(codes)),
            9 => return self.check_unsubscribe(bytes),
            10 => Packet::UnsubAck(suback(if self.is_mqtt5 { codes } else { &[] })),
            11 => Packet::PingReq,
            12 => Packet::PingResp,
            13 => Packet::Disconnect(Disconnect {
                reason_code: self.five(0, ReasonCode::ServerMoved).unwrap_or(ReasonCode::Success),
                session_expiry_interval: self.five(1, self.numbers[1]),
                reason_string: self.text(2, 0),
                server_reference: self.text(3, 1),
                user_properties: user.as_properties(),
            }),
            _ if !self.is_mqtt5 => Packet::PingReq,
            _ => Packet::Auth(Auth {
                reason_code: ReasonCode::ContinueAuthentication,
                method: self.text(0, 0),
                data: self.five(1, &self.data[0]).filter(|_| self.flags[0]).map(Vec::as_slice),
                reason_string: self.text(2, 1),
                user_properties: user.as_properties(),
            }),
        };
        encode(&packet, self.version(), bytes);
        prop_assert_eq!(first(self.version(), bytes)?, packet);
        Ok(())
    }

    fn check_subscribe(&self, bytes: &mut Vec<u8>) -> Result<(), TestCaseError> {
        let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        let options = SubscriptionOptions {
            qos: self.qos(),
            no_local: self.five(0, true).is_some(),
            retain_as_published: self.five(1, true).is_some(),
            retain_handling: self.five(2, handling[usize::from(self.qos)]).unwrap_or_default(),
        };
        let requests: Vec<_> =
            self.names.iter().map(|filter| SubscribeRequest { filter, options }).collect();
        let identifier = self.five(3, self.numbers[1]);
        encode_subscribe(self.version(), self.id(), identifier, &requests, bytes);
        let Packet::Subscribe(subscribe) = first(self.version(), bytes)? else {
            panic!("{self:?}")
        };
        prop_assert_eq!(subscribe.packet_id, self.id());
        prop_assert_eq!(subscribe.subscription_identifier, identifier);
        prop_assert_eq!(subscribe.requests().collect::<Vec<_>>(), requests);
        Ok(())
    }

    fn check_unsubscribe(&self, bytes: &mut Vec<u8>) -> Result<(), TestCaseError> {
        let filters: Vec<&str> = self.names.iter().map(String::as_str).collect();
        encode_unsubscribe(self.version(), self.id(), &filters, bytes);
        let packet = first(self.version(), bytes)?;
        let Packet::Unsubscribe(unsubscribe) = packet else { panic!("{self:?}") };
        prop_assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), filters);
        Ok(())
    }
}

/// The packet that the bytes are, all of them.
fn first(version: ProtocolVersion, bytes: &[u8]) -> Result<Packet<'_>, TestCaseError> {
    let frame = split(bytes, usize::MAX).unwrap().unwrap();
    prop_assert_eq!(frame.len, bytes.len());
    decode(version, &frame).map_err(|error| TestCaseError::fail(format!("{bytes:02x?}: {error:?}")))
}

/// Whatever comes: a packet that can be said again, or an error that a sender can be told.
fn is_understood_or_refused(version: ProtocolVersion, bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Some(frame)) = split(bytes, usize::MAX) else { return Ok(()) };
    prop_assert!(frame.len <= bytes.len());
    match decode(version, &frame) {
        Ok(packet) => {
            let version = if let Packet::Connect(it) = &packet { it.version } else { version };
            let mut again = Vec::new();
            encode(&packet, version, &mut again);
            prop_assert_eq!(first(version, &again)?, packet);
        }
        Err(error) => prop_assert!(error.reason_code().is_error()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_encoded_is_decoded(material in material()) {
        material.check(&mut Vec::new())?;
    }

    /// A stream of packets is taken apart where they end, and not before a packet is whole.
    #[test]
    fn packets_end_where_they_end(some in prop::collection::vec(material(), 1..5)) {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for material in &some {
            let mut bytes = Vec::new();
            material.check(&mut bytes)?;
            for end in 0..bytes.len() {
                prop_assert_eq!(split(&bytes[..end], usize::MAX), Ok(None));
            }
            stream.extend(bytes);
            ends.push(stream.len());
        }
        for pair in ends.windows(2) {
            let frame = split(&stream[pair[0]..], usize::MAX).unwrap().unwrap();
            prop_assert_eq!(frame.len, pair[1] - pair[0]);
        }
    }

    #[test]
    fn a_changed_packet_is_understood_or_refused(
        material in material(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = Vec::new();
        material.check(&mut bytes)?;
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        is_understood_or_refused(material.version(), &bytes)?;
    }

    #[test]
    fn any_bytes_are_understood_or_refused(
        first in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let bytes = [vec![first, body.len() as u8], body].concat();
        is_understood_or_refused(ProtocolVersion::V3_1_1, &bytes)?;
        is_understood_or_refused(ProtocolVersion::V5, &bytes)?;
    }
}
