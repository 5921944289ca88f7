//! Commands sent ahead of a session's own, that bring the connection to the session's state; and
//! eating their answers.

use std::rc::{Rc, Weak};

use crate::backend::connection::{Connection, InsertId};
use crate::backend::state::State;
use crate::net::response::{Event, Shape, Walker};
use crate::wire::{
    Capabilities, Command, ErrPacket, HEADER_LEN, PutExt, Reader, SetOption, frame_with,
};

/// Bytes that one answer to these commands may have, at most.
const MAX_ANSWER: usize = 1 << 20;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The link broke: the server may be back in a moment, or another in its place.
    #[error("{0}")]
    Link(String),
    /// The server answered what is no answer.
    #[error("{0}")]
    Broken(String),
}

impl From<Lost> for String {
    fn from(lost: Lost) -> Self {
        lost.to_string()
    }
}

impl From<std::io::Error> for Lost {
    fn from(error: std::io::Error) -> Self {
        Self::Link(error.to_string())
    }
}

/// Framed commands and what their answers are.
#[derive(Debug, Default)]
pub struct Prelude {
    /// Framed packets.
    pub bytes: Vec<u8>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
enum Answer {
    /// One OK, EOF or ERR packet.
    Single,
    /// One row with one number: LAST_INSERT_ID() of the session that used the connection before.
    InsertId(Weak<InsertId>),
}

impl Prelude {
    /// What turns a connection from `have` into `wanted`; empty when it is there already.
    pub fn between(have: &State, wanted: &State, capabilities: Capabilities) -> Self {
        let mut prelude = Self::default();
        if have.same(wanted) {
            return prelude;
        }
        if have.multi_statements != wanted.multi_statements {
            let mut payload = Vec::with_capacity(3);
            SetOption { multi_statements: wanted.multi_statements }.encode(&mut payload);
            prelude.framed(&payload);
        }
        if let Some(sql) = have.variables.difference(&wanted.variables) {
            prelude.query(&sql, capabilities);
        }
        if let Some(schema) = wanted.schema.as_ref().filter(|s| have.schema.as_ref() != Some(*s)) {
            prelude.command(Command::InitDb, schema);
        }
        prelude
    }

    /// Adds what LAST_INSERT_ID() asks for: the value of the session that used the connection
    /// before is fetched for it, and `wanted` (when the statement reads it) is set.
    pub fn insert_id(
        &mut self,
        connection: &mut Connection,
        session: u64,
        wanted: Option<&InsertId>,
    ) {
        let is_own = connection.last_session == session;
        if !is_own
            && let Some(owner) = connection.insert_id_owner.take()
            && owner.strong_count() > 0
        {
            self.query(b"SELECT LAST_INSERT_ID()", connection.capabilities);
            self.answers.pop();
            self.answers.push(Answer::InsertId(owner));
        }
        if let Some(wanted) = wanted {
            let is_there = is_own && wanted.on_connection.get() == connection.id;
            if !is_there {
                let sql = format!("SET SESSION last_insert_id={}", wanted.value.get());
                self.query(sql.as_bytes(), connection.capabilities);
            }
        }
    }

    /// Adds a statement that is answered with one packet.
    pub fn query(&mut self, sql: &[u8], capabilities: Capabilities) {
        let mut body = Vec::with_capacity(sql.len() + 2);
        crate::wire::encode_query(&mut body, capabilities, sql);
        self.framed(&body);
    }

    /// Adds a command that is answered with one packet.
    pub fn command(&mut self, command: Command, body: &[u8]) {
        let mut payload = Vec::with_capacity(body.len() + 1);
        payload.put_u8(command.byte());
        payload.extend_from_slice(body);
        self.framed(&payload);
    }

    fn framed(&mut self, payload: &[u8]) {
        frame_with(&mut self.bytes, &mut 0, |out| out.extend_from_slice(payload));
        self.answers.push(Answer::Single);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Sends the commands and eats their answers: the first error, or why the connection is lost.
    pub async fn run(&self, connection: &mut Connection) -> Result<Option<ErrPacket>, String> {
        if self.is_empty() {
            return Ok(None);
        }
        connection.busy = true;
        connection.stream.write_all(&self.bytes).await.map_err(|error| error.to_string())?;
        let refused = self.eat(connection).await?;
        connection.busy = refused.is_some();
        Ok(refused)
    }

    /// As `run`, for commands that may each be refused: the connection is sound afterwards.
    pub async fn run_all(&self, connection: &mut Connection) -> Result<Vec<ErrPacket>, Lost> {
        connection.busy = true;
        connection.stream.write_all(&self.bytes).await?;
        let mut errors = Vec::new();
        for _ in &self.answers {
            errors.extend(single(connection).await?);
        }
        if !connection.stream.is_quiet() {
            return Err(Lost::Broken("the server said what nobody asked for".to_owned()));
        }
        connection.busy = false;
        Ok(errors)
    }

    /// Eats the answers of commands that were sent. After an error the connection stays busy: it
    /// is in neither state, and is to be closed.
    pub async fn eat(&self, connection: &mut Connection) -> Result<Option<ErrPacket>, String> {
        for answer in &self.answers {
            let refused = match answer {
                Answer::Single => single(connection).await?,
                Answer::InsertId(owner) => {
                    let value = number(connection).await?;
                    if let Some(owner) = owner.upgrade() {
                        keep(&owner, connection.id, value);
                    }
                    None
                }
            };
            if refused.is_some() {
                return Ok(refused);
            }
        }
        Ok(None)
    }
}

fn keep(owner: &Rc<InsertId>, connection: u64, value: u64) {
    if owner.on_connection.get() == connection {
        owner.value.set(value);
        owner.on_connection.set(0);
    }
}

/// Reads one OK, EOF or ERR answer whole and forgets it; gives the error when it was one. Bytes of
/// the next answer stay.
async fn single(connection: &mut Connection) -> Result<Option<ErrPacket>, Lost> {
    let mut walker = Walker::new(Shape::Single, connection.capabilities, 1);
    loop {
        let step = walker.step(connection.stream.bytes());
        match step.event {
            Event::More => {
                if connection.stream.fill().await? == 0 {
                    return Err(Lost::Link("the server closed the connection".to_owned()));
                }
            }
            Event::Ok | Event::Eof => {
                connection.stream.consume(step.pass + step.packet);
                return Ok(None);
            }
            Event::Err => {
                let bytes = connection.stream.bytes();
                let payload = bytes.get(step.pass + HEADER_LEN..step.pass + step.packet);
                let error = ErrPacket::decode(payload.unwrap_or_default());
                connection.stream.consume(step.pass + step.packet);
                return error.map(Some).map_err(|error| Lost::Broken(error.to_string()));
            }
            _ => {
                let words = "the server answered neither OK nor ERR";
                return Err(Lost::Broken(words.to_owned()));
            }
        }
    }
}

/// Reads a result of one row with one number.
async fn number(connection: &mut Connection) -> Result<u64, String> {
    let modern = connection.capabilities.has(Capabilities::DEPRECATE_EOF);
    let end = if modern { 4 } else { 5 };
    let mut value = 0;
    for seq in 1..=end {
        let message = connection.stream.message(seq, || MAX_ANSWER).await;
        let message = message.map_err(|error| error.to_string())?;
        let payload = connection.stream.payload(message);
        let is_due = match (seq, payload) {
            (_, [ErrPacket::HEADER, ..]) => {
                let error = ErrPacket::decode(payload).map_err(|error| error.to_string())?;
                return Err(format!("the server refused SELECT LAST_INSERT_ID(): {error}"));
            }
            (1, payload) => payload == [1],
            (seq, [first, ..]) if seq == end || (seq == 3 && !modern) => *first == 0xFE,
            (2, _) => true,
            (_, payload) => {
                let digits = Reader::new(payload).lenenc_bytes("last insert id");
                let digits = digits.ok().and_then(|digits| std::str::from_utf8(digits).ok());
                let number = digits.and_then(|digits| digits.parse().ok());
                value = number.unwrap_or_default();
                number.is_some()
            }
        };
        if !is_due {
            return Err("no answer to SELECT LAST_INSERT_ID()".to_owned());
        }
        connection.stream.consume(message.raw_len);
    }
    Ok(value)
}

/// Prepares a statement and eats the answer: the server's number for it, or its error.
pub async fn prepare(
    connection: &mut Connection,
    text: &[u8],
) -> Result<Result<u32, ErrPacket>, String> {
    let mut bytes = Vec::with_capacity(text.len() + 8);
    let mut payload = vec![Command::StmtPrepare.byte()];
    payload.extend_from_slice(text);
    crate::wire::frame(&mut bytes, &mut 0, &payload);
    connection.busy = true;
    connection.stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    let mut walker = Walker::new(Shape::Prepare, connection.capabilities, 1);
    let mut id = 0;
    loop {
        let step = walker.step(connection.stream.bytes());
        let bytes = connection.stream.bytes();
        let payload =
            bytes.get(step.pass + HEADER_LEN..step.pass + step.packet).unwrap_or_default();
        let mut refused = None;
        match step.event {
            Event::More | Event::End => {}
            Event::PrepareOk => {
                let ok = crate::wire::PrepareOk::decode(payload).map_err(|e| e.to_string())?;
                id = ok.statement_id;
                walker.prepared(ok.params, ok.columns);
            }
            Event::Eof | Event::MiddleEof | Event::Ok => return Err("no answer to PREPARE".into()),
            Event::Err => {
                refused = Some(ErrPacket::decode(payload).map_err(|error| error.to_string())?);
            }
            Event::Broken(why) => return Err(why.to_owned()),
            Event::LocalInfile => return Err("a file asked for by PREPARE".to_owned()),
        }
        connection.stream.consume(step.pass + step.packet);
        if walker.is_done() && step.event != Event::More {
            connection.busy = false;
            return Ok(refused.map_or(Ok(id), Err));
        }
        if step.event == Event::More {
            match connection.stream.fill().await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::state::Variables;

    fn state(schema: Option<&str>, variables: &[(&[u8], &[u8])], multi_statements: bool) -> State {
        State {
            schema: schema.map(|name| name.as_bytes().into()),
            variables: Rc::new(Variables::default().with(variables)),
            multi_statements,
        }
    }

    #[track_caller]
    fn check(have: &State, wanted: &State, caps: Capabilities, bytes: &[u8], answers: usize) {
        let prelude = Prelude::between(have, wanted, caps);
        assert_eq!(prelude.bytes, bytes);
        assert_eq!(prelude.answers.len(), answers);
        assert_eq!(prelude.is_empty(), answers == 0);
    }

    #[test]
    fn from_state_to_state() {
        let plain = state(None, &[], true);
        let none = Capabilities::NONE;
        check(&plain, &plain, none, b"", 0);
        check(&plain, &state(None, &[], false), none, b"\x03\0\0\0\x1b\x01\0", 1);
        check(&state(None, &[], false), &plain, none, b"\x03\0\0\0\x1b\0\0", 1);
        check(&plain, &state(Some("shop"), &[], true), none, b"\x05\0\0\0\x02shop", 1);
        check(&state(Some("shop"), &[], true), &plain, none, b"", 0);
        let strict = state(Some("a"), &[(b"sql_mode", b"ANSI")], false);
        check(
            &plain,
            &strict,
            none,
            b"\x03\0\0\0\x1b\x01\0\x1e\0\0\0\x03SET SESSION `sql_mode`='ANSI'\x02\0\0\0\x02a",
            3,
        );
        let set = b"\x20\0\0\0\x03\0\x01SET SESSION `sql_mode`='ANSI'";
        let named = state(None, &[(b"sql_mode", b"ANSI")], true);
        check(&plain, &named, Capabilities::QUERY_ATTRIBUTES, set, 1);
    }
}
