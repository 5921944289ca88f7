//! Each cause once, by the messages that 9.7.4 servers gave.

use super::*;
use crate::gtid::GtidSet;

const A: &str = "77f9ade0-e5af-11f1-9887-0242c0a8600b";
const B: &str = "7830b20c-e5af-11f1-b9c6-0242c0a8600c";

fn set(text: &str) -> GtidSet {
    GtidSet::parse(text.as_bytes()).unwrap()
}

fn symptoms(name: &str, server: ServerSymptoms) -> Symptoms {
    Symptoms {
        name: name.to_owned(),
        volume: true,
        place: format!("volume {name}"),
        container: Some(ContainerSymptoms {
            status: "running".to_owned(),
            health: "healthy".to_owned(),
            ..ContainerSymptoms::default()
        }),
        server: Some(server),
        ..Symptoms::default()
    }
}

fn primary() -> Symptoms {
    symptoms(
        "t-1",
        ServerSymptoms {
            uuid: A.to_owned(),
            executed: set(&format!("{A}:1-20")),
            purged: set(&format!("{A}:1-19")),
            clock: Some((0.0, 0.001)),
            logs: vec![("binlog.000003".to_owned(), 475)],
            ..ServerSymptoms::default()
        },
    )
}

fn status() -> ReplicaStatus {
    ReplicaStatus {
        source_host: "t-1".to_owned(),
        receiver: "Yes".to_owned(),
        applier: "Yes".to_owned(),
        auto_position: true,
        retrieved: set(&format!("{A}:1-20")),
        ..ReplicaStatus::default()
    }
}

fn server() -> ServerSymptoms {
    ServerSymptoms {
        uuid: B.to_owned(),
        executed: set(&format!("{A}:1-17")),
        read_only: true,
        super_read_only: true,
        clock: Some((0.0, 0.001)),
        replica: Some(status()),
        ..ServerSymptoms::default()
    }
}

/// Findings of replica t-2 beside a healthy primary.
fn of(replica: Symptoms) -> Vec<Finding> {
    let findings = diagnose(&[primary(), replica], Some(0), Limits::default());
    assert!(findings.iter().all(|finding| finding.node == "t-2"), "{findings:?}");
    findings
}

/// Exactly one finding, of that kind, with these words.
fn check(replica: Symptoms, kind: Kind, safe: Safe, words: &[&str]) {
    let findings = of(replica);
    let [finding] = findings.as_slice() else { panic!("not one finding: {findings:#?}") };
    assert_eq!((finding.kind, finding.safe), (kind, safe), "{}", finding.sentence);
    for word in words {
        assert!(finding.sentence.contains(word), "{word:?} is not in: {}", finding.sentence);
    }
    assert!(!finding.remedy.is_empty());
    let ends = |text: &str| text.ends_with('.');
    assert!(!ends(&finding.sentence) && !ends(&finding.remedy), "{finding:?}");
}

fn with_status(change: impl FnOnce(&mut ReplicaStatus)) -> Symptoms {
    let mut server = server();
    change(server.replica.as_mut().unwrap());
    symptoms("t-2", server)
}

fn with_server(change: impl FnOnce(&mut ServerSymptoms)) -> Symptoms {
    let mut server = server();
    change(&mut server);
    symptoms("t-2", server)
}

fn with_io_error(receiver: &str, errno: u32, message: &str) -> Symptoms {
    with_status(|status| {
        status.receiver = receiver.to_owned();
        status.io_errno = errno;
        status.io_error = message.to_owned();
    })
}

fn with_worker_error(number: u32, message: &str) -> Symptoms {
    with_status(|status| {
        status.applier = "No".to_owned();
        status.sql_errno = number;
        status.sql_error =
            "Coordinator stopped because there were error(s) in the worker(s).".into();
        status.worker = Some(WorkerError {
            number,
            message: format!(
                "Worker 1 failed executing transaction '{A}:18' at source log binlog.000001, end_log_pos \
                 4493; {message}; the event's source log binlog.000001, end_log_pos 4493"
            ),
            transaction: format!("{A}:18"),
        });
    })
}

fn without_server(status: &str, change: impl FnOnce(&mut ContainerSymptoms)) -> Symptoms {
    let mut node = symptoms("t-2", ServerSymptoms::default());
    node.server = None;
    let container = node.container.as_mut().unwrap();
    container.status = status.to_owned();
    container.health = String::new();
    change(container);
    node
}

fn logged(mut node: Symptoms, lines: &[&str]) -> Symptoms {
    node.log = lines.iter().map(|line| (*line).to_owned()).collect();
    node
}

#[test]
fn what_is_right_is_not_found() {
    assert_eq!(of(symptoms("t-2", server())), []);
    // Just started: connecting is no trouble yet.
    assert_eq!(of(with_io_error("Connecting", 0, "")), []);
}

#[test]
fn containers() {
    let gone = Symptoms { container: None, server: None, ..symptoms("t-2", server()) };
    check(gone.clone(), Kind::ContainerMissing, Safe::Start, &["volume t-2"]);
    let all_gone = Symptoms { volume: false, ..gone };
    check(all_gone, Kind::VolumeMissing, Safe::Start, &["neither container nor data"]);
    let paused = without_server("paused", |_| ());
    check(paused, Kind::ContainerPaused, Safe::Start, &["paused"]);
    let cut_off = without_server("running", |seen| seen.detached = true);
    check(cut_off, Kind::CutOff, Safe::Start, &["taken out of the cluster's network"]);
    let stopped = without_server("exited", |_| ());
    check(stopped, Kind::ContainerExited, Safe::Start, &["stopped in order (exit code 0)"]);
    let killed = without_server("exited", |seen| seen.exit_code = 137);
    check(killed, Kind::ContainerExited, Safe::Start, &["SIGKILL"]);
    let oom = without_server("exited", |seen| {
        seen.exit_code = 137;
        seen.out_of_memory = true;
    });
    check(oom, Kind::ContainerExited, Safe::Start, &["memory ran out"]);
    let loops = without_server("restarting", |seen| {
        seen.exit_code = 1;
        seen.restarts = 4;
    });
    let line = "2026-11-21T13:29:17.496635Z 0 [ERROR] [MY-000067] [Server] unknown variable 'x=1'.";
    let loops = logged(loops, &["entrypoint", line]);
    check(
        loops,
        Kind::ContainerRestarting,
        Safe::Nothing,
        &["4 restarts", "unknown variable 'x=1'"],
    );
    let mut slow = symptoms("t-2", server());
    slow.container.as_mut().unwrap().health = "unhealthy".to_owned();
    check(slow, Kind::ContainerUnhealthy, Safe::Nothing, &["health check"]);
    let mut deaf = without_server("running", |seen| seen.health = "unhealthy".to_owned());
    deaf.refusal = Some("no answer in 5 s".to_owned());
    check(deaf, Kind::ContainerUnhealthy, Safe::Nothing, &["no answer in 5 s", "unhealthy"]);
}

#[test]
fn a_recovery_is_left_alone() {
    let begins =
        "2026-11-21T13:29:17Z 1 [System] [MY-013576] [InnoDB] InnoDB initialization has started.";
    let ends =
        "2026-11-21T13:29:18Z 1 [System] [MY-013577] [InnoDB] InnoDB initialization has ended.";
    let starting = || without_server("running", |seen| seen.health = "starting".to_owned());
    for lines in [&[begins][..], &[begins, ends, "shutdown", begins]] {
        check(logged(starting(), lines), Kind::Recovering, Safe::Wait, &["after a crash"]);
    }
    check(logged(starting(), &[begins, ends]), Kind::ServerSilent, Safe::Nothing, &["starting"]);
}

#[test]
fn full_disks() {
    let mut full = symptoms("t-2", server());
    full.disk = Some(Disk { free: 4096, size: 3 << 30 });
    check(full.clone(), Kind::DiskFull, Safe::Nothing, &["4.0 KiB free of 3.0 GiB"]);
    // Little of it, and little by itself.
    full.disk = Some(Disk { free: 3 << 30, size: 100 << 30 });
    check(full.clone(), Kind::DiskLow, Safe::Nothing, &["nearly full: 3.0 GiB free of 100.0 GiB"]);
    for (free, size) in [(1, 3), (5, 100), (4, 1000)] {
        full.disk = Some(Disk { free: free << 30, size: size << 30 });
        assert_eq!(of(full.clone()), [], "{free} of {size} GiB");
    }
    full.disk = Some(Disk { free: 0, size: 0 });
    check(full, Kind::DiskFull, Safe::Nothing, &["0 bytes free"]);
    let line = "2026-11-21T13:29:17Z 9 [ERROR] [MY-000035] [Server] Disk is full writing './binlog.000002' (OS \
                errno 28 - No space left on device).";
    let kinds = |node| of(node).iter().map(|found| found.kind).collect::<Vec<_>>();
    let dead = logged(without_server("exited", |seen| seen.exit_code = 1), &[line]);
    assert_eq!(kinds(dead), [Kind::DiskFull, Kind::ContainerExited]);
    // The applier's error is the disk's effect: nothing is started before there is room.
    let mut stopped = with_worker_error(1114, "The table 't' is full, Error_code: 1114");
    stopped.disk = Some(Disk { free: 0, size: 1 << 30 });
    let findings = of(stopped);
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|found| found.safe == Safe::Nothing), "{findings:?}");
    let room_again = with_worker_error(1114, "The table 't' is full, Error_code: 1114");
    check(room_again, Kind::ApplierError, Safe::StartThreads, &["1114", "'t' is full"]);
}

#[test]
fn identity_clock_and_flags() {
    let twin = with_server(|server| server.uuid = A.to_owned());
    check(twin, Kind::SameUuid, Safe::Nothing, &["t-1", A]);
    let late = with_server(|server| server.clock = Some((-7.5, 0.25)));
    let words = ["7.5 s behind that of t-1", "give or take 0.3 s, limit 2.0 s"];
    check(late, Kind::Clock, Safe::Nothing, &words);
    // A slow answer proves nothing.
    assert_eq!(of(with_server(|server| server.clock = Some((3.0, 2.0)))), []);
    let open = with_server(|server| (server.read_only, server.super_read_only) = (false, false));
    check(open, Kind::Writable, Safe::SetReadOnly, &["everybody", "t-1 is the primary"]);
    let half = with_server(|server| server.super_read_only = false);
    check(half, Kind::Writable, Safe::SetReadOnly, &["root"]);
    let errant = with_server(|server| server.executed = set(&format!("{A}:1-17,{B}:3-4:7")));
    check(errant, Kind::Errant, Safe::Nothing, &["3 transactions", &format!("{B}:3")]);
}

#[test]
fn degraded_semi_sync_is_told_of_the_primary() {
    let mut one = primary();
    one.server.as_mut().unwrap().semi_sync = SemiSyncStatus {
        wanted: 1,
        enabled: true,
        active: false,
        replicas: 0,
        without_receipt: 13,
    };
    let nodes = [one, symptoms("t-2", server())];
    let findings = diagnose(&nodes, Some(0), Limits::default());
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].node.as_str(), findings[0].kind), ("t-1", Kind::SemiSyncDegraded));
    for words in ["0 of 1 replica", "13 commits", "needs 1", "lost if it dies"] {
        assert!(findings[0].sentence.contains(words), "{}", findings[0].sentence);
    }
}

#[test]
fn sources() {
    let lost = with_server(|server| server.replica = None);
    check(lost, Kind::NoSource, Safe::Follow, &["from nobody", "t-1"]);
    let other = with_status(|status| status.source_host = "t-3".to_owned());
    check(other, Kind::OtherSource, Safe::Follow, &["from t-3", "primary is t-1"]);
}

#[test]
fn receivers() {
    let stopped = with_io_error("No", 0, "");
    check(stopped, Kind::ReceiverStopped, Safe::StartThreads, &["fetches nothing from t-1"]);
    let connecting = |account: &str, message: &str| {
        format!(
            "Error connecting to source '{account}'. This was attempt 1/0, with a delay of 2 seconds between \
             attempts. Message: {message}"
        )
    };
    let denied = connecting(
        "weir_replication@t-1:3306",
        "Access denied for user 'weir_replication'@'192.168.96.12' (using password: YES)",
    );
    let denied = with_io_error("Connecting", 1045, &denied);
    check(denied, Kind::Credentials, Safe::Follow, &["t-1 refuses", "weir_replication", "1045"]);
    let port = connecting("r@t-1:3399", "Can't connect to MySQL server on 't-1:3399' (111)");
    let port = with_io_error("Connecting", 2003, &port);
    check(port, Kind::SourceUnreachable, Safe::Follow, &["t-1:3399", "nobody listens", "2003"]);
    let cut = connecting("r@t-1:3306", "Can't connect to MySQL server on 't-1:3306' (110)");
    let cut = with_io_error("Connecting", 2003, &cut);
    check(cut, Kind::SourceUnreachable, Safe::Wait, &["no answer came in time"]);
    let name = connecting("r@nowhere:3306", "Unknown MySQL server host 'nowhere' (-2)");
    let name = with_io_error("Connecting", 2005, &name);
    check(name, Kind::SourceUnreachable, Safe::Follow, &["name is not known", "2005"]);
    let equal = with_io_error(
        "No",
        13_117,
        "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server UUIDs; \
         these UUIDs must be different for replication to work.",
    );
    check(equal.clone(), Kind::SameUuid, Safe::StartThreads, &["same server_uuid", "13117"]);
    let mut twins = equal;
    twins.server.as_mut().unwrap().uuid = A.to_owned();
    assert!(of(twins).iter().all(|found| found.safe == Safe::Nothing));
}

#[test]
fn positions() {
    let fatal = |message: &str| {
        format!("Got fatal error 1236 from source when reading data from binary log: '{message}'")
    };
    let gone = fatal(&format!(
        "Cannot replicate because the source purged required binary logs. Replicate the missing transactions \
         from elsewhere, or provision a new replica from backup. Consider increasing the source's binary log \
         expiration period. The GTID set sent by the replica is '{A}:1-17', and the missing transactions are \
         '{A}:18-19'"
    ));
    let gone = with_io_error("No", 13_114, &gone);
    let words = ["2 transactions", "binlog.000003", &format!("{A}:18"), "1236"];
    check(gone.clone(), Kind::Purged, Safe::Reclone, &words);
    // It had copies enough, and lacks history again.
    let mut again = gone.clone();
    again.copies = 2;
    assert_eq!(of(again.clone())[0].safe, Safe::Reclone);
    again.copies = 3;
    assert_eq!(of(again.clone())[0].safe, Safe::Nothing);
    assert!(of(again)[0].remedy.contains("3 times within a day"));
    // With transactions of its own a copy of the primary's data would lose something.
    let mut own = gone;
    own.server.as_mut().unwrap().executed = set(&format!("{A}:1-17,{B}:1"));
    let safe: Vec<Safe> = of(own).iter().map(|found| found.safe).collect();
    assert_eq!(safe, [Safe::Nothing, Safe::Nothing]);

    let by_file = |file: &str, position, message: &str| {
        let mut node = with_io_error("No", 13_114, &fatal(message));
        let status = node.server.as_mut().unwrap().replica.as_mut().unwrap();
        status.auto_position = false;
        status.read = (file.to_owned(), position);
        node
    };
    let no_file =
        by_file("binlog.000099", 4, "Could not find first log file name in binary log index file");
    check(no_file, Kind::WrongPosition, Safe::Follow, &["t-1 has no binlog.000099", "position 4"]);
    // Without GTIDs nothing tells its place in another log.
    let mut source = primary();
    source.server.as_mut().unwrap().executed = GtidSet::new();
    let mut lost =
        by_file("binlog.000099", 4, "Could not find first log file name in binary log index file");
    lost.server.as_mut().unwrap().executed = GtidSet::new();
    let found = diagnose(&[source, lost], Some(0), Limits::default());
    assert_eq!((found[0].kind, found[0].safe), (Kind::WrongPosition, Safe::Nothing), "{found:?}");
    assert!(found[0].remedy.contains("--reclone"), "{found:?}");
    let beyond = by_file(
        "binlog.000003",
        400_000,
        "Client requested source to start replication from position > file size",
    );
    check(beyond, Kind::WrongPosition, Safe::Follow, &["position 400000", "has 475 bytes"]);
    let twin = with_io_error(
        "No",
        1236,
        &fatal(
            "A replica with the same server_uuid/server_id as this replica has connected to the source",
        ),
    );
    check(twin, Kind::SameUuid, Safe::StartThreads, &["another replica", "1236"]);
}

#[test]
fn appliers() {
    let stopped = with_status(|status| status.applier = "No".to_owned());
    check(stopped, Kind::ApplierStopped, Safe::StartThreads, &["3 transactions received"]);
    let mut duplicate = with_worker_error(
        1062,
        "Could not execute Write_rows event on table app.t; Duplicate entry '10' for key 't.PRIMARY', \
         Error_code: 1062; handler error HA_ERR_FOUND_DUPP_KEY",
    );
    let at = format!("transaction {A}:18, with 2 transactions behind it");
    let words = ["'10' of key PRIMARY in app.t", at.as_str(), "1062"];
    check(duplicate.clone(), Kind::DuplicateKey, Safe::Nothing, &words);
    // Another worker waits with the one before it.
    let mut second = duplicate.clone();
    let status = second.server.as_mut().unwrap().replica.as_mut().unwrap();
    let message = &mut status.worker.as_mut().unwrap().message;
    *message = message.replace(&format!("{A}:18"), &format!("{A}:19"));
    let at_second = format!("transaction {A}:19, with 1 transaction behind it");
    check(second, Kind::DuplicateKey, Safe::Nothing, &[&at_second]);
    duplicate.server.as_mut().unwrap().replica.as_mut().unwrap().rows =
        Some(Rows { on_primary: None, here: Some("(id=10, v=mine)".to_owned()) });
    let words = ["t-1 has no such row", "t-2 has (id=10, v=mine)"];
    check(duplicate, Kind::DuplicateKey, Safe::Nothing, &words);
    let missing = with_worker_error(
        1032,
        "Could not execute Update_rows event on table app.t; Can't find record in 't', Error_code: 1032; \
         handler error HA_ERR_KEY_NOT_FOUND",
    );
    check(missing, Kind::MissingRow, Safe::Nothing, &["row of app.t", "to update", &at, "1032"]);
    let damaged = with_status(|status| {
        status.applier = "No".to_owned();
        status.sql_errno = 13_121;
        status.sql_error =
            "Relay log read failure: Could not parse relay log event entry.".to_owned();
    });
    check(damaged, Kind::RelayLogDamaged, Safe::Follow, &["Relay log read failure", "13121"]);
    let locked = with_worker_error(1205, "Lock wait timeout exceeded; try restarting transaction");
    check(locked, Kind::ApplierError, Safe::StartThreads, &["waited too long for locks", "1205"]);
    let other = with_worker_error(1146, "Error executing row event: 'Table 'app.x' doesn't exist'");
    check(other, Kind::ApplierError, Safe::Nothing, &["'app.x' doesn't exist", "1146", &at]);
}

#[test]
fn texts_of_other_forms_are_none() {
    for text in ["", "Duplicate entry", "Duplicate entry 'x", "event on table x;", "to source '"] {
        assert_eq!(texts::duplicate(text), None, "{text}");
        assert_eq!(texts::table(text), None, "{text}");
        assert_eq!(texts::transaction(text), None, "{text}");
        assert!(texts::missing(text).is_none(), "{text}");
        assert_eq!(texts::network_cause(text), None, "{text}");
    }
    let quoted =
        texts::duplicate("Duplicate entry 'it's' for key 't.k', Error_code: 1062").unwrap();
    assert_eq!((quoted.entry.as_str(), quoted.key.as_str()), ("it's", "k"));
    assert_eq!(texts::first(&set(&format!("{A}:tag:4-9"))), format!("{A}:tag:4"));
    assert_eq!(texts::first(&GtidSet::new()), "");
    assert_eq!(texts::shortened(&"x ".repeat(400)).chars().count(), 242);
}
