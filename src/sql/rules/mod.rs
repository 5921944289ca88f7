//! What a statement is, by its first word. One file a family; every rule takes a [`Part`] and gives
//! a [`Class`].
//!
//! The table below names each verb that is more than a plain write. A verb that is not in it
//! writes.

mod admin;
mod query;
mod session;
mod set;
mod show;
mod transaction;

pub(super) use query::is_bare_call;

use super::class::Class;
use super::parser::ParserThread;
use super::part::Part;
use super::scan::Facts;
use super::statement::{Kind, Needs, Pins};
use super::token::{Folded, TokenKind};

/// Judges one statement. Without a parser nothing that must be asked is proven a read.
pub(super) fn judge(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let class = by_verb(part, parser);
    match class.kind {
        Kind::Denied => class,
        _ if part.trouble.malformed => {
            class.at_least_write("a literal or comment has no end: the server gives the error")
        }
        _ if part.trouble.uncertain => {
            class.at_least_write("holds code that some server versions run and others skip")
        }
        _ => class,
    }
}

fn by_verb(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let Some(first) = part.token(0) else {
        return Class::write("nothing that could be read");
    };
    if first.kind == TokenKind::Open {
        return query::query(part, parser);
    }
    if first.kind != TokenKind::Word {
        return Class::write("does not start with a verb");
    }
    match Folded::new(first.text).as_bytes() {
        b"select" | b"with" | b"table" | b"values" => query::query(part, parser),
        b"show" => show::show(part),
        b"desc" | b"describe" | b"explain" => show::explain(part, parser),
        b"help" => show::help(part),
        b"checksum" => show::checksum(part),
        b"check" => show::check(part),
        b"insert" | b"replace" => write(part, "inserts rows"),
        b"update" => write(part, "updates rows"),
        b"delete" => write(part, "deletes rows"),
        // What a procedure leaves behind (a last insert id, say) only the server knows.
        b"call" => write(part, "calls a procedure, which may write").need(Needs::UNKNOWN_FUNCTION),
        b"do" => write(part, "runs functions, which may write"),
        b"load" | b"import" => write(part, "loads data"),
        b"create" | b"alter" | b"drop" | b"truncate" | b"rename" => admin::definition(part),
        b"begin" | b"start" => transaction::begin(part),
        b"commit" | b"rollback" | b"savepoint" | b"release" => transaction::end(part),
        b"xa" => transaction::xa(part),
        b"set" => set::set(part, parser),
        b"use" => Class::new(Kind::Session, "changes the schema"),
        b"prepare" | b"execute" | b"deallocate" => session::prepared(part),
        b"lock" | b"unlock" => session::table_locks(part),
        b"handler" => session::handler(part),
        b"get" => session::diagnostics(part),
        b"flush" => session::flush(part),
        b"backup" => session::backup(part),
        b"kill" => Class::new(Kind::Kill, "ends a session or its statement"),
        b"stop" | b"change" | b"reset" | b"purge" | b"clone" | b"shutdown" | b"restart" => {
            admin::server(part)
        }
        b"grant" | b"revoke" => Class::write("changes accounts"),
        b"analyze" | b"optimize" | b"repair" => write(part, "maintains tables"),
        b"binlog" => Class::write("applies binary log events"),
        b"install" | b"uninstall" => Class::write("changes what is loaded into the server"),
        _ => write(part, "not a statement that is known to read"),
    }
}

/// A write, with what its functions and variables leave behind.
fn write(part: &Part<'_>, reason: &'static str) -> Class {
    with_effects(Class::write(reason), &part.facts)
}

/// Adds what holds for every verb: locks taken, variables set, what is needed of the session's
/// past.
fn with_effects(mut class: Class, facts: &Facts) -> Class {
    if facts.takes_lock {
        class = class.pin(Pins::NAMED_LOCK);
    } else if facts.releases_locks {
        class = class.unpin(Pins::NAMED_LOCK);
    }
    if facts.assigns || facts.into_variable {
        class = class.pin(Pins::USER_VARIABLE);
    }
    if facts.calc_found_rows {
        class = class.pin(Pins::FOUND_ROWS);
    }
    if facts.user_variable {
        class = class.need(Needs::USER_VARIABLE);
    }
    if facts.last_insert_id {
        class = class.need(Needs::LAST_INSERT_ID);
    }
    if facts.previous {
        class = class.need(Needs::PREVIOUS);
    }
    class
}

/// Why a statement that looks like a read is none, or none for a replica. None when nothing speaks
/// against it.
///
/// Ordered from what must not be got wrong to what merely reads better on the primary.
fn objection(facts: &Facts) -> Option<Class> {
    let primary = Class::primary;
    let class = if facts.lost {
        Class::write("too many WITH clauses to be told apart")
    } else if facts.write_word {
        Class::write("holds a word that only statements that write have")
    } else if facts.writing_function {
        Class::write("calls a function that writes")
    } else if facts.unknown_function {
        Class::write("calls a function that is not known to be read-only")
            .need(Needs::UNKNOWN_FUNCTION)
    } else if facts.into && !facts.into_variable {
        Class::write("has INTO: writes a file or a variable")
    } else if facts.previous {
        Class::new(Kind::Previous, "asks about the previous statement")
    } else if facts.assigns || facts.into_variable {
        primary("sets a user variable")
    } else if facts.takes_lock {
        primary("takes a named lock")
    } else if facts.locks {
        primary("locks rows (FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE)")
    } else if facts.sets_last_insert_id {
        primary("sets LAST_INSERT_ID for the connection").pin(Pins::VARIABLE)
    } else if facts.last_insert_id {
        primary("asks for the last insert id")
    } else if facts.releases_lock || facts.releases_locks {
        primary("releases a named lock")
    } else if facts.primary_function {
        primary("calls a function whose answer belongs to the primary")
    } else if facts.server_variable {
        primary("reads a variable that may differ from server to server")
    } else if facts.instance_table {
        primary("reads tables about one server")
    } else if facts.connection_id {
        primary("holds CONNECTION_ID() beside other things")
    } else {
        return None;
    };
    Some(with_effects(class, facts))
}

/// A statement that reads by its verb, and needs no parser to be believed.
fn plain_read(part: &Part<'_>, reason: &'static str) -> Class {
    objection(&part.facts)
        .unwrap_or_else(|| with_effects(Class::new(Kind::Read, reason), &part.facts))
}
