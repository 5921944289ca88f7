//! From an accepted socket to a logged-in session: greeting, TLS, login, schema.
//!
//! Source: protocol page "Connection Phase".

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::backend::connect::{ConnectError, answer_bits};
use crate::backend::connection::InsertId;
use crate::backend::pool::LeaseError;
use crate::config::ClientTls;
use crate::net::stream::{Message, PacketStream, ReadError, Socket};
use crate::route::Isolation;
use crate::session::answers::drop_input;
use crate::session::authenticate::MAX_TURN_WAIT;
use crate::session::complaints::shortened;
use crate::session::prepared::PreparedStatements;
use crate::session::worker::{SessionEntry, Worker};
use crate::session::{Closed, Login, Session};
use crate::sql::{LexMode, Pins};
use crate::topology::Topology;
use crate::wire::auth::PLUGIN_SHA2;
use crate::wire::{
    Capabilities, ErrPacket, Greeting, HEADER_LEN, HandshakeResponse, StatusFlags, codes,
    frame_with, is_ssl_request,
};

/// Bytes of an SSL request with its header: the first read takes no more, so that the TLS
/// handshake that follows it is left in the socket.
const SSL_REQUEST_BYTES: usize = HEADER_LEN + 32;

/// A login packet may have this many bytes, attributes included (the server's own limit is 64 KiB of attributes).
const MAX_LOGIN_BYTES: usize = 256 * 1024;

/// How long a client that is refused may take to read why.
const GRACE: Duration = Duration::from_millis(200);

/// Shown to clients while no server was ever seen.
const VERSION_UNKNOWN: &str = "8.4.0-weir";

/// Serves one client from its first byte to its last.
pub async fn serve(
    tcp: TcpStream,
    peer: IpAddr,
    worker: Rc<Worker>,
    id: u32,
    entry_abort: tokio::task::AbortHandle,
) {
    let proxy = &worker.shared.config.proxy;
    // A login may wait for a primary; what the client itself may take is bounded in `log_in`.
    let all = proxy.handshake_timeout + proxy.hold + MAX_TURN_WAIT + 2 * GRACE;
    let handshake = Box::pin(log_in(tcp, peer, Rc::clone(&worker), id));
    let ended = match tokio::time::timeout(all, handshake).await {
        Ok(ended) => ended,
        Err(_elapsed) => Err(Closed::ByWeir("a login that no error could end".to_owned())),
    };
    let mut session = match ended {
        Ok(session) => session,
        Err(closed) => return no_login(&worker, id, peer, &closed),
    };
    let _ = session.entry.abort.set(entry_abort);
    let closed = session.run().await;
    if let Closed::ByWeir(why) = &closed {
        tracing::info!(id, %peer, why, "session closed");
    }
}

/// Says in the log why a client did not get in; not of each where there are many.
fn no_login(worker: &Worker, id: u32, peer: IpAddr, closed: &Closed) {
    let Closed::ByWeir(why) = closed else {
        tracing::debug!(id, %peer, "a client left before its login was done");
        return;
    };
    if let Some(kept_back) = worker.complaints.may_write(Instant::now()) {
        tracing::info!(id, %peer, why = shortened(why), kept_back, "no login");
    }
}

/// What Weir offers, as far as the servers behind it can.
pub(super) fn offered(topology: &Topology, tls: bool) -> Capabilities {
    let always = Capabilities::LONG_PASSWORD
        .with(Capabilities::FOUND_ROWS)
        .with(Capabilities::LONG_FLAG)
        .with(Capabilities::CONNECT_WITH_DB)
        .with(Capabilities::NO_SCHEMA)
        .with(Capabilities::ODBC)
        .with(Capabilities::LOCAL_FILES)
        .with(Capabilities::IGNORE_SPACE)
        .with(Capabilities::PROTOCOL_41)
        .with(Capabilities::INTERACTIVE)
        .with(Capabilities::IGNORE_SIGPIPE)
        .with(Capabilities::TRANSACTIONS)
        .with(Capabilities::RESERVED)
        .with(Capabilities::SECURE_CONNECTION)
        .with(Capabilities::MULTI_STATEMENTS)
        .with(Capabilities::MULTI_RESULTS)
        .with(Capabilities::PS_MULTI_RESULTS)
        .with(Capabilities::PLUGIN_AUTH)
        .with(Capabilities::CONNECT_ATTRS)
        .with(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA);
    let version = topology.primary().map_or("", |server| &server.version);
    let maria = version.contains("MariaDB");
    let numbers: Vec<u32> = version.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    let at_least = |least: [u32; 3]| !maria && numbers.as_slice() >= least.as_slice();
    let mut offered = always;
    for (bit, can) in [
        (Capabilities::SSL, tls),
        (Capabilities::SESSION_TRACK, maria || at_least([5, 7, 4])),
        (Capabilities::DEPRECATE_EOF, maria || at_least([5, 7, 5])),
        (Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS, at_least([5, 6, 6])),
        (Capabilities::QUERY_ATTRIBUTES, at_least([8, 0, 23])),
    ] {
        if can {
            offered = offered.with(bit);
        }
    }
    offered
}

struct Hello {
    client: PacketStream,
    response: HandshakeResponse,
    salt: [u8; 20],
    capabilities: Capabilities,
    seq: u8,
}

async fn log_in(
    tcp: TcpStream,
    peer: IpAddr,
    worker: Rc<Worker>,
    id: u32,
) -> Result<Session, Closed> {
    let proxy = &worker.shared.config.proxy;
    let until = tokio::time::Instant::now() + proxy.handshake_timeout;
    let hello = greet(tcp, &worker, id, until).await?;
    let mut seq = hello.seq.wrapping_add(1);
    let database = hello.response.database.clone().filter(|name| !name.is_empty());
    let mut session = session(hello.client, &worker, id, peer, hello.capabilities, hello.salt);
    session.login_until = until;
    session.login.collation = hello.response.collation;
    let plugin = hello.response.plugin.clone();
    let answer = (hello.response.username, Some(hello.response.auth), plugin);
    let proved = session.authenticate(answer, &mut seq, database);
    let patience = proxy.handshake_timeout + proxy.hold + MAX_TURN_WAIT;
    match tokio::time::timeout(patience, proved).await {
        Ok(proved) => proved?,
        Err(_elapsed) => {
            let words = "Weir got no word from a server on this login within \
                         [proxy] handshake_seconds + hold_seconds";
            let _ = session.write_error(&codes::UNKNOWN_ERROR.packet(words), &mut seq).await;
            return Err(Closed::ByWeir(words.to_owned()));
        }
    }
    Ok(session)
}

/// Sends the greeting and reads the login packet, inside TLS if the client wants it.
async fn greet(
    tcp: TcpStream,
    worker: &Rc<Worker>,
    id: u32,
    until: tokio::time::Instant,
) -> Result<Hello, Closed> {
    let topology = worker.shared.topology.load_full();
    let offered =
        offered(&topology, worker.shared.tls.is_some()).without(worker.shared.lacking.bits());
    let salt = new_salt()?;
    let version = topology
        .primary()
        .or_else(|| topology.servers.iter().find(|server| !server.version.is_empty()))
        .map_or_else(|| VERSION_UNKNOWN.to_owned(), |server| server.version.to_string());
    let greeting = Greeting {
        version: version.into_bytes(),
        connection_id: id,
        salt,
        capabilities: offered,
        extended: 0,
        collation: 255,
        status: StatusFlags::AUTOCOMMIT,
        plugin: PLUGIN_SHA2.into(),
    };
    let mut out = Vec::with_capacity(128);
    frame_with(&mut out, &mut 0, |body| greeting.encode(body));
    let mut client = PacketStream::new(Socket::Plain(tcp), Rc::clone(&worker.buffers));
    client.write_all(&out).await?;
    let limit = worker.shared.config.proxy.handshake_timeout;
    let mut seq = 1;
    // As any failure here, that of this read shows in the next.
    let _ = tokio::time::timeout_at(until, client.fill_at_most(SSL_REQUEST_BYTES)).await;
    let mut message = login_message(&mut client, seq, until, limit).await?;
    if is_ssl_request(client.payload(message)) {
        client.consume(message.raw_len);
        client = secure(client, worker, until).await?;
        seq = 2;
        message = login_message(&mut client, seq, until, limit).await?;
    }
    let response = HandshakeResponse::decode(client.payload(message));
    client.consume(message.raw_len);
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            refuse(&mut client, seq + 1, &codes::BAD_HANDSHAKE.packet("Bad handshake")).await;
            return Err(Closed::ByWeir(format!("a malformed login: {error}")));
        }
    };
    if worker.shared.config.proxy.tls == ClientTls::Required && !client.socket().is_tls() {
        let words = "Connections using insecure transport are prohibited while --require_secure_transport=ON.";
        refuse(&mut client, seq + 1, &codes::SECURE_TRANSPORT_REQUIRED.packet(words)).await;
        return Err(Closed::ByWeir("a client without TLS ([proxy] tls = \"required\")".to_owned()));
    }
    let capabilities = response.capabilities.and(offered);
    Ok(Hello { client, response, salt, capabilities, seq })
}

/// Starts TLS behind an SSL request.
async fn secure(
    mut client: PacketStream,
    worker: &Rc<Worker>,
    until: tokio::time::Instant,
) -> Result<PacketStream, Closed> {
    let Some(tls) = &worker.shared.tls else {
        let words = "Bad handshake: a client asked for TLS, which is off ([proxy] tls)";
        refuse(&mut client, 2, &codes::BAD_HANDSHAKE.packet(words)).await;
        return Err(Closed::ByWeir(words.to_owned()));
    };
    let Socket::Plain(tcp) = client.into_socket() else { return Err(Closed::ByClient) };
    let stream = match tokio::time::timeout_at(until, tls.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Closed::ByWeir(format!("no TLS with the client: {error}"))),
        Err(_elapsed) => {
            let words = "no TLS with the client within [proxy] handshake_seconds";
            return Err(Closed::ByWeir(words.to_owned()));
        }
    };
    Ok(PacketStream::new(Socket::Accepted(Box::new(stream)), Rc::clone(&worker.buffers)))
}

/// A packet of the login; a client that sends none in time, or one that cannot be part of a login, is told so.
async fn login_message(
    client: &mut PacketStream,
    seq: u8,
    until: tokio::time::Instant,
    limit: Duration,
) -> Result<Message, Closed> {
    let (error, reply_seq, why) =
        match tokio::time::timeout_at(until, client.message(seq, || MAX_LOGIN_BYTES)).await {
            Ok(Ok(message)) => return Ok(message),
            Ok(Err(ReadError::Closed | ReadError::Io(_))) => return Err(Closed::ByClient),
            Ok(Err(error @ ReadError::TooLarge { limit, .. })) => {
                let words = format!(
                    "Got a packet bigger than 'max_allowed_packet' bytes (a login may have {limit})"
                );
                (codes::PACKET_TOO_LARGE.packet(words), seq.wrapping_add(1), error.to_string())
            }
            Ok(Err(error @ ReadError::OutOfOrder { .. })) => {
                let packet = codes::PACKETS_OUT_OF_ORDER.packet("Got packets out of order");
                (packet, seq.wrapping_add(1), error.to_string())
            }
            Err(_elapsed) => {
                let seconds = limit.as_secs_f64();
                let why = format!("no login within {seconds} s ([proxy] handshake_seconds)");
                let words = format!("Got timeout reading communication packets: {why}");
                (codes::NET_READ_INTERRUPTED.packet(words), seq, why)
            }
        };
    refuse(client, reply_seq, &error).await;
    Err(Closed::ByWeir(why))
}

async fn refuse(client: &mut PacketStream, mut seq: u8, error: &ErrPacket) {
    let mut out = Vec::with_capacity(64);
    frame_with(&mut out, &mut seq, |body| error.encode(body, Capabilities::PROTOCOL_41));
    let told = async {
        client.write_all(&out).await?;
        drop_input(client).await;
        Ok::<(), std::io::Error>(())
    };
    let _ = tokio::time::timeout(GRACE, told).await;
}

/// Twenty random bytes, none of them 0 or `$` (clients read the salt as text).
pub(super) fn new_salt() -> Result<[u8; 20], Closed> {
    let mut salt = [0; 20];
    getrandom::fill(&mut salt)
        .map_err(|error| Closed::ByWeir(format!("no random salt: {error}")))?;
    for byte in &mut salt {
        *byte &= 0x7F;
        if matches!(*byte, 0 | b'$') {
            *byte += 1;
        }
    }
    Ok(salt)
}

fn session(
    client: PacketStream,
    worker: &Rc<Worker>,
    id: u32,
    peer: IpAddr,
    capabilities: Capabilities,
    salt: [u8; 20],
) -> Session {
    let server_bits = answer_bits(capabilities);
    let login = Login {
        user: Rc::from([].as_slice()),
        password: crate::config::Secret::default(),
        generation: 0,
        collation: 255,
    };
    Session {
        client,
        id,
        capabilities,
        server_bits,
        login,
        salt,
        login_until: tokio::time::Instant::now(),
        peer: peer.to_string(),
        wanted: worker.initial_state(255, None, server_bits),
        status: worker.initial_status(),
        pins: Pins::NONE,
        token: crate::route::Token::default(),
        wrote_blind_at: None,
        last_replica: None,
        inside: None,
        isolation: Isolation::Default,
        lex_mode: LexMode::default(),
        raw_trackers: false,
        lease: None,
        pools: Vec::new(),
        previous: None,
        insert_id: Rc::new(InsertId::default()),
        asks_previous: false,
        row_count: None,
        pinged: false,
        found_rows: None,
        prepared: PreparedStatements::default(),
        preparing: None,
        names: None,
        silent: false,
        deferred: None,
        message: None,
        entry: SessionEntry::new(id, &[]),
        worker: Rc::clone(worker),
    }
}

impl Session {
    /// Proves who the client is, chooses the schema, and says OK. `seq` is the number of Weir's next packet.
    pub(super) async fn authenticate(
        &mut self,
        answer: (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>),
        seq: &mut u8,
        database: Option<Vec<u8>>,
    ) -> Result<(), Closed> {
        let (user, auth, plugin) = answer;
        self.login.user = Rc::from(user.as_slice());
        self.pools.clear();
        self.wanted = self.worker.initial_state(self.login.collation, None, self.server_bits);
        self.follow_variables();
        match self.prove(auth, plugin, seq).await? {
            Ok((password, generation)) => {
                self.login.password = password;
                self.login.generation = generation;
            }
            Err(error) => {
                self.write_error(&error, seq).await?;
                return Err(Closed::ByWeir(String::from_utf8_lossy(&error.message).into_owned()));
            }
        }
        if let Some(database) = database
            && let Err(error) = self.enter_schema(database.into()).await
        {
            self.write_error(&error, seq).await?;
            return Err(Closed::ByWeir(String::from_utf8_lossy(&error.message).into_owned()));
        }
        self.entry = SessionEntry::new(self.id, &user);
        self.worker.shared.registry.add(std::sync::Arc::clone(&self.entry));
        self.write_ok(*seq).await
    }

    /// Makes sure that the user can use the schema, as a server does at login.
    async fn enter_schema(&mut self, schema: Rc<[u8]>) -> Result<(), ErrPacket> {
        self.wanted.schema = Some(Rc::clone(&schema));
        let key = (Rc::clone(&self.login.user), self.login.generation, schema);
        let now = Instant::now();
        if self.worker.schema_is_known(&key, now) {
            return Ok(());
        }
        let topology = self.worker.shared.topology.load_full();
        let Some(server) = topology.primary().or_else(|| topology.replicas().next()) else {
            return Ok(());
        };
        let pool = self.pool(server.id);
        let account = self.account();
        let lease = self
            .worker
            .pools
            .lease(&pool, &server.config, &account, &self.wanted, u64::from(self.id))
            .await;
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(LeaseError::Connect(ConnectError::Refused(packet))) => return Err(packet),
            // As where there is no server: the first statement waits for one, and finds out.
            Err(LeaseError::Connect(error)) if error.may_pass() => {
                self.gave_up(server.id, &error.to_string());
                return Ok(());
            }
            Err(other) => {
                let words = format!("Weir cannot reach the server: {other}");
                return Err(codes::UNKNOWN_ERROR.packet(words));
            }
        };
        let Some(connection) = lease.connection() else { return Ok(()) };
        let mut prelude = crate::backend::replay::Prelude::between(
            &connection.state,
            &self.wanted,
            connection.capabilities,
        );
        prelude.insert_id(connection, u64::from(self.id), None);
        connection.last_session = u64::from(self.id);
        match prelude.run(connection).await {
            Ok(None) => connection.state = self.wanted.clone(),
            Ok(Some(error)) => return Err(error),
            Err(why) => {
                return Err(codes::UNKNOWN_ERROR.packet(format!("Weir lost the server: {why}")));
            }
        }
        self.worker.schema_was_used(key, now);
        Ok(())
    }

    /// COM_CHANGE_USER: another login on the same connection. A refused one ends the connection, as
    /// on a server.
    pub(super) async fn become_user(
        &mut self,
        asked: crate::wire::ChangeUser,
        seq: u8,
    ) -> Result<(), Closed> {
        let collation = u8::try_from(asked.collation & 0xFF).unwrap_or(255);
        self.login.collation = if collation == 0 { self.login.collation } else { collation };
        let base = self.worker.base(self.login.collation);
        self.forget_state(base);
        self.worker.shared.registry.remove(self.id);
        let abort = self.entry.abort.get().cloned();
        let database = asked.database.filter(|name| !name.is_empty());
        // As a server does, with a salt of its own: clients send no answer to the old one. Those that cannot be
        // asked again do.
        let auth = (!self.capabilities.has(Capabilities::PLUGIN_AUTH)).then_some(asked.auth);
        let limit = self.worker.shared.config.proxy.handshake_timeout;
        self.login_until = tokio::time::Instant::now() + limit;
        let mut seq = seq.wrapping_add(1);
        self.authenticate((asked.username, auth, asked.plugin), &mut seq, database).await?;
        if let Some(abort) = abort {
            let _ = self.entry.abort.set(abort);
        }
        Ok(())
    }

    /// The next packet of the login exchange.
    pub(super) async fn login_packet(&mut self, seq: &mut u8) -> Result<Vec<u8>, Closed> {
        let limit = self.worker.shared.config.proxy.handshake_timeout;
        let message = login_message(&mut self.client, *seq, self.login_until, limit).await?;
        *seq = seq.wrapping_add(1);
        let payload = self.client.payload(message).to_vec();
        self.client.consume(message.raw_len);
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting's salt is read as text by clients: it ends at a NUL, and `$` has a meaning in stored hashes.
    #[test]
    fn salts() {
        let salts: Vec<[u8; 20]> = (0..500).map(|_| new_salt().unwrap()).collect();
        for (at, salt) in salts.iter().enumerate() {
            assert!(salt.iter().all(|byte| (1..0x80).contains(byte) && *byte != b'$'), "{salt:?}");
            assert!(!salts[..at].contains(salt), "twice: {salt:?}");
        }
    }
}
