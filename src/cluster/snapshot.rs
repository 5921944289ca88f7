//! Snapshots: the cluster's data at one moment as an image, and writable copies of it in seconds.
//!
//! The nodes keep their data in volumes, which a commit of their container does not see. So a server is
//! started beside them with its data in its own container, a replica's data is cloned into it while that
//! replica goes on applying, and that container becomes the image. A copy is a container of the image:
//! all copies share the image's layers, and each has a layer of its own for what it writes.
//!
//! | file | does |
//! |---|---|
//! | `donor`, `fit`, `spec`, `time` | decide and name; pure |
//! | `take` | makes an image |
//! | `seed` | fills a node's volume from an image |
//! | `copies` | starts, lists and removes copies |
//! | `wait` | until a server answers |

mod copies;
mod donor;
mod error;
mod fit;
mod seed;
mod spec;
mod take;
mod time;
mod wait;

use std::path::Path;
use std::time::SystemTime;

use crate::config;

use super::docker::{Engine, LabelledImage};
use super::error::ClusterError;
use super::progress::Progress;
use super::state::{Lock, State};
use super::view::ClusterView;
use super::world::World;

pub use copies::{CopyView, RunRequest, Started, options_file, remove_expired, run, stop};
pub(super) use copies::{containers, remove_containers};
pub use error::SnapshotError;
pub(super) use seed::{fill as seed, fits, forget as forget_seeding, possible as to_seed};
pub(super) use time::rfc3339;
pub use time::time_to_live;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    pub name: String,
    /// The image, as `docker` takes it.
    pub image: String,
    /// `gtid_executed` of the data.
    pub gtid: String,
    /// Of the server, "9.7.4-2".
    pub version: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// The node whose data it is.
    pub from: String,
    /// Of the data, in the image's own layer.
    pub bytes: u64,
    /// A node can be made of it: it lacks no account but Weir's own.
    pub seeds: bool,
    /// Names of its copies.
    pub copies: Vec<String>,
}

/// Everything there is, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub snapshots: Vec<SnapshotView>,
    pub copies: Vec<CopyView>,
}

/// Takes a snapshot: of the replica that has most, or of the node named by `from`, under `name` or the
/// date. Takes about ten seconds and the time to copy the data twice; no server stops or waits for it.
///
/// Dropping the future leaves a container behind, which the next call removes.
///
/// # Errors
/// See [`ClusterError`] and [`SnapshotError`]; no image is made then.
pub async fn create(
    cluster: &config::Cluster,
    state_dir: &Path,
    name: Option<&str>,
    from: Option<&str>,
    now: SystemTime,
    progress: &dyn Progress,
) -> Result<SnapshotView, ClusterError> {
    let name = name.map_or_else(|| time::as_name(now), str::to_owned);
    spec::check_name("snapshot", &name)?;
    // Not the cluster's own lock: that has to be free for a failover while the data is copied.
    let _lock = Lock::take(state_dir, &format!("{}.snapshot", cluster.name))?;
    let state = State::load(state_dir, &cluster.name)?
        .ok_or_else(|| super::not_built(cluster, state_dir))?;
    let world = World::open(cluster, state_dir, state).await?;
    clear_leftovers(&world.engine, &cluster.name, progress).await?;
    let there = snapshots(&world.engine, &cluster.name).await?;
    if there.iter().any(|snapshot| snapshot.name == name) {
        return Err(SnapshotError::Exists { name }.into());
    }
    let facts = Box::pin(world.look()).await?;
    let view = ClusterView::new(&world, &facts);
    let donor = donor::choose(&view.nodes, from)?;
    let made = Box::pin(take::take(&world, donor, &name, &rfc3339(now), progress)).await;
    let removed = clear_leftovers(&world.engine, &cluster.name, progress).await;
    made?;
    removed?;
    find(snapshots(&world.engine, &cluster.name).await?, &name)
}

/// The cluster's snapshots and their copies.
///
/// # Errors
/// When the engine does not answer.
pub async fn list(cluster: &config::Cluster) -> Result<Listing, ClusterError> {
    let engine = Engine::connect(cluster).await?;
    let copies = copies::all(&engine, &cluster.name).await?;
    let mut snapshots = snapshots(&engine, &cluster.name).await?;
    for snapshot in &mut snapshots {
        let its = copies.iter().filter(|copy| copy.snapshot == snapshot.name);
        snapshot.copies = its.map(|copy| copy.name.clone()).collect();
    }
    Ok(Listing { snapshots, copies })
}

/// Removes the snapshot of that name.
///
/// # Errors
/// [`SnapshotError::Missing`]; [`SnapshotError::InUse`] while it has copies; or what the engine refused.
pub async fn remove(cluster: &config::Cluster, name: &str) -> Result<(), ClusterError> {
    let snapshot = find(list(cluster).await?.snapshots, name)?;
    if !snapshot.copies.is_empty() {
        let copies = snapshot.copies.join(", ");
        return Err(SnapshotError::InUse { name: name.to_owned(), copies }.into());
    }
    let engine = Engine::connect(cluster).await?;
    engine.remove_image(&snapshot.image).await
}

/// Removes what an interrupted `create` left.
async fn clear_leftovers(
    engine: &Engine,
    cluster: &str,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    for left in engine.containers_labelled(cluster, spec::KIND_TAKING).await? {
        progress.begin(&format!("remove container {}", left.name));
        engine.remove_container(&left.name).await?;
        progress.end();
    }
    Ok(())
}

async fn snapshots(engine: &Engine, cluster: &str) -> Result<Vec<SnapshotView>, ClusterError> {
    let images = engine.images_labelled(cluster, spec::KIND_SNAPSHOT).await?;
    let mut all: Vec<SnapshotView> = images.into_iter().map(snapshot_view).collect();
    // What has lost its name to another image cannot be used any more.
    all.retain(|snapshot| !snapshot.image.is_empty());
    all.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
    Ok(all)
}

fn find(snapshots: Vec<SnapshotView>, name: &str) -> Result<SnapshotView, ClusterError> {
    let there = names(snapshots.iter().map(|snapshot| snapshot.name.as_str()));
    let found = snapshots.into_iter().find(|snapshot| snapshot.name == name);
    found.ok_or_else(|| SnapshotError::Missing { name: name.to_owned(), there }.into())
}

/// For messages: "a, b", or "none".
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let text = all.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

fn snapshot_view(image: LabelledImage) -> SnapshotView {
    let mut labels = image.labels;
    let mut label = |key: &str| labels.remove(key).unwrap_or_default();
    SnapshotView {
        name: label(spec::LABEL_SNAPSHOT),
        gtid: label(spec::LABEL_GTID),
        version: label(spec::LABEL_VERSION),
        created: label(spec::LABEL_CREATED),
        from: label(spec::LABEL_FROM),
        seeds: label(spec::LABEL_SEEDS) == "yes",
        bytes: label(spec::LABEL_BYTES).parse().unwrap_or(0),
        image: image.reference,
        copies: Vec::new(),
    }
}
