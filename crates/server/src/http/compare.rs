//! `POST /bitts/v1/policy/compare`: what another version of a policy would change.
//!
//! Each thing that a client needed in the last hour, and that the policy takes part in, is decided
//! again as the candidate has it; what comes out otherwise is told. Nothing changes by it.

use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::policy::{
    Action, Arn, ArnScope, Context, MqttConnection, Origin, Request, ResourceKind,
};
use bitts_aws::registry::{Candidate, Grant, Registry};
use bitts_broker::command::{Command, Reply};
use bitts_broker::{Need, NeededAction};
use serde::{Deserialize, Serialize};

use super::Front;
use super::answer::{Answer, Trace};
use super::data_plane::unavailable;

/// Differences that an answer lists.
const LISTED_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    policy_name: String,
    policy_document: String,
}

/// A thing that would be decided otherwise.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    client_id: String,
    principal_identifier: String,
    action: &'static str,
    resource: String,
    before: &'static str,
    after: &'static str,
    last_asked: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Comparison {
    /// Decisions of the last hour that the policy takes part in.
    compared: usize,
    /// Of these, how many would be another.
    different: usize,
    /// The first of them.
    differences: Vec<Difference>,
}

impl Front {
    pub(super) async fn compare_policy(
        &self,
        body: &[u8],
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let invalid = |message: String| ApiError::new(ErrorKind::InvalidRequest, message);
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|_| invalid("The body is policyName and policyDocument as JSON".to_owned()))?;
        let registry = self.directory.current();
        let candidate = Candidate::new(&registry, &asked.policy_name, &asked.policy_document)
            .map_err(|error| invalid(format!("Malformed policy: {error}")))?;
        let replies = self.mesh.call_all(Command::Needs).await.ok_or_else(unavailable)?;
        let mut found = Comparison { compared: 0, different: 0, differences: Vec::new() };
        for reply in replies {
            let Reply::Needs(needs) = reply else { continue };
            for need in needs {
                compare(&registry, &candidate, &need, &mut found);
            }
        }
        Ok(Answer::json(&found, trace))
    }
}

fn compare(registry: &Registry, candidate: &Candidate, need: &Need, into: &mut Comparison) {
    let grant = registry.grant(&need.identity, Some(&need.client_id), Some(need.asked_unix_ms));
    let Ok(grant) = grant else { return };
    let Some(changed) = candidate.within(&grant) else { return };
    into.compared += 1;
    let (before, resource) = decide(registry.scope(), &grant, need);
    let (after, _) = decide(registry.scope(), &changed, need);
    if before == after {
        return;
    }
    into.different += 1;
    if into.differences.len() < LISTED_MAX {
        into.differences.push(Difference {
            client_id: need.client_id.to_string(),
            principal_identifier: grant.principal_identifier,
            action: match need.action {
                NeededAction::Connect { .. } => "iot:Connect",
                NeededAction::Plain(kind, _) => kind.name(),
            },
            resource: resource.as_str().to_owned(),
            before,
            after,
            last_asked: need.asked_unix_ms,
        });
    }
}

fn decide(scope: &ArnScope, grant: &Grant, need: &Need) -> (&'static str, Arn) {
    let connection =
        MqttConnection { client_id: need.client_id.to_string(), thing: grant.thing.clone() };
    let origin = Origin::new(need.source, need.local_port, need.is_secure);
    let context = Context {
        principal: &grant.principal,
        connection: Some(&connection),
        origin: Some(&origin),
        unix_seconds: Some(need.asked_unix_ms / 1_000),
    };
    let (will_topic, kind) = match &need.action {
        NeededAction::Connect { will_topic, .. } => {
            let topic = will_topic.as_ref().map(|topic| scope.arn(ResourceKind::Topic, topic));
            (topic, ResourceKind::Client)
        }
        NeededAction::Plain(_, kind) => (None, *kind),
    };
    let action = match &need.action {
        NeededAction::Connect { persistent, .. } => {
            Action::Connect { persistent: *persistent, will_topic: will_topic.as_ref() }
        }
        NeededAction::Plain(kind, _) => Action::Plain(*kind),
    };
    let resource = scope.arn(kind, &need.name);
    let request = Request { action, resource: Some(&resource), context };
    (grant.rights.authority().decide(&request).as_str(), resource)
}
