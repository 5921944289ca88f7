//! Until a server that was started answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::accounts::ROOT;
use crate::cluster::docker::Engine;
use crate::cluster::error::ClusterError;
use crate::cluster::progress::Progress;
use crate::cluster::sql::{Client, Login, NoLogin};
use crate::config::Secret;

/// A first start takes seconds; recovery of what was cloned under a write load minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);
const ANSWER_POLL: Duration = Duration::from_millis(100);
/// A server that is about to restart with cloned data still knows its old password for a moment.
const DENIED_LIMIT: Duration = Duration::from_secs(30);
/// A container that the engine had to start again so often will not come up. A clone is one restart.
const MAX_RESTARTS: i64 = 4;
/// Lines of a container's log that go into an error.
const LOG_LINES: u32 = 15;

/// Logs in as root at the container's published port, as soon as that is possible.
pub(super) async fn answers(
    engine: &Engine,
    container: &str,
    password: &Secret,
    progress: &dyn Progress,
) -> Result<Client, ClusterError> {
    let started = Instant::now();
    let mut denied_since = None;
    loop {
        let refusal = match attempt(engine, container, password).await? {
            Ok(client) => return Ok(client),
            Err(NoLogin::Unreachable(cause)) => {
                denied_since = None;
                cause
            }
            Err(NoLogin::Denied(cause)) => {
                denied_since = denied_since.or_else(|| Some(Instant::now()));
                cause
            }
        };
        let waited = started.elapsed();
        let denied = denied_since.is_some_and(|since| since.elapsed() > DENIED_LIMIT);
        let gave_up = match engine.container(container).await? {
            None => Some("was removed while it started".to_owned()),
            Some(seen) if seen.restarts >= MAX_RESTARTS => {
                Some(format!("ended {} times in a row (status {})", seen.restarts, seen.exit_code))
            }
            Some(seen) if matches!(seen.status.as_str(), "exited" | "dead") => {
                Some(format!("ended with status {}", seen.exit_code))
            }
            Some(_) if denied => Some(format!("does not let root in ({refusal})")),
            Some(_) if waited > ANSWER_LIMIT => {
                Some(format!("did not answer within {} s ({refusal})", ANSWER_LIMIT.as_secs()))
            }
            Some(_) => None,
        };
        if let Some(what) = gave_up {
            let log = engine.log_tail(container, LOG_LINES).await.trim_end().to_owned();
            return Err(ClusterError::Container { node: container.to_owned(), what, log });
        }
        progress.detail(&format!("{} s", waited.as_secs()));
        tokio::time::sleep(ANSWER_POLL).await;
    }
}

/// The engine gives another port at each start where it may choose.
async fn attempt(
    engine: &Engine,
    container: &str,
    password: &Secret,
) -> Result<Result<Client, NoLogin>, ClusterError> {
    let Some(address) = engine.published(container).await? else {
        return Ok(Err(NoLogin::Unreachable("it does not run".to_owned())));
    };
    Ok(Client::connect(Login { node: container, address, user: ROOT, password, tls: false }).await)
}
