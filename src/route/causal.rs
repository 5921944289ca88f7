//! Read-your-writes: what a session must see, as a GTID set.

use crate::gtid::GtidSet;
use crate::topology::Topology;

/// Ranges that a token keeps, at most. More are collapsed: gaps between ranges are then taken as
/// wanted too, which can only send a read to a fresher server.
pub const MAX_TOKEN_INTERVALS: usize = 64;

/// What one session must see: the transactions that it wrote and that some server may still lack.
/// Empty (no allocation) for a session that only reads.
#[derive(Debug, Clone, Default)]
pub struct Token {
    set: GtidSet,
}

impl Token {
    /// Adds the GTIDs that an OK packet's session tracker named (`SESSION_TRACK_GTIDS`: text such
    /// as `uuid:7`). `false` when they cannot be read: the caller then treats the write as one
    /// without GTIDs.
    #[must_use = "GTIDs that cannot be read make the write a blind one"]
    pub fn record(&mut self, gtids: &[u8]) -> bool {
        if self.set.insert_text(gtids).is_err() {
            return false;
        }
        if self.set.interval_count() > MAX_TOKEN_INTERVALS {
            self.set.collapse(MAX_TOKEN_INTERVALS);
        }
        true
    }

    /// What the session must see.
    pub fn set(&self) -> &GtidSet {
        &self.set
    }

    /// Drops the token when every server has executed it, so that an idle session keeps nothing.
    /// A server that is down counts as it was last seen: it may come back. Cheap when empty.
    pub fn seen_by_all(&mut self, topology: &Topology) {
        if self.set.is_empty() || topology.servers.is_empty() {
            return;
        }
        if topology.servers.iter().all(|server| server.caught_up(&self.set)) {
            self.set = GtidSet::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::testing::{U, primary, replica, topology};

    #[test]
    fn a_token_grows_and_ends() {
        let mut token = Token::default();
        assert!(token.record(format!("{U}:7").as_bytes()));
        assert!(token.record(format!("{U}:8").as_bytes()));
        assert!(!token.record(b"no GTID"));
        assert_eq!(token.set().interval_count(), 1);

        let behind = topology([primary("1-8"), replica(1, "1-8"), replica(2, "1-7")]);
        token.seen_by_all(&behind);
        assert!(!token.set().is_empty());

        let level = topology([primary("1-8"), replica(1, "1-8"), replica(2, "1-8")]);
        token.seen_by_all(&level);
        assert!(token.set().is_empty());
    }

    #[test]
    fn a_server_never_seen_keeps_the_token() {
        let mut token = Token::default();
        assert!(token.record(format!("{U}:7").as_bytes()));
        let mut unseen = replica(1, "1-8");
        unseen.executed = None;
        token.seen_by_all(&topology([primary("1-8"), unseen]));
        assert!(!token.set().is_empty());
        token.seen_by_all(&Topology::default());
        assert!(!token.set().is_empty());
    }

    #[test]
    fn intervals_are_bounded() {
        let mut token = Token::default();
        for n in 0..1000 {
            assert!(token.record(format!("{U}:{}", 1 + n * 2).as_bytes()));
        }
        assert!(token.set().interval_count() <= MAX_TOKEN_INTERVALS);
        assert!(token.set().contains(&GtidSet::parse(format!("{U}:1999").as_bytes()).unwrap()));
    }
}
