//! Mends what can be mended without losing anything; what cannot waits for a person's word.
//!
//! Without flags: containers are started, replicas made read-only, pointed at the primary and their
//! threads started. Data that differs is touched only by [`skip`], one named transaction at a time, and
//! by copying it anew.

use std::path::Path;

use crate::config;

use super::diagnose::{Finding, Kind, Safe};
use super::error::ClusterError;
use super::examine::{self, Examination};
use super::lag::Lag;
use super::lease::{self, Leader, Right};
use super::plan::{self, Step};
use super::progress::Progress;
use super::provision;
use super::replication;
use super::server;
use super::view::ClusterView;
use super::world::{Facts, World};

/// The cluster with what is wrong and why replicas are behind.
#[derive(Debug, Clone)]
pub struct Examined {
    pub view: ClusterView,
    /// Which Weir changes it.
    pub leader: Leader,
    /// Node by node.
    pub findings: Vec<Finding>,
    /// Of the replicas that are behind.
    pub lags: Vec<Lag>,
}

/// The transaction that a replica's applier stopped at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skippable {
    /// "weir-2"
    pub node: String,
    /// Its GTID.
    pub transaction: String,
    /// The applier's error: number and text.
    pub errno: u32,
    pub error: String,
}

/// Looks at the cluster and into its troubles without changing anything.
///
/// # Errors
/// As [`super::observe`].
pub async fn examine(
    cluster: &config::Cluster,
    state_dir: &Path,
) -> Result<Examined, ClusterError> {
    let world = super::open_existing(cluster, state_dir).await?;
    look(&world).await
}

/// Does what is safe, on one node or on all, and looks again. A node that resists does not keep the others
/// from being mended; why it did is told by `progress.note`.
///
/// # Errors
/// As [`super::up`]; [`ClusterError::Repair`] when there is no node of that name.
pub async fn repair(
    cluster: &config::Cluster,
    state_dir: &Path,
    node: Option<&str>,
    progress: &dyn Progress,
) -> Result<Examined, ClusterError> {
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let mut world = super::open_to_change(cluster, state_dir, &right).await?;
        repair_in(&mut world, node, progress).await
    };
    right.during(Box::pin(work)).await
}

async fn repair_in(
    world: &mut World,
    node: Option<&str>,
    progress: &dyn Progress,
) -> Result<Examined, ClusterError> {
    let only = match node {
        Some(name) => Some(number_of(world, name).await?),
        None => None,
    };
    mend_found(world, only, progress).await?;
    look(world).await
}

/// What is safe, by what was found, on one node or on all: one that resists does not keep the others from being
/// mended. What was found before that.
pub(super) async fn mend_found(
    world: &mut World,
    only: Option<u32>,
    progress: &dyn Progress,
) -> Result<Vec<Finding>, ClusterError> {
    let is_meant = |number: u32| only.is_none_or(|only| only == number);
    let wanted = |step: Step| is_wanted(step) && step.node().is_none_or(is_meant);
    let (facts, silent) = match provision::reconcile_where(world, progress, &wanted).await {
        Ok(facts) => (facts, None),
        // One that does not answer keeps no other's threads from being mended.
        Err(error @ (ClusterError::Container { .. } | ClusterError::Mute { .. })) => {
            (Box::pin(world.look()).await?, Some(error))
        }
        Err(error) => return Err(error),
    };
    let found = Box::pin(examine::examine(world, &facts)).await;
    if let Some(primary) = plan::apparent_primary(&facts.seen(), world.state.primary) {
        for number in world.members().await?.into_iter().filter(|number| is_meant(*number)) {
            let of_node: Vec<&Finding> =
                found.findings.iter().filter(|it| it.node == world.name(number)).collect();
            if !is_held(&of_node, only.is_some()) {
                mend_threads(world, number, primary, &of_node, progress).await;
            }
        }
    }
    silent.map_or(Ok(found.findings), Err)
}

/// The transaction that `node` stopped at, for a person to judge.
///
/// # Errors
/// [`ClusterError::Repair`] when the applier has not stopped by an error of one transaction.
pub async fn skippable(
    cluster: &config::Cluster,
    state_dir: &Path,
    node: &str,
) -> Result<Skippable, ClusterError> {
    let world = super::open_existing(cluster, state_dir).await?;
    let number = number_of(&world, node).await?;
    stopped_at(&world, number).await
}

/// Puts an empty transaction in the place of exactly that one, so that the replica never runs it, and lets
/// the applier go on until it has caught up or meets the next error. What the transaction changed is then
/// missing on this node.
///
/// # Errors
/// [`ClusterError::Repair`] when the node does not stand at that transaction any more.
pub async fn skip(
    cluster: &config::Cluster,
    state_dir: &Path,
    skippable: &Skippable,
    progress: &dyn Progress,
) -> Result<Examined, ClusterError> {
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let world = super::open_to_change(cluster, state_dir, &right).await?;
        skip_in(&world, skippable, progress).await
    };
    right.during(Box::pin(work)).await
}

async fn skip_in(
    world: &World,
    skippable: &Skippable,
    progress: &dyn Progress,
) -> Result<Examined, ClusterError> {
    let number = number_of(world, &skippable.node).await?;
    let now = stopped_at(world, number).await?;
    if now.transaction != skippable.transaction {
        return Err(cannot(
            &skippable.node,
            format!("it stands at transaction {} by now", now.transaction),
        ));
    }
    world.check().await?;
    progress.begin(&format!("skip transaction {} on {}", now.transaction, now.node));
    replication::skip(world, number, &now.transaction).await?;
    progress.end();
    let facts = Box::pin(world.look()).await?;
    if let Some(primary) = plan::apparent_primary(&facts.seen(), world.state.primary) {
        attempt(
            replication::start(world, number, primary, progress),
            &format!("start replication on {}", now.node),
            progress,
        )
        .await;
    }
    look(world).await
}

async fn look(world: &World) -> Result<Examined, ClusterError> {
    let facts: Facts = Box::pin(world.look()).await?;
    let Examination { findings, lags } = Box::pin(examine::examine(world, &facts)).await;
    let leader = lease::leader(&world.cluster, &world.state_dir).await;
    Ok(Examined { view: ClusterView::new(world, &facts), leader, findings, lags })
}

/// Threads are started by what was found, node by node, not by the plan: one that cannot run must not
/// keep the others from being mended.
fn is_wanted(step: Step) -> bool {
    !matches!(step, Step::ConfigureReplica { .. } | Step::StartReplication { .. })
}

/// Whether its threads are to be left as they are: they would stop at the same place again, or run on with a wrong
/// identity. A person who names the node may have mended what the applier stopped at.
fn is_held(of_node: &[&Finding], by_name: bool) -> bool {
    of_node.iter().any(|finding| match finding.kind {
        Kind::Purged | Kind::DiskFull => true,
        Kind::SameUuid => finding.safe == Safe::Nothing,
        kind => is_of_one_transaction(kind) && finding.safe == Safe::Nothing && !by_name,
    })
}

/// The applier could not run one transaction.
fn is_of_one_transaction(kind: Kind) -> bool {
    matches!(kind, Kind::DuplicateKey | Kind::MissingRow | Kind::ApplierError)
}

async fn mend_threads(
    world: &World,
    number: u32,
    primary: u32,
    of_node: &[&Finding],
    progress: &dyn Progress,
) {
    let (name, source) = (world.name(number), world.name(primary));
    let has_error = |finding: &&Finding| is_of_one_transaction(finding.kind);
    if of_node.iter().any(|finding| finding.kind == Kind::Credentials) {
        let text = format!("set the passwords of the accounts on {source}");
        attempt(provision::create_accounts(world, primary), &text, progress).await;
    }
    if of_node.iter().any(|finding| finding.safe == Safe::Follow) {
        let text = format!("make {name} replicate from {source}");
        attempt(replication::follow(world, number, primary, progress), &text, progress).await;
    } else if of_node.iter().any(|it| it.safe == Safe::StartThreads)
        || of_node.iter().any(has_error)
    {
        let text = format!("start replication on {name} from {source}");
        attempt(replication::start(world, number, primary, progress), &text, progress).await;
    }
}

/// A failure is told and not passed on; what is still wrong afterwards the next look finds.
async fn attempt(
    step: impl Future<Output = Result<(), ClusterError>>,
    text: &str,
    progress: &dyn Progress,
) {
    progress.begin(text);
    let done = Box::pin(step).await;
    progress.end();
    if let Err(error) = done {
        progress.note(&error.to_string());
    }
}

async fn stopped_at(world: &World, number: u32) -> Result<Skippable, ClusterError> {
    let node = world.name(number);
    if world.by_position() {
        let text = "without GTIDs a transaction has no name by which it could be skipped; `--reclone` gives it \
                    a new copy of the data";
        return Err(cannot(&node, text.to_owned()));
    }
    let mut client = world.root_now(number).await?;
    let Some(status) = server::replication(&mut client).await? else {
        return Err(cannot(&node, "it replicates from nobody".to_owned()));
    };
    if status.applier == "Yes" {
        return Err(cannot(&node, "its applier runs, so there is nothing to skip".to_owned()));
    }
    let stopped = examine::stopped_at(&mut client).await?;
    client.close().await;
    let Some((errno, error, transaction)) = stopped else {
        return Err(cannot(
            &node,
            "its applier was stopped, but not by an error of one transaction; without flags `weir \
             cluster repair` starts it"
                .to_owned(),
        ));
    };
    Ok(Skippable { node, transaction, errno, error })
}

async fn number_of(world: &World, name: &str) -> Result<u32, ClusterError> {
    let members = world.members().await?;
    members.iter().copied().find(|number| world.name(*number) == name).ok_or_else(|| {
        let names: Vec<String> = members.iter().map(|number| world.name(*number)).collect();
        cannot(name, format!("there is no such node; the nodes are {}", names.join(", ")))
    })
}

fn cannot(node: &str, cause: String) -> ClusterError {
    ClusterError::Repair { node: node.to_owned(), cause }
}
