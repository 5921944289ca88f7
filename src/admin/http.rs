//! The HTTP listener: connections with their limits, TLS. What is answered is the router's business.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Pause after a failed accept, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Header lines of one request, and bytes of all of them together.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At once; the next waits until one of them ends.
    pub connections: usize,
    /// For the TLS handshake, and for the head of each request, the wait for it included.
    pub head: Duration,
    /// For a whole connection: longer than any snapshot takes.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            connection: Duration::from_secs(24 * 3_600),
        }
    }
}

/// Binds the port.
///
/// # Errors
/// It is taken, or may not be used.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until it is dropped. What was begun goes on without its listener.
///
/// # Errors
/// The listener is none of this runtime's.
pub async fn serve(
    listener: StdListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        // Never closed, so never an error.
        let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let all = connection(stream, tls, router, limits);
            match tokio::time::timeout(limits.connection, all).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => tracing::debug!(cause, "an HTTP connection ended early"),
                Err(_elapsed) => tracing::debug!("an HTTP connection was there for too long"),
            }
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
) -> Result<(), String> {
    let Some(tls) = tls else { return requests(stream, router, limits).await };
    let stream = tokio::time::timeout(limits.head, tls.accept(stream))
        .await
        .map_err(|_elapsed| "no TLS handshake in time".to_owned())?
        .map_err(|error| format!("TLS: {error}"))?;
    requests(stream, router, limits).await
}

async fn requests<S>(stream: S, router: Router, limits: Limits) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::config::ServerTlsMode;
    use crate::net::tls;

    fn start_with(tls: Option<TlsAcceptor>, limits: Limits) -> SocketAddr {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "there" }));
        tokio::spawn(serve(listener, tls, router, limits));
        address
    }

    async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4_096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn who_asks_nothing_does_not_keep_others_out() {
        let limits =
            Limits { connections: 1, head: Duration::from_millis(200), ..Limits::default() };
        let address = start_with(None, limits);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        assert!(ask(&mut third).await.ends_with("there"));
        // The two before it were let go.
        for stream in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert!(!String::from_utf8_lossy(&rest).contains("200"));
        }
        // So is who was answered and asks nothing more.
        assert_eq!(third.read(&mut [0; 16]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let address = start_with(None, Limits::default());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(2 * MAX_HEADER_BYTES));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // What it left unread may reset the connection behind its answer.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn with_tls_who_has_none_gets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = tls::load_or_make_certificate(dir.path()).unwrap();
        let read = |path| std::fs::read(path).unwrap();
        let config = tls::server_config(&read(certificate), &read(key)).unwrap();
        let address = start_with(Some(TlsAcceptor::from(config)), Limits::default());
        let client = tls::client_config(ServerTlsMode::Required, None).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(client).connect(name, stream).await.unwrap();
        assert!(ask(&mut stream).await.ends_with("there"));
        let mut plain = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut plain).await.contains("HTTP"));
    }
}
