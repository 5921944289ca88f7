//! What a session knows of itself when a statement is to be executed.

use crate::gtid::GtidSet;
use crate::sql::Pins;
use crate::topology::ServerId;

/// The state of one session, as the servers reported it (status flags and session trackers), not
/// as statement texts promised it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `SERVER_STATUS_IN_TRANS`
    pub in_transaction: bool,
    /// `SERVER_STATUS_IN_TRANS_READONLY`
    pub transaction_read_only: bool,
    /// `SERVER_STATUS_AUTOCOMMIT`
    pub autocommit: bool,
    /// Why the session must keep its connection; empty when nothing binds it.
    pub pins: Pins,
    /// The server of the connection that the session holds now.
    pub held: Option<ServerId>,
    /// The server that ran the last statement. Whether its connection is still held, `held` says.
    pub previous: Option<ServerId>,
    /// What this session must see.
    pub token: &'a GtidSet,
    /// It wrote where no GTID came back, and the time window after that write is not over.
    pub wrote_blind: bool,
    /// The session's `transaction_isolation`.
    pub isolation: Isolation,
    /// The client may send several statements in one text (`CLIENT_MULTI_STATEMENTS` or
    /// `COM_SET_OPTION`).
    pub multi_statements: bool,
}

impl<'a> Facts<'a> {
    /// A session that has just logged in and must see `token`.
    pub fn fresh(token: &'a GtidSet) -> Self {
        Self {
            in_transaction: false,
            transaction_read_only: false,
            autocommit: true,
            pins: Pins::NONE,
            held: None,
            previous: None,
            token,
            wrote_blind: false,
            isolation: Isolation::Default,
            multi_statements: true,
        }
    }
}

/// `transaction_isolation` of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Never set by the session: the server's own.
    #[default]
    Default,
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    /// Reads the value of `transaction_isolation` as servers print it: `READ-COMMITTED`, with `-`
    /// or a space, in any case. `None` for anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let same = |name: &[u8]| {
            value.len() == name.len()
                && value
                    .iter()
                    .zip(name)
                    .all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b' ' && *b == b'-'))
        };
        [
            (&b"read-uncommitted"[..], Self::ReadUncommitted),
            (b"read-committed", Self::ReadCommitted),
            (b"repeatable-read", Self::RepeatableRead),
            (b"serializable", Self::Serializable),
        ]
        .into_iter()
        .find_map(|(name, level)| same(name).then_some(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_names() {
        for (text, want) in [
            ("READ-COMMITTED", Some(Isolation::ReadCommitted)),
            ("read uncommitted", Some(Isolation::ReadUncommitted)),
            ("Repeatable-Read", Some(Isolation::RepeatableRead)),
            ("SERIALIZABLE", Some(Isolation::Serializable)),
            ("SERIALIZABLE ", None),
            ("", None),
        ] {
            assert_eq!(Isolation::parse(text.as_bytes()), want, "{text}");
        }
    }
}
