//! What a statement costs before it is routed: the lexer, the fingerprint, a known statement, a new
//! one.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::sql::{Classifier, LexMode, Lexer, ParserThread, fingerprint};

const POINT_SELECT: &str = "SELECT c FROM sbtest1 WHERE id=505";
const JOIN: &str = "SELECT o.id, o.total, c.name, COUNT(i.id) AS items FROM orders o \
    JOIN customers c ON c.id = o.customer_id LEFT JOIN order_items i ON i.order_id = o.id \
    WHERE o.created_at >= '2024-01-01' AND c.country IN ('DE', 'AT', 'CH') \
    GROUP BY o.id, o.total, c.name ORDER BY o.created_at DESC LIMIT 50";

fn texts() -> Vec<(&'static str, String)> {
    let rows = ", (505, 'abcdefghijklmnop', 1.5)".repeat(199);
    let insert = format!("INSERT INTO t (a, b, c) VALUES (1, 'x', 2.5){rows}");
    let blob = format!("INSERT INTO t (a, b) VALUES (1, '{}')", "x".repeat(1024 * 1024));
    vec![
        ("point select", POINT_SELECT.to_owned()),
        ("join", JOIN.to_owned()),
        ("insert of 200 rows", insert),
        ("insert of 1 MiB", blob),
    ]
}

fn lexer(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("lexer");
    for (name, sql) in texts() {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut lexer = Lexer::new(black_box(sql.as_bytes()), LexMode::default());
                let mut tokens = 0_u32;
                while lexer.next_token().is_some() {
                    tokens += 1;
                }
                tokens
            });
        });
    }
}

fn fingerprints(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("fingerprint");
    let mut scratch = Vec::new();
    for (name, sql) in texts() {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| fingerprint(black_box(sql.as_bytes()), LexMode::default(), &mut scratch));
        });
    }
}

fn classification(bench: &mut Criterion) {
    let Ok(parser) = ParserThread::spawn() else {
        return;
    };
    let mut group = bench.benchmark_group("classify");
    let classifier = Classifier::new(10_000, parser);
    for (name, sql) in texts() {
        group.bench_function(format!("hit, {name}"), |bencher| {
            bencher.iter(|| classifier.classify(black_box(sql.as_bytes()), LexMode::default()));
        });
    }
    for (name, sql) in texts() {
        // A name that was never seen makes each one new.
        let mut number = 0_u64;
        group.bench_function(format!("miss, {name}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                let sql = format!("{sql} /* */ ;").replacen(" t", &format!(" t{number}"), 1);
                let sql = sql.replacen("sbtest1", &format!("s{number}"), 1);
                let sql = sql.replacen("orders", &format!("o{number}"), 1);
                classifier.classify(black_box(sql.as_bytes()), LexMode::default())
            });
        });
    }
}

criterion_group!(benches, lexer, fingerprints, classification);
criterion_main!(benches);
