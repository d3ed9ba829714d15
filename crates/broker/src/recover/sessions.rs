//! Sessions as records tell of them: found by Client Identifier, and let go in its order.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::record::SavedSession;

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    /// In the order in which they came, which is often that of their names already.
    held: Slab<Box<SavedSession>>,
    by_client: HashMap<Arc<str>, usize, FixedState>,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self { held: Slab::new(), by_client: HashMap::with_hasher(FixedState::with_seed(seed)) }
    }

    pub(super) fn get_mut(&mut self, client_id: &str) -> Option<&mut SavedSession> {
        let at = *self.by_client.get(client_id)?;
        self.held.get_mut(at).map(|session| &mut **session)
    }

    /// The session of a client, which is new where it has none.
    pub(super) fn entry(&mut self, client_id: &Arc<str>) -> &mut SavedSession {
        let make = || self.held.insert(Box::new(SavedSession::new(Arc::clone(client_id))));
        let at = *self.by_client.entry(Arc::clone(client_id)).or_insert_with(make);
        &mut self.held[at]
    }

    /// Adds a session; one that is there keeps what it is owed.
    pub(super) fn put(&mut self, mut session: Box<SavedSession>) {
        if let Some(held) = self.get_mut(&session.client_id) {
            session.owed = std::mem::take(&mut held.owed);
            session.pages = std::mem::take(&mut held.pages);
            *held = *session;
            return;
        }
        let client_id = Arc::clone(&session.client_id);
        let at = self.held.insert(session);
        self.by_client.insert(client_id, at);
    }

    pub(super) fn remove(&mut self, client_id: &str) -> Option<Box<SavedSession>> {
        let at = self.by_client.remove(client_id)?;
        self.held.try_remove(at)
    }

    /// All of them, in the order of their names.
    #[expect(clippy::vec_box, reason = "whoever is done with one lets go of it")]
    pub(super) fn into_sorted(self) -> Vec<Box<SavedSession>> {
        drop(self.by_client);
        let mut sessions: Vec<_> = self.held.into_iter().map(|(_, session)| session).collect();
        sessions.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        sessions
    }
}
