//! Tags of groups, types, policies, authorizers and authorities.

use serde_json::{Value, json};

use super::input::{Input, Members};
use super::page::Page;
use super::{ControlError, ControlErrorKind, Given};
use crate::policy::{Arn, ResourceKind};
use crate::registry::{Draft, Registry, Tags, named};

/// The tags of a list of `Key` and `Value`.
fn read(members: &Members) -> Result<Tags, ControlError> {
    let mut tags = Tags::new();
    for tag in members.objects("tags")? {
        let key = tag.text("Key")?.unwrap_or_default();
        let value = tag.text("Value")?.unwrap_or_default();
        let has_lengths = (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
        if !has_lengths || key.starts_with("aws:") {
            let message = "A tag's Key has 1 to 128 characters and does not begin with aws:, its \
                           Value up to 256";
            return Err(ControlError::invalid(message));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    Ok(tags)
}

fn lay_over(draft: &mut Draft, key: &str, given: Tags) -> Result<(), ControlError> {
    if given.is_empty() {
        return Ok(());
    }
    let mut tags = named(&draft.tags, key).cloned().unwrap_or_default();
    tags.extend(given);
    let max = draft.limits.tags_max;
    if tags.len() > max {
        let message = format!("A resource has {max} tags at most");
        return Err(ControlError::new(ControlErrorKind::LimitExceeded, message));
    }
    draft.put(key, tags);
    Ok(())
}

fn key_of(kind: ResourceKind, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

/// Keeps the tags that a resource is made with.
pub(super) fn put_at_creation(
    draft: &mut Draft,
    kind: ResourceKind,
    name: &str,
    input: &Input,
) -> Result<(), ControlError> {
    let tags = read(input.body())?;
    match lay_over(draft, &key_of(kind, name), tags) {
        // Making a resource knows no LimitExceeded everywhere.
        Err(refused) => Err(ControlError::invalid(refused.message)),
        done => done,
    }
}

/// The tags of a resource that goes, go.
pub(super) fn forget(draft: &mut Draft, kind: ResourceKind, name: &str) {
    draft.remove::<Tags>(&key_of(kind, name));
}

/// The key of `resourceArn`, which is there and may have tags.
fn tagged(registry: &Registry, input: &Input) -> Result<String, ControlError> {
    let text = input.needed("resourceArn")?;
    let arn = Arn::parse(text).ok().filter(|arn| arn.is_in(&registry.scope));
    let arn = arn.ok_or_else(|| ControlError::invalid("resourceArn is not one of ours"))?;
    let name = arn.name();
    let is_there = match arn.kind() {
        ResourceKind::ThingGroup => named(&registry.thing_groups, name).is_some(),
        ResourceKind::ThingType => named(&registry.thing_types, name).is_some(),
        ResourceKind::Policy => named(&registry.policies, name).is_some(),
        ResourceKind::Authorizer => named(&registry.authorizers, name).is_some(),
        ResourceKind::CaCertificate => named(&registry.ca_certificates, name).is_some(),
        ResourceKind::Client
        | ResourceKind::Topic
        | ResourceKind::TopicFilter
        | ResourceKind::Thing
        | ResourceKind::Certificate
        | ResourceKind::RoleAlias
        | ResourceKind::Rule
        | ResourceKind::Job
        | ResourceKind::ProvisioningTemplate
        | ResourceKind::DomainConfiguration => {
            return Err(ControlError::invalid("resourceArn names nothing that has tags"));
        }
    };
    if is_there {
        Ok(key_of(arn.kind(), name))
    } else {
        Err(ControlError::not_found("resource", text))
    }
}

pub(super) fn tag(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let key = tagged(draft, input)?;
    lay_over(draft, &key, read(input.body())?)?;
    Ok(Value::Null)
}

pub(super) fn untag(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let key = tagged(draft, input)?;
    let gone = input.body().texts("tagKeys")?;
    let Some(mut tags) = named(&draft.tags, &key).cloned() else { return Ok(Value::Null) };
    tags.retain(|key, _| !gone.contains(&key.as_str()));
    if tags.is_empty() {
        draft.remove::<Tags>(&key);
    } else {
        draft.put(&key, tags);
    }
    Ok(Value::Null)
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let key = tagged(registry, input)?;
    let tags = named(&registry.tags, &key).into_iter().flatten();
    let tags = tags.map(|(key, value)| (key.as_str(), json!({ "Key": key, "Value": value })));
    Ok(page.answer("tags", tags))
}
