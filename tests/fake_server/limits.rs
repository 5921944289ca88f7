//! Limits: who exceeds one gets an error that names it, and the log has a line of it, but not a million.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir::config::ServerTlsMode;
use weir::net::tls::client_config;
use weir::wire::auth::{PLUGIN_NATIVE, PLUGIN_SHA2};
use weir::wire::{Capabilities, ErrPacket, Header, MAX_PAYLOAD, SslRequest};

use crate::client::{COM_PING, COM_QUERY, Client, MODERN, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

async fn limited(proxy: &str) -> (Fake, Weir) {
    let fake = Fake::primary().await;
    let weir = Weir::start_as(&[&fake.address], proxy, "");
    (fake, weir)
}

/// The next packet is this error, numbered so, with these words in it; then the end.
async fn refused(client: &mut Client, seq: u8, code: u16, words: &[&str]) {
    let (got, packet) = client.packet().await.expect("an error, not only the end");
    let error = ErrPacket::decode(&packet).unwrap();
    let message = String::from_utf8_lossy(&error.message).into_owned();
    assert_eq!((error.code, got), (code, seq), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} in {message:?}");
    }
    assert!(client.is_closed().await, "{message}");
}

const LATE: [&str; 2] = ["no login within 1 s", "[proxy] handshake_seconds"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_takes_too_long() {
    let (_fake, weir) = limited("handshake_seconds = 1").await;

    let start = Instant::now();
    let mut client = Client::greet(&weir.address).await;
    refused(&mut client, 1, 1159, &LATE).await;
    assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());

    let mut half = Client::greet(&weir.address).await;
    let response = half.response("app", "");
    half.bytes(&Header { len: response.len(), seq: 1 }.to_bytes()).await;
    half.bytes(&response[..9]).await;
    refused(&mut half, 1, 1159, &LATE).await;

    // Between two packets: asked for another plugin, for the password, for the password by the key.
    let mut client = Client::greet(&weir.address).await;
    let response = client.response_by(PLUGIN_NATIVE, "app", "wrong");
    client.send(1, &response).await;
    assert_eq!(client.packet().await.unwrap().1[0], 0xFE);
    refused(&mut client, 3, 1159, &LATE).await;

    let mut client = Client::greet(&weir.address).await;
    let response = client.response_by(PLUGIN_SHA2, "app", "secret");
    client.send(1, &response).await;
    assert_eq!(client.packet().await.unwrap().1, [1, 4]);
    refused(&mut client, 3, 1159, &LATE).await;

    let mut client = Client::greet(&weir.address).await;
    client.send(1, &response).await;
    assert_eq!(client.packet().await.unwrap().1, [1, 4]);
    client.send(3, &[2]).await;
    assert_eq!(client.packet().await.unwrap().0, 4);
    refused(&mut client, 5, 1159, &LATE).await;

    crate::until("the log names them", async || {
        weir.log().matches("no login within 1 s ([proxy] handshake_seconds)").count() == 5
    })
    .await;
    assert_eq!(Client::login(&weir.address).await.query("SELECT 'on'").await, Outcome::row("on"));
}

/// The limit is one for the whole login: pauses that are each shorter add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_in_slow_steps() {
    let (_fake, weir) = limited("handshake_seconds = 1").await;
    let mut client = Client::greet(&weir.address).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let response = client.response_by(PLUGIN_NATIVE, "app", "wrong");
    client.send(1, &response).await;
    assert_eq!(client.packet().await.unwrap().1[0], 0xFE);
    refused(&mut client, 3, 1159, &LATE).await;
    assert!(start.elapsed() < Duration::from_millis(1_600), "{:?}", start.elapsed());
}

/// COM_CHANGE_USER is a login, too, with a limit of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_user_that_takes_too_long() {
    let (_fake, weir) = limited("handshake_seconds = 1").await;
    let mut client = Client::login(&weir.address).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(client.command(COM_PING, &[]).await, Outcome::Done, "logged in in time");
    client.send(0, b"\x11other\0\0\0\x2D\0caching_sha2_password\0").await;
    assert_eq!(client.packet().await.unwrap().1[0], 0xFE);
    refused(&mut client, 2, 1159, &LATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_are_none() {
    let (_fake, weir) = limited("").await;
    let mut client = Client::greet(&weir.address).await;
    client.bytes(&[0, 0, 5, 1]).await;
    client.bytes(&[b'x'; 300_000]).await;
    refused(&mut client, 2, 1153, &["max_allowed_packet", "a login may have 262144"]).await;

    let mut client = Client::greet(&weir.address).await;
    let response = client.response_by(PLUGIN_NATIVE, "app", "wrong");
    client.send(1, &response).await;
    assert_eq!(client.packet().await.unwrap().1[0], 0xFE);
    client.bytes(&[0, 0, 5, 3]).await;
    refused(&mut client, 4, 1153, &["a login may have 262144"]).await;

    for seq in [0, 2, 255] {
        let mut client = Client::greet(&weir.address).await;
        client.send(seq, &response).await;
        refused(&mut client, 2, 1156, &["out of order"]).await;
    }
    let mut client = Client::greet(&weir.address).await;
    client.send(1, &response[..20]).await;
    refused(&mut client, 2, 1043, &["Bad handshake"]).await;

    let shown = [
        "a packet of more than 262144 bytes",
        "packets out of order: number 255 where 1 was due",
        "a malformed login: ",
    ];
    crate::until("the log names them", async || {
        let log = weir.log();
        let line = |words: &str| {
            log.lines().any(|line| {
                line.contains(words) && line.contains("peer=127.0.0.1") && line.contains(" INFO ")
            })
        };
        shown.iter().all(|words| line(words))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssl_request_where_tls_is_off() {
    let (_fake, weir) = limited("tls = \"off\"").await;
    let mut client = Client::greet(&weir.address).await;
    assert!(!client.offered.has(Capabilities::SSL));
    client.send(1, &ssl_request()).await;
    refused(&mut client, 2, 1043, &["TLS", "[proxy] tls"]).await;
}

fn ssl_request() -> Vec<u8> {
    let capabilities = MODERN.with(Capabilities::SSL);
    let mut request = Vec::new();
    SslRequest { capabilities, max_packet: 1 << 24, collation: 45 }.encode(&mut request);
    request
}

/// Inside TLS an error can be read; while TLS is being agreed upon, none, so the log has to say it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_by_tls() {
    let (_fake, weir) = limited("handshake_seconds = 1").await;
    let config = client_config(ServerTlsMode::Required, None).unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);

    for (sent, seq, code, words) in [
        (&b""[..], 2, 1159, "no login within 1 s ([proxy] handshake_seconds)"),
        (b"\0\0", 2, 1159, "no login within 1 s ([proxy] handshake_seconds)"),
        (b"\0\0\x05\x02", 3, 1153, "a login may have 262144"),
        (b"\x05\0\0\x09hello", 3, 1156, "out of order"),
        (b"\x05\0\0\x02hello", 3, 1043, "Bad handshake"),
    ] {
        let mut client = Client::greet(&weir.address).await;
        client.send(1, &ssl_request()).await;
        let name = "localhost".try_into().unwrap();
        let mut tls = connector.connect(name, client.socket).await.unwrap();
        tls.write_all(sent).await.unwrap();
        let mut got = Vec::new();
        // Weir closes without TLS's own farewell, as it does after any error.
        let _end = tls.read_to_end(&mut got).await;
        let header = Header::parse(&got).unwrap_or_else(|| panic!("{sent:?}: only the end"));
        let error = ErrPacket::decode(&got[4..4 + header.len]).unwrap();
        let message = String::from_utf8(error.message).unwrap();
        assert_eq!((header.seq, error.code), (seq, code), "{sent:?}: {message}");
        assert!(message.contains(words), "{message}");
    }

    let mut silent = Client::greet(&weir.address).await;
    silent.send(1, &ssl_request()).await;
    assert!(silent.is_closed().await);
    let mut nonsense = Client::greet(&weir.address).await;
    nonsense.send(1, &ssl_request()).await;
    nonsense.bytes(&[0x55; 200]).await;
    crate::until("the log names both", async || {
        let log = weir.log();
        log.contains("no TLS with the client within [proxy] handshake_seconds")
            && log.contains("no TLS with the client: ")
    })
    .await;
}

/// Whoever reaches the port could fill the disk with such lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_logins_is_a_few_lines() {
    let (_fake, weir) = limited("").await;
    let name = "n".repeat(50_000);
    for number in 0..300 {
        let mut client = Client::greet(&weir.address).await;
        if number % 2 == 0 {
            client.send(1, b"nonsense").await;
        } else {
            let wrong = client.response_by(PLUGIN_SHA2, &name, "");
            client.send(9, &wrong).await;
        }
        assert!(client.packet().await.is_some(), "told why, {number}");
    }
    let log = weir.log();
    let lines = log.lines().filter(|line| line.contains("no login")).count();
    // Ten lines in ten seconds of each of the two workers, should the flood take longer.
    assert!((10..=60).contains(&lines), "{lines} lines:\n{log}");
    assert!(log.lines().all(|line| line.len() < 1_000), "no line of a client's making");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_allowed() {
    let (_fake, weir) = limited("max_connections = 3").await;
    let mut open = Vec::new();
    let mut one_more = loop {
        let client = Client::connect(&weir.address).await;
        // A byte of the greeting's or the error's header, and what it begins.
        let mut first = [0; 5];
        client.socket.peek(&mut first).await.unwrap();
        if first[4] == ErrPacket::HEADER {
            break client;
        }
        open.push(client);
        assert!(open.len() <= 3, "{} clients are let in", open.len());
    };
    refused(&mut one_more, 0, 1040, &["[proxy] max_connections = 3"]).await;
    let log = weir.log();
    assert!(log.contains("WARN") && log.contains("max_connections is reached"), "{log}");
    drop(open);
    crate::until("there is room again", async || {
        let mut client = Client::connect(&weir.address).await;
        matches!(client.packet().await, Some((0, packet)) if packet[0] == 10)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_of_exactly_the_limit() {
    let limit = MAX_PAYLOAD + 1_000;
    let (fake, weir) = limited(&format!("max_packet_bytes = {limit}")).await;
    let mut sql = b"INSERT INTO t VALUES ('exactly') /*".to_vec();
    sql.resize(limit - 3, b'x');
    sql.extend(b"*/");
    let mut client = Client::login(&weir.address).await;
    assert_eq!(client.command(COM_QUERY, &sql).await, Outcome::Done);
    assert_eq!(fake.seen.count(std::str::from_utf8(&sql).unwrap()), 1);
    sql.insert(40, b'x');
    let outcome = client.command(COM_QUERY, &sql).await;
    let Outcome::Refused { code: 1153, words, .. } = outcome else { panic!("one byte more") };
    assert!(words.contains(&format!("[proxy] max_packet_bytes = {limit}")), "{words}");
    assert!(client.is_closed().await);
    crate::until("the log names it", async || {
        weir.log().contains(&format!("a packet of more than {limit} bytes"))
    })
    .await;
}

/// One packet of a client's file may have 64 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_of_a_local_file_that_is_too_large() {
    let (fake, weir) = limited("").await;
    let mut client = Client::login(&weir.address).await;
    client.send(0, b"\x03LOAD DATA LOCAL INFILE 'infile' INTO TABLE t").await;
    assert_eq!(client.packet().await, Some((1, b"\xFBa file".to_vec())));
    let piece = vec![b'x'; MAX_PAYLOAD];
    for seq in 2..6 {
        client.bytes(&[&Header { len: MAX_PAYLOAD, seq }.to_bytes(), &piece[..]].concat()).await;
    }
    client.bytes(&Header { len: 5_000, seq: 6 }.to_bytes()).await;
    let words = ["max_allowed_packet", "a client's file may come in pieces of 67108864"];
    refused(&mut client, 7, 1153, &words).await;
    let mut next = Client::login(&weir.address).await;
    assert_eq!(next.query("SELECT 'on'").await, Outcome::row("on"));
    fake.seen.assert_nothing_spoiled_lives().await;
}
