//! `replication` under `[cluster]`, and what does not go together with a group.

use super::section::Section;
use super::types::{Cluster, Replication};

/// Replicas beside the primary: a group has nine members at most
/// (<https://dev.mysql.com/doc/refman/9.7/en/group-replication-limitations.html>).
const MAX_REPLICAS: u32 = 8;

/// What a group decides by itself, with why.
const NOT_IN_A_GROUP: [(&str, &str); 3] = [
    ("semi_sync", "a commit in a group waits until most members have it"),
    ("failover", "the members of a group elect their primary themselves"),
    ("failover_seconds", "a group has its own patience (group_replication_member_expel_timeout)"),
];

/// Options that Weir sets itself where a group is wanted, with dashes as underscores.
pub(super) const OWN_OPTIONS: [&str; 15] = [
    "group_replication",
    "group_replication_bootstrap_group",
    "group_replication_communication_stack",
    "group_replication_enforce_update_everywhere_checks",
    "group_replication_exit_state_action",
    "group_replication_force_members",
    "group_replication_group_name",
    "group_replication_group_seeds",
    "group_replication_ip_allowlist",
    "group_replication_local_address",
    "group_replication_recovery_use_ssl",
    "group_replication_single_primary_mode",
    "group_replication_ssl_mode",
    "group_replication_start_on_boot",
    "group_replication_view_change_uuid",
];

impl Cluster {
    /// Whether the servers elect their primary themselves.
    pub fn is_group(&self) -> bool {
        self.replication == Replication::Group
    }
}

/// `replication`; `replicas` is what was read before.
pub(super) fn replication(section: &mut Section<'_>, replicas: u32) -> Replication {
    let kinds =
        [("gtid", Replication::Gtid), ("file", Replication::File), ("group", Replication::Group)];
    let kind = section.choice("replication", &kinds).unwrap_or(Replication::Gtid);
    if kind != Replication::Group {
        return kind;
    }
    for (key, why) in NOT_IN_A_GROUP {
        if let Some(span) = section.key_span(key) {
            let what = format!("`{key}` does not go together with replication = \"group\"");
            section.source.problems.add(span, what, format!("remove it: {why}"));
        }
    }
    if replicas > MAX_REPLICAS {
        let span = section.key_span("replicas").unwrap_or_else(|| section.span.clone());
        let what = format!("a group of {} members is wanted", u64::from(replicas) + 1);
        let remedy = format!("write replicas = {MAX_REPLICAS} or less: a group has at most 9");
        section.source.problems.add(span, what, remedy);
    }
    kind
}
