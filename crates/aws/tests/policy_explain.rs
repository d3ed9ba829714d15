//! What a decision says of itself (contract `policies.md` §5, `missingContextValues`).

use bitts_aws::policy::*;

const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"iot:Subscribe","Resource":"*"},
    {"Effect":"Allow","Action":"iot:Publish","Resource":"arn:*:topic/${iot:ClientId}"},
    {"Sid":"site","Effect":"Allow","Action":"iot:Publish","Resource":"*","Condition":
        {"StringEquals":{"iot:Connection.Thing.Attributes[site]":"berlin"}}},
    {"Sid":"no","Effect":"Deny","Action":"iot:Publish","Resource":"arn:*:topic/secret"}]}"#;

#[test]
fn an_explanation_names_statements_and_what_was_missing() {
    let policies = [Policy::parse("fleet", 3, DOCUMENT, &PolicyLimits::default()).unwrap()];
    let scope = ArnScope::new("aws", "us-east-1", "123456789012").unwrap();
    let mut arn = scope.arn(ResourceKind::Topic, "x");
    let context = Context {
        principal: &Principal::Unnamed,
        connection: None,
        origin: None,
        unix_seconds: None,
    };
    let action = Action::Plain(ActionKind::Publish);
    let explained = explain(&policies, &Request { action, resource: Some(&arn), context });
    assert_eq!(explained.decision.as_str(), "IMPLICIT_DENY");
    let missing = ["iot:ClientId", "iot:Connection.Thing.Attributes[site]"];
    assert_eq!(explained.missing_context_values, missing);
    let findings: Vec<_> = explained.statements.iter().map(|it| it.finding).collect();
    let key = "iot:Connection.Thing.Attributes[site]";
    let condition = Finding::ConditionFails { operator: "StringEquals", key };
    let (action_differs, resource_differs) = (Finding::OtherAction, Finding::OtherResource);
    assert_eq!(findings, [action_differs, resource_differs, condition, resource_differs]);

    scope.rewrite(&mut arn, ResourceKind::Topic, "secret");
    match decide(&policies, &Request { action, resource: Some(&arn), context }) {
        Decision::ExplicitDeny(by) => {
            assert_eq!((by.policy.name(), by.policy.version_id()), ("fleet", 3));
            assert_eq!((by.statement, by.sid()), (3, Some("no")));
        }
        other => panic!("{other:?}"),
    }
}
