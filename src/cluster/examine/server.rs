//! What one server says of itself, for a diagnosis.

use std::time::SystemTime;

use crate::gtid::GtidSet;

use super::super::accounts::{name, string};
use super::super::diagnose::texts::Duplicate;
use super::super::diagnose::{ReplicaStatus, Rows, SemiSyncStatus, ServerSymptoms, WorkerError};
use super::super::error::ClusterError;
use super::super::sql::{self, Client};
use super::super::world::World;

const DOING: &str = "asking for what explains its state";
/// Columns of a row that are shown side by side.
const MOST_COLUMNS: usize = 8;
/// How often a server is asked for its time at most.
const CLOCK_QUESTIONS: u32 = 3;
/// Half of an answer's time that is quick enough.
const CLOCK_SURE_SECONDS: f64 = 0.02;

/// What the server has executed; `None` when it does not answer.
pub(super) async fn executed(world: &World, number: u32) -> Option<GtidSet> {
    let mut client = world.root(number).await.ok()?;
    let text = client.value("SELECT @@global.gtid_executed", DOING).await.ok()??;
    client.close().await;
    Some(set(&text))
}

/// Asks everything.
pub(super) async fn ask(client: &mut Client) -> Result<ServerSymptoms, ClusterError> {
    let replica = replica(client).await?;
    let clock = clock(client).await?;
    let rows = client
        .rows(
            "SELECT @@server_uuid, @@global.gtid_executed, @@global.gtid_purged, @@global.read_only, \
             @@global.super_read_only",
            DOING,
        )
        .await?;
    let fact = |at| rows.first().and_then(|row| sql::text_at(row, at)).unwrap_or_default();
    let (uuid, executed, purged) = (fact(0), set(&fact(1)), set(&fact(2)));
    let (read_only, super_read_only) = (fact(3) == "1", fact(4) == "1");
    let semi_sync = semi_sync(client).await?;
    let logs = client.rows("SHOW BINARY LOGS", DOING).await?;
    let logs = logs
        .iter()
        .filter_map(|row| Some((sql::text_at(row, 0)?, sql::text_at(row, 1)?.parse().ok()?)));
    Ok(ServerSymptoms {
        uuid,
        executed,
        purged,
        read_only,
        super_read_only,
        clock,
        logs: logs.collect(),
        semi_sync,
        replica,
        member: None,
    })
}

/// A set as the server writes it; what cannot be read counts as empty.
pub(super) fn set(text: &str) -> GtidSet {
    GtidSet::parse(text.as_bytes()).unwrap_or_default()
}

/// The server's clock against this host's, and half of the time that the answer took: of a few answers the quickest,
/// unless the first was quick.
async fn clock(client: &mut Client) -> Result<Option<(f64, f64)>, ClusterError> {
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..CLOCK_QUESTIONS {
        let before = now();
        // Whatever its time zone: an hour that comes twice in local time would be told twice.
        let since_1970 =
            "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000";
        let text = client.value(since_1970, DOING).await?;
        let half = (now() - before) / 2.0;
        let there: Option<f64> = text.and_then(|text| text.parse().ok());
        let seen = there.map(|there| (there - before - half, half));
        if best.is_none_or(|(_, doubt)| half < doubt) {
            best = seen;
        }
        if half < CLOCK_SURE_SECONDS {
            break;
        }
    }
    Ok(best)
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

async fn replica(client: &mut Client) -> Result<Option<ReplicaStatus>, ClusterError> {
    let rows = client.rows("SHOW REPLICA STATUS", DOING).await?;
    let text = |row, column| sql::text(row, column).unwrap_or_default();
    let Some(row) = rows.iter().find(|row| text(row, "Channel_Name").is_empty()) else {
        return Ok(None);
    };
    let number = |column| text(row, column).parse::<u64>().unwrap_or(0);
    let errno = |column| u32::try_from(number(column)).unwrap_or(u32::MAX);
    Ok(Some(ReplicaStatus {
        source_host: text(row, "Source_Host"),
        receiver: text(row, "Replica_IO_Running"),
        applier: text(row, "Replica_SQL_Running"),
        io_errno: errno("Last_IO_Errno"),
        io_error: text(row, "Last_IO_Error"),
        sql_errno: errno("Last_SQL_Errno"),
        sql_error: text(row, "Last_SQL_Error"),
        auto_position: number("Auto_Position") == 1,
        read: (text(row, "Source_Log_File"), number("Read_Source_Log_Pos")),
        applied: (text(row, "Relay_Source_Log_File"), number("Exec_Source_Log_Pos")),
        retrieved: set(&text(row, "Retrieved_Gtid_Set")),
        delay: number("SQL_Delay"),
        worker: worker_error(client).await?,
        rows: None,
    }))
}

/// The worker whose error is the first in the order of commits: the coordinator's own message does not say what it was,
/// and another, with a later transaction, may have met one sooner.
pub(super) async fn worker_error(client: &mut Client) -> Result<Option<WorkerError>, ClusterError> {
    let rows = client
        .rows(
            "SELECT last_error_number, last_error_message, applying_transaction FROM \
             performance_schema.replication_applier_status_by_worker WHERE channel_name = '' AND \
             last_error_number <> 0 ORDER BY applying_transaction_immediate_commit_timestamp, \
             CAST(SUBSTRING_INDEX(applying_transaction, ':', -1) AS UNSIGNED), worker_id LIMIT 1",
            DOING,
        )
        .await?;
    Ok(rows.first().map(|row| WorkerError {
        number: sql::text_at(row, 0).and_then(|text| text.parse().ok()).unwrap_or(0),
        message: sql::text_at(row, 1).unwrap_or_default(),
        transaction: sql::text_at(row, 2).unwrap_or_default(),
    }))
}

/// Everything off where the plugin is not there.
async fn semi_sync(client: &mut Client) -> Result<SemiSyncStatus, ClusterError> {
    let variables =
        client.rows("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_source_%'", DOING).await?;
    let status = client.rows("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_%'", DOING).await?;
    let value = |rows: &[mysql_async::Row], name: &str| {
        let row = rows.iter().find(|row| sql::text_at(row, 0).as_deref() == Some(name));
        row.and_then(|row| sql::text_at(row, 1)).unwrap_or_default()
    };
    let wanted = value(&variables, "rpl_semi_sync_source_wait_for_replica_count");
    Ok(SemiSyncStatus {
        wanted: wanted.parse().unwrap_or(1),
        enabled: value(&variables, "rpl_semi_sync_source_enabled") == "ON",
        active: value(&status, "Rpl_semi_sync_source_status") == "ON",
        replicas: value(&status, "Rpl_semi_sync_source_clients").parse().unwrap_or(0),
        without_receipt: value(&status, "Rpl_semi_sync_source_no_tx").parse().unwrap_or(0),
    })
}

/// The row of that key on both servers; `None` when the message does not give one value for each of the
/// key's columns.
pub(super) async fn compare_rows(
    world: &World,
    primary: u32,
    replica: u32,
    (schema, table): &(String, String),
    duplicate: &Duplicate,
) -> Result<Option<Rows>, ClusterError> {
    let mut there = world.root_now(primary).await?;
    let mut here = world.root_now(replica).await?;
    let columns = format!(
        "SELECT column_name FROM information_schema.statistics WHERE table_schema = {} AND table_name = {} \
         AND index_name = {} ORDER BY seq_in_index",
        string(schema),
        string(table),
        string(&duplicate.key)
    );
    let rows = here.rows(&columns, DOING).await?;
    let key: Vec<String> = rows.iter().filter_map(|row| sql::text_at(row, 0)).collect();
    let Some(condition) = condition(&key, &duplicate.entry) else { return Ok(None) };
    let query = format!("SELECT * FROM {}.{} WHERE {condition} LIMIT 1", name(schema), name(table));
    let on_primary = row_words(&mut there, &query).await?;
    let on_replica = row_words(&mut here, &query).await?;
    there.close().await;
    here.close().await;
    Ok(Some(Rows { on_primary, here: on_replica }))
}

/// "`a` = '1' AND `b` = 'x'"; values that hold a dash themselves cannot be told apart.
fn condition(key: &[String], entry: &str) -> Option<String> {
    let values: Vec<&str> = match key.len() {
        0 => return None,
        1 => vec![entry],
        _ => entry.split('-').collect(),
    };
    if values.len() != key.len() {
        return None;
    }
    let equal = key
        .iter()
        .zip(values)
        .map(|(column, value)| format!("{} = {}", name(column), string(value)));
    Some(equal.collect::<Vec<_>>().join(" AND "))
}

/// "(id=1, v=a)"; `None` without such a row.
async fn row_words(client: &mut Client, query: &str) -> Result<Option<String>, ClusterError> {
    let rows = client.rows(query, DOING).await?;
    Ok(rows.first().map(|row| {
        let columns = row.columns_ref();
        let mut words: Vec<String> = columns
            .iter()
            .enumerate()
            .take(MOST_COLUMNS)
            .map(|(at, column)| {
                let value = sql::text_at(row, at).unwrap_or_else(|| "NULL".to_owned());
                format!("{}={value}", column.name_str())
            })
            .collect();
        if columns.len() > MOST_COLUMNS {
            words.push("..".to_owned());
        }
        format!("({})", words.join(", "))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_clear_becomes_a_condition() {
        let key = |columns: &[&str]| -> Vec<String> {
            columns.iter().map(|column| (*column).to_owned()).collect()
        };
        assert_eq!(condition(&key(&["id"]), "a-b'c").unwrap(), "`id` = 'a-b''c'");
        assert_eq!(condition(&key(&["a", "b"]), "1-x").unwrap(), "`a` = '1' AND `b` = 'x'");
        assert_eq!(condition(&key(&["a", "b"]), "1-x-y"), None);
        assert_eq!(condition(&[], "1"), None);
    }
}
