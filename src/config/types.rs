//! The configuration, valid and ready to use. What a key means, its unit and its default stand on
//! the field; the ranges stand in the file that reads the section.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A password; wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a password.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The whole configuration, valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[proxy]`
    pub proxy: Proxy,
    /// `[pool]`
    pub pool: Pool,
    /// `[monitor]`
    pub monitor: Monitor,
    /// `[lag]`
    pub lag: Lag,
    /// `[causal]`
    pub causal: Causal,
    /// `[[users]]`: users that Weir itself knows; everyone else is asked of the servers.
    pub users: Vec<StaticUser>,
    /// `[[servers]]`, in file order; empty when `[cluster]` is given.
    pub servers: Vec<Server>,
    /// `[cluster]`
    pub cluster: Option<Cluster>,
    /// `[admin]`; without the section there is no listener for it.
    pub admin: Option<Admin>,
}

/// `[admin]`: the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// `listen`, address:port; default 127.0.0.1:6032.
    pub listen: std::net::SocketAddr,
    /// `tls`: "off" (default on a loopback address) or "required", with the certificate of `[proxy]`. Elsewhere one
    /// of them must be written.
    pub tls: bool,
}

/// `[proxy]`: the side that clients see.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `listen`, address:port; default 127.0.0.1:6033.
    pub listen: std::net::SocketAddr,
    /// `workers`, threads; default one per core.
    pub workers: usize,
    /// `max_connections`, clients at once; default 10,000. More get error 1040.
    pub max_connections: usize,
    /// `max_packet_bytes`, one client packet; default 1 GiB (MySQL's own ceiling). More, or more than
    /// the primary's `max_allowed_packet`, gets error 1153.
    pub max_packet_bytes: usize,
    /// `handshake_seconds`: what a client may take to log in, a wait for a primary not counted; default 10.
    pub handshake_timeout: Duration,
    /// `tls`: "off", "preferred" (default) or "required" (clients without TLS get error 3159).
    pub tls: ClientTls,
    /// `tls_cert` and `tls_key`, PEM files; a self-signed pair is made in `state_dir` when absent.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// `state_dir`: certificate, keys, generated passwords; default `.weir` beside the file.
    pub state_dir: PathBuf,
    /// `hold_seconds`: how long a statement waits while there is no primary to run it, because the role moves
    /// or the primary restarts; default 15. 0: it fails at once.
    pub hold: Duration,
    /// `statement_cache`, fingerprints a worker keeps; default 10,000.
    pub statement_cache: usize,
}

/// What Weir offers to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTls {
    Off,
    Preferred,
    Required,
}

/// `[pool]`: connections to servers.
#[derive(Debug, Clone)]
pub struct Pool {
    /// `max_connections_per_server`, over all workers; default 200.
    pub max_per_server: usize,
    /// `max_idle_seconds`: an unused connection is closed after it; default 60.
    pub max_idle: Duration,
    /// `wait_seconds`: how long a session waits for a free connection before error 1040; default 10.
    pub wait: Duration,
    /// `connect_seconds`: TCP, TLS and login to a server; default 5.
    pub connect: Duration,
    /// `max_prepared_statements`, kept on one server connection; default 256.
    pub max_prepared: usize,
    /// `hold_previous_seconds`: how long an idle session keeps the connection whose warnings or
    /// found rows it may still ask for; default 30.
    pub hold_previous: Duration,
}

/// `[monitor]`: the account and rhythm of the probes.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// `user`; with `[cluster]` it may be absent: "weir_monitor".
    pub user: String,
    /// `password`, `password_file` or `password_env`. With `[cluster]` it may be absent: empty, and
    /// the cluster's state file has it.
    pub password: Secret,
    /// `interval_ms`; default 200.
    pub interval: Duration,
    /// `timeout_ms`, one probe; default 2,000.
    pub timeout: Duration,
    /// The servers are those of `[cluster]`.
    pub managed: bool,
    /// `failures`: probes in a row that must fail before a server is unusable; default 2.
    pub failures: u32,
}

/// `[lag]`
#[derive(Debug, Clone)]
pub struct Lag {
    /// `max_seconds`: a replica behind by more gets no reads; default 10.
    pub max: Duration,
}

/// `[causal]`: reads after own writes.
#[derive(Debug, Clone)]
pub struct Causal {
    /// `window_ms`: where servers give no GTIDs, a session reads from the primary for this long
    /// after a write; default 2,000.
    pub window: Duration,
}

/// One of `[[users]]`.
#[derive(Debug, Clone)]
pub struct StaticUser {
    /// `name`, unique; the account must exist on the servers too.
    pub name: String,
    /// `password`, `password_file` or `password_env`; exactly one.
    pub password: Secret,
}

/// One of `[[servers]]`, or a node of a managed cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `name`, unique; letters, digits, `-`, `_`.
    pub name: String,
    /// `address`: host:port, name or IP.
    pub address: String,
    /// `tls` and `tls_ca`; without them `server_tls` and `server_tls_ca` of `[proxy]`.
    pub tls: ServerTls,
    /// `weight` of reads, 0 to 1000; default 100. 0 gets reads only when no other can.
    pub weight: u32,
}

/// How Weir speaks to a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    pub mode: ServerTlsMode,
    /// PEM file of authorities; the system has none of its own for `verify-*`.
    pub ca: Option<PathBuf>,
}

/// `tls = "off" | "preferred" | "required" | "verify-ca" | "verify-identity"`, as the client option
/// `--ssl-mode`. Default "preferred"; "off" on a loopback address, where nobody can listen in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerTlsMode {
    Off,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl ServerTlsMode {
    /// Whether the server's certificate must be vouched for.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

/// `replication = "gtid" | "file" | "group"`: how the replicas get the primary's transactions, and who decides which server
/// is the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replication {
    /// Replicas follow by GTID auto-position; Weir moves the primary.
    #[default]
    Gtid,
    /// By a file and a position of their source's binary log; servers run with gtid_mode = OFF.
    File,
    /// MySQL Group Replication with one primary, which the servers elect by Paxos.
    Group,
}

/// `[cluster]`: what Weir builds through the Docker Engine.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `name`: prefix of containers, volumes and the network; default "weir".
    pub name: String,
    /// `replicas`, 0 to 16; default 2.
    pub replicas: u32,
    /// `replication`; default "gtid".
    pub replication: Replication,
    /// `image`; default "weir-mysql:9.7" (WEIR_MYSQL_IMAGE overrides).
    pub image: String,
    /// `pull`: when the image is fetched; default "missing".
    pub pull: Pull,
    /// `data`: where a node that is made keeps its data; default "volume".
    pub data: Data,
    /// `application_user`; default "app". Its password is generated unless given.
    pub application_user: String,
    /// `application_password` (`_file`, `_env`).
    pub application_password: Option<Secret>,
    /// `database` made at the first start; default "app".
    pub database: String,
    /// `semi_sync`; default true (used where the plugins are there).
    pub semi_sync: bool,
    /// `semi_sync_acks`: replicas whose receipt a commit waits for, 1 to `replicas`; default 1.
    pub semi_sync_acks: u32,
    /// `semi_sync_timeout_ms`: a commit waits no longer than this; default 2,000. A commit that waited in vain
    /// succeeds all the same, and those after it do not wait until enough replicas have caught up: what was
    /// acknowledged meanwhile is lost if the primary dies then. So no finite time keeps every write.
    pub semi_sync_timeout: Duration,
    /// `applier_workers`: transactions that a replica applies at once, 1 to 1,024, in the order of their commits;
    /// default 16. While all are busy the coordinator spins (sched_yield around
    /// `Mts_submode_logical_clock::get_free_worker`, seen by perf); one costs about 11 MiB.
    pub applier_workers: u32,
    /// `failover`: whether a Weir that serves moves the primary's role when the primary is dead; default true.
    pub failover: bool,
    /// `failover_seconds`: how long the primary must not answer before it is given up; default 5.
    pub patience: Duration,
    /// `leadership`: where it is kept which Weir may change the cluster; default "engine".
    pub leadership: Leadership,
    /// `docker_host`; default DOCKER_HOST or the local socket.
    pub docker_host: Option<String>,
    /// `[cluster.docker_tls]`; default DOCKER_CERT_PATH where DOCKER_TLS_VERIFY is set.
    pub docker_tls: Option<DockerTls>,
    /// `server_tls` of `[proxy]`; without it "off", and "required" where the engine is another host's. Never a mode
    /// that verifies: the nodes' certificates are their own making.
    pub server_tls: Option<ServerTlsMode>,
    /// `port_base`: node n is published at port_base + n - 1 of 127.0.0.1, or of the engine's host where that is
    /// another; default 13301.
    pub port_base: u16,
    /// `option_file`: options for mysqld on every node.
    pub option_file: Option<OptionFile>,
    /// `options`: more of them, which come after those of the file.
    pub options: Vec<(String, String)>,
    /// `[cluster.node.N]`: what holds for node N alone.
    pub nodes: BTreeMap<u32, NodeOptions>,
    /// `memory_mb` of InnoDB's buffer pool, each node; default 256.
    pub buffer_pool_mb: u32,
    /// `seed`: where a node that is made anew gets its data from; default "auto".
    pub seed: Seed,
    /// `copy`; default "auto".
    pub copy: Copying,
}

/// Where a new node gets its data from, when the binary logs alone do not give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// The newest snapshot that fits, else a server that runs.
    Auto,
    /// A server that runs.
    Clone,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "weir".to_owned(),
            replicas: 2,
            image: "weir-mysql:9.7".to_owned(),
            pull: Pull::Missing,
            data: Data::Volume,
            application_user: "app".to_owned(),
            application_password: None,
            database: "app".to_owned(),
            replication: Replication::Gtid,
            semi_sync: true,
            semi_sync_acks: 1,
            semi_sync_timeout: Duration::from_secs(2),
            applier_workers: 16,
            failover: true,
            patience: Duration::from_secs(5),
            leadership: Leadership::Engine,
            docker_host: None,
            docker_tls: None,
            server_tls: None,
            port_base: 13_301,
            option_file: None,
            options: Vec::new(),
            nodes: BTreeMap::new(),
            buffer_pool_mb: 256,
            seed: Seed::Auto,
            copy: Copying::Auto,
        }
    }
}

/// How a node of a managed cluster gets the data of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Copying {
    /// "auto": by the clone plugin, by a dump where one of the two has none.
    #[default]
    Auto,
    /// "clone": by the clone plugin or not at all.
    Clone,
    /// "dump": by a dump that passes through Weir.
    Dump,
}

/// Where it is kept which of several Weirs leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// In the Docker Engine, by a container that lives as long as its holder's connection.
    Engine,
    Etcd(Etcd),
}

/// The keys `etcd..` and `lease_seconds` of `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// `etcd`: its addresses, as "http://127.0.0.1:2379".
    pub endpoints: Vec<String>,
    /// `etcd_user` and `etcd_password` (`_file`, `_env`), where etcd asks for them.
    pub login: Option<(String, Secret)>,
    /// `etcd_ca`: PEM file of the authorities for https addresses.
    pub ca: Option<PathBuf>,
    /// `etcd_cert` and `etcd_key`: PEM files, where etcd asks for a certificate.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `lease_seconds`, 2 to 300: after so long without a word from its holder another may lead; default 10.
    pub lease: Duration,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Where the engine does not have it.
    Missing,
    /// Each time that a container is to be made.
    Always,
    Never,
}

/// Where a node keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A named volume of the engine's.
    Volume,
    /// The container's own layer: it goes when the container is removed.
    Container,
    /// A folder of the engine's host, absolute; each node has one of its own in it.
    Folder(PathBuf),
}

impl Data {
    /// What `data = ".."` means; `None` when that is nothing.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "volume" => Some(Self::Volume),
            "container" => Some(Self::Container),
            path if path.starts_with('/') => Some(Self::Folder(PathBuf::from(path))),
            _ => None,
        }
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Volume => f.write_str("volume"),
            Self::Container => f.write_str("container"),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// `[cluster.docker_tls]`: PEM files for an engine that is reached over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerTls {
    /// `ca`: who signed the engine's certificate.
    pub ca: PathBuf,
    /// `cert`: Weir's own.
    pub cert: PathBuf,
    /// `key` of it.
    pub key: PathBuf,
}

/// An option file that was read: the lines of its groups `[mysqld]` and `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionFile {
    pub path: PathBuf,
    pub options: Vec<(String, String)>,
}

/// `[cluster.node.N]`: options of one node, which come after those of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// `option_file`
    pub option_file: Option<OptionFile>,
    /// `[cluster.node.N.options]`
    pub options: Vec<(String, String)>,
}
