//! The lead kept in the engine, for Weirs that use one engine: whoever holds the connection to the container
//! `<cluster>.lock` leads. It needs no clock and nobody to clean up: the container ends with the connection,
//! whether its holder ended, was killed or lost its host. A holder that is frozen keeps it; then nobody acts.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Cluster;

use crate::cluster::docker::{Connection, Engine, LockSeen, LockSpec, Seized};
use crate::cluster::error::ClusterError;
use crate::cluster::node;
use crate::cluster::state::Record;

use super::{Holder, Lease, Owner};

/// Between making the container and starting it its maker may die: one that is not started for so long is
/// removed. A maker that was only slow then fails to start it.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How long the name may be between two holders.
const TAKE_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(super) struct EngineLock {
    engine: Engine,
    cluster: String,
    image: String,
}

impl EngineLock {
    pub(super) async fn open(cluster: &Cluster) -> Result<Self, ClusterError> {
        Ok(Self {
            engine: Engine::connect(cluster).await?,
            cluster: cluster.name.clone(),
            image: cluster.image.clone(),
        })
    }

    pub(super) async fn holder(&self) -> Result<Option<Holder>, ClusterError> {
        let seen = self.engine.lock(&node::lock_name(&self.cluster)).await?;
        Ok(seen.filter(|seen| seen.status == "running").map(holder))
    }

    /// With the connection when it was taken just now.
    pub(super) async fn campaign(
        &self,
        owner: &Owner,
    ) -> Result<(Holder, Option<Connection>), ClusterError> {
        let name = node::lock_name(&self.cluster);
        let started = Instant::now();
        let mut unstarted: Option<(String, Instant)> = None;
        while started.elapsed() < TAKE_LIMIT {
            match self.engine.lock(&name).await? {
                Some(seen) if seen.status == "running" => return Ok((holder(seen), None)),
                Some(seen) if seen.status == "created" => {
                    let since = match &unstarted {
                        Some((id, since)) if *id == seen.id => *since,
                        _ => Instant::now(),
                    };
                    if since.elapsed() > START_LIMIT {
                        self.engine.remove_lock(&seen.id).await?;
                    }
                    unstarted = Some((seen.id, since));
                }
                Some(seen) => self.engine.remove_lock(&seen.id).await?,
                None => {
                    if let Some((id, connection)) = self.seize(owner).await? {
                        let lease = Lease::Engine(id);
                        let (owner, name) = (owner.id.clone(), owner.name.clone());
                        return Ok((Holder { owner, name, lease }, Some(connection)));
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
        let cause =
            format!("container {name} neither runs nor goes; remove it (docker rm -f {name})");
        Err(ClusterError::Lead { cluster: self.cluster.clone(), cause })
    }

    /// `None` when somebody was quicker.
    async fn seize(&self, owner: &Owner) -> Result<Option<(String, Connection)>, ClusterError> {
        let mut spec = LockSpec {
            name: node::lock_name(&self.cluster),
            cluster: self.cluster.clone(),
            image: self.image.clone(),
            owner: owner.id.clone(),
            leader: owner.name.clone(),
        };
        let mut seized = self.engine.seize(&spec).await?;
        if matches!(seized, Seized::NoImage) {
            // Containers have an image, whatever became of its name.
            if let Some(node) = self.engine.containers(&self.cluster).await?.first()
                && let Some(image) = self.engine.image_of(&node.name).await?
            {
                spec.image = image;
            } else {
                self.engine.pull(&spec.image, &|_| {}).await?;
            }
            seized = self.engine.seize(&spec).await?;
        }
        match seized {
            Seized::Held(id, connection) => Ok(Some((id, connection))),
            Seized::Taken => Ok(None),
            Seized::NoImage => Err(ClusterError::ImageMissing {
                image: spec.image,
                cause: "the lock on the engine is made of it".to_owned(),
            }),
        }
    }

    pub(super) async fn release(&self, id: &str) -> Result<(), ClusterError> {
        self.engine.remove_lock(id).await
    }

    /// The last one that was written.
    pub(super) async fn record(&self) -> Result<Option<Record>, ClusterError> {
        let records = self.engine.records(&self.cluster).await?;
        let records = records.iter().filter_map(|(_, text)| serde_json::from_str(text).ok());
        Ok(records.max_by_key(|record: &Record| record.sequence))
    }

    /// The engine makes one volume of a name, so of two who write the same number one is refused.
    pub(super) async fn write(&self, owner: &Owner, record: &Record) -> Result<bool, ClusterError> {
        let text = serde_json::to_string(record).map_err(|error| ClusterError::Lead {
            cluster: self.cluster.clone(),
            cause: error.to_string(),
        })?;
        let before = self.engine.records(&self.cluster).await?;
        let name = node::record_name(&self.cluster, record.sequence);
        if !self.engine.add_record(&name, &self.cluster, &owner.id, &text).await? {
            return Ok(false);
        }
        for (older, _) in before.into_iter().filter(|(other, _)| *other != name) {
            if let Err(error) = self.engine.remove_volume(&older).await {
                tracing::debug!(%error, "an older record stays");
            }
        }
        Ok(true)
    }

    pub(super) async fn forget(&self) -> Result<(), ClusterError> {
        for (name, _) in self.engine.records(&self.cluster).await? {
            self.engine.remove_volume(&name).await?;
        }
        Ok(())
    }
}

fn holder(seen: LockSeen) -> Holder {
    Holder { owner: seen.owner, name: seen.leader, lease: Lease::Engine(seen.id) }
}
