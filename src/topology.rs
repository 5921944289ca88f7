//! The immutable picture of the servers that sessions route by. The monitor makes it; no I/O here.

pub mod signs;

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

impl Role {
    /// "primary", "replica" or "unknown"
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Unknown => "unknown",
        }
    }
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
    /// It does not answer at all, which is one of the reasons to be unusable.
    pub silent: bool,
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
    /// `@@global.max_allowed_packet`, bytes; `None` until seen.
    pub max_packet: Option<u64>,
    /// A Weir is about to move the primary's role away from it ([`signs::MOVES`]).
    pub moves: Option<Move>,
    /// A replica of a managed cluster that takes writes, if from root alone.
    pub open: bool,
}

/// Names a server of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u32);

/// Names a planned move of the primary's role: the id of the connection to the primary that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move(pub u64);

/// All servers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub servers: Vec<ServerState>,
    /// Grows by one with every change of role or health.
    pub epoch: u64,
    /// It is worth a while to wait for a primary: there was one at some time, or Weir itself sees that there is one.
    pub awaits_primary: bool,
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

    /// Whether an answer of that server is not worth waiting for any more: it is silent, and another does its
    /// work.
    pub fn is_replaced(&self, id: ServerId) -> bool {
        self.get(id).is_some_and(|server| server.silent)
            && self.primary().is_some_and(|primary| primary.id != id)
    }

    /// The server of that id.
    pub fn get(&self, id: ServerId) -> Option<&ServerState> {
        self.servers.iter().find(|s| s.id == id)
    }

    /// Why no replica can serve a session that must see `token`: one clause a server, the primary
    /// left out. Allocates; for logs and `explain`.
    pub fn why_no_replica(&self, token: &GtidSet) -> String {
        let clauses =
            self.servers.iter().filter(|s| s.role != Role::Primary).filter_map(|server| {
                let why = server.why_not_read(token)?;
                Some(format!("{}: {why}", server.config.name))
            });
        joined(clauses, "no replica is configured")
    }

    /// Why there is no primary to write to: one clause a server. Allocates; for errors and logs.
    pub fn why_no_primary(&self) -> String {
        let clauses = self.servers.iter().map(|server| {
            let why = match (&server.health, server.role) {
                (Health::Unusable(words), Role::Replica) => format!("a replica, {words}"),
                (Health::Unusable(words), _) => words.to_string(),
                (Health::Usable, Role::Replica) => "a replica".to_owned(),
                (Health::Usable, Role::Primary) => "the primary".to_owned(),
                (Health::Usable, Role::Unknown) => "role unknown".to_owned(),
            };
            format!("{}: {why}", server.config.name)
        });
        joined(clauses, "no server is configured")
    }
}

impl ServerState {
    /// Whether it may serve reads: a replica, and usable.
    pub fn readable(&self) -> bool {
        self.role == Role::Replica && self.health == Health::Usable
    }

    /// Whether it has executed everything in `token`. Without GTIDs only the empty token is.
    pub fn caught_up(&self, token: &GtidSet) -> bool {
        token.is_empty() || self.executed.as_ref().is_some_and(|have| have.contains(token))
    }

    /// Why reads cannot go there now, in one clause; `None` when they can.
    pub fn why_not_read(&self, token: &GtidSet) -> Option<String> {
        if let Health::Unusable(words) = &self.health {
            return Some(words.to_string());
        }
        match self.role {
            Role::Primary => Some("is the primary".to_owned()),
            Role::Unknown => Some("role unknown".to_owned()),
            Role::Replica if self.caught_up(token) => None,
            Role::Replica => Some("has not applied this session's writes yet".to_owned()),
        }
    }
}

/// A word from a session that a server failed it, so that the monitor asks that server at once.
/// Cheap to clone and to call; calls that come faster than probes are one.
#[derive(Clone)]
pub struct Suspects(Arc<dyn Fn(ServerId) + Send + Sync>);

impl Suspects {
    /// `tell` must neither block nor panic.
    pub fn new(tell: impl Fn(ServerId) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// For tests and tools without a monitor: nobody listens.
    pub fn nobody() -> Self {
        Self::new(|_id| ())
    }

    /// Says that `server` failed just now.
    pub fn tell(&self, server: ServerId) {
        (self.0)(server);
    }
}

impl std::fmt::Debug for Suspects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Suspects(..)")
    }
}

fn joined(clauses: impl Iterator<Item = String>, none: &str) -> String {
    let clauses: Vec<String> = clauses.collect();
    if clauses.is_empty() { none.to_owned() } else { clauses.join("; ") }
}
