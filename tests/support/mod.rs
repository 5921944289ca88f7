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
#[expect(dead_code, reason = "where the engine listens is asked by other tests")]
pub mod docker;
pub mod drivers;
mod greeting;
pub mod guard;
pub mod ports;
pub mod proxy;
pub mod quick;
pub mod raw;
pub mod wait;

use std::time::Duration;

pub use cluster::TestCluster;
pub(crate) use ports::free_ports;
pub use proxy::Weir;

/// How long a condition may take to come true, such as a replica catching up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the primary itself stands where Weir would be.
pub fn direct() -> bool {
    std::env::var("WEIR_TEST_DIRECT").is_ok_and(|value| value == "1")
}

/// Asks again and again until the answer is yes; panics with `what` after [`PATIENCE`].
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    wait::until(PATIENCE, what, async || ask().await.then_some(())).await;
}
