//! Fills a node with a copy of another's data, by MySQL's clone plugin
//! (<https://dev.mysql.com/doc/refman/8.4/en/clone-plugin-remote.html>).
//!
//! The donor serves reads and writes meanwhile. The recipient drops what it has, takes the donor's files,
//! ends, is started again by the engine, and then stands where the donor stood, GTIDs included. Its
//! persisted settings and its server_uuid stay its own. Cut off in between, a recipient is empty, or is
//! in the list of nodes that are renewed: either way the next run copies again.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Copying;

use super::accounts::{self, DONOR};
use super::dump;
use super::error::ClusterError;
use super::node::MYSQL_PORT;
use super::position::Coordinates;
use super::progress::Progress;
use super::provision;
use super::replication;
use super::server;
use super::sql::{self, Client, Ended, NoLogin};
use super::world::{ANSWER_LIMIT, World};

/// Between the end of replication on a node that had data and the loss of that data: time for every
/// Weir to see that reads do not belong there any more.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the donor's account may take to reach a donor that is a replica.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(30);
const ACCOUNT_POLL: Duration = Duration::from_millis(200);
const PROGRESS_POLL: Duration = Duration::from_millis(500);
/// A copy of which nothing moves for so long has failed.
const STALL_LIMIT: Duration = Duration::from_secs(600);
/// From the end of the copy to the end of the server that goes down to be started with it.
const END_LIMIT: Duration = Duration::from_secs(60);
const END_POLL: Duration = Duration::from_millis(100);
/// The copy is there, but nobody is there to start the server again: the engine is,
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html#error_er_restart_server_failed>.
const RESTART_IS_OURS: u16 = 3707;
const DOING: &str = "copying the data";

/// Replaces what the node has, which is nothing or was given up, by the data of the donor. Where a plugin is
/// missing a dump does it, unless that is not wanted.
pub(super) async fn fill(
    world: &mut World,
    number: u32,
    donor: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    if world.cluster.copy == Copying::Dump {
        return Box::pin(dump::fill(world, number, donor, progress)).await;
    }
    wait_for_account(world, donor).await?;
    let mut from = world.root_now(donor).await?;
    let mut client = world.root_now(number).await?;
    let runs = state(&mut client).await?.is_some_and(|state| state.runs);
    if !runs {
        if let Some((at, cause)) =
            without_plugin(world, &mut from, &mut client, number, donor).await?
        {
            let (node, lacks) = (world.name(number), world.name(at));
            if world.cluster.copy == Copying::Clone {
                return Err(ClusterError::NoClonePlugin { node, lacks, cause });
            }
            progress.note(&format!("{lacks} has no clone plugin, so the data comes by a dump"));
            from.close().await;
            client.close().await;
            return Box::pin(dump::fill(world, number, donor, progress)).await;
        }
        empty_hands(world, &mut client, number).await?;
    }
    let has_tls = server::has_tls(&mut from).await?;
    from.close().await;
    let before = world.engine.container(&world.name(number)).await?;
    let restarts = before.map_or(0, |container| container.restarts);
    copy(world, client, number, donor, has_tls, runs, progress).await?;
    wait_for_end(world, number, restarts).await?;
    // Going down with the copy is no failure.
    let (restarts, limit) = (restarts.saturating_add(1), ANSWER_LIMIT);
    provision::wait_until_answers(world, number, restarts, limit, progress).await?;
    let mut client = world.root_now(number).await?;
    check_completed(world, &mut client, number, donor).await?;
    if world.by_position() {
        stand(world, &mut client, donor).await?;
    }
    client.close().await;
    world.forget_renewal(number).await
}

/// Installs the plugin on a running node of which a copy shall be made, or that shall get one: to be
/// called before any data is given up for that.
///
/// # Errors
/// [`ClusterError::NoClonePlugin`] where nothing else would do.
pub(super) async fn prepare(world: &World, node: u32) -> Result<(), ClusterError> {
    if world.cluster.copy != Copying::Clone {
        return Ok(());
    }
    let mut client = world.root_now(node).await?;
    let missing = install(&mut client).await?;
    client.close().await;
    let name = || world.name(node);
    missing.map_or(Ok(()), |cause| {
        Err(ClusterError::NoClonePlugin { node: name(), lacks: name(), cause })
    })
}

/// The account is made on the primary; a donor that is a replica has it a moment later.
async fn wait_for_account(world: &World, donor: u32) -> Result<(), ClusterError> {
    let started = Instant::now();
    loop {
        let cause = match world.as_donor(donor).await {
            Ok(client) => {
                client.close().await;
                return Ok(());
            }
            Err(NoLogin::Denied(cause) | NoLogin::Unreachable(cause)) => cause,
        };
        if started.elapsed() > ACCOUNT_LIMIT {
            return Err(ClusterError::Sql {
                node: world.name(donor),
                doing: format!("logging in as {DONOR}"),
                cause,
            });
        }
        tokio::time::sleep(ACCOUNT_POLL).await;
    }
}

/// Installs the plugin on both sides; the node that has none, and the server's words, when one lacks it.
async fn without_plugin(
    world: &World,
    from: &mut Client,
    client: &mut Client,
    number: u32,
    donor: u32,
) -> Result<Option<(u32, String)>, ClusterError> {
    for (side, at) in [(from, donor), (client, number)] {
        if let Some(cause) = install(side).await? {
            tracing::debug!(node = world.name(at), cause, "no clone plugin");
            return Ok(Some((at, cause)));
        }
    }
    Ok(None)
}

/// The server's words when it has no such plugin.
async fn install(client: &mut Client) -> Result<Option<String>, ClusterError> {
    match replication::install_plugin(client, "clone", "mysql_clone.so").await {
        Ok(()) => Ok(None),
        // "Can't open shared library '.../mysql_clone.so'"
        Err(ClusterError::Sql { cause, .. }) if cause.contains("mysql_clone") => Ok(Some(cause)),
        Err(error) => Err(error),
    }
}

/// Makes the node ready to lose what it has, after making sure that this is nothing or was given up.
pub(super) async fn empty_hands(
    world: &World,
    client: &mut Client,
    number: u32,
) -> Result<(), ClusterError> {
    let foreign = client.number(accounts::FOREIGN_OBJECTS, DOING).await?;
    let replicates = server::replication(client).await?.is_some();
    let given_up = world.state.renewing.contains(&number);
    if !given_up && (foreign > 0 || replicates) {
        let name = world.name(number);
        return Err(ClusterError::Undecided(format!(
            "{name} is no longer empty, so it is not filled with other data"
        )));
    }
    // With the copy it comes up under these; the donor's settings do not come with the data.
    client.run("SET PERSIST_ONLY read_only = ON", DOING).await?;
    client.run("SET PERSIST_ONLY super_read_only = ON", DOING).await?;
    // Before the lock, which would wait for the rest of a transaction that will not come.
    if replicates {
        server::stop_replication(client, DOING).await?;
        client.run("RESET REPLICA ALL", DOING).await?;
    }
    client.run("SET GLOBAL super_read_only = ON", DOING).await?;
    if foreign > 0 {
        tokio::time::sleep(DRAIN).await;
    }
    Ok(())
}

/// Runs the copy, or waits for one that runs already because an earlier Weir ended meanwhile.
async fn copy(
    world: &World,
    mut client: Client,
    number: u32,
    donor: u32,
    has_tls: bool,
    runs: bool,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut watcher = Watcher::new(world.root_now(number).await?);
    if runs {
        while watcher.look(progress).await? {
            tokio::time::sleep(PROGRESS_POLL).await;
        }
        return Ok(());
    }
    let host = accounts::string(&world.name(donor));
    let list = accounts::string(&format!("{}:{MYSQL_PORT}", world.name(donor)));
    client.run(&format!("SET GLOBAL clone_valid_donor_list = {list}"), DOING).await?;
    // Dropping its data is a write; others than root and replication stay locked out.
    client.run("SET GLOBAL super_read_only = OFF", DOING).await?;
    let statement = format!(
        "CLONE INSTANCE FROM {user}@{host}:{MYSQL_PORT} IDENTIFIED BY {password}{tls}",
        user = accounts::string(DONOR),
        password = accounts::string(world.state.donor.expose()),
        tls = if has_tls { " REQUIRE SSL" } else { "" },
    );
    let running = client.run_secret_to_end(&statement);
    tokio::pin!(running);
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            () = tokio::time::sleep(PROGRESS_POLL) => { watcher.look(progress).await?; }
        }
    };
    match ended {
        // A connection that is lost may be the server going down with the copy: its status will tell.
        Ended::Done | Ended::Refused(RESTART_IS_OURS) | Ended::Lost(_) => Ok(()),
        Ended::Refused(code) => Err(refused(world, watcher.client, number, donor, code).await),
    }
}

/// The error for a copy that the server refused or gave up, after locking the node again.
async fn refused(
    world: &World,
    mut client: Client,
    number: u32,
    donor: u32,
    code: u16,
) -> ClusterError {
    let words = state(&mut client).await.ok().flatten().map(|state| state.error);
    let cause = match words.filter(|words| !words.is_empty()) {
        Some(words) => format!("error {code}: {words}"),
        None => format!("error {code}"),
    };
    match client.run("SET GLOBAL super_read_only = ON", DOING).await {
        Ok(()) => client.close().await,
        Err(error) => tracing::debug!(%error, "not locked again; the next `up` does it"),
    }
    failed(world, number, donor, cause)
}

fn failed(world: &World, number: u32, donor: u32, cause: String) -> ClusterError {
    ClusterError::Copy { node: world.name(number), donor: world.name(donor), cause }
}

/// Until the server has gone down with its new data, or is back already.
async fn wait_for_end(world: &World, number: u32, restarts: i64) -> Result<(), ClusterError> {
    let name = world.name(number);
    let started = Instant::now();
    loop {
        match world.engine.container(&name).await? {
            Some(container) if container.restarts > restarts => return Ok(()),
            // Where the engine does not start it again, as after a change of its restart policy.
            Some(container) if container.status == "exited" => {
                return provision::start_again(world, number).await;
            }
            _ if started.elapsed() > END_LIMIT => return Ok(()),
            _ => tokio::time::sleep(END_POLL).await,
        }
    }
}

async fn check_completed(
    world: &World,
    client: &mut Client,
    number: u32,
    donor: u32,
) -> Result<(), ClusterError> {
    match state(client).await? {
        Some(state) if state.name == "Completed" && state.error.is_empty() => Ok(()),
        Some(state) => Err(failed(
            world,
            number,
            donor,
            format!("the copy's state is {:?}: {}", state.name, state.error),
        )),
        None => Err(failed(world, number, donor, "the server knows of no copy".to_owned())),
    }
}

/// Without GTIDs the server has noted up to where in the donor's log the copy goes.
async fn stand(world: &World, client: &mut Client, donor: u32) -> Result<(), ClusterError> {
    let query = "SELECT binlog_file, binlog_position FROM performance_schema.clone_status";
    let rows = client.rows(query, DOING).await?;
    let at = |place| rows.first().and_then(|row| sql::text_at(row, place));
    let file = at(0).and_then(|path| Some(path.rsplit('/').next()?.to_owned()));
    match Coordinates::read(file, at(1)) {
        Some(at) => replication::stand_at(world, client, donor, &at).await,
        None => Err(client.failed(DOING, "it does not tell a place in the donor's log".to_owned())),
    }
}

/// The latest copy to this server; kept over its restart.
struct State {
    /// "Not Started", "In Progress" (also of one that a crash ended), "Completed", "Failed"
    name: String,
    /// Whether a session of the server is at it.
    runs: bool,
    error: String,
}

/// `None` where the plugin is not installed or no copy was ever made.
async fn state(client: &mut Client) -> Result<Option<State>, ClusterError> {
    let query = "SELECT state, pid, IF(error_no = 0, '', CONCAT(error_no, ': ', error_message)) FROM \
                 performance_schema.clone_status";
    let rows = match client.rows(query, DOING).await {
        Ok(rows) => rows,
        // The tables come with the plugin.
        Err(ClusterError::Sql { cause, .. }) if cause.contains("clone_status") => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = |row, at| sql::text_at(row, at).unwrap_or_default();
    Ok(rows.first().map(|row| State {
        runs: text(row, 0) == "In Progress" && text(row, 1) != "0",
        name: text(row, 0),
        error: text(row, 2),
    }))
}

/// Tells how far the copy is, over a connection of its own.
struct Watcher {
    client: Client,
    began: Option<Instant>,
    done: u64,
    moved: Instant,
}

impl Watcher {
    fn new(client: Client) -> Self {
        Self { client, began: None, done: 0, moved: Instant::now() }
    }

    /// Whether a copy goes on. A server that went down has ended it.
    async fn look(&mut self, progress: &dyn Progress) -> Result<bool, ClusterError> {
        let query = "SELECT CAST(SUM(data) AS UNSIGNED), CAST(SUM(estimate) AS UNSIGNED), \
                     MAX(IF(state = 'In Progress', stage, '')) FROM performance_schema.clone_progress";
        let Ok(rows) = self.client.rows(query, DOING).await else { return Ok(false) };
        let Some(row) = rows.first() else { return Ok(false) };
        let number = |at| sql::text_at(row, at).and_then(|text| text.parse::<u64>().ok());
        let (done, all) = (number(0).unwrap_or(0), number(1).unwrap_or(0));
        let stage = sql::text_at(row, 2).unwrap_or_default();
        if done != self.done || self.began.is_none() {
            self.done = done;
            self.moved = Instant::now();
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        if self.moved.elapsed() > STALL_LIMIT {
            return Err(ClusterError::Sql {
                node: self.client.node().to_owned(),
                doing: DOING.to_owned(),
                cause: format!("nothing moved for {} s (at {stage})", STALL_LIMIT.as_secs()),
            });
        }
        progress.detail(&told(&stage, done, all, began.elapsed()));
        Ok(!stage.is_empty())
    }
}

/// "file copy: 312 of 1204 MB, 14 s left"
pub(super) fn told(stage: &str, done: u64, all: u64, elapsed: Duration) -> String {
    const MB: u64 = 1_000_000;
    let stage = stage.to_lowercase();
    if done == 0 || all == 0 {
        return stage;
    }
    let text = format!("{stage}: {} of {} MB", done / MB, all.max(done) / MB);
    let left = u128::from(all.saturating_sub(done)).saturating_mul(elapsed.as_millis());
    let left = left.checked_div(u128::from(done)).unwrap_or(0).div_ceil(1_000);
    if left == 0 { text } else { format!("{text}, {left} s left") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let told = |done: u64, all: u64, seconds| {
            told("FILE COPY", done * 1_000_000, all * 1_000_000, Duration::from_secs(seconds))
        };
        assert_eq!(told(0, 0, 0), "file copy");
        assert_eq!(told(0, 1200, 3), "file copy");
        assert_eq!(told(300, 1200, 5), "file copy: 300 of 1200 MB, 15 s left");
        assert_eq!(told(1200, 1200, 20), "file copy: 1200 of 1200 MB");
        // What was estimated may be less than what came.
        assert_eq!(told(1300, 1200, 20), "file copy: 1300 of 1300 MB");
    }
}
