//! One cluster with everything needed to look at it: engine, state, addresses. Looking changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Cluster, Secret};

use super::accounts::{self, Accounts};
use super::docker::{Container, Engine, Network};
use super::error::ClusterError;
use super::node::{self, LABEL_CLUSTER, MYSQL_PORT};
use super::plan::{self, Life, NodeSeen, Seen, Wanted};
use super::server::{self, Server};
use super::sql::{Client, Login, NoLogin};
use super::state::State;
use super::subnet::Subnet;

/// For all that a server is asked in one look. One that lets root in and then says nothing, as with a full
/// disk, must not hide the others.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The cluster that is wanted, and the means to reach the one that is there.
#[derive(Debug)]
pub(super) struct World {
    pub cluster: Cluster,
    pub state_dir: PathBuf,
    pub engine: Engine,
    pub state: State,
    /// Whether containers ask for their limit of open files; off once the engine has refused it.
    pub raise_files: bool,
    /// Whether mysqld has accepted the options that the nodes shall have.
    pub options_checked: bool,
}

/// One node with everything that was seen of it.
#[derive(Debug, Clone)]
pub(super) struct NodeFacts {
    pub number: u32,
    pub volume: bool,
    pub container: Option<Container>,
    pub server: Option<Server>,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub image: bool,
    pub network: bool,
    pub nodes: Vec<NodeFacts>,
    /// Nodes given up, whose data is copied anew.
    pub renewing: Vec<u32>,
    /// How many nodes there are beyond the wanted number; they stay members until they are removed.
    pub surplus: u32,
}

impl World {
    /// Connects to the engine; `state` was loaded or generated before.
    pub(super) async fn open(
        cluster: &Cluster,
        state_dir: &Path,
        state: State,
    ) -> Result<Self, ClusterError> {
        let engine = Engine::connect(cluster.docker_host.as_deref()).await?;
        Ok(Self {
            cluster: cluster.clone(),
            state_dir: state_dir.to_owned(),
            engine,
            state,
            raise_files: true,
            options_checked: false,
        })
    }

    /// What the planner is asked for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            nodes: self.nodes(),
            semi_sync: self.cluster.semi_sync,
            primary: self.state.primary,
        }
    }

    /// Writes down how many replicas are wanted from now on.
    pub(super) fn want(&mut self, replicas: u32) -> Result<(), ClusterError> {
        if self.state.replicas == Some(replicas) {
            return Ok(());
        }
        self.state.replicas = Some(replicas);
        self.state.save(&self.state_dir, &self.cluster.name)
    }

    /// How many are wanted: the primary and the replicas.
    pub(super) fn nodes(&self) -> u32 {
        self.cluster.replicas.saturating_add(1)
    }

    /// "weir-1"
    pub(super) fn name(&self, number: u32) -> String {
        node::name(&self.cluster.name, number)
    }

    /// The network's addresses; `None` until the engine has given some.
    pub(super) fn subnet(&self) -> Option<Subnet> {
        Subnet::parse(self.state.subnet.as_deref()?)
    }

    /// Whether the bridge's address is on this host: then a node's own address can be reached, without
    /// the detour through the published port.
    pub(super) fn reaches_bridge(&self) -> bool {
        self.subnet().is_some_and(|subnet| TcpListener::bind((subnet.gateway(), 0)).is_ok())
    }

    /// Where Weir speaks to node `number`.
    pub(super) fn address(&self, number: u32) -> SocketAddr {
        match self.subnet() {
            Some(subnet) if self.reaches_bridge() => (subnet.node(number), MYSQL_PORT).into(),
            _ => node::published(&self.cluster, number),
        }
    }

    /// The application's password: the configured one, else the generated one.
    pub(super) fn application_password(&self) -> &Secret {
        self.cluster.application_password.as_ref().unwrap_or(&self.state.application)
    }

    /// The accounts as wanted; `None` while there is no network to bind them to.
    pub(super) fn accounts(&self) -> Option<Accounts> {
        Some(Accounts {
            subnet: self.subnet()?,
            replication: self.state.replication.clone(),
            monitor: self.state.monitor.clone(),
            donor: self.state.donor.clone(),
            application_user: self.cluster.application_user.clone(),
            application: self.application_password().clone(),
            database: self.cluster.database.clone(),
        })
    }

    /// Logs in as root.
    pub(super) async fn root(&self, number: u32) -> Result<Client, NoLogin> {
        self.login(number, accounts::ROOT, &self.state.root).await
    }

    /// Logs in as the account by which a server is copied.
    pub(super) async fn as_donor(&self, number: u32) -> Result<Client, NoLogin> {
        self.login(number, accounts::DONOR, &self.state.donor).await
    }

    /// Logs in as root where the server has answered before: a failure is an error.
    pub(super) async fn root_now(&self, number: u32) -> Result<Client, ClusterError> {
        self.root(number).await.map_err(|refusal| match refusal {
            NoLogin::Denied(cause) => self.denied(number, cause),
            NoLogin::Unreachable(cause) => {
                ClusterError::Sql { node: self.name(number), doing: "connecting".to_owned(), cause }
            }
        })
    }

    /// The error for a refused root.
    pub(super) fn denied(&self, number: u32, cause: String) -> ClusterError {
        ClusterError::Denied {
            node: self.name(number),
            address: self.address(number).to_string(),
            user: accounts::ROOT.to_owned(),
            cause,
            state: State::path(&self.state_dir, &self.cluster.name),
        }
    }

    /// The node's data is as the cluster's, or the node is gone: there is nothing to renew any more.
    pub(super) fn forget_renewal(&mut self, number: u32) -> Result<(), ClusterError> {
        if !self.state.renewing.contains(&number) {
            return Ok(());
        }
        self.state.renewing.retain(|other| *other != number);
        self.state.save(&self.state_dir, &self.cluster.name)
    }

    /// Looks at everything: the engine first, then each server that answers.
    pub(super) async fn look(&self) -> Result<Facts, ClusterError> {
        let networks = self.networks().await?;
        let network = matches!(networks.as_slice(), [only] if self.is_finished(only));
        let in_use = self.in_use().await?;
        let members = plan::members(&in_use, self.nodes());
        let looks = members.iter().map(|number| self.look_at_node(*number));
        let nodes = futures_util::future::try_join_all(looks).await?;
        let in_use = u32::try_from(in_use.len()).unwrap_or(u32::MAX);
        Ok(Facts {
            image: self.engine.has_image(&self.cluster.image).await?,
            network,
            nodes,
            renewing: self.state.renewing.clone(),
            surplus: in_use.saturating_sub(self.nodes()),
        })
    }

    /// The nodes of the cluster, also those that are yet to be made.
    pub(super) async fn members(&self) -> Result<Vec<u32>, ClusterError> {
        Ok(plan::members(&self.in_use().await?, self.nodes()))
    }

    /// Numbers of which something carries the cluster's label, and of those that are being renewed.
    async fn in_use(&self) -> Result<Vec<u32>, ClusterError> {
        let name = self.cluster.name.as_str();
        let containers = self.engine.containers(name).await?;
        let volumes = self.engine.volumes(name).await?;
        let names = containers.into_iter().map(|(_, name)| name).chain(volumes);
        let mut numbers: Vec<u32> = names
            .filter_map(|text| node::number(name, &text))
            .chain(self.state.renewing.iter().copied())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// All networks of the wanted name; an error when one of them is not ours.
    pub(super) async fn networks(&self) -> Result<Vec<Network>, ClusterError> {
        let name = node::network_name(&self.cluster.name);
        let networks = self.engine.networks_named(&name).await?;
        for network in &networks {
            self.check_owner("network", &name, network.cluster.as_deref())?;
        }
        Ok(networks)
    }

    /// Whether the network has the addresses that are in the state file, laid out for fixed ones.
    pub(super) fn is_finished(&self, network: &Network) -> bool {
        network.has_dynamic_range && network.subnet.is_some() && network.subnet == self.subnet()
    }

    async fn look_at_node(&self, number: u32) -> Result<NodeFacts, ClusterError> {
        let name = self.name(number);
        let volume = self.engine.volume(&name).await?;
        if let Some(owner) = &volume {
            self.check_owner("volume", &name, owner.as_deref())?;
        }
        let container = self.engine.container(&name).await?;
        if let Some(container) = &container {
            self.check_owner("container", &name, container.cluster.as_deref())?;
        }
        let runs = container.as_ref().is_some_and(|container| container.status == "running");
        let server = if runs { Box::pin(self.look_at_server(number)).await? } else { None };
        Ok(NodeFacts { number, volume: volume.is_some(), container, server })
    }

    /// `None` when it does not answer (yet), which waiting for it will make clear.
    async fn look_at_server(&self, number: u32) -> Result<Option<Server>, ClusterError> {
        let Some(accounts) = self.accounts() else { return Ok(None) };
        let client = match self.root(number).await {
            Ok(client) => client,
            Err(NoLogin::Denied(cause)) => return Err(self.denied(number, cause)),
            Err(NoLogin::Unreachable(_)) => return Ok(None),
        };
        let asked = Box::pin(self.ask_server(number, client, &accounts));
        match tokio::time::timeout(LOOK_LIMIT, asked).await {
            Ok(server) => server.map(Some),
            Err(_elapsed) => Ok(None),
        }
    }

    async fn ask_server(
        &self,
        number: u32,
        mut client: Client,
        accounts: &Accounts,
    ) -> Result<Server, ClusterError> {
        let name = self.name(number);
        let node_of = |host: &str| node::number(&self.cluster.name, host);
        let mut server = server::look(&mut client, &name, accounts, &node_of).await?;
        if !server.seen.semi_sync.available {
            server.seen.semi_sync.available = self.has_semi_sync_files(number, &mut client).await?;
        }
        client.close().await;
        server.seen.accounts = server.seen.accounts && self.passwords_work(number).await;
        Ok(server)
    }

    async fn has_semi_sync_files(
        &self,
        number: u32,
        client: &mut Client,
    ) -> Result<bool, ClusterError> {
        let directory =
            client.value("SELECT @@plugin_dir", "asking for the plugin directory").await?;
        let file =
            format!("{}/semisync_source.so", directory.unwrap_or_default().trim_end_matches('/'));
        self.engine.has_file(&self.name(number), &file).await
    }

    /// Whether the accounts that Weir itself uses and the application's get in with the passwords that they should have.
    async fn passwords_work(&self, number: u32) -> bool {
        let logins = [
            (accounts::MONITOR, &self.state.monitor),
            (accounts::DONOR, &self.state.donor),
            (self.cluster.application_user.as_str(), self.application_password()),
        ];
        for (user, password) in logins {
            match self.login(number, user, password).await {
                Ok(client) => client.close().await,
                Err(_) => return false,
            }
        }
        true
    }

    async fn login(&self, number: u32, user: &str, password: &Secret) -> Result<Client, NoLogin> {
        let (name, address) = (self.name(number), self.address(number));
        Client::connect(Login { node: &name, address, user, password }).await
    }

    /// What is there under a wanted name must be ours.
    fn check_owner(
        &self,
        kind: &'static str,
        name: &str,
        owner: Option<&str>,
    ) -> Result<(), ClusterError> {
        if owner == Some(self.cluster.name.as_str()) {
            return Ok(());
        }
        let label = format!("{LABEL_CLUSTER}={}", self.cluster.name);
        Err(ClusterError::Foreign { kind, name: name.to_owned(), label })
    }
}

impl Facts {
    /// What the planner needs of it.
    pub(super) fn seen(&self) -> Seen {
        let last = self.nodes.iter().map(|node| node.number).max().unwrap_or(0);
        let nodes = (1..=last).map(|number| {
            let found = self.nodes.iter().find(|node| node.number == number);
            found.map_or_else(NodeSeen::default, |node| NodeSeen {
                volume: node.volume,
                container: node.container.as_ref().map_or(Life::Missing, life),
                server: node.server.as_ref().map(|server| server.seen),
            })
        });
        Seen {
            image: self.image,
            network: self.network,
            nodes: nodes.collect(),
            renewing: self.renewing.clone(),
        }
    }
}

fn life(container: &Container) -> Life {
    match container.status.as_str() {
        "running" | "restarting" if !container.detached => Life::Running,
        _ => Life::Stopped,
    }
}
