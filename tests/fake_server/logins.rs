//! Clients that come while no server can be asked who they are.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, MODERN, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

/// One server is silent for as long as a probe may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_before_the_servers_are_known_is_not_refused() {
    let primary = Fake::primary().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let weir = Weir::launch(&[&primary.address, &address], "", "timeout_ms = 60000");
    let (probe, _) = silent.accept().await.unwrap();
    let early = TcpStream::connect(&weir.address).await.expect("Weir listens while it asks");
    drop((probe, silent));
    let mut client = Client::login(&weir.address).await;
    assert_eq!(client.query("SELECT 'in'").await, Outcome::row("in"));
    drop(early);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_waits_for_the_primary_to_come_back() {
    let primary = Fake::primary().await;
    let weir = Weir::start(&[&primary.address]);
    let address = primary.address.clone();
    drop(primary);
    crate::until("the primary to be missed", async || weir.log().contains("not usable")).await;
    let at = weir.address.clone();
    let login = tokio::spawn(async move { Client::login_as(&at, "stranger", "", MODERN).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!login.is_finished(), "nobody could have been asked");
    let _primary = Fake::back_at(&address).await;
    let mut client = login.await.unwrap();
    assert_eq!(client.query("SELECT 'in'").await, Outcome::row("in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_does_not_wait_for_ever() {
    let primary = Fake::primary().await;
    let weir = Weir::start_as(&[&primary.address], "hold_seconds = 1", "");
    drop(primary);
    crate::until("the primary to be missed", async || weir.log().contains("not usable")).await;
    let mut client = Client::greet(&weir.address).await;
    let response = client.response("stranger", "");
    client.send(1, &response).await;
    let (_, packet) = client.packet().await.expect("an error, not silence");
    let error = weir::wire::ErrPacket::decode(&packet).unwrap();
    assert_eq!(error.code, 1105, "{error:?}");
}
