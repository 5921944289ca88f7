//! One method a command: what the client asked, and who answers.

use std::rc::Rc;
use std::sync::Arc;

use crate::backend::connect::Account;
use crate::backend::connection::InsertId;
use crate::backend::state::{State, Variables};
use crate::net::response::Shape;
use crate::net::stream::Message;
use crate::session::execute::Work;
use crate::session::{Closed, Session};
use crate::sql::{Kind, Needs, Pins, Statement};
use crate::wire::{
    Capabilities, Command, FieldList, ProcessKill, QueryCommand, SetOption, StatusFlags, WireError,
    codes,
};

fn plain(kind: Kind, reason: &'static str) -> Statement {
    Statement { kind, pins: Pins::NONE, unpins: Pins::NONE, needs: Needs::NONE, count: 1, reason }
}

impl Session {
    /// Carries out one command.
    pub(super) async fn dispatch(
        &mut self,
        command: Command,
        message: Message,
    ) -> Result<(), Closed> {
        self.entry.asks();
        match command {
            Command::Query => self.query(message).await,
            Command::StmtExecute => self.use_statement(message, Shape::Query).await,
            Command::StmtPrepare => self.prepare_statement(message).await,
            Command::StmtFetch => self.use_statement(message, Shape::Fetch).await,
            Command::StmtSendLongData => self.send_long_data(message).await,
            Command::StmtReset => self.reset_statement(message).await,
            Command::StmtClose => self.close_statement(message).await,
            Command::Quit => Err(Closed::ByClient),
            Command::Ping => self.ping().await,
            Command::InitDb => self.init_db(message).await,
            Command::FieldList => self.field_list(message).await,
            Command::Statistics => self.answer_statistics().await,
            Command::SetOption => self.set_option(message).await,
            Command::ProcessKill => Box::pin(self.process_kill(message)).await,
            Command::ResetConnection => self.reset_connection().await,
            Command::ChangeUser => Box::pin(self.change_user(message)).await,
            Command::Debug => {
                let debug = plain(Kind::PrimaryRead, "COM_DEBUG");
                self.execute(Work::Message(Shape::Single), &debug).await
            }
            _ => self.send_error(&codes::UNKNOWN_COMMAND.packet("Unknown command")).await,
        }
    }

    async fn query(&mut self, message: Message) -> Result<(), Closed> {
        let body = self.after_command(message);
        let statement = if message.is_split() {
            Arc::new(plain(Kind::Write, "a text of 16 MiB or more is not looked at"))
        } else {
            match QueryCommand::decode(body, self.server_bits) {
                Ok(query) => self.worker.classifier.classify(query.sql, self.lex_mode),
                Err(_) => return self.refuse_malformed().await,
            }
        };
        if statement.needs.any(Needs::CHARSET) {
            // The trackers do not tell the collation of SET NAMES .. COLLATE; its words do.
            let body = self.after_command(message);
            let query = QueryCommand::decode(body, self.server_bits);
            self.names =
                query.ok().and_then(|query| crate::sql::set_names(query.sql, self.lex_mode));
        }
        self.execute(Work::Message(Shape::Query), &statement).await
    }

    /// COM_PING, which makes ROW_COUNT() 0 as on a server.
    async fn ping(&mut self) -> Result<(), Closed> {
        if self.lease.is_some() {
            let ping = plain(Kind::Previous, "COM_PING");
            return self.execute(Work::Message(Shape::Single), &ping).await;
        }
        self.row_count = Some(0);
        self.pinged = true;
        self.send_ok().await
    }

    async fn init_db(&mut self, message: Message) -> Result<(), Closed> {
        let schema: Rc<[u8]> = self.after_command(message).into();
        let statement = plain(Kind::Session, "COM_INIT_DB");
        self.execute(Work::Message(Shape::Single), &statement).await?;
        // A server that tracks has said so already; the words serve those that do not.
        if self.row_count == Some(0) {
            self.wanted.schema = Some(schema);
        }
        Ok(())
    }

    async fn field_list(&mut self, message: Message) -> Result<(), Closed> {
        if FieldList::decode(self.after_command(message)).is_err() {
            return self.refuse_malformed().await;
        }
        let read = plain(Kind::Read, "COM_FIELD_LIST");
        self.execute(Work::Message(Shape::Fields), &read).await
    }

    async fn set_option(&mut self, message: Message) -> Result<(), Closed> {
        match SetOption::decode(self.after_command(message)) {
            Ok(option) => {
                self.wanted.multi_statements = option.multi_statements;
                self.send_eof().await
            }
            Err(WireError::Invalid { .. }) => {
                self.send_error(&codes::UNKNOWN_COMMAND.packet("Unknown command")).await
            }
            Err(_) => self.refuse_malformed().await,
        }
    }

    async fn process_kill(&mut self, message: Message) -> Result<(), Closed> {
        match ProcessKill::decode(self.after_command(message)) {
            Ok(kill) => self.kill(u64::from(kill.connection_id), false).await,
            Err(_) => self.refuse_malformed().await,
        }
    }

    /// The payload without its command byte.
    pub(super) fn after_command(&self, message: Message) -> &[u8] {
        self.client.payload(message).get(1..).unwrap_or_default()
    }

    pub(super) async fn refuse_malformed(&mut self) -> Result<(), Closed> {
        self.send_error(&codes::MALFORMED_PACKET.packet("Malformed communication packet.")).await
    }

    async fn reset_connection(&mut self) -> Result<(), Closed> {
        self.forget_state(Rc::new(Variables::default()));
        self.send_ok().await
    }

    /// Forgets all that a session can set, but not who it is, nor what it wrote.
    pub(super) fn forget_state(&mut self, variables: Rc<Variables>) {
        self.abandon_lease();
        self.pins = Pins::NONE;
        self.previous = None;
        self.row_count = None;
        self.found_rows = None;
        self.raw_trackers = false;
        self.deferred = None;
        self.prepared.clear();
        self.insert_id = Rc::new(InsertId::default());
        self.wanted.variables = variables;
        self.status = self.worker.initial_status();
        self.follow_variables();
    }

    async fn change_user(&mut self, message: Message) -> Result<(), Closed> {
        let body = self.after_command(message);
        let Ok(asked) = crate::wire::ChangeUser::decode(body, self.capabilities) else {
            return self.refuse_malformed().await;
        };
        let seq = message.last_seq;
        self.client.consume(message.raw_len);
        self.message = None;
        self.become_user(asked, seq).await
    }

    /// The account that server connections of this session log in with.
    pub(super) fn account(&self) -> Account {
        Account {
            user: Rc::clone(&self.login.user),
            password: self.login.password.clone(),
            capabilities: self.server_bits,
            collation: self.login.collation,
            schema: self.wanted.schema.clone(),
        }
    }
}

impl crate::session::worker::Worker {
    /// The flags of a session that has done nothing yet.
    pub(super) fn initial_status(&self) -> StatusFlags {
        let topology = self.shared.topology.load();
        if topology.primary().is_none_or(|server| server.autocommit) {
            StatusFlags::AUTOCOMMIT
        } else {
            StatusFlags::default()
        }
    }

    /// The state of a session that has done nothing yet.
    pub(super) fn initial_state(
        &self,
        collation: u8,
        schema: Option<Rc<[u8]>>,
        bits: Capabilities,
    ) -> State {
        State {
            schema,
            variables: self.base(collation),
            multi_statements: bits.has(Capabilities::MULTI_STATEMENTS),
        }
    }
}
