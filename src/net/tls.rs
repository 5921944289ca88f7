//! TLS towards clients and towards servers: rustls with aws-lc-rs, TLS 1.2 and 1.3.
//!
//! The functions here read and write files and block; they are called at start and at reload.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};

use crate::config::{ServerTls, ServerTlsMode};

/// Certificate in the state directory, PEM.
pub const CERTIFICATE_FILE: &str = "server-cert.pem";
/// Its private key, PEM, mode 0600.
pub const KEY_FILE: &str = "server-key.pem";

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Why TLS cannot be set up. The words name the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{what} is not usable PEM: {reason}; give a PEM file with BEGIN and END lines")]
    Pem { what: String, reason: String },
    #[error("certificate and key do not make a TLS server: {0}")]
    Server(String),
    #[error("a self-signed certificate could not be made: {0}")]
    Make(String),
    #[error(
        "tls = \"{0}\" needs tls_ca, a PEM file with the authority of the server's certificate"
    )]
    NoAuthority(&'static str),
    #[error("the authorities in tls_ca cannot be used: {0}")]
    Authority(String),
}

/// What clients connect to with TLS. Clients need no certificate.
///
/// # Errors
/// When either text is not PEM, or the key is not that of the first certificate.
pub fn server_config(certs_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certs_pem, "tls_cert")?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|e| TlsError::Pem { what: "tls_key".to_owned(), reason: e.to_string() })?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|e| TlsError::Server(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| TlsError::Server(e.to_string()))?;
    Ok(Arc::new(config))
}

/// Paths of certificate and key in `state_dir`; a self-signed pair is made there when there is none.
///
/// It names `localhost`, the loopback addresses and this host. Both files are whole or absent, also
/// when two processes start at once. A key without certificate, left by a crash, is replaced.
///
/// # Errors
/// When the directory cannot be written.
pub fn load_or_make_certificate(state_dir: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let cert_path = state_dir.join(CERTIFICATE_FILE);
    let key_path = state_dir.join(KEY_FILE);
    let done = || cert_path.exists() && key_path.exists();
    if !done() {
        fs::create_dir_all(state_dir).map_err(at(state_dir))?;
        let lock_path = state_dir.join("server-cert.lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        if !done() {
            make_certificate(&cert_path, &key_path)?;
        }
    }
    Ok((cert_path, key_path))
}

/// What Weir connects to servers with, in that mode; `Off` gives the same as `Preferred`.
///
/// - `Preferred`, `Required`: whoever answers is believed, as MySQL's own client does.
/// - `VerifyCa`: the certificate must come from an authority in `ca`, a PEM file.
/// - `VerifyIdentity`: and it must name the host that was connected to, among its alternative
///   names (the subject's common name does not count, RFC 6125).
///
/// # Errors
/// In the verify modes, when `ca` is absent or holds no usable certificate.
pub fn client_config(
    mode: ServerTlsMode,
    ca: Option<&Path>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        ServerTlsMode::Off | ServerTlsMode::Preferred | ServerTlsMode::Required => {
            Arc::new(AnyServer)
        }
        ServerTlsMode::VerifyCa => Arc::new(AnyName(chain_verifier("verify-ca", ca)?)),
        ServerTlsMode::VerifyIdentity => chain_verifier("verify-identity", ca)?,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|e| TlsError::Authority(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What Weir connects to servers with, made once. Servers that come later are there, too, unless they are to be
/// verified by an authority that none had at the start.
#[derive(Debug, Clone)]
pub struct ClientConfigs {
    /// Believes whoever answers.
    any: Arc<ClientConfig>,
    verifying: HashMap<ServerTls, Arc<ClientConfig>>,
}

impl ClientConfigs {
    /// # Errors
    /// As [`client_config`], for the first of `servers` that has one.
    pub fn new<'a>(servers: impl IntoIterator<Item = &'a ServerTls>) -> Result<Self, TlsError> {
        let any = client_config(ServerTlsMode::Required, None)?;
        let mut verifying = HashMap::new();
        for tls in servers.into_iter().filter(|tls| tls.mode.verifies()) {
            verifying.insert(tls.clone(), client_config(tls.mode, tls.ca.as_deref())?);
        }
        Ok(Self { any, verifying })
    }

    /// `None` for `Off`, and for one that is to be verified and was not known at the start.
    pub fn of(&self, tls: &ServerTls) -> Option<Arc<ClientConfig>> {
        match tls.mode {
            ServerTlsMode::Off => None,
            ServerTlsMode::Preferred | ServerTlsMode::Required => Some(Arc::clone(&self.any)),
            ServerTlsMode::VerifyCa | ServerTlsMode::VerifyIdentity => {
                self.verifying.get(tls).cloned()
            }
        }
    }
}

/// What an operator can do about a server's certificate that was not believed: a clause after "; ", or nothing.
pub fn remedy(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = inner else { return "" };
    match wrong {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "; the file of `tls_ca` (`server_tls_ca` in [proxy]) has to hold the authority that signed this \
             server's certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; give the server a certificate for the name in its `address`, or set its `tls` to \"verify-ca\""
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; give the server a new certificate"
        }
        _ => "",
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::Pem { what: what.to_owned(), reason };
    let certs = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| failed(e.to_string()))?;
    if certs.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(certs)
}

fn chain_verifier(
    mode: &'static str,
    ca: Option<&Path>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let path = ca.ok_or(TlsError::NoAuthority(mode))?;
    let pem = fs::read(path).map_err(at(path))?;
    let mut roots = RootCertStore::empty();
    for cert in certificates(&pem, &path.display().to_string())? {
        roots.add(cert).map_err(|e| TlsError::Authority(e.to_string()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| TlsError::Authority(e.to_string()))
}

fn make_certificate(cert_path: &Path, key_path: &Path) -> Result<(), TlsError> {
    let made = |e: rcgen::Error| TlsError::Make(e.to_string());
    let mut params = rcgen::CertificateParams::new(host_names()).map_err(made)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Weir, self-signed");
    let key = rcgen::KeyPair::generate().map_err(made)?;
    let cert = params.self_signed(&key).map_err(made)?;
    // The certificate is last: where it stands, its key stands too.
    let _ = fs::remove_file(cert_path);
    write_new(key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write_new(cert_path, cert.pem().as_bytes(), 0o644)
}

/// Writes a file under another name, makes sure that it is on disk, and gives it its name.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    let unfinished = path.with_extension("pem.new");
    let write = || -> std::io::Result<()> {
        // A leftover could have another mode.
        let _ = fs::remove_file(&unfinished);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(at(path))
}

fn host_names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if plain && !host.is_empty() && host != "localhost" {
        names.push(host.to_owned());
    }
    names
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}

/// Believes every server. Signatures are not checked either: with an unknown key they prove nothing,
/// and old servers' certificates that webpki cannot read must not stand in the way.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the chain, and does not mind the name. The verifier looks at the name last, so an error
/// about it means that all else was right.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[test]
    fn a_server_that_comes_later_is_spoken_to_by_tls() {
        let configs = ClientConfigs::new([]).unwrap();
        let there = |mode| configs.of(&ServerTls { mode, ca: None }).is_some();
        assert!(there(ServerTlsMode::Required) && there(ServerTlsMode::Preferred));
        assert!(!there(ServerTlsMode::Off) && !there(ServerTlsMode::VerifyCa));
        let verified = ServerTls { mode: ServerTlsMode::VerifyCa, ca: None };
        assert!(ClientConfigs::new([&verified]).is_err(), "no authority to verify by");
    }

    #[test]
    fn certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (cert, key) = load_or_make_certificate(&state).unwrap();
        let before = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        server_config(&before.0, &before.1).unwrap();

        load_or_make_certificate(&state).unwrap();
        assert!(before == (fs::read(&cert).unwrap(), fs::read(&key).unwrap()));

        // A crash between the two files.
        fs::remove_file(&cert).unwrap();
        load_or_make_certificate(&state).unwrap();
        let after = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
        assert!(before.0 != after.0);
        server_config(&after.0, &after.1).unwrap();
    }

    #[test]
    fn two_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| load_or_make_certificate(state).unwrap());
            }
        });
        let (cert, key) = load_or_make_certificate(state).unwrap();
        server_config(&fs::read(cert).unwrap(), &fs::read(key).unwrap()).unwrap();
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let text = |e: TlsError| e.to_string();
        let error = text(server_config(b"nothing", b"").unwrap_err());
        assert!(error.contains("tls_cert") && error.contains("no certificate"), "{error}");
        let error = text(client_config(ServerTlsMode::VerifyCa, None).unwrap_err());
        assert!(error.contains("verify-ca") && error.contains("tls_ca"), "{error}");
        let absent = dir.path().join("ca.pem");
        let error = client_config(ServerTlsMode::VerifyIdentity, Some(&absent)).unwrap_err();
        assert!(text(error).contains("ca.pem"));
    }

    /// Whether a client in that mode believes a server of that certificate under that name.
    async fn handshake(
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        name: &'static str,
    ) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut stream = TlsAcceptor::from(server).accept(far).await?;
            stream.write_all(b"hi").await?;
            stream.shutdown().await
        };
        let connect = async {
            let name = ServerName::try_from(name).unwrap();
            let connected = TlsConnector::from(client).connect(name, near).await;
            let mut stream = connected.map_err(|error| format!("{error}{}", remedy(&error)))?;
            let mut got = [0; 2];
            stream.read_exact(&mut got).await.map_err(|e| e.to_string())?;
            assert_eq!(&got, b"hi");
            Ok(())
        };
        let (_served, connected) = tokio::join!(serve, connect);
        connected
    }

    #[tokio::test]
    async fn modes() {
        let dir = tempfile::tempdir().unwrap();
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca =
                rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap())
                    .unwrap();
            let path = dir.path().join(name);
            fs::write(&path, ca.pem()).unwrap();
            (ca, path)
        };
        let (ca, ca_path) = authority("ca.pem");
        let (_, other_path) = authority("other.pem");
        let signed = |params: rcgen::CertificateParams| {
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, &ca).unwrap();
            server_config(cert.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
        };
        let of_db1 = || rcgen::CertificateParams::new(vec!["db1.example".to_owned()]).unwrap();
        let server = signed(of_db1());

        let check = async |mode, ca: Option<&Path>, name: &'static str, want: bool| {
            let client = client_config(mode, ca).unwrap();
            let result = handshake(Arc::clone(&server), client, name).await;
            assert_eq!(result.is_ok(), want, "{mode:?} {ca:?} {name}: {result:?}");
        };
        check(ServerTlsMode::Preferred, None, "elsewhere", true).await;
        check(ServerTlsMode::Required, None, "elsewhere", true).await;
        check(ServerTlsMode::VerifyCa, Some(&ca_path), "elsewhere", true).await;
        check(ServerTlsMode::VerifyCa, Some(&other_path), "db1.example", false).await;
        check(ServerTlsMode::VerifyIdentity, Some(&ca_path), "db1.example", true).await;
        check(ServerTlsMode::VerifyIdentity, Some(&ca_path), "elsewhere", false).await;
        check(ServerTlsMode::VerifyIdentity, Some(&other_path), "db1.example", false).await;

        let mut expired = of_db1();
        expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
        expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let expired = signed(expired);
        for mode in [ServerTlsMode::VerifyCa, ServerTlsMode::VerifyIdentity] {
            let client = client_config(mode, Some(&ca_path)).unwrap();
            let error = handshake(Arc::clone(&expired), client, "db1.example").await.unwrap_err();
            assert!(error.contains("expired") && error.contains("a new certificate"), "{error}");
        }
        let client = client_config(ServerTlsMode::Required, None).unwrap();
        handshake(expired, client, "db1.example").await.unwrap();
    }
}
