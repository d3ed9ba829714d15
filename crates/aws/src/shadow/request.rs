//! What a request asks: an update validated in the order of contract §3, and the client tokens of
//! all three operations.

use super::error::{Rejection, ShadowError};
use super::json::{Json, Members, ReadError, read};
use super::{CLIENT_TOKEN_BYTES_MAX, ShadowLimits};

/// A valid update, but for its version, which is the shadow's to compare, and for the size it
/// leads to.
pub(super) struct Update {
    /// Null, or an object of `desired` and `reported`, each null or an object.
    pub(super) state: Json,
    /// The version that the shadow must have.
    pub(super) version: Option<u64>,
    /// What the answers echo.
    pub(super) client_token: Option<Box<str>>,
}

impl Update {
    /// Reads an update. Members of it that the service does not know are ignored.
    pub(super) fn parse(payload: &[u8], limits: &ShadowLimits) -> Result<Self, Rejection> {
        if payload.len() > limits.request_bytes_max {
            return Err(ShadowError::TooLarge.into());
        }
        let text = str::from_utf8(payload).map_err(|_| ShadowError::NotUtf8)?;
        let members = match read(text) {
            Ok(Json::Object(members)) => members,
            Err(ReadError::TooDeep) => return Err(too_deep(limits).into()),
            Ok(_) | Err(ReadError::Invalid) => return Err(ShadowError::InvalidJson.into()),
        };
        let (mut state, mut version, mut client_token) = (None, None, None);
        for (name, value) in members {
            match &*name {
                "state" => state = Some(value),
                "version" => version = Some(value),
                "clientToken" => client_token = Some(value),
                _ => {}
            }
        }
        let client_token = client_token.map(token).transpose()?;
        match check(state, version.as_ref(), limits) {
            Ok((state, version)) => Ok(Self { state, version, client_token }),
            Err(error) => Err(Rejection { error, client_token }),
        }
    }
}

/// The client token of a get or a delete. Whatever else their payload is, it is ignored.
pub(super) fn client_token(
    payload: &[u8],
    limits: &ShadowLimits,
) -> Result<Option<Box<str>>, Rejection> {
    if payload.is_empty() || payload.len() > limits.request_bytes_max {
        return Ok(None);
    }
    let Ok(Ok(Json::Object(members))) = str::from_utf8(payload).map(read) else {
        return Ok(None);
    };
    let value = members.into_iter().find(|(name, _)| &**name == "clientToken");
    Ok(value.map(|(_, value)| token(value)).transpose()?)
}

fn token(value: Json) -> Result<Box<str>, ShadowError> {
    match value {
        Json::Text(text) if text.len() <= CLIENT_TOKEN_BYTES_MAX => Ok(text),
        Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::Text(_)
        | Json::Array(_)
        | Json::Object(_) => Err(ShadowError::InvalidClientToken),
    }
}

/// Contract §3, steps 3 to 8, the last as far as it is about the request alone.
fn check(
    state: Option<Json>,
    version: Option<&Json>,
    limits: &ShadowLimits,
) -> Result<(Json, Option<u64>), ShadowError> {
    let state = match state {
        None => return Err(ShadowError::MissingState),
        Some(Json::Null) => Json::Null,
        Some(Json::Object(sections)) => Json::Object(checked_sections(sections)?),
        Some(Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_)) => {
            return Err(ShadowError::StateNotAnObject);
        }
    };
    if has_null_in_array(&state) {
        return Err(ShadowError::InvalidNode);
    }
    // One level more: `state` itself.
    if state.depth() > limits.depth_max.saturating_add(1) {
        return Err(too_deep(limits));
    }
    let version = version.map(|version| match version {
        Json::Number(number) => number.text().parse().map_err(|_| ShadowError::InvalidVersion),
        Json::Null | Json::Bool(_) | Json::Text(_) | Json::Array(_) | Json::Object(_) => {
            Err(ShadowError::InvalidVersion)
        }
    });
    Ok((state, version.transpose()?))
}

/// The members of `state`, each null or an object. `delta` is dropped: a client that sends back
/// what it got sends it, too.
fn checked_sections(sections: Members<Json>) -> Result<Members<Json>, ShadowError> {
    let is_section = |name| {
        sections.find(name).is_none_or(|value| matches!(value, Json::Null | Json::Object(_)))
    };
    if !is_section("desired") {
        return Err(ShadowError::DesiredNotAnObject);
    }
    if !is_section("reported") {
        return Err(ShadowError::ReportedNotAnObject);
    }
    let sections = sections.without("delta");
    let is_known = |name| ["desired", "reported"].contains(&name);
    if sections.iter().all(|(name, _)| is_known(name)) {
        Ok(sections)
    } else {
        Err(ShadowError::InvalidNode)
    }
}

/// Whether an array holds a null, at whatever depth: an array is stored as it is, and a null cannot
/// be stored.
fn has_null_in_array(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
        Json::Array(items) => items.iter().any(Json::has_null),
        Json::Object(members) => members.iter().any(|(_, value)| has_null_in_array(value)),
    }
}

fn too_deep(limits: &ShadowLimits) -> ShadowError {
    ShadowError::TooDeep { depth_max: limits.depth_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(payload: &[u8]) -> Option<ShadowError> {
        Update::parse(payload, &ShadowLimits::default()).err().map(|it| it.error)
    }

    /// S-21, S-32 and contract §4.
    #[test]
    fn an_update_that_is_none_is_refused() {
        for (payload, error) in [
            ("", ShadowError::InvalidJson),
            ("[{\"state\":{}}]", ShadowError::InvalidJson),
            ("{\"state\":{}", ShadowError::InvalidJson),
            ("{\"state\":{},\"state\":{}}", ShadowError::InvalidJson),
            ("{\"state\":{},\"x\":NaN}", ShadowError::InvalidJson),
            ("{\"state\":{},\"x\":\"\\udc00\"}", ShadowError::InvalidJson),
            ("{}", ShadowError::MissingState),
            ("{\"state\":[]}", ShadowError::StateNotAnObject),
            ("{\"state\":\"\"}", ShadowError::StateNotAnObject),
            ("{\"state\":{\"desired\":1}}", ShadowError::DesiredNotAnObject),
            ("{\"state\":{\"reported\":[]}}", ShadowError::ReportedNotAnObject),
            ("{\"state\":{\"Desired\":{}}}", ShadowError::InvalidNode),
            ("{\"state\":{\"desired\":{\"a\":[1,[null]]}}}", ShadowError::InvalidNode),
            ("{\"state\":{\"desired\":{\"a\":[{\"b\":null}]}}}", ShadowError::InvalidNode),
        ] {
            assert_eq!(refused(payload.as_bytes()), Some(error), "{payload}");
        }
        assert_eq!(refused(b"{\"state\":{},\"x\":\"\xff\"}"), Some(ShadowError::NotUtf8));
    }

    /// Contract §3: what is wrong first is what is said.
    #[test]
    fn an_update_is_checked_in_order() {
        for (payload, error) in [
            (r#"{"clientToken":1,"version":"1"}"#, ShadowError::InvalidClientToken),
            (r#"{"version":"1"}"#, ShadowError::MissingState),
            (
                r#"{"state":{"x":1,"reported":1,"desired":1},"version":"1"}"#,
                ShadowError::DesiredNotAnObject,
            ),
            (r#"{"state":{"x":1,"reported":1}}"#, ShadowError::ReportedNotAnObject),
            (r#"{"state":{"x":1},"version":"1"}"#, ShadowError::InvalidNode),
            (
                r#"{"state":{"desired":{"a":{"b":{"c":{"d":{"e":{"f":[null]}}}}}}}}"#,
                ShadowError::InvalidNode,
            ),
            (
                r#"{"state":{"desired":{"a":{"b":{"c":{"d":{"e":{"f":[1]}}}}}}},"version":"1"}"#,
                ShadowError::TooDeep { depth_max: 6 },
            ),
        ] {
            assert_eq!(refused(payload.as_bytes()), Some(error), "{payload}");
        }
    }

    /// Contract §3, version.
    #[test]
    fn a_version_is_an_integer() {
        for (version, read) in [("0", 0), ("1", 1), ("18446744073709551615", u64::MAX)] {
            let payload = format!("{{\"state\":null,\"version\":{version}}}");
            let update = Update::parse(payload.as_bytes(), &ShadowLimits::default()).unwrap();
            assert_eq!(update.version, Some(read));
        }
        for version in
            ["-1", "1.0", "1e0", "18446744073709551616", "\"1\"", "null", "true", "[1]", "{}"]
        {
            let payload = format!("{{\"state\":null,\"version\":{version}}}");
            assert_eq!(refused(payload.as_bytes()), Some(ShadowError::InvalidVersion), "{version}");
        }
    }

    /// S-34, S-21: the limit is in bytes, and a token that is none is not echoed.
    #[test]
    fn a_client_token_is_a_short_string() {
        let limits = ShadowLimits::default();
        for token in ["", "a\\u0000b", &"x".repeat(64), &"ü".repeat(32)] {
            let payload = format!("{{\"state\":{{}},\"clientToken\":\"{token}\"}}");
            let expected: String = serde_json::from_str(&format!("\"{token}\"")).unwrap();
            let update = Update::parse(payload.as_bytes(), &limits).unwrap();
            assert_eq!(update.client_token.as_deref(), Some(&*expected));
            let read = client_token(payload.as_bytes(), &limits).unwrap();
            assert_eq!(read.as_deref(), Some(&*expected));
        }
        let (long, wide) = (format!("\"{}\"", "x".repeat(65)), format!("\"{}\"", "ü".repeat(33)));
        for token in ["1", "null", "true", "[]", "{}", &long, &wide] {
            let payload = format!("{{\"state\":{{}},\"clientToken\":{token}}}");
            let rejection = Rejection::from(ShadowError::InvalidClientToken);
            let refused = Update::parse(payload.as_bytes(), &limits).err();
            assert_eq!(refused.as_ref(), Some(&rejection), "{token}");
            assert_eq!(client_token(payload.as_bytes(), &limits), Err(rejection), "{token}");
        }
    }

    /// Contract §2, choice.
    #[test]
    fn other_payloads_of_get_and_delete_are_ignored() {
        let limits = ShadowLimits { request_bytes_max: 40, ..ShadowLimits::default() };
        let deep = "[".repeat(40);
        let long = format!("{{\"clientToken\":\"t\"{}}}", " ".repeat(40));
        for payload in ["", "x", "{", "[]", "null", "{\"a\":1}", "\u{feff}{}", &deep, &long] {
            assert_eq!(client_token(payload.as_bytes(), &limits), Ok(None), "{payload}");
        }
        assert_eq!(client_token(b"\xff", &limits), Ok(None));
    }

    #[test]
    fn an_update_over_its_limit_is_not_read() {
        let limits = ShadowLimits { request_bytes_max: 12, ..ShadowLimits::default() };
        assert!(Update::parse(b"{\"state\":{}}", &limits).is_ok());
        let larger = Update::parse(b"{\"state\":{}} x", &limits).err();
        assert_eq!(larger, Some(ShadowError::TooLarge.into()));
    }

    /// Deep members that are ignored count only against what bounds a parser.
    #[test]
    fn deep_texts_are_refused() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("{{\"state\":{{}},\"x\":{open}{close},\"clientToken\":\"t\"}}")
        };
        assert_eq!(refused(nested(31).as_bytes()), None);
        let error = ShadowError::TooDeep { depth_max: 6 };
        assert_eq!(refused(nested(32).as_bytes()), Some(error));
        assert_eq!(refused("[".repeat(131_072).as_bytes()), Some(error));
    }
}
