//! Three nodes behind a Weir that serves, one of them on a disk that can be filled.

use mysql_async::prelude::Queryable as _;

use super::engine::Gate;
use crate::docker::docker;
use crate::stage::Stage;

/// The node with the small disk.
const SMALL: u32 = 3;
/// What a server needs from the start is about 200 MiB.
const SMALL_SIZE: &str = "640m";
const IMAGE: &str = "weir-mysql:9.7";

/// What faults are made on; the engine is behind a gate.
pub(crate) struct Ground {
    pub(crate) stage: Stage,
    pub(crate) engine: Gate,
}

impl Ground {
    /// `test` tells clusters of one process apart.
    pub(crate) fn make(test: &str) -> Self {
        let engine = Gate::open();
        let settings = format!("docker_host = \"{}\"\nfailover_seconds = 2\n", engine.address());
        let stage = Stage::new(test, &format!("{settings}replicas = 1\n"));
        let ground = Self { stage, engine };
        ground.make_small_disk();
        ground.want_two_replicas();
        ground.stage.weir(&["cluster", "up"]);
        ground
    }

    /// A volume of the cluster that is a tmpfs. What is in one is gone when nobody has it mounted, so a
    /// container of its own holds it.
    fn make_small_disk(&self) {
        let (name, holder) = (self.small(), self.holder());
        let cluster = format!("dev.weir.cluster={}", self.stage.name);
        let node = format!("dev.weir.node={SMALL}");
        let size = format!("o=size={SMALL_SIZE}");
        docker(&[
            "volume",
            "create",
            "--label",
            &cluster,
            "--label",
            &node,
            "--opt",
            "type=tmpfs",
            "--opt",
            "device=tmpfs",
            "--opt",
            &size,
            &name,
        ]);
        let image = std::env::var("WEIR_MYSQL_IMAGE").unwrap_or_else(|_| IMAGE.to_owned());
        let mount = format!("{name}:/held");
        docker(&[
            "run",
            "--detach",
            "--name",
            &holder,
            "--network",
            "none",
            "--volume",
            &mount,
            "--entrypoint",
            "sleep",
            &image,
            "infinity",
        ]);
    }

    fn want_two_replicas(&self) {
        let path = self.stage.path("proxy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("replicas = 1", "replicas = 2")).unwrap();
    }

    /// The node with the small disk.
    pub(crate) fn small(&self) -> String {
        format!("{}-{SMALL}", self.stage.name)
    }

    fn holder(&self) -> String {
        format!("{}-hold", self.stage.name)
    }

    /// Takes the last byte of the small disk.
    pub(crate) fn fill(&self) {
        let fill =
            "dd if=/dev/zero of=/held/fill bs=1M; dd if=/dev/zero of=/held/rest bs=512; df /held";
        let said = docker(&["exec", &self.holder(), "sh", "-c", fill]);
        assert!(said.contains("100%"), "{said}");
    }

    /// Gives back what [`Self::fill`] took.
    pub(crate) fn make_room(&self) {
        docker(&["exec", &self.holder(), "rm", "-f", "/held/fill", "/held/rest"]);
    }

    /// The first replica that is not on the small disk.
    pub(crate) fn replica(&self) -> String {
        let replicas = self.stage.replicas();
        replicas.into_iter().find(|name| *name != self.small()).unwrap()
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
        // The cluster is destroyed through the gate, and its volume must be nobody's.
        self.engine.reopen();
        let _gone =
            std::process::Command::new("docker").args(["rm", "-f", &self.holder()]).output();
    }
}
