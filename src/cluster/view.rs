//! What the rest of Weir and operators get to know about the cluster.

use std::net::SocketAddr;

use crate::config::{Secret, Server, ServerTls, ServerTlsMode};
use crate::topology::Role;

use super::accounts;
use super::docker::Container;
use super::node;
use super::plan;
use super::server::{self, Replication};
use super::world::{Facts, NodeFacts, World};

/// Share of reads of a node, as `weight` under [[servers]].
const WEIGHT: u32 = 100;

/// The cluster as it is.
#[derive(Debug, Clone)]
pub struct ClusterView {
    pub name: String,
    /// Node 1 first.
    pub nodes: Vec<NodeView>,
    pub monitor_user: String,
    pub monitor_password: Secret,
    pub application_user: String,
    pub application_password: Secret,
    /// The application's.
    pub database: String,
    /// The host's address on the cluster's network: from inside a container, Weir is reached there when it
    /// listens on it. `None` before there is a network.
    pub gateway: Option<std::net::Ipv4Addr>,
    /// What is not as it should be; empty when all is right.
    pub problems: Vec<String>,
}

/// One node of it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// "weir-1": container, volume and name on the network.
    pub name: String,
    /// What Weir connects to: the container's own address where it can be reached from here, since the
    /// engine's userland proxy behind published ports is slow; else the published port. Fixed for the
    /// life of the cluster.
    pub server: Server,
    /// Where people and tools on this host connect.
    pub published: SocketAddr,
    pub role: Role,
    /// Of the container: "running", "exited", "missing", ..
    pub state: String,
    /// "healthy", "starting" or "unhealthy" as the engine's check says, "" without one.
    pub health: String,
    /// "9.7.4-2"; empty while the server does not answer.
    pub version: String,
    /// Empty while there is no container.
    pub container_id: String,
    /// Of a replica.
    pub replication: Option<ReplicationView>,
}

/// How a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationView {
    /// Name of the source.
    pub source: String,
    /// "Yes", "No" or "Connecting".
    pub receiver: String,
    /// "Yes" or "No".
    pub applier: String,
    /// Transactions that the primary has and this replica has not, as of the same look; the two are not
    /// asked at the same instant, so a busy cluster shows a few.
    pub behind: Option<u64>,
    /// Empty when there is none.
    pub error: String,
}

impl ClusterView {
    pub(super) fn new(world: &World, facts: &Facts) -> Self {
        let seen = facts.seen();
        let plan = plan::plan(world.wanted(), &seen);
        let primary = plan::apparent_primary(&seen, world.state.primary);
        // Without GTIDs there is nothing to count.
        let executed = primary.filter(|_| !world.by_position()).and_then(|primary| {
            let node = facts.nodes.iter().find(|node| node.number == primary)?;
            Some(server::transactions(&node.server.as_ref()?.executed))
        });
        let problems = match plan {
            Ok(plan) => plan
                .steps
                .iter()
                .map(|step| format!("to do: {}", step.text(&world.cluster.name)))
                .collect(),
            Err(error) => vec![error.to_string()],
        };
        Self {
            name: world.cluster.name.clone(),
            nodes: facts
                .nodes
                .iter()
                .map(|node| node_view(world, node, primary, executed))
                .collect(),
            monitor_user: accounts::MONITOR.to_owned(),
            monitor_password: world.state.monitor.clone(),
            application_user: world.cluster.application_user.clone(),
            application_password: world.application_password().clone(),
            database: world.cluster.database.clone(),
            gateway: world.subnet().map(|subnet| subnet.gateway()),
            problems,
        }
    }
}

/// The node as the proxy needs it.
pub(super) fn server_of(world: &World, number: u32) -> Server {
    Server {
        name: world.name(number),
        address: world.address(number).to_string(),
        // What passes between Weir and its own servers stays on this host's bridge.
        tls: ServerTls { mode: ServerTlsMode::Off, ca: None },
        weight: WEIGHT,
    }
}

/// `executed`: how many transactions the primary has.
fn node_view(
    world: &World,
    node: &NodeFacts,
    primary: Option<u32>,
    executed: Option<u64>,
) -> NodeView {
    let name = world.name(node.number);
    let role = match (&node.server, primary) {
        (Some(_), Some(primary)) if primary == node.number => Role::Primary,
        (Some(server), _) if server.seen.source.is_some() => Role::Replica,
        _ => Role::Unknown,
    };
    let container = node.container.as_ref();
    let has = node.server.as_ref().map(|server| server::transactions(&server.executed));
    let behind = executed.zip(has).map(|(all, has)| all.saturating_sub(has));
    let replication = node.server.as_ref().and_then(|server| server.replication.as_ref());
    NodeView {
        server: server_of(world, node.number),
        published: node::published(&world.cluster, node.number),
        role,
        state: container.map_or_else(|| "missing".to_owned(), |container| container.status.clone()),
        health: container.map(|container: &Container| container.health.clone()).unwrap_or_default(),
        version: node.server.as_ref().map(|server| server.version.clone()).unwrap_or_default(),
        container_id: container.map(|container| container.id.clone()).unwrap_or_default(),
        replication: replication.map(|replication| replication_view(replication, behind)),
        name,
    }
}

fn replication_view(replication: &Replication, behind: Option<u64>) -> ReplicationView {
    ReplicationView {
        source: replication.source_host.clone(),
        receiver: replication.receiver.clone(),
        applier: replication.applier.clone(),
        behind,
        error: replication.error.clone(),
    }
}
