//! Carries requests out, whoever asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Event, Request, Why, json};
use crate::cluster::snapshot::{self, RunRequest};
use crate::cluster::{self, ClusterError, Progress, SnapshotError, State, Traffic, Wanted};
use crate::config;

/// Events that wait for a slow listener, at most; more are left out.
const MAX_EVENTS: usize = 1_024;

/// What requests act on.
#[derive(Debug)]
pub struct Subject {
    /// `None` where the servers are those of `[[servers]]`.
    pub cluster: Option<Arc<Wanted>>,
    pub state_dir: PathBuf,
    pub traffic: Arc<dyn Traffic>,
}

/// Begins what was asked and gives what there is to hear of it; the last event is `Done` or `Failed`. Who stops
/// listening does not stop the work.
pub fn start(request: Request, subject: &Arc<Subject>) -> mpsc::Receiver<Event> {
    let (events, told) = mpsc::channel(MAX_EVENTS);
    let subject = Arc::clone(subject);
    tokio::spawn(async move {
        let end = act(request, &subject, &Told(events.clone())).await;
        // An error: nobody listens any more.
        let _ = events.send(end).await;
    });
    told
}

/// What came of a request: a sentence for people, and a value for programs.
type Done = (String, Value);

async fn act(request: Request, subject: &Subject, told: &Told) -> Event {
    let Some(wanted) = &subject.cluster else {
        let text = "this Weir keeps no cluster: its configuration has [[servers]]. With [cluster] it has nodes \
                    and snapshots"
            .to_owned();
        return Event::Failed { text, why: Why::Missing };
    };
    let ttl = match &request {
        Request::RunSnapshot { ttl: Some(ttl), .. } => snapshot::time_to_live(ttl).map(Some),
        _ => Ok(None),
    };
    let done = match ttl {
        Ok(ttl) => Box::pin(ask_cluster(request, ttl, wanted, subject, told)).await,
        Err(text) => return Event::Failed { text, why: Why::Invalid },
    };
    match done {
        Ok((text, result)) => Event::Done { text, result },
        Err(error) => Event::Failed { why: why(&error), text: error.to_string() },
    }
}

async fn ask_cluster(
    request: Request,
    ttl: Option<std::time::Duration>,
    wanted: &Wanted,
    subject: &Subject,
    told: &Told,
) -> Result<Done, ClusterError> {
    let (dir, traffic, now) = (&subject.state_dir, &*subject.traffic, SystemTime::now());
    let cluster = match request {
        // It applies what was changed in the file.
        Request::Restart { .. } => wanted.read_again()?,
        _ => wanted.now(),
    };
    let cluster = &as_last_wanted(&cluster, subject)?;
    match request {
        Request::Cluster => {
            let examined = cluster::examine(cluster, dir).await?;
            Ok((String::new(), json::cluster(&examined)))
        }
        Request::Switchover { to } => {
            let moved = cluster::switchover(cluster, dir, to.as_deref(), traffic, told).await?;
            Ok((moved.to_string(), json::moved(&moved)))
        }
        Request::Restart { name } => {
            let which = name.map_or(cluster::Which::All, cluster::Which::Named);
            let view = cluster::restart(cluster, dir, &which, traffic, told).await?;
            Ok((String::new(), json::view(&view)))
        }
        Request::Snapshots => {
            let listing = snapshot::list(cluster).await?;
            Ok((String::new(), json::listing(&listing)))
        }
        Request::CreateSnapshot { name, from } => {
            let (name, from) = (name.as_deref(), from.as_deref());
            let made = snapshot::create(cluster, dir, name, from, now, told).await?;
            Ok((format!("snapshot {} of {}", made.name, made.from), json::snapshot(&made)))
        }
        Request::RemoveSnapshot { name } => {
            snapshot::remove(cluster, &name).await?;
            Ok((format!("removed snapshot {name}"), Value::Null))
        }
        Request::RunSnapshot { name, copy, port, .. } => {
            let request = RunRequest { snapshot: &name, copy: copy.as_deref(), port, ttl };
            let started = snapshot::run(cluster, dir, request, now, told).await?;
            let text = format!("copy {} of {name}", started.copy.name);
            Ok((text, json::started(&started)))
        }
        Request::RemoveCopy { name } => {
            snapshot::stop(cluster, dir, &name).await?;
            Ok((format!("removed copy {name}"), Value::Null))
        }
    }
}

/// The cluster as the last `up` wanted it: this process may have read an older configuration.
fn as_last_wanted(
    cluster: &config::Cluster,
    subject: &Subject,
) -> Result<config::Cluster, ClusterError> {
    let state = State::load(&subject.state_dir, &cluster.name)?;
    let mut cluster = cluster.clone();
    cluster.replicas = state.and_then(|state| state.replicas).unwrap_or(cluster.replicas);
    Ok(cluster)
}

fn why(error: &ClusterError) -> Why {
    use ClusterError as E;
    match error {
        E::Snapshot(SnapshotError::Name { .. } | SnapshotError::TimeToLive) => Why::Invalid,
        E::NoSuchNode { .. }
        | E::NotBuilt { .. }
        | E::Snapshot(SnapshotError::Missing { .. } | SnapshotError::NoCopy { .. }) => Why::Missing,
        E::Busy { .. }
        | E::Refused { .. }
        | E::NotMoved { .. }
        | E::Undecided(_)
        | E::Diverged { .. }
        | E::StillBehind { .. }
        | E::PortTaken { .. }
        | E::Foreign { .. }
        | E::Options { .. }
        | E::Unread { .. }
        | E::Snapshot(
            SnapshotError::Exists { .. }
            | SnapshotError::InUse { .. }
            | SnapshotError::CopyExists { .. }
            | SnapshotError::PortTaken { .. }
            | SnapshotError::NoDonor(_),
        ) => Why::Conflict,
        E::EngineUnreachable { .. } | E::EngineForbidden { .. } => Why::Unavailable,
        _ => Why::Failed,
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
