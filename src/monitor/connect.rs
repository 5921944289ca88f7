//! How the monitor logs in to a server: the options, TLS as configured, and failures in words.

use std::time::Duration;

use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};

use super::seen::Failure;
use super::tunnel::Tunnel;
use crate::config::{Monitor, Server, ServerTlsMode};
use crate::net::tls::{client_config, remedy};

/// Given to the driver so that it does not ask the server for its own. No answer of a probe is larger.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Given to the driver for the same reason; seconds. A probe comes far more often.
const IDLE_SECONDS: usize = 28_800;

/// A silent peer is found dead by the kernel after this and a few more retries.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// MySQL error numbers (server error reference).
const ER_CON_COUNT: u16 = 1040;
const ER_DBACCESS_DENIED: u16 = 1044;
const ER_ACCESS_DENIED: u16 = 1045;
const ER_SERVER_SHUTDOWN: u16 = 1053;
const ER_HOST_BLOCKED: u16 = 1129;
const ER_HOST_NOT_PRIVILEGED: u16 = 1130;
const ER_ACCOUNT_LOCKED: u16 = 3118;

/// A connection with the monitor's account; dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    pub conn: Conn,
    /// Lives as long as the connection that goes through it.
    _tunnel: Option<Tunnel>,
}

/// Opens one connection with the monitor's account. With "preferred" TLS is tried first, and plain
/// TCP when the server has none. Has no time limit of its own; dropping it gives up.
///
/// # Errors
/// Whatever kept the monitor from logging in.
pub async fn connect(server: &Server, monitor: &Monitor) -> Result<Connection, Error> {
    if server.tls.mode == ServerTlsMode::VerifyCa {
        return through_tunnel(server, monitor).await;
    }
    let preferred = server.tls.mode == ServerTlsMode::Preferred;
    let conn = match Conn::new(options(server, monitor).ssl_opts(tls(server))).await {
        Err(error) if preferred && lacks_tls(&error) => Conn::new(options(server, monitor)).await?,
        outcome => outcome?,
    };
    Ok(Connection { conn, _tunnel: None })
}

/// The driver cannot check the authority alone (`tunnel` says why).
async fn through_tunnel(server: &Server, monitor: &Monitor) -> Result<Connection, Error> {
    let (host, port) = host_and_port(&server.address);
    let tls = client_config(server.tls.mode, server.tls.ca.as_deref())
        .map_err(|error| Error::Other(Box::new(error)))?;
    let mut tunnel = Tunnel::open(host, port, tls).map_err(stream_error)?;
    let socket = tunnel.socket().to_string_lossy().into_owned();
    match Conn::new(options(server, monitor).socket(Some(socket))).await {
        Ok(conn) => Ok(Connection { conn, _tunnel: Some(tunnel) }),
        // The driver sees only a closed socket when the relay fails.
        Err(error @ (Error::Io(_) | Error::Driver(DriverError::ConnectionClosed))) => {
            Err(tunnel.failure().await.map_or(error, stream_error))
        }
        Err(error) => Err(error),
    }
}

fn stream_error(error: std::io::Error) -> Error {
    Error::Io(IoError::Io(error))
}

fn options(server: &Server, monitor: &Monitor) -> OptsBuilder {
    let (host, port) = host_and_port(&server.address);
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(monitor.user.as_str()))
        .pass(Some(monitor.password.expose()))
        .prefer_socket(false)
        .max_allowed_packet(Some(MAX_ANSWER_BYTES))
        .wait_timeout(Some(IDLE_SECONDS))
        .tcp_keepalive(Some(KEEPALIVE))
        .stmt_cache_size(0)
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn host_and_port(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // The configuration was checked: the port is a number.
    (host, port.parse().unwrap_or(3306))
}

fn tls(server: &Server) -> Option<SslOpts> {
    let options = SslOpts::default();
    match (server.tls.mode, &server.tls.ca) {
        (ServerTlsMode::Off, _) => None,
        (ServerTlsMode::Preferred | ServerTlsMode::Required, _) => {
            Some(options.with_danger_accept_invalid_certs(true))
        }
        // The configuration was checked: the verify modes have their authorities.
        (ServerTlsMode::VerifyCa | ServerTlsMode::VerifyIdentity, None) => Some(options),
        (ServerTlsMode::VerifyCa | ServerTlsMode::VerifyIdentity, Some(ca)) => {
            let ca = vec![ca.clone().into()];
            Some(options.with_root_certs(ca).with_disable_built_in_roots(true))
        }
    }
}

/// Whether the server, or what its TLS can do, left no encrypted way.
fn lacks_tls(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) | Error::Io(IoError::Tls(_)) => true,
        Error::Io(IoError::Io(io)) => is_tls(io),
        _ => false,
    }
}

/// The TLS library's errors come wrapped in those of the stream.
fn is_tls(io: &std::io::Error) -> bool {
    io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// A driver's error as a failed probe.
pub fn failure(error: &Error) -> Failure {
    match error {
        Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            Failure::certain("connection refused")
        }
        Error::Io(IoError::Io(io)) if is_tls(io) => {
            Failure::certain(format!("TLS failed: {io}{}", remedy(io)))
        }
        Error::Io(IoError::Io(io)) => Failure::passing(format!("connection failed: {io}")),
        Error::Io(IoError::Tls(tls)) => Failure::certain(format!("TLS failed: {tls}")),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Failure::certain("the server offers no TLS, and its `tls` setting requires it")
        }
        Error::Driver(DriverError::ConnectionClosed) => {
            Failure::passing("the server closed the connection")
        }
        // MySQL answers for users that do not exist with a plugin picked at random.
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => Failure {
            login: true,
            ..Failure::certain(format!(
                "the monitor's login is refused (the server asks for the plugin {name}): check user \
                 and password in [monitor]; its account needs caching_sha2_password, \
                 mysql_native_password or client_ed25519"
            ))
        },
        Error::Server(server) => refused(server.code, &server.message),
        Error::Other(other) => Failure::certain(other.to_string()),
        other => Failure::passing(other.to_string()),
    }
}

fn refused(code: u16, message: &str) -> Failure {
    match code {
        ER_ACCESS_DENIED | ER_DBACCESS_DENIED | ER_ACCOUNT_LOCKED | ER_HOST_NOT_PRIVILEGED => {
            let words = format!(
                "the monitor's login is refused ({code} {message}): check user and password in \
                 [monitor]"
            );
            Failure { login: true, ..Failure::certain(words) }
        }
        ER_HOST_BLOCKED => Failure { login: true, ..Failure::certain(format!("{code} {message}")) },
        ER_SERVER_SHUTDOWN => Failure::certain("the server is shutting down"),
        ER_CON_COUNT => Failure::passing("the server has no connection free (max_connections)"),
        _ => Failure::passing(format!("{code} {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::config;

    #[test]
    fn addresses() {
        for (address, host, port) in [
            ("127.0.0.1:13301", "127.0.0.1", 13301),
            ("db.example.net:3306", "db.example.net", 3306),
            ("[::1]:3307", "::1", 3307),
        ] {
            assert_eq!(host_and_port(address), (host, port));
        }
    }

    #[test]
    fn tls_as_configured() {
        let with = |mode| {
            let mut server = (*config('a')).clone();
            server.tls.mode = mode;
            server.tls.ca = Some("ca.pem".into());
            tls(&server).map(|options| {
                assert!(!options.skip_domain_validation(), "the driver's does not work");
                (options.accept_invalid_certs(), options.disable_built_in_roots())
            })
        };
        assert_eq!(with(ServerTlsMode::Off), None);
        assert_eq!(with(ServerTlsMode::Preferred), Some((true, false)));
        assert_eq!(with(ServerTlsMode::Required), Some((true, false)));
        assert_eq!(with(ServerTlsMode::VerifyIdentity), Some((false, true)));
    }

    #[test]
    fn refusals() {
        for (code, certain, login) in [
            (ER_ACCESS_DENIED, true, true),
            (ER_HOST_BLOCKED, true, true),
            (ER_SERVER_SHUTDOWN, true, false),
            (ER_CON_COUNT, false, false),
            (9999, false, false),
        ] {
            let failure = refused(code, "words");
            assert_eq!((failure.certain, failure.login), (certain, login), "{code}");
        }
    }
}
