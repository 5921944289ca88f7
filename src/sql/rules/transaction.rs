//! BEGIN to COMMIT, savepoints, XA.
//!
//! Source: MySQL manual 9.7, "Transactional and Locking Statements".

use super::super::class::Class;
use super::super::part::Part;
use super::super::statement::{Kind, Needs, Pins};

/// BEGIN, START TRANSACTION; START REPLICA and its like are refused.
pub(super) fn begin(part: &Part<'_>) -> Class {
    if part.is(0, "begin") {
        return if part.length() == 1 || (part.length() == 2 && part.is(1, "work")) {
            started(false, "starts a transaction")
        } else {
            super::write(part, "a block of statements (BEGIN NOT ATOMIC)")
        };
    }
    if !part.is(1, "transaction") {
        return super::admin::server(part);
    }
    let read_only = part.tokens().skip(2).any(|token| token.is_word("only"));
    let read_write = part.tokens().skip(2).any(|token| token.is_word("write"));
    if read_only && !read_write {
        started(true, "starts a read-only transaction")
    } else {
        started(false, "starts a transaction")
    }
}

/// A transaction that starts ends LOCK TABLES.
fn started(read_only: bool, reason: &'static str) -> Class {
    Class::new(Kind::Begin { read_only }, reason).unpin(Pins::TABLE_LOCK)
}

/// COMMIT, ROLLBACK, SAVEPOINT, RELEASE SAVEPOINT.
pub(super) fn end(part: &Part<'_>) -> Class {
    if part.is(0, "savepoint") || part.is(0, "release") {
        return Class::new(Kind::Transaction, "a savepoint of the transaction");
    }
    if part.is(0, "rollback") && (part.is(1, "to") || part.are(1, &["work", "to"])) {
        return Class::new(Kind::Transaction, "rolls back to a savepoint");
    }
    let reason = if part.is(0, "commit") { "commits" } else { "rolls back" };
    let class = Class::new(Kind::Transaction, reason);
    let said = |word| {
        let mut before_is_no = false;
        part.tokens().any(|token| {
            let hit = token.is_word(word) && !before_is_no;
            before_is_no = token.is_word("no");
            hit
        })
    };
    // A chained transaction keeps what SET TRANSACTION said.
    let class = if said("chain") { class } else { class.unpin(Pins::NEXT_TRANSACTION) };
    if said("release") { class.need(Needs::RELEASE) } else { class }
}

/// An XA branch holds its connection from START to COMMIT or ROLLBACK.
pub(super) fn xa(part: &Part<'_>) -> Class {
    if part.is_any(1, &["start", "begin"]) {
        Class::write("starts an XA transaction").pin(Pins::XA)
    } else if part.is_any(1, &["commit", "rollback"]) {
        Class::write("ends an XA transaction").unpin(Pins::XA)
    } else if part.is(1, "recover") {
        Class::primary("lists prepared XA transactions")
    } else {
        Class::write("belongs to an XA transaction")
    }
}
