//! Every way of a client asks the one decision point: a client exceeds its policies by none of
//! them. Contract `policies.md` §2 and §5, `mqtt-broker.md` §4 and §10.

mod device;

use std::sync::Arc;

use bitts_aws::control::{Given, Input, NewCertificate, route};
use bitts_aws::policy::{ArnScope, PolicyLimits};
use bitts_aws::registry::{Authorized, Identity, Registry, RegistryLimits, Row, Table};
use bitts_broker::command::{Command, Reply};
use bitts_broker::{
    ConnId, DirectMessage, Dropped, Input as Happens, Interest, Limits, Moment, NewMessage,
    NotDelivered, Now, Origin, Outbox, Placement, Profile, Proof, Shard, ShardId,
};
use bitts_mqtt::QoS;
use bitts_sim::machine::{Machine, Options};
use bitts_sim::packet::{self, Filter, Kind, Packet, Property, Version, Will};
use serde_json::{Value, json};

use device::Device;

const ARN: &str = "arn:aws:iot:us-east-1:000000000000:";

fn registry() -> Registry {
    let scope = ArnScope::new("aws", "us-east-1", "000000000000").expect("a scope");
    Registry::new(scope, RegistryLimits::default())
}

fn enforced(profile: Profile) -> Machine {
    let registry = Some(Arc::new(registry()));
    Machine::new(Options { registry, profile, shards: 2, ..Options::default() })
}

/// `iot:Connect` on everything, and these actions on these resources.
fn document(allowed: &[(&str, &str)]) -> String {
    let mut statements = vec![json!({
        "Effect": "Allow", "Action": "iot:Connect", "Resource": "*",
    })];
    statements.extend(allowed.iter().map(|(action, resource)| {
        json!({ "Effect": "Allow", "Action": action, "Resource": format!("{ARN}{resource}") })
    }));
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// Who may do this and no more.
fn proof(document: &str) -> Proof {
    proof_of("somebody", document)
}

fn authorized(principal: &str, document: &str) -> Authorized {
    let documents = vec![document.into()];
    Authorized::new(principal.to_owned(), documents, &PolicyLimits::default()).expect("a policy")
}

fn proof_of(principal: &str, document: &str) -> Proof {
    Proof::Identity(Identity::Authorizer(Arc::new(authorized(principal, document))))
}

struct World {
    machine: Machine,
}

impl World {
    fn send(&mut self, client: &Device, packet: &Packet) {
        device::write(&mut self.machine, client.link, packet, client.version);
        self.machine.settle();
    }

    fn connect_with(&mut self, proof: Proof, connect: Packet) -> Device {
        let client = Device::new(self.machine.connect_as(proof), connect.version);
        self.send(&client, &connect);
        client
    }

    /// Connects; what was answered.
    fn connect(&mut self, id: &str, allowed: &[(&str, &str)], version: Version) -> Device {
        let proof = proof(&document(allowed));
        let client_id = id.to_owned();
        let connect =
            Packet { client_id, version, clean_start: true, ..Packet::new(Kind::Connect) };
        let mut client = self.connect_with(proof, connect);
        assert_eq!(self.next(&mut client, Kind::ConnAck).map(|it| it.code), Some(0), "{id}");
        client
    }

    /// Everything that came, acknowledged.
    fn packets(&mut self, client: &mut Device) -> Vec<Packet> {
        let mut found = Vec::new();
        loop {
            let more = client.take(&mut self.machine);
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    fn next(&mut self, client: &mut Device, kind: Kind) -> Option<Packet> {
        self.packets(client).into_iter().find(|packet| packet.kind == kind)
    }

    fn topics(&mut self, client: &mut Device) -> Vec<String> {
        let packets = self.packets(client).into_iter();
        packets.filter(|it| it.kind == Kind::Publish).map(|it| it.topic).collect()
    }

    fn subscribe(&mut self, client: &mut Device, filters: &[&str]) -> Vec<u8> {
        let filters = filters
            .iter()
            .map(|filter| Filter { filter: (*filter).to_owned(), options: 1 })
            .collect();
        let packet = Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) };
        self.send(client, &packet);
        self.next(client, Kind::SubAck).map(|it| it.codes).unwrap_or_default()
    }

    fn publish(&mut self, client: &Device, topic: &str, qos: u8, retain: bool) {
        let packet = Packet {
            qos,
            retain,
            topic: topic.to_owned(),
            packet_id: (qos > 0).then_some(7),
            payload: b"x".to_vec(),
            ..Packet::new(Kind::Publish)
        };
        self.send(client, &packet);
    }

    /// A message of the server's owner, whom no policy binds.
    fn inject(&mut self, topic: &str, retain: bool) {
        let message = NewMessage {
            topic: topic.to_owned(),
            payload: b"x".as_slice().into(),
            qos: QoS::One,
            retain,
            properties: Vec::new(),
            message_expiry_interval: None,
        };
        let owner = self.machine.placement().owner_of(topic);
        self.command(owner, Command::Publish(message));
    }

    fn command(&mut self, shard: ShardId, command: Command) -> Option<Reply> {
        let asked = self.machine.command(shard, command);
        self.machine.settle();
        self.machine.reply(asked)
    }
}

/// A world that knows a user, who may do this.
fn world_of_user(name: &str, document: &str) -> World {
    let version = json!({ "document": document });
    let policy = json!({ "versions": { "1": version }, "defaultVersion": 1 });
    let rows = [
        (Table::User, name.to_owned(), json!({ "passwordHash": "", "isActive": true })),
        (Table::Policy, "p".to_owned(), policy),
        (Table::Attachment, format!("user/{name}\np"), json!({})),
    ];
    let rows =
        rows.map(|(table, key, value)| Row { table, key, value: Some(value.to_string().into()) });
    let scope = ArnScope::new("aws", "us-east-1", "000000000000").expect("a scope");
    let registry = Registry::load(scope, RegistryLimits::default(), rows).expect("a registry");
    let registry = Some(Arc::new(registry));
    World { machine: Machine::new(Options { registry, shards: 2, ..Options::default() }) }
}

fn world() -> World {
    World { machine: enforced(Profile::Open) }
}

const READ_ALL: [(&str, &str); 2] =
    [("iot:Subscribe", "topicfilter/*"), ("iot:Receive", "topic/*")];

#[test]
fn without_a_credential_nobody_connects_and_a_wrong_one_is_told_so() {
    for (proof, code) in [(Proof::None, 0x87), (Proof::Failed, 0x86)] {
        let mut world = world();
        let version = Version::V5;
        let connect = Packet { client_id: "a".into(), version, ..Packet::new(Kind::Connect) };
        let mut client = world.connect_with(proof, connect);
        assert_eq!(world.next(&mut client, Kind::ConnAck).map(|it| it.code), Some(code));
        assert!(world.machine.ended(client.link).is_some());
    }
}

#[test]
fn who_may_not_connect_under_a_name_takes_nothing_over() {
    let mut world = world();
    let mut owner = world.connect("a", &[], Version::V5);
    let only_b = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "iot:Connect", "Resource": format!("{ARN}client/b"),
    }]});
    let version = Version::V5;
    let connect = Packet { client_id: "a".into(), version, ..Packet::new(Kind::Connect) };
    let mut thief = world.connect_with(proof(&only_b.to_string()), connect);
    assert_eq!(world.next(&mut thief, Kind::ConnAck).map(|it| it.code), Some(0x87));
    assert!(world.packets(&mut owner).is_empty());
    assert!(world.machine.ended(owner.link).is_none());
}

#[test]
fn a_failed_connect_is_an_event() {
    let mut world = world();
    let mut watcher = world.connect("w", &READ_ALL, Version::V5);
    world.subscribe(&mut watcher, &["$aws/events/presence/connect_failed/a"]);
    let nothing = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "*", "Resource": "*",
    }]});
    let connect = Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
    world.connect_with(proof(&nothing.to_string()), connect);
    let event = world.next(&mut watcher, Kind::Publish).expect("an event");
    let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert_eq!(event["connectFailureReason"], "AUTHORIZATION_FAILED");
    assert_eq!(event["principalIdentifier"], "somebody");
    assert_eq!(event["ipAddress"], "192.0.2.7");
}

#[test]
fn a_will_needs_publish_and_retain_at_connect() {
    for (allowed, retain, code) in [
        (&[][..], false, 0x87),
        (&[("iot:Publish", "topic/w")][..], false, 0),
        (&[("iot:Publish", "topic/w")][..], true, 0x87),
        (&[("iot:Publish", "topic/w"), ("iot:RetainPublish", "topic/w")][..], true, 0),
    ] {
        let mut world = world();
        let will = Some(Will { topic: "w".into(), retain, ..Will::default() });
        let version = Version::V5;
        let connect = Packet { client_id: "a".into(), version, will, ..Packet::new(Kind::Connect) };
        let mut client = world.connect_with(proof(&document(allowed)), connect);
        let answer = world.next(&mut client, Kind::ConnAck).map(|it| it.code);
        assert_eq!(answer, Some(code), "{allowed:?} {retain}");
    }
}

#[test]
fn a_publish_that_is_not_allowed_reaches_nobody() {
    let mut world = world();
    let mut watcher = world.connect("w", &READ_ALL, Version::V3);
    world.subscribe(&mut watcher, &["#"]);
    let allowed = [("iot:Publish", "topic/mine/*")];
    let mut client = world.connect("a", &allowed, Version::V5);
    world.publish(&client, "mine/x", 1, false);
    world.publish(&client, "other/x", 1, false);
    world.publish(&client, "other/x", 0, false);
    let codes: Vec<u8> = world.packets(&mut client).iter().map(|it| it.code).collect();
    assert_eq!(codes, [0, 0x87]);
    assert_eq!(world.topics(&mut watcher), ["mine/x"]);
    assert!(world.machine.ended(client.link).is_none());
    let old = world.connect("b", &allowed, Version::V3);
    world.publish(&old, "other/x", 0, false);
    assert!(world.machine.ended(old.link).is_none());
    world.publish(&old, "other/x", 1, false);
    assert!(world.machine.ended(old.link).is_some());
    assert!(world.topics(&mut watcher).is_empty());
}

/// B-16
#[test]
fn b_16_on_aws_a_denied_publish_ends_the_connection() {
    for version in [Version::V3, Version::V5] {
        let mut world = World { machine: enforced(Profile::Aws) };
        let mut watcher = world.connect("w", &READ_ALL, Version::V5);
        world.subscribe(&mut watcher, &["$aws/events/presence/disconnected/a"]);
        let mut client = world.connect("a", &[], version);
        world.publish(&client, "t", 1, false);
        let packets = world.packets(&mut client);
        let kinds: Vec<(Kind, u8)> = packets.iter().map(|it| (it.kind, it.code)).collect();
        let told = if version == Version::V5 { vec![(Kind::Disconnect, 0x87)] } else { vec![] };
        assert_eq!(kinds, told);
        assert!(world.machine.ended(client.link).is_some());
        let event = world.next(&mut watcher, Kind::Publish).expect("an event");
        let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
        assert_eq!(event["disconnectReason"], "AUTH_ERROR");
    }
}

#[test]
fn retain_needs_a_permission_of_its_own() {
    let mut world = world();
    let mut client = world.connect("a", &[("iot:Publish", "topic/t")], Version::V5);
    world.publish(&client, "t", 1, true);
    assert_eq!(world.next(&mut client, Kind::PubAck).map(|it| it.code), Some(0x87));
    assert_eq!(world.machine.stats().retained, 0);
}

#[test]
fn a_topic_alias_stands_for_a_topic_that_is_asked_for() {
    let mut world = world();
    let mut client = world.connect("a", &[("iot:Publish", "topic/t")], Version::V5);
    let alias = || vec![Property { id: 0x23, value: packet::Value::Two(1) }];
    for (topic, code) in [("secret", 0x87), ("", 0x87)] {
        let packet = Packet {
            qos: 1,
            topic: topic.to_owned(),
            packet_id: Some(1),
            properties: alias(),
            ..Packet::new(Kind::Publish)
        };
        world.send(&client, &packet);
        assert_eq!(world.next(&mut client, Kind::PubAck).map(|it| it.code), Some(code));
    }
}

#[test]
fn a_filter_that_is_not_allowed_costs_its_code() {
    let mut world = world();
    let allowed = [("iot:Subscribe", "topicfilter/a/*"), ("iot:Receive", "topic/*")];
    let mut client = world.connect("a", &allowed, Version::V5);
    let codes = world.subscribe(&mut client, &["a/#", "b/#", "#", "$share/g/a/b"]);
    assert_eq!(codes, [1, 0x87, 0x87, 0x87]);
    let mut old = world.connect("b", &allowed, Version::V3);
    assert_eq!(world.subscribe(&mut old, &["a/#", "b/#"]), [1, 0x80]);
    world.inject("b/x", false);
    assert!(world.topics(&mut client).is_empty() && world.topics(&mut old).is_empty());
}

#[test]
fn on_aws_a_denied_filter_ends_a_311_connection() {
    let mut world = World { machine: enforced(Profile::Aws) };
    let mut client = world.connect("a", &[], Version::V3);
    assert!(world.subscribe(&mut client, &["a"]).is_empty());
    assert!(world.machine.ended(client.link).is_some());
    let mut client = world.connect("b", &[], Version::V5);
    assert_eq!(world.subscribe(&mut client, &["a"]), [0x87]);
}

const RECEIVE_OPEN: [(&str, &str); 2] =
    [("iot:Subscribe", "topicfilter/*"), ("iot:Receive", "topic/open/*")];

#[test]
fn what_may_not_be_received_is_not_delivered_live() {
    let mut world = world();
    let mut client = world.connect("a", &RECEIVE_OPEN, Version::V5);
    world.subscribe(&mut client, &["#"]);
    world.inject("open/x", false);
    world.inject("restricted/x", false);
    assert_eq!(world.topics(&mut client), ["open/x"]);
    assert_eq!(world.machine.stats().dropped(Dropped::NotAuthorized), 1);
}

#[test]
fn what_may_not_be_received_is_not_delivered_as_retained() {
    let mut world = world();
    world.inject("open/x", true);
    world.inject("restricted/x", true);
    let mut client = world.connect("a", &RECEIVE_OPEN, Version::V5);
    let filters = vec![Filter { filter: "#".to_owned(), options: 1 }];
    let packet = Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) };
    world.send(&client, &packet);
    assert_eq!(world.topics(&mut client), ["open/x"]);
}

#[test]
fn what_may_not_be_received_is_not_delivered_through_a_group() {
    let mut world = world();
    let mut client = world.connect("a", &RECEIVE_OPEN, Version::V5);
    world.subscribe(&mut client, &["$share/g/#"]);
    world.inject("restricted/x", false);
    world.inject("open/x", false);
    assert_eq!(world.topics(&mut client), ["open/x"]);
}

/// Who comes for what was queued is asked, not who subscribed.
#[test]
fn what_may_not_be_received_is_not_delivered_from_the_queue() {
    let mut world = world();
    let connect = || Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
    let mut client = world.connect_with(proof(&document(&READ_ALL)), connect());
    world.packets(&mut client);
    world.subscribe(&mut client, &["#"]);
    world.machine.hang_up(client.link);
    world.machine.settle();
    world.inject("restricted/x", false);
    world.inject("open/x", false);
    let mut client = world.connect_with(proof(&document(&RECEIVE_OPEN)), connect());
    assert_eq!(world.topics(&mut client), ["open/x"]);
}

#[test]
fn what_may_not_be_received_is_not_sent_again() {
    let mut world = world();
    let connect = || Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
    let mut client = world.connect_with(proof(&document(&READ_ALL)), connect());
    world.packets(&mut client);
    world.subscribe(&mut client, &["#"]);
    world.inject("restricted/x", false);
    // It is in flight and never acknowledged.
    world.machine.hang_up(client.link);
    world.machine.settle();
    let mut client = world.connect_with(proof(&document(&RECEIVE_OPEN)), connect());
    assert!(world.topics(&mut client).is_empty());
    world.inject("open/x", false);
    assert_eq!(world.topics(&mut client), ["open/x"]);
}

/// P-3 and threat model rule 3: what a client calls itself widens nothing.
#[test]
fn a_client_id_in_a_policy_is_no_pattern() {
    let mut world = world();
    let allowed = [
        ("iot:Publish", "topic/${iot:ClientId}/x"),
        ("iot:Subscribe", "topicfilter/${iot:ClientId}/x"),
    ];
    for id in ["*", "?", "${iot:ClientId}"] {
        let mut client = world.connect(id, &allowed, Version::V5);
        world.publish(&client, "other/x", 1, false);
        assert_eq!(world.next(&mut client, Kind::PubAck).map(|it| it.code), Some(0x87), "{id}");
        assert_eq!(world.subscribe(&mut client, &["other/x"]), [0x87], "{id}");
    }
}

/// A registry that is changed as the control plane changes it.
struct Plane {
    registry: Registry,
    certificates: u8,
}

impl Plane {
    fn call(&mut self, method: &str, target: &str, body: &Value) -> Value {
        self.call_with(&[], method, target, body)
    }

    fn call_with(
        &mut self,
        headers: &[(&str, &str)],
        method: &str,
        target: &str,
        body: &Value,
    ) -> Value {
        let (path, query) = target.split_once('?').map_or((target, None), |it| (it.0, Some(it.1)));
        let route = route(method, path).expect("a route");
        let body = body.to_string();
        let input = Input::parse(&route, query, &headers, body.as_bytes()).expect("an input");
        let facts = bitts_aws::registry::CertificateFacts {
            not_after_unix_ms: u64::MAX,
            ..Default::default()
        };
        let id = format!("{:02x}", self.certificates).repeat(32);
        let certificate = NewCertificate { id, pem: "PEM".into(), facts, ca_id: None };
        let given = Given { certificate: Some(certificate), ..Given::default() };
        let applied = self.registry.apply(route.operation(), &input, &given).expect("applied");
        self.registry = applied.registry;
        applied.answer
    }

    /// An active certificate with a policy of its own; its proof and its ARN.
    fn certificate(&mut self, policy: &str, document: &str) -> (Proof, String) {
        self.certificates += 1;
        let made = self.call("POST", "/keys-and-certificate?setAsActive=true", &json!({}));
        let arn = made["certificateArn"].as_str().expect("an ARN").to_owned();
        let body = json!({ "policyDocument": document });
        self.call("POST", &format!("/policies/{policy}"), &body);
        self.call("PUT", &format!("/target-policies/{policy}"), &json!({ "target": arn }));
        (Proof::Identity(Identity::Certificate([self.certificates; 32])), arn)
    }

    fn tell(&self, world: &mut World) {
        for shard in 0..2 {
            let registry = Arc::new(self.registry.clone());
            world.command(ShardId(shard), Command::SetRegistry(registry));
        }
    }
}

fn with_certificate(document: &str) -> (World, Plane, Device, String) {
    let mut plane = Plane { registry: registry(), certificates: 0 };
    let (proof, arn) = plane.certificate("p", document);
    let mut world = world();
    plane.tell(&mut world);
    let version = Version::V5;
    let connect =
        Packet { client_id: "a".into(), version, clean_start: true, ..Packet::new(Kind::Connect) };
    let mut client = world.connect_with(proof, connect);
    assert_eq!(world.next(&mut client, Kind::ConnAck).map(|it| it.code), Some(0));
    (world, plane, client, arn)
}

#[test]
fn another_policy_decides_at_once_in_live_sessions() {
    let allowed = [("iot:Publish", "topic/t"), READ_ALL[0], READ_ALL[1]];
    let (mut world, mut plane, mut client, _) = with_certificate(&document(&allowed));
    world.subscribe(&mut client, &["#"]);
    world.publish(&client, "t", 1, false);
    let packets = world.packets(&mut client);
    assert_eq!(packets.iter().map(|it| it.code).collect::<Vec<_>>(), [0, 0]);
    let body = json!({ "policyDocument": document(&[]) });
    plane.call("POST", "/policies/p/version?setAsDefault=true", &body);
    plane.tell(&mut world);
    world.inject("t", false);
    assert!(world.topics(&mut client).is_empty(), "Receive too");
    world.publish(&client, "t", 1, false);
    assert_eq!(world.next(&mut client, Kind::PubAck).map(|it| it.code), Some(0x87));
    plane.call("PATCH", "/policies/p/version/1", &json!({}));
    plane.tell(&mut world);
    world.publish(&client, "t", 1, false);
    assert_eq!(world.topics(&mut client), ["t"]);
}

#[test]
fn a_certificate_made_inactive_ends_its_connections_at_once() {
    let (mut world, mut plane, mut client, arn) = with_certificate(&document(&[]));
    let mut watcher = world.connect("w", &READ_ALL, Version::V5);
    world.subscribe(&mut watcher, &["$aws/events/presence/disconnected/a"]);
    let id = arn.rsplit('/').next().expect("an id");
    plane.call("PUT", &format!("/certificates/{id}?newStatus=INACTIVE"), &json!({}));
    plane.tell(&mut world);
    assert_eq!(world.next(&mut client, Kind::Disconnect).map(|it| it.code), Some(0x87));
    assert!(world.machine.ended(client.link).is_some());
    let event = world.next(&mut watcher, Kind::Publish).expect("an event");
    let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert_eq!(event["disconnectReason"], "FORBIDDEN_ACCESS");
    assert_eq!(event["principalIdentifier"], id);
    assert!(world.machine.ended(watcher.link).is_none());
}

/// D8 and rule 5.2: a Will is decided again when it fires.
#[test]
fn a_will_that_is_not_allowed_any_more_is_not_published() {
    let mut plane = Plane { registry: registry(), certificates: 0 };
    let (proof, _) = plane.certificate("p", &document(&[("iot:Publish", "topic/w")]));
    let mut world = world();
    plane.tell(&mut world);
    let mut watcher = world.connect("w", &READ_ALL, Version::V5);
    world.subscribe(&mut watcher, &["w"]);
    for published in [1, 0] {
        let will = Some(Will { topic: "w".into(), ..Will::default() });
        let connect =
            Packet { client_id: "a".into(), will, clean_start: true, ..Packet::new(Kind::Connect) };
        let client = world.connect_with(proof.clone(), connect);
        if published == 0 {
            let body = json!({ "policyDocument": document(&[]) });
            plane.call("POST", "/policies/p/version?setAsDefault=true", &body);
            plane.tell(&mut world);
        }
        world.machine.hang_up(client.link);
        world.machine.settle();
        assert_eq!(world.topics(&mut watcher).len(), published);
    }
}

#[test]
fn an_authorizers_time_ends_the_connection() {
    let mut world = world();
    let end = Some(world.machine.now().unix_ms + 300_000);
    let said = authorized("somebody", &document(&READ_ALL)).until(end);
    let proof = Proof::Identity(Identity::Authorizer(Arc::new(said)));
    let connect = Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
    let client = world.connect_with(proof, connect);
    world.machine.advance(299_999);
    assert!(world.machine.ended(client.link).is_none());
    world.machine.advance(2);
    assert!(world.machine.ended(client.link).is_some());
    assert_eq!(world.machine.stats().disconnects.get("CUSTOMAUTH_TTL_EXPIRATION"), Some(&1));
}

/// Threat model rule 2: where nothing names client ids, a session belongs to who made it.
#[test]
fn a_session_that_anybody_could_claim_belongs_to_who_made_it() {
    let named = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "iot:*", "Resource": [
            format!("{ARN}client/a"), format!("{ARN}topic/*"), format!("{ARN}topicfilter/*"),
        ],
    }]});
    let anybody = document(&READ_ALL);
    let named = named.to_string();
    // A user of the name that an authorizer gave is somebody else.
    let user = Proof::Identity(Identity::User("somebody".into()));
    let cases = [
        (&anybody, proof(&anybody), true),
        (&anybody, proof_of("another", &anybody), false),
        (&anybody, user, false),
        (&named, proof_of("another", &named), true),
    ];
    for (number, (policy, second, resumes)) in cases.into_iter().enumerate() {
        let mut world = world_of_user("somebody", policy);
        let connect = || Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
        let mut client = world.connect_with(proof(policy), connect());
        world.packets(&mut client);
        world.subscribe(&mut client, &["t"]);
        world.machine.hang_up(client.link);
        world.machine.settle();
        world.inject("t", false);
        let mut client = world.connect_with(second, connect());
        let packets = world.packets(&mut client);
        let connack = packets.iter().find(|it| it.kind == Kind::ConnAck).expect("an answer");
        assert_eq!((connack.code, connack.session_present), (0, resumes), "{number}");
        let messages = packets.iter().filter(|it| it.kind == Kind::Publish).count();
        assert_eq!(messages, usize::from(resumes), "{number}");
    }
}

/// Contract `mqtt-broker.md` §1.1: a WebSocket with a signature lives a day, whatever it asks for.
#[test]
fn a_signed_websocket_ends_after_a_day() {
    let rows = [Row {
        table: Table::AccessKey,
        key: "AKID".to_owned(),
        value: Some(json!({ "secret": "x", "isActive": true }).to_string().into()),
    }];
    let scope = ArnScope::new("aws", "us-east-1", "000000000000").expect("a scope");
    let registry = Registry::load(scope, RegistryLimits::default(), rows).expect("a registry");
    let registry = Arc::new(registry);
    let mut bytes = Vec::new();
    let connect = Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
    packet::encode(&connect, Version::V3, &mut bytes);
    let frame = bitts_mqtt::split(&bytes, bytes.len()).expect("bytes").expect("a packet");
    let read = bitts_mqtt::decode(bitts_mqtt::ProtocolVersion::V3_1_1, &frame).expect("CONNECT");
    let bitts_mqtt::Packet::Connect(connect) = read else { panic!("{read:?}") };
    for (is_websocket, ends) in [(true, Some(Moment(0).plus_seconds(86_400))), (false, None)] {
        let placement = Placement::new((1, 2), 1);
        let interest = Arc::new(Interest::new(&placement));
        let mut shard = Shard::new(ShardId(0), placement, Limits::default(), interest)
            .with_registry(Arc::clone(&registry));
        let origin = Origin {
            source: ([192, 0, 2, 7], 1).into(),
            target: ([192, 0, 2, 1], 443).into(),
            entropy: 7,
            certificate: None,
            is_secure: true,
            is_websocket,
        };
        let (conn, proof) =
            (ConnId::default(), Proof::Identity(Identity::AccessKey("AKID".into())));
        let mut out = Outbox::default();
        let connect = &connect;
        shard.handle(Now::default(), Happens::Connect { conn, connect, origin, proof }, &mut out);
        assert_eq!(shard.deadline(), ends);
        assert_eq!(out.closes.len(), 0);
        shard.handle(
            Now { moment: Moment(86_400_000), unix_ms: 86_400_000 },
            Happens::Tick,
            &mut out,
        );
        assert_eq!(shard.stats().connections, u64::from(!is_websocket));
    }
}

#[test]
fn what_a_policy_says_of_the_time_is_decided_anew_each_second() {
    let mut world = world();
    let end = world.machine.now().unix_ms / 1_000 + 2;
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "*" },
        { "Effect": "Allow", "Action": "iot:Publish", "Resource": "*",
          "Condition": { "NumericLessThan": { "aws:EpochTime": end.to_string() } } },
    ]});
    let version = Version::V5;
    let connect = Packet { client_id: "a".into(), version, ..Packet::new(Kind::Connect) };
    let mut client = world.connect_with(proof(&policy.to_string()), connect);
    world.packets(&mut client);
    for (millis, code) in [(0, 0), (1_500, 0), (1_000, 0x87)] {
        world.machine.advance(millis);
        world.publish(&client, "t", 1, false);
        let ack = world.next(&mut client, Kind::PubAck).map(|it| it.code);
        assert_eq!(ack.map(|it| it & 0x80), Some(code & 0x80), "{millis}");
    }
}

/// DM-8
#[test]
fn dm_08_a_client_gets_no_direct_message_that_it_may_not_receive() {
    let mut world = world();
    let mut client = world.connect("a", &RECEIVE_OPEN, Version::V5);
    let owner = world.machine.placement().owner_of("a");
    for (topic, is_allowed) in [("open/x", true), ("restricted/x", false)] {
        for confirmation in [None, Some(5)] {
            let reply = world.command(
                owner,
                Command::SendDirectMessage(DirectMessage {
                    client_id: "a".to_owned(),
                    topic: topic.to_owned(),
                    payload: b"x".as_slice().into(),
                    properties: Vec::new(),
                    confirmation,
                }),
            );
            let expected: &[&str] = if is_allowed { &[topic] } else { &[] };
            assert_eq!(world.topics(&mut client), expected);
            let denied = matches!(reply, Some(Reply::NotDelivered(NotDelivered::NotAuthorized)));
            assert_eq!(denied, !is_allowed, "{topic} {confirmation:?} {reply:?}");
        }
    }
}

/// `mqtt-broker.md` §5: events name the thing of a principal that speaks for it alone.
#[test]
fn events_name_the_thing_that_a_principal_speaks_for_alone() {
    for (kind, named) in [("EXCLUSIVE_THING", json!("lamp")), ("NON_EXCLUSIVE_THING", Value::Null)]
    {
        let mut plane = Plane { registry: registry(), certificates: 0 };
        let (proof, arn) = plane.certificate("p", &document(&[]));
        plane.call("POST", "/things/lamp", &json!({}));
        let target = format!("/things/lamp/principals?thingPrincipalType={kind}");
        plane.call_with(&[("x-amzn-principal", &arn)], "PUT", &target, &json!({}));
        let mut world = world();
        plane.tell(&mut world);
        let mut watcher = world.connect("w", &READ_ALL, Version::V5);
        world.subscribe(&mut watcher, &["$aws/events/presence/connected/a"]);
        let connect = Packet { client_id: "a".into(), ..Packet::new(Kind::Connect) };
        world.connect_with(proof, connect);
        let event = world.next(&mut watcher, Kind::Publish).expect("an event");
        let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
        assert_eq!(event["thingName"], named, "{kind}");
    }
}
