//! Watches the servers: asks each of them, several times a second, what it is and how it does, and
//! publishes the answers as a [`Topology`].
//!
//! `seen` holds plain values; `probe` asks a server for them over `connect`'s connections; `roles`,
//! `lag` and `health` judge them without I/O or clock; `watch` is one task a server, and the board
//! task here is the only one that judges and publishes.

pub mod connect;
pub mod health;
pub mod lag;
pub mod probe;
pub mod roles;
pub mod seen;
mod tunnel;
pub mod watch;

#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch as signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::health::{Board, Rules, Verdict};
use self::watch::{Report, Watch};
use crate::config;
use crate::topology::{ServerId, Suspects, Topology};

/// Reports that wait for the board, at most; a watcher whose report finds no room waits.
const MAX_REPORTS: usize = 64;

/// How long an answer of the primary says something about now, at least.
const LEAST_FRESH: Duration = Duration::from_secs(3);

/// How long a replica of a managed cluster may have what the primary has not; a commit waits at most two
/// seconds for its receipt.
const OWN_FOR: Duration = Duration::from_secs(5);

/// The running monitor.
#[derive(Debug, Clone)]
pub struct MonitorHandle {
    suspects: Suspects,
    first: signal::Receiver<bool>,
    changes: signal::Receiver<()>,
    tasks: TaskTracker,
}

impl MonitorHandle {
    /// Returns when every server has answered or failed once, and that topology is published; at
    /// once when it is. Dropping it loses nothing.
    pub async fn first_probe_done(&self) {
        let mut first = self.first.clone();
        // An error means that the monitor has ended: nothing more will come.
        let _ended = first.wait_for(|done| *done).await;
    }

    /// Told after every topology that was published.
    pub fn changes(&self) -> signal::Receiver<()> {
        self.changes.clone()
    }

    /// What sessions tell failures to.
    pub fn suspects(&self) -> Suspects {
        self.suspects.clone()
    }

    /// Returns when all tasks have ended, after the token given to [`start`] was cancelled.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// Starts one task a server and the board, on the runtime that it is called in. Server n of `servers`
/// gets `ServerId(n)`. `publish` gets a new topology whenever something changed in it; until a
/// server was asked its role is `Unknown`.
pub fn start(
    servers: Vec<Arc<config::Server>>,
    monitor: config::Monitor,
    lag: config::Lag,
    publish: Arc<ArcSwap<Topology>>,
    cancel: CancellationToken,
) -> MonitorHandle {
    let tasks = TaskTracker::new();
    let started = Instant::now();
    let (reports, received) = mpsc::channel(MAX_REPORTS);
    let (done, first) = signal::channel(servers.is_empty());
    let (changed, changes) = signal::channel(());
    let fresh = LEAST_FRESH.max(monitor.interval * 3);
    let own_for = monitor.managed.then_some(OWN_FOR);
    let rules = Rules { failures: monitor.failures, max_lag: lag.max, fresh, own_for };
    let mut board = Board::new(servers.clone(), rules);
    publish.store(Arc::new(board.judge().topology));

    let monitor = Arc::new(monitor);
    let mut wakes = Vec::with_capacity(servers.len());
    for (id, server) in (0..).map(ServerId).zip(servers) {
        let wake = Arc::new(Notify::new());
        wakes.push(Arc::clone(&wake));
        let watch = Watch {
            id,
            server,
            monitor: Arc::clone(&monitor),
            started,
            reports: reports.clone(),
            wake,
        };
        tasks.spawn(watch.run(cancel.clone()));
    }
    tasks.spawn(judge(board, received, publish, (done, changed)));
    tasks.close();
    MonitorHandle { suspects: suspects(wakes), first, changes, tasks }
}

fn suspects(wakes: Vec<Arc<Notify>>) -> Suspects {
    Suspects::new(move |server| {
        let wake = usize::try_from(server.0).ok().and_then(|place| wakes.get(place));
        if let Some(wake) = wake {
            wake.notify_one();
        }
    })
}

/// Takes reports until the last watcher has ended.
async fn judge(
    mut board: Board,
    mut reports: mpsc::Receiver<Report>,
    publish: Arc<ArcSwap<Topology>>,
    (done, changed): (signal::Sender<bool>, signal::Sender<()>),
) {
    while let Some(report) = reports.recv().await {
        board.observe(report.id, report.at, report.outcome);
        let Verdict { topology, changes, differs } = board.judge();
        if differs {
            publish.store(Arc::new(topology));
            changed.send_replace(());
        }
        for change in changes {
            tell(&change);
        }
        if board.all_asked() {
            done.send_replace(true);
        }
    }
}

/// One line for each change of role or health, never for a probe.
fn tell(change: &health::Change) {
    let (server, role) = (change.server.as_str(), change.role);
    match &change.trouble {
        None => tracing::info!(server, ?role, "server is usable"),
        Some(why) => tracing::warn!(server, ?role, why = &**why, "server is not usable"),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{config, monitor_settings};
    use super::*;
    use crate::topology::Health;

    #[tokio::test]
    async fn starts_publishes_and_stops() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut server = (*config('a')).clone();
        server.address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let publish = Arc::new(ArcSwap::default());
        let cancel = CancellationToken::new();
        let lag = config::Lag { max: Duration::from_secs(10) };
        let servers = vec![Arc::new(server)];
        let monitor = start(servers, monitor_settings(), lag, Arc::clone(&publish), cancel.clone());
        assert_eq!(publish.load().servers.len(), 1, "published before anything was asked");
        monitor.first_probe_done().await;
        let refused = Health::Unusable("connection refused".into());
        assert_eq!(publish.load().get(ServerId(0)).unwrap().health, refused);
        monitor.suspects().tell(ServerId(0));
        monitor.suspects().tell(ServerId(7));
        cancel.cancel();
        monitor.stopped().await;
        monitor.first_probe_done().await;
    }

    #[tokio::test]
    async fn without_servers_nothing_is_waited_for() {
        let lag = config::Lag { max: Duration::from_secs(10) };
        let publish = Arc::new(ArcSwap::default());
        let monitor = start(Vec::new(), monitor_settings(), lag, publish, CancellationToken::new());
        monitor.first_probe_done().await;
        monitor.stopped().await;
    }
}
