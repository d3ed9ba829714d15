//! Things: CreateThing, DescribeThing, UpdateThing, DeleteThing, ListThings.

use serde_json::{Value, json};

use super::input::{Input, changed_attributes, expect_version};
use super::page::Page;
use super::target::arn;
use super::{ControlError, Given, check_name, check_room};
use crate::policy::ResourceKind;
use crate::registry::{Draft, Registry, Thing, ThingType, named};

pub(super) fn found<'a>(registry: &'a Registry, name: &str) -> Result<&'a Thing, ControlError> {
    named(&registry.things, name).ok_or_else(|| ControlError::not_found("thing", name))
}

/// The type that a thing is to have.
fn takable_type<'a>(registry: &'a Registry, name: &str) -> Result<&'a ThingType, ControlError> {
    let found = named(&registry.thing_types, name);
    let found = found.ok_or_else(|| ControlError::not_found("thing type", name))?;
    if found.deprecated_unix_ms.is_some() {
        return Err(ControlError::invalid(format!("The thing type {name} is deprecated")));
    }
    Ok(found)
}

/// Makes a thing; one that is there with the same members is the answer too.
pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    check_name("thingName", name)?;
    let type_name = input.text("thingTypeName")?;
    let change = input.body().attributes()?;
    let max = draft.limits.attributes_max;
    let thing = Thing {
        id: given.uuid.clone(),
        version: 1,
        type_name: type_name.map(ToOwned::to_owned),
        attributes: changed_attributes(&Thing::default().attributes, change, max)?,
        billing_group: input.text("billingGroupName")?.map(ToOwned::to_owned),
    };
    if let Some(known) = named(&draft.things, name) {
        let is_same = known.type_name == thing.type_name
            && known.attributes == thing.attributes
            && known.billing_group == thing.billing_group;
        if !is_same {
            let arn = arn(draft, ResourceKind::Thing, name);
            return Err(ControlError::exists("thing", name, arn));
        }
        return Ok(made(draft, name, &known.id));
    }
    if let Some(name) = type_name {
        takable_type(draft, name)?;
    }
    check_room(draft.things.len(), draft)?;
    let answer = made(draft, name, &thing.id);
    draft.put(name, thing);
    Ok(answer)
}

fn made(registry: &Registry, name: &str, id: &str) -> Value {
    let arn = arn(registry, ResourceKind::Thing, name);
    json!({ "thingName": name, "thingArn": arn, "thingId": id })
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    let thing = found(registry, name)?;
    Ok(json!({
        "defaultClientId": name,
        "thingName": name,
        "thingId": thing.id,
        "thingArn": arn(registry, ResourceKind::Thing, name),
        "thingTypeName": thing.type_name,
        "attributes": thing.attributes,
        "version": thing.version,
        "billingGroupName": thing.billing_group,
    }))
}

pub(super) fn update(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    let mut thing = found(draft, name)?.clone();
    expect_version(input, thing.version)?;
    let (type_name, removes) = (input.text("thingTypeName")?, input.flag("removeThingType")?);
    match type_name {
        Some(_) if removes => {
            let message = "thingTypeName and removeThingType exclude each other";
            return Err(ControlError::invalid(message));
        }
        Some(type_name) => {
            takable_type(draft, type_name)?;
            thing.type_name = Some(type_name.to_owned());
        }
        None if removes => thing.type_name = None,
        None => {}
    }
    let change = input.body().attributes()?;
    thing.attributes = changed_attributes(&thing.attributes, change, draft.limits.attributes_max)?;
    thing.version += 1;
    draft.put(name, thing);
    Ok(Value::Null)
}

/// A thing that a principal speaks for stays.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    expect_version(input, found(draft, name)?.version)?;
    if draft.principals.of(name).next().is_some() {
        let message = format!("The thing {name} has principals attached");
        return Err(ControlError::invalid(message));
    }
    let groups: Vec<_> = draft.members.with(name).map(|(group, _)| group.to_owned()).collect();
    for group in groups {
        draft.remove_member(&group, name);
    }
    draft.remove::<Thing>(name);
    Ok(Value::Null)
}

/// By type, or by an attribute's value or the beginning of it.
pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let type_name = input.text("thingTypeName")?;
    let attribute = input.text("attributeName")?;
    let value = input.text("attributeValue")?;
    let by_prefix = input.flag("usePrefixAttributeValue")?;
    let wanted = |thing: &Thing| {
        let has_type = type_name.is_none_or(|name| thing.type_name.as_deref() == Some(name));
        has_type
            && attribute.is_none_or(|name| {
                thing.attributes.get(name).is_some_and(|known| match value {
                    None => true,
                    Some(value) if by_prefix => known.starts_with(value),
                    Some(value) => known == value,
                })
            })
    };
    let things = registry.things.from(|name| (**name).cmp(&page.after));
    let things = things.filter(|(_, thing)| wanted(thing)).map(|(name, thing)| {
        let listed = json!({
            "thingName": &**name,
            "thingArn": arn(registry, ResourceKind::Thing, name),
            "thingTypeName": thing.type_name,
            "attributes": thing.attributes,
            "version": thing.version,
        });
        (&**name, listed)
    });
    Ok(page.answer("things", things))
}
