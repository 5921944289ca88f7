//! What belongs to a session follows it, and nobody else sees it, though sessions share connections.

use futures_util::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::support::client::{self, Login, connect, run, table, text};
use crate::support::cluster::TESTER;
use crate::support::{TestCluster, Weir, direct, until};

/// A database with `t (id, v)` holding 1..=20, and Weir.
async fn prepared_database(name: &str) -> (&'static TestCluster, Weir) {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database(name).await;
    let rows: Vec<String> = (1..=20).map(|id| format!("({id}, {})", id * 10)).collect();
    cluster
        .on_primary(&[
            &format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT)"),
            &format!("INSERT INTO {name}.t VALUES {}", rows.join(", ")),
            &format!("CREATE TABLE {name}.numbered (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"),
        ])
        .await;
    (cluster, Weir::start(cluster))
}

/// Other sessions use every pooled connection for reads and writes of their own.
async fn others(weir: &Weir, database: &str) {
    let work = (0..6).map(|number| async move {
        let mut conn = connect(&weir.address, TESTER, Some(database)).await.unwrap();
        run(&mut conn, &format!("INSERT INTO numbered (v) VALUES ({number}), (1), (2)")).await;
        run(&mut conn, &format!("SET @mine = {number}, time_zone = '+0{number}:00'")).await;
        table(&mut conn, "SELECT * FROM t LIMIT 3").await;
        run(&mut conn, "UPDATE t SET v = v WHERE id = 1").await;
        run(&mut conn, "SELECT CAST('x' AS SIGNED) FROM t LIMIT 2").await;
        conn.disconnect().await.unwrap();
    });
    join_all(work).await;
}

/// Twelve sessions with settings of their own, all at once, each asked many times.
#[tokio::test]
async fn settings_and_schema_follow_the_session() {
    let (cluster, weir) = prepared_database("follow").await;
    for number in 0..3 {
        cluster.fresh_database(&format!("follow_{number}")).await;
        cluster
            .on_primary(&[
                &format!("CREATE TABLE follow_{number}.here (name VARCHAR(20))"),
                &format!("INSERT INTO follow_{number}.here VALUES ('follow_{number}')"),
            ])
            .await;
    }
    let sessions = (0..12).map(|number| {
        let address = weir.address.clone();
        async move {
            let mut conn = connect(&address, TESTER, Some("follow")).await.unwrap();
            settings_stay(&mut conn, number).await;
        }
    });
    join_all(sessions).await;
}

async fn settings_stay(conn: &mut Conn, number: usize) {
    let zone = format!("+{number:02}:30");
    run(conn, &format!("SET time_zone = '{zone}'")).await;
    let ansi = number.is_multiple_of(2);
    run(conn, &format!("SET SESSION sql_mode = '{}'", if ansi { "ANSI_QUOTES" } else { "" })).await;
    let latin = number.is_multiple_of(3);
    run(conn, if latin { "SET NAMES latin1" } else { "SET NAMES utf8mb4 COLLATE utf8mb4_bin" })
        .await;
    let length = 10 + number;
    run(conn, &format!("SET SESSION group_concat_max_len = {length}")).await;
    for round in 0..40 {
        let schema = (number + round / 10) % 3;
        if round % 10 == 0 {
            run(conn, &format!("USE follow_{schema}")).await;
        }
        let here = text(conn, "SELECT name FROM here").await;
        assert_eq!(here, format!("follow_{schema}"), "session {number}, round {round}");
        let local = text(conn, "SELECT TIME(FROM_UNIXTIME(0)) FROM here").await;
        assert_eq!(local, format!("{number:02}:30:00"));
        let quoted = text(conn, "SELECT \"name\" FROM here").await;
        assert_eq!(quoted, if ansi { here } else { "name".to_owned() }, "session {number}");
        // Two bytes of UTF-8 are two characters of latin1.
        let characters = text(conn, "SELECT CHAR_LENGTH('\u{e9}') FROM here").await;
        assert_eq!(characters, if latin { "2" } else { "1" });
        let cut = text(conn, "SELECT LENGTH(GROUP_CONCAT(REPEAT('x', 100))) FROM here").await;
        assert_eq!(cut, length.to_string());
        let bound: Option<String> =
            conn.exec_first("SELECT CONCAT(FROM_UNIXTIME(?)) FROM here", (0,)).await.unwrap();
        let bound = bound.unwrap();
        assert!(bound.starts_with(&format!("1970-01-01 {number:02}:30:00")), "{bound}");
        if round % 13 == 5 {
            run(conn, &format!("DELETE FROM follow.numbered WHERE id = {number}")).await;
        }
    }
}

/// The value of the session's own insert, in each way of asking, whoever used the connection since.
#[tokio::test]
async fn last_insert_id_is_the_sessions_own() {
    let (_, weir) = prepared_database("lastid").await;
    let mut conn = connect(&weir.address, TESTER, Some("lastid")).await.unwrap();
    assert_eq!(text(&mut conn, "SELECT LAST_INSERT_ID()").await, "0");
    for (number, ask) in [
        "SELECT LAST_INSERT_ID()",
        "select last_insert_id( )",
        "SELECT LAST_INSERT_ID ()",
        "SELECT /* why */ LAST_INSERT_ID(/* not */) + 0 AS id",
        "SELECT @@last_insert_id",
        "SELECT @@identity",
        "SELECT @@session.identity",
        "SELECT @@SESSION . last_insert_id",
        "SELECT id FROM numbered WHERE id = LAST_INSERT_ID()",
        "SELECT (SELECT LAST_INSERT_ID())",
        "SELECT /*!80000 LAST_INSERT_ID() */",
        "SELECT `LAST_INSERT_ID`()",
    ]
    .into_iter()
    .enumerate()
    {
        conn.query_drop("INSERT INTO numbered (v) VALUES (7)").await.unwrap();
        let id = conn.last_insert_id().unwrap().to_string();
        if number % 3 == 0 {
            others(&weir, "lastid").await;
        }
        let rows: Result<Vec<u64>, _> = conn.query(ask).await;
        match rows {
            Ok(rows) => assert_eq!(rows, [id.parse::<u64>().unwrap()], "{ask}"),
            // The server's own opinion of the last form.
            Err(error) => assert_eq!(
                (client::server_error(error).0, ask),
                (1305, "SELECT `LAST_INSERT_ID`()")
            ),
        }
        let bound: Option<u64> = conn.exec_first("SELECT LAST_INSERT_ID()", ()).await.unwrap();
        assert_eq!(bound.unwrap().to_string(), id, "prepared after {ask}");
    }
    run(&mut conn, "SELECT LAST_INSERT_ID(4711)").await;
    others(&weir, "lastid").await;
    assert_eq!(text(&mut conn, "SELECT LAST_INSERT_ID()").await, "4711");
    run(&mut conn, "UPDATE t SET v = LAST_INSERT_ID(v + 1) WHERE id = 3").await;
    others(&weir, "lastid").await;
    assert_eq!(text(&mut conn, "SELECT LAST_INSERT_ID()").await, "31");
    run(&mut conn, "INSERT INTO numbered (v) VALUES (LAST_INSERT_ID())").await;
    assert_eq!(text(&mut conn, "SELECT v FROM numbered ORDER BY id DESC LIMIT 1").await, "31");
}

#[tokio::test]
async fn found_rows_row_count_and_warnings_belong_to_the_statement_before() {
    let (_, weir) = prepared_database("previous").await;
    let mut conn = connect(&weir.address, TESTER, Some("previous")).await.unwrap();
    for _ in 0..3 {
        table(&mut conn, "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 2").await;
        others(&weir, "previous").await;
        assert_eq!(text(&mut conn, "SELECT FOUND_ROWS()").await, "20");
        run(&mut conn, "UPDATE t SET v = v + 1 WHERE id <= 5").await;
        others(&weir, "previous").await;
        assert_eq!(text(&mut conn, "SELECT ROW_COUNT()").await, "5");
        run(&mut conn, "SELECT CAST('12x' AS SIGNED), 1/0 FROM t WHERE id = 1").await;
        others(&weir, "previous").await;
        let warnings = table(&mut conn, "SHOW WARNINGS").await;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(warnings[0][1], "1292");
        assert_eq!(client::refused(&mut conn, "SELECT no_such FROM t").await.0, 1054);
        others(&weir, "previous").await;
        assert_eq!(table(&mut conn, "SHOW ERRORS").await[0][1], "1054");
        assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM t").await, "20");
    }
}

#[tokio::test]
async fn what_cannot_be_replayed_stays() {
    let (_, weir) = prepared_database("pinned").await;
    let mut conn = connect(&weir.address, TESTER, Some("pinned")).await.unwrap();
    run(&mut conn, "SET @mine = 'a', @second = 2").await;
    run(&mut conn, "CREATE TEMPORARY TABLE scratch (v INT)").await;
    run(&mut conn, "INSERT INTO scratch VALUES (1), (2), (3)").await;
    run(&mut conn, "PREPARE named FROM 'SELECT v + ? FROM t WHERE id = ?'").await;
    for turn in 0..5 {
        others(&weir, "pinned").await;
        assert_eq!(table(&mut conn, "SELECT @mine, @second").await, [["a", "2"]]);
        assert_eq!(text(&mut conn, "SELECT SUM(v) FROM scratch").await, "6");
        run(&mut conn, &format!("SET @add = {turn}, @id = 2")).await;
        assert_eq!(text(&mut conn, "EXECUTE named USING @add, @id").await, (20 + turn).to_string());
    }
    run(&mut conn, "DEALLOCATE PREPARE named").await;
    assert_eq!(client::refused(&mut conn, "EXECUTE named USING @add, @id").await.0, 1243);
    run(&mut conn, "DROP TEMPORARY TABLE scratch").await;
    assert_eq!(client::refused(&mut conn, "SELECT * FROM scratch").await.0, 1146);
}

#[tokio::test]
async fn named_and_table_locks_exclude_others() {
    let (_, weir) = prepared_database("locks").await;
    let mut one = connect(&weir.address, TESTER, Some("locks")).await.unwrap();
    let mut two = connect(&weir.address, TESTER, Some("locks")).await.unwrap();
    assert_eq!(text(&mut one, "SELECT GET_LOCK('weir_test_lock', 1)").await, "1");
    for _ in 0..3 {
        others(&weir, "locks").await;
        assert_eq!(text(&mut two, "SELECT GET_LOCK('weir_test_lock', 0)").await, "0");
        assert_eq!(text(&mut one, "SELECT GET_LOCK('weir_test_lock', 0)").await, "1");
    }
    for _ in 0..4 {
        assert_eq!(text(&mut one, "SELECT RELEASE_LOCK('weir_test_lock')").await, "1");
    }
    assert_eq!(text(&mut two, "SELECT GET_LOCK('weir_test_lock', 0)").await, "1");
    drop(two);
    until("the lock of a client that is gone", async || {
        text(&mut one, "SELECT IS_FREE_LOCK('weir_test_lock')").await == "1"
    })
    .await;
    run(&mut one, "LOCK TABLES t WRITE").await;
    let mut two = connect(&weir.address, TESTER, Some("locks")).await.unwrap();
    run(&mut two, "SET SESSION lock_wait_timeout = 1").await;
    assert_eq!(client::refused(&mut two, "UPDATE t SET v = 0").await.0, 1205);
    run(&mut one, "UNLOCK TABLES").await;
    run(&mut two, "UPDATE t SET v = 0").await;
}

#[tokio::test]
async fn transactions_are_isolated_and_end_with_their_client() {
    let (_, weir) = prepared_database("isolated").await;
    let mut one = connect(&weir.address, TESTER, Some("isolated")).await.unwrap();
    let mut two = connect(&weir.address, TESTER, Some("isolated")).await.unwrap();
    // A snapshot stays what it was, in each way of starting one.
    for start in [
        "BEGIN",
        "SET autocommit = 0",
        "START TRANSACTION READ ONLY",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ] {
        run(&mut one, start).await;
        let before = text(&mut one, "SELECT SUM(v) FROM t").await;
        run(&mut two, "UPDATE t SET v = v + 1").await;
        assert_eq!(text(&mut one, "SELECT SUM(v) FROM t").await, before, "{start}");
        run(&mut one, "COMMIT").await;
        run(&mut one, "SET autocommit = 1").await;
        let after = text(&mut two, "SELECT SUM(v) FROM t").await;
        assert_eq!(text(&mut one, "SELECT SUM(v) FROM t FOR SHARE").await, after, "{start}");
    }
    // A client that vanishes in its transaction leaves no row and no lock.
    run(&mut one, "BEGIN").await;
    run(&mut one, "DELETE FROM t").await;
    drop(one);
    run(&mut two, "SET SESSION innodb_lock_wait_timeout = 20").await;
    run(&mut two, "UPDATE t SET v = 5 WHERE id = 1").await;
    assert_eq!(text(&mut two, "SELECT COUNT(*) FROM t").await, "20");
    // SET TRANSACTION is for the next one only.
    run(&mut two, "SET TRANSACTION READ ONLY").await;
    run(&mut two, "BEGIN").await;
    assert_eq!(client::refused(&mut two, "DELETE FROM t").await.0, 1792);
    run(&mut two, "COMMIT").await;
    run(&mut two, "DELETE FROM t WHERE id = 20").await;
}

/// Whatever a session left behind is not there for the next one on the same connections.
#[tokio::test]
async fn nothing_is_inherited() {
    let (_, weir) = prepared_database("inherit").await;
    let mut plain = connect(&weir.address, TESTER, Some("inherit")).await.unwrap();
    let ask = "SELECT @left, @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, DATABASE(), \
               LAST_INSERT_ID(), @@transaction_isolation, @@sql_select_limit";
    let fresh = table(&mut plain, ask).await;
    for turn in 0..8 {
        let mut messy = connect(&weir.address, TESTER, Some("inherit")).await.unwrap();
        run(&mut messy, "SET @left = 1, time_zone = '-07:00', sql_mode = '', autocommit = 0").await;
        run(&mut messy, "SET NAMES latin1").await;
        run(&mut messy, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
        run(&mut messy, "SET SESSION sql_select_limit = 1").await;
        run(&mut messy, "CREATE TEMPORARY TABLE left_behind (a INT)").await;
        run(&mut messy, "INSERT INTO numbered (v) VALUES (1)").await;
        run(&mut messy, "USE information_schema").await;
        if turn % 2 == 0 {
            messy.disconnect().await.unwrap()
        } else {
            drop(messy)
        }
        let mut next = connect(&weir.address, TESTER, Some("inherit")).await.unwrap();
        assert_eq!(table(&mut next, ask).await, fresh, "turn {turn}");
        assert_eq!(client::refused(&mut next, "SELECT * FROM left_behind").await.0, 1146);
        assert_eq!(table(&mut next, "SELECT id FROM t ORDER BY id").await.len(), 20);
    }
}

#[tokio::test]
async fn idle_clients_hold_no_server_connection() {
    let (cluster, weir) = prepared_database("idle").await;
    let idler = Login { user: "idler", password: "idler-secret" };
    cluster
        .on_primary(&[
            "CREATE USER IF NOT EXISTS idler@'%' IDENTIFIED BY 'idler-secret'",
            "GRANT ALL ON idle.* TO idler@'%'",
        ])
        .await;
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut conn = connect(&weir.address, idler, Some("idle")).await.unwrap();
        assert_eq!(text(&mut conn, "SELECT v FROM t WHERE id = 1").await, "10");
        if number % 4 == 0 {
            run(&mut conn, "INSERT INTO numbered (v) VALUES (1)").await;
            run(&mut conn, "SET time_zone = '+01:00'").await;
            assert_eq!(
                conn.exec_first::<i64, _, _>("SELECT v FROM t WHERE id = ?", (2,)).await.unwrap(),
                Some(20)
            );
        }
        clients.push(conn);
    }
    if !direct() {
        let held = cluster.connections_of("idler").await;
        assert!(held.iter().sum::<u64>() < 20, "200 idle clients, server connections: {held:?}");
    }
    let asked =
        clients.iter_mut().map(|conn| async { text(conn, "SELECT v FROM t WHERE id = 3").await });
    assert!(join_all(asked).await.iter().all(|value| value == "30"));
}
