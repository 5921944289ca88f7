//! Logs in to a MySQL or MariaDB server as a client.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
//!
//! Packets are read exactly: nothing behind the final OK is taken off the socket. No function here
//! has a timeout; the caller bounds the whole login.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::config::{Secret, ServerTlsMode};
use crate::net::tls::remedy;
use crate::wire::auth::{
    FAST_AUTH_OK, FULL_AUTH, PLUGIN_CLEAR, PLUGIN_NATIVE, PLUGIN_SHA2, PLUGIN_SHA256,
    REQUEST_PUBLIC_KEY,
};
use crate::wire::{
    AuthMoreData, AuthSwitch, Capabilities, ErrPacket, Greeting, GreetingError, HEADER_LEN,
    HandshakeResponse, Header, OkPacket, StatusFlags, WireError, frame, scramble,
};

/// Bytes of one packet of a login. The largest that servers send is an RSA key of a few hundred
/// bytes, or an OK packet with session state.
pub const MAX_LOGIN_PACKET: usize = 1 << 20;
/// Packets that a server may send between handshake response and OK.
pub const MAX_ROUNDS: u32 = 10;

/// Who logs in, and how the connection is to be.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: Vec<u8>,
    pub password: Secret,
    /// Schema to begin with.
    pub database: Option<Vec<u8>>,
    /// Low byte of the collation id.
    pub collation: u8,
    /// Connection attributes: length-encoded keys and values in turn, without the block's length.
    pub attributes: Vec<u8>,
    /// What the connection should speak; what the server does not offer is left out. TLS, the
    /// database and the login itself are added as needed, compression and more factors are removed.
    pub capabilities: Capabilities,
    /// Largest packet that Weir takes, bytes.
    pub max_packet: u32,
}

/// Whether to speak TLS, and with what.
#[derive(Debug, Clone)]
pub struct TlsChoice {
    pub mode: ServerTlsMode,
    /// From [`client_config`](crate::net::tls::client_config); needed by every mode but `Off`.
    pub config: Option<Arc<ClientConfig>>,
    /// Name or IP address of the server, without port, as in its certificate.
    pub server_name: String,
}

/// A connection that is ready for its first command.
#[derive(Debug)]
pub struct LoggedIn {
    pub stream: LoginStream,
    pub greeting: Greeting,
    /// What both sides speak from now on.
    pub capabilities: Capabilities,
    /// Status flags of the OK that ended the login.
    pub status: StatusFlags,
    /// Session state of that OK, for [`Changes`](crate::wire::Changes); often empty.
    pub session_state: Vec<u8>,
}

/// The connection's bytes.
#[derive(Debug)]
pub enum LoginStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The server said no, in its own words.
    #[error("{0}")]
    Refused(ErrPacket),
    /// The connection broke.
    #[error("the connection to the server broke during the login: {0}")]
    Io(#[from] std::io::Error),
    /// The server did something that Weir does not understand or does not do.
    #[error("{0}")]
    Protocol(String),
    /// TLS was asked for and did not come about.
    #[error("{0}")]
    Tls(String),
}

impl From<WireError> for LoginError {
    fn from(error: WireError) -> Self {
        Self::Protocol(format!("the server's login cannot be followed: {error}"))
    }
}

/// Logs in on a fresh connection, with TLS as `tls` wants it.
///
/// Dropping the future closes the connection.
///
/// # Errors
/// [`LoginError::Refused`] has the server's own error packet (1045 wrong password, 1049 unknown
/// database, 1040 too many connections, ..); all others are faults of connection or configuration.
pub async fn login(
    mut tcp: TcpStream,
    identity: &Identity,
    tls: &TlsChoice,
) -> Result<LoggedIn, LoginError> {
    let mut seq = 0;
    let payload = read_packet(&mut tcp, &mut seq).await?;
    let greeting = Greeting::decode(&payload).map_err(|error| match error {
        GreetingError::Refused(err) => LoginError::Refused(err),
        GreetingError::Wire(error) => error.into(),
    })?;
    let config = tls_config(tls, &greeting)?;
    let response = handshake_response(identity, &greeting, config.is_some())?;

    let (stream, done) = match config {
        None => {
            let done = authenticate(&mut tcp, seq, &response, identity, &greeting, false).await?;
            (LoginStream::Plain(tcp), done)
        }
        Some(config) => {
            let mut payload = Vec::new();
            response.ssl_request().encode(&mut payload);
            write_packet(&mut tcp, &mut seq, &payload).await?;
            let mut stream = start_tls(tcp, config, tls).await?;
            let done = authenticate(&mut stream, seq, &response, identity, &greeting, true).await?;
            (LoginStream::Tls(stream), done)
        }
    };
    Ok(LoggedIn {
        stream,
        greeting,
        capabilities: response.capabilities,
        status: done.status,
        session_state: done.session_state,
    })
}

/// The TLS configuration to use, `None` for a plain connection.
fn tls_config(
    tls: &TlsChoice,
    greeting: &Greeting,
) -> Result<Option<Arc<ClientConfig>>, LoginError> {
    let offered = greeting.capabilities.has(Capabilities::SSL);
    match (tls.mode, offered, &tls.config) {
        (ServerTlsMode::Off, _, _) | (ServerTlsMode::Preferred, false, _) => Ok(None),
        (_, true, Some(config)) => Ok(Some(Arc::clone(config))),
        (_, true, None) => Err(LoginError::Tls(
            "TLS to the server is configured, but no TLS configuration was built".to_owned(),
        )),
        (_, false, _) => Err(LoginError::Tls(format!(
            "{} does not offer TLS, and tls = \"{}\" asks for it; give the server a certificate, \
             or set tls = \"preferred\" or \"off\"",
            tls.server_name,
            mode_word(tls.mode),
        ))),
    }
}

const fn mode_word(mode: ServerTlsMode) -> &'static str {
    match mode {
        ServerTlsMode::Off => "off",
        ServerTlsMode::Preferred => "preferred",
        ServerTlsMode::Required => "required",
        ServerTlsMode::VerifyCa => "verify-ca",
        ServerTlsMode::VerifyIdentity => "verify-identity",
    }
}

async fn start_tls(
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    tls: &TlsChoice,
) -> Result<Box<TlsStream<TcpStream>>, LoginError> {
    let failed = |why: String| {
        let (server, mode) = (&tls.server_name, mode_word(tls.mode));
        LoginError::Tls(format!("TLS with {server} failed (tls = \"{mode}\"): {why}"))
    };
    let name = match ServerName::try_from(tls.server_name.clone()) {
        Ok(name) => name,
        Err(error) if tls.mode == ServerTlsMode::VerifyIdentity => {
            return Err(failed(error.to_string()));
        }
        // A name that DNS would not allow is no reason to fail when it is not checked.
        Err(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
    };
    let connecting = Box::pin(TlsConnector::from(config).connect(name, tcp));
    Ok(Box::new(connecting.await.map_err(|e| failed(format!("{e}{}", remedy(&e))))?))
}

/// What is always spoken.
const NEEDED: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::TRANSACTIONS.0,
);
/// What is decided here and not by the caller, or what this login cannot do.
const DECIDED_HERE: Capabilities = Capabilities(
    Capabilities::SSL.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::COMPRESS.0
        | Capabilities::ZSTD_COMPRESSION.0
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA.0
        | Capabilities::MULTI_FACTOR_AUTHENTICATION.0
        | Capabilities::CAPABILITY_EXTENSION.0
        | Capabilities::SSL_VERIFY_SERVER_CERT.0
        | Capabilities::REMEMBER_OPTIONS.0,
);

fn handshake_response(
    identity: &Identity,
    greeting: &Greeting,
    tls: bool,
) -> Result<HandshakeResponse, LoginError> {
    let offered = greeting.capabilities;
    if !offered.has(Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION) {
        return Err(WireError::OldProtocol.into());
    }
    let mut wanted = identity.capabilities.without(DECIDED_HERE) | NEEDED;
    if tls {
        wanted = wanted | Capabilities::SSL;
    }
    if identity.database.is_some() {
        wanted = wanted | Capabilities::CONNECT_WITH_DB;
    }
    if !identity.attributes.is_empty() {
        wanted = wanted | Capabilities::CONNECT_ATTRS;
    }
    let plugin = Plugin::first(greeting, tls);
    let auth = plugin.response(&identity.password, &greeting.salt);
    if auth.len() > usize::from(u8::MAX) {
        wanted = wanted | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA;
    }
    let capabilities = wanted.and(offered);
    Ok(HandshakeResponse {
        capabilities,
        max_packet: identity.max_packet,
        collation: identity.collation,
        username: identity.user.clone(),
        auth,
        database: identity.database.clone(),
        plugin: Some(plugin.name().as_bytes().to_vec()),
        attributes: identity.attributes.clone(),
        zstd_level: None,
    })
}

/// sha256_password's request for the server's public key.
const REQUEST_KEY_SHA256: u8 = 1;

/// The authentication plugins that Weir can play the client of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    Sha2,
    /// Old accounts; and what MySQL 9 asks of users that it does not have, before it refuses them.
    Sha256 {
        tls: bool,
    },
    /// Over TLS only.
    Clear,
}

impl Plugin {
    /// The one to begin with: the greeting's if possible. A server that wants another for this user
    /// switches.
    fn first(greeting: &Greeting, tls: bool) -> Self {
        if !greeting.capabilities.has(Capabilities::PLUGIN_AUTH) {
            return Self::Native;
        }
        match Self::by_name(&greeting.plugin, tls) {
            Some(Self::Sha256 { .. }) | None => Self::Sha2,
            Some(plugin) => plugin,
        }
    }

    fn by_name(name: &[u8], tls: bool) -> Option<Self> {
        let all = [Self::Native, Self::Sha2, Self::Sha256 { tls }, Self::Clear];
        let found = all.into_iter().find(|plugin| plugin.name().as_bytes() == name)?;
        (found != Self::Clear || tls).then_some(found)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Native => PLUGIN_NATIVE,
            Self::Sha2 => PLUGIN_SHA2,
            Self::Sha256 { .. } => PLUGIN_SHA256,
            Self::Clear => PLUGIN_CLEAR,
        }
    }

    fn response(self, password: &Secret, salt: &[u8]) -> Vec<u8> {
        let password = password.expose().as_bytes();
        match self {
            Self::Native => scramble::native(password, salt),
            Self::Sha2 => scramble::sha2(password, salt),
            Self::Sha256 { tls: false } if !password.is_empty() => vec![REQUEST_KEY_SHA256],
            Self::Sha256 { .. } | Self::Clear => [password, b"\0"].concat(),
        }
    }
}

/// What the OK said that ended the login.
struct Done {
    status: StatusFlags,
    session_state: Vec<u8>,
}

/// Sends the response and follows the server until it says OK or ERR.
async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut seq: u8,
    response: &HandshakeResponse,
    identity: &Identity,
    greeting: &Greeting,
    tls: bool,
) -> Result<Done, LoginError> {
    let mut payload = Zeroizing::new(Vec::new());
    response.encode(&mut payload);
    write_packet(stream, &mut seq, &payload).await?;

    let mut plugin = Plugin::first(greeting, tls);
    let mut salt = greeting.salt.to_vec();
    for _ in 0..MAX_ROUNDS {
        let payload = read_packet(stream, &mut seq).await?;
        match payload.first().copied() {
            Some(OkPacket::HEADER) => {
                let ok = OkPacket::decode(&payload, response.capabilities)?;
                let session_state = ok.session_state.to_vec();
                return Ok(Done { status: ok.status, session_state });
            }
            Some(ErrPacket::HEADER) => {
                return Err(LoginError::Refused(ErrPacket::decode(&payload)?));
            }
            Some(AuthSwitch::HEADER) => {
                let switch = AuthSwitch::decode(&payload)?;
                plugin = Plugin::by_name(&switch.plugin, tls)
                    .ok_or_else(|| cannot_do(&switch.plugin, &identity.user))?;
                salt = switch.data;
                let answer = Zeroizing::new(plugin.response(&identity.password, &salt));
                write_packet(stream, &mut seq, &answer).await?;
            }
            Some(AuthMoreData::HEADER) if plugin == Plugin::Sha2 => {
                let AuthMoreData(data) = AuthMoreData::decode(&payload)?;
                match data {
                    [FAST_AUTH_OK] => {}
                    [FULL_AUTH] => {
                        prove_fully(stream, &mut seq, &identity.password, &salt, tls).await?;
                    }
                    _ => return Err(unexpected("data for caching_sha2_password", &payload)),
                }
            }
            Some(AuthMoreData::HEADER) if plugin == (Plugin::Sha256 { tls: false }) => {
                send_encrypted(stream, &mut seq, &payload, &identity.password, &salt).await?;
            }
            _ => return Err(unexpected("packet", &payload)),
        }
    }
    Err(LoginError::Protocol(format!(
        "the server neither accepts nor refuses the login after {MAX_ROUNDS} packets"
    )))
}

/// caching_sha2_password when the server has no cached hash: it needs the password itself.
async fn prove_fully<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    seq: &mut u8,
    secret: &Secret,
    salt: &[u8],
    tls: bool,
) -> Result<(), LoginError> {
    let password = secret.expose().as_bytes();
    if tls {
        let with_nul = Zeroizing::new([password, b"\0"].concat());
        return write_packet(stream, seq, &with_nul).await;
    }
    write_packet(stream, seq, &[REQUEST_PUBLIC_KEY]).await?;
    let payload = read_packet(stream, seq).await?;
    if ErrPacket::is(&payload) {
        return Err(LoginError::Refused(ErrPacket::decode(&payload)?));
    }
    send_encrypted(stream, seq, &payload, secret, salt).await
}

/// Sends the password encrypted with the public key that the server's packet holds.
async fn send_encrypted<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    seq: &mut u8,
    payload: &[u8],
    password: &Secret,
    salt: &[u8],
) -> Result<(), LoginError> {
    let AuthMoreData(pem) = AuthMoreData::decode(payload)?;
    let password = password.expose().as_bytes();
    let encrypted = scramble::encrypt_password(pem, password, salt).map_err(|error| {
        LoginError::Protocol(format!("the password cannot be sent to the server: {error}"))
    })?;
    write_packet(stream, seq, &encrypted).await
}

fn cannot_do(plugin: &[u8], user: &[u8]) -> LoginError {
    let (plugin, user) = (String::from_utf8_lossy(plugin), String::from_utf8_lossy(user));
    if plugin == PLUGIN_CLEAR {
        return LoginError::Protocol(format!(
            "user '{user}' logs in with {plugin}, which sends the password as it is, and the \
             connection to the server has no TLS; set tls = \"required\" for the server"
        ));
    }
    LoginError::Protocol(format!(
        "user '{user}' logs in with the plugin {plugin}, which Weir does not know; \
         alter the user to {PLUGIN_SHA2} (on MariaDB {PLUGIN_NATIVE})"
    ))
}

fn unexpected(what: &str, payload: &[u8]) -> LoginError {
    let first = payload.first().map_or_else(|| "nothing".to_owned(), |b| format!("{b:#04x}"));
    let len = payload.len();
    LoginError::Protocol(format!(
        "the server sent an unexpected {what} during the login ({len} bytes, first {first})"
    ))
}

/// Reads one packet, and not a byte more.
async fn read_packet<S: AsyncRead + Unpin>(
    stream: &mut S,
    seq: &mut u8,
) -> Result<Vec<u8>, LoginError> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let header = Header::parse(&header).ok_or(WireError::Missing("header"))?;
    if header.len > MAX_LOGIN_PACKET {
        return Err(LoginError::Protocol(format!(
            "the server sent a login packet of {} bytes (limit {MAX_LOGIN_PACKET}); \
             is it a MySQL server?",
            header.len
        )));
    }
    let mut payload = vec![0; header.len];
    stream.read_exact(&mut payload).await?;
    // An error may come at any time, also unasked: its number says more than its sequence.
    if header.seq != *seq && !ErrPacket::is(&payload) {
        return Err(LoginError::Protocol(format!(
            "packets of the login are out of order (number {}, expected {seq})",
            header.seq
        )));
    }
    *seq = header.seq.wrapping_add(1);
    Ok(payload)
}

async fn write_packet<S: AsyncWrite + Unpin>(
    stream: &mut S,
    seq: &mut u8,
    payload: &[u8],
) -> Result<(), LoginError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(payload.len() + HEADER_LEN));
    frame(&mut bytes, seq, payload);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
