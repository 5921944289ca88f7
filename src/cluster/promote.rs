//! What switchover and failover share: a replica becomes the primary, the others follow it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Secret;

use super::accounts::{self, REPLICATION};
use super::error::ClusterError;
use super::node::MYSQL_PORT;
use super::position::{self, Coordinates};
use super::replication::open_for_writes;
use super::server;
use super::sql::Client;
use super::traffic::Traffic;
use super::world::World;

/// How long sessions may take to see the new primary before they are let in all the same.
const SEEN_LIMIT: Duration = Duration::from_secs(5);
const SEEN_POLL: Duration = Duration::from_millis(5);

/// Writes down that the node takes writes from now on, before it may.
pub(super) async fn record(world: &mut World, primary: u32) -> Result<(), ClusterError> {
    if world.state.primary != Some(primary) {
        world.state.primary = Some(primary);
        world.state.epoch += 1;
    }
    world.save().await?;
    tracing::debug!(node = world.name(primary), "it is written down as the primary");
    Ok(())
}

/// Ends the replication of a node that has executed all that it received, and lets it take writes.
/// Harmless when that is done already.
pub(super) async fn promote(world: &World, client: &mut Client) -> Result<(), ClusterError> {
    let doing = "making it the primary";
    if server::replication(client).await?.is_some() {
        server::stop_replication(client, doing).await?;
        client.run("RESET REPLICA ALL", doing).await?;
    }
    let plugin = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_status = 'ACTIVE' AND \
                  plugin_name = 'rpl_semi_sync_source'";
    if world.cluster.semi_sync && client.number(plugin, doing).await? == 1 {
        client.run("SET PERSIST rpl_semi_sync_source_enabled = ON", doing).await?;
    }
    open_for_writes(world, client).await
}

/// Waits until the applier has executed everything that the receiver has fetched; how many transactions
/// were left when `limit` was over (at least one, where they cannot be counted).
pub(super) async fn drain(
    client: &mut Client,
    limit: Duration,
    by_position: bool,
) -> Result<u64, ClusterError> {
    if by_position {
        return Ok(u64::from(!position::drain(client, limit).await?));
    }
    let doing = "waiting until it has applied what it received";
    let received = received(client).await?;
    if received.is_empty() {
        return Ok(0);
    }
    let received = accounts::string(&received);
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({received}, {})", limit.as_secs().max(1));
    if client.number(&wait, doing).await? == 0 {
        return Ok(0);
    }
    let left = format!("SELECT GTID_SUBTRACT({received}, @@global.gtid_executed)");
    let left = client.value(&left, doing).await?.unwrap_or_default();
    Ok(server::transactions(&left).max(1))
}

/// Everything that the default channel has fetched since it was set up.
pub(super) async fn received(client: &mut Client) -> Result<String, ClusterError> {
    let query = "SELECT received_transaction_set FROM performance_schema.replication_connection_status \
                 WHERE channel_name = ''";
    let set = client.value(query, "asking what it received").await?.unwrap_or_default();
    Ok(set.split_whitespace().collect())
}

/// Where a replica begins: at the transactions that it lacks, or, without GTIDs, at a place in the source's
/// log that the caller knows to be where it stands.
pub(super) type From<'a> = Option<&'a Coordinates>;

/// Points a node at another source. Histories are not compared: the caller knows them.
pub(super) async fn repoint(
    client: &mut Client,
    source: &str,
    password: &Secret,
    has_tls: bool,
    from: From<'_>,
) -> Result<(), ClusterError> {
    let doing = "following the new primary";
    server::stop_replication(client, doing).await?;
    client.run_secret(&change_source(source, password, has_tls, from), doing).await?;
    client.run("START REPLICA", doing).await
}

/// CHANGE REPLICATION SOURCE TO, with the password in it.
pub(super) fn change_source(
    source: &str,
    password: &Secret,
    has_tls: bool,
    from: From<'_>,
) -> String {
    let from = match from {
        None => "SOURCE_AUTO_POSITION = 1".to_owned(),
        Some(Coordinates { file, position }) => format!(
            "SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = {}, SOURCE_LOG_POS = {position}",
            accounts::string(file)
        ),
    };
    format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = {host}, SOURCE_PORT = {MYSQL_PORT}, {login}, {from}, \
         SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 1",
        host = accounts::string(source),
        login = source_login(password, has_tls),
    )
}

/// The part of it that says how to log in.
pub(super) fn source_login(password: &Secret, has_tls: bool) -> String {
    // Without TLS the password still travels encrypted, by the source's public key.
    let protection = if has_tls { "SOURCE_SSL = 1" } else { "GET_SOURCE_PUBLIC_KEY = 1" };
    format!(
        "SOURCE_USER = {user}, SOURCE_PASSWORD = {password}, {protection}",
        user = accounts::string(REPLICATION),
        password = accounts::string(password.expose()),
    )
}

/// Waits until sessions use that server as the primary.
pub(super) async fn until_seen(traffic: &dyn Traffic, name: &str) {
    let started = Instant::now();
    while started.elapsed() < SEEN_LIMIT {
        if traffic.uses(name) {
            return;
        }
        traffic.look();
        tokio::time::sleep(SEEN_POLL).await;
    }
}
