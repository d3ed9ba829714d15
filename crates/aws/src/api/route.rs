//! Which operation a request is, and the one name in its path.
//!
//! The raw path is split at `/` first and each label is decoded exactly once, so `%2F` never
//! separates, `//` never collapses and `.` is a name like any other. Contract §2 and §5.

use percent_encoding::percent_decode_str;

use crate::error::{ApiError, ErrorKind};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// An operation of the data plane.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The one with AWS's name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|operation| operation.name() == name)
            }

            /// AWS's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

operations! {
    /// `DELETE /connections/{clientId}`
    DeleteConnection;
    /// `GET /connections/{clientId}`
    GetConnection;
    /// `GET /connections/{clientId}/subscriptions`
    ListSubscriptions;
    /// `POST /connections/{clientId}/messages`
    SendDirectMessage;
    /// `POST /topics/{topic}`
    Publish;
    /// `GET /retainedMessage/{topic}`
    GetRetainedMessage;
    /// `GET /retainedMessage`
    ListRetainedMessages;
    /// `GET /things/{thingName}/shadow`
    GetThingShadow;
    /// `POST /things/{thingName}/shadow`
    UpdateThingShadow;
    /// `DELETE /things/{thingName}/shadow`
    DeleteThingShadow;
    /// `GET /api/things/shadow/ListNamedShadowsForThing/{thingName}`
    ListNamedShadowsForThing;
}

/// An operation and the name in its path: enough to ask for permission.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Which operation.
    pub operation: Operation,
    /// The client id, topic or thing name, decoded once and not yet validated; empty for
    /// [`Operation::ListRetainedMessages`].
    pub name: String,
}

/// Why a request is no operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteError {
    /// Not a path of the data plane.
    UnknownPath,
    /// A path of the data plane, with another verb.
    Method,
    /// A bad escape, bytes that are not UTF-8, or a NUL.
    Invalid,
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::UnknownPath => Self::new(ErrorKind::ResourceNotFound, "No such path"),
            RouteError::Method => {
                Self::new(ErrorKind::MethodNotAllowed, "The path does not know this method")
            }
            RouteError::Invalid => {
                Self::new(ErrorKind::InvalidRequest, "The path is not percent-encoded UTF-8")
            }
        }
    }
}

/// The operation of a request line. `raw_path` is as it came, without `?` and what follows.
pub fn route(method: &str, raw_path: &str) -> Result<Route, RouteError> {
    let (operations, label) = resource(raw_path).ok_or(RouteError::UnknownPath)?;
    let (_, operation) =
        operations.iter().copied().find(|&(verb, _)| verb == method).ok_or(RouteError::Method)?;
    let name = decode(label).ok_or(RouteError::Invalid)?;
    Ok(Route { operation, name })
}

/// The verbs that a path knows, and the label that holds its name.
fn resource(raw_path: &str) -> Option<(&'static [(&'static str, Operation)], &str)> {
    use Operation as O;

    let path = raw_path.strip_prefix('/')?;
    // Greedy: AWS's own sample posts topics unencoded.
    if let Some(topic) = path.strip_prefix("topics/") {
        return Some((&[("POST", O::Publish)], topic));
    }
    let mut labels = path.split('/');
    // One more than the longest path has, so that a longer one matches nothing.
    let labels: [Option<&str>; 6] = std::array::from_fn(|_| labels.next());
    match labels {
        [Some("connections"), Some(id), None, ..] => {
            Some((&[("DELETE", O::DeleteConnection), ("GET", O::GetConnection)], id))
        }
        [Some("connections"), Some(id), Some("subscriptions"), None, ..] => {
            Some((&[("GET", O::ListSubscriptions)], id))
        }
        [Some("connections"), Some(id), Some("messages"), None, ..] => {
            Some((&[("POST", O::SendDirectMessage)], id))
        }
        [Some("retainedMessage"), None, ..] => Some((&[("GET", O::ListRetainedMessages)], "")),
        [Some("retainedMessage"), Some(topic), None, ..] => {
            Some((&[("GET", O::GetRetainedMessage)], topic))
        }
        [Some("things"), Some(thing), Some("shadow"), None, ..] => Some((
            &[
                ("GET", O::GetThingShadow),
                ("POST", O::UpdateThingShadow),
                ("DELETE", O::DeleteThingShadow),
            ],
            thing,
        )),
        [
            Some("api"),
            Some("things"),
            Some("shadow"),
            Some("ListNamedShadowsForThing"),
            Some(thing),
            None,
        ] => Some((&[("GET", O::ListNamedShadowsForThing)], thing)),
        _ => None,
    }
}

/// `text` with its escapes decoded once; `None` for a bad escape, for what is not UTF-8 and for
/// a NUL.
pub(crate) fn decode(text: &str) -> Option<String> {
    let escaped = text.split('%').skip(1);
    for digits in escaped.map(str::as_bytes) {
        let [high, low, ..] = digits else { return None };
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return None;
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (!decoded.contains('\0')).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: &str, path: &str) -> Result<(Operation, String), RouteError> {
        route(method, path).map(|route| (route.operation, route.name))
    }

    /// Contract §2.
    #[test]
    fn every_operation_has_its_path_and_verb() {
        for (method, path, operation, name) in [
            ("DELETE", "/connections/c", Operation::DeleteConnection, "c"),
            ("GET", "/connections/c", Operation::GetConnection, "c"),
            ("GET", "/connections/c/subscriptions", Operation::ListSubscriptions, "c"),
            ("POST", "/connections/c/messages", Operation::SendDirectMessage, "c"),
            ("POST", "/topics/t", Operation::Publish, "t"),
            ("GET", "/retainedMessage/t", Operation::GetRetainedMessage, "t"),
            ("GET", "/retainedMessage", Operation::ListRetainedMessages, ""),
            ("GET", "/things/T%3A1/shadow", Operation::GetThingShadow, "T:1"),
            ("POST", "/things/T/shadow", Operation::UpdateThingShadow, "T"),
            ("DELETE", "/things/T/shadow", Operation::DeleteThingShadow, "T"),
            (
                "GET",
                "/api/things/shadow/ListNamedShadowsForThing/T",
                Operation::ListNamedShadowsForThing,
                "T",
            ),
        ] {
            assert_eq!(routed(method, path), Ok((operation, name.to_owned())), "{method} {path}");
            for verb in ["HEAD", "OPTIONS", "PUT", "get"] {
                assert_eq!(route(verb, path), Err(RouteError::Method), "{verb} {path}");
            }
        }
    }

    /// H-1, the path's part.
    #[test]
    fn h_01_the_client_id_is_decoded() {
        let expected = Ok((Operation::DeleteConnection, "a/b c".to_owned()));
        assert_eq!(routed("DELETE", "/connections/a%2Fb%20c"), expected);
    }

    /// H-5 and §5 rule 3: `/topics/` is greedy.
    #[test]
    fn h_05_an_unencoded_topic_is_the_same_topic() {
        for path in ["/topics/a%2Fb%2Fc", "/topics/a/b/c", "/topics/a/b%2Fc"] {
            assert_eq!(routed("POST", path), Ok((Operation::Publish, "a/b/c".to_owned())));
        }
    }

    /// H-6 and §5 rule 1: one decoding.
    #[test]
    fn h_06_a_name_is_decoded_once() {
        let topic = Ok((Operation::Publish, "a%2Fb".to_owned()));
        assert_eq!(routed("POST", "/topics/a%252Fb"), topic);
        let id = Ok((Operation::GetConnection, "a%2Fb".to_owned()));
        assert_eq!(routed("GET", "/connections/a%252Fb"), id);
    }

    /// H-12, the router's part.
    #[test]
    fn h_12_another_verb_on_a_retained_message() {
        assert_eq!(route("PUT", "/retainedMessage/x"), Err(RouteError::Method));
        let found = Ok((Operation::GetRetainedMessage, "a/b".to_owned()));
        assert_eq!(routed("GET", "/retainedMessage/a%2Fb"), found);
    }

    /// §5 rule 2.
    #[test]
    fn slashes_never_collapse_and_dots_are_names() {
        for (path, topic) in [
            ("/topics//lead", "/lead"),
            ("/topics/trail/", "trail/"),
            ("/topics/a//b", "a//b"),
            ("/topics/a%2F%2Fb", "a//b"),
            ("/topics/../a/.", "../a/."),
            ("/topics/", ""),
        ] {
            assert_eq!(routed("POST", path), Ok((Operation::Publish, topic.to_owned())), "{path}");
        }
        for (path, id) in
            [("/connections/..", ".."), ("/connections/", ""), ("/connections/a+b", "a+b")]
        {
            assert_eq!(routed("GET", path), Ok((Operation::GetConnection, id.to_owned())));
        }
        let no_name = Ok((Operation::ListSubscriptions, String::new()));
        assert_eq!(routed("GET", "/connections//subscriptions"), no_name);
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "",
            "/",
            "*",
            "connections/c",
            "//connections/c",
            "/connections",
            "/Connections/c",
            "/connections/a/b",
            "/connections/c/",
            "/connections/c/subscriptions/",
            "/topics",
            "/retainedMessage/a/b",
            "/things/T",
            "/things/T/shadow/x",
            "/api/things/shadow/ListNamedShadowsForThing",
            "/api/things/shadow/ListNamedShadowsForThing/T/",
            "/api/things/shadow/ListNamedShadowsForThing/T/x/y",
        ] {
            for method in ["GET", "DELETE", "POST", "HEAD"] {
                assert_eq!(route(method, path), Err(RouteError::UnknownPath), "{method} {path}");
            }
        }
    }

    /// §5 rule 5.
    #[test]
    fn bad_escapes_other_bytes_and_nul_are_invalid() {
        for label in ["%", "%2", "a%zz", "%2%66", "%ü1", "%FF", "%C3", "%00", "a\0b", "%+1"] {
            let path = format!("/connections/{label}");
            assert_eq!(route("GET", &path), Err(RouteError::Invalid), "{label}");
        }
    }

    #[test]
    fn route_errors_are_404_405_and_400() {
        for (error, status) in
            [(RouteError::UnknownPath, 404), (RouteError::Method, 405), (RouteError::Invalid, 400)]
        {
            assert_eq!(ApiError::from(error).kind.status(), status);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_request_line_is_answered(method: String, path: String) {
            let _: Result<Route, RouteError> = route(&method, &path);
        }

        #[test]
        fn a_decoded_name_holds_no_nul(label in "[%0-9a-fA-F]{0,12}") {
            if let Some(name) = decode(&label) {
                proptest::prop_assert!(!name.contains('\0'));
            }
        }
    }
}
