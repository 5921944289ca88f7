//! The immutable picture of the servers that sessions route by. The monitor makes it; no I/O here.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Server;
use crate::gtid::GtidSet;

/// What a server is in the cluster, as it said itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Writable: `read_only` off.
    Primary,
    /// `read_only` on, or it replicates from another.
    Replica,
    /// Not asked yet, or two servers claim to be writable.
    Unknown,
}

/// Whether a server may be used, and if not why, in one clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Usable,
    /// "replication applier stopped", "12 s behind (limit 10 s)", "connection refused", ..
    Unusable(Arc<str>),
}

/// One server as last seen.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// Stable for the life of the process, also across topologies: names pools.
    pub id: ServerId,
    pub config: Arc<Server>,
    pub role: Role,
    pub health: Health,
    /// Whole-cluster GTID set that it has executed, as of the last probe; `None` without GTIDs.
    pub executed: Option<Arc<GtidSet>>,
    /// How far behind the primary; `None` when unknown or not a replica.
    pub lag: Option<Duration>,
    /// "9.7.4", "11.8.3-MariaDB"; empty until seen.
    pub version: Arc<str>,
    /// `@@global.autocommit`
    pub autocommit: bool,
    /// `@@global.sql_mode` says ANSI_QUOTES / NO_BACKSLASH_ESCAPES.
    pub sql_mode: Arc<str>,
}

/// Names a server of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u32);

/// All servers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub servers: Vec<ServerState>,
    /// Grows by one with every change of role or health.
    pub epoch: u64,
}

impl Topology {
    /// The one usable primary.
    pub fn primary(&self) -> Option<&ServerState> {
        self.servers.iter().find(|s| s.role == Role::Primary && s.health == Health::Usable)
    }

    /// Replicas that may be read from.
    pub fn replicas(&self) -> impl Iterator<Item = &ServerState> {
        self.servers.iter().filter(|s| s.role == Role::Replica && s.health == Health::Usable)
    }

    /// The server of that id.
    pub fn get(&self, id: ServerId) -> Option<&ServerState> {
        self.servers.iter().find(|s| s.id == id)
    }
}
