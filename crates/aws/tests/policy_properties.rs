//! The compiled engine against one written plainly from the contract, and names that widen nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bitts_aws::policy::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A piece of a resource, as text in the policy.
const PIECES: &[&str] =
    &["a", "b", "/", "+", "#", "é", "*", "?", "${*}", "${?}", "${$}", "${iot:ClientId}"];

#[derive(Clone, Debug)]
struct Statement {
    allow: bool,
    not_action: bool,
    action: &'static str,
    not_resource: bool,
    resource: Vec<&'static str>,
    /// Negated or not, on `iot:ClientId`.
    condition: Option<(bool, &'static str)>,
}

impl Statement {
    fn json(&self) -> Value {
        let mut json = json!({"Effect": if self.allow { "Allow" } else { "Deny" }});
        json[if self.not_action { "NotAction" } else { "Action" }] = json!(self.action);
        let resource = format!("arn:*:topic/{}", self.resource.concat());
        json[if self.not_resource { "NotResource" } else { "Resource" }] = json!([resource]);
        if let Some((negated, value)) = self.condition {
            let operator = if negated { "StringNotEquals" } else { "StringEquals" };
            json["Condition"] = json!({operator: {"iot:ClientId": value}});
        }
        json
    }

    /// Contract §3 to §5, one sentence after the other.
    fn matches(&self, topic: &str, client_id: Option<&str>) -> bool {
        let action = self.action != "iot:Receive";
        let id = client_id.filter(|id| !id.is_empty());
        let unresolved = id.is_none() && self.resource.contains(&"${iot:ClientId}");
        let topic: Vec<char> = topic.chars().collect();
        let resource = match (unresolved, self.not_resource) {
            (true, negated) => negated && !self.allow,
            (false, negated) => naive(&self.resource, &topic, id.unwrap_or_default()) != negated,
        };
        let condition = self.condition.is_none_or(|(negated, value)| match client_id {
            None => negated,
            Some(id) => (id == value) != negated,
        });
        action != self.not_action && resource && condition
    }
}

fn naive(pieces: &[&str], text: &[char], client_id: &str) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return text.is_empty() };
    let literal = match *piece {
        "*" => return (0..=text.len()).any(|at| naive(rest, &text[at..], client_id)),
        "?" => return !text.is_empty() && naive(rest, &text[1..], client_id),
        "${iot:ClientId}" => client_id,
        "${*}" => "*",
        "${?}" => "?",
        "${$}" => "$",
        plain => plain,
    };
    let literal: Vec<char> = literal.chars().collect();
    text.strip_prefix(&literal[..]).is_some_and(|text| naive(rest, text, client_id))
}

fn statement() -> impl Strategy<Value = Statement> {
    let action = prop::sample::select(&["iot:Publish", "iot:Receive", "*", "IOT:pub*"][..]);
    let resource = prop::collection::vec(prop::sample::select(PIECES), 0..6);
    let condition =
        prop::option::weighted(0.3, (any::<bool>(), prop::sample::select(&["a", "*"][..])));
    let rare = || prop::bool::weighted(0.2);
    (any::<bool>(), rare(), action, rare(), resource, condition).prop_map(
        |(allow, not_action, action, not_resource, resource, condition)| Statement {
            allow,
            not_action,
            action,
            not_resource,
            resource,
            condition,
        },
    )
}

fn decision(statements: &[Value], topic: &str, client_id: Option<&str>) -> &'static str {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let policies = [Policy::parse("p", 1, &document, &PolicyLimits::default()).unwrap()];
    let connection =
        client_id.map(|id| MqttConnection { client_id: id.to_owned(), ..Default::default() });
    let scope = ArnScope::new("aws", "us-east-1", "123456789012").unwrap();
    let context = Context {
        principal: &Principal::Unnamed,
        connection: connection.as_ref(),
        origin: None,
        unix_seconds: None,
    };
    let arn = scope.arn(ResourceKind::Topic, topic);
    let action = Action::Plain(ActionKind::Publish);
    decide(&policies, &Request { action, resource: Some(&arn), context }).as_str()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Contract §3 to §5.
    #[test]
    fn the_engine_decides_as_the_contract_says(
        statements in prop::collection::vec(statement(), 1..5),
        topic in "[ab/+#é*?$]{1,6}",
        client_id in prop::option::of("[ab/*?+é$]{0,2}"),
    ) {
        let id = client_id.as_deref();
        let denied = statements.iter().any(|it| !it.allow && it.matches(&topic, id));
        let allowed = statements.iter().any(|it| it.allow && it.matches(&topic, id));
        let expected = match (denied, allowed) {
            (true, _) => "EXPLICIT_DENY",
            (false, true) => "ALLOWED",
            (false, false) => "IMPLICIT_DENY",
        };
        let statements: Vec<_> = statements.iter().map(Statement::json).collect();
        prop_assert_eq!(decision(&statements, &topic, id), expected);
    }

    /// Contract §3, choice: substituted text is literal.
    #[test]
    fn a_client_id_widens_nothing(id in r"[a+#*?$\{\}/]{1,8}", other in r"[a+#*?$\{\}/]{1,8}") {
        let resource = "arn:aws:iot:us-east-1:123456789012:topic/x/${iot:ClientId}";
        let allow = [json!({"Effect": "Allow", "Action": "iot:Publish", "Resource": resource})];
        let expected = if id == other { "ALLOWED" } else { "IMPLICIT_DENY" };
        prop_assert_eq!(decision(&allow, &format!("x/{other}"), Some(&id)), expected);
    }
}
