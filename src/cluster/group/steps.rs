//! The steps on one member. Each looks again before it does what could found a second group.

use std::time::Duration;

use tokio::time::Instant;

use super::super::accounts::{self, REPLICATION};
use super::super::error::ClusterError;
use super::super::progress::Progress;
use super::super::provision::known_subnet;
use super::super::replication;
use super::super::server;
use super::super::sql::{self, Client, NoLogin};
use super::super::world::{LOOK_LIMIT, World};
use super::options::address;
use super::seen::{GroupSeen, Member, Row, View};

/// For START and STOP GROUP_REPLICATION: the plugin itself tries for about 30 s to join, and waits for the view
/// without the member before it stops.
const STATEMENT_LIMIT: Duration = Duration::from_secs(120);
/// How long a member may take until the group lets it in: its own dead predecessor must be expelled first.
const JOIN_LIMIT: Duration = Duration::from_secs(90);
/// How long `up` waits for a member to fetch what it lacks; it goes on after that.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long a founder may take to open itself for writes, after it has applied what it had received.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
const PLUGIN: &str = "group_replication";
const PLUGIN_FILE: &str = "group_replication.so";

/// What a server says of its group.
pub(in crate::cluster) struct OfGroup {
    pub seen: GroupSeen,
    /// The transactions that came from the group and are not forgotten, applied or not.
    pub received: String,
}

/// Asks for everything.
pub(in crate::cluster) async fn look(client: &mut Client) -> Result<OfGroup, ClusterError> {
    let doing = "asking for its group";
    let installed = format!(
        "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = '{PLUGIN}' AND plugin_status = 'ACTIVE'"
    );
    if client.number(&installed, doing).await? == 0 {
        return Ok(OfGroup { seen: GroupSeen::default(), received: String::new() });
    }
    let founding =
        client.number("SELECT @@global.group_replication_bootstrap_group", doing).await?;
    let view = view(client).await?;
    let received = "SELECT received_transaction_set FROM performance_schema.replication_connection_status \
                    WHERE channel_name = 'group_replication_applier'";
    let received = client.value(received, doing).await?.unwrap_or_default();
    let seen = GroupSeen {
        ready: founding == 0,
        state: view.state(),
        is_primary: view.is_primary(),
        majority: view.majority(),
        complete: false,
    };
    Ok(OfGroup { seen, received: received.split_whitespace().collect() })
}

/// Installs the plugin; the server starts read-only from now on, and founds nothing by itself.
pub(in crate::cluster) async fn prepare(world: &World, number: u32) -> Result<(), ClusterError> {
    let doing = "making it ready for the group";
    let mut client = world.root_now(number).await?;
    match replication::install_plugin(&mut client, PLUGIN, PLUGIN_FILE).await {
        Err(ClusterError::Sql { cause, .. }) if cause.contains(PLUGIN_FILE) => {
            return Err(ClusterError::Refused {
                doing: format!("replication = \"group\" on {}", world.name(number)),
                cause: format!("its image has no {PLUGIN_FILE} ({cause})"),
                remedy: "Take an image that has it, as the official ones and Weir's own".to_owned(),
            });
        }
        done => done?,
    }
    client.run("SET GLOBAL group_replication_bootstrap_group = OFF", doing).await?;
    for variable in ["read_only", "super_read_only"] {
        client.run(&format!("SET PERSIST_ONLY {variable} = ON"), doing).await?;
    }
    // In a group the group decides.
    if !view(&mut client).await?.state().belongs() {
        client.run("SET GLOBAL super_read_only = ON", doing).await?;
    }
    client.close().await;
    Ok(())
}

/// Begins the group with this member alone, if no other node is in one.
pub(in crate::cluster) async fn found(
    world: &World,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    nobody_is_in_a_group(world).await?;
    let doing = "founding the group";
    let mut client = world.root_now(number).await?;
    if view(&mut client).await?.state() == Member::Error {
        stop(&mut client, doing).await?;
    }
    client.run("SET GLOBAL group_replication_bootstrap_group = ON", doing).await?;
    let started = start(world, &mut client, "", doing).await;
    // Also after a failure, and by a connection that is surely in step.
    let mut second = world.root_now(number).await?;
    second.run("SET GLOBAL group_replication_bootstrap_group = OFF", doing).await?;
    started?;
    let since = Instant::now();
    while !(view(&mut second).await?.is_primary() && is_open(&mut second, doing).await?) {
        if since.elapsed() > OPEN_LIMIT {
            return Err(failed(world, number, last_error(&mut second).await?));
        }
        progress.detail("waiting until it takes writes");
        tokio::time::sleep(POLL).await;
    }
    second.close().await;
    Ok(())
}

/// Lets a member into the group that lives, and waits until it is ONLINE; one that is on its way is only
/// waited for.
pub(in crate::cluster) async fn join(
    world: &World,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let doing = "joining the group";
    let mut client = world.root_now(number).await?;
    let since = Instant::now();
    loop {
        let (primary, members) = living(world, number).await?;
        match view(&mut client).await?.state() {
            Member::Online | Member::Recovering => break,
            Member::Error => stop(&mut client, doing).await?,
            // Its predecessor's place is not free yet: the group would have to tell them apart, which takes longer.
            _ if members.names(&world.name(number)) && since.elapsed() < JOIN_LIMIT => {
                progress.detail("waiting until the group has expelled it");
                tokio::time::sleep(POLL).await;
            }
            _ => {
                check_history(world, &mut client, number, primary).await?;
                end_strays(&mut client, doing).await?;
                progress.detail("joining");
                match start(world, &mut client, &seeds(world, &members)?, doing).await {
                    Err(error) if since.elapsed() < JOIN_LIMIT => {
                        tracing::debug!(%error, "not let in yet");
                        tokio::time::sleep(POLL).await;
                    }
                    done => done?,
                }
            }
        }
    }
    recovered(world, &mut client, number, progress).await?;
    client.close().await;
    Ok(())
}

/// Out of the group in order; read-only from then on.
pub(in crate::cluster) async fn leave(world: &World, number: u32) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    stop(&mut client, "leaving the group").await?;
    client.close().await;
    Ok(())
}

/// All members that the server knows, itself included.
pub(super) async fn view(client: &mut Client) -> Result<View, ClusterError> {
    let rows = client
        .rows(
            "SELECT member_host, member_state, member_role = 'PRIMARY', member_id = @@server_uuid FROM \
             performance_schema.replication_group_members",
            "asking for its group",
        )
        .await?;
    let row = |row| {
        let text = |at| sql::text_at(row, at).unwrap_or_default();
        Row {
            host: text(0),
            state: Member::parse(&text(1)),
            is_primary: text(2) == "1",
            is_self: text(3) == "1",
        }
    };
    Ok(View(rows.iter().map(row).collect()))
}

/// The primary of the group that lives, and its view; `but` is not asked.
async fn living(world: &World, but: u32) -> Result<(u32, View), ClusterError> {
    for number in world.members().await?.into_iter().filter(|number| *number != but) {
        let Ok(mut client) = world.root(number).await else { continue };
        // One that lets root in and says nothing then is not the one that is looked for.
        let asked = tokio::time::timeout(LOOK_LIMIT, view(&mut client)).await;
        let Ok(Ok(seen)) = asked else { continue };
        client.close().await;
        if seen.is_primary() && seen.majority() {
            return Ok((number, seen));
        }
    }
    Err(failed(world, but, "no member leads a majority at the moment".to_owned()))
}

/// An error unless every node was asked and is in no group.
async fn nobody_is_in_a_group(world: &World) -> Result<(), ClusterError> {
    for number in world.members().await? {
        let name = world.name(number);
        let mut client = match world.root(number).await {
            Ok(client) => client,
            Err(NoLogin::Denied(cause) | NoLogin::Unreachable(cause)) => {
                return Err(ClusterError::Undecided(format!(
                    "{name} could not be asked whether it is in a group ({cause}), so none is founded"
                )));
            }
        };
        let state = look(&mut client).await?.seen.state;
        client.close().await;
        if state.belongs() {
            return Err(ClusterError::Undecided(format!(
                "{name} is {} in a group, so no other is founded",
                state.word()
            )));
        }
    }
    Ok(())
}

/// Ends the transactions that clients began when it was a member before, and wrote or locked something in: outside of
/// the group none can be committed, and a client that was cut off with the member leaves its own open. What the group
/// has done meanwhile would wait for them; it waits for no other client's row locks, but for those of tables.
async fn end_strays(client: &mut Client, doing: &str) -> Result<(), ClusterError> {
    let strays = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_mysql_thread_id NOT IN \
                  (0, CONNECTION_ID()) AND (trx_rows_modified > 0 OR trx_rows_locked > 0)";
    for row in client.rows(strays, doing).await? {
        let id = sql::text_at(&row, 0).unwrap_or_default();
        tracing::info!(
            node = client.node(),
            id,
            "a transaction from before it left the group is ended"
        );
        server::kill(client, &id, doing).await?;
    }
    Ok(())
}

/// START GROUP_REPLICATION by the replication account, whose password is kept in memory only.
async fn start(
    world: &World,
    client: &mut Client,
    seeds: &str,
    doing: &str,
) -> Result<(), ClusterError> {
    let (mode, ssl) =
        if server::has_tls(client).await? { ("REQUIRED", "ON") } else { ("DISABLED", "OFF") };
    for (variable, value) in [("ssl_mode", mode), ("recovery_use_ssl", ssl), ("group_seeds", seeds)]
    {
        let value = accounts::string(value);
        client.run(&format!("SET GLOBAL group_replication_{variable} = {value}"), doing).await?;
    }
    let statement = format!(
        "START GROUP_REPLICATION USER = {}, PASSWORD = {}",
        accounts::string(REPLICATION),
        accounts::string(world.state.replication.expose())
    );
    ended(client, &statement, doing).await
}

async fn stop(client: &mut Client, doing: &str) -> Result<(), ClusterError> {
    ended(client, "STOP GROUP_REPLICATION", doing).await
}

async fn ended(client: &mut Client, statement: &str, doing: &str) -> Result<(), ClusterError> {
    match client.attempt_secret(statement, doing, STATEMENT_LIMIT).await? {
        None => Ok(()),
        Some((code, words)) => Err(ClusterError::Sql {
            node: client.node().to_owned(),
            doing: doing.to_owned(),
            cause: format!("error {code}: {words}"),
        }),
    }
}

/// Where the members that are ONLINE listen.
fn seeds(world: &World, members: &View) -> Result<String, ClusterError> {
    let subnet = known_subnet(world)?;
    let online = members.0.iter().filter(|row| row.state == Member::Online);
    let numbers =
        online.filter_map(|row| super::super::node::number(&world.cluster.name, &row.host));
    Ok(numbers.map(|number| address(subnet, number)).collect::<Vec<_>>().join(","))
}

/// The group would refuse it too, in words that only its log has.
async fn check_history(
    world: &World,
    client: &mut Client,
    number: u32,
    primary: u32,
) -> Result<(), ClusterError> {
    let mut from = world.root_now(primary).await?;
    replication::check_histories(world, client, &mut from, number, primary).await?;
    from.close().await;
    Ok(())
}

/// Until it is ONLINE, or for so long that it may go on alone.
async fn recovered(
    world: &World,
    client: &mut Client,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let since = Instant::now();
    loop {
        let seen = view(client).await?;
        match seen.state() {
            Member::Online => return Ok(()),
            Member::Recovering if since.elapsed() < RECOVERY_LIMIT => {
                progress.detail("fetching what it lacks");
                tokio::time::sleep(POLL).await;
            }
            Member::Recovering => {
                progress.note(&format!("{} is still catching up", world.name(number)));
                return Ok(());
            }
            state => {
                let words = last_error(client).await?;
                let cause = format!("it is {} again: {words}", state.word());
                return Err(failed(world, number, cause));
            }
        }
    }
}

/// What the channels of the group last complained of.
async fn last_error(client: &mut Client) -> Result<String, ClusterError> {
    let query = "SELECT last_error_message FROM performance_schema.replication_connection_status WHERE \
        channel_name LIKE 'group_replication_%' AND last_error_number <> 0 UNION SELECT last_error_message FROM \
        performance_schema.replication_applier_status_by_worker WHERE channel_name LIKE \
        'group_replication_%' AND last_error_number <> 0 LIMIT 1";
    let words = client.value(query, "asking why").await?;
    Ok(words.unwrap_or_else(|| "its log says why".to_owned()))
}

async fn is_open(client: &mut Client, doing: &str) -> Result<bool, ClusterError> {
    Ok(client.number("SELECT @@global.super_read_only + @@global.read_only", doing).await? == 0)
}

fn failed(world: &World, number: u32, cause: String) -> ClusterError {
    ClusterError::Replication { node: world.name(number), from: "the group".to_owned(), cause }
}
