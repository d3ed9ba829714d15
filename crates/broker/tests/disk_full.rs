//! What a full disk does to requests that would have to be kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitts_broker::{
    ConnId, Input, Interest, Limits, Lsn, Moment, Now, Origin, Outbox, Placement, Proof, Shard,
    ShardId,
};
use bitts_mqtt::{
    Connect, ConnectProperties, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode,
};

const NOW: Now = Now { moment: Moment(1_000), unix_ms: 1_000 };
const CONN: ConnId = ConnId { index: 0, generation: 1 };

/// A shard with the connection of a client whose session lives that many seconds.
fn connected(version: ProtocolVersion, expiry: u32) -> Shard {
    let placement = Placement::new((3, 5), 1);
    let interest = Arc::new(Interest::new(&placement));
    let mut shard = Shard::new(ShardId(0), placement, Limits::default(), interest);
    let session_expiry_interval = (version == ProtocolVersion::V5).then_some(expiry);
    let connect = Connect {
        version,
        clean_start: expiry == 0,
        client_id: "asker",
        properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
        ..Connect::default()
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let origin = Origin {
        source: address,
        target: address,
        entropy: 1,
        certificate: None,
        is_secure: false,
        is_websocket: false,
    };
    let connected = Input::Connect { conn: CONN, connect: &connect, origin, proof: Proof::None };
    turn(&mut shard, connected);
    shard
}

/// Handles an input, with a store that is durable at once; what leaves for the client.
fn turn(shard: &mut Shard, input: Input<'_>) -> Vec<u8> {
    let mut out = Outbox::default();
    shard.handle(NOW, input, &mut out);
    shard.handle(NOW, Input::Durable(Lsn(u64::MAX >> 1)), &mut out);
    for (from, parcel) in std::mem::take(&mut out.parcels) {
        shard.handle(NOW, Input::Parcel { from, parcel }, &mut out);
    }
    let mut bytes = Vec::new();
    let gated = out.gated.iter().map(|(_, frame)| frame);
    out.frames.iter().chain(gated).for_each(|frame| out.copy_frame(frame, &mut bytes));
    bytes
}

/// An update of a shadow at QoS 2; what answers it.
fn update(shard: &mut Shard, packet_id: u16, dup: bool) -> Vec<u8> {
    let publish = Publish {
        dup,
        qos: QoS::Two,
        topic: "$aws/things/T/shadow/update",
        packet_id: PacketId::new(packet_id),
        payload: br#"{"state":{}}"#,
        ..Publish::default()
    };
    turn(shard, Input::Packet { conn: CONN, packet: &Packet::Publish(publish) })
}

/// D4: MQTT 5 hears that a request at QoS 2 cannot be kept; one that may have been accepted before
/// is taken, and so is one of a session that a crash ends.
#[test]
fn a_request_that_a_full_disk_cannot_keep_is_refused() {
    let accepted = |packet_id: u8| vec![0x50, 2, 0, packet_id];
    let mut shard = connected(ProtocolVersion::V5, 3_600);
    assert_eq!(update(&mut shard, 1, false), accepted(1));
    turn(&mut shard, Input::DiskFull(true));
    let refused = ReasonCode::QuotaExceeded as u8;
    assert_eq!(update(&mut shard, 2, false), [0x50, 3, 0, 2, refused]);
    assert_eq!(shard.stats().dropped(bitts_broker::Dropped::DiskFull), 1);
    assert_eq!(update(&mut shard, 1, true), accepted(1));
    assert_eq!(update(&mut shard, 3, true), accepted(3));
    turn(&mut shard, Input::DiskFull(false));
    assert_eq!(update(&mut shard, 2, false), accepted(2));
    assert_eq!(shard.stats().shadows, 1);

    for (version, expiry) in [(ProtocolVersion::V5, 0), (ProtocolVersion::V3_1_1, 1)] {
        let mut shard = connected(version, expiry);
        turn(&mut shard, Input::DiskFull(true));
        assert_eq!(update(&mut shard, 1, false), accepted(1), "{version:?}");
        assert_eq!(shard.stats().dropped(bitts_broker::Dropped::DiskFull), 0);
    }
}
