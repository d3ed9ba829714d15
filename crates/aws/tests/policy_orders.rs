//! Numbers and dates in conditions, each operator on each side of its bound (contract `policies.md`
//! §4).

use bitts_aws::policy::*;
use serde_json::json;

const NOON: u64 = 1_767_268_800;

fn policy(operator: &str, key: &str, wanted: &str) -> Policy {
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": { operator: { key: wanted } },
    }});
    Policy::parse("p", 1, &document.to_string(), &PolicyLimits::default()).expect("a policy")
}

fn allows(policy: Policy, unix_seconds: Option<u64>) -> bool {
    let context =
        Context { principal: &Principal::Unnamed, connection: None, origin: None, unix_seconds };
    let action = Action::Plain(ActionKind::Publish);
    let policies = [policy];
    decide(&policies, &Request { action, resource: None, context }).is_allowed()
}

/// What holds a second before the bound, at it and a second behind it.
const ORDERS: [(&str, [bool; 3]); 6] = [
    ("Equals", [false, true, false]),
    ("NotEquals", [true, false, true]),
    ("LessThan", [true, false, false]),
    ("LessThanEquals", [true, true, false]),
    ("GreaterThan", [false, false, true]),
    ("GreaterThanEquals", [false, true, true]),
];

#[test]
fn numbers_and_dates_have_an_order() {
    for (order, expected) in ORDERS {
        for (kind, key, wanted) in [
            ("Numeric", "aws:EpochTime", "1767268800"),
            ("Numeric", "aws:EpochTime", "1767268800.0"),
            ("Date", "aws:CurrentTime", "2026-01-01T12:00:00Z"),
            ("Date", "aws:CurrentTime", "1767268800"),
            ("Date", "aws:EpochTime", "2026-01-01T12:00:00Z"),
        ] {
            let operator = format!("{kind}{order}");
            let at = [NOON - 1, NOON, NOON + 1];
            let held = at.map(|second| allows(policy(&operator, key, wanted), Some(second)));
            assert_eq!(held, expected, "{operator} {key} {wanted}");
            // A value that is not there: what is positive does not hold, what is negated does.
            let missing = allows(policy(&operator, key, wanted), None);
            assert_eq!(missing, order == "NotEquals", "{operator}");
        }
    }
}

#[test]
fn a_policy_says_whether_it_asks_for_the_time() {
    assert!(policy("DateLessThan", "aws:CurrentTime", "2026-01-01T12:00:00Z").asks_for_time());
    assert!(policy("StringLike", "iot:ClientId", "${aws:EpochTime}").asks_for_time());
    assert!(!policy("StringLike", "iot:ClientId", "a").asks_for_time());
    let in_resource = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*",
        "Resource":"arn:*:topic/${aws:EpochTime}"}}"#;
    let limits = PolicyLimits::default();
    assert!(Policy::parse("p", 1, in_resource, &limits).unwrap().asks_for_time());
}

#[test]
fn a_problem_has_its_place_alone() {
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"x",
        "Resource":"*"}]}"#;
    let refused = Policy::parse("p", 1, document, &PolicyLimits::default()).unwrap_err();
    assert_eq!(refused.place.as_str(), "Statement[0].Action[0]");
}
