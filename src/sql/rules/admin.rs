//! Definitions of schema objects, and statements that an operator gives to one server.

use super::super::class::Class;
use super::super::part::Part;
use super::super::statement::{Kind, Pins};

/// CREATE, ALTER, DROP, TRUNCATE, RENAME.
pub(super) fn definition(part: &Part<'_>) -> Class {
    let mut at = 1;
    if part.are(at, &["or", "replace"]) {
        at += 2;
    }
    if part.is(0, "create") && part.is(at, "temporary") {
        return super::write(part, "creates a temporary table").pin(Pins::TEMPORARY_TABLE);
    }
    if part.is_any(0, &["create", "alter"]) && defines_program(part) {
        // What stands in the body is not run now, and pins nothing.
        return Class::write("defines a stored program");
    }
    super::write(part, "changes a schema object")
}

/// CREATE [OR REPLACE] [AGGREGATE] [DEFINER = ..] PROCEDURE | FUNCTION | TRIGGER | EVENT | PACKAGE.
fn defines_program(part: &Part<'_>) -> bool {
    let definers = 12;
    (1..definers)
        .take_while(|&at| !part.is_any(at, &["table", "view", "index", "as", "select"]))
        .any(|at| part.is_any(at, &["procedure", "function", "trigger", "event", "package"]))
}

/// STOP, START, CHANGE, RESET, PURGE, CLONE, SHUTDOWN, RESTART: they would hit whichever server is
/// at hand.
pub(super) fn server(part: &Part<'_>) -> Class {
    let harmless_reset =
        part.is(0, "reset") && (part.is(1, "persist") || part.are(1, &["query", "cache"]));
    let denied = match () {
        () if part.is_any(0, &["shutdown", "restart", "clone"]) => true,
        () if part.is_any(0, &["start", "stop"]) => {
            part.is_any(1, &["replica", "slave", "group_replication", "all"])
        }
        () if part.is(0, "change") => part.is_any(1, &["master", "replication"]),
        () if part.is(0, "reset") => !harmless_reset && part.length() > 1,
        () if part.is(0, "purge") => part.is_any(1, &["binary", "master"]),
        () => false,
    };
    if denied {
        Class::new(Kind::Denied, "administers one server, and the cluster is Weir's to keep")
    } else {
        Class::write("not a statement that is known to read")
    }
}
