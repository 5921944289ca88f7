//! Three nodes behind a Weir that serves, one of them on a disk that can be filled.

use mysql_async::prelude::Queryable as _;

use super::engine::Gate;
use crate::small_disk::SmallDisk;
use crate::stage::Stage;
use crate::wait::until_or_show;
use crate::writers::RECOVERY_LIMIT;

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

    /// Waits until that server answers the question with one.
    pub(crate) async fn says(&self, name: &str, question: &str) {
        let mut root = self.stage.root(name).await;
        until_or_show(
            RECOVERY_LIMIT,
            question,
            || self.stage.log(),
            async || (root.query_first::<u8, _>(question).await.unwrap() == Some(1)).then_some(()),
        )
        .await;
    }

    /// Waits until the replica has what the primary has now.
    pub(crate) async fn caught_up(&self, primary: &str, replica: &str) {
        let executed = "SELECT @@global.gtid_executed";
        let executed: Option<String> =
            self.stage.root(primary).await.query_first(executed).await.unwrap();
        let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 30)", executed.unwrap());
        let reached: Option<u8> = self.stage.root(replica).await.query_first(wait).await.unwrap();
        assert_eq!(reached, Some(0), "{replica} is behind");
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
