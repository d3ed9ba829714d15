//! The contract's vectors: `device-shadow.md` §5, S-1 to S-26, S-32 and S-34. The rest are about
//! more than one shadow, about connections and about HTTP.
//!
//! `data/shadow/vectors.json` is the contract's own text. Each vector begins without a shadow of
//! thing `T`; a step has an operation, a request, a time in seconds (1000 + 10 × index by default)
//! and outputs. `partial` compares only the members given, `delta: null` says that none is
//! published, and an output that is not mentioned is unchecked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bitts_aws::shadow::{Rejection, Shadow, ShadowError, ShadowId, ShadowLimits};
use serde_json::{Value, json};

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("data/shadow/vectors.json")).unwrap()
}

/// What a step can give, as the contract names it.
const OUTPUTS: [&str; 4] = ["accepted", "delta", "documents", "rejected"];

/// What a step gave of [`OUTPUTS`], in their order; a rejected one nothing but the last.
type Outputs = [Option<Value>; 4];

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn accepted(body: Vec<u8>) -> Outputs {
    [Some(json(&body)), None, None, None]
}

fn perform(shadow: &mut Shadow, operation: &str, payload: &[u8], now: u64) -> Outputs {
    let limits = ShadowLimits::default();
    let outcome = match operation {
        "get" => shadow.get(payload, now, &limits).map(accepted),
        "delete" => shadow.delete(payload, now, &limits).map(accepted),
        "update" => shadow.update(payload, now, &limits).map(|updated| {
            let accepted = json(&updated.accepted);
            assert_eq!(accepted["version"], json!(updated.version));
            [
                Some(accepted),
                updated.delta.as_deref().map(json),
                Some(json(&updated.documents)),
                None,
            ]
        }),
        other => panic!("{other}"),
    };
    outcome.unwrap_or_else(|rejection| {
        let id = ShadowId::new("T", None).unwrap();
        [None, None, None, Some(json(&rejection.body(&id)))]
    })
}

/// The members of `value` that `expected` has.
fn part(value: &Value, expected: &Value) -> Value {
    let names = expected.as_object().unwrap().keys();
    names.map(|name| (name.clone(), value[name].clone())).collect()
}

fn check(place: &str, step: &Value, name: &str, output: Option<&Value>) {
    let Some(expected) = step.get(name) else { return };
    let output = match output {
        Some(output) if step["partial"] == true && expected.is_object() => part(output, expected),
        Some(output) => output.clone(),
        None => Value::Null,
    };
    assert_eq!(&output, expected, "{place}: {name}");
}

fn run(id: &str) {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["id"] == id).unwrap();
    let mut shadow = Shadow::default();
    for (index, step) in vector["steps"].as_array().unwrap().iter().enumerate() {
        let known = ["op", "t", "req", "partial", "accepted", "delta", "documents", "rejected"];
        let unknown = step.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str()));
        assert_eq!(unknown, None, "{id}");
        let place = format!("{id} step {index}");
        let now = step.get("t").map_or(1000 + 10 * index as u64, |time| time.as_u64().unwrap());
        let payload = step.get("req").map_or(String::new(), Value::to_string);
        let before = shadow.clone();
        let outputs = perform(&mut shadow, step["op"].as_str().unwrap(), payload.as_bytes(), now);
        let is_rejected = step.get("rejected").is_some();
        assert_eq!(outputs[3].is_some(), is_rejected, "{place}: {:?}", outputs[3]);
        for (name, output) in OUTPUTS.iter().zip(&outputs) {
            check(&place, step, name, output.as_ref());
        }
        if is_rejected {
            assert_eq!(shadow, before, "{place}: a refused request changes nothing");
        }
        assert_eq!(Shadow::decode(&shadow.encode()).as_ref(), Ok(&shadow), "{place}");
    }
}

macro_rules! vectors {
    ($($name:ident = $id:literal;)*) => {
        const RUN: &[&str] = &[$($id,)*];
        $(#[test] fn $name() { run($id); })*
    };
}

vectors! {
    s_1_create_and_get_with_delta = "S-1";
    s_2_arrays_and_tokens = "S-2";
    s_3_a_nested_delta_keeps_its_path = "S-3";
    s_4_a_delta_covers_what_is_stored = "S-4";
    s_5_deleting_what_was_reported_brings_the_delta_back = "S-5";
    s_6_null_state = "S-6";
    s_7_deleting_every_member_removes_the_section = "S-7";
    s_8_a_null_section_with_the_other_one_set = "S-8";
    s_9_arrays_are_replaced_as_a_whole = "S-9";
    s_10_null_in_an_array = "S-10";
    s_11_empty_objects_are_kept = "S-11";
    s_12_empty_section_and_empty_state_are_valid = "S-12";
    s_13_nested_objects_differ_in_part = "S-13";
    s_14_more_reported_than_desired_is_no_delta = "S-14";
    s_15_numbers_by_value_types_strictly = "S-15";
    s_16_untouched_members_keep_their_time = "S-16";
    s_17_type_changes_replace = "S-17";
    s_18_optimistic_locking = "S-18";
    s_19_deletion_takes_a_version = "S-19";
    s_20_after_48_hours_versions_begin_again = "S-20";
    s_21_error_texts = "S-21";
    s_22_six_levels_pass_and_seven_fail = "S-22";
    s_23_unknown_members_are_ignored = "S-23";
    s_24_a_new_member_of_nulls_is_not_stored = "S-24";
    s_25_a_boolean_flips_and_a_member_is_missing = "S-25";
}

#[test]
fn every_vector_is_run() {
    let vectors = vectors();
    let ids: Vec<_> = vectors.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
    assert_eq!(ids, RUN);
    let steps = vectors.iter().flat_map(|vector| vector["steps"].as_array().unwrap());
    let checks = steps.flat_map(|step| OUTPUTS.iter().filter(|name| step.get(**name).is_some()));
    assert_eq!((ids.len(), checks.count()), (25, 82));
}

/// An update of `reported` and `desired`, each `{"a":"x…"}` of so many bytes; 0 leaves it out.
fn sized(reported: usize, desired: usize) -> String {
    let section = |name: &str, bytes: usize| {
        let value = "x".repeat(bytes.checked_sub(r#"{"a":""}"#.len())?);
        Some(format!(r#""{name}":{{"a" : "{value}"}}"#))
    };
    let sections = [section("reported", reported), section("desired", desired)];
    let sections: Vec<_> = sections.into_iter().flatten().collect();
    format!(r#"{{"state":{{{}}},"clientToken":"t"}}"#, sections.join(","))
}

#[test]
fn s_26_the_sections_together_have_8192_bytes() {
    let limits = ShadowLimits::default();
    for (fits, too_large) in [((8192, 0), (8193, 0)), ((4096, 4096), (4096, 4097))] {
        let mut shadow = Shadow::default();
        assert_eq!(shadow.update(sized(fits.0, fits.1).as_bytes(), 1, &limits).unwrap().version, 1);
        let before = shadow.clone();
        let rejection =
            shadow.update(sized(too_large.0, too_large.1).as_bytes(), 2, &limits).unwrap_err();
        let error = ShadowError::TooLarge;
        assert_eq!(rejection, Rejection { error, client_token: Some("t".into()) });
        assert_eq!(shadow, before);
        assert!(shadow.update(br#"{"state":{"desired":{"b":1}}}"#, 3, &limits).is_err());
        assert!(shadow.update(br#"{"state":{"reported":null}}"#, 4, &limits).is_ok());
    }
    let larger = ShadowLimits { document_bytes_max: 30_720, ..limits };
    assert!(Shadow::default().update(sized(30_720, 0).as_bytes(), 1, &larger).is_ok());
}

/// S-26: the limit counts what is kept, not what is sent.
#[test]
fn s_26_null_and_space_do_not_count() {
    let limits = ShadowLimits::default();
    let mut shadow = Shadow::default();
    let nulls: Vec<_> = (0..2000).map(|index| format!("\"n{index}\" :  null,")).collect();
    let update = format!(r#"{{"state":{{"desired":{{{}"a":"ü"}}}}}}"#, nulls.concat());
    assert!(update.len() > 8192);
    shadow.update(update.as_bytes(), 1, &limits).unwrap();
    let body = json(&shadow.get(b"", 2, &limits).unwrap());
    assert_eq!(body["state"]["desired"], json!({"a": "ü"}));
}

#[test]
fn s_32_what_is_not_utf8_and_what_is_not_json() {
    let mut shadow = Shadow::default();
    let id = ShadowId::new("T", None).unwrap();
    let limits = ShadowLimits::default();
    for (payload, code, kind, message) in [
        (
            &b"{\"state\":{\"desired\":{\"a\":\"\xc3\"}}}"[..],
            415,
            "UnsupportedDocumentEncodingException",
            "Unsupported documented encoding; supported encoding is UTF-8",
        ),
        (b"{\"state\":", 400, "InvalidRequestException", "Invalid JSON"),
        (
            b"{\"state\":{\"desired\":{\"a\":1,\"a\":2}}}",
            400,
            "InvalidRequestException",
            "Invalid JSON",
        ),
    ] {
        let rejection = shadow.update(payload, 1, &limits).unwrap_err();
        let error = rejection.api_error(&id);
        assert_eq!((error.kind.status(), error.kind.name()), (code, kind));
        assert_eq!(error.message, message);
        assert_eq!(json(&rejection.body(&id)), json!({"code": code, "message": message}));
    }
}

#[test]
fn s_34_a_token_of_another_type_is_refused_and_not_echoed() {
    let id = ShadowId::new("T", None).unwrap();
    let update = br#"{"state":{"desired":{"a":1}},"clientToken":7}"#;
    let rejection = Shadow::default().update(update, 1, &ShadowLimits::default()).unwrap_err();
    let body = json!({"code": 400, "message": "Invalid clientToken"});
    assert_eq!(json(&rejection.body(&id)), body);
}

/// Contract §3: `state.delta` is dropped, other unknown members are refused.
#[test]
fn what_a_get_returned_can_be_sent_back() {
    let limits = ShadowLimits::default();
    let mut shadow = Shadow::default();
    shadow.update(br#"{"state":{"desired":{"a":1},"reported":{"a":2}}}"#, 1, &limits).unwrap();
    let mut document = shadow.get(b"", 2, &limits).unwrap();
    assert_eq!(json(&document)["state"]["delta"], json!({"a": 1}));
    let updated = shadow.update(&document, 3, &limits).unwrap();
    let state = json!({"desired": {"a": 1}, "reported": {"a": 2}});
    assert_eq!(json(&updated.accepted)["state"], state);
    document.clear();
    assert!(shadow.update(&document, 4, &limits).is_err());
}

/// Contract §2, §3: the version that a deleted shadow had is no version of the next one.
#[test]
fn a_deleted_shadow_is_updated_as_one_that_never_was() {
    let limits = ShadowLimits::default();
    for (version, error) in [
        ("0", None),
        ("1", None),
        ("2", Some(ShadowError::InvalidVersion)),
        ("3", Some(ShadowError::InvalidVersion)),
    ] {
        let update = format!(r#"{{"state":{{"desired":{{"a":1}}}},"version":{version}}}"#);
        let mut shadow = Shadow::default();
        let refused = shadow.update(update.as_bytes(), 1, &limits).err().map(|it| it.error);
        assert_eq!(refused, error, "{version}");
        let mut shadow = Shadow::default();
        shadow.update(br#"{"state":{}}"#, 1, &limits).unwrap();
        shadow.delete(b"", 2, &limits).unwrap();
        let outcome = shadow.update(update.as_bytes(), 3, &limits);
        assert_eq!(outcome.as_ref().err().map(|it| it.error), error, "{version}");
        assert!(outcome.map_or(true, |updated| updated.version == 3), "{version}");
    }
}

/// Contract §1: a deleted shadow's version is kept for 48 hours.
#[test]
fn a_version_is_forgotten_after_48_hours() {
    let limits = ShadowLimits::default();
    let mut shadow = Shadow::default();
    assert!(shadow.is_forgotten(0));
    shadow.update(br#"{"state":{}}"#, 1, &limits).unwrap();
    assert!(!shadow.is_forgotten(u64::MAX));
    shadow.delete(b"", 1_000, &limits).unwrap();
    assert_eq!(shadow.version(), None);
    for (now, is_forgotten, version) in
        [(0, false, 3), (1_000, false, 3), (173_800, false, 3), (173_801, true, 1)]
    {
        assert_eq!(shadow.is_forgotten(now), is_forgotten, "{now}");
        let mut again = shadow.clone();
        assert_eq!(again.update(br#"{"state":{}}"#, now, &limits).unwrap().version, version);
    }
}
