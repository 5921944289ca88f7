//! What one server says about itself, asked as root.

use std::time::Duration;

use mysql_async::Row;
use tokio::time::Instant;

use super::accounts::{self, Accounts};
use super::diagnose::{ACCESS_DENIED, applier_is_held, receiver_is_held};
use super::error::ClusterError;
use super::plan::{SemiSync, SemiSyncLimits, ServerSeen, SourceSeen};
use super::sql::{self, Client};

/// The oldest version with the plugins, statements and options used here (`rpl_semi_sync_source`,
/// `replica_*` options).
const OLDEST: (u32, u32, u32) = (8, 0, 26);

/// After so long a server has started what it starts by itself, seconds.
const OWN_START_SECONDS: u64 = 5;
const OWN_START_POLL: Duration = Duration::from_millis(50);
/// How long a coordinator that was killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(10);

/// One server as it is.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// "9.7.4-2"
    pub version: String,
    /// `@@gtid_executed`, blanks and line ends taken out.
    pub executed: String,
    /// `@@gtid_purged`, the part of it that is no longer in the binary logs.
    pub purged: String,
    /// What came from its group, applied or not; empty without one.
    pub received: String,
    pub seen: ServerSeen,
    /// `None` when it replicates from nobody.
    pub replication: Option<Replication>,
}

/// `SHOW REPLICA STATUS` of the default channel
/// (<https://dev.mysql.com/doc/refman/8.4/en/show-replica-status.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replication {
    pub source_host: String,
    /// "Yes", "No" or "Connecting".
    pub receiver: String,
    /// "Yes" or "No".
    pub applier: String,
    /// The receiver's last error, empty when there is none, and its number.
    pub receiver_error: String,
    pub receiver_errno: u32,
    /// The same of the applier, and its number.
    pub applier_error: String,
    pub applier_errno: u32,
}

impl Replication {
    /// Both threads run.
    pub(super) fn runs(&self) -> bool {
        self.receiver == "Yes" && self.applier == "Yes"
    }

    /// The last error of either thread; empty when there is none.
    pub(super) fn error(&self) -> String {
        let errors = [self.receiver_error.as_str(), self.applier_error.as_str()];
        errors.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// A thread ended by an error, or the source refuses the receiver. One that cannot reach it goes on trying.
    pub(super) fn has_failed(&self) -> bool {
        self.receiver_errno == ACCESS_DENIED
            || (self.applier == "No" && !self.applier_error.is_empty())
            || (self.receiver == "No" && !self.receiver_error.is_empty())
    }

    /// A thread stands where a start would end it again at once.
    pub(super) fn is_held(&self) -> bool {
        (self.applier == "No" && applier_is_held(self.applier_errno, &self.applier_error))
            || (self.receiver == "No" && receiver_is_held(&self.receiver_error))
    }

    /// Both threads are there, connected or not.
    fn is_started(&self) -> bool {
        self.receiver != "No" && self.applier != "No"
    }
}

/// Asks everything. `node_of` turns a source's host name into a node number. `passwords_right` says
/// whether Weir's and the application's logins work; it is asked only of a server that has the accounts.
pub(super) async fn look(
    client: &mut Client,
    node: &str,
    wanted: &Accounts,
    node_of: &(dyn Fn(&str) -> Option<u32> + Sync),
) -> Result<Server, ClusterError> {
    let doing = "asking for its state";
    let rows = client
        .rows(
            "SELECT @@version, @@version_comment, @@global.read_only, @@global.super_read_only, \
             @@global.gtid_executed, (SELECT COUNT(*) FROM performance_schema.persisted_variables WHERE \
             variable_name IN ('read_only', 'super_read_only') AND variable_value = 'ON'), \
             @@global.gtid_purged, @@global.gtid_mode",
            doing,
        )
        .await
        .map_err(|error| too_old(node, error))?;
    let facts = rows.first();
    let fact = |at| facts.and_then(|row| sql::text_at(row, at)).unwrap_or_default();
    let version = fact(0);
    check_version(node, &version, &fact(1))?;
    let executed: String = fact(4).split_whitespace().collect();
    let replication = replication(client).await?;
    let foreign = client.number(accounts::FOREIGN_OBJECTS, doing).await?;
    let source = replication.as_ref().map(|replication| SourceSeen {
        node: node_of(&replication.source_host),
        receiver: replication.receiver == "Yes",
        applier: replication.applier == "Yes",
    });
    let seen = ServerSeen {
        blank: foreign == 0 && source.is_none(),
        has_history: !executed.is_empty(),
        executed: transactions(&executed),
        purged: !fact(6).is_empty(),
        by_position: fact(7).starts_with("OFF"),
        log_bytes: log_bytes(client).await?,
        read_only: fact(2) == "1",
        super_read_only: fact(3) == "1",
        starts_read_only: fact(5) == "2",
        source,
        semi_sync: semi_sync(client).await?,
        accounts: client.number(&wanted.count_query(), doing).await? == accounts::ALL,
        group: None,
    };
    Ok(Server { version, executed, purged: fact(6), received: String::new(), seen, replication })
}

/// The default channel's status; `None` when none is configured.
pub(super) async fn replication(client: &mut Client) -> Result<Option<Replication>, ClusterError> {
    let rows = client.rows("SHOW REPLICA STATUS", "asking for the replication status").await?;
    let channel = rows.iter().find(|row| field(row, "Channel_Name").is_empty());
    Ok(channel.map(|row| {
        let errno = |column| field(row, column).parse().unwrap_or(0);
        Replication {
            source_host: field(row, "Source_Host"),
            receiver: field(row, "Replica_IO_Running"),
            applier: field(row, "Replica_SQL_Running"),
            receiver_error: field(row, "Last_IO_Error"),
            applier_error: field(row, "Last_SQL_Error"),
            receiver_errno: errno("Last_IO_Errno"),
            applier_errno: errno("Last_SQL_Errno"),
        }
    }))
}

/// Waits until the threads of replication may be started and stopped. A server that starts replicates by itself, and it
/// lets clients in before those threads know that they run: START REPLICA makes two more then, of which mysqld 9.7.4
/// dies (signal 11 in `handle_slave_sql` or `handle_slave_io`), and STOP REPLICA stops nothing.
pub(super) async fn own_start(client: &mut Client) -> Result<(), ClusterError> {
    let uptime = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'";
    let asked = Instant::now();
    loop {
        let up = client.number(uptime, "asking since when it runs").await?;
        // Of a server that does not say how long it runs, as long as it was asked.
        if up.max(asked.elapsed().as_secs()) >= OWN_START_SECONDS {
            return Ok(());
        }
        if replication(client).await?.is_none_or(|now| now.is_started()) {
            return Ok(());
        }
        tokio::time::sleep(OWN_START_POLL).await;
    }
}

/// Stops both threads of replication.
pub(super) async fn stop_replication(client: &mut Client, doing: &str) -> Result<(), ClusterError> {
    own_start(client).await?;
    client.run("STOP REPLICA IO_THREAD", doing).await?;
    stop_applier(client, doing).await
}

/// Stops the applier of a replica whose receiver stands. When that broke off within a transaction, because the source
/// died while it sent a large one, say, the coordinator would wait a minute for the rest (`SLAVE_WAIT_GROUP_DONE` in
/// sql/rpl_replica.cc): it is killed then, and the half is undone.
pub(super) async fn stop_applier(client: &mut Client, doing: &str) -> Result<(), ClusterError> {
    // A receiver that was started again, and refused, has forgotten what it was at; the coordinator has not, and a
    // transaction that has no more than begun is at no worker yet.
    let half = "SELECT t.processlist_id FROM performance_schema.replication_connection_status r \
         JOIN performance_schema.replication_applier_status_by_coordinator c USING (channel_name) \
         JOIN performance_schema.threads t ON t.thread_id = c.thread_id \
         WHERE channel_name = '' AND r.service_state = 'OFF' AND (r.queueing_transaction <> '' OR \
         (t.processlist_state LIKE '%has read all relay log%' AND c.processing_transaction <> ''))";
    if let Some(coordinator) = client.value(half, doing).await? {
        tracing::debug!(node = client.node(), "it has half of a transaction, which is given up");
        kill(client, &coordinator, doing).await?;
        // Asked to stop before it has seen that, it would wait all the same.
        let asked = Instant::now();
        while replication(client).await?.is_some_and(|now| now.applier != "No")
            && asked.elapsed() < KILL_LIMIT
        {
            tokio::time::sleep(KILL_POLL).await;
        }
    }
    client.run("STOP REPLICA SQL_THREAD", doing).await
}

/// Ends a connection; one that has ended in between is ended.
pub(super) async fn kill(client: &mut Client, id: &str, doing: &str) -> Result<(), ClusterError> {
    match client.run(&format!("KILL {id}"), doing).await {
        Err(ClusterError::Sql { cause, .. }) if cause.contains("Unknown thread") => Ok(()),
        done => done,
    }
}

/// Whether the server takes connections with TLS.
pub(super) async fn has_tls(client: &mut Client) -> Result<bool, ClusterError> {
    let query = "SELECT value FROM performance_schema.tls_channel_status WHERE channel = 'mysql_main' AND \
                 property = 'Enabled'";
    Ok(client.value(query, "asking whether it has TLS").await?.as_deref() == Some("Yes"))
}

/// Bytes of all binary logs that the server still has.
async fn log_bytes(client: &mut Client) -> Result<u64, ClusterError> {
    let rows = client.rows("SHOW BINARY LOGS", "asking for its binary logs").await?;
    let sizes = rows.iter().filter_map(|row| field(row, "File_size").parse::<u64>().ok());
    Ok(sizes.fold(0, u64::saturating_add))
}

/// How many transactions a GTID set names: `uuid:1-5:7,uuid:tag:3` has seven.
pub(super) fn transactions(set: &str) -> u64 {
    set.split(',')
        .flat_map(|part| part.split(':').skip(1))
        .filter_map(|interval| {
            let mut ends = interval.trim().split('-');
            let first: u64 = ends.next()?.parse().ok()?;
            let last = ends.next().map_or(Some(first), |text| text.parse().ok())?;
            Some(last.checked_sub(first)?.saturating_add(1))
        })
        .fold(0, u64::saturating_add)
}

/// Plugins in place and switched on? Whether files are there to install is not known here: `available`
/// is what is installed already.
async fn semi_sync(client: &mut Client) -> Result<SemiSync, ClusterError> {
    let doing = "asking for the semi-sync plugins";
    let active = client
        .number(
            "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_status = 'ACTIVE' AND \
             plugin_name IN ('rpl_semi_sync_source', 'rpl_semi_sync_replica')",
            doing,
        )
        .await?;
    let rows = client.rows("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%'", doing).await?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| sql::text_at(row, 0).as_deref() == Some(name));
        row.and_then(|row| sql::text_at(row, 1)).unwrap_or_default()
    };
    let is_on = |name: &str| value(name) == "ON";
    Ok(SemiSync {
        available: active == 2,
        ready: active == 2 && is_on("rpl_semi_sync_replica_enabled"),
        source_on: is_on("rpl_semi_sync_source_enabled"),
        limits: SemiSyncLimits {
            acks: value("rpl_semi_sync_source_wait_for_replica_count").parse().unwrap_or(0),
            timeout_ms: value("rpl_semi_sync_source_timeout").parse().unwrap_or(0),
        },
    })
}

fn field(row: &Row, column: &str) -> String {
    sql::text(row, column).unwrap_or_default()
}

/// `who` it is: a node, or an image.
pub(super) fn check_version(who: &str, version: &str, comment: &str) -> Result<(), ClusterError> {
    let unsupported = |version: String, remedy: &str| {
        Err(ClusterError::Unsupported { who: who.to_owned(), version, remedy: remedy.to_owned() })
    };
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    let number = (next(), next(), next());
    if version.contains("MariaDB") || comment.contains("MariaDB") {
        // Replicas that want to be told a version of MySQL's got one in front: "5.5.5-10.11.6-MariaDB".
        let own = version.strip_prefix("5.5.5-").unwrap_or(version);
        let own = own.split('-').next().unwrap_or(own);
        return unsupported(
            format!("MariaDB {own}"),
            "Put running MariaDB servers under [[servers]]",
        );
    }
    if number < OLDEST {
        return unsupported(format!("MySQL {version}"), "Choose another image");
    }
    Ok(())
}

/// A server that does not even know the variables asked for is none that can be managed.
fn too_old(node: &str, error: ClusterError) -> ClusterError {
    match error {
        ClusterError::Sql { cause, .. } if cause.contains("Unknown system variable") => {
            ClusterError::Unsupported {
                who: node.to_owned(),
                version: "a server without MySQL's GTIDs".to_owned(),
                remedy: "Choose another image".to_owned(),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for (set, count) in [
            (String::new(), 0),
            (format!("{uuid}:1"), 1),
            (format!("{uuid}:1-5:7,{uuid}:tag:3"), 7),
            (format!("{uuid}:9-8"), 0),
            ("nonsense".to_owned(), 0),
            (format!("{uuid}:1-18446744073709551615"), u64::MAX),
        ] {
            assert_eq!(transactions(&set), count, "{set}");
        }
    }

    #[test]
    fn old_and_foreign_servers_are_refused_with_words() {
        assert!(check_version("n", "9.7.4-2", "(Debian)").is_ok());
        assert!(check_version("n", "8.0.26", "").is_ok());
        assert!(check_version("n", "8.4.3", "MySQL Community Server - GPL").is_ok());
        for (version, comment, words) in [
            ("8.0.25", "", "n runs MySQL 8.0.25; [cluster]"),
            ("5.7.44-log", "", "8.0.26"),
            ("11.8.3-MariaDB", "", "n runs MariaDB 11.8.3; [cluster]"),
            ("5.5.5-10.11.6-MariaDB-log", "", "MariaDB 10.11.6;"),
            ("12.0.1", "mariadb.org binary distribution, MariaDB", "[[servers]]"),
            ("", "", "8.0.26"),
        ] {
            let error = check_version("n", version, comment).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
