//! A cluster keeps the kind of replication that it was made with.

use crate::config::Replication;

use super::super::error::ClusterError;
use super::{Seen, ServerSeen, Wanted};

/// As [`super::plan`] does, for changes that are not planned.
pub(in crate::cluster) fn check_kind(wanted: Wanted, seen: &Seen) -> Result<(), ClusterError> {
    let servers: Vec<(u32, ServerSeen)> =
        (1..).zip(&seen.nodes).filter_map(|(number, node)| Some((number, node.server?))).collect();
    check_mode(wanted, &servers)
}

/// A cluster stays with the mode that it was made with: servers of both modes do not understand each other.
pub(super) fn check_mode(
    wanted: Wanted,
    servers: &[(u32, ServerSeen)],
) -> Result<(), ClusterError> {
    let by_position = wanted.replication == Replication::File;
    let other =
        servers.iter().find(|(_, server)| !server.blank && server.by_position != by_position);
    let Some((number, server)) = other else { return Ok(()) };
    let (runs, is) = if server.by_position { ("without", "file") } else { ("with", "gtid") };
    Err(ClusterError::Refused {
        doing: "another kind of replication".to_owned(),
        cause: format!("node {number} holds data and runs {runs} GTIDs"),
        remedy: format!(
            "Write replication = \"{is}\" in [cluster], or make a cluster of another name and load the data \
             into it"
        ),
    })
}
