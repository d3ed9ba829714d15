//! The registry while the server runs: one writer, on disk and known to every shard before an
//! answer leaves.

mod audit;
mod file;
mod offline;
mod x509;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use bitts_aws::control::{Applied, ControlError, ControlErrorKind, Given, Input, Operation};
use bitts_aws::policy::ArnScope;
use bitts_aws::registry::{Registry, RegistryLimits, Row};
use bitts_broker::command::Command;
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};

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

/// Answers a change, once it is known whether it is on disk.
type Reply = Box<dyn FnOnce(Result<(), ControlError>) + Send>;

/// What a change makes of a registry, unless it refuses.
type Made = Option<(Registry, Vec<Row>)>;

type Apply = dyn FnOnce(&Registry) -> (Made, Reply) + Send;

/// A change asked for.
struct Job(Box<Apply>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Directory {
    current: ArcSwap<Registry>,
    /// Changes asked for and not begun: at most one for each request under way.
    waiting: std::sync::Mutex<Vec<Job>>,
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
        let waiting = std::sync::Mutex::default();
        Self { current, waiting, log, audit, mesh, is_enforced }
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
    /// Once begun it is finished, whether or not somebody waits for it. Changes that come while
    /// others are being written are written together, by one sync.
    pub(crate) async fn change<A: Send + 'static>(
        self: &Arc<Self>,
        apply: impl FnOnce(&Registry) -> Changed<A> + Send + 'static,
    ) -> Result<A, ControlError> {
        let (answering, answered) = oneshot::channel();
        let job = move |registry: &Registry| {
            let (made, answer) = match apply(registry) {
                Ok((registry, answer, rows)) => (Some((registry, rows)), Ok(answer)),
                Err(refused) => (None, Err(refused)),
            };
            let reply: Reply = Box::new(move |written| {
                // Who asked may have gone.
                drop(answering.send(written.and(answer)));
            });
            (made, reply)
        };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Job(Box::new(job)));
        let directory = Arc::clone(self);
        tokio::spawn(async move { directory.write().await });
        answered.await.unwrap_or_else(|_| {
            let message = "The change did not end well";
            Err(ControlError::new(ControlErrorKind::InternalFailure, message))
        })
    }

    /// Performs the changes that wait: each sees those before it, and none is answered before all
    /// are on disk, for also a refusal may be about another one of them.
    async fn write(&self) {
        let mut log = Arc::clone(&self.log).lock_owned().await;
        let jobs = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        let (mut registry, mut rows, mut replies) = (self.current(), Vec::<Row>::new(), Vec::new());
        for Job(job) in jobs {
            let (made, reply) = job(&registry);
            replies.push(reply);
            if let Some((made, changed)) = made.filter(|(_, rows)| !rows.is_empty()) {
                registry = Arc::new(made);
                rows.extend(changed);
            }
        }
        let mut outcome = Ok(());
        if !rows.is_empty() {
            let written = tokio::task::spawn_blocking(move || {
                let outcome = append(log.as_mut(), &rows);
                (log, outcome)
            });
            let Ok((writing, written)) = written.await else { return };
            (log, outcome) = (writing, written);
            if outcome.is_ok() {
                self.current.store(Arc::clone(&registry));
                if self.is_enforced {
                    // Without shards the server stops, and there is nobody to tell.
                    self.mesh.call_all(Command::SetRegistry(registry)).await;
                }
            }
        }
        drop(log);
        for reply in replies {
            reply(outcome.clone());
        }
    }
}

/// Puts changes on disk; where that fails nothing is changed.
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
    use bitts_broker::{Interest, Placement};
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

    fn directory(dir: &Path) -> Arc<Directory> {
        let placement = Placement::new((1, 2), 1);
        let interest = Arc::new(Interest::new(&placement));
        let revoked = Arc::default();
        let mesh = Mesh { inboxes: Arc::from([]), placement, interest, revoked };
        let stored = Stored::open(Some(dir), scope()).unwrap();
        Arc::new(Directory::new(stored, mesh, false))
    }

    /// The outcome of CreateThing with an attribute.
    fn ask(
        directory: &Arc<Directory>,
        name: &str,
        value: &str,
    ) -> tokio::task::JoinHandle<Result<Value, ControlError>> {
        let route = route("POST", &format!("/things/{name}")).unwrap();
        let body = json!({ "attributePayload": { "attributes": { "a": value } } }).to_string();
        let no_headers: &[(&str, &str)] = &[];
        let input = Input::parse(&route, None, &no_headers, body.as_bytes()).unwrap();
        let directory = Arc::clone(directory);
        tokio::spawn(
            async move { directory.apply(route.operation(), input, Given::default()).await },
        )
    }

    /// Of two changes that exclude each other one is done, however many are written together.
    #[tokio::test(flavor = "multi_thread")]
    async fn changes_at_once_are_as_if_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path());
        let asked: Vec<_> =
            (0..200).map(|n| ask(&directory, &format!("t{}", n / 2), &n.to_string())).collect();
        let mut done = 0;
        for outcome in asked {
            match outcome.await.unwrap() {
                Ok(_) => done += 1,
                Err(refused) => assert_eq!(refused.kind, ControlErrorKind::ResourceAlreadyExists),
            }
        }
        assert_eq!((done, directory.current().generation()), (100, 100));
        let rows: Vec<_> = directory.current().rows().collect();
        drop(directory);
        // The last writer lets the file go a moment after its caller was answered.
        let open = async {
            loop {
                match Stored::open(Some(dir.path()), scope()) {
                    Err(RegistryError::InUse { .. }) => tokio::task::yield_now().await,
                    opened => return opened,
                }
            }
        };
        let stored = tokio::time::timeout(std::time::Duration::from_secs(10), open).await;
        assert!(stored.unwrap().unwrap().registry.rows().eq(rows));
    }

    /// Whoever asked may go: what was begun is done.
    #[tokio::test]
    async fn a_change_is_finished_without_its_caller() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path());
        let caller = ask(&directory, "a", "1");
        tokio::task::yield_now().await;
        caller.abort();
        ask(&directory, "b", "1").await.unwrap().unwrap();
        let generation = directory.current().generation();
        assert_eq!(generation, 2);
    }

    /// What is not on disk is not there, and is not answered as if it were.
    #[tokio::test]
    async fn a_change_that_the_disk_does_not_take_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path());
        ask(&directory, "a", "1").await.unwrap().unwrap();
        if let Some(log) = directory.log.lock().await.as_mut() {
            log.break_for_tests();
        }
        for _ in 0..2 {
            let refused = ask(&directory, "b", "1").await.unwrap().unwrap_err();
            assert_eq!(refused.kind, ControlErrorKind::ServiceUnavailable);
            assert_eq!(directory.current().generation(), 1);
        }
    }
}
