//! One connection to a server, and what is known of it. It is clean or it is closed: see `Connection::busy`.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::{Rc, Weak};
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3Builder;

use crate::backend::state::State;
use crate::net::stream::PacketStream;
use crate::topology::ServerId;
use crate::wire::Capabilities;

/// What a prepared statement is known by: the schema it was prepared in and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementKey {
    /// Of schema and text: an execution looks its statement up without reading them.
    hash: u64,
    /// 0, or more where one session prepared the same text several times.
    pub copy: u32,
    pub schema: Option<Rc<[u8]>>,
    pub text: Rc<[u8]>,
}

impl StatementKey {
    /// The first statement of that text.
    pub fn new(schema: Option<Rc<[u8]>>, text: Rc<[u8]>) -> Self {
        let hash = Xxh3Builder::new().hash_one((&schema, &text));
        Self { hash, copy: 0, schema, text }
    }
}

impl Hash for StatementKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash ^ u64::from(self.copy));
    }
}

/// A statement prepared on one connection.
#[derive(Debug, Clone)]
pub struct ServerStatement {
    /// The server's number for it.
    pub id: u32,
    /// Hash of the parameter types last bound here; `None` before the first execution.
    pub types: Option<u64>,
    /// When it was last used, in uses of this connection.
    pub used: u64,
}

/// A connection to a server, logged in.
#[derive(Debug)]
pub struct Connection {
    pub stream: PacketStream,
    /// Unique in this worker.
    pub id: u64,
    pub server: ServerId,
    /// The server's number for it, as in SHOW PROCESSLIST.
    pub thread_id: u32,
    /// As negotiated.
    pub capabilities: Capabilities,
    /// Whether it reports the GTIDs of what is written on it.
    pub tells_gtids: bool,
    /// What it is in.
    pub state: State,
    /// What was prepared on it.
    pub prepared: HashMap<StatementKey, ServerStatement>,
    /// A command was sent whose response has not been seen to its end; such a connection is never reused.
    pub busy: bool,
    /// It carries state that no one can replay or take back (a pin); closed when given back.
    pub tainted: bool,
    /// Commands sent on it so far.
    pub uses: u64,
    /// When it was last given back.
    pub idle_since: Instant,
    /// The session whose statement ran last on it.
    pub last_session: u64,
    /// Where LAST_INSERT_ID() of that session is to be written before another session changes it.
    pub insert_id_owner: Option<Weak<InsertId>>,
}

/// What LAST_INSERT_ID() must give a session.
#[derive(Debug, Default)]
pub struct InsertId {
    /// The value, when it is known.
    pub value: Cell<u64>,
    /// The connection (its id) that still has the true value; 0 when `value` is it.
    pub on_connection: Cell<u64>,
}

impl Connection {
    /// Whether another session may have it.
    pub fn is_clean(&self) -> bool {
        !self.busy && !self.tainted && self.stream.bytes().is_empty()
    }

    /// The least recently used prepared statement above `limit`, taken out: its number is to be closed.
    pub fn evict_prepared(&mut self, limit: usize) -> Option<u32> {
        if self.prepared.len() <= limit {
            return None;
        }
        let oldest = self.prepared.iter().min_by_key(|(_, s)| s.used).map(|(k, _)| k.clone())?;
        self.prepared.remove(&oldest).map(|statement| statement.id)
    }
}
