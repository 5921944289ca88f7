//! The primary moves, on request and because it died, while clients write through a Weir that serves.
//!
//! Needs an engine and the image (`make test` sees to both). What was acknowledged to a writer must be there
//! once, on every server, at the end. Figures of every fault go to `target/faults.md`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure is the test's failure"
)]

use std::fmt::Write as _;
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
const WRITERS: u64 = 12;
/// How long a fault may keep writes from being acknowledged.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long a cluster may take to be whole again, the old primary included.
const WHOLE_LIMIT: Duration = Duration::from_secs(120);

/// A cluster with a Weir that serves it; both are gone when the test ends.
struct Stage {
    dir: TempDir,
    name: String,
    port: u16,
    weir: Option<Child>,
}

impl Stage {
    fn new(test: &str, settings: &str) -> Self {
        let pid = std::process::id();
        let name = format!("weirmove{pid}{test}");
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = free_ports();
        let text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n\
             [cluster]\nname = \"{name}\"\nport_base = {base}\nmemory_mb = 64\n{settings}"
        );
        std::fs::write(dir.path().join("proxy.toml"), text).unwrap();
        let mut stage = Self { dir, name, port, weir: None };
        stage.weir(&["cluster", "up"]);
        stage.serve();
        stage
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

    fn primary(&self) -> String {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        let primary = nodes.iter().find(|node| node["role"] == "primary");
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
        until(Duration::from_secs(30), "a login", async || Conn::new(options.clone()).await.ok())
            .await
    }

    /// Waits until nothing is left to do, and all servers have the same rows.
    async fn whole(&self) {
        let mut last = String::new();
        let started = Instant::now();
        until(WHOLE_LIMIT + RECOVERY_LIMIT, &format!("{} to be whole", self.name), async || {
            assert!(started.elapsed() < WHOLE_LIMIT, "not whole:\n{last}\n{}", self.log());
            let done = self.command(&["cluster", "status", "--json"]).output().unwrap();
            last = String::from_utf8_lossy(&done.stdout).into_owned();
            let status: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
            let right = status["problems"].as_array()?.is_empty();
            let running = status["nodes"].as_array()?.iter().all(|node| {
                node["role"] == "primary" || node["replication"]["behind_transactions"] == 0
            });
            (right && running).then_some(())
        })
        .await;
    }

    /// Ids of the rows of each server.
    async fn rows(&self) -> Vec<(String, Vec<u64>)> {
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
        if let Some(mut weir) = self.weir.take() {
            let _ = weir.kill();
            let _ = weir.wait();
        }
        let _ = self.command(&["cluster", "destroy", "--yes"]).output();
    }
}

/// Clients that write until they are stopped, and remember what was acknowledged.
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
        conn.query_drop("CREATE TABLE IF NOT EXISTS written (id BIGINT PRIMARY KEY)")
            .await
            .unwrap();
        conn.disconnect().await.unwrap();
        let mut writers = Self {
            stop: Arc::default(),
            acknowledged: Arc::default(),
            count: Arc::default(),
            errors: Arc::default(),
            tasks: Vec::new(),
        };
        for writer in 0..WRITERS {
            let options = stage.application().tcp_port(stage.port);
            let (stop, errors) = (Arc::clone(&writers.stop), Arc::clone(&writers.errors));
            let (acknowledged, count) =
                (Arc::clone(&writers.acknowledged), Arc::clone(&writers.count));
            writers.tasks.push(tokio::spawn(async move {
                let mut conn = None;
                let mut id = writer;
                while !stop.load(Ordering::Relaxed) {
                    id += WRITERS;
                    let written = write(&mut conn, &options, id, writer % 3 == 0).await;
                    match written {
                        Ok(()) => {
                            acknowledged.lock().unwrap().push(id);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            errors.lock().unwrap().push(error.to_string());
                            conn = None;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }));
        }
        writers.goes_on().await;
        writers
    }

    /// Waits until writes of every moment from now on are acknowledged; how long that took.
    async fn goes_on(&self) -> Duration {
        let started = Instant::now();
        let before = self.count.load(Ordering::Relaxed);
        until(RECOVERY_LIMIT, "writes to be acknowledged", async || {
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
        let mut all = self.acknowledged.lock().unwrap().clone();
        all.sort_unstable();
        all
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
    if in_transaction {
        conn.query_drop("BEGIN").await?;
        conn.query_drop(format!("INSERT INTO written VALUES ({id})")).await?;
        conn.query_drop(format!("UPDATE written SET id = id WHERE id = {id}")).await?;
        return conn.query_drop("COMMIT").await;
    }
    conn.exec_drop("INSERT INTO written VALUES (?)", (id,)).await
}

async fn until<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
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

/// Every acknowledged row is on every server, and all servers have the same.
async fn check_rows(stage: &Stage, acknowledged: &[u64]) {
    let servers = stage.rows().await;
    for (name, rows) in &servers {
        let missing: Vec<_> =
            acknowledged.iter().filter(|id| rows.binary_search(id).is_err()).collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}\n{}", stage.log());
        assert_eq!(rows, &servers[0].1, "{name} differs from {}\n{}", servers[0].0, stage.log());
    }
}

/// Ten times in a row, under load, and no client sees an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_switchovers_cost_no_client_an_error() {
    let stage = Stage::new("switch", "");
    let writers = Writers::start(&stage).await;
    let mut held = Vec::new();
    let mut before = stage.primary();
    for _ in 0..10 {
        let said = stage.weir(&["cluster", "switchover"]);
        let (now, rest) = said.strip_prefix("the primary is ").unwrap().split_once(' ').unwrap();
        assert!(rest.contains(&format!("it was {before};")), "{said}");
        held.push(rest.trim_end().rsplit(' ').nth(1).unwrap().parse::<u64>().unwrap());
        before = now.to_owned();
        writers.goes_on().await;
    }
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
    // To a named one, and not to what is no replica.
    let refused = stage.command(&["cluster", "switchover", &before]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is the primary"));
    grow_and_shrink(&stage).await;
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
    let acknowledged = writers.finish().await;
    stage.whole().await;
    check_rows(&stage, &acknowledged).await;
    held.sort_unstable();
    report(&format!("| switchover, ten in a row | no errors | writes held for {held:?} ms |"));
}

/// The Weir that serves reads from a node that was added meanwhile, and does without one that was removed.
async fn grow_and_shrink(stage: &Stage) {
    let text = std::fs::read_to_string(stage.path("proxy.toml")).unwrap();
    std::fs::write(stage.path("proxy.toml"), format!("{text}replicas = 3\n")).unwrap();
    stage.weir(&["cluster", "up"]);
    let mut seen = std::collections::BTreeSet::new();
    until(RECOVERY_LIMIT, "reads on three replicas", async || {
        let mut conn = stage.through_weir().await;
        let id: Option<u64> = conn.query_first("SELECT UUID_SHORT() >> 56").await.unwrap();
        conn.disconnect().await.unwrap();
        seen.insert(id.unwrap());
        (seen.len() == 3).then_some(())
    })
    .await;
    std::fs::write(stage.path("proxy.toml"), format!("{text}replicas = 2\n")).unwrap();
    let primary = stage.primary();
    let status = stage.status();
    let mut names =
        status["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap());
    let leaves = names.rfind(|name| *name != primary).unwrap().to_owned();
    stage.weir(&["cluster", "remove", &leaves, "--yes"]);
    until(RECOVERY_LIMIT, "the proxy to forget the node", async || {
        stage.log().contains("no longer part of the cluster").then_some(())
    })
    .await;
    // Time enough for a control task with an older configuration to make it anew.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.status()["nodes"].as_array().unwrap().len(), 3, "{}", stage.log());
}

/// A primary that dies comes back, or another takes its place; what was acknowledged stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut stage = Stage::new("die", "failover_seconds = 3\n");
    let network = stage.name.clone();
    type Fault = Box<dyn Fn(&str)>;
    let faults: [(&str, Fault); 5] = [
        ("container killed", Box::new(|name| drop(docker(&["kill", name])))),
        (
            "mysqld killed",
            Box::new(|name| {
                let pid = docker(&["inspect", "--format", "{{.State.Pid}}", name]);
                assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            }),
        ),
        ("container frozen", Box::new(|name| drop(docker(&["pause", name])))),
        (
            "cut off from the network",
            Box::new(move |name| drop(docker(&["network", "disconnect", &network, name]))),
        ),
        ("container removed", Box::new(|name| drop(docker(&["rm", "-f", name])))),
    ];
    let mut all = Vec::new();
    for (what, fault) in &faults {
        let writers = Writers::start(&stage).await;
        let before = stage.primary();
        fault(&before);
        let seconds = writers.goes_on().await.as_secs_f64();
        let errors = writers.errors();
        all.extend(writers.finish().await);
        let mut conn = stage.through_weir().await;
        conn.query_drop("RENAME TABLE written TO kept").await.unwrap();
        conn.query_drop("RENAME TABLE kept TO written").await.unwrap();
        stage.whole().await;
        let now = stage.primary();
        // What only the old primary had is kept: as many dumps as the log tells of.
        let dumps = std::fs::read_dir(stage.path("state")).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("own-") && name.ends_with(".sql")
        });
        let told = stage.log().matches("what only it had is kept there").count();
        assert_eq!(dumps.count(), told, "{what}: {}", stage.log());
        let copied = stage.log().matches("the old primary gets a new copy").count();
        assert_eq!(told, copied, "{what}: {}", stage.log());
        all.sort_unstable();
        check_rows(&stage, &all).await;
        conn.query_drop("TRUNCATE TABLE written").await.unwrap();
        all.clear();
        let outcome = if now == before { "it came back" } else { "another node took over" };
        // Statements that were under way when it died are the only ones to fail, one for each client.
        assert!(errors.len() <= 2 * usize::try_from(WRITERS).unwrap(), "{what}: {errors:?}");
        report(&format!(
            "| {what} | {outcome}, {} statements failed | {seconds:.1} s |",
            errors.len()
        ));
    }
    // A Weir that is started anew finds everything as it is.
    if let Some(mut weir) = stage.weir.take() {
        weir.kill().unwrap();
        weir.wait().unwrap();
    }
    stage.serve();
    let writers = Writers::start(&stage).await;
    assert!(!writers.finish().await.is_empty());
}

fn report(line: &str) {
    let mut text = String::new();
    let _ = writeln!(text, "{line}");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults.md");
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}
