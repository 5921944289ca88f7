//! GTID sets: MySQL `uuid:1-5:7`, tagged `uuid:tag:1-3` (8.3+), MariaDB `domain-server-seq`.

/// To be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {}
