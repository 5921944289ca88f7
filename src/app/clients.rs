//! The clients of this process, as moving the primary sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::Traffic;
use crate::config::Server;
use crate::monitor::MonitorHandle;
use crate::session::worker::Shared;
use crate::topology::Move;

/// The move that this process makes, if any. Connection ids begin at one.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnMove(Arc<AtomicU64>);

impl OwnMove {
    pub(super) fn is(&self, which: Move) -> bool {
        self.0.load(Ordering::SeqCst) == which.0
    }
}

#[derive(Debug)]
pub(super) struct Clients {
    shared: Arc<Shared>,
    monitor: MonitorHandle,
    own_move: OwnMove,
}

impl Clients {
    pub(super) fn new(shared: Arc<Shared>, monitor: MonitorHandle, own_move: OwnMove) -> Self {
        Self { shared, monitor, own_move }
    }
}

impl Traffic for Clients {
    fn close(&self) {
        self.shared.door.close();
    }

    fn open(&self) {
        self.shared.door.open();
    }

    fn inside(&self) -> usize {
        self.shared.door.inside()
    }

    fn look(&self) {
        for server in &self.shared.topology.load().servers {
            self.shared.suspects.tell(server.id);
        }
    }

    fn set_servers(&self, servers: Vec<Server>) {
        self.monitor.set_servers(servers.into_iter().map(Arc::new).collect());
    }

    fn uses(&self, primary: &str) -> bool {
        let topology = self.shared.topology.load();
        topology.primary().is_some_and(|server| server.config.name == primary)
    }

    fn moves(&self, own: Option<Move>) {
        self.own_move.0.store(own.map_or(0, |Move(which)| which), Ordering::SeqCst);
    }
}
