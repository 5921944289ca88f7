//! The composition root: from a configuration to running tasks, and back to silence on a signal.

mod clients;
mod heed;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use self::clients::{Clients, OwnMove};
use self::heed::Heed;
use crate::admin::api::{self, Api};
use crate::admin::http;
use crate::admin::work::Subject;
use crate::backend::connect::Connector;
use crate::backend::credentials::{Credentials, Limits as CredentialLimits};
use crate::backend::pool::{Limits, Pools};
use crate::cluster::{Control, Traffic, Wanted};
use crate::config::{ClientTls, Config};
use crate::net::buffer::BufferPool;
use crate::net::tls;
use crate::server::{WorkerHandle, accept, bind, start_worker};
use crate::session::Door;
use crate::session::worker::{Registry, Shared, Worker};
use crate::sql::{Classifier, ParserThread};
use crate::topology::Topology;

/// How long running commands may go on after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// How long giving the lead to another Weir may take at the end.
const RESIGN: Duration = Duration::from_secs(3);

/// File descriptors beside those of clients: connections to servers, epoll, logs.
const OTHER_FILES: u64 = 4_096;

/// Threads of the control plane: probes must not wait for each other's parsing, no more.
const CONTROL_THREADS: usize = 1;

/// Reads the configuration anew.
pub type ReadAgain = Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// Runs the proxy until SIGTERM or SIGINT. `again` is used when a command applies what was changed in the file.
///
/// # Errors
/// When the port, the certificate or the cluster cannot be had; in words.
pub fn run(mut config: Config, again: ReadAgain) -> anyhow::Result<()> {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime for the control plane")?;
    control.block_on(find_servers(&mut config))?;
    raise_file_limit(config.proxy.max_connections);
    // Who comes before the servers are known waits in the backlog: a server that is silent takes seconds.
    let listener = bind(config.proxy.listen).with_context(|| {
        format!("cannot listen on {}; is another Weir running?", config.proxy.listen)
    })?;
    let config = Arc::new(config);
    let topology = Arc::new(ArcSwap::from_pointee(Topology::default()));
    let cancel = CancellationToken::new();
    let servers = config.servers.iter().cloned().map(Arc::new).collect();
    let monitor = control.block_on(async {
        crate::monitor::start(
            servers,
            config.monitor.clone(),
            config.lag.clone(),
            Arc::clone(&topology),
            cancel.clone(),
        )
    });
    // Before it is probed: whoever moves the primary must know of this Weir before there are clients.
    monitor.serves();
    control.block_on(monitor.first_probe_done());
    let door = Arc::new(Door::default());
    let shared = Arc::new(Shared {
        tls: acceptor(&config)?,
        topology: Arc::clone(&topology),
        credentials: Credentials::new(CredentialLimits::default()),
        login_key: OnceCell::new(),
        registry: Registry::default(),
        door: Arc::clone(&door),
        lacking: Arc::default(),
        suspects: monitor.suspects(),
        started: Instant::now(),
        config: Arc::clone(&config),
    });
    let workers = start_workers(&config, &shared)?;
    let task = start_control(&control, &shared, &monitor, again, &cancel)?;
    let stop = Arc::new(AtomicBool::new(false));
    start_acceptor(listener, workers, Arc::clone(&shared), Arc::clone(&stop))?;
    tracing::info!(listen = %config.proxy.listen, workers = config.proxy.workers, "Weir serves");
    let signal = control.block_on(until_signal())?;
    tracing::info!(signal, "stopping: no new clients, running commands may end");
    stop.store(true, Ordering::Relaxed);
    crate::server::wake(config.proxy.listen);
    control.block_on(drain(&shared));
    cancel.cancel();
    if let Some(task) = task
        && control.block_on(async { tokio::time::timeout(RESIGN, task).await }).is_err()
    {
        tracing::debug!("the lead was not given to another Weir in time");
    }
    Ok(())
}

/// The tasks beside monitor and workers: whoever waits for a primary hears of every change; with `[cluster]`, the
/// control task, which is returned, and the socket for commands; with `[admin]`, the HTTP API.
fn start_control(
    control: &tokio::runtime::Runtime,
    shared: &Arc<Shared>,
    monitor: &crate::monitor::MonitorHandle,
    again: ReadAgain,
    cancel: &CancellationToken,
) -> anyhow::Result<Option<tokio::task::JoinHandle<()>>> {
    let (mut changes, door) = (monitor.changes(), Arc::clone(&shared.door));
    control.spawn(async move {
        while changes.changed().await.is_ok() {
            door.tell();
        }
    });
    let state_dir = shared.config.proxy.state_dir.clone();
    let own_move = OwnMove::default();
    let traffic: Arc<dyn Traffic> =
        Arc::new(Clients::new(Arc::clone(shared), monitor.clone(), own_move.clone()));
    let wanted = shared.config.cluster.clone().map(|cluster| {
        let read =
            move || again().map(|config| config.cluster).map_err(|error| format!("{error:#}"));
        Arc::new(Wanted::new(cluster, Box::new(read)))
    });
    let subject = Arc::new(Subject {
        cluster: wanted.clone(),
        state_dir: state_dir.clone(),
        traffic: Arc::clone(&traffic),
    });
    start_http(control, &shared.config, &subject)?;
    let Some(wanted) = wanted else { return Ok(None) };
    let heed = Heed::new(shared, monitor.clone(), own_move);
    control.spawn(cancel.clone().run_until_cancelled_owned(heed.run()));
    let task = Control {
        wanted,
        state_dir: state_dir.clone(),
        topology: Arc::clone(&shared.topology),
        traffic,
    };
    let task = control.spawn(task.run(cancel.clone()));
    let path = crate::admin::socket(&state_dir);
    let _in_runtime = control.enter();
    let listener = crate::admin::server::bind(&path)
        .with_context(|| format!("no control socket at {}", path.display()))?;
    control.spawn(crate::admin::server::serve(listener, subject));
    Ok(Some(task))
}

fn start_http(
    control: &tokio::runtime::Runtime,
    config: &Config,
    subject: &Arc<Subject>,
) -> anyhow::Result<()> {
    let Some(admin) = config.admin else { return Ok(()) };
    let token = crate::admin::token::load_or_make(&config.proxy.state_dir)
        .context("no token for the HTTP API")?;
    let tls = if admin.tls { Some(tls_acceptor(config)?) } else { None };
    let listener = http::bind(admin.listen).with_context(|| {
        format!(
            "cannot listen on {} for the HTTP API; choose another port in [admin]",
            admin.listen
        )
    })?;
    let router = api::router(Arc::new(Api { subject: Arc::clone(subject), token }));
    tracing::info!(listen = %admin.listen, tls = admin.tls, "the HTTP API is there");
    control.spawn(async move {
        let ended = http::serve(listener, tls, router, http::Limits::default()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the HTTP API has ended");
        }
    });
    Ok(())
}

/// With `[cluster]`, asks the engine where the nodes are and what the monitor's password is.
///
/// # Errors
/// The cluster was never made, or the engine does not answer; in words.
pub async fn find_servers(config: &mut Config) -> anyhow::Result<()> {
    let Some(cluster) = &config.cluster else { return Ok(()) };
    let view = crate::cluster::observe(cluster, &config.proxy.state_dir).await.context(
        "the managed cluster cannot be seen; `weir cluster up` makes it, `weir cluster status` shows it",
    )?;
    config.servers = view.nodes.into_iter().map(|node| node.server).collect();
    config.monitor.user = crate::cluster::MONITOR_USER.to_owned();
    config.monitor.password = view.monitor_password;
    Ok(())
}

/// One descriptor a client, and room for connections to servers and the rest.
fn raise_file_limit(clients: usize) {
    let wanted = u64::try_from(clients).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => {
            tracing::warn!(
                got,
                wanted,
                "few file descriptors: raise the limit (ulimit -n) or lower max_connections"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of file descriptors cannot be raised"),
    }
}

fn acceptor(config: &Config) -> anyhow::Result<Option<tokio_rustls::TlsAcceptor>> {
    if config.proxy.tls == ClientTls::Off {
        return Ok(None);
    }
    tls_acceptor(config).map(Some)
}

fn tls_acceptor(config: &Config) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
    let (certificate, key) = match &config.proxy.tls_files {
        Some(files) => files.clone(),
        None => tls::load_or_make_certificate(&config.proxy.state_dir).context("no certificate")?,
    };
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let server = tls::server_config(&read(&certificate)?, &read(&key)?)
        .with_context(|| format!("{} and {} do not serve", certificate.display(), key.display()))?;
    Ok(tokio_rustls::TlsAcceptor::from(server))
}

fn start_workers(config: &Arc<Config>, shared: &Arc<Shared>) -> anyhow::Result<Vec<WorkerHandle>> {
    let parser = ParserThread::spawn().context("no thread for the SQL parser")?;
    let certificates = tls::ClientConfigs::new(config.servers.iter().map(|server| &server.tls))
        .context("TLS to the servers")?;
    let mut workers = Vec::with_capacity(config.proxy.workers);
    for index in 0..config.proxy.workers {
        let shared = Arc::clone(shared);
        let parser = parser.clone();
        let certificates = certificates.clone();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).context("no random seed")?;
        let make = move || make_worker(shared, parser, certificates, u64::from_le_bytes(seed));
        workers.push(start_worker(index, make).context("no worker thread")?);
    }
    Ok(workers)
}

fn make_worker(
    shared: Arc<Shared>,
    parser: ParserThread,
    certificates: tls::ClientConfigs,
    seed: u64,
) -> Worker {
    let config = Arc::clone(&shared.config);
    let buffers = BufferPool::new();
    let max_packet = u32::try_from(config.proxy.max_packet_bytes).unwrap_or(u32::MAX);
    let connector = Connector::new(
        Rc::clone(&buffers),
        config.pool.connect,
        max_packet,
        certificates,
        Arc::clone(&shared.lacking),
    );
    let limits = Limits {
        per_server: config.pool.max_per_server.div_ceil(config.proxy.workers).max(1),
        max_idle: config.pool.max_idle,
        wait: config.pool.wait,
    };
    let classifier = Classifier::new(config.proxy.statement_cache, parser);
    Worker::new(shared, Pools::new(connector, limits), buffers, classifier, seed)
}

fn start_acceptor(
    listener: std::net::TcpListener,
    workers: Vec<WorkerHandle>,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || {
            accept(&listener, &workers, &shared, &stop);
            drop(listener);
            // The workers end with their channels; they live until the process does.
            std::thread::park();
        })
        .context("no thread to accept clients")?;
    Ok(())
}

async fn until_signal() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

/// Waits until no session runs a command, for `DRAIN` at most.
async fn drain(shared: &Shared) {
    let until = Instant::now() + DRAIN;
    while shared.registry.running() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
