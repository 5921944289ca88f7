//! `weir status`: how the servers are, as the monitor of a running Weir sees them. Asks them itself.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::table::aligned;
use crate::config::Config;
use crate::topology::{Health, ServerState, Topology};

/// Prints the state of every server; the exit code is 0 when there is a usable primary.
///
/// # Errors
/// The configuration is wrong, or its cluster cannot be seen.
pub fn run(config: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = super::load_config(config)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let topology = runtime.block_on(look(config))?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &as_json(&topology))?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&topology))?;
    }
    Ok(if topology.primary().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One round of probes.
async fn look(mut config: Config) -> anyhow::Result<Arc<Topology>> {
    crate::app::find_servers(&mut config).await?;
    let topology = Arc::new(ArcSwap::from_pointee(Topology::default()));
    let cancel = CancellationToken::new();
    let servers = config.servers.iter().cloned().map(Arc::new).collect();
    let monitor = crate::monitor::start(
        servers,
        config.monitor,
        config.lag,
        Arc::clone(&topology),
        cancel.clone(),
    );
    monitor.first_probe_done().await;
    cancel.cancel();
    monitor.stopped().await;
    Ok(topology.load_full())
}

fn words(server: &ServerState) -> (String, String) {
    let health = match &server.health {
        Health::Usable => "usable".to_owned(),
        Health::Unusable(why) => why.to_string(),
    };
    let lag =
        server.lag.map_or_else(|| "-".to_owned(), |lag| format!("{:.1} s", lag.as_secs_f64()));
    (health, lag)
}

fn table(topology: &Topology) -> String {
    let mut rows =
        vec![["server", "role", "address", "version", "lag", "state"].map(str::to_owned)];
    rows.extend(topology.servers.iter().map(|server| {
        let (health, lag) = words(server);
        [
            server.config.name.clone(),
            server.role.name().to_owned(),
            server.config.address.clone(),
            if server.version.is_empty() { "-".to_owned() } else { server.version.to_string() },
            lag,
            health,
        ]
    }));
    aligned(&rows)
}

fn as_json(topology: &Topology) -> serde_json::Value {
    let servers = topology.servers.iter().map(|server| {
        serde_json::json!({
            "name": server.config.name,
            "role": server.role.name(),
            "address": server.config.address,
            "version": &*server.version,
            "lag_seconds": server.lag.map(|lag| lag.as_secs_f64()),
            "usable": server.health == Health::Usable,
            "state": words(server).0,
        })
    });
    serde_json::json!({ "servers": servers.collect::<Vec<_>>() })
}
