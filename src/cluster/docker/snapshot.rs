//! The engine's part in snapshots: containers whose data is in their own layer, images made of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerSummary, HealthConfig, HostConfig, Mount,
    MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptionsBuilder,
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};

use super::{Engine, cause, found_or_none, refused};
use crate::cluster::error::ClusterError;
use crate::cluster::node::{LABEL_CLUSTER, MYSQL_PORT, STOP_SECONDS};

/// A commit copies the whole data directory, and so does filling a volume: the requests that may take long.
const COMMIT_LIMIT: Duration = Duration::from_secs(4 * 3600);
/// Between two looks of the engine at a copy's health; nobody waits for it.
const HEALTH_INTERVAL_NS: i64 = 30_000_000_000;

/// A container with its data in its own layer, published on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct LayerSpec {
    pub name: String,
    /// Name or id.
    pub image: String,
    pub command: Vec<String>,
    pub environment: Vec<String>,
    pub labels: Vec<(String, String)>,
    /// `None`: the engine's own default bridge.
    pub network: Option<String>,
    /// `None`: a free one, which the engine chooses at each start.
    pub port: Option<u16>,
    /// A named volume and where it is mounted. An empty one gets what the image has at that path while the
    /// container is made.
    pub volume: Option<(String, String)>,
    pub health: Option<Vec<String>>,
}

/// What became of a request that a name or a port may stand in the way of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) enum Made {
    Done,
    /// In the engine's own words.
    Taken(String),
}

/// An image with a label of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct LabelledImage {
    /// "weir-snapshot/weir:nightly"; empty when another image has taken its name.
    pub reference: String,
    pub labels: HashMap<String, String>,
}

/// A container with a label of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct LabelledContainer {
    pub name: String,
    pub labels: HashMap<String, String>,
    /// "running", "exited", ..
    pub status: String,
    /// Where MySQL's port is published; `None` while it does not run.
    pub published: Option<SocketAddr>,
}

impl Engine {
    /// Makes the container; it does not run yet.
    pub(in crate::cluster) async fn create_layer(
        &self,
        spec: &LayerSpec,
    ) -> Result<Made, ClusterError> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let mut docker = self.docker.clone();
        if spec.volume.is_some() {
            docker.set_timeout(COMMIT_LIMIT);
        }
        match Box::pin(docker.create_container(Some(options), layer_body(spec))).await {
            Ok(_) => Ok(Made::Done),
            Err(Error::DockerResponseServerError { status_code: 409, message }) => {
                Ok(Made::Taken(message))
            }
            Err(error) => Err(refused(format!("creating container {}", spec.name), &error)),
        }
    }

    /// Starts the container.
    pub(in crate::cluster) async fn start_layer(&self, name: &str) -> Result<Made, ClusterError> {
        let Err(error) = self.docker.start_container(name, None).await else {
            return Ok(Made::Done);
        };
        let text = cause(&error);
        if text.contains("port is already allocated") || text.contains("address already in use") {
            return Ok(Made::Taken(text));
        }
        Err(refused(format!("starting container {name}"), &error))
    }

    /// Where MySQL's port of the container is published now; `None` while it does not run.
    pub(in crate::cluster) async fn published(
        &self,
        name: &str,
    ) -> Result<Option<SocketAddr>, ClusterError> {
        let found = self.docker.inspect_container(name, None).await;
        let found = found_or_none(found, || format!("looking for container {name}"))?;
        let ports = found.and_then(|found| found.network_settings?.ports).unwrap_or_default();
        let bindings = ports.get(&mysql_port()).cloned().flatten().unwrap_or_default();
        Ok(bindings.into_iter().find_map(|binding| {
            let host: IpAddr = binding.host_ip?.parse().ok()?;
            Some(SocketAddr::new(host, binding.host_port?.parse().ok()?))
        }))
    }

    /// The id of the image that the container was made from, whatever that image is called now.
    pub(in crate::cluster) async fn image_of(
        &self,
        name: &str,
    ) -> Result<Option<String>, ClusterError> {
        let found = self.docker.inspect_container(name, None).await;
        let found = found_or_none(found, || format!("looking for container {name}"))?;
        Ok(found.and_then(|found| found.image))
    }

    /// The id of the image that has that name now.
    pub(in crate::cluster) async fn image_id(
        &self,
        image: &str,
    ) -> Result<Option<String>, ClusterError> {
        let found = self.docker.inspect_image(image).await;
        let found = found_or_none(found, || format!("looking for image {image}"))?;
        Ok(found.and_then(|found| found.id))
    }

    /// What the container has in its own layer, bytes.
    pub(in crate::cluster) async fn layer_bytes(&self, name: &str) -> Result<u64, ClusterError> {
        let options = InspectContainerOptionsBuilder::default().size(true).build();
        // The engine adds up all files for it.
        let docker = self.docker.clone().with_timeout(COMMIT_LIMIT);
        let found = docker.inspect_container(name, Some(options)).await;
        let found =
            found.map_err(|error| refused(format!("measuring container {name}"), &error))?;
        Ok(found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    /// Makes an image of a stopped container; labels go beside those that the container has.
    pub(in crate::cluster) async fn commit(
        &self,
        name: &str,
        repository: &str,
        tag: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), ClusterError> {
        let options = CommitContainerOptionsBuilder::default()
            .container(name)
            .repo(repository)
            .tag(tag)
            .pause(false)
            .build();
        let config = ContainerConfig { labels: Some(labels), ..ContainerConfig::default() };
        let docker = self.docker.clone().with_timeout(COMMIT_LIMIT);
        let made = docker.commit_container(options, config).await;
        made.map(|_| ())
            .map_err(|error| refused(format!("making image {repository}:{tag}"), &error))
    }

    /// All images of the cluster whose `label` has that value.
    pub(in crate::cluster) async fn images_labelled(
        &self,
        cluster: &str,
        label: (&str, &str),
    ) -> Result<Vec<LabelledImage>, ClusterError> {
        let options =
            ListImagesOptionsBuilder::default().filters(&both_labels(cluster, label)).build();
        let found = self.docker.list_images(Some(options)).await;
        let found = found.map_err(|error| refused("listing images".to_owned(), &error))?;
        let seen = found.into_iter().map(|image| LabelledImage {
            reference: image
                .repo_tags
                .into_iter()
                .find(|tag| !tag.contains('<'))
                .unwrap_or_default(),
            labels: image.labels,
        });
        Ok(seen.collect())
    }

    /// The command that containers of the image run.
    pub(in crate::cluster) async fn image_command(
        &self,
        image: &str,
    ) -> Result<Vec<String>, ClusterError> {
        let found = self.docker.inspect_image(image).await;
        let found = found.map_err(|error| refused(format!("looking at image {image}"), &error))?;
        Ok(found.config.and_then(|config| config.cmd).unwrap_or_default())
    }

    /// Takes the name from the image and removes it when that was its last; gone already is fine.
    pub(in crate::cluster) async fn remove_image(&self, image: &str) -> Result<(), ClusterError> {
        let options = RemoveImageOptionsBuilder::default().build();
        let removed = self.docker.remove_image(image, Some(options), None).await;
        found_or_none(removed, || format!("removing image {image}")).map(|_| ())
    }

    /// All containers of the cluster whose `label` has that value, running or not.
    pub(in crate::cluster) async fn containers_labelled(
        &self,
        cluster: &str,
        label: (&str, &str),
    ) -> Result<Vec<LabelledContainer>, ClusterError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&both_labels(cluster, label))
            .build();
        let found = self.docker.list_containers(Some(options)).await;
        let found = found.map_err(|error| refused("listing containers".to_owned(), &error))?;
        Ok(found.into_iter().filter_map(labelled_container).collect())
    }
}

fn labelled_container(found: ContainerSummary) -> Option<LabelledContainer> {
    let published = found.ports.unwrap_or_default().into_iter().find_map(|port| {
        let host: IpAddr = port.ip?.parse().ok()?;
        let public = port.public_port.filter(|_| port.private_port == MYSQL_PORT)?;
        Some(SocketAddr::new(host, public))
    });
    Some(LabelledContainer {
        name: found.names?.first()?.trim_start_matches('/').to_owned(),
        labels: found.labels.unwrap_or_default(),
        status: found.state.map(|state| state.to_string()).unwrap_or_default(),
        published,
    })
}

fn both_labels(cluster: &str, (label, value): (&str, &str)) -> HashMap<String, Vec<String>> {
    let labels = vec![format!("{LABEL_CLUSTER}={cluster}"), format!("{label}={value}")];
    HashMap::from([("label".to_owned(), labels)])
}

fn mysql_port() -> String {
    format!("{MYSQL_PORT}/tcp")
}

fn layer_body(spec: &LayerSpec) -> ContainerCreateBody {
    let binding = PortBinding {
        host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
        host_port: Some(spec.port.map(|port| port.to_string()).unwrap_or_default()),
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        env: Some(spec.environment.clone()),
        labels: Some(spec.labels.iter().cloned().collect()),
        exposed_ports: Some(vec![mysql_port()]),
        stop_timeout: Some(i64::from(STOP_SECONDS)),
        healthcheck: spec.health.clone().map(|test| HealthConfig {
            test: Some(test),
            interval: Some(HEALTH_INTERVAL_NS),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            network_mode: spec.network.clone(),
            port_bindings: Some(HashMap::from([(mysql_port(), Some(vec![binding]))])),
            mounts: spec.volume.as_ref().map(|(volume, target)| {
                vec![Mount {
                    target: Some(target.clone()),
                    source: Some(volume.clone()),
                    typ: Some(MountType::VOLUME),
                    ..Mount::default()
                }]
            }),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
