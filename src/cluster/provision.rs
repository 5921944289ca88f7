//! Carries out a plan, one step at a time; after the engine's part it looks again and plans anew.
//!
//! Every step may be cut off anywhere: what it leaves behind is what the next look sees, and each step
//! does nothing when its work is done already.

mod meanwhile;

use std::time::Duration;

use tokio::time::Instant;

use super::archive;
use super::clone;
use super::docker::{Container, Engine, limit_refused};
use super::drain;
use super::error::ClusterError;
use super::folder;
use super::group;
use super::node;
use super::options;
use super::plan::{self, Plan, Step};
use super::progress::Progress;
use super::replication;
use super::snapshot;
use super::sql::NoLogin;
use super::subnet::Subnet;
use super::world::{Facts, NodeFacts, World};
use crate::config::{Data, Pull};
use meanwhile::{Resisting, take_or_turn};

/// Look, plan, do: the engine's part and the servers' part are two rounds; the others are for what
/// changed meanwhile.
const MAX_ROUNDS: u32 = 6;
const ANSWER_POLL: Duration = Duration::from_millis(250);
/// A container that the engine had to start again so often will not come up.
const MAX_RESTARTS: i64 = 3;
/// Lines of a container's log that go into an error.
const LOG_LINES: u32 = 15;
/// Attempts to get a network whose addresses nobody else took in between.
const NETWORK_ATTEMPTS: u32 = 3;

/// Makes the cluster right; returns what was seen at the end.
pub(super) async fn reconcile(
    world: &mut World,
    progress: &dyn Progress,
) -> Result<Facts, ClusterError> {
    reconcile_where(world, progress, &|_step| true).await
}

/// The same with only those steps that are `wanted`.
pub(super) async fn reconcile_where(
    world: &mut World,
    progress: &dyn Progress,
    wanted: &(dyn Fn(Step) -> bool + Sync),
) -> Result<Facts, ClusterError> {
    let mut left = String::new();
    let mut before = Vec::new();
    let mut resisting = Resisting::default();
    for _ in 0..MAX_ROUNDS {
        let facts = Box::pin(world.look()).await?;
        let mut plan = plan::plan(world.wanted(), &facts.seen())?;
        plan.steps.retain(|step| wanted(*step) && !resisting.concern(*step));
        record(world, plan.primary).await?;
        let Some(now) = this_round(&plan) else {
            notes(world, &facts, progress);
            return resisting.end(facts);
        };
        left = plan
            .steps
            .iter()
            .map(|step| step.text(&world.cluster.name))
            .collect::<Vec<_>>()
            .join(", ");
        let leads = leader(&plan, &facts);
        if now.iter().all(|step| step.is_wait()) {
            // Who failed is not kept from a second attempt by one who is silent.
            if !resisting.are_none() {
                return resisting.end(facts);
            }
            if now == before {
                return Err(mute(&facts, world, &now));
            }
        }
        before.clone_from(&now);
        for step in &now {
            if resisting.concern(*step) {
                continue;
            }
            let unlike =
                |other: Step| wanted(other) && !resisting.concern(other) && !now.contains(&other);
            if let Err(error) = take_or_turn(world, *step, progress, &unlike).await {
                let error = group::explain(world, &facts, *step, error);
                resisting.add(*step, leads, error)?;
            }
        }
    }
    Err(ClusterError::NotSettled { rounds: MAX_ROUNDS, left })
}

/// The primary, where it works already: then each other node is an affair of its own.
fn leader(plan: &Plan, facts: &Facts) -> Option<u32> {
    let number = plan.primary?;
    let node = facts.nodes.iter().find(|node| node.number == number)?;
    node.server.as_ref().filter(|server| !server.seen.blank).map(|_| number)
}

/// They let root in, and then cannot be asked.
fn mute(facts: &Facts, world: &World, waits: &[Step]) -> ClusterError {
    let node = |step: &Step| {
        let number = step.node()?;
        let found = facts.nodes.iter().find(|node| node.number == number);
        let why = found.and_then(|node| node.refusal.as_deref()).unwrap_or("no reason was given");
        Some(format!("{} ({why})", world.name(number)))
    };
    ClusterError::Mute { nodes: waits.iter().filter_map(node).collect::<Vec<_>>().join(", ") }
}

/// Writes down who the primary is and that the cluster is to run, before anything is done by it.
async fn record(world: &mut World, primary: Option<u32>) -> Result<(), ClusterError> {
    let state = &mut world.state;
    let primary = primary.or(state.primary);
    if state.primary == primary && !state.down {
        return Ok(());
    }
    state.epoch += u64::from(state.primary.is_some() && state.primary != primary);
    state.primary = primary;
    state.down = false;
    world.save().await
}

/// Takes one step, telling of it.
pub(super) async fn take(
    world: &mut World,
    step: Step,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    begin(world, step, progress).await?;
    Box::pin(run(world, step, progress)).await?;
    progress.end();
    Ok(())
}

pub(super) async fn begin(
    world: &World,
    step: Step,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let text = step.text(&world.cluster.name);
    if !progress.allow(step) {
        return Err(ClusterError::Stopped { before: text });
    }
    world.check().await?;
    progress.begin(&text);
    tracing::debug!(cluster = world.cluster.name, step = text, "cluster step");
    Ok(())
}

/// Whether the container was made with another image or other options than are wanted now.
pub(super) fn is_outdated(world: &World, number: u32, made: &Container) -> bool {
    let wanted = world.subnet().map(|subnet| spec(world, subnet, number));
    let wanted =
        wanted.and_then(|spec| spec.labels.into_iter().find(|(key, _)| key == node::LABEL_SPEC));
    wanted.map(|(_, sum)| sum) != made.spec
}

/// The steps until the servers have to be looked at again; `None` when there is nothing to do. A server that is
/// waited for comes last where there is something to do for others.
fn this_round(plan: &Plan) -> Option<Vec<Step>> {
    let engine: Vec<Step> = plan.steps.iter().copied().filter(|step| step.is_of_engine()).collect();
    let servers: Vec<Step> =
        plan.steps.iter().copied().filter(|step| !step.is_of_engine()).collect();
    let makes = engine.iter().any(|step| !step.is_wait());
    match (makes || servers.is_empty(), plan.steps.is_empty()) {
        (_, true) => None,
        (true, false) => Some(engine),
        (false, false) => Some(servers),
    }
}

/// What the operator should know although nothing is done about it.
fn notes(world: &World, facts: &Facts, progress: &dyn Progress) {
    if facts.surplus > 0 {
        progress.note(&format!(
            "the cluster has {} nodes, {} beyond replicas = {}; they stay until `weir cluster remove NAME`",
            facts.nodes.len(),
            facts.surplus,
            world.cluster.replicas
        ));
    }
    for node in &facts.nodes {
        node_notes(world, node, progress);
    }
    for number in world.cluster.nodes.keys() {
        if !facts.nodes.iter().any(|node| node.number == *number) {
            progress.note(&format!("[cluster.node.{number}] is for a node that is not there"));
        }
    }
    for caution in options::cautions(&world.cluster) {
        progress.note(&caution);
    }
}

fn node_notes(world: &World, node: &NodeFacts, progress: &dyn Progress) {
    let name = world.name(node.number);
    let made = node.container.as_ref();
    if made.is_some_and(|container| is_outdated(world, node.number, container)) {
        progress.note(&format!(
            "{name} was made with another image or other options than [cluster] now says; `weir cluster \
             restart --all` applies them"
        ));
    }
    if node.volume && node.place != world.cluster.data {
        progress.note(&format!(
            "{name} keeps its data in {}, not as data = {:?} in [cluster] now says; `weir cluster replace \
             {name}` moves it there (the primary after a switchover)",
            world.place_text(node.number),
            world.cluster.data.to_string()
        ));
    }
    let lacks = node.server.as_ref().is_some_and(|server| !server.seen.semi_sync.available);
    if world.cluster.semi_sync && world.cluster.replicas > 0 && lacks {
        progress.note(&format!(
            "{name} has no semi-sync plugins in its image: replication is asynchronous"
        ));
    }
}

async fn run(world: &mut World, step: Step, progress: &dyn Progress) -> Result<(), ClusterError> {
    match step {
        Step::PullImage => pull(&world.engine, &world.cluster, progress).await,
        Step::CheckOptions => options::check(world).await,
        Step::CreateNetwork => {
            // An image that is none of a server that can be managed leaves nothing behind.
            options::check(world).await?;
            create_network(world).await
        }
        Step::CreateVolume(number) => {
            // What exists counts as a node; a wrong option should leave none behind.
            options::check(world).await?;
            world.settle(number).await?;
            snapshot::forget_seeding(world, number).await?;
            create_volume(world, number).await
        }
        Step::Seed(number) => {
            options::check(world).await?;
            world.settle(number).await?;
            Box::pin(snapshot::seed(world, number, progress)).await
        }
        Step::PrepareFolder(number) => {
            options::check(world).await?;
            folder::prepare(world, number).await
        }
        Step::CreateContainer(number) => {
            options::check(world).await?;
            folder::check(world, number).await?;
            world.settle(number).await?;
            world.learn_limits().await?;
            let spec = spec(world, known_subnet(world)?, number);
            world.engine.create_container(&spec).await
        }
        Step::StartContainer(number) => start_container(world, number, progress).await,
        Step::WaitHealthy(_) | Step::JoinGroup(_) => meanwhile::wait(world, step, progress).await,
        Step::StopContainer(number) => {
            let _sign = drain::reads(world, number, progress).await;
            world.engine.stop(&world.name(number)).await
        }
        Step::RemoveContainer(number) => remove_container(world, number).await,
        Step::RemoveVolume(number) => {
            snapshot::forget_seeding(world, number).await?;
            world.engine.remove_volume(&world.name(number)).await?;
            world.forget_place(number).await
        }
        Step::RemoveFolder(number) => {
            folder::remove(world, number).await?;
            world.forget_place(number).await
        }
        Step::GiveUpData(number) => give_up_data(world, number).await,
        Step::Clone { node, donor } => clone::fill(world, node, donor, progress).await,
        Step::ClearHistory(number) => replication::clear_history(world, number).await,
        Step::InstallSemiSync(number) => replication::install_semi_sync(world, number).await,
        Step::LimitSemiSync(number) => replication::limit_semi_sync(world, number).await,
        Step::CreateAccounts(number) => create_accounts(world, number).await,
        Step::Promote(number) => replication::promote(world, number).await,
        Step::MakeWritable(number) => replication::make_writable(world, number).await,
        Step::SetReadOnly(number) => replication::set_read_only(world, number).await,
        Step::ConfigureReplica { node, source } => {
            replication::follow(world, node, source, progress).await
        }
        Step::StartReplication { node, source } => {
            replication::start_unless_held(world, node, source, progress).await
        }
        Step::PrepareGroup(number) => group::prepare(world, number).await,
        Step::FoundGroup(number) => group::found(world, number, progress).await,
        Step::LeaveGroup(number) => group::leave(world, number).await,
        Step::SemiSyncSource { node, on } => replication::semi_sync_source(world, node, on).await,
    }
}

pub(super) async fn create_volume(world: &World, number: u32) -> Result<(), ClusterError> {
    let labels = node::labels(&world.cluster.name, number);
    world.engine.create_volume(&world.name(number), labels).await
}

/// As the plan's own step, before there is a world.
pub(super) async fn pull_first(
    cluster: &crate::config::Cluster,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let text = Step::PullImage.text(&cluster.name);
    if !progress.allow(Step::PullImage) {
        return Err(ClusterError::Stopped { before: text });
    }
    progress.begin(&text);
    pull(&Engine::connect(cluster).await?, cluster, progress).await?;
    progress.end();
    Ok(())
}

async fn pull(
    engine: &Engine,
    cluster: &crate::config::Cluster,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    if cluster.pull == Pull::Never {
        return Err(ClusterError::ImageNotPulled { image: cluster.image.clone() });
    }
    engine.pull(&cluster.image, &|text| progress.detail(text)).await
}

/// Data in the container's layer goes with it, which must have been given up before.
async fn remove_container(world: &mut World, number: u32) -> Result<(), ClusterError> {
    world.engine.remove_container(&world.name(number)).await?;
    if *world.place(number) == Data::Container { world.forget_place(number).await } else { Ok(()) }
}

pub(super) fn spec(world: &World, subnet: Subnet, number: u32) -> node::ContainerSpec {
    let mut spec = node::container(&world.cluster, &world.state, subnet, number, world.host);
    spec.open_files = spec.open_files.filter(|_| world.raise_files);
    spec
}

pub(super) fn known_subnet(world: &World) -> Result<Subnet, ClusterError> {
    world.subnet().ok_or_else(|| ClusterError::Engine {
        doing: "creating a container".to_owned(),
        cause: "the cluster's network has no addresses yet; run `weir cluster up` again".to_owned(),
    })
}

/// Lets the engine choose free addresses once, writes them down, and makes the network with exactly
/// them: only then may containers have fixed ones. What an earlier, cut-off attempt left is removed.
async fn create_network(world: &mut World) -> Result<(), ClusterError> {
    let cluster = world.cluster.name.clone();
    let name = node::network_name(&cluster);
    for _ in 0..NETWORK_ATTEMPTS {
        let subnet = match world.subnet() {
            Some(subnet) => subnet,
            None => choose_subnet(world).await?,
        };
        let mut finished = false;
        for network in world.networks().await? {
            if world.is_finished(&network) && !finished {
                finished = true;
            } else {
                world.engine.remove_network(&network).await?;
            }
        }
        if finished {
            return Ok(());
        }
        match world.engine.create_network(&name, &cluster, Some(subnet)).await {
            // Nothing is bound to these addresses yet, so others will do.
            Err(ClusterError::SubnetTaken { .. }) if !has_volumes(world).await? => {
                world.state.subnet = None;
            }
            done => return done,
        }
    }
    Err(no_subnet(&name))
}

/// Makes a network to see which addresses the engine gives it, and keeps them in the state file.
async fn choose_subnet(world: &mut World) -> Result<Subnet, ClusterError> {
    let cluster = world.cluster.name.clone();
    let name = node::network_name(&cluster);
    for network in world.networks().await? {
        world.engine.remove_network(&network).await?;
    }
    world.engine.create_network(&name, &cluster, None).await?;
    let made = world.networks().await?;
    let subnet = made.first().and_then(|network| network.subnet).ok_or_else(|| no_subnet(&name))?;
    world.state.subnet = Some(subnet.to_string());
    world.save().await?;
    Ok(subnet)
}

async fn has_volumes(world: &World) -> Result<bool, ClusterError> {
    Ok(!world.engine.volumes(&world.cluster.name).await?.is_empty())
}

fn no_subnet(name: &str) -> ClusterError {
    ClusterError::Engine {
        doing: format!("creating network {name}"),
        cause: "it gave no IPv4 addresses that stayed free (a network of /25 or larger is needed)"
            .to_owned(),
    }
}

/// The password goes into the container as a file, which `docker inspect` does not show.
pub(super) async fn start_container(
    world: &mut World,
    number: u32,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let mut spec = spec(world, known_subnet(world)?, number);
    let password = world.state.root.expose().as_bytes();
    let tar = archive::one_file(node::ROOT_PASSWORD_FILE, 0o400, node::MYSQL_UID, password);
    let tar = tar.ok_or_else(|| ClusterError::Engine {
        doing: format!("putting a file into container {}", spec.name),
        cause: "the password does not fit into an archive".to_owned(),
    })?;
    match world.engine.put(&spec.name, tar.clone()).await {
        // Its making was cut off in the middle, and the engine holds half a container.
        Err(ClusterError::Engine { cause, .. })
            if cause.contains("RWLayer") && may_be_made_anew(world, number).await? =>
        {
            world.engine.remove_container(&spec.name).await?;
            world.engine.create_container(&spec).await?;
            world.engine.put(&spec.name, tar.clone()).await?;
        }
        done => done?,
    }
    match world.engine.start(&spec).await {
        Err(error) if limit_refused(&error) && may_be_made_anew(world, number).await? => {
            tracing::debug!(container = spec.name, %error, "limit of open files not raised");
            world.raise_files = false;
        }
        done => return done,
    }
    progress.detail("with the engine's own limit of open files");
    spec.open_files = None;
    world.engine.remove_container(&spec.name).await?;
    world.engine.create_container(&spec).await?;
    world.engine.put(&spec.name, tar).await?;
    world.engine.start(&spec).await
}

/// Whether no data goes with the container: it is elsewhere, or the container never ran.
async fn may_be_made_anew(world: &World, number: u32) -> Result<bool, ClusterError> {
    let container = world.engine.container(&world.name(number)).await?;
    Ok(container.is_none_or(|container| !container.holds_data || container.status == "created"))
}

/// Until root gets in, within `limit`. `restarts` is how often the engine had started the container again before.
pub(super) async fn wait_until_answers(
    world: &World,
    number: u32,
    restarts: i64,
    limit: Duration,
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let name = world.name(number);
    let started = Instant::now();
    loop {
        let container = world.engine.container(&name).await?;
        let gave_up = match container {
            None => Some("was removed while it started".to_owned()),
            Some(seen) if seen.restarts.saturating_sub(restarts) >= MAX_RESTARTS => {
                Some(format!("ended {MAX_RESTARTS} times in a row (status {})", seen.exit_code))
            }
            Some(seen) if matches!(seen.status.as_str(), "exited" | "dead") => {
                Some(format!("ended with status {}", seen.exit_code))
            }
            Some(_) => None,
        };
        let refusal = match world.root(number).await {
            Ok(client) => {
                client.close().await;
                return Ok(());
            }
            Err(NoLogin::Denied(cause)) => return Err(world.denied(number, cause)),
            Err(NoLogin::Unreachable(cause)) => cause,
        };
        let waited = started.elapsed();
        let gave_up = gave_up.or_else(|| {
            (waited > limit)
                .then(|| format!("did not answer within {} s ({refusal})", limit.as_secs()))
        });
        if let Some(what) = gave_up {
            let log = world.engine.log_tail(&name, LOG_LINES).await;
            return Err(ClusterError::Container {
                node: name,
                what,
                log: log.trim_end().to_owned(),
            });
        }
        progress.detail(&format!("{} s", waited.as_secs()));
        tokio::time::sleep(ANSWER_POLL).await;
    }
}

/// Starts a container that ended, as it is.
pub(super) async fn start_again(world: &World, number: u32) -> Result<(), ClusterError> {
    world.engine.start(&spec(world, known_subnet(world)?, number)).await
}

/// Written down first, so that whatever is cut off after it is gone on with.
pub(super) async fn give_up_data(world: &mut World, number: u32) -> Result<(), ClusterError> {
    if !world.state.renewing.contains(&number) {
        world.state.renewing.push(number);
        world.save().await?;
    }
    Ok(())
}

pub(super) async fn create_accounts(world: &World, number: u32) -> Result<(), ClusterError> {
    let accounts = world.accounts().ok_or_else(|| ClusterError::Engine {
        doing: "creating the accounts".to_owned(),
        cause: "the cluster's network has no addresses yet; run `weir cluster up` again".to_owned(),
    })?;
    let mut client = world.root_now(number).await?;
    for statement in accounts.statements() {
        client.run_secret(&statement, "creating the accounts and the database").await?;
    }
    client.close().await;
    Ok(())
}
