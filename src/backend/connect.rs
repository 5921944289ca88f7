//! Opening a connection to a server: TCP, TLS, login, and the trackers that Weir lives by.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::backend::connection::Connection;
use crate::backend::login::{Identity, LoggedIn, LoginError, LoginStream, TlsChoice, login};
use crate::backend::replay::{Lost, Prelude};
use crate::backend::state::{State, Variables};
use crate::backend::tracked::TRACKED_VARIABLES;
use crate::config::{Secret, Server};
use crate::net::buffer::BufferPool;
use crate::net::stream::{PacketStream, Socket};
use crate::net::tls::ClientConfigs;
use crate::topology::ServerId;
use crate::wire::{Capabilities, ErrPacket};

/// A link that was silent for so long is asked whether the other host is there ..
const SILENT_BEFORE_ASKED: Duration = Duration::from_secs(3);
/// .. again after so long ..
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// .. and given up after so many questions without an answer.
const ASKED_TIMES: u32 = 3;
/// What was sent must be acknowledged by the other host within this time.
const UNACKNOWLEDGED: Duration = Duration::from_secs(6);

/// Sent once after every login: the session's facts come from these trackers (MySQL manual,
/// "Server Tracking of Client Session State").
const TRACK_SESSION: &str = "SET SESSION session_track_schema=ON, \
SESSION session_track_state_change=ON, SESSION session_track_system_variables='";

/// The GTIDs of own writes.
const TRACK_GTIDS: &[u8] = b"SET SESSION session_track_gtids=OWN_GTID";

/// The same for MariaDB. It refuses a list with a name that it does not know, and names differ from version to version,
/// so it makes the list itself: every variable that a session may set and another connection can be given (those
/// of scope SESSION ONLY, such as `timestamp`, belong to one connection; two follow the schema). In the place of a
/// tracker for GTIDs there is `last_gtid` (<https://mariadb.com/kb/en/session_track_system_variables/>).
const TRACK_ON_MARIADB: [&str; 3] = [
    "SET SESSION group_concat_max_len=1000000",
    "SET SESSION session_track_schema=ON, SESSION session_track_state_change=ON, SESSION \
     session_track_system_variables=(SELECT CONCAT('last_gtid,', GROUP_CONCAT(LOWER(variable_name))) FROM \
     information_schema.system_variables WHERE variable_scope='SESSION' AND read_only='NO' AND variable_name \
     NOT IN ('CHARACTER_SET_DATABASE', 'COLLATION_DATABASE'))",
    "SET SESSION group_concat_max_len=DEFAULT",
];

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server answered with an error of its own.
    #[error("{}", String::from_utf8_lossy(&.0.message))]
    Refused(ErrPacket),
    /// The server could not be reached, or the link broke: it may be back in a moment.
    #[error("{0}")]
    Unreachable(String),
    /// It did not speak as a server should, or cannot be spoken to as wanted.
    #[error("{0}")]
    Failed(String),
    /// Longer than `[pool] connect_seconds`.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl ConnectError {
    /// Whether the server, or another in its place, may be there in a moment.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut(_))
    }
}

impl From<LoginError> for ConnectError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused(packet) => Self::Refused(packet),
            LoginError::Io(_) => Self::Unreachable(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Who logs in, and in what state the connection is wanted.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: Rc<[u8]>,
    pub password: Secret,
    /// The bits that change the bytes of answers; see `answer_bits`.
    pub capabilities: Capabilities,
    pub collation: u8,
    pub schema: Option<Rc<[u8]>>,
}

/// The capability bits of a client that the server connection must share, because they change what
/// the server sends or how it reads commands.
pub fn answer_bits(client: Capabilities) -> Capabilities {
    client.and(
        Capabilities::FOUND_ROWS
            .with(Capabilities::IGNORE_SPACE)
            .with(Capabilities::LOCAL_FILES)
            .with(Capabilities::MULTI_STATEMENTS)
            .with(Capabilities::MULTI_RESULTS)
            .with(Capabilities::PS_MULTI_RESULTS)
            .with(Capabilities::DEPRECATE_EOF)
            .with(Capabilities::QUERY_ATTRIBUTES)
            .with(Capabilities::NO_SCHEMA)
            .with(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
            .with(Capabilities::LONG_FLAG),
    )
}

/// Those of them that lay out packets: a connection without one cannot serve a client that has it.
const LAYOUT_BITS: Capabilities =
    Capabilities(Capabilities::DEPRECATE_EOF.0 | Capabilities::QUERY_ATTRIBUTES.0);

/// Layouts that some server turned out not to speak, whatever its version promises. One for all
/// workers; clients are not offered these any more.
#[derive(Debug, Default)]
pub struct Lacking(AtomicU32);

impl Lacking {
    /// The capability bits.
    pub fn bits(&self) -> Capabilities {
        Capabilities(self.0.load(Ordering::Relaxed))
    }

    fn note(&self, bits: Capabilities) {
        self.0.fetch_or(bits.0, Ordering::Relaxed);
    }
}

/// What a worker needs to open connections.
#[derive(Debug)]
pub struct Connector {
    buffers: Rc<BufferPool>,
    timeout: Duration,
    max_packet: u32,
    tls: ClientConfigs,
    lacking: Arc<Lacking>,
}

impl Connector {
    pub fn new(
        buffers: Rc<BufferPool>,
        timeout: Duration,
        max_packet: u32,
        tls: ClientConfigs,
        lacking: Arc<Lacking>,
    ) -> Self {
        Self { buffers, timeout, max_packet, tls, lacking }
    }

    /// A connection, logged in, trackers on. `id` is to be unique in this worker. When dropped
    /// before its end the half-open connection is closed.
    pub async fn open(
        &self,
        id: u64,
        server: ServerId,
        config: &Server,
        account: &Account,
    ) -> Result<Connection, ConnectError> {
        tokio::time::timeout(self.timeout, self.open_unbounded(id, server, config, account))
            .await
            .unwrap_or(Err(ConnectError::TimedOut(self.timeout)))
    }

    async fn open_unbounded(
        &self,
        id: u64,
        server: ServerId,
        config: &Server,
        account: &Account,
    ) -> Result<Connection, ConnectError> {
        let address = config.address.as_str();
        let tcp = TcpStream::connect(address).await.map_err(|error| {
            ConnectError::Unreachable(format!("cannot connect to {address}: {error}"))
        })?;
        tcp.set_nodelay(true)
            .and_then(|()| watch_link(&tcp))
            .map_err(|error| ConnectError::Failed(error.to_string()))?;
        let identity = self.identity(account);
        let choice = TlsChoice {
            mode: config.tls.mode,
            config: self.tls.of(&config.tls),
            server_name: host_of(address).to_owned(),
        };
        let logged_in = login(tcp, &identity, &choice).await?;
        let lacks = account.capabilities.and(LAYOUT_BITS).without(logged_in.capabilities);
        if lacks != Capabilities::NONE {
            self.lacking.note(lacks);
            return Err(ConnectError::Failed(format!(
                "{address} does not speak {lacks:?}, though its version does; Weir does not offer \
                 it any more, so connect again"
            )));
        }
        let is_mariadb = logged_in.greeting.is_mariadb();
        let mut connection = self.wrap(id, server, account, logged_in);
        if connection.capabilities.has(Capabilities::SESSION_TRACK) {
            connection.tells_gtids = set_trackers(&mut connection, is_mariadb).await?;
        }
        Ok(connection)
    }

    fn identity(&self, account: &Account) -> Identity {
        let always = Capabilities::PROTOCOL_41
            .with(Capabilities::LONG_PASSWORD)
            .with(Capabilities::TRANSACTIONS)
            .with(Capabilities::SECURE_CONNECTION)
            .with(Capabilities::PLUGIN_AUTH)
            .with(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
            .with(Capabilities::CONNECT_ATTRS)
            .with(Capabilities::SESSION_TRACK);
        let database = account.schema.as_ref().map(|schema| schema.to_vec());
        let wanted = always.with(account.capabilities);
        Identity {
            user: account.user.to_vec(),
            password: account.password.clone(),
            capabilities: match database {
                Some(_) => wanted.with(Capabilities::CONNECT_WITH_DB),
                None => wanted,
            },
            database,
            collation: account.collation,
            attributes: attributes(),
            max_packet: self.max_packet,
        }
    }

    fn wrap(&self, id: u64, server: ServerId, account: &Account, done: LoggedIn) -> Connection {
        let socket = match done.stream {
            LoginStream::Plain(tcp) => Socket::Plain(tcp),
            LoginStream::Tls(tls) => Socket::Connected(tls),
        };
        Connection {
            stream: PacketStream::new(socket, Rc::clone(&self.buffers)),
            id,
            server,
            thread_id: done.greeting.connection_id,
            capabilities: done.capabilities,
            tells_gtids: false,
            state: State {
                schema: account.schema.clone(),
                variables: Rc::new(Variables::of_collation(account.collation)),
                multi_statements: account.capabilities.has(Capabilities::MULTI_STATEMENTS),
            },
            prepared: HashMap::new(),
            busy: false,
            tainted: false,
            uses: 0,
            idle_since: Instant::now(),
            last_session: 0,
            insert_id_owner: None,
        }
    }
}

/// Has the kernel find out that the other host is gone, also while an answer is waited for: a server that was
/// cut off from the network sends no end of its connections.
fn watch_link(tcp: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(tcp);
    let asked = socket2::TcpKeepalive::new()
        .with_time(SILENT_BEFORE_ASKED)
        .with_interval(ASKED_EVERY)
        .with_retries(ASKED_TIMES);
    socket.set_tcp_keepalive(&asked)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Connection attributes as `performance_schema.session_connect_attrs` will show them.
fn attributes() -> Vec<u8> {
    use crate::wire::PutExt;
    let mut block = Vec::new();
    for (name, value) in [("program_name", "weir"), ("_client_version", env!("CARGO_PKG_VERSION"))]
    {
        block.put_lenenc_bytes(name.as_bytes());
        block.put_lenenc_bytes(value.as_bytes());
    }
    block
}

/// Turns the trackers on; a server that refuses one goes without. Whether it refused none.
async fn set_trackers(connection: &mut Connection, mariadb: bool) -> Result<bool, ConnectError> {
    let mut prelude = Prelude::default();
    if mariadb {
        for statement in TRACK_ON_MARIADB {
            prelude.query(statement.as_bytes(), connection.capabilities);
        }
    } else {
        let session = format!("{TRACK_SESSION}{TRACKED_VARIABLES}'");
        prelude.query(session.as_bytes(), connection.capabilities);
        prelude.query(TRACK_GTIDS, connection.capabilities);
    }
    let refused = prelude.run_all(connection).await.map_err(|lost| match lost {
        Lost::Link(why) => ConnectError::Unreachable(why),
        Lost::Broken(why) => ConnectError::Failed(why),
    })?;
    for error in &refused {
        tracing::warn!(
            server = connection.server.0,
            code = error.code,
            "a session tracker is refused, so what the session is in cannot be followed"
        );
    }
    Ok(refused.is_empty())
}
