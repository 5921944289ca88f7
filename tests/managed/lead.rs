//! Two Weirs on one cluster, the second with a copy of the first's directory: one acts, and when it cannot any
//! more, the other.
//!
//! Needs an engine, the image and etcd (`make test` sees to them). What was acknowledged to a writer, through
//! either Weir, must be on every server at the end.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;

use crate::docker::docker;
use crate::ports::free_ports;
use crate::stage::Stage;
use crate::wait::until_or_show;
use crate::writers::Writers;

const LIMIT: Duration = Duration::from_secs(60);
/// Time enough for a Weir that may to replace a dead primary, twice over.
const QUIET: Duration = Duration::from_secs(6);
const FAILED_OVER: &str = "failed over";
const LEADS: &str = "this Weir leads the cluster";

/// One of two Weirs: its configuration, state directory and log are in a directory of its own.
impl Stage {
    fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Waits until it has said it so often.
    async fn says(&self, words: &str, times: usize) {
        until(&format!("{words:?}, {times} times"), self, async || self.said(words) >= times).await;
    }

    /// Stops it or lets it go on, without its knowing.
    fn signal(&self, signal: &str) {
        let pid = self.weir.as_ref().unwrap().lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// How often its state file says that the primary has moved.
    fn epoch(&self) -> u64 {
        self.state().epoch
    }
}

/// The cluster and its two Weirs.
struct Pair {
    a: Stage,
    b: Stage,
}

impl Pair {
    /// Both serve, and the first leads.
    async fn new(test: &str, settings: &str) -> Self {
        let settings = format!("replicas = 1\nfailover_seconds = 1\n{settings}");
        let mut a = Stage::configured(test, &settings);
        a.weir(&["cluster", "up"]);
        let b = a.second();
        a.serve();
        let mut pair = Self { a, b };
        pair.a.says(LEADS, 1).await;
        pair.b.serve();
        pair.b.says("leads the cluster; this one changes nothing", 1).await;
        pair
    }

    fn primary(&self) -> Option<String> {
        let done = self.b.command(&["cluster", "status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
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
        let settled = self.b.settled(&["problems"], |_| true);
        let in_time = tokio::time::timeout(LIMIT, settled).await;
        assert!(in_time.is_ok(), "not whole after {LIMIT:?}\n{}", self.b.log());
    }

    async fn check_rows(&self, acknowledged: &[u64]) {
        self.whole().await;
        self.b.check_rows(acknowledged).await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.a.kill_weir();
        self.b.kill_weir();
        let _ = self.a.command(&["cluster", "destroy", "--yes"]).output();
        // Whatever a test that failed left in the way of that, such as a lock that etcd keeps.
        let label = format!("label=dev.weir.cluster={}", self.a.name);
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
    async fn start(weir: &Stage, parity: u64) -> Self {
        let table = "CREATE TABLE IF NOT EXISTS written (id BIGINT PRIMARY KEY)";
        weir.through_weir().await.query_drop(table).await.unwrap();
        let (stop, acknowledged) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (options, stopped, noted) =
            (weir.application().tcp_port(weir.port), Arc::clone(&stop), Arc::clone(&acknowledged));
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
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, acknowledged, task }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn goes_on(&self, weir: &Stage) {
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
    process: Option<Child>,
}

impl Etcd {
    fn start() -> Self {
        let mut etcd =
            Self { directory: tempfile::tempdir().unwrap(), ports: free_ports(1), process: None };
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
        let log = self.directory.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.ports)).is_err() {
            assert!(started.elapsed() < LIMIT, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        if let Some(mut etcd) = self.process.take() {
            let _ = etcd.kill();
            let _ = etcd.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Shows what that Weir has said when it takes too long.
async fn until(what: &str, weir: &Stage, mut ask: impl AsyncFnMut() -> bool) {
    until_or_show(LIMIT, what, || weir.log(), async || ask().await.then_some(())).await;
}

/// The primary moves on request: first while nobody writes, then while clients write through both Weirs, some in
/// transactions that are open when it begins. No client of either sees an error.
async fn a_switchover_costs_no_client_an_error(pair: &Pair) -> Vec<u64> {
    const TIMES: usize = 5;
    let idle: Vec<u64> = (0..TIMES).map(|_| pair.a.switch(&[])).collect();
    let open = Duration::from_millis(40);
    let through_a = Writers::with(&pair.a, 10_000_000, open).await;
    let through_b = Writers::with(&pair.b, 20_000_000, open).await;
    let mut loaded = Vec::new();
    for _ in 0..TIMES {
        loaded.push(pair.a.switch(&[]));
        through_a.goes_on().await;
        through_b.goes_on().await;
    }
    assert_eq!(through_a.errors(), Vec::<String>::new(), "{}", pair.a.log());
    assert_eq!(through_b.errors(), Vec::<String>::new(), "{}", pair.b.log());
    let mut acknowledged = through_a.finish().await;
    acknowledged.extend(through_b.finish().await);
    pair.check_rows(&acknowledged).await;
    until("the other Weir to say so", &pair.b, async || pair.b.held_by_others().len() == 2 * TIMES)
        .await;
    assert_eq!(pair.a.held_by_others(), Vec::<u64>::new(), "{}", pair.a.log());
    let others = pair.b.held_by_others();
    let (idle_there, loaded_there) = others.split_at(TIMES);
    eprintln!("idle: held for {idle:?} ms by the leader, {idle_there:?} ms by the other");
    eprintln!("under load: {loaded:?} ms by the leader, {loaded_there:?} ms by the other");
    acknowledged
}

/// The primary dies: the first acts and the second does not. Then the first dies.
async fn one_acts_then_the_other(pair: &Pair) -> Vec<u64> {
    let before = pair.a.epoch();
    let said = pair.b.refused(&["cluster", "switchover"]);
    let leader = pair.a.path("state").parent().unwrap().display().to_string();
    assert!(said.contains(&leader), "{said}");
    assert_eq!(pair.b.status()["leads"], false);
    assert_eq!(pair.a.status()["leads"], true);
    let (through_a, through_b) = (Writer::start(&pair.a, 0).await, Writer::start(&pair.b, 1).await);
    pair.behead();
    through_a.goes_on(&pair.a).await;
    through_b.goes_on(&pair.b).await;
    pair.whole().await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 0), "{}", pair.b.log());
    let both = (before + 1, before + 1);
    until("both to know", &pair.b, async || (pair.a.epoch(), pair.b.epoch()) == both).await;
    let mut all = through_a.finish().await;
    all.extend(through_b.finish().await);
    all
}

/// Kept by the engine: when the Weir that leads is killed, the other leads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_the_engine_lets_one_act() {
    let mut pair = Pair::new("leade", "").await;
    let mut all = a_switchover_costs_no_client_an_error(&pair).await;
    all.extend(one_acts_then_the_other(&pair).await);
    let known = pair.a.epoch();
    let killed = Instant::now();
    pair.a.kill_weir();
    pair.b.says(LEADS, 1).await;
    eprintln!("the other Weir led {:.1} s after the kill", killed.elapsed().as_secs_f64());
    let writer = Writer::start(&pair.b, 1_000_000).await;
    pair.behead();
    writer.goes_on(&pair.b).await;
    pair.b.says(FAILED_OVER, 1).await;
    all.extend(writer.finish().await);
    pair.check_rows(&all).await;
    // A third with the first one's file, which has missed all of that, knows who the primary is.
    assert_eq!((pair.a.epoch(), pair.b.epoch()), (known, known + 1));
    pair.b.kill_weir();
    pair.a.serve();
    pair.a.says(LEADS, 2).await;
    until("the first to learn", &pair.a, async || pair.a.epoch() == known + 1).await;
}

/// Kept by etcd: also one that stands still is replaced, and does nothing when it wakes; without etcd nobody acts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_etcd_lets_one_act() {
    let mut etcd = Etcd::start();
    let settings =
        format!("leadership = \"etcd\"\nlease_seconds = 2\netcd = [\"{}\"]\n", etcd.address());
    let pair = Pair::new("leadc", &settings).await;
    let mut all = one_acts_then_the_other(&pair).await;
    let stopped = Instant::now();
    pair.a.signal("-STOP");
    pair.b.says(LEADS, 1).await;
    eprintln!("the other Weir led {:.1} s after the stop", stopped.elapsed().as_secs_f64());
    let writer = Writer::start(&pair.b, 1_000_000).await;
    pair.behead();
    pair.b.says(FAILED_OVER, 1).await;
    writer.goes_on(&pair.b).await;
    pair.a.signal("-CONT");
    pair.a.says("leads the cluster; this one changes nothing", 1).await;
    pair.whole().await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 1), "{}", pair.a.log());

    etcd.kill();
    pair.b.says("this Weir cannot lead, and changes nothing", 1).await;
    let dead = pair.behead();
    tokio::time::sleep(QUIET).await;
    assert_eq!((pair.a.said(FAILED_OVER), pair.b.said(FAILED_OVER)), (1, 1), "{}", pair.b.log());
    assert_eq!(pair.primary(), None);
    let mut conn = pair.b.through_weir().await;
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
