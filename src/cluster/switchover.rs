//! The primary's role moves to another node on request, and no client notices but by a pause.
//!
//! The order is what keeps every write: statements are held at the door, other Weirs' first (`announced`), the open
//! ones end, the old primary takes no more, the new one has executed everything, it is written down, and only then may it be written to.
//! Cut off before it is written down, the next `up` (or the control task) opens the old primary again;
//! after that, it promotes the new one.

use std::time::Duration;

use tokio::time::Instant;

use super::announced::Announced;
use super::error::ClusterError;
use super::lease::Right;
use super::plan;
use super::position::{self, Coordinates, Place};
use super::progress::Progress;
use super::promote;
use super::replication::{end_openers, open_for_writes};
use super::server::{self, Server};
use super::sql::Client;
use super::traffic::{Closed, NoTraffic, Traffic};
use super::world::{Facts, World};
use crate::config;

/// How long the target may take to come near the primary before anything is held.
const NEAR_LIMIT_SECONDS: u32 = 30;
/// How long transactions that are open may take to end.
pub(super) const INSIDE_LIMIT: Duration = Duration::from_secs(10);
const INSIDE_POLL: Duration = Duration::from_millis(1);
/// How long the old primary may take to become read-only: DDL and LOCK TABLES of others delay it.
const CLOSE_SECONDS: u32 = 5;
/// How long the target may take to execute the last transactions.
const LAST_SECONDS: u32 = 10;

/// A role that has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub from: String,
    pub to: String,
    /// How long writes were held.
    pub held: Duration,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.as_millis();
        write!(
            f,
            "the primary is {} now, it was {}; writes were held for {held} ms",
            self.to, self.from
        )
    }
}

/// Everybody who takes part, connected before anything is held.
struct Cast {
    old: u32,
    new: u32,
    old_client: Client,
    new_client: Client,
    /// The other replicas.
    others: Vec<Client>,
    has_tls: bool,
    by_position: bool,
}

/// Moves the primary to the node named `to`, or to the replica that is furthest.
///
/// # Errors
/// Nothing has changed then, unless the error says that it was written down already.
pub async fn switchover(
    cluster: &config::Cluster,
    state_dir: &std::path::Path,
    to: Option<&str>,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<Moved, ClusterError> {
    let right = Right::wait(cluster, state_dir).await?;
    let work = async {
        let mut world = super::open_to_change(cluster, state_dir, &right).await?;
        let moved = Box::pin(within(&mut world, to, traffic, progress)).await?;
        // What is left to do (semi-sync of the old primary) is small, and reconciling finds it.
        Box::pin(super::provision::reconcile(&mut world, progress)).await?;
        Ok(moved)
    };
    right.during(Box::pin(work)).await
}

/// As [`switchover`], for one who has the right to change the cluster already.
pub(super) async fn within(
    world: &mut World,
    to: Option<&str>,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<Moved, ClusterError> {
    let facts = Box::pin(world.look()).await?;
    plan::check_kind(world.wanted(), &facts.seen())?;
    if world.cluster.is_group() {
        return Box::pin(super::group::switchover(world, &facts, to, traffic, progress)).await;
    }
    let (old, new) = choose(world, &facts, to)?;
    progress.begin(&format!("bring {} up to {}", world.name(new), world.name(old)));
    let mut cast = Box::pin(assemble(world, &facts, old, new)).await?;
    come_near(world, &mut cast).await?;
    progress.end();
    progress.begin(&format!("move the primary from {} to {}", world.name(old), world.name(new)));
    let mut announced = Announced::begin(world.root_now(old).await?, traffic).await?;
    announced.until_others_wait().await?;
    let held = Box::pin(hand_over(world, &mut cast, &mut announced, traffic)).await?;
    announced.end().await;
    progress.end();
    let moved = Moved { from: world.name(old), to: world.name(new), held };
    let Cast { old_client, new_client, others, .. } = cast;
    for client in others.into_iter().chain([old_client, new_client]) {
        client.close().await;
    }
    Ok(moved)
}

/// As [`switchover`] where no Weir serves.
///
/// # Errors
/// As [`switchover`].
pub async fn switchover_alone(
    cluster: &config::Cluster,
    state_dir: &std::path::Path,
    to: Option<&str>,
    progress: &dyn Progress,
) -> Result<Moved, ClusterError> {
    switchover(cluster, state_dir, to, &NoTraffic, progress).await
}

/// The primary, and the replica that takes its place.
fn choose(world: &World, facts: &Facts, to: Option<&str>) -> Result<(u32, u32), ClusterError> {
    let refuse = |cause: String| ClusterError::NotMoved { cause };
    let answering: Vec<(u32, &Server)> =
        facts.nodes.iter().filter_map(|node| Some((node.number, node.server.as_ref()?))).collect();
    let writable = |server: &Server| !server.seen.read_only && server.seen.source.is_none();
    let Some((old, _)) = answering.iter().find(|(_, server)| writable(server)) else {
        return Err(refuse("no node takes writes; `weir cluster status` says why".to_owned()));
    };
    let able = |server: &Server| {
        server.seen.source.is_some_and(|s| s.node == Some(*old) && s.receiver && s.applier)
    };
    let Some(name) = to else {
        let furthest = answering
            .iter()
            .filter(|(_, server)| able(server))
            .max_by_key(|(_, server)| server::transactions(&server.executed));
        let furthest = furthest.map(|(number, _)| (*old, *number));
        return furthest.ok_or_else(|| {
            refuse("no replica replicates from the primary at the moment".to_owned())
        });
    };
    match answering.iter().find(|(number, _)| world.name(*number) == name) {
        None => Err(refuse(format!("{name} is no node of this cluster, or does not answer"))),
        Some((number, _)) if number == old => Err(refuse(format!("{name} is the primary"))),
        Some((_, server)) if !able(server) => {
            Err(refuse(format!("{name} does not replicate from the primary at the moment")))
        }
        Some((number, _)) => Ok((*old, *number)),
    }
}

async fn assemble(world: &World, facts: &Facts, old: u32, new: u32) -> Result<Cast, ClusterError> {
    let mut new_client = world.root_now(new).await?;
    let has_tls = server::has_tls(&mut new_client).await?;
    let mut others = Vec::new();
    for node in &facts.nodes {
        let follows = node.server.as_ref().is_some_and(|server| server.seen.source.is_some());
        if follows && node.number != new {
            others.push(world.root_now(node.number).await?);
        }
    }
    let old_client = world.root_now(old).await?;
    let by_position = world.by_position();
    Ok(Cast { old, new, old_client, new_client, others, has_tls, by_position })
}

/// Lets the target catch up while writes go on, so that the pause is short.
async fn come_near(world: &World, cast: &mut Cast) -> Result<(), ClusterError> {
    if wait_for(cast, NEAR_LIMIT_SECONDS).await? {
        return Ok(());
    }
    let name = world.name(cast.new);
    Err(ClusterError::NotMoved {
        cause: format!(
            "{name} did not catch up within {NEAR_LIMIT_SECONDS} s; `weir cluster status` says what it lacks"
        ),
    })
}

/// Whether the target has executed what the old primary has now.
async fn wait_for(cast: &mut Cast, seconds: u32) -> Result<bool, ClusterError> {
    let place = Place::now(&mut cast.old_client, cast.by_position).await?;
    place.reached(&mut cast.new_client, seconds).await
}

/// From the closed door to the open one; how long it was closed.
async fn hand_over(
    world: &mut World,
    cast: &mut Cast,
    announced: &mut Announced<'_>,
    traffic: &dyn Traffic,
) -> Result<Duration, ClusterError> {
    let closed = Closed::close(traffic);
    let started = Instant::now();
    until_nobody_is_inside(traffic).await?;
    tracing::debug!("writes are held, and none is under way");
    tokio::try_join!(announced.check(), world.check())?;
    if let Err(error) = close_old(cast).await {
        // Its connection may be out of step after an error: a new one opens it again.
        reopen(world, cast.old).await;
        return Err(error);
    }
    let turn = match turn(cast).await {
        Ok(turn) => turn,
        Err(error) => {
            reopen(world, cast.old).await;
            return Err(error);
        }
    };
    tracing::debug!(node = world.name(cast.new), "it has executed everything");
    promote::record(world, cast.new).await?;
    let source = world.name(cast.new);
    let password = world.state.replication.clone();
    let has_tls = cast.has_tls;
    let from = turn.as_ref().map(|(_, begin)| begin);
    let last = turn.as_ref().map(|(last, _)| last);
    let others = cast.others.iter_mut().map(|client| async {
        if let Some(last) = last
            && !last.reached(client, LAST_SECONDS).await?
        {
            let (node, from) = (client.node().to_owned(), source.clone());
            return Err(ClusterError::NoCommonPosition { node, from });
        }
        promote::repoint(client, &source, &password, has_tls, from).await
    });
    let others = futures_util::future::join_all(others);
    let old = promote::repoint(&mut cast.old_client, &source, &password, has_tls, from);
    let follow = async {
        // Without GTIDs the old primary's log must not go on before the others are through with it.
        let (mut followed, turned) = match last {
            None => tokio::join!(others, old),
            Some(_) => (others.await, old.await),
        };
        followed.push(turned);
        followed
    };
    let (promoted, followed) = tokio::join!(promote::promote(world, &mut cast.new_client), follow);
    promoted?;
    tracing::debug!(node = source, "it takes writes, and the others follow it");
    promote::until_seen(traffic, &source).await;
    drop(closed);
    let held = started.elapsed();
    followed.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(held)
}

/// Waits, with the door closed, until what is under way on the primary has ended.
pub(super) async fn until_nobody_is_inside(traffic: &dyn Traffic) -> Result<(), ClusterError> {
    let started = Instant::now();
    while traffic.inside() > 0 {
        if started.elapsed() > INSIDE_LIMIT {
            let open = match traffic.inside() {
                1 => "1 statement or transaction was".to_owned(),
                open => format!("{open} statements or transactions were"),
            };
            let cause = format!(
                "{open} still under way after {} s; end what is open, or try again at a quieter time",
                INSIDE_LIMIT.as_secs()
            );
            return Err(ClusterError::NotMoved { cause });
        }
        tokio::time::sleep(INSIDE_POLL).await;
    }
    Ok(())
}

/// Without GTIDs: the end of the old primary's log, and the place in the new one's log where it stands then. To
/// be asked while neither is written to.
async fn turn(cast: &mut Cast) -> Result<Option<(Place, Coordinates)>, ClusterError> {
    if !cast.by_position {
        return Ok(None);
    }
    let last = Place::now(&mut cast.old_client, true).await?;
    Ok(Some((last, position::own(&mut cast.new_client).await?)))
}

/// The old primary takes no more writes, and the target has them all.
async fn close_old(cast: &mut Cast) -> Result<(), ClusterError> {
    let doing = "making the old primary read-only";
    cast.old_client.run(&format!("SET SESSION lock_wait_timeout = {CLOSE_SECONDS}"), doing).await?;
    end_openers(&mut cast.old_client).await?;
    cast.old_client.run("SET GLOBAL super_read_only = ON", doing).await?;
    tracing::debug!(node = cast.old_client.node(), "it takes no more writes");
    if wait_for(cast, LAST_SECONDS).await? {
        return Ok(());
    }
    let cause = format!("the target did not execute the last transactions within {LAST_SECONDS} s");
    Err(ClusterError::NotMoved { cause })
}

async fn reopen(world: &World, old: u32) {
    let opened = async {
        let mut client = world.root_now(old).await?;
        open_for_writes(world, &mut client).await
    };
    if let Err(error) = opened.await {
        tracing::error!(node = world.name(old), %error, "the old primary could not be opened again");
    }
}
