//! The Docker Engine, as far as a cluster needs it. Only this file and those
//! below `docker/` name bollard.
//!
//! Works with Engine 20.10 (API 1.41) and later: <https://docs.docker.com/reference/api/engine/>.
//! What is not there is `None`, not an error; everything else the engine refuses is an error that says
//! what was being done. Each call is one request with bollard's limit of two minutes; dropping the
//! future leaves the engine to finish what it began.

mod connect;
mod lock;
mod network;
mod output;
mod run;
mod snapshot;

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, Health, HealthConfig,
    HealthStatusEnum, HostConfig, Ipam, IpamConfig, Mount, MountType, NetworkCreateRequest,
    PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum, Volume,
    VolumeCreateRequest,
};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::error::ClusterError;
use super::node::{
    ContainerSpec, DATA_DIR, DataMount, HOLDS_DATA, LABEL_CLUSTER, LABEL_DATA, LABEL_NODE,
    LABEL_RECORD, LABEL_SPEC, MYSQL_PORT, STOP_SECONDS, network_name,
};
use super::subnet::Subnet;
pub(super) use connect::remote_host;
pub(super) use lock::{Connection, LockSeen, LockSpec, Seized};
pub(super) use run::{Ended, Run};
pub(super) use snapshot::{LabelledContainer, LabelledImage, LayerSpec, Made};

/// A health check runs this often, gives up after so long, and must fail so many times in a row. It is for people and
/// other programs; Weir asks the servers itself, which costs a hundredth of starting a program in a container.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: i64 = 3;
/// Failures before this are not counted: a first start, or InnoDB recovery.
const HEALTH_START_PERIOD: Duration = Duration::from_secs(300);

/// So that a server notices within 35 s that a client is gone without a word (its host died, or the server itself was
/// cut off), and within about 100 s when an answer was under way to it: until then its transaction holds its locks.
const KEEPALIVE: [(&str, &str); 4] = [
    ("net.ipv4.tcp_keepalive_time", "20"),
    ("net.ipv4.tcp_keepalive_intvl", "5"),
    ("net.ipv4.tcp_keepalive_probes", "3"),
    ("net.ipv4.tcp_retries2", "8"),
];

/// As the engine names it.
const OPEN_FILES_LIMIT: &str = "nofile";
/// Other containers of that name that may turn up while one is made, and how long is waited for each.
const NAME_ATTEMPTS: u32 = 5;
const NAME_POLL: Duration = Duration::from_millis(100);

/// A connection to one engine; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
}

/// A network as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub cluster: Option<String>,
    pub subnet: Option<Subnet>,
    /// Whether a part of the subnet is set aside for dynamic addresses, as Weir makes it.
    pub has_dynamic_range: bool,
}

/// A node's container by its labels alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeContainer {
    pub number: u32,
    pub name: String,
    /// The data is in its own layer and goes with it.
    pub holds_data: bool,
}

/// A container as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub id: String,
    pub cluster: Option<String>,
    pub node: Option<u32>,
    pub spec: Option<String>,
    /// The data is in its own layer and goes with it.
    pub holds_data: bool,
    /// "created", "running", "paused", "restarting", "exited", "dead", ..
    pub status: String,
    /// "healthy", "starting", "unhealthy", or "" where no check runs.
    pub health: String,
    pub exit_code: i64,
    pub restarts: i64,
    /// The kernel killed it because memory ran out.
    pub out_of_memory: bool,
    /// Somebody took it out of the cluster's network.
    pub detached: bool,
    /// It asks for a limit of open files of its own.
    pub raises_files: bool,
}

impl Engine {
    /// Whether the image is there.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool, ClusterError> {
        let found = self.docker.inspect_image(image).await;
        Ok(found_or_none(found, || format!("looking for image {image}"))?.is_some())
    }

    /// Pulls the image; `tell` hears of every change of state ("Downloading 3 of 60 MB").
    pub(super) async fn pull(
        &self,
        image: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<(), ClusterError> {
        // Without a tag the engine would pull every tag there is.
        let has_tag = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        let from = if has_tag { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptionsBuilder::default().from_image(&from).build();
        let mut events = self.docker.create_image(Some(options), None, None);
        let missing = |cause: String| ClusterError::ImageMissing { image: image.to_owned(), cause };
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| missing(cause(&error)))?;
            if let Some(detail) = event.error_detail {
                return Err(missing(detail.message.unwrap_or_default()));
            }
            let bytes = event.progress_detail.and_then(|p| Some((p.current?, p.total?)));
            let layer = event.id.unwrap_or_default();
            match (event.status, bytes) {
                (Some(status), Some((now, all))) if all > 0 => {
                    tell(&format!(
                        "{layer} {status} {} of {} MB",
                        now / 1_000_000,
                        all / 1_000_000
                    ));
                }
                (Some(status), _) => tell(&format!("{layer} {status}")),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// All networks of exactly that name. An engine may hold several: it makes them unasked-for when a
    /// request is cut off and repeated.
    pub(super) async fn networks_named(&self, name: &str) -> Result<Vec<Network>, ClusterError> {
        let filter = HashMap::from([("name", vec![name])]);
        let mut networks = self.list_networks(&filter).await?;
        // The engine's filter matches parts of names.
        networks.retain(|network| network.name == name);
        Ok(networks)
    }

    /// Makes a bridge network; with `subnet` exactly that one, else one that the engine chooses.
    pub(super) async fn create_network(
        &self,
        name: &str,
        cluster: &str,
        subnet: Option<Subnet>,
    ) -> Result<(), ClusterError> {
        let ipam = subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                ip_range: Some(subnet.dynamic_range()),
                gateway: Some(subnet.gateway().to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        });
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam,
            labels: Some(HashMap::from([(LABEL_CLUSTER.to_owned(), cluster.to_owned())])),
            ..NetworkCreateRequest::default()
        };
        match (self.docker.create_network(request).await, subnet) {
            (Ok(_), _) => Ok(()),
            (Err(error), Some(subnet)) if is_taken(&cause(&error)) => {
                Err(ClusterError::SubnetTaken { subnet: subnet.to_string(), cause: cause(&error) })
            }
            (Err(error), _) => Err(refused(format!("creating network {name}"), &error)),
        }
    }

    /// Removes that very network; gone already is fine.
    pub(super) async fn remove_network(&self, network: &Network) -> Result<(), ClusterError> {
        let removed = self.docker.remove_network(&network.id).await;
        found_or_none(removed, || format!("removing network {}", network.name)).map(|_| ())
    }

    /// The cluster that the volume of that name belongs to: `Some(None)` when it has no label of ours.
    pub(super) async fn volume(&self, name: &str) -> Result<Option<Option<String>>, ClusterError> {
        let found = self.docker.inspect_volume(name).await;
        let found = found_or_none(found, || format!("looking for volume {name}"))?;
        Ok(found.map(|mut volume| volume.labels.remove(LABEL_CLUSTER)))
    }

    /// Makes a named volume.
    pub(super) async fn create_volume(
        &self,
        name: &str,
        labels: Vec<(String, String)>,
    ) -> Result<(), ClusterError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map(|_| ()).map_err(|error| refused(format!("creating volume {name}"), &error))
    }

    /// Removes a volume and what is in it; gone already is fine.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), ClusterError> {
        let removed = self
            .docker
            .remove_volume(name, None::<bollard::query_parameters::RemoveVolumeOptions>)
            .await;
        found_or_none(removed, || format!("removing volume {name}")).map(|_| ())
    }

    /// The container of that name.
    pub(super) async fn container(&self, name: &str) -> Result<Option<Container>, ClusterError> {
        let found = self.docker.inspect_container(name, None).await;
        let found = found_or_none(found, || format!("looking for container {name}"))?;
        Ok(found.map(container_seen))
    }

    /// Makes the container; it does not run yet.
    pub(super) async fn create_container(&self, spec: &ContainerSpec) -> Result<(), ClusterError> {
        let make = || {
            let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
            Box::pin(self.docker.create_container(Some(options), create_body(spec)))
        };
        let mut made = make().await;
        for _ in 0..NAME_ATTEMPTS {
            // A request that was cut off goes on in the engine: what it makes, of our own label, is taken; what
            // it has not finished holds the name for a moment.
            let Err(Error::DockerResponseServerError { status_code: 409, .. }) = &made else {
                break;
            };
            let ours = spec.labels.iter().find(|(key, _)| key == LABEL_CLUSTER);
            let there = self.container(&spec.name).await?.and_then(|seen| seen.cluster);
            if there.is_some() && there.as_ref() == ours.map(|(_, cluster)| cluster) {
                return Ok(());
            }
            tokio::time::sleep(NAME_POLL).await;
            made = make().await;
        }
        made.map(|_| ()).map_err(|error| match &error {
            Error::DockerResponseServerError { status_code: 404, message } => {
                ClusterError::ImageMissing { image: spec.image.clone(), cause: message.clone() }
            }
            _ => refused(format!("creating container {}", spec.name), &error),
        })
    }

    /// Starts the container, or wakes it when it is paused, in its network; running there already is fine.
    pub(super) async fn start(&self, spec: &ContainerSpec) -> Result<(), ClusterError> {
        let name = spec.name.as_str();
        self.wake(name).await?;
        if self.container(name).await?.is_some_and(|seen| seen.detached) {
            self.reconnect(spec).await?;
        }
        self.docker.start_container(name, None).await.map_err(|error| {
            let text = cause(&error);
            if text.contains("port is already allocated") || text.contains("address already in use")
            {
                let port = spec.published.port();
                return ClusterError::PortTaken { port, node: name.to_owned(), cause: text };
            }
            refused(format!("starting container {name}"), &error)
        })
    }

    /// Stops the container in order, within a minute; stopped or gone already is fine.
    pub(super) async fn stop(&self, name: &str) -> Result<(), ClusterError> {
        let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
        let stopped = self.docker.stop_container(name, Some(options)).await;
        found_or_none(stopped, || format!("stopping container {name}")).map(|_| ())
    }

    /// Removes the container (killed when it still runs) and its nameless volumes; gone already is fine.
    pub(super) async fn remove_container(&self, name: &str) -> Result<(), ClusterError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.docker.remove_container(name, Some(options)).await;
        found_or_none(removed, || format!("removing container {name}")).map(|_| ())
    }

    /// Kills what runs in the container, which stays; ended or gone already is fine.
    pub(super) async fn kill(&self, name: &str) -> Result<(), ClusterError> {
        let options = None::<bollard::query_parameters::KillContainerOptions>;
        match self.docker.kill_container(name, options).await {
            Err(error) if cause(&error).contains("is not running") => Ok(()),
            done => found_or_none(done, || format!("killing container {name}")).map(|_| ()),
        }
    }

    /// Wakes the container if it is paused.
    pub(super) async fn wake(&self, name: &str) -> Result<(), ClusterError> {
        if self.container(name).await?.is_some_and(|seen| seen.status == "paused") {
            let woken = self.docker.unpause_container(name).await;
            return woken.map_err(|error| refused(format!("waking container {name}"), &error));
        }
        Ok(())
    }

    /// Unpacks a tar archive at the container's root.
    pub(super) async fn put(&self, name: &str, tar: Vec<u8>) -> Result<(), ClusterError> {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let put =
            self.docker.upload_to_container(name, Some(options), bollard::body_full(tar.into()));
        put.await.map_err(|error| refused(format!("putting a file into container {name}"), &error))
    }

    /// Whether the container has a file of that absolute path.
    pub(super) async fn has_file(&self, name: &str, path: &str) -> Result<bool, ClusterError> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        let found = self.docker.get_container_archive_info(name, Some(options)).await;
        Ok(found_or_none(found, || format!("looking for {path} in {name}"))?.is_some())
    }

    /// The last `lines` lines that the container wrote; empty when the engine does not give them.
    pub(super) async fn log_tail(&self, name: &str, lines: u32) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let chunks: Vec<_> = self.docker.logs(name, Some(options)).collect().await;
        chunks.into_iter().flatten().map(|chunk| chunk.to_string()).collect()
    }

    /// The containers of all nodes of the cluster, running or not, by node number.
    pub(super) async fn containers(
        &self,
        cluster: &str,
    ) -> Result<Vec<NodeContainer>, ClusterError> {
        let options =
            ListContainersOptionsBuilder::default().all(true).filters(&labelled(cluster)).build();
        let found = self.docker.list_containers(Some(options)).await;
        let found = found.map_err(|error| refused("listing containers".to_owned(), &error))?;
        let mut names: Vec<_> = found
            .into_iter()
            .filter_map(|container| {
                let name = container.names?.into_iter().next()?;
                let labels = container.labels?;
                Some(NodeContainer {
                    number: labels.get(LABEL_NODE)?.parse().ok()?,
                    name: name.trim_start_matches('/').to_owned(),
                    holds_data: labels.get(LABEL_DATA).is_some_and(|data| data == HOLDS_DATA),
                })
            })
            .collect();
        names.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Ok(names)
    }

    /// Names of all volumes of the cluster that are for data.
    pub(super) async fn volumes(&self, cluster: &str) -> Result<Vec<String>, ClusterError> {
        let options = ListVolumesOptionsBuilder::default().filters(&labelled(cluster)).build();
        let found = self.docker.list_volumes(Some(options)).await;
        let found = found.map_err(|error| refused("listing volumes".to_owned(), &error))?;
        let mut names: Vec<_> = found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter(holds_data)
            .map(|volume| volume.name)
            .collect();
        names.sort();
        Ok(names)
    }

    /// All networks of the cluster.
    pub(super) async fn networks(&self, cluster: &str) -> Result<Vec<Network>, ClusterError> {
        self.list_networks(&labelled(cluster)).await
    }

    async fn list_networks<T: Into<String> + Clone>(
        &self,
        filters: &HashMap<T, Vec<T>>,
    ) -> Result<Vec<Network>, ClusterError> {
        let options = ListNetworksOptionsBuilder::default().filters(filters).build();
        let found = self.docker.list_networks(Some(options)).await;
        let found = found.map_err(|error| refused("listing networks".to_owned(), &error))?;
        Ok(found.into_iter().map(network_seen).collect())
    }
}

fn holds_data(volume: &Volume) -> bool {
    !volume.labels.contains_key(LABEL_RECORD)
}

/// Whether another network has addresses that were wanted: "Pool overlaps with other one on this address space"; of an
/// engine 28 whose networks are made at the same time also "failed to allocate gateway (172.18.0.1): Address already
/// in use".
fn is_taken(cause: &str) -> bool {
    cause.contains("overlap") || cause.contains("failed to allocate gateway")
}

fn labelled(cluster: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{LABEL_CLUSTER}={cluster}")])])
}

fn network_seen(found: bollard::models::Network) -> Network {
    let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let first = ranges.into_iter().find_map(|range| {
        Some((
            Subnet::parse(&range.subnet?)?,
            range.ip_range.is_some_and(|range| !range.is_empty()),
        ))
    });
    Network {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        cluster: found.labels.unwrap_or_default().remove(LABEL_CLUSTER),
        subnet: first.map(|(subnet, _)| subnet),
        has_dynamic_range: first.is_some_and(|(_, dynamic)| dynamic),
    }
}

fn container_seen(found: ContainerInspectResponse) -> Container {
    let mut labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    let state = found.state.unwrap_or_default();
    let networks =
        found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let cluster = labels.remove(LABEL_CLUSTER);
    let network = cluster.as_deref().map(network_name);
    let limits = found.host_config.and_then(|config| config.ulimits).unwrap_or_default();
    Container {
        id: found.id.unwrap_or_default(),
        detached: network.is_some_and(|network| !networks.contains_key(&network)),
        cluster,
        node: labels.remove(LABEL_NODE).and_then(|number| number.parse().ok()),
        spec: labels.remove(LABEL_SPEC),
        holds_data: labels.get(LABEL_DATA).is_some_and(|data| data == HOLDS_DATA),
        status: state.status.unwrap_or(ContainerStateStatusEnum::EMPTY).to_string(),
        health: state.health.map(health_seen).unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or_default(),
        restarts: found.restart_count.unwrap_or_default(),
        out_of_memory: state.oom_killed.unwrap_or_default(),
        raises_files: limits.iter().any(|limit| limit.name.as_deref() == Some(OPEN_FILES_LIMIT)),
    }
}

/// Whether an engine that is itself limited could not give a container its limit of open files.
pub(super) fn limit_refused(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Engine { cause, .. } if cause.contains("rlimit"))
}

/// A container's own limit of open files.
fn open_files(files: i64) -> Vec<ResourcesUlimits> {
    let name = Some(OPEN_FILES_LIMIT.to_owned());
    vec![ResourcesUlimits { name, soft: Some(files), hard: Some(files) }]
}

/// A container that was paused is "unhealthy" until the next check, without one that failed.
fn health_seen(health: Health) -> String {
    let failed = health.failing_streak.is_some_and(|failed| failed > 0);
    match health.status {
        None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => String::new(),
        Some(HealthStatusEnum::UNHEALTHY) if !failed => HealthStatusEnum::STARTING.to_string(),
        Some(status) => status.to_string(),
    }
}

fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let port = format!("{MYSQL_PORT}/tcp");
    let binding = PortBinding {
        host_ip: Some(spec.published.ip().to_string()),
        host_port: Some(spec.published.port().to_string()),
    };
    ContainerCreateBody {
        hostname: Some(spec.name.clone()),
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        env: Some(spec.environment.clone()),
        labels: Some(spec.labels.iter().cloned().collect()),
        exposed_ports: Some(vec![port.clone()]),
        stop_timeout: Some(i64::from(STOP_SECONDS)),
        healthcheck: Some(HealthConfig {
            test: Some(spec.health.clone()),
            interval: Some(nanoseconds(HEALTH_INTERVAL)),
            timeout: Some(nanoseconds(HEALTH_TIMEOUT)),
            retries: Some(HEALTH_RETRIES),
            start_period: Some(nanoseconds(HEALTH_START_PERIOD)),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            network_mode: Some(spec.network.clone()),
            port_bindings: Some(HashMap::from([(port, Some(vec![binding]))])),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ulimits: spec.open_files.map(open_files),
            mounts: mount(&spec.data).map(|mount| vec![mount]),
            sysctls: Some(KEEPALIVE.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..HostConfig::default()
        }),
        networking_config: Some(network::endpoint(&spec.network, spec.address)),
        ..ContainerCreateBody::default()
    }
}

/// What the data directory is, where it is not in the container's own layer.
fn mount(data: &DataMount) -> Option<Mount> {
    let (source, typ) = match data {
        DataMount::Volume(name) => (name.clone(), MountType::VOLUME),
        DataMount::Folder(path) => (path.display().to_string(), MountType::BIND),
        DataMount::Layer => return None,
    };
    Some(Mount {
        target: Some(DATA_DIR.to_owned()),
        source: Some(source),
        typ: Some(typ),
        ..Mount::default()
    })
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Turns the engine's 404 into `None`.
fn found_or_none<T>(
    answer: Result<T, Error>,
    doing: impl FnOnce() -> String,
) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(refused(doing(), &error)),
    }
}

fn refused(doing: String, error: &Error) -> ClusterError {
    ClusterError::Engine { doing, cause: cause(error) }
}

/// The engine's own words, or the whole chain of causes where it could not be asked.
fn cause(error: &Error) -> String {
    if let Error::DockerResponseServerError { message, .. } = error {
        return message.trim().to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_check_has_found_is_not_unhealthy() {
        let seen = |status, failing_streak| {
            health_seen(Health { status: Some(status), failing_streak, ..Health::default() })
        };
        assert_eq!(seen(HealthStatusEnum::UNHEALTHY, Some(3)), "unhealthy");
        assert_eq!(seen(HealthStatusEnum::UNHEALTHY, Some(0)), "starting");
        assert_eq!(seen(HealthStatusEnum::UNHEALTHY, None), "starting");
        assert_eq!(seen(HealthStatusEnum::HEALTHY, Some(0)), "healthy");
        assert_eq!(seen(HealthStatusEnum::NONE, Some(0)), "");
        assert_eq!(health_seen(Health::default()), "");
    }
}
