//! The managed cluster: MySQL servers in containers that Weir creates, configures and looks after.
//!
//! One way: `world` looks at engine and servers, `plan` (pure) compares with what is wanted, `provision`
//! takes the steps. Nothing is touched that does not carry the cluster's label.
//!
//! | file | does |
//! |---|---|
//! | `plan` | the difference as named steps; pure |
//! | `provision`, `replication`, `clone`, `dump` | take the steps |
//! | `switchover`, `failover`, `promote` | move the primary; `traffic` is what they ask of the proxy, `announced` of other Weirs |
//! | `group` | where the servers elect the primary themselves: plan, steps, switchover |
//! | `control` | does what is needed while Weir serves; `stuck` asks the primary whether it can commit |
//! | `keep` | saves what only one server has, before its data is given up |
//! | `nodes` | removes, replaces, copies anew, restarts one node; `drain` lets its reads end first |
//! | `options` | has mysqld judge its options before it runs with them |
//! | `folder` | data in folders of the engine's host |
//! | `world`, `server` | look |
//! | `examine` | asks for what explains trouble |
//! | `diagnose`, `lag` | say it in words; pure |
//! | `repair`, `renew` | mend; by a copy of the data where nothing else helps |
//! | `node`, `subnet`, `accounts`, `archive` | what things are made of; pure |
//! | `docker` | the engine; the only file that names bollard |
//! | `position` | how far servers have come, with GTIDs or without |
//! | `sql` | one connection to one server |
//! | `lease` | which of several Weirs may change it |
//! | `state` | the file with the generated passwords |
//! | `snapshot` | images of the data, and writable copies of them |
//! | `wanted` | `[cluster]` of a Weir that serves, read again when a command applies it |
//! | `view` | what is told to the rest of Weir and to operators |

mod accounts;
mod announced;
mod archive;
mod clone;
mod control;
mod diagnose;
mod docker;
mod drain;
mod dump;
mod error;
mod examine;
pub mod failover;
mod folder;
mod group;
mod keep;
mod lag;
mod lease;
mod node;
mod nodes;
mod options;
pub mod plan;
mod position;
mod progress;
mod promote;
mod provision;
mod renew;
mod repair;
mod replication;
mod server;
pub mod snapshot;
mod sql;
mod state;
mod stuck;
mod subnet;
mod switchover;
#[cfg(test)]
pub(crate) mod testing;
mod traffic;
mod view;
mod wanted;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Data};

/// The account that the monitor logs in with on managed servers.
pub use accounts::MONITOR as MONITOR_USER;
pub use control::Control;
pub use diagnose::{Finding, Kind, Safe};
pub use error::ClusterError;
pub use lag::{Cause, Lag};
pub use lease::Leader;
pub use nodes::{Change, Which, change, losses, restart};
pub use plan::Step;
pub use progress::{Logged, Progress, Silent};
pub use repair::{Examined, Skippable, examine, repair, skip, skippable};
pub use snapshot::SnapshotError;
pub use state::{State, write_private};
pub use switchover::{Moved, switchover, switchover_alone};
pub use traffic::{NoTraffic, Traffic};
pub use view::{ClusterView, NodeView, ReplicationView};
pub use wanted::Wanted;

use docker::{Engine, NodeContainer};
use lease::Right;
use world::World;

/// Makes the cluster as `[cluster]` wants it and returns it. Running it again changes nothing that is
/// right. Takes seconds when all is there, about half a minute from nothing; the image must be there or
/// within reach of a pull.
///
/// Dropping the future leaves the cluster as it is at that moment; the next call goes on from there.
///
/// # Errors
/// See [`ClusterError`]; each says what was in the way and what to do.
pub async fn up(
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<ClusterView, ClusterError> {
    if lease::needs_image(cluster).await? {
        provision::pull_first(cluster, progress).await?;
    }
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let state = match right.load().await? {
            Some(state) => state.completed(state_dir, &cluster.name)?,
            None => new_state(cluster, state_dir).await?,
        };
        let mut world = World::open_with(cluster, state, &right, state_dir).await?;
        world.want(cluster.replicas).await?;
        let facts = provision::reconcile(&mut world, progress).await?;
        Ok(ClusterView::new(&world, &facts))
    };
    right.during(Box::pin(work)).await
}

/// The steps that [`up`] would take at this moment, in words, and whether they are all of them (a server
/// that does not run may need more). Changes nothing.
///
/// # Errors
/// As [`observe`].
pub async fn preview(
    cluster: &config::Cluster,
    state_dir: &Path,
) -> Result<plan::Plan, ClusterError> {
    let state = match lease::state(cluster, state_dir).await? {
        Some(state) => state,
        None => State::generate(cluster)?,
    };
    let world = World::open(cluster, state_dir, state).await?;
    let facts = Box::pin(world.look()).await?;
    plan::plan(world.wanted(), &facts.seen())
}

/// Looks at the cluster without changing anything.
///
/// # Errors
/// [`ClusterError::NotBuilt`] when it was never made; else what the engine or a server refused.
pub async fn observe(
    cluster: &config::Cluster,
    state_dir: &Path,
) -> Result<ClusterView, ClusterError> {
    let world = open_existing(cluster, state_dir).await?;
    let facts = Box::pin(world.look()).await?;
    Ok(ClusterView::new(&world, &facts))
}

/// Stops the servers in order and removes their containers, but for those that hold data. Data, network and
/// passwords stay, so [`up`] brings the same cluster back. Names of what was stopped are returned.
///
/// # Errors
/// What the engine refused; containers dealt with before stay removed.
pub async fn down(
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let right = Right::to_remove(cluster, state_dir).await?;
    let work = async {
        let engine = Engine::connect(cluster).await?;
        if let Some(mut state) = right.load().await? {
            // A Weir that serves would start them again.
            state.down = true;
            right.save(&mut state).await?;
        }
        right.check().await?;
        remove_containers(&engine, &cluster.name, true, progress).await
    };
    right.during(Box::pin(work)).await
}

/// Removes everything that carries the cluster's label or mark, data included, and the state file; snapshots
/// stay, their copies do not. Of a folder of the host goes what Weir put there. Names of what was removed are
/// returned.
///
/// # Errors
/// What the engine refused; calling it again removes the rest.
pub async fn destroy(
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let right = Right::to_remove(cluster, state_dir).await?;
    right.during(Box::pin(destroy_all(&right, cluster, state_dir, progress))).await
}

async fn destroy_all(
    right: &Right,
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    right.check().await?;
    let engine = Engine::connect(cluster).await?;
    let copies = snapshot::remove_containers(&engine, &cluster.name, state_dir, progress).await?;
    let mut removed: Vec<String> =
        copies.into_iter().map(|name| format!("container {name}")).collect();
    removed.extend(remove_containers(&engine, &cluster.name, false, progress).await?);
    // Left only by a check that was cut off.
    for name in [node::check_name(&cluster.name), node::folder_name(&cluster.name)] {
        engine.remove_container(&name).await?;
    }
    for base in folders(cluster, state_dir)? {
        progress.begin(&format!("remove the nodes' data in {}", base.display()));
        let gone = folder::remove_all(&engine, cluster, &base).await?;
        progress.end();
        removed.extend(gone.iter().map(|path| format!("folder {}", path.display())));
    }
    right.check().await?;
    for name in engine.volumes(&cluster.name).await? {
        progress.begin(&format!("remove volume {name}"));
        engine.remove_volume(&name).await?;
        progress.end();
        removed.push(format!("volume {name}"));
    }
    for network in engine.networks(&cluster.name).await? {
        progress.begin(&format!("remove network {}", network.name));
        engine.remove_network(&network).await?;
        progress.end();
        removed.push(format!("network {}", network.name));
    }
    right.forget().await?;
    // Last: while any data is there, so are its passwords.
    State::remove(state_dir, &cluster.name)?;
    Ok(removed)
}

/// Names of everything that [`destroy`] would remove.
///
/// # Errors
/// When the engine does not answer.
pub async fn inventory(
    cluster: &config::Cluster,
    state_dir: &Path,
) -> Result<Vec<String>, ClusterError> {
    let engine = Engine::connect(cluster).await?;
    let containers = engine.containers(&cluster.name).await?;
    let shown = |container: NodeContainer| {
        let with = if container.holds_data { ", with its data" } else { "" };
        format!("container {}{with}", container.name)
    };
    let mut all: Vec<String> = containers.into_iter().map(shown).collect();
    for base in folders(cluster, state_dir)? {
        let found = folder::list(&engine, cluster, &base).await?;
        all.extend(found.iter().map(|path| format!("folder {}, with its data", path.display())));
    }
    let copies = snapshot::containers(&engine, &cluster.name).await?;
    all.extend(copies.into_iter().map(|name| format!("container {name}, with its data")));
    let volumes = engine.volumes(&cluster.name).await?;
    all.extend(volumes.into_iter().map(|name| format!("volume {name}, with its data")));
    let networks = engine.networks(&cluster.name).await?;
    all.extend(networks.into_iter().map(|network| format!("network {}", network.name)));
    Ok(all)
}

/// Folders of the host in which there is data of the cluster, or may be.
fn folders(cluster: &config::Cluster, state_dir: &Path) -> Result<BTreeSet<PathBuf>, ClusterError> {
    let state = State::load(state_dir, &cluster.name)?;
    let places = state.map(|state| state.places).unwrap_or_default();
    let wanted = std::iter::once(cluster.data.clone());
    let base = |data| match data {
        Data::Folder(base) => Some(base),
        Data::Volume | Data::Container => None,
    };
    Ok(places.into_values().chain(wanted).filter_map(base).collect())
}

/// Fresh passwords, written down before anything is made with them; refused when there is data already.
async fn new_state(cluster: &config::Cluster, state_dir: &Path) -> Result<State, ClusterError> {
    let engine = Engine::connect(cluster).await?;
    let containers = engine.containers(&cluster.name).await?;
    let holding = containers.into_iter().filter(|container| container.holds_data);
    let mut places: Vec<String> =
        holding.map(|container| format!("container {}", container.name)).collect();
    let volumes = engine.volumes(&cluster.name).await?;
    places.extend(volumes.into_iter().map(|name| format!("volume {name}")));
    if !places.is_empty() {
        let path = State::path(state_dir, &cluster.name);
        return Err(ClusterError::StateLost { path, places: places.join(", ") });
    }
    let state = State::generate(cluster)?;
    state.save(state_dir, &cluster.name)?;
    Ok(state)
}

/// A cluster that was made before.
async fn open_existing(cluster: &config::Cluster, state_dir: &Path) -> Result<World, ClusterError> {
    let state =
        lease::state(cluster, state_dir).await?.ok_or_else(|| not_built(cluster, state_dir))?;
    World::open(cluster, state_dir, state).await
}

/// The same, for one who has the right to change it.
async fn open_to_change(
    cluster: &config::Cluster,
    state_dir: &Path,
    right: &Arc<Right>,
) -> Result<World, ClusterError> {
    let state = right.load().await?.ok_or_else(|| not_built(cluster, state_dir))?;
    World::open_with(cluster, state, right, state_dir).await
}

/// All at once: a server stops in a second or two, and their order does not matter to the data. Those that
/// hold data are removed only when `keep_data` is off.
async fn remove_containers(
    engine: &Engine,
    cluster: &str,
    keep_data: bool,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let containers = engine.containers(cluster).await?;
    if containers.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    let all_stay = keep_data && containers.iter().all(|container| container.holds_data);
    let does = if all_stay { "stop" } else { "stop and remove" };
    progress.begin(&format!("{does} {}", names.join(", ")));
    let removals = containers.iter().map(|container| async move {
        if keep_data {
            engine.stop(&container.name).await?;
        }
        if keep_data && container.holds_data {
            return Ok(());
        }
        engine.remove_container(&container.name).await
    });
    futures_util::future::try_join_all(removals).await?;
    progress.end();
    Ok(names.into_iter().map(|name| format!("container {name}")).collect())
}

fn not_built(cluster: &config::Cluster, state_dir: &Path) -> ClusterError {
    let path = State::path(state_dir, &cluster.name);
    ClusterError::NotBuilt { name: cluster.name.clone(), path }
}
