//! Which client ids and topics an operation takes. Contract §9 and `mqtt-broker.md` §11.

use crate::error::{ApiError, ErrorKind};

/// Bytes of a client id. AWS's model counts characters, its limits count bytes.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// Bytes of a topic, without `$aws/rules/{rule}/`.
const TOPIC_BYTES_MAX: usize = 256;

/// Slashes of a topic, without those of `$aws/rules/{rule}/`.
const TOPIC_SLASHES_MAX: usize = 7;

/// Bytes of `{rule}`.
const RULE_NAME_BYTES_MAX: usize = 128;

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

/// A client id that an operation may name.
pub(super) fn check_client_id(client_id: &str) -> Result<(), ApiError> {
    if client_id.is_empty() {
        Err(invalid("The client ID is empty"))
    } else if client_id.len() > CLIENT_ID_BYTES_MAX {
        Err(invalid("The client ID is longer than 128 bytes"))
    } else if client_id.starts_with('$') {
        Err(invalid("The client ID begins with $"))
    } else if client_id.contains('\0') {
        Err(invalid("The client ID contains a NUL"))
    } else {
        Ok(())
    }
}

/// A topic name within AWS's limits, reserved or not.
pub(super) fn check_topic(topic: &str) -> Result<(), ApiError> {
    let counted = match basic_ingest(topic) {
        Some((rule, rest)) => {
            if rule.is_empty() || rule.len() > RULE_NAME_BYTES_MAX {
                return Err(invalid("The rule name is empty or longer than 128 bytes"));
            }
            rest
        }
        None => topic,
    };
    if topic.is_empty() {
        Err(invalid("The topic is empty"))
    } else if topic.contains(['+', '#']) {
        Err(invalid("The topic contains a wildcard"))
    } else if topic.contains('\0') {
        Err(invalid("The topic contains a NUL"))
    } else if counted.len() > TOPIC_BYTES_MAX {
        Err(invalid("The topic is longer than 256 bytes"))
    } else if counted.bytes().filter(|&byte| byte == b'/').count() > TOPIC_SLASHES_MAX {
        Err(invalid("The topic has more than 7 slashes"))
    } else {
        Ok(())
    }
}

/// A topic that a message may be published to.
pub(super) fn check_publish_topic(topic: &str, retain: bool) -> Result<(), ApiError> {
    check_topic(topic)?;
    if !topic.starts_with('$') {
        Ok(())
    } else if !is_reserved_for_publish(topic) {
        Err(invalid("The topic is reserved"))
    } else if retain {
        Err(invalid("A message to a reserved topic cannot be retained"))
    } else {
        Ok(())
    }
}

/// A Response Topic: 1 to 256 bytes, no wildcard, no NUL.
pub(super) fn check_response_topic(topic: &str) -> Result<(), ApiError> {
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        Err(invalid("responseTopic has 1 to 256 bytes"))
    } else if topic.contains(['+', '#', '\0']) {
        Err(invalid("responseTopic contains a wildcard or a NUL"))
    } else {
        Ok(())
    }
}

/// Rule and topic of Basic Ingest, `$aws/rules/{rule}[/{topic}]`.
fn basic_ingest(topic: &str) -> Option<(&str, &str)> {
    let rest = topic.strip_prefix("$aws/rules/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Whether a client may publish to this topic under `$`.
fn is_reserved_for_publish(topic: &str) -> bool {
    if basic_ingest(topic).is_some() {
        return true;
    }
    let Some(topic) = topic.strip_prefix("$aws/") else { return false };
    let levels: Vec<&str> = topic.split('/').collect();
    let known = matches!(
        levels[..],
        ["things", _, "shadow", "get" | "update" | "delete"]
            | ["things", _, "shadow", "name", _, "get" | "update" | "delete"]
            | ["things", _, "jobs", "get" | "start-next"]
            | ["things", _, "jobs", _, "get" | "update"]
            | ["things", _, "defender", "metrics", "json" | "cbor"]
            | ["things", _, "streams", _, "get" | "describe", "json" | "cbor"]
            | ["certificates", "create" | "create-from-csr", "json" | "cbor"]
            | ["provisioning-templates", _, "provision", "json" | "cbor"]
            | ["commands", "things" | "clients", _, "executions", _, "response", "json" | "cbor"]
    );
    known && levels.iter().all(|level| !level.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<(), ApiError>) -> bool {
        result.is_err_and(|error| error.kind == ErrorKind::InvalidRequest)
    }

    /// Contract §9, row 1; H-3.
    #[test]
    fn client_ids_are_not_empty_not_long_and_not_generated() {
        let longest = "x".repeat(128);
        for id in ["a", "a/b c", "ü", "a$", "+", "#", " ", longest.as_str()] {
            assert_eq!(check_client_id(id), Ok(()), "{id}");
        }
        let long = "x".repeat(129);
        // 65 characters, 130 bytes.
        let umlauts = "ü".repeat(65);
        for id in ["", "$", "$x", "$GEN/1", "a\0", long.as_str(), umlauts.as_str()] {
            assert!(refused(check_client_id(id)), "{id}");
        }
    }

    /// Contract §9, row 3; H-7.
    #[test]
    fn topics_keep_their_limits() {
        let longest = "x".repeat(256);
        let longest_behind_rule = format!("$aws/rules/r/{longest}");
        for topic in [
            "a",
            "/",
            "a//b",
            " ",
            "1/2/3/4/5/6/7/8",
            "$aws/rules/r",
            "$aws/rules/r/",
            "$aws/rules/r/1/2/3/4/5/6/7/8",
            "$aws/whatever",
            longest.as_str(),
            longest_behind_rule.as_str(),
        ] {
            assert_eq!(check_topic(topic), Ok(()), "{topic}");
        }
        let long = "x".repeat(257);
        let long_behind_rule = format!("$aws/rules/r/{long}");
        let long_rule = format!("$aws/rules/{}/x", "r".repeat(129));
        for topic in [
            "",
            "+",
            "a/#",
            "a+b",
            "a\0b",
            "1/2/3/4/5/6/7/8/9",
            "$aws/rules/r/1/2/3/4/5/6/7/8/9",
            "$aws/rules/",
            "$aws/rules//x",
            "$aws/rules/+/x",
            long.as_str(),
            long_behind_rule.as_str(),
            long_rule.as_str(),
        ] {
            assert!(refused(check_topic(topic)), "{topic}");
        }
    }

    /// Contract §9, row 4; `mqtt-broker.md` §11.
    #[test]
    fn only_the_supported_reserved_topics_are_published_to() {
        for topic in [
            "$aws/things/t/shadow/get",
            "$aws/things/t/shadow/name/s/update",
            "$aws/things/t/jobs/start-next",
            "$aws/things/t/jobs/$next/get",
            "$aws/things/t/jobs/id/update",
            "$aws/certificates/create/json",
            "$aws/certificates/create-from-csr/cbor",
            "$aws/provisioning-templates/n/provision/json",
            "$aws/rules/r/a",
            "$aws/things/t/defender/metrics/json",
            "$aws/things/t/streams/i/describe/cbor",
            "$aws/commands/things/t/executions/e/response/json",
        ] {
            assert_eq!(check_publish_topic(topic, false), Ok(()), "{topic}");
        }
        for topic in [
            "$",
            "$aws",
            "$aws/",
            "$aws/x",
            "$SYS/x",
            "$share/g/x",
            "$aws/rules",
            "$aws/events/presence/connected/x",
            "$aws/things/t/shadow/get/accepted",
            "$aws/things//shadow/get",
            "$aws/things/t/jobs/notify",
        ] {
            assert!(refused(check_publish_topic(topic, false)), "{topic}");
        }
    }

    /// Contract §9, row 5.
    #[test]
    fn reserved_topics_retain_nothing() {
        assert!(refused(check_publish_topic("$aws/rules/r/a", true)));
        assert!(refused(check_publish_topic("$aws/things/t/shadow/get", true)));
        assert_eq!(check_publish_topic("a/$", true), Ok(()));
    }

    /// Contract §8.
    #[test]
    fn response_topics_are_topic_names() {
        assert_eq!(check_response_topic("a/b"), Ok(()));
        assert_eq!(check_response_topic(&"x".repeat(256)), Ok(()));
        for topic in ["", "a/+", "#", "a\0", &"x".repeat(257)] {
            assert!(refused(check_response_topic(topic)), "{topic}");
        }
    }
}
