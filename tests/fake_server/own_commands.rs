//! Ugly answers to what Weir itself sends on a server connection (to bring it to a session's state, to prepare a
//! statement there), and to the commands of clients that are no queries.

use std::sync::atomic::Ordering;

use weir::wire::auth::PLUGIN_SHA2;

use crate::client::{
    COM_FIELD_LIST, COM_INIT_DB, COM_STMT_EXECUTE, COM_STMT_FETCH, COM_STMT_PREPARE, Client,
    LATIN1, MODERN, Outcome,
};
use crate::fake::Fake;
use crate::replicas::pair_as;
use crate::weir_process::Weir;

const LOST: u16 = 1053;

/// What no server does. After these nothing can be had from the connection.
const BROKEN: [&str; 7] =
    ["close_first", "close_half", "huge_header", "garbage", "wrong_seq", "empty", "extra_packet"];

/// A way to have Weir send a command of its own ahead of the client's.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// SET, for a client with another character set than the connection's last one.
    Set,
    /// INIT_DB, for a client in another schema.
    InitDb,
    /// The question for the last client's insert id.
    InsertId,
}

impl Way {
    fn begins(self) -> &'static str {
        match self {
            Self::Set => "SET SESSION `character_set_client`",
            Self::InitDb => "INIT_DB two",
            Self::InsertId => "SELECT LAST_INSERT_ID()",
        }
    }
}

/// One client whose connection is the one that is in the pool, and one that will need it brought to its state.
struct Stage {
    first: Client,
    second: Client,
}

impl Stage {
    async fn new(weir: &Weir) -> Self {
        let mut first = Client::login(&weir.address).await;
        let mut second = Client::greet(&weir.address).await;
        second.collation = LATIN1;
        second.prove(PLUGIN_SHA2, "app", "").await.unwrap();
        assert_eq!(first.command(COM_INIT_DB, b"one").await, Outcome::Done);
        assert_eq!(second.command(COM_INIT_DB, b"two").await, Outcome::Done);
        Self { first, second }
    }
}

/// Both servers' clients agree after the trap: each gets its own rows and nothing is used that was spoiled.
async fn all_is_well(stage: &mut Stage, fakes: &[&Fake], what: &str) {
    for turn in 0..3 {
        for (client, name) in [(&mut stage.first, "first"), (&mut stage.second, "second")] {
            let mine = format!("{name} after {what} {turn}");
            assert_eq!(client.query(&format!("SELECT '{mine}'")).await, Outcome::row(&mine));
        }
    }
    for fake in fakes {
        fake.seen.assert_nothing_spoiled_lives().await;
    }
}

/// Through one server: a write is not sent behind a broken answer, but once, on another connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_not_sent_behind_an_ugly_answer() {
    for way in [Way::Set, Way::InitDb, Way::InsertId] {
        for script in BROKEN.into_iter().chain(["extra", "err", "err_mid_result", "stopping"]) {
            // Each time from the start: one worker with one connection, which both clients use in turn.
            let fake = Fake::primary().await;
            let weir = Weir::start_as(&[&fake.address], "workers = 1", "");
            let what = format!("{way:?} {script}");
            let mut stage = Stage::new(&weir).await;
            let insert = "INSERT INTO t VALUES ('id 41')";
            assert_eq!(stage.first.query(insert).await, Outcome::Done, "{what}");
            fake.seen.set_trap(way.begins(), script);
            let sql = format!("INSERT INTO t VALUES ('{what}')");
            let outcome = stage.second.query(&sql).await;
            assert!(fake.seen.trap_is_sprung(), "{what}: {outcome:?}");
            if matches!((way, script), (Way::Set | Way::InitDb, "err")) {
                assert_eq!(outcome.code(), Some(1146), "{what}: {outcome:?}");
                assert_eq!(fake.seen.count(&sql), 0, "{what}");
            } else {
                assert_eq!(outcome, Outcome::Done, "{what}");
                assert_eq!(fake.seen.count(&sql), 1, "{what}");
            }
            all_is_well(&mut stage, &[&fake], &what).await;
        }
    }
}

/// A read is sent in one write with what it needs; the replica's ugly answer is not seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_behind_an_ugly_answer_is_run_elsewhere() {
    for way in [Way::Set, Way::InitDb] {
        for script in BROKEN.into_iter().chain(["err", "err_mid_result"]) {
            let what = format!("{way:?} {script}");
            let (primary, replica, weir) = pair_as("workers = 1").await;
            let mut stage = Stage::new(&weir).await;
            replica.seen.set_trap(way.begins(), script);
            let sql = format!("SELECT '{what}'");
            assert_eq!(stage.second.query(&sql).await, Outcome::row(&what));
            assert!(replica.seen.trap_is_sprung(), "{what}");
            assert_eq!(primary.seen.count(&sql), 1, "{what}");
            all_is_well(&mut stage, &[&primary, &replica], &what).await;
        }
    }
}

/// Has the second client's statement prepared on another connection than before, which answers by the script: its
/// outcome, when it was executed there.
async fn prepared_elsewhere(weir: &Weir, stage: &mut Stage, fake: &Fake, script: &str) -> Outcome {
    let (_, execute) = prepared(&mut stage.second, script).await;
    fake.seen.set_trap(&format!("PREPARE SELECT ? AS v /* {script} */"), script);
    let mut holders = Vec::new();
    loop {
        assert!(holders.len() < 20, "{script}: always the connection that knows it");
        let mut holder = Client::greet(&weir.address).await;
        holder.collation = LATIN1;
        holder.prove(PLUGIN_SHA2, "app", "").await.unwrap();
        assert_eq!(holder.command(COM_INIT_DB, b"two").await, Outcome::Done);
        // Read-only ones hold a replica's connection, if there is one.
        let begin = if holders.len() % 2 == 0 { "START TRANSACTION READ ONLY" } else { "BEGIN" };
        assert_eq!(holder.query(begin).await, Outcome::Done);
        assert_eq!(holder.query("SELECT 'held'").await, Outcome::row("held"));
        holders.push(holder);
        let outcome = stage.second.command(COM_STMT_EXECUTE, &execute).await;
        if fake.seen.trap_is_sprung() {
            let again = stage.second.command(COM_STMT_EXECUTE, &execute).await;
            assert!(matches!(again, Outcome::Rows(ref rows) if rows.len() == 1), "{again:?}");
            return outcome;
        }
        assert!(matches!(outcome, Outcome::Rows(ref rows) if rows.len() == 1), "{outcome:?}");
    }
}

/// A statement that the client prepared on one connection, and that Weir prepares on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_prepared_again() {
    let fake = Fake::primary().await;
    let weir = Weir::start_as(&[&fake.address], "workers = 1", "");
    for script in BROKEN.into_iter().chain(["extra", "err", "stopping"]) {
        let mut stage = Stage::new(&weir).await;
        let outcome = prepared_elsewhere(&weir, &mut stage, &fake, script).await;
        match script {
            "err" => assert_eq!(outcome.code(), Some(1146), "{outcome:?}"),
            // It was not executed yet.
            _ => assert!(matches!(&outcome, Outcome::Rows(rows) if rows.len() == 1), "{outcome:?}"),
        }
        all_is_well(&mut stage, &[&fake], script).await;
    }
}

/// The same where the statement may run elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_prepared_again_is_run_elsewhere() {
    let (primary, replica, weir) = pair_as("workers = 1").await;
    for script in BROKEN.into_iter().chain(["extra", "err"]) {
        let mut stage = Stage::new(&weir).await;
        let outcome = prepared_elsewhere(&weir, &mut stage, &replica, script).await;
        assert!(matches!(outcome, Outcome::Rows(ref rows) if rows.len() == 1), "{outcome:?}");
        all_is_well(&mut stage, &[&primary, &replica], script).await;
    }
}

/// A statement of one parameter, and the packet's body that executes it.
async fn prepared(client: &mut Client, comment: &str) -> (u32, Vec<u8>) {
    let id = client.prepare(&format!("SELECT ? AS v /* {comment} */")).await;
    let mut execute = id.to_le_bytes().to_vec();
    execute.extend(b"\0\x01\0\0\0\0\x01\x08\0");
    execute.extend(7_u64.to_le_bytes());
    (id, execute)
}

/// A new connection has its trackers turned on. A link that breaks there is as one that cannot be made: the login waits
/// for a primary. A server that speaks nonsense is not asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_when_it_is_new() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (script, is_in) in [
        ("close_first", true),
        ("close_half", true),
        ("huge_header", true),
        ("err", true),
        ("garbage", false),
        ("wrong_seq", false),
        ("empty", false),
        ("extra_packet", false),
        ("err_mid_result", false),
    ] {
        fake.seen.set_trap("SET SESSION session_track_schema", script);
        let user = format!("user of {script}");
        let mut client = Client::greet(&weir.address).await;
        let outcome = client.prove(PLUGIN_SHA2, &user, "").await;
        assert!(fake.seen.trap_is_sprung(), "{script}: {outcome:?}");
        if is_in {
            assert!(outcome.is_ok(), "{script}: {outcome:?}");
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.code, 1105, "{script}: {error}");
            assert!(error.message.starts_with(b"Weir cannot ask the server"), "{error}");
            client = Client::login_as(&weir.address, &user, "", MODERN).await;
        }
        assert_eq!(client.query(&format!("SELECT '{user}'")).await, Outcome::row(&user));
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// What a connection says when nobody asked is no answer to the next statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_that_babbles() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (script, next) in
        [("extra", "SELECT 'mine'"), ("extra_late", "SELECT 'mine'"), ("extra_late", "COMMIT")]
    {
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query("BEGIN").await, Outcome::Done);
        let text = format!("{script} {next}").replace('\'', "");
        assert_eq!(client.query(&format!("SELECT '{text}'")).await, Outcome::row(&text));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let outcome = client.query(next).await;
        let Outcome::Refused { code: LOST, ref words, rows: 0 } = outcome else {
            panic!("{script}, then {next}: {outcome:?}");
        };
        assert!(!words.contains("is not known"), "{words}");
        assert!(client.is_closed().await, "its transaction is gone");
        assert_eq!(fake.seen.count(next), 0, "{next}");
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// What a server says before it closes a held connection reaches its client, as after `wait_timeout`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_that_is_closed_with_a_word() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for next in ["SELECT 'mine'", "INSERT INTO t VALUES ('mine')"] {
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query("BEGIN").await, Outcome::Done);
        let text = format!("farewell {}", next.replace('\'', ""));
        assert_eq!(client.query(&format!("SELECT '{text}'")).await, Outcome::row(&text));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let outcome = client.query(next).await;
        let Outcome::Refused { code: 4031, rows: 0, .. } = outcome else {
            panic!("{next}: {outcome:?}");
        };
        assert!(client.is_closed().await, "its transaction is gone");
        assert_eq!(fake.seen.count(next), 0, "{next}");
        // Bound to nothing, it notices nothing.
        let mut client = Client::login(&weir.address).await;
        assert_eq!(client.query(&format!("SELECT '{text}'")).await, Outcome::row(&text));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(client.query("SELECT 'again'").await, Outcome::row("again"));
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// COM_STMT_PREPARE and COM_FIELD_LIST of the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_that_are_ugly() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for (begins, code, body) in [
        ("PREPARE", COM_STMT_PREPARE, &b"SELECT ? AS v"[..]),
        ("FIELD_LIST", COM_FIELD_LIST, b"t\0%"),
    ] {
        for script in BROKEN.into_iter().chain(["extra", "err"]) {
            let mut client = Client::login(&weir.address).await;
            fake.seen.set_trap(begins, script);
            client.send(0, &[&[code], body].concat()).await;
            let mut packets = 0;
            let ended = loop {
                let Some((seq, packet)) = client.packet().await else { break None };
                packets += 1;
                assert_eq!(seq, packets, "{begins} {script}");
                assert!(!packet.windows(7).any(|words| words == b"another"), "{begins} {script}");
                if packet[0] == 0xFF {
                    break Some(weir::wire::ErrPacket::decode(&packet).unwrap().code);
                }
                let is_whole =
                    if code == COM_STMT_PREPARE { packets == 3 } else { packet[0] == 0xFE };
                if is_whole {
                    break Some(0);
                }
            };
            assert!(fake.seen.trap_is_sprung(), "{begins} {script}");
            match script {
                "extra" | "extra_packet" => assert_eq!(ended, Some(0), "{begins} {script}"),
                "err" => assert_eq!(ended, Some(1146), "{begins} {script}"),
                _ => assert!(matches!(ended, Some(LOST) | None), "{begins} {script}: {ended:?}"),
            }
            if ended.is_none() {
                client = Client::login(&weir.address).await;
            }
            let after = format!("after {begins} {script}");
            let outcome = client.query(&format!("SELECT '{after}'")).await;
            if matches!(outcome, Outcome::Closed { .. }) {
                assert_eq!(ended, Some(LOST), "{begins} {script}");
                client = Client::login(&weir.address).await;
            } else {
                assert_eq!(outcome, Outcome::row(&after));
            }
            assert_eq!(client.query("SELECT 'more'").await, Outcome::row("more"));
        }
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// COM_STMT_FETCH: its cursor is on one connection, and gone with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_cursor_that_are_ugly() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for script in ["right", "close_first", "close_half", "garbage", "wrong_seq", "extra", "err"] {
        let mut client = Client::login_as(&weir.address, "app", "", MODERN).await;
        let (id, mut execute) = prepared(&mut client, script).await;
        execute[4] = 1;
        assert_eq!(client.command(COM_STMT_EXECUTE, &execute).await, Outcome::Rows(Vec::new()));
        if script != "right" {
            fake.seen.set_trap("FETCH", script);
        }
        client.send(0, &[&[COM_STMT_FETCH], &id.to_le_bytes()[..], &[9, 0, 0, 0]].concat()).await;
        let mut got = Vec::new();
        while let Some((seq, packet)) = client.packet().await {
            got.push(packet);
            assert_eq!(usize::from(seq), got.len(), "{script}");
            if matches!(got.last().unwrap()[0], 0xFE | 0xFF) {
                break;
            }
        }
        assert!(fake.seen.trap_is_sprung(), "{script}");
        let code = got.last().filter(|packet| packet[0] == 0xFF);
        let code = code.map(|packet| u16::from_le_bytes([packet[1], packet[2]]));
        match script {
            "right" | "extra" => {
                assert_eq!(got.len(), 2, "{script}");
                assert!(got[0].ends_with(b"fetched"), "{script}");
            }
            "err" => assert_eq!(code, Some(1146)),
            "close_half" => assert!(matches!(code, None | Some(LOST)), "{got:?}"),
            _ => assert_eq!(code, Some(LOST), "{script}: {got:?}"),
        }
        let outcome = client.query("SELECT 'after'").await;
        if matches!(script, "right" | "extra" | "err") {
            assert!(
                matches!(outcome, Outcome::Closed { rows: 0 }) || outcome == Outcome::row("after"),
                "{script}: {outcome:?}"
            );
        } else {
            assert_eq!(outcome, Outcome::Closed { rows: 0 }, "{script}: its cursor is lost");
        }
    }
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// LOAD DATA LOCAL: ugly before the file, and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_nobody_takes() {
    let fake = Fake::primary().await;
    let weir = Weir::start(&[&fake.address]);
    for script in [
        "infile takes it",
        "infile then err",
        "infile then extra",
        "infile closes",
        "infile babbles",
        "infile then close_first",
        "infile then close_half",
        "infile then garbage",
        "infile then wrong_seq",
        "infile then empty",
        "infile then result",
    ] {
        let mut client = Client::login(&weir.address).await;
        let sql = format!("LOAD DATA LOCAL INFILE '{script}' INTO TABLE t");
        let outcome = client.query(&sql).await;
        assert_eq!(fake.seen.count(&sql), 1, "{script}: once");
        match script {
            "infile takes it" | "infile then extra" => {
                assert_eq!(outcome, Outcome::Done, "{script}")
            }
            "infile then err" => assert_eq!(outcome.code(), Some(1146), "{outcome:?}"),
            _ => {
                let lost = outcome.code() == Some(LOST) || outcome == Outcome::Closed { rows: 0 };
                assert!(lost, "{script}: {outcome:?}");
                assert!(client.is_closed().await, "{script}");
                client = Client::login(&weir.address).await;
            }
        }
        assert_eq!(client.query("SELECT 'after'").await, Outcome::row("after"), "{script}");
    }
    fake.seen.assert_nothing_spoiled_lives().await;
    assert_eq!(fake.seen.reused.load(Ordering::Relaxed), 0);
}
