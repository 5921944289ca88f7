//! What can go wrong while a cluster is made or looked at: what happened, its cause, the remedy.

use std::path::PathBuf;

use super::snapshot::SnapshotError;

/// Why the cluster could not be observed or changed. No variant ever holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "the Docker Engine does not answer at {host}: {cause}. Start it (systemctl start docker, or \
         scripts/engine.sh), or name another by DOCKER_HOST or docker_host in [cluster]"
    )]
    EngineUnreachable { host: String, cause: String },

    #[error(
        "the Docker Engine at {host} may not be used by this user: {cause}. Run as root, or join the \
         group docker (usermod -aG docker USER) and log in again"
    )]
    EngineForbidden { host: String, cause: String },

    #[error("{doing} failed: the Docker Engine says: {cause}")]
    Engine { doing: String, cause: String },

    #[error(
        "image {image} is not there and cannot be pulled: {cause}. Build it (scripts/build-image.sh \
         {image}), or name another by WEIR_MYSQL_IMAGE or image in [cluster]"
    )]
    ImageMissing { image: String, cause: String },

    #[error(
        "the Weir that serves cannot read its configuration again: {cause}. Nothing was changed"
    )]
    Unread { cause: String },

    #[error("{path}, a place for data, cannot be used: {cause}. {remedy}")]
    Folder { path: PathBuf, cause: String, remedy: String },

    #[error(
        "image {image} is not there, and pull = \"never\" in [cluster]. Load it (docker load, docker build), or \
         let it be pulled"
    )]
    ImageNotPulled { image: String },

    #[error(
        "port {port} of the engine's host, wanted for {node}, is taken: {cause}. Stop what listens there, or \
         choose another port_base in [cluster]"
    )]
    PortTaken { port: u16, node: String, cause: String },

    #[error(
        "the addresses {subnet} of the cluster's network are taken by another network: {cause}. Remove \
         that network, or destroy the cluster and make it anew"
    )]
    SubnetTaken { subnet: String, cause: String },

    #[error(
        "{kind} {name} exists but was not made by Weir for this cluster (label {label} is missing or \
         different), so it is not touched. Remove or rename it, or choose another name in [cluster]"
    )]
    Foreign { kind: &'static str, name: String, label: String },

    #[error(
        "{node} {what}. The last lines of its log:\n{log}\nMend what they name (often a wrong option in \
         [cluster] options, or a full disk), then run `weir cluster up` again"
    )]
    Container { node: String, what: String, log: String },

    #[error(
        "{node} ({address}) does not let {user} in: {cause}. Its data was made with another password than \
         the one in {state}. Put the right state file back, or remove the data with `weir cluster destroy`"
    )]
    Denied { node: String, address: String, user: String, cause: String, state: PathBuf },

    #[error("{node}: {doing} failed: {cause}")]
    Sql { node: String, doing: String, cause: String },

    #[error("{who} runs {version}; [cluster] builds clusters of MySQL 8.0.26 or newer. {remedy}")]
    Unsupported { who: String, version: String, remedy: String },

    #[error("replication on {node} from {from} does not run: {cause}")]
    Replication { node: String, from: String, cause: String },

    #[error("the primary was not moved: {cause}")]
    NotMoved { cause: String },

    #[error(
        "{node} has {count} transactions that {from} does not have ({set}), so it cannot follow it. Save them if \
         they are wanted, then give it a new copy of the data: `weir cluster reclone {node}`"
    )]
    Diverged { node: String, from: String, count: u64, set: String },

    #[error(
        "{node} does not replicate from {from}, and without GTIDs nothing tells where in the log of {from} it \
         would have to begin. Save what it alone has if that is wanted, then give it a new copy of the data: \
         `weir cluster reclone {node}`"
    )]
    NoCommonPosition { node: String, from: String },

    #[error("copying the data of {donor} to {node} failed: {cause}. `weir cluster up` tries again")]
    Copy { node: String, donor: String, cause: String },

    #[error(
        "{node} needs a copy of the data, but {lacks} has no clone plugin: {cause}. Set copy = \"auto\" in \
         [cluster], or take an image with mysql_clone.so for every node, as the official ones and Weir's own"
    )]
    NoClonePlugin { node: String, lacks: String, cause: String },

    #[error(
        "the server of image {image} refuses its options: {words}. Correct {option}; nothing was started"
    )]
    Options { image: String, words: String, option: String },

    #[error(
        "image {image} has no MySQL server: `mysqld --version` says: {words}. Name another by WEIR_MYSQL_IMAGE or \
         image in [cluster]; nothing was started"
    )]
    NoServer { image: String, words: String },

    #[error("cluster {cluster} has no node {name}; its nodes are {nodes}")]
    NoSuchNode { cluster: String, name: String, nodes: String },

    #[error("{doing} is refused: {cause}. {remedy}")]
    Refused { doing: String, cause: String, remedy: String },

    #[error(
        "{node} still lacks transactions of {primary} after {seconds} s, so nothing more is restarted. See \
         `weir cluster status`, then go on with `weir cluster restart --all`"
    )]
    StillBehind { node: String, primary: String, seconds: u64 },

    #[error("{node} cannot be repaired so: {cause}")]
    Repair { node: String, cause: String },

    #[error("{0}. Nothing was changed: a human has to decide which data is right")]
    Undecided(String),

    #[error("{doing} {path}: {cause}")]
    State { doing: &'static str, path: PathBuf, cause: String },

    #[error(
        "the cluster's data is there ({places}) but {path}, which holds its passwords, is not. Put the \
         file back, or remove the data with `weir cluster destroy`"
    )]
    StateLost { path: PathBuf, places: String },

    #[error("cluster {name} has not been made yet ({path} does not exist). Run `weir cluster up`")]
    NotBuilt { name: String, path: PathBuf },

    #[error(
        "another Weir is changing this cluster at the moment (it holds {path}). Wait until it has finished"
    )]
    Busy { path: PathBuf },

    #[error(
        "cluster {cluster} is not changed from here, because another leads it: {leader}. Give the command there, \
         or stop that Weir first"
    )]
    NotLeader { cluster: String, leader: String },

    #[error(
        "the lead of cluster {cluster} was lost, so nothing more is done here; {leader} leads it now and goes on"
    )]
    LeadLost { cluster: String, leader: String },

    #[error(
        "who leads cluster {cluster} cannot be known, so nothing is changed: {cause}. Clients are served meanwhile"
    )]
    Lead { cluster: String, cause: String },

    #[error(
        "after {rounds} rounds there was still something to do ({left}); something undoes Weir's steps"
    )]
    NotSettled { rounds: u32, left: String },

    #[error(
        "{nodes}: root gets in, but the server cannot be asked how it is, as with a full disk or one that hangs; \
         `weir cluster status` says more"
    )]
    Mute { nodes: String },

    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

    #[error("stopped before: {before}")]
    Stopped { before: String },

    #[error("the operating system gave no random bytes for a password: {cause}")]
    Random { cause: String },
}
