//! The group elects the primary that an operator names, and no client notices but by a pause.
//!
//! Weir holds what would write, and lets what runs end; the group does the rest
//! (<https://dev.mysql.com/doc/refman/9.7/en/group-replication-change-primary.html>). Whatever is cut off leaves a group
//! with a primary: the old one or the new one.

use tokio::time::Instant;

use super::super::accounts;
use super::super::announced::Announced;
use super::super::error::ClusterError;
use super::super::plan;
use super::super::progress::Progress;
use super::super::promote;
use super::super::replication;
use super::super::server::{self, Server};
use super::super::switchover::{Moved, until_nobody_is_inside};
use super::super::traffic::{Closed, Traffic};
use super::super::world::{Facts, World};
use super::seen::Member;

/// How long the target may take to come near the primary before anything is held.
const NEAR_LIMIT_SECONDS: u32 = 30;
/// How long the group waits for transactions of others than Weir's clients, before it ends them.
const OTHERS_SECONDS: u32 = 10;

/// Moves the primary to the member named `to`, or to the one that is furthest.
pub(in crate::cluster) async fn switchover(
    world: &mut World,
    facts: &Facts,
    to: Option<&str>,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<Moved, ClusterError> {
    let (old, new) = choose(world, facts, to)?;
    let (from, to) = (world.name(old), world.name(new));
    progress.begin(&format!("bring {to} up to {from}"));
    let place = replication::place(world, old).await?;
    let mut target = world.root_now(new).await?;
    if !place.reached(&mut target, NEAR_LIMIT_SECONDS).await? {
        let cause = format!("{to} did not catch up within {NEAR_LIMIT_SECONDS} s");
        return Err(ClusterError::NotMoved { cause });
    }
    let doing = "asking the group for another primary";
    let uuid = target.value("SELECT @@server_uuid", doing).await?.unwrap_or_default();
    let mut client = world.root_now(old).await?;
    progress.end();
    progress.begin(&format!("move the primary from {from} to {to}"));
    let mut announced = Announced::begin(world.root_now(old).await?, traffic).await?;
    announced.until_others_wait().await?;
    let closed = Closed::close(traffic);
    let since = Instant::now();
    until_nobody_is_inside(traffic).await?;
    announced.check().await?;
    let elect = format!(
        "SELECT group_replication_set_as_primary({}, {OTHERS_SECONDS})",
        accounts::string(&uuid)
    );
    client.run(&elect, doing).await?;
    promote::record(world, new).await?;
    promote::until_seen(traffic, &to).await;
    drop(closed);
    let held = since.elapsed();
    announced.end().await;
    progress.end();
    client.close().await;
    target.close().await;
    Ok(Moved { from, to, held })
}

/// The primary, and the member that takes its place.
fn choose(world: &World, facts: &Facts, to: Option<&str>) -> Result<(u32, u32), ClusterError> {
    let refuse = |cause: String| Err(ClusterError::NotMoved { cause });
    let Some(old) = plan::apparent_primary(&facts.seen(), world.state.primary) else {
        return refuse("the group has no primary; `weir cluster status` says more".to_owned());
    };
    let answering =
        facts.nodes.iter().filter_map(|node| Some((node.number, node.server.as_ref()?)));
    let state = |server: &Server| server.seen.group.map_or(Member::Offline, |group| group.state);
    let mut others: Vec<(u32, &Server)> = answering.filter(|(number, _)| *number != old).collect();
    if let Some(name) = to {
        if name == world.name(old) {
            return refuse(format!("{name} is the primary"));
        }
        others.retain(|(number, _)| world.name(*number) == name);
        let Some((_, server)) = others.first() else {
            return refuse(format!("{name} is no node of this cluster, or does not answer"));
        };
        if state(server) != Member::Online {
            return refuse(format!("{name} is {} in the group", state(server).word()));
        }
    }
    others.retain(|(_, server)| state(server) == Member::Online);
    match others.iter().max_by_key(|(_, server)| server::transactions(&server.executed)) {
        Some((new, _)) => Ok((old, *new)),
        None => refuse("no other member is ONLINE".to_owned()),
    }
}
