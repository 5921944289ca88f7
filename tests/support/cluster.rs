//! One primary and two replicas in containers, made by `weir cluster up` as an operator would.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::client::{self, Login};
use super::docker::docker;
use super::guard::Guard;
use super::quick;
use super::{PATIENCE, free_ports, until, wait};

/// The account that tests use; it may do everything but what only root may.
pub const TESTER: Login<'_> = Login { user: "tester", password: "tester-secret" };
/// An account with an empty password.
pub const EMPTY: Login<'_> = Login { user: "nopass", password: "" };
/// An account that may use one database, [`LIMITED_DATABASE`], and only read there.
pub const LIMITED: Login<'_> = Login { user: "limited", password: "limited-secret" };
pub const LIMITED_DATABASE: &str = "limited_only";

const ACCOUNTS: [&str; 8] = [
    "CREATE USER IF NOT EXISTS tester@'%' IDENTIFIED WITH caching_sha2_password BY 'tester-secret'",
    "GRANT ALL ON *.* TO tester@'%'",
    "REVOKE SUPER ON *.* FROM tester@'%'",
    "CREATE USER IF NOT EXISTS nopass@'%' IDENTIFIED WITH caching_sha2_password BY ''",
    "GRANT ALL ON *.* TO nopass@'%'",
    "CREATE DATABASE IF NOT EXISTS limited_only",
    "CREATE USER IF NOT EXISTS limited@'%' IDENTIFIED WITH caching_sha2_password BY 'limited-secret'",
    "GRANT SELECT ON limited_only.* TO limited@'%'",
];

/// What the tests ask of mysqld beyond the defaults and [`quick::options`]: 20 MiB blobs, LOAD DATA LOCAL, statements
/// that a debug build and two busy cores may hold up for long.
const OPTIONS: [&str; 5] = [
    "max_allowed_packet = \"64M\"",
    "local_infile = \"ON\"",
    "max_connections = \"1000\"",
    "net_read_timeout = \"120\"",
    // The tests' account makes functions.
    "log_bin_trust_function_creators = \"ON\"",
];

/// After so long a server has started what it starts by itself.
const OWN_START_SECONDS: u64 = 5;

/// Servers that run, the primary first.
#[derive(Debug)]
pub struct TestCluster {
    /// host:port of each.
    pub servers: Vec<String>,
    /// Container of each; empty when the servers were there already.
    pub containers: Vec<String>,
    /// The configuration that made it, for `weir serve` with `[cluster]`.
    pub config: Option<PathBuf>,
    /// User and password of the probes.
    pub monitor: (String, String),
    root_password: String,
    _guard: Option<Guard>,
}

/// The right to break the servers until dropped.
#[derive(Debug)]
pub struct Turn {
    cluster: &'static TestCluster,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Turn {
    type Target = TestCluster;
    fn deref(&self) -> &TestCluster {
        self.cluster
    }
}

impl TestCluster {
    /// The cluster that most tests share. Nobody may stop, delay or reconfigure its servers.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::make("a")).await
    }

    /// The cluster whose servers a test may stop, delay and reconfigure, one test at a time. Whatever a
    /// test that failed left behind is put right before the next one has it.
    pub async fn breakable() -> Turn {
        static BREAKABLE: OnceCell<TestCluster> = OnceCell::const_new();
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let cluster = BREAKABLE.get_or_init(|| Self::make("b")).await;
        cluster.restore().await;
        Turn { cluster, _turn: turn }
    }

    /// As [`Self::breakable`], for a test that kills the primary: a cluster of its own.
    pub async fn beheadable() -> Turn {
        static BEHEADABLE: OnceCell<TestCluster> = OnceCell::const_new();
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let cluster = BEHEADABLE.get_or_init(|| Self::make("p")).await;
        cluster.restore().await;
        Turn { cluster, _turn: turn }
    }

    /// Every container runs, the first server is the primary, the others follow it without delay.
    async fn restore(&self) {
        for server in 0..self.containers.len() {
            // An error means that it is not paused, or runs already.
            for verb in ["unpause", "start"] {
                let _was_so =
                    Command::new("docker").args([verb, &self.containers[server]]).output().unwrap();
            }
        }
        for server in 1..self.servers.len() {
            let mut root = self.stoppable(server).await;
            root.query_drop("SET GLOBAL super_read_only = ON").await.unwrap();
            root.query_drop("STOP REPLICA SQL_THREAD").await.unwrap();
            root.query_drop("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0").await.unwrap();
            self.replicates(server).await;
        }
        let mut root = self.root(0).await;
        root.query_drop("SET GLOBAL super_read_only = OFF").await.unwrap();
        root.query_drop("SET GLOBAL read_only = OFF").await.unwrap();
        self.settle().await;
    }

    async fn make(letter: &str) -> Self {
        let cluster = Self::running_already().unwrap_or_else(|| Self::up(letter));
        let mut root = cluster.root(0).await;
        for statement in ACCOUNTS {
            root.query_drop(statement).await.unwrap();
        }
        cluster.settle().await;
        cluster
    }

    /// From the environment; see the module `support`.
    fn running_already() -> Option<Self> {
        let servers = std::env::var("WEIR_TEST_SERVERS").ok()?;
        let monitor = std::env::var("WEIR_TEST_MONITOR").expect("WEIR_TEST_MONITOR=user:password");
        let (user, password) = monitor.split_once(':').expect("WEIR_TEST_MONITOR=user:password");
        Some(Self {
            servers: servers.split(',').map(str::to_owned).collect(),
            containers: Vec::new(),
            config: None,
            monitor: (user.to_owned(), password.to_owned()),
            root_password: std::env::var("WEIR_TEST_ROOT_PASSWORD")
                .expect("WEIR_TEST_ROOT_PASSWORD"),
            _guard: None,
        })
    }

    /// `weir cluster up`, and a guard that destroys the cluster when this process is gone.
    fn up(letter: &str) -> Self {
        remove_stale();
        let name = format!("{}{}-{letter}", prefix(), std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&directory).unwrap();
        let (config, state_dir) = (directory.join("proxy.toml"), directory.join("state"));
        let ports = free_ports(3);
        let text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{}\"\nstate_dir = \"{}\"\n[monitor]\ninterval_ms = 100\n\
             [cluster]\nname = \"{name}\"\nport_base = {ports}\napplication_password = \"app-secret\"\n\
             {}{}\n",
            ports + 3,
            state_dir.display(),
            quick::options(),
            OPTIONS.join("\n"),
        );
        std::fs::write(&config, text).unwrap();
        let weir = env!("CARGO_BIN_EXE_weir");
        let guard = Guard::at_end(&format!(
            "'{weir}' cluster destroy --yes --config '{}' >/dev/null 2>&1; rm -rf '{}'",
            config.display(),
            directory.display()
        ));
        let start = Instant::now();
        run(Command::new(weir).args(["cluster", "up", "--config"]).arg(&config));
        eprintln!("cluster {name} is up after {} s", start.elapsed().as_secs());
        let state = state_dir.join(format!("cluster-{name}.json"));
        let containers: Vec<_> = (1..=3).map(|node| format!("{name}-{node}")).collect();
        Self {
            servers: containers.iter().map(|container| own_address(container)).collect(),
            containers,
            config: Some(config),
            monitor: ("weir_monitor".to_owned(), secret(&state, "monitor_password")),
            root_password: secret(&state, "root_password"),
            _guard: Some(guard),
        }
    }

    /// A connection as root, past Weir; of a server that starts, when it lets root in.
    pub async fn root(&self, server: usize) -> Conn {
        let login = Login { user: "root", password: &self.root_password };
        wait::until(PATIENCE, "the server to let root in", async || {
            client::connect(&self.servers[server], login, None).await.ok()
        })
        .await
    }

    /// An empty database of that name, on all servers.
    pub async fn fresh_database(&self, name: &str) {
        let mut root = self.root(0).await;
        root.query_drop(format!("DROP DATABASE IF EXISTS `{name}`")).await.unwrap();
        root.query_drop(format!("CREATE DATABASE `{name}`")).await.unwrap();
        self.settle().await;
    }

    /// Runs statements as root on the primary, and waits for the replicas to have them.
    pub async fn on_primary(&self, statements: &[&str]) {
        let mut root = self.root(0).await;
        for statement in statements {
            root.query_drop(*statement).await.unwrap();
        }
        self.settle().await;
    }

    /// Waits until the replicas have everything that the primary has now.
    pub async fn settle(&self) {
        let done = client::text(&mut self.root(0).await, "SELECT @@gtid_executed").await;
        for server in 1..self.servers.len() {
            let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{done}', 60)");
            let waited = client::text(&mut self.root(server).await, &sql).await;
            assert_eq!(waited, "0", "replica {} did not catch up in 60 s", self.servers[server]);
        }
    }

    /// Starts replication on a replica and waits until both threads run.
    pub async fn replicates(&self, server: usize) {
        let mut root = self.stoppable(server).await;
        root.query_drop("START REPLICA").await.unwrap();
        until("both replication threads to run", async || threads(&mut root).await == ["ON", "ON"])
            .await;
    }

    /// A connection as root to a replica whose threads may be started and stopped. A server that starts replicates by
    /// itself, and it lets clients in before those threads know that they run: START REPLICA then makes two more, and
    /// mysqld 9.7.4 dies of it (signal 11 in `handle_slave_sql` or `handle_slave_io`).
    async fn stoppable(&self, server: usize) -> Conn {
        let mut root = self.root(server).await;
        until("the server's own start to be over", async || {
            let uptime = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'";
            threads(&mut root).await == ["ON", "ON"]
                || client::text(&mut root, uptime).await.parse::<u64>().unwrap() >= OWN_START_SECONDS
        })
        .await;
        root
    }

    /// How often each server ran statements whose normalised text holds the marker; a prepared
    /// statement counts each time it is executed.
    pub async fn runs(&self, marker: &str) -> Vec<u64> {
        self.runs_of(&[0, 1, 2], marker).await
    }

    /// The same of some servers only.
    pub async fn runs_of(&self, servers: &[usize], marker: &str) -> Vec<u64> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(count_star), 0) AS CHAR) FROM \
             performance_schema.events_statements_summary_by_digest WHERE digest_text LIKE '%{marker}%' \
             AND digest_text NOT LIKE 'PREPARE %' AND digest_text NOT LIKE 'DEALLOCATE %'"
        );
        let mut all = Vec::new();
        for server in servers {
            all.push(client::text(&mut self.root(*server).await, &sql).await.parse().unwrap());
        }
        all
    }

    /// Client connections of those users on each server.
    pub async fn connections_of(&self, user: &str) -> Vec<u64> {
        let sql = format!(
            "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.processlist WHERE user = '{user}'"
        );
        let mut all = Vec::new();
        for server in 0..self.servers.len() {
            all.push(client::text(&mut self.root(server).await, &sql).await.parse().unwrap());
        }
        all
    }

    /// `docker VERB CONTAINER`; only on a cluster that this process made.
    pub fn docker(&self, verb: &str, server: usize) {
        docker(&[verb, &self.containers[server]]);
    }
}

/// Of a replica's receiver and applier, whether they run: "ON", "OFF", "CONNECTING".
async fn threads(root: &mut Conn) -> [String; 2] {
    let states = "SELECT c.service_state, a.service_state FROM \
                  performance_schema.replication_connection_status c, \
                  performance_schema.replication_applier_status a";
    let (receiver, applier) = root.query_first(states).await.unwrap().expect("a replica");
    [receiver, applier]
}

/// Runs to the end; its output is the panic's message when it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} does not start: {error}; `make up` installs what is missing")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Where Weir itself reaches a server that it manages: the container's own address, which stays its own. The engine's
/// proxy behind a published port would take a tenth of what these tests have of the processors.
fn own_address(container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:3306";
    docker(&["inspect", "--format", format, container])
}

fn secret(state: &Path, key: &str) -> String {
    let text = std::fs::read_to_string(state).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    state[key].as_str().expect("a password in the state file").to_owned()
}

/// Names of test clusters begin with this; a hash of the host's name keeps machines apart that share
/// one engine and not their process ids.
fn prefix() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hash = host.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    format!("weirtest-{hash:08x}-")
}

/// Removes what is left of test processes of this host that are gone: a power cut, a killed guard.
fn remove_stale() {
    let prefix = prefix();
    let dead = |name: &&str| {
        let pid = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| {
            !pid.is_empty()
                && pid.bytes().all(|byte| byte.is_ascii_digit())
                && !Path::new("/proc").join(pid).exists()
        })
    };
    let filter = format!("name={prefix}");
    let lists: [(&[&str], &[&str]); 3] = [
        (&["ps", "--all", "--format", "{{.Names}}"], &["rm", "--force", "--volumes"]),
        (&["volume", "ls", "--format", "{{.Name}}"], &["volume", "rm", "--force"]),
        (&["network", "ls", "--format", "{{.Name}}"], &["network", "rm"]),
    ];
    for (list, remove) in lists {
        let names = run(Command::new("docker").args(list).args(["--filter", &filter]));
        for name in names.lines().filter(dead) {
            // Another test process may be doing the same.
            let _removed = Command::new("docker").args(remove).arg(name).output();
        }
    }
}
