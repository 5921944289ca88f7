//! What a name before `(` is: a function that only reads, one that needs the primary, or plain
//! syntax.
//!
//! Source: MySQL manual 9.7, "Built-In Function and Operator Reference", "Function Name Parsing and
//! Resolution"; the MariaDB names are those of its "Sequence Functions". A name in none of the
//! tables is a stored or loadable function, and those may write. Every table is sorted; a test
//! keeps it so.

/// What a call of a function asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads only, and answers the same on every caught-up server.
    Reads,
    /// Takes parentheses and is no function.
    Syntax,
    /// Answers with the primary's own state, or waits on it.
    Primary,
    /// GET_LOCK and the locking services: the connection holds something afterwards.
    TakesLock,
    /// RELEASE_LOCK, service_release_*: one of the locks ends.
    ReleasesLock,
    /// RELEASE_ALL_LOCKS.
    ReleasesLocks,
    /// LAST_INSERT_ID: reads without an argument, sets with one.
    LastInsertId,
    /// FOUND_ROWS, ROW_COUNT: about the previous statement.
    Previous,
    /// CONNECTION_ID: the proxy's id, not the server's.
    ConnectionId,
    /// Writes under the name of a function: NEXTVAL, SETVAL, group_replication_*.
    Writes,
    /// LASTVAL: the value is on the connection.
    LastValue,
    /// In no table.
    Unknown,
}

/// The role of an unquoted name before `(`; `spaced` when something stands between the two.
pub(super) fn role(name: &[u8], spaced: bool) -> Role {
    match native_role(name) {
        Role::Unknown => {}
        role => return role,
    }
    if has(&GLUED, name) {
        // Without IGNORE_SPACE, which is not tracked, `count (x)` calls a stored function of that
        // name.
        return if spaced { Role::Unknown } else { Role::Reads };
    }
    if has(&KEYWORDS, name) {
        return Role::Reads;
    }
    if has(&SYNTAX, name) {
        return Role::Syntax;
    }
    if name == b"row_count" {
        return Role::Previous;
    }
    Role::Unknown
}

/// The role of a name that is a function by name alone, so that quotes and spaces do not matter.
pub(super) fn native_role(name: &[u8]) -> Role {
    if has(&NATIVE, name) || name.starts_with(b"st_") && has(&SPATIAL, name) {
        return Role::Reads;
    }
    match name {
        b"get_lock"
        | b"service_get_read_locks"
        | b"service_get_write_locks"
        | b"version_tokens_lock_exclusive"
        | b"version_tokens_lock_shared" => Role::TakesLock,
        b"release_lock" | b"service_release_locks" | b"version_tokens_unlock" => Role::ReleasesLock,
        b"release_all_locks" => Role::ReleasesLocks,
        b"last_insert_id" => Role::LastInsertId,
        b"found_rows" => Role::Previous,
        b"connection_id" => Role::ConnectionId,
        b"lastval" => Role::LastValue,
        b"nextval" | b"setval" => Role::Writes,
        _ if has(&PRIMARY, name) => Role::Primary,
        _ => Role::Unknown,
    }
}

fn has(table: &[&str], name: &[u8]) -> bool {
    table.binary_search_by(|entry| entry.as_bytes().cmp(name)).is_ok()
}

/// Functions found by name alone: `` `abs` (1) `` is the same as `abs(1)`.
#[rustfmt::skip]
static NATIVE: [&str; 185] = [
    "abs", "acos", "addtime", "aes_decrypt", "aes_encrypt", "any_value", "asin", "atan", "atan2",
    "benchmark", "bin", "bin_to_uuid", "bit_count", "bit_length", "ceil", "ceiling", "char_length",
    "character_length", "coercibility", "compress", "concat", "concat_ws", "conv", "convert_tz",
    "cos", "cot", "crc32", "current_role", "date_format", "datediff", "dayname", "dayofmonth",
    "dayofweek", "dayofyear", "degrees", "elt", "etag", "exp", "export_set", "extractvalue", "field",
    "find_in_set", "floor", "format_bytes", "format_pico_time", "from_base64", "from_days",
    "from_unixtime", "from_vector", "greatest", "gtid_subset", "gtid_subtract", "hex",
    "icu_version", "ifnull", "inet6_aton", "inet6_ntoa", "inet_aton", "inet_ntoa", "instr",
    "is_ipv4", "is_ipv4_compat", "is_ipv4_mapped", "is_ipv6", "is_uuid", "isnull", "json_array",
    "json_array_append", "json_array_insert", "json_contains", "json_contains_path", "json_depth",
    "json_extract", "json_insert", "json_keys", "json_length", "json_merge", "json_merge_patch",
    "json_merge_preserve", "json_object", "json_overlaps", "json_pretty", "json_quote",
    "json_remove", "json_replace", "json_schema_valid", "json_schema_validation_report",
    "json_search", "json_set", "json_storage_free", "json_storage_size", "json_type",
    "json_unquote", "json_valid", "last_day", "lcase", "least", "length", "ln", "locate", "log",
    "log10", "log2", "lower", "lpad", "ltrim", "make_set", "makedate", "maketime", "mbrcontains",
    "mbrcoveredby", "mbrcovers", "mbrdisjoint", "mbrequals", "mbrintersects", "mbroverlaps",
    "mbrtouches", "mbrwithin", "md5", "monthname", "name_const", "nullif", "oct", "octet_length",
    "ord", "period_add", "period_diff", "pi", "pow", "power", "quote", "radians", "rand",
    "random_bytes", "regexp_instr", "regexp_like", "regexp_replace", "regexp_substr", "reverse",
    "roles_graphml", "round", "rpad", "rtrim", "sec_to_time", "sha", "sha1", "sha2", "sign", "sin",
    "sleep", "soundex", "space", "sqrt", "statement_digest", "statement_digest_text", "str_to_date",
    "strcmp", "string_to_vector", "substring_index", "subtime", "tan", "time_format", "time_to_sec",
    "timediff", "to_base64", "to_days", "to_seconds", "to_vector", "ucase", "uncompress",
    "uncompressed_length", "unhex", "unix_timestamp", "updatexml", "upper", "uuid", "uuid_short",
    "uuid_to_bin", "validate_password_strength", "vector_dim", "vector_to_string", "version",
    "weekday", "weekofyear", "yearweek",
];

/// The spatial functions of that sort.
#[rustfmt::skip]
static SPATIAL: [&str; 93] = [
    "st_area", "st_asbinary", "st_asgeojson", "st_astext", "st_aswkb", "st_aswkt", "st_buffer",
    "st_buffer_strategy", "st_centroid", "st_contains", "st_convexhull", "st_crosses",
    "st_difference", "st_dimension", "st_disjoint", "st_distance", "st_distance_sphere",
    "st_endpoint", "st_envelope", "st_equals", "st_exteriorring", "st_frechetdistance",
    "st_geohash", "st_geomcollfromtext", "st_geomcollfromtxt", "st_geomcollfromwkb",
    "st_geometrycollectionfromtext", "st_geometrycollectionfromwkb", "st_geometryfromtext",
    "st_geometryfromwkb", "st_geometryn", "st_geometrytype", "st_geomfromgeojson",
    "st_geomfromtext", "st_geomfromwkb", "st_hausdorffdistance", "st_interiorringn",
    "st_intersection", "st_intersects", "st_isclosed", "st_isempty", "st_issimple", "st_isvalid",
    "st_latfromgeohash", "st_latitude", "st_length", "st_linefromtext", "st_linefromwkb",
    "st_lineinterpolatepoint", "st_lineinterpolatepoints", "st_linestringfromtext",
    "st_linestringfromwkb", "st_longfromgeohash", "st_longitude", "st_makeenvelope",
    "st_mlinefromtext", "st_mlinefromwkb", "st_mpointfromtext", "st_mpointfromwkb",
    "st_mpolyfromtext", "st_mpolyfromwkb", "st_multilinestringfromtext",
    "st_multilinestringfromwkb", "st_multipointfromtext", "st_multipointfromwkb",
    "st_multipolygonfromtext", "st_multipolygonfromwkb", "st_numgeometries", "st_numinteriorring",
    "st_numinteriorrings", "st_numpoints", "st_overlaps", "st_pointatdistance",
    "st_pointfromgeohash", "st_pointfromtext", "st_pointfromwkb", "st_pointn", "st_polyfromtext",
    "st_polyfromwkb", "st_polygonfromtext", "st_polygonfromwkb", "st_simplify", "st_srid",
    "st_startpoint", "st_swapxy", "st_symdifference", "st_touches", "st_transform", "st_union",
    "st_validate", "st_within", "st_x", "st_y",
];

/// Functions only where `(` follows at once.
#[rustfmt::skip]
static GLUED: [&str; 35] = [
    "adddate", "bit_and", "bit_or", "bit_xor", "cast", "count", "curdate", "curtime", "date_add",
    "date_sub", "extract", "group_concat", "json_arrayagg", "json_objectagg", "max", "mid", "min",
    "now", "position", "session_user", "st_collect", "std", "stddev", "stddev_pop", "stddev_samp",
    "subdate", "substr", "substring", "sum", "sysdate", "system_user", "trim", "var_pop",
    "var_samp", "variance",
];

/// Keywords that are functions too; quoted, they name a stored function.
#[rustfmt::skip]
static KEYWORDS: [&str; 70] = [
    "against", "ascii", "avg", "char", "charset", "coalesce", "collation", "convert", "cume_dist",
    "current_date", "current_time", "current_timestamp", "current_user", "database", "date", "day",
    "default", "dense_rank", "first_value", "format", "geomcollection", "geometrycollection",
    "get_format", "grouping", "hour", "if", "insert", "json_table", "json_value", "lag",
    "last_value", "lead", "left", "linestring", "localtime", "localtimestamp", "match",
    "microsecond", "minute", "mod", "month", "multilinestring", "multipoint", "multipolygon",
    "nth_value", "ntile", "percent_rank", "point", "polygon", "quarter", "rank", "repeat",
    "replace", "right", "row_number", "schema", "second", "time", "timestamp", "timestampadd",
    "timestampdiff", "truncate", "user", "utc_date", "utc_time", "utc_timestamp", "values", "week",
    "weight_string", "year",
];

/// Keywords that stand before `(` and call nothing.
#[rustfmt::skip]
static SYNTAX: [&str; 91] = [
    "all", "and", "any", "as", "between", "bigint", "binary", "bit", "blob", "by", "case",
    "character", "columns", "cube", "datetime", "dec", "decimal", "distinct", "distinctrow", "div",
    "double", "else", "end", "escape", "except", "exists", "float", "for", "force", "from",
    "having", "high_priority", "ignore", "in", "index", "int", "integer", "intersect", "interval",
    "is", "join", "key", "lateral", "like", "limit", "longblob", "longtext", "mediumint",
    "mediumtext", "nchar", "not", "numeric", "of", "on", "or", "over", "partition", "real",
    "recursive", "regexp", "rlike", "rollup", "row", "select", "separator", "set", "signed",
    "smallint", "some", "sql_big_result", "sql_buffer_result", "sql_calc_found_rows",
    "sql_no_cache", "sql_small_result", "straight_join", "table", "text", "then", "tinyint",
    "tinytext", "union", "unsigned", "using", "varbinary", "varchar", "when", "where", "while",
    "window", "with", "xor",
];

/// Functions whose answer belongs to one server.
#[rustfmt::skip]
static PRIMARY: [&str; 11] = [
    "is_free_lock", "is_used_lock", "load_file", "master_gtid_wait", "master_pos_wait",
    "ps_current_thread_id", "ps_thread_id", "source_pos_wait", "version_tokens_show",
    "wait_for_executed_gtid_set", "wait_until_sql_thread_after_gtids",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_apart() {
        let tables: [&[&str]; 6] = [&NATIVE, &SPATIAL, &GLUED, &KEYWORDS, &SYNTAX, &PRIMARY];
        let mut all = Vec::new();
        for table in tables {
            assert!(table.is_sorted_by(|a, b| a < b), "{:?}", table.first());
            all.extend_from_slice(table);
        }
        let names = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), names, "a name stands in two tables");
    }

    #[test]
    fn spaces_and_quotes_count() {
        assert_eq!(role(b"count", false), Role::Reads);
        assert_eq!(role(b"count", true), Role::Unknown);
        assert_eq!(role(b"abs", true), Role::Reads);
        assert_eq!(native_role(b"abs"), Role::Reads);
        assert_eq!(native_role(b"count"), Role::Unknown);
        assert_eq!(native_role(b"st_x"), Role::Reads);
        assert_eq!(role(b"in", true), Role::Syntax);
        assert_eq!(role(b"my_function", false), Role::Unknown);
    }
}
