//! Custom authorizers: a webhook with AWS's request and answer. Contract `mqtt-broker.md` §1.2.
//!
//! What it says is remembered for as long as it says, for the same authorizer and credentials; a
//! connection that lasts longer is asked about again. What cannot be asked, or read, lets nobody
//! in.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use bitts_aws::registry::{Authorized, Authorizer, Identity, Registry};
use data_encoding::BASE64;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Credentials, TokenParts, webhook};

/// Answers that are remembered; at the limit all are forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// Documents that an answer may bring.
const POLICIES_MAX: usize = 10;
/// What `disconnectAfterInSeconds` and `refreshAfterInSeconds` may say.
const SECONDS: std::ops::RangeInclusive<u64> = 300..=86_400;

/// What an authorizer is asked about, and asked again while the connection lasts.
pub(crate) struct Asked {
    name: String,
    /// What may be the token, and its signature.
    pairs: Vec<(String, Zeroizing<String>)>,
    signature: Option<String>,
    protocols: Vec<&'static str>,
    protocol_data: Map<String, Value>,
    /// Whether an answer may be remembered although its authorizer does not cache for HTTP.
    is_mqtt: bool,
}

/// It holds credentials.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Asked {
    /// About a CONNECT.
    pub(crate) fn connect(name: &str, credentials: &Credentials, is_secure: bool) -> Self {
        let password = credentials.password.as_ref().map(|it| BASE64.encode(it));
        let mqtt = json!({
            "username": credentials.username,
            "password": password.unwrap_or_default(),
            "clientId": credentials.client_id,
        });
        let parts = TokenParts::of_username(&credentials.username);
        let mut asked = Self { is_mqtt: true, ..Self::new(name, &parts, is_secure) };
        asked.protocols.push("mqtt");
        asked.protocol_data.insert("mqtt".to_owned(), mqtt);
        asked
    }

    /// About a request or an upgrade.
    pub(crate) fn http(
        name: &str,
        parts: &TokenParts<'_>,
        (headers, query): (Value, &str),
        is_secure: bool,
    ) -> Self {
        let mut asked = Self::new(name, parts, is_secure);
        asked.protocols.push("http");
        let http = json!({ "headers": headers, "queryString": format!("?{query}") });
        asked.protocol_data.insert("http".to_owned(), http);
        asked
    }

    fn new(name: &str, parts: &TokenParts<'_>, is_secure: bool) -> Self {
        let pair = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), Zeroizing::new((*value).to_owned()))
        };
        Self {
            name: name.to_owned(),
            pairs: parts.pairs.iter().map(pair).collect(),
            signature: parts.signature.as_deref().map(str::to_owned),
            protocols: if is_secure { vec!["tls"] } else { Vec::new() },
            protocol_data: Map::new(),
            is_mqtt: false,
        }
    }

    fn token(&self, key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        pair.map(|(_, value)| value.as_str())
    }
}

/// What an authorizer answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    is_authenticated: bool,
    principal_id: String,
    #[serde(default)]
    policy_documents: Vec<Value>,
    disconnect_after_in_seconds: Option<u64>,
    refresh_after_in_seconds: Option<u64>,
}

/// What was answered.
#[derive(Debug)]
struct Known {
    said: Arc<Authorized>,
    /// Until when it holds, in milliseconds since 1970.
    until: u64,
    /// How long a connection may last that begins with it, in milliseconds.
    lasts: Option<u64>,
}

/// By what was asked.
type Remembered = HashMap<[u8; 32], Known>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Authorizers {
    key: [u8; 32],
    remembered: Mutex<Remembered>,
}

impl Default for Authorizers {
    fn default() -> Self {
        Self { key: rand::random(), remembered: Mutex::default() }
    }
}

impl Authorizers {
    /// Who it is, if the authorizer says that they are.
    pub(crate) async fn ask(
        &self,
        registry: &Registry,
        asked: &Asked,
        unix_ms: u64,
    ) -> Option<Identity> {
        let authorizer = registry.authorizer(&asked.name).filter(|it| it.is_active)?;
        let token = authorizer.token_key_name.as_deref().and_then(|key| asked.token(key));
        let is_verified = match (authorizer.signing_disabled, token) {
            (true, _) => false,
            (false, Some(token)) => {
                is_signed(authorizer, token, asked.signature.as_deref()).then_some(true)?
            }
            (false, None) => return None,
        };
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut body = json!({
            "signatureVerified": is_verified,
            "protocols": asked.protocols,
            "protocolData": asked.protocol_data,
        });
        if let (Some(token), Some(members)) = (token, body.as_object_mut()) {
            members.insert("token".to_owned(), token.into());
        }
        let text = format!("{}\n{}\n{body}", asked.name, authorizer.modified_unix_ms);
        let digest = self.digest(&text);
        let may_remember = asked.is_mqtt || authorizer.caches_for_http;
        if let Some(known) = self.find(&digest, unix_ms).filter(|_| may_remember) {
            return Some(Identity::Authorizer(known));
        }
        if let Some(members) = body.as_object_mut() {
            let metadata = json!({ "id": id.hyphenated().to_string() });
            members.insert("connectionMetadata".to_owned(), metadata);
        }
        let answered = webhook::post(&authorizer.function, body.to_string().into_bytes()).await;
        let said = answered
            .map_err(|error| error.to_string())
            .and_then(|answer| read(&answer, registry, unix_ms));
        match said {
            Ok(Some(said)) => {
                let said = Arc::new(said);
                self.remember(digest, &said, unix_ms);
                Some(Identity::Authorizer(said))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(authorizer = %asked.name, %error, "an authorizer cannot be used");
                None
            }
        }
    }

    /// TestInvokeAuthorizer: asks an authorizer what an event says, and tells its answer as it is
    /// understood. Nothing is remembered, nobody is let in.
    pub(crate) async fn test(
        registry: &Registry,
        name: &str,
        mut asked: Value,
    ) -> Result<Value, String> {
        let authorizer = registry.authorizer(name).ok_or("there is no such authorizer")?;
        let signature = asked["tokenSignature"].as_str().map(str::to_owned);
        let mut event = asked["event"].take();
        if !authorizer.signing_disabled {
            let token = event["token"].as_str().unwrap_or_default();
            if !is_signed(authorizer, token, signature.as_deref()) {
                return Err("the signature of the token does not hold".to_owned());
            }
            event["signatureVerified"] = true.into();
        }
        let body = event.to_string().into_bytes();
        let answer = webhook::post(&authorizer.function, body).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let said: Answer = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        read(&answer, registry, 0)?;
        let text = |document: &Value| match document {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok(json!({
            "isAuthenticated": said.is_authenticated,
            "principalId": said.principal_id,
            "policyDocuments": said.policy_documents.iter().map(text).collect::<Vec<_>>(),
            "refreshAfterInSeconds": said.refresh_after_in_seconds,
            "disconnectAfterInSeconds": said.disconnect_after_in_seconds,
        }))
    }

    fn digest(&self, text: &str) -> [u8; 32] {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(&self.key);
        context.update(text.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }

    /// What was said before, for a connection that begins at this moment.
    fn find(&self, digest: &[u8; 32], unix_ms: u64) -> Option<Arc<Authorized>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get(digest).filter(|known| known.until > unix_ms)?;
        let Some(lasts) = known.lasts else { return Some(Arc::clone(&known.said)) };
        Some(Arc::new(known.said.until(Some(unix_ms + lasts))))
    }

    fn remember(&self, digest: [u8; 32], said: &Arc<Authorized>, unix_ms: u64) {
        let Some(until) = said.refresh_at_unix_ms else { return };
        let lasts = said.disconnect_at_unix_ms.map(|at| at.saturating_sub(unix_ms));
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, known| known.until > unix_ms);
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
        }
        remembered.insert(digest, Known { said: Arc::clone(said), until, lasts });
    }
}

/// Whether one of the authorizer's keys made the signature: RSA with SHA-256, in base64.
fn is_signed(authorizer: &Authorizer, token: &str, signature: Option<&str>) -> bool {
    let Some(signature) = signature.and_then(|it| BASE64.decode(it.as_bytes()).ok()) else {
        return false;
    };
    authorizer.token_signing_public_keys.values().any(|pem| {
        let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) else { return false };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
        key.verify(token.as_bytes(), &signature).is_ok()
    })
}

/// What an answer says; `None` where it says no.
fn read(answer: &[u8], registry: &Registry, unix_ms: u64) -> Result<Option<Authorized>, String> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if !answer.is_authenticated {
        return Ok(None);
    }
    let is_name = |text: &str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !is_name(&answer.principal_id) {
        return Err("principalId is 1 to 128 letters and digits".to_owned());
    }
    if answer.policy_documents.len() > POLICIES_MAX {
        return Err(format!("more than {POLICIES_MAX} policyDocuments"));
    }
    let text = |document| match document {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    let documents: Vec<Arc<str>> = answer.policy_documents.into_iter().map(text).collect();
    let limits = &registry.limits().policy;
    let said = Authorized::new(answer.principal_id, documents, limits);
    let mut said = said.map_err(|error| error.to_string())?;
    let at = |seconds: Option<u64>, what: &str| match seconds {
        None => Ok(None),
        Some(seconds) if SECONDS.contains(&seconds) => Ok(Some(unix_ms + seconds * 1_000)),
        Some(_) => Err(format!("{what} is from 300 to 86400")),
    };
    said.disconnect_at_unix_ms =
        at(answer.disconnect_after_in_seconds, "disconnectAfterInSeconds")?;
    said.refresh_at_unix_ms = at(answer.refresh_after_in_seconds, "refreshAfterInSeconds")?;
    Ok(Some(said))
}

#[cfg(test)]
mod tests {
    use bitts_aws::policy::PolicyLimits;

    use super::*;

    /// A client that comes back after its time is not refused with what it was told then.
    #[test]
    fn each_connection_lasts_as_long_as_the_answer_says() {
        let authorizers = Authorizers::default();
        let mut said =
            Authorized::new("lamp".to_owned(), Vec::new(), &PolicyLimits::default()).unwrap();
        said.disconnect_at_unix_ms = Some(300_000);
        said.refresh_at_unix_ms = Some(86_400_000);
        let said = Arc::new(said);
        authorizers.remember([7; 32], &said, 0);
        let ends = |now| authorizers.find(&[7; 32], now).map(|it| it.disconnect_at_unix_ms);
        assert_eq!(ends(1_000), Some(Some(301_000)));
        assert_eq!(ends(400_000), Some(Some(700_000)));
        assert_eq!(ends(86_400_000), None);
    }
}
