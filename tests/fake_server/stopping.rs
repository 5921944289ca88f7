//! A server that stops in order keeps its clients' connections until they go: Weir's go at once, so that it need not
//! wait for them, and nobody's statement meets one.

use std::sync::atomic::Ordering;

use crate::client::{Client, Outcome};
use crate::fake::Fake;
use crate::replicas::pair;
use crate::weir_process::Weir;

/// Several idle connections to the server of this Weir, which has one worker.
async fn idle_connections(weir: &Weir, fake: &Fake) {
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query("BEGIN").await, Outcome::Done);
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.query("COMMIT").await, Outcome::Done);
    }
    assert!(fake.seen.open.load(Ordering::Relaxed) >= 5);
}

async fn all_are_closed(fake: &Fake) {
    crate::until("the idle connections are closed", async || {
        fake.seen.open.load(Ordering::Relaxed) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_monitor_sees_a_server_stop() {
    let (primary, replica, weir) = pair().await;
    idle_connections(&weir, &primary).await;
    let mut client = Client::login(&weir.address).await;
    assert_eq!(client.query("SELECT 'before'").await, Outcome::row("before"));
    assert!(replica.seen.open.load(Ordering::Relaxed) > 0);
    for fake in [&primary, &replica] {
        fake.seen.stopping.store(true, Ordering::Relaxed);
        all_are_closed(fake).await;
    }
}

/// Only the statement that was sent meets it, and is not repeated; another goes on a new connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_a_server_stop() {
    let fake = Fake::primary().await;
    let weir = Weir::start_as(&[&fake.address], "workers = 1", "");
    idle_connections(&weir, &fake).await;
    let logins = fake.seen.logins.load(Ordering::Relaxed);
    let mut client = Client::login(&weir.address).await;
    let sql = "INSERT INTO t VALUES ('stopping')";
    assert_eq!(client.query(sql).await.code(), Some(1053));
    assert_eq!(fake.seen.count(sql), 1);
    all_are_closed(&fake).await;
    assert_eq!(client.query("INSERT INTO t VALUES ('next')").await, Outcome::Done);
    assert_eq!(fake.seen.logins.load(Ordering::Relaxed), logins + 1);
}
