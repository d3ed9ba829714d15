//! What policies are attached to, and what speaks for things: certificates, groups, keys, users.
//!
//! Callers name a certificate or a group by its ARN or by the end of it (`cert/ID`,
//! `thinggroup/NAME`), an access key as `accesskey/ID`, a user as `user/NAME`, everybody without a
//! credential as `anonymous`, a Cognito identity by its id. The registry keeps no region and no
//! account.

use super::ControlError;
use crate::policy::{Arn, ResourceKind};
use crate::registry::{ANONYMOUS, Registry, named};

/// What targets begin with that are not named by an ARN.
const SHORT: [&str; 4] = ["accesskey/", "user/", "cert/", "thinggroup/"];

/// The registry's name of a target.
pub(super) fn key(registry: &Registry, member: &str, text: &str) -> Result<String, ControlError> {
    let refused = || {
        ControlError::invalid(format!(
            "{member} is the ARN of a certificate or a thing group of this account and region, \
             accesskey/ID, user/NAME, anonymous, or the id of a Cognito identity"
        ))
    };
    let is_short = SHORT.iter().any(|kind| text.starts_with(kind));
    if is_short || text == ANONYMOUS || is_cognito(text) {
        return Ok(text.to_owned());
    }
    let arn = Arn::parse(text).map_err(|_| refused())?;
    let is_kind = matches!(arn.kind(), ResourceKind::Certificate | ResourceKind::ThingGroup);
    if !is_kind || !arn.is_in(&registry.scope) {
        return Err(refused());
    }
    Ok(format!("{}/{}", arn.kind().as_str(), arn.name()))
}

/// The registry's name of a target that is there.
pub(super) fn existing_key(
    registry: &Registry,
    member: &str,
    text: &str,
) -> Result<String, ControlError> {
    let key = key(registry, member, text)?;
    let (what, is_there) = match key.split_once('/') {
        Some(("cert", id)) => ("certificate", named(&registry.certificates, id).is_some()),
        Some(("thinggroup", name)) => {
            ("thing group", named(&registry.thing_groups, name).is_some())
        }
        Some(("accesskey", id)) => ("access key", registry.access_key(id).is_some()),
        Some(("user", name)) => ("user", registry.user(name).is_some()),
        _ => ("target", true),
    };
    if is_there { Ok(key) } else { Err(ControlError::not_found(what, text)) }
}

/// A principal: a target that is no group.
pub(super) fn principal_key(registry: &Registry, text: &str) -> Result<String, ControlError> {
    let key = existing_key(registry, "principal", text)?;
    if key.starts_with("thinggroup/") {
        return Err(ControlError::invalid("principal is a thing group"));
    }
    Ok(key)
}

/// A target as callers name it.
pub(super) fn shown(registry: &Registry, key: &str) -> String {
    match key.split_once('/') {
        Some(("cert", id)) => arn(registry, ResourceKind::Certificate, id),
        Some(("thinggroup", name)) => arn(registry, ResourceKind::ThingGroup, name),
        _ => key.to_owned(),
    }
}

/// The text of an ARN of this account and region.
pub(super) fn arn(registry: &Registry, kind: ResourceKind, name: &str) -> String {
    registry.scope.arn(kind, name).to_string()
}

/// `REGION:UUID`.
fn is_cognito(text: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.split_once(':').is_some_and(|(region, id)| {
        region.contains('-')
            && id.len() == 36
            && [region, id].iter().all(|it| it.bytes().all(is_byte))
    })
}

/// The account that a registry is of.
pub(super) fn account(registry: &Registry) -> String {
    let arn = arn(registry, ResourceKind::Policy, "");
    arn.split(':').nth(4).unwrap_or_default().to_owned()
}
