//! Programs that are run to their end in a container of their own.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::super::error::ClusterError;
use super::super::node::LABEL_CLUSTER;
use super::{Engine, NAME_ATTEMPTS, NAME_POLL, open_files, refused};

/// A program may take this long.
const RUN_LIMIT: Duration = Duration::from_secs(60);
const RUN_LOG_LINES: u32 = 50;

/// What to run.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Run<'a> {
    /// Of the container.
    pub name: &'a str,
    pub cluster: &'a str,
    pub image: &'a str,
    pub program: &'a str,
    pub arguments: Vec<String>,
    /// A folder of the host and where it is in the container. The program runs as root then.
    pub folder: Option<(&'a Path, &'a str)>,
    /// How long it may take.
    pub limit: Duration,
    /// Its limit of open files; `None` for the engine's.
    pub open_files: Option<i64>,
}

/// A program that was run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Ended {
    pub exit_code: i64,
    /// The last lines that it wrote.
    pub output: String,
}

impl<'a> Run<'a> {
    /// Without a folder, within a minute.
    pub(in crate::cluster) fn new(
        name: &'a str,
        cluster: &'a str,
        image: &'a str,
        program: &'a str,
        arguments: Vec<String>,
    ) -> Self {
        let (folder, limit, open_files) = (None, RUN_LIMIT, None);
        Self { name, cluster, image, program, arguments, folder, limit, open_files }
    }
}

impl Engine {
    /// Runs a program of the image to its end, without network and volumes, and removes the container.
    pub(in crate::cluster) async fn run_once(&self, run: Run<'_>) -> Result<Ended, ClusterError> {
        let Run { name, program, limit, .. } = run;
        let doing = || format!("running {program} in container {name}");
        self.make(&run).await?;
        let started = self.docker.start_container(name, None).await;
        started.map_err(|error| refused(doing(), &error))?;
        let mut waited = Duration::ZERO;
        loop {
            match self.container(name).await? {
                Some(seen) if matches!(seen.status.as_str(), "exited" | "dead") => {
                    let output = self.log_tail(name, RUN_LOG_LINES).await;
                    self.remove_container(name).await?;
                    return Ok(Ended { exit_code: seen.exit_code, output });
                }
                Some(_) if waited < limit => tokio::time::sleep(NAME_POLL).await,
                _ => {
                    self.remove_container(name).await?;
                    let cause = format!("it had no end within {} s", limit.as_secs());
                    return Err(ClusterError::Engine { doing: doing(), cause });
                }
            }
            waited = waited.saturating_add(NAME_POLL);
        }
    }

    async fn make(&self, run: &Run<'_>) -> Result<(), ClusterError> {
        let mut left = NAME_ATTEMPTS;
        loop {
            // Of a run that was cut off; the engine finishes what it began even then.
            self.remove_container(run.name).await?;
            let options = CreateContainerOptionsBuilder::default().name(run.name).build();
            match Box::pin(self.docker.create_container(Some(options), body(run))).await {
                Ok(_) => return Ok(()),
                Err(Error::DockerResponseServerError { status_code: 409, .. }) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(NAME_POLL).await;
                }
                Err(Error::DockerResponseServerError { status_code: 404, message }) => {
                    let image = run.image.to_owned();
                    return Err(ClusterError::ImageMissing { image, cause: message });
                }
                Err(error) => {
                    let doing = format!("running {} in container {}", run.program, run.name);
                    return Err(refused(doing, &error));
                }
            }
        }
    }
}

fn body(run: &Run<'_>) -> ContainerCreateBody {
    let mounts = run.folder.map(|(source, target)| {
        vec![Mount {
            target: Some(target.to_owned()),
            source: Some(source.display().to_string()),
            typ: Some(MountType::BIND),
            ..Mount::default()
        }]
    });
    ContainerCreateBody {
        image: Some(run.image.to_owned()),
        user: run.folder.map(|_| "0".to_owned()),
        entrypoint: Some(vec![run.program.to_owned()]),
        cmd: Some(run.arguments.clone()),
        labels: Some(HashMap::from([(LABEL_CLUSTER.to_owned(), run.cluster.to_owned())])),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            mounts,
            ulimits: run.open_files.map(open_files),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
