//! The contract's vectors: `policies.md` §6, P-1 to P-36. P-37 and P-38 are about the wire.
//!
//! `data/policy-vectors.json` is the contract's own text: a vector has policies, each a list of
//! statements; a check is `[action, resource, expected, more context]`, where `A:` stands for
//! `arn:aws:iot:us-east-1:123456789012:`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bitts_aws::policy::*;
use serde_json::{Map, Value, json};

const SCOPE: &str = "arn:aws:iot:us-east-1:123456789012:";

fn vectors() -> Vec<Value> {
    let text = include_str!("data/policy-vectors.json").replace("\"A:", &format!("\"{SCOPE}"));
    serde_json::from_str(&text).unwrap()
}

fn policy(name: &str, statements: &Value) -> Policy {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Policy::parse(name, 1, &document, &PolicyLimits::default()).unwrap()
}

fn text<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    context.get(key).map(|value| value.as_str().unwrap())
}

fn texts<'a>(context: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    let values = context.get(key).and_then(Value::as_array);
    values.into_iter().flatten().map(|value| value.as_str().unwrap()).collect()
}

/// The context keys that the vectors use; another one has to be added here.
const KNOWN_KEYS: &[&str] = &[
    "aws:SourceIp",
    "iot:Certificate.Subject.Organization.List",
    "iot:ClientId",
    "iot:ConnectAttributes",
    "iot:Connection.Thing.Attributes[site]",
    "iot:Connection.Thing.IsAttached",
    "iot:Connection.Thing.ThingName",
    "iot:Connection.Thing.ThingTypeName",
    "iot:IncludeSocketInformation",
    "iot:LastWillTopic",
    "iot:Topic",
];

/// The connection that has these values: of an attached thing, if any value is a thing's.
fn connection(context: &Map<String, Value>) -> Option<MqttConnection> {
    let client_id = text(context, "iot:ClientId");
    let name = text(context, "iot:Connection.Thing.ThingName");
    let site = text(context, "iot:Connection.Thing.Attributes[site]");
    let type_name = text(context, "iot:Connection.Thing.ThingTypeName");
    let is_attached = text(context, "iot:Connection.Thing.IsAttached");
    let has_thing = name.or(site).or(type_name).is_some() || is_attached == Some("true");
    if client_id.or(is_attached).is_none() && !has_thing {
        return None;
    }
    let thing = has_thing.then(|| Thing {
        name: name.unwrap_or_default().to_owned(),
        type_name: type_name.map(ToOwned::to_owned),
        attributes: site.map(|site| ("site".to_owned(), site.to_owned())).into_iter().collect(),
    });
    Some(MqttConnection { client_id: client_id.or(name).unwrap_or_default().to_owned(), thing })
}

fn principal(context: &Map<String, Value>) -> Principal {
    let organizations = texts(context, "iot:Certificate.Subject.Organization.List");
    let certificate = organizations.into_iter().fold(Certificate::new("c1"), |it, value| {
        it.with(Party::Subject, CertificateAttribute::Organization, value)
    });
    Principal::Certificate(Box::new(certificate))
}

fn plain(name: &str) -> Action<'static> {
    Action::Plain(match name {
        "iot:Publish" => ActionKind::Publish,
        "iot:RetainPublish" => ActionKind::RetainPublish,
        "iot:Subscribe" => ActionKind::Subscribe,
        "iot:Receive" => ActionKind::Receive,
        "iot:GetRetainedMessage" => ActionKind::GetRetainedMessage,
        "iot:ListRetainedMessages" => ActionKind::ListRetainedMessages,
        "iot:DeleteConnection" => ActionKind::DeleteConnection,
        "iot:GetThingShadow" => ActionKind::GetThingShadow,
        "iot:UpdateThingShadow" => ActionKind::UpdateThingShadow,
        "iot:DeleteThingShadow" => ActionKind::DeleteThingShadow,
        name => panic!("{name}"),
    })
}

/// The action with the details that its context names.
fn action<'a>(
    name: &str,
    context: &'a Map<String, Value>,
    will_topic: Option<&'a Arn>,
) -> Action<'a> {
    match name {
        "iot:Connect" => Action::Connect {
            persistent: texts(context, "iot:ConnectAttributes").contains(&"PersistentConnect"),
            will_topic,
        },
        "iot:GetConnection" => Action::GetConnection {
            include_socket_information: text(context, "iot:IncludeSocketInformation")
                == Some("true"),
        },
        "iot:SendDirectMessage" => {
            Action::SendDirectMessage { topic: text(context, "iot:Topic").unwrap() }
        }
        name => plain(name),
    }
}

fn will_topic(context: &Map<String, Value>) -> Option<Arn> {
    let has_will = texts(context, "iot:ConnectAttributes").contains(&"LastWill");
    let other = || format!("{SCOPE}topic/some/will");
    let topic = text(context, "iot:LastWillTopic").map_or_else(other, ToOwned::to_owned);
    has_will.then(|| Arn::parse(&topic).unwrap())
}

fn check(id: &str, policies: &[Policy], context: &Map<String, Value>, check: &Value) {
    let unknown = context.keys().find(|key| !KNOWN_KEYS.contains(&key.as_str()));
    assert_eq!(unknown, None, "{id}");
    let (principal, connection) = (principal(context), connection(context));
    let origin = text(context, "aws:SourceIp")
        .map(|address| Origin::new(address.parse().unwrap(), 8883, true));
    let resource = check[1].as_str().unwrap();
    let arn = (resource != "*").then(|| Arn::parse(&format!("{SCOPE}{resource}")).unwrap());
    let will_topic = will_topic(context);
    let request = Request {
        action: action(check[0].as_str().unwrap(), context, will_topic.as_ref()),
        resource: arn.as_ref(),
        context: Context {
            principal: &principal,
            connection: connection.as_ref(),
            origin: origin.as_ref(),
            unix_seconds: None,
        },
    };
    let expected = match check[2].as_str().unwrap() {
        "A" => "ALLOWED",
        "X" => "EXPLICIT_DENY",
        "I" => "IMPLICIT_DENY",
        other => panic!("{other}"),
    };
    assert_eq!(decide(policies, &request).as_str(), expected, "{id}: {check}");
    assert_eq!(explain(policies, &request).decision.as_str(), expected, "{id}: {check}");
}

fn run(id: &str) {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["id"] == id).unwrap();
    let policies = vector["policies"].as_array().unwrap().iter();
    let policies: Vec<_> = policies.map(|statements| policy(id, statements)).collect();
    for item in vector["checks"].as_array().unwrap() {
        let mut context = Map::new();
        for more in [vector.get("ctx"), item.get(3)].into_iter().flatten() {
            context.extend(more.as_object().unwrap().clone());
        }
        check(id, &policies, &context, item);
    }
}

macro_rules! vectors {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        const RUN: &[&str] = &[$($id,)*];
        $($(#[$doc])* #[test] fn $name() { run($id); })*
    };
}

vectors! {
    p_1_plain_connect = "P-1";
    p_2_deny_two_ids_allow_own_thing = "P-2";
    p_3_unresolved_thing_matches_nothing = "P-3";
    p_4_star_crosses_levels_and_plus_is_literal = "P-4";
    p_5_question_marks = "P-5";
    p_6_the_restricted_topic_trap = "P-6";
    p_7_subscribe_allowed_receive_denied = "P-7";
    p_8_own_prefix_except_one_topic = "P-8";
    p_9_client_id_plus_opens_a_filter = "P-9";
    p_10_client_id_star_stays_literal = "P-10";
    p_11_escapes = "P-11";
    p_12_only_persistent_connect = "P-12";
    p_13_everything_but_persistent_connect = "P-13";
    p_14_the_same_by_deny = "P-14";
    p_15_default_features_only = "P-15";
    p_16_must_be_persistent = "P-16";
    p_17_must_have_both = "P-17";
    p_18_will_topic = "P-18";
    p_19_is_attached_in_a_list = "P-19";
    p_20_type_and_attribute = "P-20";
    p_21_attribute_as_topic_prefix = "P-21";
    p_22_organizations_of_a_certificate = "P-22";
    p_23_retain_needs_both_actions = "P-23";
    p_24_delete_connection_by_prefix = "P-24";
    p_25_get_connection_without_sockets = "P-25";
    p_26_direct_message_by_topic = "P-26";
    p_27_shadow_over_http = "P-27";
    p_28_shadow_over_mqtt = "P-28";
    p_29_shared_filter_is_part_of_the_resource = "P-29";
    p_30_list_needs_a_star = "P-30";
    p_31_source_address = "P-31";
    p_32_deny_wins_over_a_wide_policy = "P-32";
    p_33_no_policy = "P-33";
    p_34_basic_ingest = "P-34";
    p_35_unresolved_deny_denies_nothing = "P-35";
}

#[test]
fn every_vector_is_run() {
    let vectors = vectors();
    let ids: Vec<_> = vectors.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
    assert_eq!(ids, RUN);
    let checks = vectors.iter().map(|vector| vector["checks"].as_array().unwrap().len());
    assert_eq!((ids.len(), checks.sum::<usize>()), (35, 121));
}

/// P-36: an authenticated Cognito identity needs its role and its attached policy.
#[test]
fn p_36_cognito_needs_both() {
    let statements = json!([
        {"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"},
    ]);
    let role = [policy("role", &statements)];
    let topic_a = format!("{SCOPE}topic/a");
    let statements = json!([{"Effect": "Allow", "Action": "iot:Publish", "Resource": topic_a}]);
    let attached = [policy("attached", &statements)];
    let principal = Principal::Cognito("us-east-1:1".into());
    let context =
        Context { principal: &principal, connection: None, origin: None, unix_seconds: None };
    let connect = Action::Connect { persistent: false, will_topic: None };
    let publish = Action::Plain(ActionKind::Publish);
    let checks =
        [(connect, "client/c", false), (publish, "topic/a", true), (publish, "topic/b", false)];
    for (action, resource, with_both) in checks {
        let arn = Arn::parse(&format!("{SCOPE}{resource}")).unwrap();
        let request = Request { action, resource: Some(&arn), context };
        let both = Authority::Cognito { role: &role, attached: &attached };
        assert_eq!(both.decide(&request).is_allowed(), with_both, "{resource}");
        let unattached = Authority::Cognito { role: &role, attached: &[] };
        assert!(!unattached.decide(&request).is_allowed(), "{resource}");
        assert!(Authority::Policies(&role).decide(&request).is_allowed(), "{resource}");
    }
}

/// Contract §5: what is not in the list of seven actions is the role's alone.
#[test]
fn a_cognito_role_decides_other_actions_alone() {
    let statements = json!([{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]);
    let role = [policy("role", &statements)];
    let principal = Principal::Cognito("us-east-1:1".into());
    let context =
        Context { principal: &principal, connection: None, origin: None, unix_seconds: None };
    let arn = Arn::parse(&format!("{SCOPE}client/c")).unwrap();
    let action = Action::Plain(ActionKind::DeleteConnection);
    let request = Request { action, resource: Some(&arn), context };
    let authority = Authority::Cognito { role: &role, attached: &[] };
    assert!(authority.decide(&request).is_allowed());
}
