//! The facts about one node that findings are drawn from; plain values.

use crate::gtid::GtidSet;

/// Everything that is known of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Symptoms {
    /// "weir-2"
    pub name: String,
    pub volume: bool,
    /// "volume weir-1", "folder /srv/weir/weir-1", "container weir-1".
    pub place: String,
    pub container: Option<ContainerSymptoms>,
    /// The last lines that the container wrote; asked for only when the server does not answer.
    pub log: Vec<String>,
    /// Of the data directory.
    pub disk: Option<Disk>,
    /// Why the server lets nobody in, while its container runs.
    pub refusal: Option<String>,
    /// Copies of its data that were begun in the last day without being asked.
    pub copies: usize,
    pub server: Option<ServerSymptoms>,
}

/// A container as the engine has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerSymptoms {
    pub status: String,
    pub health: String,
    pub exit_code: i64,
    pub restarts: i64,
    /// The kernel killed it for memory.
    pub out_of_memory: bool,
    /// It is not in the cluster's network.
    pub detached: bool,
}

/// Room on a disk, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    pub free: u64,
    pub size: u64,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerSymptoms {
    pub uuid: String,
    pub executed: GtidSet,
    pub purged: GtidSet,
    pub read_only: bool,
    pub super_read_only: bool,
    /// Its clock minus that of Weir's host, seconds, and by how much that may be wrong.
    pub clock: Option<(f64, f64)>,
    /// Its binary logs with their sizes in bytes, the oldest first.
    pub logs: Vec<(String, u64)>,
    pub semi_sync: SemiSyncStatus,
    pub replica: Option<ReplicaStatus>,
    /// As a member of a group: its state in the server's word. `None` where none is wanted.
    pub member: Option<&'static str>,
}

/// The source's side of semi-sync replication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SemiSyncStatus {
    /// Receipts that a commit should wait for.
    pub wanted: u64,
    /// Commits should wait.
    pub enabled: bool,
    /// They do.
    pub active: bool,
    /// Replicas that send receipts.
    pub replicas: u64,
    /// Commits that went on without a receipt, since the server started.
    pub without_receipt: u64,
}

/// `SHOW REPLICA STATUS` and what performance_schema adds to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplicaStatus {
    pub source_host: String,
    /// "Yes", "No" or "Connecting".
    pub receiver: String,
    /// "Yes" or "No".
    pub applier: String,
    pub io_errno: u32,
    pub io_error: String,
    pub sql_errno: u32,
    pub sql_error: String,
    pub auto_position: bool,
    /// The source's file and position up to which the receiver has read.
    pub read: (String, u64),
    /// The same of the applier.
    pub applied: (String, u64),
    pub retrieved: GtidSet,
    /// Kept behind on purpose, seconds.
    pub delay: u64,
    /// The worker that met the error.
    pub worker: Option<WorkerError>,
    /// For a duplicate key whose values could be told from the message.
    pub rows: Option<Rows>,
}

/// Of `performance_schema.replication_applier_status_by_worker`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkerError {
    pub number: u32,
    pub message: String,
    /// The GTID that it was applying; empty without GTIDs.
    pub transaction: String,
}

/// One row as both servers have it; `None` where there is no such row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub on_primary: Option<String>,
    pub here: Option<String>,
}
