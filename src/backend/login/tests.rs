//! Logins against a scripted server.

use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::tls;
use crate::wire::{LoginKey, PutExt, is_ssl_request};

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";
const SALT_2: &[u8; 20] = b"ABCDEFGHIJKLMNOPQRST";
const PASSWORD: &str = "s3cret";

fn greeting() -> Greeting {
    Greeting {
        version: b"9.7.4".to_vec(),
        connection_id: 7,
        salt: *SALT,
        capabilities: Capabilities(u32::MAX),
        extended: 0,
        collation: 255,
        status: StatusFlags::AUTOCOMMIT,
        plugin: PLUGIN_SHA2.into(),
    }
}

fn identity() -> Identity {
    Identity {
        user: b"ann".to_vec(),
        password: Secret::new(PASSWORD.to_owned()),
        database: Some(b"shop".to_vec()),
        collation: 45,
        attributes: b"\x01k\x01v".to_vec(),
        capabilities: Capabilities::SESSION_TRACK
            | Capabilities::DEPRECATE_EOF
            | Capabilities::COMPRESS,
        max_packet: 1 << 24,
    }
}

fn no_tls() -> TlsChoice {
    TlsChoice { mode: ServerTlsMode::Off, config: None, server_name: "localhost".to_owned() }
}

/// A server's end of a login.
struct Script<S> {
    stream: S,
    seq: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Script<S> {
    async fn read(&mut self) -> Vec<u8> {
        read_packet(&mut self.stream, &mut self.seq).await.unwrap()
    }

    async fn write(&mut self, payload: &[u8]) {
        write_packet(&mut self.stream, &mut self.seq, payload).await.unwrap();
    }

    async fn greet(&mut self, greeting: &Greeting) {
        let mut payload = Vec::new();
        greeting.encode(&mut payload);
        self.write(&payload).await;
    }

    async fn greet_and_read(&mut self, greeting: &Greeting) -> HandshakeResponse {
        self.greet(greeting).await;
        HandshakeResponse::decode(&self.read().await).unwrap()
    }

    /// OK with a schema change, and behind it, in the same write, the first bytes of what follows.
    async fn ok(&mut self) {
        let mut bytes = Vec::new();
        frame(&mut bytes, &mut self.seq, b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop");
        bytes.extend_from_slice(b"later");
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn switch(&mut self, plugin: &str, data: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        let switch = AuthSwitch { plugin: plugin.into(), data: data.to_vec() };
        switch.encode(&mut payload);
        self.write(&payload).await;
        self.read().await
    }
}

/// Runs `script` as the server of one connection; gives a socket to it.
async fn serve<F, R>(script: F) -> (TcpStream, JoinHandle<()>)
where
    F: FnOnce(Script<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(Script { stream, seq: 0 }).await;
    });
    (TcpStream::connect(address).await.unwrap(), server)
}

async fn check_later(stream: LoginStream) {
    let mut later = [0; 5];
    match stream {
        LoginStream::Plain(mut s) => s.read_exact(&mut later).await.unwrap(),
        LoginStream::Tls(mut s) => s.read_exact(&mut later).await.unwrap(),
    };
    assert_eq!(&later, b"later", "nothing was read behind the OK");
}

/// A login without TLS that succeeds.
async fn succeeds<F, R>(identity: Identity, script: F) -> (Capabilities, StatusFlags)
where
    F: FnOnce(Script<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let (tcp, server) = serve(script).await;
    let done = login(tcp, &identity, &no_tls()).await.unwrap();
    server.await.unwrap();
    check_later(done.stream).await;
    assert_eq!(done.session_state, b"\x01\x05\x04shop");
    assert_eq!(done.greeting.connection_id, 7);
    (done.capabilities, done.status)
}

/// A login without TLS that fails.
async fn fails<F, R>(script: F) -> LoginError
where
    F: FnOnce(Script<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let (tcp, server) = serve(script).await;
    let error = login(tcp, &identity(), &no_tls()).await.unwrap_err();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn fast_path() {
    let (capabilities, status) = succeeds(identity(), async |mut server: Script<_>| {
        let response = server.greet_and_read(&greeting()).await;
        assert_eq!(response.username, b"ann");
        assert_eq!(response.database.as_deref(), Some(&b"shop"[..]));
        assert_eq!(response.attributes, b"\x01k\x01v");
        assert_eq!(response.plugin.as_deref(), Some(PLUGIN_SHA2.as_bytes()));
        assert_eq!((response.collation, response.max_packet), (45, 1 << 24));
        assert!(scramble::sha2_verify(PASSWORD.as_bytes(), SALT, &response.auth));
        server.write(&[1, FAST_AUTH_OK]).await;
        server.ok().await;
    })
    .await;
    assert!(capabilities.has(Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF));
    assert!(capabilities.has(Capabilities::CONNECT_WITH_DB | Capabilities::CONNECT_ATTRS));
    assert!(!capabilities.has(Capabilities::COMPRESS), "compression is not begun here");
    assert!(!capabilities.has(Capabilities::SSL));
    assert!(status.has(StatusFlags::AUTOCOMMIT));
}

#[tokio::test]
async fn what_the_server_does_not_offer_is_not_spoken() {
    let offered = Capabilities(u32::MAX).without(
        Capabilities::DEPRECATE_EOF | Capabilities::CONNECT_ATTRS | Capabilities::LONG_PASSWORD,
    );
    let maria = Greeting { capabilities: offered, plugin: PLUGIN_NATIVE.into(), ..greeting() };
    let (capabilities, _) = succeeds(identity(), async move |mut server: Script<_>| {
        let response = server.greet_and_read(&maria).await;
        assert_eq!(response.attributes, b"");
        assert!(scramble::native_verify(PASSWORD.as_bytes(), SALT, &response.auth));
        server.ok().await;
    })
    .await;
    assert!(offered.has(capabilities));
}

#[tokio::test]
async fn full_path_with_rsa() {
    succeeds(identity(), async |mut server: Script<_>| {
        server.greet_and_read(&greeting()).await;
        server.write(&[1, FULL_AUTH]).await;
        assert_eq!(server.read().await, [REQUEST_PUBLIC_KEY]);
        let key = LoginKey::generate().unwrap();
        let mut payload = Vec::new();
        AuthMoreData(key.public_pem()).encode(&mut payload);
        server.write(&payload).await;
        let encrypted = server.read().await;
        assert_eq!(key.decrypt(&encrypted, SALT).unwrap(), PASSWORD.as_bytes());
        server.ok().await;
    })
    .await;
}

#[tokio::test]
async fn switch_to_native() {
    succeeds(identity(), async |mut server: Script<_>| {
        server.greet_and_read(&greeting()).await;
        let answer = server.switch(PLUGIN_NATIVE, SALT_2).await;
        assert!(scramble::native_verify(PASSWORD.as_bytes(), SALT_2, &answer));
        server.ok().await;
    })
    .await;
}

#[tokio::test]
async fn switch_to_sha2_then_full_path_with_the_new_salt() {
    succeeds(identity(), async |mut server: Script<_>| {
        let greeting = Greeting { plugin: b"sha256_password".to_vec(), ..greeting() };
        let response = server.greet_and_read(&greeting).await;
        assert_eq!(response.plugin.as_deref(), Some(PLUGIN_SHA2.as_bytes()));
        let answer = server.switch(PLUGIN_SHA2, SALT_2).await;
        assert!(scramble::sha2_verify(PASSWORD.as_bytes(), SALT_2, &answer));
        server.write(&[1, FULL_AUTH]).await;
        assert_eq!(server.read().await, [REQUEST_PUBLIC_KEY]);
        let key = LoginKey::generate().unwrap();
        server.write(&[&[1], key.public_pem()].concat()).await;
        assert_eq!(key.decrypt(&server.read().await, SALT_2).unwrap(), PASSWORD.as_bytes());
        server.ok().await;
    })
    .await;
}

#[tokio::test]
async fn empty_password() {
    let identity = Identity { password: Secret::default(), ..identity() };
    succeeds(identity, async |mut server: Script<_>| {
        let response = server.greet_and_read(&greeting()).await;
        assert_eq!(response.auth, b"");
        server.ok().await;
    })
    .await;
}

#[tokio::test]
async fn refused() {
    let error = fails(async |mut server: Script<_>| {
        server.greet_and_read(&greeting()).await;
        server.write(b"\xFF\x15\x04#28000Access denied").await;
    })
    .await;
    assert!(matches!(error, LoginError::Refused(err) if err.code == 1045));
}

#[tokio::test]
async fn refused_instead_of_a_greeting() {
    let error = fails(async |mut server: Script<_>| {
        server.write(b"\xFF\x10\x04Too many connections").await;
    })
    .await;
    assert!(matches!(error, LoginError::Refused(err) if err.code == 1040));
}

#[tokio::test]
async fn refused_instead_of_a_key() {
    let error = fails(async |mut server: Script<_>| {
        server.greet_and_read(&greeting()).await;
        server.write(&[1, FULL_AUTH]).await;
        server.read().await;
        server.write(b"\xFF\x15\x04#28000Access denied").await;
    })
    .await;
    assert!(matches!(error, LoginError::Refused(err) if err.code == 1045));
}

async fn protocol_error<F, R>(script: F, words: &str)
where
    F: FnOnce(Script<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let error = fails(script).await;
    assert!(matches!(&error, LoginError::Protocol(_)), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn garbage() {
    protocol_error(
        async |mut server: Script<_>| {
            server.stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        },
        "is it a MySQL server?",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| server.write(b"\x0ahalf a greeting").await,
        "server version is missing",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.write(b"\x42").await;
        },
        "first 0x42",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.write(b"").await;
        },
        "first nothing",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.seq = 9;
            server.ok().await;
        },
        "out of order",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.write(&[1, FULL_AUTH]).await;
            server.read().await;
            server.write(b"\x01not a key").await;
        },
        "public key",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_never_decides() {
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            for _ in 0..MAX_ROUNDS {
                server.switch(PLUGIN_NATIVE, SALT_2).await;
            }
        },
        "neither accepts nor refuses",
    )
    .await;
}

#[tokio::test]
async fn plugins_that_weir_cannot_do() {
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.write(b"\xFEclient_ed25519\0salt\0").await;
        },
        "alter the user to caching_sha2_password",
    )
    .await;
    protocol_error(
        async |mut server: Script<_>| {
            server.greet_and_read(&greeting()).await;
            server.write(b"\xFEmysql_clear_password\0").await;
        },
        "has no TLS",
    )
    .await;
}

#[tokio::test]
async fn early_close() {
    let mut greeting_bytes = Vec::new();
    let mut payload = Vec::new();
    greeting().encode(&mut payload);
    frame(&mut greeting_bytes, &mut 0, &payload);
    for len in [0, 3, 4, 20, greeting_bytes.len()] {
        let bytes = greeting_bytes[..len].to_vec();
        let error = fails(async move |mut server: Script<_>| {
            server.stream.write_all(&bytes).await.unwrap();
        })
        .await;
        assert!(matches!(error, LoginError::Io(_)), "{len}: {error:?}");
    }
}

/// Certificate files of a scripted server; `localhost` is among its names.
fn certificate(dir: &tempfile::TempDir) -> (Arc<rustls::ServerConfig>, PathBuf) {
    let (cert, key) = tls::load_or_make_certificate(dir.path()).unwrap();
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    (tls::server_config(&read(&cert), &read(&key)).unwrap(), cert)
}

/// A login with TLS; the script goes on inside it.
async fn with_tls<F, R>(mode: ServerTlsMode, script: F) -> LoggedIn
where
    F: FnOnce(Script<tokio_rustls::server::TlsStream<TcpStream>>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = certificate(&dir);
    let (tcp, server) = serve(async move |mut plain: Script<TcpStream>| {
        plain.greet(&greeting()).await;
        assert!(is_ssl_request(&plain.read().await));
        let stream = TlsAcceptor::from(config).accept(plain.stream).await.unwrap();
        script(Script { stream, seq: plain.seq }).await;
    })
    .await;
    let choice = TlsChoice {
        mode,
        config: Some(tls::client_config(mode, None).unwrap()),
        server_name: "not a name!".to_owned(),
    };
    let done = login(tcp, &identity(), &choice).await.unwrap();
    server.await.unwrap();
    assert!(done.capabilities.has(Capabilities::SSL));
    done
}

#[tokio::test]
async fn full_path_over_tls() {
    for mode in [ServerTlsMode::Preferred, ServerTlsMode::Required] {
        let done = with_tls(mode, async |mut server: Script<_>| {
            let response = HandshakeResponse::decode(&server.read().await).unwrap();
            assert!(scramble::sha2_verify(PASSWORD.as_bytes(), SALT, &response.auth));
            server.write(&[1, FULL_AUTH]).await;
            assert_eq!(server.read().await, b"s3cret\0");
            server.ok().await;
        })
        .await;
        check_later(done.stream).await;
    }
}

#[tokio::test]
async fn clear_password_over_tls() {
    let done = with_tls(ServerTlsMode::Required, async |mut server: Script<_>| {
        server.read().await;
        assert_eq!(server.switch(PLUGIN_CLEAR, b"").await, b"s3cret\0");
        server.ok().await;
    })
    .await;
    check_later(done.stream).await;
}

#[tokio::test]
async fn tls_that_is_not_offered() {
    let plain =
        Greeting { capabilities: Capabilities(u32::MAX).without(Capabilities::SSL), ..greeting() };
    for mode in [ServerTlsMode::Required, ServerTlsMode::Preferred] {
        let plain = plain.clone();
        let (tcp, server) = serve(async move |mut server: Script<_>| {
            server.greet(&plain).await;
            if mode == ServerTlsMode::Preferred {
                server.read().await;
                server.ok().await;
            }
        })
        .await;
        let config = Some(tls::client_config(mode, None).unwrap());
        let choice = TlsChoice { mode, config, server_name: "localhost".to_owned() };
        let result = login(tcp, &identity(), &choice).await;
        server.await.unwrap();
        match (mode, result) {
            (ServerTlsMode::Preferred, Ok(done)) => check_later(done.stream).await,
            (_, Err(LoginError::Tls(words))) => {
                assert!(words.contains("does not offer TLS"), "{words}");
            }
            (_, other) => panic!("{mode:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_from_nobody_known() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = certificate(&dir);
    let other = tempfile::tempdir().unwrap();
    let (_, other_cert) = certificate(&other);
    let (tcp, server) = serve(async move |mut plain: Script<TcpStream>| {
        plain.greet(&greeting()).await;
        plain.read().await;
        TlsAcceptor::from(config).accept(plain.stream).await.unwrap_err();
    })
    .await;
    let mode = ServerTlsMode::VerifyCa;
    let choice = TlsChoice {
        mode,
        config: Some(tls::client_config(mode, Some(&other_cert)).unwrap()),
        server_name: "localhost".to_owned(),
    };
    let error = login(tcp, &identity(), &choice).await.unwrap_err();
    server.await.unwrap();
    assert!(matches!(&error, LoginError::Tls(words) if words.contains("localhost")), "{error}");
}

#[tokio::test]
async fn long_clear_password_fits() {
    let long = "x".repeat(300);
    let identity = Identity { password: Secret::new(long.clone()), ..identity() };
    let greeting = Greeting { plugin: PLUGIN_CLEAR.into(), ..greeting() };
    let response = handshake_response(&identity, &greeting, true).unwrap();
    let mut payload = Vec::new();
    response.encode(&mut payload);
    let auth = HandshakeResponse::decode(&payload).unwrap().auth;
    let mut want = long.into_bytes();
    want.put_u8(0);
    assert_eq!(auth, want);
}
