//! Shards that do what they ask of each other, at once and in order, with a store that is durable
//! at once.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitts_broker::command::{Command, Reply};
use bitts_broker::{
    ConnId, Input, Interest, Limits, Lsn, Message, Moment, Now, Origin, Outbox, Parcel, Placement,
    Proof, ReplyId, Shard, ShardId,
};
use bitts_mqtt::{Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, SubscribeRequest};

/// A PUBLISH that a client got.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Got {
    pub(crate) client: usize,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

enum Mail {
    Message(Arc<Message>),
    Parcel(ShardId, Parcel),
}

pub(crate) struct Net {
    placement: Placement,
    interest: Arc<Interest>,
    shards: Vec<Shard>,
    mail: VecDeque<(ShardId, Mail)>,
    got: Vec<Got>,
    replies: Vec<Reply>,
    is_held: bool,
}

pub(crate) fn client_id(client: usize) -> String {
    format!("client-{client}")
}

const NOW: Now = Now { moment: Moment(1_000), unix_ms: 1_000 };

impl Net {
    pub(crate) fn new(shards: u8) -> Self {
        let placement = Placement::new((3, 5), shards);
        let interest = Arc::new(Interest::new(&placement));
        // A step is as short as it can be, so that many are made.
        let limits = Limits { retained_step: 2, ..Limits::default() };
        let shard =
            |number| Shard::new(ShardId(number), placement, limits.clone(), Arc::clone(&interest));
        Self {
            shards: (0..shards).map(shard).collect(),
            placement,
            interest,
            mail: VecDeque::new(),
            got: Vec::new(),
            replies: Vec::new(),
            is_held: false,
        }
    }

    /// What shards send each other stays under way.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// So much of it arrives, in order.
    pub(crate) fn let_arrive(&mut self, mails: usize) {
        (0..mails).for_each(|_| self.deliver_next());
    }

    /// All of it arrives, in order.
    pub(crate) fn release(&mut self) {
        self.is_held = false;
        while !self.mail.is_empty() {
            self.deliver_next();
        }
    }

    /// It arrives: what is to be retained first, live messages last.
    pub(crate) fn release_live_last(&mut self) {
        self.is_held = false;
        let rank = |mail: &Mail| match mail {
            Mail::Parcel(_, Parcel::Retain(_)) => 0,
            Mail::Parcel(..) => 1,
            Mail::Message(_) => 2,
        };
        while !self.mail.is_empty() {
            self.mail.make_contiguous().sort_by_key(|(_, mail)| rank(mail));
            self.deliver_next();
        }
    }

    /// An MQTT 5 client connects.
    pub(crate) fn connect(&mut self, client: usize) {
        let client_id = client_id(client);
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: true,
            client_id: &client_id,
            ..Connect::default()
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let entropy = client as u128;
        let origin = Origin {
            source: address,
            target: address,
            entropy,
            certificate: None,
            is_secure: false,
            is_websocket: false,
        };
        let (conn, proof) = (conn_of(client), Proof::None);
        self.turn(self.owner(client), Input::Connect { conn, connect: &connect, origin, proof });
    }

    pub(crate) fn subscribe(&mut self, client: usize, request: SubscribeRequest<'_>) {
        let mut bytes = Vec::new();
        let version = ProtocolVersion::V5;
        bitts_mqtt::encode_subscribe(version, packet_id(), None, &[request], &mut bytes);
        self.send_bytes(client, &bytes);
    }

    pub(crate) fn unsubscribe(&mut self, client: usize, filter: &str) {
        let mut bytes = Vec::new();
        let version = ProtocolVersion::V5;
        bitts_mqtt::encode_unsubscribe(version, packet_id(), &[filter], &mut bytes);
        self.send_bytes(client, &bytes);
    }

    pub(crate) fn publish(
        &mut self,
        client: usize,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) {
        let packet_id = (qos > QoS::Zero).then(packet_id);
        let publish = Publish { qos, retain, topic, packet_id, payload, ..Publish::default() };
        self.send(client, &Packet::Publish(publish));
    }

    pub(crate) fn lose(&mut self, client: usize) {
        let conn = conn_of(client);
        let loss = bitts_broker::Loss::Broken;
        self.turn(self.owner(client), Input::Lost { conn, loss });
    }

    /// What clients got since the last call, in order.
    pub(crate) fn take_in_order(&mut self) -> Vec<Got> {
        std::mem::take(&mut self.got)
    }

    /// What clients got since the last call, sorted.
    pub(crate) fn take_got(&mut self) -> Vec<Got> {
        let mut got = std::mem::take(&mut self.got);
        got.sort();
        got
    }

    /// Asks every shard.
    pub(crate) fn ask_all(&mut self, command: &Command) -> Vec<Reply> {
        for shard in 0..self.shards.len() as u8 {
            let (command, reply) = (command.clone(), ReplyId(0));
            self.turn(ShardId(shard), Input::Command { command, reply });
        }
        std::mem::take(&mut self.replies)
    }

    /// Asks the owner of a name.
    pub(crate) fn ask(&mut self, name: &str, command: Command) -> Option<Reply> {
        let reply = ReplyId(0);
        self.turn(self.placement.owner_of(name), Input::Command { command, reply });
        self.replies.pop()
    }

    fn owner(&self, client: usize) -> ShardId {
        self.placement.owner_of(&client_id(client))
    }

    fn send_bytes(&mut self, client: usize, bytes: &[u8]) {
        let frame = bitts_mqtt::split(bytes, usize::MAX).expect("a packet").expect("a whole one");
        let packet = bitts_mqtt::decode(ProtocolVersion::V5, &frame).expect("a packet");
        self.send(client, &packet);
    }

    fn send(&mut self, client: usize, packet: &Packet<'_>) {
        let conn = conn_of(client);
        self.turn(self.owner(client), Input::Packet { conn, packet });
    }

    /// One input, and everything that follows from it.
    fn turn(&mut self, shard: ShardId, input: Input<'_>) {
        self.handle(shard, input);
        while !self.is_held && !self.mail.is_empty() {
            self.deliver_next();
        }
    }

    fn deliver_next(&mut self) {
        let Some((to, mail)) = self.mail.pop_front() else { return };
        match mail {
            Mail::Message(message) => self.handle(to, Input::Message(message)),
            Mail::Parcel(from, parcel) => self.handle(to, Input::Parcel { from, parcel }),
        }
    }

    fn handle(&mut self, at: ShardId, input: Input<'_>) {
        let mut out = Outbox::default();
        let shard = &mut self.shards[usize::from(at.0)];
        shard.handle(NOW, input, &mut out);
        shard.handle(NOW, Input::Durable(Lsn(u64::MAX)), &mut out);
        for (to, parcel) in out.parcels.drain(..) {
            self.mail.push_back((to, Mail::Parcel(at, parcel)));
        }
        for (shards, message) in out.messages.drain(..) {
            let again = message.retain.then(|| self.interest.shards_for(&message.topic));
            let shards = again.map_or(shards, |again| shards.union(again));
            for to in shards.without(at).iter() {
                self.mail.push_back((to, Mail::Message(Arc::clone(&message))));
            }
        }
        self.replies.extend(out.replies.drain(..).map(|(_, reply)| reply));
        self.replies.extend(out.gated_replies.drain(..).map(|(_, _, reply)| reply));
        let frames: Vec<_> =
            out.frames.iter().copied().chain(out.gated.iter().map(|(_, frame)| *frame)).collect();
        for frame in frames {
            let mut bytes = Vec::new();
            out.copy_frame(&frame, &mut bytes);
            let split = bitts_mqtt::split(&bytes, usize::MAX).expect("a packet").expect("whole");
            let packet = bitts_mqtt::decode(ProtocolVersion::V5, &split).expect("a packet");
            if let Packet::Publish(publish) = packet {
                self.got.push(Got {
                    client: frame.conn.index as usize,
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    retain: publish.retain,
                });
            }
        }
    }
}

fn conn_of(client: usize) -> ConnId {
    ConnId { index: client as u32, generation: 1 }
}

fn packet_id() -> PacketId {
    PacketId::new(1).expect("not zero")
}
