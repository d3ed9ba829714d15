//! The registry while the server runs: one writer, on disk and known to every shard before an
//! answer leaves.

mod audit;
mod file;
mod offline;
mod x509;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bitts_aws::control::{Applied, ControlError, ControlErrorKind, Given, Input, Operation};
use bitts_aws::policy::ArnScope;
use bitts_aws::registry::{Registry, RegistryLimits, Row};
use bitts_broker::command::Command;
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use self::audit::{Audit, Entry};
use self::file::Log;
pub use self::file::RegistryError;
pub use self::offline::{AdminKey, AdminKeyError, create_admin_key};
pub(crate) use self::x509::{check_authority, is_signed_by, read as read_certificate};
use crate::mesh::Mesh;

/// A registry from disk, and what takes its changes.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) registry: Arc<Registry>,
    log: Option<Log>,
    audit: Audit,
}

impl Stored {
    /// The registry of a folder; without one it is empty, and in memory only.
    pub(crate) fn open(dir: Option<&Path>, scope: ArnScope) -> Result<Self, RegistryError> {
        let limits = RegistryLimits::default();
        let Some(dir) = dir else {
            let registry = Arc::new(Registry::new(scope, limits));
            return Ok(Self { registry, log: None, audit: Audit::default() });
        };
        let (mut log, rows) = Log::open(dir)?;
        let registry = Registry::load(scope, limits, rows)
            .map_err(|problem| RegistryError::Rows { path: log.path().to_owned(), problem })?;
        log.compact(registry.rows())?;
        let audit = Audit::open(dir)
            .map_err(|source| RegistryError::File { path: dir.join("audit.log"), source })?;
        Ok(Self { registry: Arc::new(registry), log: Some(log), audit })
    }

    /// Performs an operation while no server runs.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation,
        input: &Input,
        given: &Given,
    ) -> Result<Value, ControlError> {
        let Applied { registry, rows, answer } = self.registry.apply(operation, input, given)?;
        append(self.log.as_mut(), &rows)?;
        self.registry = Arc::new(registry);
        Ok(answer)
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }
}

/// Another registry, an answer, and what a store has to keep of it.
type Changed<A> = Result<(Registry, A, Vec<Row>), ControlError>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Directory {
    current: ArcSwap<Registry>,
    /// Whoever has it is the writer.
    log: Arc<Mutex<Option<Log>>>,
    audit: Audit,
    mesh: Mesh,
    /// Shards decide by it.
    is_enforced: bool,
}

impl Directory {
    pub(crate) fn new(stored: Stored, mesh: Mesh, is_enforced: bool) -> Self {
        let Stored { registry, log, audit } = stored;
        let (current, log) = (ArcSwap::new(registry), Arc::new(Mutex::new(log)));
        Self { current, log, audit, mesh, is_enforced }
    }

    /// The registry as it stands.
    pub(crate) fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Where changes are recorded.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Performs an operation of the control plane.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        operation: &'static Operation,
        input: Input,
        given: Given,
    ) -> Result<Value, ControlError> {
        if !operation.changes() {
            return self.current().apply(operation, &input, &given).map(|it| it.answer);
        }
        self.change(move |registry| {
            let Applied { registry, rows, answer } = registry.apply(operation, &input, &given)?;
            Ok((registry, answer, rows))
        })
        .await
    }

    /// Makes another registry out of the one in force. When this returns it is on disk, and decides
    /// everywhere, in live sessions too.
    ///
    /// Once begun it is finished, whether or not somebody waits for it.
    pub(crate) async fn change<A: Send + 'static>(
        self: &Arc<Self>,
        apply: impl FnOnce(&Registry) -> Changed<A> + Send + 'static,
    ) -> Result<A, ControlError> {
        let directory = Arc::clone(self);
        let changed = tokio::spawn(async move { directory.write(apply).await }).await;
        changed.unwrap_or_else(|error| {
            tracing::error!(%error, "a change of the registry ended");
            Err(ControlError::new(ControlErrorKind::InternalFailure, "The change did not end well"))
        })
    }

    async fn write<A>(
        &self,
        apply: impl FnOnce(&Registry) -> Changed<A>,
    ) -> Result<A, ControlError> {
        let mut writing = Arc::clone(&self.log).lock_owned().await;
        let (registry, answer, rows) = apply(&self.current())?;
        if rows.is_empty() {
            return Ok(answer);
        }
        let written = tokio::task::spawn_blocking(move || {
            let outcome = append(writing.as_mut(), &rows);
            (writing, outcome)
        });
        let (writing, outcome) = written.await.map_err(|error| {
            ControlError::new(ControlErrorKind::InternalFailure, error.to_string())
        })?;
        outcome?;
        let registry = Arc::new(registry);
        self.current.store(Arc::clone(&registry));
        if self.is_enforced {
            // Without shards the server stops, and there is nobody to tell.
            self.mesh.call_all(Command::SetRegistry(registry)).await;
        }
        drop(writing);
        Ok(answer)
    }
}

/// Puts a change on disk; where that fails nothing is changed.
fn append(log: Option<&mut Log>, rows: &[Row]) -> Result<(), ControlError> {
    let Some(log) = log.filter(|_| !rows.is_empty()) else { return Ok(()) };
    log.append(rows).map_err(|error| {
        tracing::error!(path = %log.path().display(), %error, "a change is not on disk");
        let message = "The change cannot be put on disk";
        ControlError::new(ControlErrorKind::ServiceUnavailable, message)
    })
}

#[cfg(test)]
mod tests {
    use bitts_aws::control::route;
    use serde_json::json;

    use super::*;

    fn scope() -> ArnScope {
        ArnScope::new("aws", "us-east-1", "123456789012").unwrap()
    }

    fn create(stored: &mut Stored, name: &str) -> Result<Value, ControlError> {
        let route = route("POST", &format!("/things/{name}")).unwrap();
        let input = Input::parse(&route, None, &(&[] as &[(&str, &str)]), b"").unwrap();
        stored.apply(route.operation(), &input, &Given::default())
    }

    #[test]
    fn what_was_answered_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut stored = Stored::open(Some(dir.path()), scope()).unwrap();
        assert_eq!(create(&mut stored, "a").unwrap()["thingName"], json!("a"));
        assert!(create(&mut stored, "a b").is_err());
        assert!(matches!(
            Stored::open(Some(dir.path()), scope()),
            Err(RegistryError::InUse { .. })
        ));
        let generation = stored.registry.generation();
        let rows: Vec<_> = stored.registry.rows().collect();
        drop(stored);
        for _ in 0..2 {
            let stored = Stored::open(Some(dir.path()), scope()).unwrap();
            assert_eq!(stored.registry.generation(), generation);
            assert!(stored.registry.rows().eq(rows.clone()));
        }
    }
}
