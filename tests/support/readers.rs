//! Clients that read through Weir while things happen that none of them is to notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use super::stage::Stage;

/// Each has one connection for its whole life.
const READERS: usize = 8;

/// Clients that read until they are stopped.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    errors: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Readers {
    pub(crate) fn start(stage: &Stage) -> Self {
        let (stop, errors) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let tasks = (0..READERS).map(|_| {
            let (stop, errors) = (Arc::clone(&stop), Arc::clone(&errors));
            let options = stage.application().tcp_port(stage.port);
            tokio::spawn(async move {
                let mut rounds = 0;
                if let Err(error) = read(options, &stop, &mut rounds).await {
                    errors.lock().unwrap().push(error.to_string());
                }
                rounds
            })
        });
        Self { tasks: tasks.collect(), stop, errors }
    }

    /// Stops them. Each read something, and none saw an error.
    pub(crate) async fn finish(self, stage: &Stage) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert!(task.await.unwrap() > 0, "{:?}", self.errors);
        }
        assert_eq!(*self.errors.lock().unwrap(), Vec::<String>::new(), "{}", stage.log());
    }
}

/// A prepared statement, one that takes a while, and a transaction, over and over.
async fn read(
    options: OptsBuilder,
    stop: &AtomicBool,
    rounds: &mut u64,
) -> Result<(), mysql_async::Error> {
    let mut conn = Conn::new(options).await?;
    let prepared = conn.prep("SELECT COUNT(*) FROM written WHERE id > ?").await?;
    while !stop.load(Ordering::Relaxed) {
        let _count: Option<u64> = conn.exec_first(&prepared, (*rounds,)).await?;
        let slept: Option<u8> = conn.query_first("SELECT SLEEP(0.1)").await?;
        assert_eq!(slept, Some(0), "the server was stopped under a statement");
        conn.query_drop("START TRANSACTION READ ONLY").await?;
        let before: Option<u64> = conn.query_first("SELECT COUNT(*) FROM written").await?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let after: Option<u64> = conn.query_first("SELECT COUNT(*) FROM written").await?;
        assert_eq!(before, after, "a transaction has one view");
        conn.query_drop("COMMIT").await?;
        *rounds += 1;
    }
    conn.disconnect().await
}
