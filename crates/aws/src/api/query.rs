//! Query strings, read as the SDKs write them and written as the SDKs do.
//!
//! Reading: `+` is a space, the last of repeated parameters wins, unknown ones are ignored.
//! Writing: RFC 3986's unreserved characters stay, everything else is escaped. Contract §5.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::route::decode;
use super::{PAGE_ITEMS_MAX, page};
use crate::error::{ApiError, ErrorKind};

/// Everything but A–Z, a–z, 0–9 and `-._~`.
pub(crate) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as a label of a path or a value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A query to be sent, in the order of the operation's model.
#[derive(Default)]
pub(super) struct QueryWriter(String);

impl QueryWriter {
    /// Adds a parameter; `None` leaves it out.
    pub(super) fn add(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            let separator = if self.0.is_empty() { "" } else { "&" };
            self.0.extend([separator, name, "="]);
            self.0.extend(utf8_percent_encode(value, ESCAPED));
        }
        self
    }

    /// Adds a boolean that is false by default.
    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.add(name, value.then_some("true"))
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A query received.
#[derive(Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// `raw` is what follows `?`; nothing and a bare `?` are the same.
    pub(super) fn parse(raw: Option<&str>) -> Result<Self, ApiError> {
        let decoded = |text: &str| decode(&text.replace('+', "%20"));
        let pairs = raw.unwrap_or("").split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Option<_>>().map(Self).ok_or_else(|| {
            ApiError::new(ErrorKind::InvalidRequest, "The query is not percent-encoded UTF-8")
        })
    }

    /// The last value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of all parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A boolean in any case; absent and empty are false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("") => Ok(false),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => {
                Err(ApiError::new(ErrorKind::InvalidRequest, format!("{name} is true or false")))
            }
        }
    }

    /// `maxResults`, 1 to [`PAGE_ITEMS_MAX`].
    pub(super) fn max_results(&self, default: usize) -> Result<usize, ApiError> {
        let Some(value) = self.get("maxResults") else { return Ok(default) };
        integer(value).filter(|number| (1..=PAGE_ITEMS_MAX).contains(number)).ok_or_else(|| {
            ApiError::new(
                ErrorKind::InvalidRequest,
                format!("maxResults is an integer from 1 to {PAGE_ITEMS_MAX}"),
            )
        })
    }

    /// What `nextToken` continues behind; an empty token is the first page.
    pub(super) fn after(&self) -> Result<Option<String>, ApiError> {
        let token = self.get("nextToken").filter(|token| !token.is_empty());
        token.map(page::after).transpose()
    }
}

/// Digits only: no sign, no space, no point.
pub(super) fn integer<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H-13: Dart writes a space as `+`, the others as `%20`.
    #[test]
    fn h_13_plus_and_escape_are_a_space() {
        for raw in ["topic=t%2Fo+p", "topic=t%2Fo%20p"] {
            assert_eq!(Query::parse(Some(raw)).unwrap().get("topic"), Some("t/o p"));
        }
    }

    #[test]
    fn the_last_of_repeated_parameters_wins() {
        let query = Query::parse(Some("&a=1&&b=x&a=2&%61=3&c&d=e=f&")).unwrap();
        assert_eq!(query.get("a"), Some("3"));
        assert_eq!(query.get("b"), Some("x"));
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get("d"), Some("e=f"));
        assert_eq!(query.get("e"), None);
    }

    /// Contract §5 rule 5.
    #[test]
    fn bad_escapes_other_bytes_and_nul_are_refused() {
        for raw in ["a=%", "a=%4", "a=%zz", "a=%FF", "a=%00", "%ff=1", "unknown=%"] {
            let refused = Query::parse(Some(raw)).err().map(|error| error.kind);
            assert_eq!(refused, Some(ErrorKind::InvalidRequest), "{raw}");
        }
    }

    #[test]
    fn booleans_are_read_in_any_case() {
        for (value, flag) in [
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("True", Some(true)),
            ("false", Some(false)),
            ("FALSE", Some(false)),
            ("", Some(false)),
            ("1", None),
            ("yes", None),
            ("true+", None),
        ] {
            let query = Query::parse(Some(&format!("f={value}"))).unwrap();
            assert_eq!(query.flag("f").ok(), flag, "{value}");
        }
        assert_eq!(Query::parse(None).unwrap().flag("f"), Ok(false));
    }

    /// Contract §5, the table's first two rows.
    #[test]
    fn values_are_escaped_as_the_sdks_do() {
        for (value, encoded) in [
            ("a/b c", "a%2Fb%20c"),
            ("ü~*()'!", "%C3%BC~%2A%28%29%27%21"),
            ("50%25", "50%2525"),
            ("#+x", "%23%2Bx"),
            ("a:b@c,d;e=f&g", "a%3Ab%40c%2Cd%3Be%3Df%26g"),
            ("$aws/x-._", "%24aws%2Fx-._"),
        ] {
            assert_eq!(encode(value), encoded);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::vec(
            ("[a-z]{1,3}", proptest::option::of("[^\0]{0,8}")), 0..5,
        )) {
            let mut writer = QueryWriter::default();
            for (name, value) in &pairs {
                writer = writer.add(name, value.as_deref());
            }
            let query = Query::parse(Some(&writer.into_string())).unwrap();
            for name in pairs.iter().map(|(name, _)| name) {
                let mut later = pairs.iter().rev();
                let last = later.find(|(known, value)| known == name && value.is_some());
                proptest::prop_assert_eq!(query.get(name), last.and_then(|(_, v)| v.as_deref()));
            }
        }

        #[test]
        fn any_query_is_answered(raw: String) {
            if let Ok(query) = Query::parse(Some(&raw)) {
                proptest::prop_assert!(query.0.iter().all(|(_, value)| !value.contains('\0')));
            }
        }
    }
}
