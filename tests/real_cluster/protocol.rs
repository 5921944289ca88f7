//! The protocol itself, byte by byte: every command, and what no driver would send.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::client::{connect, connect_tls, run, text};
use crate::support::cluster::{EMPTY, LIMITED, LIMITED_DATABASE, TESTER};
use crate::support::raw::{
    COM_FIELD_LIST, COM_INIT_DB, COM_PING, COM_PROCESS_KILL, COM_QUERY, COM_QUIT,
    COM_RESET_CONNECTION, COM_SET_OPTION, COM_STATISTICS, DEPRECATE_EOF, FOUND_ROWS,
    IN_TRANSACTION, LOCAL_FILES, MORE_RESULTS, MULTI_STATEMENTS, Raw, ResultSet, USUAL,
};
use crate::support::{TestCluster, Weir, direct, until};

const DATABASE: &str = "protocol";

/// The database of these tests, and Weir that knows the account.
async fn ready() -> (&'static TestCluster, Weir) {
    let cluster = TestCluster::shared().await;
    cluster
        .on_primary(&[
            "CREATE DATABASE IF NOT EXISTS protocol",
            "CREATE TABLE IF NOT EXISTS protocol.t (id INT PRIMARY KEY, v VARCHAR(20) DEFAULT 'x')",
            "CREATE TABLE IF NOT EXISTS protocol.numbered (id INT AUTO_INCREMENT PRIMARY KEY)",
            "INSERT IGNORE INTO protocol.t VALUES (1, 'one'), (2, 'two'), (3, NULL)",
        ])
        .await;
    let weir = Weir::start(cluster);
    for address in [&cluster.servers[0], &weir.address] {
        connect_tls(address, TESTER, None).await.unwrap();
        connect_tls(address, LIMITED, None).await.unwrap();
    }
    (cluster, weir)
}

/// That Weir lives and serves.
async fn serves(weir: &Weir) {
    assert!(weir.alive(), "Weir is gone:\n{}", weir.log());
    let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
    assert_eq!(
        raw.rows("SELECT COUNT(*) FROM t WHERE id <= 3").await[0][0].as_deref(),
        Some(&b"3"[..])
    );
}

#[tokio::test]
async fn unknown_commands_are_refused_and_the_session_lives_on() {
    let (_, weir) = ready().await;
    let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
    raw.query("SET @kept = 7").await.unwrap();
    // 0x05, 0x06, 0x0b, 0x0f, 0x10 and 0x1d are commands that no server takes any more or from clients.
    for code in [0x00, 0x05, 0x06, 0x0b, 0x0f, 0x10, 0x1d, 0x22, 0x40, 0x7f, 0x80, 0xfe, 0xff] {
        let refusal = raw.simple(code, b"whatever").await.unwrap_err();
        assert_eq!((refusal.code, refusal.state.as_str()), (1047, "08S01"), "command {code:#x}");
        assert_eq!(refusal.message, "Unknown command");
        assert_eq!(raw.last_sequence(), 1, "command {code:#x}");
    }
    assert_eq!(raw.rows("SELECT @kept").await[0][0].as_deref(), Some(&b"7"[..]));
}

/// Commands that are not statements answer as the server's do.
#[tokio::test]
async fn every_command_answers_as_on_the_server() {
    let (cluster, weir) = ready().await;
    let mut seen = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        let mut raw = Raw::login(address, TESTER, DATABASE).await;
        let mut all: Vec<String> = Vec::new();
        all.push(format!("{:?}", raw.simple(COM_PING, b"").await.unwrap()));
        schemas(&mut raw, &mut all).await;
        raw.command(COM_STATISTICS, b"").await;
        let statistics = String::from_utf8(raw.packet().await.unwrap()).unwrap();
        assert!(statistics.starts_with("Uptime: "), "{statistics}");
        for (what, expected) in
            [(&b"t\0%"[..], Ok(2)), (b"t\0v", Ok(1)), (b"no_such_table\0", Err(1146))]
        {
            raw.command(COM_FIELD_LIST, what).await;
            let fields = raw.fetch_rows(ResultSet::default()).await;
            let short = fields.as_ref().map(|fields| fields.rows.len());
            assert_eq!(short.map_err(|refusal| refusal.code), expected, "{address}: {fields:?}");
            all.push(format!("{fields:?}"));
        }
        // Multi-statements are off, on, off again.
        assert_eq!(raw.query("SELECT 1; SELECT 2").await.unwrap_err().code, 1064);
        set_option(&mut raw, 0, None, &mut all).await;
        let first = raw.query("SELECT 1; SELECT 2").await.unwrap();
        assert!(first.status & MORE_RESULTS != 0);
        all.push(format!("{:?} {:?}", first, raw.result().await.unwrap()));
        set_option(&mut raw, 1, None, &mut all).await;
        set_option(&mut raw, 9, Some(1047), &mut all).await;
        for (sql, code) in [
            ("SELECT 1; SELECT 2", Some(1064)),
            ("", Some(1065)),
            (" ; ", Some(1065)),
            ("-- only a comment", None),
        ] {
            let answer = raw.query(sql).await;
            let refused = answer.as_ref().err().map(|refusal| refusal.code);
            assert_eq!(refused, code, "{address}: {sql:?}: {answer:?}");
            all.push(format!("{answer:?}"));
        }
        let rows =
            raw.query("SELECT id, v, NULL, 1.5 FROM t WHERE id <= 3 ORDER BY id").await.unwrap();
        assert_eq!((rows.columns.len(), rows.rows.len()), (4, 3));
        all.push(format!("{rows:?}"));
        all.push(format!("{:?}", raw.query("BEGIN").await.unwrap()));
        let inside = raw.query("SELECT * FROM t WHERE id = 1").await.unwrap();
        assert!(inside.status & IN_TRANSACTION != 0);
        let ended = raw.query("ROLLBACK").await.unwrap();
        assert_eq!(ended.status & IN_TRANSACTION, 0);
        all.push(format!("{inside:?} {ended:?}"));
        all.push(format!("{:?}", raw.query("UPDATE t SET v = v WHERE id = 1").await.unwrap()));
        assert_eq!(raw.query("SELECT CAST('x' AS SIGNED)").await.unwrap().warnings, 1);
        let made = raw.query("INSERT INTO numbered VALUES (), ()").await.unwrap();
        let asked = raw.rows("SELECT LAST_INSERT_ID()").await;
        assert_eq!(asked[0][0].as_deref(), Some(made.insert_id.to_string().as_bytes()));
        raw.command(COM_QUIT, b"").await;
        assert!(raw.closes_within(Duration::from_secs(5)).await);
        seen.push(all);
    }
    for (line, (server, weir)) in seen[0].iter().zip(&seen[1]).enumerate() {
        assert_eq!(server, weir, "answer {line}");
    }
}

/// COM_INIT_DB: what it answers, and which schema the session is in after it.
async fn schemas(raw: &mut Raw, all: &mut Vec<String>) {
    for (name, code) in [
        ("information_schema", None),
        ("no_such_database", Some(1049)),
        ("", Some(1046)),
        (DATABASE, None),
    ] {
        let answer = raw.simple(COM_INIT_DB, name.as_bytes()).await;
        assert_eq!(answer.as_ref().err().map(|refusal| refusal.code), code, "{name:?}: {answer:?}");
        let stays = if code.is_some() { "information_schema" } else { name };
        let schema = raw.rows("SELECT DATABASE()").await;
        assert_eq!(schema, [[Some(stays.as_bytes().to_vec())]], "after {name:?}");
        // Its count of warnings is what the statement before left behind on the connection: no part of this answer.
        all.push(format!("{:?}", answer.map(|answer| ResultSet { warnings: 0, ..answer })));
    }
}

async fn set_option(raw: &mut Raw, option: u16, refused: Option<u16>, all: &mut Vec<String>) {
    raw.command(COM_SET_OPTION, &option.to_le_bytes()).await;
    let packet = raw.packet().await.unwrap();
    let code = (packet[0] == 0xff).then(|| u16::from_le_bytes([packet[1], packet[2]]));
    assert_eq!(code, refused, "option {option}: {packet:?}");
    // An EOF's count of warnings is what the statement before left behind: no part of this answer.
    let shown = if packet[0] == 0xfe { [&packet[..1], &packet[3..]].concat() } else { packet };
    all.push(format!("{shown:?}"));
}

/// Capabilities change how the same answer looks.
#[tokio::test]
async fn answers_fit_the_clients_capabilities() {
    let (cluster, weir) = ready().await;
    for flags in [
        USUAL,
        USUAL | DEPRECATE_EOF,
        USUAL | FOUND_ROWS,
        USUAL | MULTI_STATEMENTS,
        USUAL | DEPRECATE_EOF | MULTI_STATEMENTS,
    ] {
        let mut seen = Vec::new();
        for address in [&cluster.servers[0], &weir.address] {
            let mut raw = Raw::login_with(address, TESTER, DATABASE, flags).await;
            let mut all = Vec::new();
            for sql in [
                "SELECT * FROM t WHERE id <= 3 ORDER BY id",
                "SELECT * FROM t WHERE id = 99",
                "UPDATE t SET v = 'one' WHERE id = 1",
                "SELECT * FROM no_such",
                "SELECT 1; SELECT 2",
            ] {
                let mut answer = raw.query(sql).await;
                let mut more =
                    answer.as_ref().is_ok_and(|result| result.status & MORE_RESULTS != 0);
                all.push(format!("{sql}: {answer:?}"));
                while more {
                    answer = raw.result().await;
                    more = answer.as_ref().is_ok_and(|result| result.status & MORE_RESULTS != 0);
                    all.push(format!("{sql} more: {answer:?}"));
                }
            }
            seen.push(all);
        }
        assert_eq!(seen[0], seen[1], "capabilities {flags:#x}");
    }
}

/// Commands that arrive before the answer to the one before are answered in order.
#[tokio::test]
async fn commands_in_one_segment_are_answered_in_order() {
    let (_, weir) = ready().await;
    let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
    for round in 0..20 {
        let mut bytes = Vec::new();
        for number in 0..10 {
            let sql = match number % 4 {
                0 => format!("SELECT '{round}-{number}' FROM t WHERE id = 1"),
                1 => format!("SELECT '{round}-{number}' FROM t WHERE id = 1 FOR UPDATE"),
                2 => format!("SELECT '{round}-{number}'"),
                _ => format!("SELECT '{round}-{number}', @a := 1"),
            };
            let length = u32::try_from(sql.len() + 1).unwrap().to_le_bytes();
            bytes.extend([length[0], length[1], length[2], 0, COM_QUERY]);
            bytes.extend(sql.as_bytes());
        }
        raw.bytes(&bytes).await.unwrap();
        for number in 0..10 {
            let result = raw.result().await.unwrap();
            let value = crate::support::raw::text_row(&result.rows[0])[0].clone().unwrap();
            assert_eq!(String::from_utf8(value).unwrap(), format!("{round}-{number}"));
        }
    }
}

#[tokio::test]
async fn a_reset_forgets_the_session() {
    let (_, weir) = ready().await;
    let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
    for _ in 0..3 {
        let id = raw.prepare("SELECT 1").await.unwrap().id;
        raw.query("SET @gone = 1, time_zone = '+03:00'").await.unwrap();
        raw.query("CREATE TEMPORARY TABLE gone (a INT)").await.unwrap();
        raw.query("BEGIN").await.unwrap();
        raw.query("UPDATE t SET v = 'lost' WHERE id = 2").await.unwrap();
        let status = raw.simple(COM_RESET_CONNECTION, b"").await.unwrap().status;
        assert_eq!(status & IN_TRANSACTION, 0);
        assert_eq!(raw.execute(id, &[]).await.unwrap_err().code, 1243);
        let row =
            raw.rows("SELECT @gone, @@time_zone = @@global.time_zone, DATABASE()").await.remove(0);
        assert_eq!(row, [None, Some(b"1".to_vec()), Some(DATABASE.as_bytes().to_vec())]);
        assert_eq!(raw.query("SELECT * FROM gone").await.unwrap_err().code, 1146);
        assert_eq!(
            raw.rows("SELECT v FROM t WHERE id = 2 FOR SHARE").await[0][0].as_deref(),
            Some(&b"two"[..])
        );
    }
}

#[tokio::test]
async fn change_user_by_hand() {
    let (_, weir) = ready().await;
    let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
    raw.query("SET @gone = 1").await.unwrap();
    raw.query("BEGIN").await.unwrap();
    for (login, database) in [(LIMITED, LIMITED_DATABASE), (EMPTY, DATABASE), (TESTER, "")] {
        raw.change_user(login, database).await.unwrap();
        let row = raw.rows("SELECT CURRENT_USER(), DATABASE(), @gone").await.remove(0);
        assert_eq!(row[0].as_deref(), Some(format!("{}@%", login.user).as_bytes()));
        assert_eq!(row[1].as_deref(), Some(database.as_bytes()).filter(|name| !name.is_empty()));
        assert_eq!(row[2], None);
    }
    let refusal = raw.change_user(LIMITED, "mysql").await.unwrap_err();
    assert_eq!(refusal.code, 1044);
}

/// KILL by each way there is, of one's own account and across Weir's own connection ids.
#[tokio::test]
async fn a_running_query_can_be_killed() {
    let (_, weir) = ready().await;
    for way in ["KILL QUERY {id}", "KILL CONNECTION {id}", "KILL {id}", "command"] {
        let mut victim = Raw::login(&weir.address, TESTER, DATABASE).await;
        let id = victim.thread;
        assert_eq!(
            victim.rows("SELECT CONNECTION_ID()").await[0][0].as_deref(),
            Some(id.to_string().as_bytes()),
            "the greeting's thread id is the session's"
        );
        let start = Instant::now();
        let sleeping = tokio::spawn(async move {
            let answer = victim.query("SELECT v, SLEEP(30) FROM t WHERE id = 1").await;
            (victim, answer)
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mut killer = Raw::login(&weir.address, TESTER, DATABASE).await;
        if way == "command" && direct() {
            // The servers of today take it no more; Weir still does for old clients.
            killer.query(&format!("KILL {id}")).await.unwrap();
        } else if way == "command" {
            killer.simple(COM_PROCESS_KILL, &id.to_le_bytes()).await.unwrap();
        } else {
            killer.query(&way.replace("{id}", &id.to_string())).await.unwrap();
        }
        let ended = tokio::time::timeout(Duration::from_secs(20), sleeping)
            .await
            .expect("the query runs on");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(15), "{way}: ended after {took:?}");
        match ended {
            // An interrupted SLEEP is 1, an interrupted statement is error 1317: the server's choice.
            Ok((mut victim, answer)) => {
                match answer {
                    Ok(result) => assert!(result.rows.len() <= 1),
                    Err(refusal) => {
                        assert!([1317, 1053].contains(&refusal.code), "{way}: {refusal:?}")
                    }
                }
                if way.contains("QUERY") {
                    assert_eq!(victim.rows("SELECT 5").await[0][0].as_deref(), Some(&b"5"[..]));
                } else {
                    assert!(
                        victim.closes_within(Duration::from_secs(10)).await,
                        "{way}: still connected"
                    );
                }
            }
            // The link ended before an answer did.
            Err(panicked) => assert!(panicked.is_panic() && !way.contains("QUERY"), "{way}"),
        }
        assert_eq!(killer.query("KILL QUERY 4000000000").await.unwrap_err().code, 1094);
        serves(&weir).await;
    }
    // Not for those who may not.
    let mut other = Raw::login(&weir.address, LIMITED, LIMITED_DATABASE).await;
    let mine = Raw::login(&weir.address, TESTER, DATABASE).await;
    assert_eq!(other.query(&format!("KILL {}", mine.thread)).await.unwrap_err().code, 1095);
}

/// LOAD DATA LOCAL, answered by hand: with nothing, in pieces, and by a client that goes away.
#[tokio::test]
async fn local_files_by_hand() {
    let (_, weir) = ready().await;
    let mut admin = connect(&weir.address, TESTER, Some(DATABASE)).await.unwrap();
    run(&mut admin, "CREATE TABLE IF NOT EXISTS loaded (a INT)").await;
    run(&mut admin, "TRUNCATE TABLE loaded").await;
    let sql = b"LOAD DATA LOCAL INFILE 'anything' INTO TABLE loaded";
    let mut raw = Raw::login_with(&weir.address, TESTER, DATABASE, USUAL | LOCAL_FILES).await;
    for pieces in [&[][..], &[&b"1\n2\n"[..]], &[b"3\n4", b"\n", b"5\n6"]] {
        raw.command(COM_QUERY, sql).await;
        let request = raw.packet().await.unwrap();
        assert_eq!(request, [&[0xfb], &b"anything"[..]].concat());
        for piece in pieces {
            raw.send(piece).await.unwrap();
        }
        raw.send(b"").await.unwrap();
        let done = raw.result().await.unwrap();
        let lines =
            pieces.concat().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(done.affected, u64::try_from(lines).unwrap());
    }
    assert_eq!(text(&mut admin, "SELECT SUM(a) FROM loaded").await, "21");
    raw.command(COM_QUERY, sql).await;
    raw.packet().await.unwrap();
    raw.send(b"100\n").await.unwrap();
    drop(raw);
    serves(&weir).await;
}

/// Bytes that are no packet, no login, no command: an error or the end, and everybody else is served.
#[tokio::test]
async fn malformed_bytes_harm_nobody() {
    let (_, weir) = ready().await;
    let mut other = Raw::login(&weir.address, TESTER, DATABASE).await;
    let logins: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\x01\0\0\x01",
        b"\0\0\0\x01",
        b"\x01\0\0\x01\x85",
        b"\x04\0\0\x01\x85\xa6\xff\x01",
        b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x21\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0u",
        b"\x24\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0u\0\xfe\xff",
        b"\x20\0\0\x07\xff\xff\xff\xff\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\x01GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n",
    ];
    for bytes in logins {
        let mut raw = Raw::greet(&weir.address).await.unwrap();
        let _may_be_closed = raw.bytes(bytes).await;
        raw.finish().await;
        assert!(raw.closes_within(Duration::from_secs(20)).await, "login {bytes:?}");
        other.query("SELECT 1").await.unwrap();
    }
    let commands: [&[u8]; 14] = [
        b"\0\0\0\0",
        b"\x01\0\0\x05\x03",
        b"\x01\0\0\0\x03",
        b"\x01\0\0\0\x02",
        b"\x01\0\0\0\x04",
        b"\x01\0\0\0\x0c",
        b"\x01\0\0\0\x11",
        b"\x03\0\0\0\x11u\0",
        b"\x01\0\0\0\x16",
        b"\x01\0\0\0\x17",
        b"\x06\0\0\0\x17\x01\0\0\0\0",
        b"\x01\0\0\0\x18",
        b"\x01\0\0\0\x1c",
        b"\xff\xff\xff\0\x03SELECT 1",
    ];
    for bytes in commands {
        let mut raw = Raw::login(&weir.address, TESTER, DATABASE).await;
        let _may_be_closed = raw.bytes(bytes).await;
        raw.finish().await;
        assert!(raw.closes_within(Duration::from_secs(20)).await, "command {bytes:?}");
        other.query("SELECT 1").await.unwrap();
    }
    serves(&weir).await;
}

#[tokio::test]
async fn a_client_that_stops_in_its_login_is_closed() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start_with(cluster, "handshake_seconds = 2", "");
    let limit = Duration::from_secs(if direct() { 15 } else { 6 });
    let mut silent = Raw::greet(&weir.address).await.unwrap();
    let mut halfway = Raw::greet(&weir.address).await.unwrap();
    halfway.bytes(b"\x50\0\0\x01\x85\xa6").await.unwrap();
    let (one, two) = tokio::join!(silent.closes_within(limit), halfway.closes_within(limit));
    assert!(one && two, "still open after {limit:?}: silent {one}, halfway {two}");
    connect(&weir.address, TESTER, None).await.unwrap();
    if !direct() {
        let log = weir.log();
        assert!(
            log.contains("handshake_seconds") || log.contains("login"),
            "the log names no limit:\n{log}"
        );
    }
}

/// 10,000 connection attempts: closed at once, after the greeting, or left to the peer.
#[tokio::test]
async fn ten_thousand_attempts() {
    let (_, weir) = ready().await;
    let (attempts, at_once) = if direct() { (1000, 20) } else { (10_000, 100) };
    let memory = weir.rss_kb();
    let files = weir.open_files();
    let tasks = (0..at_once).map(|task| {
        let address = weir.address.clone();
        tokio::spawn(async move {
            for attempt in 0..attempts / at_once {
                let mut socket = TcpStream::connect(&address).await.unwrap();
                if (task + attempt) % 3 != 0 {
                    let mut header = [0; 4];
                    socket.read_exact(&mut header).await.unwrap();
                }
                if (task + attempt) % 3 == 2 {
                    let _sent =
                        tokio::io::AsyncWriteExt::write_all(&mut socket, b"\x03\0\0\x01abc").await;
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    serves(&weir).await;
    if !direct() {
        until("sockets of clients that are gone to be closed", async || {
            weir.open_files() <= files + 30
        })
        .await;
        let grown = weir.rss_kb().saturating_sub(memory);
        assert!(grown < 40_000, "{grown} KiB more after {attempts} attempts");
    }
}

#[tokio::test]
async fn too_many_clients_are_told_so() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let weir = Weir::start_with(cluster, "max_connections = 10", "");
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(connect(&weir.address, TESTER, None).await.unwrap());
    }
    let refused = Raw::greet(&weir.address).await.expect_err("the eleventh client");
    assert!(refused.to_string().starts_with("1040 "), "{refused}");
    assert!(refused.to_string().contains("max_connections"), "{refused}");
    clients.pop().unwrap().disconnect().await.unwrap();
    until("room for one more", async || connect(&weir.address, TESTER, None).await.is_ok()).await;
}

#[tokio::test]
async fn packets_over_the_limit_are_refused() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let weir = Weir::start_with(cluster, "max_packet_bytes = 1000000", "");
    let mut raw = {
        connect_tls(&weir.address, TESTER, None).await.unwrap();
        Raw::login(&weir.address, TESTER, "mysql").await
    };
    raw.query(&format!("SELECT LENGTH('{}')", "x".repeat(900_000))).await.unwrap();
    let long = format!("SELECT LENGTH('{}')", "x".repeat(1_100_000));
    raw.command(COM_QUERY, long.as_bytes()).await;
    let refusal = raw.result().await.unwrap_err();
    assert_eq!((refusal.code, refusal.state.as_str()), (1153, "08S01"));
    assert!(refusal.message.contains("max_packet_bytes"), "{refusal:?}");
    serves_anyone(&weir).await;
}

async fn serves_anyone(weir: &Weir) {
    let mut conn = connect(&weir.address, TESTER, None).await.unwrap();
    assert_eq!(text(&mut conn, "SELECT 1").await, "1");
}
