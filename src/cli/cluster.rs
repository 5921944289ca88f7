//! `weir cluster up | status | down | destroy ..`: the managed cluster's life.
//!
//! What is being done goes to stderr while it is done, results to stdout.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{ClusterCommand, nodes};
use crate::admin::{Request, client, json};
use crate::cluster::{self, Change, ClusterView, NodeView, Progress, ReplicationView};
use crate::config::{Cluster, Config};

/// In the state directory: options for MySQL's own client programs, to reach Weir as the application.
pub(super) const CLIENT_OPTIONS_FILE: &str = "client.cnf";
const SPINNER_INTERVAL: Duration = Duration::from_millis(120);

/// Does the command to the cluster of that configuration.
///
/// # Errors
/// The configuration is wrong or names no cluster, or the engine or a server refused something.
pub fn run(command: ClusterCommand, config: &Path) -> anyhow::Result<()> {
    let path = config;
    let config = super::load_config(path)?;
    let Some(cluster) = &config.cluster else {
        bail!("{} has no [cluster] section, so there is no cluster to work on", path.display());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let state_dir = config.proxy.state_dir.as_path();
    runtime.block_on(async {
        match command {
            ClusterCommand::Up => up(&config, cluster).await,
            ClusterCommand::Status { json } => status(&config, cluster, json).await,
            ClusterCommand::Switchover { node } => switchover(&config, cluster, node).await,
            ClusterCommand::Plan { json } => nodes::plan(cluster, state_dir, json).await,
            ClusterCommand::Remove { name, yes } => {
                nodes::change(cluster, state_dir, Change::Remove, &name, yes).await
            }
            ClusterCommand::Replace { name, yes } => {
                nodes::change(cluster, state_dir, Change::Replace, &name, yes).await
            }
            ClusterCommand::Reclone { name, yes } => {
                nodes::change(cluster, state_dir, Change::Reclone, &name, yes).await
            }
            ClusterCommand::Restart { name, .. } => nodes::restart(cluster, state_dir, name).await,
            ClusterCommand::Repair(args) => {
                super::repair::run(cluster, &config.proxy.state_dir, &args).await
            }
            ClusterCommand::Down => down(&config, cluster).await,
            ClusterCommand::Destroy { yes } => destroy(&config, cluster, yes).await,
        }
    })
}

async fn up(config: &Config, cluster: &Cluster) -> anyhow::Result<()> {
    let shown = Shown::new();
    let view = cluster::up(cluster, &config.proxy.state_dir, &shown).await;
    shown.clear();
    let view = view?;
    let file = config.proxy.state_dir.join(CLIENT_OPTIONS_FILE);
    cluster::write_private(&file, client_options(config, &view).as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut out = io::stdout().lock();
    if shown.steps() == 0 {
        writeln!(out, "cluster {} is as it should be; nothing was changed", view.name)?;
    }
    write!(out, "{}", table(&view))?;
    Ok(())
}

async fn status(config: &Config, cluster: &Cluster, json: bool) -> anyhow::Result<()> {
    let examined = cluster::examine(cluster, &config.proxy.state_dir).await?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &json::cluster(&examined))?;
        writeln!(out)?;
        return Ok(());
    }
    write!(out, "{}{}", table(&examined.view), super::findings::text(&examined))?;
    writeln!(out, "leader: {}", examined.leader)?;
    if let Some(failed_over) = &examined.view.failed_over {
        writeln!(out, "last failover: {failed_over}")?;
    }
    for problem in &examined.view.problems {
        writeln!(out, "{problem}")?;
    }
    Ok(())
}

/// Done by the Weir that serves, which holds its clients meanwhile; by this process where none serves.
async fn switchover(config: &Config, cluster: &Cluster, to: Option<String>) -> anyhow::Result<()> {
    let shown = Shown::new();
    let state_dir = &config.proxy.state_dir;
    let request = Request::Switchover { to: to.clone() };
    let asked = client::ask(state_dir, &request, &shown).await.context("the Weir that serves");
    let said = match asked? {
        Some(answer) => answer.map_err(anyhow::Error::msg),
        None => cluster::switchover_alone(cluster, state_dir, to.as_deref(), &shown)
            .await
            .map(|moved| moved.to_string())
            .map_err(anyhow::Error::from),
    };
    shown.clear();
    writeln!(io::stdout().lock(), "{}", said?)?;
    Ok(())
}

async fn down(config: &Config, cluster: &Cluster) -> anyhow::Result<()> {
    let shown = Shown::new();
    let removed = cluster::down(cluster, &config.proxy.state_dir, &shown).await;
    shown.clear();
    let mut out = io::stdout().lock();
    if removed?.is_empty() {
        writeln!(out, "cluster {} has no containers; nothing was changed", cluster.name)?;
    } else {
        writeln!(
            out,
            "the data of cluster {} is kept; `weir cluster up` brings it back",
            cluster.name
        )?;
    }
    Ok(())
}

async fn destroy(config: &Config, cluster: &Cluster, yes: bool) -> anyhow::Result<()> {
    let all = cluster::inventory(cluster, &config.proxy.state_dir).await?;
    if !yes && !all.is_empty() && !confirmed(cluster, &all)? {
        bail!("nothing was removed");
    }
    let shown = Shown::new();
    let removed = cluster::destroy(cluster, &config.proxy.state_dir, &shown).await;
    shown.clear();
    let removed = removed?;
    let file = config.proxy.state_dir.join(CLIENT_OPTIONS_FILE);
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", file.display()));
        }
        _ => {}
    }
    let mut out = io::stdout().lock();
    match removed.as_slice() {
        [] => writeln!(out, "there was nothing of cluster {}", cluster.name)?,
        all => writeln!(out, "removed: {}", all.join(", "))?,
    }
    let kept = cluster::snapshot::list(cluster).await?.snapshots;
    if !kept.is_empty() {
        let names: Vec<String> = kept.into_iter().map(|snapshot| snapshot.name).collect();
        writeln!(out, "snapshots stay until `weir snapshot rm`: {}", names.join(", "))?;
    }
    Ok(())
}

/// Asks a person; where none can be asked, `--yes` is needed.
fn confirmed(cluster: &Cluster, all: &[String]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("destroy removes data and there is no terminal to ask on; say --yes");
    }
    let mut out = io::stdout().lock();
    writeln!(out, "This removes for good:")?;
    for thing in all {
        writeln!(out, "  {thing}")?;
    }
    write!(out, "Type the cluster's name ({}) to go on: ", cluster.name)?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == cluster.name)
}

/// Where a client on this machine connects.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => (IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()).into(),
        _ => listen,
    }
}

/// Options by which `mysql --defaults-extra-file=..` reaches Weir as the application.
fn client_options(config: &Config, view: &ClusterView) -> String {
    let listen = reachable(config.proxy.listen);
    let host = listen.ip();
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "# Written by `weir cluster up`: the way to Weir for MySQL's client programs.\n\
         [client]\nprotocol = tcp\nhost = {host}\nport = {port}\nuser = {user}\npassword = {password}\n\n\
         [mysql]\ndatabase = {database}\n",
        port = listen.port(),
        user = quoted(&view.application_user),
        password = quoted(view.application_password.expose()),
        database = quoted(&view.database),
    )
}

pub(super) fn table(view: &ClusterView) -> String {
    let heads = [
        "node",
        "role",
        "container",
        "health",
        "version",
        "address",
        "published",
        "behind",
        "replication",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(view.nodes.iter().map(row));
    super::table::aligned(&rows)
}

fn row(node: &NodeView) -> [String; 9] {
    let replication = node.replication.as_ref();
    let behind = replication.and_then(|replication| replication.behind).map(|count| match count {
        1 => "1 transaction".to_owned(),
        count => format!("{count} transactions"),
    });
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [
        node.name.clone(),
        node.role.name().to_owned(),
        node.state.clone(),
        or_dash(&node.health),
        or_dash(&node.version),
        node.server.address.clone(),
        node.published.to_string(),
        behind.unwrap_or_else(|| "-".to_owned()),
        replication.map_or_else(|| "-".to_owned(), threads),
    ]
}

fn threads(replication: &ReplicationView) -> String {
    let running = |state: &str| match state {
        "Yes" => "running",
        "Connecting" => "connecting",
        _ => "stopped",
    };
    if let Some(member) = &replication.member {
        return format!("member {member}");
    }
    let mut text = format!(
        "from {}: receiver {}, applier {}",
        replication.source,
        running(&replication.receiver),
        running(&replication.applier)
    );
    if !replication.error.is_empty() {
        text.push_str(": ");
        text.push_str(&replication.error);
    }
    text
}

/// A line a step, each with its time; on a terminal the running one turns.
pub(super) struct Shown {
    bar: ProgressBar,
    is_terminal: bool,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    text: String,
    since: Option<Instant>,
    steps: u32,
}

impl Shown {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, is_terminal, running: Mutex::default() }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn steps(&self) -> u32 {
        self.with(|running| running.steps)
    }

    fn line(&self, text: &str) {
        if self.is_terminal {
            self.bar.println(text);
        } else {
            // A reader that went away does not stop the work.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Running) -> T) -> T {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        use_it(&mut running)
    }
}

impl Progress for Shown {
    fn begin(&self, text: &str) {
        self.with(|running| {
            running.text = text.to_owned();
            running.since = Some(Instant::now());
            running.steps = running.steps.saturating_add(1);
        });
        self.bar.enable_steady_tick(SPINNER_INTERVAL);
        self.bar.set_message(text.to_owned());
    }

    fn detail(&self, text: &str) {
        let step = self.with(|running| running.text.clone());
        self.bar.set_message(format!("{step} ({text})"));
    }

    fn end(&self) {
        let (text, seconds) = self.with(|running| {
            let since = running.since.take();
            (running.text.clone(), since.map_or(0.0, |since| since.elapsed().as_secs_f64()))
        });
        self.line(&format!("  {text} ({seconds:.1} s)"));
    }

    fn note(&self, text: &str) {
        self.line(&format!("  note: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::node_view;
    use crate::config::Secret;
    use crate::topology::Role;

    fn view() -> ClusterView {
        let replication = ReplicationView {
            source: "t-1".to_owned(),
            receiver: "Connecting".to_owned(),
            applier: "Yes".to_owned(),
            behind: Some(1),
            error: "error 2003".to_owned(),
            member: None,
        };
        ClusterView {
            name: "t".to_owned(),
            nodes: vec![
                node_view(1, Role::Primary, None),
                node_view(2, Role::Replica, Some(replication)),
            ],
            monitor_user: "m".to_owned(),
            monitor_password: Secret::new("hunter2".to_owned()),
            application_user: "app".to_owned(),
            application_password: Secret::new("hunter3".to_owned()),
            database: "app".to_owned(),
            gateway: None,
            problems: Vec::new(),
            failed_over: None,
        }
    }

    #[test]
    fn the_table_lines_up_and_says_how_replication_is() {
        let text = table(&view());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].find("role"), lines[2].find("replica"));
        assert!(lines[2].contains("1 transaction  "));
        assert!(lines[2].ends_with("from t-1: receiver connecting, applier running: error 2003"));
        assert!(lines[1].split_whitespace().rev().take(2).eq(["-", "-"]), "{text}");
    }

    #[test]
    fn no_password_is_shown() {
        let shown = format!("{}{}{:?}", table(&view()), json::view(&view()), view());
        assert!(!shown.contains("hunter"));
        assert_eq!(json::view(&view())["nodes"][1]["replication"]["behind_transactions"], 1);
    }
}
