//! Shared by unit tests, also those of what shows the cluster.

use crate::config::{Cluster, Server, ServerTls, ServerTlsMode};
use crate::topology::Role;

use super::view::{NodeView, ReplicationView};

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

/// "t-1" as `weir cluster status` sees it when it answers.
pub(crate) fn node_view(number: u32, role: Role, replication: Option<ReplicationView>) -> NodeView {
    let name = format!("t-{number}");
    NodeView {
        server: Server {
            name: name.clone(),
            address: format!("172.18.0.1{number}:3306"),
            tls: ServerTls { mode: ServerTlsMode::Off, ca: None },
            weight: 100,
        },
        name,
        published: ([127, 0, 0, 1], 13301).into(),
        role,
        state: "running".to_owned(),
        health: String::new(),
        version: "9.7.4".to_owned(),
        container_id: String::new(),
        replication,
    }
}
