//! The idle connections of one worker, and leases on them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::connect::{Account, ConnectError, Connector};
use crate::backend::connection::Connection;
use crate::backend::state::State;
use crate::config::Server;
use crate::topology::ServerId;
use crate::wire::Capabilities;

/// What the connections of one pool have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    pub server: ServerId,
    pub user: Rc<[u8]>,
    /// The generation of the user's password: a changed password makes a new pool.
    pub generation: u64,
    /// See `connect::answer_bits`.
    pub capabilities: Capabilities,
}

/// Why a session got no connection.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All connections were in use for `[pool] wait_seconds`.
    #[error("all {limit} connections to the server are in use, waited {waited:?}")]
    Full { limit: usize, waited: Duration },
}

/// Sizes and times of `[pool]`, as they apply to one worker.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections to one server from this worker.
    pub per_server: usize,
    pub max_idle: Duration,
    pub wait: Duration,
}

/// All pools of one worker.
#[derive(Debug)]
pub struct Pools {
    connector: Connector,
    limits: Limits,
    servers: RefCell<HashMap<ServerId, Rc<ServerSlots>>>,
    next_id: Cell<u64>,
}

/// The connections of this worker to one server, over all users.
#[derive(Debug, Default)]
struct ServerSlots {
    open: Cell<usize>,
    /// Commands under way.
    active: Cell<u32>,
    #[expect(clippy::vec_box, reason = "a connection is moved between lists, leases and sessions")]
    idle: RefCell<HashMap<PoolKey, Vec<Box<Connection>>>>,
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// A connection on loan. Given back when dropped if it is clean, closed otherwise.
#[derive(Debug)]
pub struct Lease {
    connection: Option<Box<Connection>>,
    key: PoolKey,
    slots: Rc<ServerSlots>,
}

impl Pools {
    /// No connections yet.
    pub fn new(connector: Connector, limits: Limits) -> Self {
        Self { connector, limits, servers: RefCell::default(), next_id: Cell::new(1) }
    }

    /// Leases of a server that are out in this worker.
    pub fn active(&self, server: ServerId) -> u32 {
        self.servers.borrow().get(&server).map_or(0, |slots| slots.active.get())
    }

    fn slots(&self, server: ServerId) -> Rc<ServerSlots> {
        Rc::clone(self.servers.borrow_mut().entry(server).or_default())
    }

    /// The idle connection that `session` used last on this server, if nobody used it since.
    pub fn take_previous(&self, key: &PoolKey, session: u64, connection: u64) -> Option<Lease> {
        let slots = self.slots(key.server);
        let taken = {
            let mut idle = slots.idle.borrow_mut();
            let list = idle.get_mut(key)?;
            let at = list.iter().position(|c| c.id == connection && c.last_session == session)?;
            list.remove(at)
        };
        taken_if_quiet(taken, key, &slots)
    }

    /// A connection for `session` that is in state `wanted` or can be brought to it: an idle one,
    /// else a new one, else the next that is given back. Dropping the future gives up the place.
    pub async fn lease(
        &self,
        key: &PoolKey,
        config: &Server,
        account: &Account,
        wanted: &State,
        session: u64,
    ) -> Result<Lease, LeaseError> {
        let slots = self.slots(key.server);
        let started = Instant::now();
        loop {
            while let Some(idle) = best_idle(&slots, key, wanted, session) {
                if let Some(lease) = taken_if_quiet(idle, key, &slots) {
                    return Ok(lease);
                }
            }
            if slots.open.get() < self.limits.per_server || close_one_idle(&slots) {
                return self.open(key, config, account, slots).await;
            }
            let left = self.limits.wait.saturating_sub(started.elapsed());
            if tokio::time::timeout(left, Waiting::begin(&slots).turn()).await.is_err() {
                let waited = started.elapsed();
                return Err(LeaseError::Full { limit: self.limits.per_server, waited });
            }
        }
    }

    /// A new login, counted but not in a pool yet: proves a password. `adopt` pools it.
    pub async fn open_new(
        &self,
        server: ServerId,
        config: &Server,
        account: &Account,
    ) -> Result<Opened, ConnectError> {
        let slots = self.slots(server);
        if slots.open.get() >= self.limits.per_server {
            close_one_idle(&slots);
        }
        let place = Place::take(slots);
        let connection = self.connector.open(self.new_id(), server, config, account).await?;
        Ok(Opened { connection: Box::new(connection), place })
    }

    /// Pools a new login under the key that its proof made known.
    pub fn adopt(&self, key: PoolKey, opened: Opened) {
        let slots = self.slots(key.server);
        opened.place.keep();
        drop(Lease::new(opened.connection, key, slots));
    }

    fn new_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    async fn open(
        &self,
        key: &PoolKey,
        config: &Server,
        account: &Account,
        slots: Rc<ServerSlots>,
    ) -> Result<Lease, LeaseError> {
        let place = Place::take(Rc::clone(&slots));
        let connection = self.connector.open(self.new_id(), key.server, config, account).await?;
        place.keep();
        Ok(Lease::new(Box::new(connection), key.clone(), slots))
    }

    /// Closes what was idle for longer than `[pool] max_idle_seconds`, or belongs to a server that
    /// is not in `servers` any more.
    pub fn reap(&self, now: Instant, servers: &dyn Fn(ServerId) -> bool) {
        for (id, slots) in self.servers.borrow().iter() {
            let mut closed = 0;
            slots.idle.borrow_mut().retain(|_, list| {
                let before = list.len();
                list.retain_mut(|c| {
                    servers(*id)
                        && now.saturating_duration_since(c.idle_since) < self.limits.max_idle
                        && c.stream.is_quiet()
                });
                closed += before - list.len();
                !list.is_empty()
            });
            slots.closed(closed);
        }
    }

    /// Closes the idle connections of a user whose password is not of this generation any more.
    pub fn forget_user(&self, user: &[u8], generation: Option<u64>) {
        for slots in self.servers.borrow().values() {
            let mut closed = 0;
            slots.idle.borrow_mut().retain(|key, list| {
                let stale = key.user.as_ref() == user && Some(key.generation) != generation;
                closed += if stale { list.len() } else { 0 };
                !stale
            });
            slots.closed(closed);
        }
    }
}

/// A connection that belongs to no pool yet.
#[derive(Debug)]
pub struct Opened {
    connection: Box<Connection>,
    place: Place,
}

/// A counted place for a connection that is being opened; given up when dropped.
#[derive(Debug)]
struct Place {
    slots: Option<Rc<ServerSlots>>,
}

impl Place {
    fn take(slots: Rc<ServerSlots>) -> Self {
        slots.open.set(slots.open.get() + 1);
        Self { slots: Some(slots) }
    }

    fn keep(mut self) {
        self.slots = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.closed(1);
        }
    }
}

/// A place in the queue for a connection. When it is given up after its turn came, the turn passes on.
struct Waiting {
    turn: oneshot::Receiver<()>,
    slots: Rc<ServerSlots>,
}

impl Waiting {
    fn begin(slots: &Rc<ServerSlots>) -> Self {
        let (give, turn) = oneshot::channel();
        slots.waiters.borrow_mut().push_back(give);
        Self { turn, slots: Rc::clone(slots) }
    }

    async fn turn(mut self) {
        let _ = (&mut self.turn).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.turn.try_recv().is_ok() {
            self.slots.wake_one();
        }
    }
}

impl ServerSlots {
    /// Counts connections as gone and lets as many waiters try.
    fn closed(&self, count: usize) {
        self.open.set(self.open.get().saturating_sub(count));
        for _ in 0..count {
            self.wake_one();
        }
    }

    fn wake_one(&self) {
        while let Some(waiter) = self.waiters.borrow_mut().pop_front() {
            if waiter.send(()).is_ok() {
                break;
            }
        }
    }
}

/// The idle connection that needs the least to become `wanted`: the session's own last one, else one
/// in the same state, else any that can become it.
fn best_idle(
    slots: &ServerSlots,
    key: &PoolKey,
    wanted: &State,
    session: u64,
) -> Option<Box<Connection>> {
    let mut idle = slots.idle.borrow_mut();
    let list = idle.get_mut(key)?;
    let newest = list.last()?;
    if newest.last_session == session && newest.state.same(wanted) {
        return list.pop();
    }
    let mut best: Option<(u8, usize)> = None;
    for (at, connection) in list.iter().enumerate().rev() {
        let same = connection.state.same(wanted);
        let rank = match (same, connection.last_session == session) {
            (true, true) => 4,
            (true, false) if connection.insert_id_owner.is_none() => 3,
            (true, false) => 2,
            (false, _) if connection.state.can_become(wanted) => 1,
            _ => 0,
        };
        if rank > best.map_or(0, |b| b.0) {
            best = Some((rank, at));
            if rank == 4 {
                break;
            }
        }
    }
    best.map(|(_, at)| list.remove(at))
}

/// Leases an idle connection unless the server has closed or spoken on it meanwhile.
fn taken_if_quiet(
    mut connection: Box<Connection>,
    key: &PoolKey,
    slots: &Rc<ServerSlots>,
) -> Option<Lease> {
    if connection.stream.is_quiet() {
        return Some(Lease::new(connection, key.clone(), Rc::clone(slots)));
    }
    slots.closed(1);
    None
}

/// Closes the longest idle connection of any user; false when none is idle.
fn close_one_idle(slots: &ServerSlots) -> bool {
    let mut idle = slots.idle.borrow_mut();
    let oldest = idle
        .iter()
        .filter_map(|(key, list)| list.first().map(|c| (c.idle_since, key.clone())))
        .min_by_key(|(since, _)| *since);
    let Some((_, key)) = oldest else { return false };
    let Some(list) = idle.get_mut(&key) else { return false };
    list.remove(0);
    if list.is_empty() {
        idle.remove(&key);
    }
    slots.open.set(slots.open.get().saturating_sub(1));
    true
}

impl Lease {
    fn new(connection: Box<Connection>, key: PoolKey, slots: Rc<ServerSlots>) -> Self {
        slots.active.set(slots.active.get() + 1);
        Self { connection: Some(connection), key, slots }
    }

    /// The server at the other end.
    pub fn server(&self) -> ServerId {
        self.key.server
    }

    /// The connection.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_deref_mut()
    }

    /// The connection's id in this worker.
    pub fn connection_id(&self) -> u64 {
        self.connection.as_ref().map_or(0, |c| c.id)
    }

    /// The connection must not be used by anyone else after this lease.
    pub fn taint(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.tainted = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slots.active.set(self.slots.active.get().saturating_sub(1));
        let Some(mut connection) = self.connection.take() else { return };
        if connection.is_clean() {
            connection.idle_since = Instant::now();
            let mut idle = self.slots.idle.borrow_mut();
            if let Some(list) = idle.get_mut(&self.key) {
                list.push(connection);
            } else {
                idle.insert(self.key.clone(), vec![connection]);
            }
            drop(idle);
            self.slots.wake_one();
        } else {
            drop(connection);
            self.slots.closed(1);
        }
    }
}
