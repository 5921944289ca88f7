//! A managed cluster behind a Weir that serves, made and asked by the program itself, as by an operator.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;
use tokio::runtime::Builder;
use weir::cluster::{self, ClusterError, ClusterView, State};
use weir::config::Config;
use weir::topology::Role;

use super::autopsy::autopsy;
use super::docker::base_image;
use super::ports::free_ports;
use super::quick;
use super::wait::{until, until_or_show};

/// How long a cluster may take to be whole again, the old primary included.
const WHOLE_LIMIT: Duration = Duration::from_secs(120);
/// How long Weir may take to let a client in.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// How long one command that asks how it is may take.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// A cluster with a Weir that serves it; both are gone when the test ends.
pub(crate) struct Stage {
    dir: TempDir,
    pub(crate) name: String,
    pub(crate) port: u16,
    /// The one that serves.
    pub(crate) weir: Option<Arc<Mutex<Child>>>,
    /// Words at which Weir is killed as soon as they are in its log, once.
    pub(crate) trap: Arc<Mutex<Option<String>>>,
    /// The cluster is another's, and stays.
    guest: bool,
}

impl Stage {
    pub(crate) fn new(test: &str, settings: &str) -> Self {
        let mut stage = Self::configured(test, settings);
        stage.weir(&["cluster", "up"]);
        stage.serve();
        stage
    }

    /// Nothing is made yet, and nothing serves. `settings` go on where `[cluster]` ends; the servers' options are last.
    pub(crate) fn configured(test: &str, settings: &str) -> Self {
        let pid = std::process::id();
        let name = format!("weirtest{pid}{test}");
        // Weir's, and those of as many nodes as a test has at most.
        let port = free_ports(4);
        let base = port + 1;
        let image = match settings.contains("image = ") {
            true => String::new(),
            false => format!("image = {:?}\n", base_image()),
        };
        let text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n\
             [cluster]\nname = \"{name}\"\n{image}port_base = {base}\nmemory_mb = 64\n{settings}{}",
            quick::options()
        );
        Self::with_file(name, port, &text)
    }

    /// Of a cluster of that name, with a configuration that has Weir listen at `port`.
    pub(crate) fn with_file(name: String, port: u16, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("proxy.toml"), text).unwrap();
        Self { dir, name, port, weir: None, trap: Arc::default(), guest: false }
    }

    /// Another Weir on the same cluster, with a copy of this one's directory and a port of its own; it does not serve
    /// yet. The cluster stays when it ends.
    pub(crate) fn second(&self) -> Self {
        let port = free_ports(0);
        let listens = |port: u16| format!("listen = \"127.0.0.1:{port}\"\n");
        let text = std::fs::read_to_string(self.path("proxy.toml")).unwrap();
        let text = text.replace(&listens(self.port), &listens(port));
        let mut second = Self::with_file(self.name.clone(), port, &text);
        second.guest = true;
        let (from, to) = (self.path("state"), second.path("state"));
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        second
    }

    /// Of a configuration that wants one; it takes a `weir cluster up`.
    pub(crate) fn want_two_replicas(&self) {
        let path = self.path("proxy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("replicas = 1", "replicas = 2")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).arg("--config").arg(self.path("proxy.toml"));
        // It would go before what the file says.
        command.env_remove("WEIR_MYSQL_IMAGE");
        command
    }

    /// What the command prints.
    pub(crate) fn weir(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "weir {arguments:?}: {said}{}", self.log());
        String::from_utf8(done.stdout).unwrap()
    }

    /// What the command complains of.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        assert!(!done.status.success(), "weir {arguments:?} was not refused");
        String::from_utf8(done.stderr).unwrap()
    }

    pub(crate) fn serve(&mut self) {
        let mut log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.env("WEIR_LOG", "info,weir::cluster=debug");
        let mut weir = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(weir.stderr.take().unwrap());
        let weir = Arc::new(Mutex::new(weir));
        self.weir = Some(Arc::clone(&weir));
        let trap = Arc::clone(&self.trap);
        std::thread::spawn(move || {
            for line in said.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if trap.lock().unwrap().take_if(|words| line.contains(words.as_str())).is_some() {
                    weir.lock().unwrap().kill().unwrap();
                }
                writeln!(log, "{line}").unwrap();
            }
        });
    }

    /// As a power cut would: without a word.
    pub(crate) fn kill_weir(&mut self) {
        if let Some(weir) = self.weir.take() {
            let mut weir = weir.lock().unwrap();
            let _was_gone = weir.kill();
            weir.wait().unwrap();
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Moves the primary, and for how long that held writes, in milliseconds.
    pub(crate) fn switch(&self, arguments: &[&str]) -> u64 {
        let said = self.weir(&[&["cluster", "switchover"], arguments].concat());
        assert!(said.starts_with("the primary is "), "{said}");
        said.trim_end().rsplit(' ').nth(1).unwrap().parse().unwrap()
    }

    /// For how long the moves that other Weirs made held writes here, in milliseconds.
    pub(crate) fn held_by_others(&self) -> Vec<u64> {
        let log = self.log();
        let moves = log.split("another Weir moved the primary; writes were held for ").skip(1);
        let held = moves.map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
        held.collect()
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.weir(&["cluster", "status", "--json"])).unwrap()
    }

    /// How the cluster is, as the library sees it: without what costs a program in every container.
    pub(crate) fn view(&self) -> Result<ClusterView, ClusterError> {
        let env = |name: &str| std::env::var(name).ok().filter(|_| name != "WEIR_MYSQL_IMAGE");
        let cluster = Config::load(&self.path("proxy.toml"), &env).unwrap().cluster.unwrap();
        let dir = self.path("state");
        // Callers are within a runtime already.
        let asks = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(cluster::observe(&cluster, &dir))
        });
        asks.join().unwrap()
    }

    pub(crate) fn primary(&self) -> String {
        let view = self.view().unwrap();
        let primary = view.nodes.iter().find(|node| node.role == Role::Primary);
        primary.unwrap_or_else(|| panic!("{view:?}")).name.clone()
    }

    pub(crate) fn replicas(&self) -> Vec<String> {
        let nodes = self.view().unwrap().nodes.into_iter();
        nodes.filter(|node| node.role == Role::Replica).map(|node| node.name).collect()
    }

    /// Where a node is published.
    pub(crate) fn port_of(&self, node: &str) -> u16 {
        self.port + node.rsplit('-').next().unwrap().parse::<u16>().unwrap()
    }

    /// With the generated passwords.
    pub(crate) fn state(&self) -> State {
        State::load(&self.path("state"), &self.name).unwrap().unwrap()
    }

    pub(crate) fn application(&self) -> OptsBuilder {
        let state = self.state();
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .prefer_socket(false)
            .user(Some("app"))
            .pass(Some(state.application.expose()))
            .db_name(Some("app"))
    }

    /// As root on one node, past Weir.
    pub(crate) async fn root(&self, node: &str) -> Conn {
        let password = self.state().root.expose().to_owned();
        let options = self.application().user(Some("root")).pass(Some(password));
        let options = options.db_name(None::<String>).tcp_port(self.port_of(node));
        Conn::new(options).await.unwrap()
    }

    pub(crate) async fn through_weir(&self) -> Conn {
        let options = self.application().tcp_port(self.port);
        until_or_show(
            LOGIN_LIMIT,
            "a login",
            || self.log(),
            async || Conn::new(options.clone()).await.ok(),
        )
        .await
    }

    /// Waits until nothing is left to do, and all servers have the same rows; nobody may write meanwhile.
    pub(crate) async fn whole(&self) {
        self.settled(&["problems", "findings"], |_| true).await;
    }

    /// Waits until these lists of the status are empty, and no replica lacks what the primary has, and each
    /// one's replication is as `right` wants it. While clients write there are findings: servers are looked
    /// at one after the other.
    pub(crate) async fn settled(&self, lists: &[&str], right: impl Fn(&serde_json::Value) -> bool) {
        let mut last = String::new();
        let started = Instant::now();
        until(WHOLE_LIMIT + ASK_LIMIT, &format!("{} to be whole", self.name), async || {
            assert!(started.elapsed() < WHOLE_LIMIT, "not whole:\n{last}\n{}", self.log());
            // What costs less is asked first.
            let seen = self.view().map(|view| view.problems);
            if !seen.as_ref().is_ok_and(Vec::is_empty) {
                last = format!("{seen:?}");
                return None;
            }
            let done = self.command(&["cluster", "status", "--json"]).output().unwrap();
            last = String::from_utf8_lossy(&done.stdout).into_owned();
            let status: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
            let quiet =
                lists.iter().all(|list| status[*list].as_array().is_some_and(Vec::is_empty));
            let running = status["nodes"].as_array()?.iter().all(|node| {
                let replication = &node["replication"];
                let follows = replication["behind_transactions"] == 0 && right(replication);
                node["role"] == "primary" || follows
            });
            (quiet && running).then_some(())
        })
        .await;
    }

    /// Ids of the rows of each server.
    pub(crate) async fn rows(&self) -> Vec<(String, Vec<u64>)> {
        let mut all = Vec::new();
        for node in self.view().unwrap().nodes {
            let port = node.published.port();
            let mut conn = Conn::new(self.application().tcp_port(port)).await.unwrap();
            let rows = conn.query("SELECT id FROM written ORDER BY id").await.unwrap();
            all.push((node.name, rows));
        }
        all
    }

    /// Every acknowledged row is on every server, and all servers have the same, in every table.
    pub(crate) async fn check_rows(&self, acknowledged: &[u64]) {
        let servers = self.rows().await;
        for (name, rows) in &servers {
            let missing: Vec<_> =
                acknowledged.iter().filter(|id| rows.binary_search(id).is_err()).collect();
            assert!(missing.is_empty(), "{name} lacks {missing:?}\n{}", self.log());
            assert_eq!(rows, &servers[0].1, "{name} differs from {}\n{}", servers[0].0, self.log());
        }
        let mut sums = Vec::new();
        for node in self.view().unwrap().nodes {
            sums.push((self.checksums(node.published.port()).await, node.name));
        }
        for (of_tables, name) in &sums {
            assert_eq!(of_tables, &sums[0].0, "{name} differs from {}", sums[0].1);
        }
    }

    /// CHECKSUM TABLE of all tables of the application, as the server published there has them.
    async fn checksums(&self, port: u16) -> Vec<(String, Option<u64>)> {
        let mut conn = Conn::new(self.application().tcp_port(port)).await.unwrap();
        let tables = "SELECT CONCAT('app.`', table_name, '`') FROM information_schema.tables WHERE \
                      table_schema = 'app' ORDER BY 1";
        let tables: Vec<String> = conn.query(tables).await.unwrap();
        assert!(!tables.is_empty(), "no tables at {port}");
        conn.query(format!("CHECKSUM TABLE {}", tables.join(", "))).await.unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.guest {
            let state = State::load(&self.path("state"), &self.name).ok().flatten();
            eprintln!("{}", autopsy(&self.name, state.as_ref()));
        }
        self.kill_weir();
        if !self.guest {
            let _ = self.command(&["cluster", "destroy", "--yes"]).output();
        }
    }
}
