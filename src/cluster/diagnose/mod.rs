//! Causes of trouble in words: from plain facts about each node to findings, each a sentence with its
//! numbers, a remedy, and what Weir may do about it alone. Pure.
//!
//! | file | decides from |
//! |---|---|
//! | `symptoms` | (the facts, as `examine` collects them) |
//! | `container` | the engine's word, the log, the disk |
//! | `data` | histories, identity, clocks, read-only flags, semi-sync |
//! | `threads` | what receiver and applier say |
//! | `texts` | the servers' error messages, taken apart |

mod container;
mod data;
mod symptoms;
#[cfg(test)]
mod tests;
pub(super) mod texts;
mod threads;

pub(super) use container::bytes;
pub(super) use symptoms::{
    ContainerSymptoms, Disk, ReplicaStatus, Rows, SemiSyncStatus, ServerSymptoms, Symptoms,
    WorkerError,
};
pub(super) use threads::{ACCESS_DENIED, MOST_COPIES, applier_is_held, receiver_is_held};

/// Something that is not as it should be on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// "weir-2"
    pub node: String,
    pub kind: Kind,
    /// What is the matter, with the numbers; one sentence without a full stop.
    pub sentence: String,
    /// What an operator does about it; one sentence without a full stop.
    pub remedy: String,
    pub safe: Safe,
}

/// The cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    ContainerMissing,
    VolumeMissing,
    ContainerExited,
    ContainerRestarting,
    ContainerPaused,
    ContainerUnhealthy,
    /// The container runs outside of the cluster's network.
    CutOff,
    /// InnoDB goes through its log after a crash; a restart would make it begin anew.
    Recovering,
    /// The container runs, the server lets nobody in.
    ServerSilent,
    DiskFull,
    /// It will be full if nobody makes room.
    DiskLow,
    /// Two servers have one `server_uuid`.
    SameUuid,
    Clock,
    /// Transactions that the primary does not have.
    Errant,
    /// Takes writes although it is no primary.
    Writable,
    /// Does not replicate at all.
    NoSource,
    /// Replicates from a server that is not the primary.
    OtherSource,
    ReceiverStopped,
    SourceUnreachable,
    Credentials,
    /// The source has removed binary logs that the replica needs.
    Purged,
    /// File and position that the source does not have.
    WrongPosition,
    ReceiverError,
    ApplierStopped,
    DuplicateKey,
    MissingRow,
    RelayLogDamaged,
    ApplierError,
    SemiSyncDegraded,
    /// OFFLINE, ERROR or RECOVERING, where a group is wanted.
    NotInGroup,
}

impl Kind {
    /// The name by which programs know it: "duplicate-key".
    pub fn name(self) -> &'static str {
        match self {
            Self::ContainerMissing => "container-missing",
            Self::VolumeMissing => "volume-missing",
            Self::ContainerExited => "container-exited",
            Self::ContainerRestarting => "container-restarting",
            Self::ContainerPaused => "container-paused",
            Self::ContainerUnhealthy => "container-unhealthy",
            Self::CutOff => "cut-off",
            Self::Recovering => "recovering",
            Self::ServerSilent => "server-silent",
            Self::DiskFull => "disk-full",
            Self::DiskLow => "disk-low",
            Self::SameUuid => "same-uuid",
            Self::Clock => "clock",
            Self::Errant => "errant-transactions",
            Self::Writable => "replica-writable",
            Self::NoSource => "no-source",
            Self::OtherSource => "other-source",
            Self::ReceiverStopped => "receiver-stopped",
            Self::SourceUnreachable => "source-unreachable",
            Self::Credentials => "credentials",
            Self::Purged => "purged",
            Self::WrongPosition => "wrong-position",
            Self::ReceiverError => "receiver-error",
            Self::ApplierStopped => "applier-stopped",
            Self::DuplicateKey => "duplicate-key",
            Self::MissingRow => "missing-row",
            Self::RelayLogDamaged => "relay-log-damaged",
            Self::ApplierError => "applier-error",
            Self::SemiSyncDegraded => "semi-sync-degraded",
            Self::NotInGroup => "not-in-group",
        }
    }

    /// Whether replica and primary hold different data; mended only when a person says how.
    pub fn is_divergence(self) -> bool {
        matches!(self, Self::Errant | Self::DuplicateKey | Self::MissingRow)
    }
}

/// What Weir may do about a finding without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Safe {
    /// Nothing: a person has to decide or to mend something outside.
    Nothing,
    /// Nothing, because it passes by itself; whoever interferes makes it last longer.
    Wait,
    /// Make and start the container.
    Start,
    StartThreads,
    /// Point the replica at the primary anew, with the right account; fetches its relay log again.
    Follow,
    SetReadOnly,
    /// Copy the data from another server: all that the node has is elsewhere too.
    Reclone,
}

/// Limits that findings are judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// Clocks that differ by more make times in the data and in the lag wrong.
    pub clock_seconds: f64,
    /// With less room than this a server is about to stop writing.
    pub disk_bytes: u64,
    /// Less room than this is told, where it is also less than that part of the disk, percent.
    pub low_bytes: u64,
    pub low_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clock_seconds: 2.0, disk_bytes: 32 << 20, low_bytes: 4 << 30, low_percent: 5 }
    }
}

/// Everything that is wrong, node by node in the given order; `primary` is an index into `nodes`.
pub(super) fn diagnose(nodes: &[Symptoms], primary: Option<usize>, limits: Limits) -> Vec<Finding> {
    let primary = primary.and_then(|at| nodes.get(at));
    let mut findings = Vec::new();
    for node in nodes {
        let before = findings.len();
        container::look(node, limits, &mut findings);
        let Some(server) = &node.server else { continue };
        // A full disk explains the errors that it made.
        let disk_full = findings.iter().skip(before).any(|finding| finding.kind == Kind::DiskFull);
        let scene = Scene { node, server, nodes, primary, limits };
        data::look(&scene, &mut findings);
        match server.member {
            Some(state) => findings.extend(member(&node.name, state)),
            None => threads::look(&scene, disk_full, &mut findings),
        }
    }
    findings
}

/// A member that is not in its group, or not fully.
fn member(node: &str, state: &str) -> Option<Finding> {
    let (sentence, remedy) = match state {
        "ONLINE" => return None,
        "RECOVERING" => (
            format!("{node} is RECOVERING: it is in the group, and fetches what it lacks before it is used"),
            "wait".to_owned(),
        ),
        state => (
            format!("{node} is {state}: it is not in the group, and is used for nothing"),
            "run `weir cluster up`, or let `weir serve` do it: it lets the node join again, or says why \
             that cannot be"
                .to_owned(),
        ),
    };
    let kind = Kind::NotInGroup;
    Some(Finding { node: node.to_owned(), kind, sentence, remedy, safe: Safe::Wait })
}

/// One answering server among the others.
struct Scene<'a> {
    node: &'a Symptoms,
    server: &'a ServerSymptoms,
    nodes: &'a [Symptoms],
    primary: Option<&'a Symptoms>,
    limits: Limits,
}

/// "1 transaction", "3 transactions"
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
