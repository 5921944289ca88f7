//! Statements built to hurt a parser: the answer is the server's own, and everybody else is served.

use std::time::{Duration, Instant};

use crate::support::client::{connect, connect_tls, text};
use crate::support::cluster::TESTER;
use crate::support::raw::{COM_QUERY, Raw, text_row};
use crate::support::{TestCluster, Weir, direct, wait};

const DATABASE: &str = "hostile";
/// The allocator gives pages back to the system some ten seconds after they are free.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);

/// What a statement gave: its first row, or its error; or that the link ended.
async fn outcome(address: &str, sql: &[u8]) -> String {
    let mut raw = Raw::login(address, TESTER, DATABASE).await;
    raw.command(COM_QUERY, sql).await;
    match raw.result().await {
        Ok(result) => {
            let row = result.rows.first().map(|row| text_row(row));
            let shown = format!("{} rows, {row:?}", result.rows.len());
            // The session goes on.
            let again = raw.query("SELECT 7").await;
            assert!(
                again.as_ref().is_ok_and(|result| result.rows.len() == 1),
                "{shown:.200}, then {again:?}"
            );
            shown.chars().take(400).collect()
        }
        Err(refusal) => format!("{} {} {}", refusal.code, refusal.state, refusal.message),
    }
}

#[tokio::test]
async fn the_servers_answer_to_everything() {
    let cluster = TestCluster::shared().await;
    cluster.fresh_database(DATABASE).await;
    cluster
        .on_primary(&[
            "CREATE TABLE hostile.t (id INT PRIMARY KEY)",
            "INSERT INTO hostile.t VALUES (1)",
        ])
        .await;
    let weir = Weir::start(cluster);
    for address in [&cluster.servers[0], &weir.address] {
        connect_tls(address, TESTER, None).await.unwrap();
    }
    for (name, sql) in statements() {
        let expected = outcome(&cluster.servers[0], &sql).await;
        let start = Instant::now();
        let (got, ()) = tokio::join!(outcome(&weir.address, &sql), bystander(&weir));
        assert_eq!(got, expected, "{name}");
        assert!(weir.alive(), "{name} ended Weir:\n{}", weir.log());
        assert!(start.elapsed() < Duration::from_secs(60), "{name} took {:?}", start.elapsed());
    }
}

/// Somebody else's small query meanwhile.
async fn bystander(weir: &Weir) {
    let mut conn = connect(&weir.address, TESTER, Some(DATABASE)).await.unwrap();
    assert_eq!(text(&mut conn, "SELECT id FROM t").await, "1");
}

fn statements() -> Vec<(&'static str, Vec<u8>)> {
    let joins = |count: usize| {
        let mut sql = "SELECT COUNT(*) FROM t AS t0".to_owned();
        for number in 1..=count {
            sql += &format!(" JOIN t AS t{number} USING (id)");
        }
        sql.into_bytes()
    };
    let nested = |open: &str, middle: &str, close: &str, count: usize| {
        format!("SELECT {}{middle}{} AS x FROM t", open.repeat(count), close.repeat(count))
            .into_bytes()
    };
    vec![
        ("60 joins", joins(60)),
        ("300 joins", joins(300)),
        ("3,000 joins", joins(3000)),
        ("1,000 terms", format!("SELECT 1{} FROM t", "+1".repeat(1000)).into_bytes()),
        ("100,000 terms", format!("SELECT 1{} FROM t", "+1".repeat(100_000)).into_bytes()),
        (
            "100,000 ANDs",
            format!("SELECT 1 FROM t WHERE 1=1{}", " AND 1=1".repeat(100_000)).into_bytes(),
        ),
        ("10,000 parentheses", nested("(", "1", ")", 10_000)),
        ("200 parentheses", nested("(", "1", ")", 200)),
        ("unclosed parentheses", "SELECT ((((((((((".repeat(500).into_bytes()),
        ("10,000 NOTs", nested("NOT ", "1", "", 10_000)),
        ("10,000 minus signs", nested("- ", "1", "", 10_000)),
        ("1,000 functions", nested("ABS(", "1", ")", 1000)),
        ("500 CASEs", nested("CASE WHEN 1 THEN ", "1", " END", 500)),
        ("63 nested subqueries", nested("(SELECT ", "1", ")", 62)),
        ("1,000 nested subqueries", nested("(SELECT ", "1", ")", 1000)),
        ("2,000 UNIONs", format!("SELECT 1{}", " UNION SELECT 1".repeat(2000)).into_bytes()),
        (
            "50,000 literals in IN",
            format!("SELECT id FROM t WHERE id IN (1{})", ",2".repeat(50_000)).into_bytes(),
        ),
        ("10,000 columns", format!("SELECT 1{}", ", 1".repeat(10_000)).into_bytes()),
        ("unclosed comment", b"SELECT 1 /* never closed".to_vec()),
        ("unclosed executable comment", b"SELECT 1 /*!80000 + 1".to_vec()),
        ("unclosed quote", b"SELECT 'never closed".to_vec()),
        ("unclosed name", b"SELECT `never closed".to_vec()),
        ("nested comments", "/*".repeat(5000).into_bytes()),
        ("many comments", format!("SELECT {}1", "/* c */".repeat(50_000)).into_bytes()),
        ("NUL bytes", b"SELECT 1\0, 2".to_vec()),
        ("a NUL in a string", b"SELECT LENGTH('a\0b')".to_vec()),
        ("not UTF-8", b"SELECT HEX('\xff\xfe\x80') FROM t".to_vec()),
        ("a name that is not UTF-8", b"SELECT 1 AS `\xff\xfe`".to_vec()),
        ("a verb that is not UTF-8", b"\xc3\x28\xa0\xa1 SELECT 1".to_vec()),
        ("spaces", vec![b' '; 100_000]),
        ("semicolons", vec![b';'; 10_000]),
        ("quotes", format!("SELECT {}''", "'".repeat(10_000)).into_bytes()),
        ("backslashes", format!("SELECT LENGTH('{}')", "\\\\".repeat(100_000)).into_bytes()),
        ("a long name", format!("SELECT 1 AS {}", "x".repeat(300)).into_bytes()),
        ("a long number", format!("SELECT {}", "9".repeat(5000)).into_bytes()),
        ("a 16 MiB literal", format!("SELECT LENGTH('{}')", "x".repeat(16 << 20)).into_bytes()),
        ("a 60 MiB literal", format!("SELECT LENGTH('{}')", "x".repeat(60 << 20)).into_bytes()),
    ]
}

/// Longer than any packet may be: refused with the limit's name when the servers' is reached, its memory given back,
/// everybody else served on.
#[tokio::test]
async fn a_literal_of_a_gibibyte() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let weir = Weir::start(cluster);
    connect_tls(&weir.address, TESTER, None).await.unwrap();
    let mut raw = Raw::login(&weir.address, TESTER, "mysql").await;
    let memory = weir.rss_kb();
    raw.restart();
    let sent = raw.send(format!("\u{3}SELECT LENGTH('{}')", "x".repeat(1 << 30)).as_bytes()).await;
    let refusal = raw.result().await.unwrap_err();
    assert_eq!((refusal.code, refusal.state.as_str()), (1153, "08S01"), "{sent:?}");
    assert!(
        refusal.message.contains("max_allowed_packet = 67108864 on the primary"),
        "{refusal:?}"
    );
    // What the buffer had as it grew is not given back at once.
    let most = weir.peak_rss_kb();
    assert!(most < memory + (512 << 10), "{memory} KB, at most {most} KB");
    let mut conn = connect(&weir.address, TESTER, None).await.unwrap();
    assert_eq!(text(&mut conn, "SELECT 1").await, "1");
    let given_back = async || (weir.rss_kb() < memory + (64 << 10)).then_some(());
    wait::until(GIVEN_BACK_WITHIN, "the memory to be given back", given_back).await;
}

/// Longer than the servers' max_allowed_packet of 64 MiB: refused, where the server may also cut the connection.
#[tokio::test]
async fn a_statement_longer_than_the_server_takes() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    for address in [&cluster.servers[0], &weir.address] {
        connect_tls(address, TESTER, None).await.unwrap();
        let mut raw = Raw::login(address, TESTER, "mysql").await;
        let sql = format!("\u{3}SELECT LENGTH('{}')", "x".repeat(65 << 20));
        raw.restart();
        // The server answers and closes before it has read it all.
        let sent = raw.send(sql.as_bytes()).await;
        match (sent, raw.packet().await) {
            (_, Ok(packet)) => {
                assert_eq!(
                    packet[..3],
                    [0xff, 0x81, 0x04],
                    "error 1153: {:?}",
                    &packet[..packet.len().min(80)]
                );
            }
            (_, Err(closed)) => {
                assert!(direct() || *address != weir.address, "closed without a word: {closed}");
                eprintln!("{address}: closed without an answer: {closed}");
            }
        }
    }
    assert!(weir.alive());
    let mut conn = connect(&weir.address, TESTER, None).await.unwrap();
    assert_eq!(text(&mut conn, "SELECT 1").await, "1");
}
