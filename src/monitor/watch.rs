//! The task that probes one server, over and over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch as signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::probe::Link;
use super::seen::{Failure, Probe};
use super::signs::{Said, Says};
use crate::config::{Monitor, Server};
use crate::topology::ServerId;

/// The least pause between two probes of one server, however many sessions suspect it.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// The pause after a refused login.
const PAUSE_AFTER_REFUSED_LOGIN: Duration = Duration::from_secs(5);

/// The outcome of one probe.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) id: ServerId,
    /// When the answer came, since the monitor's start.
    pub(super) at: Duration,
    pub(super) outcome: Result<Probe, Failure>,
}

/// What the task knows.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) id: ServerId,
    pub(super) server: Arc<Server>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) started: Instant,
    pub(super) reports: mpsc::Sender<Report>,
    /// Told when a session suspects the server.
    pub(super) wake: Arc<Notify>,
    /// What this Weir says of itself.
    pub(super) said: signal::Receiver<Said>,
}

impl Watch {
    /// Probes until `cancel`, or until nobody takes reports.
    pub(super) async fn run(self, cancel: CancellationToken) {
        // The answer to `cancel` must not wait for a server that does not answer.
        let _ended = cancel.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        let (mut link, mut leaves) = (None, None);
        loop {
            let says = self.said.borrow().to(self.id).heeding(leaves);
            let outcome = probe(&mut link, &self.server, &self.monitor, says).await;
            let refused = outcome.as_ref().is_err_and(|failure| failure.login);
            leaves = outcome.as_ref().ok().and_then(|probe| probe.leaves);
            let report = Report { id: self.id, at: self.started.elapsed(), outcome };
            if self.reports.send(report).await.is_err() {
                return;
            }
            self.pause(refused).await;
        }
    }

    async fn pause(&self, refused: bool) {
        if refused {
            tokio::time::sleep(PAUSE_AFTER_REFUSED_LOGIN).await;
            return;
        }
        tokio::time::sleep(LEAST_PAUSE).await;
        let rest = self.monitor.interval.saturating_sub(LEAST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = self.wake.notified() => {}
        }
    }
}

/// One probe within the configured time, over the open link or a new one. A link that failed, or
/// was not done in time, is closed.
///
/// # Errors
/// What kept the server from answering.
pub async fn probe(
    link: &mut Option<Link>,
    server: &Server,
    monitor: &Monitor,
    says: Says,
) -> Result<Probe, Failure> {
    let open = link.take();
    match tokio::time::timeout(monitor.timeout, ask(open, server, monitor, says)).await {
        Ok(Ok((used, probe))) => {
            *link = Some(used);
            Ok(probe)
        }
        Ok(Err(error)) => Err(connect::failure(&error)),
        Err(_elapsed) => {
            let limit = monitor.timeout.as_millis();
            Err(Failure::passing(format!("no answer within {limit} ms")))
        }
    }
}

/// Asks over the open link; when that one fails, over a new one, once: an idle connection may have
/// been closed, and rights may have changed.
async fn ask(
    open: Option<Link>,
    server: &Server,
    monitor: &Monitor,
    says: Says,
) -> Result<(Link, Probe), mysql_async::Error> {
    if let Some(mut link) = open
        && let Ok(probe) = link.ask(says).await
    {
        return Ok((link, probe));
    }
    let mut link = Link::open(server, monitor).await?;
    let probe = link.ask(says).await?;
    Ok((link, probe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{config, monitor_settings};

    async fn probe_at(address: std::net::SocketAddr) -> Failure {
        let mut server = (*config('a')).clone();
        server.address = address.to_string();
        let mut link = None;
        let says = Says::default();
        let failure = probe(&mut link, &server, &monitor_settings(), says).await.unwrap_err();
        assert!(link.is_none());
        failure
    }

    #[tokio::test]
    async fn servers_that_do_not_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe_at(address).await, Failure::passing("no answer within 100 ms"));
        drop(listener);
        assert_eq!(probe_at(address).await, Failure::certain("connection refused"));
    }

    #[tokio::test]
    async fn a_server_that_talks_nonsense() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, &[0xfe; 4096]).await;
            }
        }));
        assert!(!probe_at(address).await.certain);
    }
}
