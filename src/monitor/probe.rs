//! The questions of one probe, and how the answers become a [`Probe`].
//!
//! What a server understands is found out once a connection ([`Link::open`]); after that a probe is one
//! round trip: its variables and its replication status in one text.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, Value};

use super::connect::{Connection, connect};
use super::seen::{Channel, Group, Identity, Probe, Receiver, Replication};
use super::signs::Says;
use crate::config::{Monitor, Server};
use crate::gtid::GtidSet;
use crate::topology::{Move, signs};

/// The variables, in the order that [`variables`] reads them; the first list a server knows is
/// asked. NULL stands for what it has not.
const VARIABLES: [&str; 4] = [
    // MySQL 5.6 and later, and what descends from it.
    "SELECT @@version, @@global.read_only, @@global.autocommit, @@global.sql_mode, \
     @@global.server_id, @@global.server_uuid, @@global.gtid_mode, @@global.gtid_executed, \
     @@global.max_allowed_packet",
    // MariaDB: GTIDs are always on, and there is no uuid.
    "SELECT @@version, @@global.read_only, @@global.autocommit, @@global.sql_mode, \
     @@global.server_id, NULL, 'ON', @@global.gtid_current_pos, @@global.max_allowed_packet",
    // Neither knows: a server that has at least `read_only`.
    "SELECT @@version, @@global.read_only, @@global.autocommit, @@global.sql_mode, NULL, NULL, \
     NULL, NULL, NULL",
    // A server that merely speaks the protocol.
    "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
];

/// The replication status: MySQL 8.0.22 and later, MariaDB with all its channels, older ones.
const STATUS: [&str; 3] = ["SHOW REPLICA STATUS", "SHOW ALL SLAVES STATUS", "SHOW SLAVE STATUS"];

/// The view that a member of a group has; no rows without the plugin, an error where there are no such tables or the
/// account may not read them (5.7 has no roles). Its own line first.
const GROUP: &str = "SELECT m.member_state, m.member_id, m.member_role, \
    s.count_transactions_remote_in_applier_queue FROM performance_schema.replication_group_members m LEFT JOIN \
    performance_schema.replication_group_member_stats s ON s.member_id = m.member_id ORDER BY \
    m.member_id <> @@server_uuid";

/// MySQL error numbers: a privilege is missing (1044, 1142, 1227), not the question unknown.
const DENIED: [u16; 3] = [1044, 1142, 1227];

/// An open connection and what its server understands.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    version: Arc<str>,
    variables: &'static str,
    status: Status,
    /// Whether it answers [`GROUP`].
    has_group: bool,
    /// The server is Weir's own: it is asked for signs, and given them.
    managed: bool,
    /// What this connection has said to it.
    said: Says,
    /// The last GTID text with its set, so that an idle server's is parsed once.
    last_executed: Option<(Vec<u8>, Arc<GtidSet>)>,
}

/// Whether and how to ask for the replication status.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Status {
    Ask(&'static str),
    Refused(String),
    Unsupported,
}

impl Link {
    /// Logs in and finds out what the server understands: a few round trips. Wrap it in a time limit;
    /// dropping it closes the connection.
    ///
    /// # Errors
    /// The connection failed, or the server answers not even `SELECT NULL`.
    pub async fn open(server: &Server, monitor: &Monitor) -> Result<Self, Error> {
        let mut connection = connect(server, monitor).await?;
        let variables = known_variables(&mut connection.conn).await?;
        let status = known_status(&mut connection.conn).await?;
        let asks_status = matches!(status, Status::Ask(_));
        let has_group = asks_status && answers(&mut connection.conn, GROUP).await?;
        let (major, minor, patch) = connection.conn.server_version();
        let version = format!("{major}.{minor}.{patch}").into();
        let (managed, said) = (monitor.managed, Says::default());
        Ok(Self {
            connection,
            version,
            variables,
            status,
            has_group,
            managed,
            said,
            last_executed: None,
        })
    }

    /// Asks once, and says what is new. After an error, and when dropped before its end, the link must not be used again:
    /// a late answer would be taken for the next one's.
    ///
    /// # Errors
    /// The connection failed, or the server no longer understands or allows what it did.
    pub async fn ask(&mut self, says: Says) -> Result<Probe, Error> {
        let mut text = self.variables.to_owned();
        if self.managed {
            let used = |sign| format!("IS_USED_LOCK('{sign}')");
            let (moves, leaves) = (used(signs::MOVES), used(signs::LEAVES));
            text = format!("{text}, {moves}, {leaves}, @@global.super_read_only");
        }
        let asks_status = match &self.status {
            Status::Ask(status) => {
                text = format!("{text};{status}");
                true
            }
            Status::Refused(_) | Status::Unsupported => false,
        };
        if self.has_group {
            text = format!("{text};{GROUP}");
        }
        if self.managed && says != self.said {
            let statements = says.statements(self.said, self.connection.conn.id());
            text = [text].into_iter().chain(statements).collect::<Vec<_>>().join(";");
        }
        let mut answers = self.connection.conn.query_iter(text).await?;
        let variables: Vec<Row> = answers.collect().await?;
        let channels: Vec<Row> = if asks_status { answers.collect().await? } else { Vec::new() };
        let members: Vec<Row> = if self.has_group { answers.collect().await? } else { Vec::new() };
        answers.drop_result().await?;
        self.said = says;
        let replication = match &self.status {
            Status::Ask(_) => Replication::Channels(channels.iter().map(channel).collect()),
            Status::Refused(words) => Replication::Refused(words.clone()),
            Status::Unsupported => Replication::Unsupported,
        };
        Ok(self.probe(&variables, replication, group(&members)))
    }

    fn probe(&mut self, rows: &[Row], replication: Replication, group: Option<Group>) -> Probe {
        let value = |place: usize| rows.first().and_then(|row| row.as_ref(place));
        let version = value(0).and_then(text);
        let identity = Identity {
            uuid: value(5).and_then(text).map(|uuid| uuid.to_ascii_lowercase()),
            server_id: value(4).and_then(number).filter(|id| *id != 0),
        };
        let has_gtids =
            value(6).and_then(text).is_some_and(|mode| mode == "ON" || mode == "ON_PERMISSIVE");
        let executed = value(7).filter(|_| has_gtids).and_then(bytes);
        Probe {
            version: version.map_or_else(|| Arc::clone(&self.version), Into::into),
            read_only: value(1).and_then(switch),
            autocommit: value(2).and_then(switch).unwrap_or(true),
            sql_mode: value(3).and_then(text).unwrap_or_default().into(),
            identity,
            executed: executed.and_then(|executed| self.executed(&executed)),
            replication,
            group,
            max_packet: value(8).and_then(number),
            moves: value(9).and_then(number).map(Move),
            leaves: value(10).and_then(number).map(Move),
            super_read_only: value(11).and_then(switch),
        }
    }

    fn executed(&mut self, text: &[u8]) -> Option<Arc<GtidSet>> {
        if let Some((last, set)) = &self.last_executed
            && last == text
        {
            return Some(Arc::clone(set));
        }
        let set = Arc::new(GtidSet::parse(text).ok()?);
        self.last_executed = Some((text.to_vec(), Arc::clone(&set)));
        Some(set)
    }
}

/// The first list of variables that the server answers.
async fn known_variables(conn: &mut Conn) -> Result<&'static str, Error> {
    let mut refusal = None;
    for list in VARIABLES {
        match conn.query_drop(list).await {
            Ok(()) => return Ok(list),
            Err(error @ Error::Server(_)) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| Error::Other("the server answers no question".into())))
}

/// Whether the server answers a question, or refuses it.
async fn answers(conn: &mut Conn, question: &str) -> Result<bool, Error> {
    match conn.query_drop(question).await {
        Ok(()) => Ok(true),
        Err(Error::Server(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How the server tells its replication status.
async fn known_status(conn: &mut Conn) -> Result<Status, Error> {
    for question in STATUS {
        match conn.query_drop(question).await {
            Ok(()) => return Ok(Status::Ask(question)),
            Err(Error::Server(error)) if DENIED.contains(&error.code) => {
                return Ok(Status::Refused(error.message));
            }
            Err(Error::Server(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Status::Unsupported)
}

/// One row of the replication status. Columns are found by name: versions differ in order and words.
fn channel(row: &Row) -> Channel {
    let column = |names: [&str; 2]| {
        let columns = row.columns_ref();
        let is_named = |name: &[u8]| names.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()));
        let place = columns.iter().position(|column| is_named(column.name_ref()))?;
        row.as_ref(place)
    };
    let words = |names| column(names).and_then(text).unwrap_or_default();
    let uuid = words(["Source_UUID", "Master_UUID"]).to_ascii_lowercase();
    let host = words(["Source_Host", "Master_Host"]);
    let port = words(["Source_Port", "Master_Port"]);
    Channel {
        name: words(["Channel_Name", "Connection_name"]),
        source_address: format!("{host}:{port}"),
        source: Identity {
            uuid: Some(uuid).filter(|uuid| !uuid.is_empty()),
            server_id: column(["Source_Server_Id", "Master_Server_Id"])
                .and_then(number)
                .filter(|id| *id != 0),
        },
        receiver: receiver(&words(["Replica_IO_Running", "Slave_IO_Running"])),
        receiver_error: words(["Last_IO_Error", "Last_IO_Error"]),
        applier_runs: words(["Replica_SQL_Running", "Slave_SQL_Running"])
            .eq_ignore_ascii_case("yes"),
        applier_error: words(["Last_SQL_Error", "Last_SQL_Error"]),
        seconds_behind: column(["Seconds_Behind_Source", "Seconds_Behind_Master"]).and_then(number),
    }
}

/// The rows of [`GROUP`].
fn group(rows: &[Row]) -> Option<Group> {
    let words = |row: &Row, place: usize| row.as_ref(place).and_then(text).unwrap_or_default();
    let own = rows.first()?;
    let heard = |row: &&Row| matches!(words(row, 0).as_str(), "ONLINE" | "RECOVERING");
    let primary = rows.iter().find(|row| words(row, 2) == "PRIMARY");
    Some(Group {
        state: words(own, 0),
        heard: rows.iter().filter(heard).count(),
        members: rows.len(),
        primary: primary.map(|row| words(row, 1).to_ascii_lowercase()),
        queue: own.as_ref(3).and_then(number),
    })
}

/// `Yes`, `No`, `Connecting`; MariaDB also `Preparing`.
fn receiver(word: &str) -> Receiver {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Receiver::Running,
        "no" | "" => Receiver::Stopped,
        _ => Receiver::Connecting,
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

/// `0`, `1`, `OFF`, `ON`, and MariaDB 12's stricter kinds of read-only.
fn switch(value: &Value) -> Option<bool> {
    match text(value)?.to_ascii_uppercase().as_str() {
        "0" | "OFF" => Some(false),
        "" => None,
        _ => Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let b = |text: &str| Value::Bytes(text.into());
        assert_eq!(switch(&b("0")), Some(false));
        assert_eq!(switch(&b("OFF")), Some(false));
        assert_eq!(switch(&Value::Int(1)), Some(true));
        assert_eq!(switch(&b("NO_LOCK_NO_ADMIN")), Some(true));
        assert_eq!(switch(&Value::NULL), None);
        assert_eq!(number(&b("12")), Some(12));
        assert_eq!(number(&b("-1")), None);
        assert_eq!(number(&Value::NULL), None);
        assert_eq!(text(&Value::Bytes(vec![0xff, b'a'])), Some("\u{fffd}a".to_owned()));
    }

    #[test]
    fn receiver_words() {
        for (word, want) in [
            ("Yes", Receiver::Running),
            ("No", Receiver::Stopped),
            ("", Receiver::Stopped),
            ("Connecting", Receiver::Connecting),
            ("Preparing", Receiver::Connecting),
        ] {
            assert_eq!(receiver(word), want, "{word}");
        }
    }
}
