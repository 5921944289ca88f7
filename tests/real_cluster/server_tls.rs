//! TLS between Weir and a server, in each mode of `server_tls`.

use std::fs;
use std::path::Path;

use crate::support::client::{connect, refused, run, server_error, text};
use crate::support::cluster::TESTER;
use crate::support::docker::docker;
use crate::support::{TestCluster, Weir, direct, free_ports, until};

/// What is on Weir's own connection; empty without TLS.
const CIPHER: &str = "SELECT variable_value FROM performance_schema.session_status \
                      WHERE variable_name = 'Ssl_cipher'";
/// Where a server keeps its certificates, as in the image.
const DATA: &str = "/var/lib/mysql";

/// Weir in front of the primary alone, with that mode and authority.
fn with_mode(cluster: &TestCluster, mode: &str, ca: Option<&Path>) -> Weir {
    let port = free_ports(0);
    let (user, password) = &cluster.monitor;
    let ca = ca.map(|path| format!("server_tls_ca = \"{}\"\n", path.display()));
    let config = format!(
        "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\nserver_tls = \"{mode}\"\n{}\
         [monitor]\nuser = \"{user}\"\npassword = \"{password}\"\ninterval_ms = 100\n\
         [[servers]]\nname = \"only\"\naddress = \"{}\"\n",
        ca.unwrap_or_default(),
        cluster.servers[0]
    );
    Weir::serve(&config, port)
}

/// Whether Weir's connection to the server, for a client without TLS, is within TLS.
async fn encrypted(weir: &Weir) -> bool {
    let mut conn = connect(&weir.address, TESTER, None).await.unwrap();
    !text(&mut conn, CIPHER).await.is_empty()
}

/// Nobody gets in, and the log says why.
async fn unusable(weir: &Weir, why: &str) {
    until("the log to say why the server is not usable", async || {
        weir.log().contains("server is not usable")
    })
    .await;
    assert!(weir.log().contains(why), "{}", weir.log());
    let (code, _, message) = server_error(connect(&weir.address, TESTER, None).await.unwrap_err());
    assert_eq!(code, 1105);
    assert!(message.contains("no usable server"), "{message}");
}

/// A file of the primary's data directory.
fn file_of(cluster: &TestCluster, name: &str) -> String {
    let container = cluster.containers.first().expect("a cluster that these tests made");
    docker(&["exec", container, "cat", &format!("{DATA}/{name}")])
}

/// An authority, and its certificate in a file.
fn authority(path: &Path) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    fs::write(path, ca.pem()).unwrap();
    ca
}

/// The name that a client knows the primary by.
fn host(cluster: &TestCluster) -> &str {
    cluster.servers[0].split_once(':').unwrap().0
}

/// As rustls says it.
fn not_valid_for(name: &str) -> String {
    format!("certificate not valid for name \\\"{name}\\\"")
}

/// With the certificates that mysqld makes for itself: they name no host.
#[tokio::test]
async fn every_mode_with_a_servers_own_certificates() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    fs::write(&ca, file_of(cluster, "ca.pem")).unwrap();
    authority(&other);
    for (mode, ca, expected) in [
        ("off", None, false),
        ("preferred", None, true),
        ("required", None, true),
        ("verify-ca", Some(ca.as_path()), true),
    ] {
        let weir = with_mode(cluster, mode, ca);
        assert_eq!(encrypted(&weir).await, expected, "{mode}");
    }
    let wrong = with_mode(cluster, "verify-ca", Some(&other));
    let words = "TLS failed: invalid peer certificate: UnknownIssuer; the file of `tls_ca`";
    unusable(&wrong, words).await;
    let nameless = with_mode(cluster, "verify-identity", Some(&ca));
    unusable(&nameless, &not_valid_for(host(cluster))).await;
    unusable(&nameless, "give the server a certificate for the name in its `address`").await;
}

/// With certificates that an operator made: the name counts, and in that mode alone.
#[tokio::test]
async fn the_name_of_a_server_is_verified() {
    if direct() {
        return;
    }
    let cluster = TestCluster::breakable().await;
    let dir = tempfile::tempdir().unwrap();
    let ca_path = dir.path().join("ca.pem");
    let ca = authority(&ca_path);
    let mut root = cluster.root(0).await;
    for (name, right) in [(host(&cluster).to_owned(), true), ("db1.example".to_owned(), false)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.clone()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        for (file, content) in
            [("made-cert.pem", certificate.pem()), ("made-key.pem", key.serialize_pem())]
        {
            let path = dir.path().join(file);
            fs::write(&path, content).unwrap();
            let to = format!("{}:{DATA}/{file}", cluster.containers[0]);
            docker(&["cp", path.to_str().unwrap(), &to]);
        }
        for sql in [
            "SET GLOBAL ssl_cert = 'made-cert.pem'",
            "SET GLOBAL ssl_key = 'made-key.pem'",
            "ALTER INSTANCE RELOAD TLS",
        ] {
            run(&mut root, sql).await;
        }
        assert!(encrypted(&with_mode(&cluster, "verify-ca", Some(&ca_path))).await, "{name}");
        let weir = with_mode(&cluster, "verify-identity", Some(&ca_path));
        if right {
            assert!(encrypted(&weir).await, "{name}");
        } else {
            unusable(&weir, &not_valid_for(host(&cluster))).await;
        }
    }
    for sql in [
        "SET GLOBAL ssl_cert = 'server-cert.pem'",
        "SET GLOBAL ssl_key = 'server-key.pem'",
        "ALTER INSTANCE RELOAD TLS",
    ] {
        run(&mut root, sql).await;
    }
}

/// An account that the server lets in by TLS alone.
#[tokio::test]
async fn accounts_that_require_tls() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    cluster
        .on_primary(&[
            "DROP USER IF EXISTS tlsonly@'%'",
            "CREATE USER tlsonly@'%' IDENTIFIED BY 'tlsonly-secret' REQUIRE SSL",
        ])
        .await;
    let login = crate::support::client::Login { user: "tlsonly", password: "tlsonly-secret" };
    let required = with_mode(cluster, "required", None);
    let mut conn = connect(&required.address, login, None).await.unwrap();
    assert_eq!(refused(&mut conn, "SELECT * FROM mysql.user").await.0, 1142);
    let off = with_mode(cluster, "off", None);
    assert_eq!(server_error(connect(&off.address, login, None).await.unwrap_err()).0, 1045);
}
