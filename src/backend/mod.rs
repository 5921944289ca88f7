//! Connections to servers: logging in, what state they are in, pools, leases.

pub mod connect;
pub mod connection;
pub mod credentials;
pub mod login;
pub mod pool;
pub mod replay;
pub mod state;
mod tracked;
