//! Failover of servers that run without GTIDs.
//!
//! All that is known of a replica is how far it has come in the dead primary's log. The one that is furthest takes over.
//! Those that stand at exactly the same place have exactly the same, and follow it from where its own log ends; of
//! all others nothing tells where they would have to begin in that log, so they are left to a person.

use super::super::error::ClusterError;
use super::super::position::{self, Followed};
use super::super::progress::Progress;
use super::super::promote;
use super::super::server;
use super::super::sql::Client;
use super::super::traffic::Traffic;
use super::super::world::World;
use super::{Candidate, DRAIN_LIMIT, FailedOver, lead, note};

/// A replica after it has executed what it could of what it received.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stand {
    node: u32,
    /// It has executed all.
    drained: bool,
    at: Followed,
}

/// Who takes over, and who can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Promote {
        new: u32,
        same: Vec<u32>,
    },
    /// This node received more than any other has executed, and cannot execute it.
    Stuck(u32),
    Nobody,
}

/// Of equals the first.
fn choose(stands: &[Stand]) -> Choice {
    let drained = stands.iter().filter(|stand| stand.drained);
    let furthest = drained.reduce(|best, stand| {
        if stand.at.applied.order() > best.at.applied.order() { stand } else { best }
    });
    let Some(best) = furthest else { return Choice::Nobody };
    let ahead = |stand: &&Stand| !stand.drained && stand.at.read.order() > best.at.read.order();
    if let Some(stuck) = stands.iter().find(ahead) {
        return Choice::Stuck(stuck.node);
    }
    let same = stands.iter().filter(|stand| {
        stand.drained && stand.node != best.node && stand.at.applied == best.at.applied
    });
    Choice::Promote { new: best.node, same: same.map(|stand| stand.node).collect() }
}

/// As the rest of a failover with GTIDs: the old primary is cut off, and nobody receives anything any more.
pub(super) async fn take_over(
    world: &mut World,
    old: u32,
    mut replicas: Vec<(Candidate, Client)>,
    semi_sync: Option<bool>,
    traffic: &dyn Traffic,
    progress: &dyn Progress,
) -> Result<FailedOver, ClusterError> {
    let refuse = |cause: String| ClusterError::NotMoved { cause };
    let stands = futures_util::future::try_join_all(
        replicas.iter_mut().map(|(seen, client)| stand(seen.node, client)),
    );
    let stands: Vec<Stand> = stands.await?.into_iter().flatten().collect();
    let stands: Vec<Stand> =
        stands.into_iter().filter(|stand| stand.at.source == world.name(old)).collect();
    let (new, same) = match choose(&stands) {
        Choice::Promote { new, same } => (new, same),
        Choice::Stuck(node) => {
            let name = world.name(node);
            return Err(refuse(format!(
                "{name} received more than any other replica and cannot apply it; mend it, or take it out of the \
                 cluster, which loses that"
            )));
        }
        Choice::Nobody => return Err(refuse("no replica has applied what it received".to_owned())),
    };
    let place = replicas.iter().position(|(seen, _)| seen.node == new);
    let (_, mut leader) = replicas.swap_remove(place.unwrap_or_default());
    let (mut following, others): (Vec<_>, Vec<_>) =
        replicas.into_iter().partition(|(seen, _)| same.contains(&seen.node));
    progress.begin(&format!("make {} the primary", world.name(new)));
    let moved = note(world, old, new, None, semi_sync);
    promote::record(world, new).await?;
    // Nothing is written to its log before it is opened.
    let begin = position::own(&mut leader).await?;
    let followed = lead(world, new, &mut leader, &mut following, Some(&begin)).await?;
    promote::until_seen(traffic, &world.name(new)).await;
    progress.end();
    for error in followed {
        progress.note(&error.to_string());
    }
    for (seen, _) in others {
        let (node, from) = (world.name(seen.node), world.name(new));
        progress.note(&ClusterError::NoCommonPosition { node, from }.to_string());
    }
    progress.note(&format!(
        "without GTIDs it is not known whether {} had transactions that no replica received; its volume is kept",
        world.name(old)
    ));
    Ok(moved)
}

/// Lets a replica execute all it can and stops its applier; where it stands then.
async fn stand(node: u32, client: &mut Client) -> Result<Option<Stand>, ClusterError> {
    let drained = position::drain(client, DRAIN_LIMIT).await?;
    server::stop_applier(client, "stopping its applier").await?;
    let followed = position::followed(client).await?;
    Ok(followed.map(|at| Stand { node, drained, at }))
}

#[cfg(test)]
mod tests {
    use super::super::super::position::Coordinates;
    use super::*;

    fn stand(node: u32, read: u64, applied: u64) -> Stand {
        let at = |position| Coordinates { file: "b.000001".to_owned(), position };
        let (read, applied) = (at(read), at(applied));
        Stand { node, drained: true, at: Followed { source: "t-1".to_owned(), read, applied } }
    }

    #[test]
    fn the_furthest_leads_and_its_equals_follow() {
        let promote = |new, same: &[u32]| Choice::Promote { new, same: same.to_vec() };
        assert_eq!(choose(&[]), Choice::Nobody);
        assert_eq!(choose(&[stand(2, 9, 9), stand(3, 9, 9)]), promote(2, &[3]));
        assert_eq!(choose(&[stand(2, 7, 7), stand(3, 9, 9)]), promote(3, &[]));
        // Half a transaction was received: it is nobody's.
        let all = [stand(2, 12, 9), stand(3, 9, 9), stand(4, 7, 7)];
        assert_eq!(choose(&all), promote(2, &[3]));
    }

    #[test]
    fn what_was_received_and_cannot_be_applied_is_not_passed_over() {
        let stuck = |read| Stand { drained: false, ..stand(3, read, 5) };
        assert_eq!(choose(&[stand(2, 9, 9), stuck(11)]), Choice::Stuck(3));
        let promote = Choice::Promote { new: 2, same: Vec::new() };
        assert_eq!(choose(&[stand(2, 9, 9), stuck(9)]), promote);
        assert_eq!(choose(&[stuck(9)]), Choice::Nobody);
    }
}
