//! Waiting for what comes true in its own time.

use std::time::{Duration, Instant};

/// Between two questions, at least.
const POLL: Duration = Duration::from_millis(20);
/// A question that costs much, such as a program that has to be started, is asked less often: so many times as long as
/// it took is waited before the next.
const REST: u32 = 3;

/// Asks again and again until there is an answer; panics with `what` after `limit`.
pub(crate) async fn until<T>(
    limit: Duration,
    what: &str,
    ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    until_or_show(limit, what, String::new, ask).await
}

/// The same; the panic also shows what `log` gives then.
pub(crate) async fn until_or_show<T>(
    limit: Duration,
    what: &str,
    log: impl Fn() -> String,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for: {what}\n{}", log());
        tokio::time::sleep(POLL.max(asked.elapsed() * REST)).await;
    }
}
