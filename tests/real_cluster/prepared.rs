//! Prepared statements: they belong to a session, and run on whichever connection it is lent.

use futures_util::future::join_all;
use mysql_async::prelude::Queryable as _;

use crate::support::client::{connect, connect_tls, run, text};
use crate::support::cluster::TESTER;
use crate::support::raw::{
    COM_STMT_CLOSE, COM_STMT_EXECUTE, COM_STMT_RESET, COM_STMT_SEND_LONG_DATA, CURSOR_EXISTS,
    DEPRECATE_EOF, LAST_ROW_SENT, Raw, Refusal, USUAL,
};
use crate::support::{TestCluster, Weir, direct, until};

/// A database with `t (id, v)` holding 1..=100, and Weir that knows the account.
async fn prepared_database(name: &str) -> (&'static TestCluster, Weir) {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database(name).await;
    let rows: Vec<String> = (1..=100).map(|id| format!("({id}, {})", id * 10)).collect();
    cluster
        .on_primary(&[
            &format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT, b LONGBLOB)"),
            &format!("INSERT INTO {name}.t (id, v) VALUES {}", rows.join(", ")),
        ])
        .await;
    let weir = Weir::start(cluster);
    connect_tls(&weir.address, TESTER, None).await.unwrap().disconnect().await.unwrap();
    (cluster, weir)
}

/// Twenty sessions prepare the same texts, in two schemas, and execute them between writes.
#[tokio::test]
async fn many_sessions_with_one_text() {
    let (cluster, weir) = prepared_database("prep_many").await;
    cluster.fresh_database("prep_other").await;
    cluster
        .on_primary(&[
            "CREATE TABLE prep_other.t (id INT, v INT, b INT)",
            "INSERT INTO prep_other.t SELECT id, v + 1, 0 FROM prep_many.t",
        ])
        .await;
    let sessions = (0..20_i64).map(|session| {
        let address = weir.address.clone();
        async move {
            let other = session % 2;
            let schema = if other == 1 { "prep_other" } else { "prep_many" };
            let mut conn = connect(&address, TESTER, Some(schema)).await.unwrap();
            let one = conn.prep("SELECT v FROM t WHERE id = ?").await.unwrap();
            let sum = conn
                .prep("SELECT CAST(SUM(v) AS SIGNED) FROM t WHERE id BETWEEN ? AND ?")
                .await
                .unwrap();
            let write = conn.prep("UPDATE t SET b = ? WHERE id = ?").await.unwrap();
            for round in 1..=30_i64 {
                let id = 1 + (session * 7 + round) % 100;
                let value: Option<i64> = conn.exec_first(&one, (id,)).await.unwrap();
                assert_eq!(value, Some(id * 10 + other), "session {session}");
                if round % 5 == 0 {
                    conn.exec_drop(&write, (round, id)).await.unwrap();
                    run(&mut conn, "SELECT 1").await;
                }
                let total: Option<i64> = conn.exec_first(&sum, (1, id)).await.unwrap();
                assert_eq!(
                    total,
                    Some((1..=id).map(|id| id * 10 + other).sum()),
                    "session {session}"
                );
            }
        }
    });
    join_all(sessions).await;
}

/// More statements than Weir keeps on one server connection.
#[tokio::test]
async fn more_statements_than_a_connection_keeps() {
    let (_, weir) = prepared_database("prep_lots").await;
    let mut raw = Raw::login(&weir.address, TESTER, "prep_lots").await;
    let mut ids = Vec::new();
    for number in 0..400_i64 {
        let prepared =
            raw.prepare(&format!("SELECT v + {number} FROM t WHERE id = ?")).await.unwrap();
        assert_eq!((prepared.parameters, prepared.columns), (1, 1));
        ids.push(prepared.id);
    }
    for round in 0..2 {
        for (number, id) in ids.iter().enumerate() {
            let result = raw.execute(*id, &[1 + round]).await.unwrap();
            let value = i64::from_le_bytes(result.rows[0][2..10].try_into().unwrap());
            assert_eq!(value, 10 * (1 + round) + i64::try_from(number).unwrap());
        }
    }
    let distinct: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len());
}

/// Types are sent with the first execution only; they count on every connection after it.
#[tokio::test]
async fn parameter_types_are_remembered() {
    let (_, weir) = prepared_database("prep_types").await;
    for flags in [USUAL, USUAL | DEPRECATE_EOF] {
        let mut raw = Raw::login_with(&weir.address, TESTER, "prep_types", flags).await;
        let id = raw.prepare("SELECT v + ? FROM t WHERE id = ?").await.unwrap().id;
        let write = raw.prepare("UPDATE t SET v = v + ? WHERE id = 99").await.unwrap().id;
        raw.execute(id, &[0, 1]).await.unwrap();
        raw.execute(write, &[1]).await.unwrap();
        for turn in 0..40 {
            raw.send_execute(id, 0, &[turn, 2], false).await;
            let result = raw.result().await.unwrap();
            let value = i64::from_le_bytes(result.rows[0][2..10].try_into().unwrap());
            assert_eq!(value, 20 + turn);
            if turn % 10 == 3 {
                raw.send_execute(write, 0, &[0], false).await;
                raw.result().await.unwrap();
                raw.query("SELECT 1").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn unknown_and_closed_statements_get_the_servers_error() {
    let (cluster, weir) = prepared_database("prep_gone").await;
    connect_tls(&cluster.servers[0], TESTER, None).await.unwrap();
    let mut answers = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        let mut raw = Raw::login(address, TESTER, "prep_gone").await;
        let mut seen = vec![raw.execute(77, &[]).await.unwrap_err()];
        let id = raw.prepare("SELECT v FROM t WHERE id = ?").await.unwrap().id;
        raw.execute(id, &[1]).await.unwrap();
        raw.command(COM_STMT_CLOSE, &id.to_le_bytes()).await;
        seen.push(raw.execute(id, &[1]).await.unwrap_err());
        seen.push(raw.simple(COM_STMT_RESET, &id.to_le_bytes()).await.unwrap_err());
        seen.push(raw.fetch(id, 1).await.unwrap_err());
        raw.command(COM_STMT_CLOSE, &12345_u32.to_le_bytes()).await;
        seen.push(raw.prepare("SELECT no_such FROM t").await.unwrap_err());
        seen.push(raw.prepare("SELEC").await.unwrap_err());
        seen.push(raw.prepare("SELECT 1; SELECT 2").await.unwrap_err());
        // An execution that is cut short is refused, and the session goes on.
        let id = raw.prepare("SELECT v FROM t WHERE id = ?").await.unwrap().id;
        raw.command(COM_STMT_EXECUTE, &id.to_le_bytes()).await;
        seen.push(raw.result().await.unwrap_err());
        assert_eq!(raw.execute(id, &[4]).await.unwrap().rows.len(), 1);
        let codes: Vec<u16> = seen.iter().map(|refusal| refusal.code).collect();
        assert_eq!(codes, [1243, 1243, 1243, 1243, 1054, 1064, 1064, 1835], "{address}: {seen:#?}");
        // The id in the message of an unknown one is the server's own matter.
        let text = |refusal: &Refusal| {
            let words = refusal.message.split(" (").next().unwrap();
            format!("{} {} {words}", refusal.code, refusal.state)
        };
        answers.push(seen.iter().map(text).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], answers[1]);
}

/// What clients have closed, the servers do not keep for ever. Weir keeps the statements of a server connection for
/// whoever prepares the same text next, up to its limit; what a cursor hangs on goes at once.
#[tokio::test]
async fn closed_statements_go_from_the_servers() {
    let (cluster, weir) = prepared_database("prep_closed").await;
    let limited = Weir::start_with(cluster, "", "[pool]\nmax_prepared_statements = 10");
    for weir in [&weir, &limited] {
        connect_tls(&weir.address, TESTER, None).await.unwrap();
    }
    let held = async || {
        let sql = "SELECT COUNT(*) FROM performance_schema.prepared_statements_instances \
                   WHERE sql_text LIKE '%closed_marker%'";
        text(&mut cluster.root(0).await, sql).await.parse::<u64>().unwrap()
    };
    let mut raw = Raw::login(&weir.address, TESTER, "prep_closed").await;
    let mut other = Raw::login(&limited.address, TESTER, "prep_closed").await;
    for number in 0..30 {
        // The same text again and again, on the primary.
        close_one(&mut raw, "SELECT v AS closed_marker FROM t WHERE id = ? FOR SHARE").await;
        close_one(
            &mut other,
            &format!("SELECT v + {number} AS closed_marker FROM t WHERE id = ? FOR SHARE"),
        )
        .await;
    }
    if direct() {
        assert_eq!(held().await, 0);
        return;
    }
    assert_eq!(held().await, 1 + 10);
    // As many as were open before the cursor.
    let id =
        raw.prepare("SELECT id AS closed_marker FROM t WHERE id > ? FOR SHARE").await.unwrap().id;
    raw.open_cursor(id, &[10]).await.unwrap();
    assert_eq!(held().await, 1 + 10 + 1);
    raw.command(COM_STMT_CLOSE, &id.to_le_bytes()).await;
    until("the statement with the cursor to be closed", async || held().await == 1 + 10).await;
    // Connections of a Weir that is gone hold nothing.
    drop(limited);
    until("the statements of one Weir to be gone", async || held().await == 1).await;
}

/// Prepares, executes and closes.
async fn close_one(raw: &mut Raw, sql: &str) {
    let id = raw.prepare(sql).await.unwrap().id;
    assert_eq!(raw.execute(id, &[1]).await.unwrap().rows.len(), 1);
    raw.command(COM_STMT_CLOSE, &id.to_le_bytes()).await;
}

#[tokio::test]
async fn definitions_of_columns_and_parameters_are_the_servers() {
    let (cluster, weir) = prepared_database("prep_meta").await;
    connect_tls(&cluster.servers[0], TESTER, None).await.unwrap();
    let mut seen = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        // Weir knows nothing of what changed past it: the replicas have to have it.
        cluster.settle().await;
        let mut raw = Raw::login(address, TESTER, "prep_meta").await;
        let mut all = Vec::new();
        for sql in [
            "SELECT t.*, ? AS p FROM t WHERE id > ?",
            "INSERT INTO t VALUES (?, ?, ?)",
            "DO 1",
            "SHOW TABLES",
        ] {
            let prepared = raw.prepare(sql).await.unwrap();
            all.push((prepared.columns, prepared.parameters, prepared.definitions));
        }
        // The table changes between two executions: the answer shows the new columns.
        let id = raw.prepare("SELECT * FROM t WHERE id = ?").await.unwrap().id;
        let before = raw.execute(id, &[5]).await.unwrap();
        raw.query("ALTER TABLE t ADD COLUMN added INT DEFAULT 3").await.unwrap();
        let after = raw.execute(id, &[5]).await.unwrap();
        assert_eq!((before.columns.len(), after.columns.len()), (3, 4));
        all.push((0, 0, [before.columns, before.rows, after.columns, after.rows].concat()));
        raw.query("ALTER TABLE t DROP COLUMN added").await.unwrap();
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn long_data_arrives_whole() {
    let (_, weir) = prepared_database("prep_long").await;
    let mut raw = Raw::login(&weir.address, TESTER, "prep_long").await;
    let id = raw.prepare("UPDATE t SET b = ? WHERE id = 1").await.unwrap().id;
    let chunk = vec![b'z'; 1 << 20];
    let mut execute = id.to_le_bytes().to_vec();
    // No flags, one iteration, no NULL, new types: a blob whose value is not in here.
    execute.extend([0, 1, 0, 0, 0, 0, 1, 0xfc, 0]);
    for chunks in [3_usize, 17, 0] {
        let first = &[&id.to_le_bytes()[..], &0_u16.to_le_bytes()].concat();
        raw.command(COM_STMT_SEND_LONG_DATA, first).await;
        for _ in 0..chunks {
            raw.command(COM_STMT_SEND_LONG_DATA, &[first, chunk.as_slice()].concat()).await;
        }
        raw.command(COM_STMT_EXECUTE, &execute).await;
        assert_eq!(raw.result().await.unwrap().affected, 1, "{chunks} chunks");
        let length =
            raw.rows("SELECT LENGTH(b), b = REPEAT('z', LENGTH(b)) FROM t WHERE id = 1").await;
        let expected = [Some((chunks << 20).to_string().into_bytes()), Some(b"1".to_vec())];
        assert_eq!(length[0], expected);
    }
    // What was sent is forgotten by a reset of the statement.
    raw.command(COM_STMT_SEND_LONG_DATA, &[&id.to_le_bytes()[..], &[0, 0], b"forgotten"].concat())
        .await;
    raw.simple(COM_STMT_RESET, &id.to_le_bytes()).await.unwrap();
    raw.query("SELECT 1").await.unwrap();
    let mut inline = id.to_le_bytes().to_vec();
    inline.extend([0, 1, 0, 0, 0, 0, 1, 0xfc, 0, 2, b'h', b'i']);
    raw.command(COM_STMT_EXECUTE, &inline).await;
    raw.result().await.unwrap();
    assert_eq!(raw.rows("SELECT b FROM t WHERE id = 1").await[0][0].as_deref(), Some(&b"hi"[..]));
}

#[tokio::test]
async fn cursors_are_fetched_piece_by_piece() {
    let (_, weir) = prepared_database("prep_cursor").await;
    for flags in [USUAL, USUAL | DEPRECATE_EOF] {
        let mut raw = Raw::login_with(&weir.address, TESTER, "prep_cursor", flags).await;
        let id = raw.prepare("SELECT id FROM t WHERE id > ? ORDER BY id").await.unwrap().id;
        for turn in 0..3 {
            let opened = raw.open_cursor(id, &[10]).await.unwrap().status;
            assert!(opened & CURSOR_EXISTS != 0, "no cursor: {opened:#x}");
            let mut ids = Vec::new();
            loop {
                let piece = raw.fetch(id, 7).await.unwrap();
                ids.extend(
                    piece.rows.iter().map(|row| i32::from_le_bytes(row[2..6].try_into().unwrap())),
                );
                if piece.status & LAST_ROW_SENT != 0 {
                    break;
                }
                assert!(piece.rows.len() == 7, "{} rows", piece.rows.len());
                // Other statements of the session do not disturb it.
                raw.query("SELECT COUNT(*) FROM t").await.unwrap();
                if turn == 1 {
                    raw.query("UPDATE t SET v = v WHERE id = 1").await.unwrap();
                }
                if turn == 2 && ids.len() > 20 {
                    break;
                }
            }
            let expected: Vec<i32> = (11..=100).take(ids.len()).collect();
            assert_eq!(ids, expected);
            if turn == 2 {
                raw.simple(COM_STMT_RESET, &id.to_le_bytes()).await.unwrap();
                assert_eq!(raw.fetch(id, 1).await.unwrap_err().code, 1421);
            }
        }
        // By another statement: mysqld 9.7 itself sends no rows when one that had a cursor runs without.
        let plain = raw.prepare("SELECT id FROM t WHERE id > ?").await.unwrap().id;
        assert_eq!(raw.execute(plain, &[98]).await.unwrap().rows.len(), 2);
    }
}
