//! Steps that change replication on one server. Each looks again before it does what cannot be undone.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{self, REPLICATION};
use super::error::ClusterError;
use super::node::MYSQL_PORT;
use super::progress::Progress;
use super::server;
use super::sql::Client;
use super::world::World;

/// How long threads may take to connect and run.
const THREADS_LIMIT: Duration = Duration::from_secs(30);
const THREADS_POLL: Duration = Duration::from_millis(100);
/// How long `up` waits for a replica to have what the primary had; it goes on catching up after that.
const CATCH_UP_SECONDS: u32 = 30;
/// A commit waits this long for a replica's receipt, then replication goes on asynchronously.
const SEMI_SYNC_TIMEOUT_MS: u32 = 2_000;

/// Makes an empty server forget the GTIDs of its own first start, which no other server has.
pub(super) async fn clear_history(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "clearing the first start's history";
    let foreign = client.number(accounts::FOREIGN_OBJECTS, doing).await?;
    if foreign > 0 || server::replication(&mut client).await?.is_some() {
        return Err(ClusterError::Undecided(format!(
            "{} is no longer empty, so its history is kept",
            world.name(number)
        )));
    }
    // The new name came with 8.2, the old one went with 8.4.
    let version = client.value("SELECT @@version", doing).await?.unwrap_or_default();
    let statement = if version.starts_with("8.0.") || version.starts_with("8.1.") {
        "RESET MASTER"
    } else {
        "RESET BINARY LOGS AND GTIDS"
    };
    client.run(statement, doing).await?;
    client.close().await;
    Ok(())
}

/// Installs both plugins, so that roles can move, and switches the replica's side on for good.
pub(super) async fn install_semi_sync(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "installing the semi-sync plugins";
    let was_locked = client.number("SELECT @@global.super_read_only", doing).await? == 1;
    if was_locked {
        // Root may write while read_only itself stays on.
        client.run("SET GLOBAL super_read_only = OFF", doing).await?;
    }
    client.run("SET SESSION sql_log_bin = OFF", doing).await?;
    for (plugin, file) in [
        ("rpl_semi_sync_source", "semisync_source.so"),
        ("rpl_semi_sync_replica", "semisync_replica.so"),
    ] {
        let query = format!(
            "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = '{plugin}'"
        );
        if client.number(&query, doing).await? == 0 {
            client.run(&format!("INSTALL PLUGIN {plugin} SONAME '{file}'"), doing).await?;
        }
    }
    client.run("SET PERSIST rpl_semi_sync_replica_enabled = ON", doing).await?;
    if was_locked {
        client.run("SET GLOBAL super_read_only = ON", doing).await?;
    }
    // A receiver that runs already asks for receipts only when it connects anew.
    if server::replication(&mut client)
        .await?
        .is_some_and(|replication| replication.receiver == "Yes")
    {
        client.run("STOP REPLICA IO_THREAD", doing).await?;
        client.run("START REPLICA IO_THREAD", doing).await?;
    }
    client.close().await;
    Ok(())
}

/// Whether commits wait for a receipt; kept over restarts.
pub(super) async fn semi_sync_source(
    world: &World,
    number: u32,
    on: bool,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "setting semi-sync replication";
    if on {
        client
            .run(
                &format!("SET PERSIST rpl_semi_sync_source_timeout = {SEMI_SYNC_TIMEOUT_MS}"),
                doing,
            )
            .await?;
    }
    let value = if on { "ON" } else { "OFF" };
    client.run(&format!("SET PERSIST rpl_semi_sync_source_enabled = {value}"), doing).await?;
    client.close().await;
    Ok(())
}

/// No writes but those of replication, kept over restarts.
pub(super) async fn set_read_only(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    client.run("SET PERSIST read_only = ON", "making it read-only").await?;
    client.run("SET PERSIST super_read_only = ON", "making it read-only").await?;
    client.close().await;
    Ok(())
}

/// Points the node at the source by auto-position, when the source's history covers the node's and
/// still has what the node lacks; then starts it and waits until it has caught up.
pub(super) async fn follow(
    world: &World,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut from = world.root_now(source).await?;
    let mut client = world.root_now(number).await?;
    check_histories(world, &mut client, &mut from, number, source).await?;
    let doing = "setting up replication";
    let has_tls = from
        .value(
            "SELECT value FROM performance_schema.tls_channel_status WHERE channel = 'mysql_main' AND \
             property = 'Enabled'",
            doing,
        )
        .await?;
    from.close().await;
    if server::replication(&mut client).await?.is_some() {
        client.run("STOP REPLICA", doing).await?;
    }
    // Without TLS the password still travels encrypted, by the source's public key.
    let protection = if has_tls.as_deref() == Some("Yes") {
        "SOURCE_SSL = 1"
    } else {
        "GET_SOURCE_PUBLIC_KEY = 1"
    };
    let statement = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = {host}, SOURCE_PORT = {MYSQL_PORT}, SOURCE_USER = {user}, \
         SOURCE_PASSWORD = {password}, SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 2, \
         SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 2, {protection}",
        host = accounts::string(&world.name(source)),
        user = accounts::string(REPLICATION),
        password = accounts::string(world.state.replication.expose()),
    );
    client.run_secret(&statement, doing).await?;
    client.close().await;
    start(world, number, source, progress).await
}

/// Starts what is stopped, waits until both threads run, then until the node has what the source has now.
pub(super) async fn start(
    world: &World,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "starting replication";
    let failed = |cause: String| ClusterError::Replication {
        node: world.name(number),
        from: world.name(source),
        cause,
    };
    let started = Instant::now();
    client.run("START REPLICA", doing).await?;
    loop {
        let Some(status) = server::replication(&mut client).await? else {
            return Err(failed("its settings were removed meanwhile".to_owned()));
        };
        if status.runs() {
            break;
        }
        // An applier that stopped has met something that a new attempt will meet again; a receiver may
        // only be waiting for its source to start.
        let applier_stopped = status.applier == "No" && !status.error.is_empty();
        if applier_stopped || started.elapsed() > THREADS_LIMIT {
            let state = format!("receiver {}, applier {}", status.receiver, status.applier);
            return Err(failed(match status.error.as_str() {
                "" => state,
                error => format!("{state}: {error}"),
            }));
        }
        progress.detail(&format!("receiver {}, applier {}", status.receiver, status.applier));
        tokio::time::sleep(THREADS_POLL).await;
    }
    catch_up(world, &mut client, number, source, progress).await?;
    client.close().await;
    Ok(())
}

/// Puts an empty transaction in the place of one that the applier cannot run. It works on a server that is
/// super_read_only, since nothing is written but the GTID.
pub(super) async fn skip(world: &World, number: u32, gtid: &str) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let next = format!("SET gtid_next = {}", accounts::string(gtid));
    for statement in
        ["STOP REPLICA SQL_THREAD", &next, "BEGIN", "COMMIT", "SET gtid_next = 'AUTOMATIC'"]
    {
        client.run(statement, "skipping a transaction").await?;
    }
    client.close().await;
    Ok(())
}

async fn catch_up(
    world: &World,
    client: &mut Client,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let doing = "waiting for it to catch up";
    let mut from = world.root_now(source).await?;
    let executed = from.value("SELECT @@global.gtid_executed", doing).await?.unwrap_or_default();
    from.close().await;
    progress.detail("catching up");
    let wait = format!(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {CATCH_UP_SECONDS})",
        accounts::string(&executed)
    );
    if client.number(&wait, doing).await? != 0 {
        progress.note(&format!("{} is still catching up", world.name(number)));
    }
    Ok(())
}

/// Auto-position works only when the node has nothing of its own and lacks nothing that is gone.
async fn check_histories(
    world: &World,
    client: &mut Client,
    from: &mut Client,
    number: u32,
    source: u32,
) -> Result<(), ClusterError> {
    let doing = "comparing histories";
    let executed = client.value("SELECT @@global.gtid_executed", doing).await?.unwrap_or_default();
    let own =
        format!("SELECT GTID_SUBTRACT({}, @@global.gtid_executed)", accounts::string(&executed));
    let own = from.value(&own, doing).await?.unwrap_or_default();
    if !own.is_empty() {
        return Err(ClusterError::Undecided(format!(
            "{} has {} transactions that {} does not have ({})",
            world.name(number),
            server::transactions(&own),
            world.name(source),
            shortened(&own),
        )));
    }
    let gone =
        format!("SELECT GTID_SUBTRACT(@@global.gtid_purged, {})", accounts::string(&executed));
    let gone = from.value(&gone, doing).await?.unwrap_or_default();
    if !gone.is_empty() {
        return Err(ClusterError::Replication {
            node: world.name(number),
            from: world.name(source),
            cause: format!(
                "{} transactions that it lacks are no longer in the binary logs of {} ({}), so it cannot \
                 start from nothing; it needs a copy of the data",
                server::transactions(&gone),
                world.name(source),
                shortened(&gone),
            ),
        });
    }
    Ok(())
}

/// A GTID set for a message: all of it, or its beginning.
fn shortened(set: &str) -> String {
    const MOST_CHARS: usize = 120;
    let one_line: String = set.split_whitespace().collect();
    if one_line.chars().count() <= MOST_CHARS {
        return one_line;
    }
    one_line.chars().take(MOST_CHARS).chain("..".chars()).collect()
}
