//! What holds for all texts.

use proptest::prelude::*;

use super::super::{Kind, LexMode, fingerprint};
use super::{classifier, classify};

const STANDARD: LexMode = LexMode {
    ansi_quotes: false,
    no_backslash_escapes: false,
    multi_byte_unsafe: false,
    maria: false,
};

/// Statements of every family, to be cut, glued and stirred.
const CORPUS: [&str; 24] = [
    "SELECT c FROM sbtest1 WHERE id=505",
    "SELECT `a``b`, \"x\\\"y\", 'it''s', N'n', x'41', b'1', 0x1F, 1.5e-3, .5 FROM `db`.t",
    "SELECT /*+ NO_MERGE(t) */ a -- comment\nFROM t # another\nWHERE b = ? /*!50001 AND c = 1 */",
    "SELECT @a := @b + 1, @'c d', @`e`, @@global.version, @@session.`sql_mode`",
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT * FROM c FOR UPDATE",
    "(SELECT 1) UNION (SELECT 2) ORDER BY 1 LIMIT 3, 4",
    "INSERT INTO t (a, b) VALUES (1, 'x'), (2, NULL) ON DUPLICATE KEY UPDATE a = LAST_INSERT_ID(a)",
    "UPDATE t SET a = a + 1 WHERE b IN (SELECT b FROM u)",
    "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; CASE b WHEN 1 THEN SELECT 2; END CASE; END",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin, @x = (SELECT 1), GLOBAL a = 2",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
    "SELECT 1; DELETE FROM t; COMMIT AND CHAIN",
    "EXPLAIN FORMAT=JSON INTO @v SELECT LAST_INSERT_ID()",
    "SHOW COUNT(*) WARNINGS",
    "KILL QUERY 12",
    "SELECT CONNECTION_ID() AS `id`",
    "SELECT GET_LOCK('a', 1), RELEASE_ALL_LOCKS(), f (1), db.g(2)",
    "FLUSH TABLES a, b WITH READ LOCK",
    "XA START 'x'",
    "BEGIN NOT ATOMIC SELECT 1; END",
    "/*M! SELECT 1 */ /*!99999 DELETE FROM t */",
    "SELECT $$ a ; b $$, a.1b, 1a, 5--1, a->>'$.b' <=> NULL",
    "GET DIAGNOSTICS @n = NUMBER",
];

fn mode() -> impl Strategy<Value = LexMode> {
    any::<[bool; 4]>().prop_map(|[ansi_quotes, no_backslash_escapes, multi_byte_unsafe, maria]| {
        LexMode { ansi_quotes, no_backslash_escapes, multi_byte_unsafe, maria }
    })
}

fn name(sql: &str) -> Option<u128> {
    fingerprint(sql.as_bytes(), STANDARD, &mut Vec::new())
}

#[test]
fn every_cut_is_answered() {
    let classifier = classifier();
    for sql in CORPUS {
        for end in 0..=sql.len() {
            for bits in 0..16_u8 {
                let mode = LexMode {
                    ansi_quotes: bits & 1 != 0,
                    no_backslash_escapes: bits & 2 != 0,
                    multi_byte_unsafe: bits & 4 != 0,
                    maria: bits & 8 != 0,
                };
                classify(&classifier, &sql.as_bytes()[..end], mode);
            }
        }
    }
}

#[test]
fn literals_do_not_name_a_statement() {
    let same = |a: &str, b: &str| assert_eq!(name(a), name(b), "{a} / {b}");
    same("SELECT a FROM t WHERE id = 1", "select  A from T where ID=99 -- x");
    same("SELECT a FROM t WHERE id IN (1)", "SELECT a FROM t WHERE id IN (1, 2, 3)");
    same("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'a;b -- '");
    same("SELECT a FROM t WHERE b = \"x\"", "SELECT a FROM t WHERE b = 'FOR UPDATE'");
    same("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b'), (3, 'c'), (4, 'd')");
    same("INSERT INTO t VALUES (1, NULL)", "INSERT INTO t VALUES (2, NULL), (3, NULL)");
    same("INSERT INTO t VALUES (?, ?)", "INSERT INTO t VALUES (?, ?), (?, ?), (?, ?)");
    same("SELECT 1.5e3", "SELECT .5");
    same("SELECT 'a' 'b'", "SELECT 'c'");
    same("SELECT a - -1", "SELECT a --1");
}

#[test]
fn what_changes_the_class_changes_the_name() {
    let apart = |a: &str, b: &str| assert_ne!(name(a), name(b), "{a} / {b}");
    apart("SELECT f(1)", "SELECT g(1)");
    apart("SELECT count(1)", "SELECT count (1)");
    apart("SELECT count(1)", "SELECT `count`(1)");
    apart("SELECT `for` FROM t", "SELECT for FROM t");
    apart("SELECT a FROM t", "SELECT a FROM t FOR UPDATE");
    apart("SELECT @a", "SELECT a");
    apart("SELECT @a", "SELECT @@a");
    apart("SELECT LAST_INSERT_ID()", "SELECT LAST_INSERT_ID(1)");
    apart("SELECT 1", "SELECT 'a'");
    apart("SELECT 1", "SELECT ?");
    apart("SELECT 1", "SELECT 1;");
    apart("SELECT 1; SELECT 2", "SELECT 1, 2");
    apart("SELECT 1 /*!50001 +1 */", "SELECT 1 /*!99999 +1 */");
    apart("SELECT 1 /*! +1 */", "SELECT 1 /*M! +1 */");
    apart("SELECT 1 + 1", "SELECT 1 /*! +1 ");
    apart("SELECT 'a'", "SELECT 'a");
    apart("SELECT a.b", "SELECT a b");
    apart("SELECT @a = 1", "SELECT @a := 1");
    apart("SELECT (1),(1)", "SELECT (1),(a)");
    let scratch = &mut Vec::new();
    let ansi = LexMode { ansi_quotes: true, ..STANDARD };
    let sql = b"SELECT a FROM t";
    assert_ne!(fingerprint(sql, STANDARD, scratch), fingerprint(sql, ansi, scratch));
}

#[test]
fn nothing_long_is_remembered() {
    let classifier = classifier();
    let sql = format!("SELECT a{}", ", a".repeat(40_000));
    classifier.classify(sql.as_bytes(), STANDARD);
    assert!(classifier.is_empty());
    classifier.classify(b"SELECT a", STANDARD);
    assert_eq!(classifier.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_answered(sql in prop::collection::vec(any::<u8>(), 0..200), mode in mode()) {
        classify(&classifier(), &sql, mode);
    }

    /// Bytes that matter to the lexer, in any order.
    #[test]
    fn any_signs_are_answered(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "'", "\"", "`", "\\", "/*", "*/", "/*!", "/*!50001", "/*!99999", "/*M!", "/*+", "-- ", "--",
                "#", "\n", ";", "@", "@@", ".", "(", ")", ",", ":=", "?", "SELECT ", "FROM ", "FOR UPDATE",
                "INTO ", "BEGIN ", "END ", "CREATE PROCEDURE ", "SET ", "a", "1", "0x", "e5", "$$", "\u{a0}",
                "WITH ", "AS ", "x'", "N'", "f(", "LAST_INSERT_ID(", "{", "}", "&&", "|", "<=>",
            ]),
            0..40,
        ),
        mode in mode(),
    ) {
        classify(&classifier(), parts.concat().as_bytes(), mode);
    }

    /// A write in front of or behind a read makes the text a write.
    #[test]
    fn a_write_stays_one(at in 0..CORPUS.len()) {
        let both = [format!("DELETE FROM t; {}", CORPUS[at]), format!("{}; DELETE FROM t", CORPUS[at])];
        for sql in both {
            let kind = classify(&classifier(), sql.as_bytes(), STANDARD).kind;
            prop_assert!(matches!(kind, Kind::Write | Kind::Denied), "{}: {:?}", sql, kind);
        }
    }

    /// What is proven a read has the shape it was proven by, whatever its literals hold.
    #[test]
    fn literals_do_not_change_the_class(text in "[^'\\\\]{0,40}", number in any::<u64>()) {
        let sql = format!("SELECT a FROM t WHERE b = '{text}' AND c = {number}");
        prop_assert_eq!(name(&sql), name("SELECT a FROM t WHERE b = '' AND c = 0"));
        prop_assert_eq!(classify(&classifier(), sql.as_bytes(), STANDARD).kind, Kind::Read);
    }
}
