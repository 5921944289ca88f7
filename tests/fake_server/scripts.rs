//! One server that misbehaves: what the client sees, and that the next one sees nothing of it.

use std::time::{Duration, Instant};

use weir::wire::ErrPacket;

use crate::client::{CLASSIC, Client, MODERN, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

/// CR_SERVER_LOST
const LOST: u16 = 1053;

/// What a script must lead to.
enum Expect {
    /// The row with the script's text.
    Row,
    /// An error; the session goes on.
    Error(u16),
    /// Error 1053 or the end after so many rows, and then the end.
    Cut(usize),
    /// Error 1053 where none of the answer had been passed on yet, else as `Cut`.
    ErrorOrCut,
}
use Expect::{Cut, Error, ErrorOrCut, Row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (script, expect) in [
        ("plain", Row),
        ("drip", Row),
        ("slow", Row),
        ("err", Error(1146)),
        ("err_mid_result", Error(1317)),
        ("then_close", Row),
        ("close_first", Error(LOST)),
        ("close_half", Cut(1)),
        ("close_mid_result", Cut(1)),
        ("close_mid_row", Cut(0)),
        ("huge_header", Error(LOST)),
        ("garbage", Error(LOST)),
        ("wrong_seq", Error(LOST)),
        ("wrong_seq_row", ErrorOrCut),
        ("empty", Error(LOST)),
        ("impossible_count", Error(LOST)),
        ("extra", Row),
        ("extra_late", Row),
    ] {
        for capabilities in [CLASSIC, MODERN] {
            let mut client = Client::login_as(&weir.address, "app", "", capabilities).await;
            let outcome = client.query(&format!("SELECT '{script}'")).await;
            check(&mut client, script, &expect, outcome).await;
            if matches!(script, "extra_late" | "then_close") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if matches!(expect, Cut(_) | ErrorOrCut) {
                client = Client::login_as(&weir.address, "app", "", capabilities).await;
            }
            let after = format!("after {script}");
            assert_eq!(client.query(&format!("SELECT '{after}'")).await, Outcome::row(&after));
        }
        assert_eq!(fake.seen.count(&format!("SELECT '{script}'")), 2, "{script}: run once each");
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

async fn check(client: &mut Client, script: &str, expect: &Expect, outcome: Outcome) {
    match expect {
        Row => assert_eq!(outcome, Outcome::row(script)),
        Error(code) => assert_eq!(outcome.code(), Some(*code), "{script}: {outcome:?}"),
        ErrorOrCut => match outcome {
            Outcome::Refused { code: LOST, rows: 0, .. } => {}
            Outcome::Closed { rows: 0 } => assert!(client.is_closed().await),
            other => panic!("{script}: {other:?}"),
        },
        Cut(most) => {
            match outcome {
                Outcome::Refused { code: LOST, rows, .. } | Outcome::Closed { rows } => {
                    assert!(rows <= *most, "{script}: {rows} rows");
                }
                other => panic!("{script}: {other:?}"),
            }
            assert!(client.is_closed().await, "{script}: what else could follow?");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_is_passed_as_it_comes() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    let mut slow = Client::login(&weir.address).await;
    let mut other = Client::login(&weir.address).await;
    let start = Instant::now();
    let waiting = tokio::spawn(async move { slow.query("SELECT 'slow one'").await });
    let mut answered = 0;
    while !waiting.is_finished() {
        assert_eq!(other.query("SELECT 'quick'").await, Outcome::row("quick"));
        answered += 1;
    }
    assert!(start.elapsed().as_millis() >= 1_400, "{:?}", start.elapsed());
    assert_eq!(waiting.await.unwrap(), Outcome::row("slow one"));
    assert!(answered > 20, "only {answered} others were answered meanwhile");
}

/// Packets with a right header and nonsense in them, then the end: whatever Weir makes of it, it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_in_a_good_packet() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for seed in 0..300 {
        let mut client = Client::login(&weir.address).await;
        let outcome = client.query(&format!("SELECT 'noise {seed}'")).await;
        assert!(!matches!(outcome, Outcome::Rows(_)), "{seed}: {outcome:?}");
        let mut next = Client::login(&weir.address).await;
        assert_eq!(next.query("SELECT 'sane'").await, Outcome::row("sane"), "{seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_run_once() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    let mut client = Client::login(&weir.address).await;
    for script in ["close_first", "close_half", "huge_header", "garbage", "wrong_seq", "empty"] {
        let sql = format!("INSERT INTO t VALUES ('{script}')");
        let Outcome::Refused { code: LOST, words, .. } = client.query(&sql).await else {
            panic!("{script}: no error 1053");
        };
        assert!(words.contains("whether it was executed is not known"), "{script}: {words}");
        assert_eq!(fake.seen.count(&sql), 1, "{script}");
        assert_eq!(client.query("INSERT INTO t VALUES ('good')").await, Outcome::Done);
    }
    assert_eq!(fake.seen.count("INSERT INTO t VALUES ('good')"), 6);
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// Nothing was done by a write that the server refused because it had become read-only; of a procedure the first
/// half may have been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_a_writable_server_and_a_procedure_does_not() {
    let fake = Fake::primary().await;
    let weir = Weir::start_as(&[&fake.address], "hold_seconds = 0.5", "");
    let mut client = Client::login(&weir.address).await;
    for (sql, once) in
        [("INSERT INTO t VALUES ('read_only')", false), ("CALL p('read_only')", true)]
    {
        assert_eq!(client.query(sql).await.code(), Some(1290));
        assert_eq!(fake.seen.count(sql) == 1, once, "{sql}: {} times", fake.seen.count(sql));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_server_goes_is_over() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (number, statement) in [
        "SELECT 'close_first in'",
        "INSERT INTO t VALUES ('close_first in')",
        "INSERT INTO t VALUES ('wrong_seq in')",
        "COMMIT /* 'close_first in' */",
        "COMMIT /* 'close_half in' */",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query("BEGIN").await, Outcome::Done);
        let write = format!("INSERT INTO t VALUES ('write {number}')");
        assert_eq!(client.query(&write).await, Outcome::Done);
        let outcome = client.query(statement).await;
        let Outcome::Refused { code: LOST, words, .. } = outcome else {
            panic!("{statement}: {outcome:?}");
        };
        let unknown = words.contains("whether it was executed is not known");
        assert_eq!(unknown, !statement.starts_with("SELECT"), "{statement}: {words}");
        assert!(client.is_closed().await, "{statement}: its transaction is gone");
        assert_eq!(fake.seen.count(statement), 1, "{statement}");
        assert_eq!(fake.seen.count(&write), 1, "{write}");
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// The first of two results is whole, the second never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_between_two_results() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (capabilities, next) in [(CLASSIC, 6), (MODERN, 5)] {
        let mut client = Client::login_as(&weir.address, "app", "", capabilities).await;
        let outcome = client.query("SELECT 'close_between'").await;
        assert_eq!(outcome, Outcome::row("close_between"));
        if let Some((seq, packet)) = client.packet().await {
            assert_eq!(seq, next);
            assert_eq!(ErrPacket::decode(&packet).unwrap().code, LOST);
        }
        assert!(client.is_closed().await);
    }
}

/// Sequence numbers wrap after 255 packets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rows() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for capabilities in [CLASSIC, MODERN] {
        let mut client = Client::login_as(&weir.address, "app", "", capabilities).await;
        let rows: Vec<String> = (0..1_000).map(|row| format!("many {row}")).collect();
        assert_eq!(client.query("SELECT 'many'").await, Outcome::Rows(rows));
        assert_eq!(client.query("SELECT 'next'").await, Outcome::row("next"));
    }
}

/// A connection that the server closed while it was idle costs nobody an error, nor a write twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_connection_is_not_used() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    let mut client = Client::login(&weir.address).await;
    for round in 0..10 {
        assert_eq!(client.query("SELECT 'then_close'").await, Outcome::row("then_close"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let sql = format!("INSERT INTO t VALUES ('round {round}')");
        assert_eq!(client.query(&sql).await, Outcome::Done);
        assert_eq!(fake.seen.count(&sql), 1);
    }
}

/// A client that leaves in the middle of an answer, or of a transaction, leaves nothing to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_leaves_nothing() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for round in 0..5 {
        let mut gone = Client::login(&weir.address).await;
        gone.send(0, b"\x03SELECT 'slow for nobody'").await;
        drop(gone);
        let mut gone = Client::login(&weir.address).await;
        assert_eq!(gone.query("BEGIN").await, Outcome::Done);
        drop(gone);
        for turn in 0..10 {
            let mine = format!("mine {round} {turn}");
            let mut client = Client::login(&weir.address).await;
            assert_eq!(client.query(&format!("SELECT '{mine}'")).await, Outcome::row(&mine));
        }
    }
}

/// The answer to a killed session's query comes when its connection would be idle again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_session_leaves_nothing() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for round in 0..4 {
        let mut killed = Client::login(&weir.address).await;
        let Outcome::Rows(id) = killed.query("SELECT CONNECTION_ID()").await else { panic!() };
        let sql = format!("SELECT 'late {round}'");
        killed.send(0, format!("\x03{sql}").as_bytes()).await;
        crate::until("the query runs", async || fake.seen.count(&sql) == 1).await;
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(Client::login(&weir.address).await);
        }
        let outcome = others[0].query(&format!("KILL {}", id[0])).await;
        assert_eq!(outcome, Outcome::Done, "{outcome:?}");
        for turn in 0..20 {
            for (number, other) in others.iter_mut().enumerate() {
                let mine = format!("mine {number} {turn}");
                assert_eq!(other.query(&format!("SELECT '{mine}'")).await, Outcome::row(&mine));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let outcome = killed.answer().await;
        assert!(!matches!(outcome, Outcome::Rows(_)), "{outcome:?}");
    }
}
