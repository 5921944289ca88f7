//! Servers stop, lag, die and change roles; clients go on. One test at a time breaks the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use crate::support::client::{connect, run, text};
use crate::support::cluster::{TESTER, Turn};
use crate::support::{TestCluster, Weir, direct, until};

/// How long a client may wait for three answers while a server is in trouble: the probes must notice
/// (2 of 2 s each), and what waited there is asked elsewhere.
const ANSWER: Duration = Duration::from_secs(20);

/// Clients that read and write all the time; any error or wrong row is a failure.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(weir: &Weir, database: &'static str, clients: u64) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..clients)
            .map(|id| {
                let (address, stop, done) =
                    (weir.address.clone(), Arc::clone(&stop), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut conn = connect(&address, TESTER, Some(database)).await.unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let round = async {
                            let value: Option<u64> = conn
                                .exec_first("SELECT v FROM t WHERE id = ?", (id % 20 + 1,))
                                .await
                                .unwrap();
                            assert_eq!(value, Some((id % 20 + 1) * 10));
                            assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM t").await, "20");
                            if id % 4 == 0 {
                                run(&mut conn, "INSERT INTO written (v) VALUES (1)").await;
                            }
                        };
                        let served = tokio::time::timeout(ANSWER, round).await;
                        assert!(served.is_ok(), "client {id} waits for over {ANSWER:?}");
                        done.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        Self { stop, done, tasks }
    }

    /// Waits for the next rounds of everybody, and says whether nobody failed.
    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until("clients to be served", async || {
            assert!(
                !self.tasks.iter().any(tokio::task::JoinHandle::is_finished),
                "a client failed"
            );
            self.done.load(Ordering::Relaxed) > before + 100
        })
        .await;
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A client that waits for ever is a failure too, and must not keep the cluster from the next test.
async fn bounded(test: impl Future<Output = ()>) {
    let limit = Duration::from_secs(150);
    assert!(
        tokio::time::timeout(limit, test).await.is_ok(),
        "somebody still waits after {limit:?}"
    );
}

async fn prepared_database(name: &str) -> (Turn, Weir) {
    prepare(TestCluster::breakable().await, name).await
}

async fn prepare(cluster: Turn, name: &str) -> (Turn, Weir) {
    cluster.fresh_database(name).await;
    let rows: Vec<String> = (1..=20).map(|id| format!("({id}, {})", id * 10)).collect();
    cluster
        .on_primary(&[
            &format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT)"),
            &format!("INSERT INTO {name}.t VALUES {}", rows.join(", ")),
            &format!("CREATE TABLE {name}.written (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"),
        ])
        .await;
    let weir = Weir::start_with(&cluster, "", "[lag]\nmax_seconds = 2\n");
    (cluster, weir)
}

/// Asks through Weir, on a new connection, and says which servers ran it: index and count.
async fn who_reads(cluster: &TestCluster, weir: &Weir, database: &str, marker: &str) -> Vec<u64> {
    let before = cluster.runs(marker).await;
    let mut conn = connect(&weir.address, TESTER, Some(database)).await.unwrap();
    for _ in 0..20 {
        conn.query_drop(format!("SELECT v AS {marker} FROM t WHERE id = 1")).await.unwrap();
    }
    let after = cluster.runs(marker).await;
    // One that was started anew counts from zero.
    after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect()
}

#[tokio::test]
async fn a_replica_whose_replication_stops_gets_no_reads() {
    bounded(async {
        let (cluster, weir) = prepared_database("fault_stop").await;
        let traffic = Traffic::start(&weir, "fault_stop", 8);
        for statement in ["STOP REPLICA SQL_THREAD", "STOP REPLICA IO_THREAD", "STOP REPLICA"] {
            let mut root = cluster.root(1).await;
            run(&mut root, statement).await;
            if !direct() {
                until("the stopped replica to get no reads", async || {
                    who_reads(&cluster, &weir, "fault_stop", "stopped_read").await[1] == 0
                })
                .await;
                assert!(who_reads(&cluster, &weir, "fault_stop", "stopped_read").await[2] > 0);
            }
            traffic.goes_on().await;
            cluster.replicates(1).await;
            if !direct() {
                until("the replica to get reads again", async || {
                    who_reads(&cluster, &weir, "fault_stop", "stopped_read").await[1] > 0
                })
                .await;
            }
        }
        traffic.finish().await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_lags_gets_no_reads_and_with_none_left_the_primary_reads() {
    bounded(async {
        let (cluster, weir) = prepared_database("fault_lag").await;
        let traffic = Traffic::start(&weir, "fault_lag", 8);
        for replicas in [&[1_usize][..], &[1, 2]] {
            for replica in replicas {
                delay(&cluster, *replica, 3600).await;
            }
            if !direct() {
                until("late replicas to get no reads", async || {
                    let reads = who_reads(&cluster, &weir, "fault_lag", "late_read").await;
                    replicas.iter().all(|replica| reads[*replica] == 0)
                })
                .await;
                let reads = who_reads(&cluster, &weir, "fault_lag", "late_read").await;
                assert_eq!(reads[0] > 0, replicas.len() == 2, "{reads:?}");
            }
            traffic.goes_on().await;
            for replica in replicas {
                delay(&cluster, *replica, 0).await;
            }
            cluster.settle().await;
            if !direct() {
                until("replicas to get reads again", async || {
                    who_reads(&cluster, &weir, "fault_lag", "late_read").await[1] > 0
                })
                .await;
            }
        }
        traffic.finish().await;
    })
    .await;
}

async fn delay(cluster: &TestCluster, replica: usize, seconds: u32) {
    let mut root = cluster.root(replica).await;
    run(&mut root, "STOP REPLICA SQL_THREAD").await;
    run(&mut root, &format!("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}")).await;
    run(&mut root, "START REPLICA SQL_THREAD").await;
}

/// `docker kill` in the middle of reads: no client sees an error.
#[tokio::test]
async fn a_replica_that_dies_costs_no_client_an_error() {
    bounded(async {
        let (cluster, weir) = prepared_database("fault_kill").await;
        if cluster.containers.is_empty() {
            assert!(direct(), "servers that were there already are not for killing");
            return;
        }
        let traffic = Traffic::start(&weir, "fault_kill", 16);
        for (verb, back) in [("kill", "start"), ("pause", "unpause"), ("restart", "start")] {
            traffic.goes_on().await;
            cluster.docker(verb, 1);
            traffic.goes_on().await;
            if verb != "restart" {
                let reads = cluster.runs_of(&[0, 2], "dead_read").await;
                let mut conn = connect(&weir.address, TESTER, Some("fault_kill")).await.unwrap();
                for _ in 0..20 {
                    conn.query_drop("SELECT v AS dead_read FROM t WHERE id = 1").await.unwrap();
                }
                // On busy cores a server counts a statement some time after it has answered.
                until("the others to have run all of them", async || {
                    let after = cluster.runs_of(&[0, 2], "dead_read").await;
                    after.iter().sum::<u64>() == reads.iter().sum::<u64>() + 20
                })
                .await;
            }
            cluster.docker(back, 1);
            cluster.replicates(1).await;
            if !direct() {
                until("the replica to get reads again", async || {
                    who_reads(&cluster, &weir, "fault_kill", "back_read").await[1] > 0
                })
                .await;
            }
        }
        traffic.finish().await;
    })
    .await;
}

/// The roles are found out by asking: when another server becomes writable, writes go there.
#[tokio::test]
async fn a_change_of_roles_is_followed() {
    bounded(async {
        let (cluster, weir) = prepared_database("fault_roles").await;
        if direct() {
            return;
        }
        let mut conn = connect(&weir.address, TESTER, Some("fault_roles")).await.unwrap();
        run(&mut conn, "INSERT INTO written (v) VALUES (1)").await;
        let (mut one, mut two) = (cluster.root(0).await, cluster.root(1).await);
        run(&mut one, "SET GLOBAL super_read_only = ON").await;
        cluster.settle().await;
        run(&mut two, "STOP REPLICA").await;
        run(&mut two, "SET GLOBAL super_read_only = OFF").await;
        run(&mut two, "SET GLOBAL read_only = OFF").await;
        until("writes to land on the new primary", async || {
            conn.query_drop("INSERT INTO written (v) VALUES (2) /* moved */").await.is_ok()
        })
        .await;
        let count = text(
            &mut cluster.root(1).await,
            "SELECT COUNT(*) FROM fault_roles.written WHERE v = 2",
        )
        .await;
        assert_eq!(count, "1", "the write is not on the new primary");
        assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM written WHERE v = 2").await, "1");
        // And back, without what the other wrote in between.
        run(&mut two, "DELETE FROM fault_roles.written WHERE v = 2").await;
        run(&mut two, "SET GLOBAL super_read_only = ON").await;
        cluster.replicates(1).await;
        run(&mut one, "SET GLOBAL super_read_only = OFF").await;
        run(&mut one, "SET GLOBAL read_only = OFF").await;
        until("writes to land on the old primary again", async || {
            conn.query_drop("INSERT INTO written (v) VALUES (3)").await.is_ok()
        })
        .await;
        let count = text(
            &mut cluster.root(0).await,
            "SELECT COUNT(*) FROM fault_roles.written WHERE v = 3",
        )
        .await;
        assert_eq!(count, "1", "the write is not on the primary");
        cluster.settle().await;
    })
    .await;
}

/// The primary restarts: writes fail or wait meanwhile, none is done twice, and all is well after.
#[tokio::test]
async fn a_primary_that_restarts_is_used_again_and_no_write_runs_twice() {
    bounded(async {
        let (cluster, weir) = prepare(TestCluster::beheadable().await, "fault_primary").await;
        if cluster.containers.is_empty() {
            assert!(direct(), "servers that were there already are not for killing");
            return;
        }
        let mut acknowledged = Vec::new();
        let mut failed = 0_u32;
        let mut conn = connect(&weir.address, TESTER, Some("fault_primary")).await.unwrap();
        let killed = std::cell::Cell::new(false);
        let writes = async {
            for number in 0..600_u32 {
                if number == 100 {
                    cluster.docker("kill", 0);
                    killed.set(true);
                }
                let insert = format!("INSERT INTO written (v) VALUES ({number})");
                match tokio::time::timeout(Duration::from_secs(20), conn.query_drop(insert)).await {
                    Ok(Ok(())) => acknowledged.push(number),
                    Ok(Err(_)) | Err(_) => {
                        failed += 1;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        let again = connect(&weir.address, TESTER, Some("fault_primary")).await;
                        conn = again.unwrap_or(conn);
                    }
                }
                if acknowledged.len() > 300 {
                    break;
                }
            }
        };
        let revival = async {
            until("the kill", async || killed.get()).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            cluster.docker("start", 0);
            // Servers of a managed cluster start read-only; this Weir does not manage them.
            let mut root = cluster.root(0).await;
            run(&mut root, "SET GLOBAL super_read_only = OFF").await;
            run(&mut root, "SET GLOBAL read_only = OFF").await;
        };
        tokio::join!(writes, revival);
        // The statement that was under way is the only one that may fail: the others wait.
        assert!(failed <= 1, "{failed} statements failed");
        assert!(
            acknowledged.len() > 200,
            "writes did not come back: {} of them",
            acknowledged.len()
        );
        for replica in 1..3 {
            cluster.replicates(replica).await;
        }
        cluster.settle().await;
        let rows: Vec<(u32, u32)> = cluster
            .root(0)
            .await
            .query("SELECT v, COUNT(*) FROM fault_primary.written GROUP BY v")
            .await
            .unwrap();
        assert!(rows.iter().all(|(_, count)| *count == 1), "a write ran twice: {rows:?}");
        let lost: Vec<u32> = acknowledged
            .into_iter()
            .filter(|number| !rows.iter().any(|(v, _)| v == number))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    })
    .await;
}
