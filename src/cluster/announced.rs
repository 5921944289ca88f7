//! A move that every Weir of the cluster hears of before it begins, so that none of their clients meets a primary that
//! takes no more writes.
//!
//! The primary itself is where they meet: each one's monitor asks it several times a second anyway, whatever decides who
//! leads. Whoever moves the role gives a sign there ([`signs`]); every Weir that serves closes its door when it sees
//! that, and says so when nobody is inside any more.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{MONITOR, string};
use super::error::ClusterError;
use super::replication::take_sign;
use super::sql::{Client, text_at};
use super::switchover::INSIDE_LIMIT;
use super::traffic::Traffic;
use crate::topology::{Move, signs};

/// A Weir whose monitor has asked nothing for so long is gone, or holds nobody back; seconds.
const SILENT_SECONDS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);
const DOING: &str = "telling the other Weirs that the primary moves";

/// Ends with this value, and with the process.
#[derive(Debug)]
pub(super) struct Announced<'t> {
    /// It has the sign, and is used for nothing that could fail.
    client: Client,
    which: Move,
    traffic: &'t dyn Traffic,
}

impl<'t> Announced<'t> {
    /// Gives the sign, over a connection to the primary of its own.
    pub(super) async fn begin(
        mut client: Client,
        traffic: &'t dyn Traffic,
    ) -> Result<Self, ClusterError> {
        let which = Move(client.number("SELECT CONNECTION_ID()", DOING).await?);
        // Before it can be seen: the own door closes later, when the others' clients wait already.
        traffic.moves(Some(which));
        let mut announced = Self { client, which, traffic };
        take_sign(&mut announced.client, signs::MOVES, DOING).await?;
        Ok(announced)
    }

    /// Waits until no client of any other Weir is under way on the primary; none will be until this ends.
    pub(super) async fn until_others_wait(&mut self) -> Result<(), ClusterError> {
        let started = Instant::now();
        while let Some(busy) = self.busy().await? {
            if started.elapsed() > INSIDE_LIMIT {
                return Err(ClusterError::NotMoved {
                    cause: format!(
                        "clients of other Weirs (connected from {busy}) still had statements or \
                         transactions under way after {} s; end them, or try again at a quieter time",
                        INSIDE_LIMIT.as_secs()
                    ),
                });
            }
            // This process's monitor answers, too.
            self.traffic.look();
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether they wait still: one that could not wait longer has let its clients in again.
    ///
    /// # Errors
    /// They do not.
    pub(super) async fn check(&mut self) -> Result<(), ClusterError> {
        let Some(busy) = self.busy().await? else { return Ok(()) };
        let cause = format!(
            "clients of other Weirs (connected from {busy}) could not be kept waiting so long; try again at a \
             quieter time"
        );
        Err(ClusterError::NotMoved { cause })
    }

    /// From where Weirs are connected that serve, and have not said that their clients wait.
    async fn busy(&mut self) -> Result<Option<String>, ClusterError> {
        unheeding(&mut self.client, self.which).await
    }

    /// The move is over.
    pub(super) async fn end(mut self) {
        // The sign goes before its name does, so that this process does not take it for another's.
        let done = format!("DO RELEASE_LOCK({})", string(signs::MOVES));
        if let Err(error) = self.client.run(&done, DOING).await {
            tracing::debug!(%error, "the sign ends with its connection");
        }
    }
}

/// From where Weirs are connected that serve, and have not said that they heed the sign of that connection.
pub(super) async fn unheeding(
    client: &mut Client,
    which: Move,
) -> Result<Option<String>, ClusterError> {
    let query = format!(
        "SELECT GROUP_CONCAT(host SEPARATOR ', ') FROM performance_schema.processlist WHERE user = {} AND \
         time < {SILENT_SECONDS} AND IS_USED_LOCK(CONCAT({}, id)) = id AND \
         IS_USED_LOCK(CONCAT({}, id)) IS NULL",
        string(MONITOR),
        string(signs::SERVES),
        string(&format!("{}{}.", signs::WAITS, which.0)),
    );
    let rows = client.rows(&query, DOING).await?;
    Ok(rows.first().and_then(|row| text_at(row, 0)))
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.traffic.moves(None);
    }
}
