//! The primary moves, on request and because it died, while clients write through a Weir that serves.
//!
//! Needs an engine and the image (`make test` sees to both). What was acknowledged to a writer must be there
//! once, on every server, at the end. `make soak` puts the figures of every fault into docs/cluster.md.

use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::docker::{base_image, docker, signal};
use crate::figures;
use crate::link::Cut;
use crate::readers::Readers;
use crate::stage::Stage;
use crate::sysbench::Sysbench;
use crate::wait::{until, until_or_show};
use crate::writers::{RECOVERY_LIMIT, WRITERS, Writers};

/// The table in docs/cluster.md.
const TABLE: &str = "one primary";
const HEADS: [&str; 3] = ["fault on the primary", "outcome", "until writes are acknowledged"];
const LARGE: &str = "stopped (SIGSTOP) while it sends a large transaction";
/// More than the sockets of a connection hold.
const LARGE_BYTES: u64 = 20 << 20;
/// Of both tests.
const ROWS: usize = 8;

/// On request first, then because it died, in one cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_moves() {
    let mut stage = Stage::new("move", "failover_seconds = 3\nreplicas = 2\n");
    // The servers run from it to the end.
    let _image = Box::pin(ten_switchovers_cost_no_client_an_error(&stage)).await;
    Box::pin(a_primary_that_dies_is_replaced_and_nothing_acknowledged_is_lost(&mut stage)).await;
}

/// Ten times in a row, under load, and no client sees an error; sysbench's 64 connections among them.
async fn ten_switchovers_cost_no_client_an_error(stage: &Stage) -> Tag {
    let writers = Writers::start(stage).await;
    let sysbench = Sysbench::start(stage).await;
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
    sysbench.finish(stage);
    a_transaction_that_stays_open_is_waited_for_until_the_deadline(stage, &writers).await;
    // To a named one, and not to what is no replica.
    let refused = stage.command(&["cluster", "switchover", &before]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is the primary"));
    grow_and_shrink(stage).await;
    let image = restart_one_by_one(stage).await;
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
    let acknowledged = writers.finish().await;
    stage.whole().await;
    stage.check_rows(&acknowledged).await;
    drop_written(stage).await;
    held.sort_unstable();
    let held = held.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let held = format!("writes held for {held} ms");
    figures::row(TABLE, &["none: switchover, ten in a row", "no errors", &held]);
    image
}

/// Nothing has changed then, for whoever holds the transaction and for all others.
async fn a_transaction_that_stays_open_is_waited_for_until_the_deadline(
    stage: &Stage,
    writers: &Writers,
) {
    let before = stage.primary();
    let mut open = stage.through_weir().await;
    open.query_drop("BEGIN").await.unwrap();
    open.query_drop("INSERT INTO written VALUES (1)").await.unwrap();
    let refused = stage.refused(&["cluster", "switchover"]);
    for words in ["1 statement or transaction was still under way after 10 s", "end what is open"] {
        assert!(refused.contains(words), "{refused}");
    }
    assert_eq!(stage.primary(), before);
    writers.goes_on().await;
    open.query_drop("COMMIT").await.unwrap();
    let written: Option<u64> =
        open.query_first("SELECT id FROM written WHERE id = 1 FOR UPDATE").await.unwrap();
    assert_eq!(written, Some(1));
    open.disconnect().await.unwrap();
}

/// The Weir that serves reads from a node that was added meanwhile, and does without one that was removed.
async fn grow_and_shrink(stage: &Stage) {
    let text = std::fs::read_to_string(stage.path("proxy.toml")).unwrap();
    let more = text.replace("replicas = 2", "replicas = 3");
    std::fs::write(stage.path("proxy.toml"), more).unwrap();
    stage.weir(&["cluster", "up"]);
    let mut seen = std::collections::BTreeSet::new();
    let how = || format!("{}\n{}", stage.status(), stage.log());
    until_or_show(RECOVERY_LIMIT, "reads on three replicas", how, async || {
        let mut conn = stage.through_weir().await;
        let id: Option<u64> = conn.query_first("SELECT UUID_SHORT() >> 56").await.unwrap();
        conn.disconnect().await.unwrap();
        seen.insert(id.unwrap());
        (seen.len() == 3).then_some(())
    })
    .await;
    std::fs::write(stage.path("proxy.toml"), text).unwrap();
    let leaves = stage.replicas().pop().unwrap();
    stage.weir(&["cluster", "remove", &leaves, "--yes"]);
    until(RECOVERY_LIMIT, "the proxy to forget the node", async || {
        stage.log().contains("no longer part of the cluster").then_some(())
    })
    .await;
    // Time enough for a control task with an older configuration to make it anew.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.view().unwrap().nodes.len(), 3, "{}", stage.log());
}

/// Another image and another option, node by node: neither writers nor readers notice.
async fn restart_one_by_one(stage: &Stage) -> Tag {
    let readers = Readers::start(stage);
    let next = Tag::of(&base_image(), &format!("{}:next", stage.name));
    let text = std::fs::read_to_string(stage.path("proxy.toml")).unwrap();
    let newer =
        text.replace(&format!("image = {:?}", base_image()), &format!("image = {:?}", next.0));
    assert_ne!(newer, text);
    let newer = format!("{newer}max_connections = 77\n");
    std::fs::write(stage.path("proxy.toml"), newer).unwrap();
    stage.weir(&["cluster", "restart", "--all"]);
    readers.finish(stage).await;
    for node in stage.view().unwrap().nodes {
        let is = docker(&["inspect", "--format", "{{.Config.Image}}", &node.name]);
        assert_eq!(is, next.0, "{}", node.name);
        let mut root = stage.root(&node.name).await;
        let most: Option<u32> = root.query_first("SELECT @@max_connections").await.unwrap();
        assert_eq!(most, Some(77), "{}", node.name);
    }
    next
}

/// Another name of an image, which goes when this ends; of one that is in use the name alone.
struct Tag(String);

impl Tag {
    fn of(image: &str, name: &str) -> Self {
        docker(&["tag", image, name]);
        Self(name.to_owned())
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", "--no-prune", &self.0]).output();
    }
}

/// A primary that dies comes back, or another takes its place; what was acknowledged stays.
async fn a_primary_that_dies_is_replaced_and_nothing_acknowledged_is_lost(stage: &mut Stage) {
    let network = stage.name.clone();
    type Fault = Box<dyn Fn(&str)>;
    let faults: [(&str, Fault); 6] = [
        ("container killed", Box::new(|name| drop(docker(&["kill", name])))),
        ("mysqld killed", Box::new(|name| signal("-KILL", name))),
        ("container frozen", Box::new(|name| drop(docker(&["pause", name])))),
        (
            "cut off from the network",
            Box::new(move |name| drop(docker(&["network", "disconnect", &network, name]))),
        ),
        (LARGE, Box::new(|name| signal("-STOP", name))),
        ("container removed", Box::new(|name| drop(docker(&["rm", "-f", name])))),
    ];
    let mut all = Vec::new();
    for (what, fault) in &faults {
        let writers = Writers::start(stage).await;
        let before = stage.primary();
        // The last one finds replicas that differ: the one that has more takes over.
        let behind = match *what {
            "container removed" => Some(Behind::a_replica(stage, &before).await),
            _ => None,
        };
        let half = if *what == LARGE { Some(Half::sent(stage, &before).await) } else { None };
        let died = Instant::now();
        fault(&before);
        drop(half);
        let furthest = match behind {
            Some(behind) => Some(behind.ends(stage).await),
            None => None,
        };
        writers.goes_on().await;
        let seconds = died.elapsed().as_secs_f64();
        let errors = writers.errors();
        all.extend(writers.finish().await);
        let mut conn = stage.through_weir().await;
        conn.query_drop("RENAME TABLE written TO kept").await.unwrap();
        conn.query_drop("RENAME TABLE kept TO written").await.unwrap();
        stage.whole().await;
        let now = stage.primary();
        assert!(furthest.is_none_or(|furthest| furthest == now), "{what}: {now}");
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
        stage.check_rows(&all).await;
        conn.query_drop("TRUNCATE TABLE written").await.unwrap();
        all.clear();
        let outcome = if now == before { "it came back" } else { "another node took over" };
        // Statements that were under way when it died are the only ones to fail, one for each client.
        assert!(errors.len() <= 2 * usize::try_from(WRITERS).unwrap(), "{what}: {errors:?}");
        let outcome = format!("{outcome}, {} statements failed", errors.len());
        figures::row(TABLE, &[what, &outcome, &format!("{seconds:.1} s")]);
    }
    figures::publish_rows(TABLE, &HEADS, ROWS);
    a_new_weir_knows_of_it(stage).await;
}

/// A Weir that is started anew finds everything as it is.
async fn a_new_weir_knows_of_it(stage: &mut Stage) {
    stage.kill_weir();
    stage.serve();
    let status = stage.status();
    let last = &status["failed_over"];
    assert_eq!(last["to"], stage.primary().as_str(), "{status}");
    assert_eq!(last["lost_transactions"], 0, "{status}");
    assert_eq!(last["semi_sync"], true, "{status}");
    let sentence = format!("last failover: {}", last["sentence"].as_str().unwrap());
    let told = stage.weir(&["cluster", "status"]);
    assert!(told.lines().any(|line| line == sentence), "{sentence}: {told}");
    let writers = Writers::start(stage).await;
    assert!(!writers.finish().await.is_empty());
}

/// A replica that hears nothing of the primary any more, and does not know it.
struct Behind {
    name: String,
    /// The replica that hears it still.
    other: String,
    cut: Cut,
}

impl Behind {
    /// Waits until the other one has received more.
    async fn a_replica(stage: &Stage, primary: &str) -> Self {
        let [name, other] = stage.replicas().try_into().unwrap();
        let cut = Cut::between(&stage.name, &name, primary);
        let behind = Self { name, other, cut };
        until(RECOVERY_LIMIT, "the other replica to have more", async || {
            behind.lacks(stage).await.then_some(())
        })
        .await;
        behind
    }

    /// Whether it has received less than the other, and nothing that the other lacks.
    async fn lacks(&self, stage: &Stage) -> bool {
        let has = "SELECT CONCAT(received_transaction_set, ',', @@global.gtid_executed) FROM \
                   performance_schema.replication_connection_status";
        // The one that grows is asked last.
        let own: Option<String> = stage.root(&self.name).await.query_first(has).await.unwrap();
        let mut other = stage.root(&self.other).await;
        let more: Option<String> = other.query_first(has).await.unwrap();
        let [own, more] = [own, more].map(|set| set.unwrap().replace('\n', ""));
        let compare =
            format!("SELECT GTID_SUBSET('{own}', '{more}') AND NOT GTID_SUBSET('{more}', '{own}')");
        other.query_first::<u8, _>(compare).await.unwrap() == Some(1)
    }

    /// Once the primary is dead: it still lacks what it lacked. Who has more.
    async fn ends(self, stage: &Stage) -> String {
        assert!(self.lacks(stage).await, "{} has as much as {}", self.name, self.other);
        drop(self.cut);
        self.other
    }
}

/// Half of a large transaction of the primary's: the replicas stand still until the primary is dead, and have no more
/// of it then than what fits into the sockets between them.
struct Half {
    replicas: Vec<String>,
}

impl Half {
    async fn sent(stage: &Stage, primary: &str) -> Self {
        let mut conn = stage.through_weir().await;
        let table =
            "CREATE TABLE IF NOT EXISTS large (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)";
        conn.query_drop(table).await.unwrap();
        conn.disconnect().await.unwrap();
        let half = Self { replicas: stage.replicas() };
        let (mut client, mut root) = (stage.root(primary).await, stage.root(primary).await);
        let written = async |root: &mut Conn| -> u64 {
            let size = "SELECT SUM(sum_number_of_bytes_write) FROM \
                        performance_schema.file_summary_by_event_name WHERE event_name = 'wait/io/file/sql/binlog'";
            root.query_first(size).await.unwrap().unwrap()
        };
        let before = written(&mut root).await;
        // Replicas that stand still for longer than a commit waits are what no semi-sync survives.
        root.query_drop("SET GLOBAL rpl_semi_sync_source_timeout = 600000").await.unwrap();
        half.replicas.iter().for_each(|replica| signal("-STOP", replica));
        let insert = format!(
            "INSERT INTO app.large (v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
             SELECT REPEAT('x', 1 << 20) FROM n",
            LARGE_BYTES >> 20
        );
        tokio::spawn(async move { client.query_drop(insert).await });
        until(RECOVERY_LIMIT, "the transaction to be in the log", async || {
            (written(&mut root).await >= before + LARGE_BYTES).then_some(())
        })
        .await;
        // The sockets fill.
        tokio::time::sleep(Duration::from_millis(300)).await;
        half
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.replicas.iter().for_each(|replica| signal("-CONT", replica));
    }
}

async fn drop_written(stage: &Stage) {
    stage.through_weir().await.query_drop("DROP TABLE written").await.unwrap();
}

/// Without GTIDs: whoever stood at the same place in the dead primary's log follows the new one, the others are named
/// with the remedy, which makes the cluster whole. Nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_without_gtids_that_dies_is_replaced() {
    let stage = Stage::new("diefile", "replication = \"file\"\nfailover_seconds = 1\n");
    let writers = Writers::start(&stage).await;
    let old = stage.primary();
    // What the replicas received and have not applied yet when the primary dies is acknowledged, too.
    let locks = lock_replicas(&stage).await;
    writers.goes_on().await;
    let half = Half::sent(&stage, &old).await;
    let died = Instant::now();
    docker(&["rm", "-f", &old]);
    drop(half);
    until_or_show(
        RECOVERY_LIMIT,
        "the old primary to be cut off",
        || stage.log(),
        async || stage.log().contains("it is cut off, and nobody receives any more").then_some(()),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(locks);
    writers.goes_on().await;
    let seconds = died.elapsed().as_secs_f64();
    let errors = writers.errors();
    assert!(errors.len() <= usize::try_from(WRITERS).unwrap(), "{errors:?}");
    let acknowledged = writers.finish().await;
    let new = stage.primary();
    assert_ne!(new, old);
    let log = || stage.log();
    until_or_show(RECOVERY_LIMIT, "the old primary to answer again", log, async || {
        let nodes = stage.view().unwrap().nodes;
        nodes.iter().any(|node| node.name == old && !node.version.is_empty()).then_some(())
    })
    .await;
    let status = stage.status();
    let mut left = left_behind(&status, &new);
    assert!(left.contains(&old), "{status}");
    let all = (1..=3).map(|number| format!("{}-{number}", stage.name));
    let follow: Vec<String> = all.filter(|name| !left.contains(name)).collect();
    has_rows(&stage, &follow, &acknowledged).await;
    while !left.is_empty() {
        let refused = stage.refused(&["cluster", "up"]);
        let named = left.iter().position(|name| {
            refused.contains(&format!("{name} "))
                && refused.contains(&format!("weir cluster reclone {name}"))
        });
        let name = left.swap_remove(named.unwrap_or_else(|| panic!("{refused}")));
        let done = stage.command(&["cluster", "reclone", &name, "--yes"]).output().unwrap();
        // It is whole then, and who is left is told of again.
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let of_others = left.iter().any(|other| said.contains(&format!("reclone {other}")));
        assert!(done.status.success() || of_others, "{said}{}", stage.log());
    }
    let said = stage.weir(&["cluster", "up"]);
    assert!(said.contains("nothing was changed"), "{said}");
    let status = stage.status();
    assert_eq!(left_behind(&status, &new), Vec::<String>::new(), "{status}");
    assert_eq!(status["problems"], serde_json::json!([]), "{status}");
    let all: Vec<String> = (1..=3).map(|number| format!("{}-{number}", stage.name)).collect();
    has_rows(&stage, &all, &acknowledged).await;
    let outcome = format!("another node took over, {} statements failed", errors.len());
    let cells = [
        "container removed while it sends a large transaction, without GTIDs",
        &outcome,
        &format!("{seconds:.1} s"),
    ];
    figures::row(TABLE, &cells);
    figures::publish_rows(TABLE, &HEADS, ROWS);
}

/// Keeps appliers from the table that clients write to, as long as these connections are there.
async fn lock_replicas(stage: &Stage) -> Vec<Conn> {
    let mut locks = Vec::new();
    for replica in stage.replicas() {
        let mut conn = stage.root(&replica).await;
        conn.query_drop("LOCK TABLES app.written READ").await.unwrap();
        locks.push(conn);
    }
    locks
}

/// Nodes that do not follow that primary.
fn left_behind(status: &serde_json::Value, primary: &str) -> Vec<String> {
    let follows = |node: &serde_json::Value| {
        let replication = &node["replication"];
        replication["source"] == primary
            && replication["receiver"] == "Yes"
            && replication["applier"] == "Yes"
    };
    let nodes = status["nodes"].as_array().unwrap().iter();
    let left = nodes.filter(|node| node["name"] != primary && !follows(node));
    left.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

/// Each of these nodes has all these rows, and they have the same.
async fn has_rows(stage: &Stage, names: &[String], acknowledged: &[u64]) {
    until(RECOVERY_LIMIT, "the same rows everywhere", async || {
        let mut rows = stage.rows().await;
        rows.retain(|(name, _)| names.contains(name));
        assert_eq!(rows.len(), names.len());
        rows.iter().all(|(_, ids)| *ids == rows[0].1).then_some(())
    })
    .await;
    let rows = stage.rows().await;
    let (_, ids) = rows.iter().find(|(name, _)| names.contains(name)).unwrap();
    let lost: Vec<&u64> = acknowledged.iter().filter(|id| ids.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{lost:?} are not there\n{}", stage.log());
}
