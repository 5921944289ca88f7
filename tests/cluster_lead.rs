//! Two Weirs on one cluster, the second with a copy of the first's directory: one acts, and when it cannot any
//! more, the other.
//!
//! Needs an engine, the image and etcd (`make test` sees to them). What was acknowledged to a writer, through
//! either Weir, must be on every server at the end.

#![expect(clippy::print_stderr, reason = "how long it took, for the documentation")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure is the test's failure"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
/// Time enough for a Weir that may to replace a dead primary, twice over.
const QUIET: Duration = Duration::from_secs(6);
const FAILED_OVER: &str = "failed over";
const LEADS: &str = "this Weir leads the cluster";

/// A program that is gone when the test ends.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of two Weirs: its configuration, state directory and log are in a directory of its own.
struct Weir {
    directory: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Weir {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).arg("--config").arg(self.directory.join("proxy.toml"));
        command.env("WEIR_LOG", "info");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn serve(&mut self) {
        let log = self.directory.join("log");
        self.process = Some(Process::start(&mut self.command(&["serve"]), &log));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Waits until it has said it so often.
    async fn says(&self, words: &str, times: usize) {
        until(&format!("{words:?}, {times} times"), self, async || self.said(words) >= times).await;
    }

    fn status(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.run(&["cluster", "status", "--json"]).stdout).ok()
    }

    /// How often its state file says that the primary has moved.
    fn epoch(&self) -> u64 {
        let state = self.directory.join("state");
        let mut files = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
        let state: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        state["epoch"].as_u64().unwrap()
    }

    fn options(&self, port: u16) -> OptsBuilder {
        let text = std::fs::read_to_string(self.directory.join("state/client.cnf")).unwrap();
        let password = text.lines().find_map(|line| line.strip_prefix("password = \"")).unwrap();
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .prefer_socket(false)
            .user(Some("app"))
            .pass(Some(password.trim_end_matches('"').to_owned()))
            .db_name(Some("app"))
    }

    async fn client(&self) -> Conn {
        let started = Instant::now();
        loop {
            match Conn::new(self.options(self.port)).await {
                Ok(conn) => return conn,
                Err(error) => assert!(started.elapsed() < LIMIT, "{error}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The cluster and its two Weirs.
struct Pair {
    a: Weir,
    b: Weir,
    name: String,
    _dir: TempDir,
}

impl Pair {
    /// Both serve, and the first leads.
    async fn new(test: &str, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("weirlead{}{test}", std::process::id());
        let cluster = format!(
            "[cluster]\nname = \"{name}\"\nreplicas = 1\nmemory_mb = 64\nfailover_seconds = 1\n\
             port_base = {}\n{settings}",
            free_ports(3)
        );
        let weir = |letter: &str| {
            let (directory, port) = (dir.path().join(letter), free_ports(1));
            std::fs::create_dir(&directory).unwrap();
            let text =
                format!("[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n{cluster}");
            std::fs::write(directory.join("proxy.toml"), text).unwrap();
            Weir { directory, port, process: None }
        };
        let mut pair = Self { a: weir("a"), b: weir("b"), name, _dir: dir };
        let up = pair.a.run(&["cluster", "up"]);
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let copied = Command::new("cp")
            .arg("-r")
            .args([pair.a.directory.join("state"), pair.b.directory.join("state")])
            .status();
        assert!(copied.unwrap().success());
        pair.a.serve();
        pair.a.says(LEADS, 1).await;
        pair.b.serve();
        pair.b.says("leads the cluster; this one changes nothing", 1).await;
        pair
    }

    fn primary(&self) -> Option<String> {
        let status = self.b.status()?;
        let nodes = status["nodes"].as_array()?;
        let primary = nodes.iter().find(|node| node["role"] == "primary")?;
        Some(primary["name"].as_str()?.to_owned())
    }

    /// The primary's container is removed; its name.
    fn behead(&self) -> String {
        let primary = self.primary().unwrap();
        docker(&["rm", "-f", &primary]);
        primary
    }

    /// Waits until nothing is left to do.
    async fn whole(&self) {
        until("nothing to be left to do", &self.b, async || {
            let Some(status) = self.b.status() else { return false };
            let done = status["problems"].as_array().is_some_and(Vec::is_empty);
            let nodes = status["nodes"].as_array().unwrap();
            done && nodes.iter().all(|node| {
                node["role"] == "primary" || node["replication"]["behind_transactions"] == 0
            })
        })
        .await;
    }

    /// Every acknowledged row is on every server, and both have the same.
    async fn check_rows(&self, acknowledged: &[u64]) {
        self.whole().await;
        let mut all = Vec::new();
        for node in self.b.status().unwrap()["nodes"].as_array().unwrap() {
            let published = node["published"].as_str().unwrap();
            let port = published.rsplit(':').next().unwrap().parse().unwrap();
            let mut conn = Conn::new(self.b.options(port)).await.unwrap();
            let rows: Vec<u64> = conn.query("SELECT id FROM written ORDER BY id").await.unwrap();
            let lost: Vec<_> =
                acknowledged.iter().filter(|id| rows.binary_search(id).is_err()).collect();
            assert!(lost.is_empty(), "{} lacks {lost:?}", node["name"]);
            all.push(rows);
        }
        assert_eq!(all[0], all[1]);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        (self.a.process, self.b.process) = (None, None);
        let _ = self.a.run(&["cluster", "destroy", "--yes"]);
        // Whatever a test that failed left in the way of that, such as a lock that etcd keeps.
        let label = format!("label=dev.weir.cluster={}", self.name);
        let filter = ["--filter", label.as_str()];
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f"][..]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
        ] {
            let found = Command::new("docker").args(list).args(filter).output().unwrap();
            for id in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                let _ = Command::new("docker").args(remove).arg(id).output();
            }
        }
    }
}

/// Writes rows through one Weir until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    /// Ids are `parity` and every second number from there.
    async fn start(weir: &Weir, parity: u64) -> Self {
        let table = "CREATE TABLE IF NOT EXISTS written (id BIGINT PRIMARY KEY)";
        weir.client().await.query_drop(table).await.unwrap();
        let (stop, acknowledged) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (options, stopped, noted) =
            (weir.options(weir.port), Arc::clone(&stop), Arc::clone(&acknowledged));
        let task = tokio::spawn(async move {
            let mut conn: Option<Conn> = None;
            let mut id = parity;
            while !stopped.load(Ordering::Relaxed) {
                id += 2;
                let written = async {
                    if conn.is_none() {
                        conn = Some(Conn::new(options.clone()).await?);
                    }
                    conn.as_mut().unwrap().exec_drop("INSERT INTO written VALUES (?)", (id,)).await
                };
                // A Weir that stands still answers nothing.
                match tokio::time::timeout(Duration::from_secs(20), written).await {
                    Ok(Ok(())) => noted.lock().unwrap().push(id),
                    _ => conn = None,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { stop, acknowledged, task }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn goes_on(&self, weir: &Weir) {
        let before = self.count();
        until("writes to be acknowledged", weir, async || self.count() > before + 5).await;
    }

    async fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.acknowledged.lock().unwrap().clone()
    }
}

/// An etcd of its own.
struct Etcd {
    directory: TempDir,
    ports: u16,
    process: Option<Process>,
}

impl Etcd {
    fn start() -> Self {
        let mut etcd =
            Self { directory: tempfile::tempdir().unwrap(), ports: free_ports(2), process: None };
        etcd.again();
        etcd
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports)
    }

    fn again(&mut self) {
        let peers = format!("http://127.0.0.1:{}", self.ports + 1);
        let mut command = Command::new("etcd");
        command.args(["--data-dir", self.directory.path().join("data").to_str().unwrap()]);
        command.args(["--listen-client-urls", &self.address()]);
        command.args(["--advertise-client-urls", &self.address()]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        self.process = Some(Process::start(&mut command, &self.directory.path().join("log")));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.ports)).is_err() {
            assert!(started.elapsed() < LIMIT, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

async fn until(what: &str, weir: &Weir, mut ask: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !ask().await {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} for {what}\n{}", weir.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn docker(arguments: &[&str]) {
    let done = Command::new("docker").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The first of so many free ports in a row.
fn free_ports(count: u16) -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let all =
            (0..count).all(|n| TcpListener::bind(("127.0.0.1", first.saturating_add(n))).is_ok());
        if all && first < 60_000 {
            return first;
        }
    }
}

/// The primary dies: the first acts and the second does not. Then the first dies.
async fn one_acts_then_the_other(pair: &Pair) -> Vec<u64> {
    let refused = pair.b.run(&["cluster", "switchover"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let leader = pair.a.directory.display().to_string();
    assert!(!refused.status.success() && said.contains(&leader), "{said}");
    assert_eq!(pair.b.status().unwrap()["leads"], false);
    assert_eq!(pair.a.status().unwrap()["leads"], true);
    let (through_a, through_b) = (Writer::start(&pair.a, 0).await, Writer::start(&pair.b, 1).await);
    pair.behead();
    through_a.goes_on(&pair.a).await;
    through_b.goes_on(&pair.b).await;
    pair.whole().await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 0), "{}", pair.b.log());
    until("both to know", &pair.b, async || (pair.a.epoch(), pair.b.epoch()) == (1, 1)).await;
    let mut all = through_a.finish().await;
    all.extend(through_b.finish().await);
    all
}

/// Kept by the engine: when the Weir that leads is killed, the other leads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_the_engine_lets_one_act() {
    let mut pair = Pair::new("e", "").await;
    let mut all = one_acts_then_the_other(&pair).await;
    let killed = Instant::now();
    pair.a.process = None;
    pair.b.says(LEADS, 1).await;
    eprintln!("the other Weir led {:.1} s after the kill", killed.elapsed().as_secs_f64());
    let writer = Writer::start(&pair.b, 1_000_000).await;
    pair.behead();
    writer.goes_on(&pair.b).await;
    pair.b.says(FAILED_OVER, 1).await;
    all.extend(writer.finish().await);
    pair.check_rows(&all).await;
    // A third with the first one's file, which has missed all of that, knows who the primary is.
    assert_eq!((pair.a.epoch(), pair.b.epoch()), (1, 2));
    pair.b.process = None;
    pair.a.serve();
    pair.a.says(LEADS, 2).await;
    until("the first to learn", &pair.a, async || pair.a.epoch() == 2).await;
}

/// Kept by etcd: also one that stands still is replaced, and does nothing when it wakes; without etcd nobody acts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_etcd_lets_one_act() {
    let mut etcd = Etcd::start();
    let settings =
        format!("leadership = \"etcd\"\nlease_seconds = 2\netcd = [\"{}\"]\n", etcd.address());
    let pair = Pair::new("c", &settings).await;
    let mut all = one_acts_then_the_other(&pair).await;
    let stopped = Instant::now();
    pair.a.process.as_ref().unwrap().signal("-STOP");
    pair.b.says(LEADS, 1).await;
    eprintln!("the other Weir led {:.1} s after the stop", stopped.elapsed().as_secs_f64());
    let writer = Writer::start(&pair.b, 1_000_000).await;
    pair.behead();
    pair.b.says(FAILED_OVER, 1).await;
    writer.goes_on(&pair.b).await;
    pair.a.process.as_ref().unwrap().signal("-CONT");
    pair.a.says("leads the cluster; this one changes nothing", 1).await;
    pair.whole().await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 1), "{}", pair.a.log());

    etcd.process = None;
    pair.b.says("this Weir cannot lead, and changes nothing", 1).await;
    let dead = pair.behead();
    tokio::time::sleep(QUIET).await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 1), "{}", pair.b.log());
    assert_eq!(pair.primary(), None);
    let mut conn = pair.b.client().await;
    let rows: Option<u64> = conn.query_first("SELECT COUNT(*) FROM written").await.unwrap();
    assert!(rows.unwrap() > 0);
    drop(conn);
    etcd.again();
    writer.goes_on(&pair.b).await;
    all.extend(writer.finish().await);
    pair.check_rows(&all).await;
    assert_ne!(pair.primary().unwrap(), dead);
    assert_eq!(pair.a.said(FAILED_OVER) + pair.b.said(FAILED_OVER), 3);
}
