//! What a node is made of: names, labels, mysqld's options, the container. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{Cluster, Data, OptionFile, Replication, ServerTlsMode, mysqld_argument};

use super::group;
use super::state::State;
use super::subnet::Subnet;

/// Every container, volume and network of a cluster carries this label with the cluster's name.
pub(super) const LABEL_CLUSTER: &str = "dev.weir.cluster";
/// Containers and volumes: the node's number.
pub(super) const LABEL_NODE: &str = "dev.weir.node";
/// Containers: names the image and options that it was made with.
pub(super) const LABEL_SPEC: &str = "dev.weir.spec";
/// The lock's container: which lock file its holder has, and the holder in words.
pub(super) const LABEL_OWNER: &str = "dev.weir.owner";
pub(super) const LABEL_LEADER: &str = "dev.weir.leader";
/// Volumes that hold nothing: what all Weirs of the cluster share, as JSON.
pub(super) const LABEL_RECORD: &str = "dev.weir.record";

/// Containers: where the data is, where that is no volume, as `data` in `[cluster]` says it.
pub(super) const LABEL_DATA: &str = "dev.weir.data";
/// That label's value where the data goes with the container.
pub(super) const HOLDS_DATA: &str = "container";

/// mysqld's own port, inside the container.
pub(super) const MYSQL_PORT: u16 = 3306;
/// Where the data directory is in every image.
pub(super) const DATA_DIR: &str = "/var/lib/mysql";
/// Where it is in the container's own layer: the official images declare the other as a volume.
const LAYER_DATA_DIR: &str = "/var/lib/weir-data";
/// The file in the container from which the entry point reads root's password (relative to /).
pub(super) const ROOT_PASSWORD_FILE: &str = "run/weir-root-password";
/// User and group id of mysqld in the official image and in ours: reads that file.
pub(super) const MYSQL_UID: u32 = 999;

/// How long the engine waits for a clean shutdown before it kills, seconds.
pub(super) const STOP_SECONDS: i32 = 60;
/// Open files a server may have.
pub(super) const OPEN_FILES: i64 = 65_536;
const MAX_CONNECTIONS: u32 = 1_000;
/// A replica without news from its source reconnects after this, seconds.
const NET_TIMEOUT_SECONDS: u32 = 10;

/// "weir-1"
pub(super) fn name(cluster: &str, number: u32) -> String {
    format!("{cluster}-{number}")
}

/// The throw-away container in which mysqld judges its options.
pub(super) fn check_name(cluster: &str) -> String {
    format!("{cluster}-check-options")
}

/// The container by which a Weir leads. No cluster's name has a dot, so no node's name is like it.
pub(super) fn lock_name(cluster: &str) -> String {
    format!("{cluster}.lock")
}

/// The volume whose label is the record of that number.
pub(super) fn record_name(cluster: &str, sequence: u64) -> String {
    format!("{cluster}.record.{sequence}")
}

/// The throw-away container that looks into folders of the host.
pub(super) fn folder_name(cluster: &str) -> String {
    format!("{cluster}-check-folder")
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

/// Where node `number` is published: on 127.0.0.1, or at the address of an engine's host that is another.
pub(super) fn published(cluster: &Cluster, number: u32, host: Option<IpAddr>) -> SocketAddr {
    let offset = u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
    let port = cluster.port_base.saturating_add(offset);
    SocketAddr::new(host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
}

/// How Weir speaks to the nodes, whose certificates are their own making. By default in clear where that stays on this
/// host's bridge (`host` is `None`).
pub(super) fn server_tls(cluster: &Cluster, host: Option<IpAddr>) -> ServerTlsMode {
    let default = host.map_or(ServerTlsMode::Off, |_| ServerTlsMode::Required);
    cluster.server_tls.unwrap_or(default)
}

/// Whether Weir's logins as root insist on TLS: they cannot merely prefer it, and between hosts it is preferred.
pub(super) fn root_speaks_tls(cluster: &Cluster, host: Option<IpAddr>) -> bool {
    match server_tls(cluster, host) {
        ServerTlsMode::Off => false,
        ServerTlsMode::Preferred => host.is_some(),
        ServerTlsMode::Required | ServerTlsMode::VerifyCa | ServerTlsMode::VerifyIdentity => true,
    }
}

/// The folder of node `number` in the folder of `[cluster] data`; its data is in a folder "data" of it, beside
/// Weir's mark.
pub(super) fn folder(cluster: &str, number: u32, base: &Path) -> PathBuf {
    base.join(name(cluster, number))
}

/// Where the data directory is in the container.
pub(super) fn data_dir(data: &Data) -> &'static str {
    match data {
        Data::Container => LAYER_DATA_DIR,
        Data::Volume | Data::Folder(_) => DATA_DIR,
    }
}

/// Where the data of node `number` is, in words.
pub(super) fn place(cluster: &str, number: u32, data: &Data) -> String {
    let name = name(cluster, number);
    match data {
        Data::Volume => format!("volume {name}"),
        Data::Container => format!("container {name}"),
        Data::Folder(base) => format!("folder {}", folder(cluster, number, base).display()),
    }
}

/// Every option of the operator's for node `number`; of two for the same the later one holds.
pub(super) fn options(cluster: &Cluster, number: u32) -> Vec<&(String, String)> {
    fn of(file: Option<&OptionFile>) -> &[(String, String)] {
        file.map(|file| file.options.as_slice()).unwrap_or_default()
    }
    let node = cluster.nodes.get(&number);
    let own = node.and_then(|node| node.option_file.as_ref());
    let lists = [
        of(cluster.option_file.as_ref()),
        cluster.options.as_slice(),
        of(own),
        node.map(|node| node.options.as_slice()).unwrap_or_default(),
    ];
    lists.into_iter().flatten().collect()
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
    pub data: DataMount,
    pub health: Vec<String>,
    /// `None` takes what the engine gives.
    pub open_files: Option<i64>,
}

/// What a container has its data directory in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataMount {
    /// By name.
    Volume(String),
    /// Of the engine's host.
    Folder(PathBuf),
    /// Its own layer.
    Layer,
}

/// The container of node `number`, published where `host` says, as [`published`].
pub(super) fn container(
    cluster: &Cluster,
    state: &State,
    subnet: Subnet,
    number: u32,
    host: Option<IpAddr>,
) -> ContainerSpec {
    let name = name(&cluster.name, number);
    let place = state.place(cluster, number);
    // A Weir on another host comes from an address that is not known beforehand.
    let root_host = host.map_or_else(|| subnet.account_host(), |_| "%".to_owned());
    let outside = host.map(|_| IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut spec = ContainerSpec {
        image: cluster.image.clone(),
        command: command(cluster, state, number),
        environment: vec![
            format!("MYSQL_ROOT_PASSWORD_FILE=/{ROOT_PASSWORD_FILE}"),
            // Root comes from the node itself, or from the cluster's own network, where Weir is.
            format!("MYSQL_ROOT_HOST={root_host}"),
        ],
        labels: labels(&cluster.name, number),
        network: network_name(&cluster.name),
        address: subnet.node(number),
        published: published(cluster, number, outside),
        data: match place {
            Data::Volume => DataMount::Volume(name.clone()),
            Data::Container => DataMount::Layer,
            Data::Folder(base) => {
                DataMount::Folder(folder(&cluster.name, number, base).join("data"))
            }
        },
        health: health_check(),
        open_files: Some(OPEN_FILES),
        name,
    };
    let sum = fingerprint(&spec);
    spec.labels.push((LABEL_SPEC.to_owned(), sum));
    if *place != Data::Volume {
        spec.labels.push((LABEL_DATA.to_owned(), place.to_string()));
    }
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
        format!("--replica-parallel-workers={}", cluster.applier_workers),
        format!("--replica-net-timeout={NET_TIMEOUT_SECONDS}"),
        "--loose-mysqlx=OFF".to_owned(),
    ];
    words.extend(group::defaults(cluster));
    words.extend(options(cluster, number).into_iter().map(mysqld_argument));
    let id = state.server_id_base.saturating_add(number).saturating_sub(1);
    let gtids = match cluster.replication {
        Replication::Gtid | Replication::Group => "ON",
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
    let data = state.place(cluster, number);
    if data_dir(data) != DATA_DIR {
        words.push(format!("--datadir={}", data_dir(data)));
    }
    words.extend(group::options(state, number));
    words
}

/// Over TCP, because a first start's temporary server, if there is one, has a socket only. No password: a refused
/// login is an answer too, for which mysqladmin ends with 0.
pub(super) fn health_check() -> Vec<String> {
    let words =
        "mysqladmin --no-defaults --host=127.0.0.1 --user=healthcheck --connect-timeout=3 ping";
    vec!["CMD-SHELL".to_owned(), format!("{words} >/dev/null 2>&1")]
}

/// Names what the container is made of, except for what every container of ours has.
fn fingerprint(spec: &ContainerSpec) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n{}",
        spec.image,
        spec.command.join("\n"),
        spec.published,
        spec.address
    );
    if let DataMount::Folder(path) = &spec.data {
        text.push_str(&format!("\n{}", path.display()));
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;

    fn spec(cluster: &Cluster, number: u32) -> ContainerSpec {
        let mut state = State::generate(cluster).unwrap();
        state.server_id_base = 13301;
        container(cluster, &state, Subnet::parse("172.20.0.0/16").unwrap(), number, None)
    }

    #[test]
    fn nodes_differ_where_they_must() {
        let cluster = cluster("t", 2);
        let (one, two) = (spec(&cluster, 1), spec(&cluster, 2));
        assert_eq!(one.name, "t-1");
        assert_eq!(two.data, DataMount::Volume("t-2".to_owned()));
        assert_ne!(one.published.port(), two.published.port());
        assert_eq!(two.address.to_string(), "172.20.0.12");
        assert!(one.command.contains(&"--server-id=13301".to_owned()));
        assert!(two.command.contains(&"--server-id=13302".to_owned()));
        assert!(two.command.contains(&"--report-host=t-2".to_owned()));
        assert_eq!(one.environment[1], "MYSQL_ROOT_HOST=172.20.0.0/255.255.0.0");
    }

    #[test]
    fn tls_is_what_was_said_else_what_the_way_needs() {
        use ServerTlsMode::{Off, Preferred, Required};
        let away = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        for (said, host, mode, root) in [
            (None, None, Off, false),
            (None, away, Required, true),
            (Some(Required), None, Required, true),
            (Some(Preferred), None, Preferred, false),
            (Some(Preferred), away, Preferred, true),
            (Some(Off), away, Off, false),
        ] {
            let mut cluster = cluster("t", 1);
            cluster.server_tls = said;
            let got = (server_tls(&cluster, host), root_speaks_tls(&cluster, host));
            assert_eq!(got, (mode, root), "{said:?} {host:?}");
        }
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
        let spec = container(&cluster, &state, Subnet::parse("172.20.0.0/16").unwrap(), 1, None);
        for secret in [&state.root, &state.monitor, &state.replication, &state.application] {
            assert!(!format!("{spec:?}").contains(secret.expose()));
        }
    }

    #[test]
    fn the_fingerprint_follows_the_options() {
        let mut cluster = cluster("t", 1);
        let label = |c: &Cluster, number| {
            let labels = spec(c, number).labels;
            labels.into_iter().find(|(key, _)| key == LABEL_SPEC).unwrap().1
        };
        let before = [label(&cluster, 1), label(&cluster, 2)];
        assert_eq!(before[0], label(&cluster, 1));
        // What is for one node is that node's alone.
        let node = cluster.nodes.entry(2).or_default();
        node.options.push(("max_connections".to_owned(), "77".to_owned()));
        assert_eq!(before[0], label(&cluster, 1));
        assert_ne!(before[1], label(&cluster, 2));
        cluster.buffer_pool_mb += 1;
        assert_ne!(before[0], label(&cluster, 1));
    }

    #[test]
    fn of_two_options_the_nearer_one_comes_last() {
        let mut cluster = cluster("t", 1);
        let pair = |value: &str| vec![("wait_timeout".to_owned(), value.to_owned())];
        let file = |value: &str| Some(OptionFile { path: PathBuf::new(), options: pair(value) });
        cluster.option_file = file("1");
        cluster.options = pair("2");
        let own = cluster.nodes.entry(2).or_default();
        (own.option_file, own.options) = (file("3"), pair("4"));
        let values = |number| -> Vec<&str> {
            options(&cluster, number).into_iter().map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values(1), ["1", "2"]);
        assert_eq!(values(2), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_node_keeps_the_place_of_its_data() {
        let mut cluster = cluster("t", 1);
        cluster.data = Data::Folder(PathBuf::from("/srv/weir"));
        let mut state = State::generate(&cluster).unwrap();
        let subnet = Subnet::parse("172.20.0.0/16").unwrap();
        let made = container(&cluster, &state, subnet, 2, None);
        assert_eq!(made.data, DataMount::Folder(PathBuf::from("/srv/weir/t-2/data")));
        assert!(made.labels.contains(&(LABEL_DATA.to_owned(), "/srv/weir".to_owned())));
        state.places.insert(2, Data::Container);
        let made = container(&cluster, &state, subnet, 2, None);
        assert_eq!(made.data, DataMount::Layer);
        assert!(made.labels.contains(&(LABEL_DATA.to_owned(), HOLDS_DATA.to_owned())));
        assert_eq!(made.command.last().unwrap(), "--datadir=/var/lib/weir-data");
        state.places.insert(2, Data::Volume);
        let made = container(&cluster, &state, subnet, 2, None);
        assert_eq!(made.data, DataMount::Volume("t-2".to_owned()));
        assert!(!made.labels.iter().any(|(key, _)| key == LABEL_DATA));
    }

    #[test]
    fn on_an_engine_elsewhere_weir_comes_from_outside() {
        let cluster = cluster("t", 1);
        let state = State::generate(&cluster).unwrap();
        let subnet = Subnet::parse("172.20.0.0/16").unwrap();
        let host = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
        let made = container(&cluster, &state, subnet, 2, host);
        assert_eq!(made.published.to_string(), "0.0.0.0:15302");
        assert_eq!(made.environment[1], "MYSQL_ROOT_HOST=%");
        assert_eq!(published(&cluster, 2, host).to_string(), "10.0.0.7:15302");
    }
}
