//! What is done to a cluster that works, and how it has to end.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use mysql_async::prelude::Queryable as _;

use super::ground::Ground;
use crate::docker::{docker, signal};
use crate::wait::{until, until_or_show};
use crate::writers::{RECOVERY_LIMIT, WRITERS, Writers};

/// How long a trouble may take to be named.
const NAMED_LIMIT: Duration = Duration::from_secs(60);
/// How long Weir may take to come to the step that it is killed at.
const TRAP_LIMIT: Duration = Duration::from_secs(60);
/// How long data that differs is watched before a person decides; Weir looks at it several times.
const HELD_FOR: Duration = Duration::from_secs(4);
/// So often in a day Weir copies the data of one node anew without being asked.
const MOST_COPIES: usize = 3;
/// Between two of these, seconds.
const COPIES_PAUSE: u64 = 600;
/// How long the applier stands still before its relay log is damaged.
const UNREAD_FOR: Duration = Duration::from_millis(400);
/// How long it may take until it has met the damage.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the relay log's end that are made nonsense, and how far from the end.
const DAMAGE: &str = "f=$(ls -t /var/lib/mysql/relay.[0-9]* | head -1); \
                      printf '\\377%.0s' $(seq 64) | \
                      dd of=$f bs=1 seek=$(($(stat -c %s $f) - 2000)) conv=notrunc";

/// What Weir says in its log as a switchover goes on: it is killed at each.
pub(crate) const SWITCHOVER: [&str; 5] = [
    "writes are held, and none is under way",
    "it takes no more writes",
    "it has executed everything",
    "it is written down as the primary",
    "it takes writes, and the others follow it",
];

/// The same of a failover.
pub(crate) const FAILOVER: [&str; 7] = [
    "the primary does not answer",
    "it is out of the network",
    "it is cut off, and nobody receives any more",
    "it has applied all that it received",
    "it is written down as the primary",
    "it takes writes, and the others follow it",
    "failed over",
];

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    PrimaryKilled,
    PrimaryEnded,
    PrimaryFrozen,
    PrimaryStopped,
    PrimaryCutOff,
    PrimaryRemoved,
    PrimaryDiskFull,
    ReplicaKilled,
    ReplicaFrozen,
    ReplicaCutOff,
    ReplicaWiped,
    ReplicaRelayLogDamaged,
    ReplicaDiskFull,
    ReplicaWritable,
    ReplicaPassword,
    ReplicaPurged,
    ReplicaPurgedTooOften,
    ReplicaDuplicateKey,
    ReplicaMissingRow,
    ReplicaErrant,
    EngineRestarted,
    WeirKilled,
    /// In a switchover, at a step.
    WeirKilledMoving(&'static str),
    /// In a failover, at a step.
    WeirKilledReplacing(&'static str),
}

use Fault::*;

/// Without those of [`SWITCHOVER`] and [`FAILOVER`].
pub(crate) const PLAIN: [Fault; 22] = [
    PrimaryKilled,
    PrimaryEnded,
    PrimaryFrozen,
    PrimaryStopped,
    PrimaryCutOff,
    PrimaryRemoved,
    PrimaryDiskFull,
    ReplicaKilled,
    ReplicaFrozen,
    ReplicaCutOff,
    ReplicaWiped,
    ReplicaRelayLogDamaged,
    ReplicaDiskFull,
    ReplicaWritable,
    ReplicaPassword,
    ReplicaPurged,
    ReplicaPurgedTooOften,
    ReplicaDuplicateKey,
    ReplicaMissingRow,
    ReplicaErrant,
    EngineRestarted,
    WeirKilled,
];

/// How a fault ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fault: Fault,
    /// The primary is another node than before.
    pub(crate) moved: bool,
    /// Statements that failed, also those that found no Weir to connect to.
    pub(crate) errors: usize,
    /// From the fault until writes were acknowledged.
    pub(crate) writes: Duration,
    /// From the fault, or from when there was room again, until nothing was left to do.
    pub(crate) whole: Duration,
}

impl Fault {
    /// In the words of the table.
    pub(crate) fn name(self) -> String {
        let words = match self {
            PrimaryKilled => "primary: container killed",
            PrimaryEnded => "primary: container stopped in order",
            PrimaryFrozen => "primary: container frozen",
            PrimaryStopped => "primary: mysqld stopped (SIGSTOP)",
            PrimaryCutOff => "primary: cut off from the network",
            PrimaryRemoved => "primary: container removed",
            PrimaryDiskFull => "primary: disk full",
            ReplicaKilled => "replica: container killed",
            ReplicaFrozen => "replica: container frozen",
            ReplicaCutOff => "replica: cut off from the network",
            ReplicaWiped => "replica: container and volume removed",
            ReplicaRelayLogDamaged => "replica: relay log damaged",
            ReplicaDiskFull => "replica: disk full",
            ReplicaWritable => "replica: made writable",
            ReplicaPassword => "replica: wrong replication password",
            ReplicaPurged => "replica: history purged (1236)",
            ReplicaPurgedTooOften => {
                "replica: history purged (1236) again and again, copied anew by a person"
            }
            ReplicaDuplicateKey => "replica: conflicting row (1062), copied anew by a person",
            ReplicaMissingRow => "replica: missing row (1032), copied anew by a person",
            ReplicaErrant => "replica: errant transaction, copied anew by a person",
            EngineRestarted => "engine restarted, with all containers",
            WeirKilled => "Weir killed and started again",
            WeirKilledMoving(step) => return format!("Weir killed in a switchover: \"{step}\""),
            WeirKilledReplacing(step) => return format!("Weir killed in a failover: \"{step}\""),
        };
        words.to_owned()
    }

    /// Makes the fault while clients write, waits until all is well again, and checks the rows.
    pub(crate) async fn run(self, ground: &mut Ground) -> Outcome {
        self.prepare(ground);
        let writers = Writers::start(&ground.stage).await;
        let before = ground.stage.primary();
        let copies = copies(ground, &ground.replica());
        let mut started = Instant::now();
        self.inject(ground, &before).await;
        if matches!(self, ReplicaPurged | ReplicaPurgedTooOften) {
            // It takes several attempts, which are no fault yet.
            started = Instant::now();
        }
        writers.goes_on().await;
        let writes = started.elapsed();
        let mut since = started;
        if let Some(node) = self.full(ground, &before) {
            named(ground, &format!("the disk of {node} ")).await;
            ground.disk.make_room();
            since = Instant::now();
        }
        self.mended(ground, &copies).await;
        if let Some((node, words)) = self.is_for_a_person(ground) {
            decide(ground, &node, words).await;
            since = Instant::now();
        }
        let errors = writers.errors();
        if self.ends_weir() {
            // Connections end with it. Started again it lets clients wait until it has made a primary, or found it.
            let refused: Vec<_> = errors.iter().filter(|error| !lost(error)).collect();
            assert!(refused.is_empty(), "{self:?}, {writes:?}: {refused:?}");
        } else {
            assert!(
                errors.len() <= 2 * usize::try_from(WRITERS).unwrap(),
                "{self:?}, {writes:?}: {errors:?}"
            );
        }
        let acknowledged = writers.finish().await;
        ground.stage.whole().await;
        let whole = since.elapsed();
        ground.stage.check_rows(&acknowledged).await;
        let mut conn = ground.stage.through_weir().await;
        conn.query_drop("TRUNCATE TABLE written").await.unwrap();
        conn.query_drop("DROP TABLE IF EXISTS conflict").await.unwrap();
        conn.disconnect().await.unwrap();
        let moved = ground.stage.primary() != before;
        let outcome = Outcome { fault: self, moved, errors: errors.len(), writes, whole };
        eprintln!("{outcome:?} {errors:?}");
        outcome
    }

    /// The node whose disk it fills.
    fn full(self, ground: &Ground, primary: &str) -> Option<String> {
        let small = ground.disk.node.clone();
        let is_primary = small == primary;
        matches!((self, is_primary), (PrimaryDiskFull, true) | (ReplicaDiskFull, false))
            .then_some(small)
    }

    /// Whether clients lose their connections.
    pub(crate) fn ends_weir(self) -> bool {
        matches!(self, WeirKilled | WeirKilledMoving(_) | WeirKilledReplacing(_))
    }

    /// The small disk is at the right node, and what counts was counted before.
    fn prepare(self, ground: &mut Ground) {
        let small = ground.disk.node.clone();
        let is_primary = ground.stage.primary() == small;
        match self {
            PrimaryDiskFull if !is_primary => {
                ground.stage.weir(&["cluster", "switchover", &small]);
            }
            ReplicaDiskFull if is_primary => {
                ground.stage.weir(&["cluster", "switchover"]);
            }
            ReplicaPurgedTooOften => three_copies_today(ground),
            _ => {}
        }
    }

    async fn inject(self, ground: &mut Ground, primary: &str) {
        match self {
            PrimaryKilled => drop(docker(&["kill", primary])),
            PrimaryEnded => {
                let mut stop = Command::new("docker").args(["stop", primary]).spawn().unwrap();
                std::thread::spawn(move || stop.wait());
            }
            PrimaryFrozen => drop(docker(&["pause", primary])),
            PrimaryStopped => signal("-STOP", primary),
            PrimaryCutOff => {
                docker(&["network", "disconnect", &ground.stage.name, primary]);
            }
            PrimaryRemoved => drop(docker(&["rm", "--force", primary])),
            PrimaryDiskFull | ReplicaDiskFull => ground.disk.fill(),
            ReplicaKilled => drop(docker(&["kill", &ground.replica()])),
            ReplicaFrozen => drop(docker(&["pause", &ground.replica()])),
            ReplicaCutOff => {
                docker(&["network", "disconnect", &ground.stage.name, &ground.replica()]);
            }
            ReplicaWiped => {
                let replica = ground.replica();
                docker(&["rm", "--force", &replica]);
                docker(&["volume", "rm", &replica]);
            }
            ReplicaRelayLogDamaged => damage_relay_log(ground).await,
            ReplicaWritable => {
                let open =
                    ["super_read_only", "read_only"].map(|it| format!("SET GLOBAL {it} = OFF"));
                ground.run(&ground.replica(), &open.each_ref().map(String::as_str)).await;
            }
            ReplicaPassword => {
                let wrong = "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = 'wrong'";
                let statements = ["STOP REPLICA IO_THREAD", wrong, "START REPLICA IO_THREAD"];
                ground.run(&ground.replica(), &statements).await;
            }
            ReplicaPurged | ReplicaPurgedTooOften => purge(ground, primary).await,
            ReplicaDuplicateKey | ReplicaMissingRow | ReplicaErrant => {
                self.diverge(ground, primary).await;
            }
            EngineRestarted => restart_engine(ground, primary).await,
            WeirKilled => {
                ground.stage.kill_weir();
                ground.stage.serve();
            }
            WeirKilledMoving(step) => {
                ground.stage.trap.lock().unwrap().replace(step.to_owned());
                // It hears of the end of Weir, or was quicker.
                let _answer = ground.stage.command(&["cluster", "switchover"]).output().unwrap();
                sprung(ground).await;
            }
            WeirKilledReplacing(step) => {
                ground.stage.trap.lock().unwrap().replace(step.to_owned());
                // A container that was only killed would be started again, and come back in time.
                docker(&["rm", "--force", primary]);
                sprung(ground).await;
            }
        }
    }
}

impl Fault {
    /// The replica's data differs from then on. Weir names it, keeps reads from there, and starts nothing.
    async fn diverge(self, ground: &Ground, primary: &str) {
        let replica = ground.replica();
        let make = "CREATE TABLE app.conflict (id INT PRIMARY KEY, v INT NOT NULL)";
        ground.run(primary, &[make, "INSERT INTO app.conflict VALUES (1, 0)"]).await;
        ground.caught_up(primary, &replica).await;
        let open = "SET GLOBAL super_read_only = OFF";
        let (unseen, close) = ("SET sql_log_bin = OFF", "SET GLOBAL super_read_only = ON");
        let add = "INSERT INTO app.conflict VALUES (2, 7)";
        match self {
            ReplicaDuplicateKey => {
                ground.run(&replica, &[open, unseen, add, close]).await;
                ground.run(primary, &["INSERT INTO app.conflict VALUES (2, 0)"]).await;
            }
            ReplicaMissingRow => {
                let remove = "DELETE FROM app.conflict WHERE id = 1";
                ground.run(&replica, &[open, unseen, remove, close]).await;
                ground.run(primary, &["UPDATE app.conflict SET v = 1 WHERE id = 1"]).await;
            }
            _ => ground.run(&replica, &[open, add, close]).await,
        }
    }

    /// Waits until Weir has mended what it would otherwise not have noticed yet.
    async fn mended(self, ground: &Ground, copies: &[u64]) {
        match self {
            ReplicaWritable => {
                let closed = "SELECT @@global.read_only AND @@global.super_read_only";
                ground.says(&ground.replica(), closed).await;
            }
            ReplicaPassword => {
                let runs = "SELECT service_state = 'ON' FROM \
                            performance_schema.replication_connection_status";
                ground.says(&ground.replica(), runs).await;
            }
            ReplicaPurged | ReplicaPurgedTooOften => copied_anew(ground, copies).await,
            _ => {}
        }
    }

    /// The node whose data differs, and what Weir says of it.
    fn is_for_a_person(self, ground: &Ground) -> Option<(String, [&'static str; 2])> {
        let words = match self {
            ReplicaDuplicateKey => ["(1062)", "replication applier stopped"],
            ReplicaMissingRow => ["(1032)", "replication applier stopped"],
            ReplicaErrant => {
                ["errant-transactions", "has transactions that the primary does not have"]
            }
            _ => return None,
        };
        Some((ground.replica(), words))
    }
}

/// What a person does about data that differs, once Weir has named it. Until then nobody reads what only that node has,
/// and its applier is not started again.
async fn decide(ground: &Ground, node: &str, [words, why]: [&str; 2]) {
    named(ground, words).await;
    until(NAMED_LIMIT, "reads to be kept from it", async || {
        // The last word of the Weir that serves on this server.
        let log = ground.stage.log();
        let of_node = |line: &&str| line.contains("usable") && line.contains(&format!("{node:?}"));
        log.lines().rfind(of_node)?.contains(why).then_some(())
    })
    .await;
    let failed = stopped_at(ground, node).await;
    let mut conn = ground.stage.through_weir().await;
    let end = Instant::now() + HELD_FOR;
    while Instant::now() < end {
        let wrong: Option<u32> =
            conn.query_first("SELECT id FROM conflict WHERE v = 7").await.unwrap();
        assert_eq!(wrong, None, "a row that only {node} has");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        stopped_at(ground, node).await,
        failed,
        "its applier was started\n{}",
        ground.stage.log()
    );
    ground.stage.weir(&["cluster", "repair", node, "--reclone", "--yes"]);
}

/// Whether a statement or a login failed because a connection did.
fn lost(error: &str) -> bool {
    error.starts_with("Input/output error") || error.contains("ERROR 1053 ")
}

/// When the applier's workers met errors.
async fn stopped_at(ground: &Ground, node: &str) -> Vec<String> {
    let times = "SELECT CAST(last_error_timestamp AS CHAR) FROM \
                 performance_schema.replication_applier_status_by_worker WHERE last_error_number <> 0";
    ground.stage.root(node).await.query(times).await.unwrap()
}

/// The primary forgets what the replica has not fetched yet.
async fn purge(ground: &Ground, primary: &str) {
    let replica = ground.replica();
    let (mut source, mut root) =
        (ground.stage.root(primary).await, ground.stage.root(&replica).await);
    until(NAMED_LIMIT, "what the replica lacks to be purged", async || {
        root.query_drop("STOP REPLICA IO_THREAD").await.unwrap();
        tokio::time::sleep(UNREAD_FOR).await;
        source.query_drop("FLUSH BINARY LOGS").await.unwrap();
        // The other replica may be reading the one before.
        tokio::time::sleep(UNREAD_FOR / 4).await;
        let logs: Vec<(String, u64, String)> = source.query("SHOW BINARY LOGS").await.unwrap();
        let newest = &logs.last().unwrap().0;
        source.query_drop(format!("PURGE BINARY LOGS TO '{newest}'")).await.unwrap();
        let has = "SELECT CONCAT(@@global.gtid_executed, ',', (SELECT received_transaction_set FROM \
                   performance_schema.replication_connection_status))";
        let has: String = root.query_first(has).await.unwrap().unwrap();
        let gone = format!("SELECT GTID_SUBTRACT(@@global.gtid_purged, '{}')", has.replace('\n', ""));
        let gone: String = source.query_first(gone).await.unwrap().unwrap();
        (!gone.is_empty()).then_some(())
    })
    .await;
}

/// Weir copies the data anew, or leaves that to a person when it did so a short while ago.
async fn copied_anew(ground: &Ground, earlier: &[u64]) {
    let (replica, times) = (ground.replica(), earlier.len());
    let rested = earlier.iter().all(|time| now() - time >= COPIES_PAUSE);
    if times >= MOST_COPIES || !rested {
        named(ground, "has removed from its binary logs").await;
        if times >= MOST_COPIES {
            named(ground, &format!("was copied anew {times} times within a day")).await;
        }
        assert_eq!(copies(ground, &replica), earlier, "{}", ground.stage.log());
        ground.stage.weir(&["cluster", "repair", &replica, "--reclone", "--yes"]);
        return;
    }
    let log = || ground.stage.log();
    until_or_show(NAMED_LIMIT, "the copy to begin", log, async || {
        (copies(ground, &replica).len() == times + 1).then_some(())
    })
    .await;
}

/// As a Weir writes it down that copied the data anew so often, the last time a while ago.
fn three_copies_today(ground: &mut Ground) {
    let number = ground.replica().rsplit('-').next().unwrap().parse().unwrap();
    ground.stage.kill_weir();
    let mut state = ground.stage.state();
    state.renewed.insert(number, [80_000, 40_000, 1_000].map(|ago| now() - ago).to_vec());
    // What all Weirs share is older then.
    state.epoch += 1;
    state.save(&ground.stage.path("state"), &ground.stage.name).unwrap();
    ground.stage.serve();
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// When Weir began to copy that node's data anew without being asked.
fn copies(ground: &Ground, node: &str) -> Vec<u64> {
    let number = node.rsplit('-').next().unwrap().parse().unwrap();
    ground.stage.state().renewed.remove(&number).unwrap_or_default()
}

/// Waits until Weir has come to its step and is gone, and starts it again.
async fn sprung(ground: &mut Ground) {
    let trap = std::sync::Arc::clone(&ground.stage.trap);
    until(TRAP_LIMIT, "Weir to come to the step", async || {
        trap.lock().unwrap().is_none().then_some(())
    })
    .await;
    ground.stage.kill_weir();
    ground.stage.serve();
}

/// What the applier has not read yet becomes nonsense. The applier stands still for a moment before, so that there is
/// something; Weir starts it again, at times before the damage is done, and it reads on.
async fn damage_relay_log(ground: &Ground) {
    let replica = ground.replica();
    let words = format!("make {replica} replicate from");
    let before = ground.stage.log().matches(&words).count();
    let mut next = Instant::now();
    until(RECOVERY_LIMIT, "the relay log to be fetched again", async || {
        if ground.stage.log().matches(&words).count() > before {
            return Some(());
        }
        if Instant::now() >= next {
            ground.run(&replica, &["STOP REPLICA SQL_THREAD"]).await;
            tokio::time::sleep(UNREAD_FOR).await;
            docker(&["exec", &replica, "sh", "-c", DAMAGE]);
            next = Instant::now() + NOTICED_WITHIN;
        }
        None
    })
    .await;
}

/// The engine is away; it takes its containers with it, the primary last, and brings them back. Commits that waited for
/// a replica when the primary ended were told that they are done, and are nowhere else.
async fn restart_engine(ground: &mut Ground, primary: &str) {
    let replicas = ground.stage.replicas();
    let replicas: Vec<&str> = replicas.iter().map(String::as_str).collect();
    ground.engine.close().await;
    docker(&[&["stop"], replicas.as_slice(), &[primary]].concat());
    docker(&[&["start"], replicas.as_slice(), &[primary]].concat());
    ground.engine.reopen();
}

/// Waits until `weir cluster status` says it.
async fn named(ground: &Ground, words: &str) {
    until(NAMED_LIMIT, &format!("status to say: {words}"), async || {
        let said = ground.stage.command(&["cluster", "status"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).contains(words).then_some(())
    })
    .await;
}
