//! A cluster of `replication = "group"` on real servers, behind a Weir that serves: it is made, its members elect,
//! and what was acknowledged through Weir is on every server at the end.
//!
//! Needs an engine and the image (`make test` sees to both). Figures go to `target/tmp/group.txt`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure is the test's failure"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;

/// Writers at once; every third writes in transactions of two statements.
const WRITERS: u64 = 9;
/// How long a fault may keep writes from being acknowledged.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long the group may take to be whole again.
const WHOLE_LIMIT: Duration = Duration::from_secs(120);

/// A cluster with a Weir that serves it; both are gone when the test ends.
struct Stage {
    dir: TempDir,
    port: u16,
    weir: Option<Child>,
}

impl Stage {
    fn new() -> Self {
        let name = format!("weirgroup{}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = free_ports();
        let text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n\
             [cluster]\nname = \"{name}\"\nport_base = {base}\nmemory_mb = 64\nreplication = \"group\"\n"
        );
        std::fs::write(dir.path().join("proxy.toml"), text).unwrap();
        Self { dir, port, weir: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).arg("--config").arg(self.path("proxy.toml"));
        command
    }

    /// What the command prints.
    fn weir(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "weir {arguments:?}: {said}{}", self.log());
        String::from_utf8(done.stdout).unwrap()
    }

    /// What the command complains of.
    fn refused(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        assert!(!done.status.success(), "weir {arguments:?} was not refused");
        String::from_utf8(done.stderr).unwrap()
    }

    fn serve(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.env("WEIR_LOG", "info").stderr(log).stdout(Stdio::null());
        self.weir = Some(command.spawn().unwrap());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.weir(&["cluster", "status", "--json"])).unwrap()
    }

    fn node(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let mut nodes = status["nodes"].as_array().unwrap().iter();
        nodes.find(|node| node["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }

    fn primary(&self) -> String {
        let status = self.status();
        let mut nodes = status["nodes"].as_array().unwrap().iter();
        let primary = nodes.find(|node| node["role"] == "primary");
        primary.unwrap_or_else(|| panic!("{status}"))["name"].as_str().unwrap().to_owned()
    }

    fn application(&self) -> OptsBuilder {
        let text = std::fs::read_to_string(self.path("state/client.cnf")).unwrap();
        let password = text.lines().find_map(|line| line.strip_prefix("password = \"")).unwrap();
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .prefer_socket(false)
            .user(Some("app"))
            .pass(Some(password.trim_end_matches('"').to_owned()))
            .db_name(Some("app"))
    }

    async fn through_weir(&self) -> Conn {
        let options = self.application().tcp_port(self.port);
        until(RECOVERY_LIMIT, "a login", async || Conn::new(options.clone()).await.ok()).await
    }

    /// Waits until all are ONLINE with the same transactions, and nothing is left to do.
    async fn whole(&self) {
        let mut last = String::new();
        let started = Instant::now();
        until(WHOLE_LIMIT * 2, "the group to be whole", async || {
            assert!(started.elapsed() < WHOLE_LIMIT, "not whole:\n{last}\n{}", self.log());
            let done = self.command(&["cluster", "status", "--json"]).output().unwrap();
            last = String::from_utf8_lossy(&done.stdout).into_owned();
            let status: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
            let right = status["problems"].as_array()?.is_empty();
            let mut nodes = status["nodes"].as_array()?.iter();
            let running = nodes.all(|node| {
                let replication = &node["replication"];
                let follows =
                    replication["member"] == "ONLINE" && replication["behind_transactions"] == 0;
                node["role"] == "primary" || follows
            });
            (right && running).then_some(())
        })
        .await;
    }

    /// Every acknowledged row is on every server, and all servers have the same.
    async fn check_rows(&self, acknowledged: &[u64]) {
        let mut first: Option<Vec<u64>> = None;
        for node in self.status()["nodes"].as_array().unwrap() {
            let port = node["published"].as_str().unwrap().rsplit(':').next().unwrap();
            let options = self.application().tcp_port(port.parse().unwrap());
            let mut conn = Conn::new(options).await.unwrap();
            let rows: Vec<u64> = conn.query("SELECT id FROM written ORDER BY id").await.unwrap();
            let lacks = acknowledged.iter().filter(|id| rows.binary_search(id).is_err()).count();
            assert_eq!(lacks, 0, "{} lacks acknowledged rows\n{}", node["name"], self.log());
            assert_eq!(first.get_or_insert_with(|| rows.clone()), &rows, "{}", node["name"]);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut weir) = self.weir.take() {
            let _ = weir.kill();
            let _ = weir.wait();
        }
        let _ = self.command(&["cluster", "destroy", "--yes"]).output();
    }
}

/// Clients that write until they are stopped, and remember what was acknowledged.
#[derive(Default)]
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    count: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    async fn start(stage: &Stage) -> Self {
        let mut conn = stage.through_weir().await;
        conn.query_drop("CREATE TABLE written (id BIGINT PRIMARY KEY)").await.unwrap();
        conn.disconnect().await.unwrap();
        let mut writers = Self::default();
        for writer in 0..WRITERS {
            let options = stage.application().tcp_port(stage.port);
            let (stop, errors) = (Arc::clone(&writers.stop), Arc::clone(&writers.errors));
            let (acknowledged, count) =
                (Arc::clone(&writers.acknowledged), Arc::clone(&writers.count));
            writers.tasks.push(tokio::spawn(async move {
                let (mut conn, mut id) = (None, writer);
                while !stop.load(Ordering::Relaxed) {
                    id += WRITERS;
                    match write(&mut conn, &options, id, writer % 3 == 0).await {
                        Ok(()) => {
                            acknowledged.lock().unwrap().push(id);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            errors.lock().unwrap().push(error.to_string());
                            conn = None;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        writers.go_on(stage).await;
        writers
    }

    /// Waits until writes of every moment from now on are acknowledged; how long that took.
    async fn go_on(&self, stage: &Stage) -> Duration {
        let started = Instant::now();
        let before = self.count.load(Ordering::Relaxed);
        until(RECOVERY_LIMIT * 2, "writes", async || {
            assert!(started.elapsed() < RECOVERY_LIMIT, "no writes: {}", stage.log());
            (self.count.load(Ordering::Relaxed) > before + 2 * WRITERS).then_some(())
        })
        .await;
        started.elapsed()
    }

    fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// Stops them; ids of all that was acknowledged.
    async fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

async fn write(
    conn: &mut Option<Conn>,
    options: &OptsBuilder,
    id: u64,
    in_transaction: bool,
) -> Result<(), mysql_async::Error> {
    if conn.is_none() {
        *conn = Some(Conn::new(options.clone()).await?);
    }
    let conn = conn.as_mut().unwrap();
    if !in_transaction {
        return conn.exec_drop("INSERT INTO written VALUES (?)", (id,)).await;
    }
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!("INSERT INTO written VALUES ({id})")).await?;
    conn.query_drop(format!("UPDATE written SET id = id WHERE id = {id}")).await?;
    conn.query_drop("COMMIT").await
}

async fn until<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Adds a line to the figures of the runs.
fn report(line: &str) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("group.txt");
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// The first of four free ports in a row.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let all = (0..4).all(|n| TcpListener::bind(("127.0.0.1", first.saturating_add(n))).is_ok());
        if all && first < 60_000 {
            return first;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_elects_and_loses_nothing() {
    let mut stage = Stage::new();
    let began = Instant::now();
    let told = |what: &str| report(&format!("{:6.1} s: {what}", began.elapsed().as_secs_f64()));
    stage.weir(&["cluster", "up"]);
    told("made");
    let again = stage.weir(&["cluster", "up"]);
    assert!(again.contains("nothing was changed"), "{again}");
    assert_eq!(again.matches("member ONLINE").count(), 2, "{again}");
    stage.serve();
    own_writes_are_seen(&stage).await;
    told("own writes are seen");
    let writers = Writers::start(&stage).await;
    switchovers(&stage, &writers).await;
    told("moved on request");
    let primary = stage.primary();
    let status = stage.status();
    let mut names = status["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap());
    let copied = names.rfind(|name| *name != primary).unwrap();
    let said = stage.weir(&["cluster", "reclone", copied, "--yes"]);
    assert_eq!(said.matches("member ONLINE").count(), 2, "{said}");
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
    told("a member was copied anew");

    let old = stage.primary();
    let killed = Command::new("docker").args(["kill", &old]).output().unwrap();
    assert!(killed.status.success());
    let held = writers.go_on(&stage).await;
    told(&format!("{old} was killed; no write was acknowledged for {held:?}"));
    // Those that were under way: whether they were done nobody knows.
    let errors = writers.errors();
    assert!(errors.len() <= usize::try_from(WRITERS).unwrap(), "{errors:?}");
    stage.whole().await;
    assert_ne!(stage.primary(), old, "{}", stage.log());
    let acknowledged = writers.finish().await;
    stage.whole().await;
    told("the killed one is a member again");
    stage.check_rows(&acknowledged).await;

    // Nobody is in the group any more: it is founded again, with everything.
    stage.weir(&["cluster", "down"]);
    told("down");
    stage.weir(&["cluster", "up"]);
    told("up");
    stage.whole().await;
    stage.check_rows(&acknowledged).await;
    let mut conn = stage.through_weir().await;
    conn.query_drop("INSERT INTO written VALUES (1)").await.unwrap();
    let ones: Vec<u64> = conn.query("SELECT id FROM written WHERE id = 1").await.unwrap();
    assert_eq!(ones, [1]);
    told("and it takes writes");
}

/// Sessions see what they wrote, by whichever member they read: at once, when no other member may have it, and a
/// little later, when one has.
async fn own_writes_are_seen(stage: &Stage) {
    let mut conn = stage.through_weir().await;
    conn.query_drop("CREATE TABLE own (id INT PRIMARY KEY)").await.unwrap();
    // A node's number in its server id is that of its published port.
    let published = stage.node(&stage.primary())["published"].as_str().unwrap().to_owned();
    let primary: u64 = published.rsplit(':').next().unwrap().parse().unwrap();
    let sessions = (0..20_u32).map(async |session| {
        let mut conn = stage.through_weir().await;
        let mut elsewhere = 0;
        for id in session * 10..(session + 1) * 10 {
            conn.query_drop(format!("INSERT INTO own VALUES ({id})")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(u64::from(id % 2) * 300)).await;
            let query = format!("SELECT id, UUID_SHORT() >> 56 FROM own WHERE id = {id}");
            let seen: Option<(u32, u64)> = conn.query_first(query).await.unwrap();
            let (_, server) = seen.unwrap_or_else(|| panic!("row {id} was not seen"));
            elsewhere += u32::from(server != primary & 0xff);
        }
        elsewhere
    });
    let elsewhere: u32 = futures_util::future::join_all(sessions).await.into_iter().sum();
    report(&format!("          {elsewhere} of 200 reads were no primary's"));
    assert!(elsewhere > 0, "the primary served all reads: {}", stage.log());
}

/// Under writers, three in a row and one to a named member; none of them costs an error.
async fn switchovers(stage: &Stage, writers: &Writers) {
    let first = stage.primary();
    let mut now = first.clone();
    for back in [false, false, true] {
        let mut words = vec!["cluster", "switchover"];
        words.extend((back && now != first).then_some(first.as_str()));
        let said = stage.weir(&words);
        assert!(said.contains(&format!("it was {now};")), "{said}");
        report(&format!("          {}", said.trim_end()));
        now = stage.primary();
        writers.go_on(stage).await;
    }
    let refused = stage.refused(&["cluster", "switchover", &now]);
    assert!(refused.contains("is the primary"), "{refused}");
    let refused = stage.refused(&["cluster", "remove", &now, "--yes"]);
    assert!(refused.contains("it is the primary"), "{refused}");
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
}
