//! 64 clients for a minute with mixed work, each checking that every row it gets is its own.
//!
//! `WEIR_SOAK_SECONDS` makes it longer or shorter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, TxOpts};
use xxhash_rust::xxh3::xxh3_64;

use crate::support::client::{connect, connect_tls, run, text};
use crate::support::cluster::TESTER;
use crate::support::{TestCluster, Weir, direct};

const CLIENTS: u64 = 64;
const DATABASE: &str = "own_rows";
/// So many steps, or thereabouts, a client that rests makes as fast as it can; then it rests for half of this, or
/// thereabouts.
const BURST: u64 = 12;
const MOST_REST_MS: u64 = 3000;

/// One client: who it is, what it has written, and its own source of chance.
struct Client {
    conn: Conn,
    id: u64,
    rows: u64,
    seed: u64,
    /// Queries that were checked.
    done: Arc<AtomicU64>,
}

#[tokio::test]
async fn every_row_is_ones_own() {
    let seconds = std::env::var("WEIR_SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let cluster = TestCluster::shared().await;
    cluster.fresh_database(DATABASE).await;
    cluster
        .on_primary(&[
            "CREATE TABLE own_rows.own (client INT, n INT, hash BIGINT UNSIGNED, payload VARBINARY(2000), PRIMARY KEY (client, n))",
            "CREATE TABLE own_rows.numbered (id BIGINT AUTO_INCREMENT PRIMARY KEY, client INT)",
            "CREATE TABLE own_rows.balance (client INT PRIMARY KEY, a INT, b INT)",
        ])
        .await;
    let weir = Weir::start(cluster);
    let memory = weir.rss_kb();
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let (address, done) = (weir.address.clone(), Arc::clone(&done));
            tokio::spawn(async move { client(&address, id, end, done).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    let grown = weir.rss_kb().saturating_sub(memory);
    eprintln!("own_rows: {done} checked queries in {seconds} s, {grown} KiB more memory");
    assert!(done > CLIENTS * 10, "only {done} queries");
    assert!(weir.alive());
    if !direct() {
        let runs = cluster.runs("own_rows_text").await;
        assert!(runs[1] > 0 && runs[2] > 0, "no reads on replicas: {runs:?}");
        let log = weir.log();
        assert!(!log.contains("panicked"), "a panic in the log");
    }
}

async fn client(address: &str, id: u64, end: Instant, done: Arc<AtomicU64>) {
    let mut one =
        Client { conn: arrive(address, id).await, id, rows: 0, seed: id * 7919 + 1, done };
    run(&mut one.conn, &format!("INSERT INTO balance VALUES ({id}, 1000, 0)")).await;
    one.settings().await;
    while Instant::now() < end {
        match one.chance(14) {
            0 | 1 => one.write_text().await,
            2 => one.write_prepared().await,
            3..=5 => one.read_one().await,
            6 | 7 => one.read_many().await,
            8 => one.transfer().await,
            9 => one.temporary_table().await,
            10 => one.user_variable().await,
            11 => one.numbered().await,
            12 => one.checked_settings().await,
            _ if one.chance(4) == 0 => {
                // Away, sometimes without a word, and back.
                let next = arrive(address, id).await;
                let last = std::mem::replace(&mut one.conn, next);
                if one.chance(2) == 0 {
                    last.disconnect().await.unwrap()
                } else {
                    drop(last)
                }
                one.settings().await;
                // A session sees what it wrote itself. Its first write comes after those of the last
                // session, so that who sees the one sees the others.
                one.numbered().await;
            }
            _ => tokio::time::sleep(Duration::from_millis(one.chance(50))).await,
        }
        // Half of them, as people at their desks: meanwhile others have the server connection.
        if id % 2 == 1 && one.chance(BURST) == 0 {
            tokio::time::sleep(Duration::from_millis(one.chance(MOST_REST_MS))).await;
        }
        one.done.fetch_add(1, Ordering::Relaxed);
    }
    let count = text(&mut one.conn, &format!("SELECT COUNT(*) FROM own WHERE client = {id}")).await;
    assert_eq!(count, one.rows.to_string(), "rows of client {id}");
    one.conn.disconnect().await.unwrap();
}

async fn arrive(address: &str, id: u64) -> Conn {
    let result = if id.is_multiple_of(8) {
        connect_tls(address, TESTER, Some(DATABASE)).await
    } else {
        connect(address, TESTER, Some(DATABASE)).await
    };
    result.unwrap_or_else(|error| panic!("client {id} cannot connect: {error}"))
}

impl Client {
    /// 0 to `below` - 1.
    fn chance(&mut self, below: u64) -> u64 {
        self.seed = xxh3_64(&self.seed.to_le_bytes());
        self.seed % below
    }

    /// What row n of this client holds: everyone can compute it, nobody else's looks the same.
    fn payload(&self, n: u64) -> (u64, Vec<u8>) {
        let hash = xxh3_64(&[self.id.to_le_bytes(), n.to_le_bytes()].concat());
        let length = usize::try_from(hash % 900).unwrap() + 8;
        (hash, hash.to_le_bytes().into_iter().cycle().take(length).collect())
    }

    async fn write_text(&mut self) {
        let (hash, payload) = self.payload(self.rows);
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("INSERT INTO own VALUES ({}, {}, {hash}, x'{hex}')", self.id, self.rows);
        run(&mut self.conn, &sql).await;
        assert_eq!(self.conn.affected_rows(), 1);
        self.rows += 1;
        self.check(self.rows - 1).await;
    }

    async fn write_prepared(&mut self) {
        let (hash, payload) = self.payload(self.rows);
        let row = (self.id, self.rows, hash, payload);
        self.conn.exec_drop("INSERT INTO own VALUES (?, ?, ?, ?)", row).await.unwrap();
        self.rows += 1;
        self.check(self.rows - 1).await;
    }

    async fn read_one(&mut self) {
        if self.rows > 0 {
            let n = self.chance(self.rows);
            self.check(n).await;
        }
    }

    /// Reads row n by one of two protocols; also right after it was written.
    async fn check(&mut self, n: u64) {
        let (id, expected) = (self.id, self.payload(n));
        let row: Option<(u64, u64, u64, Vec<u8>)> = if self.chance(2) == 0 {
            let sql = format!(
                "SELECT client AS own_rows_text, n, hash, payload FROM own WHERE client = {id} AND n = {n}"
            );
            self.conn.query_first(sql).await.unwrap()
        } else {
            let sql = "SELECT client AS own_rows_text, n, hash, payload FROM own WHERE client = ? AND n = ?";
            self.conn.exec_first(sql, (id, n)).await.unwrap()
        };
        let row = row.unwrap_or_else(|| panic!("client {id}: its row {n} is not there"));
        assert_eq!(row, (id, n, expected.0, expected.1), "client {id}, row {n}");
    }

    async fn read_many(&mut self) {
        let from = self.rows.saturating_sub(20);
        let sql = "SELECT client, n, hash FROM own WHERE client = ? AND n >= ? ORDER BY n";
        let rows: Vec<(u64, u64, u64)> = self.conn.exec(sql, (self.id, from)).await.unwrap();
        let expected: Vec<_> = (from..self.rows).map(|n| (self.id, n, self.payload(n).0)).collect();
        assert_eq!(rows, expected, "client {}", self.id);
    }

    /// Moves money inside a transaction; the sum is the same to every reader, committed or not.
    async fn transfer(&mut self) {
        let amount = self.chance(100);
        let commit = self.chance(3) > 0;
        let id = self.id;
        let sum = format!("SELECT a, b FROM balance WHERE client = {id}");
        let before: (i64, i64) = self.conn.query_first(sum.as_str()).await.unwrap().unwrap();
        let mut transaction = self.conn.start_transaction(TxOpts::default()).await.unwrap();
        transaction
            .query_drop(format!("UPDATE balance SET a = a - {amount} WHERE client = {id}"))
            .await
            .unwrap();
        transaction
            .exec_drop("UPDATE balance SET b = b + ? WHERE client = ?", (amount, id))
            .await
            .unwrap();
        let inside: (i64, i64) = transaction.query_first(sum.as_str()).await.unwrap().unwrap();
        let amount = i64::try_from(amount).unwrap();
        assert_eq!(inside, (before.0 - amount, before.1 + amount), "client {id} inside");
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let after: (i64, i64) = self.conn.query_first(sum.as_str()).await.unwrap().unwrap();
        assert_eq!(after, if commit { inside } else { before }, "client {id}, commit {commit}");
    }

    async fn temporary_table(&mut self) {
        let id = self.id;
        run(&mut self.conn, "CREATE TEMPORARY TABLE mine (client INT, n INT)").await;
        for n in 0..3 {
            run(&mut self.conn, &format!("INSERT INTO mine VALUES ({id}, {n})")).await;
            let rows: Vec<(u64, u64)> =
                self.conn.query("SELECT client, n FROM mine ORDER BY n").await.unwrap();
            assert_eq!(
                rows,
                (0..=n).map(|n| (id, n)).collect::<Vec<_>>(),
                "temporary table of client {id}"
            );
        }
        run(&mut self.conn, "DROP TEMPORARY TABLE mine").await;
    }

    async fn user_variable(&mut self) {
        let value = self.id * 1_000_000 + self.chance(1_000_000);
        run(&mut self.conn, &format!("SET @own = {value}")).await;
        for _ in 0..3 {
            assert_eq!(text(&mut self.conn, "SELECT @own").await, value.to_string());
            self.read_one().await;
        }
        run(&mut self.conn, "SET @own = NULL").await;
    }

    async fn numbered(&mut self) {
        self.conn.exec_drop("INSERT INTO numbered (client) VALUES (?)", (self.id,)).await.unwrap();
        let id = self.conn.last_insert_id().unwrap();
        let asked: Option<u64> = self.conn.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
        assert_eq!(asked, Some(id), "client {}", self.id);
        let owner: Option<u64> =
            self.conn.exec_first("SELECT client FROM numbered WHERE id = ?", (id,)).await.unwrap();
        assert_eq!(owner, Some(self.id));
    }

    /// Settings of this client alone.
    async fn settings(&mut self) {
        let minutes = self.id % 60;
        run(&mut self.conn, &format!("SET time_zone = '+01:{minutes:02}'")).await;
    }

    async fn checked_settings(&mut self) {
        let sql = format!(
            "SELECT CAST(FROM_UNIXTIME(client * 0) AS CHAR) FROM balance WHERE client = {}",
            self.id
        );
        let expected = format!("1970-01-01 01:{:02}:00", self.id % 60);
        assert_eq!(text(&mut self.conn, &sql).await, expected, "client {}", self.id);
    }
}
