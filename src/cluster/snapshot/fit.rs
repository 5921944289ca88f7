//! Whether a node can be made of a snapshot's data. Pure.

use crate::cluster::plan::REPLAY_MOST_BYTES;
use crate::gtid::GtidSet;

use super::SnapshotView;

/// The server that the node shall follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary {
    pub executed: GtidSet,
    /// The part of it that is no longer in the binary logs.
    pub purged: GtidSet,
    /// "9.7.4-2"
    pub version: String,
    /// What all its binary logs take.
    pub log_bytes: u64,
}

/// The newest snapshot of which `node` can be made; `snapshots` are in the order of their age, the oldest first.
pub(super) fn choose<'a>(
    snapshots: &'a [SnapshotView],
    node: &str,
    primary: &Primary,
) -> Option<&'a SnapshotView> {
    snapshots.iter().rev().find(|snapshot| match judge(snapshot, node, primary) {
        Ok(()) => true,
        Err(why) => {
            tracing::debug!(snapshot = snapshot.name, node, why, "not used for this node");
            false
        }
    })
}

/// Why the node cannot be made of it, or should not.
fn judge(snapshot: &SnapshotView, node: &str, primary: &Primary) -> Result<(), &'static str> {
    if !snapshot.seeds {
        return Err("it lacks accounts that were taken out of it");
    }
    if snapshot.version != primary.version {
        return Err("it is of another version than the primary");
    }
    if snapshot.from == node {
        // Were that data right, nobody would make it anew: GTIDs do not tell of rows that differ.
        return Err("it was taken of this node itself");
    }
    let has =
        GtidSet::parse(snapshot.gtid.as_bytes()).map_err(|_wrong| "its position is unreadable")?;
    if has.is_empty() {
        return Err("it is of no history");
    }
    if !primary.executed.contains(&has) {
        return Err("it has transactions that the primary has not");
    }
    if !has.contains(&primary.purged) {
        return Err("the primary's binary logs do not reach back to it");
    }
    if bytes_to_replay(&has, primary) > snapshot.bytes.max(REPLAY_MOST_BYTES) {
        return Err("the primary has written more since than a copy of the data takes");
    }
    Ok(())
}

/// The binary logs' share of the transactions that are missing.
fn bytes_to_replay(has: &GtidSet, primary: &Primary) -> u64 {
    let missing = u128::from(has.missing(&primary.executed));
    let in_logs = u128::from(primary.purged.missing(&primary.executed)).max(1);
    u64::try_from(u128::from(primary.log_bytes) * missing / in_logs).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(intervals: &str) -> GtidSet {
        GtidSet::parse(format!("{UUID}{intervals}").as_bytes()).unwrap()
    }

    fn primary(executed: &str, purged: &str) -> Primary {
        let purged = if purged.is_empty() { GtidSet::new() } else { set(purged) };
        Primary { executed: set(executed), purged, version: "9.7.4".to_owned(), log_bytes: 1 << 20 }
    }

    fn snapshot(name: &str, intervals: &str) -> SnapshotView {
        SnapshotView {
            name: name.to_owned(),
            image: format!("weir-snapshot/t:{name}"),
            gtid: format!("{UUID}{intervals}"),
            version: "9.7.4".to_owned(),
            created: String::new(),
            from: "t-2".to_owned(),
            bytes: 100 << 20,
            seeds: true,
            copies: Vec::new(),
        }
    }

    #[test]
    fn the_newest_that_fits() {
        let all = [snapshot("a", ":1-5"), snapshot("b", ":1-7"), snapshot("c", ":1-9")];
        let chosen = |node: &str, executed: &str, purged: &str| {
            choose(&all, node, &primary(executed, purged)).map(|snapshot| snapshot.name.as_str())
        };
        assert_eq!(chosen("t-3", ":1-20", ""), Some("c"));
        assert_eq!(chosen("t-3", ":1-20", ":1-9"), Some("c"));
        // The newest has what was lost in a failover.
        assert_eq!(chosen("t-3", ":1-8", ""), Some("b"));
        assert_eq!(chosen("t-3", ":1-8", ":1-6"), Some("b"));
        assert_eq!(chosen("t-3", ":1-20", ":1-10"), None);
        assert_eq!(chosen("t-3", ":1-4", ""), None);
        assert_eq!(chosen("t-2", ":1-20", ""), None);
        assert_eq!(choose(&[], "t-3", &primary(":1-9", "")), None);
    }

    #[test]
    fn what_does_not_fit_is_not_used() {
        type Change = fn(&mut SnapshotView, &mut Primary);
        let changes: [(Change, &str); 6] = [
            (|snapshot, _| snapshot.seeds = false, "accounts"),
            (|snapshot, _| snapshot.version = "9.7.3".to_owned(), "version"),
            (|snapshot, _| snapshot.gtid.clear(), "no history"),
            (|snapshot, _| snapshot.gtid = "x".to_owned(), "unreadable"),
            (|snapshot, _| snapshot.gtid.push_str(":tag:1"), "has not"),
            (|_, primary| primary.log_bytes = 1 << 30, "since"),
        ];
        for (change, words) in changes {
            let (mut snapshot, mut primary) = (snapshot("a", ":1-10"), primary(":1-20", ""));
            assert_eq!(judge(&snapshot, "t-3", &primary), Ok(()));
            change(&mut snapshot, &mut primary);
            let why = judge(&snapshot, "t-3", &primary).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn what_is_replayed_is_the_logs_share() {
        let mut primary = primary(":1-1000", ":1-500");
        primary.log_bytes = 1_000_000;
        for (has, bytes) in [(":1-1000", 0), (":1-500", 1_000_000), (":1-750", 500_000)] {
            assert_eq!(bytes_to_replay(&set(has), &primary), bytes, "{has}");
        }
    }
}
