//! Writes land on the primary, reads on the replicas, and a session reads what it wrote.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::support::client::{self, connect};
use crate::support::cluster::TESTER;
use crate::support::{TestCluster, Weir, direct, until};

#[tokio::test]
async fn reads_land_on_the_replicas_and_writes_on_the_primary() {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database("routing").await;
    cluster
        .on_primary(&[
            "CREATE TABLE routing.t (id INT PRIMARY KEY, v INT)",
            "INSERT INTO routing.t VALUES (1, 10)",
        ])
        .await;
    let weir = Weir::start(cluster);
    for number in 0..10_i64 {
        let mut conn = connect(&weir.address, TESTER, Some("routing")).await.unwrap();
        for _ in 0..5 {
            assert_eq!(
                client::text(&mut conn, "SELECT v AS routed_text FROM t WHERE id = 1").await,
                "10"
            );
            let value: Option<i64> = conn
                .exec_first("SELECT v AS routed_prepared FROM t WHERE id = ?", (1,))
                .await
                .unwrap();
            assert_eq!(value, Some(10));
        }
        client::run(
            &mut conn,
            &format!("INSERT INTO t (id, v) SELECT {} AS routed_write, 0", 100 + number),
        )
        .await;
        conn.exec_drop(
            "UPDATE t SET v = v + 0 * ? /* x */ WHERE id = 2 AND 'routed_update' = 0 IS NULL",
            (1,),
        )
        .await
        .unwrap();
        conn.disconnect().await.unwrap();
    }
    for (marker, per_kind) in [("routed_text", 50), ("routed_prepared", 50)] {
        let runs = cluster.runs(marker).await;
        assert_eq!(runs.iter().sum::<u64>(), per_kind, "{marker}: {runs:?}");
        if !direct() {
            assert_eq!(runs[0], 0, "{marker}: reads on the primary: {runs:?}");
            assert!(runs[1] > 0 && runs[2] > 0, "{marker}: not on both replicas: {runs:?}");
        }
    }
    assert_eq!(cluster.runs("routed_write").await, [10, 0, 0]);
}

/// With `[cluster]` in the file, `weir serve` needs nothing else: servers, monitor and its password are
/// those of `weir cluster up`, and the application's account can work in its database.
#[tokio::test]
async fn the_cluster_section_is_enough() {
    let cluster = TestCluster::shared().await;
    let Some(config) = &cluster.config else {
        assert!(direct(), "servers that were there already have no [cluster] section");
        return;
    };
    let text = std::fs::read_to_string(config).unwrap();
    let port = text.lines().find_map(|line| line.strip_prefix("listen = \"127.0.0.1:")).unwrap();
    let weir = Weir::serve(&text, port.trim_matches('"').parse().unwrap());
    let application = client::Login { user: "app", password: "app-secret" };
    let mut conn = connect(&weir.address, application, Some("app")).await.unwrap();
    client::run(&mut conn, "CREATE TABLE IF NOT EXISTS section_table (id INT PRIMARY KEY)").await;
    client::run(&mut conn, "REPLACE INTO section_table VALUES (1)").await;
    cluster.settle().await;
    let mut fresh = connect(&weir.address, application, Some("app")).await.unwrap();
    for _ in 0..10 {
        assert_eq!(
            client::text(&mut fresh, "SELECT id AS section_read FROM section_table").await,
            "1"
        );
    }
    let runs = cluster.runs("section_read").await;
    assert_eq!((runs[0], runs[1] + runs[2]), (0, 10), "{runs:?}");
}

/// What locks, writes or binds to the connection is a matter of the primary, whatever it looks like.
#[tokio::test]
async fn statements_for_the_primary_stay_there() {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database("routing_primary").await;
    cluster
        .on_primary(&[
            "CREATE TABLE routing_primary.t (id INT PRIMARY KEY)",
            "INSERT INTO routing_primary.t VALUES (1)",
            "CREATE FUNCTION routing_primary.f () RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
             BEGIN UPDATE t SET id = id; RETURN 1; END",
        ])
        .await;
    let weir = Weir::start(cluster);
    let mut conn = connect(&weir.address, TESTER, Some("routing_primary")).await.unwrap();
    for sql in [
        "SELECT id AS stays_primary FROM t FOR UPDATE",
        "SELECT id AS stays_primary FROM t FOR SHARE",
        "SELECT id AS stays_primary FROM t LOCK IN SHARE MODE",
        "SELECT id AS stays_primary FROM t for/**/update",
        "SELECT id AS stays_primary FROM (SELECT id FROM t FOR UPDATE) x",
        "(SELECT id AS stays_primary FROM t FOR UPDATE)",
        "SELECT id AS stays_primary FROM t /*!80000 FOR UPDATE */",
        "SELECT id AS stays_primary FROM t\nFOR\nUPDATE;",
        "SELECT f() AS stays_primary",
        "SELECT @stays_primary := 1 AS stays_primary",
        "SELECT GET_LOCK('stays_primary_', 1) AS stays_primary",
        "SELECT id AS stays_primary FROM t, (SELECT RELEASE_ALL_LOCKS()) r",
        "WITH x AS (SELECT id AS stays_primary FROM t) UPDATE t, x SET t.id = t.id",
    ] {
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let runs = cluster.runs("stays_primary").await;
    assert_eq!(runs, [13, 0, 0]);
}

/// A transaction is one connection of the primary from its first statement to its end.
#[tokio::test]
async fn a_transaction_stays_on_the_primary() {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database("routing_trx").await;
    cluster.on_primary(&["CREATE TABLE routing_trx.t (id INT PRIMARY KEY)"]).await;
    let weir = Weir::start(cluster);
    let mut conn = connect(&weir.address, TESTER, Some("routing_trx")).await.unwrap();
    for (start, end) in [
        ("BEGIN", "COMMIT"),
        ("START TRANSACTION", "ROLLBACK"),
        ("BEGIN WORK", "COMMIT AND NO CHAIN"),
        ("SET autocommit = 0", "SET autocommit = 1"),
    ] {
        client::run(&mut conn, start).await;
        for _ in 0..3 {
            client::table(&mut conn, "SELECT id AS in_a_transaction FROM t").await;
        }
        let _none: Option<i64> = conn
            .exec_first("SELECT id AS in_a_transaction FROM t WHERE id = ?", (1,))
            .await
            .unwrap();
        client::run(&mut conn, end).await;
    }
    assert_eq!(cluster.runs("in_a_transaction").await, [16, 0, 0]);
    if direct() {
        return;
    }
    // A READ ONLY transaction is one server's, whichever; and after it reads spread again.
    client::run(&mut conn, "START TRANSACTION READ ONLY").await;
    for _ in 0..6 {
        client::table(&mut conn, "SELECT id AS in_read_only FROM t").await;
    }
    client::run(&mut conn, "COMMIT").await;
    let runs = cluster.runs("in_read_only").await;
    assert_eq!(runs.iter().filter(|count| **count > 0).count(), 1, "{runs:?}");
    client::table(&mut conn, "SELECT id AS after_transactions FROM t").await;
    assert_eq!(cluster.runs("after_transactions").await[0], 0);
}

/// 1,000 times insert, then select at once, with replicas that are a second late.
#[tokio::test]
async fn a_session_reads_its_own_writes_from_late_replicas() {
    let cluster = TestCluster::breakable().await;
    cluster.fresh_database("own_writes").await;
    cluster.on_primary(&["CREATE TABLE own_writes.t (id INT PRIMARY KEY, v INT)"]).await;
    for replica in 1..3 {
        let mut root = cluster.root(replica).await;
        client::run(&mut root, "STOP REPLICA SQL_THREAD").await;
        client::run(&mut root, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 1").await;
        client::run(&mut root, "START REPLICA SQL_THREAD").await;
    }
    let weir = Weir::start(&cluster);
    let mut conn = connect(&weir.address, TESTER, Some("own_writes")).await.unwrap();
    for id in 0..1000_i64 {
        write_and_read(&mut conn, id).await;
        if id % 100 == 99 {
            // Long enough for replicas to be read again: the next write makes them stale once more.
            cluster.settle().await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert_eq!(
                client::text(&mut conn, "SELECT COUNT(*) AS own_count FROM t").await,
                (id + 1).to_string()
            );
        }
    }
    // A connection pool does one of these between two of its users; they are one session still.
    for id in 1000..1006_i64 {
        client::run(&mut conn, &format!("INSERT INTO t VALUES ({id}, 1)")).await;
        if id % 2 == 0 {
            conn.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
        } else {
            conn.reset().await.unwrap();
        }
        client::run(&mut conn, "USE own_writes").await;
        let query = format!("SELECT COUNT(*) FROM t WHERE id = {id}");
        assert_eq!(client::text(&mut conn, &query).await, "1", "after COM_CHANGE_USER or a reset");
    }
    let runs = cluster.runs("own_count").await;
    for replica in 1..3 {
        let mut root = cluster.root(replica).await;
        client::run(&mut root, "STOP REPLICA SQL_THREAD").await;
        client::run(&mut root, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0").await;
        client::run(&mut root, "START REPLICA SQL_THREAD").await;
    }
    if !direct() {
        assert!(runs[1] + runs[2] > 0, "caught-up replicas were never read: {runs:?}");
    }
}

/// The same while the applier of each replica stops and starts at random moments.
#[tokio::test]
async fn a_session_reads_its_own_writes_while_appliers_stop_and_start() {
    let cluster = TestCluster::breakable().await;
    cluster.fresh_database("own_writes_2").await;
    cluster.on_primary(&["CREATE TABLE own_writes_2.t (id INT PRIMARY KEY, v INT)"]).await;
    let weir = Weir::start(&cluster);
    let writers = async {
        let mut sessions = Vec::new();
        for session in 0..4_i64 {
            let mut conn = connect(&weir.address, TESTER, Some("own_writes_2")).await.unwrap();
            sessions.push(async move {
                for id in 0..150 {
                    write_and_read(&mut conn, session * 1000 + id).await;
                }
            });
        }
        futures_util::future::join_all(sessions).await;
    };
    let trouble = async {
        for turn in 0_usize.. {
            let mut root = cluster.root(1 + turn % 2).await;
            client::run(&mut root, "STOP REPLICA SQL_THREAD").await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            client::run(&mut root, "START REPLICA SQL_THREAD").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = writers => {}
        () = trouble => {}
    }
    for replica in 1..3 {
        cluster.replicates(replica).await;
    }
}

/// Writes one row by one of the ways there are, and reads it back by another.
async fn write_and_read(conn: &mut Conn, id: i64) {
    match id % 3 {
        0 => client::run(conn, &format!("INSERT INTO t VALUES ({id}, {id})")).await,
        1 => conn.exec_drop("INSERT INTO t VALUES (?, ?)", (id, id)).await.unwrap(),
        _ => {
            client::run(conn, "BEGIN").await;
            client::run(conn, &format!("INSERT INTO t VALUES ({id}, {id})")).await;
            client::run(conn, "COMMIT").await;
        }
    }
    let seen: Option<i64> = if id % 2 == 0 {
        conn.query_first(format!("SELECT v FROM t WHERE id = {id}")).await.unwrap()
    } else {
        conn.exec_first("SELECT v FROM t WHERE id = ?", (id,)).await.unwrap()
    };
    assert_eq!(seen, Some(id), "a stale read after write {id}");
}

/// A database with `t (id, v)` holding 1..=20 on all servers, and Weir.
async fn with_rows(cluster: &TestCluster, name: &str) -> Weir {
    cluster.fresh_database(name).await;
    let rows: Vec<String> = (1..=20).map(|id| format!("({id}, 0)")).collect();
    cluster
        .on_primary(&[
            &format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT)"),
            &format!("INSERT INTO {name}.t VALUES {}", rows.join(", ")),
        ])
        .await;
    Weir::start(cluster)
}

/// Row 55 of the routing cases: nothing in the text says that this view writes. The replica that is asked refuses it, the
/// primary does it, once, and the client sees no error. No replica is asked again, of a prepared statement neither.
#[tokio::test]
async fn a_view_that_writes_ends_on_the_primary() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_view").await;
    cluster
        .on_primary(&[
            "CREATE FUNCTION routing_view.count_up () RETURNS INT MODIFIES SQL DATA \
             BEGIN UPDATE routing_view.t SET v = v + 1 WHERE id = 1; RETURN 7; END",
            "CREATE VIEW routing_view.writes AS SELECT routing_view.count_up() AS w",
        ])
        .await;
    let mut conn = connect(&weir.address, TESTER, Some("routing_view")).await.unwrap();
    for turn in 1..=6 {
        assert_eq!(client::text(&mut conn, "SELECT w AS view_that_writes FROM writes").await, "7");
        let written = client::text(&mut conn, "SELECT v FROM t WHERE id = 1 FOR SHARE").await;
        assert_eq!(written, turn.to_string());
        let runs = cluster.runs("view_that_writes").await;
        assert_eq!(runs[0], turn, "{runs:?}");
        assert!(direct() || runs[1] + runs[2] == 1, "one replica is asked, once: {runs:?}");
    }
    // Until then the session's own write keeps its reads there.
    leaves_the_primary(cluster, &mut conn, "written_by_a_view").await;
    let prepared = conn.prep("SELECT w AS prepared_that_writes FROM writes").await.unwrap();
    for turn in 1..=3 {
        let answer: Option<u32> = conn.exec_first(&prepared, ()).await.unwrap();
        assert_eq!(answer, Some(7));
        let runs = cluster.runs("prepared_that_writes").await;
        assert_eq!(runs[0], turn, "{runs:?}");
        assert!(direct() || runs[1] + runs[2] == 1, "one replica is asked, once: {runs:?}");
    }
}

/// Row 82: only the session's state tells what a procedure left behind.
#[tokio::test]
async fn what_a_procedure_leaves_behind_stays() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_call").await;
    cluster
        .on_primary(&[
            "CREATE PROCEDURE routing_call.zone () SET time_zone = '+05:30'",
            "CREATE PROCEDURE routing_call.scratch () BEGIN \
             CREATE TEMPORARY TABLE routing_call.left_here (a INT); \
             INSERT INTO routing_call.left_here VALUES (5); END",
            "CREATE PROCEDURE routing_call.variable () SET @left_by_call = 9",
        ])
        .await;
    let mut conn = connect(&weir.address, TESTER, Some("routing_call")).await.unwrap();
    client::run(&mut conn, "CALL zone()").await;
    for _ in 0..4 {
        let zone = client::text(&mut conn, "SELECT @@time_zone FROM t WHERE id = 1").await;
        assert_eq!(zone, "+05:30");
        let time = client::text(&mut conn, "SELECT TIME(FROM_UNIXTIME(0)) FROM t LIMIT 1").await;
        assert_eq!(time, "05:30:00");
    }
    client::run(&mut conn, "CALL variable()").await;
    client::run(&mut conn, "CALL scratch()").await;
    for _ in 0..4 {
        assert_eq!(client::text(&mut conn, "SELECT a FROM left_here").await, "5");
        assert_eq!(client::text(&mut conn, "SELECT @left_by_call").await, "9");
    }
}

/// Row 115: what SET TRANSACTION said holds for the next transaction. When the server's connection that has it is lost
/// between, the client is told so and is out; no transaction begins without it.
#[tokio::test]
async fn set_transaction_is_not_lost_unseen() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_once").await;
    let login = client::Login { user: "oncer", password: "oncer-secret" };
    cluster
        .on_primary(&[
            "DROP USER IF EXISTS oncer@'%'",
            "CREATE USER oncer@'%' IDENTIFIED BY 'oncer-secret'",
            "GRANT ALL ON routing_once.* TO oncer@'%'",
        ])
        .await;
    let mut conn = connect(&weir.address, login, Some("routing_once")).await.unwrap();
    client::run(&mut conn, "SET TRANSACTION READ ONLY").await;
    client::run(&mut conn, "BEGIN").await;
    assert_eq!(client::refused(&mut conn, "DELETE FROM t").await.0, 1792);
    client::run(&mut conn, "COMMIT").await;
    client::run(&mut conn, "DELETE FROM t WHERE id = 20").await;
    client::run(&mut conn, "SET TRANSACTION READ ONLY").await;
    let mut root = cluster.root(0).await;
    let held = "SELECT id FROM performance_schema.processlist WHERE user = 'oncer'";
    for id in root.query::<u64, _>(held).await.unwrap() {
        client::run(&mut root, &format!("KILL {id}")).await;
    }
    if direct() {
        return;
    }
    let (code, _, message) = client::refused(&mut conn, "BEGIN").await;
    assert_eq!(code, 1053, "{message}");
    assert!(conn.query_drop("DELETE FROM t").await.is_err(), "the session goes on");
    let mut next = connect(&weir.address, login, Some("routing_once")).await.unwrap();
    assert_eq!(client::text(&mut next, "SELECT COUNT(*) FROM t FOR SHARE").await, "19");
}

/// Row 129: the ends of a transaction, prepared.
#[tokio::test]
async fn a_prepared_commit_ends_the_transaction() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_prepared").await;
    let mut conn = connect(&weir.address, TESTER, Some("routing_prepared")).await.unwrap();
    for start in ["BEGIN", "START TRANSACTION"] {
        let refusal = conn.exec_drop(start, ()).await.unwrap_err();
        // Not in this protocol: so says the server.
        assert_eq!(client::server_error(refusal).0, 1295, "{start}");
    }
    for (number, end, expected) in
        [(1, "COMMIT", "7"), (2, "ROLLBACK", "0"), (3, "COMMIT WORK", "7")]
    {
        client::run(&mut conn, "BEGIN").await;
        conn.exec_drop("UPDATE t SET v = 7 WHERE id = ?", (number,)).await.unwrap();
        client::table(&mut conn, "SELECT id AS before_prepared_end FROM t").await;
        conn.exec_drop(end, ()).await.unwrap();
        let sql = format!("SELECT v AS after_prepared_end FROM t WHERE id = {number}");
        assert_eq!(client::text(&mut conn, &sql).await, expected, "{end}");
        // What comes now is no transaction's.
        client::run(&mut conn, &format!("UPDATE t SET v = v + 1 WHERE id = {}", 10 + number)).await;
        let seen = format!("SELECT v FROM t WHERE id = {} FOR SHARE", 10 + number);
        let mut other = connect(&weir.address, TESTER, Some("routing_prepared")).await.unwrap();
        assert_eq!(client::text(&mut other, &seen).await, "1", "{end}");
    }
    assert_eq!(cluster.runs("before_prepared_end").await, [3, 0, 0]);
    cluster.settle().await;
    leaves_the_primary(cluster, &mut conn, "long_after_prepared_end").await;
}

/// Waits until the session reads from a replica: one that is in a transaction never does.
async fn leaves_the_primary(cluster: &TestCluster, conn: &mut Conn, marker: &str) {
    if direct() {
        return;
    }
    let on_primary = async || cluster.runs_of(&[0], marker).await[0];
    until("a read on a replica", async || {
        let before = on_primary().await;
        client::table(conn, &format!("SELECT v AS {marker} FROM t")).await;
        on_primary().await == before
    })
    .await;
}

/// Row 135: a deadlock ends the transaction of its victim, whatever no statement said.
#[tokio::test]
async fn a_deadlock_ends_the_transaction() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_deadlock").await;
    let mut heavy = connect(&weir.address, TESTER, Some("routing_deadlock")).await.unwrap();
    let mut victim = connect(&weir.address, TESTER, Some("routing_deadlock")).await.unwrap();
    client::run(&mut victim, "BEGIN").await;
    client::run(&mut victim, "UPDATE t SET v = 1 WHERE id = 1").await;
    client::run(&mut heavy, "BEGIN").await;
    client::run(&mut heavy, "UPDATE t SET v = 2 WHERE id > 1").await;
    // One of them waits for the other; the server ends the one that changed less.
    let waits = tokio::spawn(async move {
        let done = heavy.query_drop("UPDATE t SET v = 2 WHERE id = 1").await;
        (heavy, done)
    });
    let refusal = client::refused(&mut victim, "UPDATE t SET v = 1 WHERE id = 2").await;
    assert_eq!((refusal.0, refusal.1.as_str()), (1213, "40001"));
    let (mut heavy, done) = waits.await.unwrap();
    done.unwrap();
    client::run(&mut heavy, "ROLLBACK").await;
    // No transaction: a write is there at once, and a read need not be on the primary.
    client::run(&mut victim, "UPDATE t SET v = 3 WHERE id = 3").await;
    assert_eq!(client::text(&mut heavy, "SELECT SUM(v) FROM t FOR SHARE").await, "3");
    client::run(&mut victim, "ROLLBACK").await;
    assert_eq!(client::text(&mut heavy, "SELECT SUM(v) FROM t FOR SHARE").await, "3");
    cluster.settle().await;
    leaves_the_primary(cluster, &mut victim, "after_a_deadlock").await;
}

/// Row 136: a lock that did not come ends the statement and not the transaction.
#[tokio::test]
async fn a_lock_wait_timeout_leaves_the_transaction_open() {
    let cluster = TestCluster::shared().await;
    let weir = with_rows(cluster, "routing_timeout").await;
    let mut holder = connect(&weir.address, TESTER, Some("routing_timeout")).await.unwrap();
    let mut waiter = connect(&weir.address, TESTER, Some("routing_timeout")).await.unwrap();
    client::run(&mut holder, "BEGIN").await;
    client::run(&mut holder, "UPDATE t SET v = 1 WHERE id = 1").await;
    client::run(&mut waiter, "SET SESSION innodb_lock_wait_timeout = 1").await;
    for (end, expected) in [("ROLLBACK", "0"), ("COMMIT", "5")] {
        client::run(&mut waiter, "BEGIN").await;
        client::run(&mut waiter, "UPDATE t SET v = 5 WHERE id = 2").await;
        let refusal = client::refused(&mut waiter, "UPDATE t SET v = 5 WHERE id = 1").await;
        assert_eq!(refusal.0, 1205);
        let inside =
            client::text(&mut waiter, "SELECT v AS after_a_timeout FROM t WHERE id = 2").await;
        assert_eq!(inside, "5");
        client::run(&mut waiter, end).await;
        let after = client::text(&mut waiter, "SELECT v FROM t WHERE id = 2 FOR SHARE").await;
        assert_eq!(after, expected, "{end}");
    }
    assert_eq!(cluster.runs("after_a_timeout").await, [2, 0, 0]);
}

/// Row 126: where the servers start sessions without autocommit, a first read begins a transaction on the primary.
#[tokio::test]
async fn servers_without_autocommit() {
    let cluster = TestCluster::breakable().await;
    drop(with_rows(&cluster, "routing_manual").await);
    for server in 0..3 {
        client::run(&mut cluster.root(server).await, "SET GLOBAL autocommit = 0").await;
    }
    let weir = Weir::start(&cluster);
    let mut conn = connect(&weir.address, TESTER, Some("routing_manual")).await.unwrap();
    let mut other = connect(&weir.address, TESTER, Some("routing_manual")).await.unwrap();
    let read = client::text(&mut conn, "SELECT v AS first_without FROM t WHERE id = 1").await;
    let autocommit = client::text(&mut conn, "SELECT @@autocommit").await;
    client::run(&mut conn, "UPDATE t SET v = 8 WHERE id = 1").await;
    let inside = client::text(&mut conn, "SELECT v AS first_without FROM t WHERE id = 1").await;
    let other = client::text(&mut other, "SELECT v FROM t WHERE id = 1").await;
    client::run(&mut conn, "ROLLBACK").await;
    let after = client::text(&mut conn, "SELECT v FROM t WHERE id = 1").await;
    // Before anything is asserted: the next test has the same servers.
    for server in 0..3 {
        client::run(&mut cluster.root(server).await, "SET GLOBAL autocommit = 1").await;
    }
    assert_eq!([read, autocommit, inside, other, after], ["0", "0", "8", "0", "0"]);
    assert_eq!(cluster.runs("first_without").await, [2, 0, 0]);
}
