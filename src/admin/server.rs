//! The serving end: one task a connection, one request each.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::{Event, MAX_LINE, Request};
use crate::cluster::{self, Progress, Traffic};
use crate::config;

/// How long a connection may take to ask.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Events that wait for a slow listener, at most; more are left out.
const MAX_EVENTS: usize = 1_024;

/// Pause after a failed accept, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What requests act on.
#[derive(Debug)]
pub struct Subject {
    pub cluster: config::Cluster,
    pub state_dir: std::path::PathBuf,
    pub traffic: Arc<dyn Traffic>,
}

/// Binds the socket; one that an ended Weir left is replaced.
///
/// # Errors
/// When another Weir listens there, or the directory cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another Weir serves with this state_dir",
        ));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is dropped.
pub async fn serve(listener: UnixListener, subject: Arc<Subject>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let subject = Arc::clone(&subject);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &subject).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no control connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, subject: &Subject) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_LINE));
    match tokio::time::timeout(ASK_LIMIT, reader.read_line(&mut line)).await {
        Ok(read) => read?,
        Err(_elapsed) => return Ok(()),
    };
    let (events, mut told) = mpsc::channel(MAX_EVENTS);
    let work = async {
        let end = match serde_json::from_str::<Request>(&line) {
            Ok(request) => act(request, subject, &Told(events.clone())).await,
            Err(error) => Event::Failed { text: format!("not a request of this Weir: {error}") },
        };
        let _ = events.send(end).await;
        drop(events);
    };
    let pass = async {
        while let Some(event) = told.recv().await {
            let mut line = serde_json::to_vec(&event)?;
            line.push(b'\n');
            write.write_all(&line).await?;
        }
        io::Result::Ok(())
    };
    // A client that goes away does not stop what it asked for.
    let ((), passed) = tokio::join!(work, pass);
    passed
}

async fn act(request: Request, subject: &Subject, told: &Told) -> Event {
    let cluster = &subject.cluster;
    match request {
        Request::Switchover { to } => {
            let traffic = &*subject.traffic;
            let moved = Box::pin(cluster::switchover(
                cluster,
                &subject.state_dir,
                to.as_deref(),
                traffic,
                told,
            ));
            match moved.await {
                Ok(moved) => Event::Done { text: moved.to_string() },
                Err(error) => Event::Failed { text: error.to_string() },
            }
        }
        Request::Restart { name } => {
            let which = name.map_or(cluster::Which::All, cluster::Which::Named);
            let traffic = &*subject.traffic;
            let restarted =
                Box::pin(cluster::restart(cluster, &subject.state_dir, &which, traffic, told));
            match restarted.await {
                Ok(_) => Event::Done { text: String::new() },
                Err(error) => Event::Failed { text: error.to_string() },
            }
        }
    }
}

/// Progress that goes to the one who asked.
struct Told(mpsc::Sender<Event>);

impl Told {
    fn tell(&self, event: Event) {
        // Nobody listens, or too slowly: the work goes on.
        let _ = self.0.try_send(event);
    }
}

impl Progress for Told {
    fn begin(&self, text: &str) {
        tracing::info!(step = text, "cluster");
        self.tell(Event::Begin { text: text.to_owned() });
    }

    fn detail(&self, text: &str) {
        self.tell(Event::Detail { text: text.to_owned() });
    }

    fn end(&self) {
        self.tell(Event::End);
    }

    fn note(&self, text: &str) {
        self.tell(Event::Note { text: text.to_owned() });
    }
}
