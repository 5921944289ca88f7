//! The difference between the cluster that is wanted and the one that is seen, as named steps. Pure.
//!
//! What is seen may be incomplete: a server that does not run yet tells nothing. Steps that depend on
//! its answer are left out (`complete` is false) unless its volume is missing, for then it is sure to
//! start empty. It keeps no other server from being mended where the primary is known. Nothing here ever plans to empty or rewind a server that holds anything of anybody's.

mod incomplete;
mod kind;

use crate::config::{Pull, Replication};

use super::error::ClusterError;
use super::group::{self, GroupSeen};
use super::node;
pub(super) use incomplete::servers;
pub(super) use kind::check_kind;

/// What a blank replica may replay from the binary logs; beyond that copying the data is quicker.
pub(super) const REPLAY_MOST_BYTES: u64 = 64 << 20;
/// A replica that lacks more than this is not copied from: the copy would have to catch up on it again.
pub(super) const DONOR_MOST_BEHIND_TRANSACTIONS: u64 = 1_000;

/// One thing to do. Each is harmless when it is done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    PullImage,
    /// Have mysqld judge its options in a container of its own, before a node that runs is stopped; no
    /// container of a node is made without that either.
    CheckOptions,
    CreateNetwork,
    CreateVolume(u32),
    /// A folder of the engine's host, made and checked.
    PrepareFolder(u32),
    /// Create the volume with the data of the newest snapshot that fits; a copy of another node's data follows
    /// when that fails.
    Seed(u32),
    CreateContainer(u32),
    StartContainer(u32),
    /// Until the server lets root in.
    WaitHealthy(u32),
    /// In order, within a minute.
    StopContainer(u32),
    RemoveContainer(u32),
    /// With the data; only on an operator's word.
    RemoveVolume(u32),
    /// The same of a folder of the host.
    RemoveFolder(u32),
    /// Write down that the node's data is given up, on an operator's word or where nothing is lost by that: from then
    /// on it is copied anew.
    GiveUpData(u32),
    /// Replace what the node has, which is nothing or given up, by a copy of the donor's data.
    Clone {
        node: u32,
        donor: u32,
    },
    /// Forget GTIDs of an *empty* server's own first start; checked again right before.
    ClearHistory(u32),
    InstallSemiSync(u32),
    /// How many receipts a commit waits for, and how long, when the node is the primary.
    LimitSemiSync(u32),
    /// On the primary, from where they replicate.
    CreateAccounts(u32),
    SetReadOnly(u32),
    /// Finish a move of the role that was cut off: the node was written down as the primary, but replicates.
    Promote(u32),
    /// Let the primary take writes; at its next start it is read-only again, until it is known to be the
    /// primary still.
    MakeWritable(u32),
    /// Point the node at the source and start; refused when the histories do not fit.
    ConfigureReplica {
        node: u32,
        source: u32,
    },
    /// Start threads that are stopped, and wait for them; refused where they would stop at the same place again.
    StartReplication {
        node: u32,
        source: u32,
    },
    /// Install the group's plugin, and see to it that the server starts read-only and founds no group by itself.
    PrepareGroup(u32),
    /// Begin the group anew with this one member; looked into again right before, since two groups would take
    /// writes that exclude each other.
    FoundGroup(u32),
    /// Until it is ONLINE.
    JoinGroup(u32),
    LeaveGroup(u32),
    /// Whether commits on the node wait for a replica's receipt.
    SemiSyncSource {
        node: u32,
        on: bool,
    },
}

impl Step {
    /// Whether the step needs no server that answers; the others talk to servers.
    pub fn is_of_engine(self) -> bool {
        matches!(
            self,
            Self::PullImage
                | Self::CheckOptions
                | Self::CreateNetwork
                | Self::CreateVolume(_)
                | Self::PrepareFolder(_)
                | Self::Seed(_)
                | Self::CreateContainer(_)
                | Self::StartContainer(_)
                | Self::WaitHealthy(_)
                | Self::StopContainer(_)
                | Self::RemoveContainer(_)
                | Self::RemoveVolume(_)
                | Self::RemoveFolder(_)
                | Self::GiveUpData(_)
        )
    }

    /// The step in words, for operators.
    pub fn text(self, cluster: &str) -> String {
        let name = |number| node::name(cluster, number);
        match self {
            Self::PullImage => "pull the image".to_owned(),
            Self::CheckOptions => "check mysqld's options".to_owned(),
            Self::CreateNetwork => format!("create network {}", node::network_name(cluster)),
            Self::CreateVolume(n) => format!("create volume {}", name(n)),
            Self::PrepareFolder(n) => format!("prepare the data folder of {}", name(n)),
            Self::Seed(n) => format!("create volume {} with the data of a snapshot", name(n)),
            Self::CreateContainer(n) => format!("create container {}", name(n)),
            Self::StartContainer(n) => format!("start container {}", name(n)),
            Self::WaitHealthy(n) => format!("wait until {} answers", name(n)),
            Self::StopContainer(n) => format!("stop {}", name(n)),
            Self::RemoveContainer(n) => format!("remove container {}", name(n)),
            Self::RemoveVolume(n) => format!("remove volume {} with its data", name(n)),
            Self::RemoveFolder(n) => format!("remove the data folder of {}", name(n)),
            Self::GiveUpData(n) => format!("give up the data of {}", name(n)),
            Self::Clone { node, donor } => {
                format!("copy the data of {} to {}", name(donor), name(node))
            }
            Self::ClearHistory(n) => format!("clear the first start's history on {}", name(n)),
            Self::InstallSemiSync(n) => format!("install the semi-sync plugins on {}", name(n)),
            Self::LimitSemiSync(n) => format!("set acknowledgements and timeout on {}", name(n)),
            Self::CreateAccounts(n) => {
                format!("create the accounts and the database on {}", name(n))
            }
            Self::SetReadOnly(n) => format!("make {} read-only", name(n)),
            Self::Promote(n) => format!("make {} the primary", name(n)),
            Self::MakeWritable(n) => format!("let {} take writes", name(n)),
            Self::ConfigureReplica { node, source } => {
                format!("make {} replicate from {}", name(node), name(source))
            }
            Self::StartReplication { node, source } => {
                format!("start replication on {} from {}", name(node), name(source))
            }
            Self::PrepareGroup(n) => format!("make {} ready for the group", name(n)),
            Self::FoundGroup(n) => format!("found the group with {}", name(n)),
            Self::JoinGroup(n) => format!("let {} join the group", name(n)),
            Self::LeaveGroup(n) => format!("take {} out of the group", name(n)),
            Self::SemiSyncSource { node, on: true } => {
                format!("make commits on {} wait for a replica", name(node))
            }
            Self::SemiSyncSource { node, on: false } => {
                format!("let commits on {} not wait for replicas", name(node))
            }
        }
    }
}

/// What the configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// How many: the primary and the replicas.
    pub nodes: u32,
    pub semi_sync: bool,
    pub semi_sync_limits: SemiSyncLimits,
    /// When the image is fetched.
    pub pull: Pull,
    /// The node that was written down as the primary; it is, unless the servers say otherwise.
    pub primary: Option<u32>,
    pub replication: Replication,
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub image: bool,
    pub network: bool,
    /// Node n at n - 1; with gaps where a number is not in use.
    pub nodes: Vec<NodeSeen>,
    /// Nodes whose data was given up, on an operator's word.
    pub renewing: Vec<u32>,
    /// Nodes without a volume for whose data a snapshot would do.
    pub seeds: Vec<u32>,
}

/// What a node has its data in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Volume,
    Folder,
    /// The container's own layer.
    Container,
}

/// One node as seen; nothing of it exists by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// Where its data is, or shall be.
    pub place: Place,
    /// Whether that place is there.
    pub volume: bool,
    pub container: Life,
    /// What the server said, when it lets root in.
    pub server: Option<ServerSeen>,
}

/// How far a container has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Life {
    #[default]
    Missing,
    /// Created, exited, paused, dead, or not in the cluster's network.
    Stopped,
    /// Running, or being restarted by the engine.
    Running,
}

/// One server, as far as planning needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerSeen {
    /// No database and no account beside MySQL's own and root's, and no source.
    pub blank: bool,
    /// `gtid_executed` is not empty.
    pub has_history: bool,
    /// How many transactions are in `gtid_executed`.
    pub executed: u64,
    /// Some of them are no longer in the binary logs.
    pub purged: bool,
    /// It runs without GTIDs.
    pub by_position: bool,
    /// What all binary logs together take.
    pub log_bytes: u64,
    pub read_only: bool,
    pub super_read_only: bool,
    /// It will be read-only at its next start.
    pub starts_read_only: bool,
    pub source: Option<SourceSeen>,
    pub semi_sync: SemiSync,
    /// Weir's accounts, the application's and its database are there, and the passwords are right.
    pub accounts: bool,
    /// What it says of its group, where one is wanted.
    pub group: Option<GroupSeen>,
}

/// Where a server replicates from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSeen {
    /// The number, when it is one of ours.
    pub node: Option<u32>,
    pub receiver: bool,
    pub applier: bool,
}

/// The semi-sync plugins of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SemiSync {
    /// The files are there to be installed.
    pub available: bool,
    /// Both are installed and the replica's side is on.
    pub ready: bool,
    pub source_on: bool,
    pub limits: SemiSyncLimits,
}

/// For commits on a primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SemiSyncLimits {
    /// Receipts that each waits for.
    pub acks: u32,
    /// How long it waits.
    pub timeout_ms: u64,
}

/// What to do, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The node that takes writes, where that is known.
    pub primary: Option<u32>,
    /// Whether these are all the steps: false while some server's answer is missing.
    pub complete: bool,
}

/// Compares. An error means that the servers contradict each other and no step is safe.
pub fn plan(wanted: Wanted, seen: &Seen) -> Result<Plan, ClusterError> {
    let nodes: Vec<(u32, NodeSeen)> = members(&seen.in_use(), wanted.nodes)
        .into_iter()
        .map(|number| {
            let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
            (number, seen.nodes.get(at).cloned().unwrap_or_default())
        })
        .collect();
    let mut steps = Vec::new();
    let seeded = to_seed(wanted, seen, &nodes);
    engine_steps(wanted, seen, &nodes, &seeded, &mut steps);
    if wanted.replication == Replication::Group {
        return group::plan(wanted, &seen.renewing, &nodes, steps);
    }
    let renewing: Vec<u32> =
        seen.renewing.iter().copied().filter(|number| !seeded.contains(number)).collect();
    let Some(servers) = servers(&nodes, &seeded) else {
        let primary = incomplete::steps(wanted, &nodes, &renewing, &mut steps)?;
        return Ok(Plan { steps, primary, complete: false });
    };
    kind::check_mode(wanted, &servers)?;
    let primary = choose_primary(&servers, wanted.primary, &seen.renewing)?;
    let wanted = Wanted { semi_sync: wanted.semi_sync && servers.len() > 1, ..wanted };
    server_steps(wanted, &servers, &renewing, primary, &mut steps);
    Ok(Plan { steps, primary: Some(primary), complete: true })
}

/// The nodes of the cluster: those in use, also beyond the wanted number, and the smallest free
/// numbers until there are enough.
pub fn members(in_use: &[u32], wanted: u32) -> Vec<u32> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let missing = wanted.saturating_sub(in_use.len());
    let free = (1..).filter(|number| !in_use.contains(number)).take(missing);
    let mut all: Vec<u32> = in_use.iter().copied().chain(free).collect();
    all.sort_unstable();
    all
}

/// The primary as far as the servers that answer can tell; for looking, not for changing.
pub fn apparent_primary(seen: &Seen, recorded: Option<u32>) -> Option<u32> {
    let answering: Vec<(u32, ServerSeen)> =
        (1..).zip(&seen.nodes).filter_map(|(number, node)| Some((number, node.server?))).collect();
    if answering.iter().any(|(_, server)| server.group.is_some()) {
        return group::primary(&answering);
    }
    if answering.iter().all(|(_, server)| server.blank) {
        return None;
    }
    choose_primary(&answering, recorded, &seen.renewing).ok()
}

/// Everything that has to exist and run before a server can be asked.
fn engine_steps(
    wanted: Wanted,
    seen: &Seen,
    nodes: &[(u32, NodeSeen)],
    seeded: &[u32],
    steps: &mut Vec<Step>,
) {
    let makes = nodes.iter().any(|(_, node)| node.container == Life::Missing);
    if makes && (!seen.image || wanted.pull == Pull::Always) {
        steps.push(Step::PullImage);
    }
    if !seen.network {
        steps.push(Step::CreateNetwork);
    }
    let mut each = |wants: &dyn Fn(&NodeSeen) -> bool, step: &dyn Fn(u32) -> Step| {
        steps.extend(nodes.iter().filter(|(_, node)| wants(node)).map(|(number, _)| step(*number)));
    };
    let lacks = |place: Place| move |node: &NodeSeen| !node.volume && node.place == place;
    each(&lacks(Place::Volume), &|number| match seeded.contains(&number) {
        true => Step::Seed(number),
        false => Step::CreateVolume(number),
    });
    each(&lacks(Place::Folder), &Step::PrepareFolder);
    each(&|node| node.container == Life::Missing, &Step::CreateContainer);
    each(&|node| node.container != Life::Running, &Step::StartContainer);
    // One that runs and is silent may stay so: those that are started now come before it.
    let waits = |runs: bool| {
        move |node: &NodeSeen| node.server.is_none() && (node.container == Life::Running) == runs
    };
    each(&waits(false), &Step::WaitHealthy);
    each(&waits(true), &Step::WaitHealthy);
}

/// The one server that holds data, replicates from nobody and is writable; where none is, the one that was
/// written down; of empty ones the first. A server whose data was given up is none of them.
fn choose_primary(
    servers: &[(u32, ServerSeen)],
    recorded: Option<u32>,
    renewing: &[u32],
) -> Result<u32, ClusterError> {
    let servers: Vec<(u32, ServerSeen)> =
        servers.iter().copied().filter(|(number, _)| !renewing.contains(number)).collect();
    let list = |numbers: &[u32]| {
        let words: Vec<String> = numbers.iter().map(|number| format!("node {number}")).collect();
        words.join(" and ")
    };
    let numbers = |pick: &dyn Fn(&ServerSeen) -> bool| -> Vec<u32> {
        servers.iter().filter(|(_, server)| pick(server)).map(|(number, _)| *number).collect()
    };
    let writable = numbers(&|server| !server.blank && server.source.is_none() && !server.read_only);
    match writable.as_slice() {
        [one] => return Ok(*one),
        [] => {}
        several => {
            return Err(ClusterError::Undecided(format!(
                "{} each hold data, take writes and replicate from nobody, so each could be the primary",
                list(several)
            )));
        }
    }
    let holding = numbers(&|server| !server.blank);
    if let Some(recorded) = recorded.filter(|number| holding.contains(number)) {
        return Ok(recorded);
    }
    if let [first, ..] = numbers(&|_| true).as_slice()
        && holding.is_empty()
        && renewing.is_empty()
    {
        return Ok(*first);
    }
    let sources: Vec<u32> = servers
        .iter()
        .filter_map(|(_, server)| server.source.and_then(|source| source.node))
        .collect();
    let words = match sources.first() {
        _ if holding.is_empty() => {
            format!("{} shall be copied anew, but no other node holds data to copy", list(renewing))
        }
        Some(source) if !holding.contains(source) => format!(
            "{} hold data and replicate from node {source}, which is empty: its data is gone",
            list(&holding)
        ),
        _ => format!("{} hold data, but none of them takes writes", list(&holding)),
    };
    Err(ClusterError::Undecided(words))
}

/// Everything that is said to servers, the primary first, so that replicas find what they need.
fn server_steps(
    wanted: Wanted,
    servers: &[(u32, ServerSeen)],
    renewing: &[u32],
    primary: u32,
    steps: &mut Vec<Step>,
) {
    let semi_sync = wanted.semi_sync;
    let lacks_semi_sync =
        |server: &ServerSeen| semi_sync && server.semi_sync.available && !server.semi_sync.ready;
    let by_position = wanted.replication == Replication::File;
    let copied = to_copy(servers, renewing, primary, by_position);
    for (number, server) in servers.iter().filter(|(number, _)| !copied.contains(number)) {
        if server.blank && server.has_history {
            steps.push(Step::ClearHistory(*number));
        }
        if lacks_semi_sync(server) {
            steps.push(Step::InstallSemiSync(*number));
        } else if semi_sync
            && server.semi_sync.ready
            && server.semi_sync.limits != wanted.semi_sync_limits
        {
            steps.push(Step::LimitSemiSync(*number));
        }
    }
    if let Some((_, server)) = servers.iter().find(|(number, _)| *number == primary) {
        if server.source.is_some() {
            steps.push(Step::Promote(primary));
        } else if server.read_only || !server.starts_read_only {
            steps.push(Step::MakeWritable(primary));
        }
        if !server.accounts {
            steps.push(Step::CreateAccounts(primary));
        }
    }
    // Without GTIDs such a node can only be left to a person: what can be done comes before it.
    let mut lost = Vec::new();
    for (number, server) in servers.iter().filter(|(number, _)| *number != primary) {
        if !(server.read_only && server.super_read_only && server.starts_read_only) {
            steps.push(Step::SetReadOnly(*number));
        }
        if copied.contains(number) {
            // Only in the log of the primary itself a place is known afterwards.
            let donor = if by_position { primary } else { donor(servers, &copied, primary) };
            steps.push(Step::Clone { node: *number, donor });
            if lacks_semi_sync(server) {
                steps.push(Step::InstallSemiSync(*number));
            }
            steps.push(Step::ConfigureReplica { node: *number, source: primary });
            continue;
        }
        match server.source {
            Some(source) if source.node == Some(primary) => {
                if !(source.receiver && source.applier) {
                    steps.push(Step::StartReplication { node: *number, source: primary });
                }
            }
            _ => lost.push(Step::ConfigureReplica { node: *number, source: primary }),
        }
        if !by_position {
            steps.append(&mut lost);
        }
    }
    for (number, server) in servers {
        let on = semi_sync && *number == primary && server.semi_sync.available;
        if server.semi_sync.source_on != on {
            steps.push(Step::SemiSyncSource { node: *number, on });
        }
    }
    steps.append(&mut lost);
}

/// Nodes that get a copy of the data: those that were given up, and blank ones for which the primary's
/// binary logs are too little or too much.
pub(super) fn to_copy(
    servers: &[(u32, ServerSeen)],
    renewing: &[u32],
    primary: u32,
    by_position: bool,
) -> Vec<u32> {
    // Without GTIDs nothing tells whether the logs begin where the data began.
    let replay = !by_position
        && servers
            .iter()
            .find(|(number, _)| *number == primary)
            .is_none_or(|(_, server)| has_all_in_logs(server));
    let wants = |number: u32, server: &ServerSeen| {
        number != primary && (renewing.contains(&number) || (server.blank && !replay))
    };
    servers
        .iter()
        .filter(|(number, server)| wants(*number, server))
        .map(|(number, _)| *number)
        .collect()
}

/// Nodes that would get a copy of the data, and get that of a snapshot instead: they have no volume yet.
fn to_seed(wanted: Wanted, seen: &Seen, nodes: &[(u32, NodeSeen)]) -> Vec<u32> {
    if wanted.replication != Replication::Gtid {
        return Vec::new();
    }
    let primary = apparent_primary(seen, wanted.primary);
    let server = nodes.iter().find(|(number, _)| Some(*number) == primary);
    let Some(server) = server.and_then(|(_, node)| node.server) else { return Vec::new() };
    let fits = |number: u32, node: &NodeSeen| {
        !node.volume
            && node.place == Place::Volume
            && node.container == Life::Missing
            && seen.seeds.contains(&number)
            && (seen.renewing.contains(&number) || !has_all_in_logs(&server))
    };
    nodes.iter().filter(|(number, node)| fits(*number, node)).map(|(number, _)| *number).collect()
}

/// Whether a blank server can replay everything from this one's binary logs in reasonable time.
fn has_all_in_logs(server: &ServerSeen) -> bool {
    !server.purged && server.log_bytes <= REPLAY_MOST_BYTES
}

/// Whom to copy from: the replica that is nearest to the primary, to spare that; else the primary.
fn donor(servers: &[(u32, ServerSeen)], copied: &[u32], primary: u32) -> u32 {
    let executed = servers.iter().find(|(number, _)| *number == primary);
    let executed = executed.map_or(0, |(_, server)| server.executed);
    let follows = |server: &ServerSeen| {
        server
            .source
            .is_some_and(|source| source.node == Some(primary) && source.receiver && source.applier)
    };
    servers
        .iter()
        .filter(|(number, server)| !copied.contains(number) && follows(server))
        .map(|(number, server)| (executed.saturating_sub(server.executed), *number))
        .filter(|(behind, _)| *behind <= DONOR_MOST_BEHIND_TRANSACTIONS)
        .min()
        .map_or(primary, |(_, number)| number)
}

impl Seen {
    /// Numbers of which something exists, or shall.
    fn in_use(&self) -> Vec<u32> {
        let exists = |node: &NodeSeen| node.volume || node.container != Life::Missing;
        let existing = (1..).zip(&self.nodes).filter(|(_, node)| exists(node));
        let mut all: Vec<u32> =
            existing.map(|(number, _)| number).chain(self.renewing.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests;
