//! A connection to one server for Weir's own statements. Every call has a limit of time.
//!
//! mysql_async is not cancel-safe: after a dropped or timed-out call the connection is out of step. So a
//! `Client` that returned an error, or whose future was dropped, must be dropped as well.

use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row, SslOpts};

use crate::config::Secret;

use super::error::ClusterError;

/// To connect and log in.
const LOGIN_LIMIT: Duration = Duration::from_secs(5);
/// For one ordinary statement. DDL on an idle server takes milliseconds.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);
/// The largest row or statement; the servers' own limits are lower or the same.
const MAX_PACKET_BYTES: usize = 1 << 30;
/// MySQL's code for a refused password, <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
const ACCESS_DENIED: u16 = 1045;
/// Its message quotes what it did not understand.
const SYNTAX_ERROR: u16 = 1064;

/// Who logs in where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'a> {
    /// For messages: "weir-1".
    pub node: &'a str,
    pub address: SocketAddr,
    pub user: &'a str,
    pub password: &'a Secret,
    /// Whether the way leads over a network that others may listen to.
    pub tls: bool,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// The server refused the user or the password.
    Denied(String),
    /// No server answers there (yet).
    Unreachable(String),
}

/// How a long statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// With the server's number for the error.
    Refused(u16),
    /// The connection broke.
    Lost(String),
}

/// A logged-in connection.
#[derive(Debug)]
pub(super) struct Client {
    conn: Conn,
    node: String,
}

impl Client {
    /// Logs in; sessions start with an empty sql_mode, so that string literals mean one thing.
    pub(super) async fn connect(login: Login<'_>) -> Result<Self, NoLogin> {
        let options = OptsBuilder::default()
            .ip_or_hostname(login.address.ip().to_string())
            .tcp_port(login.address.port())
            .user(Some(login.user))
            .pass(Some(login.password.expose()))
            .prefer_socket(false)
            // A server's certificate is one that it made itself.
            .ssl_opts(login.tls.then(|| SslOpts::default().with_danger_accept_invalid_certs(true)))
            // Given, these two spare a query for the server's settings.
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(60))
            .stmt_cache_size(0)
            .setup(vec!["SET SESSION sql_mode = ''"]);
        match tokio::time::timeout(LOGIN_LIMIT, Box::pin(Conn::new(options))).await {
            Ok(Ok(conn)) => Ok(Self { conn, node: login.node.to_owned() }),
            Ok(Err(mysql_async::Error::Server(error))) if error.code == ACCESS_DENIED => {
                Err(NoLogin::Denied(error.message))
            }
            Ok(Err(error)) => Err(NoLogin::Unreachable(error.to_string())),
            Err(_elapsed) => {
                Err(NoLogin::Unreachable(format!("no answer in {} s", LOGIN_LIMIT.as_secs())))
            }
        }
    }

    /// Says goodbye; a server that does not listen any more is no error.
    pub(super) async fn close(self) {
        match tokio::time::timeout(LOGIN_LIMIT, self.conn.disconnect()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(node = self.node, %error, "goodbye failed"),
            Err(_elapsed) => tracing::debug!(node = self.node, "goodbye timed out"),
        }
    }

    /// All rows of one statement. `doing` names it in an error.
    pub(super) async fn rows(&mut self, sql: &str, doing: &str) -> Result<Vec<Row>, ClusterError> {
        let answer = tokio::time::timeout(STATEMENT_LIMIT, self.conn.query::<Row, _>(sql)).await;
        answer
            .map_err(|_elapsed| {
                self.failed(doing, format!("no answer in {} s", STATEMENT_LIMIT.as_secs()))
            })?
            .map_err(|error| self.failed(doing, error.to_string()))
    }

    /// The first column of the first row, as text; `None` for NULL or no row.
    pub(super) async fn value(
        &mut self,
        sql: &str,
        doing: &str,
    ) -> Result<Option<String>, ClusterError> {
        let rows = self.rows(sql, doing).await?;
        Ok(rows.first().and_then(|row| text_at(row, 0)))
    }

    /// The first column of the first row as a number; 0 when there is none.
    pub(super) async fn number(&mut self, sql: &str, doing: &str) -> Result<u64, ClusterError> {
        let text = self.value(sql, doing).await?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Runs a statement without rows.
    pub(super) async fn run(&mut self, sql: &str, doing: &str) -> Result<(), ClusterError> {
        self.rows(sql, doing).await.map(|_| ())
    }

    /// Runs a statement that holds a password: the server's message may quote it, so an error tells the
    /// code alone.
    pub(super) async fn run_secret(&mut self, sql: &str, doing: &str) -> Result<(), ClusterError> {
        let answer = tokio::time::timeout(STATEMENT_LIMIT, self.conn.query_drop(sql)).await;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(mysql_async::Error::Server(error))) => {
                Err(self.failed(doing, format!("error {} ({})", error.code, error.state)))
            }
            Ok(Err(error)) => Err(self.failed(doing, error.to_string())),
            Err(_elapsed) => {
                Err(self.failed(doing, format!("no answer in {} s", STATEMENT_LIMIT.as_secs())))
            }
        }
    }

    /// Runs a statement that holds a password and may take hours: whoever calls watches it.
    pub(super) async fn run_secret_to_end(&mut self, sql: &str) -> Ended {
        match self.conn.query_drop(sql).await {
            Ok(()) => Ended::Done,
            Err(mysql_async::Error::Server(error)) => Ended::Refused(error.code),
            Err(error) => Ended::Lost(error.to_string()),
        }
    }

    /// Whom it is connected to: "weir-1".
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Runs a statement that holds a password and may take until `limit`. Gives the server's code and words
    /// when it refused; no words where they might quote the statement.
    pub(super) async fn attempt_secret(
        &mut self,
        sql: &str,
        doing: &str,
        limit: Duration,
    ) -> Result<Option<(u16, String)>, ClusterError> {
        match tokio::time::timeout(limit, self.conn.query_drop(sql)).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(mysql_async::Error::Server(error))) if error.code == SYNTAX_ERROR => {
                Ok(Some((error.code, error.state)))
            }
            Ok(Err(mysql_async::Error::Server(error))) => Ok(Some((error.code, error.message))),
            Ok(Err(error)) => Err(self.failed(doing, error.to_string())),
            Err(_elapsed) => Err(self.failed(doing, format!("no answer in {} s", limit.as_secs()))),
        }
    }

    /// The connection itself, for what does not fit into the calls above; the limits are the caller's then.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The error for a call that failed for that cause.
    pub(super) fn failed(&self, doing: &str, cause: String) -> ClusterError {
        ClusterError::Sql { node: self.node.clone(), doing: doing.to_owned(), cause }
    }
}

/// A column by position, as text.
pub(super) fn text_at(row: &Row, at: usize) -> Option<String> {
    row.get_opt::<Option<String>, usize>(at)?.ok()?
}

/// A column by name, as text.
pub(super) fn text(row: &Row, column: &str) -> Option<String> {
    row.get_opt::<Option<String>, &str>(column)?.ok()?
}
