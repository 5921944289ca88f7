//! The recipient: emptied, filled, and put at the donor's place in the history.
//!
//! What is written here is in no binary log and has no GTID.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::super::accounts::{name, string};
use super::super::error::ClusterError;
use super::super::position::{self, Place};
use super::super::progress::Progress;
use super::super::replication;
use super::super::sql::Client;
use super::super::world::World;
use super::donor::{GLOBALS, Seen};
use super::schema::{Program, SYSTEM, Schema};

/// One statement; dropping a large table takes a while.
const STATEMENT_LIMIT: Duration = Duration::from_secs(600);
const DOING: &str = "filling it";
/// An option that an older server does not know is not in the way there.
const UNKNOWN_VARIABLE: u16 = 1193;

/// For definitions: what the donor has was once allowed.
const DEFINING_MODE: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES";
/// For rows: a value that does not arrive as it was is an error.
const FILLING_MODE: &str = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES";

/// Logs in to a node that has nothing or was given up, and drops what it has.
pub(super) async fn empty(world: &World, number: u32) -> Result<Client, ClusterError> {
    // The size of packets counts for later sessions.
    let mut first = world.root_now(number).await?;
    for (global, value) in GLOBALS.into_iter().zip(["OFF", "ON", "1073741824"]) {
        set_global(&mut first, global, value).await?;
    }
    // Others than root stay locked out by read_only.
    first.run("SET GLOBAL super_read_only = OFF", DOING).await?;
    first.close().await;
    let mut client = world.root_now(number).await?;
    for statement in [
        "SET SESSION sql_log_bin = OFF, foreign_key_checks = OFF, unique_checks = OFF, autocommit = ON, \
         time_zone = '+00:00', wait_timeout = 86400, net_read_timeout = 3600",
        "SET SESSION sql_require_primary_key = OFF",
        "SET SESSION sql_generate_invisible_primary_key = OFF",
        "SET SESSION innodb_strict_mode = OFF",
    ] {
        match run(&mut client, statement).await? {
            None | Some((UNKNOWN_VARIABLE, _)) => {}
            Some((_, words)) => return Err(client.failed(DOING, words)),
        }
    }
    let query = format!(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN {SYSTEM}"
    );
    for row in client.rows(&query, DOING).await? {
        let schema = super::super::sql::text_at(&row, 0).unwrap_or_default();
        must(&mut client, &format!("DROP DATABASE {}", name(&schema))).await?;
    }
    Ok(client)
}

/// Databases and tables, ready for rows.
pub(super) async fn define(client: &mut Client, schema: &Schema) -> Result<(), ClusterError> {
    must(client, &format!("SET SESSION sql_mode = '{DEFINING_MODE}'")).await?;
    for database in &schema.databases {
        must(client, &database.statement).await?;
    }
    for (table, statement) in &schema.tables {
        must(client, &format!("USE {}", name(&table.schema))).await?;
        must(client, statement).await?;
    }
    must(client, &format!("SET SESSION sql_mode = '{FILLING_MODE}'")).await?;
    must(client, "SET NAMES binary").await
}

/// What works on the tables, when their rows and the accounts are there.
pub(super) async fn program(
    client: &mut Client,
    schema: &Schema,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    must(client, "SET NAMES utf8mb4").await?;
    for routine in &schema.routines {
        let refused = create(client, schema, routine).await?;
        accept(client, routine, refused)?;
    }
    // One may stand on another that comes later.
    let mut waiting: Vec<&Program> = schema.views.iter().collect();
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        for view in std::mem::take(&mut waiting) {
            if let Some(words) = create(client, schema, view).await? {
                refused.push((view, words));
            }
        }
        if refused.is_empty() {
            break;
        }
        if refused.len() == before {
            // On the donor they do not work either.
            for (view, words) in refused {
                progress.note(&format!("{} is not copied: {words}", view.what));
            }
            break;
        }
        waiting = refused.into_iter().map(|(view, _)| view).collect();
    }
    for program in schema.triggers.iter().chain(&schema.events) {
        let refused = create(client, schema, program).await?;
        accept(client, program, refused)?;
    }
    Ok(())
}

/// Puts the node where the donor was, and locks it as a replica.
pub(super) async fn stand(
    world: &World,
    mut client: Client,
    donor: u32,
    source: &Seen,
) -> Result<(), ClusterError> {
    position::reset(&mut client, DOING).await?;
    match &source.place {
        Place::Gtids(set) => {
            must(&mut client, &format!("SET GLOBAL gtid_purged = {}", string(set))).await?;
        }
        Place::Log(at) => replication::stand_at(world, &mut client, donor, at).await?,
    }
    client.run("SET GLOBAL super_read_only = ON", DOING).await?;
    for (global, value) in &source.globals {
        set_global(&mut client, global, value).await?;
    }
    client.close().await;
    Ok(())
}

/// The server's words when it refused.
async fn create(
    client: &mut Client,
    schema: &Schema,
    program: &Program,
) -> Result<Option<String>, ClusterError> {
    let time_zone = if program.time_zone.is_empty() { "+00:00" } else { &program.time_zone };
    must(client, &format!("USE {}", name(&program.schema))).await?;
    let session = format!(
        "SET SESSION sql_mode = {}, collation_connection = {}, time_zone = {}",
        string(&program.sql_mode),
        string(&program.collation),
        string(time_zone)
    );
    must(client, &session).await?;
    let now = schema.databases.iter().find(|database| database.name == program.schema);
    let now = now.map(|database| database.collation.as_str()).unwrap_or_default();
    let was = program.database_collation.as_str();
    let alter = |collation: &str| {
        format!("ALTER DATABASE {} COLLATE {}", name(&program.schema), string(collation))
    };
    let differs = !was.is_empty() && was != now;
    if differs {
        must(client, &alter(was)).await?;
    }
    let refused = run(client, &program.statement).await?;
    if differs {
        must(client, &alter(now)).await?;
    }
    Ok(refused.map(|(code, words)| format!("error {code}: {words}")))
}

fn accept(client: &Client, program: &Program, refused: Option<String>) -> Result<(), ClusterError> {
    refused.map_or(Ok(()), |words| Err(client.failed(&format!("making {}", program.what), words)))
}

/// A setting that is switched off for good at the start stays so.
async fn set_global(client: &mut Client, global: &str, value: &str) -> Result<(), ClusterError> {
    let now = client.value(&format!("SELECT @@global.{global}"), DOING).await?;
    if now.as_deref() == Some("DISABLED") || value == "DISABLED" {
        return Ok(());
    }
    client.run(&format!("SET GLOBAL {global} = {value}"), DOING).await
}

/// The code and the words when the server refused.
async fn run(client: &mut Client, sql: &str) -> Result<Option<(u16, String)>, ClusterError> {
    match tokio::time::timeout(STATEMENT_LIMIT, client.conn().query_drop(sql)).await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(mysql_async::Error::Server(error))) => Ok(Some((error.code, error.message))),
        Ok(Err(error)) => Err(client.failed(DOING, error.to_string())),
        Err(_elapsed) => {
            Err(client.failed(DOING, format!("no answer in {} s", STATEMENT_LIMIT.as_secs())))
        }
    }
}

async fn must(client: &mut Client, sql: &str) -> Result<(), ClusterError> {
    match run(client, sql).await? {
        None => Ok(()),
        Some((code, words)) => Err(client.failed(DOING, format!("error {code}: {words}"))),
    }
}
