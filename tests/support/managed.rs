//! A cluster of one test, changed through the library as `weir cluster` does.

#![expect(
    clippy::print_stderr,
    reason = "what could not be cleaned up is told in the test's output"
)]

use std::path::Path;

use mysql_async::{Conn, OptsBuilder, SslOpts};
use tempfile::TempDir;
use weir::cluster::{self, ClusterError, ClusterView, NodeView, Silent, State, snapshot};
use weir::config::{Cluster, Config};

use super::ports::free_ports;
use super::quick;

/// Ports that a cluster may publish nodes on, beyond the first.
const MORE_PORTS: u16 = 9;

/// A cluster that is destroyed when the test ends, however it ends, with its snapshots.
pub(crate) struct Fixture {
    pub(crate) wanted: Cluster,
    dir: TempDir,
}

impl Fixture {
    /// Nothing is made yet. `test` tells clusters of one process apart.
    pub(crate) fn new(test: &str, replicas: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("proxy.toml");
        // Read as an operator's file is: what it leaves out has its default.
        let text = format!(
            "[proxy]\nstate_dir = \".\"\n[cluster]\nname = \"weirtest{}{test}\"\nreplicas = {replicas}\ndatabase = \"app_data\"\n\
             port_base = {}\nmemory_mb = 64\n{}",
            std::process::id(),
            free_ports(MORE_PORTS),
            quick::options(),
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file, &|name| std::env::var(name).ok()).unwrap();
        Self { wanted: config.cluster.unwrap(), dir }
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Of node `number`, the first is 1.
    pub(crate) fn name(&self, number: u32) -> String {
        format!("{}-{number}", self.wanted.name)
    }

    pub(crate) async fn up(&self) -> Result<ClusterView, ClusterError> {
        cluster::up(&self.wanted, self.state_dir(), &Silent).await
    }

    /// With the generated passwords.
    pub(crate) fn state(&self) -> State {
        State::load(self.state_dir(), &self.wanted.name).unwrap().unwrap()
    }

    pub(crate) async fn root(&self, node: &NodeView) -> Conn {
        let (address, password) = (&node.server.address, self.state().root);
        let login = match self.wanted.docker_tls {
            None => login(address, "root", password.expose(), None).await,
            // The way to servers elsewhere is one on which others listen.
            Some(_) => {
                let tls = SslOpts::default().with_danger_accept_invalid_certs(true);
                Conn::new(options(address, "root", password.expose()).ssl_opts(tls)).await
            }
        };
        login.unwrap_or_else(|error| panic!("root at {}: {error}", node.name))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let (mut wanted, dir) = (self.wanted.clone(), self.state_dir().to_owned());
        // What a test put in between to reach the engine by TLS is gone with its runtime.
        if wanted.docker_tls.take().is_some() {
            wanted.docker_host = None;
        }
        let cleaner = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                cluster::destroy(&wanted, &dir, &Silent).await?;
                for left in snapshot::list(&wanted).await?.snapshots {
                    snapshot::remove(&wanted, &left.name).await?;
                }
                Ok::<(), ClusterError>(())
            })
        });
        match cleaner.join() {
            Ok(Ok(())) => {}
            other => eprintln!("{} may have left something behind: {other:?}", self.wanted.name),
        }
    }
}

/// Logs in to a server or to Weir at host:port.
pub(crate) async fn login(
    address: &str,
    user: &str,
    password: &str,
    database: Option<&str>,
) -> mysql_async::Result<Conn> {
    Conn::new(options(address, user, password).db_name(database)).await
}

fn options(address: &str, user: &str, password: &str) -> OptsBuilder {
    let (host, port) = address.rsplit_once(':').unwrap();
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().unwrap())
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(false)
}
