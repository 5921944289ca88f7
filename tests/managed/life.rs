//! The managed cluster on a real Docker Engine with real servers.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::{self, ClusterError, ClusterView, NodeView, Silent, State};
use weir::topology::Role;

use crate::docker::docker;
use crate::managed::{Fixture, login};
use crate::recorder::Recorder;
use crate::roles::node;

impl Fixture {
    async fn application(&self, view: &ClusterView, node: &NodeView) -> Conn {
        let (user, password) = (&view.application_user, view.application_password.expose());
        login(&node.server.address, user, password, Some(&view.database)).await.unwrap()
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
        let _gone = Command::new("docker").args(["volume", "rm", &self.0]).output();
    }
}

fn primary(view: &ClusterView) -> &NodeView {
    node(view, Role::Primary)
}

fn replica(view: &ClusterView) -> &NodeView {
    node(view, Role::Replica)
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
    let bystander = Volume::create(fixture.name(9));

    let view = fixture.up().await.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    assert_eq!(view.nodes.len(), 2);
    assert_eq!(primary(&view).name, fixture.name(1));
    check_rows_flow(&fixture, &view, 1).await;
    check_replica(&fixture, &view).await;
    check_no_password_shows(&fixture, &view);
    // mysqld was asked of its options once, and what it found right is known from now on.
    let right = fixture.state().options_right;
    assert_eq!(right.len(), 1);

    // Again: nothing is changed, and quickly.
    let started = Instant::now();
    let recorder = Recorder::with_budget(u32::MAX);
    let again = cluster::up(&fixture.wanted, fixture.state_dir(), &recorder).await.unwrap();
    assert_eq!(recorder.steps(), []);
    assert_eq!(ids(&again), ids(&view));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    // As a Weir leaves it that was killed right before its last statement.
    let mut root = fixture.root(primary(&view)).await;
    root.query_drop("REVOKE ALL PRIVILEGES ON `app\\_data`.* FROM 'app'@'%'").await.unwrap();
    fixture.up().await.unwrap();
    check_rows_flow(&fixture, &view, 3).await;

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
    assert_eq!(reader.query_first::<u32, _>("SELECT MIN(v) FROM flow").await.unwrap(), Some(1));
    check_rows_flow(&fixture, &back, 2).await;
    assert_eq!(fixture.state().options_right, right);

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
    let address = &replica(view).server.address;
    let mut monitor = login(address, &view.monitor_user, monitor, None).await.unwrap();
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
    let state = fixture.state();
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
        // Other moments every time: 50 ms, 65 ms, 84 ms, .. until one is long enough.
        let limit = Duration::from_millis(50).mul_f64(1.3_f64.powi(cuts));
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
    let volume = Volume::create(fixture.name(1));
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
    let unknown = vec![("no_such_option".to_owned(), "1".to_owned())];
    let known = std::mem::replace(&mut fixture.wanted.options, unknown);
    let wrong = fixture.up().await.unwrap_err().to_string();
    assert!(wrong.contains("no_such_option"), "{wrong}");

    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    fixture.wanted.options = known;
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
