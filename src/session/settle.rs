//! After a response: what the session now is, as the server said it, and whether it keeps the connection.

use std::rc::Rc;
use std::time::Instant;

use crate::backend::state::MAX_VARIABLES;
use crate::route::{Isolation, Plan};
use crate::session::execute::Work;
use crate::session::reply::Reply;
use crate::session::{Closed, Session};
use crate::sql::{Kind, LexMode, Needs, Pins, Statement};
use crate::wire::{Capabilities, StatusFlags};

impl Session {
    /// Takes in what the response said.
    pub(super) fn settle(
        &mut self,
        work: Work,
        statement: &Statement,
        plan: &Plan,
        reply: Reply,
    ) -> Result<(), Closed> {
        if let Work::LongData { .. } = work {
            self.pins = self.pins.with(Pins::LONG_DATA);
            return Ok(());
        }
        if reply.has_status {
            self.status = reply.status.without(StatusFlags::MORE_RESULTS);
        }
        self.take_told(&reply)?;
        self.take_token(statement, &reply);
        self.take_prepared(work, &reply);
        self.take_pins(work, statement, plan, &reply);
        self.take_insert_id(work, statement, &reply);
        if let Some(lease) = &self.lease {
            self.previous = Some((lease.server(), lease.connection_id()));
        }
        self.row_count = match (reply.error, reply.result_set) {
            (None, false) => i64::try_from(reply.affected_rows).ok(),
            _ => Some(-1),
        };
        self.pinged = false;
        if statement.kind != Kind::Previous && reply.result_set && statement.count == 1 {
            self.found_rows = Some(reply.rows).filter(|_| !plan.pins.any(Pins::FOUND_ROWS));
        }
        if statement.needs.any(Needs::RELEASE) && reply.error.is_none() {
            return Err(Closed::ByWeir("COMMIT or ROLLBACK with RELEASE".to_owned()));
        }
        self.release_unless_bound();
        Ok(())
    }

    /// Schema and variables, from the trackers.
    fn take_told(&mut self, reply: &Reply) -> Result<(), Closed> {
        let told = &reply.told;
        if let Some(schema) = &told.schema {
            self.wanted.schema = (!schema.is_empty()).then(|| Rc::from(schema.as_slice()));
        }
        if !told.variables.is_empty() {
            let changes: Vec<(&[u8], &[u8])> =
                told.variables.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
            self.set_variables(&changes);
            if self.wanted.variables.len() > MAX_VARIABLES {
                let words = format!("more than {MAX_VARIABLES} session variables set");
                return Err(Closed::ByWeir(words));
            }
        }
        let names = self.names.take().filter(|_| reply.error.is_none());
        if let Some(collation) = names.and_then(|names| names.collation) {
            self.set_variables(&[
                (b"collation_connection", &collation),
                (crate::backend::state::NAMES, &collation),
            ]);
        }
        if told.schema.is_some() || !told.variables.is_empty() {
            let wanted = self.wanted.clone();
            if let Some(server) =
                self.lease.as_mut().and_then(crate::backend::pool::Lease::connection)
            {
                server.state = wanted;
            }
        }
        Ok(())
    }

    /// Changes the session's variables and what follows from them.
    pub(super) fn set_variables(&mut self, changes: &[(&[u8], &[u8])]) {
        let is_tracker = |name: &[u8]| name.starts_with(b"session_track_");
        self.raw_trackers |= changes.iter().any(|(name, _)| is_tracker(name));
        let kept: Vec<(&[u8], &[u8])> =
            changes.iter().copied().filter(|(name, _)| !is_tracker(name)).collect();
        self.wanted.variables = Rc::new(self.wanted.variables.with(&kept));
        self.follow_variables();
    }

    /// What the session's variables mean for lexing and routing.
    pub(super) fn follow_variables(&mut self) {
        let variables = &self.wanted.variables;
        // The other is MariaDB's until 11.1.
        let isolation =
            variables.get(b"transaction_isolation").or_else(|| variables.get(b"tx_isolation"));
        let isolation = isolation.and_then(Isolation::parse);
        self.isolation = isolation.unwrap_or_default();
        let topology = self.worker.shared.topology.load();
        let primary = topology.primary();
        let mode = match variables.get(b"sql_mode") {
            Some(mode) => String::from_utf8_lossy(mode).into_owned(),
            None => primary.map(|server| server.sql_mode.to_string()).unwrap_or_default(),
        };
        let has = |word: &str| mode.split(',').any(|part| part.trim() == word);
        let charset = variables.get(b"character_set_client").unwrap_or_default();
        self.lex_mode = LexMode {
            ansi_quotes: has("ANSI_QUOTES"),
            no_backslash_escapes: has("NO_BACKSLASH_ESCAPES"),
            multi_byte_unsafe: [b"gbk".as_slice(), b"sjis", b"big5", b"cp932", b"gb18030"]
                .contains(&charset),
            maria: primary.is_some_and(|server| server.version.contains("MariaDB")),
        };
    }

    /// What later reads must see.
    fn take_token(&mut self, statement: &Statement, reply: &Reply) {
        if !reply.told.gtids.is_empty() {
            if !self.token.record(&reply.told.gtids) {
                self.wrote_blind_at = Some(Instant::now());
            }
            return;
        }
        if matches!(statement.kind, Kind::Read | Kind::PrimaryRead | Kind::Previous) {
            return;
        }
        // Without GTIDs, on a connection that does not tell them, or where the packet that ends a result set has
        // no room for them, only time can tell that a write has arrived.
        let topology = self.worker.shared.topology.load();
        let no_gtids = topology.primary().is_none_or(|server| server.executed.is_none());
        let untold = self
            .lease
            .as_mut()
            .and_then(crate::backend::pool::Lease::connection)
            .is_some_and(|server| !server.tells_gtids);
        let hidden = reply.result_set
            && !self.server_bits.has(Capabilities::DEPRECATE_EOF)
            && statement.kind == Kind::Write;
        if no_gtids || untold || hidden {
            self.wrote_blind_at = Some(Instant::now());
        }
    }

    fn take_prepared(&mut self, work: Work, reply: &Reply) {
        match work {
            Work::Prepare { client_id } => {
                let preparing = self.preparing.take();
                let (Some((key, statement)), Some(ok)) = (preparing, reply.prepared) else {
                    return;
                };
                if let Some(server) =
                    self.lease.as_mut().and_then(crate::backend::pool::Lease::connection)
                {
                    let known = crate::backend::connection::ServerStatement {
                        id: ok.statement_id,
                        types: None,
                        used: server.uses,
                    };
                    server.prepared.insert(key.clone(), known);
                }
                self.prepared.add(client_id, key, statement, ok);
            }
            Work::Prepared { client_id, shape } => {
                self.pins = self.pins.without(Pins::LONG_DATA);
                let open = reply.error.is_none()
                    && reply.status.has(StatusFlags::CURSOR_EXISTS)
                    && !reply.status.has(StatusFlags::LAST_ROW_SENT);
                let is_fetch = shape == crate::net::response::Shape::Fetch;
                let still = is_fetch
                    && reply.error.is_none()
                    && !reply.status.has(StatusFlags::LAST_ROW_SENT);
                self.prepared.set_cursor(client_id, open || still);
                self.pins = self.pins.without(Pins::CURSOR);
                if self.prepared.cursors_open() {
                    self.pins = self.pins.with(Pins::CURSOR);
                }
            }
            _ => {}
        }
    }

    fn take_pins(&mut self, work: Work, statement: &Statement, plan: &Plan, reply: &Reply) {
        let pins = plan.pins;
        if matches!(work, Work::Prepare { .. }) {
            return;
        }
        if self.asks_previous {
            // Who asked once about the statement before may ask again: its connection is kept a while.
            self.pins = self.pins.with(Pins::FOUND_ROWS);
        }
        if statement.kind == Kind::Previous {
            self.pins = self.pins.with(plan.pins);
            return;
        }
        // SET TRANSACTION holds for one transaction: the open one now, or the statement that was one.
        if statement.kind != Kind::Session {
            self.pins = self.pins.without(Pins::NEXT_TRANSACTION);
        }
        if reply.error.is_none() {
            let kept = if self.asks_previous { Pins::FOUND_ROWS } else { Pins::NONE };
            self.pins = self.pins.without(plan.unpins).with(pins).with(kept);
        } else if statement.needs.any(Needs::MULTI) {
            // The part that failed may have come after one that pins.
            self.pins = self.pins.with(pins);
        }
        if reply.warnings > 0 {
            self.pins = self.pins.with(Pins::WARNINGS);
        }
        // Only text statements: COM_STMT_PREPARE, too, counts as a change of state.
        let unexplained = reply.told.state_changed
            && reply.told.schema.is_none()
            && reply.told.variables.is_empty()
            && pins.is_empty()
            && statement.kind == Kind::Write
            && !statement.unpins.any(Pins::TEMPORARY_TABLE)
            && work == Work::Message(crate::net::response::Shape::Query)
            && self.lease_has_no_statements();
        if unexplained {
            self.pins = self.pins.with(Pins::UNKNOWN);
        }
    }

    fn lease_has_no_statements(&mut self) -> bool {
        self.lease
            .as_mut()
            .and_then(crate::backend::pool::Lease::connection)
            .is_some_and(|server| server.prepared.is_empty())
    }

    /// LAST_INSERT_ID() stays on the connection; who uses it next fetches the value for us first.
    fn take_insert_id(&mut self, work: Work, statement: &Statement, reply: &Reply) {
        if matches!(work, Work::Prepare { .. }) {
            return;
        }
        let may_change = reply.last_insert_id != 0
            || statement.needs.any(Needs::UNKNOWN_FUNCTION)
            || statement.needs.any(Needs::LAST_INSERT_ID)
            || (statement.kind == Kind::Write && (reply.result_set || statement.count != 1));
        if !may_change {
            return;
        }
        let owner = Rc::downgrade(&self.insert_id);
        if let Some(server) = self.lease.as_mut().and_then(crate::backend::pool::Lease::connection)
        {
            server.insert_id_owner = Some(owner);
            self.insert_id.on_connection.set(server.id);
            if reply.last_insert_id != 0 {
                self.insert_id.value.set(reply.last_insert_id);
            }
        }
    }
}
