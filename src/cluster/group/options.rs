//! mysqld's options for a member of a group. Pure.
//!
//! All are `loose`: the plugin is installed later, and takes them then.

use crate::config::Cluster;

use super::super::state::State;
use super::super::subnet::Subnet;

/// Where members speak to each other, beside mysqld's own port; not published.
const GROUP_PORT: u16 = 33_061;
/// A member that is silent for 5 s is suspected; after so many more it is expelled, seconds. With anything but 0 the
/// plugin looks for members to expel only every 15 s, and an election takes 20 s (measured).
const EXPEL_SECONDS: u32 = 0;
/// A member that does not see a majority for so long leaves, and rolls back what waits, seconds.
pub(super) const MINORITY_SECONDS: u32 = 15;
/// The least that the plugin takes, bytes; its default is 1 GiB in every member.
const MESSAGE_CACHE_BYTES: u32 = 128 << 20;
/// Between two rounds of attempts to fetch what a joining member lacks, seconds.
const RECOVERY_RETRY_SECONDS: u32 = 2;

/// What an operator may change.
pub(in crate::cluster) fn defaults(cluster: &Cluster) -> Vec<String> {
    if !cluster.is_group() {
        return Vec::new();
    }
    vec![
        option("member-expel-timeout", EXPEL_SECONDS),
        option("unreachable-majority-timeout", MINORITY_SECONDS),
        // Weir lets it join again; an attempt of its own would only have to be waited for.
        option("autorejoin-tries", 0),
        option("message-cache-size", MESSAGE_CACHE_BYTES),
        option("recovery-reconnect-interval", RECOVERY_RETRY_SECONDS),
        // A new primary answers when it has applied what the old one had acknowledged.
        option("consistency", "BEFORE_ON_PRIMARY_FAILOVER"),
    ]
}

/// What the group stands on. Seeds and TLS are set when a member joins, for then it is known who is there.
pub(in crate::cluster) fn options(state: &State, number: u32) -> Vec<String> {
    let Some(name) = &state.group else { return Vec::new() };
    let mut words = vec![
        option("group-name", name),
        option("communication-stack", "XCOM"),
        option("single-primary-mode", "ON"),
        option("enforce-update-everywhere-checks", "OFF"),
        option("start-on-boot", "OFF"),
        option("bootstrap-group", "OFF"),
        // The default of newer servers locks the monitor out too.
        option("exit-state-action", "READ_ONLY"),
        option("recovery-get-public-key", "ON"),
        // What a member has received was acknowledged to clients, and nobody else may have it any more.
        "--relay-log-recovery=OFF".to_owned(),
    ];
    // Before there is a network there is no group either; then the options are only judged.
    if let Some(subnet) = state.subnet.as_deref().and_then(Subnet::parse) {
        words.push(option("local-address", address(subnet, number)));
        words.push(option("ip-allowlist", subnet));
    }
    words
}

/// Where node `number` speaks to the others: "172.18.0.11:33061".
pub(super) fn address(subnet: Subnet, number: u32) -> String {
    format!("{}:{GROUP_PORT}", subnet.node(number))
}

fn option(name: &str, value: impl std::fmt::Display) -> String {
    format!("--loose-group-replication-{name}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;
    use crate::config::Replication;

    #[test]
    fn members_differ_in_their_address_alone() {
        let mut wanted = cluster("t", 2);
        assert_eq!(defaults(&wanted), Vec::<String>::new());
        assert_eq!(options(&State::generate(&wanted).unwrap(), 1), Vec::<String>::new());
        wanted.replication = Replication::Group;
        let mut state = State::generate(&wanted).unwrap();
        let without_network = options(&state, 1);
        state.subnet = Some("172.20.0.0/16".to_owned());
        let (one, two) = (options(&state, 1), options(&state, 2));
        assert_eq!(one[..without_network.len()], without_network);
        let differs: Vec<_> = one.iter().zip(&two).filter(|(a, b)| a != b).collect();
        assert_eq!(differs.len(), 1);
        assert_eq!(differs[0].1, "--loose-group-replication-local-address=172.20.0.12:33061");
        assert!(one.contains(&"--loose-group-replication-ip-allowlist=172.20.0.0/16".to_owned()));
        let name = state.group.unwrap();
        assert!(one.contains(&format!("--loose-group-replication-group-name={name}")));
    }
}
