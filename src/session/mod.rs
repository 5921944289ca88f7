//! One client connection: login, then a loop of commands, each decided by `route::plan` and carried
//! out by `execute`. A session lives on one worker and owns no server connection; it leases them.

mod answers;
mod attempt;
mod authenticate;
mod commands;
mod complaints;
mod door;
mod execute;
mod handshake;
mod kill;
mod prepared;
mod reply;
mod settle;
mod statement;
mod trackers;
pub mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::connection::{InsertId, StatementKey};
use crate::backend::pool::{Lease, Pool, PoolKey};
use crate::backend::state::State;
use crate::config::Secret;
use crate::net::stream::{Message, PacketStream, ReadError};
use crate::route::{Isolation, Token};
use crate::sql::SetNames;
use crate::sql::{LexMode, Pins, Statement};
use crate::topology::ServerId;
use crate::wire::{Capabilities, Command, ErrPacket, StatusFlags};

use prepared::PreparedStatements;
use worker::{SessionEntry, Worker};

pub use door::Door;
pub use handshake::serve;

/// Who the client proved to be.
#[derive(Debug, Clone)]
struct Login {
    user: Rc<[u8]>,
    password: Secret,
    /// See `Credentials`: a changed password has another.
    generation: u64,
    /// Of the handshake; what a new server connection starts with.
    collation: u8,
}

/// Why a session ends. The client has been told what it is to be told.
#[derive(Debug)]
enum Closed {
    /// COM_QUIT, or the client closed.
    ByClient,
    /// Weir closed: the reason, for the log.
    ByWeir(String),
}

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Self::ByClient
    }
}

impl From<ReadError> for Closed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed | ReadError::Io(_) => Self::ByClient,
            other => Self::ByWeir(other.to_string()),
        }
    }
}

/// One logged-in client.
#[derive(Debug)]
struct Session {
    worker: Rc<Worker>,
    client: PacketStream,
    /// Our own connection id, as the greeting said it.
    id: u32,
    capabilities: Capabilities,
    /// What its server connections must have; see `answer_bits`.
    server_bits: Capabilities,
    login: Login,
    /// The salt of the greeting, which COM_CHANGE_USER answers to.
    salt: [u8; 20],
    /// By when the client must have sent all of its login.
    login_until: tokio::time::Instant,
    peer: String,
    /// What the session's connection must be in before its command.
    wanted: State,
    /// As the last response said.
    status: StatusFlags,
    pins: Pins,
    token: Token,
    /// The last write for which no GTID came back.
    wrote_blind_at: Option<Instant>,
    /// Where the last read of replicas went; the next goes there too, within reason.
    last_replica: Option<ServerId>,
    isolation: Isolation,
    lex_mode: LexMode,
    /// The client turned trackers on itself; it gets all of them.
    raw_trackers: bool,
    lease: Option<Lease>,
    /// Where its connections come from, one for each server that it used as this user.
    pools: Vec<Rc<Pool>>,
    /// Held from the first statement of a transaction on the primary to its end.
    inside: Option<door::Inside>,
    /// The server and the connection (its id in this worker) of the last statement.
    previous: Option<(ServerId, u64)>,
    insert_id: Rc<InsertId>,
    /// It asked about the statement before (FOUND_ROWS(), ROW_COUNT(), SHOW WARNINGS).
    asks_previous: bool,
    /// ROW_COUNT() after the last statement; `None` when only the server knows.
    row_count: Option<i64>,
    /// COM_PING came after the last statement and was not sent to a server.
    pinged: bool,
    /// FOUND_ROWS() after the last statement, if it was a result without SQL_CALC_FOUND_ROWS.
    found_rows: Option<u64>,
    prepared: PreparedStatements,
    /// The statement that COM_STMT_PREPARE is about, until its answer.
    preparing: Option<(StatementKey, Arc<Statement>)>,
    /// What SET NAMES said, until its answer.
    names: Option<SetNames>,
    /// The command is one that is never answered (long data).
    silent: bool,
    /// What went wrong with such a command: the error of the next that is answered.
    deferred: Option<ErrPacket>,
    /// The client's command, at the front of its bytes; `None` once they are consumed.
    message: Option<Message>,
    entry: Arc<SessionEntry>,
}

impl Session {
    async fn run(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.turn().await {
                return closed;
            }
        }
    }

    /// One command: waits for it, carries it out, forgets its bytes.
    async fn turn(&mut self) -> Result<(), Closed> {
        let worker = Rc::clone(&self.worker);
        let limit = || worker.shared.packet_limit();
        let message = if self.holds_for_diagnostics() {
            let hold = worker.shared.config.pool.hold_previous;
            match tokio::time::timeout(hold, self.client.message(0, limit)).await {
                Ok(message) => message,
                Err(_elapsed) => {
                    self.pins = self.pins.without(Pins::WARNINGS.with(Pins::FOUND_ROWS));
                    self.lease = None;
                    return Ok(());
                }
            }
        } else {
            self.client.message(0, limit).await
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return Err(self.refuse_command(error).await),
        };
        let Some(first) = self.client.payload(message).first().copied() else {
            // A server takes an empty packet for command 0, which clients cannot ask for.
            self.send_error(&crate::wire::codes::UNKNOWN_COMMAND.packet("Unknown command")).await?;
            self.client.consume(message.raw_len);
            return Ok(());
        };
        self.message = Some(message);
        self.dispatch(Command::from_byte(first), message).await?;
        // LOAD DATA LOCAL has consumed the command before the file that follows it.
        if let Some(message) = self.message.take() {
            self.client.consume(message.raw_len);
        }
        Ok(())
    }

    /// Whether the lease is kept only for what the client may ask about the last statement.
    fn holds_for_diagnostics(&self) -> bool {
        self.lease.is_some()
            && !self.in_transaction()
            && self.pins.without(Pins::WARNINGS.with(Pins::FOUND_ROWS)).is_empty()
    }

    fn in_transaction(&self) -> bool {
        self.status.has(StatusFlags::IN_TRANS)
    }

    fn pool_key(&self, server: ServerId) -> PoolKey {
        PoolKey {
            server,
            user: Rc::clone(&self.login.user),
            generation: self.login.generation,
            capabilities: self.server_bits,
        }
    }

    /// Where connections to that server come from.
    fn pool(&mut self, server: ServerId) -> Rc<Pool> {
        if let Some(pool) = self.pools.iter().find(|pool| pool.server() == server) {
            return Rc::clone(pool);
        }
        let pool = self.worker.pools.pool(self.pool_key(server));
        self.pools.push(Rc::clone(&pool));
        pool
    }
}

impl Session {
    /// Gives the lease up; a connection that is pinned or in a transaction is closed, being of no
    /// use to anyone else.
    fn abandon_lease(&mut self) {
        let diagnostics = Pins::WARNINGS.with(Pins::FOUND_ROWS);
        if (self.in_transaction() || !self.pins.without(diagnostics).is_empty())
            && let Some(lease) = &mut self.lease
        {
            lease.taint();
        }
        self.lease = None;
        self.status =
            self.status.without(StatusFlags::IN_TRANS.with(StatusFlags::IN_TRANS_READONLY));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon_lease();
        self.worker.shared.registry.remove(self.id);
    }
}
