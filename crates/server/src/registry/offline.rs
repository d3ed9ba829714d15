//! What is done to a registry while no server runs on it: the first administrator's access key,
//! all of its rows out and in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use bitts_aws::control::{ControlError, ControlErrorKind, Given, Input, NewCredential, route};
use bitts_aws::policy::ArnScope;
use bitts_aws::registry::{Registry, RegistryLimits, Row, Secret};
use bitts_store::Damage;

use super::file::{Log, salvage};
use super::folder::Folder;
use super::{DONE, Entry, RegistryError, Stored};
use crate::config::Config;
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

/// Rows hold no ARN, so any scope will do.
fn any_scope() -> Result<ArnScope, ControlError> {
    ArnScope::new("aws", "us-east-1", "000000000000").map_err(|error| {
        let message = error.to_string();
        ControlError::new(ControlErrorKind::InternalFailure, message)
    })
}

/// What a directory's registry holds, in the order in which it can be read; nothing is changed.
pub(crate) fn stored_rows(dir: &Path) -> Result<Vec<Row>, RegistryError> {
    if !dir.join("registry.log").exists() {
        return Ok(Vec::new());
    }
    let (log, rows) = Log::open(Folder::open(dir)?)?;
    Ok(load(&log, rows)?.rows().collect())
}

/// How many rows a directory's registry has, and how many torn bytes behind them; nothing is
/// changed.
pub(crate) fn check_rows(dir: &Path) -> Result<(usize, u64), RegistryError> {
    if !dir.join("registry.log").exists() {
        return Ok((0, 0));
    }
    let (log, rows) = Log::open(Folder::open(dir)?)?;
    let torn = log.torn();
    Ok((load(&log, rows)?.rows().count(), torn))
}

/// The rows of a damaged registry that can be read, and the places that cannot; nothing is changed.
pub(crate) fn salvaged_rows(dir: &Path) -> Result<(Vec<Row>, Vec<Damage>), RegistryError> {
    if !dir.join("registry.log").exists() {
        return Ok((Vec::new(), Vec::new()));
    }
    salvage(&Folder::open(dir)?)
}

/// Writes the registry of a directory that has none.
pub(crate) fn write_rows(dir: &Path, rows: Vec<Row>) -> Result<(), RegistryError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (mut log, _) = Log::open(Folder::open(dir)?)?;
    let registry = load(&log, rows)?;
    log.compact(registry.rows())
}

fn load(log: &Log, rows: Vec<Row>) -> Result<Registry, RegistryError> {
    let path = || log.path();
    let scope = any_scope().map_err(|error| RegistryError::File {
        path: path(),
        source: std::io::Error::other(error.message),
    })?;
    Registry::load(scope, RegistryLimits::default(), rows)
        .map_err(|problem| RegistryError::Rows { path: path(), problem })
}

/// Makes an access key that may do everything, in a data directory that no server uses.
pub fn create_admin_key(dir: &Path, user_name: Option<&str>) -> Result<AdminKey, AdminKeyError> {
    let mut stored = Stored::open(Some(dir), any_scope()?, &Config::default())?;
    let (id, secret) = new_access_key();
    let unix_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let given = Given {
        unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
        credential: Some(NewCredential::AccessKey { id: id.clone(), secret: secret.clone() }),
        ..Given::default()
    };
    let route = route("POST", "/bitts/v1/credentials")
        .map_err(|_| ControlError::new(ControlErrorKind::InternalFailure, "No such path"))?;
    let body = serde_json::json!({ "isAdmin": true, "userName": user_name }).to_string();
    let no_headers: &[(&str, &str)] = &[];
    let input = Input::parse(&route, None, &no_headers, body.as_bytes())?;
    stored.apply(route.operation(), &input, &given)?;
    let written = stored.audit().write_now(&Entry {
        timestamp: given.unix_ms,
        request_id: "",
        principal: "offline",
        source_ip: "",
        action: &route.action(),
        with: &BTreeMap::from([("credentialId", id.clone())]),
        outcome: DONE,
    });
    if let Err(error) = written {
        let message = format!("The key is made, and the audit log is not written: {error}");
        return Err(ControlError::new(ControlErrorKind::ServiceUnavailable, message).into());
    }
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
        let stored = Stored::open(Some(dir.path()), scope, &Config::default()).unwrap();
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
