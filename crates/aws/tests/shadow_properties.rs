//! The shadow engine against one written plainly from contract §3, on trees of serde_json.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bitts_aws::shadow::{Shadow, ShadowError, ShadowLimits, Updated};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Few names, so that requests meet; enough that large objects are looked up.
fn name() -> impl Strategy<Value = String> {
    let many = (0..40_u8).prop_map(|number| format!("n{number}"));
    prop_oneof![8 => "[a-c]", 1 => many, 1 => "[\"\\\\ü/]{1,2}"]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (0..3_i64).prop_map(|number| json!(number)),
        1 => (0..3_u8).prop_map(|number| json!(f64::from(number))),
        1 => any::<bool>().prop_map(|value| json!(value)),
        1 => "[a\"ü\n]{0,3}".prop_map(|text| json!(text)),
    ]
}

/// What may stand in an array: no null.
fn item() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..3).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, Value)>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => scalar(),
        2 => Just(Value::Null),
        1 => prop::collection::vec(item(), 0..3).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop::collection::vec((name(), inner), 0..6).prop_map(object)
    })
}

fn section() -> impl Strategy<Value = Value> {
    let members = || prop::collection::vec((name(), value()), 0..6).prop_map(object);
    let many = prop::collection::vec((name(), value()), 20..40).prop_map(object);
    prop_oneof![8 => members(), 1 => many, 1 => Just(Value::Null)]
}

/// A `state`: null, or some of its sections.
fn state() -> impl Strategy<Value = Value> {
    let sections = (prop::option::of(section()), prop::option::of(section()));
    let sections = sections.prop_map(|(desired, reported)| {
        let named = [("desired", desired), ("reported", reported)];
        let given = named.into_iter().filter_map(|(name, section)| Some((name.into(), section?)));
        Value::Object(given.collect())
    });
    prop_oneof![9 => sections, 1 => Just(Value::Null)]
}

/// A stored value, `null` where nothing is: contract §3, merge.
fn merged(known: Option<&Value>, request: &Value) -> Option<Value> {
    match (known, request) {
        (_, Value::Null) => None,
        (Some(Value::Object(known)), Value::Object(request)) => {
            let mut known = known.clone();
            merge(&mut known, request);
            Some(Value::Object(known))
        }
        (_, Value::Object(request)) => {
            let mut new = Map::new();
            merge(&mut new, request);
            (request.is_empty() || !new.is_empty()).then_some(Value::Object(new))
        }
        (_, other) => Some(other.clone()),
    }
}

fn merge(known: &mut Map<String, Value>, request: &Map<String, Value>) {
    for (name, value) in request {
        match merged(known.get(name), value) {
            Some(value) => known.insert(name.clone(), value),
            None => known.remove(name),
        };
    }
}

/// `state` after a request with this `state`.
fn stored(before: &Value, request: &Value) -> Value {
    let mut after = before.as_object().unwrap().clone();
    for section in ["desired", "reported"] {
        match request.as_object().map(|sections| sections.get(section)) {
            None | Some(Some(Value::Null)) => {
                after.remove(section);
            }
            Some(None) => {}
            Some(Some(request)) => {
                let mut members =
                    after.get(section).map_or_else(Map::new, |it| it.as_object().unwrap().clone());
                merge(&mut members, request.as_object().unwrap());
                after.insert(section.to_owned(), Value::Object(members));
                after.retain(|_, section| section.as_object().is_some_and(|it| !it.is_empty()));
            }
        }
    }
    Value::Object(after)
}

/// The same value, numbers by value.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|it| is_same(one, it)))
        }
        (one, other) => one == other,
    }
}

/// What is desired and not reported: contract §3, delta.
fn delta(desired: &Value, reported: Option<&Value>) -> Option<Value> {
    match (desired, reported) {
        (Value::Object(desired), Some(Value::Object(reported))) => {
            let differing: Map<_, _> = desired
                .iter()
                .filter_map(|(name, it)| Some((name.clone(), delta(it, reported.get(name))?)))
                .collect();
            (!differing.is_empty()).then_some(Value::Object(differing))
        }
        (desired, Some(reported)) if is_same(desired, reported) => None,
        (desired, _) => Some(desired.clone()),
    }
}

fn state_delta(state: &Value) -> Option<Value> {
    let nothing = json!({});
    delta(state.get("desired")?, state.get("reported").or(Some(&nothing)))
}

/// The time of each leaf; `time` is asked with the leaf's path.
fn stamped(state: &Value, path: &str, time: &dyn Fn(&str) -> u64) -> Value {
    match state {
        Value::Object(members) => members
            .iter()
            .map(|(name, it)| (name.clone(), stamped(it, &format!("{path}/{name:?}"), time)))
            .collect(),
        // An array has one time.
        Value::Array(items) => items.iter().map(|it| stamped(it, path, &|_| time(path))).collect(),
        _ => json!({"timestamp": time(path)}),
    }
}

/// Whether a request names the leaf at this path, or one below which it was.
fn is_named(request: &Value, path: &str) -> bool {
    let mut rest = path;
    let mut value = request;
    loop {
        let Value::Object(members) = value else { return true };
        let next = members.iter().find_map(|(name, value)| {
            let rest = rest.strip_prefix(&format!("/{name:?}"))?;
            (rest.is_empty() || rest.starts_with('/')).then_some((value, rest))
        });
        let Some(next) = next else { return false };
        (value, rest) = next;
        if rest.is_empty() {
            return true;
        }
    }
}

/// The time that an older metadata has for a leaf.
fn known_time(metadata: &Value, path: &str) -> u64 {
    let mut rest = path;
    let mut value = metadata;
    while !rest.is_empty() {
        let (next, left) = value
            .as_object()
            .unwrap()
            .iter()
            .find_map(|(name, value)| {
                let rest = rest.strip_prefix(&format!("/{name:?}"))?;
                (rest.is_empty() || rest.starts_with('/')).then_some((value, rest))
            })
            .unwrap();
        (value, rest) = (next, left);
    }
    first_time(value).unwrap()
}

fn first_time(metadata: &Value) -> Option<u64> {
    match metadata {
        Value::Array(items) => items.iter().find_map(first_time),
        Value::Object(members) => members
            .get("timestamp")
            .and_then(Value::as_u64)
            .or_else(|| members.values().find_map(first_time)),
        _ => None,
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn limits() -> ShadowLimits {
    ShadowLimits { document_bytes_max: 1 << 20, depth_max: 12, ..ShadowLimits::default() }
}

fn update(shadow: &mut Shadow, state: &Value, now: u64) -> Updated {
    let request = json!({"state": state, "clientToken": "t"});
    shadow.update(request.to_string().as_bytes(), now, &limits()).unwrap()
}

fn get(shadow: &Shadow) -> Value {
    json(&shadow.get(b"", 0, &limits()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Contract §2 and §3: state, metadata, delta, documents and versions of a series of updates.
    #[test]
    fn updates_do_what_the_contract_says(states in prop::collection::vec(state(), 1..6)) {
        let mut shadow = Shadow::default();
        let (mut before, mut document) = (json!({}), Value::Null);
        let mut metadata = json!({});
        for (version, request) in (1_u64..).zip(&states) {
            let now = 100 * version;
            let updated = update(&mut shadow, request, now);
            let after = stored(&before, request);
            let new_metadata = stamped(&after, "", &|path| {
                if is_named(request, path) { now } else { known_time(&metadata, path) }
            });
            let current = json!({"state": after, "metadata": new_metadata, "version": version});
            prop_assert_eq!(updated.version, version);
            prop_assert_eq!(json(&updated.accepted), json!({
                "state": request, "metadata": stamped(request, "", &|_| now),
                "version": version, "timestamp": now, "clientToken": "t",
            }));
            prop_assert_eq!(json(&updated.documents), json!({
                "previous": document, "current": current, "timestamp": now, "clientToken": "t",
            }));
            let expected = state_delta(&after);
            let delta = updated.delta.as_deref().map(json);
            prop_assert_eq!(delta.as_ref().map(|delta| &delta["state"]), expected.as_ref());
            if let Some(delta) = delta {
                let time = |path: &str| known_time(&new_metadata["desired"], path);
                prop_assert_eq!(&delta["metadata"], &stamped(&delta["state"], "", &time));
                prop_assert_eq!(&delta["version"], &json!(version));
            }
            (before, document, metadata) = (after, current, new_metadata);
        }
    }

    /// What a get shows is the document and its delta, and the delta sent as reported ends it.
    #[test]
    fn reporting_the_delta_ends_it(desired in section(), reported in section()) {
        let mut shadow = Shadow::default();
        update(&mut shadow, &json!({"desired": desired, "reported": reported}), 1);
        let shown = get(&shadow);
        let mut stored = shown["state"].as_object().unwrap().clone();
        stored.remove("delta");
        let delta = state_delta(&Value::Object(stored));
        prop_assert_eq!(shown["state"].get("delta"), delta.as_ref());
        if let Some(delta) = delta {
            let updated = update(&mut shadow, &json!({"reported": delta}), 2);
            let left = updated.delta.map(|body| json(&body)["state"].clone());
            prop_assert_eq!(left, None);
        }
    }

    /// A request made twice leaves what it left once, but for times and version.
    #[test]
    fn merging_twice_is_merging_once(first in state(), request in state()) {
        let mut shadow = Shadow::default();
        update(&mut shadow, &first, 1);
        update(&mut shadow, &request, 2);
        let once = get(&shadow);
        update(&mut shadow, &request, 2);
        let twice = get(&shadow);
        prop_assert_eq!(&once["state"], &twice["state"]);
        prop_assert_eq!(&once["metadata"], &twice["metadata"]);
    }

    /// Requests about different members may come in any order.
    #[test]
    fn requests_about_different_members_commute(one in value(), other in value()) {
        let states = [json!({"desired": {"one": one}}), json!({"desired": {"other": other}})];
        let (mut forth, mut back) = (Shadow::default(), Shadow::default());
        for state in &states {
            update(&mut forth, state, 1);
        }
        for state in states.iter().rev() {
            update(&mut back, state, 1);
        }
        prop_assert_eq!(get(&forth), get(&back));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        states in prop::collection::vec(state(), 0..4), is_deleted: bool, step in 0..1_000_u64,
    ) {
        let mut shadow = Shadow::default();
        for (index, state) in (0..).zip(&states) {
            update(&mut shadow, state, index * step);
        }
        if is_deleted {
            let deleted = shadow.delete(b"", 7, &limits());
            prop_assert_eq!(deleted.is_ok(), !states.is_empty());
        }
        prop_assert_eq!(Shadow::decode(&shadow.encode()), Ok(shadow));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, kind in 0..3_u8) {
        for bytes in [bytes.clone(), [&[1, kind][..], &bytes].concat()] {
            if let Ok(shadow) = Shadow::decode(&bytes) {
                prop_assert_eq!(Shadow::decode(&shadow.encode()), Ok(shadow));
            }
        }
    }

    /// Any update is accepted with the next version, or refused and changes nothing.
    #[test]
    fn any_payload_is_answered(
        payload in prop_oneof![
            any::<Vec<u8>>(),
            r#"[{}\[\]":,adtnul0-9\\]{0,24}"#.prop_map(String::into_bytes),
            r#"\{"state":(\{"(desired|reported)":.{0,12}\}|.{0,8})(,"version":.{0,2})?\}"#
                .prop_map(String::into_bytes),
        ],
    ) {
        let mut shadow = Shadow::default();
        update(&mut shadow, &json!({"desired": {"a": 1}}), 1);
        let before = shadow.clone();
        match shadow.update(&payload, 2, &limits()) {
            Ok(updated) => {
                prop_assert_eq!(updated.version, 2);
                prop_assert_eq!(&json(&updated.accepted)["state"], &json(&payload)["state"]);
            }
            Err(rejection) => {
                prop_assert_eq!(&shadow, &before);
                prop_assert_ne!(rejection.error, ShadowError::NoShadow);
                prop_assert!((400..500).contains(&rejection.error.code()));
            }
        }
        let got = shadow.get(&payload, 3, &limits());
        let deleted = shadow.delete(&payload, 3, &limits());
        prop_assert_eq!(got.is_ok(), deleted.is_ok());
    }
}
