//! What the tests on a real cluster stand on: servers, Weir in front of them, clients.
//!
//! Nothing is skipped: a missing engine, image or tool is a failure that says what to do.
//!
//! Two variables of the environment serve those who write tests:
//! - `WEIR_TEST_SERVERS=host:port,host:port,..` (the primary first) with `WEIR_TEST_ROOT_PASSWORD`
//!   and `WEIR_TEST_MONITOR=user:password` uses servers that run already;
//! - `WEIR_TEST_DIRECT=1` puts the primary itself where Weir would be: what MySQL does is what the
//!   tests must ask of Weir. Only what is about Weir alone is then left out.

pub mod client;
pub mod cluster;
pub mod drivers;
pub mod guard;
pub mod proxy;
pub mod raw;

use std::time::Duration;

pub use cluster::TestCluster;
pub use proxy::Weir;

/// How long a condition may take to come true, such as a replica catching up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the primary itself stands where Weir would be.
pub fn direct() -> bool {
    std::env::var("WEIR_TEST_DIRECT").is_ok_and(|value| value == "1")
}

/// Asks again and again until the answer is yes; panics with `what` after [`PATIENCE`].
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !ask().await {
        assert!(start.elapsed() < PATIENCE, "waited {} s for: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port on loopback with nobody on it, and `more` free ones right above it.
pub fn free_ports(more: u16) -> u16 {
    let pid = u16::try_from(std::process::id() % 1000).unwrap();
    for attempt in 0..400_u16 {
        let base = 15_000 + (pid * 16 + attempt * 97) % 16_000;
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (base..=base + more).all(free) && CLAIMED.lock().unwrap().insert(base) {
            return base;
        }
    }
    panic!("no {} free ports in a row between 15000 and 31000", more + 1);
}

/// Port bases given out by this process: what one test got and has not bound yet is not free.
static CLAIMED: std::sync::Mutex<std::collections::BTreeSet<u16>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());
