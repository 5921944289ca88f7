//! The client's prepared statements. A server connection knows them under numbers of its own, and
//! only those that were prepared on it; what is missing is prepared when it is needed.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Builder;

use crate::backend::connection::{Connection, ServerStatement, StatementKey};
use crate::backend::replay::{Prelude, prepare};
use crate::backend::state::State;
use crate::net::response::Shape;
use crate::net::stream::{Message, PacketStream};
use crate::session::execute::Work;
use crate::session::{Closed, Session};
use crate::sql::{Kind, Needs, Pins, Statement};
use crate::wire::prepared::{decode_close, decode_reset};
use crate::wire::{
    Command, ErrPacket, ExecuteHeader, Fetch, HEADER_LEN, PrepareOk, codes, frame, rebuild_execute,
};

/// Statements that one client may have prepared, at most: MySQL's own default for a whole server
/// (`max_prepared_stmt_count`).
const MAX_STATEMENTS: usize = 16_382;

/// The bits of COM_STMT_EXECUTE's flags that ask for a cursor of any type.
const CURSOR_FLAGS: u8 = 0b111;

/// Offset of the statement id in the packet of every COM_STMT command.
const ID_OFFSET: usize = HEADER_LEN + 1;

/// What the client prepared.
#[derive(Debug)]
pub(super) struct ClientStatement {
    key: StatementKey,
    statement: Arc<Statement>,
    params: u16,
    /// The parameter types last bound, and their hash.
    types: Option<(Rc<[u8]>, u64)>,
    /// A cursor of it is open on the held connection.
    cursor: bool,
}

/// All of one client, by its ids.
#[derive(Debug, Default)]
pub(super) struct PreparedStatements {
    statements: BTreeMap<u32, ClientStatement>,
    last_id: u32,
    /// How many have an open cursor.
    cursors: usize,
}

/// What is to be sent for a piece of work.
pub(super) enum Ready {
    /// The client's message as it stands in its buffer.
    Message,
    /// These packets, the last of which has this number.
    Bytes(Vec<u8>, u8),
    /// The statement could not be prepared there.
    Refused(ErrPacket),
}

impl PreparedStatements {
    fn new_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.statements.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The key of a new statement. Two of one session with the same text must not share one of the
    /// server's: a cursor or long data of the one would be lost by the other.
    fn free_key(&self, schema: Option<Rc<[u8]>>, text: Rc<[u8]>) -> StatementKey {
        let mut key = StatementKey::new(schema, text);
        while self.statements.values().any(|statement| statement.key == key) {
            key.copy += 1;
        }
        key
    }

    /// What COM_STMT_PREPARE brought about.
    pub(super) fn add(
        &mut self,
        id: u32,
        key: StatementKey,
        statement: Arc<Statement>,
        ok: PrepareOk,
    ) {
        let added =
            ClientStatement { key, statement, params: ok.params, types: None, cursor: false };
        self.statements.insert(id, added);
    }

    /// Forgets everything, as COM_RESET_CONNECTION does.
    pub(super) fn clear(&mut self) {
        self.statements.clear();
        self.cursors = 0;
    }

    fn remove(&mut self, id: u32) -> Option<ClientStatement> {
        let gone = self.statements.remove(&id)?;
        self.cursors -= usize::from(gone.cursor);
        Some(gone)
    }

    /// What running a statement has told of it.
    pub(super) fn learn(&mut self, id: u32, statement: Arc<Statement>) {
        if let Some(known) = self.statements.get_mut(&id) {
            known.statement = statement;
        }
    }

    /// The text of a statement.
    pub(super) fn text(&self, id: u32) -> Option<&[u8]> {
        self.statements.get(&id).map(|statement| &*statement.key.text)
    }

    /// Notes whether a cursor is open after an EXECUTE or FETCH.
    pub(super) fn set_cursor(&mut self, id: u32, open: bool) {
        if !open && self.cursors == 0 {
            return;
        }
        if let Some(statement) = self.statements.get_mut(&id) {
            self.cursors -= usize::from(statement.cursor);
            self.cursors += usize::from(open);
            statement.cursor = open;
        }
    }

    /// Whether any statement has an open cursor.
    pub(super) fn cursors_open(&self) -> bool {
        self.cursors > 0
    }
}

/// Makes the connection know the statement that `work` is about, and builds what is to be sent.
/// `Err`: the connection is lost.
pub(super) async fn ready(
    server: &mut Connection,
    prepared: &mut PreparedStatements,
    preparing: Option<&(StatementKey, Arc<Statement>)>,
    (client, message): (&mut PacketStream, Message),
    work: Work,
    wanted: &State,
    limit: usize,
) -> Result<Ready, String> {
    let (Work::Prepared { client_id, .. } | Work::LongData { client_id }) = work else {
        if let (Work::Prepare { .. }, Some((key, _))) = (work, preparing) {
            make_room(server, key, limit).await?;
        }
        return Ok(Ready::Message);
    };
    let Some(statement) = prepared.statements.get_mut(&client_id) else {
        return Ok(Ready::Refused(unknown(client_id)));
    };
    if !server.prepared.contains_key(&statement.key)
        && let Some(error) = make_known(server, &statement.key, wanted, limit).await?
    {
        return Ok(Ready::Refused(error));
    }
    let uses = server.uses;
    let Some(known) = server.prepared.get_mut(&statement.key) else {
        return Err("a prepared statement was lost".to_owned());
    };
    known.used = uses;
    let is_execute = matches!(client.payload(message).first(), Some(byte) if *byte == Command::StmtExecute.byte());
    if is_execute
        && statement.params_or_attributes(client, message)
        && let Some((bytes, last_seq)) =
            execute_bytes(statement, known, client, message, server.capabilities)?
    {
        return Ok(Ready::Bytes(bytes, last_seq));
    }
    // The client's own id is not needed any more: the work knows it.
    client.overwrite(ID_OFFSET, &known.id.to_le_bytes());
    Ok(Ready::Message)
}

impl ClientStatement {
    fn params_or_attributes(&self, client: &PacketStream, message: Message) -> bool {
        // Without parameters and attributes a packet has 10 bytes.
        self.params > 0 || client.payload(message).len() > 10
    }
}

/// The EXECUTE with the server's id; with the types sent anew when this connection does not know
/// them. `None`: only the id changes.
fn execute_bytes(
    statement: &mut ClientStatement,
    known: &mut ServerStatement,
    client: &PacketStream,
    message: Message,
    capabilities: crate::wire::Capabilities,
) -> Result<Option<(Vec<u8>, u8)>, String> {
    let whole;
    let payload = if message.is_split() {
        whole = joined(client.raw(message));
        whole.as_slice()
    } else {
        client.payload(message)
    };
    let body = payload.get(1..).unwrap_or_default();
    let header = ExecuteHeader::decode(body, capabilities, statement.params)
        .map_err(|error| format!("a malformed COM_STMT_EXECUTE: {error}"))?;
    if header.params.new_types {
        let hash = Xxh3Builder::new().hash_one(header.params.types);
        if statement.types.as_ref().is_none_or(|(_, old)| *old != hash) {
            statement.types = Some((header.params.types.into(), hash));
        }
        known.types = Some(hash);
        return Ok(None);
    }
    match &statement.types {
        Some((types, hash)) if header.params.count > 0 && known.types != Some(*hash) => {
            let mut rebuilt = Vec::with_capacity(payload.len() + types.len());
            rebuild_execute(&mut rebuilt, known.id, &header, types);
            known.types = Some(*hash);
            let mut framed = Vec::with_capacity(rebuilt.len() + HEADER_LEN);
            let mut seq = 0;
            frame(&mut framed, &mut seq, &rebuilt);
            Ok(Some((framed, seq.wrapping_sub(1))))
        }
        _ => Ok(None),
    }
}

/// The payload of a split message in one piece.
fn joined(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(header) = crate::wire::Header::parse(rest) {
        let end = HEADER_LEN + header.len;
        out.extend_from_slice(rest.get(HEADER_LEN..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default();
    }
    out
}

/// Prepares the statement on the connection, in the schema it was prepared in at first; the
/// connection is afterwards in the session's schema again. Gives the error of a server that refuses.
async fn make_known(
    server: &mut Connection,
    key: &StatementKey,
    wanted: &State,
    limit: usize,
) -> Result<Option<ErrPacket>, String> {
    make_room(server, key, limit).await?;
    let elsewhere =
        key.schema.as_ref().filter(|schema| server.state.schema.as_ref() != Some(*schema));
    if let Some(schema) = elsewhere
        && let Some(error) = init_db(server, schema).await?
    {
        return Ok(Some(error));
    }
    let result = prepare(server, &key.text).await?;
    if elsewhere.is_some() {
        server.state.schema.clone_from(&key.schema);
        if let Some(schema) = wanted.schema.clone() {
            if let Some(error) = init_db(server, &schema).await? {
                return Ok(Some(error));
            }
            server.state.schema = Some(schema);
        }
    }
    Ok(match result {
        Ok(id) => {
            let statement = ServerStatement { id, types: None, used: server.uses };
            server.prepared.insert(key.clone(), statement);
            None
        }
        Err(error) => Some(error),
    })
}

/// Closes the server's statement of that key, which is about to be prepared anew, and the least
/// recently used one where there are too many.
async fn make_room(
    server: &mut Connection,
    key: &StatementKey,
    limit: usize,
) -> Result<(), String> {
    if let Some(old) = server.prepared.remove(key) {
        close(server, old.id).await?;
    }
    if let Some(old) = server.evict_prepared(limit.saturating_sub(1)) {
        close(server, old).await?;
    }
    Ok(())
}

async fn init_db(server: &mut Connection, schema: &[u8]) -> Result<Option<ErrPacket>, String> {
    let mut prelude = Prelude::default();
    prelude.command(Command::InitDb, schema);
    prelude.run(server).await
}

async fn close(server: &mut Connection, id: u32) -> Result<(), String> {
    let mut bytes = Vec::new();
    let mut payload = Vec::new();
    crate::wire::prepared::encode_close(&mut payload, id);
    frame(&mut bytes, &mut 0, &payload);
    server.stream.write_all(&bytes).await.map_err(|error| error.to_string())
}

/// A read that binds the session to its connection runs on the primary, where what follows can run too.
fn on_primary(statement: &Arc<Statement>) -> Arc<Statement> {
    if statement.kind != Kind::Read {
        return Arc::clone(statement);
    }
    let reason = "opens a cursor or sends long data";
    Arc::new(Statement { kind: Kind::PrimaryRead, reason, ..(**statement).clone() })
}

fn unknown(id: u32) -> ErrPacket {
    codes::UNKNOWN_STATEMENT
        .packet(format!("Unknown prepared statement handler ({id}) given to mysql_stmt_precheck"))
}

impl Session {
    /// COM_STMT_PREPARE.
    pub(super) async fn prepare_statement(&mut self, message: Message) -> Result<(), Closed> {
        if self.prepared.statements.len() >= MAX_STATEMENTS {
            let words = format!(
                "Can't create more than max_prepared_stmt_count statements (current value: {MAX_STATEMENTS})"
            );
            return self.send_error(&codes::TOO_MANY_PREPARED_STATEMENTS.packet(words)).await;
        }
        let text: Rc<[u8]> = if message.is_split() {
            joined(self.client.raw(message)).get(1..).unwrap_or_default().into()
        } else {
            self.client.payload(message).get(1..).unwrap_or_default().into()
        };
        let statement = self.worker.classifier.classify(&text, self.lex_mode);
        let client_id = self.prepared.new_id();
        // Where it is prepared matters little: it is decided anew at every execution.
        let kind = match statement.kind {
            kind @ (Kind::Read | Kind::Denied) => kind,
            _ => Kind::PrimaryRead,
        };
        let asked = Statement {
            kind,
            pins: Pins::NONE,
            unpins: Pins::NONE,
            needs: Needs::NONE,
            ..(*statement).clone()
        };
        let key = self.prepared.free_key(self.wanted.schema.clone(), text);
        self.preparing = Some((key, statement));
        self.execute(Work::Prepare { client_id }, &asked).await
    }

    /// COM_STMT_EXECUTE and COM_STMT_FETCH.
    pub(super) async fn use_statement(
        &mut self,
        message: Message,
        shape: Shape,
    ) -> Result<(), Closed> {
        let body = self.after_command(message);
        let Ok(client_id) = ExecuteHeader::statement_id(body) else {
            return self.refuse_malformed().await;
        };
        let Some(known) = self.prepared.statements.get(&client_id) else {
            return self.send_error(&unknown(client_id)).await;
        };
        let is_malformed = match shape {
            Shape::Fetch => Fetch::decode(body).is_err(),
            _ if message.is_split() => false,
            _ => ExecuteHeader::decode(body, self.server_bits, known.params).is_err(),
        };
        if is_malformed {
            return self.refuse_malformed().await;
        }
        let with_cursor =
            shape == Shape::Query && body.get(4).is_some_and(|flags| flags & CURSOR_FLAGS != 0);
        let statement =
            if with_cursor { on_primary(&known.statement) } else { Arc::clone(&known.statement) };
        if let Some(error) = self.deferred.take() {
            return self.send_error(&error).await;
        }
        self.execute(Work::Prepared { client_id, shape }, &statement).await
    }

    /// COM_STMT_SEND_LONG_DATA: goes to the connection that will execute. Never answered.
    pub(super) async fn send_long_data(&mut self, message: Message) -> Result<(), Closed> {
        let body = self.after_command(message);
        let known = ExecuteHeader::statement_id(body)
            .ok()
            .and_then(|id| Some((id, on_primary(&self.prepared.statements.get(&id)?.statement))));
        let Some((client_id, statement)) = known else { return Ok(()) };
        self.silent = true;
        let done = self.execute(Work::LongData { client_id }, &statement).await;
        self.silent = false;
        done
    }

    /// COM_STMT_RESET: only a held connection has anything to forget.
    pub(super) async fn reset_statement(&mut self, message: Message) -> Result<(), Closed> {
        let Ok(id) = decode_reset(self.after_command(message)) else {
            return self.refuse_malformed().await;
        };
        let Some(known) = self.prepared.statements.get(&id) else {
            return self.send_error(&unknown(id)).await;
        };
        if self.pins.any(Pins::CURSOR.with(Pins::LONG_DATA)) && self.lease.is_some() {
            let statement = Arc::clone(&known.statement);
            return self
                .execute(Work::Prepared { client_id: id, shape: Shape::Single }, &statement)
                .await;
        }
        self.send_ok().await
    }

    /// COM_STMT_CLOSE: never answered. The server keeps it for the next session that prepares the
    /// same text, unless a cursor or long data hang on it.
    pub(super) async fn close_statement(&mut self, message: Message) -> Result<(), Closed> {
        let Ok(id) = decode_close(self.after_command(message)) else { return Ok(()) };
        let Some(gone) = self.prepared.remove(id) else { return Ok(()) };
        if (gone.cursor || self.pins.any(Pins::LONG_DATA))
            && let Some(server) =
                self.lease.as_mut().and_then(crate::backend::pool::Lease::connection)
            && let Some(known) = server.prepared.remove(&gone.key)
            && close(server, known.id).await.is_err()
        {
            server.busy = true;
        }
        if !self.prepared.cursors_open() {
            self.pins = self.pins.without(Pins::CURSOR);
        }
        self.pins = self.pins.without(Pins::LONG_DATA);
        self.release_unless_bound();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_statements() -> PreparedStatements {
        let mut prepared = PreparedStatements::default();
        for id in [1, 2] {
            let statement = Statement {
                kind: Kind::PrimaryRead,
                pins: Pins::NONE,
                unpins: Pins::NONE,
                needs: Needs::NONE,
                count: 1,
                reason: "a test",
            };
            let key = prepared.free_key(None, b"SELECT 1"[..].into());
            let ok = PrepareOk {
                statement_id: 7,
                columns: 1,
                params: 0,
                warnings: 0,
                metadata_follows: None,
            };
            prepared.add(id, key, Arc::new(statement), ok);
        }
        prepared
    }

    #[test]
    fn a_cursor_is_open_until_its_statement_ends_it() {
        let mut prepared = two_statements();
        for (id, open, any) in [
            (1, false, false),
            (1, true, true),
            (1, true, true),
            (2, true, true),
            (1, false, true),
            (3, true, true),
            (2, false, false),
        ] {
            prepared.set_cursor(id, open);
            assert_eq!(prepared.cursors_open(), any, "{id} {open}");
        }
        prepared.set_cursor(1, true);
        assert!(prepared.remove(2).is_some());
        assert!(prepared.cursors_open());
        assert!(prepared.remove(1).is_some());
        assert!(!prepared.cursors_open());
        prepared = two_statements();
        prepared.set_cursor(1, true);
        prepared.clear();
        assert!(!prepared.cursors_open());
    }

    #[test]
    fn statements_of_one_session_share_none_of_the_servers() {
        let prepared = two_statements();
        let keys: Vec<_> = prepared.statements.values().map(|statement| &statement.key).collect();
        assert_ne!(keys[0], keys[1]);
        // Another session's first of that text is the same, its schema's is not.
        let other = two_statements();
        assert_eq!(Some(keys[0]), other.statements.get(&1).map(|statement| &statement.key));
        let elsewhere = StatementKey::new(Some(b"a"[..].into()), b"SELECT 1"[..].into());
        assert_ne!(*keys[0], elsewhere);
    }
}
