//! Access keys and users with passwords: Bitts's own part, `/bitts/v1/credentials`.
//!
//! AWS has these in IAM, which is not here. A secret is in the answer that makes it and in no
//! other one. Whoever may make credentials may do everything.

use serde_json::{Value, json};

use super::input::Input;
use super::page::Page;
use super::{
    ControlError, ControlErrorKind, Given, NewCredential, attachment, check_room, seconds,
};
use crate::registry::{AccessKey, Draft, Registry, User, named};

/// A name of a user: what policies may substitute and paths carry.
fn check_user_name(name: &str) -> Result<(), ControlError> {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_byte) {
        return Ok(());
    }
    Err(ControlError::invalid("userName is 1 to 64 of A-Z, a-z, 0-9 and +=,.@_-"))
}

/// Makes an access key, or with `password` a user of MQTT; both with policies, if any are named.
pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let user_name = input.text("userName")?;
    if let Some(name) = user_name {
        check_user_name(name)?;
    }
    let (target, answer) = match &given.credential {
        Some(NewCredential::AccessKey { id, secret }) => {
            if draft.access_key(id).is_some() {
                return Err(ControlError::new(ControlErrorKind::InternalFailure, "Try again"));
            }
            check_room(draft.access_keys.len(), draft)?;
            let key = AccessKey {
                secret: secret.clone(),
                expires_unix_ms: input.integer("expiresAt")?.map(|it| it.saturating_mul(1000)),
                user_name: user_name.map(ToOwned::to_owned),
                is_admin: input.flag("isAdmin")?,
                is_active: true,
                created_unix_ms: given.unix_ms,
                ..AccessKey::default()
            };
            draft.put(id, key);
            let answer = json!({
                "credentialId": id,
                "accessKeyId": id,
                "secretAccessKey": secret.expose(),
            });
            (format!("accesskey/{id}"), answer)
        }
        Some(NewCredential::Password(hash)) => {
            let name = input.needed("userName")?;
            if draft.user(name).is_some() {
                return Err(ControlError::exists("user", name, format!("user/{name}")));
            }
            check_room(draft.users.len(), draft)?;
            let user = User {
                password_hash: hash.clone(),
                is_active: true,
                created_unix_ms: given.unix_ms,
            };
            draft.put(name, user);
            let target = format!("user/{name}");
            let answer = json!({ "credentialId": target, "userName": name });
            (target, answer)
        }
        None => return Err(ControlError::new(ControlErrorKind::InternalFailure, "No secret")),
    };
    for name in input.body().texts("policyNames")? {
        attachment::put(draft, &target, name)?;
    }
    Ok(answer)
}

fn policies(registry: &Registry, target: &str) -> Vec<String> {
    registry.attachments.of(target).map(|(name, _)| name.to_owned()).collect()
}

fn status(is_active: bool) -> &'static str {
    if is_active { "ACTIVE" } else { "INACTIVE" }
}

/// Access keys by their ids, then users by their names.
pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_token(input)?;
    let keys = registry.access_keys.iter().map(|(id, key)| {
        let target = format!("accesskey/{id}");
        let listed = json!({
            "credentialId": &**id,
            "type": "accessKey",
            "userName": key.user_name,
            "isAdmin": key.is_admin,
            "status": status(key.is_active),
            "expiresAt": key.expires_unix_ms.map(seconds),
            "creationDate": seconds(key.created_unix_ms),
            "policyNames": policies(registry, &target),
        });
        (target, listed)
    });
    let users = registry.users.iter().map(|(name, user)| {
        let target = format!("user/{name}");
        let listed = json!({
            "credentialId": target,
            "type": "user",
            "userName": &**name,
            "status": status(user.is_active),
            "creationDate": seconds(user.created_unix_ms),
            "policyNames": policies(registry, &target),
        });
        (target, listed)
    });
    let all: Vec<_> = keys.chain(users).collect();
    let all = all.iter().map(|(target, listed)| (target.as_str(), listed.clone()));
    Ok(page.answer("credentials", all))
}

/// Makes a credential `newStatus`: ACTIVE or INACTIVE.
pub(super) fn update(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let id = input.needed("credentialId")?;
    let is_active = match input.needed("newStatus")? {
        "ACTIVE" => true,
        "INACTIVE" => false,
        _ => return Err(ControlError::invalid("newStatus is ACTIVE or INACTIVE")),
    };
    if let Some(name) = id.strip_prefix("user/") {
        let user = named(&draft.users, name);
        let user = user.ok_or_else(|| ControlError::not_found("user", name))?;
        let user = User { is_active, ..user.clone() };
        draft.put(name, user);
    } else {
        let key = named(&draft.access_keys, id);
        let key = key.ok_or_else(|| ControlError::not_found("access key", id))?;
        let key = AccessKey { is_active, ..key.clone() };
        draft.put(id, key);
    }
    Ok(Value::Null)
}

/// Policies and things are detached.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let id = input.needed("credentialId")?;
    let target = if let Some(name) = id.strip_prefix("user/") {
        if draft.user(name).is_none() {
            return Err(ControlError::not_found("user", name));
        }
        draft.remove::<User>(name);
        id.to_owned()
    } else {
        if draft.access_key(id).is_none() {
            return Err(ControlError::not_found("access key", id));
        }
        draft.remove::<AccessKey>(id);
        format!("accesskey/{id}")
    };
    draft.detach_all(&target);
    let things: Vec<_> = draft.principals.with(&target).map(|(it, _)| it.to_owned()).collect();
    for thing in things {
        draft.unbind(&thing, &target);
    }
    Ok(Value::Null)
}
