//! A primary whose disk is full goes on talking to its group, and commits nothing: Weir ends it, and the others elect.

use std::time::{Duration, Instant};

use weir::cluster::NodeView;
use weir::topology::Role;

use super::{TABLE, seconds};
use crate::figures;
use crate::small_disk::SmallDisk;
use crate::stage::Stage;
use crate::wait::until_or_show;
use crate::writers::{RECOVERY_LIMIT, WRITERS, Writers};

/// How long it may take until the status tells of the disk.
const NAMED_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn the_others_elect_another(stage: &Stage, disk: &SmallDisk) {
    if stage.primary() != disk.node {
        stage.weir(&["cluster", "switchover", &disk.node]);
    }
    let writers = Writers::start(stage).await;
    let since = Instant::now();
    disk.fill();
    // What is left in files that are there already takes a few more writes.
    until_or_show(
        RECOVERY_LIMIT,
        "another to be the primary",
        || stage.log(),
        async || {
            let nodes = stage.view().ok()?.nodes;
            let elected = |node: &NodeView| node.role == Role::Primary && node.name != disk.node;
            nodes.iter().any(elected).then_some(())
        },
    )
    .await;
    writers.goes_on().await;
    let held = since.elapsed();
    assert!(held < RECOVERY_LIMIT, "{held:?}");
    // Those that were under way: whether they were done nobody knows.
    let errors = writers.errors();
    assert!(errors.len() <= usize::try_from(WRITERS).unwrap(), "{errors:?}");
    assert_ne!(stage.primary(), disk.node, "{}", stage.log());
    let sentence = format!("the disk of {} is full", disk.node);
    until_or_show(
        NAMED_LIMIT,
        &sentence,
        || stage.log(),
        async || stage.status()["findings"].to_string().contains(&sentence).then_some(()),
    )
    .await;
    disk.make_room();
    let room = Instant::now();
    let acknowledged = writers.finish().await;
    stage.whole_group().await;
    let outcome = format!(
        "Weir ended it, the others elected another, {} statements failed; a member again {} after there was room",
        errors.len(),
        seconds(room.elapsed())
    );
    figures::row(TABLE, &["its disk full", &outcome, &seconds(held)]);
    stage.check_rows(&acknowledged).await;
}
