//! `tls = "verify-ca"` for the monitor: a relay inside the process that speaks TLS to the server.
//!
//! The driver cannot check a certificate's authority without checking its name, and the certificates
//! that mysqld makes for itself name nobody. So the driver connects in plain to a socket in a
//! private directory, and this relay does the TLS with Weir's own verifier: it puts the SSLRequest
//! in, and shifts the sequence numbers of the login by the one packet that the driver knows nothing
//! of ([connection phase]). After the login it copies bytes.
//!
//! [connection phase]: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::wire::{HEADER_LEN, Header, frame};

/// No packet of a login is larger.
const MAX_LOGIN_PACKET_BYTES: usize = 64 << 10;

/// `CLIENT_SSL`, in the second byte of a handshake response.
const CLIENT_SSL: u8 = 0x08;

/// An SSLRequest is the beginning of a handshake response: capabilities, packet size, charset, filler.
const SSL_REQUEST_BYTES: usize = 32;

/// How long a relay may take to end after its sockets were closed.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// First bytes of a server's packets that end a login.
const OK: u8 = 0x00;
const ERR: u8 = 0xff;

/// caching_sha2_password: the server knew the password, and the OK packet follows.
const FAST_AUTH_SUCCESS: [u8; 2] = [0x01, 0x03];

/// A relay for one connection; dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Tunnel {
    directory: PathBuf,
    socket: PathBuf,
    relay: AbortOnDropHandle<io::Result<()>>,
}

impl Tunnel {
    /// Opens the socket, and relays the first connection to it to `host`:`port`. Nothing is sent before.
    ///
    /// # Errors
    /// The private directory or the socket cannot be made, or `host` is no name.
    pub(super) fn open(host: &str, port: u16, tls: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let directory = private_directory()?;
        let socket = directory.join("mysql.sock");
        let listener = match UnixListener::bind(&socket) {
            Ok(listener) => listener,
            Err(error) => {
                remove(&directory, &socket);
                return Err(error);
            }
        };
        let host = host.to_owned();
        let relay = AbortOnDropHandle::new(tokio::spawn(async move {
            let (driver, _) = listener.accept().await?;
            drop(listener);
            relay(driver, (&host, port), name, tls).await
        }));
        Ok(Self { directory, socket, relay })
    }

    /// What the driver connects to.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Why the relay failed, when it did: the driver sees only a closed socket. Waits a moment for a
    /// relay that is about to end.
    pub(super) async fn failure(&mut self) -> Option<io::Error> {
        let ended = tokio::time::timeout(LAST_MOMENT, &mut self.relay).await.ok()?;
        ended.map_err(io::Error::other).and_then(|relayed| relayed).err()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        remove(&self.directory, &self.socket);
    }
}

/// What cannot be removed stays: an empty directory that nobody else can enter.
fn remove(directory: &Path, socket: &Path) {
    let _gone = std::fs::remove_file(socket);
    let _gone = std::fs::remove_dir(directory);
}

/// A new directory, with a name nobody can guess, that only this user can enter.
fn private_directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;

    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let name = format!("weir-{:016x}", u64::from_ne_bytes(random));
    let directory = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

async fn relay(
    mut driver: UnixStream,
    address: (&str, u16),
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    let greeting = Packet::read(&mut server).await?;
    greeting.write(&mut driver, 0).await?;
    if greeting.payload.first() == Some(&ERR) {
        return Ok(());
    }
    let mut response = Packet::read(&mut driver).await?;
    let capabilities = response.payload.get_mut(1).ok_or_else(cut_short)?;
    *capabilities |= CLIENT_SSL;
    let request = response.payload.get(..SSL_REQUEST_BYTES).ok_or_else(cut_short)?.to_vec();
    Packet { sequence: response.sequence, payload: request }.write(&mut server, 0).await?;

    let mut server = TlsConnector::from(tls).connect(name, server).await?;
    response.write(&mut server, 1).await?;
    log_in(&mut driver, &mut server).await?;
    copy_bidirectional(&mut driver, &mut server).await?;
    Ok(())
}

/// Passes the rest of a login on: the driver answers every packet of the server but the last, and the
/// one that says that the fast way succeeded.
async fn log_in(
    driver: &mut UnixStream,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let packet = Packet::read(server).await?;
        // The server counts the SSLRequest, the driver does not.
        packet.write(driver, u8::MAX).await?;
        if matches!(packet.payload.first(), Some(&(OK | ERR))) {
            return Ok(());
        }
        if packet.payload != FAST_AUTH_SUCCESS {
            Packet::read(driver).await?.write(server, 1).await?;
        }
    }
}

/// One packet of a login.
struct Packet {
    sequence: u8,
    payload: Vec<u8>,
}

impl Packet {
    /// Reads one; when dropped half-way the stream cannot be used any more.
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        from.read_exact(&mut header).await?;
        let Header { len, seq } = Header::parse(&header).ok_or_else(cut_short)?;
        if len > MAX_LOGIN_PACKET_BYTES {
            return Err(io::Error::other("a packet of the login is too large"));
        }
        let mut payload = vec![0; len];
        from.read_exact(&mut payload).await?;
        Ok(Self { sequence: seq, payload })
    }

    /// Writes it with its sequence number moved by `shift`, modulo 256.
    async fn write(&self, to: &mut (impl AsyncWrite + Unpin), shift: u8) -> io::Result<()> {
        let mut sequence = self.sequence.wrapping_add(shift);
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.payload.len());
        frame(&mut bytes, &mut sequence, &self.payload);
        to.write_all(&bytes).await?;
        to.flush().await
    }
}

fn cut_short() -> io::Error {
    io::Error::other("a packet of the login is cut short")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ServerTlsMode;
    use crate::net::tls::{client_config, load_or_make_certificate, server_config};

    /// Greeting, then TLS, then one answer of the driver to each of the packets but the last.
    async fn server(listener: TcpListener, tls: Arc<rustls::ServerConfig>) -> Vec<(u8, usize)> {
        let mut seen = Vec::new();
        let (mut socket, _) = listener.accept().await.unwrap();
        Packet { sequence: 0, payload: vec![10; 40] }.write(&mut socket, 0).await.unwrap();
        let request = Packet::read(&mut socket).await.unwrap();
        assert_eq!(request.payload[1] & CLIENT_SSL, CLIENT_SSL);
        seen.push((request.sequence, request.payload.len()));
        let mut socket = tokio_rustls::TlsAcceptor::from(tls).accept(socket).await.unwrap();
        let response = Packet::read(&mut socket).await.unwrap();
        seen.push((response.sequence, response.payload.len()));
        // AuthSwitch, then the fast way succeeds, then OK.
        Packet { sequence: 3, payload: vec![0xfe; 30] }.write(&mut socket, 0).await.unwrap();
        let answer = Packet::read(&mut socket).await.unwrap();
        seen.push((answer.sequence, answer.payload.len()));
        let fast = FAST_AUTH_SUCCESS.to_vec();
        Packet { sequence: 5, payload: fast }.write(&mut socket, 0).await.unwrap();
        Packet { sequence: 6, payload: vec![OK; 7] }.write(&mut socket, 0).await.unwrap();
        let mut command = [0; 5];
        socket.read_exact(&mut command).await.unwrap();
        seen.push((command[3], usize::from(command[4])));
        seen
    }

    async fn pair(directory: &Path) -> (Tunnel, TcpListener, Arc<rustls::ServerConfig>) {
        let (cert, key) = load_or_make_certificate(directory).unwrap();
        let pem = |path: &Path| std::fs::read(path).unwrap();
        let tls = server_config(&pem(&cert), &pem(&key)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let verify = client_config(ServerTlsMode::VerifyCa, Some(&cert)).unwrap();
        (Tunnel::open("127.0.0.1", port, verify).unwrap(), listener, tls)
    }

    #[tokio::test]
    async fn a_login_goes_through() {
        let directory = tempfile::tempdir().unwrap();
        let (tunnel, listener, tls) = pair(directory.path()).await;
        let server = tokio::spawn(server(listener, tls));
        let mut driver = UnixStream::connect(tunnel.socket()).await.unwrap();
        assert_eq!(Packet::read(&mut driver).await.unwrap().sequence, 0);
        Packet { sequence: 1, payload: vec![0; 60] }.write(&mut driver, 0).await.unwrap();
        assert_eq!(Packet::read(&mut driver).await.unwrap().sequence, 2);
        Packet { sequence: 3, payload: vec![1; 20] }.write(&mut driver, 0).await.unwrap();
        for sequence in [4, 5] {
            assert_eq!(Packet::read(&mut driver).await.unwrap().sequence, sequence);
        }
        driver.write_all(&[1, 0, 0, 0, 14]).await.unwrap();
        assert_eq!(server.await.unwrap(), [(1, 32), (2, 60), (4, 20), (0, 14)]);

        let socket = tunnel.socket().to_owned();
        drop(tunnel);
        assert!(!socket.parent().unwrap().exists());
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (mut tunnel, listener, _tls) = pair(directory.path()).await;
        let mut driver = UnixStream::connect(tunnel.socket()).await.unwrap();
        drop(listener.accept().await.unwrap());
        assert!(Packet::read(&mut driver).await.is_err());
        assert!(tunnel.failure().await.is_some());
    }
}
