//! Why a replica is behind, by its real causes: a lock, the network, one worker, busy clients, one large transaction.

use std::time::Instant;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::Cause;

use super::{ASK_AGAIN, PATIENCE, Stand};
use crate::docker::processors;
use crate::link::Cut;

/// Rows of the table that the replica has to read whole for each change.
const ROWS: u32 = 40_000;
/// Transactions that it has to do one by one.
const CHANGES: u32 = 400;
/// Rows of one large transaction.
const LARGE: u32 = 15_000;
/// Of a processor, for the replica while it is behind: little work lasts until somebody has come to look, on a busy
/// machine too.
const SLOW: &str = "0.2";
/// More clients than are taken for busy.
const SLEEPERS: usize = 9;

pub(super) async fn causes(fixture: &Stand) {
    by_a_lock(fixture).await;
    by_the_network(fixture).await;
    // A replica without the index that the primary has.
    let fill = format!(
        "INSERT INTO app.slow SELECT n, 0 FROM (WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
         WHERE n < {ROWS}) SELECT n FROM n) AS numbers"
    );
    let make = "CREATE TABLE app.slow (id INT PRIMARY KEY, v INT NOT NULL)";
    fixture.run(1, &["SET cte_max_recursion_depth = 1000000", make, &fill]).await;
    fixture.right().await;
    fixture.run_unseen(2, &["ALTER TABLE app.slow DROP PRIMARY KEY"]).await;
    by_a_large_transaction(fixture).await;
    by_one_worker_and_by_clients(fixture).await;
    fixture.run(1, &["DROP TABLE app.slow"]).await;
    fixture.right().await;
}

impl Stand {
    /// Waits until node 2 is behind for that cause, and checks the words.
    async fn lags(&self, cause: Cause, words: &[&str]) {
        let (started, mut seen) = (Instant::now(), Vec::new());
        loop {
            let lags = self.examine().await.lags;
            let lag = lags.iter().find(|lag| lag.node == self.name(2) && lag.cause == cause);
            if let Some(lag) = lag {
                for word in words {
                    assert!(lag.sentence.contains(word), "{word}: {}", lag.sentence);
                }
                return;
            }
            seen.extend(lags.into_iter().map(|lag| lag.sentence));
            assert!(started.elapsed() < PATIENCE, "not {cause:?}: {seen:#?}");
            tokio::time::sleep(ASK_AGAIN / 4).await;
        }
    }
}

/// A client of the replica holds a row that the applier needs.
async fn by_a_lock(fixture: &Stand) {
    let mut client = fixture.root(2).await;
    for statement in [
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "BEGIN",
        "SELECT * FROM app.t WHERE id = 3",
    ] {
        client.query_drop(statement).await.unwrap();
    }
    let id: u64 = client.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    fixture.run(1, &["UPDATE app.t SET v = 'held' WHERE id = 3"]).await;
    let who = format!("connection {id} of root@");
    fixture.lags(Cause::Lock, &["1 transaction", "a row of app.t", &who]).await;
    client.query_drop("ROLLBACK").await.unwrap();
    fixture.right().await;
}

/// Its receiver waits for what does not come.
async fn by_the_network(fixture: &Stand) {
    let cut = Cut::between(&fixture.fixture.wanted.name, &fixture.name(2), &fixture.name(1));
    let change = "UPDATE app.t SET v = CONCAT(v, '-') WHERE id = 1";
    fixture.run(1, &[change, change, change]).await;
    let words =
        ["3 transactions behind", "not yet fetched from", "to go: the network between them"];
    fixture.lags(Cause::Network, &words).await;
    drop(cut);
    fixture.right().await;
}

/// It works off small transactions one by one; and when clients come, it is they who hold it up.
async fn by_one_worker_and_by_clients(fixture: &Stand) {
    let workers = "SELECT @@global.replica_parallel_workers";
    let before: u32 = fixture.root(2).await.query_first(workers).await.unwrap().unwrap();
    fixture.run(2, &["STOP REPLICA SQL_THREAD", "SET GLOBAL replica_parallel_workers = 1"]).await;
    let mut primary = fixture.root(1).await;
    // Those that a search from the front finds last.
    for id in ROWS - CHANGES..ROWS {
        let change = format!("UPDATE app.slow SET v = 2 WHERE id = {id}");
        primary.query_drop(change).await.unwrap();
    }
    processors(&fixture.name(2), Some(SLOW));
    fixture.run(2, &["START REPLICA SQL_THREAD"]).await;
    let words = ["its only worker", " wait (", "more replica_parallel_workers"];
    fixture.lags(Cause::FewWorkers, &words).await;
    let mut sleepers = Vec::new();
    for _ in 0..SLEEPERS {
        sleepers.push(tokio::spawn(sleep(fixture.root(2).await)));
    }
    let words = ["busy with ", " running statements of clients", "SELECT SLEEP(60)"];
    fixture.lags(Cause::Busy, &words).await;
    processors(&fixture.name(2), None);
    let kill = "SELECT CONCAT('KILL ', id) FROM performance_schema.processlist WHERE info = 'SELECT SLEEP(60)'";
    let mut root = fixture.root(2).await;
    let kills: Vec<String> = root.query(kill).await.unwrap();
    for kill in kills {
        root.query_drop(kill).await.unwrap();
    }
    for sleeper in sleepers {
        sleeper.await.unwrap();
    }
    fixture.run(2, &["STOP REPLICA SQL_THREAD"]).await;
    fixture.run_unseen(2, &["ALTER TABLE app.slow ADD PRIMARY KEY (id)"]).await;
    let restore = format!("SET GLOBAL replica_parallel_workers = {before}");
    fixture.run(2, &[&restore, "START REPLICA SQL_THREAD"]).await;
    fixture.right().await;
}

async fn sleep(mut conn: Conn) {
    let _ended = conn.query_drop("SELECT SLEEP(60)").await;
}

async fn by_a_large_transaction(fixture: &Stand) {
    let change = format!("UPDATE app.slow SET v = v + 1 WHERE id > {}", ROWS - LARGE);
    processors(&fixture.name(2), Some(SLOW));
    fixture.run(1, &[&change]).await;
    let words = ["1 transaction", "has been at one transaction on app.slow for", "changed so far"];
    fixture.lags(Cause::BigTransaction, &words).await;
    processors(&fixture.name(2), None);
    fixture.right().await;
}
