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
    #[error("the server is not known any more")]
    Gone,
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
    /// A handful: a search through them costs less than a hash.
    servers: RefCell<Vec<Rc<ServerSlots>>>,
    pools: RefCell<HashMap<PoolKey, Rc<Pool>>>,
    next_id: Cell<u64>,
}

/// The connections of this worker to one server, over all users.
#[derive(Debug)]
struct ServerSlots {
    server: ServerId,
    open: Cell<usize>,
    /// Commands under way.
    active: Cell<u32>,
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// The idle connections that have a [`PoolKey`] in common. Sessions keep theirs at hand.
#[derive(Debug)]
pub struct Pool {
    key: PoolKey,
    #[expect(clippy::vec_box, reason = "a connection is moved between lists, leases and sessions")]
    idle: RefCell<Vec<Box<Connection>>>,
    slots: Rc<ServerSlots>,
}

/// A connection on loan. Given back when dropped if it is clean, closed otherwise.
#[derive(Debug)]
pub struct Lease {
    connection: Option<Box<Connection>>,
    pool: Rc<Pool>,
}

impl Pools {
    /// No connections yet.
    pub fn new(connector: Connector, limits: Limits) -> Self {
        Self {
            connector,
            limits,
            servers: RefCell::default(),
            pools: RefCell::default(),
            next_id: Cell::new(1),
        }
    }

    /// Leases of a server that are out in this worker.
    pub fn active(&self, server: ServerId) -> u32 {
        let servers = self.servers.borrow();
        servers.iter().find(|slots| slots.server == server).map_or(0, |slots| slots.active.get())
    }

    fn slots(&self, server: ServerId) -> Rc<ServerSlots> {
        let mut servers = self.servers.borrow_mut();
        if let Some(slots) = servers.iter().find(|slots| slots.server == server) {
            return Rc::clone(slots);
        }
        let slots = Rc::new(ServerSlots::new(server));
        servers.push(Rc::clone(&slots));
        slots
    }

    /// The pool of that key.
    pub fn pool(&self, key: PoolKey) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&key) {
            return Rc::clone(pool);
        }
        let slots = self.slots(key.server);
        let pool = Rc::new(Pool { key: key.clone(), idle: RefCell::default(), slots });
        pools.insert(key, Rc::clone(&pool));
        pool
    }

    /// A connection for `session` that is in state `wanted` or can be brought to it: an idle one,
    /// else a new one, else the next that is given back. Dropping the future gives up the place.
    pub async fn lease(
        &self,
        pool: &Rc<Pool>,
        config: &Server,
        account: &Account,
        wanted: &State,
        session: u64,
    ) -> Result<Lease, LeaseError> {
        let slots = &pool.slots;
        let started = Instant::now();
        loop {
            if let Some(lease) = pool.take(wanted, session) {
                return Ok(lease);
            }
            if slots.open.get() < self.limits.per_server || self.close_one_idle(slots) {
                return self.open(pool, config, account).await;
            }
            let left = self.limits.wait.saturating_sub(started.elapsed());
            if tokio::time::timeout(left, Waiting::begin(slots).turn()).await.is_err() {
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
            self.close_one_idle(&slots);
        }
        let place = Place::take(slots);
        let connection = self.connector.open(self.new_id(), server, config, account).await?;
        Ok(Opened { connection: Box::new(connection), place })
    }

    /// Pools a new login under the key that its proof made known.
    pub fn adopt(&self, key: PoolKey, opened: Opened) {
        opened.place.keep();
        drop(Lease::new(opened.connection, self.pool(key)));
    }

    fn new_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    async fn open(
        &self,
        pool: &Rc<Pool>,
        config: &Server,
        account: &Account,
    ) -> Result<Lease, LeaseError> {
        let place = Place::take(Rc::clone(&pool.slots));
        let connection =
            self.connector.open(self.new_id(), pool.key.server, config, account).await?;
        place.keep();
        Ok(Lease::new(Box::new(connection), Rc::clone(pool)))
    }

    /// Closes the longest idle connection to a server, of any user; false when none is idle.
    fn close_one_idle(&self, slots: &Rc<ServerSlots>) -> bool {
        let pools = self.pools.borrow();
        let oldest = pools
            .values()
            .filter(|pool| Rc::ptr_eq(&pool.slots, slots))
            .filter_map(|pool| pool.idle.borrow().first().map(|c| (c.idle_since, pool)))
            .min_by_key(|(since, _)| *since);
        let Some((_, pool)) = oldest else { return false };
        drop(pool.idle.borrow_mut().remove(0));
        slots.open.set(slots.open.get().saturating_sub(1));
        true
    }

    /// Closes what was idle for longer than `[pool] max_idle_seconds`, or belongs to a server for which `servers`
    /// is false. Forgets pools that are empty and in nobody's hands.
    pub fn reap(&self, now: Instant, servers: &dyn Fn(ServerId) -> bool) {
        self.pools.borrow_mut().retain(|key, pool| {
            let mut idle = pool.idle.borrow_mut();
            let before = idle.len();
            idle.retain_mut(|c| {
                servers(key.server)
                    && now.saturating_duration_since(c.idle_since) < self.limits.max_idle
                    && c.stream.is_quiet()
            });
            pool.slots.closed(before - idle.len());
            !idle.is_empty() || Rc::strong_count(pool) > 1
        });
    }

    /// Closes the idle connections to a server.
    pub fn close_idle(&self, server: ServerId) {
        self.close_idle_of(|key| key.server == server);
    }

    /// Closes the idle connections of a user whose password is not of this generation any more.
    pub fn forget_user(&self, user: &[u8], generation: Option<u64>) {
        self.close_idle_of(|key| key.user.as_ref() == user && Some(key.generation) != generation);
    }

    fn close_idle_of(&self, of: impl Fn(&PoolKey) -> bool) {
        for (_, pool) in self.pools.borrow().iter().filter(|(key, _)| of(key)) {
            let closed = std::mem::take(&mut *pool.idle.borrow_mut()).len();
            pool.slots.closed(closed);
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
    fn new(server: ServerId) -> Self {
        Self { server, open: Cell::default(), active: Cell::default(), waiters: RefCell::default() }
    }

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

impl Pool {
    /// The server that its connections go to.
    pub fn server(&self) -> ServerId {
        self.key.server
    }

    /// The idle connection that `session` used last on this server, if nobody used it since.
    pub fn take_previous(self: &Rc<Self>, session: u64, connection: u64) -> Option<Lease> {
        let taken = {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().position(|c| c.id == connection && c.last_session == session)?;
            idle.remove(at)
        };
        self.taken_if_quiet(taken)
    }

    /// An idle connection for `session` that is in state `wanted` or can be brought to it.
    pub fn take(self: &Rc<Self>, wanted: &State, session: u64) -> Option<Lease> {
        loop {
            let idle = self.best_idle(wanted, session)?;
            if let Some(lease) = self.taken_if_quiet(idle) {
                return Some(lease);
            }
        }
    }

    /// The idle connection that needs the least to become `wanted`: the session's own last one, else one
    /// in the same state, else any that can become it.
    fn best_idle(&self, wanted: &State, session: u64) -> Option<Box<Connection>> {
        let mut list = self.idle.borrow_mut();
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
    fn taken_if_quiet(self: &Rc<Self>, mut connection: Box<Connection>) -> Option<Lease> {
        if connection.stream.is_quiet() {
            return Some(Lease::new(connection, Rc::clone(self)));
        }
        self.slots.closed(1);
        None
    }
}

impl Lease {
    fn new(connection: Box<Connection>, pool: Rc<Pool>) -> Self {
        pool.slots.active.set(pool.slots.active.get() + 1);
        Self { connection: Some(connection), pool }
    }

    /// The server at the other end.
    pub fn server(&self) -> ServerId {
        self.pool.key.server
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
        let Pool { idle, slots, .. } = &*self.pool;
        slots.active.set(slots.active.get().saturating_sub(1));
        let Some(mut connection) = self.connection.take() else { return };
        if connection.is_clean() {
            connection.idle_since = Instant::now();
            idle.borrow_mut().push(connection);
            slots.wake_one();
        } else {
            drop(connection);
            slots.closed(1);
        }
    }
}
