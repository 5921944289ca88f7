//! Shared by the unit tests of this module.

use crate::config::Cluster;

/// A small wanted cluster.
pub(super) fn cluster(name: &str, replicas: u32) -> Cluster {
    Cluster {
        name: name.to_owned(),
        replicas,
        port_base: 15301,
        buffer_pool_mb: 128,
        ..Cluster::default()
    }
}
