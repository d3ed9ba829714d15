//! Types of things: CreateThingType to ListThingTypes.
//!
//! A deprecated type goes at once; AWS waits five minutes.

use serde_json::{Value, json};

use super::input::{Input, Members};
use super::page::Page;
use super::target::arn;
use super::{ControlError, Given, check_name, check_room, seconds, tag};
use crate::policy::ResourceKind;
use crate::registry::{Draft, Registry, ThingType, named};

/// Attributes that a type is searched by.
const SEARCHABLE_MAX: usize = 3;

fn found<'a>(registry: &'a Registry, name: &str) -> Result<&'a ThingType, ControlError> {
    named(&registry.thing_types, name).ok_or_else(|| ControlError::not_found("thing type", name))
}

/// Lays `thingTypeProperties` over a type.
fn take_properties(into: &mut ThingType, properties: &Members) -> Result<(), ControlError> {
    if let Some(description) = properties.text("thingTypeDescription")? {
        into.description = Some(description.to_owned());
    }
    let searchable = properties.texts("searchableAttributes")?;
    if searchable.len() > SEARCHABLE_MAX {
        let message = format!("searchableAttributes has {SEARCHABLE_MAX} at most");
        return Err(ControlError::invalid(message));
    }
    if properties.value("searchableAttributes").is_some() {
        into.searchable_attributes = searchable.into_iter().map(ToOwned::to_owned).collect();
    }
    if let Some(mqtt5) = properties.value("mqtt5Configuration") {
        into.mqtt5 = Some(mqtt5.clone());
    }
    Ok(())
}

pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingTypeName")?;
    check_name("thingTypeName", name)?;
    let mut made = ThingType {
        id: given.uuid.clone(),
        created_unix_ms: given.unix_ms,
        ..ThingType::default()
    };
    take_properties(&mut made, &input.body().members("thingTypeProperties")?)?;
    let arn = arn(draft, ResourceKind::ThingType, name);
    let id = if let Some(known) = named(&draft.thing_types, name) {
        let is_same = known.description == made.description
            && known.searchable_attributes == made.searchable_attributes
            && known.mqtt5 == made.mqtt5;
        if !is_same {
            return Err(ControlError::exists("thing type", name, arn));
        }
        known.id.clone()
    } else {
        check_room(draft.thing_types.len(), draft)?;
        tag::put_at_creation(draft, ResourceKind::ThingType, name, input)?;
        draft.put(name, made);
        given.uuid.clone()
    };
    Ok(json!({ "thingTypeName": name, "thingTypeArn": arn, "thingTypeId": id }))
}

fn described(registry: &Registry, name: &str, known: &ThingType) -> Value {
    json!({
        "thingTypeName": name,
        "thingTypeId": known.id,
        "thingTypeArn": arn(registry, ResourceKind::ThingType, name),
        "thingTypeProperties": {
            "thingTypeDescription": known.description,
            "searchableAttributes": known.searchable_attributes,
            "mqtt5Configuration": known.mqtt5,
        },
        "thingTypeMetadata": {
            "deprecated": known.deprecated_unix_ms.is_some(),
            "deprecationDate": known.deprecated_unix_ms.map(seconds),
            "creationDate": seconds(known.created_unix_ms),
        },
    })
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingTypeName")?;
    Ok(described(registry, name, found(registry, name)?))
}

pub(super) fn update(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingTypeName")?;
    let mut changed = found(draft, name)?.clone();
    take_properties(&mut changed, &input.body().members("thingTypeProperties")?)?;
    draft.put(name, changed);
    Ok(Value::Null)
}

pub(super) fn deprecate(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("thingTypeName")?;
    let mut changed = found(draft, name)?.clone();
    let since = changed.deprecated_unix_ms.unwrap_or(given.unix_ms);
    changed.deprecated_unix_ms = (!input.flag("undoDeprecate")?).then_some(since);
    draft.put(name, changed);
    Ok(Value::Null)
}

/// Only a deprecated type that no thing has goes.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingTypeName")?;
    if found(draft, name)?.deprecated_unix_ms.is_none() {
        return Err(ControlError::invalid(format!("The thing type {name} is not deprecated")));
    }
    if draft.things.iter().any(|(_, thing)| thing.type_name.as_deref() == Some(name)) {
        return Err(ControlError::invalid(format!("Things have the type {name}")));
    }
    tag::forget(draft, ResourceKind::ThingType, name);
    draft.remove::<ThingType>(name);
    Ok(Value::Null)
}

/// All, or the one of a name.
pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let only = input.text("thingTypeName")?;
    let types = registry.thing_types.from(|name| (**name).cmp(&page.after));
    let types = types
        .filter(|(name, _)| only.is_none_or(|only| **name == *only))
        .map(|(name, known)| (&**name, described(registry, name, known)));
    Ok(page.answer("thingTypes", types))
}
