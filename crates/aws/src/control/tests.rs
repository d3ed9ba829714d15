use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::operation::{operation_count, request_line};
use super::*;
use crate::policy::ArnScope;
use crate::registry::RegistryLimits;

const PREFIX: &str = "arn:aws:iot:us-east-1:123456789012:";

fn scope() -> ArnScope {
    ArnScope::new("aws", "us-east-1", "123456789012").unwrap()
}

/// A control plane that answers requests one after the other and keeps every row.
struct Plane {
    registry: Registry,
    rows: Vec<Row>,
    given: u64,
}

impl Plane {
    fn new() -> Self {
        let registry = Registry::new(scope(), RegistryLimits::default());
        Self { registry, rows: Vec::new(), given: 0 }
    }

    fn call_with(
        &mut self,
        (method, target, body): (&str, &str, Value),
        headers: &[(&str, &str)],
    ) -> Result<Value, ControlError> {
        self.given += 1;
        let (path, query) = target.split_once('?').map_or((target, None), |it| (it.0, Some(it.1)));
        let route = route(method, path).unwrap();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let input = Input::parse(&route, query, &headers, &body)?;
        let id = format!("{:064x}", self.given);
        let given = Given {
            unix_ms: self.given * 1000,
            uuid: format!("uuid-{}", self.given),
            code: id.clone(),
            endpoint: "localhost:8830".to_owned(),
            certificate: Some(NewCertificate { id, pem: "PEM".to_owned(), ..Default::default() }),
            credential: Some(NewCredential::AccessKey {
                id: format!("AKIA{}", self.given),
                secret: Secret::new("secret".to_owned()),
            }),
        };
        let applied = self.registry.apply(route.operation(), &input, &given)?;
        self.rows.extend(applied.rows);
        self.registry = applied.registry;
        Ok(applied.answer)
    }

    fn call(&mut self, method: &str, target: &str, body: Value) -> Result<Value, ControlError> {
        self.call_with((method, target, body), &[])
    }

    fn get(&mut self, target: &str) -> Value {
        self.call("GET", target, Value::Null).unwrap()
    }

    fn refused(&mut self, method: &str, target: &str, body: Value) -> ControlErrorKind {
        let before = self.registry.generation();
        let kind = self.call(method, target, body).unwrap_err().kind;
        assert_eq!(self.registry.generation(), before);
        kind
    }

    /// A certificate's id.
    fn certificate(&mut self, query: &str) -> String {
        let made = self.call("POST", &format!("/keys-and-certificate{query}"), Value::Null);
        made.unwrap()["certificateId"].as_str().unwrap().to_owned()
    }

    fn policy(&mut self, name: &str) {
        let document = allow("iot:Publish", "topic/a");
        self.call("POST", &format!("/policies/{name}"), json!({ "policyDocument": document }))
            .unwrap();
    }

    fn attach(&mut self, policy: &str, target: &str) -> Result<Value, ControlError> {
        self.call("PUT", &format!("/target-policies/{policy}"), json!({ "target": target }))
    }
}

fn allow(action: &str, resource: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": action, "Resource": format!("{PREFIX}{resource}") }
    ]})
    .to_string()
}

fn cert_arn(id: &str) -> String {
    format!("{PREFIX}cert/{id}")
}

use ControlErrorKind as E;

#[test]
fn a_thing_is_made_once_and_again_with_the_same_members() {
    let mut plane = Plane::new();
    let body = json!({ "attributePayload": { "attributes": { "a": "1" } } });
    let first = plane.call("POST", "/things/t", body.clone()).unwrap();
    let arn = format!("{PREFIX}thing/t");
    assert_eq!(first, json!({ "thingName": "t", "thingArn": arn, "thingId": "uuid-1" }));
    let generation = plane.registry.generation();
    assert_eq!(plane.call("POST", "/things/t", body).unwrap(), first);
    assert_eq!(plane.registry.generation(), generation);
    let error = plane.call("POST", "/things/t", Value::Null).unwrap_err();
    assert_eq!(error.kind, E::ResourceAlreadyExists);
    assert_eq!(error.resource.as_deref(), Some(&("t".to_owned(), arn)));
    for (target, body) in [
        ("/things/a%2Fb", Value::Null),
        ("/things/x", json!({ "attributePayload": { "attributes": { "a b": "1" } } })),
        ("/things/x", json!({ "attributePayload": { "attributes": { "a": 1 } } })),
    ] {
        assert_eq!(plane.refused("POST", target, body), E::InvalidRequest);
    }
    let unknown_type = json!({ "thingTypeName": "none" });
    assert_eq!(plane.refused("POST", "/things/x", unknown_type), E::ResourceNotFound);
}

#[test]
fn an_update_replaces_or_merges_attributes_and_counts_versions() {
    let mut plane = Plane::new();
    let payload = |attributes: Value, merge: bool| json!({ "attributePayload": { "attributes": attributes, "merge": merge } });
    plane.call("POST", "/things/t", payload(json!({ "a": "1", "b": "2" }), false)).unwrap();
    plane.call("PATCH", "/things/t", payload(json!({ "c": "3", "a": "" }), true)).unwrap();
    let merged = plane.get("/things/t");
    assert_eq!((&merged["attributes"], &merged["version"]), (&json!({"b":"2","c":"3"}), &json!(2)));
    let mut body = payload(json!({ "d": "4" }), false);
    body["expectedVersion"] = json!(1);
    assert_eq!(plane.refused("PATCH", "/things/t", body.clone()), E::VersionConflict);
    body["expectedVersion"] = json!(2);
    plane.call("PATCH", "/things/t", body).unwrap();
    assert_eq!(plane.get("/things/t")["attributes"], json!({ "d": "4" }));
    let many: BTreeMap<_, _> = (0..51).map(|n| (format!("n{n}"), "x".to_owned())).collect();
    let many = payload(json!(many), false);
    assert_eq!(plane.refused("PATCH", "/things/t", many), E::InvalidRequest);
}

/// Contract §2: a thing with principals stays, with 400.
#[test]
fn a_thing_goes_once_nothing_speaks_for_it() {
    let mut plane = Plane::new();
    plane.call("POST", "/things/t", Value::Null).unwrap();
    plane.call("POST", "/thing-groups/g", Value::Null).unwrap();
    let both = json!({ "thingGroupName": "g", "thingName": "t" });
    plane.call("PUT", "/thing-groups/addThingToThingGroup", both).unwrap();
    let id = plane.certificate("");
    let arn = cert_arn(&id);
    let headers = [("x-amzn-principal", arn.as_str())];
    let principals = "/things/t/principals";
    plane.call_with(("PUT", principals, Value::Null), &headers).unwrap();
    assert_eq!(plane.get(principals), json!({ "principals": [arn] }));
    assert_eq!(plane.refused("DELETE", "/things/t", Value::Null), E::InvalidRequest);
    assert_eq!(
        plane.refused("DELETE", &format!("/certificates/{id}"), Value::Null),
        E::DeleteConflict
    );
    plane.call_with(("DELETE", principals, Value::Null), &headers).unwrap();
    plane.call("DELETE", "/things/t", Value::Null).unwrap();
    assert_eq!(plane.refused("GET", "/things/t", Value::Null), E::ResourceNotFound);
    assert_eq!(plane.get("/thing-groups/g/things"), json!({ "things": [] }));
}

#[test]
fn an_exclusive_principal_has_one_thing() {
    let mut plane = Plane::new();
    for name in ["a", "b"] {
        plane.call("POST", &format!("/things/{name}"), Value::Null).unwrap();
    }
    let arn = cert_arn(&plane.certificate(""));
    let headers = [("x-amzn-principal", arn.as_str())];
    let exclusive = "?thingPrincipalType=EXCLUSIVE_THING";
    let to_a = format!("/things/a/principals{exclusive}");
    plane.call_with(("PUT", &to_a, Value::Null), &headers).unwrap();
    let to_b = plane.call_with(("PUT", "/things/b/principals", Value::Null), &headers);
    assert_eq!(to_b.unwrap_err().kind, E::InvalidRequest);
    let things = plane.call_with(("GET", "/principals/things-v2", Value::Null), &headers);
    let things = &things.unwrap()["principalThingObjects"];
    assert_eq!(*things, json!([{ "thingName": "a", "thingPrincipalType": "EXCLUSIVE_THING" }]));
}

/// Contract §2: 406 while ACTIVE, 409 while attached; `forceDelete` detaches policies only.
#[test]
fn a_certificate_goes_once_it_is_inactive_and_alone() {
    let mut plane = Plane::new();
    let id = plane.certificate("?setAsActive=true");
    let at = format!("/certificates/{id}");
    plane.policy("p");
    plane.attach("p", &cert_arn(&id)).unwrap();
    assert_eq!(plane.get(&at)["certificateDescription"]["status"], "ACTIVE");
    assert_eq!(plane.refused("DELETE", &at, Value::Null), E::CertificateState);
    for (status, kind) in [("REGISTER_INACTIVE", E::InvalidRequest), ("x", E::InvalidRequest)] {
        assert_eq!(plane.refused("PUT", &format!("{at}?newStatus={status}"), Value::Null), kind);
    }
    plane.call("PUT", &format!("{at}?newStatus=INACTIVE"), Value::Null).unwrap();
    assert_eq!(plane.refused("DELETE", &at, Value::Null), E::DeleteConflict);
    assert_eq!(plane.refused("DELETE", "/policies/p", Value::Null), E::DeleteConflict);
    plane.call("DELETE", &format!("{at}?forceDelete=true"), Value::Null).unwrap();
    plane.call("DELETE", "/policies/p", Value::Null).unwrap();
    assert_eq!(plane.refused("GET", &at, Value::Null), E::ResourceNotFound);
}

/// policies.md §1: five versions, one of them the default.
#[test]
fn a_policy_has_five_versions_and_a_default() {
    let mut plane = Plane::new();
    plane.policy("p");
    let document =
        |n: u32| json!({ "policyDocument": allow("iot:Publish", &format!("topic/{n}")) });
    for number in 2..=5 {
        let made = plane.call("POST", "/policies/p/version", document(number)).unwrap();
        assert_eq!(made["policyVersionId"], number.to_string());
        assert_eq!(made["isDefaultVersion"], false);
    }
    let sixth = plane.refused("POST", "/policies/p/version", document(6));
    assert_eq!(sixth, E::VersionsLimitExceeded);
    assert_eq!(plane.refused("DELETE", "/policies/p", Value::Null), E::DeleteConflict);
    assert_eq!(plane.refused("DELETE", "/policies/p/version/1", Value::Null), E::DeleteConflict);
    plane.call("PATCH", "/policies/p/version/3", Value::Null).unwrap();
    assert_eq!(plane.registry.policy("p").unwrap().version_id(), 3);
    assert_eq!(plane.get("/policies/p")["defaultVersionId"], "3");
    for gone in [1, 2, 4, 5] {
        plane.call("DELETE", &format!("/policies/p/version/{gone}"), Value::Null).unwrap();
    }
    // Numbers are not given twice.
    let made = plane.call("POST", "/policies/p/version?setAsDefault=true", document(6)).unwrap();
    assert_eq!((&made["policyVersionId"], &made["isDefaultVersion"]), (&json!("6"), &json!(true)));
    for unknown in ["03", "7", "x"] {
        let at = format!("/policies/p/version/{unknown}");
        assert_eq!(plane.refused("GET", &at, Value::Null), E::ResourceNotFound, "{unknown}");
    }
}

/// policies.md §1: MalformedPolicyException names the place; white space does not count.
#[test]
fn a_document_that_is_no_policy_is_refused_by_its_place() {
    let mut plane = Plane::new();
    let broken = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "client/a" }
    ]});
    let body = json!({ "policyDocument": broken.to_string() });
    let error = plane.call("POST", "/policies/p", body).unwrap_err();
    assert_eq!(error.kind, E::MalformedPolicy);
    assert_eq!(error.message, "Statement[0].Resource[0]: `client/a` is not `*` or an ARN");
    let long = allow("iot:Publish", &format!("topic/{}", "x".repeat(2048)));
    let error = plane.call("POST", "/policies/p", json!({ "policyDocument": long })).unwrap_err();
    assert_eq!(error.message, "more than 2048 characters besides white space");
    let spaced = format!("{}{}", allow("iot:Publish", "topic/a"), " ".repeat(5000));
    plane.call("POST", "/policies/p", json!({ "policyDocument": spaced })).unwrap();
}

/// policies.md §1: ten policies per certificate, two per group.
#[test]
fn targets_have_so_many_policies() {
    let mut plane = Plane::new();
    let certificate = cert_arn(&plane.certificate(""));
    plane.call("POST", "/thing-groups/g", Value::Null).unwrap();
    for number in 0..11 {
        plane.policy(&format!("p{number:02}"));
    }
    for (target, max) in [(certificate, 10), (format!("{PREFIX}thinggroup/g"), 2)] {
        for number in 0..max {
            plane.attach(&format!("p{number:02}"), &target).unwrap();
            plane.attach(&format!("p{number:02}"), &target).unwrap();
        }
        let error = plane.attach("p10", &target).unwrap_err();
        assert_eq!(error.kind, E::LimitExceeded);
        let path = target.replace(':', "%3A").replace('/', "%2F");
        let listed = plane.call("POST", &format!("/attached-policies/{path}"), Value::Null);
        assert_eq!(listed.unwrap()["policies"].as_array().unwrap().len(), max);
    }
    for target in [cert_arn("ab"), format!("{PREFIX}thinggroup/x"), "user/x".into()] {
        assert_eq!(plane.attach("p00", &target).unwrap_err().kind, E::ResourceNotFound);
    }
    for target in ["arn:aws:iot:eu-west-1:123456789012:thinggroup/g", "x", "arn:aws:s3:::b"] {
        assert_eq!(plane.attach("p00", target).unwrap_err().kind, E::InvalidRequest, "{target}");
    }
}

#[test]
fn a_key_that_had_a_policy_stays_bound() {
    let mut plane = Plane::new();
    plane.policy("p");
    let made = plane.call("POST", "/bitts/v1/credentials", json!({})).unwrap();
    let id = made["accessKeyId"].as_str().unwrap().to_owned();
    assert_eq!(made["secretAccessKey"], "secret");
    let target = format!("accesskey/{id}");
    assert!(!plane.registry.access_key(&id).unwrap().is_bound);
    plane.attach("p", &target).unwrap();
    plane.call("POST", "/target-policies/p", json!({ "target": target })).unwrap();
    assert!(plane.registry.access_key(&id).unwrap().is_bound);
    let listed = plane.get("/bitts/v1/credentials");
    assert_eq!(listed["credentials"][0]["credentialId"], id);
    assert!(!listed.to_string().contains("secret\""));
    plane
        .call("PUT", &format!("/bitts/v1/credentials/{id}?newStatus=INACTIVE"), Value::Null)
        .unwrap();
    assert!(!plane.registry.access_key(&id).unwrap().is_active);
    plane.call("DELETE", &format!("/bitts/v1/credentials/{id}"), Value::Null).unwrap();
    assert!(plane.registry.access_key(&id).is_none());
}

#[test]
fn groups_are_in_groups() {
    let mut plane = Plane::new();
    plane.call("POST", "/thing-groups/g0", Value::Null).unwrap();
    for depth in 1..=7 {
        let body = json!({ "parentGroupName": format!("g{}", depth - 1) });
        plane.call("POST", &format!("/thing-groups/g{depth}"), body).unwrap();
    }
    let body = json!({ "parentGroupName": "g7" });
    assert_eq!(plane.refused("POST", "/thing-groups/g8", body), E::InvalidRequest);
    let described = plane.get("/thing-groups/g2");
    let above = &described["thingGroupMetadata"]["rootToParentThingGroups"];
    assert_eq!((&above[0]["groupName"], &above[1]["groupName"]), (&json!("g0"), &json!("g1")));
    assert_eq!(plane.refused("DELETE", "/thing-groups/g6", Value::Null), E::InvalidRequest);
    plane.call("DELETE", "/thing-groups/unknown", Value::Null).unwrap();
    let names = |listed: Value| -> Vec<String> {
        let groups = listed["thingGroups"].as_array().unwrap().clone();
        groups.iter().map(|it| it["groupName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(plane.get("/thing-groups?parentGroup=g5")), ["g6", "g7"]);
    assert_eq!(names(plane.get("/thing-groups?parentGroup=g5&recursive=false")), ["g6"]);
    assert_eq!(names(plane.get("/thing-groups?recursive=false")), ["g0"]);
    plane.call("POST", "/things/t", Value::Null).unwrap();
    let body = json!({ "thingGroupArn": format!("{PREFIX}thinggroup/g7"), "thingName": "t" });
    plane.call("PUT", "/thing-groups/addThingToThingGroup", body).unwrap();
    assert_eq!(plane.get("/thing-groups/g0/things"), json!({ "things": [] }));
    assert_eq!(plane.get("/thing-groups/g0/things?recursive=true"), json!({ "things": ["t"] }));
}

#[test]
fn pages_follow_each_other_without_gaps() {
    let mut plane = Plane::new();
    for number in 0..23 {
        plane.call("POST", &format!("/things/t{number:02}"), Value::Null).unwrap();
    }
    for size in [1, 7, 23, 250] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = plane.get(&format!("/things?maxResults={size}&nextToken={token}"));
            seen.extend(page["things"].as_array().unwrap().clone());
            match page["nextToken"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        let names: Vec<_> = seen.iter().map(|it| it["thingName"].as_str().unwrap()).collect();
        let all: Vec<_> = (0..23).map(|number| format!("t{number:02}")).collect();
        assert_eq!(names, all, "{size}");
    }
    for query in ["maxResults=0", "maxResults=251", "maxResults=x", "nextToken=%25"] {
        assert_eq!(
            plane.refused("GET", &format!("/things?{query}"), Value::Null),
            E::InvalidRequest
        );
    }
}

#[test]
fn tags_come_with_a_resource_and_go_with_it() {
    let mut plane = Plane::new();
    let body = json!({ "tags": [{ "Key": "a", "Value": "1" }] });
    plane.call("POST", "/thing-types/tt", body).unwrap();
    let arn = format!("{PREFIX}thingtype/tt");
    let tag = json!({ "resourceArn": arn, "tags": [{ "Key": "b", "Value": "2" }] });
    plane.call("POST", "/tags", tag).unwrap();
    let untag = json!({ "resourceArn": arn, "tagKeys": ["a"] });
    plane.call("POST", "/untag", untag).unwrap();
    let listed = plane.get(&format!("/tags?resourceArn={arn}"));
    assert_eq!(listed, json!({ "tags": [{ "Key": "b", "Value": "2" }] }));
    assert_eq!(plane.refused("DELETE", "/thing-types/tt", Value::Null), E::InvalidRequest);
    plane.call("POST", "/thing-types/tt/deprecate", Value::Null).unwrap();
    plane.call("DELETE", "/thing-types/tt", Value::Null).unwrap();
    assert_eq!(
        plane.refused("GET", &format!("/tags?resourceArn={arn}"), Value::Null),
        E::ResourceNotFound
    );
    plane.call("POST", "/thing-types/tt", Value::Null).unwrap();
    assert_eq!(plane.get(&format!("/tags?resourceArn={arn}")), json!({ "tags": [] }));
}

/// policies.md §5: the three words, and who allowed or denied.
#[test]
fn test_authorization_answers_as_the_engine_decides() {
    let mut plane = Plane::new();
    let id = plane.certificate("");
    let document = allow("iot:Publish", "topic/${iot:Connection.Thing.ThingName}");
    plane.call("POST", "/policies/p", json!({ "policyDocument": document })).unwrap();
    let deny = allow("*", "topic/t").replace("Allow", "Deny");
    plane.call("POST", "/policies/d", json!({ "policyDocument": deny })).unwrap();
    plane.attach("p", &cert_arn(&id)).unwrap();
    plane.call("POST", "/things/t", Value::Null).unwrap();
    let arn = cert_arn(&id);
    let headers = [("x-amzn-principal", arn.as_str())];
    plane.call_with(("PUT", "/things/t/principals", Value::Null), &headers).unwrap();
    let ask = |adds: &[&str]| {
        let resources = [format!("{PREFIX}topic/t")];
        json!({ "principal": arn, "policyNamesToAdd": adds,
                "authInfos": [{ "actionType": "PUBLISH", "resources": resources }] })
    };
    let mut result = |query: &str, adds: &[&str]| {
        let answer = plane.call("POST", &format!("/test-authorization{query}"), ask(adds)).unwrap();
        answer["authResults"][0].clone()
    };
    let allowed = result("?clientId=t", &[]);
    assert_eq!(allowed["authDecision"], "ALLOWED");
    assert_eq!(allowed["allowed"]["policies"][0]["policyName"], "p");
    let no_thing = result("?clientId=x", &[]);
    assert_eq!(no_thing["authDecision"], "IMPLICIT_DENY");
    assert_eq!(no_thing["missingContextValues"], json!(["iot:Connection.Thing.ThingName"]));
    let denied = result("?clientId=t", &["d"]);
    assert_eq!(denied["authDecision"], "EXPLICIT_DENY");
    assert_eq!(denied["denied"]["explicitDeny"]["policies"][0]["policyName"], "d");
}

#[test]
fn a_candidate_document_is_checked_beside_a_principals_policies() {
    let mut plane = Plane::new();
    plane.policy("p");
    let arn = cert_arn(&plane.certificate(""));
    plane.attach("p", &arn).unwrap();
    let ask = |candidate: Option<&str>| {
        json!({ "principal": arn, "action": "iot:Publish", "policyName": "p",
                "resource": format!("{PREFIX}topic/b"), "policyDocument": candidate })
    };
    let before = plane.call("POST", "/bitts/v1/policy/check", ask(None)).unwrap();
    assert_eq!(before["decision"], "IMPLICIT_DENY");
    assert_eq!(before["statements"][0]["finding"], "otherResource");
    let candidate = allow("iot:*", "topic/b");
    let after = plane.call("POST", "/bitts/v1/policy/check", ask(Some(&candidate))).unwrap();
    assert_eq!(after["decision"], "ALLOWED");
    assert_eq!(after["decidedBy"]["policyName"], "p");
    assert_eq!(plane.refused("POST", "/bitts/v1/policy/check", json!({})), E::InvalidRequest);
}

/// One random request; names collide often.
fn request() -> impl Strategy<Value = (&'static str, String, Value, Option<String>)> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let id = || (1..40_u32).prop_map(|number| format!("{number:064x}"));
    let target = prop_oneof![
        id().prop_map(|id| cert_arn(&id)),
        name().prop_map(|name| format!("{PREFIX}thinggroup/{name}")),
        Just("anonymous".to_owned()),
    ];
    let document = || allow("iot:Publish", "topic/a");
    prop_oneof![
        name().prop_map(|n| ("POST", format!("/things/{n}"), Value::Null, None)),
        (name(), name()).prop_map(|(n, a)| {
            let body = json!({ "attributePayload": { "attributes": { a: "1" }, "merge": true } });
            ("PATCH", format!("/things/{n}"), body, None)
        }),
        name().prop_map(|n| ("DELETE", format!("/things/{n}"), Value::Null, None)),
        (name(), name()).prop_map(|(n, parent)| {
            let body = json!({ "parentGroupName": parent, "tags": [{ "Key": "k", "Value": n }] });
            ("POST", format!("/thing-groups/{n}"), body, None)
        }),
        name().prop_map(|n| ("POST", format!("/thing-groups/{n}"), Value::Null, None)),
        name().prop_map(|n| ("DELETE", format!("/thing-groups/{n}"), Value::Null, None)),
        (name(), name()).prop_map(|(group, thing)| {
            let body = json!({ "thingGroupName": group, "thingName": thing });
            ("PUT", "/thing-groups/addThingToThingGroup".to_owned(), body, None)
        }),
        Just(("POST", "/keys-and-certificate".to_owned(), Value::Null, None)),
        id().prop_map(|id| ("DELETE", format!("/certificates/{id}"), Value::Null, None)),
        name().prop_map(move |n| {
            let body = json!({ "policyDocument": document(), "tags": [{ "Key": n }] });
            ("POST", format!("/policies/{n}"), body, None)
        }),
        name().prop_map(move |n| {
            let body = json!({ "policyDocument": document() });
            ("POST", format!("/policies/{n}/version?setAsDefault=true"), body, None)
        }),
        name().prop_map(|n| ("DELETE", format!("/policies/{n}"), Value::Null, None)),
        (name(), target.clone()).prop_map(|(n, target)| {
            ("PUT", format!("/target-policies/{n}"), json!({ "target": target }), None)
        }),
        (name(), target).prop_map(|(n, target)| {
            ("POST", format!("/target-policies/{n}"), json!({ "target": target }), None)
        }),
        (name(), id()).prop_map(|(n, id)| {
            ("PUT", format!("/things/{n}/principals"), Value::Null, Some(cert_arn(&id)))
        }),
        Just(("POST", "/bitts/v1/credentials".to_owned(), json!({}), None)),
        Just(("GET", "/registrationcode".to_owned(), Value::Null, None)),
    ]
}

/// JSON of any shape, often with members that operations read.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(json!("arn:aws:iot:us-east-1:123456789012:cert/")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names = prop::sample::select(vec![
            "attributePayload",
            "attributes",
            "merge",
            "tags",
            "Key",
            "policyDocument",
            "target",
            "authInfos",
            "actionType",
            "resources",
            "expiresAt",
            "thingName",
            "principal",
            "context",
            "action",
            "resource",
            "expectedVersion",
            "thingGroupProperties",
            "status",
            "authorizerFunctionArn",
            "policyNames",
            "signingDisabled",
            "maxResults",
            "sourceIp",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..8).prop_map(|members| Value::Object(
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    /// Whatever comes, an operation answers or refuses, and what it refuses changes nothing.
    #[test]
    fn any_request_is_answered_or_refused(
        requests in prop::collection::vec(
            (0..operation_count(), "[a-z]|.{1,20}", "([a-zA-Z]{1,20}=.{0,10}&?){0,3}", anything()),
            1..20,
        ),
    ) {
        let mut plane = Plane::new();
        for (number, name, query, body) in requests {
            let (method, path) = request_line(number, &name);
            let Ok(route) = route(method, &path) else { continue };
            let headers: &[(&str, &str)] = &[("x-amzn-principal", &name)];
            let body = body.to_string();
            let input = Input::parse(&route, Some(&query), &headers, body.as_bytes());
            let Ok(input) = input else { continue };
            let given = Given { unix_ms: 1, uuid: "u".to_owned(), ..Given::default() };
            if let Ok(applied) = plane.registry.apply(route.operation(), &input, &given) {
                plane.rows.extend(applied.rows);
                plane.registry = applied.registry;
            }
        }
        let loaded = Registry::load(scope(), RegistryLimits::default(), plane.rows).unwrap();
        prop_assert!(loaded.rows().eq(plane.registry.rows()));
    }

    /// What a store was given makes the same registry, whatever was asked in which order.
    #[test]
    fn rows_so_far_make_the_registry(
        requests in prop::collection::vec(request(), 0..120),
    ) {
        let mut plane = Plane::new();
        for (method, target, body, principal) in requests {
            let headers: Vec<_> =
                principal.iter().map(|arn| ("x-amzn-principal", arn.as_str())).collect();
            let generation = plane.registry.generation();
            let rows = plane.rows.len();
            let outcome = plane.call_with((method, &target, body), &headers);
            let changed = plane.rows.len() > rows;
            prop_assert_eq!(plane.registry.generation(), generation + u64::from(changed));
            prop_assert!(outcome.is_ok() || !changed);
        }
        let limits = RegistryLimits::default;
        let loaded = Registry::load(scope(), limits(), plane.rows.clone()).unwrap();
        prop_assert!(loaded.rows().eq(plane.registry.rows()));
        let again = Registry::load(scope(), limits(), plane.registry.rows()).unwrap();
        prop_assert!(again.rows().eq(plane.registry.rows()));
    }
}
