//! Clients that send what no driver sends. Each is answered or closed, and the next one is served.

use weir::wire::{Capabilities, ChangeUser, ErrPacket, Header, PutExt as _};

use crate::client::{
    COM_CHANGE_USER, COM_INIT_DB, COM_PING, COM_STMT_EXECUTE, Client, MODERN, Outcome,
};
use crate::fake::Fake;
use crate::weir_process::Weir;

async fn served(weir: &Weir) {
    let mut client = Client::login(&weir.address).await;
    assert_eq!(client.query("SELECT 'served'").await, Outcome::row("served"));
}

async fn one() -> (Fake, Weir) {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    (fake, weir)
}

/// The answer to a login: the error's number, 0 for OK, `None` for the end.
async fn verdict(client: &mut Client) -> Option<u16> {
    let (_, packet) = client.packet().await?;
    if ErrPacket::is(&packet) {
        return Some(ErrPacket::decode(&packet).unwrap().code);
    }
    Some(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_cut_short() {
    let (_fake, weir) = one().await;
    let whole = {
        let mut client = Client::greet(&weir.address).await;
        client.capabilities =
            MODERN.with(Capabilities::CONNECT_ATTRS).with(Capabilities::CONNECT_WITH_DB);
        client.response("app", "")
    };
    for length in 0..whole.len() {
        let mut client = Client::greet(&weir.address).await;
        client.send(1, &whole[..length]).await;
        let said = verdict(&mut client).await;
        // Fields at the end may be missing; those before, and part of one, may not.
        if length < "....mmmmc.......................app\0.".len() {
            assert_eq!(said, Some(1043), "{length}");
        } else {
            assert!(matches!(said, Some(0 | 1043)), "{length}: {said:?}");
        }
        // The same bytes under a header that promises all of them, then the end.
        let mut client = Client::greet(&weir.address).await;
        let header = Header { len: whole.len(), seq: 1 }.to_bytes();
        client.bytes(&[&header, &whole[..length]].concat()).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.socket).await.unwrap();
        assert_eq!(verdict(&mut client).await, None, "{length}");
    }
    served(&weir).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_of_other_kinds() {
    let (_fake, weir) = one().await;

    // HandshakeResponse320: two bytes of capabilities, three of packet size, user, NUL, scramble.
    let mut client = Client::greet(&weir.address).await;
    client.send(1, b"\x85\x24\0\0\0app\0abcdefgh\0").await;
    let said = verdict(&mut client).await;
    assert_eq!(said, Some(1043), "a login from before 4.1");
    assert!(client.is_closed().await);

    for seq in [0, 2, 255] {
        let mut client = Client::greet(&weir.address).await;
        let response = client.response("app", "");
        client.send(seq, &response).await;
        let said = verdict(&mut client).await;
        assert_eq!(said, Some(1156), "number {seq}");
        assert!(client.is_closed().await);
    }

    // A packet far too large for a login, a TLS record without an SSL request, and HTTP.
    for bytes in [
        b"\xFF\xFF\xFF\x01".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".repeat(50),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    ] {
        let mut client = Client::greet(&weir.address).await;
        client.bytes(&bytes).await;
        assert_ne!(verdict(&mut client).await, Some(0), "{bytes:?}");
    }

    // An SSL request, and then no TLS.
    let mut client = Client::greet(&weir.address).await;
    let mut request = Vec::new();
    request.put_u32(MODERN.with(Capabilities::SSL).0);
    request.put_u32(1 << 24);
    request.put_u8(45);
    request.put_zeros(23);
    client.send(1, &request).await;
    client.bytes(&[0x55; 200]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.socket).await.unwrap();
    while verdict_of_any_bytes(&mut client).await {}
    served(&weir).await;
}

/// Whether another byte comes (a TLS alert); false at the end.
async fn verdict_of_any_bytes(client: &mut Client) -> bool {
    let mut bytes = [0; 64];
    matches!(tokio::io::AsyncReadExt::read(&mut client.socket, &mut bytes).await, Ok(1..))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_are_none() {
    let (fake, weir) = one().await;
    let mut client = Client::login(&weir.address).await;
    // MySQL takes an empty packet for command 0, which it does not know.
    client.send(0, &[]).await;
    assert_eq!(client.answer().await.code(), Some(1047));
    assert_eq!(client.command(COM_PING, &[]).await, Outcome::Done);

    let mut unknown = 0;
    for code in
        [0, 5, 6, 7, 8, 10, 11, 15, 16, 18, 19, 20, 21, 29, 30].into_iter().chain(0x20..=255)
    {
        let outcome = client.command(code, b"\x01\x02\x03\x04\x05").await;
        assert_eq!(outcome.code(), Some(1047), "command {code:#x}: {outcome:?}");
        unknown += 1;
    }
    assert_eq!(unknown, 15 + 224);
    assert_eq!(client.query("SELECT 'lives'").await, Outcome::row("lives"));
    assert_eq!(fake.seen.reused.load(std::sync::atomic::Ordering::Relaxed), 0);

    for seq in [1, 7, 255] {
        let mut client = Client::login(&weir.address).await;
        client.send(seq, &[COM_PING]).await;
        let said = verdict(&mut client).await;
        assert_eq!(said, Some(1156), "number {seq}");
        assert!(client.is_closed().await);
    }
    served(&weir).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_cut_short() {
    let (_fake, weir) = one().await;
    let mut client = Client::login(&weir.address).await;
    let id = client.prepare("SELECT ? AS v").await.to_le_bytes();
    let rows = [&id[..], &[9, 0, 0, 0]].concat();
    for (name, code, whole) in [
        ("SET_OPTION", 0x1B, &b"\x01\0"[..]),
        ("PROCESS_KILL", 0x0C, b"\xFF\xFF\xFF\x7F"),
        ("FIELD_LIST", 0x04, b"table\0"),
        ("STMT_FETCH", 0x1C, &rows),
        ("STMT_RESET", 0x1A, &id),
        ("STMT_EXECUTE", 0x17, &id),
    ] {
        for length in 0..whole.len() {
            let outcome = client.command(code, &whole[..length]).await;
            assert_eq!(outcome.code(), Some(1835), "{name} {length}: {outcome:?}");
            let outcome = client.command(COM_PING, &[]).await;
            assert_eq!(outcome, Outcome::Done, "{name} {length}");
        }
    }
    // Whole, but of what is not there.
    for (code, body, error) in [
        (0x1B, &b"\x02\0"[..], 1047),
        (0x0C, b"\xFF\xFF\xFF\x7F", 1094),
        (0x1A, b"\x99\x99\x99\x99", 1243),
        (0x1C, b"\x99\x99\x99\x99\x01\0\0\0", 1243),
        (0x17, b"\x99\x99\x99\x99\0\x01\0\0\0", 1243),
    ] {
        let outcome = client.command(code, body).await;
        assert_eq!(outcome.code(), Some(error), "{code:#x} {body:?}: {outcome:?}");
    }
    // These are never answered.
    for (code, body) in [(0x19_u8, &b"\x01"[..]), (0x19, b""), (0x18, b"\x01\0\0"), (0x18, b"")] {
        client.send(0, &[&[code], body].concat()).await;
    }
    let mut pings = 0;
    while client.command(COM_PING, &[]).await != Outcome::Done {
        pings += 1;
        assert!(pings < 3, "an error of a command without answer comes once");
    }
    // Names and texts of no length.
    let outcome = client.command(COM_INIT_DB, b"").await;
    assert!(matches!(outcome, Outcome::Done | Outcome::Refused { .. }), "{outcome:?}");
    let outcome = client.query("").await;
    assert!(matches!(outcome, Outcome::Done | Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(client.query("SELECT 'lives'").await, Outcome::row("lives"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_cut_short() {
    let (_fake, weir) = one().await;
    let mut client = Client::login(&weir.address).await;
    let id = client.prepare("SELECT ? AS v").await;
    let mut whole = id.to_le_bytes().to_vec();
    // No cursor, one iteration, no NULL, types follow: LONGLONG.
    whole.extend(b"\0\x01\0\0\0\0\x01\x08\0");
    whole.extend(7_u64.to_le_bytes());
    assert!(matches!(client.command(COM_STMT_EXECUTE, &whole).await, Outcome::Rows(_)));
    for length in 0..whole.len() {
        let outcome = client.command(COM_STMT_EXECUTE, &whole[..length]).await;
        match outcome {
            Outcome::Refused { code, .. } => {
                assert_ne!(code, 1053, "{length}: the link to the server is not at fault");
            }
            // What only the server can know to be too short, it was asked; the fake says yes.
            Outcome::Rows(_) => assert!(length >= 13 - 4, "{length}"),
            other => panic!("{length}: {other:?}"),
        }
        assert_eq!(client.command(COM_PING, &[]).await, Outcome::Done, "{length}");
    }
    assert!(matches!(client.command(COM_STMT_EXECUTE, &whole).await, Outcome::Rows(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_user_cut_short() {
    let (_fake, weir) = one().await;
    let asked = ChangeUser {
        username: b"other".to_vec(),
        auth: Vec::new(),
        database: None,
        collation: 45,
        plugin: Some(b"caching_sha2_password".to_vec()),
        attributes: Vec::new(),
    };
    let mut whole = Vec::new();
    asked.encode(&mut whole, MODERN);
    for length in 1..=whole.len() {
        let mut client = Client::login(&weir.address).await;
        client.send(0, &whole[..length]).await;
        // A plugin's name cut short is another plugin: Weir asks for the one it knows.
        match client.packet().await {
            None => {}
            Some((_, packet)) if packet[0] == 0xFE => {}
            Some((_, packet)) if packet[0] == 0 => {
                assert!(length > 8, "{length}");
                assert_eq!(client.query("SELECT 'other'").await, Outcome::row("other"));
            }
            Some((_, packet)) => {
                let error = ErrPacket::decode(&packet).unwrap();
                assert!(length < whole.len(), "{error}");
            }
        }
    }
    assert_eq!(whole[0], COM_CHANGE_USER);
    served(&weir).await;
}

/// Commands in one segment, and one command in as many segments as it has bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_in_odd_segments() {
    let (_fake, weir) = one().await;
    let mut client = Client::login(&weir.address).await;
    let framed = |text: &str| {
        let mut bytes = Vec::new();
        weir::wire::frame(&mut bytes, &mut 0, format!("\x03SELECT '{text}'").as_bytes());
        bytes
    };
    let texts: Vec<String> = (0..50).map(|number| format!("number {number}")).collect();
    let all: Vec<u8> = texts.iter().flat_map(|text| framed(text)).collect();
    client.bytes(&all).await;
    for text in &texts {
        assert_eq!(client.answer().await, Outcome::row(text));
    }
    for byte in framed("in pieces") {
        client.bytes(&[byte]).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(client.answer().await, Outcome::row("in pieces"));
    // Half a command, then the end.
    let half = framed("half");
    client.bytes(&half[..half.len() / 2]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.socket).await.unwrap();
    assert!(client.is_closed().await);
    served(&weir).await;
}
