//! What outlives the process: opened before anything listens, written by a thread of its own.
//!
//! [`Storage::open`] reads the data directory, [`Storage::begin`] gives each shard what it owns and
//! writes the first frame; from then on the committer's thread makes durable what shards hand over
//! and tells them. A disk that fails ends the process: what waited for it was not answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use bitts_broker::recover::Recovered;
use bitts_broker::{Now, Outbox, PageId, Placement, SessionRef, Shard, ShardId};
use bitts_store::disk::{OsDisk, OsReader};
use bitts_store::{
    Committer, JournalStore, MemoryStore, Notice, Opened, PageIndex, Restart, Store, StoreError,
    StoreEvent, Submissions, recover,
};

use crate::mesh::{Mail, Mesh};

/// The folder of the journal in the data directory.
pub(crate) const JOURNAL: &str = "journal";
/// The folder of a journal that `bitts store` has not written to its end.
pub(crate) const UNFINISHED: &str = "journal.unfinished";

/// What an acknowledgement survives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// Loss of power: it waits until the disk has what it promises.
    #[default]
    Sync,
    /// Death of the process: it waits until the system has what it promises.
    Os,
}

impl Durability {
    /// Its name in settings, `/health` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Os => "os",
        }
    }
}

/// One shard's store.
#[derive(Debug)]
pub(crate) enum ShardStore {
    Memory(MemoryStore),
    Journal(JournalStore, mpsc::Sender<PageRead>),
}

/// A session needs a page.
type PageRead = (SessionRef, PageId);

impl ShardStore {
    /// Whether more waits than the disk keeps up with.
    pub(crate) fn is_high(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Journal(journal, _) => journal.submissions().is_high(),
        }
    }

    /// Only a reserve of the disk is left.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Journal(journal, _) => {
                journal.submissions().gauges.is_full.load(Ordering::Relaxed)
            }
        }
    }

    /// The shard has done its part of a checkpoint.
    pub(crate) fn checkpointed(&self, shard: ShardId) {
        match self {
            Self::Memory(_) => {}
            Self::Journal(journal, _) => journal.submissions().checkpointed(shard),
        }
    }
}

impl Store for ShardStore {
    fn submit(&mut self, now: Now, out: &mut Outbox) {
        match self {
            Self::Memory(store) => store.submit(now, out),
            Self::Journal(store, reader) => {
                store.submit(now, out);
                for read in out.reads.drain(..) {
                    if reader.send(read).is_err() {
                        tracing::error!("nobody reads pages any more");
                    }
                }
            }
        }
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        match self {
            Self::Memory(store) => store.poll(),
            Self::Journal(store, _) => store.poll(),
        }
    }
}

/// A data directory that was read, or none.
#[derive(Debug)]
pub(crate) struct Storage {
    found: Option<(Opened<OsDisk>, Recovered)>,
    path: PathBuf,
    durability: Durability,
    identity: u128,
}

/// The committer's thread, and the one that reads pages.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) submissions: Arc<Submissions>,
    committer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

impl Writer {
    /// Ends it when everything is written. Every shard has ended.
    pub(crate) fn stop(self) {
        self.submissions.close();
        for (thread, name) in [(self.committer, "committer"), (self.reader, "page reader")] {
            if thread.join().is_err() {
                tracing::error!("the {name} panicked");
            }
        }
    }
}

impl Storage {
    /// Reads the data directory, if there is one.
    pub(crate) fn open(
        data_dir: Option<&Path>,
        durability: Durability,
        now: Now,
    ) -> Result<Self, StoreError> {
        let identity = rand::random();
        let Some(data_dir) = data_dir else {
            return Ok(Self { found: None, path: PathBuf::new(), durability, identity });
        };
        let unfinished = data_dir.join(UNFINISHED);
        if unfinished.exists() {
            return Err(StoreError::Unfinished { place: unfinished.display().to_string() });
        }
        let path = data_dir.join(JOURNAL);
        let disk = OsDisk::open(&path).map_err(|source| StoreError::Io {
            place: path.display().to_string(),
            operation: "open",
            source,
        })?;
        let (opened, recovered) = recover(disk, now)?;
        if let Some(torn) = &opened.torn {
            tracing::warn!(
                file = torn.place,
                bytes = torn.bytes,
                after = torn.after,
                "recovered: the end of the journal was torn and is cut off"
            );
        }
        tracing::info!(
            journal_bytes = opened.bytes(),
            sessions = recovered.sessions.len(),
            queued = recovered.sessions.iter().map(|session| session.owed_len()).sum::<u64>(),
            retained = recovered.retained.len(),
            untaken = recovered.untaken.len(),
            "recovered"
        );
        if recovered.unknown > 0 {
            tracing::debug!(records = recovered.unknown, "the journal began in their middle");
        }
        let identity = opened.identity().unwrap_or(identity);
        Ok(Self { found: Some((opened, recovered)), path, durability, identity })
    }

    /// Where names are placed: the same at every start of one directory.
    pub(crate) fn placement(&self, shards: u8) -> Placement {
        Placement::new(((self.identity >> 64) as u64, self.identity as u64), shards)
    }

    /// Gives the shards what they own, and starts what writes for them.
    pub(crate) fn begin(
        self,
        shards: &mut [Shard],
        now: Now,
        mesh: &Mesh,
    ) -> Result<(Vec<ShardStore>, Option<Writer>), StoreError> {
        let Some((opened, recovered)) = self.found else {
            let stores = shards.iter().map(|_| ShardStore::Memory(MemoryStore::default()));
            return Ok((stores.collect(), None));
        };
        let placement = mesh.placement;
        let next_page = recovered.next_page;
        let mut restart = Restart::new(placement.shards());
        restore(shards, recovered, placement, now, &mut restart)?;
        let journal = restart.begin(opened, self.identity, self.durability == Durability::Sync)?;
        let pages = journal.page_index();
        let submissions = Submissions::new(placement.shards());
        let committer = Committer::new(journal, Arc::clone(&submissions), placement.all());
        let failed = |source| failed_to("start a thread for", source);
        let committer = spawn(committer, mesh.clone()).map_err(failed)?;
        let (reads, asked) = mpsc::channel();
        let disk = OsReader::new(&self.path);
        let reader = spawn_reader(disk, Arc::clone(&pages), asked, mesh.clone()).map_err(failed)?;
        for shard in shards.iter_mut() {
            shard.keep_pages(next_page);
        }
        let store =
            |shard| JournalStore::new(ShardId(shard), Arc::clone(&submissions), Arc::clone(&pages));
        let store = |shard| ShardStore::Journal(store(shard), reads.clone());
        let stores = (0..placement.shards()).map(store);
        Ok((stores.collect(), Some(Writer { submissions, committer, reader })))
    }
}

fn failed_to(operation: &'static str, source: io::Error) -> StoreError {
    StoreError::Io { place: JOURNAL.to_owned(), operation, source }
}

fn spawn(committer: Committer<OsDisk>, mesh: Mesh) -> io::Result<JoinHandle<()>> {
    let notify = move |shard: ShardId, notice: Notice| {
        let Some(inbox) = mesh.inbox(shard) else { return };
        match notice {
            Notice::Durable(lsn) => inbox.tell_durable(lsn),
            Notice::Checkpoint => inbox.send(&mut vec![Mail::Checkpoint]),
            Notice::Confirm => inbox.send(&mut vec![Mail::ConfirmCheckpoint]),
        }
    };
    let run = move || {
        if let Err(error) = committer.run(&notify) {
            tracing::error!(%error, "storage failed: nothing that waited for it was acknowledged");
            std::process::exit(1);
        }
    };
    std::thread::Builder::new().name("committer".to_owned()).spawn(run)
}

/// Reads pages and gives them to the shards that asked.
fn spawn_reader(
    mut disk: OsReader,
    pages: Arc<PageIndex>,
    asked: mpsc::Receiver<PageRead>,
    mesh: Mesh,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        for (session, page) in asked {
            match pages.read(&mut disk, page) {
                // Its session is gone.
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let mail = Mail::Loaded { session, page, bytes };
                    if let Some(inbox) = mesh.inbox(session.shard) {
                        inbox.send(&mut vec![mail]);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "storage failed: messages that wait cannot be read");
                    std::process::exit(1);
                }
            }
        }
    };
    std::thread::Builder::new().name("page reader".to_owned()).spawn(run)
}

/// Everything goes to the shard that owns it; what becomes durable on the way is in the first
/// frame.
fn restore(
    shards: &mut [Shard],
    recovered: Recovered,
    placement: Placement,
    now: Now,
    restart: &mut Restart,
) -> Result<(), StoreError> {
    let mut outs: Vec<Outbox> = shards.iter().map(|_| Outbox::default()).collect();
    bitts_broker::restore(shards, &mut outs, recovered, placement, now).map_err(|shadow| {
        let what = format!("a shadow of thing {:?} cannot be read", shadow.thing);
        StoreError::Missing { place: JOURNAL.to_owned(), what }
    })?;
    restart.submit(now, shards, &mut outs);
    Ok(())
}
