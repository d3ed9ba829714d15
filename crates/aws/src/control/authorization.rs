//! What would be allowed, and why: TestAuthorization, GetEffectivePolicies and `policy/check`.
//!
//! All ask the engine that decides for real. DescribeEndpoint is here for want of a place.

use std::sync::Arc;

use serde_json::{Value, json};

use super::input::{Input, Members};
use super::target::{principal_key, shown};
use super::{ControlError, Given, policy};
use crate::policy::{
    Action, ActionKind, Arn, Context, Decision, Explanation, Finding, MqttConnection, Origin,
    Policy, Principal, Request, explain,
};
use crate::registry::{Registry, named};

/// Requests of one TestAuthorization.
const AUTH_INFOS_MAX: usize = 10;

/// Where clients find everything: where the caller found this.
pub(super) fn describe_endpoint(
    _: &Registry,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    match input.text("endpointType")? {
        None | Some("iot:Data" | "iot:Data-ATS" | "iot:CredentialProvider" | "iot:Jobs") => {
            Ok(json!({ "endpointAddress": given.endpoint }))
        }
        Some(_) => {
            let message = "endpointType is iot:Data, iot:Data-ATS, iot:CredentialProvider or \
                           iot:Jobs";
            Err(ControlError::invalid(message))
        }
    }
}

/// Somebody whose rights are asked about.
struct Subject {
    principal: Principal,
    policies: Vec<Arc<Policy>>,
    connection: Option<MqttConnection>,
    /// Whether everything is allowed whatever the policies say.
    is_unrestricted: bool,
}

impl Subject {
    /// A principal's rights under a Client Identifier, whatever its status.
    fn of(
        registry: &Registry,
        principal: Option<&str>,
        client_id: Option<&str>,
    ) -> Result<Self, ControlError> {
        let mut subject = Self {
            principal: Principal::Unnamed,
            policies: Vec::new(),
            connection: client_id
                .map(|id| MqttConnection { client_id: id.to_owned(), thing: None }),
            is_unrestricted: false,
        };
        let Some(text) = principal else { return Ok(subject) };
        let key = principal_key(registry, text)?;
        match key.split_once('/') {
            Some(("accesskey", id)) => {
                registry.collect(&key, &mut subject.policies);
                if let Some(found) = registry.access_key(id) {
                    let user = found.user_name.as_deref();
                    subject.principal =
                        user.map_or(Principal::Unnamed, |it| Principal::User(it.into()));
                    subject.is_unrestricted = found.is_admin
                        || (subject.policies.is_empty()
                            && !found.is_bound
                            && !registry.settings.binds_keys_without_policies);
                }
                return Ok(subject);
            }
            Some(("cert", id)) => {
                if let Some(found) = named(&registry.certificates, id) {
                    let certificate = found.facts.for_policies(id);
                    subject.principal = Principal::Certificate(Box::new(certificate));
                }
            }
            Some(("user", name)) => subject.principal = Principal::User(name.into()),
            Some(_) | None => {}
        }
        let bound = registry.bound(&key, client_id);
        subject.policies = bound.policies;
        if let Some(connection) = &mut subject.connection {
            connection.thing = bound.thing;
        }
        Ok(subject)
    }

    fn explain<'a>(
        &'a self,
        action: Action<'a>,
        resource: Option<&'a Arn>,
        origin: Option<&'a Origin>,
        given: &Given,
    ) -> Explanation<'a> {
        let context = Context {
            principal: &self.principal,
            connection: self.connection.as_ref(),
            origin,
            unix_seconds: Some(given.unix_ms / 1000),
        };
        let mut explanation = explain(&self.policies, &Request { action, resource, context });
        if self.is_unrestricted {
            explanation.decision = Decision::Unrestricted;
        }
        explanation
    }
}

/// What several resources decide together: one denial denies.
fn worse<'a>(one: Decision<'a>, other: Decision<'a>) -> Decision<'a> {
    match (one, other) {
        (deny @ Decision::ExplicitDeny(_), _) | (_, deny @ Decision::ExplicitDeny(_)) => deny,
        (Decision::ImplicitDeny, _) | (_, Decision::ImplicitDeny) => Decision::ImplicitDeny,
        (allowed, _) => allowed,
    }
}

/// TestAuthorization: each of `authInfos`, decided.
pub(super) fn test(
    registry: &Registry,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let mut subject = Subject::of(registry, input.text("principal")?, input.text("clientId")?)?;
    for name in input.body().texts("policyNamesToAdd")? {
        policy::found(registry, name)?;
        let added =
            registry.policy(name).filter(|it| !subject.policies.iter().any(|k| Arc::ptr_eq(k, it)));
        subject.policies.extend(added.cloned());
    }
    let skipped = input.body().texts("policyNamesToSkip")?;
    subject.policies.retain(|policy| !skipped.contains(&policy.name()));
    let infos = input.body().objects("authInfos")?;
    if !(1..=AUTH_INFOS_MAX).contains(&infos.len()) {
        return Err(ControlError::invalid(format!("authInfos has 1 to {AUTH_INFOS_MAX}")));
    }
    let results = infos.iter().map(|info| test_one(registry, &subject, info, given));
    Ok(json!({ "authResults": results.collect::<Result<Vec<_>, _>>()? }))
}

fn test_one(
    registry: &Registry,
    subject: &Subject,
    info: &Members,
    given: &Given,
) -> Result<Value, ControlError> {
    let action_type = info.text("actionType")?.unwrap_or_default();
    let action = match action_type {
        "CONNECT" => Action::Connect { persistent: false, will_topic: None },
        "PUBLISH" => Action::Plain(ActionKind::Publish),
        "SUBSCRIBE" => Action::Plain(ActionKind::Subscribe),
        "RECEIVE" => Action::Plain(ActionKind::Receive),
        _ => {
            let message = "actionType is PUBLISH, SUBSCRIBE, RECEIVE or CONNECT";
            return Err(ControlError::invalid(message));
        }
    };
    let resources = info.texts("resources")?;
    let parsed = resources.iter().map(|text| arn(text)).collect::<Result<Vec<_>, _>>()?;
    let mut overall = None;
    let mut missing = Vec::new();
    let mut allowing = Vec::new();
    for resource in &parsed {
        let found = subject.explain(action, Some(resource), None, given);
        missing.extend(found.missing_context_values.iter().map(|name| (*name).to_owned()));
        if let Decision::Allowed(decider) = found.decision {
            allowing.push(decider.policy.name().to_owned());
        }
        overall = Some(match overall {
            None => found.decision,
            Some(before) => worse(before, found.decision),
        });
    }
    let overall = overall.ok_or_else(|| ControlError::invalid("resources is empty"))?;
    missing.sort_unstable();
    missing.dedup();
    allowing.dedup();
    let listed = |names: Vec<String>| {
        let names = names.iter().map(|name| policy::listed(registry, name));
        json!({ "policies": names.collect::<Vec<_>>() })
    };
    let of_subject = || subject.policies.iter().map(|policy| policy.name().to_owned()).collect();
    let (allowed, denied) = match overall {
        Decision::Allowed(_) | Decision::Unrestricted => (Some(listed(allowing)), None),
        Decision::ExplicitDeny(decider) => {
            let by = listed(vec![decider.policy.name().to_owned()]);
            (None, Some(json!({ "explicitDeny": by })))
        }
        Decision::ImplicitDeny => (None, Some(json!({ "implicitDeny": listed(of_subject()) }))),
    };
    Ok(json!({
        "authInfo": { "actionType": action_type, "resources": resources },
        "allowed": allowed,
        "denied": denied,
        "authDecision": overall.as_str(),
        "missingContextValues": missing,
    }))
}

fn arn(text: &str) -> Result<Arn, ControlError> {
    Arn::parse(text).map_err(|why| ControlError::invalid(format!("A resource is no ARN: {why}")))
}

/// The policies of a principal and of the groups of a thing.
pub(super) fn effective_policies(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let mut found = Vec::new();
    if let Some(principal) = input.text("principal")? {
        registry.collect(&principal_key(registry, principal)?, &mut found);
    }
    if let Some(thing) = input.text("thingName")? {
        super::thing::found(registry, thing)?;
        registry.collect_of_thing(thing, &mut found);
    }
    let effective = found.iter().map(|policy| {
        let name = policy.name();
        let record = named(&registry.policies, name);
        let version = record.and_then(|record| record.versions.get(&record.default_version));
        let mut listed = policy::listed(registry, name);
        if let (Some(members), Some(version)) = (listed.as_object_mut(), version) {
            members.insert("policyDocument".to_owned(), version.document.clone().into());
        }
        listed
    });
    Ok(json!({ "effectivePolicies": effective.collect::<Vec<_>>() }))
}

/// `POST /bitts/v1/policy/check`: one request, decided for a principal, for a document, or for a
/// principal as if a document were a policy of it.
pub(super) fn check(
    registry: &Registry,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let principal = input.text("principal")?;
    let document = input.text("policyDocument")?;
    if principal.is_none() && document.is_none() {
        return Err(ControlError::invalid("principal or policyDocument is missing"));
    }
    let mut subject = Subject::of(registry, principal, input.text("clientId")?)?;
    if let Some(document) = document {
        let name = input.text("policyName")?.unwrap_or("candidate");
        let candidate = policy::compile(registry, name, 0, document)?;
        subject.policies.retain(|policy| policy.name() != name);
        subject.policies.push(candidate);
        subject.is_unrestricted = false;
    }
    let context = input.body().members("context")?;
    let resource = input.text("resource")?.filter(|text| *text != "*").map(arn).transpose()?;
    let will = context.text("willTopic")?;
    let will = will.map(|topic| registry.scope.arn(crate::policy::ResourceKind::Topic, topic));
    let action = action(input.needed("action")?, &context, will.as_ref())?;
    let origin = origin(&context)?;
    let found = subject.explain(action, resource.as_ref(), origin.as_ref(), given);
    Ok(json!({
        "principal": principal.map(|text| principal_key(registry, text)).transpose()?
            .map(|key| shown(registry, &key)),
        "action": action.name(),
        "resource": resource.as_ref().map_or("*", Arn::as_str),
        "decision": found.decision.as_str(),
        "decidedBy": decider(&found.decision),
        "isUnrestricted": matches!(found.decision, Decision::Unrestricted),
        "statements": found.statements.iter().map(statement).collect::<Vec<_>>(),
        "missingContextValues": found.missing_context_values,
    }))
}

fn action<'a>(
    name: &'a str,
    context: &'a Members,
    will_topic: Option<&'a Arn>,
) -> Result<Action<'a>, ControlError> {
    let is = |kind: ActionKind| kind.name().eq_ignore_ascii_case(name);
    Ok(if is(ActionKind::Connect) {
        let persistent = context.choice("persistentConnect")?.unwrap_or_default();
        Action::Connect { persistent, will_topic }
    } else if is(ActionKind::GetConnection) {
        let with = context.choice("includeSocketInformation")?.unwrap_or_default();
        Action::GetConnection { include_socket_information: with }
    } else if is(ActionKind::SendDirectMessage) {
        Action::SendDirectMessage { topic: context.text("topic")?.unwrap_or_default() }
    } else if name
        .split_once(':')
        .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
    {
        Action::Named(name)
    } else {
        return Err(ControlError::invalid("action is SERVICE:ACTION, such as iot:Publish"));
    })
}

fn origin(context: &Members) -> Result<Option<Origin>, ControlError> {
    let Some(address) = context.text("sourceIp")? else { return Ok(None) };
    let address = address.parse().map_err(|_| ControlError::invalid("sourceIp is no address"))?;
    let is_secure = context.choice("secureTransport")?.unwrap_or(true);
    let origin = Origin::new(address, 8883, is_secure);
    Ok(Some(match context.text("domainName")? {
        Some(name) => origin.with_domain_name(name),
        None => origin,
    }))
}

fn decider(decision: &Decision<'_>) -> Option<Value> {
    match decision {
        Decision::Allowed(by) | Decision::ExplicitDeny(by) => Some(json!({
            "policyName": by.policy.name(),
            "policyVersionId": by.policy.version_id().to_string(),
            "statement": by.statement,
            "sid": by.sid(),
        })),
        Decision::Unrestricted | Decision::ImplicitDeny => None,
    }
}

fn statement(found: &crate::policy::StatementFinding<'_>) -> Value {
    let (finding, operator, key) = match found.finding {
        Finding::Matches => ("matches", None, None),
        Finding::OtherAction => ("otherAction", None, None),
        Finding::OtherResource => ("otherResource", None, None),
        Finding::ConditionFails { operator, key } => ("conditionFails", Some(operator), Some(key)),
    };
    json!({
        "policyName": found.statement.policy.name(),
        "policyVersionId": found.statement.policy.version_id().to_string(),
        "statement": found.statement.statement,
        "sid": found.statement.sid(),
        "effect": format!("{:?}", found.effect),
        "finding": finding,
        "operator": operator,
        "key": key,
    })
}
