//! One try of a command on the connection that is leased: bring the connection to the session's
//! state, send, pass the answer.

use std::cell::Cell;
use std::rc::Rc;

use crate::backend::connection::Connection;
use crate::backend::pool::Lease;
use crate::backend::replay::Prelude;
use crate::net::response::{Shape, Walker};
use crate::net::stream::{PacketStream, ReadError};
use crate::session::Session;
use crate::session::execute::Work;
use crate::session::prepared::{Ready, ready};
use crate::session::reply::{Ending, Reply, View, pass};
use crate::session::trackers::Wants;
use crate::sql::{Kind, Needs, Statement};
use crate::wire::{ErrPacket, HEADER_LEN, Header, codes};

/// Errors of a replica that the primary need not give: it is read-only (1290, 1792, 1836), or has
/// not yet the schema (1049), table (1146), column (1054) or function (1305) of a later change.
/// Or it is about to stop (1053, 1317).
const NOT_THE_STATEMENTS_FAULT: [u16; 9] = [1290, 1792, 1836, 1049, 1146, 1054, 1305, 1053, 1317];

/// What a primary says to writes after it was made a replica (1290 has other uses, too).
const READ_ONLY: [u16; 2] = [1290, 1836];

/// What a replica says to what it must not do, in whatever transaction that is.
const WRITES: [u16; 3] = [1290, 1792, 1836];

/// An error packet by which a server says why it closes is not longer than this, bytes (MYSQL_ERRMSG_SIZE is 512).
const LAST_WORDS: usize = 1_024;

/// Errors that a client's library gives itself; see [`codes::LOST_CONNECTION`].
const CLIENTS_OWN: std::ops::Range<u16> = 2_000..3_000;

/// One packet of a client's file, bytes; drivers send pieces far smaller.
pub(super) const MAX_FILE_PACKET: usize = 64 << 20;

/// How one attempt ended.
pub(super) enum Attempt {
    Done(Box<Reply>),
    /// Nothing was passed on; another server may do.
    Elsewhere(String),
    /// A replica says that this writes, which its text does not show; nothing was done.
    Writes(String),
    /// The server has become read-only, and nothing was done.
    ReadOnly(ErrPacket),
    /// The error that the client gets; the session lives on unless it was bound to the connection.
    Failed(ErrPacket),
    /// The connection was of no use any more before the command was sent: another one may do. Else the client gets
    /// this error.
    Unsent(ErrPacket),
    /// The session's schema is not there any more; nothing was run.
    NoSchema(ErrPacket),
    ClientGone,
    /// What the client sent is no piece of a file; an ERR packet with this number can still say so.
    BadFile {
        error: ReadError,
        seq: u8,
    },
    /// In the middle of a response; an ERR packet with this number can still end it.
    Cut {
        why: String,
        seq: Option<u8>,
    },
}

impl Session {
    /// Sends the command and passes its answer. `retry`: nothing is lost when it is run elsewhere.
    pub(super) async fn attempt(
        &mut self,
        work: Work,
        statement: &Statement,
        retry: bool,
    ) -> Attempt {
        let Some(server) = self.lease.as_mut().and_then(Lease::connection) else {
            return no_lease();
        };
        let server = server.server;
        let (worker, passed) = (Rc::clone(&self.worker), Cell::new(false));
        tokio::select! {
            biased;
            ended = self.exchange(work, statement, retry, &passed) => ended,
            () = worker.until_replaced(server, &passed) => {
                lost(retry, statement, "the server does not answer any more", true)
            }
        }
    }

    /// Dropped half-way, it leaves a connection that is closed.
    async fn exchange(
        &mut self,
        work: Work,
        statement: &Statement,
        retry: bool,
        passed: &Cell<bool>,
    ) -> Attempt {
        match self.send(work, statement, retry).await {
            Ok(_) if matches!(work, Work::LongData { .. }) => Attempt::Done(Box::default()),
            Ok(last_seq) => self.receive(work, statement, retry, last_seq, passed).await,
            Err(ended) => ended,
        }
    }

    /// Brings the connection to the session's state and sends; the number of the last packet sent.
    async fn send(
        &mut self,
        work: Work,
        statement: &Statement,
        retry: bool,
    ) -> Result<u8, Attempt> {
        let Self {
            pinged,
            lease,
            client,
            wanted,
            insert_id,
            prepared,
            preparing,
            message,
            entry,
            ..
        } = self;
        let Some(server) = lease.as_mut().and_then(Lease::connection) else {
            return Err(no_lease());
        };
        let Some(message) = *message else { return Err(Attempt::ClientGone) };
        entry.runs_on(server.server, server.thread_id);
        server.uses += 1;
        let session = u64::from(self.id);
        let mut prelude = Prelude::between(&server.state, wanted, server.capabilities);
        let reads_id = statement.needs.any(Needs::LAST_INSERT_ID);
        prelude.insert_id(server, session, reads_id.then_some(&**insert_id));
        let asks = statement.kind == Kind::Previous || statement.needs.any(Needs::PREVIOUS);
        if asks && (server.last_session != session || *pinged) {
            // Nobody may see the warnings of another client; those of our own are gone.
            prelude.query(b"DO 0", server.capabilities);
        }
        server.last_session = session;
        // Only a read may go out together with what it depends on: a write would run in the wrong
        // schema if choosing the schema failed.
        let pipelined = retry && matches!(work, Work::Message(_)) && !prelude.is_empty();
        if !prelude.is_empty() && !pipelined {
            let brought = prelude.run(server).await;
            arrived(server, wanted, brought)
                .map_err(|failed| failed.end(retry, statement, false))?;
        }
        let limit = self.worker.shared.config.pool.max_prepared;
        let sending = (&mut *client, message);
        let ready = ready(server, prepared, preparing.as_ref(), sending, work, wanted, limit).await;
        let outgoing = match ready {
            Ok(Ready::Message) => None,
            Ok(Ready::Bytes(bytes, last_seq)) => Some((bytes, last_seq)),
            Ok(Ready::Refused(error)) => return Err(refused(retry, error)),
            Err(why) => return Err(lost(retry, statement, &why, false)),
        };
        let (body, last_seq) = match &outgoing {
            Some((bytes, last_seq)) => (bytes.as_slice(), *last_seq),
            None => (client.raw(message), message.last_seq),
        };
        if !pipelined && !server.stream.is_quiet() {
            // What nobody asked for would be taken for the answer, on a connection that is held, too.
            server.tainted = true;
            return Err(not_quiet(retry, statement, server.stream.come(LAST_WORDS)));
        }
        server.busy = !matches!(work, Work::LongData { .. });
        let sent = if pipelined {
            server.stream.write_all(&[prelude.bytes.as_slice(), body].concat()).await
        } else {
            server.stream.write_all(body).await
        };
        if let Err(error) = sent {
            // The server may still have said why (a packet too large); `receive` finds it.
            tracing::debug!(%error, "a command could not be sent whole");
            server.tainted = true;
        }
        if pipelined {
            let brought = prelude.eat(server).await;
            arrived(server, wanted, brought)
                .map_err(|failed| failed.end(retry, statement, true))?;
        }
        Ok(last_seq)
    }

    /// Passes the answer to the command whose last packet had the number `last_seq`.
    async fn receive(
        &mut self,
        work: Work,
        statement: &Statement,
        retry: bool,
        last_seq: u8,
        passed: &Cell<bool>,
    ) -> Attempt {
        let view = View {
            capabilities: self.capabilities,
            wants: Wants::of(self.capabilities, self.raw_trackers),
            statement_id: if let Work::Prepare { client_id } = work { client_id } else { 0 },
            passed,
            retry,
            withheld: match (retry, self.may_wait_for_writable(statement)) {
                (true, _) => &NOT_THE_STATEMENTS_FAULT,
                (false, true) => &READ_ONLY,
                (false, false) => &[],
            },
        };
        let shape = match work {
            Work::Message(shape) | Work::Prepared { shape, .. } => shape,
            Work::Prepare { .. } | Work::LongData { .. } => Shape::Prepare,
        };
        let Self { lease, client, message, worker, entry, .. } = self;
        let Some(server) = lease.as_mut().and_then(Lease::connection) else { return no_lease() };
        let mut reply = Box::<Reply>::default();
        let mut walker = Walker::new(shape, server.capabilities, last_seq.wrapping_add(1));
        let mut ending = pass(server, client, &mut walker, view, &mut reply).await;
        if matches!(ending, Ending::LocalInfile) {
            // The file follows the command in the client's bytes.
            let command = message.take().map_or(0, |message| message.raw_len);
            client.consume(command);
            ending = pass_local_file(server, client, &mut walker, view, &mut reply).await;
        }
        let refusal =
            if let Ending::Refused(error) = &ending { Some(error.code) } else { reply.error };
        if refusal == Some(codes::SERVER_SHUTDOWN.code) {
            server.tainted = true;
            worker.stops(server.server);
        }
        match ending {
            Ending::Done => {
                server.busy = false;
                Attempt::Done(reply)
            }
            Ending::Refused(error) => {
                server.busy = false;
                // KILL QUERY of a client ends a query for good; a server that stops, only there.
                let killed = entry.killed.load(std::sync::atomic::Ordering::Relaxed);
                if error.code == codes::QUERY_INTERRUPTED.code && killed {
                    return Attempt::Failed(error);
                }
                if retry {
                    refused_by_replica(&error)
                } else if error.message.windows(9).any(|words| words == b"read-only") {
                    Attempt::ReadOnly(error)
                } else {
                    Attempt::Failed(error)
                }
            }
            Ending::ClientGone | Ending::LocalInfile => Attempt::ClientGone,
            Ending::BadFile { error, seq } => Attempt::BadFile { error, seq },
            Ending::Lost { why, passed, seq } => {
                worker.shared.suspects.tell(server.server);
                if passed { Attempt::Cut { why, seq } } else { lost(retry, statement, &why, true) }
            }
        }
    }
}

fn no_lease() -> Attempt {
    Attempt::Failed(codes::UNKNOWN_ERROR.packet("Weir holds no connection for this command"))
}

/// Why a connection is not in the session's state.
enum NotBrought {
    Refused(ErrPacket),
    Lost(String),
}

impl NotBrought {
    fn end(self, retry: bool, statement: &Statement, sent: bool) -> Attempt {
        match self {
            Self::Refused(error) if !retry && error.code == codes::UNKNOWN_DATABASE.code => {
                Attempt::NoSchema(error)
            }
            Self::Refused(error) => refused(retry, error),
            Self::Lost(why) => lost(retry, statement, &why, sent),
        }
    }
}

/// Notes that the connection is in the state `wanted`, if it is.
fn arrived(
    server: &mut Connection,
    wanted: &crate::backend::state::State,
    brought: Result<Option<ErrPacket>, String>,
) -> Result<(), NotBrought> {
    match brought {
        Ok(None) => {
            server.state = wanted.clone();
            Ok(())
        }
        Ok(Some(error)) => Err(NotBrought::Refused(error)),
        Err(why) => Err(NotBrought::Lost(why)),
    }
}

/// What becomes of a command that the server refused before it could run as it should.
fn refused(retry: bool, error: ErrPacket) -> Attempt {
    if retry {
        return Attempt::Elsewhere(String::from_utf8_lossy(&error.message).into_owned());
    }
    if error.code == codes::SERVER_SHUTDOWN.code {
        return Attempt::Unsent(error);
    }
    Attempt::Failed(error)
}

/// What becomes of a command whose connection has closed, or holds what nobody asked for, before it was sent. A server
/// that had a reason to close has said it (4031 after `wait_timeout`), and the client gets its words.
fn not_quiet(retry: bool, statement: &Statement, come: &[u8]) -> Attempt {
    let payload = Header::parse(come).and_then(|header| come.get(HEADER_LEN..)?.get(..header.len));
    match payload.map(ErrPacket::decode) {
        Some(Ok(error)) if !CLIENTS_OWN.contains(&error.code) && !retry => Attempt::Unsent(error),
        Some(Ok(error)) => lost(retry, statement, &String::from_utf8_lossy(&error.message), false),
        Some(Err(_)) | None => {
            let why = "the server closed the connection, or said what nobody asked for";
            lost(retry, statement, why, false)
        }
    }
}

/// What becomes of a read that a replica refused as it ran.
fn refused_by_replica(error: &ErrPacket) -> Attempt {
    let why = String::from_utf8_lossy(&error.message).into_owned();
    if WRITES.contains(&error.code) { Attempt::Writes(why) } else { Attempt::Elsewhere(why) }
}

/// What becomes of a command whose connection was lost before the client saw any of the answer.
fn lost(retry: bool, statement: &Statement, why: &str, sent: bool) -> Attempt {
    if retry {
        return Attempt::Elsewhere(why.to_owned());
    }
    let may_have_run =
        sent && !matches!(statement.kind, Kind::Read | Kind::PrimaryRead | Kind::Previous);
    let words = if may_have_run {
        format!(
            "Lost connection to MySQL server during query ({why}); whether it was executed is not known, \
             Weir did not repeat it"
        )
    } else {
        format!("Lost connection to MySQL server during query ({why})")
    };
    let error = codes::LOST_CONNECTION.packet(words);
    if sent { Attempt::Failed(error) } else { Attempt::Unsent(error) }
}

/// Passes the client's file to the server, up to and with its empty packet, then the rest of the response. The
/// client has seen the request for its file, so an error comes after that.
async fn pass_local_file(
    server: &mut Connection,
    client: &mut PacketStream,
    walker: &mut Walker,
    view: View<'_>,
    reply: &mut Reply,
) -> Ending {
    let mut seq = walker.next_seq();
    loop {
        let message = match client.message(seq, || MAX_FILE_PACKET).await {
            Ok(message) => message,
            Err(ReadError::Closed | ReadError::Io(_)) => return Ending::ClientGone,
            Err(error) => return Ending::BadFile { error, seq: seq.wrapping_add(1) },
        };
        seq = message.last_seq.wrapping_add(1);
        let written = server.stream.write_all(client.raw(message)).await;
        client.consume(message.raw_len);
        if let Err(error) = written {
            // The client goes on sending, so no number is the right one.
            let why = format!("the link to the server failed: {error}");
            return Ending::Lost { why, passed: true, seq: None };
        }
        if message.raw_len == HEADER_LEN {
            break;
        }
    }
    walker.resume_after_file(seq);
    match pass(server, client, walker, view, reply).await {
        Ending::Lost { why, passed, seq: at } => {
            let why = format!("{why}; whether the file was loaded is not known");
            Ending::Lost { why, passed: true, seq: if passed { at } else { Some(seq) } }
        }
        ending => ending,
    }
}
