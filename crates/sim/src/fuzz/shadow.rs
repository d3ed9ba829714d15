//! A device shadow: what its requests, its durable form and its topics can be.

use bitts_aws::shadow::{
    Rejection, Shadow, ShadowAnswer, ShadowId, ShadowLimits, answer_topic, parse_request_topic,
};
use serde_json::Value;

/// How much later it is after each byte of a `w`, in seconds: three of them are over 48 hours.
const WAIT_SECONDS: u64 = 60_000;

/// Steps with a zero byte between them: `u`, `g` and `d` and a payload, `w` and as many bytes as it
/// is later, `t` and a topic. Or `b` and a durable form, to the end.
///
/// A version rises by one, or begins again after 48 hours; what is refused changes nothing; answers
/// are JSON and agree; what is encoded is decoded to the same.
pub fn shadow(data: &[u8]) {
    if let Some(bytes) = data.strip_prefix(b"b") {
        return durable_form(bytes);
    }
    let mut world = World::default();
    for step in data.split(|byte| *byte == 0) {
        let Some((&kind, rest)) = step.split_first() else { continue };
        match kind {
            b'u' => world.update(rest),
            b'g' => assert_eq!(world.get(rest).is_some(), world.shadow.version().is_some()),
            b'd' => world.delete(rest),
            b'w' => world.now += WAIT_SECONDS * rest.len() as u64,
            b't' => topic(rest),
            _ => {}
        }
        assert_eq!(Shadow::decode(&world.shadow.encode()), Ok(world.shadow.clone()));
    }
}

#[derive(Default)]
struct World {
    now: u64,
    shadow: Shadow,
    /// The version that the next update follows.
    version: u64,
    /// The document as the last update showed it, null without one.
    document: Value,
    limits: ShadowLimits,
}

impl World {
    fn update(&mut self, payload: &[u8]) {
        let before = self.shadow.clone();
        let updated = match self.shadow.update(payload, self.now, &self.limits) {
            Ok(updated) => updated,
            Err(rejection) => return self.refused(&before, &rejection),
        };
        if before.is_forgotten(self.now) {
            self.version = 0;
        }
        self.version += 1;
        assert_eq!(updated.version, self.version);
        let (accepted, documents) = (json(&updated.accepted), json(&updated.documents));
        assert_eq!(accepted["version"], self.version);
        assert_eq!(documents["previous"], self.document);
        self.document = documents["current"].clone();
        let Some(mut shown) = self.get(b"") else { panic!("an updated shadow is gone") };
        let delta = updated.delta.as_deref().map(json);
        for member in ["state", "metadata"] {
            let shown = shown[member].as_object_mut().and_then(|shown| shown.remove("delta"));
            assert_eq!(shown.as_ref(), delta.as_ref().map(|delta| &delta[member]));
        }
        for member in ["state", "metadata", "version"] {
            assert_eq!(shown[member], self.document[member]);
        }
    }

    fn get(&mut self, payload: &[u8]) -> Option<Value> {
        match self.shadow.get(payload, self.now, &self.limits) {
            Ok(body) => Some(json(&body)),
            Err(rejection) => {
                self.refused(&self.shadow, &rejection);
                // A token that is none is refused before the shadow is looked for.
                self.shadow.get(b"", self.now, &self.limits).ok().map(|body| json(&body))
            }
        }
    }

    fn delete(&mut self, payload: &[u8]) {
        let before = self.shadow.clone();
        match self.shadow.delete(payload, self.now, &self.limits) {
            Ok(body) => {
                assert_eq!(json(&body)["version"], self.version);
                assert_eq!(self.shadow.version(), None);
                self.version += 1;
                self.document = Value::Null;
            }
            Err(rejection) => self.refused(&before, &rejection),
        }
    }

    fn refused(&self, before: &Shadow, rejection: &Rejection) {
        assert_eq!(&self.shadow, before);
        let code = rejection.error.code();
        assert!((400..500).contains(&code), "{rejection:?}");
        let Ok(id) = ShadowId::new("T", None) else { return };
        let body = json(&rejection.body(&id));
        assert_eq!(body["code"], code);
        assert_eq!(body["clientToken"].as_str(), rejection.client_token.as_deref());
    }
}

/// What is decoded is a shadow like any other.
fn durable_form(bytes: &[u8]) {
    let Ok(mut shadow) = Shadow::decode(bytes) else { return };
    assert_eq!(Shadow::decode(&shadow.encode()), Ok(shadow.clone()));
    let limits = ShadowLimits { document_bytes_max: usize::MAX, ..ShadowLimits::default() };
    if let Ok(body) = shadow.get(b"", 0, &limits) {
        json(&body);
    }
    if let Err(rejection) = shadow.update(br#"{"state":{}}"#, 0, &limits) {
        panic!("{rejection:?}");
    }
}

/// A request's topic is the beginning of its answers' topics.
fn topic(bytes: &[u8]) {
    let Ok(topic) = str::from_utf8(bytes) else { return };
    let Some((id, operation)) = parse_request_topic(topic) else { return };
    let answer = answer_topic(&id, ShadowAnswer::Accepted(operation));
    assert_eq!(answer.strip_suffix("/accepted"), Some(topic));
}

fn json(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => panic!("{error} in {}", String::from_utf8_lossy(bytes)),
    }
}
