//! A replica that is about to be stopped on purpose: reads go elsewhere from then on, and those that are under way end
//! first.
//!
//! As for a move of the primary, the server itself is where all Weirs of the cluster meet: the sign on it
//! ([`signs::LEAVES`]) is seen by each one's next probe.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{DONOR, MONITOR, REPLICATION, string};
use super::announced;
use super::error::ClusterError;
use super::progress::Progress;
use super::replication::take_sign;
use super::sql::{Client, text_at};
use super::world::World;
use crate::topology::{Move, signs};

/// How long the other Weirs may take to see the sign; one that does not runs its reads again elsewhere, where that is
/// possible still.
const SEEN_LIMIT: Duration = Duration::from_secs(3);
/// How long reads may go on before they are cut off.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Of a statement in a note.
const MOST_CHARS: u32 = 80;
const DOING: &str = "letting its reads end";

/// Waits until no client is under way on a replica, or long enough. A primary is left as it is, and so is a server that
/// does not answer. The connection that has the sign: it is there as long as this is.
pub(super) async fn reads(world: &World, number: u32, progress: &dyn Progress) -> Option<Client> {
    let mut client = world.root(number).await.ok()?;
    if let Err(error) = drain(&mut client, progress).await {
        tracing::debug!(node = client.node(), %error, "its reads are not waited for");
    }
    Some(client)
}

async fn drain(client: &mut Client, progress: &dyn Progress) -> Result<(), ClusterError> {
    if client.number("SELECT @@global.read_only", DOING).await? == 0 {
        return Ok(());
    }
    let which = Move(client.number("SELECT CONNECTION_ID()", DOING).await?);
    take_sign(client, signs::LEAVES, DOING).await?;
    let started = Instant::now();
    while announced::unheeding(client, which).await?.is_some() && started.elapsed() < SEEN_LIMIT {
        tokio::time::sleep(POLL).await;
    }
    loop {
        let under_way = client.rows(&under_way(), DOING).await?;
        let Some(first) = under_way.first() else { return Ok(()) };
        if started.elapsed() > LIMIT {
            progress.note(&format!(
                "{} statements or transactions were still under way on {} after {} s, and are cut off; the first: {}",
                under_way.len(),
                client.node(),
                LIMIT.as_secs(),
                text_at(first, 0).unwrap_or_default()
            ));
            return Ok(());
        }
        progress.detail(&format!("{} reads under way", under_way.len()));
        tokio::time::sleep(POLL).await;
    }
}

/// The connections of clients that do something, or have a transaction open: "app@10.0.0.1:40000 for 3 s: SELECT ..".
/// Threads of replication bear the name of whoever started them.
fn under_way() -> String {
    let own = [MONITOR, REPLICATION, DONOR].map(string).join(", ");
    format!(
        "SELECT CONCAT(thread.processlist_user, '@', thread.processlist_host, ' for ', thread.processlist_time, \
         ' s: ', COALESCE(LEFT(thread.processlist_info, {MOST_CHARS}), 'a transaction')) FROM \
         performance_schema.threads AS thread LEFT JOIN performance_schema.events_transactions_current AS open \
         ON open.thread_id = thread.thread_id AND open.state = 'ACTIVE' AND open.autocommit = 'NO' WHERE \
         thread.name = 'thread/sql/one_connection' AND thread.processlist_user NOT IN ({own}) AND \
         thread.processlist_id <> CONNECTION_ID() AND (thread.processlist_command <> 'Sleep' OR open.thread_id IS \
         NOT NULL) ORDER BY thread.processlist_time DESC"
    )
}
