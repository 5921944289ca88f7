//! The managed cluster on a real Docker Engine with real servers: made, changed, broken, moved, copied.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of its own and
//! removes what it made, also when it fails. They wait more than they work, so several run at once.
//!
//! | module | how the cluster is driven |
//! |---|---|
//! | `life`, `nodes`, `copy`, `options`, `faults`, `snapshot`, `image` | through the library, as `weir cluster` does |
//! | `failover`, `lead`, `group`, `api`, `chaos` | by a Weir that serves, with clients |
//! | `cut` | by commands that are killed |
//! | `contract`, `compose` | not at all: what the image does by itself, and Compose with it |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests: a failure is the test's failure, and figures of the run are printed"
)]

mod api;
mod chaos;
mod compose;
mod contract;
mod copy;
mod cut;
mod failover;
mod faults;
mod group;
mod image;
mod lead;
mod life;
mod nodes;
mod options;
mod snapshot;

#[path = "../support/autopsy.rs"]
mod autopsy;
#[path = "../support/docker.rs"]
mod docker;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/flow.rs"]
mod flow;
#[path = "../support/greeting.rs"]
mod greeting;
#[path = "../support/link.rs"]
mod link;
#[path = "../support/managed.rs"]
mod managed;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/quick.rs"]
mod quick;
#[path = "../support/readers.rs"]
mod readers;
#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../support/roles.rs"]
mod roles;
#[path = "../support/small_disk.rs"]
mod small_disk;
#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/sysbench.rs"]
mod sysbench;
#[path = "../support/wait.rs"]
mod wait;
#[path = "../support/writers.rs"]
mod writers;
