//! Options for mysqld that an operator writes: which of them a cluster cannot stand, and why.
//!
//! Whether the server knows an option and takes its value is the server's own to say
//! (`cluster/options.rs`); here it is only judged what it would do to the cluster.

use toml::Spanned;
use toml::de::DeValue;

use super::group;
use super::section::{Section, Text, kind};

/// Options in one place.
pub(super) const MAX_OPTIONS: usize = 200;
/// What an option's name may be preceded by: `loose_skip_log_bin` is about `log_bin`
/// (<https://dev.mysql.com/doc/refman/8.4/en/option-modifiers.html>).
const MODIFIERS: [&str; 5] = ["loose_", "skip_", "disable_", "enable_", "maximum_"];

/// Options that Weir sets itself, with dashes as underscores, and what an operator does instead; a second
/// opinion would break the cluster. An entry that ends in `_` stands for all that begin so.
const OWN: [(&str, &str); 42] = [
    ("server_id", REMOVE),
    ("log_bin", REMOVE),
    ("gtid_mode", REMOVE),
    ("enforce_gtid_consistency", REMOVE),
    ("log_replica_updates", REMOVE),
    ("log_slave_updates", REMOVE),
    ("relay_log", REMOVE),
    ("relay_log_recovery", REMOVE),
    ("replica_preserve_commit_order", REMOVE),
    ("slave_preserve_commit_order", REMOVE),
    ("replica_parallel_type", REMOVE),
    ("slave_parallel_type", REMOVE),
    ("replica_parallel_workers", "use applier_workers in [cluster]"),
    ("slave_parallel_workers", "use applier_workers in [cluster]"),
    ("replica_start", REMOVE),
    ("slave_start", REMOVE),
    ("rpl_semi_sync_", "use semi_sync, semi_sync_acks and semi_sync_timeout_ms in [cluster]"),
    ("group_replication_", REMOVE),
    ("binlog_format", "remove it; replicas can only repeat rows exactly"),
    ("name_resolve", REMOVE),
    ("read_only", REMOVE),
    ("super_read_only", REMOVE),
    ("report_host", REMOVE),
    ("report_port", REMOVE),
    ("datadir", "use data in [cluster]"),
    ("socket", REMOVE),
    ("port", "use port_base in [cluster]"),
    ("networking", REMOVE),
    ("bind_address", REMOVE),
    ("user", REMOVE),
    ("chroot", REMOVE),
    ("innodb_buffer_pool_size", "use memory_mb in [cluster]"),
    ("performance_schema", "remove it; it is on by itself, and Weir looks into it"),
    ("initialize", REMOVE),
    ("initialize_insecure", REMOVE),
    ("validate_config", REMOVE),
    ("daemonize", REMOVE),
    ("verbose", REMOVE),
    ("help", REMOVE),
    ("print_defaults", REMOVE),
    ("defaults_", "use option_file in [cluster]"),
    ("no_defaults", REMOVE),
];
const REMOVE: &str = "remove it";

/// Options that nobody may set, with what they would do.
const HARMFUL: [(&str, &str); 5] = [
    ("replicate_", "would keep data from replicas that answer reads of all of it"),
    ("binlog_do_db", "would keep writes from the replicas"),
    ("binlog_ignore_db", "would keep writes from the replicas"),
    ("grant_tables", "would let everybody in, without a password"),
    ("require_secure_transport", "would lock Weir out, which speaks to its nodes without TLS"),
];

/// Options that all nodes must share, since one node is made of another's files or repeats its statements.
const SHARED: [&str; 2] = ["lower_case_table_names", "innodb_page_size"];

/// Why an option cannot be used: what is wrong, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub what: String,
    pub remedy: String,
}

/// Judges an option by its name, as it is written; `one_node`: it is for one node alone.
pub(super) fn judge(name: &str, one_node: bool) -> Result<(), Refusal> {
    let refuse = |what: String, remedy: &str| Err(Refusal { what, remedy: remedy.to_owned() });
    let meanings = meanings(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let is_name = |text: &String| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
    };
    if !meanings.iter().all(is_name) {
        let remedy = "write its name as in an option file, without leading dashes";
        return refuse(format!("{name:?} is no mysqld option"), remedy);
    }
    let is = |known: &str| {
        meanings.iter().any(|meaning| {
            if known.ends_with('_') { meaning.starts_with(known) } else { meaning == known }
        })
    };
    if let Some((_, remedy)) = OWN.iter().find(|(own, _)| is(own)) {
        return refuse(format!("the option {name} is Weir's own to set"), remedy);
    }
    if group::OWN_OPTIONS.iter().any(|own| is(own)) {
        return refuse(format!("the option {name} is Weir's own to set"), REMOVE);
    }
    if let Some((_, effect)) = HARMFUL.iter().find(|(harmful, _)| is(harmful)) {
        return refuse(format!("the option {name} {effect}"), REMOVE);
    }
    if one_node && SHARED.iter().any(|shared| is(shared)) {
        let remedy = "write it for all nodes, in [cluster.options]";
        return refuse(format!("the option {name} must be the same on every node"), remedy);
    }
    Ok(())
}

/// The name, and what it is about when modifiers are taken off one by one.
fn meanings(name: &str) -> Vec<String> {
    let mut rest = name.replace('-', "_").to_ascii_lowercase();
    let mut all = vec![rest.clone()];
    while let Some(bare) = MODIFIERS.iter().find_map(|modifier| rest.strip_prefix(modifier)) {
        rest = bare.to_owned();
        all.push(rest.clone());
    }
    all
}

/// The option as a word of mysqld's command line.
pub fn argument((name, value): &(String, String)) -> String {
    if value.is_empty() && switches(name) {
        format!("--{name}")
    } else {
        format!("--{name}={value}")
    }
}

/// Whether the option says by its name alone that something is on or off, and takes no value.
pub(super) fn switches(name: &str) -> bool {
    let plain = name.replace('-', "_").to_ascii_lowercase();
    let bare = plain.strip_prefix("loose_").unwrap_or(&plain);
    ["skip_", "disable_", "enable_"].iter().any(|modifier| bare.starts_with(modifier))
}

/// The sub-table `options` of a section, in file order. `shown` is how it is written, as
/// "[cluster.options]".
pub(super) fn table(
    section: &mut Section<'_>,
    shown: &str,
    one_node: bool,
) -> Vec<(String, String)> {
    let example = format!("write {shown} with lines such as max_connections = 500");
    let entries = section.free_table("options", &example);
    if entries.len() > MAX_OPTIONS {
        let what = format!("{shown} has {} options", entries.len());
        section.problem(what, format!("write {MAX_OPTIONS} options or fewer"));
    }
    entries.iter().filter_map(|(key, value)| option(section, key, value, one_node)).collect()
}

fn option(
    section: &Section<'_>,
    key: &Text<'_>,
    value: &Spanned<DeValue<'_>>,
    one_node: bool,
) -> Option<(String, String)> {
    let add = |what: String, remedy: &str| section.source.problems.add(value.span(), what, remedy);
    let name = key.value;
    if let Err(Refusal { what, remedy }) = judge(name, one_node) {
        section.source.problems.add(key.span.clone(), what, remedy);
        return None;
    }
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(true) => "ON".to_owned(),
        DeValue::Boolean(false) => "OFF".to_owned(),
        other => {
            let what =
                format!("the option {name} must be a string or a number, not {}", kind(other));
            add(what, "write option = \"value\"");
            return None;
        }
    };
    if text.chars().any(char::is_control) {
        add(format!("the option {name} holds a line end or control character"), "remove it");
        return None;
    }
    Some((name.to_owned(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_judged_by_what_it_is_about() {
        for name in [
            "server-id",
            "loose_server_id",
            "LOG-BIN",
            "skip-log-bin",
            "disable_log_bin",
            "loose-skip-log_bin",
            "enable-read-only",
            "skip_replica_start",
            "skip-name-resolve",
            "skip_networking",
            "maximum-innodb_buffer_pool_size",
            "rpl_semi_sync_source_timeout",
            "defaults-extra-file",
        ] {
            let refusal = judge(name, false).unwrap_err();
            assert!(refusal.what.contains("Weir's own"), "{name}: {refusal:?}");
        }
        for (name, words) in [
            ("replicate-wild-ignore-table", "keep data from replicas"),
            ("binlog_do_db", "keep writes"),
            ("skip-grant-tables", "without a password"),
            ("loose_require-secure-transport", "lock Weir out"),
            ("a b", "no mysqld option"),
            ("--sql-mode", "no mysqld option"),
            ("loose_", "no mysqld option"),
            ("", "no mysqld option"),
        ] {
            let refusal = judge(name, false).unwrap_err();
            assert!(refusal.what.contains(words), "{name}: {refusal:?}");
        }
    }

    #[test]
    fn what_operators_do_want_is_let_through() {
        for name in [
            "max_connections",
            "character-set-server",
            "collation_server",
            "auto_increment_increment",
            "auto-increment-offset",
            "innodb_flush_log_at_trx_commit",
            "sync_binlog",
            "replica_skip_errors",
            "skip-external-locking",
            "skip_character_set_client_handshake",
            "loose_x",
            "keyring.option",
            "report_user",
            "log_bin_trust_function_creators",
            "relay_log_space_limit",
            "replica_net_timeout",
        ] {
            assert_eq!(judge(name, true), Ok(()), "{name}");
        }
        assert_eq!(judge("lower_case_table_names", false), Ok(()));
        let word = |name: &str, value: &str| argument(&(name.to_owned(), value.to_owned()));
        assert_eq!(word("loose-skip-x", ""), "--loose-skip-x");
        assert_eq!(
            (word("sql_mode", ""), word("a", "1")),
            ("--sql_mode=".to_owned(), "--a=1".to_owned())
        );
        let refusal = judge("lower-case-table-names", true).unwrap_err();
        assert!(refusal.what.contains("same on every node"), "{refusal:?}");
    }
}
