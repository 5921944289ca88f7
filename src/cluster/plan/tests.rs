//! What is planned for what is seen.

use super::Step::*;
use super::*;

const LIMITS: SemiSyncLimits = SemiSyncLimits { acks: 1, timeout_ms: 2_000 };
const WANTED: Wanted = Wanted {
    nodes: 2,
    semi_sync: true,
    semi_sync_limits: LIMITS,
    pull: Pull::Missing,
    primary: None,
    replication: Replication::Gtid,
};

fn semi(source_on: bool) -> SemiSync {
    SemiSync { available: true, ready: true, source_on, limits: LIMITS }
}

fn primary() -> NodeSeen {
    let server = ServerSeen {
        has_history: true,
        semi_sync: semi(true),
        starts_read_only: true,
        accounts: true,
        ..ServerSeen::default()
    };
    NodeSeen { volume: true, container: Life::Running, server: Some(server), ..NodeSeen::default() }
}

fn replica_of(node: u32) -> NodeSeen {
    let server = ServerSeen {
        has_history: true,
        read_only: true,
        super_read_only: true,
        starts_read_only: true,
        source: Some(SourceSeen { node: Some(node), receiver: true, applier: true }),
        semi_sync: semi(false),
        accounts: true,
        ..ServerSeen::default()
    };
    NodeSeen { volume: true, container: Life::Running, server: Some(server), ..NodeSeen::default() }
}

fn blank() -> NodeSeen {
    let server = ServerSeen {
        blank: true,
        semi_sync: SemiSync { available: true, ..SemiSync::default() },
        ..ServerSeen::default()
    };
    NodeSeen { volume: true, container: Life::Running, server: Some(server), ..NodeSeen::default() }
}

fn world(nodes: Vec<NodeSeen>) -> Seen {
    Seen { image: true, network: true, nodes, ..Seen::default() }
}

fn check(seen: &Seen, steps: &[Step]) {
    assert_eq!(plan(WANTED, seen).unwrap().steps, steps, "{seen:?}");
}

fn changed(mut node: NodeSeen, change: impl FnOnce(&mut ServerSeen)) -> NodeSeen {
    change(node.server.as_mut().unwrap());
    node
}

#[test]
fn an_empty_world_needs_everything() {
    let all = [
        PullImage,
        CreateNetwork,
        CreateVolume(1),
        CreateVolume(2),
        CreateContainer(1),
        CreateContainer(2),
        StartContainer(1),
        StartContainer(2),
        WaitHealthy(1),
        WaitHealthy(2),
        InstallSemiSync(1),
        InstallSemiSync(2),
        MakeWritable(1),
        CreateAccounts(1),
        SetReadOnly(2),
        ConfigureReplica { node: 2, source: 1 },
        SemiSyncSource { node: 1, on: true },
    ];
    check(&Seen::default(), &all);
    assert!(plan(WANTED, &Seen::default()).unwrap().complete);
}

#[test]
fn a_right_world_needs_nothing_whoever_is_primary() {
    check(&world(vec![primary(), replica_of(1)]), &[]);
    check(&world(vec![replica_of(2), primary()]), &[]);
    let moved = plan(WANTED, &world(vec![replica_of(2), primary()])).unwrap();
    assert_eq!(moved.primary, Some(2));
    // Without its image, which a running container does not need.
    check(&Seen { image: false, ..world(vec![primary(), replica_of(1)]) }, &[]);
}

#[test]
fn after_down_only_containers_are_made_before_the_servers_are_asked() {
    let kept = || NodeSeen { volume: true, ..NodeSeen::default() };
    let seen = world(vec![kept(), kept()]);
    let plan = plan(WANTED, &seen).unwrap();
    assert!(!plan.complete);
    assert_eq!(plan.primary, None);
    assert!(plan.steps.iter().all(|step| step.is_of_engine()));
    assert_eq!(plan.steps.len(), 6);
}

#[test]
fn a_primary_is_apparent_while_a_replica_is_down() {
    let exited = NodeSeen { container: Life::Stopped, server: None, ..replica_of(1) };
    assert_eq!(apparent_primary(&world(vec![primary(), exited.clone()]), None), Some(1));
    assert_eq!(apparent_primary(&world(vec![exited, replica_of(1)]), None), None);
    assert_eq!(apparent_primary(&world(vec![blank(), blank()]), None), None);
    assert_eq!(apparent_primary(&world(vec![primary(), primary()]), None), None);
}

#[test]
fn a_new_replica_beside_a_primary_with_data() {
    check(
        &world(vec![primary(), NodeSeen::default()]),
        &[
            CreateVolume(2),
            CreateContainer(2),
            StartContainer(2),
            WaitHealthy(2),
            InstallSemiSync(2),
            SetReadOnly(2),
            ConfigureReplica { node: 2, source: 1 },
        ],
    );
}

#[test]
fn the_recorded_primary_is_made_writable_after_a_restart() {
    let restarted = || {
        changed(primary(), |s| {
            s.read_only = true;
            s.super_read_only = true;
        })
    };
    let wanted = Wanted { primary: Some(1), ..WANTED };
    let seen = world(vec![restarted(), replica_of(1)]);
    assert_eq!(plan(wanted, &seen).unwrap().steps, [MakeWritable(1)]);
    // The role has moved to node 2, and the old primary is back.
    let moved = Wanted { primary: Some(2), ..WANTED };
    let seen = world(vec![restarted(), primary()]);
    let steps = plan(moved, &seen).unwrap().steps;
    let follows = ConfigureReplica { node: 1, source: 2 };
    assert_eq!(steps, [follows, SemiSyncSource { node: 1, on: false }]);
    // Cut off right after it was written down: the new primary replicates still.
    let seen = world(vec![restarted(), replica_of(1)]);
    assert_eq!(plan(moved, &seen).unwrap().steps[..2], [Promote(2), follows]);
    // What the servers do counts more than what was written down.
    let seen = world(vec![primary(), replica_of(1)]);
    assert_eq!(plan(moved, &seen).unwrap().primary, Some(1));
}

#[test]
fn small_faults_are_mended_alone() {
    let stopped = changed(replica_of(1), |s| s.source.as_mut().unwrap().applier = false);
    check(&world(vec![primary(), stopped]), &[StartReplication { node: 2, source: 1 }]);
    let writable = changed(replica_of(1), |s| s.super_read_only = false);
    check(&world(vec![primary(), writable]), &[SetReadOnly(2)]);
    let elsewhere = changed(replica_of(1), |s| s.source.as_mut().unwrap().node = None);
    check(&world(vec![primary(), elsewhere]), &[ConfigureReplica { node: 2, source: 1 }]);
    let exited = NodeSeen { container: Life::Stopped, server: None, ..replica_of(1) };
    check(&world(vec![primary(), exited]), &[StartContainer(2), WaitHealthy(2)]);
    let locked = changed(primary(), |s| s.accounts = false);
    check(&world(vec![locked, replica_of(1)]), &[CreateAccounts(1)]);
}

/// One that does not answer keeps no other from being mended, where there is no doubt who the primary is.
#[test]
fn around_a_silent_server() {
    let wanted = Wanted { nodes: 3, primary: Some(1), ..WANTED };
    let frozen = || NodeSeen { server: None, ..replica_of(1) };
    let stopped = || changed(replica_of(1), |s| s.source.as_mut().unwrap().receiver = false);
    let steps = |wanted, nodes| {
        let plan = plan(wanted, &world(nodes)).unwrap();
        assert!(!plan.complete);
        (plan.primary, plan.steps)
    };
    let start = StartReplication { node: 3, source: 1 };
    let (primary_then, mended) = steps(wanted, vec![primary(), frozen(), stopped()]);
    assert_eq!((primary_then, mended), (Some(1), vec![WaitHealthy(2), start]));
    let renewing = Seen { renewing: vec![3], ..world(vec![primary(), frozen(), replica_of(1)]) };
    let copied = plan(wanted, &renewing).unwrap().steps;
    assert!(copied.contains(&Clone { node: 3, donor: 1 }), "{copied:?}");
    // Who is started now is waited for before one that runs and is silent.
    let exited = NodeSeen { container: Life::Stopped, ..frozen() };
    let started = [StartContainer(3), WaitHealthy(3), WaitHealthy(2)];
    assert_eq!(steps(wanted, vec![primary(), frozen(), exited]).1, started);
    // Commits do not begin to wait for one that is not there, nor do they cease to.
    let not_yet = changed(primary(), |s| s.semi_sync.source_on = false);
    for primary in [primary(), not_yet] {
        let waits = [WaitHealthy(2), WaitHealthy(3)];
        assert_eq!(steps(wanted, vec![primary, frozen(), frozen()]).1, waits);
    }

    let nothing = |wanted, nodes| assert_eq!(steps(wanted, nodes), (None, vec![WaitHealthy(2)]));
    // Another was written down, or two take writes, or nobody: who is silent may be the primary.
    let other = Wanted { primary: Some(2), ..wanted };
    nothing(other, vec![primary(), frozen(), stopped()]);
    nothing(wanted, vec![primary(), frozen(), primary()]);
    let closed = changed(primary(), |s| (s.read_only, s.super_read_only) = (true, true));
    nothing(wanted, vec![closed, frozen(), stopped()]);
    nothing(wanted, vec![blank(), frozen(), stopped()]);
    // Places in logs are judged only when all are seen.
    let by_file = Wanted { replication: Replication::File, ..wanted };
    nothing(by_file, vec![primary(), frozen(), stopped()]);
}

#[test]
fn semi_sync_follows_the_wish_and_the_role() {
    let seen = world(vec![primary(), replica_of(1)]);
    let without = Wanted { semi_sync: false, ..WANTED };
    assert_eq!(plan(without, &seen).unwrap().steps, [SemiSyncSource { node: 1, on: false }]);
    let alone = Wanted { nodes: 1, ..WANTED };
    let seen = world(vec![primary()]);
    assert_eq!(plan(alone, &seen).unwrap().steps, [SemiSyncSource { node: 1, on: false }]);
    let old_primary = changed(replica_of(2), |s| s.semi_sync.source_on = true);
    check(&world(vec![old_primary, primary()]), &[SemiSyncSource { node: 1, on: false }]);
    let no_plugins = |node| changed(node, |s| s.semi_sync = SemiSync::default());
    check(&world(vec![no_plugins(primary()), no_plugins(replica_of(1))]), &[]);
}

#[test]
fn acknowledgements_and_timeout_follow_the_wish() {
    let two = SemiSyncLimits { acks: 2, ..LIMITS };
    let seen = world(vec![primary(), replica_of(1), replica_of(1)]);
    let more = Wanted { nodes: 3, semi_sync_limits: two, ..WANTED };
    let each = [LimitSemiSync(1), LimitSemiSync(2), LimitSemiSync(3)];
    assert_eq!(plan(more, &seen).unwrap().steps, each);
    // Where they cannot hold there is nothing to set.
    let without = Wanted { semi_sync: false, ..more };
    let off = [SemiSyncSource { node: 1, on: false }];
    assert_eq!(plan(without, &seen).unwrap().steps, off);
}

#[test]
fn each_place_is_made_in_its_own_way() {
    let wanted = |place| {
        let node = || NodeSeen { place, ..NodeSeen::default() };
        plan(WANTED, &world(vec![node(), node()])).unwrap().steps
    };
    assert_eq!(wanted(Place::Volume)[..2], [CreateVolume(1), CreateVolume(2)]);
    assert_eq!(wanted(Place::Folder)[..2], [PrepareFolder(1), PrepareFolder(2)]);
    assert_eq!(wanted(Place::Container)[..2], [CreateContainer(1), CreateContainer(2)]);
}

#[test]
fn the_image_is_fetched_when_a_container_is_to_be_made() {
    let always = Wanted { pull: Pull::Always, ..WANTED };
    let steps = |wanted, nodes| plan(wanted, &world(nodes)).unwrap().steps;
    assert_eq!(steps(always, vec![primary(), NodeSeen::default()])[0], PullImage);
    assert_eq!(steps(always, vec![primary(), replica_of(1)]), []);
    assert_ne!(steps(WANTED, vec![primary(), NodeSeen::default()])[0], PullImage);
}

#[test]
fn only_an_empty_server_forgets() {
    let initialised = changed(blank(), |s| s.has_history = true);
    let plan = plan(WANTED, &world(vec![initialised.clone(), initialised])).unwrap();
    assert_eq!(plan.steps.iter().filter(|s| matches!(s, ClearHistory(_))).count(), 2);
    check(&world(vec![primary(), replica_of(1)]), &[]);
}

#[test]
fn contradictions_are_left_to_a_human() {
    let refused = |nodes: Vec<NodeSeen>, words: &str| {
        let error = plan(WANTED, &world(nodes)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(vec![primary(), primary()], "node 1 and node 2 each hold data");
    refused(vec![blank(), replica_of(1)], "node 1, which is empty");
    refused(vec![replica_of(2), replica_of(1)], "none of them takes writes");
    let demoted = changed(primary(), |s| s.read_only = true);
    refused(vec![demoted, replica_of(1)], "none of them takes writes");
}

#[test]
fn after_each_step_of_a_first_run_the_rest_is_planned() {
    // Account creation was interrupted: the primary is known by what it holds.
    let half = changed(primary(), |s| {
        s.accounts = false;
        s.semi_sync.source_on = false;
    });
    let rest = [
        InstallSemiSync(2),
        CreateAccounts(1),
        SetReadOnly(2),
        ConfigureReplica { node: 2, source: 1 },
        SemiSyncSource { node: 1, on: true },
    ];
    check(&world(vec![half, blank()]), &rest);
}

#[test]
fn numbers_fill_up_and_nobody_is_left_out() {
    assert_eq!(members(&[], 3), [1, 2, 3]);
    assert_eq!(members(&[1, 2], 3), [1, 2, 3]);
    assert_eq!(members(&[2, 5], 4), [1, 2, 3, 5]);
    assert_eq!(members(&[1, 3], 2), [1, 3]);
    assert_eq!(members(&[1, 2, 3, 4], 2), [1, 2, 3, 4]);
    // Beyond the wanted number a node is a member as any other, with a gap before it or not.
    check(&world(vec![primary(), replica_of(1), replica_of(1)]), &[]);
    let gap = world(vec![primary(), NodeSeen::default(), replica_of(1)]);
    check(&gap, &[]);
    let three = plan(Wanted { nodes: 3, ..WANTED }, &gap).unwrap().steps;
    assert!(three.contains(&CreateVolume(2)) && !three.contains(&CreateVolume(3)));
}

#[test]
fn a_blank_node_replays_little_and_is_given_a_copy_of_much() {
    let replays = [InstallSemiSync(2), SetReadOnly(2), ConfigureReplica { node: 2, source: 1 }];
    check(&world(vec![primary(), blank()]), &replays);
    let copied = |donor| {
        let node = 2;
        [
            SetReadOnly(node),
            Clone { node, donor },
            InstallSemiSync(node),
            ConfigureReplica { node, source: 1 },
        ]
    };
    let purged = changed(primary(), |s| s.purged = true);
    let large = changed(primary(), |s| s.log_bytes = REPLAY_MOST_BYTES + 1);
    check(&world(vec![purged.clone(), blank()]), &copied(1));
    check(&world(vec![large, blank()]), &copied(1));
    // The nearest replica spares the primary; one that does not follow, or from afar, does not.
    let ahead = changed(purged, |s| s.executed = 5_000);
    let near = |executed| changed(replica_of(1), |s| s.executed = executed);
    check(&world(vec![ahead.clone(), blank(), near(4_990), near(4_999)]), &copied(4));
    check(&world(vec![ahead.clone(), blank(), near(10)]), &copied(1));
    let stopped = changed(near(5_000), |s| s.source.as_mut().unwrap().applier = false);
    let steps = plan(WANTED, &world(vec![ahead, blank(), stopped])).unwrap().steps;
    assert_eq!(steps[..4], copied(1));
}

#[test]
fn without_gtids_replicas_start_with_a_copy_of_the_primary() {
    let wanted = Wanted { replication: Replication::File, ..WANTED };
    let by_position = |node| changed(node, |s| s.by_position = true);
    let seen = world(vec![by_position(primary()), by_position(blank())]);
    let steps = plan(wanted, &seen).unwrap().steps;
    assert!(steps.contains(&Clone { node: 2, donor: 1 }), "{steps:?}");
    let three = Wanted { nodes: 3, ..wanted };
    let first = plan(three, &Seen::default()).unwrap().steps;
    assert!(first.contains(&Clone { node: 3, donor: 1 }), "{first:?}");
    // Whoever has lost the way comes after everything that can be done.
    let lost = by_position(changed(replica_of(1), |s| s.source = None));
    let stopped = changed(replica_of(1), |s| s.source.as_mut().unwrap().applier = false);
    let seen = world(vec![by_position(primary()), lost, by_position(stopped)]);
    let todo = [StartReplication { node: 3, source: 1 }, ConfigureReplica { node: 2, source: 1 }];
    assert_eq!(plan(three, &seen).unwrap().steps, todo);
}

#[test]
fn a_cluster_stays_with_its_kind_of_replication() {
    let refused = |wanted: Wanted, node: NodeSeen, word: &str| {
        let error = plan(wanted, &world(vec![node, replica_of(1)])).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    let file = Wanted { replication: Replication::File, ..WANTED };
    refused(file, primary(), "with GTIDs. Write replication = \"gtid\"");
    refused(WANTED, changed(primary(), |s| s.by_position = true), "replication = \"file\"");
}

#[test]
fn what_was_given_up_is_copied_whatever_it_holds() {
    let renewing = |nodes| Seen { renewing: vec![2], ..world(nodes) };
    let copied = |donor| [Clone { node: 2, donor }, ConfigureReplica { node: 2, source: 1 }];
    check(&renewing(vec![primary(), replica_of(1)]), &copied(1));
    check(&renewing(vec![primary(), replica_of(1), replica_of(1)]), &copied(3));
    // Cut off: it took writes, or its source is forgotten, or it is gone altogether.
    let writable = changed(primary(), |s| s.semi_sync.source_on = false);
    let steps = plan(WANTED, &renewing(vec![primary(), writable])).unwrap().steps;
    assert_eq!(steps[..2], [SetReadOnly(2), Clone { node: 2, donor: 1 }]);
    let orphan = changed(replica_of(1), |s| s.source = None);
    check(&renewing(vec![primary(), orphan]), &copied(1));
    let seen = renewing(vec![primary()]);
    let again = plan(Wanted { nodes: 1, ..WANTED }, &seen).unwrap().steps;
    assert!(again.contains(&CreateVolume(2)) && again.contains(&Clone { node: 2, donor: 1 }));
    assert_eq!(apparent_primary(&renewing(vec![primary(), primary()]), None), Some(1));
}

#[test]
fn the_last_data_there_is_is_not_copied_over() {
    let seen = Seen { renewing: vec![2], ..world(vec![blank(), replica_of(1)]) };
    let error = plan(WANTED, &seen).unwrap_err().to_string();
    assert!(error.contains("no other node holds data"), "{error}");
}

#[test]
fn a_snapshot_takes_the_place_of_a_copy_and_of_nothing_else() {
    let purged = || changed(primary(), |server| server.purged = true);
    let seen = |first, renewing: &[u32], seeds: &[u32]| Seen {
        renewing: renewing.to_vec(),
        seeds: seeds.to_vec(),
        ..world(vec![first, NodeSeen::default()])
    };
    let seeded = [
        Seed(2),
        CreateContainer(2),
        StartContainer(2),
        WaitHealthy(2),
        InstallSemiSync(2),
        ConfigureReplica { node: 2, source: 1 },
    ];
    check(&seen(purged(), &[], &[2]), &seeded);
    check(&seen(purged(), &[2], &[2]), &seeded);
    check(&seen(primary(), &[2], &[2]), &seeded);
    let first = |seen: &Seen| plan(WANTED, seen).unwrap().steps[0];
    // The binary logs give all, no snapshot fits, or there is data already.
    assert_eq!(first(&seen(primary(), &[], &[2])), CreateVolume(2));
    assert_eq!(first(&seen(purged(), &[], &[])), CreateVolume(2));
    let there = Seen { seeds: vec![2], renewing: vec![2], ..world(vec![purged(), blank()]) };
    assert!(plan(WANTED, &there).unwrap().steps.contains(&Clone { node: 2, donor: 1 }));
    // Without a primary that answers, nothing tells whether it fits.
    let silent = NodeSeen { server: None, ..primary() };
    assert_eq!(first(&seen(silent, &[], &[2])), CreateVolume(2));
}
