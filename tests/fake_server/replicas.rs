//! A primary and a replica that misbehaves: reads go on without the client noticing.

use std::sync::atomic::Ordering;

use crate::client::{COM_INIT_DB, COM_STMT_EXECUTE, Client, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

/// A primary, its replica, and Weir that has seen that reads can go to the replica.
pub async fn pair() -> (Fake, Fake, Weir) {
    pair_as("").await
}

/// The same with more lines of `[proxy]`.
pub async fn pair_as(proxy: &str) -> (Fake, Fake, Weir) {
    let primary = Fake::primary().await;
    let replica = Fake::replica_of(&primary).await;
    let sections = "[pool]\nconnect_seconds = 0.5\n";
    let weir = Weir::start_as(&[&primary.address, &replica.address], proxy, sections);
    let mut client = Client::login(&weir.address).await;
    crate::until("reads go to the replica", async || {
        assert_eq!(client.query("SELECT 'where'").await, Outcome::row("where"));
        replica.seen.count("SELECT 'where'") > 0
    })
    .await;
    (primary, replica, weir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_run_again_on_the_primary() {
    let (primary, replica, weir) = pair().await;
    let mut client = Client::login(&weir.address).await;
    for script in [
        "close_first",
        "huge_header",
        "garbage",
        "wrong_seq",
        "empty",
        "impossible_count",
        "err",
        "err_mid_result",
    ] {
        let text = format!("replica:{script}");
        let sql = format!("SELECT '{text}'");
        assert_eq!(client.query(&sql).await, Outcome::row(&text), "{script}");
        assert_eq!(replica.seen.count(&sql), 1, "{script}");
        assert_eq!(primary.seen.count(&sql), 1, "{script}");
        let after = format!("SELECT 'after {script}'");
        assert_eq!(client.query(&after).await, Outcome::row(&format!("after {script}")));
        assert_eq!(replica.seen.count(&after), 1, "the replica is used on, {script}");
    }
    replica.seen.assert_nothing_spoiled_lives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_has_begun_is_not_run_again() {
    let (primary, _replica, weir) = pair().await;
    for (script, most) in [("close_mid_result", 1), ("close_mid_row", 0), ("wrong_seq_row", 0)] {
        let mut client = Client::login(&weir.address).await;
        let sql = format!("SELECT 'replica:{script}'");
        let (Outcome::Refused { rows, .. } | Outcome::Closed { rows }) = client.query(&sql).await
        else {
            // Nothing of it had reached the client: it was run on the primary, whole.
            assert_eq!(primary.seen.count(&sql), 1, "{script}");
            continue;
        };
        assert!(rows <= most, "{script}: {rows} rows");
        assert_eq!(primary.seen.count(&sql), 0, "{script}");
        assert!(client.is_closed().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_what_follows_them_stay_on_the_primary() {
    let (primary, replica, weir) = pair().await;
    let mut client = Client::login(&weir.address).await;
    let sql = "INSERT INTO t VALUES ('close_first')";
    assert_eq!(client.query(sql).await.code(), Some(1053));
    assert_eq!((primary.seen.count(sql), replica.seen.count(sql)), (1, 0));
    for statement in ["BEGIN", "SELECT 'in the transaction'", "COMMIT"] {
        client.query(statement).await;
        assert_eq!((primary.seen.count(statement), replica.seen.count(statement)), (1, 0));
    }
}

/// Servers that have GTIDs and do not tell them: nothing shows when the replica has the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_read_where_they_were_written() {
    let primary = Fake::primary().await;
    let replica = Fake::replica_of(&primary).await;
    for fake in [&primary, &replica] {
        fake.seen.trackless.store(true, Ordering::Relaxed);
    }
    let weir = Weir::start_with(&[&primary.address, &replica.address], "");
    let mut client = Client::login(&weir.address).await;
    crate::until("reads go to the replica", async || {
        assert_eq!(client.query("SELECT 'where'").await, Outcome::row("where"));
        replica.seen.count("SELECT 'where'") > 0
    })
    .await;
    assert_eq!(client.query("INSERT INTO t VALUES ('own')").await, Outcome::Done);
    assert_eq!(client.query("SELECT 'own'").await, Outcome::row("own"));
    assert_eq!((primary.seen.count("SELECT 'own'"), replica.seen.count("SELECT 'own'")), (1, 0));
}

/// A process that is stopped keeps its connections: their silence alone says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_frozen_replica_is_asked_elsewhere() {
    let primary = Fake::primary().await;
    let replica = Fake::replica_of(&primary).await;
    let weir = Weir::start_with(&[&primary.address, &replica.address], "timeout_ms = 300\n");
    let mut reader = Client::login(&weir.address).await;
    let mut bound = Client::login(&weir.address).await;
    crate::until("reads go to the replica", async || {
        assert_eq!(reader.query("SELECT 'where'").await, Outcome::row("where"));
        replica.seen.count("SELECT 'where'") > 0
    })
    .await;
    assert_eq!(bound.query("START TRANSACTION READ ONLY").await.code(), None);
    assert_eq!(bound.query("SELECT 'inside'").await, Outcome::row("inside"));
    assert_eq!(replica.seen.count("SELECT 'inside'"), 1);
    replica.seen.frozen.store(true, Ordering::Relaxed);
    let asked = async { tokio::join!(reader.query("SELECT 'now'"), bound.query("SELECT 'bound'")) };
    let asked = tokio::time::timeout(crate::PATIENCE, asked).await;
    let (read, lost) = asked.expect("the frozen replica is given up");
    assert_eq!(read, Outcome::row("now"));
    assert_eq!(primary.seen.count("SELECT 'now'"), 1);
    assert_eq!(lost.code(), Some(1053), "what is bound to it cannot go elsewhere: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_is_not_noticed() {
    let (primary, replica, weir) = pair().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query("SELECT 'before'").await, Outcome::row("before"));
        clients.push(client);
    }
    drop(replica);
    for turn in 0..50 {
        for client in &mut clients {
            let text = format!("turn {turn}");
            assert_eq!(client.query(&format!("SELECT '{text}'")).await, Outcome::row(&text));
        }
    }
    assert_eq!(primary.seen.count("SELECT 'turn 49'"), 4);
}

/// The replica answers the monitor and refuses, or leaves waiting, whoever else logs in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lets_nobody_in() {
    let (primary, replica, weir) = pair().await;
    for (flag, why) in [(&replica.seen.full, "full"), (&replica.seen.silent, "silent")] {
        flag.store(true, Ordering::Relaxed);
        let logins = replica.seen.logins.load(Ordering::Relaxed);
        let mut clients = Vec::new();
        // More at once than there are idle connections to the replica.
        for number in 0..8 {
            let mut client = Client::login(&weir.address).await;
            client.send(0, format!("\x03SELECT 'drip {why} {number}'").as_bytes()).await;
            clients.push((number, client));
        }
        for (number, client) in &mut clients {
            let text = format!("drip {why} {number}");
            assert_eq!(client.answer().await, Outcome::row(&text));
        }
        assert_eq!(replica.seen.logins.load(Ordering::Relaxed), logins);
        flag.store(false, Ordering::Relaxed);
    }
    let sum = |fake: &Fake| {
        let count = |why, number| fake.seen.count(&format!("SELECT 'drip {why} {number}'"));
        (0..8).map(|number| count("full", number) + count("silent", number)).sum::<usize>()
    };
    assert_eq!(sum(&primary) + sum(&replica), 16, "each was run once");
    assert!(sum(&primary) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_the_replica_lacks() {
    let (primary, replica, weir) = pair().await;
    let mut other = Client::login(&weir.address).await;
    let mut client = Client::login(&weir.address).await;
    assert_eq!(client.command(COM_INIT_DB, b"only_primary").await, Outcome::Done);
    for turn in 0..10 {
        let sql = format!("SELECT 'turn {turn}'");
        assert_eq!(client.query(&sql).await, Outcome::row(&format!("turn {turn}")));
        assert_eq!(primary.seen.count(&sql), 1);
        assert_eq!(other.query("SELECT 'other'").await, Outcome::row("other"));
    }
    assert!(replica.seen.count("SELECT 'other'") > 0, "others read from the replica");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_read_is_run_again_on_the_primary() {
    let (primary, replica, weir) = pair().await;
    let mut client = Client::login(&weir.address).await;
    let sql = "SELECT ? AS v /* 'replica:close_first' */";
    let id = client.prepare(sql).await;
    let mut execute = id.to_le_bytes().to_vec();
    execute.extend(b"\0\x01\0\0\0\0\x01\x08\0");
    execute.extend(7_u64.to_le_bytes());
    for turn in 1..=5 {
        let outcome = client.command(COM_STMT_EXECUTE, &execute).await;
        assert!(matches!(outcome, Outcome::Rows(ref rows) if rows.len() == 1), "{outcome:?}");
        let counted = format!("EXECUTE {sql}");
        assert_eq!((primary.seen.count(&counted), replica.seen.count(&counted)), (turn, turn));
    }
    drop(replica);
    for _ in 0..5 {
        let outcome = client.command(COM_STMT_EXECUTE, &execute).await;
        assert!(matches!(outcome, Outcome::Rows(ref rows) if rows.len() == 1), "{outcome:?}");
    }
}
