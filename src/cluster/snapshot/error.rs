//! What stands in the way of a snapshot or a copy.

/// Each says what to do. No variant ever holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "{name:?} cannot be the name of a {what}: write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning \
         with a letter or digit"
    )]
    Name { what: &'static str, name: String },

    #[error(
        "snapshot {name} is there already. Choose another name, or `weir snapshot rm {name}` first"
    )]
    Exists { name: String },

    #[error("there is no snapshot {name}. There are: {there}")]
    Missing { name: String, there: String },

    #[error("snapshot {name} has copies: {copies}. `weir snapshot stop` ends them")]
    InUse { name: String, copies: String },

    #[error(
        "a copy {name} is there already. Choose another by --as, or `weir snapshot stop {name}`"
    )]
    CopyExists { name: String },

    #[error("there is no copy {name}. There are: {there}")]
    NoCopy { name: String, there: String },

    #[error(
        "port {port} of 127.0.0.1 is taken: {cause}. Choose another by --port, or leave it out"
    )]
    PortTaken { port: u16, cause: String },

    #[error("the time to live is too long for a date")]
    TimeToLive,

    #[error("{0}")]
    NoDonor(String),

    #[error("copying the data from {from} failed: {cause}")]
    Clone { from: String, cause: String },
}
