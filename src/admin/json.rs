//! How things look as JSON, to the command line's `--json` and to the HTTP API alike. Passwords are in none but
//! `started`. Pure.

use serde_json::{Value, json};

use crate::cluster::failover::FailedOver;
use crate::cluster::snapshot::{CopyView, Listing, SnapshotView, Started};
use crate::cluster::{ClusterView, Examined, Leader, Moved};

/// The cluster with what is wrong and why replicas are behind: what [`view`] gives, and `"findings": [{node, kind,
/// sentence, remedy}]`, `"lag": [{node, cause, sentence, ..}]`, `"leader"`: in
/// words, null when there is none; `"leads"`: whether it has this state directory.
pub fn cluster(examined: &Examined) -> Value {
    let findings = examined.findings.iter().map(|finding| {
        json!({
            "node": finding.node,
            "kind": finding.kind.name(),
            "sentence": finding.sentence,
            "remedy": finding.remedy,
        })
    });
    let lags = examined.lags.iter().map(|lag| {
        json!({
            "node": lag.node,
            "cause": lag.cause.name(),
            "sentence": lag.sentence,
            "behind_transactions": lag.behind,
            "seconds": lag.seconds,
        })
    });
    let (findings, lags): (Vec<Value>, Vec<Value>) = (findings.collect(), lags.collect());
    let mut object = view(&examined.view);
    if let Some(object) = object.as_object_mut() {
        object.insert("findings".to_owned(), findings.into());
        object.insert("lag".to_owned(), lags.into());
        let leader = match &examined.leader {
            Leader::Ours(name) | Leader::Other(name) => Some(name.clone()),
            Leader::Nobody | Leader::Unknown(_) => None,
        };
        object.insert("leader".to_owned(), leader.into());
        let leads = matches!(examined.leader, Leader::Ours(_));
        object.insert("leads".to_owned(), leads.into());
    }
    object
}

/// The cluster: each node with its role, container and replication, and what is left to do.
pub fn view(view: &ClusterView) -> Value {
    let nodes = view.nodes.iter().map(|node| {
        json!({
            "name": node.name,
            "role": node.role.name(),
            "container": node.state,
            "container_id": node.container_id,
            "health": node.health,
            "version": node.version,
            "address": node.server.address,
            "published": node.published.to_string(),
            "replication": node.replication.as_ref().map(|replication| json!({
                "source": replication.source,
                "receiver": replication.receiver,
                "applier": replication.applier,
                "behind_transactions": replication.behind,
                "error": replication.error,
                "member": replication.member,
            })),
        })
    });
    json!({
        "cluster": view.name,
        "nodes": nodes.collect::<Vec<_>>(),
        "application_user": view.application_user,
        "database": view.database,
        "problems": view.problems,
        "failed_over": view.failed_over.as_ref().map(failed_over),
    })
}

/// A dead primary's replacement.
fn failed_over(failed_over: &FailedOver) -> Value {
    json!({
        "from": failed_over.from,
        "to": failed_over.to,
        "at": failed_over.at,
        "lost_transactions": failed_over.lost,
        "semi_sync": failed_over.semi_sync,
        "sentence": failed_over.to_string(),
    })
}

/// Snapshots and copies.
pub fn listing(listing: &Listing) -> Value {
    json!({
        "snapshots": listing.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "copies": listing.copies.iter().map(copy).collect::<Vec<_>>(),
    })
}

/// One snapshot.
pub fn snapshot(snapshot: &SnapshotView) -> Value {
    json!({
        "name": snapshot.name,
        "image": snapshot.image,
        "created": snapshot.created,
        "from": snapshot.from,
        "bytes": snapshot.bytes,
        "version": snapshot.version,
        "gtid_executed": snapshot.gtid,
        "copies": snapshot.copies,
    })
}

/// A copy that was started, with the way to it: this once the password is told.
pub(super) fn started(started: &Started) -> Value {
    let mut object = copy(&started.copy);
    if let Some(object) = object.as_object_mut() {
        object.insert("user".to_owned(), "root".into());
        object.insert("password".to_owned(), started.password.expose().into());
    }
    object
}

/// A role that has moved.
pub(super) fn moved(moved: &Moved) -> Value {
    json!({ "from": moved.from, "to": moved.to, "held_seconds": moved.held.as_secs_f64() })
}

fn copy(copy: &CopyView) -> Value {
    json!({
        "name": copy.name,
        "snapshot": copy.snapshot,
        "state": copy.state,
        "published": copy.published.map(|address| address.to_string()),
        "started": copy.started,
        "expires": copy.expires,
    })
}
