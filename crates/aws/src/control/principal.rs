//! Which principals speak for which things.
//!
//! A principal that is attached to a thing exclusively is attached to no other one, and speaks for
//! it under any Client Identifier.

use serde_json::{Value, json};

use super::input::Input;
use super::page::Page;
use super::target::{key, principal_key, shown};
use super::{ControlError, Given, thing};
use crate::registry::{Draft, Principal, Registry};

const EXCLUSIVE: &str = "EXCLUSIVE_THING";
const NOT_EXCLUSIVE: &str = "NON_EXCLUSIVE_THING";

/// `thingPrincipalType`, as whether it is exclusive.
fn exclusive(input: &Input) -> Result<Option<bool>, ControlError> {
    match input.text("thingPrincipalType")? {
        None => Ok(None),
        Some(EXCLUSIVE) => Ok(Some(true)),
        Some(NOT_EXCLUSIVE) => Ok(Some(false)),
        Some(_) => {
            let message = format!("thingPrincipalType is {EXCLUSIVE} or {NOT_EXCLUSIVE}");
            Err(ControlError::invalid(message))
        }
    }
}

fn word(principal: Principal) -> &'static str {
    if principal.is_exclusive { EXCLUSIVE } else { NOT_EXCLUSIVE }
}

pub(super) fn attach(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    thing::found(draft, name)?;
    let principal = principal_key(draft, input.needed("principal")?)?;
    let is_exclusive = exclusive(input)?.unwrap_or_default();
    for (other, how) in draft.principals.with(&principal) {
        if other == name {
            if how.is_exclusive == is_exclusive {
                return Ok(Value::Null);
            }
        } else if is_exclusive || how.is_exclusive {
            let message = "The principal is attached to another thing, one of them exclusively";
            return Err(ControlError::invalid(message));
        }
    }
    draft.bind(name, &principal, Principal { is_exclusive });
    Ok(Value::Null)
}

pub(super) fn detach(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("thingName")?;
    thing::found(draft, name)?;
    let principal = key(draft, "principal", input.needed("principal")?)?;
    draft.unbind(name, &principal);
    Ok(Value::Null)
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let name = input.needed("thingName")?;
    thing::found(registry, name)?;
    let all = registry.principals.of(name);
    Ok(page.answer("principals", all.map(|(key, _)| (key, shown(registry, key).into()))))
}

pub(super) fn list_v2(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let name = input.needed("thingName")?;
    thing::found(registry, name)?;
    let only = exclusive(input)?;
    let all = registry.principals.of(name);
    let all = all.filter(|(_, how)| only.is_none_or(|only| how.is_exclusive == only));
    let objects = all.map(|(key, how)| {
        let principal = shown(registry, key);
        (key, json!({ "principal": principal, "thingPrincipalType": word(*how) }))
    });
    Ok(page.answer("thingPrincipalObjects", objects))
}

pub(super) fn list_things(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let principal = principal_key(registry, input.needed("principal")?)?;
    let things = registry.principals.with(&principal);
    Ok(page.answer("things", things.map(|(thing, _)| (thing, thing.into()))))
}

pub(super) fn list_things_v2(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let principal = principal_key(registry, input.needed("principal")?)?;
    let only = exclusive(input)?;
    let things = registry.principals.with(&principal);
    let things = things.filter(|(_, how)| only.is_none_or(|only| how.is_exclusive == only));
    let objects = things.map(|(thing, how)| {
        (thing, json!({ "thingName": thing, "thingPrincipalType": word(*how) }))
    });
    Ok(page.answer("principalThingObjects", objects))
}
