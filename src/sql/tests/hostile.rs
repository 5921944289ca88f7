//! Statements built to hurt: they must be answered, quickly, and the process must live on.

use std::time::{Duration, Instant};

use super::super::{Kind, LexMode};
use super::classifier;

/// Far above what any of them takes unoptimised on a busy machine, far below what a quadratic pass
/// would.
const PATIENCE: Duration = Duration::from_secs(20);

const STANDARD: LexMode = LexMode {
    ansi_quotes: false,
    no_backslash_escapes: false,
    multi_byte_unsafe: false,
    maria: false,
};

fn answered(name: &str, sql: &[u8]) -> Kind {
    let classifier = classifier();
    let start = Instant::now();
    let kind = classifier.classify(sql, STANDARD).kind;
    assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
    // The parser's thread lives, and is soon free again.
    while classifier.classify(b"SELECT a, 1 FROM b", STANDARD).kind != Kind::Read {
        assert!(start.elapsed() < PATIENCE, "{name}: the parser is stuck");
    }
    kind
}

/// Either it was proven, or it goes to the primary as a read.
fn reads(name: &str, sql: &str) {
    let kind = answered(name, sql.as_bytes());
    assert!(matches!(kind, Kind::Read | Kind::PrimaryRead), "{name}: {kind:?}");
}

fn nested(open: &str, middle: &str, close: &str, times: usize) -> String {
    format!("{}{middle}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn long_chains() {
    reads("300 joins", &format!("SELECT 1 FROM t{}", " JOIN t".repeat(300)));
    reads("61 joins", &format!("SELECT 1 FROM t{}", " JOIN t".repeat(61)));
    reads("300 comma joins", &format!("SELECT 1 FROM t{}", ", t".repeat(300)));
    reads("100,000 terms", &format!("SELECT 1{}", "+1".repeat(100_000)));
    reads("2,000 terms", &format!("SELECT 1{}", "+a".repeat(2_000)));
    reads("1,000 ANDs", &format!("SELECT 1 FROM t WHERE a{}", " AND a".repeat(1_000)));
    reads("500 DIVs", &format!("SELECT 1{}", " DIV a".repeat(500)));
    reads("100,000 columns", &format!("SELECT a{}", ",a".repeat(100_000)));
    reads("7,000 columns", &format!("SELECT a{}", ",a b".repeat(7_000)));
    reads("1,000 unions", &format!("SELECT 1{}", " UNION SELECT 1".repeat(1_000)));
    reads("30 unions", &format!("SELECT 1{}", " UNION SELECT 1".repeat(30)));
    reads(
        "a million literals",
        &format!("SELECT a FROM t WHERE a IN (1{})", ",1".repeat(1_000_000)),
    );
    reads("10,000 NOTs", &format!("SELECT {}a", "NOT ".repeat(10_000)));
    reads("10,000 minuses", &format!("SELECT {}a", "- ".repeat(10_000)));
    reads("20 minuses", &format!("SELECT {}a", "- ".repeat(20)));
    reads("dots", &format!("SELECT a{}", ".a".repeat(10_000)));
    reads("1,000 COLLATEs", &format!("SELECT a{}", " COLLATE b".repeat(1_000)));
    reads("1,000 arrows", &format!("SELECT a{}", "->'$'".repeat(1_000)));
    reads(
        "100 WITHs",
        &format!("WITH a AS (SELECT 1){} SELECT 1", ", a AS (SELECT 1)".repeat(100)),
    );
}

#[test]
fn deep_nests() {
    for times in [10, 24, 50, 10_000] {
        reads("parentheses", &format!("SELECT {}", nested("(", "1", ")", times)));
        let queries = nested("(", "SELECT 1", ")", times);
        // The verb is looked for among the first tokens.
        let kind = if times < 24 { Kind::Read } else { Kind::Write };
        assert_eq!(answered("queries", queries.as_bytes()), kind);
        reads("tables", &format!("SELECT 1 FROM {}", nested("(", "t", ")", times)));
        reads("joins", &format!("SELECT 1 FROM {}", nested("(", "t", " JOIN t)", times)));
        reads(
            "derived",
            &format!("SELECT 1 FROM {}", nested("(SELECT 1 FROM ", "t", ") x", times)),
        );
        reads("in lists", &format!("SELECT 1 {}", nested("IN ((1 ", "IN (1)", "))", times / 2)));
        reads(
            "in queries",
            &format!("SELECT {}", nested("a IN ((SELECT ", "1", ") + 1)", times / 2)),
        );
        reads("cases", &format!("SELECT {}", nested("CASE WHEN ", "1", " THEN 1 END", times)));
        reads("calls", &format!("SELECT {}", nested("abs(", "1", ")", times)));
        reads("exists", &format!("SELECT {}", nested("EXISTS (SELECT ", "1", ")", times)));
        reads("intervals", &format!("SELECT {}", nested("a + INTERVAL (", "1", ") DAY", times)));
        reads("open", &format!("SELECT {}", "(".repeat(times)));
        reads("open tables", &format!("SELECT 1 FROM {}", "(".repeat(times)));
        reads("closed", &format!("SELECT 1 {}", ")".repeat(times)));
    }
    let withs = nested("WITH a AS (", "SELECT 1", ") SELECT 1", 10_000);
    assert_eq!(answered("withs", withs.as_bytes()), Kind::Write);
}

#[test]
fn large_texts() {
    let literal = "x".repeat(16 * 1024 * 1024);
    assert_eq!(answered("literal", format!("SELECT '{literal}'").as_bytes()), Kind::Read);
    assert_eq!(
        answered("insert", format!("INSERT INTO t VALUES ('{literal}')").as_bytes()),
        Kind::Write
    );
    assert_eq!(answered("comment", format!("SELECT 1 /*{literal}*/").as_bytes()), Kind::Read);
    assert_eq!(answered("name", format!("SELECT {literal}").as_bytes()), Kind::PrimaryRead);
    assert_eq!(answered("no end", format!("SELECT '{literal}").as_bytes()), Kind::Write);
    assert_eq!(answered("stars", "/*".repeat(1_000_000).as_bytes()), Kind::Write);
    assert_eq!(answered("semicolons", ";".repeat(1_000_000).as_bytes()), Kind::PrimaryRead);
    assert_eq!(answered("statements", "SELECT 1;".repeat(100_000).as_bytes()), Kind::PrimaryRead);
    let rows = format!("INSERT INTO t VALUES (1,'a'){}", ",(1,'a')".repeat(300_000));
    assert_eq!(answered("rows", rows.as_bytes()), Kind::Write);
}
