//! Steps that change replication on one server. Each looks again before it does what cannot be undone.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts;
use super::error::ClusterError;
use super::plan::SemiSyncLimits;
use super::position;
use super::position::{Coordinates, Place};
use super::progress::Progress;
use super::promote;
use super::server;
use super::sql::Client;
use super::world::World;

/// How long threads may take to connect and run.
const THREADS_LIMIT: Duration = Duration::from_secs(30);
const THREADS_POLL: Duration = Duration::from_millis(100);
/// How long `up` waits for a replica to have what the primary had; it goes on catching up after that.
const CATCH_UP_SECONDS: u32 = 30;
/// How long a node that is to become the primary may go on applying what it received.
const PROMOTE_DRAIN: Duration = Duration::from_secs(30);
/// The mark of a connection that lets the server take writes, a lock of the server's that ends with the
/// connection.
const OPENS: &str = "weir.opens";
const UNMARK: &str = "DO RELEASE_LOCK('weir.opens')";
/// How long the lock of a connection that was killed may take to be free.
const SIGN_SECONDS: u32 = 5;

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
    position::reset(&mut client, doing).await?;
    client.close().await;
    Ok(())
}

/// Installs both plugins, so that roles can move, and switches the replica's side on for good.
pub(super) async fn install_semi_sync(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "installing the semi-sync plugins";
    for (plugin, file) in [
        ("rpl_semi_sync_source", "semisync_source.so"),
        ("rpl_semi_sync_replica", "semisync_replica.so"),
    ] {
        install_plugin(&mut client, plugin, file).await?;
    }
    client.run("SET PERSIST rpl_semi_sync_replica_enabled = ON", doing).await?;
    set_semi_sync_limits(&mut client, world.semi_sync_limits()).await?;
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

/// How many receipts a commit waits for and how long, on every node, so that roles can move.
pub(super) async fn limit_semi_sync(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    set_semi_sync_limits(&mut client, world.semi_sync_limits()).await?;
    client.close().await;
    Ok(())
}

async fn set_semi_sync_limits(
    client: &mut Client,
    SemiSyncLimits { acks, timeout_ms }: SemiSyncLimits,
) -> Result<(), ClusterError> {
    let doing = "setting acknowledgements and timeout";
    let set = |name: &str, value: u64| format!("SET PERSIST rpl_semi_sync_source_{name} = {value}");
    client.run(&set("timeout", timeout_ms), doing).await?;
    client.run(&set("wait_for_replica_count", u64::from(acks)), doing).await
}

/// Installs a plugin on that server alone, where it is not there yet.
pub(super) async fn install_plugin(
    client: &mut Client,
    plugin: &str,
    file: &str,
) -> Result<(), ClusterError> {
    let doing = format!("installing the plugin {plugin}");
    let query =
        format!("SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = '{plugin}'");
    if client.number(&query, &doing).await? > 0 {
        return Ok(());
    }
    let was_locked = client.number("SELECT @@global.super_read_only", &doing).await? == 1;
    if was_locked {
        // Root may write while read_only itself stays on.
        client.run("SET GLOBAL super_read_only = OFF", &doing).await?;
    }
    client.run("SET SESSION sql_log_bin = OFF", &doing).await?;
    let installed = client.run(&format!("INSTALL PLUGIN {plugin} SONAME '{file}'"), &doing).await;
    client.run("SET SESSION sql_log_bin = ON", &doing).await?;
    if was_locked {
        client.run("SET GLOBAL super_read_only = ON", &doing).await?;
    }
    installed
}

/// Whether commits wait for a receipt; kept over restarts.
pub(super) async fn semi_sync_source(
    world: &World,
    number: u32,
    on: bool,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let doing = "setting semi-sync replication";
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

/// Lets the primary take writes; read-only stays what it starts as, so that a server that comes back after
/// another took its place harms nobody.
pub(super) async fn make_writable(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    open_for_writes(world, &mut client).await?;
    client.close().await;
    Ok(())
}

/// As [`make_writable`], over a connection that is there.
///
/// Between the question whether this Weir leads and the order to the server, this process may stand still for so
/// long that another leads and moves the role. So the connection is marked before the question is asked, and
/// whoever takes the role from a server ends the marked one first ([`end_openers`]): the order is carried out
/// before that, and then seen, or never.
pub(super) async fn open_for_writes(
    world: &World,
    client: &mut Client,
) -> Result<(), ClusterError> {
    let doing = "letting it take writes";
    for variable in ["super_read_only", "read_only"] {
        client.run(&format!("SET PERSIST_ONLY {variable} = ON"), doing).await?;
    }
    take_sign(client, OPENS, doing).await?;
    world.check().await?;
    for variable in ["super_read_only", "read_only"] {
        client.run(&format!("SET GLOBAL {variable} = OFF"), doing).await?;
    }
    client.run(UNMARK, doing).await
}

/// Ends a connection that is about to let the server take writes, on behalf of a Weir that leads no more.
pub(super) async fn end_openers(client: &mut Client) -> Result<(), ClusterError> {
    let doing = "ending what would let it take writes";
    take_sign(client, OPENS, doing).await?;
    client.run(UNMARK, doing).await
}

/// Gives the connection that named lock of the server's, in the place of any other, which is ended: it belongs to a
/// Weir that leads no more. The lock of one that was killed is free only when nothing runs there any more.
pub(super) async fn take_sign(
    client: &mut Client,
    sign: &str,
    doing: &str,
) -> Result<(), ClusterError> {
    let sign = accounts::string(sign);
    if let Some(other) = client.value(&format!("SELECT IS_USED_LOCK({sign})"), doing).await? {
        server::kill(client, &other, doing).await?;
    }
    let take = format!("SELECT GET_LOCK({sign}, {SIGN_SECONDS})");
    if client.number(&take, doing).await? == 1 {
        return Ok(());
    }
    let cause = "another connection is doing so".to_owned();
    Err(ClusterError::Sql { node: client.node().to_owned(), doing: doing.to_owned(), cause })
}

/// A node that was written down as the primary, but replicates still, takes the role.
pub(super) async fn promote(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let left = promote::drain(&mut client, PROMOTE_DRAIN, world.by_position()).await?;
    if left > 0 {
        return Err(ClusterError::NotMoved {
            cause: format!("{} has {left} transactions yet to apply", world.name(number)),
        });
    }
    promote::promote(world, &mut client).await?;
    client.close().await;
    Ok(())
}

/// Points the node at the source by auto-position, when the source's history covers the node's and
/// still has what the node lacks; then starts it and waits until it has caught up. Without GTIDs a node can only
/// go on where it stands in the log of its source.
pub(super) async fn follow(
    world: &World,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut from = world.root_now(source).await?;
    let mut client = world.root_now(number).await?;
    let doing = "setting up replication";
    let (password, has_tls) = (&world.state.replication, server::has_tls(&mut from).await?);
    let replicates = server::replication(&mut client).await?;
    let statement = if world.by_position() {
        if replicates.as_ref().is_none_or(|now| now.source_host != world.name(source)) {
            let (node, from) = (world.name(number), world.name(source));
            return Err(ClusterError::NoCommonPosition { node, from });
        }
        format!("CHANGE REPLICATION SOURCE TO {}", promote::source_login(password, has_tls))
    } else {
        check_histories(world, &mut client, &mut from, number, source).await?;
        promote::change_source(&world.name(source), password, has_tls, None)
    };
    from.close().await;
    if replicates.is_some() {
        server::stop_replication(&mut client, doing).await?;
    }
    client.run_secret(&statement, doing).await?;
    start_threads(world, client, (number, source), progress).await
}

/// Writes down on a node, whose data is that of the source at that place of the source's log, where to go on;
/// nothing is started.
pub(super) async fn stand_at(
    world: &World,
    client: &mut Client,
    source: u32,
    at: &Coordinates,
) -> Result<(), ClusterError> {
    let mut from = world.root_now(source).await?;
    let has_tls = server::has_tls(&mut from).await?;
    from.close().await;
    let name = world.name(source);
    let statement = promote::change_source(&name, &world.state.replication, has_tls, Some(at));
    client.run_secret(&statement, "setting up replication").await
}

/// Starts what is stopped, waits until both threads run, then until the node has what the source has now.
pub(super) async fn start(
    world: &World,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    server::own_start(&mut client).await?;
    start_threads(world, client, (number, source), progress).await
}

/// As [`start`], where a start can help: a replica that stands at a transaction which it cannot run, or lacks what its
/// source has removed, is left as it is.
///
/// # Errors
/// [`ClusterError::Replication`] for such a one.
pub(super) async fn start_unless_held(
    world: &World,
    number: u32,
    source: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    let status = server::replication(&mut client).await?;
    client.close().await;
    match status.filter(server::Replication::is_held) {
        Some(status) => Err(stopped(world, (number, source), &status)),
        None => start(world, number, source, progress).await,
    }
}

/// Threads that do not run, in words.
fn stopped(
    world: &World,
    (number, source): (u32, u32),
    status: &server::Replication,
) -> ClusterError {
    let state = format!("receiver {}, applier {}", status.receiver, status.applier);
    let cause = match status.error().as_str() {
        "" => state,
        error => format!("{state}: {error}"),
    };
    ClusterError::Replication { node: world.name(number), from: world.name(source), cause }
}

async fn start_threads(
    world: &World,
    mut client: Client,
    (number, source): (u32, u32),
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let doing = "starting replication";
    let started = Instant::now();
    client.run("START REPLICA", doing).await?;
    loop {
        let Some(status) = server::replication(&mut client).await? else {
            let (node, from) = (world.name(number), world.name(source));
            let cause = "its settings were removed meanwhile".to_owned();
            return Err(ClusterError::Replication { node, from, cause });
        };
        if status.runs() {
            break;
        }
        if status.has_failed() || started.elapsed() > THREADS_LIMIT {
            return Err(stopped(world, (number, source), &status));
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
    server::own_start(&mut client).await?;
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
    let place = place(world, source).await?;
    progress.detail("catching up");
    for _ in 0..CATCH_UP_SECONDS {
        if place.reached(client, 1).await? {
            return Ok(());
        }
        // What stopped it before may stop it a moment after its start.
        let status = server::replication(client).await?;
        if let Some(status) = status.filter(server::Replication::has_failed) {
            return Err(stopped(world, (number, source), &status));
        }
    }
    progress.note(&format!("{} is still catching up", world.name(number)));
    Ok(())
}

/// What a server has, in a form that its replicas can be asked about.
pub(super) async fn place(world: &World, number: u32) -> Result<Place, ClusterError> {
    let mut client = world.root_now(number).await?;
    let place = Place::now(&mut client, world.by_position()).await?;
    client.close().await;
    Ok(place)
}

/// The transactions that a server has, as a GTID set.
pub(super) async fn executed(world: &World, number: u32) -> Result<String, ClusterError> {
    let mut client = world.root_now(number).await?;
    let query = "SELECT @@global.gtid_executed";
    let executed = client.value(query, "asking for its transactions").await?.unwrap_or_default();
    client.close().await;
    Ok(executed)
}

/// What of the set the server has not executed.
pub(super) async fn beyond(client: &mut Client, set: &str) -> Result<String, ClusterError> {
    let query = format!("SELECT GTID_SUBTRACT({}, @@global.gtid_executed)", accounts::string(set));
    Ok(client.value(&query, "comparing histories").await?.unwrap_or_default())
}

/// Auto-position works only when the node has nothing of its own and lacks nothing that is gone.
pub(super) async fn check_histories(
    world: &World,
    client: &mut Client,
    from: &mut Client,
    number: u32,
    source: u32,
) -> Result<(), ClusterError> {
    let doing = "comparing histories";
    let executed = client.value("SELECT @@global.gtid_executed", doing).await?.unwrap_or_default();
    let own = beyond(from, &executed).await?;
    if !own.is_empty() {
        return Err(ClusterError::Diverged {
            node: world.name(number),
            from: world.name(source),
            count: server::transactions(&own),
            set: shortened(&own),
        });
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
                 start from nothing; `weir cluster reclone {}` gives it a copy of the data",
                server::transactions(&gone),
                world.name(source),
                shortened(&gone),
                world.name(number),
            ),
        });
    }
    Ok(())
}

/// A GTID set for a message: all of it, or its beginning.
pub(super) fn shortened(set: &str) -> String {
    const MOST_CHARS: usize = 120;
    let one_line: String = set.split_whitespace().collect();
    if one_line.chars().count() <= MOST_CHARS {
        return one_line;
    }
    one_line.chars().take(MOST_CHARS).chain("..".chars()).collect()
}
