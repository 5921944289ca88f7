//! Single nodes on an operator's word: removed, made anew, copied anew, restarted.
//!
//! What may be lost is checked before anything is touched; from the first change on, the next `up`
//! goes on where a run was cut off.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Data, Pull};

use super::clone;
use super::error::ClusterError;
use super::group;
use super::lease::Right;
use super::plan::{self, Step};
use super::progress::Progress;
use super::provision::{self, take};
use super::replication;
use super::server;
use super::snapshot;
use super::switchover;
use super::traffic::Traffic;
use super::view::ClusterView;
use super::world::{Facts, World};

/// How long a replica may take after its restart to have what the primary had.
const CAUGHT_UP_LIMIT: Duration = Duration::from_secs(600);
/// One question for that, below the limit of a statement.
const CAUGHT_UP_SECONDS: u32 = 5;

/// What to do with one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Take it out of the cluster, with its container and data.
    Remove,
    /// Make container and data anew, where `[cluster] data` says.
    Replace,
    /// Copy the data anew, in place.
    Reclone,
}

/// Which nodes to restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Named(String),
    /// One by one, the replicas first.
    All,
}

impl Change {
    /// "remove"
    pub fn verb(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Reclone => "reclone",
        }
    }
}

/// What would be lost for good, in words for an operator to confirm. Changes nothing.
///
/// # Errors
/// [`ClusterError::NoSuchNode`], [`ClusterError::Refused`] where [`change`] would be refused.
pub async fn losses(
    cluster: &config::Cluster,
    state_dir: &Path,
    change: Change,
    name: &str,
) -> Result<Vec<String>, ClusterError> {
    let world = super::open_existing(cluster, state_dir).await?;
    let facts = Box::pin(world.look()).await?;
    let allowed = allow(&world, &facts, change, name)?;
    let mut all = match change {
        Change::Remove | Change::Replace => {
            let place = format!("{}, with its data", world.place_text(allowed.number));
            match world.place(allowed.number) {
                Data::Container => vec![place],
                Data::Volume | Data::Folder(_) => vec![format!("container {name}"), place],
            }
        }
        Change::Reclone => vec![format!("the data of {name}")],
    };
    all.extend(own_transactions(&world, &facts, &allowed).await?);
    Ok(all)
}

/// Removes, replaces or copies anew one replica; returns the cluster as it is then.
///
/// # Errors
/// [`ClusterError::Refused`] for the primary, for a node that the configuration wants (removing), and
/// where no primary is seen to copy from; else as [`super::up`].
pub async fn change(
    cluster: &config::Cluster,
    state_dir: &Path,
    change: Change,
    name: &str,
    progress: &dyn Progress,
) -> Result<ClusterView, ClusterError> {
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let mut world = super::open_to_change(cluster, state_dir, &right).await?;
        change_in(&mut world, change, name, progress).await
    };
    right.during(Box::pin(work)).await
}

async fn change_in(
    world: &mut World,
    change: Change,
    name: &str,
    progress: &dyn Progress,
) -> Result<ClusterView, ClusterError> {
    let facts = Box::pin(world.look()).await?;
    plan::check_kind(world.wanted(), &facts.seen())?;
    let allowed = allow(world, &facts, change, name)?;
    if let Some(lost) = own_transactions(world, &facts, &allowed).await? {
        progress.note(&lost);
    }
    let number = allowed.number;
    world.want(world.cluster.replicas).await?;
    if change != Change::Remove {
        clone::prepare(world, allowed.primary).await?;
    }
    if change == Change::Reclone && answers(&facts, number) {
        clone::prepare(world, number).await?;
    }
    let place = world.place(number).clone();
    let anew = change == Change::Reclone && snapshot::fits(world, &facts, number).await?;
    for step in steps(&facts, if anew { Change::Replace } else { change }, &allowed, &place) {
        take(world, step, progress).await?;
    }
    let facts = if change == Change::Remove {
        world.forget_renewal(number).await?;
        Box::pin(world.look()).await?
    } else {
        provision::reconcile(world, progress).await?
    };
    Ok(ClusterView::new(world, &facts))
}

/// Up to the point from where on `up` does the rest.
fn steps(facts: &Facts, change: Change, allowed: &Allowed, place: &Data) -> Vec<Step> {
    let number = allowed.number;
    let mut away = vec![Step::StopContainer(number), Step::RemoveContainer(number)];
    match place {
        Data::Volume => away.push(Step::RemoveVolume(number)),
        Data::Folder(_) => away.push(Step::RemoveFolder(number)),
        Data::Container => {}
    }
    let before = match change {
        // The last replica: nobody would be left to acknowledge.
        Change::Remove if facts.nodes.len() == 2 && allowed.semi_sync => {
            vec![Step::SemiSyncSource { node: allowed.primary, on: false }]
        }
        Change::Remove => Vec::new(),
        Change::Replace => vec![Step::CheckOptions, Step::GiveUpData(number)],
        Change::Reclone => return vec![Step::GiveUpData(number)],
    };
    before.into_iter().chain(away).collect()
}

fn answers(facts: &Facts, number: u32) -> bool {
    facts.nodes.iter().any(|node| node.number == number && node.server.is_some())
}

/// Restarts nodes in order, each waited for until it serves again, a replica until it has caught up. A
/// container of another image or of other options than wanted is made anew around the same data; one that holds
/// its data itself gets a copy of the primary's.
///
/// # Errors
/// [`ClusterError::NoSuchNode`]; [`ClusterError::Options`] before anything is stopped; what the engine or a
/// server refused, after which no further node is stopped.
pub async fn restart(
    cluster: &config::Cluster,
    state_dir: &Path,
    which: &Which,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<ClusterView, ClusterError> {
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let mut world = super::open_to_change(cluster, state_dir, &right).await?;
        restart_in(&mut world, which, traffic, progress).await
    };
    right.during(Box::pin(work)).await
}

async fn restart_in(
    world: &mut World,
    which: &Which,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<ClusterView, ClusterError> {
    let facts = Box::pin(world.look()).await?;
    plan::check_kind(world.wanted(), &facts.seen())?;
    let mut primary = plan::apparent_primary(&facts.seen(), world.state.primary);
    let numbers = match which {
        Which::Named(name) => vec![existing(world, &facts, name)?],
        Which::All => {
            let primary = primary.ok_or_else(|| no_primary(world, "restarting all nodes"))?;
            let replicas = facts.nodes.iter().map(|node| node.number).filter(|n| *n != primary);
            replicas.chain([primary]).collect()
        }
    };
    let outdated = |number: u32| {
        let node = facts.nodes.iter().find(|node| node.number == number);
        node.and_then(|node| node.container.as_ref())
            .is_none_or(|made| provision::is_outdated(world, number, made))
    };
    let anew: Vec<u32> = numbers.iter().copied().filter(|number| outdated(*number)).collect();
    let holds_data = |number: u32| {
        let node = facts.nodes.iter().find(|node| node.number == number);
        node.and_then(|node| node.container.as_ref()).is_some_and(|made| made.holds_data)
    };
    if !anew.is_empty() {
        if facts.nodes.len() == 1 && anew.iter().any(|number| holds_data(*number)) {
            return Err(only_copy(world, "making the container anew"));
        }
        if world.cluster.pull == Pull::Always {
            take(world, Step::PullImage, progress).await?;
        }
        take(world, Step::CheckOptions, progress).await?;
    }
    for number in numbers {
        if primary == Some(number) && facts.nodes.len() > 1 {
            // Clients wait for a moment instead of losing their connections.
            Box::pin(switchover::within(world, None, traffic, progress)).await?;
            primary = world.state.primary;
        }
        match (anew.contains(&number), primary) {
            (true, Some(primary)) if holds_data(number) => {
                Box::pin(copy_again(world, number, primary, progress)).await?;
            }
            (true, None) if holds_data(number) => {
                return Err(no_primary(world, "restarting a node that holds its data itself"));
            }
            (anew, _) => restart_one(world, number, anew, progress).await?,
        }
        if let Some(primary) = primary.filter(|primary| *primary != number) {
            let step = match world.cluster.is_group() {
                true => Step::JoinGroup(number),
                false => Step::StartReplication { node: number, source: primary },
            };
            take(world, step, progress).await?;
            wait_caught_up(world, number, primary, progress).await?;
        }
    }
    let facts = provision::reconcile(world, progress).await?;
    Ok(ClusterView::new(world, &facts))
}

async fn restart_one(
    world: &mut World,
    number: u32,
    anew: bool,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    take(world, Step::StopContainer(number), progress).await?;
    if anew {
        take(world, Step::RemoveContainer(number), progress).await?;
        take(world, Step::CreateContainer(number), progress).await?;
    }
    take(world, Step::StartContainer(number), progress).await?;
    take(world, Step::WaitHealthy(number), progress).await
}

/// A container that holds its data is made anew: the data goes with it and comes again from the primary.
async fn copy_again(
    world: &mut World,
    number: u32,
    primary: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let facts = Box::pin(world.look()).await?;
    let own =
        own_transactions(world, &facts, &Allowed { number, primary, semi_sync: false }).await?;
    if let Some(own) = own {
        return Err(ClusterError::Refused {
            doing: format!("making the container of {} anew", world.name(number)),
            cause: format!("its data would go with it, and with that {own}"),
            remedy: format!(
                "Save them if they are wanted, then `weir cluster replace {}`",
                world.name(number)
            ),
        });
    }
    clone::prepare(world, primary).await?;
    for step in
        [Step::GiveUpData(number), Step::StopContainer(number), Step::RemoveContainer(number)]
    {
        take(world, step, progress).await?;
    }
    provision::reconcile(world, progress).await.map(|_| ())
}

fn only_copy(world: &World, doing: &str) -> ClusterError {
    ClusterError::Refused {
        doing: doing.to_owned(),
        cause: format!(
            "cluster {} has one node only, and the container holds its data",
            world.cluster.name
        ),
        remedy: "Add a replica first (replicas = 1 in [cluster], then `weir cluster up`)"
            .to_owned(),
    }
}

async fn wait_caught_up(
    world: &World,
    number: u32,
    primary: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let place = replication::place(world, primary).await?;
    let started = Instant::now();
    let mut client = world.root_now(number).await?;
    while !place.reached(&mut client, CAUGHT_UP_SECONDS).await? {
        if started.elapsed() > CAUGHT_UP_LIMIT {
            return Err(ClusterError::StillBehind {
                node: world.name(number),
                primary: world.name(primary),
                seconds: CAUGHT_UP_LIMIT.as_secs(),
            });
        }
        progress.detail("catching up");
    }
    client.close().await;
    Ok(())
}

/// A change that was looked into: what it is about.
struct Allowed {
    number: u32,
    /// Whom to copy from; of a group that does not run any more, the member to begin it with.
    primary: u32,
    semi_sync: bool,
}

fn allow(
    world: &World,
    facts: &Facts,
    change: Change,
    name: &str,
) -> Result<Allowed, ClusterError> {
    let number = existing(world, facts, name)?;
    let doing = format!("{} {name}", change.verb());
    let refused = |cause: String, remedy: &str| {
        Err(ClusterError::Refused { doing: doing.clone(), cause, remedy: remedy.to_owned() })
    };
    let seen = facts.seen();
    let primary = plan::apparent_primary(&seen, world.state.primary);
    let founder = || group::founder_without(&seen, number).filter(|_| change == Change::Replace);
    let Some(primary) = primary.or_else(founder) else {
        return Err(no_primary(world, &doing));
    };
    if number == primary {
        return refused("it is the primary".to_owned(), "Move that role to another node first");
    }
    if change == Change::Remove && facts.surplus == 0 {
        let cause = format!("[cluster] wants replicas = {}", world.cluster.replicas);
        return refused(cause, "Lower it first; to make the node anew use `weir cluster replace`");
    }
    Ok(Allowed { number, primary, semi_sync: world.cluster.semi_sync })
}

fn existing(world: &World, facts: &Facts, name: &str) -> Result<u32, ClusterError> {
    let exists = |node: &&super::world::NodeFacts| node.volume || node.container.is_some();
    let nodes = || facts.nodes.iter().filter(exists).map(|node| node.number);
    nodes().find(|number| world.name(*number) == name).ok_or_else(|| ClusterError::NoSuchNode {
        cluster: world.cluster.name.clone(),
        name: name.to_owned(),
        nodes: nodes().map(|number| world.name(number)).collect::<Vec<_>>().join(", "),
    })
}

fn no_primary(world: &World, doing: &str) -> ClusterError {
    ClusterError::Refused {
        doing: doing.to_owned(),
        cause: format!("no primary of cluster {} is seen to hold the data", world.cluster.name),
        remedy: "See `weir cluster status`, and bring the cluster up first".to_owned(),
    }
}

/// Transactions that only that node has, for a warning. The primary is asked after the node was.
async fn own_transactions(
    world: &World,
    facts: &Facts,
    allowed: &Allowed,
) -> Result<Option<String>, ClusterError> {
    let node = facts.nodes.iter().find(|node| node.number == allowed.number);
    let Some(server) = node.and_then(|node| node.server.as_ref()) else { return Ok(None) };
    let mut client = world.root_now(allowed.primary).await?;
    let own = replication::beyond(&mut client, &server.executed).await?;
    client.close().await;
    Ok((!own.is_empty()).then(|| {
        format!(
            "{} transactions that {} has and {} has not ({})",
            server::transactions(&own),
            world.name(allowed.number),
            world.name(allowed.primary),
            replication::shortened(&own)
        )
    }))
}
