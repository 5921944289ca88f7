//! Fills the volume of a node that is to be made with a snapshot's data, so that no server has to be copied.
//!
//! The engine copies what an image has at a path into an empty volume that is mounted there. On that a server of the
//! snapshot is started once, to become the node's: root's password of today, Weir's accounts, read-only, a uuid of its
//! own. None of this gets a GTID, for that server has no binary log. From there the node follows the primary.
//!
//! Before the first byte the node is written down as one whose volume is not whole, and as one that is copied anew.
//! So what is cut off is begun again, and what fails is followed by a copy of another node's data.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::docker::Made;
use crate::cluster::error::ClusterError;
use crate::cluster::plan;
use crate::cluster::progress::Progress;
use crate::cluster::provision;
use crate::cluster::sql::Client;
use crate::cluster::world::{Facts, World};
use crate::config::{Replication, Seed};
use crate::gtid::GtidSet;

use super::fit::{self, Primary};
use super::{SnapshotView, spec, take, wait};

/// How long the engine may go on with a request that an earlier Weir was cut off from.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);
const CLEAR_POLL: Duration = Duration::from_millis(500);
const DOING: &str = "making a node of a snapshot";

/// The nodes without a volume of which each could be made of a snapshot.
///
/// # Errors
/// When the engine does not answer.
pub(in crate::cluster) async fn possible(
    world: &World,
    facts: &Facts,
) -> Result<Vec<u32>, ClusterError> {
    let missing = || facts.nodes.iter().filter(|node| !node.volume).map(|node| node.number);
    if missing().next().is_none() {
        return Ok(Vec::new());
    }
    let Some((primary, snapshots)) = candidates(world, facts).await? else { return Ok(Vec::new()) };
    let fits = |number: &u32| fit::choose(&snapshots, &world.name(*number), &primary).is_some();
    Ok(missing().filter(fits).collect())
}

/// Whether that node could be made of a snapshot.
///
/// # Errors
/// When the engine does not answer.
pub(in crate::cluster) async fn fits(
    world: &World,
    facts: &Facts,
    number: u32,
) -> Result<bool, ClusterError> {
    Ok(chosen(world, facts, number).await?.is_some())
}

/// Makes the node's volume with the data of the newest snapshot that fits. When none does, or it fails, the volume is
/// empty, and the node is to be copied.
///
/// # Errors
/// The engine refuses to remove what is left of an attempt, or the state file cannot be written.
pub(in crate::cluster) async fn fill(
    world: &mut World,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let name = world.name(number);
    let begun = world.state.seeding.contains(&number);
    if !begun && world.engine.volume(&name).await?.is_some() {
        // Made by somebody since it was looked for: whatever is in it stays.
        return Ok(());
    }
    provision::give_up_data(world, number).await?;
    begin(world, number).await?;
    let facts = Box::pin(world.look()).await?;
    if let Some(snapshot) = chosen(world, &facts, number).await? {
        match Box::pin(from(world, &snapshot, number, progress)).await {
            Ok(()) => {
                progress.note(&format!(
                    "{name} starts from the data of snapshot {} ({}, taken of {}), and fetches what came after",
                    snapshot.name, snapshot.created, snapshot.from
                ));
                world.state.renewing.retain(|other| *other != number);
                return end(world, number).await;
            }
            Err(error) => progress.note(&format!(
                "{name} could not be made of snapshot {} and gets a copy of another node's data: {error}",
                snapshot.name
            )),
        }
    }
    forget(world, number).await?;
    provision::create_volume(world, number).await
}

/// Removes what an attempt that was cut off, or failed, has left; nothing where there was none.
///
/// # Errors
/// The engine refuses.
pub(in crate::cluster) async fn forget(world: &mut World, number: u32) -> Result<(), ClusterError> {
    if !world.state.seeding.contains(&number) {
        return Ok(());
    }
    clear(world, number).await?;
    end(world, number).await
}

async fn begin(world: &mut World, number: u32) -> Result<(), ClusterError> {
    if !world.state.seeding.contains(&number) {
        world.state.seeding.push(number);
        world.save().await?;
    }
    Ok(())
}

async fn end(world: &mut World, number: u32) -> Result<(), ClusterError> {
    world.state.seeding.retain(|other| *other != number);
    world.save().await
}

async fn chosen(
    world: &World,
    facts: &Facts,
    number: u32,
) -> Result<Option<SnapshotView>, ClusterError> {
    let Some((primary, snapshots)) = candidates(world, facts).await? else { return Ok(None) };
    Ok(fit::choose(&snapshots, &world.name(number), &primary).cloned())
}

/// The primary and the snapshots; `None` where snapshots are not wanted, where no primary answers, or where new nodes
/// are of another image than it.
async fn candidates(
    world: &World,
    facts: &Facts,
) -> Result<Option<(Primary, Vec<SnapshotView>)>, ClusterError> {
    // Without GTIDs nothing tells what a snapshot lacks, and a group makes its members alike itself.
    if world.cluster.seed == Seed::Clone || world.cluster.replication != Replication::Gtid {
        return Ok(None);
    }
    let number = plan::apparent_primary(&facts.seen(), world.state.primary);
    let node = facts.nodes.iter().find(|node| Some(node.number) == number);
    let Some((node, server)) = node.and_then(|node| Some((node, node.server.as_ref()?))) else {
        return Ok(None);
    };
    let set = |text: &str| GtidSet::parse(text.as_bytes()).ok();
    let Some((executed, purged)) = set(&server.executed).zip(set(&server.purged)) else {
        return Ok(None);
    };
    let snapshots = super::snapshots(&world.engine, &world.cluster.name).await?;
    if snapshots.is_empty() {
        return Ok(None);
    }
    let runs = world.engine.image_of(&world.name(node.number)).await?;
    if runs.is_none() || runs != world.engine.image_id(&world.cluster.image).await? {
        tracing::debug!("new nodes are of another image than the primary: no snapshot is used");
        return Ok(None);
    }
    let (version, log_bytes) = (server.version.clone(), server.seen.log_bytes);
    Ok(Some((Primary { executed, purged, version, log_bytes }, snapshots)))
}

async fn from(
    world: &World,
    snapshot: &SnapshotView,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let failed =
        |cause: &str| ClusterError::Engine { doing: DOING.to_owned(), cause: cause.to_owned() };
    let subnet = provision::known_subnet(world)?;
    clear(world, number).await?;
    provision::create_volume(world, number).await?;
    progress.detail(&format!("{} MB of snapshot {}", snapshot.bytes / 1_000_000, snapshot.name));
    let (engine, volume) = (&world.engine, world.name(number));
    let spec = spec::seeding(&world.cluster, &snapshot.name, &snapshot.image, &volume);
    if let Made::Taken(cause) = engine.create_layer(&spec).await? {
        return Err(failed(&cause));
    }
    let root = &world.state.root;
    let init = spec::init_sql(root, &subnet.account_host());
    take::put(engine, &spec.name, spec::INIT_FILE, &init).await?;
    if let Made::Taken(cause) = engine.start_layer(&spec.name).await? {
        return Err(failed(&cause));
    }
    let mut client = wait::answers(engine, &spec.name, root, progress).await?;
    adopt(world, &mut client).await?;
    let executed = client.value("SELECT @@global.gtid_executed", DOING).await?.unwrap_or_default();
    client.close().await;
    if GtidSet::parse(executed.as_bytes()) != GtidSet::parse(snapshot.gtid.as_bytes()) {
        return Err(failed("the data has other transactions than the image says"));
    }
    // Keys that all copies of the snapshot have; the node makes some of its own.
    let keys = format!("rm -f /{}/*.pem", spec::DATA_DIR);
    engine.output(&spec.name, &["sh", "-c", &keys]).await?;
    engine.stop(&spec.name).await?;
    engine.remove_container(&spec.name).await
}

/// Makes it a server of this cluster that harms nobody.
async fn adopt(world: &World, client: &mut Client) -> Result<(), ClusterError> {
    let accounts = world.accounts().map(|accounts| accounts.own_statements()).unwrap_or_default();
    for statement in accounts {
        client.run_secret(&statement, DOING).await?;
    }
    for variable in ["read_only", "super_read_only"] {
        client.run(&format!("SET PERSIST_ONLY {variable} = ON"), DOING).await?;
    }
    Ok(())
}

/// Removes the container that fills the volume, and the volume. The engine goes on with a request although nobody
/// waits for its answer, and holds both until then.
async fn clear(world: &World, number: u32) -> Result<(), ClusterError> {
    let (engine, started) = (&world.engine, Instant::now());
    loop {
        engine.remove_container(&spec::seeding_name(&world.cluster.name)).await?;
        match engine.remove_volume(&world.name(number)).await {
            Err(_) if started.elapsed() < CLEAR_LIMIT => tokio::time::sleep(CLEAR_POLL).await,
            done => return done,
        }
    }
}
