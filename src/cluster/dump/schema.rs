//! What the donor's databases are made of, as the statements that make them again.

use std::collections::HashMap;

use mysql_async::Row;

use super::super::accounts::{name, string};
use super::super::error::ClusterError;
use super::super::sql::{self, Client};
use super::rows::{Column, Kind, Table};

const DOING: &str = "reading what it consists of";

/// MySQL's own, which every server has.
pub(super) const SYSTEM: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

/// Tables of MySQL's own whose rows come along: accounts with their rights, and what else an operator put there.
/// Those that a server does not have are left out.
const SYSTEM_TABLES: [&str; 12] = [
    "user",
    "db",
    "tables_priv",
    "columns_priv",
    "procs_priv",
    "proxies_priv",
    "role_edges",
    "default_roles",
    "global_grants",
    "password_history",
    "servers",
    "func",
];

/// Engines whose tables have rows that a snapshot does not cover.
const NO_SNAPSHOT: &str = "('MyISAM', 'MEMORY', 'ARCHIVE', 'CSV', 'ndbcluster')";
const MOST_NAMES: usize = 5;

/// All of it, in the order in which it is made.
#[derive(Debug, Default)]
pub(super) struct Schema {
    /// Name, default collation and statement of each database.
    pub databases: Vec<Database>,
    /// With the statement that makes it.
    pub tables: Vec<(Table, String)>,
    /// Their rows replace what is there.
    pub system: Vec<Table>,
    pub routines: Vec<Program>,
    pub views: Vec<Program>,
    pub triggers: Vec<Program>,
    pub events: Vec<Program>,
}

#[derive(Debug)]
pub(super) struct Database {
    pub name: String,
    pub collation: String,
    pub statement: String,
}

/// A view or a stored program: it remembers settings of the session that made it.
#[derive(Debug)]
pub(super) struct Program {
    pub schema: String,
    /// "procedure `app`.`pay`"
    pub what: String,
    pub sql_mode: String,
    pub time_zone: String,
    pub collation: String,
    /// What the database's collation was; empty where that does not matter.
    pub database_collation: String,
    pub statement: String,
}

impl Schema {
    /// Reads all; nobody may change it meanwhile.
    pub(super) async fn read(client: &mut Client) -> Result<Self, ClusterError> {
        // One may have come since the donor was looked at first.
        refuse_without_snapshot(client).await?;
        let mut columns = columns(client).await?;
        let mut tables = Vec::new();
        for mut table in list(client).await? {
            table.columns = columns.remove(&key(&table.schema, &table.name)).unwrap_or_default();
            let statement = made_by(client, "TABLE", &table.full_name(), 1).await?;
            tables.push((table, statement));
        }
        let system = SYSTEM_TABLES.iter().filter_map(|table| {
            let columns = columns.remove(&key("mysql", table))?;
            let (schema, name) = ("mysql".to_owned(), (*table).to_owned());
            Some(Table { schema, name, columns, bytes: 0 })
        });
        Ok(Self {
            tables,
            system: system.collect(),
            databases: databases(client).await?,
            routines: routines(client).await?,
            views: views(client).await?,
            triggers: triggers(client).await?,
            events: events(client).await?,
        })
    }

    /// What all rows are estimated to take.
    pub(super) fn bytes(&self) -> u64 {
        self.tables.iter().map(|(table, _)| table.bytes).fold(0, u64::saturating_add)
    }
}

/// Rows of such tables change while they are read, and no position says which of them were.
pub(super) async fn refuse_without_snapshot(client: &mut Client) -> Result<(), ClusterError> {
    let query = format!(
        "SELECT CONCAT(table_schema, '.', table_name, ' (', engine, ')') FROM information_schema.tables WHERE \
         table_schema NOT IN {SYSTEM} AND engine IN {NO_SNAPSHOT} LIMIT {MOST_NAMES}"
    );
    let rows = client.rows(&query, DOING).await?;
    let names: Vec<String> = rows.iter().map(|row| text(row, 0)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(client.failed(
        "copying by a dump",
        format!(
            "{}: tables of these engines cannot be read as of one moment while they are written to; ALTER \
             TABLE .. ENGINE = InnoDB makes them so",
            names.join(", ")
        ),
    ))
}

async fn databases(client: &mut Client) -> Result<Vec<Database>, ClusterError> {
    let query = format!(
        "SELECT schema_name, default_collation_name FROM information_schema.schemata WHERE schema_name NOT \
         IN {SYSTEM} ORDER BY schema_name"
    );
    let mut all = Vec::new();
    for row in client.rows(&query, DOING).await? {
        let (schema, collation) = (text(&row, 0), text(&row, 1));
        let statement = made_by(client, "DATABASE", &name(&schema), 1).await?;
        all.push(Database { name: schema, collation, statement });
    }
    Ok(all)
}

/// Tables without their columns.
async fn list(client: &mut Client) -> Result<Vec<Table>, ClusterError> {
    let query = format!(
        "SELECT table_schema, table_name, COALESCE(data_length, 0) FROM information_schema.tables WHERE \
         table_schema NOT IN {SYSTEM} AND table_type = 'BASE TABLE' ORDER BY table_schema, table_name"
    );
    let rows = client.rows(&query, DOING).await?;
    let all = rows.iter().map(|row| {
        let bytes = text(row, 2).parse().unwrap_or(0);
        Table { schema: text(row, 0), name: text(row, 1), columns: Vec::new(), bytes }
    });
    Ok(all.collect())
}

/// The stored columns of all tables.
async fn columns(
    client: &mut Client,
) -> Result<HashMap<(String, String), Vec<Column>>, ClusterError> {
    let system: Vec<String> = SYSTEM_TABLES.iter().map(|table| string(table)).collect();
    let query = format!(
        "SELECT table_schema, table_name, column_name, data_type, generation_expression <> '' FROM \
         information_schema.columns WHERE table_schema NOT IN {SYSTEM} OR (table_schema = 'mysql' AND \
         table_name IN ({})) ORDER BY table_schema, table_name, ordinal_position",
        system.join(", ")
    );
    let mut all: HashMap<_, Vec<Column>> = HashMap::new();
    for row in client.rows(&query, DOING).await? {
        let of_table = all.entry(key(&text(&row, 0), &text(&row, 1))).or_default();
        if text(&row, 4) != "1" {
            of_table.push(Column { name: text(&row, 2), kind: Kind::of(&text(&row, 3)) });
        }
    }
    Ok(all)
}

async fn views(client: &mut Client) -> Result<Vec<Program>, ClusterError> {
    let query = format!(
        "SELECT table_schema, table_name FROM information_schema.views WHERE table_schema NOT IN {SYSTEM} \
         ORDER BY 1, 2"
    );
    let mut all = Vec::new();
    for found in client.rows(&query, DOING).await? {
        let schema = text(&found, 0);
        let full_name = format!("{}.{}", name(&schema), name(&text(&found, 1)));
        let row = shown(client, "VIEW", &full_name).await?;
        all.push(Program {
            schema,
            what: format!("view {full_name}"),
            sql_mode: String::new(),
            time_zone: String::new(),
            statement: statement(client, &row, 1, "VIEW")?,
            collation: text(&row, 3),
            database_collation: String::new(),
        });
    }
    Ok(all)
}

async fn routines(client: &mut Client) -> Result<Vec<Program>, ClusterError> {
    let query = format!(
        "SELECT routine_schema, routine_name, routine_type FROM information_schema.routines WHERE \
         routine_schema NOT IN {SYSTEM} AND routine_type IN ('FUNCTION', 'PROCEDURE') ORDER BY 1, 3, 2"
    );
    programs(client, &query, Columns { statement: 2, collation: 4, time_zone: None }).await
}

/// In the order in which those of one table fire.
async fn triggers(client: &mut Client) -> Result<Vec<Program>, ClusterError> {
    let query = format!(
        "SELECT trigger_schema, trigger_name, 'TRIGGER' FROM information_schema.triggers WHERE trigger_schema \
         NOT IN {SYSTEM} ORDER BY 1, event_object_table, action_timing, event_manipulation, action_order"
    );
    programs(client, &query, Columns { statement: 2, collation: 4, time_zone: None }).await
}

async fn events(client: &mut Client) -> Result<Vec<Program>, ClusterError> {
    let query = format!(
        "SELECT event_schema, event_name, 'EVENT' FROM information_schema.events WHERE event_schema NOT IN \
         {SYSTEM} ORDER BY 1, 2"
    );
    programs(client, &query, Columns { statement: 3, collation: 5, time_zone: Some(2) }).await
}

/// Where SHOW CREATE has what; the database's collation comes after the session's.
struct Columns {
    statement: usize,
    collation: usize,
    time_zone: Option<usize>,
}

async fn programs(
    client: &mut Client,
    query: &str,
    at: Columns,
) -> Result<Vec<Program>, ClusterError> {
    let mut all = Vec::new();
    for found in client.rows(query, DOING).await? {
        let (schema, kind) = (text(&found, 0), text(&found, 2));
        let full_name = format!("{}.{}", name(&schema), name(&text(&found, 1)));
        let row = shown(client, &kind, &full_name).await?;
        all.push(Program {
            schema,
            what: format!("{} {full_name}", kind.to_lowercase()),
            sql_mode: text(&row, 1),
            time_zone: at.time_zone.map(|at| text(&row, at)).unwrap_or_default(),
            statement: statement(client, &row, at.statement, &kind)?,
            collation: text(&row, at.collation),
            database_collation: text(&row, at.collation.saturating_add(1)),
        });
    }
    Ok(all)
}

async fn made_by(
    client: &mut Client,
    kind: &str,
    full_name: &str,
    at: usize,
) -> Result<String, ClusterError> {
    let row = shown(client, kind, full_name).await?;
    statement(client, &row, at, kind)
}

async fn shown(client: &mut Client, kind: &str, full_name: &str) -> Result<Row, ClusterError> {
    let mut rows = client.rows(&format!("SHOW CREATE {kind} {full_name}"), DOING).await?;
    rows.pop().ok_or_else(|| client.failed(DOING, format!("{full_name} is gone")))
}

/// NULL where the account may not see it; root may see all.
fn statement(client: &Client, row: &Row, at: usize, kind: &str) -> Result<String, ClusterError> {
    sql::text_at(row, at).ok_or_else(|| {
        let which = text(row, 0);
        client.failed(
            DOING,
            format!("the definition of {} {which} cannot be read", kind.to_lowercase()),
        )
    })
}

fn text(row: &Row, at: usize) -> String {
    sql::text_at(row, at).unwrap_or_default()
}

fn key(schema: &str, table: &str) -> (String, String) {
    (schema.to_owned(), table.to_owned())
}
