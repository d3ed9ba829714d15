//! The registry while the server runs: one writer, and every shard told before an answer leaves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bitts_aws::registry::{Registry, Row};
use bitts_broker::command::Command;
use tokio::sync::Mutex;

use crate::mesh::Mesh;

/// See the module.
#[derive(Debug)]
pub(crate) struct Directory {
    current: ArcSwap<Registry>,
    writing: Mutex<()>,
    mesh: Mesh,
    /// Shards decide by it.
    is_enforced: bool,
}

impl Directory {
    pub(crate) fn new(registry: Arc<Registry>, mesh: Mesh, is_enforced: bool) -> Self {
        Self { current: ArcSwap::new(registry), writing: Mutex::new(()), mesh, is_enforced }
    }

    /// The registry as it stands.
    pub(crate) fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Makes another registry out of the one in force. When this returns it decides everywhere, in
    /// live sessions too.
    pub(crate) async fn change<A, E>(
        &self,
        apply: impl FnOnce(&Registry) -> Result<(Registry, A, Vec<Row>), E>,
    ) -> Result<A, E> {
        let writing = self.writing.lock().await;
        let (registry, answer, _rows) = apply(&self.current())?;
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
