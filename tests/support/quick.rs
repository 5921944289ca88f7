//! What the servers of a test's cluster are told so that they do not wait for the disk.

/// The end of a configuration: the section of the servers' options.
///
/// No test cuts the power, and what a killed container has written is in the page cache still: a commit that is not
/// flushed loses nothing by any fault that is made here. `make soak` leaves the servers as an operator has them.
pub(crate) fn options() -> &'static str {
    if std::env::var_os("SOAK_MINUTES").is_some() {
        "[cluster.options]\n"
    } else {
        "[cluster.options]\nsync_binlog = 0\ninnodb_flush_log_at_trx_commit = 2\n"
    }
}
