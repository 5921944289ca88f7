//! One cluster with everything needed to look at it: engine, state, addresses. Looking changes nothing.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Cluster, Data, Replication, Secret};

use super::accounts::{self, Accounts};
use super::diagnose::texts;
use super::docker::{self, Container, Engine, Network};
use super::error::ClusterError;
use super::group;
use super::lease::Right;
use super::node::{self, LABEL_CLUSTER, MYSQL_PORT};
use super::plan::{self, Life, NodeSeen, Place, Seen, SemiSyncLimits, Wanted};
use super::server::{self, Server};
use super::snapshot;
use super::sql::{Client, Login, NoLogin};
use super::state::State;
use super::subnet::Subnet;

/// For all that a server is asked in one look. One that lets root in and then says nothing, as with a full
/// disk, must not hide the others.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A first start takes seconds; recovery of a large data directory minutes.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(600);
/// <https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html>
const TABLE_FULL: &str = "ERROR 1114 ";
/// How long a server that has answered may refuse to.
const BACK_LIMIT: Duration = Duration::from_secs(10);
const BACK_POLL: Duration = Duration::from_millis(100);

/// The cluster that is wanted, and the means to reach the one that is there.
#[derive(Debug)]
pub(super) struct World {
    pub cluster: Cluster,
    pub state_dir: PathBuf,
    pub engine: Engine,
    /// Of the engine, where that is not this host.
    pub host: Option<IpAddr>,
    pub state: State,
    /// `None` for one who only looks.
    right: Option<Arc<Right>>,
    /// Whether containers ask for their limit of open files; off once the engine has refused it.
    pub raise_files: bool,
    /// How long a server that was started may take to answer.
    pub answer_limit: Duration,
}

/// One node with everything that was seen of it.
#[derive(Debug, Clone)]
pub(super) struct NodeFacts {
    pub number: u32,
    pub place: Data,
    /// Whether that place is there: the volume, the folder, or the container.
    pub volume: bool,
    pub container: Option<Container>,
    pub server: Option<Server>,
    /// Why there is no answer of a server whose container runs.
    pub refusal: Option<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub image: bool,
    pub network: bool,
    pub nodes: Vec<NodeFacts>,
    /// Nodes given up, whose data is copied anew.
    pub renewing: Vec<u32>,
    /// Nodes without data for which a snapshot would do.
    pub seeds: Vec<u32>,
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
        group::check_kind(cluster, &state)?;
        let engine = Engine::connect(cluster).await?;
        let mut world = Self {
            cluster: cluster.clone(),
            state_dir: state_dir.to_owned(),
            engine,
            host: engine_host(cluster).await?,
            state,
            right: None,
            raise_files: true,
            answer_limit: ANSWER_LIMIT,
        };
        world.recognise_volumes().await?;
        Ok(world)
    }

    /// An older Weir wrote down no places, and knew of volumes only.
    async fn recognise_volumes(&mut self) -> Result<(), ClusterError> {
        if self.cluster.data == Data::Volume {
            return Ok(());
        }
        for volume in self.engine.volumes(&self.cluster.name).await? {
            if let Some(number) = node::number(&self.cluster.name, &volume) {
                self.state.places.entry(number).or_insert(Data::Volume);
            }
        }
        Ok(())
    }

    /// Where node `number` has its data, or shall have it.
    pub(super) fn place(&self, number: u32) -> &Data {
        self.state.place(&self.cluster, number)
    }

    /// The same in words: "volume weir-1".
    pub(super) fn place_text(&self, number: u32) -> String {
        node::place(&self.cluster.name, number, self.place(number))
    }

    /// Writes down where the node's data is, before anything is there.
    pub(super) async fn settle(&mut self, number: u32) -> Result<(), ClusterError> {
        if self.state.places.contains_key(&number) {
            return Ok(());
        }
        self.state.places.insert(number, self.cluster.data.clone());
        self.save().await
    }

    /// The node's data is gone; what comes next may be elsewhere.
    pub(super) async fn forget_place(&mut self, number: u32) -> Result<(), ClusterError> {
        match self.state.places.remove(&number) {
            Some(_) => self.save().await,
            None => Ok(()),
        }
    }

    /// As [`Self::open`], for one who has the right to change the cluster.
    pub(super) async fn open_with(
        cluster: &Cluster,
        state: State,
        right: &Arc<Right>,
        state_dir: &Path,
    ) -> Result<Self, ClusterError> {
        let world = Self::open(cluster, state_dir, state).await?;
        Ok(Self { right: Some(Arc::clone(right)), ..world })
    }

    /// An error unless this Weir may still change the cluster; to be asked right before what cannot be taken back.
    pub(super) async fn check(&self) -> Result<(), ClusterError> {
        self.right()?.check().await
    }

    /// Writes the state down, for all Weirs.
    pub(super) async fn save(&mut self) -> Result<(), ClusterError> {
        let right = Arc::clone(self.right()?);
        right.save(&mut self.state).await
    }

    fn right(&self) -> Result<&Arc<Right>, ClusterError> {
        let cluster = || self.cluster.name.clone();
        self.right.as_ref().ok_or_else(|| ClusterError::LeadLost {
            cluster: cluster(),
            leader: "nobody that was asked".to_owned(),
        })
    }

    /// What the planner is asked for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            nodes: self.nodes(),
            semi_sync: self.cluster.semi_sync,
            semi_sync_limits: self.semi_sync_limits(),
            pull: self.cluster.pull,
            primary: self.state.primary,
            replication: self.cluster.replication,
        }
    }

    pub(super) fn semi_sync_limits(&self) -> SemiSyncLimits {
        let timeout_ms = self.cluster.semi_sync_timeout.as_millis();
        SemiSyncLimits {
            acks: self.cluster.semi_sync_acks,
            timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX),
        }
    }

    /// Whether the servers run without GTIDs.
    pub(super) fn by_position(&self) -> bool {
        self.cluster.replication == Replication::File
    }

    /// Writes down how many replicas are wanted from now on.
    pub(super) async fn want(&mut self, replicas: u32) -> Result<(), ClusterError> {
        if self.state.replicas == Some(replicas) {
            return Ok(());
        }
        self.state.replicas = Some(replicas);
        self.save().await
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
        // A bridge of this host may have the same addresses as one of another host.
        self.host.is_none()
            && self.subnet().is_some_and(|subnet| TcpListener::bind((subnet.gateway(), 0)).is_ok())
    }

    /// Where Weir speaks to node `number`.
    pub(super) fn address(&self, number: u32) -> SocketAddr {
        match self.subnet() {
            Some(subnet) if self.reaches_bridge() => (subnet.node(number), MYSQL_PORT).into(),
            _ => self.published(number),
        }
    }

    /// Where people and tools reach node `number`.
    pub(super) fn published(&self, number: u32) -> SocketAddr {
        node::published(&self.cluster, number, self.host)
    }

    /// The application's password: the configured one, else the generated one.
    pub(super) fn application_password(&self) -> &Secret {
        self.cluster.application_password.as_ref().unwrap_or(&self.state.application)
    }

    /// The accounts as wanted; `None` while there is no network to bind them to.
    pub(super) fn accounts(&self) -> Option<Accounts> {
        Some(Accounts {
            subnet: self.subnet()?,
            remote: self.host.is_some(),
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

    /// Logs in as root where the server has answered before: a failure that lasts is an error. One that was copied
    /// to by an earlier Weir goes down with its new data at any moment, and comes back.
    pub(super) async fn root_now(&self, number: u32) -> Result<Client, ClusterError> {
        let started = tokio::time::Instant::now();
        loop {
            match self.root(number).await {
                Ok(client) => return Ok(client),
                Err(NoLogin::Denied(cause)) => return Err(self.denied(number, cause)),
                Err(NoLogin::Unreachable(_)) if started.elapsed() < BACK_LIMIT => {
                    tokio::time::sleep(BACK_POLL).await;
                }
                Err(NoLogin::Unreachable(cause)) => {
                    let doing = "connecting".to_owned();
                    return Err(ClusterError::Sql { node: self.name(number), doing, cause });
                }
            }
        }
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
    pub(super) async fn forget_renewal(&mut self, number: u32) -> Result<(), ClusterError> {
        if !self.state.renewing.contains(&number) {
            return Ok(());
        }
        self.state.renewing.retain(|other| *other != number);
        self.save().await
    }

    /// Where a node runs with the engine's limit of open files, no other needs to ask for more.
    pub(super) async fn learn_limits(&mut self) -> Result<(), ClusterError> {
        if !self.raise_files {
            return Ok(());
        }
        for number in self.in_use().await? {
            let seen = self.engine.container(&self.name(number)).await?;
            if seen.is_some_and(|seen| seen.status != "created" && !seen.raises_files) {
                self.raise_files = false;
            }
        }
        Ok(())
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
        let mut facts = Facts {
            image: self.engine.has_image(&self.cluster.image).await?,
            network,
            nodes,
            renewing: self.state.renewing.clone(),
            seeds: Vec::new(),
            surplus: in_use.saturating_sub(self.nodes()),
        };
        facts.seeds = Box::pin(snapshot::to_seed(self, &facts)).await?;
        Ok(facts)
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
        let names = containers.into_iter().map(|container| container.name).chain(volumes);
        let folders = self.state.places.iter();
        let folders = folders.filter(|(_, place)| matches!(place, Data::Folder(_)));
        let mut numbers: Vec<u32> = names
            .filter_map(|text| node::number(name, &text))
            .chain(self.state.renewing.iter().copied())
            .chain(folders.map(|(number, _)| *number))
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
        let place = self.place(number).clone();
        let container = self.engine.container(&name).await?;
        if let Some(container) = &container {
            self.check_owner("container", &name, container.cluster.as_deref())?;
        }
        let volume = match &place {
            // One that was not filled to its end is as good as none.
            Data::Volume => self.has_volume(&name).await? && !self.state.seeding.contains(&number),
            // Looked into before a container is made; that is dear.
            Data::Folder(_) => self.state.places.contains_key(&number),
            Data::Container => container.is_some(),
        };
        let runs = container.as_ref().is_some_and(|container| container.status == "running");
        let (server, refusal) = match runs {
            true => match Box::pin(self.look_at_server(number)).await? {
                Ok(server) => (Some(server), None),
                Err(refusal) => (None, Some(refusal)),
            },
            false => (None, None),
        };
        Ok(NodeFacts { number, place, volume, container, server, refusal })
    }

    async fn has_volume(&self, name: &str) -> Result<bool, ClusterError> {
        let Some(owner) = self.engine.volume(name).await? else { return Ok(false) };
        self.check_owner("volume", name, owner.as_deref())?;
        Ok(true)
    }

    /// Or why it does not answer (yet), which waiting for it will make clear. One that answers with errors, as when
    /// its disk is full, hides the others no more than one that is silent.
    async fn look_at_server(&self, number: u32) -> Result<Result<Server, String>, ClusterError> {
        let Some(accounts) = self.accounts() else {
            return Ok(Err("the cluster's network has no addresses yet".to_owned()));
        };
        let client = match self.root(number).await {
            Ok(client) => client,
            Err(NoLogin::Denied(cause)) => return Err(self.denied(number, cause)),
            Err(NoLogin::Unreachable(cause)) => return Ok(Err(cause)),
        };
        let asked = Box::pin(self.ask_server(number, client, &accounts));
        match tokio::time::timeout(LOOK_LIMIT, asked).await {
            Ok(Ok(server)) => Ok(Ok(server)),
            Ok(Err(ClusterError::Sql { doing, cause, .. })) => {
                tracing::debug!(node = self.name(number), doing, cause, "it cannot answer");
                // The server names a table that is another each time.
                let full = texts::is_disk_full(0, &cause) || cause.contains(TABLE_FULL);
                let cause = if full { "there is no room to write" } else { cause.as_str() };
                Ok(Err(format!("{doing} failed: {cause}")))
            }
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Ok(Err(format!("no answer within {} s", LOOK_LIMIT.as_secs()))),
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
        if self.cluster.is_group() {
            let of_group = group::look(&mut client).await?;
            (server.seen.group, server.received) = (Some(of_group.seen), of_group.received);
        } else if !server.seen.semi_sync.available {
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
        let tls = node::root_speaks_tls(&self.cluster, self.host);
        Client::connect(Login { node: &name, address, user, password, tls }).await
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

/// The address of the engine's host, where that is not this one.
async fn engine_host(cluster: &Cluster) -> Result<Option<IpAddr>, ClusterError> {
    let Some((host, port)) = docker::remote_host(cluster) else { return Ok(None) };
    let unreachable = |cause: String| ClusterError::EngineUnreachable { host: host.clone(), cause };
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let found: Vec<IpAddr> =
        found.map_err(|error| unreachable(error.to_string()))?.map(|found| found.ip()).collect();
    // The nodes are published at every IPv4 address of it.
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first()).copied();
    first.map(Some).ok_or_else(|| unreachable("its name has no address".to_owned()))
}

impl Facts {
    /// What the planner needs of it.
    pub(super) fn seen(&self) -> Seen {
        let complete = group::complete(&self.nodes, &self.renewing);
        let last = self.nodes.iter().map(|node| node.number).max().unwrap_or(0);
        let nodes = (1..=last).map(|number| {
            let found = self.nodes.iter().find(|node| node.number == number);
            found.map_or_else(NodeSeen::default, |node| NodeSeen {
                place: match node.place {
                    Data::Volume => Place::Volume,
                    Data::Folder(_) => Place::Folder,
                    Data::Container => Place::Container,
                },
                volume: node.volume,
                container: node.container.as_ref().map_or(Life::Missing, life),
                server: node.server.as_ref().map(|server| {
                    let mut seen = server.seen;
                    if let Some(group) = &mut seen.group {
                        group.complete = complete.contains(&number);
                    }
                    seen
                }),
            })
        });
        Seen {
            image: self.image,
            network: self.network,
            nodes: nodes.collect(),
            renewing: self.renewing.clone(),
            seeds: self.seeds.clone(),
        }
    }
}

fn life(container: &Container) -> Life {
    match container.status.as_str() {
        "running" | "restarting" if !container.detached => Life::Running,
        _ => Life::Stopped,
    }
}
