//! The managed cluster: MySQL servers in containers that Weir creates, configures and looks after.
//!
//! One way: `world` looks at engine and servers, `plan` (pure) compares with what is wanted, `provision`
//! takes the steps. Nothing is touched that does not carry the cluster's label.
//!
//! | file | does |
//! |---|---|
//! | `plan` | the difference as named steps; pure |
//! | `provision`, `replication`, `clone`, `dump` | take the steps |
//! | `switchover`, `failover`, `promote` | move the primary; `traffic` is what they ask of the proxy |
//! | `control` | does what is needed while Weir serves |
//! | `keep` | saves what only one server has, before its data is given up |
//! | `nodes` | removes, replaces, copies anew, restarts one node |
//! | `options` | has mysqld judge its options before it runs with them |
//! | `world`, `server` | look |
//! | `examine` | asks for what explains trouble |
//! | `diagnose`, `lag` | say it in words; pure |
//! | `repair` | mends |
//! | `node`, `subnet`, `accounts`, `archive` | what things are made of; pure |
//! | `docker` | the engine; the only file that names bollard |
//! | `position` | how far servers have come, with GTIDs or without |
//! | `sql` | one connection to one server |
//! | `state` | the file with the generated passwords |
//! | `snapshot` | images of the data, and writable copies of them |
//! | `view` | what is told to the rest of Weir and to operators |

mod accounts;
mod archive;
mod clone;
mod control;
mod diagnose;
mod docker;
mod dump;
mod error;
mod examine;
pub mod failover;
mod keep;
mod lag;
mod node;
mod nodes;
mod options;
pub mod plan;
mod position;
mod progress;
mod promote;
mod provision;
mod repair;
mod replication;
mod server;
pub mod snapshot;
mod sql;
mod state;
mod subnet;
mod switchover;
#[cfg(test)]
mod testing;
mod traffic;
mod view;
mod world;

use std::path::Path;

use crate::config;

/// The account that the monitor logs in with on managed servers.
pub use accounts::MONITOR as MONITOR_USER;
pub use control::Control;
pub use diagnose::{Finding, Kind, Safe};
pub use error::ClusterError;
pub use lag::{Cause, Lag};
pub use nodes::{Change, Which, change, losses, restart};
pub use plan::Step;
pub use progress::{Logged, Progress, Silent};
pub use repair::{Examined, Skippable, examine, repair, skip, skippable};
pub use snapshot::SnapshotError;
pub use state::{State, write_private};
pub use switchover::{Moved, switchover, switchover_alone};
pub use traffic::{NoTraffic, Traffic};
pub use view::{ClusterView, NodeView, ReplicationView};

use docker::Engine;
use state::Lock;
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
    let _lock = Lock::wait(state_dir, &cluster.name).await?;
    let state = match State::load(state_dir, &cluster.name)? {
        Some(state) => state.completed(state_dir, &cluster.name)?,
        None => new_state(cluster, state_dir).await?,
    };
    let mut world = World::open(cluster, state_dir, state).await?;
    world.want(cluster.replicas)?;
    let facts = provision::reconcile(&mut world, progress).await?;
    Ok(ClusterView::new(&world, &facts))
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
    let state = match State::load(state_dir, &cluster.name)? {
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

/// Stops the servers in order and removes their containers. Data, network and passwords stay, so
/// [`up`] brings the same cluster back. Names of what was removed are returned.
///
/// # Errors
/// What the engine refused; containers dealt with before stay removed.
pub async fn down(
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let _lock = Lock::wait(state_dir, &cluster.name).await?;
    let engine = Engine::connect(cluster.docker_host.as_deref()).await?;
    if let Some(mut state) = State::load(state_dir, &cluster.name)? {
        // A Weir that serves would start them again.
        state.down = true;
        state.save(state_dir, &cluster.name)?;
    }
    remove_containers(&engine, &cluster.name, true, progress).await
}

/// Removes everything that carries the cluster's label, data included, and the state file; snapshots
/// stay, their copies do not. Names of what was removed are returned.
///
/// # Errors
/// What the engine refused; calling it again removes the rest.
pub async fn destroy(
    cluster: &config::Cluster,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let _lock = Lock::wait(state_dir, &cluster.name).await?;
    let engine = Engine::connect(cluster.docker_host.as_deref()).await?;
    let copies = snapshot::remove_containers(&engine, &cluster.name, state_dir, progress).await?;
    let mut removed: Vec<String> =
        copies.into_iter().map(|name| format!("container {name}")).collect();
    removed.extend(remove_containers(&engine, &cluster.name, false, progress).await?);
    // Left only by a check of options that was cut off.
    engine.remove_container(&node::check_name(&cluster.name)).await?;
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
    // Last: while any data is there, so are its passwords.
    State::remove(state_dir, &cluster.name)?;
    Ok(removed)
}

/// Names of everything that [`destroy`] would remove.
///
/// # Errors
/// When the engine does not answer.
pub async fn inventory(cluster: &config::Cluster) -> Result<Vec<String>, ClusterError> {
    let engine = Engine::connect(cluster.docker_host.as_deref()).await?;
    let containers = engine.containers(&cluster.name).await?;
    let mut all: Vec<String> =
        containers.into_iter().map(|(_, name)| format!("container {name}")).collect();
    let copies = snapshot::containers(&engine, &cluster.name).await?;
    all.extend(copies.into_iter().map(|name| format!("container {name}, with its data")));
    let volumes = engine.volumes(&cluster.name).await?;
    all.extend(volumes.into_iter().map(|name| format!("volume {name}, with its data")));
    let networks = engine.networks(&cluster.name).await?;
    all.extend(networks.into_iter().map(|network| format!("network {}", network.name)));
    Ok(all)
}

/// Fresh passwords, written down before anything is made with them; refused when there is data already.
async fn new_state(cluster: &config::Cluster, state_dir: &Path) -> Result<State, ClusterError> {
    let engine = Engine::connect(cluster.docker_host.as_deref()).await?;
    let volumes = engine.volumes(&cluster.name).await?;
    if !volumes.is_empty() {
        let path = State::path(state_dir, &cluster.name);
        return Err(ClusterError::StateLost { path, volumes: volumes.join(", ") });
    }
    let state = State::generate(cluster)?;
    state.save(state_dir, &cluster.name)?;
    Ok(state)
}

/// A cluster that was made before.
async fn open_existing(cluster: &config::Cluster, state_dir: &Path) -> Result<World, ClusterError> {
    let state =
        State::load(state_dir, &cluster.name)?.ok_or_else(|| not_built(cluster, state_dir))?;
    World::open(cluster, state_dir, state).await
}

/// All at once: a server stops in a second or two, and their order does not matter to the data.
async fn remove_containers(
    engine: &Engine,
    cluster: &str,
    in_order: bool,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let containers = engine.containers(cluster).await?;
    if containers.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = containers.into_iter().map(|(_, name)| name).collect();
    progress.begin(&format!("stop and remove {}", names.join(", ")));
    let removals = names.iter().map(|name| async move {
        if in_order {
            engine.stop(name).await?;
        }
        engine.remove_container(name).await
    });
    futures_util::future::try_join_all(removals).await?;
    progress.end();
    Ok(names.into_iter().map(|name| format!("container {name}")).collect())
}

fn not_built(cluster: &config::Cluster, state_dir: &Path) -> ClusterError {
    let path = State::path(state_dir, &cluster.name);
    ClusterError::NotBuilt { name: cluster.name.clone(), path }
}
