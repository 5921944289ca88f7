//! Members that are cut off, frozen or behind: the majority goes on and Weir follows it, one that is silent keeps no
//! other from being mended, and who is behind is told why.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use super::{TABLE, seconds};
use crate::chaos::engine::Gate;
use crate::docker::{docker, processors};
use crate::figures;
use crate::stage::Stage;
use crate::wait::{until, until_or_show};
use crate::writers::{WRITERS, Writers};

/// How long it may take until a lag is explained as it should be.
const EXPLAINED_LIMIT: Duration = Duration::from_secs(60);
/// How long the group may take to expel or elect, or a member without a majority to leave.
const GROUP_LIMIT: Duration = Duration::from_secs(60);
/// How long a member may take to be one again, while clients write or another is silent.
const MENDED_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to notice that a client is gone.
const NOTICED_LIMIT: Duration = Duration::from_secs(60);
/// Of a processor, for a member that is to be behind.
const SLOW: &str = "0.4";
/// Of the first transaction that is to be big; at most so often twice as many.
const ROWS: u64 = 120_000;
const MOST_DOUBLED: u32 = 3;
/// No writer's.
const LATE_ROW: u64 = 1;
/// No writer's either, of a transaction that is open when its server is cut off.
const OPEN_ROW: u64 = 2;

/// How a primary is taken from its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    CutOff,
    Frozen,
}

impl Loss {
    fn begin(self, stage: &Stage, node: &str) {
        match self {
            Self::CutOff => docker(&["network", "disconnect", &stage.name, node]),
            Self::Frozen => docker(&["pause", node]),
        };
    }

    /// In the table.
    fn words(self) -> &'static str {
        match self {
            Self::CutOff => "cut off from the network, the engine out of Weir's reach too",
            Self::Frozen => "container frozen, the engine out of Weir's reach too",
        }
    }

    /// As `weir cluster status` names it.
    fn kind(self) -> &'static str {
        match self {
            Self::CutOff => "cut-off",
            Self::Frozen => "container-paused",
        }
    }
}

/// A secondary that a lock of a client holds up, and one that applies a big transaction, are behind for that reason.
pub(super) async fn lag_is_explained(stage: &Stage) {
    let primary = stage.primary();
    let slow = stage.replicas().remove(0);
    let mut leader = stage.root(&primary).await;
    for statement in [
        "CREATE TABLE app.held (id INT PRIMARY KEY)",
        "CREATE TABLE app.big (id INT AUTO_INCREMENT PRIMARY KEY, v CHAR(36), KEY (v), KEY (v, id))",
        "SET SESSION cte_max_recursion_depth = 1000000",
    ] {
        leader.query_drop(statement).await.unwrap();
    }
    stage.whole_group().await;
    let mut client = stage.root(&slow).await;
    let id: u64 = client.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    client.query_drop("LOCK TABLES app.held READ").await.unwrap();
    leader.query_drop("INSERT INTO app.held VALUES (1)").await.unwrap();
    let said = explained(stage, &slow, "lock").await;
    for words in ["table app.held", &format!("connection {id} of root@"), "1 transaction"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    // One waits, and none may any more: who writes is slowed down, which is the group's own doing.
    let threshold = "SET GLOBAL group_replication_flow_control_applier_threshold =";
    client.query_drop(format!("{threshold} 0")).await.unwrap();
    until(EXPLAINED_LIMIT, "flow control to be named", async || {
        explained(stage, &slow, "lock").await.contains("(flow control)").then_some(())
    })
    .await;
    client.query_drop(format!("{threshold} DEFAULT")).await.unwrap();
    client.query_drop("UNLOCK TABLES").await.unwrap();
    stage.whole_group().await;
    let said = big_transaction_is_explained(stage, &mut leader, &slow).await;
    assert!(said.contains("on app.big for"), "{said}");
    leader.query_drop("DROP TABLE app.held, app.big").await.unwrap();
    stage.whole_group().await;
}

/// A frozen server keeps Weir from nothing: a member that was stopped is started and joins all the same.
pub(super) async fn a_silent_member_holds_up_nobody(stage: &Stage) {
    let primary = stage.primary();
    let [quiet, other]: [String; 2] = stage.replicas().try_into().unwrap();
    let waits = format!("wait until {quiet} answers");
    let before = stage.log().matches(&waits).count();
    docker(&["kill", "--signal", "STOP", &quiet]);
    let log = || stage.log();
    until_or_show(GROUP_LIMIT, "Weir to wait for the frozen one", log, async || {
        (stage.log().matches(&waits).count() > before).then_some(())
    })
    .await;
    let mut asked = stage.root(&primary).await;
    until(GROUP_LIMIT, "the group to expel the frozen one", async || {
        member(&mut asked, &quiet).await.is_none().then_some(())
    })
    .await;
    docker(&["stop", "--time", "60", &other]);
    let since = Instant::now();
    until_or_show(MENDED_LIMIT, "the stopped one to be a member again", log, async || {
        online(&mut asked, &other).await
    })
    .await;
    let outcome = format!(
        "the stopped one was started and a member again after {}, while the frozen one stood still",
        seconds(since.elapsed())
    );
    figures::row(TABLE, &["none: a secondary frozen, another stopped", &outcome, ""]);
    docker(&["kill", "--signal", "CONT", &quiet]);
    // What it says itself is what it believed before it stood still, until it notices.
    until_or_show(MENDED_LIMIT, "the frozen one to be a member again", log, async || {
        online(&mut asked, &quiet).await
    })
    .await;
    stage.whole_group().await;
}

/// The others elect, and writers go on with them; what the old primary is told meanwhile is nowhere in the end.
pub(super) async fn the_majority_goes_on(stage: &Stage, engine: &mut Gate, loss: Loss) {
    let writers = Writers::start(stage).await;
    let old = stage.primary();
    // With the engine at hand Weir would put it back before the others have missed it.
    engine.close().await;
    let open = match loss {
        Loss::CutOff => Some(Open::begin(stage, &old).await),
        Loss::Frozen => None,
    };
    loss.begin(stage, &old);
    let late = (loss == Loss::CutOff).then(|| {
        let mut write =
            inside(stage, &old, &format!("INSERT INTO app.written VALUES ({LATE_ROW})"));
        std::thread::spawn(move || write.output().unwrap())
    });
    let held = writers.goes_on().await;
    let errors = writers.errors();
    assert!(errors.len() <= usize::try_from(WRITERS).unwrap(), "{errors:?}\n{}", stage.log());
    let status = beside_the_gate(stage);
    let found = status["findings"].as_array().unwrap().iter();
    let mut of_old = found.filter(|finding| finding["node"] == old.as_str());
    assert!(of_old.any(|finding| finding["kind"] == loss.kind()), "{status}");
    if let Some(late) = late {
        let done = late.join().unwrap();
        assert!(!done.status.success(), "{old} took a write alone: {}", words(&done));
        until(GROUP_LIMIT, "the one without a majority to leave", async || {
            let state = inside(stage, &old, &state_of(&old)).output().unwrap();
            (words(&state) == "ERROR").then_some(())
        })
        .await;
        let closed = inside(stage, &old, "SELECT @@super_read_only").output().unwrap();
        assert_eq!(words(&closed), "1", "{old} is open");
    }
    let since = Instant::now();
    engine.reopen();
    let primary = status["nodes"].as_array().unwrap().iter().find(|node| node["role"] == "primary");
    let primary = primary.unwrap_or_else(|| panic!("{status}"))["name"].as_str().unwrap();
    let log = || stage.log();
    let mut asked = stage.root(primary).await;
    until_or_show(MENDED_LIMIT, "the old primary to be a member again", log, async || {
        online(&mut asked, &old).await
    })
    .await;
    let outcome = format!(
        "the others elected another, {} statements failed; a member again {} after the engine was back",
        errors.len(),
        seconds(since.elapsed())
    );
    figures::row(TABLE, &[loss.words(), &outcome, &seconds(held)]);
    if let Some(open) = open {
        open.end(&mut stage.root(&old).await).await;
    }
    let acknowledged = writers.finish().await;
    stage.whole_group().await;
    assert_eq!(stage.primary(), primary, "{}", stage.log());
    stage.check_rows(&acknowledged).await;
    let query = format!("SELECT id FROM written WHERE id IN ({LATE_ROW}, {OPEN_ROW})");
    let mut conn = stage.through_weir().await;
    assert_eq!(conn.query::<u64, _>(query).await.unwrap(), [0_u64; 0]);
    conn.query_drop("DROP TABLE written").await.unwrap();
}

/// Clients in the middle of a transaction, whose server does not hear that they go.
struct Open {
    /// Wrote, through Weir.
    _writer: Conn,
    /// Read, past Weir.
    _reader: Conn,
    reader_id: u64,
}

impl Open {
    async fn begin(stage: &Stage, node: &str) -> Self {
        let mut writer = stage.through_weir().await;
        writer.query_drop("BEGIN").await.unwrap();
        writer.query_drop(format!("INSERT INTO written VALUES ({OPEN_ROW})")).await.unwrap();
        let mut reader = stage.root(node).await;
        let reader_id = reader.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
        reader.query_drop("BEGIN").await.unwrap();
        reader.query_drop("SELECT COUNT(*) FROM app.written").await.unwrap();
        Self { _writer: writer, _reader: reader, reader_id }
    }

    /// What was written is taken back before the server is a member again; what was read holds up nobody for long.
    async fn end(self, asked: &mut Conn) {
        let writing = "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist p \
                       ON p.id = trx_mysql_thread_id WHERE p.user = 'app'";
        assert_eq!(asked.query_first::<u64, _>(writing).await.unwrap(), Some(0));
        let reading =
            format!("SELECT id FROM information_schema.processlist WHERE id = {}", self.reader_id);
        until(NOTICED_LIMIT, "the reader to be missed", async || {
            asked.query_first::<u64, _>(&reading).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

/// Waits until the node is behind for that cause; the sentence. Some causes are over in seconds: there is no rest between
/// two questions.
async fn explained(stage: &Stage, node: &str, cause: &str) -> String {
    let started = Instant::now();
    loop {
        let status = stage.status();
        if let Some(said) = behind_by(&status, node, cause) {
            return said;
        }
        let lag = &status["lag"];
        assert!(started.elapsed() < EXPLAINED_LIMIT, "{node} is not behind by {cause}: {lag}");
        tokio::task::yield_now().await;
    }
}

/// The sentence by which the node is behind for that cause.
fn behind_by(status: &Value, node: &str, cause: &str) -> Option<String> {
    let mut lags = status["lag"].as_array().unwrap().iter();
    let found = lags.find(|lag| lag["node"] == node && lag["cause"] == cause)?;
    Some(found["sentence"].as_str().unwrap().to_owned())
}

/// As [`explained`], of a transaction that fills `app.big`. On a quick machine it can be over before somebody comes to
/// look: then there is one of twice as many rows.
async fn big_transaction_is_explained(stage: &Stage, leader: &mut Conn, slow: &str) -> String {
    let mut asked = stage.root(slow).await;
    processors(slow, Some(SLOW));
    let numbers = format!(
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    );
    leader
        .query_drop(format!("INSERT INTO app.big (v) {numbers} SELECT UUID() FROM n"))
        .await
        .unwrap();
    for doubled in 0..=MOST_DOUBLED {
        let executed: String = leader.query_first("SELECT @@gtid_executed").await.unwrap().unwrap();
        let over = format!("SELECT GTID_SUBSET('{executed}', @@gtid_executed)");
        let (mut last, begun) = (false, Instant::now());
        while !last {
            assert!(begun.elapsed() < EXPLAINED_LIMIT, "{slow} is at it still, and nobody says so");
            last = asked.query_first(&over).await.unwrap() == Some(1);
            if let Some(said) = behind_by(&stage.status(), slow, "big-transaction") {
                processors(slow, None);
                return said;
            }
        }
        if doubled < MOST_DOUBLED {
            leader.query_drop("INSERT INTO app.big (v) SELECT UUID() FROM app.big").await.unwrap();
        }
    }
    panic!("{slow} was not behind by a big transaction, of {} rows at last", ROWS << MOST_DOUBLED)
}

/// What the group's status is for one who reaches the engine, while Weir does not.
fn beside_the_gate(stage: &Stage) -> Value {
    let text = std::fs::read_to_string(stage.path("proxy.toml")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.retain(|line| !line.starts_with("docker_host"));
    let path = stage.path("direct.toml");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mut status = Command::new(env!("CARGO_BIN_EXE_weir"));
    status.args(["cluster", "status", "--json", "--config"]).arg(path);
    serde_json::from_slice(&status.output().unwrap().stdout).unwrap()
}

/// How the server asked sees that member; `None` when it is none.
async fn member(asked: &mut Conn, of: &str) -> Option<String> {
    asked.query_first(state_of(of)).await.unwrap()
}

async fn online(asked: &mut Conn, of: &str) -> Option<()> {
    (member(asked, of).await.as_deref() == Some("ONLINE")).then_some(())
}

fn state_of(member: &str) -> String {
    format!(
        "SELECT member_state FROM performance_schema.replication_group_members WHERE member_host = '{member}'"
    )
}

/// A statement of root's from inside of the container, where no network is needed.
fn inside(stage: &Stage, node: &str, statement: &str) -> Command {
    let mut command = Command::new("docker");
    command.env("MYSQL_PWD", stage.state().root.expose());
    command.args(["exec", "--env", "MYSQL_PWD", node, "mysql", "--user=root", "--batch"]);
    command.args(["--skip-column-names", "--execute", statement]);
    command
}

fn words(done: &Output) -> String {
    let all = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).trim().to_owned()
}
