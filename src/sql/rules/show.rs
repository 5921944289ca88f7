//! SHOW, DESCRIBE, EXPLAIN, HELP, CHECKSUM, CHECK: statements that tell about things.
//!
//! Source: MySQL manual 9.7, "SHOW Statements", "Utility Statements".

use super::super::class::Class;
use super::super::parser::ParserThread;
use super::super::part::Part;
use super::super::scan::Facts;
use super::super::statement::{Kind, Pins};
use super::super::token::TokenKind;
use super::{objection, plain_read, with_effects};

/// SHOW never writes; it is a question of whose answer is right.
pub(super) fn show(part: &Part<'_>) -> Class {
    let mut at = 1;
    while part.is_any(at, &["full", "extended"]) {
        at += 1;
    }
    let count = part.is(at, "count") && part.token(at + 1).is_some_and(is_open);
    if part.is_any(at, &["warnings", "errors"]) || count {
        return Class::new(Kind::Previous, "asks about the previous statement");
    }
    // SHOW CREATE holds the words of statements that write, and `u@h` is no user variable.
    let facts = Facts { write_word: false, user_variable: false, ..part.facts };
    if let Some(class) = objection(&facts) {
        return class;
    }
    let metadata = [
        "tables",
        "columns",
        "fields",
        "index",
        "indexes",
        "keys",
        "databases",
        "schemas",
        "triggers",
        "events",
        "collation",
        "charset",
        "privileges",
        "create",
        "procedure",
        "function",
        "grants",
    ];
    let two_words = [["table", "status"], ["character", "set"]];
    if part.is_any(at, &metadata) || two_words.iter().any(|words| part.are(at, words)) {
        return with_effects(Class::new(Kind::Read, "tells about schema objects"), &facts);
    }
    Class::primary("tells about one server or the session")
}

/// `DESC t` tells about a table; `EXPLAIN ..` is judged by what it explains.
pub(super) fn explain(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let mut at = 1;
    let mut runs = false;
    loop {
        if part.is(at, "analyze") {
            runs = true;
            at += 1;
        } else if part.is_any(at, &["extended", "partitions"]) && !ends_after(part, at) {
            at += 1;
        } else if part.is(at, "format") && part.token(at + 1).is_some_and(|t| t.is_sign("=")) {
            at += 3;
        } else {
            break;
        }
    }
    if part.is(at, "into") {
        return super::write(part, "puts the plan into a user variable").pin(Pins::USER_VARIABLE);
    }
    if part.are(at, &["for", "connection"]) {
        return Class::primary("explains what a connection runs");
    }
    if part.is(at, "for") && part.is_any(at + 1, &["schema", "database"]) {
        at += 3;
    }
    if part.is_any(at, &["insert", "update", "delete", "replace"]) {
        let reason = "explains a write";
        return if runs { super::write(part, reason) } else { Class::primary(reason) };
    }
    let opens = part.token(at).is_some_and(is_open);
    if opens || part.is_any(at, &["select", "with", "table", "values"]) {
        return explained_query(&part.inner(at), runs, parser);
    }
    if at > 1 {
        return super::write(part, "explains a statement that is not known");
    }
    plain_read(part, "tells about a table")
}

/// Without ANALYZE only the plan is made, which the tokens vouch for; with it the query runs.
fn explained_query(query: &Part<'_>, runs: bool, parser: Option<&ParserThread>) -> Class {
    if runs {
        let class = super::query::query(query, parser);
        // The answer is a plan, not an id.
        return match class.kind {
            Kind::ConnectionId => Class::primary("explains a query of the connection's id"),
            _ => class,
        };
    }
    // A WITH may lead to an UPDATE or DELETE, explained and not run.
    if query.facts.write_word && !query.facts.unknown_function {
        return Class::primary("explains a write");
    }
    plain_read(query, "plans a query")
}

pub(super) fn help(part: &Part<'_>) -> Class {
    plain_read(part, "asks the server's manual")
}

pub(super) fn checksum(part: &Part<'_>) -> Class {
    if part.is_any(1, &["table", "tables"]) {
        plain_read(part, "sums up a table")
    } else {
        super::write(part, "not a statement that is known to read")
    }
}

/// CHECK TABLE is asked to compare one server's files; the primary's are meant unless said
/// otherwise.
pub(super) fn check(part: &Part<'_>) -> Class {
    if part.is_any(1, &["table", "tables"]) {
        objection(&part.facts).unwrap_or_else(|| Class::primary("checks a table's files"))
    } else {
        super::write(part, "not a statement that is known to read")
    }
}

fn ends_after(part: &Part<'_>, at: usize) -> bool {
    part.token(at + 1).is_none_or(|token| token.kind == TokenKind::Dot)
}

fn is_open(token: &super::super::token::Token<'_>) -> bool {
    token.kind == TokenKind::Open
}
