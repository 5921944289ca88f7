//! Why a statement goes where it goes, in words.

use std::borrow::Cow;

use super::facts::Isolation;
use crate::sql::Pins;

/// Why a statement goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What the statement is.
    Statement(&'static str),
    InTransaction,
    InReadOnlyTransaction,
    /// State on the held connection that cannot be replayed.
    Pinned(Pins),
    /// The same, on a replica, and the statement is not a read.
    PinnedToReplica(Pins),
    AutocommitOff,
    Isolation(Isolation),
    /// A write without a GTID lies less than the window back.
    WroteBlind,
    LastInsertId,
    UserVariable,
    UnknownFunction,
    /// Several statements in a text of a client that may not send them: the server refuses it.
    SeveralNotAllowed,
    /// It asks about the last statement.
    AboutLastStatement,
    /// It asks about the last statement, and there was none.
    NoLastStatement,
    /// Replicas are usable, but none has the session's writes.
    NotCaughtUp,
    NoUsableReplica,
}

impl Reason {
    /// The reason as one clause.
    pub fn words(self) -> Cow<'static, str> {
        let fixed = match self {
            Self::Statement(reason) => reason,
            Self::InTransaction => "in a transaction",
            Self::InReadOnlyTransaction => "in a READ ONLY transaction",
            Self::Pinned(pins) => return format!("pinned: {}", pins.words().join(", ")).into(),
            Self::PinnedToReplica(pins) => {
                return format!("pinned to a replica: {}", pins.words().join(", ")).into();
            }
            Self::AutocommitOff => "autocommit is off",
            Self::Isolation(Isolation::Serializable) => "isolation level SERIALIZABLE locks rows",
            Self::Isolation(Isolation::ReadUncommitted) => {
                "isolation level READ UNCOMMITTED reads what only the primary has"
            }
            Self::Isolation(_) => "isolation level",
            Self::WroteBlind => "the session wrote a moment ago, and the server gave no GTID",
            Self::LastInsertId => "uses the session's last insert id",
            Self::UserVariable => "reads a user variable",
            Self::UnknownFunction => "calls a function that is not known to be read-only",
            Self::SeveralNotAllowed => {
                "several statements, but the client did not ask for multi-statements"
            }
            Self::AboutLastStatement => "asks about the previous statement",
            Self::NoLastStatement => "asks about the previous statement, but there was none",
            Self::NotCaughtUp => "no replica is caught up with this session's writes",
            Self::NoUsableReplica => "no usable replica",
        };
        Cow::Borrowed(fixed)
    }
}
