//! The managed cluster on a real Docker Engine with real servers.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's failure")]
#![expect(
    clippy::print_stderr,
    reason = "what could not be cleaned up is told in the test's output"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;
use weir::cluster::{self, ClusterError, ClusterView, NodeView, Progress, Silent, State, Step};
use weir::config::Cluster;
use weir::topology::Role;

const IMAGE: &str = "weir-mysql:9.7";
/// The first port that these tests publish nodes on; each test takes ten.
const FIRST_PORT: u16 = 15_301;

/// A cluster that is destroyed when the test ends, however it ends.
struct Fixture {
    wanted: Cluster,
    dir: TempDir,
}

impl Fixture {
    fn new(test: &str, replicas: u32) -> Self {
        static OFFSET: AtomicU16 = AtomicU16::new(0);
        let pid = std::process::id();
        // Runs beside each other on one machine take other ports.
        let stripe = FIRST_PORT + u16::try_from(pid % 100).unwrap() * 100;
        let wanted = Cluster {
            name: format!("weirtest{pid}{test}"),
            replicas,
            image: std::env::var("WEIR_MYSQL_IMAGE").unwrap_or_else(|_| IMAGE.to_owned()),
            application_user: "app".to_owned(),
            application_password: None,
            database: "app_data".to_owned(),
            semi_sync: true,
            failover: true,
            patience: Duration::from_secs(5),
            docker_host: None,
            port_base: stripe + OFFSET.fetch_add(10, Ordering::Relaxed),
            options: Vec::new(),
            buffer_pool_mb: 64,
            replication: Default::default(),
            copy: Default::default(),
        };
        Self { wanted, dir: tempfile::tempdir().unwrap() }
    }

    fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    async fn up(&self) -> Result<ClusterView, ClusterError> {
        cluster::up(&self.wanted, self.state_dir(), &Silent).await
    }

    async fn root(&self, node: &NodeView) -> Conn {
        let state = State::load(self.state_dir(), &self.wanted.name).unwrap().unwrap();
        connect(node, "root", state.root.expose(), "").await
    }

    async fn application(&self, view: &ClusterView, node: &NodeView) -> Conn {
        connect(node, &view.application_user, view.application_password.expose(), &view.database)
            .await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let (wanted, dir) = (self.wanted.clone(), self.state_dir().to_owned());
        let cleaner = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(cluster::destroy(&wanted, &dir, &Silent)).map(|_| ())
        });
        match cleaner.join() {
            Ok(Ok(())) => {}
            other => eprintln!("{} may have left something behind: {other:?}", self.wanted.name),
        }
    }
}

/// Somebody else's volume, without a label of ours.
struct Volume(String);

impl Volume {
    fn create(name: String) -> Self {
        docker(&["volume", "create", &name]);
        Self(name)
    }

    fn is_there(&self) -> bool {
        docker(&["volume", "ls", "-q", "--filter", &format!("name={}", self.0)]) == self.0
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        docker(&["volume", "rm", &self.0]);
    }
}

/// Remembers the steps; stops before the one after `budget`.
struct Recorder {
    budget: AtomicU32,
    steps: Mutex<Vec<Step>>,
}

impl Recorder {
    fn with_budget(budget: u32) -> Self {
        Self { budget: AtomicU32::new(budget), steps: Mutex::default() }
    }

    fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}

impl Progress for Recorder {
    fn begin(&self, _text: &str) {}
    fn detail(&self, _text: &str) {}
    fn end(&self) {}
    fn note(&self, _text: &str) {}

    fn allow(&self, step: Step) -> bool {
        let left = self.budget.load(Ordering::Relaxed);
        if left == 0 {
            return false;
        }
        self.budget.store(left - 1, Ordering::Relaxed);
        self.steps.lock().unwrap().push(step);
        true
    }
}

async fn connect(node: &NodeView, user: &str, password: &str, database: &str) -> Conn {
    let (host, port) = node.server.address.rsplit_once(':').unwrap();
    let options = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().unwrap())
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(database).filter(|name| !name.is_empty()))
        .prefer_socket(false);
    Conn::new(options).await.unwrap_or_else(|error| panic!("{user} at {}: {error}", node.name))
}

fn primary(view: &ClusterView) -> &NodeView {
    view.nodes.iter().find(|node| node.role == Role::Primary).unwrap()
}

fn replica(view: &ClusterView) -> &NodeView {
    view.nodes.iter().find(|node| node.role == Role::Replica).unwrap()
}

fn ids(view: &ClusterView) -> Vec<String> {
    view.nodes.iter().map(|node| node.container_id.clone()).collect()
}

/// Inserts on the primary and waits until the replica has it.
async fn check_rows_flow(fixture: &Fixture, view: &ClusterView, value: u32) {
    let mut writer = fixture.application(view, primary(view)).await;
    writer.query_drop("CREATE TABLE IF NOT EXISTS flow (v INT PRIMARY KEY)").await.unwrap();
    writer.query_drop(format!("INSERT INTO flow VALUES ({value})")).await.unwrap();
    let mut reader = fixture.application(view, replica(view)).await;
    let query = format!("SELECT COUNT(*) FROM flow WHERE v = {value}");
    let started = Instant::now();
    loop {
        // The table itself may not have arrived yet.
        if let Ok(Some(1)) = reader.query_first::<u32, _>(&query).await {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "row {value} did not reach the replica"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything that carries the cluster's label.
fn labelled(name: &str) -> String {
    let filter = format!("label=dev.weir.cluster={name}");
    [
        docker(&["ps", "-aq", "--filter", &filter]),
        docker(&["volume", "ls", "-q", "--filter", &filter]),
        docker(&["network", "ls", "-q", "--filter", &filter]),
    ]
    .concat()
}

#[tokio::test]
async fn made_used_stopped_brought_back_and_destroyed() {
    let fixture = Fixture::new("life", 1);
    let bystander = Volume::create(format!("{}-9", fixture.wanted.name));

    let view = fixture.up().await.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    assert_eq!(view.nodes.len(), 2);
    assert_eq!(primary(&view).name, format!("{}-1", fixture.wanted.name));
    check_rows_flow(&fixture, &view, 1).await;
    check_replica(&fixture, &view).await;
    check_no_password_shows(&fixture, &view);

    // Again: nothing is changed, and quickly.
    let started = Instant::now();
    let recorder = Recorder::with_budget(u32::MAX);
    let again = cluster::up(&fixture.wanted, fixture.state_dir(), &recorder).await.unwrap();
    assert_eq!(recorder.steps(), []);
    assert_eq!(ids(&again), ids(&view));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    // Down keeps the data, up brings it back under the same addresses.
    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    let filter = format!("label=dev.weir.cluster={}", fixture.wanted.name);
    assert_eq!(docker(&["ps", "-aq", "--filter", &filter]), "");
    let missing = cluster::observe(&fixture.wanted, fixture.state_dir()).await.unwrap();
    assert!(missing.nodes.iter().all(|node| node.state == "missing" && node.role == Role::Unknown));
    let back = fixture.up().await.unwrap();
    assert_ne!(ids(&back), ids(&view));
    assert_eq!(back.nodes[1].server, view.nodes[1].server);
    let mut reader = fixture.application(&back, replica(&back)).await;
    assert_eq!(reader.query_first::<u32, _>("SELECT v FROM flow").await.unwrap(), Some(1));
    check_rows_flow(&fixture, &back, 2).await;

    let removed = cluster::destroy(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    assert_eq!(removed.len(), 5, "{removed:?}");
    assert_eq!(labelled(&fixture.wanted.name), "");
    assert!(State::load(fixture.state_dir(), &fixture.wanted.name).unwrap().is_none());
    assert!(bystander.is_there());
}

/// Read-only for everybody, semi-sync on, accounts with the rights they need and no more.
async fn check_replica(fixture: &Fixture, view: &ClusterView) {
    let mut reader = fixture.application(view, replica(view)).await;
    let refused = reader.query_drop("INSERT INTO flow VALUES (99)").await.unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");

    let mut root = fixture.root(primary(view)).await;
    let status: (String, String) =
        root.query_first("SHOW STATUS LIKE 'Rpl_semi_sync_source_status'").await.unwrap().unwrap();
    assert_eq!(status.1, "ON");

    let monitor = view.monitor_password.expose();
    let mut monitor = connect(replica(view), &view.monitor_user, monitor, "").await;
    assert_eq!(monitor.query::<mysql_async::Row, _>("SHOW REPLICA STATUS").await.unwrap().len(), 1);
    monitor.query_drop("SELECT @@gtid_executed, @@read_only").await.unwrap();
    monitor
        .query_drop("SELECT * FROM performance_schema.replication_applier_status_by_worker")
        .await
        .unwrap();
    assert!(monitor.query_drop("SELECT * FROM app_data.flow").await.is_err());
    assert!(monitor.query_drop("SET GLOBAL read_only = OFF").await.is_err());
}

fn check_no_password_shows(fixture: &Fixture, view: &ClusterView) {
    let state = State::load(fixture.state_dir(), &fixture.wanted.name).unwrap().unwrap();
    for node in &view.nodes {
        let shown = docker(&["inspect", &node.name])
            + &docker(&["logs", &node.name])
            + &docker(&["exec", &node.name, "cat", "/proc/1/cmdline"]);
        for secret in [&state.root, &state.replication, &state.monitor, &state.application] {
            assert!(!shown.contains(secret.expose()));
        }
    }
}

#[tokio::test]
async fn stopped_before_every_single_step_it_still_ends_right() {
    let fixture = Fixture::new("steps", 1);
    let mut taken = Vec::new();
    let view = loop {
        let recorder = Recorder::with_budget(1);
        let result = cluster::up(&fixture.wanted, fixture.state_dir(), &recorder).await;
        taken.extend(recorder.steps());
        match result {
            Ok(view) => break view,
            Err(ClusterError::Stopped { .. }) => assert!(taken.len() < 40, "{taken:?}"),
            Err(error) => panic!("after {taken:?}: {error}"),
        }
    };
    // Each step was needed once, although everything was looked at anew in between.
    let mut once = taken.clone();
    once.dedup();
    assert_eq!(taken, once);
    assert!(taken.len() >= 13, "{taken:?}");
    assert_eq!(view.problems, Vec::<String>::new());
    check_rows_flow(&fixture, &view, 1).await;
}

#[tokio::test]
async fn cut_off_in_the_middle_of_steps_it_still_ends_right() {
    let fixture = Fixture::new("cut", 1);
    let mut cuts = 0;
    let view = loop {
        // Other moments every time: 50 ms, 57 ms, 66 ms, .. until one is long enough.
        let limit = Duration::from_millis(50).mul_f64(1.15_f64.powi(cuts));
        match tokio::time::timeout(limit, fixture.up()).await {
            Ok(Ok(view)) => break view,
            Ok(Err(error)) => panic!("after {cuts} cuts: {error}"),
            Err(_elapsed) => cuts += 1,
        }
        assert!(cuts < 60);
    };
    assert!(cuts > 10, "{cuts}");
    assert_eq!(view.problems, Vec::<String>::new());
    check_rows_flow(&fixture, &view, 1).await;
}

#[tokio::test]
async fn the_primary_is_whom_the_servers_say_and_nobodys_data_is_reset() {
    let fixture = Fixture::new("moved", 1);
    let view = fixture.up().await.unwrap();
    check_rows_flow(&fixture, &view, 1).await;
    let (one, two) = (&view.nodes[0], &view.nodes[1]);

    // Somebody moves the primary by hand; `up` follows.
    let mut old = fixture.root(one).await;
    old.query_drop("SET PERSIST super_read_only = ON").await.unwrap();
    let mut new = fixture.root(two).await;
    for statement in [
        "STOP REPLICA",
        "RESET REPLICA ALL",
        "SET PERSIST super_read_only = OFF",
        "SET PERSIST read_only = OFF",
    ] {
        new.query_drop(statement).await.unwrap();
    }
    let moved = fixture.up().await.unwrap();
    assert_eq!(primary(&moved).name, two.name);
    assert_eq!(ids(&moved), ids(&view));
    check_rows_flow(&fixture, &moved, 2).await;

    // A replica that was written to is not repaired by forgetting what was written.
    for statement in [
        "STOP REPLICA",
        "RESET REPLICA ALL",
        "SET GLOBAL super_read_only = OFF",
        "INSERT INTO app_data.flow VALUES (77)",
    ] {
        old.query_drop(statement).await.unwrap();
    }
    let error = fixture.up().await.unwrap_err().to_string();
    assert!(error.contains("1 transactions that"), "{error}");
    let kept: Option<u32> =
        old.query_first("SELECT v FROM app_data.flow WHERE v = 77").await.unwrap();
    assert_eq!(kept, Some(77));
}

#[tokio::test]
async fn foreign_things_are_left_alone() {
    let fixture = Fixture::new("foreign", 0);
    let volume = Volume::create(format!("{}-1", fixture.wanted.name));
    let error = fixture.up().await.unwrap_err();
    assert!(matches!(error, ClusterError::Foreign { kind: "volume", .. }), "{error}");
    cluster::destroy(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    assert!(volume.is_there());
}

#[tokio::test]
async fn troubles_are_told_in_words_and_mended_by_the_next_up() {
    let mut fixture = Fixture::new("trouble", 0);
    let never = cluster::observe(&fixture.wanted, fixture.state_dir()).await.unwrap_err();
    assert!(matches!(never, ClusterError::NotBuilt { .. }), "{never}");

    let port = TcpListener::bind(("127.0.0.1", fixture.wanted.port_base)).unwrap();
    let taken = fixture.up().await.unwrap_err();
    assert!(matches!(taken, ClusterError::PortTaken { .. }), "{taken}");
    drop(port);

    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    fixture.wanted.options = vec![("no_such_option".to_owned(), "1".to_owned())];
    let wrong = fixture.up().await.unwrap_err().to_string();
    assert!(wrong.contains("no_such_option"), "{wrong}");

    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    fixture.wanted.options.clear();
    let view = fixture.up().await.unwrap();
    assert!(["starting", "healthy"].contains(&primary(&view).health.as_str()));

    // Data without its passwords is not built over.
    let path = State::path(fixture.state_dir(), &fixture.wanted.name);
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lost = fixture.up().await.unwrap_err();
    assert!(matches!(lost, ClusterError::StateLost { .. }), "{lost}");
    cluster::write_private(&path, &kept).unwrap();
    fixture.up().await.unwrap();

    fixture.wanted.docker_host = Some("unix:///nonexistent/docker.sock".to_owned());
    let unreachable = fixture.up().await.unwrap_err().to_string();
    assert!(unreachable.contains("/nonexistent/docker.sock"), "{unreachable}");
    fixture.wanted.docker_host = None;

    fixture.wanted.image = "127.0.0.1:9/no/such-image:1".to_owned();
    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    let missing = fixture.up().await.unwrap_err();
    assert!(matches!(missing, ClusterError::ImageMissing { .. }), "{missing}");
}
