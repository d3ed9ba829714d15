//! Policies and their versions.
//!
//! A document is compiled before it is kept; one that cannot be is refused with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::input::Input;
use super::page::Page;
use super::target::arn;
use super::{ControlError, ControlErrorKind, Given, check_room, seconds, tag};
use crate::policy::{Policy, ResourceKind, is_policy_name};
use crate::registry::{Draft, PolicyRecord, PolicyVersion, Registry, named};

pub(super) fn found<'a>(
    registry: &'a Registry,
    name: &str,
) -> Result<&'a PolicyRecord, ControlError> {
    named(&registry.policies, name).ok_or_else(|| ControlError::not_found("policy", name))
}

/// A document, compiled.
pub(super) fn compile(
    registry: &Registry,
    name: &str,
    version: u32,
    document: &str,
) -> Result<Arc<Policy>, ControlError> {
    let compiled = Policy::parse(name, version, document, &registry.limits.policy);
    compiled.map(Arc::new).map_err(|malformed| {
        ControlError::new(ControlErrorKind::MalformedPolicy, malformed.to_string())
    })
}

pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    if !is_policy_name(name) {
        let message = "policyName is 1 to 128 of A-Z, a-z, 0-9 and _+=,.@-";
        return Err(ControlError::invalid(message));
    }
    let document = input.needed("policyDocument")?;
    let compiled = compile(draft, name, 1, document)?;
    let arn = arn(draft, ResourceKind::Policy, name);
    if named(&draft.policies, name).is_some() {
        return Err(ControlError::exists("policy", name, arn));
    }
    check_room(draft.policies.len(), draft)?;
    tag::put_at_creation(draft, ResourceKind::Policy, name, input)?;
    let version = PolicyVersion { document: document.to_owned(), created_unix_ms: given.unix_ms };
    let policy = PolicyRecord {
        versions: BTreeMap::from([(1, version)]),
        default_version: 1,
        last_version: 1,
        created_unix_ms: given.unix_ms,
        modified_unix_ms: given.unix_ms,
        compiled: Some(compiled),
    };
    draft.put(name, policy);
    Ok(json!({
        "policyName": name,
        "policyArn": arn,
        "policyDocument": document,
        "policyVersionId": "1",
    }))
}

pub(super) fn create_version(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let mut policy = found(draft, name)?.clone();
    let max = draft.limits.policy_versions_max;
    if policy.versions.len() >= max {
        let message = format!("The policy {name} has {max} versions already");
        return Err(ControlError::new(ControlErrorKind::VersionsLimitExceeded, message));
    }
    let number = policy.last_version + 1;
    let document = input.needed("policyDocument")?;
    let compiled = compile(draft, name, number, document)?;
    let version = PolicyVersion { document: document.to_owned(), created_unix_ms: given.unix_ms };
    policy.versions.insert(number, version);
    policy.last_version = number;
    policy.modified_unix_ms = given.unix_ms;
    let is_default = input.flag("setAsDefault")?;
    if is_default {
        policy.default_version = number;
        policy.compiled = Some(compiled);
    }
    draft.put(name, policy);
    Ok(json!({
        "policyArn": arn(draft, ResourceKind::Policy, name),
        "policyDocument": document,
        "policyVersionId": number.to_string(),
        "isDefaultVersion": is_default,
    }))
}

/// The version that a path names, and its number.
fn version<'a>(
    policy: &'a PolicyRecord,
    input: &Input,
) -> Result<(u32, &'a PolicyVersion), ControlError> {
    let id = input.needed("policyVersionId")?;
    let number = id.parse().ok().filter(|number: &u32| number.to_string() == id);
    let version = number.and_then(|number| Some((number, policy.versions.get(&number)?)));
    version.ok_or_else(|| ControlError::not_found("policy version", id))
}

pub(super) fn set_default(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let mut policy = found(draft, name)?.clone();
    let (number, chosen) = version(&policy, input)?;
    let compiled = compile(draft, name, number, &chosen.document)?;
    policy.default_version = number;
    policy.modified_unix_ms = given.unix_ms;
    policy.compiled = Some(compiled);
    draft.put(name, policy);
    Ok(Value::Null)
}

pub(super) fn delete_version(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let mut policy = found(draft, name)?.clone();
    let (number, _) = version(&policy, input)?;
    if number == policy.default_version {
        let message = format!("The version {number} is the default version of {name}");
        return Err(ControlError::new(ControlErrorKind::DeleteConflict, message));
    }
    policy.versions.remove(&number);
    policy.modified_unix_ms = given.unix_ms;
    draft.put(name, policy);
    Ok(Value::Null)
}

/// A policy that is attached, or that has versions beside its default one, stays.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let conflict = |why: &str| {
        let message = format!("The policy {name} {why}");
        Err(ControlError::new(ControlErrorKind::DeleteConflict, message))
    };
    if found(draft, name)?.versions.len() > 1 {
        return conflict("has versions beside its default version");
    }
    if draft.attachments.with(name).next().is_some() {
        return conflict("is attached");
    }
    tag::forget(draft, ResourceKind::Policy, name);
    draft.remove::<PolicyRecord>(name);
    Ok(Value::Null)
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let policy = found(registry, name)?;
    let version = policy.versions.get(&policy.default_version);
    Ok(json!({
        "policyName": name,
        "policyArn": arn(registry, ResourceKind::Policy, name),
        "policyDocument": version.map(|version| &version.document),
        "defaultVersionId": policy.default_version.to_string(),
        "creationDate": seconds(policy.created_unix_ms),
        "lastModifiedDate": seconds(policy.modified_unix_ms),
        "generationId": policy.last_version.to_string(),
    }))
}

pub(super) fn describe_version(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("policyName")?;
    let policy = found(registry, name)?;
    let (number, version) = version(policy, input)?;
    Ok(json!({
        "policyArn": arn(registry, ResourceKind::Policy, name),
        "policyName": name,
        "policyDocument": version.document,
        "policyVersionId": number.to_string(),
        "isDefaultVersion": number == policy.default_version,
        "creationDate": seconds(version.created_unix_ms),
        "lastModifiedDate": seconds(version.created_unix_ms),
        "generationId": number.to_string(),
    }))
}

/// The newest first.
pub(super) fn list_versions(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let policy = found(registry, input.needed("policyName")?)?;
    let versions = policy.versions.iter().rev().map(|(number, version)| {
        json!({
            "versionId": number.to_string(),
            "isDefaultVersion": *number == policy.default_version,
            "createDate": seconds(version.created_unix_ms),
        })
    });
    Ok(json!({ "policyVersions": versions.collect::<Vec<_>>() }))
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let all = registry.policies.from(|name| (**name).cmp(&page.after));
    Ok(page.answer("policies", all.map(|(name, _)| (&**name, listed(registry, name)))))
}

/// A policy's name and ARN, as lists have them.
pub(super) fn listed(registry: &Registry, name: &str) -> Value {
    json!({ "policyName": name, "policyArn": arn(registry, ResourceKind::Policy, name) })
}
