//! Copies without the clone plugin, and clusters without GTIDs, on a real Docker Engine with real servers.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::{self, Change, ClusterError, ClusterView, NodeView, Progress, Silent, Step};
use weir::config::{Copying, Replication};
use weir::topology::Role;

use crate::docker::docker;
use crate::flow::{Writer, check_flow};
use crate::managed::{Fixture, login};
use crate::recorder::Recorder;
use crate::roles::node;

impl Fixture {
    async fn up_told(&self, progress: &dyn Progress) -> Result<ClusterView, ClusterError> {
        cluster::up(&self.wanted, self.state_dir(), progress).await
    }

    /// Where node `number` is, or will be.
    fn address(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.wanted.port_base + number - 1)
    }

    /// Also of a node that is not whole yet.
    async fn root_at(&self, number: u16) -> Conn {
        let password = self.state().root;
        login(&self.address(number), "root", password.expose(), None).await.unwrap()
    }

    /// Writes to whichever of the first `nodes` nodes takes writes.
    fn writer(&self, nodes: u16) -> Writer {
        Writer::start(self, (1..=nodes).map(|number| self.address(number)).collect())
    }

    /// Every node has the same, once it has what the primary has.
    async fn check_same(&self, view: &ClusterView) {
        let primary = node(view, Role::Primary);
        let mut all = Vec::new();
        for node in &view.nodes {
            let mut root = self.root(node).await;
            if node.name != primary.name {
                self.wait_for_marker(&mut root, primary).await;
            }
            all.push((&node.name, content(&mut root).await));
        }
        let (first, expected) = all.first().unwrap();
        for (name, content) in &all {
            assert_eq!(content, expected, "{name} and {first}");
        }
    }

    /// Until a row that is written now has arrived.
    async fn wait_for_marker(&self, replica: &mut Conn, primary: &NodeView) {
        let mut root = self.root(primary).await;
        for statement in [
            "CREATE TABLE IF NOT EXISTS app_data.marker (v INT AUTO_INCREMENT PRIMARY KEY)",
            "INSERT INTO app_data.marker VALUES ()",
        ] {
            root.query_drop(statement).await.unwrap();
        }
        let last = "SELECT COALESCE(MAX(v), 0) FROM app_data.marker";
        let wanted: Option<u32> = root.query_first(last).await.unwrap();
        for _ in 0..200 {
            // The table itself may be yet to come.
            if replica.query_first::<u32, _>(last).await.is_ok_and(|has| has == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the row {wanted:?} of {} does not arrive", primary.name);
    }
}

fn copied_by_dumps(test: &str, replicas: u32) -> Fixture {
    let mut fixture = Fixture::new(test, replicas);
    fixture.wanted.copy = Copying::Dump;
    fixture
}

/// Checksums of all tables and accounts, and all definitions.
async fn content(root: &mut Conn) -> Vec<String> {
    let tables: Vec<String> = root
        .query(
            "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables WHERE \
             table_type = 'BASE TABLE' AND (table_schema NOT IN ('mysql', 'sys', 'performance_schema', \
             'information_schema') OR (table_schema = 'mysql' AND table_name IN ('user', 'db', 'tables_priv', \
             'columns_priv', 'procs_priv', 'proxies_priv', 'role_edges', 'default_roles', 'global_grants', \
             'password_history'))) AND table_name NOT IN ('flow', 'marker') ORDER BY 1",
        )
        .await
        .unwrap();
    let sums: Vec<(String, Option<u64>)> =
        root.query(format!("CHECKSUM TABLE {}", tables.join(", "))).await.unwrap();
    let mut all: Vec<String> = sums.iter().map(|sum| format!("{sum:?}")).collect();
    for table in &tables {
        let shown: Option<(String, String)> =
            root.query_first(format!("SHOW CREATE TABLE {table}")).await.unwrap();
        // The next number may be ahead by what was rolled back.
        let definition = shown.unwrap().1;
        all.push(definition.split(" AUTO_INCREMENT=").next().unwrap().to_owned());
    }
    for query in [
        "SELECT CONCAT_WS('|', routine_schema, routine_name, sql_mode, routine_definition, security_type, \
         collation_connection, database_collation, definer) FROM information_schema.routines WHERE \
         routine_schema <> 'sys' ORDER BY 1",
        "SELECT CONCAT_WS('|', trigger_schema, trigger_name, action_order, action_statement, sql_mode, \
         definer) FROM information_schema.triggers WHERE trigger_schema <> 'sys' ORDER BY 1",
        "SELECT CONCAT_WS('|', event_schema, event_name, event_definition, interval_value, time_zone, definer) \
         FROM information_schema.events ORDER BY 1",
        "SELECT CONCAT_WS('|', table_schema, table_name, view_definition, security_type, definer) FROM \
         information_schema.views WHERE table_schema <> 'sys' ORDER BY 1",
        "SELECT CONCAT_WS('|', schema_name, default_collation_name) FROM information_schema.schemata ORDER BY 1",
        "SELECT CONCAT(@@global.event_scheduler, @@global.max_allowed_packet)",
    ] {
        let rows: Vec<String> = root.query(query).await.unwrap();
        assert!(!rows.is_empty(), "{query}");
        all.extend(rows);
    }
    all
}

/// Whether every node has every acknowledged row; `check_same` was called since the last one.
async fn check_rows(fixture: &Fixture, view: &ClusterView, acknowledged: &[u32]) {
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    for node in &view.nodes {
        check_flow(&mut fixture.root(node).await, node, acknowledged).await;
    }
}

const DEADLOCK: u16 = 1213;

/// What is hard to copy.
const DATA: &str = include_str!("../support/hard_to_copy.sql");

async fn fill(fixture: &Fixture) {
    let mut root = fixture.root_at(1).await;
    for statement in DATA.split_terminator(";\n") {
        if let Err(error) = root.query_drop(statement).await {
            panic!("{statement}: {error}");
        }
    }
    for statement in ["FLUSH BINARY LOGS", "DO SLEEP(1)", "PURGE BINARY LOGS BEFORE NOW()"] {
        root.query_drop(statement).await.unwrap();
    }
}

/// Clients that change definitions all the time, and write to the same tables in transactions that stay open for a
/// moment; whatever one of them is refused is an error. But the read lock of a dump may cost a deadlock when an ALTER TABLE
/// begins in the very moment (`cluster::dump::donor` says how), to a transaction or to the ALTER TABLE, whichever waits
/// last: these are counted, and begin again.
struct Definers {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    deadlocks: Arc<AtomicU32>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Definers {
    async fn start(fixture: &Fixture) -> Self {
        let mut root = fixture.root_at(1).await;
        for statement in [
            "CREATE TABLE IF NOT EXISTS app_data.changing (v INT AUTO_INCREMENT PRIMARY KEY, w INT)",
            "CREATE TABLE IF NOT EXISTS app_data.beside (v INT AUTO_INCREMENT PRIMARY KEY)",
        ] {
            root.query_drop(statement).await.unwrap();
        }
        let change: &[&str] = &[
            "ALTER TABLE app_data.changing ADD COLUMN x INT, ALGORITHM = COPY",
            "ALTER TABLE app_data.changing DROP COLUMN x",
            "CREATE TABLE app_data.passing (v INT)",
            "DROP TABLE app_data.passing",
        ];
        let write: &[&str] = &[
            "BEGIN",
            "INSERT INTO app_data.changing (w) VALUES (1)",
            "DO SLEEP(0.004)",
            "INSERT INTO app_data.beside VALUES ()",
            "COMMIT",
        ];
        let stop = Arc::<AtomicBool>::default();
        let (rounds, deadlocks) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let mut tasks = Vec::new();
        for statements in [change, write, write] {
            let mut conn = fixture.root_at(1).await;
            let stopped = Arc::clone(&stop);
            let (whole, dead) = (Arc::clone(&rounds), Arc::clone(&deadlocks));
            tasks.push(tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    if round(&mut conn, statements, &dead).await {
                        whole.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Self { stop, rounds, deadlocks, tasks }
    }

    /// How often all their statements were carried out, and how often a deadlock was in the way.
    async fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.rounds.load(Ordering::Relaxed), self.deadlocks.load(Ordering::Relaxed))
    }
}

/// Whether all of it was carried out: a transaction may end by a deadlock instead, another statement is given again.
async fn round(conn: &mut Conn, statements: &[&str], deadlocks: &AtomicU32) -> bool {
    for statement in statements {
        while let Err(error) = conn.query_drop(*statement).await {
            let is_deadlock =
                matches!(&error, mysql_async::Error::Server(error) if error.code == DEADLOCK);
            assert!(is_deadlock, "{statement}: {error}");
            deadlocks.fetch_add(1, Ordering::Relaxed);
            if statements[0] == "BEGIN" {
                return false;
            }
        }
    }
    true
}

/// Takes the plugin's file out of a node's container.
async fn without_plugin(name: &str, root: &mut Conn) {
    let directory: Option<String> = root.query_first("SELECT @@plugin_dir").await.unwrap();
    let file = format!("{}/mysql_clone.so", directory.unwrap());
    docker(&["exec", name, "rm", &file]);
}

#[tokio::test]
async fn a_dump_makes_a_replica_under_writes() {
    let mut fixture = copied_by_dumps("dump", 0);
    fixture.up().await.unwrap();
    fill(&fixture).await;
    let writer = fixture.writer(1);
    let definers = Definers::start(&fixture).await;

    // Cut off while rows come in.
    fixture.wanted.replicas = 1;
    let recorder = Recorder::with_budget(u32::MAX);
    tokio::select! {
        done = fixture.up_told(&recorder) => panic!("{:?}", done.map(|_| ())),
        () = recorder.rows.notified() => {}
    }
    assert_eq!(fixture.state().renewing, [2]);
    let mut half = fixture.root_at(2).await;
    let tables: Option<u32> = half
        .query_first(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app_data'",
        )
        .await
        .unwrap();
    assert_ne!(tables, Some(0));

    // The same again, and this time to the end.
    let recorder = Recorder::with_budget(u32::MAX);
    let view = fixture.up_told(&recorder).await.unwrap();
    assert!(recorder.steps().contains(&Step::Clone { node: 2, donor: 1 }));
    assert_eq!(view.problems, Vec::<String>::new());
    assert_eq!(fixture.state().renewing, Vec::<u32>::new());
    let (rounds, deadlocks) = definers.end().await;
    assert!(rounds > 10, "{rounds}");
    // Two dumps began, and two clients have transactions.
    assert!(deadlocks <= 4, "{deadlocks} of {rounds}");
    {
        let details = recorder.details.lock().unwrap();
        assert!(details.iter().any(|text| text.contains(" MB")), "{details:?}");
    }
    fixture.check_same(&view).await;
    let mut reporter = login(&fixture.address(2), "reporter", "Rep0rt's", None).await.unwrap();
    let twice: Option<u32> = reporter.query_first("SELECT app_data.twice(21)").await.unwrap();
    assert_eq!(twice, Some(42));
    reporter.query_drop("SELECT v FROM app_data.flow LIMIT 1").await.unwrap();

    // Because a plugin is missing; from a replica, whose applier stands still for a moment.
    let name = fixture.name(2);
    without_plugin(&name, &mut fixture.root_at(2).await).await;
    (fixture.wanted.replicas, fixture.wanted.copy) = (2, Copying::Clone);
    let refused = fixture.up().await.unwrap_err();
    assert!(matches!(&refused, ClusterError::NoClonePlugin { lacks, .. } if *lacks == name));
    fixture.wanted.copy = Copying::Auto;
    let recorder = Recorder::with_budget(u32::MAX);
    fixture.up_told(&recorder).await.unwrap();
    assert!(recorder.steps().contains(&Step::Clone { node: 3, donor: 2 }));
    {
        let notes = recorder.notes.lock().unwrap();
        assert!(notes.iter().any(|text| text.contains("has no clone plugin")), "{notes:?}");
    }
    // Over data that was given up.
    let change = Change::Reclone;
    let view = cluster::change(&fixture.wanted, fixture.state_dir(), change, &name, &Silent).await;
    let view = view.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    let (acknowledged, _) = writer.end().await;
    fixture.check_same(&view).await;
    check_rows(&fixture, &view, &acknowledged).await;
}

#[tokio::test]
async fn a_cluster_without_gtids() {
    let mut fixture = Fixture::new("file", 1);
    (fixture.wanted.replication, fixture.wanted.copy) = (Replication::File, Copying::Auto);
    let recorder = Recorder::with_budget(u32::MAX);
    fixture.up_told(&recorder).await.unwrap();
    assert!(recorder.steps().contains(&Step::Clone { node: 2, donor: 1 }));
    let mut root = fixture.root_at(1).await;
    let mode: Option<String> = root.query_first("SELECT @@global.gtid_mode").await.unwrap();
    assert_eq!(mode.as_deref(), Some("OFF"));
    for statement in [
        "CREATE TABLE app_data.flow (v INT UNSIGNED PRIMARY KEY)",
        "CREATE TABLE app_data.old (v INT)",
        "INSERT INTO app_data.old VALUES (1), (1), (2)",
        "CREATE VIEW app_data.seen AS SELECT v FROM app_data.old",
        "CREATE PROCEDURE app_data.nothing () DO 0",
        "CREATE TRIGGER app_data.follow BEFORE INSERT ON app_data.old FOR EACH ROW SET NEW.v = NEW.v + 1",
        "CREATE EVENT app_data.never ON SCHEDULE EVERY 1 YEAR STARTS '2035-01-01' DO DO 0",
    ] {
        root.query_drop(statement).await.unwrap();
    }
    let writer = fixture.writer(3);

    // Once by the plugin, once by a dump: each tells the place in the primary's log.
    (fixture.wanted.replicas, fixture.wanted.copy) = (2, Copying::Dump);
    let recorder = Recorder::with_budget(u32::MAX);
    let view = fixture.up_told(&recorder).await.unwrap();
    assert!(recorder.steps().contains(&Step::Clone { node: 3, donor: 1 }));
    assert_eq!(view.problems, Vec::<String>::new());
    let behind = view.nodes[2].replication.as_ref().unwrap().behind;
    assert_eq!(behind, None, "transactions cannot be counted");
    fixture.check_same(&view).await;

    // There and back again: each time the others go on at a place in another log.
    for to in [3, 1] {
        let name = fixture.name(to);
        let dir = fixture.state_dir();
        let moved = cluster::switchover_alone(&fixture.wanted, dir, Some(&name), &Silent).await;
        assert_eq!(moved.unwrap().to, name);
        let view = cluster::observe(&fixture.wanted, dir).await.unwrap();
        assert_eq!(view.nodes[usize::try_from(to).unwrap() - 1].role, Role::Primary);
        fixture.check_same(&view).await;
    }
    let (acknowledged, _) = writer.end().await;
    let view = fixture.up().await.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    fixture.check_same(&view).await;
    check_rows(&fixture, &view, &acknowledged).await;

    // A cluster of one kind does not become one of the other.
    fixture.wanted.replication = Replication::Gtid;
    let refused = fixture.up().await.unwrap_err().to_string();
    assert!(refused.contains("replication = \"file\""), "{refused}");
    fixture.wanted.replication = Replication::File;

    // A replica that lost its place is left to a person, who gives it a new copy.
    let mut lost = fixture.root_at(2).await;
    for statement in ["STOP REPLICA", "RESET REPLICA ALL"] {
        lost.query_drop(statement).await.unwrap();
    }
    let refused = fixture.up().await.unwrap_err().to_string();
    assert!(refused.contains("weir cluster reclone"), "{refused}");
    let (dir, name) = (fixture.state_dir(), fixture.name(2));
    let view = cluster::change(&fixture.wanted, dir, Change::Reclone, &name, &Silent).await;
    fixture.check_same(&view.unwrap()).await;
}
