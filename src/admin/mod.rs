//! How a Weir that serves is asked for something: by the command line, over a socket in the state directory, and
//! by any program, over HTTP. Both ask the same [`Request`]s, which `work` carries out.
//!
//! | file | does |
//! |---|---|
//! | `work` | carries a request out, in a task of its own |
//! | `server`, `client` | the two ends of the socket |
//! | `http` | the HTTP listener: connections and their limits, TLS |
//! | `api` | paths, methods, status codes; `openapi.json` describes them |
//! | `token` | who may ask over HTTP |
//! | `json` | how things look as JSON |
//!
//! The socket takes one line of JSON and answers with lines of JSON, the last of them `done` or `failed`. Its
//! directory and mode (0600) are the access control: who may read the cluster's passwords may move its primary.

pub mod api;
pub mod client;
pub mod http;
pub mod json;
pub mod server;
pub mod token;
pub mod work;

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
    /// The cluster, what is wrong with it, why replicas are behind.
    Cluster,
    /// Move the primary to the node of that name, or to the replica that is furthest.
    Switchover { to: Option<String> },
    /// Restart the node of that name, or all.
    Restart { name: Option<String> },
    /// The snapshots and their copies.
    Snapshots,
    /// Make a snapshot: under that name or the date, of that node or the replica that has most.
    CreateSnapshot { name: Option<String>, from: Option<String> },
    /// Remove a snapshot that has no copies.
    RemoveSnapshot { name: String },
    /// Start a copy of a snapshot: `ttl` as "2h".
    RunSnapshot { name: String, copy: Option<String>, port: Option<u16>, ttl: Option<String> },
    /// Remove a copy.
    RemoveCopy { name: String },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// All is done: one sentence for people, and what came of it for programs.
    Done {
        text: String,
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        result: serde_json::Value,
    },
    /// Nothing more is done: why.
    Failed {
        text: String,
        #[serde(default)]
        why: Why,
    },
}

/// Whose turn it is after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// What was asked for makes no sense: ask for something else.
    Invalid,
    /// What was named is not there.
    Missing,
    /// It does not fit what is there now.
    Conflict,
    /// The engine or a server cannot be reached.
    Unavailable,
    /// The engine or a server refused or failed.
    #[default]
    Failed,
}
