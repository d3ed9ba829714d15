//! How threads talk: one inbox for each shard, filled in batches, rung only while its owner sleeps.
//!
//! What one thread sends another arrives in order. A shard never waits for another and never drops
//! what another gave it; above [`INBOX_HIGH`] the senders stop reading their sockets.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitts_broker::command::{Command, Reply};
use bitts_broker::{Interest, Lsn, Message, PageId, Parcel, Placement, SessionRef, ShardId};
use mio::Waker;
use tokio::sync::oneshot;

use crate::conn::Conn;
use crate::identify::Again;
use crate::tls::Revoked;

/// Mails waiting for one shard above which nobody reads sockets. A turn takes them all.
const INBOX_HIGH: usize = 65_536;

/// What a shard's thread finds in its inbox.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A message that sessions here may want.
    Message(Arc<Message>),
    /// Something else from a shard.
    Parcel { from: ShardId, parcel: Parcel },
    /// A connection whose client is owned here, with everything it sent from its CONNECT on.
    Conn(Box<Conn>),
    /// A command, and who waits for the answer.
    Command(Command, oneshot::Sender<Reply>),
    /// A page that a session here asked for.
    Loaded { session: SessionRef, page: PageId, bytes: Vec<u8> },
    /// Write everything durable again.
    Checkpoint,
    /// Every shard has: the store is to hear when this was taken.
    ConfirmCheckpoint,
    /// An authorizer was asked again about a connection here.
    Refreshed(Again),
    /// Lists of revoked certificates were read: connections from this one on that they name end.
    LookForRevoked { from: usize },
    /// The server stops.
    Shutdown,
}

/// One shard's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    mails: Mutex<Vec<Mail>>,
    waiting: AtomicUsize,
    /// Everything that the owner submitted up to this position is durable.
    durable: AtomicU64,
    asleep: AtomicBool,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Self {
        let mails = Mutex::new(Vec::new());
        Self {
            mails,
            waiting: AtomicUsize::new(0),
            durable: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mail>> {
        // Whoever panicked while it held the lock had only moved mails.
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch in and empties it.
    pub(crate) fn send(&self, batch: &mut Vec<Mail>) {
        if batch.is_empty() {
            return;
        }
        let mut mails = self.lock();
        mails.append(batch);
        self.waiting.store(mails.len(), Ordering::Relaxed);
        drop(mails);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Tells the owner how much is durable; positions rise.
    pub(crate) fn tell_durable(&self, lsn: Lsn) {
        self.durable.store(lsn.0, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::SeqCst))
    }

    fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a shard");
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&self, into: &mut Vec<Mail>) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            std::mem::swap(&mut *self.lock(), into);
            self.waiting.store(0, Ordering::Relaxed);
        }
    }

    /// The owner, which knows how much was durable, is about to sleep; `false` if it must not,
    /// because there is mail or more is.
    pub(crate) fn may_sleep(&self, durable: Lsn) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.lock().is_empty() && self.durable() <= durable {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// The owner is awake.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn is_high(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > INBOX_HIGH
    }
}

/// What all threads of a server share.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) inboxes: Arc<[Inbox]>,
    pub(crate) placement: Placement,
    pub(crate) interest: Arc<Interest>,
    /// What authorities say of clients' certificates.
    pub(crate) revoked: Arc<Revoked>,
}

impl Mesh {
    pub(crate) fn inbox(&self, shard: ShardId) -> Option<&Inbox> {
        self.inboxes.get(usize::from(shard.0))
    }

    /// Whether any shard has more mail than it keeps up with.
    pub(crate) fn is_high(&self) -> bool {
        self.inboxes.iter().any(Inbox::is_high)
    }

    /// Asks one shard and waits for its answer; none while the server stops.
    pub(crate) async fn call(&self, shard: ShardId, command: Command) -> Option<Reply> {
        let (sender, receiver) = oneshot::channel();
        self.inbox(shard)?.send(&mut vec![Mail::Command(command, sender)]);
        receiver.await.ok()
    }

    /// Asks every shard the same.
    pub(crate) async fn call_all(&self, command: Command) -> Option<Vec<Reply>> {
        let mut waiting = Vec::new();
        for inbox in self.inboxes.iter() {
            let (sender, receiver) = oneshot::channel();
            inbox.send(&mut vec![Mail::Command(command.clone(), sender)]);
            waiting.push(receiver);
        }
        let mut replies = Vec::new();
        for receiver in waiting {
            replies.push(receiver.await.ok()?);
        }
        Some(replies)
    }

    /// Every shard ends the connections whose certificates are revoked. Those that are on their
    /// way to one are asked there.
    pub(crate) fn look_for_revoked(&self) {
        if self.revoked.is_empty() {
            return;
        }
        for inbox in self.inboxes.iter() {
            inbox.send(&mut vec![Mail::LookForRevoked { from: 0 }]);
        }
    }

    pub(crate) fn shut_down(&self) {
        for inbox in self.inboxes.iter() {
            inbox.send(&mut vec![Mail::Shutdown]);
        }
    }
}
