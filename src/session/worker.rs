//! What sessions share: in one worker without locks, and between workers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::backend::connect::Lacking;
use crate::backend::credentials::Credentials;
use crate::backend::pool::Pools;
use crate::backend::state::Variables;
use crate::config::Config;
use crate::net::buffer::BufferPool;
use crate::session::complaints::Complaints;
use crate::sql::Classifier;
use crate::topology::{ServerId, Suspects, Topology};
use crate::wire::scramble::{LoginKey, RsaError};

/// How long a schema that a user could use is taken as usable at login.
const SCHEMA_TRUSTED: Duration = Duration::from_secs(60);

/// Schemas remembered by a worker, at most.
const MAX_SCHEMAS: usize = 10_000;

/// Shared by all workers; made once by `app`.
pub struct Shared {
    pub config: Arc<Config>,
    pub topology: Arc<ArcSwap<Topology>>,
    pub credentials: Credentials,
    /// See [`Shared::login_key`].
    pub login_key: OnceCell<LoginKey>,
    pub tls: Option<TlsAcceptor>,
    pub registry: Registry,
    pub door: Arc<crate::session::Door>,
    /// What clients are not to be offered.
    pub lacking: Arc<Lacking>,
    /// Tells the monitor that a server failed a session, so that it looks at once.
    pub suspects: Suspects,
    pub started: Instant,
}

impl Shared {
    /// For passwords sent over connections without TLS. The first who asks has it made, which takes some tenths of a
    /// second: Weir starts without, and where every client has TLS it is never needed.
    ///
    /// # Errors
    /// [`RsaError::Generate`]
    pub async fn login_key(self: &Arc<Self>) -> Result<&LoginKey, RsaError> {
        if self.login_key.get().is_none() {
            let shared = Arc::clone(self);
            let made = tokio::spawn(async move {
                let make = || async {
                    let made = tokio::task::spawn_blocking(LoginKey::generate).await;
                    made.unwrap_or(Err(RsaError::Generate))
                };
                shared.login_key.get_or_try_init(make).await.map(|_key| ())
            });
            // A task of its own: a client whose time is over meanwhile does not make the next one begin anew.
            made.await.unwrap_or(Err(RsaError::Generate))?;
        }
        self.login_key.get().ok_or(RsaError::Generate)
    }

    /// What one packet of a client may have, bytes: no more than the primary takes would be of use.
    pub fn packet_limit(&self) -> usize {
        let own = self.config.proxy.max_packet_bytes;
        let taken = self.topology.load().primary().and_then(|primary| primary.max_packet);
        taken.and_then(|bytes| usize::try_from(bytes).ok()).map_or(own, |taken| own.min(taken))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Shared by the sessions of one worker.
#[derive(Debug)]
pub struct Worker {
    pub shared: Arc<Shared>,
    pub pools: Pools,
    pub buffers: Rc<BufferPool>,
    pub classifier: Classifier,
    bases: RefCell<HashMap<u8, Rc<Variables>>>,
    schemas: RefCell<HashMap<SchemaKey, Instant>>,
    seed: Cell<u64>,
    pub(super) complaints: Complaints,
    /// Told when a server has fallen silent.
    silence: Notify,
}

/// User, generation of the password, schema.
type SchemaKey = (Rc<[u8]>, u64, Rc<[u8]>);

impl Worker {
    /// A worker without sessions; `seed` starts its choices between equal replicas.
    pub fn new(
        shared: Arc<Shared>,
        pools: Pools,
        buffers: Rc<BufferPool>,
        classifier: Classifier,
        seed: u64,
    ) -> Self {
        Self {
            shared,
            pools,
            buffers,
            classifier,
            bases: RefCell::default(),
            schemas: RefCell::default(),
            seed: Cell::new(seed | 1),
            complaints: Complaints::default(),
            silence: Notify::new(),
        }
    }

    /// Has those who wait for an answer look whether it can still come.
    pub fn tell_of_silence(&self) {
        self.silence.notify_waiters();
    }

    /// A connection showed that the server is about to stop: no other idle one is worth more, and one that is
    /// closed lets it stop sooner. Costs new logins where somebody killed that connection alone.
    pub fn stops(&self, server: ServerId) {
        self.pools.close_idle(server);
        self.shared.suspects.tell(server);
    }

    /// Until the server is silent and another does its work, while nothing of its answer was passed on. A link to
    /// a frozen host breaks by itself; one to a frozen process never does.
    pub async fn until_replaced(&self, server: ServerId, passed: &Cell<bool>) {
        loop {
            let mut told = pin!(self.silence.notified());
            told.as_mut().enable();
            if !passed.get() && self.shared.topology.load().is_replaced(server) {
                return;
            }
            told.await;
        }
    }

    /// The variables that a login with this collation starts with, the same `Rc` for all sessions.
    pub fn base(&self, collation: u8) -> Rc<Variables> {
        let mut bases = self.bases.borrow_mut();
        Rc::clone(
            bases.entry(collation).or_insert_with(|| Rc::new(Variables::of_collation(collation))),
        )
    }

    /// The next number of a xorshift sequence: spreads reads, guards nothing.
    pub fn chance(&self) -> u64 {
        let mut x = self.seed.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.seed.set(x);
        x
    }

    /// Whether the user could use the schema a moment ago.
    pub fn schema_is_known(&self, key: &SchemaKey, now: Instant) -> bool {
        let seen = self.schemas.borrow().get(key).copied();
        seen.is_some_and(|at| now.saturating_duration_since(at) < SCHEMA_TRUSTED)
    }

    /// Remembers that the user can use the schema.
    pub fn schema_was_used(&self, key: SchemaKey, now: Instant) {
        let mut schemas = self.schemas.borrow_mut();
        if schemas.len() >= MAX_SCHEMAS {
            schemas.retain(|_, at| now.saturating_duration_since(*at) < SCHEMA_TRUSTED);
            if schemas.len() >= MAX_SCHEMAS {
                schemas.clear();
            }
        }
        schemas.insert(key, now);
    }
}

/// All sessions, by connection id.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: Mutex<HashMap<u32, Arc<SessionEntry>>>,
    next_id: AtomicU32,
    /// Commands of the sessions that have ended.
    questions_of_gone: AtomicU64,
}

/// What others may know of a session.
#[derive(Debug)]
pub struct SessionEntry {
    pub id: u32,
    pub user: Box<[u8]>,
    /// Server id + 1 in the upper half, thread id in the lower: the connection that runs its
    /// command; 0 when none does.
    running: AtomicU64,
    /// Commands so far. Counted here, as a counter of all sessions would move from core to core.
    questions: AtomicU64,
    /// A client had its command killed: the interruption is meant.
    pub killed: std::sync::atomic::AtomicBool,
    /// Ends the session's task.
    pub abort: OnceLock<AbortHandle>,
}

impl SessionEntry {
    /// A session that runs nothing.
    pub fn new(id: u32, user: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            id,
            user: user.into(),
            running: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            killed: std::sync::atomic::AtomicBool::new(false),
            abort: OnceLock::new(),
        })
    }

    /// The client sent a command. To be called by its own session alone.
    pub fn asks(&self) {
        self.questions.store(self.questions.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Its command runs on this server connection from now on.
    pub fn runs_on(&self, server: ServerId, thread: u32) {
        let value = (u64::from(server.0) + 1) << 32 | u64::from(thread);
        self.killed.store(false, Ordering::Relaxed);
        self.running.store(value, Ordering::Relaxed);
    }

    /// It runs nothing any more.
    pub fn rests(&self) {
        self.running.store(0, Ordering::Relaxed);
    }

    /// The server and thread that run its command.
    pub fn running(&self) -> Option<(ServerId, u32)> {
        let value = self.running.load(Ordering::Relaxed);
        let server = u32::try_from(value >> 32).ok()?.checked_sub(1)?;
        let thread = u32::try_from(value & u64::from(u32::MAX)).ok()?;
        Some((ServerId(server), thread))
    }
}

impl Registry {
    /// A connection id that no session has; never 0.
    pub fn new_id(&self) -> u32 {
        loop {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && self.get(id).is_none() {
                return id;
            }
        }
    }

    /// Adds a session that logged in.
    pub fn add(&self, entry: Arc<SessionEntry>) {
        self.lock().insert(entry.id, entry);
    }

    /// Forgets a session.
    pub fn remove(&self, id: u32) {
        let mut sessions = self.lock();
        if let Some(gone) = sessions.remove(&id) {
            let questions = gone.questions.load(Ordering::Relaxed);
            self.questions_of_gone.fetch_add(questions, Ordering::Relaxed);
        }
    }

    /// The session of that id.
    pub fn get(&self, id: u32) -> Option<Arc<SessionEntry>> {
        self.lock().get(&id).cloned()
    }

    /// Sessions now.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Commands of clients since the start.
    pub fn questions(&self) -> u64 {
        let sessions = self.lock();
        let open = sessions.values().map(|entry| entry.questions.load(Ordering::Relaxed));
        open.sum::<u64>() + self.questions_of_gone.load(Ordering::Relaxed)
    }

    /// Sessions that run a command now.
    pub fn running(&self) -> usize {
        self.lock().values().filter(|entry| entry.running().is_some()).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<SessionEntry>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_ended_sessions_stay_counted() {
        let registry = Registry::default();
        let (first, second) = (SessionEntry::new(1, b"a"), SessionEntry::new(2, b"b"));
        for entry in [&first, &second] {
            registry.add(Arc::clone(entry));
            entry.asks();
        }
        second.asks();
        assert_eq!(registry.questions(), 3);
        registry.remove(2);
        registry.remove(2);
        first.asks();
        assert_eq!(registry.questions(), 4);
    }
}
