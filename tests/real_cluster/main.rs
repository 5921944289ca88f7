//! Tests on a real cluster: one primary and two replicas in containers, `weir serve` in front of them,
//! and clients of every kind. `tests/support/mod.rs` says what they need and how to run them alone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may panic and must say why; modules of one binary"
)]

#[path = "../support/mod.rs"]
mod support;

mod drivers;
mod faults;
mod hostile;
mod login;
mod own_rows;
mod prepared;
mod protocol;
mod routing;
mod rust_drivers;
mod server_tls;
mod sessions;
