//! The routing cases, by the number of their row in the table of cases: what a statement is,
//! whatever the session's state (rows that differ by state alone have the same class here).
//!
//! An expectation is a kind, then marks: `+x` pins x, `-x` unpins x, `?x` needs x, `#n` holds n
//! statements.

use super::super::{Kind, LexMode, Statement};
use super::cases_reads::{LEXING, SELECTS};
use super::cases_session::{ADMINISTRATION, SESSION_STATE};
use super::cases_verbs::{OTHER_VERBS, SEVERAL, TRANSACTIONS};
use super::{classifier, classify};

pub(super) const PLAIN: LexMode = LexMode {
    ansi_quotes: false,
    no_backslash_escapes: false,
    multi_byte_unsafe: false,
    maria: false,
};
pub(super) const ANSI: LexMode = LexMode { ansi_quotes: true, ..PLAIN };
pub(super) const NO_BACKSLASH: LexMode = LexMode { no_backslash_escapes: true, ..PLAIN };
pub(super) const GBK: LexMode = LexMode { multi_byte_unsafe: true, ..PLAIN };
pub(super) const MARIA: LexMode = LexMode { maria: true, ..PLAIN };

/// Row, mode, text, expectation.
pub(super) type Case = (u32, LexMode, &'static str, &'static str);

fn check(cases: &[Case]) {
    let classifier = classifier();
    let mut wrong = Vec::new();
    for (row, mode, sql, expected) in cases {
        let statement = classify(&classifier, sql.as_bytes(), *mode);
        let seen = words(&statement);
        if seen != *expected {
            wrong.push(format!(
                "row {row}: {sql}\n  is       {seen}\n  expected {expected}\n  for it {}",
                statement.reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn words(statement: &Statement) -> String {
    let mut words = match statement.kind {
        Kind::Read => "read",
        Kind::PrimaryRead => "primary",
        Kind::Write => "write",
        Kind::Begin { read_only: false } => "begin",
        Kind::Begin { read_only: true } => "begin-read-only",
        Kind::Transaction => "transaction",
        Kind::Session => "session",
        Kind::Previous => "previous",
        Kind::ConnectionId => "connection-id",
        Kind::Kill => "kill",
        Kind::Denied => "denied",
    }
    .to_owned();
    for pin in statement.pins.words() {
        words.push_str(&format!(" +{pin}"));
    }
    for pin in statement.unpins.words() {
        words.push_str(&format!(" -{pin}"));
    }
    for need in statement.needs.words() {
        words.push_str(&format!(" ?{need}"));
    }
    if statement.count != 1 {
        words.push_str(&format!(" #{}", statement.count));
    }
    words
}

#[test]
fn lexing() {
    check(LEXING);
}

#[test]
fn selects_that_need_the_primary() {
    check(SELECTS);
}

#[test]
fn other_verbs() {
    check(OTHER_VERBS);
}

#[test]
fn several_statements() {
    check(SEVERAL);
}

#[test]
fn transactions() {
    check(TRANSACTIONS);
}

#[test]
fn session_state() {
    check(SESSION_STATE);
}

#[test]
fn hints_and_administration() {
    check(ADMINISTRATION);
}

#[test]
fn everyday_reads() {
    let cases: Vec<Case> = EVERYDAY.iter().map(|sql| (0, PLAIN, *sql, "read")).collect();
    check(&cases);
}

/// Reads of everyday shapes that must not be sent to the primary for want of grammar.
#[rustfmt::skip]
static EVERYDAY: &[&str] = &[
    "SELECT c FROM sbtest1 WHERE id=505",
    "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c",
    "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 1 AND 100",
    "SELECT COUNT(*) FROM t WHERE a IN (1,2,3) AND b NOT IN ('x','y')",
    "SELECT a, COUNT(DISTINCT b), GROUP_CONCAT(c ORDER BY d SEPARATOR ',') FROM t GROUP BY a WITH ROLLUP HAVING COUNT(*) > 1",
    "SELECT a FROM t LEFT JOIN u ON t.id = u.id WHERE t.x IS NULL LIMIT 10 OFFSET 5",
    "SELECT a FROM t LIMIT 5, 10",
    "SELECT CAST(a AS CHAR(10)), CONVERT(b, SIGNED), CAST(c AS DECIMAL(10,2)) FROM t",
    "SELECT CAST(a AS CHAR(10) CHARACTER SET utf8mb4) FROM t",
    "SELECT CONVERT(a USING utf8mb4) COLLATE utf8mb4_bin FROM t",
    "SELECT 7 MOD 3, 7 DIV 2, 7 % 2",
    "SELECT DATE_ADD(a, INTERVAL 1 DAY), NOW() - INTERVAL 2 HOUR FROM t",
    "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t",
    "SELECT IF(a, b, c), IFNULL(a, 0), COALESCE(a, b, 'x') FROM t",
    "SELECT a->'$.x', b->>'$.y' FROM t",
    "SELECT JSON_EXTRACT(a, '$.x') FROM t",
    "SELECT * FROM t WHERE MATCH (a, b) AGAINST ('x' IN BOOLEAN MODE)",
    "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
    "SELECT SUM(a) OVER w FROM t WINDOW w AS (ORDER BY b)",
    "SELECT * FROM t USE INDEX (i) WHERE a = 1",
    "SELECT * FROM t FORCE INDEX (PRIMARY) WHERE a = 1",
    "SELECT * FROM t PARTITION (p0)",
    "SELECT _utf8mb4'x', N'y', X'41', 0x41, b'1'",
    "SELECT * FROM (SELECT 1 AS a) x (a)",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
    "SELECT * FROM t WHERE a REGEXP '^x' AND b RLIKE 'y' AND c SOUNDS LIKE 'z'",
    "SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))",
    "SELECT EXTRACT(YEAR FROM d), TRIM(LEADING 'x' FROM a), SUBSTRING(a FROM 2 FOR 3), POSITION('a' IN b) FROM t",
    "SELECT BINARY a, CURRENT_TIMESTAMP, CURRENT_USER() FROM t",
    "SELECT a FROM t WHERE b = ? AND c LIKE ? ESCAPE '|'",
    "SELECT t.*, u.a AS `b c` FROM db.t AS t CROSS JOIN db.u AS u",
    "SELECT * FROM t WHERE a <=> NULL AND b <> 1 AND c != 2 AND !d",
    "SELECT 'a' 'b', \"c\"",
    "SELECT * FROM t WHERE d >= DATE '2020-01-01' AND e < TIMESTAMP '2020-01-01 00:00:00'",
    "SELECT * FROM t1 NATURAL JOIN t2 STRAIGHT_JOIN t3",
    "SELECT a FROM t UNION ALL (SELECT b FROM u ORDER BY b LIMIT 1) ORDER BY a",
    "SELECT 1 FROM DUAL WHERE 1 XOR 0",
    "SELECT * FROM t WHERE 3 MEMBER OF (j)",
    "SELECT jt.* FROM t, JSON_TABLE(t.j, '$[*]' COLUMNS (a INT PATH '$.a', b VARCHAR(10) PATH '$.b')) AS jt",
    "SELECT VERSION(), DATABASE(), USER()",
    "SELECT * FROM t, LATERAL (SELECT * FROM u WHERE u.a = t.a) x",
];
