//! Which policies are on what: AttachPolicy and its kin, the older names of them included.

use serde_json::Value;

use super::input::Input;
use super::page::Page;
use super::target::{existing_key, key, principal_key, shown};
use super::{ControlError, ControlErrorKind, Given, policy};
use crate::registry::{AccessKey, Draft, Registry, named};

/// Attaches a policy; one that is attached already is fine.
pub(super) fn put(draft: &mut Draft, target: &str, name: &str) -> Result<(), ControlError> {
    policy::found(draft, name)?;
    if draft.attachments.find(target, name).is_some() {
        return Ok(());
    }
    let max = if target.starts_with("thinggroup/") {
        draft.limits.policies_per_group_max
    } else {
        draft.limits.policies_per_principal_max
    };
    if draft.attachments.of(target).count() >= max {
        let message = format!("The target has {max} policies already");
        return Err(ControlError::new(ControlErrorKind::LimitExceeded, message));
    }
    draft.attach(target, name);
    if let Some(id) = target.strip_prefix("accesskey/")
        && let Some(key) = named(&draft.access_keys, id).filter(|key| !key.is_bound)
    {
        let bound = AccessKey { is_bound: true, ..key.clone() };
        draft.put(id, bound);
    }
    Ok(())
}

pub(super) fn attach(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let target = existing_key(draft, "target", input.needed("target")?)?;
    put(draft, &target, input.needed("policyName")?)?;
    Ok(Value::Null)
}

/// A policy that is not attached is detached already.
pub(super) fn detach(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let target = key(draft, "target", input.needed("target")?)?;
    draft.detach(&target, input.needed("policyName")?);
    Ok(Value::Null)
}

pub(super) fn attach_principal(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let target = principal_key(draft, input.needed("principal")?)?;
    put(draft, &target, input.needed("policyName")?)?;
    Ok(Value::Null)
}

pub(super) fn detach_principal(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let target = key(draft, "principal", input.needed("principal")?)?;
    let name = input.needed("policyName")?;
    policy::found(draft, name)?;
    draft.detach(&target, name);
    Ok(Value::Null)
}

/// With those of the groups above a group, if `recursive`.
pub(super) fn list_policies(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let target = existing_key(registry, "target", input.needed("target")?)?;
    let mut targets = vec![target.clone()];
    if input.flag("recursive")?
        && let Some(group) = target.strip_prefix("thinggroup/")
    {
        let above = registry.groups_above(group).into_iter();
        targets.extend(above.map(|group| format!("thinggroup/{group}")));
    }
    let attached = targets.iter().flat_map(|target| registry.attachments.of(target));
    let mut names: Vec<&str> = attached.map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let names = names.into_iter().map(|name| (name, policy::listed(registry, name)));
    Ok(page.answer("policies", names))
}

pub(super) fn list_of_principal(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let target = principal_key(registry, input.needed("principal")?)?;
    let attached = registry.attachments.of(&target);
    let names = attached.map(|(name, _)| (name, policy::listed(registry, name)));
    Ok(page.answer("policies", names))
}

pub(super) fn list_targets(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    targets(registry, input, "targets", |_| true)
}

pub(super) fn list_principals(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    targets(registry, input, "principals", |target| !target.starts_with("thinggroup/"))
}

fn targets(
    registry: &Registry,
    input: &Input,
    list: &str,
    wanted: fn(&str) -> bool,
) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let name = input.needed("policyName")?;
    policy::found(registry, name)?;
    let targets = registry.attachments.with(name).filter(|(target, _)| wanted(target));
    Ok(page.answer(list, targets.map(|(target, _)| (target, shown(registry, target).into()))))
}
