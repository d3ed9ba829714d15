//! Custom authorizers: what is asked about clients that bring a token or a password.

use serde_json::{Value, json};

use super::input::Input;
use super::page::Page;
use super::target::arn;
use super::{ControlError, ControlErrorKind, Given, check_room, seconds, tag};
use crate::policy::ResourceKind;
use crate::registry::{Authorizer, Draft, Registry, named};

fn found<'a>(registry: &'a Registry, name: &str) -> Result<&'a Authorizer, ControlError> {
    registry.authorizer(name).ok_or_else(|| ControlError::not_found("authorizer", name))
}

fn named_arn(registry: &Registry, name: &str) -> Value {
    let arn = arn(registry, ResourceKind::Authorizer, name);
    json!({ "authorizerName": name, "authorizerArn": arn })
}

/// Lays the members of a request over an authorizer.
fn take(into: &mut Authorizer, input: &Input) -> Result<(), ControlError> {
    if let Some(function) = input.text("authorizerFunctionArn")? {
        function.clone_into(&mut into.function);
    }
    if let Some(name) = input.text("tokenKeyName")? {
        into.token_key_name = Some(name.to_owned());
    }
    if let Some(keys) = input.body().map("tokenSigningPublicKeys")? {
        into.token_signing_public_keys = keys;
    }
    if let Some(caches) = input.choice("enableCachingForHttp")? {
        into.caches_for_http = caches;
    }
    match input.text("status")? {
        None => {}
        Some("ACTIVE") => into.is_active = true,
        Some("INACTIVE") => into.is_active = false,
        Some(_) => return Err(ControlError::invalid("status is ACTIVE or INACTIVE")),
    }
    let has_key = into.token_key_name.is_some() && !into.token_signing_public_keys.is_empty();
    if !into.signing_disabled && !has_key {
        let message = "tokenKeyName and tokenSigningPublicKeys are needed unless signingDisabled";
        return Err(ControlError::invalid(message));
    }
    Ok(())
}

pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("authorizerName")?;
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte);
    if name.len() > 128 || !name.bytes().all(is_byte) {
        let message = "authorizerName is 1 to 128 of A-Z, a-z, 0-9 and _=,@-";
        return Err(ControlError::invalid(message));
    }
    input.needed("authorizerFunctionArn")?;
    let mut made = Authorizer {
        signing_disabled: input.flag("signingDisabled")?,
        is_active: true,
        created_unix_ms: given.unix_ms,
        modified_unix_ms: given.unix_ms,
        ..Authorizer::default()
    };
    take(&mut made, input)?;
    if named(&draft.authorizers, name).is_some() {
        let arn = arn(draft, ResourceKind::Authorizer, name);
        return Err(ControlError::exists("authorizer", name, arn));
    }
    check_room(draft.authorizers.len(), draft)?;
    tag::put_at_creation(draft, ResourceKind::Authorizer, name, input)?;
    draft.put(name, made);
    Ok(named_arn(draft, name))
}

/// What an authorizer is to be asked for a test of it (contract `mqtt-broker.md` §1.2), and the
/// signature that was given for the token.
pub(super) fn test(
    registry: &Registry,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    found(registry, input.needed("authorizerName")?)?;
    let (body, mut protocols, mut data) = (input.body(), Vec::new(), serde_json::Map::new());
    let (tls, http, mqtt) =
        (body.members("tlsContext")?, body.members("httpContext")?, body.members("mqttContext")?);
    if let Some(name) = tls.text("serverName")? {
        protocols.push("tls");
        data.insert("tls".to_owned(), json!({ "serverName": name }));
    }
    let headers = http.map("headers")?;
    if headers.is_some() || http.text("queryString")?.is_some() {
        protocols.push("http");
        let http = json!({ "headers": headers, "queryString": http.text("queryString")? });
        data.insert("http".to_owned(), http);
    }
    let names = ["username", "password", "clientId"];
    if names.iter().any(|name| mqtt.value(name).is_some()) {
        protocols.push("mqtt");
        let text = |name| Ok::<_, ControlError>(mqtt.text(name)?.unwrap_or_default());
        let mqtt = json!({
            "username": text("username")?,
            "password": text("password")?,
            "clientId": text("clientId")?,
        });
        data.insert("mqtt".to_owned(), mqtt);
    }
    Ok(json!({
        "tokenSignature": body.text("tokenSignature")?,
        "event": {
            "token": body.text("token")?,
            "signatureVerified": false,
            "protocols": protocols,
            "protocolData": data,
            "connectionMetadata": { "id": given.uuid },
        },
    }))
}

pub(super) fn update(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("authorizerName")?;
    let mut changed = found(draft, name)?.clone();
    take(&mut changed, input)?;
    changed.modified_unix_ms = given.unix_ms;
    draft.put(name, changed);
    Ok(named_arn(draft, name))
}

fn described(registry: &Registry, name: &str, known: &Authorizer) -> Value {
    let keys = &known.token_signing_public_keys;
    json!({ "authorizerDescription": {
        "authorizerName": name,
        "authorizerArn": arn(registry, ResourceKind::Authorizer, name),
        "authorizerFunctionArn": known.function,
        "tokenKeyName": known.token_key_name,
        "tokenSigningPublicKeys": (!keys.is_empty()).then_some(keys),
        "status": if known.is_active { "ACTIVE" } else { "INACTIVE" },
        "creationDate": seconds(known.created_unix_ms),
        "lastModifiedDate": seconds(known.modified_unix_ms),
        "signingDisabled": known.signing_disabled,
        "enableCachingForHttp": known.caches_for_http,
    }})
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("authorizerName")?;
    Ok(described(registry, name, found(registry, name)?))
}

/// The default one and an active one stay.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let name = input.needed("authorizerName")?;
    let known = found(draft, name)?;
    if known.is_active || draft.default_authorizer() == Some(name) {
        let message = format!("The authorizer {name} is ACTIVE or the default authorizer");
        return Err(ControlError::new(ControlErrorKind::DeleteConflict, message));
    }
    tag::forget(draft, ResourceKind::Authorizer, name);
    draft.remove::<Authorizer>(name);
    Ok(Value::Null)
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let status = input.text("status")?;
    let all = registry.authorizers.from(|name| (**name).cmp(&page.after));
    let wanted = all.filter(|(_, it)| status.is_none_or(|text| it.is_active == (text == "ACTIVE")));
    Ok(page.answer("authorizers", wanted.map(|(name, _)| (&**name, named_arn(registry, name)))))
}

pub(super) fn set_default(
    draft: &mut Draft,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = input.needed("authorizerName")?;
    found(draft, name)?;
    match draft.default_authorizer() {
        Some(known) if known == name => {}
        Some(known) => {
            let arn = arn(draft, ResourceKind::Authorizer, known);
            return Err(ControlError::exists("default authorizer", known, arn));
        }
        None => {
            draft.change_settings(|settings| settings.default_authorizer = Some(name.to_owned()));
        }
    }
    Ok(named_arn(draft, name))
}

fn default(registry: &Registry) -> Result<&str, ControlError> {
    let name = registry.default_authorizer();
    name.ok_or_else(|| ControlError::not_found("default authorizer", ""))
}

pub(super) fn describe_default(
    registry: &Registry,
    _: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let name = default(registry)?;
    Ok(described(registry, name, found(registry, name)?))
}

pub(super) fn clear_default(
    draft: &mut Draft,
    _: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    default(draft)?;
    draft.change_settings(|settings| settings.default_authorizer = None);
    Ok(Value::Null)
}
