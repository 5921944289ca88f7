//! Copies the data of a replica anew without being asked, when what it lacks is nowhere in the binary logs any more and
//! all that it has is on the primary too.
//!
//! A copy costs its donor time, and one that has to be made over and over mends nothing: so there is a pause between
//! two of one node, and after some in one day it is a person's turn. Both are kept over restarts of Weir.

use std::time::{Duration, SystemTime};

use super::clone;
use super::diagnose::{Finding, MOST_COPIES, Safe};
use super::error::ClusterError;
use super::plan::{self, Step};
use super::progress::Progress;
use super::provision;
use super::state::State;
use super::world::World;

/// Between the beginnings of two copies of one node.
const PAUSE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// Begins a copy for each node whose findings say that this is safe: its data is given up, and the plan does the rest.
///
/// # Errors
/// As a step of the plan.
pub(super) async fn begin(
    world: &mut World,
    found: &[Finding],
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let facts = Box::pin(world.look()).await?;
    let Some(primary) = plan::apparent_primary(&facts.seen(), world.state.primary) else {
        return Ok(());
    };
    for number in world.members().await? {
        let name = world.name(number);
        let mut of_node = found.iter().filter(|finding| finding.node == name);
        let Some(finding) = of_node.find(|finding| finding.safe == Safe::Reclone) else { continue };
        if number == primary || world.state.renewing.contains(&number) {
            continue;
        }
        let now = seconds(SystemTime::now());
        if !is_due(&world.state, number, now) {
            tracing::debug!(node = name, "copied anew a short while ago: its next copy waits");
            continue;
        }
        tracing::warn!(node = name, why = finding.sentence, "its data is copied anew");
        for node in [primary, number] {
            clone::prepare(world, node).await?;
        }
        note(&mut world.state, number, now);
        provision::take(world, Step::GiveUpData(number), progress).await?;
    }
    Ok(())
}

/// How many copies of the node were begun without being asked in the last day.
pub(super) fn recent(state: &State, number: u32, now: SystemTime) -> usize {
    of_last_day(state, number, seconds(now)).count()
}

fn of_last_day(state: &State, number: u32, now: u64) -> impl Iterator<Item = u64> + '_ {
    let times = state.renewed.get(&number).map(Vec::as_slice).unwrap_or_default();
    times.iter().copied().filter(move |time| now.saturating_sub(*time) < DAY.as_secs())
}

fn is_due(state: &State, number: u32, now: u64) -> bool {
    let times: Vec<u64> = of_last_day(state, number, now).collect();
    let rested = times.iter().all(|time| now.saturating_sub(*time) >= PAUSE.as_secs());
    times.len() < MOST_COPIES && rested
}

fn note(state: &mut State, number: u32, now: u64) {
    let mut times: Vec<u64> = of_last_day(state, number, now).collect();
    times.push(now);
    state.renewed.insert(number, times);
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;

    #[test]
    fn copies_have_pauses_and_an_end() {
        let mut state = State::generate(&cluster("t", 2)).unwrap();
        let (pause, day) = (PAUSE.as_secs(), DAY.as_secs());
        let begin = 1_000_000_000;
        let mut copy = |node: u32, at: u64| {
            let due = is_due(&state, node, begin + at);
            if due {
                note(&mut state, node, begin + at);
            }
            due
        };
        assert!(copy(2, 0));
        assert!(!copy(2, pause - 1));
        assert!(copy(3, 1), "each node has its own");
        assert!(copy(2, pause));
        assert!(copy(2, 2 * pause));
        assert!(!copy(2, day - 1), "three in a day are enough");
        assert!(copy(2, day), "the first is a day ago");
        assert!(!copy(2, day + pause - 1));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(begin + day);
        assert_eq!((recent(&state, 2, now), recent(&state, 3, now)), (3, 1));
        assert_eq!(state.renewed[&2].len(), 3, "older ones are forgotten");
    }
}
