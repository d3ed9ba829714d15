//! Documents that are refused, each with its place (contract `policies.md` §1).

use bitts_aws::policy::{
    self, Action, ActionKind, ArnScope, Context, Policy, PolicyLimits, Principal, Request,
    ResourceKind,
};

fn problem(document: &str) -> String {
    let parsed = Policy::parse("p", 1, document, &PolicyLimits::default());
    parsed.map_or_else(|problem| problem.to_string(), |_| "none".to_owned())
}

fn statement(members: &str) -> String {
    problem(&format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{members}}}}}"#))
}

#[test]
fn what_is_wrong_in_a_statement_is_named() {
    for (members, expected) in [
        (r#""Action":"iot:Publish","Resource":"*""#, "none"),
        (r#""Principal":"*""#, "unknown field `Principal`"),
        (r#""Action":"*","Action":"*","Resource":"*""#, "duplicate field `Action`"),
        (r#""Action":"*""#, "either Resource or NotResource"),
        (r#""Action":"*","NotAction":"*","Resource":"*""#, "either Action or NotAction"),
        (r#""Action":["*","Publish"],"Resource":"*""#, "Statement[0].Action[1]: `Publish`"),
        (r#""Action":[],"Resource":"*""#, "Statement[0].Action: an empty list"),
        (r#""Action":[["*"]],"Resource":"*""#, "invalid type: sequence"),
        (r#""Action":1,"Resource":"*""#, "invalid type: integer"),
        (r#""Action":"*","Resource":"topic/x""#, "Statement[0].Resource[0]: `topic/x`"),
        (r#""Action":"*","Resource":"arn:${x""#, "Statement[0].Resource[0]: `${` without"),
        (r#""Action":"*","Resource":"*","Condition":{"Equals":{"a":"b"}}"#, "unknown operator"),
        (
            r#""Action":"*","Resource":"*","Condition":{"Bool":{"iot:ConnectAttributes":true}}"#,
            "use ForAllValues:",
        ),
        (
            r#""Action":"*","Resource":"*","Condition":{"Bool":{"a":"yes"}}"#,
            "Statement[0].Condition.Bool.a: `yes` is not true or false",
        ),
        (
            r#""Action":"*","Resource":"*","Condition":{"Bool":{"a":true,"A":true}}"#,
            "duplicate field `A`",
        ),
    ] {
        let problem = statement(members);
        assert!(problem.contains(expected), "{members}: {problem}");
    }
    let variables = format!(r#""Action":"*","Resource":"arn:{}""#, "${a}".repeat(17));
    assert!(statement(&variables).contains("more than 16 variables"));
}

#[test]
fn what_is_no_document_is_refused() {
    let good = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let many = format!("[{}]", [r#"{"Effect":"Deny"}"#; 10].join(","));
    for document in [
        String::new(),
        "[]".to_owned(),
        format!(r#"["2012-10-17",[{good}]]"#),
        format!(r#"{{"Statement":{good}}}"#),
        format!(r#"{{"Version":"2008-10-17","Statement":{good}}}"#),
        r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned(),
        r#"{"Version":"2012-10-17","Statement":[["Allow"]]}"#.to_owned(),
        format!(r#"{{"Version":"2012-10-17","Statement":{good}}}x"#),
        format!(r#"{{"Version":"2012-10-17","Statement":{many}}}"#),
        "[".repeat(2000),
    ] {
        assert_ne!(problem(&document), "none", "{document}");
    }
    let spaces = " ".repeat(3000);
    let spaced = format!(r#"{{"Version":"2012-10-17",{spaces}"Statement":{good}}}"#);
    assert_eq!(problem(&spaced), "none", "white space does not count");
    let long = format!(r#"{{"Version":"2012-10-17","Statement":{good},"{}":1}}"#, "x".repeat(2048));
    assert!(problem(&long).contains("2048 characters"));
    let limits = PolicyLimits { statements_max: 1, ..PolicyLimits::default() };
    let two = format!(r#"{{"Version":"2012-10-17","Statement":[{good},{good}]}}"#);
    let refused = Policy::parse("p", 1, &two, &limits).map_err(|problem| problem.to_string());
    assert_eq!(refused.err().as_deref(), Some("more than 1 statements"));
}

/// §4, our choice: behind `NotResource` a variable without a value decides for denial.
#[test]
fn a_variable_without_a_value_in_not_resource_opens_nothing() {
    let scope = ArnScope::new("aws", "us-east-1", "123456789012").expect("a scope");
    let arn = scope.arn(ResourceKind::Topic, "x");
    let context = Context {
        principal: &Principal::Unnamed,
        connection: None,
        origin: None,
        unix_seconds: None,
    };
    let action = Action::Plain(ActionKind::Publish);
    let request = Request { action, resource: Some(&arn), context };
    let decide = |effect: &str| {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[
                {{"Effect":"{effect}","Action":"*","NotResource":"arn:*:topic/${{iot:ClientId}}"}}
            ]}}"#
        );
        let parsed = Policy::parse("p", 1, &document, &PolicyLimits::default());
        policy::decide(&[parsed.expect("a policy")], &request).as_str()
    };
    assert_eq!(decide("Allow"), "IMPLICIT_DENY");
    assert_eq!(decide("Deny"), "EXPLICIT_DENY");
}

#[test]
fn a_document_may_have_as_many_bytes_as_its_bound() {
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*",
        "Resource":"*"}]}"#;
    for (bytes_max, is_taken) in [(document.len(), true), (document.len() - 1, false)] {
        let limits = PolicyLimits { bytes_max, ..PolicyLimits::default() };
        assert_eq!(Policy::parse("p", 1, document, &limits).is_ok(), is_taken);
    }
}
