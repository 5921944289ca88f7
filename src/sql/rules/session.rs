//! Statements that leave something on their connection: text PREPARE, LOCK TABLES, HANDLER, FLUSH
//! .. LOCK.

use super::super::class::Class;
use super::super::part::Part;
use super::super::statement::{Kind, Needs, Pins};

/// PREPARE, EXECUTE, DEALLOCATE. How many are left after DEALLOCATE is not told by text, so the pin
/// stays.
pub(super) fn prepared(part: &Part<'_>) -> Class {
    if part.is(0, "prepare") {
        super::write(part, "prepares a statement by name").pin(Pins::TEXT_PREPARED)
    } else if part.are(0, &["execute", "immediate"]) {
        super::write(part, "runs a text that is not seen").pin(Pins::UNKNOWN)
    } else {
        super::write(part, "uses a statement prepared by name")
    }
}

/// LOCK TABLES, LOCK INSTANCE, and what ends them.
pub(super) fn table_locks(part: &Part<'_>) -> Class {
    match (part.is(0, "lock"), part.is(1, "instance")) {
        (true, true) => Class::write("locks the server for a backup").pin(Pins::INSTANCE_LOCK),
        (true, false) => Class::write("locks tables").pin(Pins::TABLE_LOCK),
        (false, true) => Class::write("ends the backup lock").unpin(Pins::INSTANCE_LOCK),
        (false, false) => {
            Class::write("unlocks tables").unpin(Pins::TABLE_LOCK.with(Pins::GLOBAL_LOCK))
        }
    }
}

/// HANDLER t OPEN. Others may be open when one is closed, so the pin stays.
pub(super) fn handler(part: &Part<'_>) -> Class {
    super::write(part, "works on a table's cursor (HANDLER)").pin(Pins::HANDLER)
}

/// GET DIAGNOSTICS reads what the previous statement left, into variables.
pub(super) fn diagnostics(_part: &Part<'_>) -> Class {
    Class::new(Kind::Previous, "reads the diagnostics of the previous statement")
        .pin(Pins::USER_VARIABLE)
        .need(Needs::PREVIOUS)
}

/// FLUSH, of which some forms hold a lock afterwards.
pub(super) fn flush(part: &Part<'_>) -> Class {
    let has = |word| part.tokens().any(|token| token.is_word(word));
    let mut at = 1;
    while part.is_any(at, &["local", "no_write_to_binlog"]) {
        at += 1;
    }
    let class = Class::write("flushes");
    if part.is_any(at, &["table", "tables"]) && (has("lock") || has("export")) {
        // All tables: the global read lock. Named ones: table locks.
        let all = part.are(at + 1, &["with", "read", "lock"]);
        return class.pin(if all { Pins::GLOBAL_LOCK } else { Pins::TABLE_LOCK });
    }
    class
}

/// MariaDB's BACKUP STAGE and BACKUP LOCK.
pub(super) fn backup(part: &Part<'_>) -> Class {
    if part.is_any(1, &["unlock"]) || part.are(1, &["stage", "end"]) {
        Class::write("ends a backup lock").unpin(Pins::INSTANCE_LOCK)
    } else {
        Class::write("takes a backup lock").pin(Pins::INSTANCE_LOCK)
    }
}
