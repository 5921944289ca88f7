//! Copies: containers made of a snapshot's image.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cluster::docker::{Engine, LabelledContainer, LayerSpec, Made};
use crate::cluster::error::ClusterError;
use crate::cluster::progress::Progress;
use crate::cluster::state::{self, write_private};
use crate::config::{self, Secret};

use super::error::SnapshotError;
use super::{SnapshotView, find, names, spec, take, time, wait};

/// Names that are tried for a copy that was given none: more copies of one snapshot need names.
const MAX_NUMBERED: u32 = 1_000;

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyView {
    pub name: String,
    pub snapshot: String,
    /// "running", "exited", ..
    pub state: String,
    /// Where it is published; `None` while it does not run.
    pub published: Option<SocketAddr>,
    /// RFC 3339, UTC.
    pub started: String,
    /// When it is removed, RFC 3339, UTC; `None`: when somebody does.
    pub expires: Option<String>,
}

/// What copy is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunRequest<'a> {
    pub snapshot: &'a str,
    /// `None`: the snapshot's name and a number.
    pub copy: Option<&'a str>,
    /// `None`: a free port.
    pub port: Option<u16>,
    /// `None`: until somebody removes it.
    pub ttl: Option<Duration>,
}

/// A copy that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub copy: CopyView,
    /// Root's.
    pub password: Secret,
    /// For `mysql --defaults-extra-file=`: where it is, root and its password.
    pub options: PathBuf,
}

/// Starts a writable copy of a snapshot; returns when it answers, in seconds whatever its size.
///
/// Dropping the future may leave the copy, as one that [`stop`] removes.
///
/// # Errors
/// See [`ClusterError`] and [`SnapshotError`]; no copy is left then.
pub async fn run(
    cluster: &config::Cluster,
    state_dir: &Path,
    request: RunRequest<'_>,
    now: SystemTime,
    progress: &dyn Progress,
) -> Result<Started, ClusterError> {
    let expires = match request.ttl {
        Some(ttl) => Some(time::after(now, ttl).ok_or(SnapshotError::TimeToLive)?),
        None => None,
    };
    let engine = Engine::connect(cluster).await?;
    let snapshots = super::snapshots(&engine, &cluster.name).await?;
    let snapshot = find(snapshots, request.snapshot)?;
    progress.begin(&format!("make a container of {}", snapshot.image));
    let mut labels = vec![(spec::LABEL_STARTED.to_owned(), time::rfc3339(now))];
    labels.extend(expires.map(|end| (spec::LABEL_EXPIRES.to_owned(), end)));
    let name = create(&engine, cluster, &snapshot, request, &labels).await?;
    progress.end();
    let done = Box::pin(start(&engine, cluster, state_dir, &name, request.port, progress)).await;
    if done.is_err() {
        discard(&engine, &cluster.name, state_dir, &name).await?;
    }
    done
}

/// Removes the copy of that name with all that was written to it.
///
/// # Errors
/// [`SnapshotError::NoCopy`], or what the engine refused.
pub async fn stop(
    cluster: &config::Cluster,
    state_dir: &Path,
    name: &str,
) -> Result<(), ClusterError> {
    let engine = Engine::connect(cluster).await?;
    let copies = all(&engine, &cluster.name).await?;
    if !copies.iter().any(|copy| copy.name == name) {
        let there = names(copies.iter().map(|copy| copy.name.as_str()));
        return Err(SnapshotError::NoCopy { name: name.to_owned(), there }.into());
    }
    discard(&engine, &cluster.name, state_dir, name).await
}

/// Removes the copies whose time is over at `now`, and returns their names.
///
/// # Errors
/// What the engine refused; calling it again removes the rest.
pub async fn remove_expired(
    cluster: &config::Cluster,
    state_dir: &Path,
    now: SystemTime,
) -> Result<Vec<String>, ClusterError> {
    let engine = Engine::connect(cluster).await?;
    let now = time::rfc3339(now);
    let mut removed = Vec::new();
    for copy in all(&engine, &cluster.name).await? {
        // Times are written so that text sorts as they do.
        if copy.expires.is_some_and(|end| end <= now) {
            discard(&engine, &cluster.name, state_dir, &copy.name).await?;
            removed.push(copy.name);
        }
    }
    Ok(removed)
}

/// Where the options for MySQL's client programs to reach a copy are.
pub fn options_file(state_dir: &Path, copy: &str) -> PathBuf {
    state_dir.join(format!("copy-{copy}.cnf"))
}

/// Removes all copies, and what an interrupted snapshot left, with the cluster. Gives the containers'
/// names.
pub(in crate::cluster) async fn remove_containers(
    engine: &Engine,
    cluster: &str,
    state_dir: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, ClusterError> {
    let mut removed = Vec::new();
    for name in containers(engine, cluster).await? {
        progress.begin(&format!("remove container {name}"));
        engine.remove_container(&name).await?;
        if let Some(copy) = name.strip_prefix(&spec::copy_name(cluster, "")) {
            remove_file(&options_file(state_dir, copy))?;
        }
        progress.end();
        removed.push(name);
    }
    Ok(removed)
}

/// Names of the containers that go with the cluster and are no nodes.
pub(in crate::cluster) async fn containers(
    engine: &Engine,
    cluster: &str,
) -> Result<Vec<String>, ClusterError> {
    let mut found = engine.containers_labelled(cluster, spec::KIND_COPY).await?;
    for kind in [spec::KIND_TAKING, spec::KIND_SEEDING] {
        found.extend(engine.containers_labelled(cluster, kind).await?);
    }
    let mut names: Vec<String> = found.into_iter().map(|container| container.name).collect();
    names.sort();
    Ok(names)
}

/// All copies, oldest first.
pub(super) async fn all(engine: &Engine, cluster: &str) -> Result<Vec<CopyView>, ClusterError> {
    let found = engine.containers_labelled(cluster, spec::KIND_COPY).await?;
    let mut copies: Vec<CopyView> = found.into_iter().map(copy_view).collect();
    copies.sort_by(|a, b| (&a.started, &a.name).cmp(&(&b.started, &b.name)));
    Ok(copies)
}

/// Makes the container under the wanted name, or under the first number that is free.
async fn create(
    engine: &Engine,
    cluster: &config::Cluster,
    snapshot: &SnapshotView,
    request: RunRequest<'_>,
    labels: &[(String, String)],
) -> Result<String, ClusterError> {
    let command = engine.image_command(&snapshot.image).await?;
    let server_id = server_id()?;
    let spec = |name: &str| -> LayerSpec {
        let (command, image) = (command.clone(), snapshot.image.as_str());
        let mut spec = spec::copy(&cluster.name, &snapshot.name, name, image, command, server_id);
        spec.port = request.port;
        spec.labels.extend_from_slice(labels);
        spec
    };
    if let Some(name) = request.copy {
        spec::check_name("copy", name)?;
        return match engine.create_layer(&spec(name)).await? {
            Made::Done => Ok(name.to_owned()),
            Made::Taken(_) => Err(SnapshotError::CopyExists { name: name.to_owned() }.into()),
        };
    }
    let mut name = String::new();
    for number in 1..=MAX_NUMBERED {
        name = format!("{}-{number}", snapshot.name);
        if engine.create_layer(&spec(&name)).await? == Made::Done {
            return Ok(name);
        }
    }
    Err(SnapshotError::CopyExists { name }.into())
}

/// Starts it with a password of its own, which is in a file of the container until it has been read,
/// and in one of this host.
async fn start(
    engine: &Engine,
    cluster: &config::Cluster,
    state_dir: &Path,
    name: &str,
    port: Option<u16>,
    progress: &dyn Progress,
) -> Result<Started, ClusterError> {
    let container = spec::copy_name(&cluster.name, name);
    progress.begin(&format!("start {container}"));
    let password = state::password()?;
    take::put(engine, &container, spec::INIT_FILE, &spec::init_sql(&password, "%")).await?;
    if let Made::Taken(cause) = engine.start_layer(&container).await? {
        return Err(SnapshotError::PortTaken { port: port.unwrap_or(0), cause }.into());
    }
    let options = options_file(state_dir, name);
    let published = engine.published(&container).await?;
    let content = client_options(published, &password);
    write_private(&options, content.as_bytes())
        .map_err(|error| file_error("cannot write", &options, &error))?;
    let client = wait::answers(engine, &container, &password, progress).await?;
    client.close().await;
    // It would set root's password back at each start.
    take::put(engine, &container, spec::INIT_FILE, "").await?;
    progress.end();
    let copies = all(engine, &cluster.name).await?;
    let copy =
        copies.into_iter().find(|copy| copy.name == name).ok_or_else(|| SnapshotError::NoCopy {
            name: name.to_owned(),
            there: "it was removed meanwhile".to_owned(),
        })?;
    Ok(Started { copy, password, options })
}

async fn discard(
    engine: &Engine,
    cluster: &str,
    state_dir: &Path,
    name: &str,
) -> Result<(), ClusterError> {
    engine.remove_container(&spec::copy_name(cluster, name)).await?;
    remove_file(&options_file(state_dir, name))
}

fn remove_file(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(file_error("cannot remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn file_error(doing: &'static str, path: &Path, error: &std::io::Error) -> ClusterError {
    ClusterError::State { doing, path: path.to_owned(), cause: error.to_string() }
}

fn copy_view(container: LabelledContainer) -> CopyView {
    let mut labels = container.labels;
    let mut label = |key: &str| labels.remove(key);
    CopyView {
        name: label(spec::LABEL_COPY).unwrap_or_default(),
        snapshot: label(spec::LABEL_SNAPSHOT).unwrap_or_default(),
        state: container.status,
        published: container.published,
        started: label(spec::LABEL_STARTED).unwrap_or_default(),
        expires: label(spec::LABEL_EXPIRES),
    }
}

fn client_options(published: Option<SocketAddr>, password: &Secret) -> String {
    let (host, port) =
        published.map(|address| (address.ip().to_string(), address.port())).unwrap_or_default();
    format!(
        "# Written by `weir snapshot run`: the way to this copy for MySQL's client programs.\n\
         [client]\nprotocol = tcp\nhost = {host}\nport = {port}\nuser = root\npassword = \"{}\"\n",
        password.expose()
    )
}

/// One that no other server has: the upper half of the numbers, where nodes have none.
fn server_id() -> Result<u32, ClusterError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| ClusterError::Random { cause: error.to_string() })?;
    Ok(u32::from_le_bytes(bytes) | 1 << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_for_mysqls_own_programs() {
        let text =
            client_options(Some(([127, 0, 0, 1], 4711).into()), &Secret::new("hunter2".to_owned()));
        for line in ["host = 127.0.0.1", "port = 4711", "user = root", "password = \"hunter2\""] {
            assert!(text.lines().any(|have| have == line), "{text}");
        }
    }

    #[test]
    fn server_ids_are_not_those_of_nodes() {
        assert!(server_id().unwrap() >= 1 << 31);
    }
}
