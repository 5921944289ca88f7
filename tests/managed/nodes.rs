//! Nodes come, go and are renewed while the primary takes writes, on a real Docker Engine.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use weir::cluster::{
    self, Change, ClusterError, ClusterView, NodeView, Progress, Silent, Step, Which,
};
use weir::topology::Role;

use crate::docker::docker;
use crate::flow::{Writer, check_flow};
use crate::managed::Fixture;
use crate::recorder::Recorder;
use crate::roles::node;

impl Fixture {
    async fn change(
        &self,
        change: Change,
        number: u32,
        progress: &dyn Progress,
    ) -> Result<ClusterView, ClusterError> {
        let name = self.name(number);
        cluster::change(&self.wanted, self.state_dir(), change, &name, progress).await
    }
}

fn primary(view: &ClusterView) -> &NodeView {
    node(view, Role::Primary)
}

fn names(view: &ClusterView) -> Vec<&str> {
    view.nodes.iter().map(|node| node.name.as_str()).collect()
}

/// A table with rows of which no server's binary log tells any more.
async fn data_without_history(fixture: &Fixture, view: &ClusterView) {
    let mut root = fixture.root(primary(view)).await;
    for statement in [
        "CREATE TABLE app_data.flow (v INT UNSIGNED PRIMARY KEY)",
        "CREATE TABLE app_data.old (v INT UNSIGNED PRIMARY KEY, text LONGBLOB)",
        "INSERT INTO app_data.old VALUES (1, REPEAT('x', 30000000)), (2, REPEAT('y', 30000000))",
        "FLUSH BINARY LOGS",
        "DO SLEEP(1)",
        "PURGE BINARY LOGS BEFORE NOW()",
    ] {
        root.query_drop(statement).await.unwrap();
    }
    let purged: Option<String> = root.query_first("SELECT @@global.gtid_purged").await.unwrap();
    assert_ne!(purged.as_deref(), Some(""));
}

/// Every acknowledged row, once, and the same on every node, once the replicas have caught up.
async fn check_rows(fixture: &Fixture, view: &ClusterView, acknowledged: &[u32]) {
    let mut root = fixture.root(primary(view)).await;
    let executed: Option<String> = root.query_first("SELECT @@global.gtid_executed").await.unwrap();
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 30)", executed.unwrap());
    let mut sums: Vec<Vec<(String, u64)>> = Vec::new();
    for node in &view.nodes {
        let mut root = fixture.root(node).await;
        assert_eq!(root.query_first::<u32, _>(&wait).await.unwrap(), Some(0), "{}", node.name);
        check_flow(&mut root, node, acknowledged).await;
        sums.push(root.query("CHECKSUM TABLE app_data.flow, app_data.old").await.unwrap());
    }
    sums.dedup();
    assert_eq!(sums.len(), 1, "{sums:?}");
}

#[tokio::test]
async fn nodes_come_and_go_under_writes() {
    let mut fixture = Fixture::new("grow", 1);
    let view = fixture.up().await.unwrap();
    data_without_history(&fixture, &view).await;
    let writer = Writer::start(&fixture, vec![primary(&view).server.address.clone()]);

    // Binary logs do not tell of the old rows any more: only a copy can make a replica.
    fixture.wanted.replicas = 2;
    let planned = cluster::preview(&fixture.wanted, fixture.state_dir()).await.unwrap();
    assert!(planned.steps.contains(&Step::Clone { node: 3, donor: 2 }), "{planned:?}");
    let grown = fixture.up().await.unwrap();
    assert_eq!(names(&grown), [fixture.name(1), fixture.name(2), fixture.name(3)]);
    assert!(grown.nodes.iter().all(|node| node.role != Role::Unknown));

    let replaced = fixture.change(Change::Replace, 2, &Silent).await.unwrap();
    assert_ne!(replaced.nodes[1].container_id, grown.nodes[1].container_id);
    check_refusals(&fixture).await;

    // One by one, with an option that was changed.
    fixture.wanted.options = vec![("max_connections".to_owned(), "77".to_owned())];
    let recorder = Recorder::with_budget(u32::MAX);
    let restarted = cluster::restart(
        &fixture.wanted,
        fixture.state_dir(),
        &Which::All,
        &cluster::NoTraffic,
        &recorder,
    )
    .await;
    let restarted = restarted.unwrap();
    let stops: Vec<Step> = recorder
        .steps()
        .into_iter()
        .filter(|step| matches!(step, Step::StopContainer(_)))
        .collect();
    assert_eq!(stops, [2, 3, 1].map(Step::StopContainer));
    for node in &restarted.nodes {
        let mut root = fixture.root(node).await;
        let most: Option<u32> = root.query_first("SELECT @@max_connections").await.unwrap();
        assert_eq!(most, Some(77), "{}", node.name);
    }

    // Beyond the wanted number a node stays a member until it is removed.
    fixture.wanted.replicas = 1;
    let recorder = Recorder::with_budget(u32::MAX);
    let kept = cluster::up(&fixture.wanted, fixture.state_dir(), &recorder).await.unwrap();
    assert_eq!(kept.nodes.len(), 3);
    assert!(recorder.notes.lock().unwrap().iter().any(|note| note.contains("1 beyond")));
    // The restart moved the primary to the replica that was furthest.
    let (stays, goes) = if primary(&kept).name == fixture.name(2) { (2, 3) } else { (3, 2) };
    let removed = fixture.change(Change::Remove, goes, &Silent).await.unwrap();
    assert_eq!(names(&removed), [fixture.name(1), fixture.name(stays)]);
    assert_eq!(removed.problems, Vec::<String>::new());

    let (acknowledged, longest) = writer.end().await;
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    // The primary's own restart; nothing else keeps writes waiting.
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    check_rows(&fixture, &removed, &acknowledged).await;
}

/// What must not happen does not, and says why.
async fn check_refusals(fixture: &Fixture) {
    for (change, number, words) in [
        (Change::Remove, 3, "wants replicas = 2"),
        (Change::Remove, 1, "it is the primary"),
        (Change::Replace, 1, "it is the primary"),
        (Change::Reclone, 1, "it is the primary"),
        (Change::Reclone, 9, "has no node"),
    ] {
        let error = fixture.change(change, number, &Silent).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut wrong = fixture.wanted.clone();
    wrong.options = vec![("no_such_option".to_owned(), "1".to_owned())];
    let which = Which::Named(fixture.name(2));
    let refused =
        cluster::restart(&wrong, fixture.state_dir(), &which, &cluster::NoTraffic, &Silent)
            .await
            .unwrap_err();
    let culprit = "no_such_option in [cluster.options]";
    assert!(matches!(&refused, ClusterError::Options { option, .. } if option == culprit));
    let view = cluster::observe(&fixture.wanted, fixture.state_dir()).await.unwrap();
    assert!(view.nodes.iter().all(|node| node.state == "running"), "{view:?}");
}

/// A server that died so says for ever that the copy is in progress.
async fn killed_while_it_is_copied_to(fixture: &Fixture, node: &NodeView) {
    let mut root = fixture.root(node).await;
    let kill = async {
        let query = "SELECT COUNT(*) FROM performance_schema.clone_status WHERE pid <> 0";
        while root.query_first::<u32, _>(query).await.unwrap() != Some(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        docker(&["kill", &node.name]);
    };
    let (reclone, ()) = tokio::join!(fixture.change(Change::Reclone, 2, &Silent), kill);
    let error = reclone.unwrap_err();
    assert!(!matches!(error, ClusterError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_copy_that_is_cut_off_is_made_again() {
    let fixture = Fixture::new("again", 1);
    let view = fixture.up().await.unwrap();
    data_without_history(&fixture, &view).await;

    // Stopped before every single step.
    let mut taken = 0;
    for budget in [1, 2, 4] {
        let recorder = Recorder::with_budget(budget);
        let stopped = fixture.change(Change::Replace, 2, &recorder).await;
        assert!(matches!(stopped, Err(ClusterError::Stopped { .. })), "{budget}: {stopped:?}");
    }
    loop {
        let recorder = Recorder::with_budget(1);
        match cluster::up(&fixture.wanted, fixture.state_dir(), &recorder).await {
            Ok(_) => break,
            Err(ClusterError::Stopped { .. }) => taken += recorder.steps().len(),
            Err(error) => panic!("after {taken} steps: {error}"),
        }
        assert!(taken < 20);
    }
    check_rows(&fixture, &view, &[]).await;

    // Cut off in the middle, at other moments every time, until one is long enough.
    killed_while_it_is_copied_to(&fixture, &view.nodes[1]).await;
    let mut cuts = 0;
    let view = loop {
        let limit = Duration::from_millis(500).mul_f64(1.7_f64.powi(cuts));
        match tokio::time::timeout(limit, fixture.up()).await {
            Ok(view) => break view.unwrap(),
            Err(_elapsed) => cuts += 1,
        }
        assert!(cuts < 12);
    };
    assert_eq!(view.problems, Vec::<String>::new());
    assert!(cuts > 1, "{cuts}");
    check_rows(&fixture, &view, &[]).await;
    assert_eq!(fixture.state().renewing, Vec::<u32>::new());
}
