//! The way to the engine, which a test can close: to Weir that is an engine that is being restarted.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::docker::engine_socket;

/// A socket behind which the engine is.
pub(crate) struct Gate {
    dir: TempDir,
    door: Option<JoinHandle<()>>,
}

impl Gate {
    pub(crate) fn open() -> Self {
        let mut gate = Self { dir: tempfile::tempdir().unwrap(), door: None };
        gate.reopen();
        gate
    }

    /// As `docker_host` has it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    /// Connections are refused, and those that are there break.
    pub(crate) async fn close(&mut self) {
        if let Some(door) = self.door.take() {
            door.abort();
            let _aborted = door.await;
        }
    }

    pub(crate) fn reopen(&mut self) {
        if self.door.is_some() {
            return;
        }
        // The socket of the listener before has its name still.
        let _gone = std::fs::remove_file(self.path());
        let listener = UnixListener::bind(self.path()).unwrap();
        self.door = Some(tokio::spawn(pass(listener)));
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }
}

/// Whoever drops it drops the connections too.
async fn pass(listener: UnixListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut inside, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut outside = UnixStream::connect(engine_socket()).await?;
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await
        });
        while connections.try_join_next().is_some() {}
    }
}
