//! What a node is made of: names, labels, mysqld's options, the container. Pure.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::config::{Cluster, Replication};

use super::state::State;
use super::subnet::Subnet;

/// Every container, volume and network of a cluster carries this label with the cluster's name.
pub(super) const LABEL_CLUSTER: &str = "dev.weir.cluster";
/// Containers and volumes: the node's number.
pub(super) const LABEL_NODE: &str = "dev.weir.node";
/// Containers: names the image and options that it was made with.
pub(super) const LABEL_SPEC: &str = "dev.weir.spec";

/// mysqld's own port, inside the container.
pub(super) const MYSQL_PORT: u16 = 3306;
/// Where the data directory is in every image.
pub(super) const DATA_DIR: &str = "/var/lib/mysql";
/// The file in the container from which the entry point reads root's password (relative to /).
pub(super) const ROOT_PASSWORD_FILE: &str = "run/weir-root-password";
/// User and group id of mysqld in the official image and in ours: reads that file.
pub(super) const MYSQL_UID: u32 = 999;

/// How long the engine waits for a clean shutdown before it kills, seconds.
pub(super) const STOP_SECONDS: i32 = 60;
/// Open files a server may have.
const OPEN_FILES: i64 = 65_536;
const MAX_CONNECTIONS: u32 = 1_000;
/// A replica without news from its source reconnects after this, seconds.
const NET_TIMEOUT_SECONDS: u32 = 10;
const APPLIER_WORKERS: u32 = 4;

/// "weir-1"
pub(super) fn name(cluster: &str, number: u32) -> String {
    format!("{cluster}-{number}")
}

/// The throw-away container in which mysqld judges its options.
pub(super) fn check_name(cluster: &str) -> String {
    format!("{cluster}-check-options")
}

/// The number in a node's name; `None` when it is no name of a node of that cluster.
pub(super) fn number(cluster: &str, text: &str) -> Option<u32> {
    let number = text.strip_prefix(cluster)?.strip_prefix('-')?.parse().ok()?;
    (number > 0 && name(cluster, number) == text).then_some(number)
}

/// The network's name: the cluster's.
pub(super) fn network_name(cluster: &str) -> String {
    cluster.to_owned()
}

/// Where node `number` is published on this host.
pub(super) fn published(cluster: &Cluster, number: u32) -> SocketAddr {
    let offset = u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
    let port = cluster.port_base.saturating_add(offset);
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// A container to be made; plain values that `docker.rs` hands to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerSpec {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub environment: Vec<String>,
    pub labels: Vec<(String, String)>,
    pub network: String,
    pub address: Ipv4Addr,
    pub published: SocketAddr,
    pub volume: String,
    pub health: Vec<String>,
    /// `None` takes what the engine gives.
    pub open_files: Option<i64>,
}

/// The container of node `number`.
pub(super) fn container(
    cluster: &Cluster,
    state: &State,
    subnet: Subnet,
    number: u32,
) -> ContainerSpec {
    let name = name(&cluster.name, number);
    let mut spec = ContainerSpec {
        image: cluster.image.clone(),
        command: command(cluster, state, number),
        environment: vec![
            format!("MYSQL_ROOT_PASSWORD_FILE=/{ROOT_PASSWORD_FILE}"),
            // Root comes from the node itself, or from the cluster's own network, where Weir is.
            format!("MYSQL_ROOT_HOST={}", subnet.account_host()),
        ],
        labels: labels(&cluster.name, number),
        network: network_name(&cluster.name),
        address: subnet.node(number),
        published: published(cluster, number),
        volume: name.clone(),
        health: health_check(),
        open_files: Some(OPEN_FILES),
        name,
    };
    let sum = fingerprint(&spec);
    spec.labels.push((LABEL_SPEC.to_owned(), sum));
    spec
}

/// Labels of what belongs to node `number`.
pub(super) fn labels(cluster: &str, number: u32) -> Vec<(String, String)> {
    vec![
        (LABEL_CLUSTER.to_owned(), cluster.to_owned()),
        (LABEL_NODE.to_owned(), number.to_string()),
    ]
}

/// mysqld with its options. The operator's come after the defaults, which they may change, and before
/// those that replication stands on, which they may not.
pub(super) fn command(cluster: &Cluster, state: &State, number: u32) -> Vec<String> {
    let mut words = vec![
        "mysqld".to_owned(),
        format!("--innodb-buffer-pool-size={}M", cluster.buffer_pool_mb),
        format!("--max-connections={MAX_CONNECTIONS}"),
        format!("--replica-parallel-workers={APPLIER_WORKERS}"),
        format!("--replica-net-timeout={NET_TIMEOUT_SECONDS}"),
        "--loose-mysqlx=OFF".to_owned(),
    ];
    words.extend(cluster.options.iter().map(|(key, value)| match value.as_str() {
        "" => format!("--{key}"),
        value => format!("--{key}={value}"),
    }));
    let id = state.server_id_base.saturating_add(number).saturating_sub(1);
    let gtids = match cluster.replication {
        Replication::Gtid => "ON",
        Replication::File => "OFF",
    };
    words.extend([
        format!("--server-id={id}"),
        // Names of files must not change with the container's host name.
        "--log-bin=binlog".to_owned(),
        "--relay-log=relay".to_owned(),
        format!("--gtid-mode={gtids}"),
        format!("--enforce-gtid-consistency={gtids}"),
        "--log-replica-updates=ON".to_owned(),
        "--relay-log-recovery=ON".to_owned(),
        "--replica-preserve-commit-order=ON".to_owned(),
        "--skip-name-resolve=ON".to_owned(),
        format!("--report-host={}", name(&cluster.name, number)),
    ]);
    words
}

/// Over TCP, because the temporary server of a first start has a socket only. No password: a refused
/// login is an answer too, for which mysqladmin ends with 0.
pub(super) fn health_check() -> Vec<String> {
    let words =
        "mysqladmin --no-defaults --host=127.0.0.1 --user=healthcheck --connect-timeout=3 ping";
    vec!["CMD-SHELL".to_owned(), format!("{words} >/dev/null 2>&1")]
}

/// Names what the container is made of, except for what every container of ours has.
fn fingerprint(spec: &ContainerSpec) -> String {
    let text = format!(
        "{}\n{}\n{}\n{}",
        spec.image,
        spec.command.join("\n"),
        spec.published,
        spec.address
    );
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;

    fn spec(cluster: &Cluster, number: u32) -> ContainerSpec {
        let mut state = State::generate(cluster).unwrap();
        state.server_id_base = 13301;
        container(cluster, &state, Subnet::parse("172.20.0.0/16").unwrap(), number)
    }

    #[test]
    fn nodes_differ_where_they_must() {
        let cluster = cluster("t", 2);
        let (one, two) = (spec(&cluster, 1), spec(&cluster, 2));
        assert_eq!(one.name, "t-1");
        assert_eq!(two.volume, "t-2");
        assert_ne!(one.published.port(), two.published.port());
        assert_eq!(two.address.to_string(), "172.20.0.12");
        assert!(one.command.contains(&"--server-id=13301".to_owned()));
        assert!(two.command.contains(&"--server-id=13302".to_owned()));
        assert!(two.command.contains(&"--report-host=t-2".to_owned()));
        assert_eq!(one.environment[1], "MYSQL_ROOT_HOST=172.20.0.0/255.255.0.0");
    }

    #[test]
    fn a_number_comes_back_from_a_name() {
        assert_eq!(number("my-db", "my-db-12"), Some(12));
        for other in ["my-db", "my-db-0", "my-db-012", "my-db-+1", "my-db-1-copy", "your-db-1"] {
            assert_eq!(number("my-db", other), None, "{other}");
        }
    }

    #[test]
    fn an_operator_changes_defaults_but_not_what_replication_stands_on() {
        let mut cluster = cluster("t", 1);
        let key_value = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        cluster.options = vec![
            key_value("max_connections", "50"),
            key_value("gtid_mode", "OFF"),
            key_value("skip-log-bin", ""),
        ];
        let words = spec(&cluster, 1).command;
        let at = |word: &str| words.iter().position(|w| w == word).unwrap();
        assert!(at("--max-connections=1000") < at("--max_connections=50"));
        assert!(at("--gtid_mode=OFF") < at("--gtid-mode=ON"));
        assert!(at("--skip-log-bin") < at("--log-bin=binlog"));
    }

    #[test]
    fn no_password_in_what_the_engine_shows() {
        let cluster = cluster("t", 1);
        let state = State::generate(&cluster).unwrap();
        let spec = container(&cluster, &state, Subnet::parse("172.20.0.0/16").unwrap(), 1);
        for secret in [&state.root, &state.monitor, &state.replication, &state.application] {
            assert!(!format!("{spec:?}").contains(secret.expose()));
        }
    }

    #[test]
    fn the_fingerprint_follows_the_options() {
        let mut cluster = cluster("t", 1);
        let label = |c: &Cluster| spec(c, 1).labels.last().unwrap().1.clone();
        let before = label(&cluster);
        assert_eq!(before, label(&cluster));
        cluster.buffer_pool_mb += 1;
        assert_ne!(before, label(&cluster));
    }
}
