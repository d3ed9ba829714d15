//! Signatures that others made, and what becomes of them when the request changes.
//!
//! `sigv4/vectors.json` is what boto3 and its signers made, by `sigv4/generate.py`.

use std::collections::BTreeSet;

use bitts_aws::sigv4::{
    AmzDate, ExpectedScope, Form, MalformedSignature, Mismatch, Presented, SERVICES, SignedRequest,
    Signer, payload_sha256, verify,
};
use data_encoding::BASE64;
use serde::Deserialize;

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    by: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    secret: String,
    token: Option<String>,
    unix_seconds: u64,
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("sigv4/vectors.json")).expect("vectors");
    let makers: BTreeSet<_> = vectors.iter().map(|vector| vector.by.as_str()).collect();
    assert_eq!(
        makers.into_iter().collect::<Vec<_>>(),
        ["boto3", "botocore", "crt", "dart", "presign"]
    );
    vectors
}

const ANY_REGION: ExpectedScope<'static> = ExpectedScope { region: None, services: SERVICES };

impl Vector {
    fn named(name: &str) -> Self {
        vectors().into_iter().find(|vector| vector.name == name).expect("a vector of this name")
    }

    /// The vector as a request.
    fn with<T>(&self, then: impl FnOnce(&SignedRequest<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        then(&SignedRequest {
            method: &self.method,
            path,
            query,
            headers: &headers,
            payload_sha256: payload_sha256(&BASE64.decode(self.body.as_bytes()).expect("base64")),
        })
    }

    fn presented(&self) -> Presented {
        self.with(Presented::parse).expect("well-formed").expect("a signature")
    }

    fn malformed(&self) -> MalformedSignature {
        self.with(Presented::parse).expect_err("malformed")
    }

    fn verify_at(&self, unix_seconds: u64, expected: ExpectedScope<'_>) -> Result<(), Mismatch> {
        let presented = self.presented();
        self.with(|request| verify(&presented, request, &self.secret, expected, unix_seconds))
    }

    fn verify(&self) -> Result<(), Mismatch> {
        self.verify_at(self.unix_seconds, ANY_REGION)
    }

    fn header(&mut self, name: &str) -> &mut String {
        let found = self.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
        &mut found.expect("a header of this name").1
    }

    fn add_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

#[test]
fn signatures_of_aws_clients_hold() {
    for vector in vectors() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.name);
        assert_eq!(vector.presented().session_token, vector.token, "{}", vector.name);
    }
}

#[test]
fn a_signature_holds_for_nothing_else() {
    for vector in vectors() {
        let refused = |changed: &Vector, what: &str| {
            assert_eq!(changed.verify(), Err(Mismatch::Signature), "{} {what}", vector.name);
        };
        refused(&Vector { method: "PUT".into(), ..vector.clone() }, "method");
        refused(&Vector { secret: "SECRETEXAMPLF".into(), ..vector.clone() }, "secret");
        let target = vector.target.replacen('/', "/x", 1);
        refused(&Vector { target, ..vector.clone() }, "path");
        let separator = if vector.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}cleanSession=true", vector.target);
        refused(&Vector { target, ..vector.clone() }, "query");
        if vector.name != "unsigned payload" {
            refused(&Vector { body: BASE64.encode(b"other"), ..vector.clone() }, "body");
        }
        let mut other_host = vector.clone();
        *other_host.header("host") = "example.com".into();
        refused(&other_host, "host");
    }
}

/// Our own client signs as boto3 does, byte for byte.
#[test]
fn our_signer_agrees_with_botocore() {
    for mut vector in vectors() {
        let presented = vector.presented();
        if presented.form != Form::Header || vector.by == "dart" || vector.name.contains("unsigned")
        {
            continue;
        }
        let authorization = vector.header("authorization").clone();
        let added = ["x-amz-date", "x-amz-security-token"];
        vector.headers.retain(|(name, _)| {
            let name = name.to_ascii_lowercase();
            presented.signed_headers.contains(&name) && !added.contains(&name.as_str())
        });
        let signer = Signer {
            access_key_id: &presented.scope.access_key_id,
            secret_access_key: &vector.secret,
            session_token: vector.token.as_deref(),
            region: &presented.scope.region,
            service: &presented.scope.service,
        };
        let signed = vector.with(|request| signer.sign(request, presented.date));
        let ours = signed.iter().find(|(name, _)| *name == "authorization").unwrap();
        assert_eq!(ours.1, authorization, "{}", vector.name);
    }
}

fn websocket(token: Option<&str>, expires_seconds: Option<u32>, host: &str) -> Vector {
    let signer = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "SECRETEXAMPLE",
        session_token: token,
        region: "eu-central-1",
        service: "iotdevicegateway",
    };
    let date = AmzDate::from_unix_seconds(1_440_938_160);
    Vector {
        name: "ours".into(),
        by: "ours".into(),
        method: "GET".into(),
        target: format!("/mqtt?{}", signer.presign(host, "/mqtt", expires_seconds, date)),
        headers: vec![("Host".into(), host.into())],
        body: String::new(),
        secret: "SECRETEXAMPLE".into(),
        token: token.map(Into::into),
        unix_seconds: 1_440_938_160,
    }
}

/// Contract `mqtt-broker.md` §1.1: the token is in the URL and not in what is signed.
#[test]
fn our_presigned_query_leaves_the_token_unsigned() {
    let with_token = websocket(Some("a+b/c="), None, "h:443");
    assert_eq!(with_token.verify(), Ok(()));
    assert_eq!(with_token.presented().session_token.as_deref(), Some("a+b/c="));
    let without = websocket(None, None, "h:443");
    assert_eq!(with_token.presented().signature, without.presented().signature);
}

/// The presigned query of botocore, from our signer.
#[test]
fn our_presigned_query_agrees_with_botocore() {
    let theirs = Vector::named("presigned");
    let presented = theirs.presented();
    let signer = Signer {
        access_key_id: &presented.scope.access_key_id,
        secret_access_key: &theirs.secret,
        session_token: None,
        region: &presented.scope.region,
        service: &presented.scope.service,
    };
    let query = signer.presign("127.0.0.1:8830", "/mqtt", Some(86_400), presented.date);
    assert_eq!(format!("/mqtt?{query}"), theirs.target);
}

/// The example of AWS's Signature Version 4 documentation.
#[test]
fn the_documented_example_holds() {
    let example = Vector {
        name: "ListUsers".into(),
        by: "AWS".into(),
        method: "GET".into(),
        target: "/?Action=ListUsers&Version=2010-05-08".into(),
        headers: vec![
            ("Content-Type".into(), "application/x-www-form-urlencoded; charset=utf-8".into()),
            ("Host".into(), "iam.amazonaws.com".into()),
            ("X-Amz-Date".into(), "20150830T123600Z".into()),
            (
                "Authorization".into(),
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
                    .into(),
            ),
        ],
        body: String::new(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        token: None,
        unix_seconds: 1_440_938_160,
    };
    let expected = ExpectedScope { region: Some("us-east-1"), services: &["iam"] };
    assert_eq!(example.verify_at(1_440_938_160, expected), Ok(()));
}

/// H-9: both canonical forms of one wire path.
#[test]
fn h_09_double_and_single_encoded_paths_hold() {
    let double = Vector::named("DeleteConnection 'a/b c'");
    assert!(double.target.starts_with("/connections/a%2Fb%20c?"));
    assert_eq!(double.verify(), Ok(()));
    assert_eq!(Vector::named("single-encoded /connections/a%2Fb%20c").verify(), Ok(()));
}

/// A request signed for `a%2Fb` is not good for `a%252Fb`, whose single-encoded form is the same.
#[test]
fn a_path_cannot_be_encoded_once_more_and_sent_again() {
    let mut vector = Vector::named("DeleteConnection 'a/b c'");
    vector.target = vector.target.replace("a%2Fb%20c", "a%252Fb%2520c");
    assert_eq!(vector.verify(), Err(Mismatch::Signature));
}

/// A request signed for topic `plain` is not good for `./plain` and the like.
#[test]
fn a_path_cannot_be_given_dot_segments_and_sent_again() {
    let vector = Vector::named("signer /topics/a/b/c");
    for path in [
        "/topics/./a/b/c",
        "/topics//a/b/c",
        "/topics/x/../a/b/c",
        "/topics/a/b/./c",
        "/topics/a/b/c/.",
        "/topics/a/b/c/x/..",
    ] {
        let changed = Vector { target: path.into(), ..vector.clone() };
        assert_eq!(changed.verify(), Err(Mismatch::Signature), "{path}");
    }
}

/// Contract §6: Dart and the common runtime sign the host without its port.
#[test]
fn the_port_may_be_missing_from_what_is_signed_but_not_be_another() {
    let mut vector = Vector::named("WebSocket");
    *vector.header("host") = "127.0.0.1:8830".into();
    assert_eq!(vector.verify(), Ok(()));
    let ipv6 = |host: &str| {
        let mut vector = websocket(None, None, "[::1]");
        *vector.header("host") = host.into();
        vector.verify()
    };
    assert_eq!(ipv6("[::1]"), Ok(()));
    assert_eq!(ipv6("[::1]:8830"), Ok(()));
    assert_eq!(ipv6("[::1"), Err(Mismatch::Signature));
    let mut vector = Vector::named("GetConnection 'thermostat-7'");
    *vector.header("host") = "127.0.0.1:8831".into();
    assert_eq!(vector.verify(), Err(Mismatch::Signature));
}

/// H-13: Dart sends a space as `+` and signs it as `%20`.
#[test]
fn a_plus_in_the_query_is_a_space() {
    let mut vector = Vector::named("Publish 'a/b c'");
    assert!(vector.target.contains("responseTopic=r%2Fa%2Fb%20c"));
    vector.target = vector.target.replace("b%20c", "b+c");
    vector.target = vector.target.replacen("/topics/a%2Fb+c", "/topics/a%2Fb%20c", 1);
    assert_eq!(vector.verify(), Ok(()));
}

#[test]
fn the_order_of_the_query_does_not_matter() {
    let mut vector = Vector::named("DeleteConnection 'thermostat-7'");
    vector.target = "/connections/thermostat-7?preventWillMessage=false&cleanSession=true".into();
    assert_eq!(vector.verify(), Ok(()));
}

#[test]
fn a_header_may_differ_by_five_minutes_both_ways() {
    let vector = Vector::named("GetConnection 'thermostat-7'");
    let at = |unix_seconds| vector.verify_at(unix_seconds, ANY_REGION);
    let date = vector.unix_seconds;
    assert_eq!(at(date + 300), Ok(()));
    assert_eq!(at(date - 300), Ok(()));
    assert_eq!(at(date + 301), Err(Mismatch::Expired));
    assert_eq!(at(date - 301), Err(Mismatch::NotYetCurrent));
}

#[test]
fn a_presigned_request_is_good_for_as_long_as_it_says() {
    let vector = Vector::named("presigned operation");
    let at = |unix_seconds| vector.verify_at(unix_seconds, ANY_REGION);
    let date = vector.unix_seconds;
    assert_eq!(at(date + 60), Ok(()));
    assert_eq!(at(date + 61), Err(Mismatch::Expired));
    assert_eq!(at(date - 300), Ok(()));
    assert_eq!(at(date - 301), Err(Mismatch::NotYetCurrent));
    for (seconds, result) in [
        (0, Err(Mismatch::Expires)),
        (1, Ok(())),
        (604_800, Ok(())),
        (604_801, Err(Mismatch::Expires)),
    ] {
        assert_eq!(websocket(None, Some(seconds), "h").verify(), result, "{seconds}");
    }
    let without = websocket(None, None, "h");
    assert_eq!(without.verify_at(without.unix_seconds + 300, ANY_REGION), Ok(()));
    let late = without.verify_at(without.unix_seconds + 301, ANY_REGION);
    assert_eq!(late, Err(Mismatch::Expired));
}

#[test]
fn the_scope_is_checked_field_by_field() {
    let vector = Vector::named("GetConnection 'thermostat-7'");
    let date = vector.unix_seconds;
    let at = |region, services| vector.verify_at(date, ExpectedScope { region, services });
    assert_eq!(at(Some("eu-central-1"), SERVICES), Ok(()));
    assert_eq!(at(Some("eu-central-2"), SERVICES), Err(Mismatch::Region));
    assert_eq!(at(None, &["iot-jobs-data"]), Err(Mismatch::Service));
    let mut other_day = vector.clone();
    let authorization = other_day.header("authorization");
    *authorization = authorization.replace("/20260228/", "/20260227/");
    assert_eq!(other_day.verify(), Err(Mismatch::Day));
}

#[test]
fn a_signed_payload_hash_is_the_payloads_or_says_unsigned() {
    let vector = Vector::named("unsigned payload");
    let other_body = Vector { body: BASE64.encode(b"other"), ..vector.clone() };
    assert_eq!(other_body.verify(), Ok(()));
    let with = |value: &str| {
        let mut vector = vector.clone();
        *vector.header("x-amz-content-sha256") = value.into();
        vector.verify()
    };
    assert_eq!(with("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Err(Mismatch::Streaming));
    assert_eq!(with(&"0".repeat(64)), Err(Mismatch::Payload));
    assert_eq!(with("x"), Err(Mismatch::Payload));
    let mut twice = vector.clone();
    twice.add_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(twice.verify(), Err(Mismatch::Payload));
}

/// The header does not count where it is not signed: the body is hashed all the same.
#[test]
fn an_unsigned_payload_hash_is_not_believed() {
    let mut vector = Vector::named("Publish 'thermostat-7'");
    vector.add_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(vector.verify(), Ok(()));
    vector.body = BASE64.encode(b"other");
    assert_eq!(vector.verify(), Err(Mismatch::Signature));
}

#[test]
fn a_request_without_signature_has_none() {
    let mut vector = Vector::named("GetConnection 'thermostat-7'");
    vector.headers.retain(|(name, _)| name != "Authorization");
    assert_eq!(vector.with(Presented::parse), Ok(None));
}

#[test]
fn a_header_signature_is_well_formed_or_says_why_not() {
    use MalformedSignature as Malformed;
    let vector = Vector::named("DeleteConnection 'thermostat-7' with a token");
    for (from, to, error) in [
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", Malformed::Algorithm),
        ("AWS4-HMAC-SHA256 ", "Bearer ", Malformed::Algorithm),
        ("Credential=", "Credentials=", Malformed::Authorization),
        ("Credential=AKIDEXAMPLE", "Credential=AKIDEXAMPLE,x", Malformed::Authorization),
        ("/aws4_request", "/aws4", Malformed::Credential),
        ("AKIDEXAMPLE/", "", Malformed::Credential),
        ("/20260228/", "/2026022x/", Malformed::Credential),
        ("/eu-central-1/", "//", Malformed::Credential),
        ("host;", "", Malformed::NotSigned("host")),
        ("x-amz-date;", "", Malformed::NotSigned("x-amz-date")),
        ("host;", "Host;", Malformed::SignedHeaders),
        ("host;", "host;host;", Malformed::SignedHeaders),
        ("host;x-amz-date", "x-amz-date;host", Malformed::SignedHeaders),
        ("host;", ";host;", Malformed::SignedHeaders),
        ("Signature=", "Signature=00", Malformed::Signature),
        ("Signature=", "Signature=g", Malformed::Signature),
        (", Signature=", ", Signature=0, Signature=", Malformed::Repeated("Signature")),
        (", SignedHeaders=", ", x=", Malformed::Authorization),
    ] {
        let mut vector = vector.clone();
        let authorization = vector.header("authorization");
        assert!(authorization.contains(from), "{from}");
        *authorization = authorization.replacen(from, to, 1);
        assert_eq!(vector.malformed(), error, "{from} -> {to}");
    }
}

#[test]
fn a_header_signature_has_one_date_one_token_and_one_place() {
    use MalformedSignature as Malformed;
    let vector = Vector::named("DeleteConnection 'thermostat-7' with a token");
    for (name, error) in [
        ("X-Amz-Date", Malformed::Repeated("X-Amz-Date")),
        ("X-Amz-Security-Token", Malformed::Repeated("X-Amz-Security-Token")),
        ("Authorization", Malformed::Repeated("Authorization")),
    ] {
        let mut vector = vector.clone();
        let value = vector.header(name).clone();
        vector.add_header(name, &value);
        assert_eq!(vector.malformed(), error);
    }
    let mut bad_date = vector.clone();
    *bad_date.header("x-amz-date") = "20260230T000000Z".into();
    assert_eq!(bad_date.malformed(), Malformed::Date);
    let mut no_date = vector.clone();
    no_date.headers.retain(|(name, _)| name != "X-Amz-Date");
    assert_eq!(no_date.malformed(), Malformed::Missing("X-Amz-Date"));
    let two_forms = Vector { target: "/x?X-Amz-Signature=0".into(), ..vector };
    assert_eq!(two_forms.malformed(), Malformed::TwoForms);
}

#[test]
fn a_query_signature_has_each_parameter_once() {
    use MalformedSignature as Malformed;
    let vector = Vector::named("presigned with a token");
    for (from, to, error) in [
        ("X-Amz-Algorithm=AWS4", "X-Amz-Algorithm=AWS3", Malformed::Algorithm),
        ("X-Amz-Algorithm", "x-amz-algorithm", Malformed::Algorithm),
        ("X-Amz-Credential", "x", Malformed::Missing("Credential")),
        ("X-Amz-Date", "x", Malformed::Missing("X-Amz-Date")),
        ("X-Amz-Date=2026", "X-Amz-Date=", Malformed::Date),
        ("X-Amz-SignedHeaders", "x", Malformed::Missing("SignedHeaders")),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=x", Malformed::NotSigned("host")),
        ("X-Amz-Expires=", "X-Amz-Expires=-", Malformed::Expires),
        ("X-Amz-Expires=", "X-Amz-Expires=99999999999", Malformed::Expires),
        ("X-Amz-Expires=86400", "X-Amz-Expires=", Malformed::Expires),
        ("X-Amz-Date", "X-Amz-Expires=1&X-Amz-Date", Malformed::Repeated("X-Amz-Expires")),
        ("X-Amz-Date", "%58-Amz-Date=1&X-Amz-Date", Malformed::Repeated("X-Amz-Date")),
    ] {
        let target = vector.target.replacen(from, to, 1);
        assert_ne!(target, vector.target, "{from}");
        let changed = Vector { target, ..vector.clone() };
        assert_eq!(changed.malformed(), error, "{from} -> {to}");
    }
}

proptest::proptest! {
    #[test]
    fn any_authorization_and_query_are_read(authorization: String, query: String) {
        let headers: &[(&str, &[u8])] = &[("authorization", authorization.as_bytes())];
        for headers in [headers, &[]] {
            let payload_sha256 = payload_sha256(b"");
            let request =
                SignedRequest { method: "GET", path: "/", query: &query, headers, payload_sha256 };
            if let Ok(Some(presented)) = Presented::parse(&request) {
                let verified = verify(&presented, &request, "secret", ANY_REGION, 0);
                proptest::prop_assert!(verified.is_err());
            }
        }
    }

    /// What we sign holds, whatever is in the path, the query and the body.
    #[test]
    fn what_we_sign_holds(
        label in "[ -~]{0,20}",
        value in "\\PC{0,20}",
        body: Vec<u8>,
        unix_seconds in 0_u64..200_000_000_000,
    ) {
        let escape = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let (path, query) = (format!("/topics/{}", escape(&label)), format!("a={}", escape(&value)));
        let headers: &[(&str, &[u8])] = &[("host", b"h:8830"), ("x-b", value.as_bytes())];
        let payload_sha256 = payload_sha256(&body);
        let request =
            SignedRequest { method: "POST", path: &path, query: &query, headers, payload_sha256 };
        let signer = Signer {
            access_key_id: "AK/with/slashes",
            secret_access_key: "secret",
            session_token: Some("token"),
            region: "r",
            service: "iotdata",
        };
        let added = signer.sign(&request, AmzDate::from_unix_seconds(unix_seconds));
        let mut headers = headers.to_vec();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_bytes())));
        let request = SignedRequest { headers: &headers, ..request };
        let presented = Presented::parse(&request).unwrap().unwrap();
        let verified = verify(&presented, &request, "secret", ANY_REGION, unix_seconds);
        proptest::prop_assert_eq!(verified, Ok(()));
    }
}
