//! The difference between the cluster that is wanted and the one that is seen, as named steps. Pure.
//!
//! What is seen may be incomplete: a server that does not run yet tells nothing. Steps that depend on
//! its answer are left out (`complete` is false) unless its volume is missing, for then it is sure to
//! start empty. Nothing here ever plans to empty or rewind a server that holds anything of anybody's.

use crate::config::Replication;

use super::error::ClusterError;
use super::node;

/// What a blank replica may replay from the binary logs; beyond that copying the data is quicker.
const REPLAY_MOST_BYTES: u64 = 64 << 20;
/// A replica that lacks more than this is not copied from: the copy would have to catch up on it again.
const DONOR_MOST_BEHIND_TRANSACTIONS: u64 = 1_000;

/// One thing to do. Each is harmless when it is done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    PullImage,
    /// Have mysqld judge its options in a container of its own, before a node that runs is stopped; no
    /// container of a node is made without that either.
    CheckOptions,
    CreateNetwork,
    CreateVolume(u32),
    CreateContainer(u32),
    StartContainer(u32),
    /// Until the server lets root in.
    WaitHealthy(u32),
    /// In order, within a minute.
    StopContainer(u32),
    RemoveContainer(u32),
    /// With the data; only on an operator's word.
    RemoveVolume(u32),
    /// Write down that the node's data is given up, on an operator's word: from then on it is copied anew.
    GiveUpData(u32),
    /// Replace what the node has, which is nothing or given up, by a copy of the donor's data.
    Clone {
        node: u32,
        donor: u32,
    },
    /// Forget GTIDs of an *empty* server's own first start; checked again right before.
    ClearHistory(u32),
    InstallSemiSync(u32),
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
    /// Start threads that are stopped, and wait for them.
    StartReplication {
        node: u32,
        source: u32,
    },
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
                | Self::CreateContainer(_)
                | Self::StartContainer(_)
                | Self::WaitHealthy(_)
                | Self::StopContainer(_)
                | Self::RemoveContainer(_)
                | Self::RemoveVolume(_)
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
            Self::CreateContainer(n) => format!("create container {}", name(n)),
            Self::StartContainer(n) => format!("start container {}", name(n)),
            Self::WaitHealthy(n) => format!("wait until {} answers", name(n)),
            Self::StopContainer(n) => format!("stop {}", name(n)),
            Self::RemoveContainer(n) => format!("remove container {}", name(n)),
            Self::RemoveVolume(n) => format!("remove volume {} with its data", name(n)),
            Self::GiveUpData(n) => format!("give up the data of {}", name(n)),
            Self::Clone { node, donor } => {
                format!("copy the data of {} to {}", name(donor), name(node))
            }
            Self::ClearHistory(n) => format!("clear the first start's history on {}", name(n)),
            Self::InstallSemiSync(n) => format!("install the semi-sync plugins on {}", name(n)),
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
}

/// One node as seen; nothing of it exists by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSeen {
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
    /// Created, exited, paused or dead.
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
    engine_steps(seen, &nodes, &mut steps);
    let Some(servers) = servers(&nodes) else {
        return Ok(Plan { steps, primary: None, complete: false });
    };
    check_mode(wanted, &servers)?;
    let primary = choose_primary(&servers, wanted.primary, &seen.renewing)?;
    server_steps(wanted, &servers, &seen.renewing, primary, &mut steps);
    Ok(Plan { steps, primary: Some(primary), complete: true })
}

/// As [`plan`] does, for changes that are not planned.
pub(super) fn check_kind(wanted: Wanted, seen: &Seen) -> Result<(), ClusterError> {
    let servers: Vec<(u32, ServerSeen)> =
        (1..).zip(&seen.nodes).filter_map(|(number, node)| Some((number, node.server?))).collect();
    check_mode(wanted, &servers)
}

/// A cluster stays with the mode that it was made with: servers of both modes do not understand each other.
fn check_mode(wanted: Wanted, servers: &[(u32, ServerSeen)]) -> Result<(), ClusterError> {
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
    if answering.iter().all(|(_, server)| server.blank) {
        return None;
    }
    choose_primary(&answering, recorded, &seen.renewing).ok()
}

/// Everything that has to exist and run before a server can be asked.
fn engine_steps(seen: &Seen, nodes: &[(u32, NodeSeen)], steps: &mut Vec<Step>) {
    if !seen.image && nodes.iter().any(|(_, node)| node.container == Life::Missing) {
        steps.push(Step::PullImage);
    }
    if !seen.network {
        steps.push(Step::CreateNetwork);
    }
    let mut each = |wants: &dyn Fn(&NodeSeen) -> bool, step: &dyn Fn(u32) -> Step| {
        steps.extend(nodes.iter().filter(|(_, node)| wants(node)).map(|(number, _)| step(*number)));
    };
    each(&|node| !node.volume, &Step::CreateVolume);
    each(&|node| node.container == Life::Missing, &Step::CreateContainer);
    each(&|node| node.container != Life::Running, &Step::StartContainer);
    each(&|node| node.server.is_none(), &Step::WaitHealthy);
}

/// What each server is known to be; `None` when one of them has to be asked first.
fn servers(nodes: &[(u32, NodeSeen)]) -> Option<Vec<(u32, ServerSeen)>> {
    let fresh = ServerSeen {
        blank: true,
        // The usual image has the plugins; where not, the next look says so.
        semi_sync: SemiSync { available: true, ..SemiSync::default() },
        ..ServerSeen::default()
    };
    nodes
        .iter()
        .map(|(number, node)| match (node.server, node.volume) {
            (Some(server), _) => Some((*number, server)),
            (None, false) => Some((*number, fresh)),
            (None, true) => None,
        })
        .collect()
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
    let semi_sync = wanted.semi_sync && servers.len() > 1;
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
fn to_copy(
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
            .is_none_or(|(_, server)| !server.purged && server.log_bytes <= REPLAY_MOST_BYTES);
    let wants = |number: u32, server: &ServerSeen| {
        number != primary && (renewing.contains(&number) || (server.blank && !replay))
    };
    servers
        .iter()
        .filter(|(number, server)| wants(*number, server))
        .map(|(number, _)| *number)
        .collect()
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
mod tests {
    use super::Step::*;
    use super::*;

    const WANTED: Wanted =
        Wanted { nodes: 2, semi_sync: true, primary: None, replication: Replication::Gtid };

    fn semi(source_on: bool) -> SemiSync {
        SemiSync { available: true, ready: true, source_on }
    }

    fn primary() -> NodeSeen {
        let server = ServerSeen {
            has_history: true,
            semi_sync: semi(true),
            starts_read_only: true,
            accounts: true,
            ..ServerSeen::default()
        };
        NodeSeen { volume: true, container: Life::Running, server: Some(server) }
    }

    fn replica_of(node: u32) -> NodeSeen {
        let server = ServerSeen {
            has_history: true,
            read_only: true,
            super_read_only: true,
            starts_read_only: true,
            source: Some(SourceSeen { node: Some(node), receiver: true, applier: true }),
            semi_sync: semi(false),
            accounts: true,
            ..ServerSeen::default()
        };
        NodeSeen { volume: true, container: Life::Running, server: Some(server) }
    }

    fn blank() -> NodeSeen {
        let server = ServerSeen {
            blank: true,
            semi_sync: SemiSync { available: true, ..SemiSync::default() },
            ..ServerSeen::default()
        };
        NodeSeen { volume: true, container: Life::Running, server: Some(server) }
    }

    fn world(nodes: Vec<NodeSeen>) -> Seen {
        Seen { image: true, network: true, nodes, renewing: Vec::new() }
    }

    fn check(seen: &Seen, steps: &[Step]) {
        assert_eq!(plan(WANTED, seen).unwrap().steps, steps, "{seen:?}");
    }

    fn changed(mut node: NodeSeen, change: impl FnOnce(&mut ServerSeen)) -> NodeSeen {
        change(node.server.as_mut().unwrap());
        node
    }

    #[test]
    fn an_empty_world_needs_everything() {
        let all = [
            PullImage,
            CreateNetwork,
            CreateVolume(1),
            CreateVolume(2),
            CreateContainer(1),
            CreateContainer(2),
            StartContainer(1),
            StartContainer(2),
            WaitHealthy(1),
            WaitHealthy(2),
            InstallSemiSync(1),
            InstallSemiSync(2),
            MakeWritable(1),
            CreateAccounts(1),
            SetReadOnly(2),
            ConfigureReplica { node: 2, source: 1 },
            SemiSyncSource { node: 1, on: true },
        ];
        check(&Seen::default(), &all);
        assert!(plan(WANTED, &Seen::default()).unwrap().complete);
    }

    #[test]
    fn a_right_world_needs_nothing_whoever_is_primary() {
        check(&world(vec![primary(), replica_of(1)]), &[]);
        check(&world(vec![replica_of(2), primary()]), &[]);
        let moved = plan(WANTED, &world(vec![replica_of(2), primary()])).unwrap();
        assert_eq!(moved.primary, Some(2));
        // Without its image, which a running container does not need.
        check(&Seen { image: false, ..world(vec![primary(), replica_of(1)]) }, &[]);
    }

    #[test]
    fn after_down_only_containers_are_made_before_the_servers_are_asked() {
        let kept = || NodeSeen { volume: true, ..NodeSeen::default() };
        let seen = world(vec![kept(), kept()]);
        let plan = plan(WANTED, &seen).unwrap();
        assert!(!plan.complete);
        assert_eq!(plan.primary, None);
        assert!(plan.steps.iter().all(|step| step.is_of_engine()));
        assert_eq!(plan.steps.len(), 6);
    }

    #[test]
    fn a_primary_is_apparent_while_a_replica_is_down() {
        let exited = NodeSeen { container: Life::Stopped, server: None, ..replica_of(1) };
        assert_eq!(apparent_primary(&world(vec![primary(), exited.clone()]), None), Some(1));
        assert_eq!(apparent_primary(&world(vec![exited, replica_of(1)]), None), None);
        assert_eq!(apparent_primary(&world(vec![blank(), blank()]), None), None);
        assert_eq!(apparent_primary(&world(vec![primary(), primary()]), None), None);
    }

    #[test]
    fn a_new_replica_beside_a_primary_with_data() {
        check(
            &world(vec![primary(), NodeSeen::default()]),
            &[
                CreateVolume(2),
                CreateContainer(2),
                StartContainer(2),
                WaitHealthy(2),
                InstallSemiSync(2),
                SetReadOnly(2),
                ConfigureReplica { node: 2, source: 1 },
            ],
        );
    }

    #[test]
    fn the_recorded_primary_is_made_writable_after_a_restart() {
        let restarted = || {
            changed(primary(), |s| {
                s.read_only = true;
                s.super_read_only = true;
            })
        };
        let wanted = Wanted { primary: Some(1), ..WANTED };
        let seen = world(vec![restarted(), replica_of(1)]);
        assert_eq!(plan(wanted, &seen).unwrap().steps, [MakeWritable(1)]);
        // The role has moved to node 2, and the old primary is back.
        let moved = Wanted { primary: Some(2), ..WANTED };
        let seen = world(vec![restarted(), primary()]);
        let steps = plan(moved, &seen).unwrap().steps;
        let follows = ConfigureReplica { node: 1, source: 2 };
        assert_eq!(steps, [follows, SemiSyncSource { node: 1, on: false }]);
        // Cut off right after it was written down: the new primary replicates still.
        let seen = world(vec![restarted(), replica_of(1)]);
        assert_eq!(plan(moved, &seen).unwrap().steps[..2], [Promote(2), follows]);
        // What the servers do counts more than what was written down.
        let seen = world(vec![primary(), replica_of(1)]);
        assert_eq!(plan(moved, &seen).unwrap().primary, Some(1));
    }

    #[test]
    fn small_faults_are_mended_alone() {
        let stopped = changed(replica_of(1), |s| s.source.as_mut().unwrap().applier = false);
        check(&world(vec![primary(), stopped]), &[StartReplication { node: 2, source: 1 }]);
        let writable = changed(replica_of(1), |s| s.super_read_only = false);
        check(&world(vec![primary(), writable]), &[SetReadOnly(2)]);
        let elsewhere = changed(replica_of(1), |s| s.source.as_mut().unwrap().node = None);
        check(&world(vec![primary(), elsewhere]), &[ConfigureReplica { node: 2, source: 1 }]);
        let exited = NodeSeen { container: Life::Stopped, server: None, ..replica_of(1) };
        check(&world(vec![primary(), exited]), &[StartContainer(2), WaitHealthy(2)]);
        let locked = changed(primary(), |s| s.accounts = false);
        check(&world(vec![locked, replica_of(1)]), &[CreateAccounts(1)]);
    }

    #[test]
    fn semi_sync_follows_the_wish_and_the_role() {
        let seen = world(vec![primary(), replica_of(1)]);
        let without = Wanted { semi_sync: false, ..WANTED };
        assert_eq!(plan(without, &seen).unwrap().steps, [SemiSyncSource { node: 1, on: false }]);
        let alone = Wanted { nodes: 1, ..WANTED };
        let seen = world(vec![primary()]);
        assert_eq!(plan(alone, &seen).unwrap().steps, [SemiSyncSource { node: 1, on: false }]);
        let old_primary = changed(replica_of(2), |s| s.semi_sync.source_on = true);
        check(&world(vec![old_primary, primary()]), &[SemiSyncSource { node: 1, on: false }]);
        let no_plugins = |node| changed(node, |s| s.semi_sync = SemiSync::default());
        check(&world(vec![no_plugins(primary()), no_plugins(replica_of(1))]), &[]);
    }

    #[test]
    fn only_an_empty_server_forgets() {
        let initialised = changed(blank(), |s| s.has_history = true);
        let plan = plan(WANTED, &world(vec![initialised.clone(), initialised])).unwrap();
        assert_eq!(plan.steps.iter().filter(|s| matches!(s, ClearHistory(_))).count(), 2);
        check(&world(vec![primary(), replica_of(1)]), &[]);
    }

    #[test]
    fn contradictions_are_left_to_a_human() {
        let refused = |nodes: Vec<NodeSeen>, words: &str| {
            let error = plan(WANTED, &world(nodes)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(vec![primary(), primary()], "node 1 and node 2 each hold data");
        refused(vec![blank(), replica_of(1)], "node 1, which is empty");
        refused(vec![replica_of(2), replica_of(1)], "none of them takes writes");
        let demoted = changed(primary(), |s| s.read_only = true);
        refused(vec![demoted, replica_of(1)], "none of them takes writes");
    }

    #[test]
    fn after_each_step_of_a_first_run_the_rest_is_planned() {
        // Account creation was interrupted: the primary is known by what it holds.
        let half = changed(primary(), |s| {
            s.accounts = false;
            s.semi_sync.source_on = false;
        });
        let rest = [
            InstallSemiSync(2),
            CreateAccounts(1),
            SetReadOnly(2),
            ConfigureReplica { node: 2, source: 1 },
            SemiSyncSource { node: 1, on: true },
        ];
        check(&world(vec![half, blank()]), &rest);
    }

    #[test]
    fn numbers_fill_up_and_nobody_is_left_out() {
        assert_eq!(members(&[], 3), [1, 2, 3]);
        assert_eq!(members(&[1, 2], 3), [1, 2, 3]);
        assert_eq!(members(&[2, 5], 4), [1, 2, 3, 5]);
        assert_eq!(members(&[1, 3], 2), [1, 3]);
        assert_eq!(members(&[1, 2, 3, 4], 2), [1, 2, 3, 4]);
        // Beyond the wanted number a node is a member as any other, with a gap before it or not.
        check(&world(vec![primary(), replica_of(1), replica_of(1)]), &[]);
        let gap = world(vec![primary(), NodeSeen::default(), replica_of(1)]);
        check(&gap, &[]);
        let three = plan(Wanted { nodes: 3, ..WANTED }, &gap).unwrap().steps;
        assert!(three.contains(&CreateVolume(2)) && !three.contains(&CreateVolume(3)));
    }

    #[test]
    fn a_blank_node_replays_little_and_is_given_a_copy_of_much() {
        let replays = [InstallSemiSync(2), SetReadOnly(2), ConfigureReplica { node: 2, source: 1 }];
        check(&world(vec![primary(), blank()]), &replays);
        let copied = |donor| {
            let node = 2;
            [
                SetReadOnly(node),
                Clone { node, donor },
                InstallSemiSync(node),
                ConfigureReplica { node, source: 1 },
            ]
        };
        let purged = changed(primary(), |s| s.purged = true);
        let large = changed(primary(), |s| s.log_bytes = REPLAY_MOST_BYTES + 1);
        check(&world(vec![purged.clone(), blank()]), &copied(1));
        check(&world(vec![large, blank()]), &copied(1));
        // The nearest replica spares the primary; one that does not follow, or from afar, does not.
        let ahead = changed(purged, |s| s.executed = 5_000);
        let near = |executed| changed(replica_of(1), |s| s.executed = executed);
        check(&world(vec![ahead.clone(), blank(), near(4_990), near(4_999)]), &copied(4));
        check(&world(vec![ahead.clone(), blank(), near(10)]), &copied(1));
        let stopped = changed(near(5_000), |s| s.source.as_mut().unwrap().applier = false);
        let steps = plan(WANTED, &world(vec![ahead, blank(), stopped])).unwrap().steps;
        assert_eq!(steps[..4], copied(1));
    }

    #[test]
    fn without_gtids_replicas_start_with_a_copy_of_the_primary() {
        let wanted = Wanted { replication: Replication::File, ..WANTED };
        let by_position = |node| changed(node, |s| s.by_position = true);
        let seen = world(vec![by_position(primary()), by_position(blank())]);
        let steps = plan(wanted, &seen).unwrap().steps;
        assert!(steps.contains(&Clone { node: 2, donor: 1 }), "{steps:?}");
        let three = Wanted { nodes: 3, ..wanted };
        let first = plan(three, &Seen::default()).unwrap().steps;
        assert!(first.contains(&Clone { node: 3, donor: 1 }), "{first:?}");
        // Whoever has lost the way comes after everything that can be done.
        let lost = by_position(changed(replica_of(1), |s| s.source = None));
        let stopped = changed(replica_of(1), |s| s.source.as_mut().unwrap().applier = false);
        let seen = world(vec![by_position(primary()), lost, by_position(stopped)]);
        let todo =
            [StartReplication { node: 3, source: 1 }, ConfigureReplica { node: 2, source: 1 }];
        assert_eq!(plan(three, &seen).unwrap().steps, todo);
    }

    #[test]
    fn a_cluster_stays_with_its_kind_of_replication() {
        let refused = |wanted: Wanted, node: NodeSeen, word: &str| {
            let error = plan(wanted, &world(vec![node, replica_of(1)])).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        let file = Wanted { replication: Replication::File, ..WANTED };
        refused(file, primary(), "with GTIDs. Write replication = \"gtid\"");
        refused(WANTED, changed(primary(), |s| s.by_position = true), "replication = \"file\"");
    }

    #[test]
    fn what_was_given_up_is_copied_whatever_it_holds() {
        let renewing = |nodes| Seen { renewing: vec![2], ..world(nodes) };
        let copied = |donor| [Clone { node: 2, donor }, ConfigureReplica { node: 2, source: 1 }];
        check(&renewing(vec![primary(), replica_of(1)]), &copied(1));
        check(&renewing(vec![primary(), replica_of(1), replica_of(1)]), &copied(3));
        // Cut off: it took writes, or its source is forgotten, or it is gone altogether.
        let writable = changed(primary(), |s| s.semi_sync.source_on = false);
        let steps = plan(WANTED, &renewing(vec![primary(), writable])).unwrap().steps;
        assert_eq!(steps[..2], [SetReadOnly(2), Clone { node: 2, donor: 1 }]);
        let orphan = changed(replica_of(1), |s| s.source = None);
        check(&renewing(vec![primary(), orphan]), &copied(1));
        let seen = renewing(vec![primary()]);
        let again = plan(Wanted { nodes: 1, ..WANTED }, &seen).unwrap().steps;
        assert!(again.contains(&CreateVolume(2)) && again.contains(&Clone { node: 2, donor: 1 }));
        assert_eq!(apparent_primary(&renewing(vec![primary(), primary()]), None), Some(1));
    }

    #[test]
    fn the_last_data_there_is_is_not_copied_over() {
        let seen = Seen { renewing: vec![2], ..world(vec![blank(), replica_of(1)]) };
        let error = plan(WANTED, &seen).unwrap_err().to_string();
        assert!(error.contains("no other node holds data"), "{error}");
    }
}
