//! What the board makes of what it is told.

use super::*;
use crate::monitor::testing::{config, following, secs, set, stopped, with_channel, writable};

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

fn board(names: &str) -> Board {
    board_of(names, Some(secs(5)))
}

/// `own_for`: as in [`Rules`].
fn board_of(names: &str, own_for: Option<Duration>) -> Board {
    let rules = Rules { failures: 2, max_lag: secs(10), fresh: secs(3), own_for };
    Board::new(names.chars().map(config).collect(), rules)
}

/// A board with primary a and replica b, seen at second 1.
fn pair() -> Board {
    let mut board = board("ab");
    board.observe(A, secs(1), Ok(writable('a', "1-9")));
    board.judge();
    board.observe(B, secs(1), Ok(following('b', 'a', "1-9")));
    board.judge();
    board
}

fn words(board: &mut Board, id: ServerId) -> String {
    match board.judge().topology.get(id).unwrap().health.clone() {
        Health::Usable => "usable".to_owned(),
        Health::Unusable(words) => words.to_string(),
    }
}

fn roles(board: &mut Board) -> Vec<Role> {
    board.judge().topology.servers.iter().map(|s| s.role).collect()
}

fn refused() -> Failure {
    Failure::certain("connection refused")
}

#[test]
fn first_answers() {
    let mut board = board("ab");
    assert_eq!(words(&mut board, A), "not asked yet");
    assert!(!board.all_asked());
    board.observe(A, secs(1), Ok(writable('a', "1-9")));
    let verdict = board.judge();
    assert!(!verdict.differs && verdict.topology.primary().is_none(), "b was not asked yet");
    board.observe(B, secs(1), Err(Failure::passing("no answer within 2000 ms")));
    assert!(board.all_asked());
    let verdict = board.judge();
    assert!(verdict.differs);
    let a = Change { server: "a".to_owned(), role: Role::Primary, trouble: None };
    let no_answer = Some("no answer within 2000 ms".into());
    let b = Change { server: "b".to_owned(), role: Role::Unknown, trouble: no_answer };
    assert_eq!(verdict.changes, [a, b], "no credit before the first answer");
    let verdict = board.judge();
    assert!(!verdict.differs && verdict.changes.is_empty());
    assert_eq!(verdict.topology.epoch, 1);
}

#[test]
fn a_replica_with_transactions_of_its_own_gets_no_reads() {
    let mut board = pair();
    // A commit that waits for its receipt is on the replica first; more follow, each for a moment.
    for second in 2..20 {
        let (primary, replica) = (format!("1-{}", 8 + second), format!("1-{}", 9 + second));
        board.observe(A, secs(second), Ok(writable('a', &primary)));
        board.observe(B, secs(second), Ok(following('b', 'a', &replica)));
        assert_eq!(words(&mut board, B), "usable", "second {second}");
    }
    // One that never comes to the primary.
    for second in 20..24 {
        board.observe(A, secs(second), Ok(writable('a', "1-40")));
        board.observe(B, secs(second), Ok(following('b', 'a', "1-40:99")));
        assert_eq!(words(&mut board, B), "usable", "second {second}");
    }
    board.observe(B, secs(26), Ok(following('b', 'a', "1-41:99")));
    assert_eq!(words(&mut board, B), "usable", "the primary has not been heard since");
    board.observe(A, secs(26), Ok(writable('a', "1-40")));
    assert_eq!(words(&mut board, B), "has transactions that the primary does not have");
    // A new copy of the data.
    board.observe(B, secs(27), Ok(following('b', 'a', "1-40")));
    assert_eq!(words(&mut board, B), "usable");
}

#[test]
fn failures_must_repeat_unless_certain() {
    let mut board = pair();
    board.observe(B, secs(2), Err(Failure::passing("no answer")));
    assert_eq!(words(&mut board, B), "usable");
    board.observe(B, secs(3), Err(Failure::passing("no answer")));
    assert_eq!(words(&mut board, B), "no answer");
    board.observe(B, secs(4), Ok(following('b', 'a', "1-9")));
    assert_eq!(words(&mut board, B), "usable", "one good answer is enough");
    board.observe(B, secs(5), Err(refused()));
    assert_eq!(words(&mut board, B), "connection refused");
    assert_eq!(roles(&mut board), [Role::Primary, Role::Replica]);
}

#[test]
fn a_replica_that_is_about_to_be_stopped_gets_no_reads() {
    let mut board = pair();
    board.judge();
    let leaves = Some(crate::topology::Move(7));
    board.observe(B, secs(2), Ok(Probe { leaves, ..following('b', 'a', "1-9") }));
    assert_eq!(words(&mut board, B), "about to be stopped on purpose");
    board.observe(B, secs(3), Ok(following('b', 'a', "1-9")));
    assert_eq!(words(&mut board, B), "usable", "it was not stopped after all");
}

#[test]
fn a_replica_that_root_may_write_to_is_shown_and_read_from() {
    let mut board = pair();
    for (super_read_only, open) in [(None, false), (Some(false), true), (Some(true), false)] {
        board.observe(B, secs(2), Ok(Probe { super_read_only, ..following('b', 'a', "1-9") }));
        let verdict = board.judge();
        assert_eq!(verdict.topology.get(B).map(|server| server.open), Some(open));
        assert_eq!(words(&mut board, B), "usable");
    }
}

#[test]
fn an_announced_move_is_told_and_changes_no_role() {
    let mut board = pair();
    board.judge();
    let moves = Some(crate::topology::Move(7));
    board.observe(A, secs(2), Ok(Probe { moves, ..writable('a', "1-9") }));
    let verdict = board.judge();
    assert!(verdict.differs && verdict.changes.is_empty());
    assert_eq!(verdict.topology.primary().unwrap().moves, moves);
}

#[test]
fn replication_threads() {
    let b = || following('b', 'a', "1-9");
    for (probe, want) in [
        (b(), "usable"),
        (with_channel(b(), stopped), "replication applier stopped"),
        (
            with_channel(b(), |c| {
                c.receiver = Receiver::Stopped;
                c.receiver_error = "Got fatal error 1236".to_owned();
            }),
            "replication receiver stopped: Got fatal error 1236",
        ),
        (
            with_channel(b(), |c| c.receiver = Receiver::Connecting),
            "replication receiver cannot reach its source",
        ),
        (
            with_channel(b(), |c| {
                c.applier_runs = false;
                c.applier_error = "Duplicate entry".to_owned();
            }),
            "replication applier stopped: Duplicate entry",
        ),
        (Probe { replication: Replication::Channels(vec![]), ..b() }, "read-only and replic"),
    ] {
        let mut board = pair();
        board.observe(B, secs(2), Ok(probe));
        let got = words(&mut board, B);
        assert!(got.starts_with(want), "{got}");
    }
}

#[test]
fn lag_by_the_replicas_word() {
    // Without GTIDs there is only its word.
    let bare = |mut probe: Probe, seconds| {
        probe.executed = None;
        with_channel(probe, |c| c.seconds_behind = seconds)
    };
    for (seconds, want) in [
        (Some(0), "usable"),
        (Some(10), "usable"),
        (Some(11), "11 s behind (limit 10 s)"),
        (None, "how far it is behind is unknown (NULL)"),
    ] {
        let mut board = board("ab");
        board.observe(A, secs(1), Ok(bare(writable('a', ""), None)));
        board.observe(B, secs(1), Ok(bare(following('b', 'a', ""), seconds)));
        assert_eq!(words(&mut board, B), want);
    }
}

#[test]
fn lag_by_sets() {
    let mut board = pair();
    // The primary goes on, the replica says 0 seconds and stands still.
    let mut seen = Vec::new();
    for second in 2..=20 {
        let executed = format!("1-{}", second * 10);
        board.observe(A, secs(second), Ok(writable('a', &executed)));
        board.observe(B, secs(second), Ok(following('b', 'a', "1-9")));
        let verdict = board.judge();
        let b = verdict.topology.get(B).unwrap();
        seen.push((second, b.health == Health::Usable, verdict.changes.len()));
    }
    // It lacks what the primary had at second 2.
    let lost = seen.iter().find(|(_, usable, _)| !usable).unwrap();
    assert_eq!(*lost, (13, false, 1));
    assert_eq!(seen.iter().filter(|(_, _, changes)| *changes > 0).count(), 1);

    // It catches up: nine seconds behind is not yet good enough, five are.
    for (executed, want) in [("1-115", false), ("1-155", true)] {
        board.observe(B, secs(20), Ok(following('b', 'a', executed)));
        let usable = board.judge().topology.get(B).unwrap().health == Health::Usable;
        assert_eq!(usable, want, "{executed}");
    }
}

#[test]
fn far_behind_at_the_start() {
    let mut board = board("ab");
    board.observe(A, secs(1), Ok(writable('a', "1-900")));
    board.judge();
    let late = with_channel(following('b', 'a', "1-9"), |c| c.seconds_behind = Some(3600));
    board.observe(B, secs(1), Ok(late));
    assert_eq!(words(&mut board, B), "3600 s behind (limit 10 s)");
    // All that the primary had: the clock's word counts no more.
    let level = with_channel(following('b', 'a', "1-900"), |c| c.seconds_behind = Some(3600));
    board.observe(B, secs(1), Ok(level));
    assert_eq!(words(&mut board, B), "usable");
}

#[test]
fn a_primary_is_awaited_where_there_was_one_or_weir_makes_it() {
    for own_for in [Some(secs(5)), None] {
        let mut board = board_of("a", own_for);
        board.observe(A, secs(1), Err(refused()));
        assert_eq!(board.judge().topology.awaits_primary, own_for.is_some());
        board.observe(A, secs(2), Ok(writable('a', "1-9")));
        assert!(board.judge().topology.awaits_primary);
        board.observe(A, secs(3), Err(refused()));
        let topology = board.judge().topology;
        assert!(topology.primary().is_none() && topology.awaits_primary);
    }
}

#[test]
fn replicas_serve_while_the_primary_is_dead() {
    let connecting = |executed| {
        with_channel(following('b', 'a', executed), |c| {
            c.receiver = Receiver::Connecting;
            c.seconds_behind = None;
        })
    };
    let mut board = pair();
    board.observe(B, secs(2), Ok(connecting("1-9")));
    assert!(words(&mut board, B).contains("cannot reach its source"));
    board.observe(A, secs(2), Err(refused()));
    for second in [2, 60] {
        board.observe(B, secs(second), Ok(connecting("1-9")));
        assert_eq!(words(&mut board, B), "usable");
    }
    board.observe(B, secs(61), Ok(connecting("1-8")));
    assert!(words(&mut board, B).contains("cannot reach its source"));
    assert!(board.judge().topology.primary().is_none());
}

#[test]
fn a_new_primary_begins_new_samples() {
    let mut board = pair();
    // a wrote what b never got, and died; b was promoted; c follows b.
    board.observe(A, secs(3), Ok(writable('a', "1-12")));
    board.judge();
    board.observe(A, secs(4), Err(refused()));
    board.observe(B, secs(30), Ok(writable('b', "1-9")));
    assert_eq!(roles(&mut board), [Role::Unknown, Role::Primary]);
    board.observe(A, secs(31), Ok(following('a', 'b', "1-9")));
    assert_eq!(words(&mut board, A), "usable");
    assert_eq!(board.samples.newest(), Some(&*set("1-9")));
}

#[test]
fn an_undecided_pair_stays_undecided() {
    let mut board = pair();
    for second in 2..5 {
        board.observe(A, secs(second), Ok(writable('a', "1-9")));
        board.observe(B, secs(second), Ok(writable('b', "1-10")));
        assert_eq!(roles(&mut board), [Role::Unknown; 2]);
    }
    let fenced = Probe { read_only: Some(true), ..writable('a', "1-9") };
    board.observe(A, secs(6), Ok(fenced));
    assert_eq!(roles(&mut board), [Role::Replica, Role::Primary]);
}

#[test]
fn status_refused() {
    let refused = |executed| Probe {
        replication: Replication::Refused("Access denied".to_owned()),
        ..following('b', 'a', executed)
    };
    let mut board = pair();
    board.observe(B, secs(2), Ok(refused("1-9")));
    assert_eq!(words(&mut board, B), "usable", "its set says enough");
    board.observe(B, secs(2), Ok(refused("1-8")));
    assert!(words(&mut board, B).contains("GRANT REPLICATION CLIENT"));
}

#[test]
fn alone_and_read_only() {
    let mut board = board("a");
    let probe = Probe { read_only: Some(true), ..writable('a', "1-9") };
    board.observe(A, secs(1), Ok(probe));
    assert_eq!(words(&mut board, A), "usable");
    assert_eq!(roles(&mut board), [Role::Replica]);
}
