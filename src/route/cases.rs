//! Statement texts in the state of a session, to the end: classified and planned. Rows are those of
//! the table of routing cases.

use super::testing::{primary, replica, topology};
use super::{Facts, Policy, ProxyAnswer, Retry, Target, plan};
use crate::gtid::GtidSet;
use crate::sql::{Classifier, LexMode, ParserThread, Pins};
use crate::topology::ServerId;

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

/// What a session is in.
#[derive(Debug, Clone, Copy)]
enum In {
    Nothing,
    /// BEGIN ran on the primary.
    Transaction,
    /// START TRANSACTION READ ONLY ran on the replica.
    ReadOnly,
    AutocommitOff,
    Pinned(Pins),
    /// The last statement ran on the replica, and its connection is held for SHOW WARNINGS.
    AfterRead,
}

fn facts(state: In, token: &GtidSet) -> Facts<'_> {
    let mut facts = Facts::fresh(token);
    match state {
        In::Nothing => {}
        In::Transaction => {
            facts.in_transaction = true;
            facts.held = Some(A);
        }
        In::ReadOnly => {
            facts.in_transaction = true;
            facts.transaction_read_only = true;
            facts.held = Some(B);
        }
        In::AutocommitOff => facts.autocommit = false,
        In::Pinned(pins) => {
            facts.pins = pins;
            facts.held = Some(A);
        }
        In::AfterRead => {
            facts.held = Some(B);
            facts.previous = Some(B);
        }
    }
    facts
}

fn check(cases: &[(u32, In, &str, Target)]) {
    let classifier = Classifier::new(100, ParserThread::spawn().unwrap());
    let topology = topology([primary("1-9"), replica(1, "1-9")]);
    let token = GtidSet::default();
    for (row, state, sql, want) in cases {
        let statement = classifier.classify(sql.as_bytes(), LexMode::default());
        let facts = facts(*state, &token);
        let plan = plan(&facts, &statement, &topology, &Policy::default());
        assert_eq!(plan.target, *want, "row {row}, {state:?}: {sql}: {}", plan.reason.words());
        assert_eq!(plan.retry == Retry::Elsewhere, *want == Target::Replicas, "row {row}: {sql}");
    }
}

const M: Target = Target::Primary;
const R: Target = Target::Replicas;
const ON_A: Target = Target::Held(A);
const ON_B: Target = Target::Held(B);

#[test]
fn statements_of_a_free_session() {
    let none = In::Nothing;
    check(&[
        (1, none, "SELECT 1", R),
        (3, none, "SELECT a FROM t\nWHERE x=1\nFOR UPDATE", M),
        (7, none, "/* c */ SELECT 1", R),
        (8, none, "/*!50001 DELETE FROM t */", M),
        (16, none, "((SELECT 1) UNION (SELECT 2))", R),
        (19, none, "SELECT * FROM (SELECT * FROM t FOR UPDATE) x", M),
        (23, none, "FROBNICATE t", M),
        (24, none, "", M),
        (32, none, "SELECT a FROM t LOCK IN SHARE MODE", M),
        (36, none, "SELECT @v := @v+1", M),
        (37, none, "SELECT @v", M),
        (40, none, "SELECT GET_LOCK('a', 1)", M),
        (43, none, "SELECT LAST_INSERT_ID()", M),
        (54, none, "SELECT f(1)", M),
        (57, none, "SELECT CONNECTION_ID()", Target::Proxy(ProxyAnswer::ConnectionId)),
        (59, none, "SELECT @@gtid_executed", M),
        (64, none, "SELECT SLEEP(1), RAND(), UUID(), NOW()", R),
        (68, none, "WITH c AS (SELECT 1) SELECT * FROM c", R),
        (69, none, "WITH c AS (SELECT 1) DELETE FROM t", M),
        (81, none, "CALL p()", M),
        (92, none, "TRUNCATE t", M),
        (213, none, "KILL QUERY 7", Target::Proxy(ProxyAnswer::Kill)),
    ]);
}

#[test]
fn several_statements() {
    let none = In::Nothing;
    check(&[
        (96, none, "SELECT 1; DELETE FROM t", M),
        (98, none, "INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID()", M),
        (99, none, "USE db2; SELECT DATABASE()", M),
        (101, none, "BEGIN; UPDATE t SET a = 1", M),
        (102, none, "CREATE TEMPORARY TABLE x (a INT); SELECT * FROM x", M),
        (96, In::Transaction, "SELECT 1; DELETE FROM t", ON_A),
    ]);
}

#[test]
fn transactions() {
    check(&[
        (106, In::Nothing, "BEGIN", M),
        (106, In::Transaction, "SELECT * FROM t", ON_A),
        (106, In::Transaction, "COMMIT", ON_A),
        (106, In::Nothing, "COMMIT", M),
        (109, In::Nothing, "START TRANSACTION READ ONLY", R),
        (109, In::ReadOnly, "SELECT * FROM t", ON_B),
        (109, In::ReadOnly, "COMMIT", ON_B),
        (110, In::ReadOnly, "INSERT INTO t VALUES (1)", ON_B),
        (111, In::Nothing, "START TRANSACTION WITH CONSISTENT SNAPSHOT", M),
        (112, In::Nothing, "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT", R),
        (113, In::Nothing, "SET TRANSACTION READ ONLY", M),
        (113, In::Pinned(Pins::NEXT_TRANSACTION), "START TRANSACTION", ON_A),
        (114, In::Nothing, "START TRANSACTION READ WRITE", M),
        (116, In::Transaction, "BEGIN", ON_A),
        (116, In::ReadOnly, "BEGIN", M),
        (116, In::ReadOnly, "START TRANSACTION READ ONLY", ON_B),
        (117, In::Transaction, "CREATE TABLE x (a INT)", ON_A),
        (118, In::Transaction, "CREATE TEMPORARY TABLE x (a INT)", ON_A),
        (119, In::Transaction, "LOCK TABLES t WRITE", ON_A),
        (120, In::Pinned(Pins::TABLE_LOCK), "START TRANSACTION", ON_A),
        (121, In::Transaction, "COMMIT AND CHAIN", ON_A),
        (123, In::Transaction, "SAVEPOINT a", ON_A),
        (123, In::Transaction, "ROLLBACK TO a", ON_A),
        (124, In::Nothing, "SET autocommit=0", M),
        (124, In::AutocommitOff, "SELECT * FROM t", M),
        (124, In::AutocommitOff, "START TRANSACTION READ ONLY", M),
        (130, In::Transaction, "SET autocommit=1", ON_A),
        (131, In::Nothing, "XA START 'x'", M),
        (131, In::Pinned(Pins::XA), "SELECT * FROM t", ON_A),
        (133, In::Nothing, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", M),
    ]);
}

#[test]
fn pins_and_the_previous_statement() {
    check(&[
        (41, In::Pinned(Pins::NAMED_LOCK), "SELECT RELEASE_LOCK('a')", ON_A),
        (50, In::AfterRead, "SELECT FOUND_ROWS()", ON_B),
        (51, In::AfterRead, "SELECT ROW_COUNT()", ON_B),
        (52, In::AfterRead, "SHOW WARNINGS", ON_B),
        (52, In::AfterRead, "SELECT 1", R),
        (52, In::AfterRead, "DELETE FROM t", M),
        (52, In::Nothing, "SHOW WARNINGS", M),
        (159, In::Pinned(Pins::TEMPORARY_TABLE), "SELECT * FROM t", ON_A),
        (57, In::Pinned(Pins::TEMPORARY_TABLE), "KILL 7", Target::Proxy(ProxyAnswer::Kill)),
    ]);
}
