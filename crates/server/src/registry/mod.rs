//! The registry while the server runs: one writer, on disk and known to every shard before an
//! answer leaves.

mod audit;
mod file;
mod folder;
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

use self::audit::AuditLimits;
pub(crate) use self::audit::{Audit, DONE, Entry};
use self::file::Log;
pub use self::file::RegistryError;
use self::folder::{Folder, Unwritten};
pub use self::offline::{AdminKey, AdminKeyError, create_admin_key};
pub(crate) use self::offline::{check_rows, salvaged_rows, stored_rows, write_rows};
pub(crate) use self::x509::{check_authority, is_signed_by, read as read_certificate};
use crate::config::Config;
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
    pub(crate) fn open(
        dir: Option<&Path>,
        scope: ArnScope,
        config: &Config,
    ) -> Result<Self, RegistryError> {
        let limits = RegistryLimits::default();
        let are_bound = config.binds_keys_without_policies;
        let Some(dir) = dir else {
            let registry = Registry::new(scope, limits).with_keys_bound(are_bound);
            let registry = Arc::new(registry);
            return Ok(Self { registry, log: None, audit: Audit::default() });
        };
        let folder = Folder::open(dir)?;
        let (mut log, rows) = Log::open(folder.clone())?;
        let registry = Registry::load(scope, limits, rows)
            .map_err(|problem| RegistryError::Rows { path: log.path(), problem })?
            .with_keys_bound(are_bound);
        log.compact(registry.rows())?;
        let audit = Audit::open(folder, AuditLimits::of(&config.server_limits))?;
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
        append(self.log.as_mut(), &rows, || {})?;
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
    /// Ends the process: a change may be on disk that nobody was told of.
    give_up: fn(),
}

impl Directory {
    pub(crate) fn new(stored: Stored, mesh: Mesh, is_enforced: bool) -> Self {
        let Stored { registry, log, audit } = stored;
        let (current, log) = (ArcSwap::new(registry), Arc::new(Mutex::new(log)));
        let waiting = std::sync::Mutex::default();
        let give_up = || std::process::exit(1);
        Self { current, waiting, log, audit, mesh, is_enforced, give_up }
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
            let give_up = self.give_up;
            let written = tokio::task::spawn_blocking(move || {
                let outcome = append(log.as_mut(), &rows, give_up);
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

/// Puts changes on disk; where there is no room for them nothing is changed. Any other failure is
/// final: what is on disk is not known.
fn append(log: Option<&mut Log>, rows: &[Row], give_up: fn()) -> Result<(), ControlError> {
    let Some(log) = log.filter(|_| !rows.is_empty()) else { return Ok(()) };
    let Err(error) = log.append(rows) else { return Ok(()) };
    tracing::error!(path = %log.path().display(), %error, "a change is not on disk");
    if let Unwritten::Failed(_) = error {
        give_up();
    }
    let message = match error {
        Unwritten::NoSpace => "No space is left on the disk; nothing is changed",
        Unwritten::Failed(_) => "The change cannot be put on disk",
    };
    Err(ControlError::new(ControlErrorKind::ServiceUnavailable, message))
}

#[cfg(test)]
mod tests {
    use bitts_aws::control::route;
    use std::io::ErrorKind;

    use bitts_broker::{Interest, Placement};
    use serde_json::json;

    use super::folder::tests::failing;
    use super::*;

    const AUDIT: AuditLimits = AuditLimits { bytes_max: 1 << 20, files_max: 2 };

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
        let mut stored = Stored::open(Some(dir.path()), scope(), &Config::default()).unwrap();
        assert_eq!(create(&mut stored, "a").unwrap()["thingName"], json!("a"));
        assert!(create(&mut stored, "a b").is_err());
        assert!(matches!(
            Stored::open(Some(dir.path()), scope(), &Config::default()),
            Err(RegistryError::InUse { .. })
        ));
        let generation = stored.registry.generation();
        let rows: Vec<_> = stored.registry.rows().collect();
        drop(stored);
        for _ in 0..2 {
            let stored = Stored::open(Some(dir.path()), scope(), &Config::default()).unwrap();
            assert_eq!(stored.registry.generation(), generation);
            assert!(stored.registry.rows().eq(rows.clone()));
        }
    }

    fn directory(dir: &Path) -> Arc<Directory> {
        let placement = Placement::new((1, 2), 1);
        let interest = Arc::new(Interest::new(&placement));
        let revoked = Arc::default();
        let mesh = Mesh { inboxes: Arc::from([]), placement, interest, revoked };
        let stored = Stored::open(Some(dir), scope(), &Config::default()).unwrap();
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
                match Stored::open(Some(dir.path()), scope(), &Config::default()) {
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

    /// A directory whose operation number `at` from here on fails, if its disk fails.
    fn failing_directory(dir: &Path, kind: ErrorKind, at: usize) -> Arc<Directory> {
        let (folder, plan) = failing(dir, None);
        let (mut log, _) = Log::open(folder.clone()).unwrap();
        log.compact([].into_iter()).unwrap();
        let audit = Audit::open(folder, AUDIT).unwrap();
        let registry = Arc::new(Registry::new(scope(), RegistryLimits::default()));
        let placement = Placement::new((1, 2), 1);
        let interest = Arc::new(Interest::new(&placement));
        let mesh = Mesh { inboxes: Arc::from([]), placement, interest, revoked: Arc::default() };
        let stored = Stored { registry, log: Some(log), audit };
        let mut directory = Directory::new(stored, mesh, false);
        directory.give_up = || GIVEN_UP.with(|it| it.set(it.get() + 1));
        let mut plan = plan.lock().unwrap();
        plan.fails = Some((plan.done + at, kind, false));
        Arc::new(directory)
    }

    thread_local! {
        static GIVEN_UP: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    /// D4: what is not on disk is not there, and is not answered as if it were. Where it may be
    /// there the process ends.
    #[test]
    fn a_change_that_the_disk_does_not_take_changes_nothing() {
        // Room is made sure of, the line written, then synced.
        for (at, kind, passes) in [
            (1, ErrorKind::StorageFull, true),
            (2, ErrorKind::StorageFull, true),
            (1, ErrorKind::Other, false),
            (2, ErrorKind::Other, false),
            (3, ErrorKind::Other, false),
            (3, ErrorKind::StorageFull, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let directory = failing_directory(dir.path(), kind, at);
            let route = route("POST", "/things/a").unwrap();
            let input = Input::parse(&route, None, &(&[] as &[(&str, &str)]), b"").unwrap();
            let applied = directory.current().apply(route.operation(), &input, &Given::default());
            let rows = applied.unwrap().rows;
            let mut log = directory.log.try_lock().unwrap();
            let before = GIVEN_UP.with(std::cell::Cell::get);
            let refused = append(log.as_mut(), &rows, directory.give_up).unwrap_err();
            assert_eq!(refused.kind, ControlErrorKind::ServiceUnavailable);
            let ends = GIVEN_UP.with(std::cell::Cell::get) - before;
            assert_eq!(ends, u32::from(!passes), "{at} {kind:?}");
            assert_eq!(append(log.as_mut(), &rows, || {}).is_ok(), passes, "{at} {kind:?}");
        }
    }
}
