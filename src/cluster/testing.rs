//! Shared by the unit tests of this module.

use crate::config::Cluster;

/// A small wanted cluster.
pub(super) fn cluster(name: &str, replicas: u32) -> Cluster {
    Cluster {
        name: name.to_owned(),
        replicas,
        image: "weir-mysql:9.7".to_owned(),
        application_user: "app".to_owned(),
        application_password: None,
        database: "app".to_owned(),
        semi_sync: true,
        failover: true,
        patience: std::time::Duration::from_secs(5),
        docker_host: None,
        port_base: 15301,
        options: Vec::new(),
        buffer_pool_mb: 128,
        replication: Default::default(),
        copy: Default::default(),
    }
}
