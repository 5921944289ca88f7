//! How the command line speaks to a Weir that serves: a socket in the state directory, mode 0600.
//!
//! One line of JSON asks; lines of JSON answer, the last of them `done` or `failed`. The socket's directory and
//! mode are the access control: who may read the cluster's passwords may move its primary.

pub mod client;
pub mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One line, bytes; longer ones are refused.
const MAX_LINE: u64 = 64 * 1024;

/// Where the socket is.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Move the primary to the node of that name, or to the replica that is furthest.
    Switchover { to: Option<String> },
    /// Restart the node of that name, or all.
    Restart { name: Option<String> },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Event {
    /// A step begins.
    Begin {
        text: String,
    },
    /// What the running step is at.
    Detail {
        text: String,
    },
    /// It is done.
    End,
    Note {
        text: String,
    },
    /// All is done: one sentence.
    Done {
        text: String,
    },
    /// Nothing more is done: why.
    Failed {
        text: String,
    },
}
