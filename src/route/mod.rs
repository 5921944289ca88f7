//! Where a statement goes. Pure: facts, statement, topology and policy in, a plan out; no I/O, no
//! clock, no randomness (`balance` takes its seed).

pub mod balance;
pub mod causal;
pub mod facts;
pub mod plan;
pub mod reason;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod testing;

pub use balance::choose;
pub use causal::{MAX_TOKEN_INTERVALS, Token};
pub use facts::{Facts, Isolation};
pub use plan::{Plan, Policy, ProxyAnswer, Retry, Target, plan};
pub use reason::Reason;
