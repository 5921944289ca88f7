//! Whose data a snapshot takes. Pure.

use crate::topology::Role;

use super::error::SnapshotError;
use crate::cluster::view::NodeView;

/// The node to copy from: the one that is named, else the replica that has most, else the primary.
pub(super) fn choose<'a>(
    nodes: &'a [NodeView],
    from: Option<&str>,
) -> Result<&'a NodeView, SnapshotError> {
    let answers = |node: &&NodeView| !node.version.is_empty();
    if let Some(from) = from {
        let named = nodes.iter().find(|node| node.name == from).ok_or_else(|| {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            SnapshotError::NoDonor(format!(
                "there is no node {from}. There are: {}",
                names.join(", ")
            ))
        })?;
        return Some(named).filter(answers).ok_or_else(|| {
            SnapshotError::NoDonor(format!(
                "{from} does not answer; `weir cluster status` says more"
            ))
        });
    }
    let follows = |node: &&NodeView| {
        node.replication.as_ref().is_some_and(|replication| {
            replication.receiver == "Yes" && replication.applier == "Yes"
        })
    };
    let behind = |node: &&NodeView| {
        node.replication.as_ref().and_then(|replication| replication.behind).unwrap_or(u64::MAX)
    };
    let replicas = nodes.iter().filter(answers).filter(|node| node.role == Role::Replica);
    let primary = || nodes.iter().filter(answers).find(|node| node.role == Role::Primary);
    replicas.filter(follows).min_by_key(behind).or_else(primary).ok_or_else(|| {
        SnapshotError::NoDonor(
            "no replica follows the primary and no primary answers, so there is nothing to copy from; \
             `weir cluster status` says more, --from NODE takes one all the same"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::node_view;
    use crate::cluster::view::ReplicationView;

    fn node(number: u32, role: Role, behind: Option<u64>, applier: &str) -> NodeView {
        let replication = (role == Role::Replica).then(|| ReplicationView {
            source: "t-1".to_owned(),
            receiver: "Yes".to_owned(),
            applier: applier.to_owned(),
            behind,
            error: String::new(),
            member: None,
        });
        node_view(number, role, replication)
    }

    #[test]
    fn the_replica_that_has_most_else_the_primary() {
        let primary = node(1, Role::Primary, None, "");
        let late = node(2, Role::Replica, Some(7), "Yes");
        let near = node(3, Role::Replica, Some(2), "Yes");
        let stopped = node(4, Role::Replica, Some(0), "No");
        let mut silent = node(5, Role::Replica, Some(0), "Yes");
        silent.version = String::new();
        let chosen = |nodes: &[NodeView], from: Option<&str>| {
            choose(nodes, from).map(|node| node.name.clone())
        };
        let all = [primary.clone(), late, near, stopped.clone(), silent];
        assert_eq!(chosen(&all, None), Ok("t-3".to_owned()));
        assert_eq!(chosen(&all, Some("t-2")), Ok("t-2".to_owned()));
        assert_eq!(chosen(&all, Some("t-1")), Ok("t-1".to_owned()));
        assert_eq!(chosen(&[primary, stopped.clone()], None), Ok("t-1".to_owned()));
        assert!(chosen(&[stopped], None).is_err());
        assert!(chosen(&[], None).is_err());
        for (from, words) in [("t-5", "does not answer"), ("t-9", "t-1, t-2")] {
            let error = chosen(&all, Some(from)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
