//! What is done to a registry while no server runs on it: the first administrator's access key.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use bitts_aws::control::{ControlError, Given, Input, NewCredential, route};
use bitts_aws::policy::ArnScope;
use bitts_aws::registry::Secret;

use super::{Entry, RegistryError, Stored};
use crate::http::new_access_key;

/// A new access key; its secret is kept by the registry and told once.
#[derive(Debug)]
pub struct AdminKey {
    /// Its id.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
}

/// Why there is no access key.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    /// The registry cannot be used, for instance because a server runs on it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry refuses.
    #[error("{}", .0.message)]
    Refused(#[from] ControlError),
}

/// Makes an access key that may do everything, in a data directory that no server uses.
pub fn create_admin_key(dir: &Path, user_name: Option<&str>) -> Result<AdminKey, AdminKeyError> {
    // Rows hold no ARN, so any scope will do.
    let scope = ArnScope::new("aws", "us-east-1", "000000000000");
    let scope = scope.map_err(|error| {
        let message = error.to_string();
        ControlError::new(bitts_aws::control::ControlErrorKind::InternalFailure, message)
    })?;
    let mut stored = Stored::open(Some(dir), scope)?;
    let (id, secret) = new_access_key();
    let unix_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let given = Given {
        unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
        credential: Some(NewCredential::AccessKey { id: id.clone(), secret: secret.clone() }),
        ..Given::default()
    };
    let route = route("POST", "/bitts/v1/credentials").map_err(|_| {
        ControlError::new(bitts_aws::control::ControlErrorKind::InternalFailure, "No such path")
    })?;
    let body = serde_json::json!({ "isAdmin": true, "userName": user_name }).to_string();
    let no_headers: &[(&str, &str)] = &[];
    let input = Input::parse(&route, None, &no_headers, body.as_bytes())?;
    stored.apply(route.operation(), &input, &given)?;
    stored.audit().write(&Entry {
        timestamp: given.unix_ms,
        request_id: "",
        principal: "offline",
        source_ip: "",
        action: &route.action(),
        with: &BTreeMap::from([("credentialId", id.clone())]),
        outcome: "done",
    });
    Ok(AdminKey { id, secret })
}

#[cfg(test)]
mod tests {
    use bitts_aws::registry::{Identity, Rights};

    use super::*;

    #[test]
    fn the_first_key_may_do_everything_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let made = create_admin_key(dir.path(), Some("root")).unwrap();
        let scope = ArnScope::new("aws", "eu-west-1", "123456789012").unwrap();
        let stored = Stored::open(Some(dir.path()), scope).unwrap();
        let key = stored.registry.access_key(&made.id).unwrap();
        assert!(key.secret.is(made.secret.expose()) && key.is_admin);
        let identity = Identity::AccessKey(made.id.as_str().into());
        let grant = stored.registry.grant(&identity, None, Some(u64::MAX / 2)).unwrap();
        assert!(matches!(grant.rights, Rights::Unrestricted));
        assert!(matches!(
            create_admin_key(dir.path(), None),
            Err(AdminKeyError::Registry(RegistryError::InUse { .. }))
        ));
        let audit = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert!(audit.contains("bitts:CreateCredential") && !audit.contains(made.secret.expose()));
    }
}
