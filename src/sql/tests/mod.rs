//! Tests of the whole of `sql`: the table of routing cases, statements built to hurt, and
//! properties.

mod cases;
mod cases_reads;
mod cases_session;
mod cases_verbs;
mod hostile;
mod properties;

use std::sync::Arc;

use super::{Classifier, LexMode, ParserThread, Statement};

/// A classifier of its own, with room for 1,000 statements.
fn classifier() -> Classifier {
    Classifier::new(1_000, ParserThread::spawn().expect("a thread for the parser"))
}

/// Judges once with a fresh cache and once from it: both must agree.
fn classify(classifier: &Classifier, sql: &[u8], mode: LexMode) -> Arc<Statement> {
    let first = classifier.classify(sql, mode);
    let second = classifier.classify(sql, mode);
    assert_eq!(first, second, "{}", String::from_utf8_lossy(sql));
    first
}
