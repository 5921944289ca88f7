//! Fills a node with a copy of another's data by SQL that passes through Weir: for servers without the clone
//! plugin. No file is written, and nothing of it is in a command line.
//!
//! The donor is read as of one moment (`donor`): definitions (`schema`), rows (`rows`), accounts. The
//! recipient (`recipient`) is in the list of nodes that are renewed from before its first change until it stands
//! where the donor stood; cut off in between, the next run empties it and begins anew.

mod donor;
mod meter;
mod recipient;
mod rows;
mod schema;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clone;
use super::error::ClusterError;
use super::progress::Progress;
use super::provision;
use super::sql::Client;
use super::world::World;
use donor::Donor;
use meter::Meter;
use rows::{Insert, Table};

/// Statements of rows between the reader and the writer; each is about 1 MiB.
const MOST_WAITING: usize = 3;
/// A row or a statement that takes longer has failed.
const STALL_LIMIT: Duration = Duration::from_secs(600);
const READING: &str = "reading rows";
const WRITING: &str = "writing rows";

/// Replaces what the node has, which is nothing or was given up, by the data of the donor.
pub(super) async fn fill(
    world: &mut World,
    number: u32,
    donor: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut client = world.root_now(number).await?;
    clone::empty_hands(world, &mut client, number).await?;
    client.close().await;
    // From here on it is neither empty nor whole.
    provision::give_up_data(world, number).await?;
    if let Err(error) = Box::pin(copy(world, number, donor, progress)).await {
        lock_again(world, number).await;
        return Err(match error {
            ClusterError::Sql { node, doing, cause } => ClusterError::Copy {
                node: world.name(number),
                donor: world.name(donor),
                cause: format!("{node}: {doing}: {cause}"),
            },
            other => other,
        });
    }
    world.forget_renewal(number).await
}

async fn copy(
    world: &World,
    number: u32,
    donor: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut first = world.root_now(donor).await?;
    schema::refuse_without_snapshot(&mut first).await?;
    first.close().await;
    progress.detail("emptying it");
    let mut client = recipient::empty(world, number).await?;
    progress.detail("definitions");
    let mut source = donor::open(world, donor).await?;
    recipient::define(&mut client, &source.seen.schema).await?;
    rows(&mut source, &mut client, progress).await?;
    progress.detail("accounts");
    accounts(&mut source, &mut client).await?;
    progress.detail("views and stored programs");
    let seen = source.close().await;
    recipient::program(&mut client, &seen.schema, progress).await?;
    recipient::stand(world, client, donor, &seen).await
}

async fn rows(
    source: &mut Donor,
    client: &mut Client,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut meter = Meter::new(source.seen.schema.bytes());
    let started = Instant::now();
    source.reader.run("SAVEPOINT weir", READING).await?;
    for (table, _) in &source.seen.schema.tables {
        meter.begin(table.bytes);
        let tell = |bytes: usize| {
            meter.came(bytes);
            progress.detail(&meter.told(started.elapsed()));
        };
        pump(&mut source.reader, client, table, tell).await?;
        meter.end();
        // Gives the table's definition free, so that LOCK TABLES .. WRITE waits for this table alone.
        source.reader.run("ROLLBACK TO SAVEPOINT weir", READING).await?;
    }
    Ok(())
}

/// Accounts as the donor has them, all at once: at no moment is there none that can log in.
async fn accounts(source: &mut Donor, client: &mut Client) -> Result<(), ClusterError> {
    client.run("START TRANSACTION", WRITING).await?;
    for table in &source.seen.schema.system {
        client.run(&format!("DELETE FROM {}", table.full_name()), WRITING).await?;
        pump(&mut source.reader, client, table, |_bytes| {}).await?;
    }
    client.run("COMMIT", WRITING).await?;
    client.run("FLUSH PRIVILEGES", WRITING).await
}

/// All rows of a table from one server to the other, a bounded part of them under way.
async fn pump(
    from: &mut Client,
    to: &mut Client,
    table: &Table,
    tell: impl FnMut(usize),
) -> Result<(), ClusterError> {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let read = read(from.conn(), table, sender);
    let write = write(to.conn(), table, receiver, tell);
    let done = tokio::try_join!(read, write);
    done.map(|_| ()).map_err(|failure| match failure {
        Failure::Reading(cause) => from.failed(READING, cause),
        Failure::Writing(cause) => to.failed(WRITING, cause),
    })
}

/// Which side failed, and its words.
enum Failure {
    Reading(String),
    Writing(String),
}

async fn read(
    conn: &mut Conn,
    table: &Table,
    sender: mpsc::Sender<Vec<u8>>,
) -> Result<(), Failure> {
    let failed = |error: mysql_async::Error| Failure::Reading(words(table, &error));
    let stalled = |_elapsed| Failure::Reading(stalled());
    let begun = tokio::time::timeout(STALL_LIMIT, conn.query_iter(table.select())).await;
    let mut rows = begun.map_err(stalled)?.map_err(failed)?;
    let mut insert = Insert::new(table);
    loop {
        let row = tokio::time::timeout(STALL_LIMIT, rows.next()).await;
        let row = row.map_err(stalled)?.map_err(failed)?;
        let is_last = row.is_none();
        let statement = match row {
            Some(row) => insert.push(&row.unwrap()),
            None => insert.rest(),
        };
        if let Some(statement) = statement
            && sender.send(statement).await.is_err()
        {
            return Err(Failure::Reading("nobody takes the rows any more".to_owned()));
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn write(
    conn: &mut Conn,
    table: &Table,
    mut receiver: mpsc::Receiver<Vec<u8>>,
    mut tell: impl FnMut(usize),
) -> Result<(), Failure> {
    while let Some(statement) = receiver.recv().await {
        let bytes = statement.len();
        let written = tokio::time::timeout(STALL_LIMIT, conn.query_drop(statement)).await;
        written
            .map_err(|_elapsed| Failure::Writing(stalled()))?
            .map_err(|error| Failure::Writing(words(table, &error)))?;
        tell(bytes);
    }
    Ok(())
}

/// The server's words; they may quote the statement, which for accounts holds what nobody is to read.
fn words(table: &Table, error: &mysql_async::Error) -> String {
    let words = match error {
        mysql_async::Error::Server(error) if table.schema == "mysql" => {
            format!("error {}", error.code)
        }
        error => error.to_string(),
    };
    format!("{}: {words}", table.full_name())
}

fn stalled() -> String {
    format!("nothing moved for {} s", STALL_LIMIT.as_secs())
}

/// After a failure; where it does not work, the next look at the node finds it open.
async fn lock_again(world: &World, number: u32) {
    let locked = async {
        let mut client = world.root_now(number).await?;
        client.run("SET GLOBAL super_read_only = ON", WRITING).await
    };
    if let Err(error) = locked.await {
        tracing::debug!(%error, "not locked again; the next `up` does it");
    }
}
