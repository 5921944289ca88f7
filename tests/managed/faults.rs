//! Faults made on a real cluster: each is named with its numbers, mended where that is safe, and left alone
//! where a person has to decide.
//!
//! Needs an engine and the image (`make test` sees to both). One cluster for all, since each fault ends
//! with a cluster that is right; it is removed at the end, also when the test fails.

mod clock;
mod lag;
mod recovery;

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::{
    self, Change, ClusterError, ClusterView, Examined, Finding, Kind, Safe, Silent,
};
use weir::config::Cluster;

use crate::docker::docker;
use crate::managed::Fixture;

/// How long a fault may take to show.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at everything, each of which starts a program in every container.
const ASK_AGAIN: Duration = Duration::from_millis(400);

/// A commit that lacks a receipt waits longer than that.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(2);

/// Of a statement that takes a while to be fetched, below the servers' max_allowed_packet.
const STATEMENT_BYTES: usize = 48 << 20;

/// A cluster that was right before the first fault.
struct Stand {
    fixture: Fixture,
    view: ClusterView,
}

impl Stand {
    async fn up(replicas: u32) -> Self {
        let mut fixture = Fixture::new("faults", replicas);
        fixture.wanted.database = "app".to_owned();
        let view = fixture.up().await.unwrap();
        Self { fixture, view }
    }

    fn name(&self, number: usize) -> String {
        self.fixture.name(u32::try_from(number).unwrap())
    }

    /// What the library's functions are told of the cluster.
    fn cluster(&self) -> (&Cluster, &Path) {
        (&self.fixture.wanted, self.fixture.state_dir())
    }

    async fn root(&self, number: usize) -> Conn {
        self.fixture.root(&self.view.nodes[number - 1]).await
    }

    /// Runs statements as root on one node, in one session.
    async fn run(&self, number: usize, statements: &[&str]) {
        let mut root = self.root(number).await;
        for statement in statements {
            root.query_drop(*statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    /// The same without a trace in the binary log, on a server that takes no writes.
    async fn run_unseen(&self, number: usize, statements: &[&str]) {
        let before = ["SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = OFF"];
        let after = ["SET GLOBAL super_read_only = ON"];
        self.run(number, &[&before, statements, &after].concat()).await;
    }

    async fn rows(&self, number: usize) -> Vec<(u32, String)> {
        self.root(number).await.query("SELECT id, v FROM app.t ORDER BY id").await.unwrap()
    }

    async fn examine(&self) -> Examined {
        let (wanted, dir) = self.cluster();
        cluster::examine(wanted, dir).await.unwrap()
    }

    async fn repair(&self, number: Option<usize>) -> Examined {
        let name = number.map(|number| self.name(number));
        let (wanted, dir) = self.cluster();
        cluster::repair(wanted, dir, name.as_deref(), &Silent).await.unwrap()
    }

    /// Waits until a finding of that kind shows on the node, and checks its words.
    async fn found(&self, number: usize, kind: Kind, words: &[&str]) -> Finding {
        let started = Instant::now();
        loop {
            let findings = self.examine().await.findings;
            let name = self.name(number);
            let found = findings.iter().find(|found| found.node == name && found.kind == kind);
            if let Some(finding) = found {
                for word in words {
                    assert!(finding.sentence.contains(word), "{word}: {}", finding.sentence);
                }
                return finding.clone();
            }
            assert!(started.elapsed() < PATIENCE, "no {kind:?} on {name}: {findings:?}");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Waits until no two servers are named for one uuid any more, which only one that answers shows.
    async fn gone(&self, kind: Kind) {
        let started = Instant::now();
        loop {
            let examined = self.examine().await;
            let answer = examined.view.nodes.iter().all(|node| !node.version.is_empty());
            if answer
                && examined
                    .findings
                    .iter()
                    .all(|found| found.kind != kind || found.safe != Safe::Nothing)
            {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{:?}", examined.findings);
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Waits until nothing is wrong and every server has the same rows.
    async fn right(&self) {
        let started = Instant::now();
        loop {
            let examined = self.examine().await;
            if examined.findings.is_empty() && examined.lags.is_empty() {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{:?} {:?}", examined.findings, examined.lags);
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let rows = self.rows(1).await;
        for number in 2..=3 {
            assert_eq!(self.rows(number).await, rows, "{}", self.name(number));
        }
    }

    async fn skip(&self, number: usize) -> Examined {
        let (wanted, dir) = self.cluster();
        let skippable = cluster::skippable(wanted, dir, &self.name(number)).await.unwrap();
        cluster::skip(wanted, dir, &skippable, &Silent).await.unwrap()
    }
}

fn kinds(examined: &Examined) -> Vec<Kind> {
    examined.findings.iter().map(|finding| finding.kind).collect()
}

#[tokio::test]
async fn faults_are_named_and_mended_where_that_is_safe() {
    let mut fixture = Stand::up(2).await;
    let make = "CREATE TABLE app.t (id INT PRIMARY KEY, v VARCHAR(20))";
    fixture.run(1, &[make, "INSERT INTO app.t VALUES (1, 'a'), (2, 'b'), (3, 'c')"]).await;
    fixture.right().await;
    two_acknowledgements(&mut fixture).await;
    stopped_threads(&fixture).await;
    writable(&fixture).await;
    wrong_password(&fixture).await;
    wrong_position(&fixture).await;
    clock::is_off(&fixture).await;
    same_uuid(&fixture).await;
    stopped_container(&fixture).await;
    recovery::is_left_alone(&fixture).await;
    lag::causes(&fixture).await;
    duplicate_keys(&fixture).await;
    missing_row(&fixture).await;
    errant(&fixture).await;
    purged(&fixture).await;
}

/// A commit waits for as many replicas as are wanted, and for fewer again when fewer are.
async fn two_acknowledgements(fixture: &mut Stand) {
    let usual = fixture.fixture.wanted.semi_sync_timeout;
    for (acks, timeout) in [(2, PATIENCE), (1, usual)] {
        fixture.fixture.wanted.semi_sync_acks = acks;
        fixture.fixture.wanted.semi_sync_timeout = timeout;
        fixture.fixture.up().await.unwrap();
        let mut primary = fixture.root(1).await;
        let count = "SELECT @@global.rpl_semi_sync_source_wait_for_replica_count";
        assert_eq!(primary.query_first(count).await.unwrap(), Some(acks));
        fixture.run(3, &["STOP REPLICA IO_THREAD"]).await;
        let commit = primary.query_drop("UPDATE app.t SET v = CONCAT(v, '+') WHERE id = 1");
        let mut commit = std::pin::pin!(commit);
        let waits = tokio::time::timeout(UNACKNOWLEDGED_FOR, &mut commit).await.is_err();
        assert_eq!(waits, acks == 2);
        fixture.run(3, &["START REPLICA IO_THREAD"]).await;
        if waits {
            commit.await.unwrap();
        }
        fixture.right().await;
    }
}

async fn stopped_threads(fixture: &Stand) {
    fixture.run(2, &["STOP REPLICA"]).await;
    let receiver = fixture.found(2, Kind::ReceiverStopped, &[&fixture.name(1)]).await;
    assert!(receiver.remedy.contains("weir cluster repair"), "{}", receiver.remedy);
    fixture.found(2, Kind::ApplierStopped, &["0 transactions received"]).await;
    // A repair of another node leaves this one alone.
    assert_eq!(
        kinds(&fixture.repair(Some(3)).await),
        [Kind::ReceiverStopped, Kind::ApplierStopped]
    );
    assert_eq!(kinds(&fixture.repair(Some(2)).await), []);
    fixture.right().await;
    let (wanted, dir) = fixture.cluster();
    let nobody = cluster::repair(wanted, dir, Some("nobody"), &Silent).await;
    assert!(matches!(nobody, Err(ClusterError::Repair { .. })), "{nobody:?}");
}

async fn writable(fixture: &Stand) {
    fixture.run(2, &["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"]).await;
    fixture.found(2, Kind::Writable, &["everybody", &fixture.name(1)]).await;
    assert_eq!(kinds(&fixture.repair(None).await), []);
    fixture.right().await;
}

async fn wrong_password(fixture: &Stand) {
    let wrong = "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = 'wrong'";
    fixture.run(2, &["STOP REPLICA", wrong, "START REPLICA"]).await;
    fixture.found(2, Kind::Credentials, &["weir_replication", "1045"]).await;
    assert_eq!(kinds(&fixture.repair(Some(2)).await), []);
    fixture.right().await;
}

async fn wrong_position(fixture: &Stand) {
    let wrong = "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = 'binlog.000099', \
                 SOURCE_LOG_POS = 4";
    fixture.run(2, &["STOP REPLICA", wrong, "START REPLICA"]).await;
    fixture.found(2, Kind::WrongPosition, &["binlog.000099", "position 4", "1236"]).await;
    assert_eq!(kinds(&fixture.repair(Some(2)).await), []);
    fixture.right().await;
}

/// Data that was copied by hand, with its `auto.cnf`: the primary throws out one of the two for the other.
async fn same_uuid(fixture: &Stand) {
    let uuid = "SELECT @@server_uuid";
    let of_two: String = fixture.root(2).await.query_first(uuid).await.unwrap().unwrap();
    let change =
        format!("sed -i 's/^server-uuid=.*/server-uuid={of_two}/' /var/lib/mysql/auto.cnf");
    let three = fixture.name(3);
    docker(&["exec", &three, "sh", "-c", &change]);
    docker(&["restart", &three]);
    let finding = fixture.found(3, Kind::SameUuid, &[&of_two]).await;
    assert!(finding.remedy.contains("auto.cnf"), "{}", finding.remedy);
    // As it says; the server makes up another.
    docker(&["exec", &three, "rm", "/var/lib/mysql/auto.cnf"]);
    docker(&["restart", &three]);
    fixture.gone(Kind::SameUuid).await;
    fixture.repair(None).await;
    fixture.right().await;
    let of_three: String = fixture.root(3).await.query_first(uuid).await.unwrap().unwrap();
    assert_ne!(of_three, of_two);
}

async fn stopped_container(fixture: &Stand) {
    let name = fixture.name(3);
    docker(&["kill", &name]);
    fixture.found(3, Kind::ContainerExited, &["SIGKILL", "137"]).await;
    assert_eq!(kinds(&fixture.repair(None).await), []);
    fixture.right().await;
}

/// Two in a row: each is skipped by itself. All change one row, so no worker begins one before the last is done.
async fn duplicate_keys(fixture: &Stand) {
    fixture.run_unseen(2, &["INSERT INTO app.t VALUES (10, 'mine'), (11, 'mine')"]).await;
    for id in [10, 11, 12] {
        let insert = format!("INSERT INTO app.t VALUES ({id}, 'theirs')");
        let update = format!("UPDATE app.t SET v = 'with {id}' WHERE id = 1");
        fixture.run(1, &["BEGIN", &insert, &update, "COMMIT"]).await;
    }
    let words = ["1062", "'10' of key PRIMARY in app.t", "with 2 transactions behind it"];
    let finding = fixture.found(2, Kind::DuplicateKey, &words).await;
    for row in ["has (id=10, v=theirs)", "has (id=10, v=mine)"] {
        assert!(finding.sentence.contains(row), "{}", finding.sentence);
    }
    // Without a word nothing is decided.
    assert_eq!(kinds(&fixture.repair(None).await), [Kind::DuplicateKey]);
    let next = fixture.skip(2).await;
    assert_eq!(kinds(&next), [Kind::DuplicateKey]);
    assert!(next.findings[0].sentence.contains("'11'"), "{}", next.findings[0].sentence);
    assert_eq!(kinds(&fixture.skip(2).await), []);
    let (wanted, dir) = fixture.cluster();
    let nothing = cluster::skippable(wanted, dir, &fixture.name(2)).await;
    assert!(matches!(nothing, Err(ClusterError::Repair { .. })), "{nothing:?}");
    fixture.run_unseen(2, &["UPDATE app.t SET v = 'theirs' WHERE id IN (10, 11)"]).await;
    fixture.right().await;
}

async fn missing_row(fixture: &Stand) {
    fixture.run_unseen(2, &["DELETE FROM app.t WHERE id = 2"]).await;
    fixture.run(1, &["UPDATE app.t SET v = 'new' WHERE id = 2"]).await;
    let words = ["1032", "lacks a row of app.t", "to update", "with 0 transactions behind it"];
    fixture.found(2, Kind::MissingRow, &words).await;
    assert_eq!(kinds(&fixture.repair(Some(2)).await), [Kind::MissingRow]);
    assert_eq!(kinds(&fixture.skip(2).await), []);
    fixture.run_unseen(2, &["INSERT INTO app.t VALUES (2, 'new')"]).await;
    fixture.right().await;
}

async fn errant(fixture: &Stand) {
    let write = "INSERT INTO app.t VALUES (900, 'errant')";
    let open = "SET GLOBAL super_read_only = OFF";
    fixture.run(3, &[open, write, "SET GLOBAL super_read_only = ON"]).await;
    let uuid: String =
        fixture.root(3).await.query_first("SELECT @@server_uuid").await.unwrap().unwrap();
    let first = format!("{uuid}:1");
    let name = fixture.name(1);
    fixture.found(3, Kind::Errant, &["has 1 transaction that", &name, &first]).await;
    assert_eq!(kinds(&fixture.repair(None).await), [Kind::Errant]);
    let kept = fixture.rows(3).await;
    assert!(kept.contains(&(900, "errant".to_owned())), "{kept:?}");
    // As a person may decide: the row goes, and the transaction counts as done everywhere.
    fixture.run_unseen(3, &["DELETE FROM app.t WHERE id = 900"]).await;
    let next = format!("SET gtid_next = '{first}'");
    fixture.run(1, &[&next, "BEGIN", "COMMIT", "SET gtid_next = 'AUTOMATIC'"]).await;
    fixture.right().await;
}

/// Its receiver stops for good at the beginning of a transaction; only a copy of the data mends that, and does not wait
/// for the rest.
async fn purged(fixture: &Stand) {
    fixture.run(1, &["CREATE TABLE app.begun (id INT AUTO_INCREMENT PRIMARY KEY)"]).await;
    let started = Instant::now();
    while !stopped_within(fixture, 3).await {
        assert!(started.elapsed() < PATIENCE, "never within a transaction");
        fixture.run(3, &["START REPLICA IO_THREAD"]).await;
        fixture.right().await;
    }
    fixture
        .run(1, &["INSERT INTO app.t VALUES (20, 'x')", "INSERT INTO app.t VALUES (21, 'x')"])
        .await;
    fixture.run(1, &["FLUSH BINARY LOGS", "INSERT INTO app.t VALUES (22, 'x')"]).await;
    let mut primary = fixture.root(1).await;
    // No replica may still be reading what is to be purged.
    let applied: String =
        primary.query_first("SELECT @@global.gtid_executed").await.unwrap().unwrap();
    let wait = format!("DO WAIT_FOR_EXECUTED_GTID_SET('{}', 20)", applied.replace('\n', ""));
    fixture.run(2, &[&wait]).await;
    let logs: Vec<(String, u64, String)> = primary.query("SHOW BINARY LOGS").await.unwrap();
    let newest = &logs.last().unwrap().0;
    primary.query_drop(format!("PURGE BINARY LOGS TO '{newest}'")).await.unwrap();
    fixture.run(3, &["START REPLICA IO_THREAD"]).await;
    let finding = fixture.found(3, Kind::Purged, &["3 transactions", "1236", newest]).await;
    assert!(finding.remedy.contains("--reclone"), "{}", finding.remedy);
    assert_eq!(kinds(&fixture.repair(None).await), [Kind::Purged]);
    let lag = fixture.examine().await.lags;
    assert_eq!((lag.len(), lag[0].behind), (1, 4), "{lag:?}");
    let ((wanted, dir), name) = (fixture.cluster(), fixture.name(3));
    cluster::change(wanted, dir, Change::Reclone, &name, &Silent).await.unwrap();
    fixture.right().await;
}

/// Stops a replica's receiver while it fetches a transaction of which a large event comes first, its statement: whether
/// the applier stands at the beginning of that transaction then.
async fn stopped_within(fixture: &Stand, number: usize) -> bool {
    let (mut client, mut replica) = (fixture.root(1).await, fixture.root(number).await);
    client.query_drop("SET SESSION binlog_rows_query_log_events = ON").await.unwrap();
    let insert = format!("INSERT INTO app.begun VALUES () -- {}", "x".repeat(STATEMENT_BYTES));
    let inserted = tokio::spawn(async move { client.query_drop(insert).await });
    let fetches = "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE \
                   queueing_transaction <> ''";
    let started = Instant::now();
    while replica.query_first::<u8, _>(fetches).await.unwrap() == Some(0) {
        assert!(started.elapsed() < PATIENCE, "nothing came");
    }
    replica.query_drop("STOP REPLICA IO_THREAD").await.unwrap();
    inserted.await.unwrap().unwrap();
    let half = "SELECT c.processing_transaction <> '' AND t.processlist_state LIKE '%has read all relay log%' FROM \
                performance_schema.replication_applier_status_by_coordinator c \
                JOIN performance_schema.threads t USING (thread_id)";
    // It has the rest of the log to read.
    tokio::time::sleep(ASK_AGAIN).await;
    replica.query_first::<u8, _>(half).await.unwrap() == Some(1)
}
