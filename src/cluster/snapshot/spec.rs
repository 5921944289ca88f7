//! What snapshots and copies are made of: names, labels, mysqld's options, containers. Pure.
//!
//! | label | on | holds |
//! |---|---|---|
//! | `dev.weir.kind` | all | which of the three it is |
//! | `dev.weir.snapshot` | all | the snapshot's name |
//! | `dev.weir.gtid`, `.version`, `.created`, `.from`, `.bytes` | image | where and when it was taken |
//! | `dev.weir.seeds` | image | "yes" where a node can be made of it |
//! | `dev.weir.copy`, `.started`, `.expires` | copy | its name, its time |
//!
//! An image hands its labels on to containers made of it; those of a container come before them.

use std::collections::HashMap;

use crate::cluster::docker::LayerSpec;
use crate::cluster::node::{self, LABEL_CLUSTER, ROOT_PASSWORD_FILE};
use crate::cluster::subnet::Subnet;
use crate::config::{Cluster, Secret, mysqld_argument};

use super::error::SnapshotError;

pub(super) const LABEL_KIND: &str = "dev.weir.kind";
pub(super) const LABEL_SNAPSHOT: &str = "dev.weir.snapshot";
pub(super) const LABEL_GTID: &str = "dev.weir.gtid";
pub(super) const LABEL_VERSION: &str = "dev.weir.version";
pub(super) const LABEL_CREATED: &str = "dev.weir.created";
pub(super) const LABEL_FROM: &str = "dev.weir.from";
pub(super) const LABEL_BYTES: &str = "dev.weir.bytes";
pub(super) const LABEL_SEEDS: &str = "dev.weir.seeds";
pub(super) const LABEL_COPY: &str = "dev.weir.copy";
pub(super) const LABEL_STARTED: &str = "dev.weir.started";
pub(super) const LABEL_EXPIRES: &str = "dev.weir.expires";

/// The container that takes a snapshot; what is left of one when nobody takes any is thrown away.
pub(super) const KIND_TAKING: (&str, &str) = (LABEL_KIND, "taking");
pub(super) const KIND_SNAPSHOT: (&str, &str) = (LABEL_KIND, "snapshot");
/// The container that fills a node's volume.
pub(super) const KIND_SEEDING: (&str, &str) = (LABEL_KIND, "seeding");
pub(super) const KIND_COPY: (&str, &str) = (LABEL_KIND, "copy");

/// Beside the directory that images declare as a volume, for a volume would not be committed.
pub(super) const DATA_DIR: &str = "var/lib/weir-snapshot";
/// What a copy does before it lets anybody in (relative to /).
pub(super) const INIT_FILE: &str = "run/weir-copy.sql";
const MAX_NAME_CHARS: usize = 64;
const MAX_CONNECTIONS: u32 = 1_000;
/// Each copy writes its redo log anew; a small one keeps its layer small.
const REDO_LOG_BYTES: u64 = 32 << 20;
/// Of the server that takes a snapshot, or fills a volume; it replicates with nobody.
const TAKING_SERVER_ID: u32 = u32::MAX;

/// Checks the name of a snapshot or a copy: it becomes part of an image's tag, a container's name and a
/// file's name.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), SnapshotError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = name.starts_with(plain)
        && name.len() <= MAX_NAME_CHARS
        && name.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'));
    if valid { Ok(()) } else { Err(SnapshotError::Name { what, name: name.to_owned() }) }
}

/// "weir-snapshot/weir". Image names know no upper case and no separator at their end or twice in a row
/// (<https://docs.docker.com/reference/cli/docker/image/tag/>), so a name with those is told apart by
/// its hash.
pub(super) fn repository(cluster: &str) -> String {
    let lower = cluster.to_ascii_lowercase();
    let plain: String =
        lower.split(['-', '_']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if lower == cluster && plain.len() == cluster.len() {
        return format!("weir-snapshot/{cluster}");
    }
    format!("weir-snapshot/{plain}.{:08x}", xxhash_rust::xxh3::xxh3_64(cluster.as_bytes()) >> 32)
}

/// Containers that are no nodes have a dot in their name, which a cluster's name never has.
pub(super) fn taking_name(cluster: &str) -> String {
    format!("{cluster}.snapshot")
}

pub(super) fn seeding_name(cluster: &str) -> String {
    format!("{cluster}.seeding")
}

/// "weir.copy.nightly-1"
pub(super) fn copy_name(cluster: &str, copy: &str) -> String {
    format!("{cluster}.copy.{copy}")
}

/// The container that takes a snapshot: a server of its own, on the cluster's network.
pub(super) fn taking(cluster: &Cluster, image: &str, subnet: Subnet, snapshot: &str) -> LayerSpec {
    LayerSpec {
        name: taking_name(&cluster.name),
        image: image.to_owned(),
        command: command(cluster),
        environment: vec![
            format!("MYSQL_ROOT_PASSWORD_FILE=/{ROOT_PASSWORD_FILE}"),
            format!("MYSQL_ROOT_HOST={}", subnet.account_host()),
            // What the first start makes is thrown away at once.
            "MYSQL_INITDB_SKIP_TZINFO=1".to_owned(),
        ],
        labels: labels(&cluster.name, KIND_TAKING, snapshot),
        network: Some(node::network_name(&cluster.name)),
        port: None,
        volume: None,
        health: None,
    }
}

/// The container that fills `volume` with a snapshot's data and makes it a node's: by today's options, so that data
/// that does not fit them is found out here. Nobody but root may write to it.
pub(super) fn seeding(cluster: &Cluster, snapshot: &str, image: &str, volume: &str) -> LayerSpec {
    let mut words = command(cluster);
    words.extend([format!("--init-file=/{INIT_FILE}"), "--read-only=ON".to_owned()]);
    LayerSpec {
        name: seeding_name(&cluster.name),
        image: image.to_owned(),
        command: words,
        environment: Vec::new(),
        labels: labels(&cluster.name, KIND_SEEDING, snapshot),
        network: Some(node::network_name(&cluster.name)),
        port: None,
        volume: Some((volume.to_owned(), format!("/{DATA_DIR}"))),
        health: None,
    }
}

/// The container of a copy. `command` is the image's.
///
/// It is on the engine's default bridge: from there no address of the cluster can be reached, whatever
/// somebody configures in the copy.
pub(super) fn copy(
    cluster: &str,
    snapshot: &str,
    copy: &str,
    image: &str,
    command: Vec<String>,
    server_id: u32,
) -> LayerSpec {
    let mut words = command;
    words.extend([format!("--server-id={server_id}"), format!("--init-file=/{INIT_FILE}")]);
    let mut labels = labels(cluster, KIND_COPY, snapshot);
    labels.push((LABEL_COPY.to_owned(), copy.to_owned()));
    LayerSpec {
        name: copy_name(cluster, copy),
        image: image.to_owned(),
        command: words,
        environment: Vec::new(),
        labels,
        network: None,
        port: None,
        volume: None,
        health: Some(node::health_check()),
    }
}

/// Labels that an image has beside those of its container.
pub(super) fn image_labels(
    gtid: &str,
    version: &str,
    created: &str,
    from: &str,
    bytes: u64,
    seeds: bool,
) -> HashMap<String, String> {
    let (kind, snapshot) = KIND_SNAPSHOT;
    HashMap::from([
        (kind.to_owned(), snapshot.to_owned()),
        (LABEL_GTID.to_owned(), gtid.to_owned()),
        (LABEL_VERSION.to_owned(), version.to_owned()),
        (LABEL_CREATED.to_owned(), created.to_owned()),
        (LABEL_FROM.to_owned(), from.to_owned()),
        (LABEL_BYTES.to_owned(), bytes.to_string()),
        (LABEL_SEEDS.to_owned(), if seeds { "yes" } else { "no" }.to_owned()),
    ])
}

/// What a copy does at its first start, one statement a line: root's password, and root from `host` ("%" for
/// anywhere), for the addresses that the snapshot knew are not there any more.
pub(super) fn init_sql(password: &Secret, host: &str) -> String {
    // Letters and digits only, so there is nothing to quote.
    let password = password.expose();
    format!(
        "ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED BY '{password}' ACCOUNT UNLOCK;\n\
         CREATE USER IF NOT EXISTS 'root'@'{host}';\n\
         ALTER USER 'root'@'{host}' IDENTIFIED BY '{password}' ACCOUNT UNLOCK;\n\
         GRANT ALL ON *.* TO 'root'@'{host}' WITH GRANT OPTION;\n"
    )
}

fn labels(cluster: &str, kind: (&str, &str), snapshot: &str) -> Vec<(String, String)> {
    vec![
        (LABEL_CLUSTER.to_owned(), cluster.to_owned()),
        (kind.0.to_owned(), kind.1.to_owned()),
        (LABEL_SNAPSHOT.to_owned(), snapshot.to_owned()),
    ]
}

/// mysqld with the options that the data was made with: the snapshot keeps them, and so do its copies.
/// The operator's come after the defaults, which they may change, and before what snapshots stand on.
fn command(cluster: &Cluster) -> Vec<String> {
    let mut words = vec![
        "mysqld".to_owned(),
        format!("--innodb-buffer-pool-size={}M", cluster.buffer_pool_mb),
        format!("--max-connections={MAX_CONNECTIONS}"),
        format!("--loose-innodb-redo-log-capacity={REDO_LOG_BYTES}"),
        // It would open the tables of the donor's buffer pool, and what is opened is copied into the
        // copy's layer.
        "--innodb-buffer-pool-load-at-startup=OFF".to_owned(),
        "--loose-mysqlx=OFF".to_owned(),
    ];
    let file = cluster.option_file.iter().flat_map(|file| &file.options);
    words.extend(file.chain(&cluster.options).map(mysqld_argument));
    words.extend([
        format!("--datadir=/{DATA_DIR}"),
        format!("--server-id={TAKING_SERVER_ID}"),
        // No binary log: writes to a copy get no GTIDs, and gtid_executed stays the snapshot's.
        "--disable-log-bin".to_owned(),
        "--gtid-mode=ON".to_owned(),
        "--enforce-gtid-consistency=ON".to_owned(),
        // The data comes with the settings of its own replication, until they are cleared.
        "--skip-replica-start=ON".to_owned(),
        "--loose-group-replication-start-on-boot=OFF".to_owned(),
        "--event-scheduler=OFF".to_owned(),
        "--skip-name-resolve=ON".to_owned(),
    ]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;

    #[test]
    fn names_that_fit_everywhere() {
        for name in ["a", "0", "20261121-134406", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(check_name("snapshot", name), Ok(()));
        }
        for name in ["", "A", "-a", ".a", "_a", "a/b", "a:b", "a b", "ä", &"x".repeat(65)] {
            assert!(check_name("snapshot", name).is_err(), "{name}");
        }
    }

    #[test]
    fn each_cluster_has_its_repository() {
        for (cluster, wanted) in [
            ("weir", "weir-snapshot/weir"),
            ("a-b_c", "weir-snapshot/a-b_c"),
            ("Weir", "weir-snapshot/weir."),
            ("a--b_", "weir-snapshot/a-b."),
        ] {
            let made = repository(cluster);
            let hash = made.strip_prefix(wanted).unwrap_or_else(|| panic!("{made}"));
            assert_eq!(hash.len(), if wanted.ends_with('.') { 8 } else { 0 }, "{made}");
        }
        assert_ne!(repository("A"), repository("a"));
        assert_ne!(repository("a--b"), repository("a-b-"));
    }

    #[test]
    fn what_snapshots_stand_on_comes_last() {
        let mut wanted = cluster("t", 1);
        wanted.options = vec![("event_scheduler".to_owned(), "ON".to_owned())];
        let subnet = Subnet::parse("172.20.0.0/16").unwrap();
        let words = taking(&wanted, "sha256:1", subnet, "s").command;
        let at = |word: &str| words.iter().position(|w| w == word).unwrap();
        assert!(at("--event_scheduler=ON") < at("--event-scheduler=OFF"));
        let copy = copy("t", "s", "c", "i", words, 7);
        assert_eq!(
            &copy.command[copy.command.len() - 2..],
            ["--server-id=7", "--init-file=/run/weir-copy.sql"]
        );
        assert_eq!(copy.network, None);
    }

    #[test]
    fn the_init_file_is_one_statement_a_line() {
        let sql = init_sql(&Secret::new("abc123".to_owned()), "172.20.0.0/255.255.0.0");
        assert!(sql.lines().all(|line| line.ends_with(';') && line.matches(';').count() == 1));
        assert_eq!(sql.matches("'abc123'").count(), 2);
    }
}
