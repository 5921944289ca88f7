//! The engine's part in leadership: a container that lives as long as its holder's connection, and volumes
//! that hold nothing but a label, of which the engine makes one of a name.

use std::collections::HashMap;
use std::pin::Pin;

use bollard::container::AttachContainerResults;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::io::AsyncWrite;

use super::{Engine, found_or_none, labelled, refused};
use crate::cluster::error::ClusterError;
use crate::cluster::node::{DATA_DIR, LABEL_CLUSTER, LABEL_LEADER, LABEL_OWNER, LABEL_RECORD};

/// The lock that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct LockSpec {
    /// Of the container.
    pub name: String,
    pub cluster: String,
    /// Must have `cat`.
    pub image: String,
    pub owner: String,
    pub leader: String,
}

/// The holder's connection: as long as it is there, the container runs.
pub(in crate::cluster) struct Connection {
    _input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Pin<
        Box<dyn futures_util::Stream<Item = Result<bollard::container::LogOutput, Error>> + Send>,
    >,
}

/// The lock as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct LockSeen {
    pub id: String,
    /// "created" while its holder is taking it, "running" while it is held, anything else afterwards.
    pub status: String,
    pub owner: String,
    pub leader: String,
}

/// What became of an attempt to take it.
#[derive(Debug)]
pub(in crate::cluster) enum Seized {
    /// With the container's id.
    Held(String, Connection),
    Taken,
    NoImage,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection(..)")
    }
}

impl Connection {
    /// Returns when the container has ended, or the engine can no longer be heard.
    pub(in crate::cluster) async fn ended(&mut self) {
        while let Some(Ok(_)) = self.output.next().await {}
    }
}

impl Engine {
    /// Takes the lock, unless somebody has it. The engine makes one container of a name; this one ends, and is
    /// removed, when its input does, which is when the connection breaks for whatever reason.
    pub(in crate::cluster) async fn seize(&self, spec: &LockSpec) -> Result<Seized, ClusterError> {
        let doing = || format!("taking the lock {}", spec.name);
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let id = match Box::pin(self.docker.create_container(Some(options), lock_body(spec))).await
        {
            Ok(made) => made.id,
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => {
                return Ok(Seized::Taken);
            }
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Ok(Seized::NoImage);
            }
            Err(error) => return Err(refused(doing(), &error)),
        };
        match self.hold(&id).await {
            Ok(connection) => Ok(Seized::Held(id, connection)),
            Err(error) => {
                self.remove_lock(&id).await?;
                Err(refused(doing(), &error))
            }
        }
    }

    /// Connected first, so that it never runs without a holder.
    async fn hold(&self, id: &str) -> Result<Connection, Error> {
        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).build();
        let AttachContainerResults { input, output } =
            self.docker.attach_container(id, Some(options)).await?;
        self.docker.start_container(id, None).await?;
        Ok(Connection { _input: input, output })
    }

    /// The lock of that name or id.
    pub(in crate::cluster) async fn lock(
        &self,
        name: &str,
    ) -> Result<Option<LockSeen>, ClusterError> {
        let found = self.docker.inspect_container(name, None).await;
        let found = found_or_none(found, || format!("looking for the lock {name}"))?;
        Ok(found.map(|found| {
            let mut labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            let status = found.state.and_then(|state| state.status);
            LockSeen {
                id: found.id.unwrap_or_default(),
                status: status.map(|status| status.to_string()).unwrap_or_default(),
                owner: labels.remove(LABEL_OWNER).unwrap_or_default(),
                leader: labels.remove(LABEL_LEADER).unwrap_or_default(),
            }
        }))
    }

    /// Ends that very lock; ended already, or being removed, is fine.
    pub(in crate::cluster) async fn remove_lock(&self, id: &str) -> Result<(), ClusterError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            done => found_or_none(done, || "giving the lock back".to_owned()).map(|_| ()),
        }
    }

    /// All records of the cluster: names of volumes, and what their label says.
    pub(in crate::cluster) async fn records(
        &self,
        cluster: &str,
    ) -> Result<Vec<(String, String)>, ClusterError> {
        let mut filters = labelled(cluster);
        filters.entry("label".to_owned()).or_default().push(LABEL_RECORD.to_owned());
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_volumes(Some(options)).await;
        let found = found.map_err(|error| refused("reading the record".to_owned(), &error))?;
        let records = found.volumes.unwrap_or_default().into_iter();
        Ok(records
            .filter_map(|mut volume| Some((volume.name, volume.labels.remove(LABEL_RECORD)?)))
            .collect())
    }

    /// Makes that record, unless there is one of that name: the engine answers with the one that is there then,
    /// and one of two that ask at once gets its own. Whether this one is there now.
    pub(in crate::cluster) async fn add_record(
        &self,
        name: &str,
        cluster: &str,
        owner: &str,
        text: &str,
    ) -> Result<bool, ClusterError> {
        let labels = [(LABEL_CLUSTER, cluster), (LABEL_OWNER, owner), (LABEL_RECORD, text)];
        let labels: HashMap<String, String> =
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone()),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        let made = made.map_err(|error| refused("writing the record".to_owned(), &error))?;
        Ok(made.labels == labels)
    }
}

fn lock_body(spec: &LockSpec) -> ContainerCreateBody {
    let labels =
        [(LABEL_CLUSTER, &spec.cluster), (LABEL_OWNER, &spec.owner), (LABEL_LEADER, &spec.leader)];
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(vec!["cat".to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.clone())).into()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        network_disabled: Some(true),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            // In the place of a volume, which the image asks for.
            tmpfs: Some(HashMap::from([(DATA_DIR.to_owned(), "size=4k".to_owned())])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
