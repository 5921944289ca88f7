//! What a primary that answers says of its commits: that they wait for a replica's receipt, or that they wait for a full
//! disk, until somebody makes room. The probes are answered all the while, so nothing else notices.

use super::diagnose::{Disk, Limits};
use super::error::ClusterError;
use super::examine;
use super::world::World;

/// A commit that takes longer, seconds, is reason to ask how full the disk is.
const COMMIT_SECONDS: u32 = 2;
const DOING: &str = "asking whether commits wait";

/// What was seen of one primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commits {
    pub(super) node: u32,
    /// The disk that they wait for; `None` when none waits, or not for the disk.
    pub(super) disk: Option<Disk>,
    /// Whether they wait for a replica's receipt.
    pub(super) semi_sync: bool,
}

/// Asks the node; `None` when it does not answer, which others notice.
///
/// # Errors
/// The link broke in the middle.
pub(super) async fn look(world: &World, node: u32) -> Result<Option<Commits>, ClusterError> {
    let Ok(mut client) = world.root(node).await else { return Ok(None) };
    // What is written to the binary log waits in this state; a receipt has another.
    let waiting = format!(
        "SELECT COUNT(*) FROM performance_schema.processlist WHERE state = 'waiting for handler commit' AND \
         time >= {COMMIT_SECONDS}"
    );
    let waiting = client.number(&waiting, DOING).await?;
    let receipts = "SELECT COUNT(*) FROM performance_schema.global_status WHERE variable_name = \
                    'Rpl_semi_sync_source_status' AND variable_value = 'ON'";
    let semi_sync = client.number(receipts, DOING).await? > 0;
    client.close().await;
    let disk = if waiting == 0 { None } else { examine::disk(world, node).await };
    let disk = disk.filter(|disk| disk.free < Limits::default().disk_bytes);
    Ok(Some(Commits { node, disk, semi_sync }))
}
