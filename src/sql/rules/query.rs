//! SELECT, WITH, TABLE, VALUES, and queries in parentheses.

use super::super::class::Class;
use super::super::parser::{ParserThread, Verdict};
use super::super::part::Part;
use super::super::statement::Kind;
use super::super::token::TokenKind;
use super::{objection, with_effects};

/// A query goes to a replica when nothing in its tokens objects and the parser knows all of it.
///
/// A query that the parser cannot read is sent to the primary as a read: its tokens showed nothing
/// that writes, but a clause that is not known might. The server then says whether it is right.
pub(super) fn query(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let verb = part.after_opens();
    if !part.is_any(verb, &["select", "with", "table", "values"]) {
        return super::write(part, "not a statement that is known to read");
    }
    if is_connection_id(part) {
        return Class::new(Kind::ConnectionId, "asks for the connection's id, which is Weir's own");
    }
    if let Some(class) = objection(&part.facts) {
        return class;
    }
    let class = if is_bare_table(part) {
        Class::new(Kind::Read, "reads a table")
    } else {
        proven(part, parser)
    };
    with_effects(class, &part.facts)
}

/// Asks the parser.
fn proven(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let Some(parser) = parser else {
        return Class::primary("too many statements to be proven reads one by one");
    };
    if part.trouble.any() {
        return Class::primary("not sure what the server sees");
    }
    match parser.verdict(part) {
        Verdict::Reads => Class::new(Kind::Read, "plain read"),
        Verdict::Other => Class::write("the parser finds more than a query in it"),
        Verdict::Unknown => Class::primary("has syntax that is not known to be a plain read"),
        Verdict::TooHard => Class::primary("too large or too deep to be proven a read"),
        Verdict::Unanswered => {
            let class = Class::primary("the parser did not answer in time");
            Class { settled: false, ..class }
        }
    }
}

/// `TABLE name`, with a schema perhaps, and nothing else.
fn is_bare_table(part: &Part<'_>) -> bool {
    let name = |at| part.token(at).is_some_and(|token| token.is_name());
    let dot = part.token(2).is_some_and(|token| token.kind == TokenKind::Dot);
    part.is(0, "table") && name(1) && (part.length() == 2 || (part.length() == 4 && dot && name(3)))
}

/// Exactly `SELECT CONNECTION_ID()`, an alias allowed.
pub(in crate::sql) fn is_connection_id(part: &Part<'_>) -> bool {
    is_bare_call(part, "connection_id")
}

/// Whether it is exactly `SELECT function()`, an alias allowed.
pub(in crate::sql) fn is_bare_call(part: &Part<'_>, function: &'static str) -> bool {
    let kind_at = |at: usize| part.token(at).map(|token| token.kind);
    let call = part.are(0, &["select", function])
        && kind_at(2) == Some(TokenKind::Open)
        && kind_at(3) == Some(TokenKind::Close);
    let alias = |at| {
        matches!(kind_at(at), Some(TokenKind::Word | TokenKind::Quoted | TokenKind::String))
            && !part.is_any(at, &["as", "from", "into", "for", "limit", "where", "union"])
    };
    call && match part.length() {
        4 => true,
        5 => alias(4),
        6 => part.is(4, "as") && alias(5),
        _ => false,
    }
}
