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
use weir::cluster::State;

use super::ports::free_ports;
use super::wait::until;

/// How long a cluster may take to be whole again, the old primary included.
const WHOLE_LIMIT: Duration = Duration::from_secs(120);
/// How long one command that asks how it is may take.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// A cluster with a Weir that serves it; both are gone when the test ends.
pub(crate) struct Stage {
    dir: TempDir,
    pub(crate) name: String,
    pub(crate) port: u16,
    weir: Option<Arc<Mutex<Child>>>,
    /// Words at which Weir is killed as soon as they are in its log, once.
    pub(crate) trap: Arc<Mutex<Option<String>>>,
}

impl Stage {
    pub(crate) fn new(test: &str, settings: &str) -> Self {
        let pid = std::process::id();
        let name = format!("weirtest{pid}{test}");
        let dir = tempfile::tempdir().unwrap();
        // Weir's, and those of as many nodes as a test has at most.
        let port = free_ports(4);
        let base = port + 1;
        let text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n\
             [cluster]\nname = \"{name}\"\nport_base = {base}\nmemory_mb = 64\n{settings}"
        );
        std::fs::write(dir.path().join("proxy.toml"), text).unwrap();
        let mut stage = Self { dir, name, port, weir: None, trap: Arc::default() };
        stage.weir(&["cluster", "up"]);
        stage.serve();
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).arg("--config").arg(self.path("proxy.toml"));
        command
    }

    /// What the command prints.
    pub(crate) fn weir(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "weir {arguments:?}: {said}{}", self.log());
        String::from_utf8(done.stdout).unwrap()
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

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.weir(&["cluster", "status", "--json"])).unwrap()
    }

    pub(crate) fn primary(&self) -> String {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        let primary = nodes.iter().find(|node| node["role"] == "primary");
        primary.unwrap_or_else(|| panic!("{status}"))["name"].as_str().unwrap().to_owned()
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

    pub(crate) async fn through_weir(&self) -> Conn {
        let options = self.application().tcp_port(self.port);
        until(Duration::from_secs(30), "a login", async || Conn::new(options.clone()).await.ok())
            .await
    }

    /// Waits until nothing is left to do, and all servers have the same rows.
    pub(crate) async fn whole(&self) {
        let mut last = String::new();
        let started = Instant::now();
        until(WHOLE_LIMIT + ASK_LIMIT, &format!("{} to be whole", self.name), async || {
            assert!(started.elapsed() < WHOLE_LIMIT, "not whole:\n{last}\n{}", self.log());
            let done = self.command(&["cluster", "status", "--json"]).output().unwrap();
            last = String::from_utf8_lossy(&done.stdout).into_owned();
            let status: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
            let right = ["problems", "findings"]
                .iter()
                .all(|key| status[*key].as_array().is_some_and(Vec::is_empty));
            let running = status["nodes"].as_array()?.iter().all(|node| {
                node["role"] == "primary" || node["replication"]["behind_transactions"] == 0
            });
            (right && running).then_some(())
        })
        .await;
    }

    /// Ids of the rows of each server.
    pub(crate) async fn rows(&self) -> Vec<(String, Vec<u64>)> {
        let mut all = Vec::new();
        for node in self.status()["nodes"].as_array().unwrap() {
            let published = node["published"].as_str().unwrap();
            let port = published.rsplit(':').next().unwrap().parse().unwrap();
            let mut conn = Conn::new(self.application().tcp_port(port)).await.unwrap();
            let rows = conn.query("SELECT id FROM written ORDER BY id").await.unwrap();
            all.push((node["name"].as_str().unwrap().to_owned(), rows));
        }
        all
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.kill_weir();
        let _ = self.command(&["cluster", "destroy", "--yes"]).output();
    }
}
