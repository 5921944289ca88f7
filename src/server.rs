//! The listener, and the workers that serve what it accepts.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

use crate::backend::pool::Pools;
use crate::session::worker::{Shared, Worker};
use crate::topology::Topology;
use crate::wire::{Capabilities, codes, frame_with};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4_096;

/// Accepted sockets that wait for their worker, at most.
const HAND_OVER: usize = 1_024;

/// How often a worker looks for connections that were idle too long.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// Pause after a failed accept (no file descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A worker as the acceptor sees it.
#[derive(Debug)]
pub struct WorkerHandle {
    sockets: mpsc::Sender<(TcpStream, IpAddr)>,
    sessions: Arc<AtomicUsize>,
}

/// Binds the port that clients connect to.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a worker thread; `make` builds its state inside that thread.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start_worker(
    index: usize,
    make: impl FnOnce() -> Worker + Send + 'static,
) -> std::io::Result<WorkerHandle> {
    let (sender, receiver) = mpsc::channel(HAND_OVER);
    let sessions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sessions);
    let (tell, started) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        // Made here, since neither it nor its tasks ever leave their thread.
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = tell.send(Ok(()));
                run(&runtime, work(Rc::new(make()), receiver, count));
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    })?;
    started.recv().map_err(std::io::Error::other)??;
    Ok(WorkerHandle { sockets: sender, sessions })
}

/// Runs a worker to its end. Its own work is a task beside its sessions: what the runtime itself waits for would be
/// polled again whenever any session wakes up.
fn run(runtime: &LocalRuntime, work: impl Future<Output = ()> + 'static) {
    if let Err(error) = runtime.block_on(runtime.spawn_local(work)) {
        tracing::error!(%error, "a worker ended");
    }
}

async fn work(
    worker: Rc<Worker>,
    mut sockets: mpsc::Receiver<(TcpStream, IpAddr)>,
    sessions: Arc<AtomicUsize>,
) {
    let mut reap = tokio::time::interval(REAP_EVERY);
    let mut news = worker.shared.door.news();
    loop {
        tokio::select! {
            socket = sockets.recv() => match socket {
                Some((socket, peer)) => start_session(&worker, socket, peer, &sessions),
                None => return,
            },
            Ok(()) = news.changed() => {
                let topology = worker.shared.topology.load_full();
                if topology.servers.iter().any(|server| server.silent) {
                    worker.tell_of_silence();
                    // A mysqld that stops waits 10 s for its clients to go while replicas follow it
                    // (sql/mysqld.cc, close_connections).
                    reap_idle(&worker.pools, &topology);
                }
            }
            _ = reap.tick() => {
                reap_idle(&worker.pools, &worker.shared.topology.load_full());
            }
        }
    }
}

/// Nobody keeps a connection to a server that is unknown now, or does not answer.
fn reap_idle(pools: &Pools, topology: &Topology) {
    let answers = |id| topology.get(id).is_some_and(|server| !server.silent);
    pools.reap(Instant::now(), &answers);
}

/// Counts a session while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn start_session(
    worker: &Rc<Worker>,
    socket: TcpStream,
    peer: IpAddr,
    sessions: &Arc<AtomicUsize>,
) {
    let counted = Counted(Arc::clone(sessions));
    let socket = match tokio::net::TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, %peer, "a client's socket cannot be used");
            return;
        }
    };
    let id = worker.shared.registry.new_id();
    let worker = Rc::clone(worker);
    let (give, abort) = tokio::sync::oneshot::channel();
    let task = tokio::task::spawn_local(async move {
        let _counted = counted;
        let Ok(abort) = abort.await else { return };
        crate::session::serve(socket, peer, worker, id, abort).await;
    });
    let _ = give.send(task.abort_handle());
}

/// Accepts clients until `stop`, and hands each to the worker with the fewest sessions. Blocks: it
/// has a thread of its own.
pub fn accept(
    listener: &TcpListener,
    workers: &[WorkerHandle],
    shared: &Shared,
    stop: &AtomicBool,
) {
    let limit = shared.config.proxy.max_connections;
    let mut complained = Instant::now().checked_sub(Duration::from_secs(60));
    while !stop.load(Ordering::Relaxed) {
        let (socket, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let open: usize =
            workers.iter().map(|worker| worker.sessions.load(Ordering::Relaxed)).sum();
        if open >= limit {
            if complained.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                tracing::warn!(limit, "clients are refused: [proxy] max_connections is reached");
                complained = Some(Instant::now());
            }
            too_many(socket, limit);
            continue;
        }
        if let Err(error) = socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)) {
            tracing::debug!(%error, "a client's socket is gone");
            continue;
        }
        let fewest = workers.iter().min_by_key(|worker| worker.sessions.load(Ordering::Relaxed));
        let Some(worker) = fewest else { return };
        worker.sessions.fetch_add(1, Ordering::Relaxed);
        if worker.sockets.blocking_send((socket, peer.ip())).is_err() {
            return;
        }
    }
}

/// Wakes an acceptor that waits in the kernel, so that it sees `stop` and closes the port.
pub fn wake(address: SocketAddr) {
    let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
}

/// MySQL's own error, before any greeting.
fn too_many(mut socket: TcpStream, limit: usize) {
    let words = format!("Too many connections ([proxy] max_connections = {limit})");
    let mut out = Vec::with_capacity(96);
    frame_with(&mut out, &mut 0, |body| {
        codes::TOO_MANY_CONNECTIONS.packet(words).encode(body, Capabilities::default());
    });
    let _ = socket.set_nonblocking(true);
    let _ = std::io::Write::write(&mut socket, &out);
}
