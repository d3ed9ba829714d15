//! What a process that died leaves is decided by the policies that the next one finds.

use std::sync::Arc;

use bitts_aws::policy::{ArnScope, PolicyLimits};
use bitts_aws::registry::{Authorized, Identity, Registry, RegistryLimits, Row, Table};
use bitts_broker::record::{Record, SavedSession};
use bitts_broker::{
    Input, Interest, Limits, Moment, Now, Outbox, Placement, Proof, Shard, ShardId, Stats,
};
use bitts_sim::machine::{Machine, Options};
use bitts_sim::packet::{self, Filter, Kind, Packet, Version, Will};
use serde_json::json;

const CONNECT: (&str, &str) = ("iot:Connect", "*");
const WILL: (&str, &str) = ("iot:Publish", "arn:aws:iot:us-east-1:000000000000:topic/w");
const READ: [(&str, &str); 3] = [CONNECT, ("iot:Subscribe", "*"), ("iot:Receive", "*")];

fn document(allowed: &[(&str, &str)]) -> String {
    let allow = |(action, resource): &(&str, &str)| json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    let statements: Vec<_> = allowed.iter().map(allow).collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// A registry with one user, who may do this; without it, with none.
fn registry(allowed: Option<&[(&str, &str)]>) -> Arc<Registry> {
    let scope = ArnScope::new("aws", "us-east-1", "000000000000").expect("a scope");
    let rows = allowed.into_iter().flat_map(|allowed| {
        let version = json!({ "document": document(allowed) });
        let policy = json!({ "versions": { "1": version }, "defaultVersion": 1 });
        [
            (Table::User, "ann", json!({ "passwordHash": "", "isActive": true })),
            (Table::Policy, "p", policy),
            (Table::Attachment, "user/ann\np", json!({})),
        ]
    });
    let rows = rows.map(|(table, key, value)| Row {
        table,
        key: key.to_owned(),
        value: Some(value.to_string().into()),
    });
    Arc::new(Registry::load(scope, RegistryLimits::default(), rows).expect("a registry"))
}

fn user() -> Identity {
    Identity::User("ann".into())
}

fn authorized(allowed: &[(&str, &str)]) -> Identity {
    let documents = vec![document(allowed).into()];
    let limits = PolicyLimits::default();
    let said = Authorized::new("token".to_owned(), documents, &limits).expect("a policy");
    Identity::Authorizer(Arc::new(said))
}

/// What is kept of a client that was connected when its process died, with a Will on `w`, a
/// subscription to `t`.
fn left(identity: Identity, registry: Arc<Registry>, after_checkpoint: bool) -> Vec<SavedSession> {
    let registry = Some(registry);
    let mut machine = Machine::new(Options { registry, ..Options::default() });
    let link = machine.connect_as(Proof::Identity(identity));
    let will = Some(Will { topic: "w".into(), ..Will::default() });
    let filters = vec![Filter { filter: "t".to_owned(), options: 1 }];
    for packet in [
        Packet { client_id: "a".into(), version: Version::V3, will, ..Packet::new(Kind::Connect) },
        Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) },
    ] {
        let mut bytes = Vec::new();
        packet::encode(&packet, Version::V3, &mut bytes);
        machine.write(link, &bytes);
        machine.settle();
    }
    assert!(machine.ended(link).is_none());
    let from = if after_checkpoint { machine.checkpoint() } else { 0 };
    let sessions = machine.recover(from).expect("a journal").sessions;
    sessions.into_iter().map(|session| *session).collect()
}

/// The Wills that the next process publishes within a minute, and its counters.
fn wills(left: Vec<SavedSession>, registry: Option<Arc<Registry>>) -> (usize, Stats) {
    let placement = Placement::new((1, 2), 1);
    let interest = Arc::new(Interest::new(&placement));
    let shard = Shard::new(ShardId(0), placement, Limits::default(), interest);
    let mut shard = match registry {
        Some(registry) => shard.with_registry(registry),
        None => shard,
    };
    let at = |seconds| Now { moment: Moment(0).plus_seconds(seconds), unix_ms: 1_000_000_000 };
    let mut out = Outbox::default();
    for session in left {
        shard.restore_session(at(0), session, &mut out);
    }
    for seconds in 1..60 {
        shard.handle(at(seconds), Input::Tick, &mut out);
    }
    let records = out.batches.iter().flat_map(|batch| &batch.records);
    let published = |record: &&Record| matches!(record, Record::WillDone { published: Some(message), .. } if &*message.topic == "w");
    (records.filter(published).count(), shard.stats())
}

#[test]
fn a_will_is_decided_by_the_policies_of_the_next_process() {
    let may = [CONNECT, WILL, READ[1], READ[2]];
    for after_checkpoint in [false, true] {
        let left = left(user(), registry(Some(&may)), after_checkpoint);
        for (now, expected) in [(Some(&may[..]), 1), (Some(&READ[..]), 0), (None, 0)] {
            let (published, stats) = wills(left.clone(), Some(registry(now)));
            assert_eq!(published, expected, "{now:?}");
            assert_eq!(stats.denied.get("will").copied().unwrap_or(0), 1 - expected as u64);
        }
        let (published, _) = wills(left, None);
        assert_eq!(published, 1, "who asks nobody publishes");
    }
}

/// Also of a client that anybody's statement let in, whose session is its own.
#[test]
fn who_a_client_is_is_kept_as_it_was() {
    let named = ("iot:Connect", "arn:aws:iot:us-east-1:000000000000:client/a");
    for (connect, names_client) in [(CONNECT, false), (named, true)] {
        let may = [connect, WILL, READ[1], READ[2]];
        let left = left(user(), registry(Some(&may)), false);
        let principal = left[0].principal.clone().expect("a principal");
        assert_eq!(principal.names_client, names_client);
        let placement = Placement::new((1, 2), 1);
        let interest = Arc::new(Interest::new(&placement));
        let mut shard = Shard::new(ShardId(0), placement, Limits::default(), interest)
            .with_registry(registry(Some(&may)));
        for session in left {
            shard.restore_session(Now::default(), session, &mut Outbox::default());
        }
        assert_eq!(shard.saved_sessions()[0].principal, Some(principal));
    }
}

/// policies.md §5: only the documents that the authorizer returned decide.
#[test]
fn what_an_authorizer_said_holds_for_the_will_after_a_restart() {
    let said = authorized(&[CONNECT, WILL, READ[1], READ[2]]);
    for after_checkpoint in [false, true] {
        let left = left(said.clone(), registry(None), after_checkpoint);
        assert_eq!(wills(left, Some(registry(None))).0, 1);
    }
}

#[test]
fn nobody_is_allowed_the_will_of_a_client_whom_no_policy_was_asked_about() {
    let mut left = left(user(), registry(Some(&[CONNECT, WILL, READ[1]])), false);
    for session in &mut left {
        session.principal = None;
    }
    assert_eq!(wills(left, Some(registry(Some(&[CONNECT, WILL])))).0, 0);
}
