//! The donor as of one moment: a transaction that sees it, what it consists of, and its place in the history.
//!
//! Writes wait while the transaction begins, which takes milliseconds; before that, at most `LOCK_SECONDS` for
//! statements that run already. Definitions may not change until they are read; rows may, since the
//! transaction goes on seeing the old ones. On a replica the applier stands still instead, and nobody waits.

use std::time::Duration;

use super::super::error::ClusterError;
use super::super::position::Place;
use super::super::server;
use super::super::sql::Client;
use super::super::world::World;
use super::schema::Schema;

/// How long new writes may wait for a statement that holds the lock up; then they go first, and it is tried again.
const LOCK_SECONDS: u32 = 2;
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// An attempt that was not even answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long writes may wait while the transaction begins.
const LOCKED_LIMIT: Duration = Duration::from_secs(5);
const LOCK_TIMED_OUT: u16 = 1205;
const DOING: &str = "reading it as of one moment";

/// Ready to be read.
#[derive(Debug)]
pub(super) struct Donor {
    /// In the transaction.
    pub reader: Client,
    pub schema: Schema,
    pub place: Place,
    /// Settings that the recipient shall have again in the end, with their values here.
    pub globals: Vec<(&'static str, String)>,
}

/// Settings that a recipient has otherwise while it is filled.
pub(super) const GLOBALS: [&str; 3] =
    ["event_scheduler", "log_bin_trust_function_creators", "max_allowed_packet"];

pub(super) async fn open(world: &World, donor: u32) -> Result<Donor, ClusterError> {
    let mut keeper = world.root_now(donor).await?;
    let mut reader = world.root_now(donor).await?;
    keeper
        .run(
            &format!(
                "SET SESSION lock_wait_timeout = {LOCK_SECONDS}, information_schema_stats_expiry = 0, \
                 sql_quote_show_create = ON"
            ),
            DOING,
        )
        .await?;
    for statement in [
        "SET NAMES binary",
        "SET SESSION time_zone = '+00:00', autocommit = ON, wait_timeout = 86400, net_write_timeout = 3600, \
         max_execution_time = 0",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ] {
        reader.run(statement, DOING).await?;
    }
    let mut globals = Vec::new();
    for global in GLOBALS {
        let value = keeper.value(&format!("SELECT @@global.{global}"), DOING).await?;
        globals.push((global, value.unwrap_or_default()));
    }
    let applies = server::replication(&mut keeper).await?.is_some_and(|now| now.applier == "Yes");
    if applies {
        keeper.run("STOP REPLICA SQL_THREAD", DOING).await?;
    }
    let seen = see(world, &mut keeper, &mut reader).await;
    // Its locks end with it.
    keeper.close().await;
    if applies {
        let mut other = world.root_now(donor).await?;
        other.run("START REPLICA SQL_THREAD", DOING).await?;
        other.close().await;
    }
    let (place, schema) = seen?;
    Ok(Donor { reader, schema, place, globals })
}

async fn see(
    world: &World,
    keeper: &mut Client,
    reader: &mut Client,
) -> Result<(Place, Schema), ClusterError> {
    // An applier could not be stopped any more under this.
    lock(keeper, "LOCK INSTANCE FOR BACKUP").await?;
    let locked = keeper.number("SELECT @@global.super_read_only", DOING).await? == 1;
    if !locked {
        lock(keeper, "FLUSH TABLES WITH READ LOCK").await?;
    }
    let begin = async {
        reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", DOING).await?;
        Place::now(keeper, world.by_position()).await
    };
    let place = match tokio::time::timeout(LOCKED_LIMIT, begin).await {
        Ok(place) => place?,
        Err(_elapsed) => {
            let cause = format!("no answer in {} s", LOCKED_LIMIT.as_secs());
            return Err(reader.failed(DOING, cause));
        }
    };
    keeper.run("UNLOCK TABLES", DOING).await?;
    let schema = Schema::read(keeper).await?;
    keeper.run("UNLOCK INSTANCE", DOING).await?;
    Ok((place, schema))
}

/// Takes a lock for which others wait only for moments at a time.
async fn lock(keeper: &mut Client, statement: &str) -> Result<(), ClusterError> {
    for attempt in 1..=LOCK_ATTEMPTS {
        match keeper.attempt_secret(statement, DOING, ANSWER_LIMIT).await? {
            None => return Ok(()),
            Some((LOCK_TIMED_OUT, _)) if attempt < LOCK_ATTEMPTS => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Some((LOCK_TIMED_OUT, _)) => {
                let cause = format!(
                    "a long statement was in the way of {statement} {LOCK_ATTEMPTS} times for \
                     {LOCK_SECONDS} s (SHOW PROCESSLIST names it)"
                );
                return Err(keeper.failed(DOING, cause));
            }
            Some((code, words)) => {
                return Err(keeper.failed(DOING, format!("{statement}: error {code}: {words}")));
            }
        }
    }
    Ok(())
}
