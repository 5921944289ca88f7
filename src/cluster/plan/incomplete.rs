//! Servers that are not there (yet): what is known of them all the same, and what is done for the others. Pure.

use super::super::error::ClusterError;
use super::{NodeSeen, Replication, SemiSync, ServerSeen, Step, Wanted, kind, server_steps};

/// What each server is known to be; `None` when one of them has to be asked first.
pub(in crate::cluster) fn servers(
    nodes: &[(u32, NodeSeen)],
    seeded: &[u32],
) -> Option<Vec<(u32, ServerSeen)>> {
    let fresh = ServerSeen {
        blank: true,
        // The usual image has the plugins; where not, the next look says so.
        semi_sync: SemiSync { available: true, ..SemiSync::default() },
        ..ServerSeen::default()
    };
    // A server of a snapshot's data has been made read-only.
    let filled = ServerSeen {
        blank: false,
        has_history: true,
        read_only: true,
        super_read_only: true,
        starts_read_only: true,
        ..fresh
    };
    nodes
        .iter()
        .map(|(number, node)| match (node.server, node.volume) {
            (Some(server), _) => Some((*number, server)),
            (None, false) if seeded.contains(number) => Some((*number, filled)),
            (None, false) => Some((*number, fresh)),
            (None, true) => None,
        })
        .collect()
}

/// What servers that answer need while others do not; gives the primary, where there is no doubt: it was written
/// down, it takes writes, and no other does.
pub(super) fn steps(
    wanted: Wanted,
    nodes: &[(u32, NodeSeen)],
    renewing: &[u32],
    steps: &mut Vec<Step>,
) -> Result<Option<u32>, ClusterError> {
    let answering: Vec<(u32, ServerSeen)> =
        nodes.iter().filter_map(|(number, node)| Some((*number, node.server?))).collect();
    let leads = |server: &ServerSeen| !server.blank && server.source.is_none() && !server.read_only;
    let leaders: Vec<u32> = answering
        .iter()
        .filter(|(number, server)| leads(server) && !renewing.contains(number))
        .map(|(number, _)| *number)
        .collect();
    let (true, [primary]) = (wanted.replication == Replication::Gtid, leaders.as_slice()) else {
        return Ok(None);
    };
    if wanted.primary != Some(*primary) {
        return Ok(None);
    }
    kind::check_mode(wanted, &answering)?;
    let wanted = Wanted { semi_sync: wanted.semi_sync && nodes.len() > 1, ..wanted };
    server_steps(wanted, &answering, renewing, *primary, steps);
    // Whether commits wait for receipts is settled when those are there who could send them.
    steps.retain(|step| !matches!(step, Step::SemiSyncSource { .. }));
    Ok(Some(*primary))
}

impl Step {
    /// The node whose affair alone the step is; `None` for what others stand on, or all.
    pub(in crate::cluster) fn node(self) -> Option<u32> {
        match self {
            Self::CreateVolume(node)
            | Self::PrepareFolder(node)
            | Self::Seed(node)
            | Self::CreateContainer(node)
            | Self::StartContainer(node)
            | Self::WaitHealthy(node)
            | Self::ClearHistory(node)
            | Self::InstallSemiSync(node)
            | Self::LimitSemiSync(node)
            | Self::PrepareGroup(node)
            | Self::JoinGroup(node)
            | Self::LeaveGroup(node)
            | Self::SetReadOnly(node)
            | Self::Clone { node, .. }
            | Self::ConfigureReplica { node, .. }
            | Self::StartReplication { node, .. } => Some(node),
            _ => None,
        }
    }

    /// Whether the step does little but wait for the server.
    pub(in crate::cluster) fn is_wait(self) -> bool {
        matches!(self, Self::WaitHealthy(_))
    }
}
