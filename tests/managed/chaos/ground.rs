//! Three nodes behind a Weir that serves, one of them on a disk that can be filled.

use mysql_async::prelude::Queryable as _;

use super::engine::Gate;
use crate::small_disk::SmallDisk;
use crate::stage::Stage;

/// The node with the small disk.
const SMALL: u32 = 3;

/// What faults are made on; the engine is behind a gate.
pub(crate) struct Ground {
    pub(crate) disk: SmallDisk,
    pub(crate) stage: Stage,
    pub(crate) engine: Gate,
}

impl Ground {
    /// `test` tells clusters of one process apart.
    pub(crate) fn make(test: &str) -> Self {
        let engine = Gate::open();
        let settings = format!("docker_host = \"{}\"\nfailover_seconds = 2\n", engine.address());
        let stage = Stage::new(test, &format!("{settings}replicas = 1\n"));
        let ground = Self { disk: SmallDisk::make(&stage.name, SMALL), stage, engine };
        ground.stage.want_two_replicas();
        ground.stage.weir(&["cluster", "up"]);
        ground
    }

    /// The first replica that is not on the small disk.
    pub(crate) fn replica(&self) -> String {
        let replicas = self.stage.replicas();
        replicas.into_iter().find(|name| *name != self.disk.node).unwrap()
    }

    /// Runs statements as root on one node.
    pub(crate) async fn run(&self, name: &str, statements: &[&str]) {
        let mut root = self.stage.root(name).await;
        for statement in statements {
            root.query_drop(*statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    /// Everybody has everything: what the binary logs tell of it is not needed any more, and the small disk
    /// is small.
    pub(crate) async fn forget_old_logs(&self) {
        for node in self.stage.view().unwrap().nodes {
            let purge = "PURGE BINARY LOGS BEFORE NOW(6)";
            self.run(&node.name, &["FLUSH BINARY LOGS", purge]).await;
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // The cluster is destroyed through the gate.
        self.engine.reopen();
    }
}
