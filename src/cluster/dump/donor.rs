//! The donor as of one moment: a transaction that sees it, what it consists of, and its place in the history.
//!
//! Writes wait while the transaction begins, which takes milliseconds; before that, at most `LOCK_SECONDS` for
//! statements that run already. Rows may change after that, since the transaction goes on seeing the old ones.
//! Definitions may not before the last row is read: a table that was altered can no longer be read as of that moment
//! (error 1412). Who changes one waits. On a replica the applier stands still for the moment instead of the
//! writes.

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
/// How long a connection may have nothing to do while rows are read on the other one.
const IDLE_SECONDS: u32 = 86_400;
/// An attempt that was not even answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long writes may wait while the transaction begins.
const LOCKED_LIMIT: Duration = Duration::from_secs(5);
const LOCK_TIMED_OUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
/// Waits for definitions that are being changed, and keeps others from being.
const BACKUP_LOCK: &str = "LOCK INSTANCE FOR BACKUP";
/// The backup lock, and writes wait. A statement that changes definitions takes what the read lock excludes, then what
/// the backup lock excludes: who has the second must not wait for the first. So the backup lock only waits, while
/// nothing but definitions waits for it, for a moment without such a statement. It is all one text, since the next
/// one would begin in the time of a round trip. One that begins all the same in between costs a client a deadlock when
/// it is an ALTER TABLE that waits for a transaction, which waits for the read lock, which waits for the ALTER TABLE: of
/// the three MySQL refuses the one that waited last.
const BACKUP_AND_READ_LOCK: &str = "LOCK INSTANCE FOR BACKUP;UNLOCK INSTANCE;FLUSH TABLES WITH READ LOCK;\
                                    LOCK INSTANCE FOR BACKUP";
const DOING: &str = "reading it as of one moment";

/// Ready to be read.
#[derive(Debug)]
pub(super) struct Donor {
    /// In the transaction.
    pub reader: Client,
    /// Has the backup lock, which ends with it.
    keeper: Client,
    pub seen: Seen,
}

/// What it was at that moment.
#[derive(Debug)]
pub(super) struct Seen {
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
                 sql_quote_show_create = ON, wait_timeout = {IDLE_SECONDS}"
            ),
            DOING,
        )
        .await?;
    let session = format!(
        "SET SESSION time_zone = '+00:00', autocommit = ON, wait_timeout = {IDLE_SECONDS}, \
         net_write_timeout = 3600, max_execution_time = 0"
    );
    for statement in
        ["SET NAMES binary", &session, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"]
    {
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
    if applies {
        let mut other = world.root_now(donor).await?;
        other.run("START REPLICA SQL_THREAD", DOING).await?;
        other.close().await;
    }
    let (place, schema) = seen?;
    Ok(Donor { reader, keeper, seen: Seen { schema, place, globals } })
}

impl Donor {
    /// All rows are read: definitions may change again.
    pub(super) async fn close(self) -> Seen {
        self.keeper.close().await;
        self.reader.close().await;
        self.seen
    }
}

async fn see(
    world: &World,
    keeper: &mut Client,
    reader: &mut Client,
) -> Result<(Place, Schema), ClusterError> {
    // An applier could not be stopped any more under the backup lock.
    let locked = keeper.number("SELECT @@global.super_read_only", DOING).await? == 1;
    lock(keeper, if locked { BACKUP_LOCK } else { BACKUP_AND_READ_LOCK }).await?;
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
    Ok((place, Schema::read(keeper).await?))
}

/// Takes locks for which others wait only for moments at a time.
async fn lock(keeper: &mut Client, statements: &str) -> Result<(), ClusterError> {
    for attempt in 1..=LOCK_ATTEMPTS {
        match keeper.attempt_secret(statements, DOING, ANSWER_LIMIT).await? {
            None => return Ok(()),
            Some((LOCK_TIMED_OUT | DEADLOCK, _)) if attempt < LOCK_ATTEMPTS => {
                for release in ["UNLOCK TABLES", "UNLOCK INSTANCE"] {
                    keeper.run(release, DOING).await?;
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Some((LOCK_TIMED_OUT | DEADLOCK, _)) => {
                let cause = format!(
                    "a long statement was in the way of {statements} {LOCK_ATTEMPTS} times for \
                     {LOCK_SECONDS} s (SHOW PROCESSLIST names it)"
                );
                return Err(keeper.failed(DOING, cause));
            }
            Some((code, words)) => {
                return Err(keeper.failed(DOING, format!("{statements}: error {code}: {words}")));
            }
        }
    }
    Ok(())
}
