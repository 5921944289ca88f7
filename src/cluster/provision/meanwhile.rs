//! One bad node keeps no other from being mended: what one node fails at is put aside, and a wait for one ends when
//! there is something to do for another.

use std::time::Duration;

use super::super::error::ClusterError;
use super::super::group;
use super::super::plan::{self, Step};
use super::super::progress::Progress;
use super::super::world::{Facts, World};
use super::{begin, take, wait_until_answers};

/// How often all nodes are looked at while one is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Nodes at which a step failed, with the error that is told in the end.
#[derive(Debug, Default)]
pub(super) struct Resisting {
    nodes: Vec<u32>,
    first: Option<ClusterError>,
}

impl Resisting {
    pub(super) fn are_none(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the step is for one of them.
    pub(super) fn concern(&self, step: Step) -> bool {
        step.node().is_some_and(|node| self.nodes.contains(&node))
    }

    /// Puts the step's node aside.
    ///
    /// # Errors
    /// The error itself, where it is not of that node alone, or where no primary works yet: then the others
    /// stand on it.
    pub(super) fn add(
        &mut self,
        step: Step,
        leads: Option<u32>,
        error: ClusterError,
    ) -> Result<(), ClusterError> {
        let alone = |node: &u32| leads.is_some_and(|leader| leader != *node);
        let Some(node) = step.node().filter(alone).filter(|_| is_of_node(&error)) else {
            return Err(error);
        };
        tracing::debug!(node, %error, "put aside, for the others' sake");
        self.nodes.push(node);
        // What the control task acts upon is told first.
        if self.first.is_none() || matches!(error, ClusterError::Diverged { .. }) {
            self.first = Some(error);
        }
        Ok(())
    }

    /// What was seen at the end, or the error.
    pub(super) fn end(self, facts: Facts) -> Result<Facts, ClusterError> {
        self.first.map_or(Ok(facts), Err)
    }
}

/// Another node may succeed where one failed by this.
fn is_of_node(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::PortTaken { .. }
            | ClusterError::Container { .. }
            | ClusterError::Folder { .. }
            | ClusterError::Engine { .. }
            | ClusterError::Sql { .. }
            | ClusterError::Denied { .. }
            | ClusterError::Replication { .. }
            | ClusterError::Diverged { .. }
            | ClusterError::NoCommonPosition { .. }
            | ClusterError::Copy { .. }
            | ClusterError::NoClonePlugin { .. }
            | ClusterError::StillBehind { .. }
    )
}

/// Takes the step. One that waits is left, as if it were done, when there is something to do for another node that
/// is `unlike` what is done already; the next plan has the wait again.
pub(super) async fn take_or_turn(
    world: &mut World,
    step: Step,
    progress: &dyn Progress,
    unlike: &(dyn Fn(Step) -> bool + Sync),
) -> Result<(), ClusterError> {
    if !matches!(step, Step::WaitHealthy(_) | Step::JoinGroup(_)) {
        return take(world, step, progress).await;
    }
    begin(world, step, progress).await?;
    let other = |other: Step| other.node() != step.node() && !other.is_wait() && unlike(other);
    tokio::select! {
        done = Box::pin(wait(world, step, progress)) => done?,
        () = Box::pin(until_other_work(world, &other)) => {
            progress.detail("something else comes first");
        }
    }
    progress.end();
    Ok(())
}

/// Carries a step out that changes nothing of `world`.
pub(super) async fn wait(
    world: &World,
    step: Step,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    match step {
        Step::WaitHealthy(number) => {
            let container = world.engine.container(&world.name(number)).await?;
            let restarts = container.map_or(0, |container| container.restarts);
            wait_until_answers(world, number, restarts, world.answer_limit, progress).await
        }
        Step::JoinGroup(number) => group::join(world, number, progress).await,
        _ => Ok(()),
    }
}

async fn until_other_work(world: &World, is_meant: &(dyn Fn(Step) -> bool + Sync)) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // What cannot be seen or planned now is no reason to end a wait.
        let Ok(facts) = Box::pin(world.look()).await else { continue };
        let Ok(plan) = plan::plan(world.wanted(), &facts.seen()) else { continue };
        if plan.steps.into_iter().any(is_meant) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(node: u32) -> ClusterError {
        let (node, doing) = (format!("t-{node}"), "joining the group".to_owned());
        ClusterError::Sql { node, doing, cause: "error 3092".to_owned() }
    }

    fn diverged() -> ClusterError {
        let (node, from, set) = ("t-3".to_owned(), "t-1".to_owned(), "u:9".to_owned());
        ClusterError::Diverged { node, from, count: 1, set }
    }

    fn nothing() -> Facts {
        let (nodes, renewing, seeds) = (Vec::new(), Vec::new(), Vec::new());
        Facts { image: true, network: true, nodes, renewing, seeds, surplus: 0 }
    }

    #[test]
    fn a_node_that_fails_is_put_aside_and_told_in_the_end() {
        let mut resisting = Resisting::default();
        assert!(resisting.are_none() && resisting.end(nothing()).is_ok());
        resisting = Resisting::default();
        resisting.add(Step::JoinGroup(2), Some(1), sql(2)).unwrap();
        assert!(resisting.concern(Step::WaitHealthy(2)) && !resisting.concern(Step::JoinGroup(3)));
        let follow = Step::ConfigureReplica { node: 3, source: 1 };
        resisting.add(follow, Some(1), diverged()).unwrap();
        assert!(resisting.concern(Step::Clone { node: 3, donor: 1 }));
        assert!(!resisting.concern(Step::CreateAccounts(1)));
        let told = resisting.end(nothing()).unwrap_err();
        assert!(matches!(told, ClusterError::Diverged { .. }), "{told}");
    }

    #[test]
    fn what_others_stand_on_is_nobodys_own_affair() {
        let mut resisting = Resisting::default();
        let mut refused = |step, leads, error| resisting.add(step, leads, error).unwrap_err();
        // No primary works yet; the primary's own; a step that is everybody's.
        refused(Step::StartContainer(2), None, sql(2));
        refused(Step::StartContainer(1), Some(1), sql(1));
        refused(Step::CreateAccounts(1), Some(1), sql(1));
        // Whoever lost the lead has to stop.
        let lost = ClusterError::NotLeader { cluster: "t".to_owned(), leader: "other".to_owned() };
        refused(Step::StartContainer(2), Some(1), lost);
        refused(Step::StartContainer(2), Some(1), ClusterError::Stopped { before: String::new() });
        assert!(resisting.are_none());
    }
}
