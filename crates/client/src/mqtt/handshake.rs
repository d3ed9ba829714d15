//! CONNECT and CONNACK as bytes.

use bitts_mqtt::{Connect, ConnectProperties, Packet, ProtocolVersion, decode, encode, split};

use super::check;
use super::error::{End, Invalid};
use super::options::{ConnAck, ConnectOptions, MessageProperties, encode_user_properties};

/// The CONNECT that these options ask for.
pub(super) fn connect_bytes(options: &ConnectOptions) -> Result<Vec<u8>, Invalid> {
    check::connect(options)?;
    let user = encode_user_properties(&options.user_properties);
    let no_properties = MessageProperties::default();
    let will_properties = options.will.as_ref().map_or(&no_properties, |will| &will.properties);
    let will_user = encode_user_properties(&will_properties.user_properties);
    let will = options.will.as_ref().map(|will| bitts_mqtt::Will {
        topic: &will.topic,
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain,
        delay_interval: will.delay_interval,
        properties: will.properties.borrowed(&will_user),
    });
    let connect = Connect {
        version: options.version,
        clean_start: options.clean_start,
        keep_alive: options.keep_alive_seconds,
        client_id: &options.client_id,
        will,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: ConnectProperties {
            session_expiry_interval: options.session_expiry_interval,
            receive_maximum: options.receive_maximum,
            maximum_packet_size: Some(options.packet_bytes_max),
            topic_alias_maximum: options.topic_alias_maximum,
            request_response_information: options.request_response_information,
            request_problem_information: options.request_problem_information,
            authentication_method: None,
            authentication_data: None,
            user_properties: user.as_properties(),
        },
    };
    let mut bytes = Vec::new();
    encode(&Packet::Connect(connect), options.version, &mut bytes);
    Ok(bytes)
}

/// The CONNACK that the server's bytes begin with, and its length; `None` where bytes are missing.
pub(super) fn read_connack(
    options: &ConnectOptions,
    bytes: &[u8],
) -> Result<Option<(ConnAck, usize)>, End> {
    let packet_bytes_max = options.packet_bytes_max.get() as usize;
    let Some(frame) = split(bytes, packet_bytes_max).map_err(End::Malformed)? else {
        return Ok(None);
    };
    // A server that does not speak MQTT 5 says so in the form of 3.1.1.
    let is_old = options.version == ProtocolVersion::V5 && frame.body.len() == 2;
    let version = if is_old { ProtocolVersion::V3_1_1 } else { options.version };
    match decode(version, &frame).map_err(End::Malformed)? {
        Packet::ConnAck(connack) if is_old && !connack.reason_code.is_error() => {
            Err(End::Protocol("CONNACK of MQTT 3.1.1"))
        }
        Packet::ConnAck(connack) => Ok(Some((ConnAck::from_packet(&connack), frame.len))),
        _ => Err(End::Protocol("a packet before CONNACK")),
    }
}
