//! Clients that write through Weir while things break, and remember what must be there in the end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use super::stage::Stage;
use super::wait::until_or_show;

/// Writers at once; every third writes in transactions of two statements.
pub(crate) const WRITERS: u64 = 12;
/// Between two writes of one writer: several clusters share the machine.
const PAUSE: Duration = Duration::from_millis(80);
/// How long a fault may keep writes from being acknowledged.
pub(crate) const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Clients that write until they are stopped, and remember what was acknowledged.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    count: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Weir's, which is shown when nothing is acknowledged.
    log: PathBuf,
}

impl Writers {
    pub(crate) async fn start(stage: &Stage) -> Self {
        Self::with(stage, 0, Duration::ZERO).await
    }

    /// With numbers from `first` on, and transactions that stay open for so long.
    pub(crate) async fn with(stage: &Stage, first: u64, open: Duration) -> Self {
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
            log: stage.path("log"),
        };
        for writer in 0..WRITERS {
            let options = stage.application().tcp_port(stage.port);
            let (stop, errors) = (Arc::clone(&writers.stop), Arc::clone(&writers.errors));
            let (acknowledged, count) =
                (Arc::clone(&writers.acknowledged), Arc::clone(&writers.count));
            writers.tasks.push(tokio::spawn(async move {
                let mut conn = None;
                let mut id = first + writer;
                while !stop.load(Ordering::Relaxed) {
                    id += WRITERS;
                    let in_transaction = (writer % 3 == 0).then_some(open);
                    let written = write(&mut conn, &options, id, in_transaction).await;
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
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        writers.goes_on().await;
        writers
    }

    /// Waits until writes of every moment from now on are acknowledged; how long that took.
    pub(crate) async fn goes_on(&self) -> Duration {
        let started = Instant::now();
        let before = self.count.load(Ordering::Relaxed);
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        until_or_show(RECOVERY_LIMIT, "writes to be acknowledged", log, async || {
            (self.count.load(Ordering::Relaxed) > before + 2 * WRITERS).then_some(())
        })
        .await;
        started.elapsed()
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// Stops them; ids of all that was acknowledged.
    pub(crate) async fn finish(self) -> Vec<u64> {
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
    in_transaction: Option<Duration>,
) -> Result<(), mysql_async::Error> {
    if conn.is_none() {
        *conn = Some(Conn::new(options.clone()).await?);
    }
    let conn = conn.as_mut().unwrap();
    if let Some(open) = in_transaction {
        conn.query_drop("BEGIN").await?;
        conn.query_drop(format!("INSERT INTO written VALUES ({id})")).await?;
        tokio::time::sleep(open).await;
        conn.query_drop(format!("UPDATE written SET id = id WHERE id = {id}")).await?;
        return conn.query_drop("COMMIT").await;
    }
    conn.exec_drop("INSERT INTO written VALUES (?)", (id,)).await
}
