//! Watches the servers: asks each of them, several times a second, what it is and how it does, and
//! publishes the answers as a [`Topology`].
//!
//! `seen` holds plain values; `probe` asks a server for them over `connect`'s connections; `roles`, `group`,
//! `lag` and `health` judge them without I/O or clock; `watch` is one task a server, and the board
//! task here is the only one that judges and publishes.

pub mod connect;
mod group;
pub mod health;
pub mod lag;
pub mod probe;
pub mod roles;
pub mod seen;
pub mod signs;
mod tunnel;
pub mod watch;

#[cfg(test)]
mod testing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch as signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::health::{Board, Rules, Verdict};
use self::signs::Said;
use self::watch::{Report, Watch};
use crate::config;
use crate::topology::{Move, ServerId, Suspects, Topology};

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
    wanted: Arc<signal::Sender<Vec<Arc<config::Server>>>>,
    said: signal::Sender<Said>,
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

    /// From now on exactly these servers are watched; one that stays keeps its `ServerId`.
    pub fn set_servers(&self, servers: Vec<Arc<config::Server>>) {
        self.wanted.send_if_modified(|now| {
            let differs = *now != servers;
            *now = servers;
            differs
        });
    }

    /// Says to every server, with each one's next probe, that this Weir serves clients.
    pub fn serves(&self) {
        self.said.send_modify(|said| said.serves = true);
    }

    /// Says to that server that no client of this Weir writes there until that move is over; `None` takes it back.
    pub fn waits(&self, waits: Option<(ServerId, Move)>) {
        let before = self.said.borrow().waits;
        if before == waits {
            return;
        }
        self.said.send_modify(|said| said.waits = waits);
        for (server, _) in before.into_iter().chain(waits) {
            self.suspects.tell(server);
        }
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
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts one task a server and the board, on the runtime that it is called in. Server n of `servers`
/// gets `ServerId(n)`; those that are added later get the numbers after. `publish` gets a new topology
/// whenever something changed in it; until a server was asked its role is `Unknown`.
pub fn start(
    servers: Vec<Arc<config::Server>>,
    monitor: config::Monitor,
    lag: config::Lag,
    publish: Arc<ArcSwap<Topology>>,
    cancel: CancellationToken,
) -> MonitorHandle {
    let tasks = TaskTracker::new();
    let (reports, received) = mpsc::channel(MAX_REPORTS);
    let (done, first) = signal::channel(servers.is_empty());
    let (changed, changes) = signal::channel(());
    let (wanted, wishes) = signal::channel(servers.clone());
    let said = signal::Sender::new(Said::default());
    let fresh = LEAST_FRESH.max(monitor.interval * 3);
    let own_for = monitor.managed.then_some(OWN_FOR);
    let rules = Rules { failures: monitor.failures, max_lag: lag.max, fresh, own_for };
    let wakes = Wakes::default();
    let mut desk = Desk {
        board: Board::new(Vec::new(), rules),
        watched: Vec::new(),
        next: 0,
        monitor: Arc::new(monitor),
        started: Instant::now(),
        reports,
        said: said.clone(),
        wakes: Arc::clone(&wakes),
        tasks: tasks.clone(),
        cancel: cancel.clone(),
        publish,
        done,
        changed,
    };
    desk.set(&servers);
    desk.publish.store(Arc::new(desk.board.judge().topology));
    tasks.spawn(async move {
        let _ended = cancel.run_until_cancelled(desk.work(received, wishes)).await;
    });
    let (suspects, wanted) = (suspects(wakes), Arc::new(wanted));
    MonitorHandle { suspects, first, changes, wanted, said, tasks }
}

/// What wakes the watcher of each server.
type Wakes = Arc<Mutex<HashMap<ServerId, Arc<Notify>>>>;

fn suspects(wakes: Wakes) -> Suspects {
    Suspects::new(move |server| {
        let wakes = wakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = wakes.get(&server) {
            wake.notify_one();
        }
    })
}

/// The one task that judges and publishes, and has servers watched.
struct Desk {
    board: Board,
    watched: Vec<(ServerId, Arc<config::Server>, CancellationToken)>,
    /// The number of the next server.
    next: u32,
    monitor: Arc<config::Monitor>,
    started: Instant,
    reports: mpsc::Sender<Report>,
    said: signal::Sender<Said>,
    wakes: Wakes,
    tasks: TaskTracker,
    cancel: CancellationToken,
    publish: Arc<ArcSwap<Topology>>,
    done: signal::Sender<bool>,
    changed: signal::Sender<()>,
}

impl Desk {
    async fn work(
        &mut self,
        mut reports: mpsc::Receiver<Report>,
        mut wishes: signal::Receiver<Vec<Arc<config::Server>>>,
    ) {
        loop {
            tokio::select! {
                Some(report) = reports.recv() => {
                    self.board.observe(report.id, report.at, report.outcome);
                }
                Ok(()) = wishes.changed() => {
                    let servers = wishes.borrow_and_update().clone();
                    self.set(&servers);
                }
                else => return,
            }
            self.judge();
        }
    }

    /// Watches exactly these servers from now on.
    fn set(&mut self, servers: &[Arc<config::Server>]) {
        let gone = self.watched.extract_if(.., |(_, server, _)| !servers.contains(server));
        for (id, server, cancel) in gone.collect::<Vec<_>>() {
            tracing::info!(server = server.name, "server is no longer part of the cluster");
            cancel.cancel();
            self.board.remove(id);
            self.wakes().remove(&id);
        }
        for server in servers {
            if !self.watched.iter().any(|(_, watched, _)| watched == server) {
                self.watch(Arc::clone(server));
            }
        }
    }

    fn watch(&mut self, server: Arc<config::Server>) {
        let id = ServerId(self.next);
        self.next += 1;
        let (wake, cancel) = (Arc::new(Notify::new()), self.cancel.child_token());
        self.wakes().insert(id, Arc::clone(&wake));
        self.board.add(id, Arc::clone(&server));
        self.watched.push((id, Arc::clone(&server), cancel.clone()));
        let watch = Watch {
            id,
            server,
            monitor: Arc::clone(&self.monitor),
            started: self.started,
            reports: self.reports.clone(),
            wake,
            said: self.said.subscribe(),
        };
        self.tasks.spawn(watch.run(cancel));
    }

    fn wakes(&self) -> MutexGuard<'_, HashMap<ServerId, Arc<Notify>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&mut self) {
        let Verdict { topology, changes, differs } = self.board.judge();
        if differs {
            self.publish.store(Arc::new(topology));
            self.changed.send_replace(());
        }
        for change in changes {
            tell(&change);
        }
        if self.board.all_asked() {
            self.done.send_replace(true);
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
        let cancel = CancellationToken::new();
        let monitor =
            start(Vec::new(), monitor_settings(), lag, Arc::clone(&publish), cancel.clone());
        monitor.first_probe_done().await;
        // One comes, another takes its place: each has an id of its own.
        let named = |name: char| vec![config(name)];
        for (name, id) in [('a', ServerId(0)), ('b', ServerId(1))] {
            monitor.set_servers(named(name));
            let there = async {
                while publish.load().servers.iter().map(|s| s.id).ne([id]) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), there).await.unwrap();
        }
        cancel.cancel();
        monitor.stopped().await;
    }
}
