//! The reserved topics of shadows: `$aws/things/{thing}/shadow[/name/{shadow}]/…`. Contract §2.

use super::name::ShadowId;

/// What is asked of a shadow over MQTT.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ShadowOperation {
    /// `…/get`
    Get,
    /// `…/update`
    Update,
    /// `…/delete`
    Delete,
}

/// What the shadow service publishes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ShadowAnswer {
    /// `…/{operation}/accepted`
    Accepted(ShadowOperation),
    /// `…/{operation}/rejected`
    Rejected(ShadowOperation),
    /// `…/update/delta`
    Delta,
    /// `…/update/documents`
    Documents,
}

impl ShadowOperation {
    const ALL: [Self; 3] = [Self::Get, Self::Update, Self::Delete];

    /// The last level of its topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The shadow and the operation of a topic that requests are published to.
///
/// `None` for every other topic, and for names that are none: an empty name of a shadow is not the
/// classic shadow.
#[must_use]
pub fn parse_request_topic(topic: &str) -> Option<(ShadowId, ShadowOperation)> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once('/')?;
    let rest = rest.strip_prefix("shadow/")?;
    let (name, last) = match rest.strip_prefix("name/") {
        Some(rest) => rest.split_once('/').map(|(name, last)| (Some(name), last))?,
        None => (None, rest),
    };
    let operation = ShadowOperation::ALL.into_iter().find(|it| it.as_str() == last)?;
    ShadowId::new(thing, name).ok().map(|id| (id, operation))
}

/// The topic of an answer about the shadow `id`.
#[must_use]
pub fn answer_topic(id: &ShadowId, answer: ShadowAnswer) -> String {
    let mut topic = ["$aws/things/", id.thing(), "/shadow/"].concat();
    if let Some(name) = id.name() {
        topic.extend(["name/", name, "/"]);
    }
    let (operation, last) = match answer {
        ShadowAnswer::Accepted(operation) => (operation, "/accepted"),
        ShadowAnswer::Rejected(operation) => (operation, "/rejected"),
        ShadowAnswer::Delta => (ShadowOperation::Update, "/delta"),
        ShadowAnswer::Documents => (ShadowOperation::Update, "/documents"),
    };
    topic.extend([operation.as_str(), last]);
    topic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_topic() {
        for operation in ShadowOperation::ALL {
            let classic = format!("$aws/things/T:1/shadow/{}", operation.as_str());
            let id = ShadowId::new("T:1", None).unwrap();
            assert_eq!(parse_request_topic(&classic), Some((id, operation)));
            let named = format!("$aws/things/T/shadow/name/$s/{}", operation.as_str());
            let id = ShadowId::new("T", Some("$s")).unwrap();
            assert_eq!(parse_request_topic(&named), Some((id, operation)));
        }
        // A thing or a shadow may be called as a level is.
        let id = ShadowId::new("shadow", Some("name")).unwrap();
        let topic = "$aws/things/shadow/shadow/name/name/get";
        assert_eq!(parse_request_topic(topic), Some((id, ShadowOperation::Get)));
    }

    /// S-33: answers are no requests.
    #[test]
    fn other_topics_are_no_requests() {
        for topic in [
            "",
            "$aws/things/T/shadow",
            "$aws/things/T/shadow/",
            "$aws/things/T/shadow/GET",
            "$aws/things/T/shadow/get/",
            "$aws/things/T/shadow/get/accepted",
            "$aws/things/T/shadow/update/accepted",
            "$aws/things/T/shadow/name/get",
            "$aws/things/T/shadow/name//get",
            "$aws/things/T/shadow/name/a/b/get",
            "$aws/things/T/shadow/name/s/update/delta",
            "$aws/things//shadow/get",
            "$aws/things/a b/shadow/get",
            "$aws/things/T/Shadow/get",
            "$aws/things/T/jobs/get",
            "aws/things/T/shadow/get",
        ] {
            assert_eq!(parse_request_topic(topic), None, "{topic}");
        }
    }

    /// S-28.
    #[test]
    fn answers_go_below_the_topic_of_their_shadow() {
        let (classic, named) = (ShadowId::new("T", None), ShadowId::new("T", Some("s")));
        for (answer, last) in [
            (ShadowAnswer::Accepted(ShadowOperation::Get), "get/accepted"),
            (ShadowAnswer::Rejected(ShadowOperation::Get), "get/rejected"),
            (ShadowAnswer::Accepted(ShadowOperation::Update), "update/accepted"),
            (ShadowAnswer::Rejected(ShadowOperation::Update), "update/rejected"),
            (ShadowAnswer::Accepted(ShadowOperation::Delete), "delete/accepted"),
            (ShadowAnswer::Rejected(ShadowOperation::Delete), "delete/rejected"),
            (ShadowAnswer::Delta, "update/delta"),
            (ShadowAnswer::Documents, "update/documents"),
        ] {
            let topic = answer_topic(classic.as_ref().unwrap(), answer);
            assert_eq!(topic, format!("$aws/things/T/shadow/{last}"));
            let topic = answer_topic(named.as_ref().unwrap(), answer);
            assert_eq!(topic, format!("$aws/things/T/shadow/name/s/{last}"));
        }
    }
}
