//! Makes an image of one node's data by way of a server that has it in its own container.
//!
//! Cut off anywhere, it leaves that container, which carries a label of its own and nothing else needs:
//! only the commit, one request of the engine, makes something that stays.

use std::time::Duration;

use crate::cluster::accounts::{self, ROOT};
use crate::cluster::archive;
use crate::cluster::docker::{Engine, LayerSpec, Made};
use crate::cluster::error::ClusterError;
use crate::cluster::lease::Right;
use crate::cluster::node::{self, LABEL_CLUSTER, MYSQL_PORT, MYSQL_UID, ROOT_PASSWORD_FILE};
use crate::cluster::progress::Progress;
use crate::cluster::server;
use crate::cluster::sql::{self, Client};
use crate::cluster::state;
use crate::cluster::view::NodeView;
use crate::cluster::world::World;
use crate::config::Secret;

use super::error::SnapshotError;
use super::{spec, wait};

/// To copy the data over the network; terabytes take hours.
const CLONE_LIMIT: Duration = Duration::from_secs(24 * 3600);
const CLONE_POLL: Duration = Duration::from_millis(250);
/// "Restart server failed (mysqld is not managed by supervisor process)": how a CLONE that succeeded ends
/// in a container. The server stops, and the engine starts it again
/// (<https://dev.mysql.com/doc/refman/8.4/en/clone-plugin-remote.html>).
const RESTART_FAILED: u16 = 3707;

/// Which plugins a server has loaded from files: donor and recipient must have the same.
const PLUGINS: &str = "SELECT plugin_name, plugin_library FROM information_schema.plugins WHERE \
    plugin_status = 'ACTIVE' AND plugin_library IS NOT NULL";

/// Makes the image; the caller removes the container, however this ends.
pub(super) async fn take(
    world: &World,
    donor: &NodeView,
    snapshot: &str,
    created: &str,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let behind = donor.replication.as_ref().and_then(|replication| replication.behind);
    if let Some(behind) = behind.filter(|behind| *behind > 0) {
        progress.note(&format!("{} was {behind} transactions behind a moment ago", donor.name));
    }
    progress.begin(&format!("get {} ready to be copied", donor.name));
    let source = ready_donor(world, donor).await?;
    progress.end();

    let spec = server(world, donor, snapshot).await?;
    let (engine, name) = (&world.engine, spec.name.as_str());
    progress.begin(&format!("start {name}, a server for the data"));
    let password = start(world, &spec).await?;
    let mut client = wait::answers(engine, name, &password, progress).await?;
    progress.end();

    progress.begin(&format!("copy the data of {}", donor.name));
    let watcher = wait::answers(engine, name, &password, progress).await?;
    install(&mut client, &source.plugins).await?;
    Box::pin(clone(world, client, watcher, donor, &source, progress)).await?;
    progress.end();

    progress.begin(&format!("wait until {name} answers with the data"));
    let mut client = wait::answers(engine, name, &world.state.root, progress).await?;
    check_cloned(&mut client, donor).await?;
    progress.end();

    progress.begin("take out what belongs to the cluster");
    let cleaned = clean(&mut client, &source.inside).await?;
    client.close().await;
    engine.stop(name).await?;
    blank_files(engine, name).await?;
    progress.end();

    let repository = spec::repository(&world.cluster.name);
    progress.begin(&format!("make image {repository}:{snapshot}"));
    let bytes = engine.layer_bytes(name).await?;
    progress.detail(&format!("{} MB", bytes / 1_000_000));
    let Cleaned { gtid, version, seeds } = cleaned;
    let labels = spec::image_labels(&gtid, &version, created, &donor.name, bytes, seeds);
    engine.commit(name, &repository, snapshot, labels).await?;
    progress.end();
    Ok(())
}

/// What the recipient has to know of the donor.
struct Source {
    has_tls: bool,
    /// Name and file.
    plugins: Vec<(String, String)>,
    /// Where Weir's own accounts come from, as MySQL names it.
    inside: String,
}

/// Loads the clone plugin, which stays for the next snapshot: nothing else is ever changed on a node.
async fn ready_donor(world: &World, donor: &NodeView) -> Result<Source, ClusterError> {
    let number = node::number(&world.cluster.name, &donor.name).ok_or_else(|| {
        SnapshotError::NoDonor(format!("{} is no node of this cluster", donor.name))
    })?;
    let mut client = world.root_now(number).await?;
    if !plugins(&mut client).await?.iter().any(|(name, _)| name == "clone") {
        // While super_read_only is off, nobody else may be moving roles.
        let right = Right::wait(&world.cluster, &world.state_dir).await?;
        right.during(install_clone(&mut client)).await?;
    }
    let plugins = plugins(&mut client).await?;
    let has_tls = server::has_tls(&mut client).await?;
    client.close().await;
    let inside = world.subnet().map(|subnet| subnet.account_host()).unwrap_or_default();
    Ok(Source { has_tls, plugins, inside })
}

/// Without a GTID, and without making writable what is not.
async fn install_clone(client: &mut Client) -> Result<(), ClusterError> {
    let doing = "installing the clone plugin";
    let was_locked = client.number("SELECT @@global.super_read_only", doing).await? == 1;
    if was_locked {
        // Root may write while read_only itself stays on.
        client.run("SET GLOBAL super_read_only = OFF", doing).await?;
    }
    client.run("SET SESSION sql_log_bin = OFF", doing).await?;
    client.run("INSTALL PLUGIN clone SONAME 'mysql_clone.so'", doing).await?;
    // It would also set read_only, which must not happen to a server that became the primary meanwhile.
    if was_locked && client.number("SELECT @@global.read_only", doing).await? == 1 {
        client.run("SET GLOBAL super_read_only = ON", doing).await?;
    }
    Ok(())
}

async fn plugins(client: &mut Client) -> Result<Vec<(String, String)>, ClusterError> {
    let rows = client.rows(PLUGINS, "asking for its plugins").await?;
    let pair = |row| Some((sql::text_at(row, 0)?, sql::text_at(row, 1)?));
    Ok(rows.iter().filter_map(pair).collect())
}

/// The very image that the donor runs, whatever that name means today: CLONE wants the same version.
async fn server(
    world: &World,
    donor: &NodeView,
    snapshot: &str,
) -> Result<LayerSpec, ClusterError> {
    let subnet =
        world.subnet().ok_or_else(|| super::super::not_built(&world.cluster, &world.state_dir))?;
    let image = world.engine.image_of(&donor.name).await?.ok_or_else(|| {
        SnapshotError::NoDonor(format!("the container of {} was removed meanwhile", donor.name))
    })?;
    Ok(spec::taking(&world.cluster, &image, subnet, snapshot))
}

/// Gives the first password of root, which is thrown away with the server's first data.
async fn start(world: &World, spec: &LayerSpec) -> Result<Secret, ClusterError> {
    let password = state::password()?;
    if let Made::Taken(cause) = world.engine.create_layer(spec).await? {
        tracing::debug!(cause, "name taken");
        return Err(ClusterError::Foreign {
            kind: "container",
            name: spec.name.clone(),
            label: format!("{LABEL_CLUSTER}={}", world.cluster.name),
        });
    }
    put(&world.engine, &spec.name, ROOT_PASSWORD_FILE, password.expose()).await?;
    if let Made::Taken(cause) = world.engine.start_layer(&spec.name).await? {
        // The engine chose the port itself.
        return Err(ClusterError::Engine { doing: format!("starting {}", spec.name), cause });
    }
    Ok(password)
}

/// Loads what the donor has and this server lacks.
async fn install(client: &mut Client, wanted: &[(String, String)]) -> Result<(), ClusterError> {
    let there = plugins(client).await?;
    for (plugin, file) in wanted {
        if there.iter().any(|(name, _)| name == plugin) {
            continue;
        }
        let statement =
            format!("INSTALL PLUGIN {} SONAME {}", accounts::name(plugin), accounts::string(file));
        client.run(&statement, "installing the plugins of the donor").await?;
    }
    Ok(())
}

/// Replaces this server's data by the donor's, which goes on with its work.
///
/// Root logs in to the donor, not an account for the purpose: that would have to be written to a replica
/// past its read-only lock and outside of replication, twice each time, would be left there when Weir is
/// killed in between, and would be one more difference between the servers. Root is there on all of them,
/// limited to this network. Its password travels in the statement to a server that has root's rights a
/// moment later anyway, on the way that all of Weir's statements with passwords take; MySQL keeps it out of its
/// logs and of performance_schema; to the donor it goes over TLS, or encrypted by its key.
async fn clone(
    world: &World,
    mut client: Client,
    watcher: Client,
    donor: &NodeView,
    source: &Source,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let list = accounts::string(&format!("{}:{MYSQL_PORT}", donor.name));
    let doing = "naming the donor";
    client.run(&format!("SET GLOBAL clone_valid_donor_list = {list}"), doing).await?;
    let statement = format!(
        "CLONE INSTANCE FROM {}@{}:{MYSQL_PORT} IDENTIFIED BY {}{}",
        accounts::string(ROOT),
        accounts::string(&donor.name),
        accounts::string(world.state.root.expose()),
        if source.has_tls { " REQUIRE SSL" } else { "" },
    );
    let mut watcher = Some(watcher);
    let ended = {
        let mut cloning = Box::pin(client.attempt_secret(&statement, "cloning", CLONE_LIMIT));
        loop {
            tokio::select! {
                ended = &mut cloning => break ended?,
                () = tokio::time::sleep(CLONE_POLL) => {
                    watcher = tell(watcher.take(), progress).await;
                }
            }
        }
    };
    match ended {
        None | Some((RESTART_FAILED, _)) => Ok(()),
        Some((code, cause)) => {
            let cause = format!("error {code}: {cause}");
            Err(SnapshotError::Clone { from: donor.name.clone(), cause }.into())
        }
    }
}

/// Says how many bytes have come; a watcher that fails is let go, since the copying does not need it.
async fn tell(watcher: Option<Client>, progress: &dyn Progress) -> Option<Client> {
    let mut watcher = watcher?;
    let query = "SELECT SUM(data), SUM(estimate) FROM performance_schema.clone_progress";
    let rows = watcher.rows(query, "asking how far it is").await.ok()?;
    let megabytes = |at| {
        let text = rows.first().and_then(|row| sql::text_at(row, at))?;
        text.parse::<u64>().ok().map(|bytes| bytes / 1_000_000)
    };
    if let (Some(now), Some(all)) = (megabytes(0), megabytes(1)) {
        progress.detail(&format!("{now} of {all} MB"));
    }
    Some(watcher)
}

async fn check_cloned(client: &mut Client, donor: &NodeView) -> Result<(), ClusterError> {
    let query = "SELECT CONCAT(state, ' ', error_no, ' ', error_message) FROM performance_schema.clone_status";
    let state = client.value(query, "asking how the cloning ended").await?.unwrap_or_default();
    if state.trim_end() == "Completed 0" {
        return Ok(());
    }
    Err(SnapshotError::Clone { from: donor.name.clone(), cause: state }.into())
}

/// What the data is without what belonged to the cluster.
struct Cleaned {
    gtid: String,
    version: String,
    /// No account was taken out that a node would lack: all of them were Weir's own.
    seeds: bool,
}

/// Makes it a server of nobody: without the settings of replication, Weir's accounts and root's
/// password. What was persisted by SET PERSIST is in a file, which a clone does not bring along.
async fn clean(client: &mut Client, inside: &str) -> Result<Cleaned, ClusterError> {
    let doing = "taking out what belongs to the cluster";
    client.run("RESET REPLICA ALL", doing).await?;
    // Nobody knows it: each copy gets one of its own.
    let password = accounts::string(state::password()?.expose());
    let locked = format!("ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED BY {password}");
    client.run_secret(&locked, doing).await?;
    // This session's own account comes last: without it, it may do nothing more.
    let query = "SELECT user, host FROM mysql.user WHERE user LIKE 'weir\\\\_%' OR (user = 'root' AND host <> \
                 'localhost') ORDER BY CONCAT(user, '@', host) = CURRENT_USER()";
    let rows = client.rows(query, doing).await?;
    let mut seeds = true;
    for row in &rows {
        if let (Some(user), Some(host)) = (sql::text_at(row, 0), sql::text_at(row, 1)) {
            seeds &= accounts::OWN.contains(&user.as_str()) && host == inside;
            let account = format!("{}@{}", accounts::string(&user), accounts::string(&host));
            client.run(&format!("DROP USER IF EXISTS {account}"), doing).await?;
        }
    }
    let gtid = client.value("SELECT @@global.gtid_executed", doing).await?.unwrap_or_default();
    let version = client.value("SELECT @@version", doing).await?.unwrap_or_default();
    Ok(Cleaned { gtid: gtid.split_whitespace().collect(), version, seeds })
}

/// Empties two files of the stopped server: the first password, and the uuid, so that each copy gives
/// itself one.
async fn blank_files(engine: &Engine, name: &str) -> Result<(), ClusterError> {
    put(engine, name, ROOT_PASSWORD_FILE, "").await?;
    put(engine, name, &format!("{}/auto.cnf", spec::DATA_DIR), "").await
}

/// A file that mysqld alone may read.
pub(super) async fn put(
    engine: &Engine,
    name: &str,
    path: &str,
    content: &str,
) -> Result<(), ClusterError> {
    let tar = archive::one_file(path, 0o600, MYSQL_UID, content.as_bytes());
    let tar = tar.ok_or_else(|| ClusterError::Engine {
        doing: format!("putting a file into container {name}"),
        cause: format!("{path} does not fit into an archive"),
    })?;
    engine.put(name, tar).await
}
