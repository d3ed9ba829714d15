use super::super::{Row, Table};
use super::*;
use crate::policy::{Action, ActionKind, ArnScope, Context, Request, ResourceKind};

const ID: [u8; 32] = [0xab; 32];
const HEX: &str = "abababababababababababababababababababababababababababababababab";

/// A registry from rows, as a store gives them.
fn registry(rows: &[(Table, &str, &str)]) -> Registry {
    let rows = rows.iter().map(|&(table, key, value)| Row {
        table,
        key: key.replace("ID", HEX),
        value: Some(value.into()),
    });
    let scope = ArnScope::new("aws", "us-east-1", "123456789012").unwrap();
    Registry::load(scope, super::super::RegistryLimits::default(), rows).unwrap()
}

fn policy(statement: &str) -> String {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
    let version = serde_json::json!({ "document": document });
    serde_json::json!({ "versions": { "1": version }, "defaultVersion": 1 }).to_string()
}

fn statement(topic: &str) -> String {
    let resource = format!("arn:aws:iot:us-east-1:123456789012:topic/{topic}");
    format!(r#"{{"Effect":"Allow","Action":"iot:Publish","Resource":"{resource}"}}"#)
}

fn document(topic: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{}}}"#, statement(topic))
}

fn allow(topic: &str) -> String {
    policy(&statement(topic))
}

const ACTIVE: &str = r#"{"status":"ACTIVE","facts":{"notBeforeUnixMs":1000,"notAfterUnixMs":2000,
    "serialNumber":"0a","subject":[["CommonName","lamp"]]}}"#;

/// Whether a grant allows `iot:Publish` on a topic.
fn may_publish(registry: &Registry, grant: &Grant, topic: &str) -> bool {
    let arn = registry.scope().arn(ResourceKind::Topic, topic);
    let connection = crate::policy::MqttConnection {
        client_id: "lamp-1".to_owned(),
        thing: grant.thing.clone(),
    };
    let context = Context {
        principal: &grant.principal,
        connection: Some(&connection),
        origin: None,
        unix_seconds: None,
    };
    let action = Action::Plain(ActionKind::Publish);
    let request = Request { action, resource: Some(&arn), context };
    grant.rights.authority().decide(&request).is_allowed()
}

/// policies.md §5: the union of the certificate's policies and those of the groups, with all
/// groups above them, of the thing whose name is the Client Identifier.
#[test]
fn a_certificate_has_its_policies_and_those_of_its_things_groups() {
    let registry = registry(&[
        (Table::Certificate, "ID", ACTIVE),
        (Table::Thing, "lamp-1", r#"{"attributes":{"floor":"2"}}"#),
        (Table::Thing, "lamp-2", "{}"),
        (Table::ThingGroup, "room", r#"{"parent":"house"}"#),
        (Table::ThingGroup, "house", "{}"),
        (Table::ThingGroup, "garden", "{}"),
        (Table::Member, "room\nlamp-1", "{}"),
        (Table::Member, "garden\nlamp-2", "{}"),
        (Table::Policy, "own", &allow("own")),
        (Table::Policy, "room", &allow("room/${iot:Connection.Thing.Attributes[floor]}")),
        (Table::Policy, "house", &allow("house")),
        (Table::Policy, "garden", &allow("garden")),
        (Table::Attachment, "cert/ID\nown", "{}"),
        (Table::Attachment, "thinggroup/room\nroom", "{}"),
        (Table::Attachment, "thinggroup/house\nhouse", "{}"),
        (Table::Attachment, "thinggroup/garden\ngarden", "{}"),
        (Table::Principal, "lamp-1\ncert/ID", "{}"),
    ]);
    let identity = Identity::Certificate(ID);

    let grant = registry.grant(&identity, Some("lamp-1"), Some(1_500)).unwrap();
    for (topic, allowed) in
        [("own", true), ("room/2", true), ("house", true), ("garden", false), ("room/3", false)]
    {
        assert_eq!(may_publish(&registry, &grant, topic), allowed, "{topic}");
    }
    assert_eq!(grant.principal_identifier, HEX);
    assert!(!grant.exclusive_thing);

    // lamp-2 is a thing, but not this certificate's.
    for other in [Some("lamp-2"), Some("lamp"), None] {
        let grant = registry.grant(&identity, other, Some(1_500)).unwrap();
        assert!(grant.thing.is_none(), "{other:?}");
        assert!(may_publish(&registry, &grant, "own"));
        assert!(!may_publish(&registry, &grant, "house"));
    }
}

#[test]
fn a_certificate_bound_exclusively_speaks_for_its_thing_under_any_client_id() {
    let registry = registry(&[
        (Table::Certificate, "ID", ACTIVE),
        (Table::Thing, "lamp-1", "{}"),
        (Table::Thing, "other", "{}"),
        (Table::Principal, "lamp-1\ncert/ID", r#"{"isExclusive":true}"#),
    ]);
    let grant = registry.grant(&Identity::Certificate(ID), Some("other"), Some(1_500)).unwrap();
    assert_eq!(grant.thing.map(|thing| thing.name).as_deref(), Some("lamp-1"));
    assert!(grant.exclusive_thing);
}

/// policies.md §5, last rows: the status decides before any policy.
#[test]
fn a_certificate_that_is_not_active_and_in_its_time_is_refused() {
    let identity = Identity::Certificate(ID);
    for (status, refused) in [
        ("INACTIVE", Refused::Inactive),
        ("REVOKED", Refused::Revoked),
        ("PENDING_ACTIVATION", Refused::PendingActivation),
        ("PENDING_TRANSFER", Refused::Inactive),
        ("REGISTER_INACTIVE", Refused::Inactive),
    ] {
        let row = ACTIVE.replace("ACTIVE", status);
        let registry = registry(&[(Table::Certificate, "ID", &row)]);
        assert_eq!(registry.grant(&identity, None, Some(1_500)).unwrap_err(), refused);
    }
    let known = registry(&[(Table::Certificate, "ID", ACTIVE)]);
    for (unix_ms, expected) in [(999, Some(Refused::Expired)), (1_000, None), (2_000, None)] {
        assert_eq!(known.grant(&identity, None, Some(unix_ms)).err(), expected, "{unix_ms}");
    }
    assert_eq!(known.grant(&identity, None, Some(2_001)).unwrap_err(), Refused::Expired);
    // Who came in time stays.
    assert!(known.grant(&identity, None, None).is_ok());
    let unknown = known.grant(&Identity::Certificate([1; 32]), None, Some(1_500));
    assert_eq!(unknown.unwrap_err(), Refused::Unknown);
}

/// policies.md §5, the choice: a key without a document may do everything; one that was bound once
/// stays bound when its last policy is gone.
#[test]
fn an_access_key_is_free_until_a_policy_binds_it() {
    let mut registry = registry(&[
        (Table::AccessKey, "FREE", r#"{"secret":"s","isActive":true}"#),
        (Table::AccessKey, "BOUND", r#"{"secret":"s","isActive":true,"userName":"u"}"#),
        (Table::AccessKey, "LEFT", r#"{"secret":"s","isActive":true,"isBound":true}"#),
        (Table::AccessKey, "ADMIN", r#"{"secret":"s","isActive":true,"isAdmin":true}"#),
        (Table::AccessKey, "OFF", r#"{"secret":"s"}"#),
        (Table::AccessKey, "OLD", r#"{"secret":"s","isActive":true,"expiresUnixMs":5}"#),
        (Table::Policy, "p", &allow("a")),
        (Table::Attachment, "accesskey/BOUND\np", "{}"),
        (Table::Attachment, "accesskey/ADMIN\np", "{}"),
    ]);
    let grant = |registry: &Registry, id: &str| {
        registry.grant(&Identity::AccessKey(id.into()), None, Some(5))
    };
    let may = |registry: &Registry, id: &str, topic: &str| {
        may_publish(registry, &grant(registry, id).unwrap(), topic)
    };
    assert!(may(&registry, "FREE", "b"));
    assert!(may(&registry, "BOUND", "a") && !may(&registry, "BOUND", "b"));
    assert!(!may(&registry, "LEFT", "a"));
    assert!(may(&registry, "ADMIN", "b"));
    assert_eq!(grant(&registry, "OFF").unwrap_err(), Refused::Inactive);
    assert_eq!(grant(&registry, "OLD").unwrap_err(), Refused::Expired);
    assert_eq!(grant(&registry, "NONE").unwrap_err(), Refused::Unknown);
    let bound = grant(&registry, "BOUND").unwrap();
    assert_eq!(bound.principal, Principal::User("u".into()));

    registry.settings.binds_keys_without_policies = true;
    assert!(!may(&registry, "FREE", "b"));
    assert!(may(&registry, "ADMIN", "b"));
}

#[test]
fn nothing_is_granted_without_a_credential_unless_a_policy_says_so() {
    let refused = registry(&[]).grant(&Identity::Anonymous, Some("x"), Some(0));
    assert_eq!(refused.unwrap_err(), Refused::Unknown);
    let registry = registry(&[
        (Table::Policy, "p", &allow("public")),
        (Table::Attachment, "anonymous\np", "{}"),
    ]);
    let grant = registry.grant(&Identity::Anonymous, Some("x"), Some(0)).unwrap();
    assert!(may_publish(&registry, &grant, "public") && !may_publish(&registry, &grant, "x"));
}

#[test]
fn a_user_has_its_policies_and_an_authorizers_client_what_was_said() {
    let registry = registry(&[
        (Table::User, "ann", r#"{"passwordHash":"h","isActive":true}"#),
        (Table::User, "bob", r#"{"passwordHash":"h"}"#),
        (Table::Policy, "p", &allow("a")),
        (Table::Attachment, "user/ann\np", "{}"),
    ]);
    let ann = registry.grant(&Identity::User("ann".into()), Some("x"), Some(0)).unwrap();
    assert!(may_publish(&registry, &ann, "a") && !may_publish(&registry, &ann, "b"));
    let bob = registry.grant(&Identity::User("bob".into()), Some("x"), Some(0));
    assert_eq!(bob.unwrap_err(), Refused::Inactive);

    let limits = crate::policy::PolicyLimits::default();
    let said = Authorized::new("token".to_owned(), vec![document("a").into()], &limits).unwrap();
    let identity = Identity::Authorizer(Arc::new(said.until(Some(10))));
    let grant = registry.grant(&identity, Some("x"), Some(9)).unwrap();
    assert!(may_publish(&registry, &grant, "a"));
    assert_eq!(grant.principal_identifier, "token");
    // A Will or a queue outlives the connection whose time that was.
    assert!(registry.grant(&identity, Some("x"), Some(10)).is_ok());
}

#[test]
fn secrets_do_not_show() {
    let registry = registry(&[
        (Table::AccessKey, "A", r#"{"secret":"hidden-1","sessionToken":"hidden-2"}"#),
        (Table::User, "u", r#"{"passwordHash":"hidden-3"}"#),
    ]);
    assert!(!format!("{registry:?}").contains("hidden"));
    let key = registry.access_key("A").unwrap();
    assert!(key.secret.is("hidden-1") && !key.secret.is("hidden-2"));
}

/// The same rows back, with their order, so that a store may write them anew.
#[test]
fn rows_make_the_registry_again() {
    let registry = registry(&[
        (Table::Certificate, "ID", ACTIVE),
        (Table::Policy, "p", &allow("a")),
        (Table::Attachment, "cert/ID\np", "{}"),
        (Table::Settings, "", r#"{"generation":7}"#),
    ]);
    assert_eq!(registry.generation(), 7);
    let again = Registry::load(
        registry.scope().clone(),
        super::super::RegistryLimits::default(),
        registry.rows(),
    );
    assert!(again.unwrap().rows().eq(registry.rows()));
}

#[test]
fn rows_that_are_none_are_refused_by_their_place() {
    let refuse = |table, key: &str, value: &str| {
        let row = Row { table, key: key.to_owned(), value: Some(value.into()) };
        let scope = ArnScope::new("aws", "us-east-1", "123456789012").unwrap();
        Registry::load(scope, super::super::RegistryLimits::default(), [row])
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(Table::Thing, "t", "7").starts_with("thing/\"t\": "));
    assert_eq!(refuse(Table::Member, "t", "{}"), "member/\"t\": not two names");
    let broken = policy(r#"{"Effect":"Allow","Action":"x","Resource":"*"}"#);
    let message = refuse(Table::Policy, "p", &broken);
    assert_eq!(message, "policy \"p\": Statement[0].Action[0]: `x` is not `*` or SERVICE:ACTION");
}
