//! A client that writes to servers themselves while nodes change, and what each node must have in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::NodeView;
use weir::topology::Role;

use super::managed::{Fixture, login};

/// Inserts rows into `app_data.flow` as fast as they are acknowledged, one number each, until it is told to end.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(Vec<u32>, Duration)>,
}

impl Writer {
    /// Goes to whichever of these servers, each host:port, takes writes.
    pub(crate) fn start(fixture: &Fixture, addresses: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let password = fixture.state().application.expose().to_owned();
        Self {
            stop,
            task: tokio::spawn(async move { write(&addresses, &password, &ending).await }),
        }
    }

    /// The acknowledged numbers, and the longest time without one.
    pub(crate) async fn end(self) -> (Vec<u32>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn write(addresses: &[String], password: &str, stop: &AtomicBool) -> (Vec<u32>, Duration) {
    let (mut acknowledged, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    let mut number = 0;
    for address in addresses.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut conn) = login(address, "app", password, Some("app_data")).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            // An error leaves open whether the row is there; its number is not used again.
            if conn.query_drop(format!("INSERT INTO flow VALUES ({number})")).await.is_err() {
                break;
            }
            acknowledged.push(number);
            longest = longest.max(last.elapsed());
            last = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    (acknowledged, longest)
}

/// Every acknowledged row is on the node, which takes writes if it is the primary and else none.
pub(crate) async fn check_flow(root: &mut Conn, node: &NodeView, acknowledged: &[u32]) {
    let rows: Vec<u32> = root.query("SELECT v FROM app_data.flow ORDER BY v").await.unwrap();
    let lost: Vec<&u32> = acknowledged.iter().filter(|v| rows.binary_search(v).is_err()).collect();
    assert!(lost.is_empty(), "{} lacks {lost:?}", node.name);
    let locked: Option<u32> = root.query_first("SELECT @@super_read_only").await.unwrap();
    assert_eq!(locked == Some(0), node.role == Role::Primary, "{}", node.name);
}
