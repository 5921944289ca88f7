//! Asks engine and servers for everything that explains trouble, and lets `diagnose` and `lag` judge it.
//! Changes nothing; each node has a limit of time, and one that does not answer within it is a finding.

mod following;
mod server;

use std::time::{Duration, SystemTime};

use futures_util::future;

use crate::gtid::GtidSet;

use super::diagnose::{
    self, ContainerSymptoms, Disk, Finding, Limits, ServerSymptoms, Symptoms, texts,
};
use super::error::ClusterError;
use super::group::{self, Member};
use super::lag::{self, Lag, LagFacts};
use super::node::data_dir;
use super::plan;
use super::renew;
use super::sql::{Client, NoLogin};
use super::world::{Facts, NodeFacts, World};
use following::Way;

/// For all questions to one node, the login included.
const NODE_LIMIT: Duration = Duration::from_secs(10);
/// Of that, for what the server is asked: one that lets root in and then says nothing must not hide what the
/// engine tells.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// For the engine to tell how full a disk is.
const DISK_LIMIT: Duration = Duration::from_secs(5);
/// The end of a container's log that is looked through.
const LOG_LINES: u32 = 200;

/// What is wrong, and why replicas are behind.
#[derive(Debug, Clone, Default)]
pub(super) struct Examination {
    pub findings: Vec<Finding>,
    pub lags: Vec<Lag>,
}

/// One node with what its lag is explained by.
struct Examined {
    symptoms: Symptoms,
    lag: Option<LagFacts>,
}

/// Looks closely at what `facts` found.
///
/// The primary is asked before the replicas and again after them: what it had before counts for the lag,
/// what it has afterwards for transactions that only a replica has. So neither is wrong while it takes
/// writes.
pub(super) async fn examine(world: &World, facts: &Facts) -> Examination {
    let primary = plan::apparent_primary(&facts.seen(), world.state.primary);
    let before = match primary {
        Some(number) => server::executed(world, number).await.unwrap_or_default(),
        None => GtidSet::new(),
    };
    let is_primary = |node: &NodeFacts| Some(node.number) == primary;
    let replicas = facts.nodes.iter().filter(|node| !is_primary(node));
    let mut examined: Vec<(u32, Examined)> =
        future::join_all(replicas.map(|node| bounded(world, node, Some(&before)))).await;
    if let Some(node) = facts.nodes.iter().find(|node| is_primary(node)) {
        examined.push(bounded(world, node, None).await);
    }
    examined.sort_by_key(|(number, _)| *number);
    if let Some(primary) = primary {
        compare_rows(world, primary, &mut examined).await;
    }
    judge(primary, examined)
}

/// Number, message and GTID of the error that the applier stopped by.
pub(super) async fn stopped_at(
    client: &mut Client,
) -> Result<Option<(u32, String, String)>, ClusterError> {
    let Some(worker) = server::worker_error(client).await? else { return Ok(None) };
    let transaction = texts::transaction(&worker.message).unwrap_or(worker.transaction);
    if transaction.is_empty() {
        return Ok(None);
    }
    Ok(Some((worker.number, texts::essence(&worker.message), transaction)))
}

fn judge(primary: Option<u32>, examined: Vec<(u32, Examined)>) -> Examination {
    let at = primary.and_then(|primary| examined.iter().position(|(number, _)| *number == primary));
    let (nodes, lags): (Vec<Symptoms>, Vec<Option<LagFacts>>) =
        examined.into_iter().map(|(_, one)| (one.symptoms, one.lag)).unzip();
    let source = at.and_then(|at| nodes.get(at)).and_then(|node| node.server.as_ref());
    let logs = source.map(|source| source.logs.as_slice()).unwrap_or_default();
    let limits = Limits::default();
    let lags = nodes.iter().zip(lags).filter_map(|(node, lag)| {
        let mut lag = lag?;
        if let Some(status) = node.server.as_ref().and_then(|server| server.replica.as_ref()) {
            let end = logs.last().cloned().unwrap_or_default();
            lag.to_receive = lag::bytes_between(logs, &status.read, &end);
            lag.to_apply = lag::bytes_between(logs, &status.applied, &status.read);
        }
        let full = node.disk.filter(|disk| disk.free < limits.disk_bytes);
        lag.full = full.map(|disk| disk.free);
        lag::explain(&lag)
    });
    Examination { lags: lags.collect(), findings: diagnose::diagnose(&nodes, at, limits) }
}

/// `before`: what the primary had executed; `None` for the primary itself.
async fn bounded(world: &World, node: &NodeFacts, before: Option<&GtidSet>) -> (u32, Examined) {
    let look = Box::pin(examine_node(world, node, before));
    let examined = tokio::time::timeout(NODE_LIMIT, look).await.unwrap_or_else(|_elapsed| {
        let refusal = format!("it did not answer within {} s", NODE_LIMIT.as_secs());
        Examined {
            symptoms: Symptoms { refusal: Some(refusal), ..engine_symptoms(world, node) },
            lag: None,
        }
    });
    (node.number, examined)
}

async fn examine_node(world: &World, node: &NodeFacts, before: Option<&GtidSet>) -> Examined {
    let mut symptoms = engine_symptoms(world, node);
    let mut lag = None;
    let status = symptoms.container.as_ref().map(|container| container.status.clone());
    if status.as_deref() == Some("running") {
        symptoms.disk = disk(world, node.number).await;
        let asked = Box::pin(ask_server(world, node.number, before));
        let silence = |_elapsed| Err(format!("it did not answer within {} s", ASK_LIMIT.as_secs()));
        match tokio::time::timeout(ASK_LIMIT, asked).await.unwrap_or_else(silence) {
            Ok((server, facts)) => (symptoms.server, lag) = (Some(server), facts),
            Err(refusal) => symptoms.refusal = Some(refusal),
        }
    }
    if symptoms.server.is_none() && status.is_some() {
        let log = world.engine.log_tail(&symptoms.name, LOG_LINES).await;
        symptoms.log = log.lines().map(str::to_owned).collect();
    }
    Examined { symptoms, lag }
}

async fn ask_server(
    world: &World,
    number: u32,
    before: Option<&GtidSet>,
) -> Result<(ServerSymptoms, Option<LagFacts>), String> {
    let mut client = world.root(number).await.map_err(|refusal| match refusal {
        NoLogin::Denied(cause) | NoLogin::Unreachable(cause) => cause,
    })?;
    let mut symptoms = server::ask(&mut client).await.map_err(|error| error.to_string())?;
    let way = if world.cluster.is_group() {
        let member = group::look(&mut client).await.map_err(|error| error.to_string())?;
        let state = member.seen.state;
        symptoms.member = Some(state.word());
        state.belongs().then_some(Way::Group { recovering: state == Member::Recovering })
    } else {
        symptoms.replica.as_ref().map(Way::Source)
    };
    let lag = match (before, way) {
        (Some(before), Some(way)) => {
            let name = world.name(number);
            following::ask(&mut client, &name, &symptoms.executed, way, before)
                .await
                .map_err(|error| error.to_string())?
        }
        _ => None,
    };
    client.close().await;
    Ok((symptoms, lag))
}

fn engine_symptoms(world: &World, node: &NodeFacts) -> Symptoms {
    let container = node.container.as_ref().map(|container| ContainerSymptoms {
        status: container.status.clone(),
        health: container.health.clone(),
        exit_code: container.exit_code,
        restarts: container.restarts,
        out_of_memory: container.out_of_memory,
        detached: container.detached,
    });
    Symptoms {
        name: world.name(node.number),
        volume: node.volume,
        place: world.place_text(node.number),
        copies: renew::recent(&world.state, node.number, SystemTime::now()),
        container,
        ..Symptoms::default()
    }
}

/// Room on the disk of the data directory; `None` where the container cannot tell.
pub(super) async fn disk(world: &World, number: u32) -> Option<Disk> {
    let command = ["df", "-B1", "--output=avail,size", data_dir(world.place(number))];
    let name = &world.name(number);
    let output = tokio::time::timeout(DISK_LIMIT, world.engine.output(name, &command)).await;
    let text = match output {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            tracing::debug!(node = name, %error, "room on its disk is not known");
            return None;
        }
        Err(_elapsed) => return None,
    };
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    Some(Disk { free: numbers.next()?, size: numbers.next()? })
}

/// For a duplicate key: the row as the primary and the replica have it, where the message tells its key.
async fn compare_rows(world: &World, primary: u32, examined: &mut [(u32, Examined)]) {
    for (number, one) in examined.iter_mut().filter(|(number, _)| *number != primary) {
        let status = one.symptoms.server.as_mut().and_then(|server| server.replica.as_mut());
        let Some(status) = status else { continue };
        let Some(message) = status.worker.as_ref().map(|worker| worker.message.as_str()) else {
            continue;
        };
        let (Some(duplicate), Some(table)) = (texts::duplicate(message), texts::table(message))
        else {
            continue;
        };
        let rows = server::compare_rows(world, primary, *number, &table, &duplicate);
        match tokio::time::timeout(NODE_LIMIT, Box::pin(rows)).await {
            Ok(Ok(rows)) => status.rows = rows,
            Ok(Err(error)) => tracing::debug!(%error, "the two rows cannot be compared"),
            Err(_elapsed) => tracing::debug!(node = number, "no time to compare the two rows"),
        }
    }
}
