//! How far servers have come: by GTIDs, or by file and position of a binary log where they run without.
//!
//! A position means something in the log of one server only. What two replicas have can be compared when both
//! name a position in the log of the same source, and in no other case.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts;
use super::error::ClusterError;
use super::server;
use super::sql::{self, Client};

const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A place in one server's binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coordinates {
    /// "binlog.000002"
    pub file: String,
    /// Bytes from its beginning, always between two transactions.
    pub position: u64,
}

impl Coordinates {
    /// Later in the same log is greater: its files are numbered, with more digits when six are too few.
    pub(super) fn order(&self) -> (u64, u64) {
        let number = self.file.rsplit('.').next().and_then(|digits| digits.parse().ok());
        (number.unwrap_or(0), self.position)
    }

    /// `None` unless both are there.
    pub(super) fn read(file: Option<String>, position: Option<String>) -> Option<Self> {
        let file = file.filter(|file| !file.is_empty())?;
        Some(Self { file, position: position?.parse().ok()? })
    }
}

impl std::fmt::Display for Coordinates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// What a server has, in a form that its replicas can be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Gtids(String),
    /// In that server's own log.
    Log(Coordinates),
}

impl Place {
    /// What the server has now.
    pub(super) async fn now(client: &mut Client, by_position: bool) -> Result<Self, ClusterError> {
        if by_position {
            return own(client).await.map(Self::Log);
        }
        let query = "SELECT @@global.gtid_executed";
        let executed = client.value(query, "asking for its transactions").await?;
        Ok(Self::Gtids(executed.unwrap_or_default()))
    }

    /// Waits until a replica of that server has executed all of it; whether it has, at the latest after so
    /// many seconds.
    pub(super) async fn reached(
        &self,
        replica: &mut Client,
        seconds: u32,
    ) -> Result<bool, ClusterError> {
        let wait = match self {
            Self::Gtids(set) => {
                format!(
                    "SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {seconds}) = 0",
                    accounts::string(set)
                )
            }
            // The number of events it waited for; -1 when the time was over, NULL when the applier stands.
            Self::Log(Coordinates { file, position }) => {
                let file = accounts::string(file);
                format!("SELECT SOURCE_POS_WAIT({file}, {position}, {seconds}) >= 0")
            }
        };
        Ok(replica.number(&wait, "waiting for it to catch up").await? == 1)
    }
}

/// The end of the server's own binary log.
pub(super) async fn own(client: &mut Client) -> Result<Coordinates, ClusterError> {
    let doing = "asking for its binary log's end";
    let old = has_old_words(client).await?;
    let statement = if old { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let rows = client.rows(statement, doing).await?;
    let row = rows.first();
    let at = |place| row.and_then(|row| sql::text_at(row, place));
    Coordinates::read(at(0), at(1)).ok_or_else(|| client.failed(doing, "it has none".to_owned()))
}

/// How far a replica is in the log of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    /// "weir-1"
    pub source: String,
    /// May be in the middle of a transaction.
    pub read: Coordinates,
    /// Exact once the applier has been stopped.
    pub applied: Coordinates,
}

/// `None` when it follows nobody.
pub(super) async fn followed(client: &mut Client) -> Result<Option<Followed>, ClusterError> {
    let rows = client.rows("SHOW REPLICA STATUS", "asking for the replication status").await?;
    let text = |row, column| sql::text(row, column);
    let channel = rows.iter().find(|row| text(row, "Channel_Name").as_deref() == Some(""));
    Ok(channel.and_then(|row| {
        let place = |file, position| Coordinates::read(text(row, file), text(row, position));
        Some(Followed {
            source: text(row, "Source_Host")?,
            read: place("Source_Log_File", "Read_Source_Log_Pos")?,
            applied: place("Relay_Source_Log_File", "Exec_Source_Log_Pos")?,
        })
    }))
}

/// Workers that are within a transaction and wait for the rest of it.
const HALVES: &str = "performance_schema.replication_applier_status_by_worker w \
    JOIN performance_schema.threads h ON h.thread_id = w.thread_id WHERE w.channel_name = '' AND \
    w.applying_transaction <> '' AND h.processlist_state LIKE 'Waiting for an event from Coordinator%'";

/// Waits until a server has executed all of its relay log, which nothing is added to any more; whether it has
/// when `limit` is over. Without GTIDs the threads are asked: the coordinator has read the log to its
/// end, and no worker is at anything.
pub(super) async fn drain(client: &mut Client, limit: Duration) -> Result<bool, ClusterError> {
    let doing = "waiting until it has applied what it received";
    // Where the receiver stands, who has half of a transaction will not get the rest.
    let workers = format!(
        "SELECT COUNT(*) - IF((SELECT service_state FROM \
         performance_schema.replication_connection_status WHERE channel_name = '') = 'OFF', \
         (SELECT COUNT(*) FROM {HALVES}), 0) FROM performance_schema.replication_applier_status_by_worker \
         WHERE channel_name = '' AND applying_transaction <> ''"
    );
    let started = Instant::now();
    server::own_start(client).await?;
    client.run("START REPLICA SQL_THREAD", doing).await?;
    // Twice in a row: a transaction may be on its way from the coordinator to a worker.
    let (mut before, mut stood) = (false, false);
    loop {
        let rows = client.rows("SHOW REPLICA STATUS", doing).await?;
        let state = |row| sql::text(row, "Replica_SQL_Running_State").unwrap_or_default();
        let read = rows.iter().any(|row| state(row).contains("has read all relay log"));
        // It met what it cannot execute.
        let stands =
            rows.iter().any(|row| sql::text(row, "Replica_SQL_Running").as_deref() == Some("No"));
        if stands && stood {
            return Ok(false);
        }
        stood = stands;
        let idle = read && client.number(&workers, doing).await? == 0;
        if idle && before {
            return Ok(true);
        }
        if started.elapsed() > limit {
            return Ok(false);
        }
        before = idle;
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Makes a server forget its binary logs and GTIDs: only for one whose data is nothing or was given up.
pub(super) async fn reset(client: &mut Client, doing: &str) -> Result<(), ClusterError> {
    let old = has_old_words(client).await?;
    let statement = if old { "RESET MASTER" } else { "RESET BINARY LOGS AND GTIDS" };
    client.run(statement, doing).await
}

/// The new names of both statements came with 8.2, the old ones went with 8.4.
async fn has_old_words(client: &mut Client) -> Result<bool, ClusterError> {
    let version = client.value("SELECT @@version", "asking for its version").await?;
    Ok(version.is_some_and(|text| text.starts_with("8.0.") || text.starts_with("8.1.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, position: u64) -> Coordinates {
        Coordinates { file: file.to_owned(), position }
    }

    #[test]
    fn files_are_ordered_by_their_number() {
        assert!(at("b.000002", 4).order() > at("b.000001", 900).order());
        assert!(at("b.1000000", 4).order() > at("b.999999", 4).order());
        assert!(at("b.000002", 5).order() > at("b.000002", 4).order());
        assert_eq!(at("b.000002", 5).to_string(), "b.000002:5");
    }

    #[test]
    fn half_a_place_is_none() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(Coordinates::read(text("b.1"), text("157")), Some(at("b.1", 157)));
        for (file, position) in [("", "4"), ("b.1", ""), ("b.1", "x")] {
            assert_eq!(Coordinates::read(text(file), text(position)), None);
        }
        assert_eq!(Coordinates::read(None, text("4")), None);
    }
}
