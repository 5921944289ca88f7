//! MySQL Group Replication with one primary, which the servers elect by Paxos: Weir founds the group, lets members
//! join, and follows whom they elect. It neither opens nor fences a server here, and fails nothing over; but a primary
//! that only says that it is well is ended.
//!
//! | file | does |
//! |---|---|
//! | `seen` | what a member says of its group, as plain values; pure |
//! | `plan` | which member founds, joins or leaves; pure |
//! | `options` | mysqld's options; pure |
//! | `steps` | takes the steps |
//! | `switchover` | has the group elect another primary |
//! | `oust` | ends a primary that cannot commit |
//!
//! A group is founded once. Afterwards it is founded again only when no member is in it any more, all of them
//! were seen, and by one that has everything that any of them has, executed or received.

mod options;
mod oust;
mod plan;
mod seen;
mod steps;
mod switchover;

pub(super) use options::{defaults, options};
pub(super) use oust::oust;
pub(super) use plan::{founder_without, plan, primary};
pub(super) use seen::{GroupSeen, Member};
pub(super) use steps::{found, join, leave, look, prepare};
pub(super) use switchover::switchover;

use crate::config::Cluster;
use crate::gtid::GtidSet;

use super::error::ClusterError;
use super::plan::{Step, apparent_primary};
use super::state::State;
use super::world::{Facts, NodeFacts, World};

/// A cluster stays of the kind that it was made.
pub(super) fn check_kind(cluster: &Cluster, state: &State) -> Result<(), ClusterError> {
    if cluster.is_group() == state.group.is_some() {
        return Ok(());
    }
    let kind = |group: bool| if group { "group" } else { "gtid" };
    Err(ClusterError::Refused {
        doing: format!(
            "working on cluster {} with replication = \"{}\"",
            cluster.name,
            kind(cluster.is_group())
        ),
        cause: format!("it was made with replication = \"{}\"", kind(state.group.is_some())),
        remedy: "Put that back, or make a cluster of another name and bring the data there"
            .to_owned(),
    })
}

/// Nodes that have everything that any node has, executed or received. Those that are empty or given up do not
/// count.
pub(super) fn complete(nodes: &[NodeFacts], renewing: &[u32]) -> Vec<u32> {
    let sets: Vec<(u32, GtidSet)> = nodes
        .iter()
        .filter(|node| !renewing.contains(&node.number))
        .filter_map(|node| Some((node.number, node.server.as_ref()?)))
        .filter(|(_, server)| !server.seen.blank)
        .map(|(number, server)| {
            let mut set = GtidSet::parse(server.executed.as_bytes()).unwrap_or_default();
            set.union(&GtidSet::parse(server.received.as_bytes()).unwrap_or_default());
            (number, set)
        })
        .collect();
    let has_all = |set: &GtidSet| sets.iter().all(|(_, other)| set.contains(other));
    sets.iter().filter(|(_, set)| has_all(set)).map(|(number, _)| *number).collect()
}

/// The error of a step, with what it means where no group runs: the missing node may have what others lack.
pub(super) fn explain(
    world: &World,
    facts: &Facts,
    step: Step,
    error: ClusterError,
) -> ClusterError {
    let (Step::StartContainer(number) | Step::WaitHealthy(number)) = step else { return error };
    let runs = apparent_primary(&facts.seen(), world.state.primary).is_some();
    let Some(_made) = world.state.primary.filter(|_| world.cluster.is_group() && !runs) else {
        return error;
    };
    let name = world.name(number);
    ClusterError::Refused {
        doing: "founding the group again".to_owned(),
        cause: format!(
            "no group runs any more, and {name}, which may have transactions that the others lack, is not \
             there: {error}"
        ),
        remedy: format!(
            "Bring {name} back; or, if its data is lost, give up what only it has: `weir cluster replace {name}`"
        ),
    }
}
