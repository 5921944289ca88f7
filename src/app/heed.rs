//! What a Weir does when the primary shows that its role is about to be moved, by whomever: the door is closed while
//! that lasts, and when nobody is inside any more, that is said.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::clients::OwnMove;
use crate::monitor::MonitorHandle;
use crate::session::Door;
use crate::session::worker::Shared;
use crate::topology::{Move, ServerId, Topology};

/// Between two looks at who is inside, and at the servers, while a move lasts.
const POLL: Duration = Duration::from_millis(5);
/// How long clients are kept waiting for a move at least, where `hold_seconds` is less.
const LEAST_LIMIT: Duration = Duration::from_secs(5);

/// The task that heeds announcements.
#[derive(Debug)]
pub(super) struct Heed {
    door: Arc<Door>,
    topology: Arc<ArcSwap<Topology>>,
    monitor: MonitorHandle,
    own_move: OwnMove,
    limit: Duration,
}

/// A move, and the primary that announces it.
type Announced = (ServerId, Move);

impl Heed {
    pub(super) fn new(shared: &Shared, monitor: MonitorHandle, own_move: OwnMove) -> Self {
        // Let in before the first of them has waited for too long, should whoever moves the role hang.
        let limit = (shared.config.proxy.hold * 9 / 10).max(LEAST_LIMIT);
        let (door, topology) = (Arc::clone(&shared.door), Arc::clone(&shared.topology));
        Self { door, topology, monitor, own_move, limit }
    }

    /// Until the monitor ends.
    pub(super) async fn run(self) {
        let mut changes = self.monitor.changes();
        let mut given_up = None;
        loop {
            match self.announced() {
                Some(what) if self.own_move.is(what.1) => self.answer(what).await,
                Some(what) if given_up != Some(what) => {
                    given_up = self.hold(what).await.then_some(what);
                }
                _ => {}
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What the primary shows.
    fn announced(&self) -> Option<Announced> {
        let topology = self.topology.load();
        let primary = topology.primary()?;
        primary.moves.map(|which| (primary.id, which))
    }

    /// Whether there is a primary that does not announce this move: another, or the old one again.
    fn is_over(&self, (server, which): Announced) -> bool {
        let topology = self.topology.load();
        topology.primary().is_some_and(|now| (now.id, now.moves) != (server, Some(which)))
    }

    /// This process moves the role itself, and closes its own door when the others wait.
    async fn answer(&self, what: Announced) {
        self.monitor.waits(Some(what));
        while !self.is_over(what) {
            tokio::time::sleep(POLL).await;
        }
        self.monitor.waits(None);
    }

    /// Keeps clients outside until the move is over; whether that took too long.
    async fn hold(&self, what: Announced) -> bool {
        let since = Instant::now();
        self.door.close();
        tracing::debug!("the primary is about to be moved: what would begin there waits");
        while !self.is_over(what) && since.elapsed() < self.limit {
            if self.door.inside() == 0 {
                self.monitor.waits(Some(what));
            }
            // The new one, or the old one that stays, is to be seen at once.
            for server in &self.topology.load().servers {
                self.monitor.suspects().tell(server.id);
            }
            tokio::time::sleep(POLL).await;
        }
        self.monitor.waits(None);
        self.door.open();
        let held = since.elapsed().as_millis();
        let now = self.topology.load().primary().map(|primary| primary.id);
        if !self.is_over(what) {
            tracing::warn!(
                "another Weir takes long to move the primary: writes go on after {held} ms"
            );
        } else if now == Some(what.0) {
            tracing::info!(
                "another Weir did not move the primary after all; writes were held for {held} ms"
            );
        } else {
            tracing::info!("another Weir moved the primary; writes were held for {held} ms");
        }
        !self.is_over(what)
    }
}
