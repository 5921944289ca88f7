//! Waiting for what comes true in its own time.

use std::time::{Duration, Instant};

/// Between two questions.
const POLL: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer; panics with `what` after `limit`.
pub(crate) async fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for: {what}");
        tokio::time::sleep(POLL).await;
    }
}
