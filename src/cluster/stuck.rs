//! A primary that answers and cannot commit: its disk is full, and mysqld waits until somebody makes room.
//! The probes are answered all the while, so nothing else notices.

use super::diagnose::{Disk, Limits};
use super::error::ClusterError;
use super::examine;
use super::world::World;

/// A commit that takes longer, seconds, is reason to ask how full the disk is.
const COMMIT_SECONDS: u32 = 2;

/// The disk that commits on the node wait for; `None` when none waits, or not for the disk.
///
/// # Errors
/// The link broke in the middle. A server that does not answer is noticed by others.
pub(super) async fn disk(world: &World, number: u32) -> Result<Option<Disk>, ClusterError> {
    let Ok(mut client) = world.root(number).await else { return Ok(None) };
    // What is written to the binary log waits in this state; a receipt has another.
    let waiting = format!(
        "SELECT COUNT(*) FROM performance_schema.processlist WHERE state = 'waiting for handler commit' AND \
         time >= {COMMIT_SECONDS}"
    );
    let waiting = client.number(&waiting, "asking whether commits wait").await?;
    client.close().await;
    if waiting == 0 {
        return Ok(None);
    }
    let disk = examine::disk(world, number).await;
    Ok(disk.filter(|disk| disk.free < Limits::default().disk_bytes))
}
