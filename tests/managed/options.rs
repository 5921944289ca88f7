//! Where data lives, which options a node runs with, and an engine behind TLS, on a real Docker Engine.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, UnixStream};
use weir::cluster::{self, Change, ClusterError, ClusterView, NodeView, Silent, Step, Which};
use weir::config::{Cluster, Config, Data, ServerTlsMode};
use weir::topology::Role;

use crate::docker::{docker, engine_socket};
use crate::greeting::greets;
use crate::managed::Fixture;
use crate::recorder::Recorder;
use crate::roles::node;
use crate::stage::Stage;
use crate::wait::until_or_show;

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Fixture {
    /// What a run of `up` that changes nothing tells.
    async fn notes(&self) -> Vec<String> {
        let recorder = Recorder::with_budget(u32::MAX);
        cluster::up(&self.wanted, self.state_dir(), &recorder).await.unwrap();
        recorder.notes.into_inner().unwrap()
    }

    async fn restart(&self, number: u32) -> Result<ClusterView, ClusterError> {
        let which = Which::Named(self.name(number));
        let traffic = cluster::NoTraffic;
        cluster::restart(&self.wanted, self.state_dir(), &which, &traffic, &Silent).await
    }

    async fn ask(&self, node: &NodeView, query: &str) -> String {
        let mut root = self.root(node).await;
        root.query_first(query).await.unwrap().unwrap()
    }

    /// Rows of a table that replicas get; asked of a replica once it has what the primary has.
    async fn rows(&self, view: &ClusterView) -> Vec<String> {
        let primary = node(view, Role::Primary);
        let executed = self.ask(primary, "SELECT @@global.gtid_executed").await;
        let mut all = Vec::new();
        for node in &view.nodes {
            let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30)");
            assert_eq!(self.ask(node, &wait).await, "0");
            all.push(self.ask(node, "SELECT GROUP_CONCAT(v) FROM app.t").await);
        }
        all
    }
}

#[track_caller]
fn says(result: Result<ClusterView, ClusterError>, words: &[&str]) {
    let error = result.map(|_| ()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error:?}");
    }
}

/// A command of root's in a folder of the host, which the test may not look into itself.
fn in_folder(fixture: &Fixture, base: &Path, command: &str) -> String {
    let mount = format!("{}:/weir", base.display());
    let image = fixture.wanted.image.as_str();
    docker(&["run", "--rm", "--user=0", "--entrypoint=bash", "-v", &mount, image, "-c", command])
}

#[tokio::test]
async fn data_in_a_folder_then_in_the_container() {
    let mut fixture = Fixture::new("data", 1);
    let base = fixture.state_dir().join("disk");
    fixture.wanted = configured(&fixture, &base);
    folders_are_looked_at(&fixture, &base).await;
    let view = fixture.up().await.unwrap();
    options_arrived(&fixture, &view).await;
    let primary = &view.nodes[0];
    let mut root = fixture.root(primary).await;
    root.query_drop("CREATE TABLE app.t (v INT PRIMARY KEY AUTO_INCREMENT)").await.unwrap();
    root.query_drop("INSERT INTO app.t VALUES ()").await.unwrap();
    drop(root);

    // Down and up: the same data, unless it is somebody else's by then.
    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={}", fixture.wanted.name)]), "");
    let stolen = format!("chown 12345 /weir/{}/data/auto.cnf", fixture.name(1));
    in_folder(&fixture, &base, &stolen);
    says(fixture.up().await, &["auto.cnf belongs to user 12345", "user 999", "chown -R 999:999"]);
    in_folder(&fixture, &base, &stolen.replace("12345", "mysql"));
    let moved = fixture.state_dir().join("elsewhere");
    std::fs::rename(&base, &moved).unwrap();
    std::fs::create_dir(&base).unwrap();
    says(fixture.up().await, &["not there any more", "Mount the disk"]);
    std::fs::remove_dir(&base).unwrap();
    std::fs::rename(&moved, &base).unwrap();
    let view = fixture.up().await.unwrap();
    assert_eq!(fixture.rows(&view).await, ["1", "1"]);

    let view = Box::pin(moves_into_the_container(&mut fixture, &base, &view)).await;
    Box::pin(containers_with_data_stay(&mut fixture, &view)).await;
    Box::pin(failover_keeps_the_container(&fixture)).await;

    let listed = cluster::inventory(&fixture.wanted, fixture.state_dir()).await.unwrap().join("\n");
    let folder = format!("folder {}", base.join(fixture.name(1)).display());
    assert!(listed.contains(&format!("{folder}, with its data")), "{listed}");
    assert!(listed.contains(&format!("container {}, with its data", fixture.name(2))), "{listed}");
    let removed = cluster::destroy(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    assert!(removed.contains(&folder), "{removed:?}");
    // The folder itself is the operator's, and so is what was there before.
    assert_eq!(in_folder(&fixture, &base, "ls -A /weir"), "mine");
}

/// The cluster as an operator writes it down.
fn configured(fixture: &Fixture, base: &Path) -> Cluster {
    let dir = fixture.state_dir();
    let file = "[client]\nport = 1\n[mysqld]\nmax_connections = 77 # enough\ncollation-server = latin1_bin\n\
                character-set-server = latin1\n";
    std::fs::write(dir.join("my.cnf"), file).unwrap();
    let own = "auto_increment_offset = 2\nreplica_skip_errors = 1062";
    let text = text(fixture, base.to_str().unwrap(), own);
    let env = |_: &str| None;
    Config::from_toml_str(&text, "proxy.toml", dir, &env).unwrap().cluster.unwrap()
}

/// `[cluster]` with these options of node 2.
fn text(fixture: &Fixture, data: &str, own: &str) -> String {
    let Cluster { name, image, port_base, .. } = &fixture.wanted;
    format!(
        "[cluster]\nname = {name:?}\nimage = {image:?}\nport_base = {port_base}\nreplicas = 1\nmemory_mb = 64\n\
         data = {data:?}\noption_file = \"my.cnf\"\nsemi_sync_timeout_ms = 4000\napplier_workers = 3\n\
         failover_seconds = 0.5\n[cluster.options]\nauto_increment_increment = 2\n\
         [cluster.node.2.options]\n{own}\n"
    )
}

/// Nothing is made where it does not belong, and nobody's folder is taken.
async fn folders_are_looked_at(fixture: &Fixture, base: &Path) {
    says(fixture.up().await, &["it is not there", "mkdir -p"]);
    std::fs::create_dir_all(base.join("mine")).unwrap();
    let node = base.join(fixture.name(1));
    std::fs::create_dir(&node).unwrap();
    std::fs::write(node.join("auto.cnf"), "[auto]\nserver-uuid=12-34\n").unwrap();
    says(fixture.up().await, &["server_uuid 12-34", "Weir did not make", "not touched"]);
    std::fs::write(node.join(".weir"), "cluster=other\nmade=yes\n").unwrap();
    says(fixture.up().await, &["cluster \"other\"", "not touched"]);
    std::fs::remove_dir_all(&node).unwrap();
    let mut wrong = fixture.wanted.clone();
    wrong.nodes.entry(2).or_default().options = vec![("no_such".to_owned(), "1".to_owned())];
    let refused = cluster::up(&wrong, fixture.state_dir(), &Silent).await;
    says(refused, &["unknown variable 'no_such=1'", "no_such in [cluster.node.2.options]"]);
    // Nothing was made by any of that.
    assert_eq!(in_folder(fixture, base, "ls -A /weir"), "mine");
}

async fn options_arrived(fixture: &Fixture, view: &ClusterView) {
    let query = "SELECT CONCAT_WS(' ', @@max_connections, @@collation_server, @@auto_increment_increment, \
                 @@auto_increment_offset, @@replica_parallel_workers, @@replica_preserve_commit_order, \
                 @@rpl_semi_sync_source_timeout, @@datadir)";
    assert_eq!(
        fixture.ask(&view.nodes[0], query).await,
        "77 latin1_bin 2 1 3 1 4000 /var/lib/mysql/"
    );
    assert_eq!(
        fixture.ask(&view.nodes[1], query).await,
        "77 latin1_bin 2 2 3 1 4000 /var/lib/mysql/"
    );
    let notes = fixture.notes().await;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("replica_skip_errors = 1062 in [cluster.node.2.options]:"));
    // Semi-sync limits are set without a restart.
    let mut more = fixture.wanted.clone();
    more.semi_sync_timeout = Duration::from_secs(9);
    let plan = cluster::preview(&more, fixture.state_dir()).await.unwrap();
    assert_eq!(plan.steps, [Step::LimitSemiSync(1), Step::LimitSemiSync(2)]);
}

/// Another place in the configuration moves nothing by itself; `replace` does, node by node.
async fn moves_into_the_container(
    fixture: &mut Fixture,
    base: &Path,
    before: &ClusterView,
) -> ClusterView {
    fixture.wanted.data = Data::Container;
    fixture.wanted.nodes.clear();
    let notes = fixture.notes().await.join("\n");
    for number in [1, 2] {
        assert!(notes.contains(&format!("replace {}", fixture.name(number))), "{notes}");
    }
    // What was for one node concerns that node alone.
    let outdated = notes.lines().filter(|note| note.contains("other options"));
    assert_eq!(outdated.count(), 1, "{notes}");
    let name = fixture.name(2);
    let (dir, change) = (fixture.state_dir(), Change::Replace);
    let lost = cluster::losses(&fixture.wanted, dir, change, &name).await.unwrap();
    assert_eq!(lost[1], format!("folder {}, with its data", base.join(&name).display()));
    let view = cluster::change(&fixture.wanted, dir, change, &name, &Silent).await.unwrap();
    assert_eq!(view.nodes[0].container_id, before.nodes[0].container_id);
    assert_eq!(fixture.ask(&view.nodes[1], "SELECT @@datadir").await, "/var/lib/weir-data/");
    assert_eq!(in_folder(fixture, base, "ls /weir"), format!("mine\n{}", fixture.name(1)));
    assert_eq!(fixture.rows(&view).await, ["1", "1"]);
    view
}

/// A container that holds data is never removed but for a new copy of it.
async fn containers_with_data_stay(fixture: &mut Fixture, before: &ClusterView) {
    let name = fixture.name(2);
    // As failover fences it: out of the network, killed.
    docker(&["network", "disconnect", "-f", &fixture.wanted.name, &name]);
    docker(&["kill", &name]);
    let view = fixture.up().await.unwrap();
    assert_eq!(view.nodes[1].container_id, before.nodes[1].container_id);
    assert_eq!(view.nodes[1].server.address, before.nodes[1].server.address);
    cluster::down(&fixture.wanted, fixture.state_dir(), &Silent).await.unwrap();
    assert_eq!(
        docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("name={}", fixture.wanted.name)]),
        before.nodes[1].container_id
    );
    let view = fixture.up().await.unwrap();
    assert_eq!(view.nodes[1].container_id, before.nodes[1].container_id);
    assert_eq!(fixture.rows(&view).await, ["1", "1"]);
    // Other options: it is made anew and gets the data again.
    let options = vec![("max_connections".to_owned(), "78".to_owned())];
    fixture.wanted.nodes.entry(2).or_default().options = options;
    let view = fixture.restart(2).await.unwrap();
    assert_ne!(view.nodes[1].container_id, before.nodes[1].container_id);
    assert_eq!(fixture.ask(&view.nodes[1], "SELECT @@max_connections").await, "78");
    assert_eq!(fixture.rows(&view).await, ["1", "1"]);
}

/// The data of the old primary goes with its container, so that is fenced without being removed.
async fn failover_keeps_the_container(fixture: &Fixture) {
    let (dir, name) = (fixture.state_dir(), fixture.name(2));
    cluster::switchover_alone(&fixture.wanted, dir, Some(&name), &Silent).await.unwrap();
    let before = cluster::observe(&fixture.wanted, dir).await.unwrap();
    assert_eq!(before.nodes[1].role, Role::Primary);
    let port = fixture.wanted.port_base + 9;
    let cluster = text(fixture, "container", "max_connections = 78");
    let text = format!(
        "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \".\"\nworkers = 1\n[monitor]\ntimeout_ms = 300\n\
         {cluster}"
    );
    std::fs::write(dir.join("proxy.toml"), text).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["serve", "--config"]).arg(dir.join("proxy.toml")).env("WEIR_LOG", "info");
    let mut weir = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let log = || std::fs::read_to_string(dir.join("log")).unwrap();
    until_or_show(PATIENCE, "Weir to serve", log, async || {
        greets(&format!("127.0.0.1:{port}")).then_some(())
    })
    .await;
    docker(&["pause", &name]);
    until_or_show(PATIENCE, "node 1 to lead", log, async || {
        let view = cluster::observe(&fixture.wanted, dir).await.unwrap();
        let leads = view.problems.is_empty()
            && view.nodes[0].role == Role::Primary
            && view.nodes[1].container_id == before.nodes[1].container_id
            && view.nodes[1].replication.is_some();
        leads.then_some(())
    })
    .await;
    weir.kill().unwrap();
    weir.wait().unwrap();
    assert!(log().contains("failed over"), "{}", log());
    let view = fixture.up().await.unwrap();
    assert_eq!(view.nodes[1].container_id, before.nodes[1].container_id);
    assert_eq!(fixture.rows(&view).await, ["1", "1"]);
}

/// The engine of this host as one on another: by TCP with TLS, at an address that is no loopback. Weir speaks TLS to the
/// servers then, also to one that was added while it served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_elsewhere_behind_tls() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(dir.path());
    let address = serve_engine(&certificates).await;
    let settings = format!("replicas = 0\ndocker_host = \"tcp://{address}\"\n");
    let mut stage = Stage::configured("tls", &settings);
    let file = stage.path("proxy.toml");
    let without = std::fs::read_to_string(&file).unwrap();
    let silent = |stage: &Stage| {
        let said = stage.refused(&["cluster", "up"]);
        assert!(said.contains("does not answer at tcp://"), "{said}");
    };
    silent(&stage);
    let with = |who: &str| format!("{without}{}", certificates.section(who));
    std::fs::write(&file, with("stranger")).unwrap();
    silent(&stage);
    std::fs::write(&file, with("weir")).unwrap();
    stage.weir(&["cluster", "up"]);
    let view = stage.view().unwrap();
    let node = &view.nodes[0];
    assert_eq!(node.published.ip(), address.ip());
    assert_eq!(node.server.address, node.published.to_string());
    assert_eq!(node.server.tls.mode, ServerTlsMode::Required);
    assert_eq!(node.role, Role::Primary);
    assert!(view.problems.is_empty(), "{:?}", view.problems);
    let root: Option<String> =
        stage.root(&node.name).await.query_first("SELECT CURRENT_USER()").await.unwrap();
    assert_eq!(root.as_deref(), Some("root@%"));

    stage.serve();
    let mut conn = stage.through_weir().await;
    let cipher = "SHOW SESSION STATUS LIKE 'Ssl_cipher'";
    let (_, cipher): (String, String) = conn.query_first(cipher).await.unwrap().unwrap();
    assert_ne!(cipher, "", "Weir speaks to its server in clear");
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    std::fs::write(&file, with("weir").replace("replicas = 0", "replicas = 1")).unwrap();
    stage.weir(&["cluster", "up"]);
    // Its upper byte is the server's id.
    let reader = "SELECT UUID_SHORT() >> 56 FROM t";
    let first: Option<u64> =
        stage.root(&node.name).await.query_first(reader.replace(" FROM t", "")).await.unwrap();
    until_or_show(
        PATIENCE,
        "a read from the added replica",
        || stage.log(),
        async || {
            let id: Option<u64> = conn.query_first(reader).await.unwrap();
            (id != first).then_some(())
        },
    )
    .await;
}

/// An authority with what it signed, and one that nobody knows.
struct Certificates {
    dir: PathBuf,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    ca: CertificateDer<'static>,
}

impl Certificates {
    fn new(dir: &Path) -> Self {
        let authority = || {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            (params.self_signed(&key).unwrap(), rcgen::Issuer::new(params, key))
        };
        let (ca, issuer) = authority();
        let (_, unknown) = authority();
        std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        let make = |name: &str, issuer: &rcgen::Issuer<'_, rcgen::KeyPair>| {
            let names = vec![own_address().to_string()];
            let params = rcgen::CertificateParams::new(names).unwrap();
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, issuer).unwrap();
            std::fs::write(dir.join(format!("{name}-cert.pem")), cert.pem()).unwrap();
            std::fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
            (cert.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        };
        make("weir", &issuer);
        make("stranger", &unknown);
        let server = make("engine", &issuer);
        Self { dir: dir.to_owned(), server, ca: ca.der().clone() }
    }

    /// Of a configuration, to show oneself to the engine as `name`.
    fn section(&self, name: &str) -> String {
        let dir = self.dir.display();
        format!(
            "[cluster.docker_tls]\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/{name}-cert.pem\"\n\
             key = \"{dir}/{name}-key.pem\"\n"
        )
    }
}

/// This host's address on the way to others; nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

/// Passes what comes by TLS from those who show a certificate on to the engine's socket.
async fn serve_engine(certificates: &Certificates) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificates.ca.clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (cert, key) = &certificates.server;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![cert.clone()], key.clone_key())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let _passing = tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut engine = UnixStream::connect(engine_socket()).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut stream, &mut engine).await;
            });
        }
    });
    address
}
