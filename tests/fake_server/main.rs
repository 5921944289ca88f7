//! The ugly paths: servers that close, lie and babble behind Weir, and clients that do so before it.
//!
//! `fake` is a MySQL server that does what the text of a statement tells it to; `weir serve` runs in
//! front of it as a process of its own, and `client` looks at every packet that comes out. Needs
//! neither containers nor servers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may panic and must say why; modules of one binary"
)]

mod client;
mod fake;
mod foreign;
#[path = "../support/greeting.rs"]
mod greeting;
#[path = "../support/guard.rs"]
#[expect(dead_code, reason = "only one of its two uses is needed here")]
mod guard;
mod hostile;
mod limits;
mod logins;
mod mixed;
mod own_commands;
mod passwords;
#[path = "../support/ports.rs"]
mod ports;
mod replicas;
mod scripts;
mod stopping;
mod weir_process;

use std::time::{Duration, Instant};

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is yes; panics with `what` after [`PATIENCE`].
async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
