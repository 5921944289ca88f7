//! Weir: a read/write-splitting MySQL proxy that also builds and keeps the cluster behind it.
//!
//! Modules by rank (a file imports only lower ranks; `tests/tidy.rs` checks it):
//!
//! | rank | modules |
//! |---|---|
//! | L8 | `cli` |
//! | L7 | `app` |
//! | L6 | `server` |
//! | L5 | `admin` |
//! | L4 | `session` |
//! | L3 | `monitor`, `cluster` |
//! | L2 | `backend`, `route` |
//! | L1 | `topology`, `net` |
//! | L0 | `wire`, `sql`, `gtid`, `config` |

pub mod admin;
pub mod app;
pub mod backend;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod gtid;
pub mod monitor;
pub mod net;
pub mod route;
pub mod server;
pub mod session;
pub mod sql;
pub mod topology;
pub mod wire;
