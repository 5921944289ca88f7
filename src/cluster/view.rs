//! What the rest of Weir and operators get to know about the cluster.

use std::net::SocketAddr;

use crate::config::{self, Secret, ServerTls};
use crate::topology::Role;

use super::accounts;
use super::docker::Container;
use super::failover::FailedOver;
use super::group::Member;
use super::node;
use super::plan;
use super::server::{self, Replication, Server};
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
    /// The last time that a dead primary was replaced.
    pub failed_over: Option<FailedOver>,
}

/// One node of it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// "weir-1": container, volume and name on the network.
    pub name: String,
    /// What Weir connects to: the container's own address where it can be reached from here, since the
    /// engine's userland proxy behind published ports is slow; else the published port. Fixed for the
    /// life of the cluster.
    pub server: config::Server,
    /// Where people and tools connect: on this host, or on that of an engine elsewhere.
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
    /// Of a member of a group, in MySQL's word: "ONLINE", "RECOVERING", ..
    pub member: Option<String>,
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
            failed_over: world.state.failed_over.clone(),
        }
    }
}

/// The node as the proxy needs it.
pub(super) fn server_of(world: &World, number: u32) -> config::Server {
    config::Server {
        name: world.name(number),
        address: world.address(number).to_string(),
        tls: ServerTls { mode: node::server_tls(&world.cluster, world.host), ca: None },
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
        (Some(server), _) if server.seen.source.is_some() || is_member(server) => Role::Replica,
        _ => Role::Unknown,
    };
    let container = node.container.as_ref();
    let has = node.server.as_ref().map(|server| server::transactions(&server.executed));
    let behind = executed.zip(has).map(|(all, has)| all.saturating_sub(has));
    let replication = node.server.as_ref().and_then(|server| server.replication.as_ref());
    NodeView {
        server: server_of(world, node.number),
        published: world.published(node.number),
        role,
        state: container.map_or_else(|| "missing".to_owned(), |container| container.status.clone()),
        health: container.map(|container: &Container| container.health.clone()).unwrap_or_default(),
        version: node.server.as_ref().map(|server| server.version.clone()).unwrap_or_default(),
        container_id: container.map(|container| container.id.clone()).unwrap_or_default(),
        replication: of_group(world, node, primary, behind)
            .or_else(|| replication.map(|replication| replication_view(replication, behind))),
        name,
    }
}

fn is_member(server: &Server) -> bool {
    server.seen.group.is_some_and(|group| group.state.belongs())
}

/// A member of a group follows its primary as long as it is ONLINE. `None` for the primary itself.
fn of_group(
    world: &World,
    node: &NodeFacts,
    primary: Option<u32>,
    behind: Option<u64>,
) -> Option<ReplicationView> {
    let group = node.server.as_ref()?.seen.group.filter(|_| primary != Some(node.number))?;
    let runs = if group.state == Member::Online { "Yes" } else { "No" };
    Some(ReplicationView {
        source: primary.map(|primary| world.name(primary)).unwrap_or_default(),
        receiver: runs.to_owned(),
        applier: runs.to_owned(),
        behind,
        error: String::new(),
        member: Some(group.state.word().to_owned()),
    })
}

fn replication_view(replication: &Replication, behind: Option<u64>) -> ReplicationView {
    ReplicationView {
        source: replication.source_host.clone(),
        receiver: replication.receiver.clone(),
        applier: replication.applier.clone(),
        behind,
        error: replication.error(),
        member: None,
    }
}
