//! System variables and tables that tell one server from another.
//!
//! Source: MySQL manual 9.7, "Server System Variables", "Using System Variables".

use super::token::Folded;

/// Where `SELECT @@name` is answered rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The session's own value, which is brought to every connection, or a value that servers of
    /// one cluster share.
    Anywhere,
    /// The value tells servers apart, or is not known to be shared.
    Primary,
    /// @@last_insert_id, @@identity.
    LastInsertId,
    /// About the statement before.
    Previous,
}

/// What reading `@@..` (the whole token) asks for.
pub(super) fn answer(token: &[u8]) -> Answer {
    let (global, name) = scope_and_name(token);
    let name = Folded::new(name);
    match name.as_bytes() {
        b"last_insert_id" | b"identity" if !global => Answer::LastInsertId,
        b"warning_count" | b"error_count" if !global => Answer::Previous,
        name if has(&SHARED, name) => Answer::Anywhere,
        name if !global && has(&SESSION, name) => Answer::Anywhere,
        _ => Answer::Primary,
    }
}

/// Splits `@@scope.name`; whether the scope is the server's (global, persist) and not the
/// session's.
pub(super) fn scope_and_name(token: &[u8]) -> (bool, &[u8]) {
    let name = token.strip_prefix(b"@@").unwrap_or(token);
    let dot = name.iter().position(|&byte| byte == b'.');
    let split = dot.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?)));
    let (global, name) = match split {
        Some((scope, rest)) if is_session_scope(scope) => (false, rest),
        Some((scope, rest)) if is_global_scope(scope) => (true, rest),
        _ => (false, name),
    };
    (global, bare(name))
}

pub(super) fn is_session_scope(word: &[u8]) -> bool {
    [&b"session"[..], b"local"].iter().any(|scope| word.eq_ignore_ascii_case(scope))
}

pub(super) fn is_global_scope(word: &[u8]) -> bool {
    [&b"global"[..], b"persist", b"persist_only"]
        .iter()
        .any(|scope| word.eq_ignore_ascii_case(scope))
}

/// Whether setting the session variable leaves what cannot be brought to another connection: it
/// changes what the next write logs, hangs on this very connection, or is not reported by the
/// session tracker.
pub(super) fn binds_session(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"session_track", b"pseudo_", b"rand_seed", b"debug"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || has(&BINDING, name)
}

/// Whether setting it changes how text is read or written.
pub(super) fn is_charset(name: &[u8]) -> bool {
    name.starts_with(b"character_set_") || name.starts_with(b"collation_")
}

/// `@@name = x` without a scope sets these for the next transaction only.
pub(super) fn is_transaction_characteristic(name: &[u8]) -> bool {
    matches!(
        name,
        b"transaction_isolation" | b"transaction_read_only" | b"tx_isolation" | b"tx_read_only"
    )
}

/// Whether the table is about one server: `information_schema.processlist`, anything in
/// performance_schema.
pub(super) fn is_of_one_server(schema: &[u8], table: &[u8]) -> bool {
    match schema {
        b"performance_schema" | b"sys" => true,
        b"information_schema" | b"mysql" => {
            has(&SERVER_TABLES, table) || table.starts_with(b"innodb_")
        }
        _ => false,
    }
}

fn bare(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"`").and_then(|name| name.strip_suffix(b"`")).unwrap_or(name)
}

fn has(table: &[&str], name: &[u8]) -> bool {
    table.binary_search_by(|entry| entry.as_bytes().cmp(name)).is_ok()
}

/// Set by configuration or build, alike on servers of one cluster, or of no use to tell them apart.
#[rustfmt::skip]
static SHARED: [&str; 24] = [
    "character_set_system", "character_sets_dir", "default_authentication_plugin", "have_compress",
    "have_openssl", "have_profiling", "have_query_cache", "have_ssl", "init_connect",
    "innodb_version", "license", "lower_case_table_names", "max_allowed_packet",
    "performance_schema", "protocol_version", "query_cache_size", "query_cache_type",
    "skip_networking", "system_time_zone", "version", "version_comment", "version_compile_machine",
    "version_compile_os", "version_compile_zlib",
];

/// Values of the session, which follow it from connection to connection.
#[rustfmt::skip]
static SESSION: [&str; 65] = [
    "auto_increment_increment", "auto_increment_offset", "autocommit", "character_set_client",
    "character_set_connection", "character_set_database", "character_set_filesystem",
    "character_set_results", "character_set_server", "collation_connection", "collation_database",
    "collation_server", "completion_type", "cte_max_recursion_depth",
    "default_collation_for_utf8mb4", "default_storage_engine", "default_tmp_storage_engine",
    "default_week_format", "div_precision_increment", "eq_range_index_dive_limit",
    "explicit_defaults_for_timestamp", "foreign_key_checks", "group_concat_max_len",
    "information_schema_stats_expiry", "innodb_lock_wait_timeout", "interactive_timeout",
    "join_buffer_size", "lc_messages", "lc_time_names", "lock_wait_timeout", "max_execution_time",
    "max_heap_table_size", "max_join_size", "max_length_for_sort_data", "max_sort_length",
    "max_statement_time", "net_buffer_length", "net_read_timeout", "net_write_timeout",
    "optimizer_search_depth", "optimizer_switch", "read_buffer_size", "show_create_table_verbosity",
    "sort_buffer_size", "sql_auto_is_null", "sql_big_selects", "sql_generate_invisible_primary_key",
    "sql_mode", "sql_notes", "sql_quote_show_create", "sql_require_primary_key", "sql_safe_updates",
    "sql_select_limit", "sql_warnings", "storage_engine", "time_zone", "tmp_table_size",
    "transaction_isolation", "transaction_read_only", "tx_isolation", "tx_read_only",
    "unique_checks", "updatable_views_with_limit", "wait_timeout", "windowing_use_high_precision",
];

/// Session variables that hold a session to its connection once set.
#[rustfmt::skip]
static BINDING: [&str; 26] = [
    "default_master_connection", "error_count", "external_user", "gtid_domain_id", "gtid_next",
    "gtid_next_list", "gtid_seq_no", "identity", "immediate_server_version", "insert_id",
    "last_gtid", "last_insert_id", "original_commit_timestamp", "original_server_version",
    "profiling", "proxy_user", "rbr_exec_mode", "resultset_metadata", "server_id",
    "skip_replication", "sql_log_bin", "sql_log_off", "timestamp", "transaction_allow_batching",
    "use_secondary_engine", "warning_count",
];

/// Tables of information_schema and mysql about one server.
#[rustfmt::skip]
static SERVER_TABLES: [&str; 17] = [
    "engines", "files", "general_log", "global_status", "global_variables", "gtid_executed",
    "plugins", "processlist", "profiling", "replication_asynchronous_connection_failover",
    "session_status", "session_variables", "slave_master_info", "slave_relay_log_info",
    "slave_worker_info", "slow_log", "user_statistics",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for table in [&SHARED[..], &SESSION, &BINDING, &SERVER_TABLES] {
            assert!(table.is_sorted_by(|a, b| a < b), "{:?}", table.first());
        }
    }

    #[test]
    fn scopes() {
        let check = |token: &str, global: bool, name: &str| {
            assert_eq!(scope_and_name(token.as_bytes()), (global, name.as_bytes()), "{token}");
        };
        check("@@version", false, "version");
        check("@@SESSION.sql_mode", false, "sql_mode");
        check("@@Global.`x`", true, "x");
        check("@@local.x", false, "x");
        check("@@cache.key_buffer_size", false, "cache.key_buffer_size");
    }

    #[test]
    fn where_variables_are_read() {
        assert_eq!(answer(b"@@version"), Answer::Anywhere);
        assert_eq!(answer(b"@@session.tx_isolation"), Answer::Anywhere);
        assert_eq!(answer(b"@@global.time_zone"), Answer::Primary);
        assert_eq!(answer(b"@@hostname"), Answer::Primary);
        assert_eq!(answer(b"@@Identity"), Answer::LastInsertId);
        assert_eq!(answer(b"@@warning_count"), Answer::Previous);
    }
}
