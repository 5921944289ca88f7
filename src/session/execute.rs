//! Carrying out a plan: lease, bring the connection to the session's state, send, pass the answer,
//! and run it again elsewhere where that is right.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::connect::ConnectError;
use crate::backend::pool::{Lease, LeaseError, Pool};
use crate::net::response::Shape;
use crate::net::stream::ReadError;
use crate::session::attempt::{Attempt, MAX_FILE_PACKET};
use crate::session::door::Admission;
use crate::session::statement::Choice;
use crate::session::{Closed, Session};
use crate::sql::{Kind, Needs, Pins, Statement};
use crate::topology::ServerId;
use crate::wire::{ErrPacket, codes};

/// Servers that one statement is tried on, at most.
const MAX_ATTEMPTS: usize = 4;

/// What is sent, beside the statement that decides where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// The client's message as it came; its response has this shape.
    Message(Shape),
    /// COM_STMT_PREPARE, answered under this client statement id.
    Prepare { client_id: u32 },
    /// A command on a prepared statement: EXECUTE, FETCH or RESET, whose id must be the server's.
    Prepared { client_id: u32, shape: Shape },
    /// COM_STMT_SEND_LONG_DATA: no response.
    LongData { client_id: u32 },
}

/// What one command has met so far.
#[derive(Debug, Default)]
struct Tries {
    /// Servers that have failed it.
    excluded: Vec<ServerId>,
    waits_since: Option<Instant>,
    /// Connections that were of no use before it was sent.
    unsent: usize,
}

impl Session {
    /// Runs the command where the plan says. `Ok` when the client was answered.
    pub(super) async fn execute(
        &mut self,
        work: Work,
        statement: &Statement,
    ) -> Result<(), Closed> {
        let answered = self.run_somewhere(work, statement).await;
        if !self.in_transaction() {
            self.inside = None;
        }
        answered
    }

    async fn run_somewhere(&mut self, work: Work, given: &Statement) -> Result<(), Closed> {
        let (mut tries, mut learned) = (Tries::default(), None);
        self.end_diagnostics(given);
        loop {
            let statement = learned.as_deref().unwrap_or(given);
            let (plan, choice) = self.choose(statement, &tries.excluded);
            match self.admit(&plan, &choice, &mut tries.waits_since).await {
                Admission::Go => {}
                Admission::Again => continue,
                Admission::Refused(error) => return self.send_error(&error).await,
            }
            if let Choice::Server { id, previous: true, .. } = &choice
                && (self.pinged || self.take_own_previous(*id).is_none())
                && let Some((column, value)) = self.known_diagnostics(work)
            {
                (self.row_count, self.found_rows) = (Some(-1), Some(1));
                return self.answer_number(work, column, &value).await;
            }
            let bound = !matches!(choice, Choice::Server { previous: false, .. });
            let (id, retry) = match choice {
                Choice::Held => (None, false),
                Choice::Server { id, retry, previous } => {
                    let leased = self.take_lease(id, statement, previous).await;
                    match leased {
                        Ok(()) => (Some(id), retry),
                        Err(error) if self.tries_on(id, retry, &error, &mut tries).await => {
                            continue;
                        }
                        Err(error) => return self.lease_failed(id, &error).await,
                    }
                }
                other => return self.answer_choice(other, work).await,
            };
            let attempt = self.attempt(work, statement, retry).await;
            self.entry.rests();
            match attempt {
                Attempt::Done(reply) => return self.settle(work, statement, &plan, *reply),
                Attempt::Elsewhere(why) => self.goes_elsewhere(id, &why, &mut tries),
                Attempt::Writes(why) => learned = Some(self.learn_write(work, given, &why)),
                // Another session dropped this one's schema: it goes on without one, as the
                // statement may be what leaves it (USE, CREATE DATABASE).
                Attempt::NoSchema(_) if self.wanted.schema.is_some() => {
                    self.wanted.schema = None;
                    self.lease = None;
                }
                Attempt::ReadOnly(error) => {
                    self.leave_read_only(id);
                    if !self.hold(&mut tries.waits_since).await {
                        return self.fail(&error).await;
                    }
                }
                Attempt::Unsent(_) if !bound && tries.unsent < MAX_ATTEMPTS => {
                    self.leaves_stopping(&mut tries);
                }
                Attempt::Failed(error) | Attempt::NoSchema(error) | Attempt::Unsent(error) => {
                    return self.fail(&error).await;
                }
                Attempt::ClientGone => return Err(Closed::ByClient),
                Attempt::BadFile { error, seq } => return Err(self.bad_file(error, seq).await),
                Attempt::Cut { why, seq } => return Err(self.cut(why, seq).await),
            }
        }
    }

    /// Whether a command for which there was no connection is worth another try.
    async fn tries_on(
        &mut self,
        id: ServerId,
        retry: bool,
        error: &LeaseError,
        tries: &mut Tries,
    ) -> bool {
        if retry && tries.excluded.len() < MAX_ATTEMPTS {
            self.gave_up(id, &error.to_string());
            tries.excluded.push(id);
            return true;
        }
        self.waits_for(id, error, &mut tries.waits_since).await
    }

    fn goes_elsewhere(&mut self, id: Option<ServerId>, why: &str, tries: &mut Tries) {
        self.lease = None;
        if let Some(id) = id {
            tracing::info!(server = id.0, why, "a read is run again elsewhere");
            tries.excluded.push(id);
        }
    }

    /// Gives up a connection that was of no use before the command was sent.
    fn leaves_stopping(&mut self, tries: &mut Tries) {
        if let Some(mut lease) = self.lease.take() {
            // What it said may have been right, so nothing else keeps it from being given back.
            lease.taint();
            self.worker.stops(lease.server());
        }
        tries.unsent += 1;
    }

    /// A view or a routine does what the text does not show. All sessions of this worker know it from now on.
    fn learn_write(&mut self, work: Work, read: &Statement, why: &str) -> Arc<Statement> {
        self.lease = None;
        let reason = "a replica refused it: it writes";
        let statement = Arc::new(Statement { kind: Kind::Write, reason, ..read.clone() });
        tracing::info!(why, "a replica refused a read, which goes to the primary from now on");
        if let Some(text) = self.text_of(work) {
            self.worker.classifier.learn(text, self.lex_mode, Arc::clone(&statement));
        }
        if let Work::Prepared { client_id, .. } = work {
            self.prepared.learn(client_id, Arc::clone(&statement));
        }
        statement
    }

    async fn answer_choice(&mut self, choice: Choice, work: Work) -> Result<(), Closed> {
        match choice {
            Choice::Connection => self.answer_connection_id(work).await,
            Choice::Kill => Box::pin(self.answer_kill_statement(work)).await,
            Choice::Denied(why) => {
                self.send_error(
                    &codes::PRIVILEGE_REQUIRED.packet(format!("Weir refuses this: {why}")),
                )
                .await
            }
            Choice::Nowhere(why) => {
                self.send_error(&codes::OPTION_PREVENTS_STATEMENT.packet(why)).await
            }
            Choice::Held | Choice::Server { .. } => Ok(()),
        }
    }

    /// Gets a connection to the server, in `self.lease`.
    async fn take_lease(
        &mut self,
        id: ServerId,
        statement: &Statement,
        previous: bool,
    ) -> Result<(), LeaseError> {
        let session = u64::from(self.id);
        if previous && self.lease.is_some() {
            return Ok(());
        }
        let own = if previous || statement.needs.any(Needs::PREVIOUS) {
            self.asks_previous = true;
            self.previous.map(|(_, connection)| connection)
        } else if statement.needs.any(Needs::LAST_INSERT_ID) {
            Some(self.insert_id.on_connection.get()).filter(|id| *id != 0)
        } else {
            None
        };
        let pool = self.pool(id);
        let idle = own
            .and_then(|own| pool.take_previous(session, own))
            .or_else(|| pool.take(&self.wanted, session));
        self.lease = Some(match idle {
            Some(lease) => lease,
            // Boxed, as logins are large and rare: what every command carries along stays small.
            None => Box::pin(self.wait_for_lease(&pool)).await?,
        });
        Ok(())
    }

    /// A new connection, or the next that is given back.
    async fn wait_for_lease(&self, pool: &Rc<Pool>) -> Result<Lease, LeaseError> {
        let topology = self.worker.shared.topology.load_full();
        let server = topology.get(pool.server()).ok_or(LeaseError::Gone)?;
        let (pools, account) = (&self.worker.pools, self.account());
        pools.lease(pool, &server.config, &account, &self.wanted, u64::from(self.id)).await
    }

    /// The connection of the last statement, in `self.lease`, if nobody has used it since.
    fn take_own_previous(&mut self, server: ServerId) -> Option<()> {
        self.asks_previous = true;
        let (_, connection) = self.previous.filter(|(on, _)| *on == server)?;
        self.lease = Some(self.pool(server).take_previous(u64::from(self.id), connection)?);
        Some(())
    }

    /// A lease could not be had and there is no other server to try.
    async fn lease_failed(&mut self, id: ServerId, error: &LeaseError) -> Result<(), Closed> {
        match error {
            LeaseError::Connect(ConnectError::Refused(packet)) => {
                self.send_error(packet).await?;
                if packet.code == codes::ACCESS_DENIED.code {
                    let now = Instant::now();
                    let shared = &self.worker.shared;
                    shared.credentials.refused(&self.login.user, &self.login.password, now);
                    return Err(Closed::ByWeir("the server refuses the password now".to_owned()));
                }
                Ok(())
            }
            LeaseError::Full { .. } => {
                let words = format!("{error} ([pool] max_connections_per_server, wait_seconds)");
                self.send_error(&codes::TOO_MANY_CONNECTIONS.packet(words)).await
            }
            LeaseError::Connect(_) | LeaseError::Gone => {
                self.gave_up(id, &error.to_string());
                self.send_error(
                    &codes::UNKNOWN_ERROR.packet(format!("Weir cannot reach the server: {error}")),
                )
                .await
            }
        }
    }

    pub(super) fn gave_up(&self, id: ServerId, why: &str) {
        tracing::info!(server = id.0, why, "no connection");
        self.worker.shared.suspects.tell(id);
    }

    /// The statement's own error, or that of a lost link. What was bound to the connection is gone.
    async fn fail(&mut self, error: &ErrPacket) -> Result<(), Closed> {
        let bound = self.in_transaction() || !self.pins.is_empty();
        let alive = self
            .lease
            .as_mut()
            .and_then(Lease::connection)
            .is_some_and(|connection| connection.is_clean());
        if !alive || !bound {
            self.lease = None;
        }
        self.send_error(error).await?;
        if bound && !alive {
            self.pins = Pins::NONE;
            return Err(Closed::ByWeir("its transaction or pinned connection is lost".to_owned()));
        }
        Ok(())
    }

    /// A file that cannot be passed on: the server is left without its end, which undoes it.
    async fn bad_file(&mut self, error: ReadError, seq: u8) -> Closed {
        self.lease = None;
        let limit = format!("a client's file may come in pieces of {MAX_FILE_PACKET}");
        self.refuse_input(error, seq, &limit).await
    }

    /// The server went away in the middle of a result.
    async fn cut(&mut self, why: String, seq: Option<u8>) -> Closed {
        self.lease = None;
        if let Some(mut seq) = seq {
            let words = format!("Lost connection to MySQL server during query ({why})");
            let _ = self.write_error(&codes::LOST_CONNECTION.packet(words), &mut seq).await;
        }
        Closed::ByWeir(why)
    }

    /// Warnings and found rows can be asked for until the next statement that is not about them.
    fn end_diagnostics(&mut self, statement: &Statement) {
        if statement.kind == Kind::Previous || statement.needs.any(Needs::PREVIOUS) {
            return;
        }
        let diagnostics = Pins::WARNINGS.with(Pins::FOUND_ROWS);
        if self.pins.any(diagnostics) {
            self.pins = self.pins.without(diagnostics);
            self.release_unless_bound();
        }
    }

    /// Gives the lease back when nothing binds the session to it.
    pub(super) fn release_unless_bound(&mut self) {
        if !self.in_transaction() && self.pins.is_empty() {
            self.lease = None;
        }
    }
}
