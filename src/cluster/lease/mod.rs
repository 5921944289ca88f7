//! Which of several Weirs may change a cluster: the one that leads.
//!
//! Two questions are answered apart. Of the processes with one state directory, a file lock lets one work at a
//! time (`state::Lock`). Of several directories, also on several hosts, one leads: its lock file's identity stands
//! in the engine or in etcd, and ends there when nobody keeps it alive. A command leads by the Weir that serves
//! with its directory, and takes the lead for itself where none does.
//!
//! Nobody believes that it leads because it did a moment ago. [`Right::check`] asks, right before each step that
//! cannot be taken back; [`Right::save`] writes what all must know only as long as nobody else has led.

mod engine;
mod etcd;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{Cluster, Leadership};

use super::docker::{Connection, Engine};
use super::error::ClusterError;
use super::state::{self, Lock, Record, State};
use engine::EngineLock;
use etcd::Store;

/// How often one who does not lead tries to, and one who leads looks whether the cluster is still there.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// From the end of a holder to that of its lead in the engine (0.7 s were measured).
const ENDS_WITHIN: Duration = Duration::from_millis(1_500);

const LOST: &str = "the lead was lost; this Weir changes nothing until it leads again";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    /// Of its lock file.
    id: String,
    /// "Weir of host a (/var/lib/weir)"
    name: String,
}

/// Who leads, and by which lease: a later one of the same owner is another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    owner: String,
    name: String,
    lease: Lease,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lease {
    /// The container.
    Engine(String),
    /// The revision that made the key, and the lease that the key hangs on.
    Etcd(i64, i64),
    /// See [`Right::to_remove`].
    Unneeded,
}

/// What keeps the lead while it is there.
enum Hold {
    Engine(Connection),
    Etcd(Box<Store>, i64),
}

/// Where it is kept who leads.
#[derive(Debug)]
enum Arbiter {
    Engine(EngineLock),
    Etcd(Box<Store>),
}

/// The right to change a cluster.
#[derive(Debug)]
pub(super) struct Right {
    _file: Lock,
    /// Taken for this one change; to be given back after it.
    own: bool,
    /// Keeps the lease alive.
    _keeper: Option<Keeper>,
    arbiter: Arbiter,
    owner: Owner,
    lease: Lease,
    /// What is written down for all.
    known: Mutex<Option<Record>>,
    state_dir: PathBuf,
    cluster: String,
}

/// A task that ends with this.
#[derive(Debug)]
struct Keeper(tokio::task::JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Owner {
    fn of(state_dir: &Path, cluster: &str) -> Result<Self, ClusterError> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let directory = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        Ok(Self {
            id: state::identity(state_dir, cluster)?,
            name: format!("the Weir of host {} ({})", host.trim(), directory.display()),
        })
    }
}

impl Arbiter {
    async fn open(cluster: &Cluster) -> Result<Self, ClusterError> {
        Ok(match &cluster.leadership {
            Leadership::Engine => Self::Engine(Box::pin(EngineLock::open(cluster)).await?),
            Leadership::Etcd(etcd) => {
                Self::Etcd(Box::new(Box::pin(Store::connect(etcd, &cluster.name)).await?))
            }
        })
    }

    async fn holder(&self) -> Result<Option<Holder>, ClusterError> {
        match self {
            Self::Engine(lock) => Box::pin(lock.holder()).await,
            Self::Etcd(store) => Box::pin(store.holder()).await,
        }
    }

    /// Who leads now: that owner, unless somebody else does. With what keeps the lead, where that is for the
    /// caller to keep, and whether it was taken just now.
    async fn campaign(&self, owner: &Owner) -> Result<(Holder, Option<Hold>, bool), ClusterError> {
        match self {
            Self::Engine(lock) => {
                let (holder, connection) = Box::pin(lock.campaign(owner)).await?;
                let taken = connection.is_some();
                Ok((holder, connection.map(Hold::Engine), taken))
            }
            Self::Etcd(store) => {
                let (holder, taken) = Box::pin(store.campaign(owner)).await?;
                // Whoever has the right to a lease may keep it alive: its first holder may be gone.
                let hold = match holder.lease {
                    Lease::Etcd(_, id) if holder.owner == owner.id => {
                        Some(Hold::Etcd(store.clone(), id))
                    }
                    _ => None,
                };
                Ok((holder, hold, taken))
            }
        }
    }

    /// Makes a lease that is still there last its whole time again; where there is no time, nothing.
    async fn renew(&self, lease: &Lease) -> Result<(), ClusterError> {
        match (self, lease) {
            (Self::Etcd(store), Lease::Etcd(_, id)) => Box::pin(store.renew(*id)).await,
            _ => Ok(()),
        }
    }

    async fn record(&self) -> Result<Option<Record>, ClusterError> {
        match self {
            Self::Engine(lock) => Box::pin(lock.record()).await,
            Self::Etcd(store) => Box::pin(store.record()).await,
        }
    }

    /// Whether it was written: not, when somebody else has led in between.
    async fn write(
        &self,
        lease: &Lease,
        owner: &Owner,
        record: &Record,
    ) -> Result<bool, ClusterError> {
        match (self, lease) {
            (_, Lease::Unneeded) => Ok(true),
            (Self::Engine(lock), _) => Box::pin(lock.write(owner, record)).await,
            (Self::Etcd(store), Lease::Etcd(revision, _)) => {
                Box::pin(store.write(*revision, record)).await
            }
            (Self::Etcd(_), _) => Ok(false),
        }
    }

    async fn forget(&self) -> Result<(), ClusterError> {
        match self {
            Self::Engine(lock) => Box::pin(lock.forget()).await,
            Self::Etcd(store) => Box::pin(store.forget()).await,
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), ClusterError> {
        match (self, lease) {
            (Self::Engine(lock), Lease::Engine(id)) => Box::pin(lock.release(id)).await,
            (Self::Etcd(store), Lease::Etcd(_, id)) => Box::pin(store.revoke(*id)).await,
            _ => Ok(()),
        }
    }
}

impl Hold {
    /// Keeps the lead; returns when it is lost.
    async fn keep(self) {
        match self {
            Self::Engine(mut connection) => connection.ended().await,
            Self::Etcd(store, id) => Box::pin(store.keep(id)).await,
        }
    }
}

impl Right {
    /// Waits a while for a process of the same directory, and takes the lead if nobody has it.
    ///
    /// # Errors
    /// [`ClusterError::NotLeader`] when another Weir leads.
    pub(super) async fn wait(
        cluster: &Cluster,
        state_dir: &Path,
    ) -> Result<Arc<Self>, ClusterError> {
        let file = Lock::wait(state_dir, &cluster.name).await?;
        let arbiter = Arbiter::open(cluster).await?;
        let owner = Owner::of(state_dir, &cluster.name)?;
        let (mut holder, mut hold, mut taken) = arbiter.campaign(&owner).await?;
        if !taken && holder.owner == owner.id && matches!(arbiter, Arbiter::Engine(_)) {
            // It may be that of a command that was cut off a moment ago, and end at once.
            tokio::time::sleep(ENDS_WITHIN).await;
            (holder, hold, taken) = arbiter.campaign(&owner).await?;
        }
        let keeper = hold.map(|hold| Keeper(tokio::spawn(hold.keep())));
        Self::new(file, arbiter, owner, holder, cluster, state_dir, (taken, keeper))
    }

    /// As [`Self::wait`]; where the engine has no image to make its lock of, nor can get it, no server of the
    /// cluster can run, and what is left of it may go without.
    pub(super) async fn to_remove(
        cluster: &Cluster,
        state_dir: &Path,
    ) -> Result<Arc<Self>, ClusterError> {
        match Self::wait(cluster, state_dir).await {
            Err(ClusterError::ImageMissing { .. }) => {}
            done => return done,
        }
        let file = Lock::wait(state_dir, &cluster.name).await?;
        let owner = Owner::of(state_dir, &cluster.name)?;
        let (id, name) = (owner.id.clone(), owner.name.clone());
        let holder = Holder { owner: id, name, lease: Lease::Unneeded };
        let arbiter = Arbiter::open(cluster).await?;
        Self::new(file, arbiter, owner, holder, cluster, state_dir, (false, None))
    }

    /// For the Weir that serves, which keeps the lead by [`lead`] if it has it; never waits.
    pub(super) async fn take(
        cluster: &Cluster,
        state_dir: &Path,
    ) -> Result<Arc<Self>, ClusterError> {
        let file = Lock::take(state_dir, &cluster.name)?;
        let arbiter = Arbiter::open(cluster).await?;
        let owner = Owner::of(state_dir, &cluster.name)?;
        let holder = arbiter.holder().await?.ok_or_else(|| not_leader(&cluster.name, None))?;
        Self::new(file, arbiter, owner, holder, cluster, state_dir, (false, None))
    }

    fn new(
        file: Lock,
        arbiter: Arbiter,
        owner: Owner,
        holder: Holder,
        cluster: &Cluster,
        state_dir: &Path,
        (own, keeper): (bool, Option<Keeper>),
    ) -> Result<Arc<Self>, ClusterError> {
        if holder.owner != owner.id {
            return Err(not_leader(&cluster.name, Some(holder)));
        }
        Ok(Arc::new(Self {
            _file: file,
            own,
            _keeper: keeper,
            arbiter,
            owner,
            lease: holder.lease,
            known: Mutex::default(),
            state_dir: state_dir.to_owned(),
            cluster: cluster.name.clone(),
        }))
    }

    /// Does the work, then gives back what was taken for it.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        let done = work.await;
        if self.own
            && let Err(error) = self.arbiter.release(&self.lease).await
        {
            tracing::debug!(%error, "the lead ends by itself");
        }
        done
    }

    /// An error unless this process may still change the cluster. With etcd the lease has its whole time before
    /// it afterwards.
    pub(super) async fn check(&self) -> Result<(), ClusterError> {
        if self.lease == Lease::Unneeded {
            return Ok(());
        }
        let renewed = self.arbiter.renew(&self.lease).await;
        match self.arbiter.holder().await? {
            Some(holder) if holder.lease == self.lease => renewed,
            other => Err(self.lost(other)),
        }
    }

    /// The state file, with what other Weirs have written down since it was.
    pub(super) async fn load(&self) -> Result<Option<State>, ClusterError> {
        let record = self.arbiter.record().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = record.clone();
        let state = State::load(&self.state_dir, &self.cluster)?;
        Ok(state.map(|mut state| {
            record.map(|record| state.learn(record));
            state
        }))
    }

    /// Writes the state down: for all first, unless another Weir has done so in between, then in the file.
    pub(super) async fn save(&self, state: &mut State) -> Result<(), ClusterError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = known.as_ref().map_or(0, |known| known.sequence);
        let record = Record { sequence: last, ..state.record() };
        if known.as_ref() != Some(&record) {
            let sequence = last.max(state.sequence).saturating_add(1);
            let record = Record { sequence, ..record };
            if !self.arbiter.write(&self.lease, &self.owner, &record).await? {
                return Err(self.lost(self.arbiter.holder().await?));
            }
            state.sequence = sequence;
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        }
        state.save(&self.state_dir, &self.cluster)
    }

    /// Removes what is written down for all.
    pub(super) async fn forget(&self) -> Result<(), ClusterError> {
        self.arbiter.forget().await
    }

    fn lost(&self, holder: Option<Holder>) -> ClusterError {
        let leader = holder.map_or_else(|| "nobody".to_owned(), |holder| holder.name);
        ClusterError::LeadLost { cluster: self.cluster.clone(), leader }
    }
}

/// Who leads, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leader {
    /// A process with this state directory.
    Ours(String),
    Other(String),
    Nobody,
    /// It could not be asked: why.
    Unknown(String),
}

impl std::fmt::Display for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours(name) => write!(f, "{name}, which is this one"),
            Self::Other(name) => f.write_str(name),
            Self::Nobody => f.write_str("nobody at the moment; any Weir may take the lead"),
            Self::Unknown(cause) => write!(f, "not known: {cause}"),
        }
    }
}

/// Asks who leads.
pub(super) async fn leader(cluster: &Cluster, state_dir: &Path) -> Leader {
    let asked = async {
        let owner = Owner::of(state_dir, &cluster.name)?;
        Ok((owner, Arbiter::open(cluster).await?.holder().await?))
    };
    match asked.await {
        Ok((owner, Some(holder))) if holder.owner == owner.id => Leader::Ours(holder.name),
        Ok((_, Some(holder))) => Leader::Other(holder.name),
        Ok((_, None)) => Leader::Nobody,
        Err::<_, ClusterError>(error) => Leader::Unknown(error.to_string()),
    }
}

/// The state for one who only looks: where it cannot be asked what others wrote, the file alone.
pub(super) async fn state(
    cluster: &Cluster,
    state_dir: &Path,
) -> Result<Option<State>, ClusterError> {
    let Some(mut state) = State::load(state_dir, &cluster.name)? else { return Ok(None) };
    match shared(cluster).await {
        Ok(Some(record)) => drop(state.learn(record)),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "what other Weirs wrote down cannot be read"),
    }
    Ok(Some(state))
}

async fn shared(cluster: &Cluster) -> Result<Option<Record>, ClusterError> {
    Arbiter::open(cluster).await?.record().await
}

/// Writes into the file what other Weirs have written down, so that it is never far behind. Where nothing is, since
/// the cluster is older than its record or somebody removed that, the leader writes down what it knows.
pub(super) async fn follow(cluster: &Cluster, state_dir: &Path) -> Result<(), ClusterError> {
    let Some(record) = shared(cluster).await? else {
        let right = Right::take(cluster, state_dir).await?;
        let Some(mut state) = right.load().await? else { return Ok(()) };
        return right.save(&mut state).await;
    };
    let _lock = Lock::take(state_dir, &cluster.name)?;
    let Some(mut state) = State::load(state_dir, &cluster.name)? else { return Ok(()) };
    if state.learn(record) {
        state.save(state_dir, &cluster.name)?;
    }
    Ok(())
}

/// Leads, as long as the cluster is there and nobody else does; tells of every change.
pub(super) async fn lead(cluster: &Cluster, state_dir: &Path) {
    let mut told = String::new();
    let mut tell = |words: String, is_news: bool| {
        if words != told {
            match is_news {
                true => tracing::info!(cluster = cluster.name, "{words}"),
                false => tracing::warn!(cluster = cluster.name, "{words}"),
            }
            told = words;
        }
    };
    // Kept from one look to the next.
    let mut arbiter = None;
    let mut left = None;
    loop {
        if let (Some(lease), Some(arbiter)) = (&left, &arbiter)
            && clear(arbiter, lease).await.is_ok()
        {
            left = None;
        }
        if left.is_none() && is_there(state_dir, cluster) {
            match stand(&mut arbiter, cluster, state_dir).await {
                Ok((holder, owner, hold)) if holder.owner == owner.id => {
                    tell("this Weir leads the cluster".to_owned(), true);
                    if let Some(hold) = hold {
                        tokio::select! {
                            () = hold.keep() => {
                                tell(LOST.to_owned(), false);
                                left = Some(holder.lease);
                            }
                            () = gone(state_dir, cluster) => {}
                        }
                    }
                }
                Ok((Holder { name, .. }, ..)) => {
                    tell(format!("{name} leads the cluster; this one changes nothing"), true);
                }
                Err(error) => {
                    arbiter = None;
                    tell(format!("this Weir cannot lead, and changes nothing: {error}"), false);
                }
            }
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

async fn stand(
    arbiter: &mut Option<Arbiter>,
    cluster: &Cluster,
    state_dir: &Path,
) -> Result<(Holder, Owner, Option<Hold>), ClusterError> {
    let owner = Owner::of(state_dir, &cluster.name)?;
    let arbiter = match arbiter {
        Some(arbiter) => arbiter,
        None => arbiter.insert(Arbiter::open(cluster).await?),
    };
    let (holder, hold, _) = arbiter.campaign(&owner).await?;
    Ok((holder, owner, hold))
}

/// An engine that is restarted may keep its containers: then a lock runs on that nobody holds any more.
async fn clear(arbiter: &Arbiter, lease: &Lease) -> Result<(), ClusterError> {
    match lease {
        Lease::Engine(_) => arbiter.release(lease).await,
        Lease::Etcd(..) | Lease::Unneeded => Ok(()),
    }
}

/// Gives the lead to others at once, unless a command is using it.
pub(super) async fn resign(cluster: &Cluster, state_dir: &Path) -> Result<(), ClusterError> {
    let right = Right::take(cluster, state_dir).await?;
    right.arbiter.release(&right.lease).await
}

/// Until the cluster was destroyed.
async fn gone(state_dir: &Path, cluster: &Cluster) {
    while is_there(state_dir, cluster) {
        tokio::time::sleep(TRY_EVERY).await;
    }
}

fn is_there(state_dir: &Path, cluster: &Cluster) -> bool {
    State::path(state_dir, &cluster.name).exists()
}

fn not_leader(cluster: &str, holder: Option<Holder>) -> ClusterError {
    let leader = holder.map_or_else(|| "nobody".to_owned(), |holder| holder.name);
    ClusterError::NotLeader { cluster: cluster.to_owned(), leader }
}

/// Whether the image has to be had before anything else: the engine's lock is made of it, where no container is
/// there whose image will do.
pub(super) async fn needs_image(cluster: &Cluster) -> Result<bool, ClusterError> {
    if cluster.leadership != Leadership::Engine {
        return Ok(false);
    }
    let engine = Engine::connect(cluster).await?;
    Ok(!engine.has_image(&cluster.image).await?
        && engine.containers(&cluster.name).await?.is_empty())
}
