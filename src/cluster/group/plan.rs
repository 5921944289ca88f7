//! Which member founds, joins or leaves. Pure.

use super::super::error::ClusterError;
use super::super::plan::{
    DONOR_MOST_BEHIND_TRANSACTIONS, NodeSeen, Plan, Seen, ServerSeen, Step, Wanted, servers,
    to_copy,
};
use super::options::MINORITY_SECONDS;
use super::seen::{GroupSeen, Member};

/// Compares; `engine` is what has to be done before servers can be asked.
///
/// # Errors
/// [`ClusterError::Undecided`] where a founding could lose something, or two groups are there.
pub(in crate::cluster) fn plan(
    wanted: Wanted,
    renewing: &[u32],
    nodes: &[(u32, NodeSeen)],
    mut engine: Vec<Step>,
) -> Result<Plan, ClusterError> {
    let answering: Vec<(u32, ServerSeen)> =
        nodes.iter().filter_map(|(number, node)| Some((*number, node.server?))).collect();
    let leaders = leaders(&answering);
    if let [one, other, ..] = leaders.as_slice() {
        return Err(ClusterError::Undecided(format!(
            "node {one} and node {other} both say that they are the group's primary and hear its majority: \
             there are two groups"
        )));
    }
    let leader = leaders.first().copied();
    match (leader, servers(nodes, &[])) {
        (Some(primary), Some(all)) => {
            member_steps(&all, renewing, primary, false, &mut engine);
            Ok(Plan { steps: engine, primary: Some(primary), complete: true })
        }
        (Some(primary), None) => {
            // A node that cannot be had keeps no other out of the group.
            member_steps(&answering, renewing, primary, false, &mut engine);
            Ok(Plan { steps: engine, primary: Some(primary), complete: false })
        }
        // An election is under way, or the primary answers the group but not Weir.
        (None, _) if lives(&answering) => {
            Ok(Plan { steps: engine, primary: None, complete: false })
        }
        (None, None) => Ok(Plan { steps: engine, primary: None, complete: false }),
        (None, Some(all)) => {
            let founder = founder(&all, renewing, wanted.primary)?;
            member_steps(&all, renewing, founder, true, &mut engine);
            Ok(Plan { steps: engine, primary: Some(founder), complete: true })
        }
    }
}

/// The primary that the group has now.
pub(in crate::cluster) fn primary(answering: &[(u32, ServerSeen)]) -> Option<u32> {
    match leaders(answering).as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

/// Where no group runs: the node by which it could be founded if `number` were given up.
pub(in crate::cluster) fn founder_without(seen: &Seen, number: u32) -> Option<u32> {
    let answering = (1..).zip(&seen.nodes).filter_map(|(at, node)| Some((at, node.server?)));
    let mut others: Vec<(u32, ServerSeen)> = answering.filter(|(at, _)| *at != number).collect();
    if others.iter().any(|(_, server)| group(server).state.belongs()) {
        return None;
    }
    others.retain(|(at, server)| {
        server.group.is_some_and(|group| group.complete) && !seen.renewing.contains(at)
    });
    others.first().map(|(at, _)| *at)
}

fn group(server: &ServerSeen) -> GroupSeen {
    server.group.unwrap_or_default()
}

/// Who says that it leads a majority.
fn leaders(answering: &[(u32, ServerSeen)]) -> Vec<u32> {
    let leads = |server: &ServerSeen| {
        let group = group(server);
        group.is_primary && group.majority && group.state == Member::Online
    };
    answering.iter().filter(|(_, server)| leads(server)).map(|(number, _)| *number).collect()
}

/// Some member hears a majority.
fn lives(answering: &[(u32, ServerSeen)]) -> bool {
    answering.iter().any(|(_, server)| group(server).state.belongs() && group(server).majority)
}

/// Everything that is said to servers; `found`: there is no group yet, or none any more.
fn member_steps(
    all: &[(u32, ServerSeen)],
    renewing: &[u32],
    primary: u32,
    found: bool,
    steps: &mut Vec<Step>,
) {
    let copied = to_copy(all, renewing, primary, false);
    for (number, server) in all.iter().filter(|(number, _)| !copied.contains(number)) {
        if server.blank && server.has_history && !group(server).state.belongs() {
            steps.push(Step::ClearHistory(*number));
        }
        if !(group(server).ready && server.starts_read_only) {
            steps.push(Step::PrepareGroup(*number));
        }
    }
    if found {
        steps.push(Step::FoundGroup(primary));
    }
    let accounts = |(number, server): &(u32, ServerSeen)| *number == primary && server.accounts;
    if !all.iter().any(accounts) {
        steps.push(Step::CreateAccounts(primary));
    }
    for (number, server) in all.iter().filter(|(number, _)| *number != primary) {
        let state = group(server).state;
        if copied.contains(number) {
            if state != Member::Offline {
                steps.push(Step::LeaveGroup(*number));
            }
            let donor = donor(all, &copied, primary);
            steps.extend([Step::Clone { node: *number, donor }, Step::JoinGroup(*number)]);
        } else if state != Member::Online {
            steps.push(Step::JoinGroup(*number));
        }
    }
}

/// The member that is nearest to the primary, to spare that; else the primary.
fn donor(all: &[(u32, ServerSeen)], copied: &[u32], primary: u32) -> u32 {
    let executed = all.iter().find(|(number, _)| *number == primary);
    let executed = executed.map_or(0, |(_, server)| server.executed);
    all.iter()
        .filter(|(number, _)| *number != primary && !copied.contains(number))
        .filter(|(_, server)| group(server).state == Member::Online)
        .map(|(number, server)| (executed.saturating_sub(server.executed), *number))
        .filter(|(behind, _)| *behind <= DONOR_MOST_BEHIND_TRANSACTIONS)
        .min()
        .map_or(primary, |(_, number)| number)
}

/// The member that begins the group: of empty ones the first, else one that has all that any has.
fn founder(
    all: &[(u32, ServerSeen)],
    renewing: &[u32],
    recorded: Option<u32>,
) -> Result<u32, ClusterError> {
    let undecided = |words: String| Err(ClusterError::Undecided(words));
    if let Some((number, _)) = all.iter().find(|(_, server)| group(server).state.belongs()) {
        return undecided(format!(
            "node {number} waits for the majority of its group, which it does not hear; it gives up after \
             {MINORITY_SECONDS} s, and then the group can be founded again"
        ));
    }
    let kept: Vec<&(u32, ServerSeen)> =
        all.iter().filter(|(number, _)| !renewing.contains(number)).collect();
    let holding: Vec<u32> =
        kept.iter().filter(|(_, server)| !server.blank).map(|(number, _)| *number).collect();
    match (kept.first(), holding.is_empty()) {
        (Some((first, _)), true) if renewing.is_empty() => return Ok(*first),
        (_, true) => {
            return undecided(
                "nodes shall be copied anew, but no other node holds data to copy".to_owned(),
            );
        }
        _ => {}
    }
    let is_kept = |number: &u32| kept.iter().any(|(kept, _)| kept == number);
    if let Some(gone) = recorded.filter(|number| is_kept(number) && !holding.contains(number)) {
        return undecided(format!(
            "node {gone} was the primary when the group ended, and is empty: its data is gone, and the others \
             may lack its last transactions; `weir cluster replace` of that node accepts this"
        ));
    }
    let complete: Vec<u32> = kept
        .iter()
        .filter(|(number, server)| group(server).complete && holding.contains(number))
        .map(|(number, _)| *number)
        .collect();
    let first = || complete.first().copied();
    match recorded.filter(|number| complete.contains(number)).or_else(first) {
        Some(founder) => Ok(founder),
        None => {
            let names: Vec<String> =
                holding.iter().map(|number| format!("node {number}")).collect();
            undecided(format!(
                "no group runs any more, and {} each have transactions that another lacks",
                names.join(" and ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::{self, Life, SemiSyncLimits, Step::*};
    use super::*;
    use crate::config::{Pull, Replication};

    const WANTED: Wanted = Wanted {
        nodes: 3,
        semi_sync: false,
        semi_sync_limits: SemiSyncLimits { acks: 1, timeout_ms: 2_000 },
        pull: Pull::Missing,
        primary: Some(1),
        replication: Replication::Group,
    };

    fn member(state: Member, is_primary: bool) -> NodeSeen {
        let belongs = state.belongs();
        let group = GroupSeen { ready: true, state, is_primary, majority: belongs, complete: true };
        let server = ServerSeen {
            has_history: true,
            read_only: !is_primary,
            super_read_only: !is_primary,
            starts_read_only: true,
            accounts: true,
            group: Some(group),
            ..ServerSeen::default()
        };
        NodeSeen {
            volume: true,
            container: Life::Running,
            server: Some(server),
            ..NodeSeen::default()
        }
    }

    fn primary() -> NodeSeen {
        member(Member::Online, true)
    }

    fn online() -> NodeSeen {
        member(Member::Online, false)
    }

    fn offline() -> NodeSeen {
        member(Member::Offline, false)
    }

    fn blank() -> NodeSeen {
        let server =
            ServerSeen { blank: true, group: Some(GroupSeen::default()), ..ServerSeen::default() };
        NodeSeen {
            volume: true,
            container: Life::Running,
            server: Some(server),
            ..NodeSeen::default()
        }
    }

    fn silent() -> NodeSeen {
        NodeSeen { volume: true, container: Life::Stopped, ..NodeSeen::default() }
    }

    fn with(mut node: NodeSeen, change: impl FnOnce(&mut GroupSeen)) -> NodeSeen {
        change(node.server.as_mut().unwrap().group.as_mut().unwrap());
        node
    }

    fn seen(nodes: Vec<NodeSeen>) -> Seen {
        Seen { image: true, network: true, nodes, ..Seen::default() }
    }

    fn check(nodes: Vec<NodeSeen>, steps: &[Step]) {
        assert_eq!(plan::plan(WANTED, &seen(nodes.clone())).unwrap().steps, steps, "{nodes:?}");
    }

    fn refused(nodes: Vec<NodeSeen>, words: &str) {
        let error = plan::plan(WANTED, &seen(nodes)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn from_nothing_one_founds_and_the_others_join() {
        let all = plan::plan(Wanted { nodes: 2, primary: None, ..WANTED }, &Seen::default());
        let all = all.unwrap();
        let server_steps: Vec<Step> =
            all.steps.into_iter().filter(|step| !step.is_of_engine()).collect();
        let want =
            [PrepareGroup(1), PrepareGroup(2), FoundGroup(1), CreateAccounts(1), JoinGroup(2)];
        assert_eq!(server_steps, want);
        assert_eq!((all.primary, all.complete), (Some(1), true));
    }

    #[test]
    fn a_group_that_is_right_needs_nothing_whoever_leads_it() {
        check(vec![primary(), online(), online()], &[]);
        check(vec![online(), online(), primary()], &[]);
        let moved = plan::plan(WANTED, &seen(vec![online(), online(), primary()])).unwrap();
        assert_eq!(moved.primary, Some(3));
    }

    #[test]
    fn who_is_out_joins_again() {
        check(vec![primary(), offline(), online()], &[JoinGroup(2)]);
        check(vec![primary(), member(Member::Error, false), online()], &[JoinGroup(2)]);
        check(vec![primary(), member(Member::Recovering, false), online()], &[JoinGroup(2)]);
        // The old primary, whose group has elected another.
        check(vec![offline(), primary(), online()], &[JoinGroup(1)]);
        check(vec![primary(), silent(), online()], &[StartContainer(2), WaitHealthy(2)]);
        // One that cannot be had keeps no other out, nor a new one.
        let both = [StartContainer(2), WaitHealthy(2), JoinGroup(3)];
        check(vec![primary(), silent(), offline()], &both);
        let frozen = NodeSeen { container: Life::Running, ..silent() };
        check(
            vec![primary(), frozen.clone(), blank()],
            &[WaitHealthy(2), PrepareGroup(3), JoinGroup(3)],
        );
        let given_up = Seen { renewing: vec![3], ..seen(vec![primary(), frozen, online()]) };
        let steps = plan::plan(WANTED, &given_up).unwrap().steps;
        let copied = [LeaveGroup(3), Clone { node: 3, donor: 1 }, JoinGroup(3)];
        assert_eq!(steps, [&[WaitHealthy(2)], &copied[..]].concat());
        let half_founded = with(offline(), |group| group.ready = false);
        check(vec![primary(), online(), half_founded], &[PrepareGroup(3), JoinGroup(3)]);
    }

    #[test]
    fn while_it_elects_nothing_is_done() {
        check(vec![silent(), online(), online()], &[StartContainer(1), WaitHealthy(1)]);
        check(vec![offline(), online(), online()], &[]);
    }

    #[test]
    fn after_a_total_loss_one_that_has_everything_founds() {
        let lacks = || with(offline(), |group| group.complete = false);
        check(vec![lacks(), offline(), lacks()], &[FoundGroup(2), JoinGroup(1), JoinGroup(3)]);
        // Of equals the last primary.
        check(vec![offline(), offline(), offline()], &[FoundGroup(1), JoinGroup(2), JoinGroup(3)]);
        let third = Wanted { primary: Some(3), ..WANTED };
        let plan = plan::plan(third, &seen(vec![offline(), offline(), offline()])).unwrap();
        assert_eq!(plan.steps[0], FoundGroup(3));
        let failed = member(Member::Error, false);
        check(vec![failed, lacks(), lacks()], &[FoundGroup(1), JoinGroup(2), JoinGroup(3)]);
    }

    #[test]
    fn no_group_is_founded_while_anything_may_be_elsewhere() {
        // One is not seen.
        check(vec![offline(), silent(), offline()], &[StartContainer(2), WaitHealthy(2)]);
        // One believes in its group still, which the others have left.
        let alone = || with(primary(), |group| group.majority = false);
        refused(vec![alone(), offline(), offline()], "node 1 waits for the majority");
        let lacks = || with(offline(), |group| group.complete = false);
        refused(vec![lacks(), lacks(), lacks()], "node 1 and node 2 and node 3 each have");
        refused(vec![blank(), offline(), offline()], "node 1 was the primary");
        refused(vec![primary(), primary(), online()], "there are two groups");
    }

    #[test]
    fn a_first_run_that_was_cut_off_goes_on() {
        let mut half = primary();
        half.server.as_mut().unwrap().accounts = false;
        let rest =
            [PrepareGroup(2), PrepareGroup(3), CreateAccounts(1), JoinGroup(2), JoinGroup(3)];
        check(vec![half, blank(), blank()], &rest);
        check(
            vec![offline(), blank(), online_and_lost()],
            &[PrepareGroup(2), FoundGroup(1), JoinGroup(2), JoinGroup(3)],
        );
    }

    fn online_and_lost() -> NodeSeen {
        with(offline(), |group| group.complete = false)
    }

    #[test]
    fn what_was_given_up_leaves_and_is_copied() {
        let renewing = |nodes| Seen { renewing: vec![2], ..seen(nodes) };
        let steps = |nodes| plan::plan(WANTED, &renewing(nodes)).unwrap().steps;
        let copied = [Clone { node: 2, donor: 3 }, JoinGroup(2)];
        assert_eq!(
            steps(vec![primary(), online(), online()]),
            [&[LeaveGroup(2)], &copied[..]].concat()
        );
        assert_eq!(steps(vec![primary(), offline(), online()]), copied);
        // No group runs: the others found it, and it does not count what the node had.
        let without = steps(vec![offline(), blank(), offline()]);
        assert_eq!(
            without,
            [FoundGroup(1), Clone { node: 2, donor: 1 }, JoinGroup(2), JoinGroup(3)]
        );
        assert_eq!(founder_without(&seen(vec![offline(), silent(), offline()]), 2), Some(1));
        assert_eq!(founder_without(&seen(vec![primary(), silent(), offline()]), 2), None);
    }

    #[test]
    fn much_data_is_copied_before_a_node_joins() {
        let mut large = primary();
        large.server.as_mut().unwrap().purged = true;
        let steps = [Clone { node: 3, donor: 2 }, JoinGroup(3)];
        check(vec![large, online(), blank()], &steps);
    }
}
