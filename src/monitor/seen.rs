//! What one probe of a server saw, as plain values.

use std::sync::Arc;

use crate::gtid::GtidSet;
use crate::topology::Move;

/// One good answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `@@version`; from the greeting where there is no such variable.
    pub version: Arc<str>,
    /// `@@global.read_only`; `None` where there is no such variable.
    pub read_only: Option<bool>,
    /// `@@global.autocommit`
    pub autocommit: bool,
    /// `@@global.sql_mode`
    pub sql_mode: Arc<str>,
    pub identity: Identity,
    /// What it has executed; `None` without GTIDs.
    pub executed: Option<Arc<GtidSet>>,
    pub replication: Replication,
    /// What it says of its group; `None` without one, and where the monitor's account may not ask.
    pub group: Option<Group>,
    /// `@@global.max_allowed_packet`, bytes.
    pub max_packet: Option<u64>,
    /// A Weir is about to move the primary's role away from it; not asked where servers are not Weir's own.
    pub moves: Option<Move>,
    /// A Weir is about to stop this replica; not asked there either.
    pub leaves: Option<Move>,
    /// `@@global.super_read_only`; not asked where servers are not Weir's own.
    pub super_read_only: Option<bool>,
}

/// A server's view of the group that it is, was or may become a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its own MEMBER_STATE, in the server's word.
    pub state: String,
    /// Members that are ONLINE or RECOVERING, as it hears them.
    pub heard: usize,
    /// All members that it knows, itself included.
    pub members: usize,
    /// `@@server_uuid` of the primary, lower case.
    pub primary: Option<String>,
    /// Transactions of others that it has yet to apply.
    pub queue: Option<u64>,
}

impl Group {
    /// It has all that the group had when it joined, and takes part in all that came since.
    pub fn is_online(&self) -> bool {
        self.state == "ONLINE"
    }

    /// It is a member.
    pub fn belongs(&self) -> bool {
        self.is_online() || self.state == "RECOVERING"
    }

    /// It hears more than half: without them nothing is committed.
    pub fn has_majority(&self) -> bool {
        self.heard * 2 > self.members
    }

    /// Seconds behind, as far as it knows itself.
    pub fn seconds_behind(&self) -> Option<u64> {
        (self.queue == Some(0)).then_some(0)
    }
}

/// How a server names itself, and how a replica names its source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `@@server_uuid`, lower case; MariaDB has none.
    pub uuid: Option<String>,
    /// `@@server_id`; 0 counts as unknown.
    pub server_id: Option<u64>,
}

impl Identity {
    /// Whether anything names it.
    pub fn is_known(&self) -> bool {
        self.uuid.is_some() || self.server_id.is_some()
    }

    /// Whether both surely name the same server: by uuid, where either has none by server id.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.uuid, &other.uuid) {
            (Some(a), Some(b)) => a == b,
            _ => self.server_id.is_some() && self.server_id == other.server_id,
        }
    }
}

/// What a server says about replicating from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// Its channels; none when it replicates from nobody.
    Channels(Vec<Channel>),
    /// It did not let the monitor's account ask; its words.
    Refused(String),
    /// It knows no replication status: a foreign server.
    Unsupported,
}

/// One replication channel, as `SHOW REPLICA STATUS` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Empty for the default channel.
    pub name: String,
    /// host:port of the source as the replica knows it.
    pub source_address: String,
    /// Unknown until the replica was connected once.
    pub source: Identity,
    /// `Replica_IO_Running`
    pub receiver: Receiver,
    /// `Last_IO_Error`, empty when none.
    pub receiver_error: String,
    /// `Replica_SQL_Running`
    pub applier_runs: bool,
    /// `Last_SQL_Error`, empty when none.
    pub applier_error: String,
    /// `Seconds_Behind_Source`; `None` for NULL.
    pub seconds_behind: Option<u64>,
}

impl Channel {
    /// A channel of Group Replication itself: it has no source server.
    pub fn is_group(&self) -> bool {
        self.name.starts_with("group_replication_")
    }

    /// Whether it moves, or tries to: a stopped channel is one that somebody stopped.
    pub fn is_active(&self) -> bool {
        self.receiver != Receiver::Stopped || self.applier_runs
    }
}

/// The thread that fetches events from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    Running,
    /// Tries to reach its source.
    Connecting,
    Stopped,
}

/// A probe without a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One clause: "connection refused", "no answer within 2000 ms".
    pub words: Arc<str>,
    /// Whether one such failure is enough: nobody listens, or the login is refused. Other failures
    /// must repeat (`[monitor] failures`).
    pub certain: bool,
    /// Whether the login was refused: asking often would only fill the server's log, or lock the
    /// account.
    pub login: bool,
}

impl Failure {
    /// A failure that must repeat before it counts.
    pub fn passing(words: impl Into<Arc<str>>) -> Self {
        Self { words: words.into(), certain: false, login: false }
    }

    /// A failure that counts at once.
    pub fn certain(words: impl Into<Arc<str>>) -> Self {
        Self { words: words.into(), certain: true, login: false }
    }
}
