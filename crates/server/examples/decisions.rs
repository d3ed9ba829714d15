//! How many decisions and verified signatures one core makes in a second.
//!
//! `cargo run --release -p bitts-server --example decisions`

use std::hint::black_box;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bitts_aws::policy::{
    Action, ActionKind, ArnScope, Context, MqttConnection, Origin, Policy, PolicyLimits, Principal,
    Request, ResourceKind, decide,
};
use bitts_aws::sigv4::{self, AmzDate, ExpectedScope, Presented, SignedRequest, Signer};

const FOR: Duration = Duration::from_secs(1);

/// Calls a second.
fn rate(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut calls = 0_u32;
    while begun.elapsed() < FOR {
        for _ in 0..1_000 {
            call();
        }
        calls += 1_000;
    }
    f64::from(calls) / begun.elapsed().as_secs_f64()
}

/// A device's policy as AWS's guide writes it: its own client id, its own topics, its shadow.
fn device_policy() -> Policy {
    let document = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"iot:Connect",
         "Resource":"arn:aws:iot:*:*:client/${iot:ClientId}"},
        {"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],
         "Resource":"arn:aws:iot:*:*:topic/devices/${iot:ClientId}/*"},
        {"Effect":"Allow","Action":"iot:Subscribe",
         "Resource":"arn:aws:iot:*:*:topicfilter/commands/${iot:ClientId}/*"},
        {"Effect":"Allow","Action":"iot:Receive",
         "Resource":"arn:aws:iot:*:*:topic/commands/${iot:ClientId}/*"},
        {"Effect":"Deny","Action":"iot:Publish",
         "Resource":"arn:aws:iot:*:*:topic/devices/${iot:ClientId}/config",
         "Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}]}"#;
    Policy::parse("device", 1, document, &PolicyLimits::default()).expect("a policy")
}

fn decisions() -> f64 {
    let policies = [device_policy()];
    let scope = ArnScope::new("aws", "us-east-1", "000000000000").expect("a scope");
    let topic = scope.arn(ResourceKind::Topic, "devices/thermostat-7/telemetry/temperature");
    let connection = MqttConnection { client_id: "thermostat-7".to_owned(), thing: None };
    let origin = Origin::new(IpAddr::from([198, 51, 100, 7]), 8883, true);
    let context = Context {
        principal: &Principal::Unnamed,
        connection: Some(&connection),
        origin: Some(&origin),
        unix_seconds: Some(1_767_225_600),
    };
    let action = Action::Plain(ActionKind::Publish);
    let request = Request { action, resource: Some(&topic), context };
    assert!(decide(&policies, &request).is_allowed());
    rate(|| {
        black_box(decide(black_box(&policies), black_box(&request)));
    })
}

/// Parsed and verified, as for each HTTP request.
fn signatures() -> f64 {
    let now = 1_767_225_600;
    let date = AmzDate::from_unix_seconds(now);
    let signer = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "SECRETEXAMPLE",
        session_token: None,
        region: "us-east-1",
        service: sigv4::SERVICE_DATA,
    };
    let host: [(&str, &[u8]); 1] = [("host", b"127.0.0.1:8830")];
    let unsigned = SignedRequest {
        method: "DELETE",
        path: "/connections/thermostat-7",
        query: "cleanSession=true",
        headers: &host,
        payload_sha256: sigv4::payload_sha256(b""),
    };
    let added = signer.sign(&unsigned, date);
    let mut headers = host.to_vec();
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_bytes())));
    let request = SignedRequest { headers: &headers, ..unsigned };
    let expected = ExpectedScope { region: None, services: sigv4::SERVICES };
    let verified = || {
        let presented = Presented::parse(black_box(&request)).expect("a signature");
        let presented = presented.expect("one");
        sigv4::verify(&presented, &request, "SECRETEXAMPLE", expected, now).is_ok()
    };
    assert!(verified());
    rate(|| {
        black_box(verified());
    })
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "decisions of a policy with 5 statements: {:.2} million a second",
        decisions() / 1e6
    )?;
    writeln!(out, "signatures verified: {:.0} thousand a second", signatures() / 1e3)
}
