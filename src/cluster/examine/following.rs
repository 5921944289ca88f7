//! What a server that is behind is at: its workers, the locks that they wait for, its clients.

use crate::gtid::GtidSet;

use super::super::diagnose::ReplicaStatus;
use super::super::error::ClusterError;
use super::super::lag::{Applying, LagFacts, Lock, Queues};
use super::super::sql::{self, Client};
use super::server::set;

const DOING: &str = "asking why it is behind";

/// By which way a server gets its transactions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// It replicates from a source.
    Source(&'a ReplicaStatus),
    /// The group delivers them; a member that is RECOVERING fetches older ones from another.
    Group { recovering: bool },
}

/// What the workers are at, the longest first; what follows is the condition on their channel. A thread's row is
/// gone when it has just ended.
const WORKERS: &str = "SELECT w.applying_transaction, TIMESTAMPDIFF(MICROSECOND, \
    w.applying_transaction_start_apply_timestamp, NOW(6)), TIMESTAMPDIFF(MICROSECOND, \
    w.applying_transaction_original_commit_timestamp, NOW(6)), x.trx_rows_modified, t.processlist_info, \
    (SELECT CONCAT(m.object_schema, '.', m.object_name) FROM performance_schema.metadata_locks m WHERE \
    m.owner_thread_id = w.thread_id AND m.object_type = 'TABLE' AND m.object_schema <> 'mysql' LIMIT 1) \
    FROM performance_schema.replication_applier_status_by_worker w LEFT JOIN performance_schema.threads t \
    ON t.thread_id = w.thread_id LEFT JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = \
    t.processlist_id WHERE w.applying_transaction <> '' AND w.channel_name";
const LONGEST_FIRST: &str = "ORDER BY w.applying_transaction_start_apply_timestamp";

/// Columns of both questions about locks; `b` is the thread that holds one.
const HOLDER: &str = "b.processlist_id, CONCAT(COALESCE(b.processlist_user, '?'), '@', \
    COALESCE(b.processlist_host, '?')), COALESCE(b.processlist_info, (SELECT s.sql_text FROM \
    performance_schema.events_statements_current s WHERE s.thread_id = b.thread_id ORDER BY s.event_id DESC \
    LIMIT 1)), b.processlist_time";
const WAITER: &str = "SELECT thread_id FROM performance_schema.replication_applier_status_by_worker WHERE \
    thread_id IS NOT NULL AND channel_name";

impl Way<'_> {
    /// What is said of `channel_name` in a condition.
    fn channels(self) -> &'static str {
        match self {
            Self::Source(_) => "= ''",
            Self::Group { .. } => "IN ('group_replication_applier', 'group_replication_recovery')",
        }
    }
}

/// `None` when the server has all that the primary had in `before`.
pub(super) async fn ask(
    client: &mut Client,
    node: &str,
    executed: &GtidSet,
    way: Way<'_>,
    before: &GtidSet,
) -> Result<Option<LagFacts>, ClusterError> {
    let lacks = before.subtract(executed);
    if lacks.is_empty() {
        return Ok(None);
    }
    let workers = client.number("SELECT @@global.replica_parallel_workers", DOING).await?;
    let (statements, longest) = statements(client).await?;
    let channels = way.channels();
    let facts = LagFacts {
        node: node.to_owned(),
        behind: lacks.count(),
        workers,
        applying: applying(client, channels).await?,
        lock: lock(client, channels).await?,
        statements,
        longest,
        ..LagFacts::default()
    };
    let facts = match way {
        Way::Source(status) => LagFacts {
            source: status.source_host.clone(),
            not_received: lacks.subtract(&status.retrieved).count(),
            delay: status.delay,
            receiver_runs: status.receiver == "Yes",
            applier_runs: status.applier == "Yes",
            receiving_seconds: receiving(client).await?,
            ..facts
        },
        // A member of which either does not run leaves the group.
        Way::Group { recovering } => LagFacts {
            source: "the group".to_owned(),
            not_received: lacks.subtract(&received(client, channels).await?).count(),
            receiver_runs: true,
            applier_runs: true,
            queues: Some(queues(client, recovering).await?),
            ..facts
        },
    };
    Ok(Some(facts))
}

/// For how long the transaction that comes in has been coming in, seconds.
async fn receiving(client: &mut Client) -> Result<Option<f64>, ClusterError> {
    let query = "SELECT TIMESTAMPDIFF(MICROSECOND, queueing_transaction_start_queue_timestamp, NOW(6)) FROM \
        performance_schema.replication_connection_status WHERE channel_name = '' AND queueing_transaction <> ''";
    Ok(client.value(query, DOING).await?.and_then(|text| seconds(&text)))
}

/// What has come in by these channels, applied or not.
async fn received(client: &mut Client, channels: &str) -> Result<GtidSet, ClusterError> {
    let query = format!(
        "SELECT received_transaction_set FROM performance_schema.replication_connection_status WHERE \
         channel_name {channels}"
    );
    let mut all = GtidSet::new();
    for row in client.rows(&query, DOING).await? {
        all.union(&set(&sql::text_at(&row, 0).unwrap_or_default()));
    }
    Ok(all)
}

/// What waits in a member, and how much may wait before the group slows its writers down
/// (<https://dev.mysql.com/doc/refman/9.7/en/group-replication-flow-control.html>).
async fn queues(client: &mut Client, recovering: bool) -> Result<Queues, ClusterError> {
    let query = "SELECT count_transactions_in_queue, count_transactions_remote_in_applier_queue, \
        @@global.group_replication_flow_control_mode = 'QUOTA', \
        @@global.group_replication_flow_control_certifier_threshold, \
        @@global.group_replication_flow_control_applier_threshold FROM \
        performance_schema.replication_group_member_stats WHERE member_id = @@server_uuid";
    let rows = client.rows(query, DOING).await?;
    let at = |at| rows.first().map_or(0, |row| number(row, at));
    let limits = (at(2) == 1).then(|| (at(3), at(4)));
    Ok(Queues { recovering, to_check: at(0), to_apply: at(1), limits })
}

async fn applying(client: &mut Client, channels: &str) -> Result<Vec<Applying>, ClusterError> {
    let rows = client.rows(&format!("{WORKERS} {channels} {LONGEST_FIRST}"), DOING).await?;
    let one = |row| Applying {
        transaction: sql::text_at(row, 0).unwrap_or_default(),
        seconds: sql::text_at(row, 1).and_then(|text| seconds(&text)).unwrap_or(0.0),
        age_seconds: sql::text_at(row, 2).and_then(|text| seconds(&text)),
        rows: number(row, 3),
        statement: sql::text_at(row, 4),
        table: sql::text_at(row, 5),
    };
    Ok(rows.iter().map(one).collect())
}

/// What a worker waits for and a client holds: a row, else a table or the whole server.
async fn lock(client: &mut Client, channels: &str) -> Result<Option<Lock>, ClusterError> {
    let waiter = format!("{WAITER} {channels}");
    let row_lock = format!(
        "SELECT 'ROW', l.object_schema, l.object_name, {HOLDER} FROM performance_schema.data_lock_waits w \
         JOIN performance_schema.data_locks l ON l.engine_lock_id = w.requesting_engine_lock_id JOIN \
         performance_schema.threads b ON b.thread_id = w.blocking_thread_id WHERE \
         w.requesting_thread_id IN ({waiter}) AND w.blocking_thread_id NOT IN ({waiter}) LIMIT 1"
    );
    let metadata_lock = format!(
        "SELECT p.object_type, p.object_schema, p.object_name, {HOLDER} FROM \
         performance_schema.metadata_locks p JOIN performance_schema.metadata_locks g ON g.object_type = \
         p.object_type AND g.object_schema <=> p.object_schema AND g.object_name <=> p.object_name AND \
         g.lock_status = 'GRANTED' JOIN performance_schema.threads b ON b.thread_id = g.owner_thread_id \
         WHERE p.lock_status = 'PENDING' AND p.owner_thread_id IN ({waiter}) AND g.owner_thread_id NOT IN \
         ({waiter}) AND b.processlist_id IS NOT NULL ORDER BY b.processlist_time DESC LIMIT 1"
    );
    for query in [row_lock, metadata_lock] {
        let rows = client.rows(&query, DOING).await?;
        let Some(row) = rows.first() else { continue };
        let text = |at| sql::text_at(row, at).unwrap_or_default();
        return Ok(Some(Lock {
            what: locked(&text(0), &text(1), &text(2)),
            connection: number(row, 3),
            user: text(4),
            statement: sql::text_at(row, 5),
            seconds: number(row, 6),
        }));
    }
    Ok(None)
}

/// The thing that is locked, by performance_schema's name of its type.
fn locked(kind: &str, schema: &str, object: &str) -> String {
    match kind {
        "ROW" => format!("a row of {schema}.{object}"),
        "GLOBAL" | "COMMIT" => "the global read lock (FLUSH TABLES WITH READ LOCK)".to_owned(),
        "BACKUP LOCK" => "the backup lock (LOCK INSTANCE FOR BACKUP)".to_owned(),
        "SCHEMA" => format!("schema {schema}"),
        "TABLE" => format!("table {schema}.{object}"),
        other => format!("a lock of kind {other} on {schema}.{object}"),
    }
}

/// Statements of clients that run, Weir's own left out, and the longest of them.
async fn statements(client: &mut Client) -> Result<(u64, Option<(u64, String)>), ClusterError> {
    let query = "SELECT processlist_time, processlist_info, COUNT(*) OVER () FROM performance_schema.threads \
        WHERE name = 'thread/sql/one_connection' AND processlist_command IN ('Query', 'Execute') AND \
        processlist_id <> CONNECTION_ID() ORDER BY processlist_time DESC LIMIT 1";
    let rows = client.rows(query, DOING).await?;
    let Some(row) = rows.first() else { return Ok((0, None)) };
    let longest = sql::text_at(row, 1).map(|text| (number(row, 0), text));
    Ok((number(row, 2), longest))
}

/// Microseconds as text.
fn seconds(text: &str) -> Option<f64> {
    let microseconds: f64 = text.parse().ok()?;
    Some((microseconds / 1e6).max(0.0))
}

fn number(row: &mysql_async::Row, at: usize) -> u64 {
    sql::text_at(row, at).and_then(|text| text.parse().ok()).unwrap_or(0)
}
