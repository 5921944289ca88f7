//! The primary is dead: which replica takes its place, and how. The decision is pure.
//!
//! Signals: Weir's probes fail, no replica hears the primary any more, and the engine's word on its container.
//! The order of the steps keeps the promise: the old primary is cut off and ended *before*
//! anybody takes its place; the replica with the most transactions executes all it received; it is
//! written down; then it may be written to. The old primary's data stays: its volume or folder, and with data in
//! the container's own layer the container, killed and outside of the network.

mod by_position;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::gtid::GtidSet;

use super::accounts;
use super::error::ClusterError;
use super::progress::Progress;
use super::promote;
use super::server;
use super::snapshot::rfc3339;
use super::sql::{self, Client};
use super::traffic::{Closed, Traffic};
use super::world::World;

/// How long the chosen replica may go on applying what it received. Nothing is lost by waiting longer, but
/// a replica that cannot apply it is no primary.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// A receiver that has heard nothing for so long, although its source says something every second, hears
/// nothing; milliseconds.
const DEAF_AFTER_MS: u64 = 3_000;

/// A replica as it matters when its primary is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    pub node: u32,
    /// Executed and received.
    pub has: GtidSet,
    /// It hears the primary still.
    pub hears: bool,
}

/// Why the primary is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It does not answer Weir. Where a replica hears it, it lives.
    Silent,
    /// It answers and sends heartbeats, but commits nothing any more.
    Stuck,
}

/// What to do about a primary that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It lives: nodes that hear it.
    Lives(Vec<u32>),
    /// This node has everything that any other has.
    Promote(u32),
    /// No replica answers.
    Nobody,
    /// These two have each what the other has not.
    Contradiction(u32, u32),
}

/// Who takes the place of a primary that does not answer Weir. Of equals the first.
pub fn decide(candidates: &[Candidate]) -> Decision {
    let hearing: Vec<u32> =
        candidates.iter().filter(|candidate| candidate.hears).map(|c| c.node).collect();
    if !hearing.is_empty() {
        return Decision::Lives(hearing);
    }
    let Some(mut best) = candidates.first() else { return Decision::Nobody };
    for candidate in candidates {
        if !best.has.contains(&candidate.has) {
            best = candidate;
        }
    }
    match candidates.iter().find(|other| !best.has.contains(&other.has)) {
        Some(other) => Decision::Contradiction(best.node, other.node),
        None => Decision::Promote(best.node),
    }
}

/// A role that a dead primary lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOver {
    pub from: String,
    pub to: String,
    /// "2026-11-21T13:44:06Z"
    pub at: String,
    /// Transactions that Weir had seen on the old primary and that no replica has received. `None` without GTIDs: then
    /// nobody knows.
    pub lost: Option<u64>,
    /// Whether commits waited for a replica when the primary was last asked; `None` where it never was.
    pub semi_sync: Option<bool>,
}

/// What was known of the dead primary while it lived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastSeen {
    /// What it had executed.
    pub(super) executed: Option<Arc<GtidSet>>,
    /// As [`FailedOver::semi_sync`].
    pub(super) semi_sync: Option<bool>,
}

impl std::fmt::Display for FailedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, at, .. } = self;
        write!(f, "{at} {to} took the place of {from}, which was dead; ")?;
        match self.lost {
            None => write!(f, "without GTIDs nobody knows whether a transaction was lost")?,
            Some(0) => write!(f, "no transaction that Weir had seen there was lost")?,
            Some(1) => write!(f, "1 transaction that Weir had seen there reached no replica")?,
            Some(lost) => {
                write!(f, "{lost} transactions that Weir had seen there reached no replica")?;
            }
        }
        match self.semi_sync {
            Some(true) => Ok(()),
            Some(false) => write!(
                f,
                "; commits there did not wait for a replica's receipt, so one may be lost that nobody else saw"
            ),
            None => write!(f, "; whether commits waited for a replica's receipt is not known"),
        }
    }
}

/// Replaces the primary, if it is silent only where the replicas agree that it is dead. What of `last_seen` no replica
/// has is lost, which is written down and said.
///
/// # Errors
/// Nobody took its place; each says why.
pub(super) async fn fail_over(
    world: &mut World,
    cause: Cause,
    last_seen: &LastSeen,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<FailedOver, ClusterError> {
    let refuse = |cause: String| ClusterError::NotMoved { cause };
    let executed = last_seen.executed.as_ref().map(ToString::to_string).unwrap_or_default();
    let Some(old) = world.state.primary else {
        return Err(refuse("it is not written down which node is the primary".to_owned()));
    };
    // This very container: by the time it is cut off another of its name may be a replica.
    let victim = world.engine.container(&world.name(old)).await?.map(|container| container.id);
    let _closed = Closed::close(traffic);
    let (mut replicas, unasked) = Box::pin(reach(world, old)).await?;
    if cause == Cause::Stuck {
        replicas.iter_mut().for_each(|(candidate, _)| candidate.hears = false);
    }
    check_that_it_is_dead(world, old, &replicas)?;
    check_that_nothing_is_elsewhere(world, old, &executed, &replicas, &unasked)?;
    progress.begin(&format!("cut {} off", world.name(old)));
    world.check().await?;
    match victim {
        Some(victim) => fence(world, &victim).await?,
        None => tracing::debug!("it is out of the network, since it has no container"),
    }
    progress.end();
    // Nothing comes any more: what they have now is all.
    for (candidate, client) in &mut replicas {
        server::own_start(client).await?;
        client.run("STOP REPLICA IO_THREAD", "stopping its receiver").await?;
        candidate.has = everything(client).await?;
        candidate.hears = false;
    }
    tracing::debug!(primary = world.name(old), "it is cut off, and nobody receives any more");
    if world.by_position() {
        let taken =
            by_position::take_over(world, old, replicas, last_seen.semi_sync, traffic, progress);
        return Box::pin(taken).await;
    }
    let candidates: Vec<Candidate> = replicas.iter().map(|(seen, _)| seen.clone()).collect();
    let Decision::Promote(new) = decide(&candidates) else {
        return Err(ClusterError::Undecided(
            "the replicas have each what the other lacks, so none can lead them all".to_owned(),
        ));
    };
    let place = replicas.iter().position(|(seen, _)| seen.node == new);
    let (_, mut leader) = replicas.swap_remove(place.unwrap_or_default());
    progress.begin(&format!("make {} the primary", world.name(new)));
    let left = promote::drain(&mut leader, DRAIN_LIMIT, false).await?;
    if left > 0 {
        let name = world.name(new);
        return Err(refuse(format!("{name} could not apply {left} transactions that it received")));
    }
    tracing::debug!(node = world.name(new), "it has applied all that it received");
    let lost = Some(lost(&mut leader, &executed).await?);
    let moved = note(world, old, new, lost, last_seen.semi_sync);
    promote::record(world, new).await?;
    let followed = lead(world, new, &mut leader, &mut replicas, None).await?;
    tracing::debug!(node = world.name(new), "it takes writes, and the others follow it");
    promote::until_seen(traffic, &world.name(new)).await;
    progress.end();
    for error in followed {
        progress.note(&error.to_string());
    }
    Ok(moved)
}

/// Into the state, before it is written together with the new primary's name.
fn note(
    world: &mut World,
    old: u32,
    new: u32,
    lost: Option<u64>,
    semi_sync: Option<bool>,
) -> FailedOver {
    let at = rfc3339(SystemTime::now());
    let (from, to) = (world.name(old), world.name(new));
    let semi_sync = if world.cluster.semi_sync { semi_sync } else { Some(false) };
    let moved = FailedOver { from, to, at, lost, semi_sync };
    world.state.depose(old, new);
    world.state.failed_over = Some(moved.clone());
    moved
}

/// An error unless some replica can take over and none hears the primary.
fn check_that_it_is_dead(
    world: &World,
    old: u32,
    replicas: &[(Candidate, Client)],
) -> Result<(), ClusterError> {
    let candidates: Vec<Candidate> = replicas.iter().map(|(seen, _)| seen.clone()).collect();
    let cause = match decide(&candidates) {
        Decision::Promote(_) => return Ok(()),
        Decision::Lives(nodes) => {
            let names: Vec<String> = nodes.iter().map(|node| world.name(*node)).collect();
            format!("{} does not answer Weir, but {} hears it", world.name(old), names.join(", "))
        }
        Decision::Nobody => format!("{} does not answer, and no replica does", world.name(old)),
        Decision::Contradiction(a, b) => {
            return Err(ClusterError::Undecided(format!(
                "{} and {} each have transactions that the other lacks",
                world.name(a),
                world.name(b)
            )));
        }
    };
    Err(ClusterError::NotMoved { cause })
}

/// An error when sessions have seen transactions that none of these has, while a replica that may have them cannot
/// be asked: losing them is for a person to decide.
fn check_that_nothing_is_elsewhere(
    world: &World,
    old: u32,
    last_seen: &str,
    replicas: &[(Candidate, Client)],
    unasked: &[u32],
) -> Result<(), ClusterError> {
    let sets: Vec<&GtidSet> = replicas.iter().map(|(seen, _)| &seen.has).collect();
    if unasked.is_empty() || holds_all(&sets, last_seen) {
        return Ok(());
    }
    let names: Vec<String> = unasked.iter().map(|node| world.name(*node)).collect();
    let (old, names) = (world.name(old), names.join(", "));
    let cause = format!(
        "{old} had transactions that the replicas that answer lack, and {names}, which may have them, does not \
         answer; start {names} or {old}, or remove the container and the volume of {names} to go on without them"
    );
    Err(ClusterError::NotMoved { cause })
}

/// Whether one of the sets has all of `last_seen`.
fn holds_all(sets: &[&GtidSet], last_seen: &str) -> bool {
    let mut seen = GtidSet::default();
    // What cannot be read was never seen.
    let _ = seen.insert_text(last_seen.as_bytes());
    sets.iter().any(|set| set.contains(&seen))
}

/// The new primary is opened while the others turn to it; what went wrong with those.
async fn lead(
    world: &World,
    new: u32,
    leader: &mut Client,
    others: &mut [(Candidate, Client)],
    from: promote::From<'_>,
) -> Result<Vec<ClusterError>, ClusterError> {
    let has_tls = server::has_tls(leader).await?;
    let (source, password) = (world.name(new), world.state.replication.clone());
    let follow = others
        .iter_mut()
        .map(|(_, client)| promote::repoint(client, &source, &password, has_tls, from));
    let follow = futures_util::future::join_all(follow);
    let (promoted, followed) = tokio::join!(promote::promote(world, leader), follow);
    promoted?;
    Ok(followed.into_iter().filter_map(Result::err).collect())
}

/// Every replica that answers, with what it has; and the nodes that do not answer. An error where one runs otherwise
/// than is configured, since what it has would be read wrongly.
async fn reach(
    world: &World,
    old: u32,
) -> Result<(Vec<(Candidate, Client)>, Vec<u32>), ClusterError> {
    let others = world.members().await?.into_iter().filter(|node| *node != old);
    let asked = others.map(|node| async move {
        let mut client = world.root(node).await.map_err(|_unreachable| node)?;
        match ask(&mut client, node).await {
            Ok(candidate) => Ok(candidate.map(|candidate| (candidate, client))),
            Err(error) => {
                tracing::warn!(%error, "a replica cannot be asked");
                Err(node)
            }
        }
    });
    let (mut replicas, mut unasked) = (Vec::new(), Vec::new());
    for asked in futures_util::future::join_all(asked).await {
        match asked {
            Ok(replica) => replicas.extend(replica),
            Err(node) => unasked.push(node),
        }
    }
    check_modes(world, &mut replicas).await?;
    Ok((replicas, unasked))
}

async fn check_modes(
    world: &World,
    replicas: &mut [(Candidate, Client)],
) -> Result<(), ClusterError> {
    for (_, client) in replicas {
        let mode = client.value("SELECT @@global.gtid_mode", "asking for its GTIDs").await?;
        if mode.is_some_and(|mode| mode.starts_with("OFF")) != world.by_position() {
            let cause =
                format!("{} has another gtid_mode than [cluster] replication says", client.node());
            return Err(ClusterError::NotMoved { cause });
        }
    }
    Ok(())
}

/// `None` for a server that replicates from nobody: it is no replica of the lost primary.
async fn ask(client: &mut Client, node: u32) -> Result<Option<Candidate>, ClusterError> {
    let query = format!(
        "SELECT service_state = 'ON' AND TIMESTAMPDIFF(MICROSECOND, GREATEST(last_heartbeat_timestamp, \
         last_queued_transaction_end_queue_timestamp), NOW(6)) < {DEAF_AFTER_MS} * 1000 \
         FROM performance_schema.replication_connection_status WHERE channel_name = ''"
    );
    let rows = client.rows(&query, "asking whether it hears the primary").await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let hears = sql::text_at(row, 0).as_deref() == Some("1");
    Ok(Some(Candidate { node, has: everything(client).await?, hears }))
}

async fn everything(client: &mut Client) -> Result<GtidSet, ClusterError> {
    let doing = "asking what it has";
    let executed = client.value("SELECT @@global.gtid_executed", doing).await?.unwrap_or_default();
    let received = promote::received(client).await?;
    let mut set = GtidSet::default();
    for text in [executed, received] {
        set.insert_text(text.as_bytes())
            .map_err(|error| ClusterError::Undecided(error.to_string()))?;
    }
    Ok(set)
}

/// The old primary can neither be reached nor write: its network goes first, since that works whatever
/// state it is in; then the container, killed. Its data stays.
async fn fence(world: &World, container: &str) -> Result<(), ClusterError> {
    world.engine.disconnect(&super::node::network_name(&world.cluster.name), container).await?;
    tracing::debug!(container, "it is out of the network");
    world.engine.wake(container).await?;
    if world.engine.container(container).await?.is_some_and(|container| container.holds_data) {
        return world.engine.kill(container).await;
    }
    world.engine.remove_container(container).await
}

async fn lost(leader: &mut Client, last_seen: &str) -> Result<u64, ClusterError> {
    let lost =
        format!("SELECT GTID_SUBTRACT({}, @@global.gtid_executed)", accounts::string(last_seen));
    let lost = leader.value(&lost, "asking what was lost").await?.unwrap_or_default();
    Ok(server::transactions(&lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn candidate(node: u32, has: &str) -> Candidate {
        let mut set = GtidSet::default();
        set.insert_text(format!("{U}:{has}").as_bytes()).unwrap();
        Candidate { node, has: set, hears: false }
    }

    #[test]
    fn the_one_that_has_most_takes_over() {
        assert_eq!(decide(&[]), Decision::Nobody);
        assert_eq!(decide(&[candidate(2, "1-5"), candidate(3, "1-7")]), Decision::Promote(3));
        assert_eq!(decide(&[candidate(2, "1-7"), candidate(3, "1-7")]), Decision::Promote(2));
        assert_eq!(decide(&[candidate(2, "1-7"), candidate(3, "1-5")]), Decision::Promote(2));
        let apart = [candidate(2, "1-7:9"), candidate(3, "1-8")];
        assert!(matches!(decide(&apart), Decision::Contradiction(..)));
    }

    #[test]
    fn what_was_seen_is_somewhere_or_not() {
        let (two, three) = (candidate(2, "1-5").has, candidate(3, "1-7").has);
        let seen = |numbers: &str| format!("{U}:{numbers}");
        assert!(holds_all(&[&two, &three], &seen("1-7")));
        assert!(!holds_all(&[&two, &three], &seen("1-8")));
        assert!(!holds_all(&[], &seen("1")));
        assert!(holds_all(&[&two], ""), "nothing was seen");
    }

    #[test]
    fn a_primary_that_is_heard_is_not_dead() {
        let hears = Candidate { hears: true, ..candidate(3, "1-5") };
        assert_eq!(decide(&[candidate(2, "1-9"), hears]), Decision::Lives(vec![3]));
    }
}
