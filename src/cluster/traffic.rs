//! What moving the primary asks of the part of Weir that clients are connected to.

use crate::config::Server;
use crate::topology::Move;

/// Holds back what would write, and says what sessions see. Every call returns at once.
pub trait Traffic: Send + Sync + std::fmt::Debug {
    /// From now on statements that need the primary wait; transactions that are open go on.
    fn close(&self);

    /// They wait no longer.
    fn open(&self);

    /// How many statements and transactions are under way on the primary.
    fn inside(&self) -> usize;

    /// Has every server asked at once.
    fn look(&self);

    /// These are the servers from now on; those that stay are not disturbed.
    fn set_servers(&self, servers: Vec<Server>);

    /// Whether sessions use the server of that name as the primary.
    fn uses(&self, primary: &str) -> bool;

    /// The move of that name is this process's own, which closes the door itself; `None`: none is any more.
    fn moves(&self, own: Option<Move>);
}

/// No client is connected through this process: nothing to hold back, nobody to wait for.
#[derive(Debug, Clone, Copy)]
pub struct NoTraffic;

impl Traffic for NoTraffic {
    fn close(&self) {}

    fn open(&self) {}

    fn inside(&self) -> usize {
        0
    }

    fn look(&self) {}

    fn set_servers(&self, _servers: Vec<Server>) {}

    fn uses(&self, _primary: &str) -> bool {
        true
    }

    fn moves(&self, _own: Option<Move>) {}
}

/// Closes the door, and opens it again when dropped, however the move ends.
#[derive(Debug)]
pub(super) struct Closed<'t>(&'t dyn Traffic);

impl<'t> Closed<'t> {
    pub(super) fn close(traffic: &'t dyn Traffic) -> Self {
        traffic.close();
        Self(traffic)
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}
