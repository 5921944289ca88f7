//! Writes land on the primary, reads on the replicas, and a session reads what it wrote.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::support::client::{self, connect};
use crate::support::cluster::TESTER;
use crate::support::{TestCluster, Weir, direct};

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
