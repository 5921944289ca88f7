//! What the servers' identity, histories, clocks and flags tell.

use super::container::repair;
use super::texts;
use super::{Finding, Kind, Safe, Scene, count};

pub(super) fn look(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let found = [same_uuid(scene), clock(scene), writable(scene), errant(scene), semi_sync(scene)];
    findings.extend(found.into_iter().flatten().map(|(kind, sentence, remedy, safe)| Finding {
        node: scene.node.name.clone(),
        kind,
        sentence,
        remedy,
        safe,
    }));
}

type Found = (Kind, String, String, Safe);

/// Told of the later of the two, which is the copy as a rule.
fn same_uuid(scene: &Scene<'_>) -> Option<Found> {
    let uuid = scene.server.uuid.as_str();
    let twin = scene
        .nodes
        .iter()
        .take_while(|node| node.name != scene.node.name)
        .find(|node| node.server.as_ref().is_some_and(|server| server.uuid == uuid))?;
    if uuid.is_empty() {
        return None;
    }
    let name = &scene.node.name;
    Some((
        Kind::SameUuid,
        format!(
            "{name} and {} have the same server_uuid {uuid}, so one's data was copied to the other with \
             its auto.cnf, and each takes the other's transactions for its own",
            twin.name
        ),
        other_uuid(name),
        Safe::Nothing,
    ))
}

pub(super) fn other_uuid(name: &str) -> String {
    format!(
        "stop {name}, remove auto.cnf from its data directory and start it: it makes itself another"
    )
}

/// The difference to the primary's clock, when it is beyond the limit and beyond what the way to the two
/// servers can explain.
fn clock(scene: &Scene<'_>) -> Option<Found> {
    let primary = scene.primary.filter(|primary| primary.name != scene.node.name)?;
    let (here, doubt_here) = scene.server.clock?;
    let (there, doubt_there) = primary.server.as_ref()?.clock?;
    let difference = here - there;
    let doubt = doubt_here + doubt_there;
    let certain = difference.abs() - doubt;
    if certain <= scene.limits.clock_seconds {
        return None;
    }
    let name = &scene.node.name;
    let direction = if difference > 0.0 { "ahead of" } else { "behind" };
    Some((
        Kind::Clock,
        format!(
            "the clock of {name} is {:.1} s {direction} that of {} (give or take {doubt:.1} s, limit {:.1} s), \
             so lag in seconds is wrong by as much",
            difference.abs(),
            primary.name,
            scene.limits.clock_seconds
        ),
        format!(
            "let the hosts of {name} and {} take their time from one place (NTP)",
            primary.name
        ),
        Safe::Nothing,
    ))
}

fn writable(scene: &Scene<'_>) -> Option<Found> {
    let primary = scene.primary.filter(|primary| primary.name != scene.node.name)?;
    let server = scene.server;
    let whom = match (server.read_only, server.super_read_only) {
        (true, true) => return None,
        (true, false) => "root (super_read_only is OFF)",
        (false, _) => "everybody (read_only is OFF)",
    };
    let name = &scene.node.name;
    Some((
        Kind::Writable,
        format!("{name} takes writes from {whom} although {} is the primary", primary.name),
        repair(name, "makes it read-only again"),
        Safe::SetReadOnly,
    ))
}

fn errant(scene: &Scene<'_>) -> Option<Found> {
    let primary = scene.primary.filter(|primary| primary.name != scene.node.name)?;
    let own = scene.server.executed.subtract(&primary.server.as_ref()?.executed);
    if own.is_empty() {
        return None;
    }
    let name = &scene.node.name;
    Some((
        Kind::Errant,
        format!(
            "{name} has {} that {} does not have, the first is {}",
            count(own.count(), "transaction"),
            primary.name,
            texts::first(&own)
        ),
        format!(
            "save what they wrote if it matters, then `weir cluster repair {name} --reclone` takes the \
             primary's data"
        ),
        Safe::Nothing,
    ))
}

/// Told of the primary: its commits go on without a receipt.
fn semi_sync(scene: &Scene<'_>) -> Option<Found> {
    scene.primary.filter(|primary| primary.name == scene.node.name)?;
    let status = scene.server.semi_sync;
    if !status.enabled || status.active {
        return None;
    }
    let replicas = scene.nodes.len().saturating_sub(1);
    let name = &scene.node.name;
    Some((
        Kind::SemiSyncDegraded,
        format!(
            "commits on {name} do not wait for replicas any more, so what it takes now is lost if it dies: {} \
             of {} can send receipts where a commit needs {}, and {} went on without since it started",
            status.replicas,
            count(u64::try_from(replicas).unwrap_or(u64::MAX), "replica"),
            status.wanted,
            count(status.without_receipt, "commit"),
        ),
        "mend the replicas; it goes back to semi-sync by itself once enough have caught up"
            .to_owned(),
        Safe::Wait,
    ))
}
