//! Static groups of things, and which things are in them.
//!
//! A group may be in another one; policies on a group bind the things of all groups below it.

use serde_json::{Value, json};

use super::input::{Input, Members, changed_attributes, expect_version};
use super::page::Page;
use super::target::arn;
use super::{ControlError, Given, check_name, check_room, seconds, tag, thing};
use crate::policy::{Arn, ResourceKind};
use crate::registry::{Draft, Registry, ThingGroup, named};

fn found<'a>(registry: &'a Registry, name: &str) -> Result<&'a ThingGroup, ControlError> {
    named(&registry.thing_groups, name).ok_or_else(|| ControlError::not_found("thing group", name))
}

/// The groups above a group, the nearest first.
fn ancestors<'a>(registry: &'a Registry, group: &'a ThingGroup) -> Vec<&'a str> {
    let mut above = Vec::new();
    let mut next = group.parent.as_deref();
    while let Some(name) = next
        && above.len() <= registry.limits.group_depth_max
    {
        above.push(name);
        next = named(&registry.thing_groups, name).and_then(|it| it.parent.as_deref());
    }
    above
}

/// Lays `thingGroupProperties` over a group.
fn take_properties(
    into: &mut ThingGroup,
    properties: &Members,
    attributes_max: usize,
) -> Result<(), ControlError> {
    if let Some(description) = properties.text("thingGroupDescription")? {
        into.description = Some(description.to_owned());
    }
    let change = properties.attributes()?;
    into.attributes = changed_attributes(&into.attributes, change, attributes_max)?;
    Ok(())
}

pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingGroupName")?;
    check_name("thingGroupName", name)?;
    let parent = input.text("parentGroupName")?;
    let mut made = ThingGroup {
        id: given.uuid.clone(),
        version: 1,
        parent: parent.map(ToOwned::to_owned),
        created_unix_ms: given.unix_ms,
        ..ThingGroup::default()
    };
    let properties = input.body().members("thingGroupProperties")?;
    take_properties(&mut made, &properties, draft.limits.attributes_max)?;
    let arn = arn(draft, ResourceKind::ThingGroup, name);
    let id = if let Some(known) = named(&draft.thing_groups, name) {
        let is_same = known.parent == made.parent
            && known.description == made.description
            && known.attributes == made.attributes;
        if !is_same {
            return Err(ControlError::exists("thing group", name, arn));
        }
        known.id.clone()
    } else {
        if let Some(parent) = parent
            && named(&draft.thing_groups, parent).is_none()
        {
            // The model of this operation knows no ResourceNotFound.
            return Err(ControlError::invalid(format!("No thing group {parent}")));
        }
        let depth_max = draft.limits.group_depth_max;
        if ancestors(draft, &made).len() > depth_max {
            let message = format!("A group has {depth_max} groups above it at most");
            return Err(ControlError::invalid(message));
        }
        check_room(draft.thing_groups.len(), draft)?;
        tag::put_at_creation(draft, ResourceKind::ThingGroup, name, input)?;
        draft.put(name, made);
        given.uuid.clone()
    };
    Ok(json!({ "thingGroupName": name, "thingGroupArn": arn, "thingGroupId": id }))
}

/// A group's name and ARN, as lists have them.
fn listed(registry: &Registry, name: &str) -> Value {
    json!({ "groupName": name, "groupArn": arn(registry, ResourceKind::ThingGroup, name) })
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingGroupName")?;
    let group = found(registry, name)?;
    let above = ancestors(registry, group).into_iter().rev();
    let above: Vec<_> = above.map(|name| listed(registry, name)).collect();
    let attributes = (!group.attributes.is_empty()).then_some(&group.attributes);
    Ok(json!({
        "thingGroupName": name,
        "thingGroupId": group.id,
        "thingGroupArn": arn(registry, ResourceKind::ThingGroup, name),
        "version": group.version,
        "thingGroupProperties": {
            "thingGroupDescription": group.description,
            "attributePayload": attributes.map(|attributes| json!({ "attributes": attributes })),
        },
        "thingGroupMetadata": {
            "parentGroupName": group.parent,
            "rootToParentThingGroups": above,
            "creationDate": seconds(group.created_unix_ms),
        },
    }))
}

pub(super) fn update(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingGroupName")?;
    let mut group = found(draft, name)?.clone();
    expect_version(input, group.version)?;
    let properties = input.body().members("thingGroupProperties")?;
    take_properties(&mut group, &properties, draft.limits.attributes_max)?;
    group.version += 1;
    let version = group.version;
    draft.put(name, group);
    Ok(json!({ "version": version }))
}

/// A group with groups in it stays; its things are in it no more, its policies are on nothing.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingGroupName")?;
    // The model of this operation knows no ResourceNotFound.
    let Some(group) = named(&draft.thing_groups, name) else { return Ok(Value::Null) };
    expect_version(input, group.version)?;
    if draft.thing_groups.iter().any(|(_, group)| group.parent.as_deref() == Some(name)) {
        return Err(ControlError::invalid(format!("The thing group {name} has groups in it")));
    }
    let things: Vec<_> = draft.members.of(name).map(|(thing, _)| thing.to_owned()).collect();
    for thing in things {
        draft.remove_member(name, &thing);
    }
    draft.detach_all(&format!("thinggroup/{name}"));
    tag::forget(draft, ResourceKind::ThingGroup, name);
    draft.remove::<ThingGroup>(name);
    Ok(Value::Null)
}

/// By the beginning of the name, or by the group they are in, with all below unless `recursive`
/// is false.
pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let prefix = input.text("namePrefixFilter")?.unwrap_or_default();
    let parent = input.text("parentGroup")?;
    let is_recursive = input.choice("recursive")?.unwrap_or(true);
    if let Some(parent) = parent {
        found(registry, parent)?;
    }
    let wanted = |group: &ThingGroup| match parent {
        Some(parent) if is_recursive => ancestors(registry, group).contains(&parent),
        Some(parent) => group.parent.as_deref() == Some(parent),
        None => is_recursive || group.parent.is_none(),
    };
    let groups = registry.thing_groups.from(|name| (**name).cmp(&page.after));
    let groups = groups
        .filter(|(name, group)| name.starts_with(prefix) && wanted(group))
        .map(|(name, _)| (&**name, listed(registry, name)));
    Ok(page.answer("thingGroups", groups))
}

/// A resource that a body names by `{kind}Name` or `{kind}Arn`.
fn name_of(
    registry: &Registry,
    input: &Input,
    (name, arn, kind): (&str, &str, ResourceKind),
) -> Result<String, ControlError> {
    if let Some(name) = input.text(name)? {
        return Ok(name.to_owned());
    }
    let Some(text) = input.text(arn)? else {
        return Err(ControlError::invalid(format!("{name} or {arn} is missing")));
    };
    let parsed = Arn::parse(text).ok().filter(|it| it.kind() == kind && it.is_in(&registry.scope));
    let parsed =
        parsed.ok_or_else(|| ControlError::invalid(format!("{arn} is not one of ours")))?;
    Ok(parsed.name().to_owned())
}

/// The group and the thing of a body; both are there.
fn group_and_thing(registry: &Registry, input: &Input) -> Result<(String, String), ControlError> {
    let group = ("thingGroupName", "thingGroupArn", ResourceKind::ThingGroup);
    let group = name_of(registry, input, group)?;
    let thing = name_of(registry, input, ("thingName", "thingArn", ResourceKind::Thing))?;
    found(registry, &group)?;
    thing::found(registry, &thing)?;
    Ok((group, thing))
}

fn put_into(draft: &mut Draft, group: &str, thing: &str) -> Result<(), ControlError> {
    if draft.members.find(group, thing).is_some() {
        return Ok(());
    }
    let max = draft.limits.groups_per_thing_max;
    if draft.members.with(thing).count() >= max {
        return Err(ControlError::invalid(format!("A thing is in {max} groups at most")));
    }
    draft.add_member(group, thing);
    Ok(())
}

pub(super) fn add_thing(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let (group, thing) = group_and_thing(draft, input)?;
    put_into(draft, &group, &thing)?;
    Ok(Value::Null)
}

pub(super) fn remove_thing(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let (group, thing) = group_and_thing(draft, input)?;
    draft.remove_member(&group, &thing);
    Ok(Value::Null)
}

pub(super) fn update_for_thing(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let thing = input.needed("thingName")?;
    thing::found(draft, thing)?;
    for group in input.body().texts("thingGroupsToRemove")? {
        found(draft, group)?;
        draft.remove_member(group, thing);
    }
    for group in input.body().texts("thingGroupsToAdd")? {
        found(draft, group)?;
        put_into(draft, group, thing)?;
    }
    Ok(Value::Null)
}

/// With the things of all groups below, if `recursive`.
pub(super) fn list_things(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let name = input.needed("thingGroupName")?;
    found(registry, name)?;
    let mut groups = vec![name];
    if input.flag("recursive")? {
        let below = registry.thing_groups.iter();
        let below = below.filter(|(_, group)| ancestors(registry, group).contains(&name));
        groups.extend(below.map(|(name, _)| &**name));
    }
    let mut things: Vec<&str> = groups
        .iter()
        .flat_map(|group| registry.members.of(group))
        .map(|(thing, _)| thing)
        .collect();
    things.sort_unstable();
    things.dedup();
    Ok(page.answer("things", things.into_iter().map(|thing| (thing, thing.into()))))
}

pub(super) fn list_for_thing(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let name = input.needed("thingName")?;
    thing::found(registry, name)?;
    let groups = registry.members.with(name).map(|(group, _)| (group, listed(registry, group)));
    Ok(page.answer("thingGroups", groups))
}
