//! `weir check` as an operator runs it: exit codes, and what stands on which stream.

use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"
[proxy]
listen = "127.0.0.1:6033"
[monitor]
user = "mon"
password_env = "WEIR_TEST_MONITOR"
[[servers]]
name = "a"
address = "127.0.0.1:13301"
[[servers]]
name = "b"
address = "db.example.com:13302"
"#;

/// Every value wrong; the lines that must be named say so. What excludes each other is in several texts, which
/// together have every key of `proxy.toml`.
const BAD: [&str; 3] = [WITH_SERVERS, WITH_CLUSTER, WITH_ETCD];

const WITH_SERVERS: &str = r#"[proxy]
listen = "nowhere"               # wrong
workers = 1000                   # wrong
max_connections = "many"         # wrong
max_packet_bytes = 5             # wrong
handshake_seconds = -1           # wrong
hold_seconds = 1e9               # wrong
tls = "maybe"                    # wrong
tls_cert = "missing.pem"         # wrong
state_dir = 7                    # wrong
statement_cache = 0              # wrong
server_tls = "sometimes"         # wrong
server_tls_ca = "missing.pem"    # wrong
listn = "x"                      # wrong
[pool]
max_connections_per_server = 0   # wrong
max_idle_seconds = "long"        # wrong
wait_seconds = []                # wrong
connect_seconds = 0              # wrong
max_prepared_statements = 1.5    # wrong
hold_previous_seconds = 1e9      # wrong
[monitor]
user = 5                         # wrong
password = "geheim"
password_file = "none.password"  # wrong
interval_ms = 1                  # wrong
timeout_ms = "2s"                # wrong
failures = 0                     # wrong
[lag]
max_seconds = "10"               # wrong
[causal]
window_ms = -5                   # wrong
[[users]]
name = ""                        # wrong
password_env = "WEIR_TEST_UNSET" # wrong
[[servers]]
name = "a"
address = "127.0.0.1"            # wrong
[[servers]]                      # wrong
name = "b"
address = "127.0.0.1:1"
weight = 5000                    # wrong
tls = "verify-ca"
[[servers]]
name = "c"
address = "127.0.0.1:2"
tls = "perhaps"                  # wrong
tls_ca = "missing.pem"           # wrong
[[servers]]
name = "b"                       # wrong
address = "127.0.0.1:1"          # wrong
[cluster]                        # wrong
replicas = 99                    # wrong
semi_sync = "yes"                # wrong
"#;

const WITH_CLUSTER: &str = r#"[proxy]
tls_key = "missing.pem"          # wrong
[monitor]
password_env = "WEIR_TEST_UNSET" # wrong
[cluster]
name = "no spaces allowed"       # wrong
replicas = 99                    # wrong
replication = "chain"            # wrong
image = ""                       # wrong
pull = "sometimes"               # wrong
data = "relative/folder"         # wrong
application_user = ""            # wrong
application_password_file = "none.password" # wrong
database = ""                    # wrong
semi_sync = "yes"                # wrong
semi_sync_acks = 0               # wrong
semi_sync_timeout_ms = 1         # wrong
applier_workers = 0              # wrong
failover = "always"              # wrong
failover_seconds = 0.1           # wrong
leadership = "zookeeper"         # wrong
docker_host = "ssh:/nowhere"     # wrong
port_base = 0                    # wrong
memory_mb = 1                    # wrong
seed = "none"                    # wrong
copy = "cp"                      # wrong
option_file = "none.cnf"         # wrong
[cluster.options]
server_id = 7                    # wrong
[cluster.node.2]
option_file = "none.cnf"         # wrong
[cluster.node.2.options]
port = 1                         # wrong
[cluster.docker_tls]             # wrong
ca = "none.pem"                  # wrong
cert = "none.pem"                # wrong
key = "none.pem"                 # wrong
[admin]
listen = "nowhere"               # wrong
tls = "maybe"                    # wrong
[[users]]
name = 5                         # wrong
password_file = "none.password"  # wrong
"#;

const WITH_ETCD: &str = r#"[monitor]
password = 5                     # wrong
[cluster]
leadership = "etcd"
etcd = ["nowhere:2379"]          # wrong
etcd_user = 5                    # wrong
etcd_password_file = "none"      # wrong
etcd_ca = 5                      # wrong
etcd_cert = 5                    # wrong
etcd_key = 5                     # wrong
lease_seconds = 1                # wrong
application_password = 5         # wrong
application_password_env = "WEIR_TEST_UNSET" # wrong
[[users]]
name = "a"
password = 7                     # wrong
"#;

fn weir(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("WEIR_TEST_UNSET")
        .env_remove("WEIR_MYSQL_IMAGE")
        .env("WEIR_TEST_MONITOR", "mon")
        .output()
        .unwrap_or_else(|error| panic!("weir does not start: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_good_file_says_what_it_will_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy.toml"), GOOD).unwrap();
    // proxy.toml of the working directory is the default.
    for arguments in [&["check"][..], &["check", "--config", "proxy.toml"]] {
        let output = weir(dir.path(), arguments);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            stdout.starts_with("proxy.toml is right. Weir listens at 127.0.0.1:6033"),
            "{stdout}"
        );
        assert!(stdout.contains("a at 127.0.0.1:13301 (no TLS)"), "{stdout}");
        assert!(stdout.contains("b at db.example.com:13302 (TLS preferred)"), "{stdout}");
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn the_example_of_the_repository_is_right() {
    let output = weir(Path::new(env!("CARGO_MANIFEST_DIR")), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("the ports 13301 to 13303 of 127.0.0.1"), "{stdout}");
}

#[test]
fn a_file_with_every_value_wrong_shows_every_error_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for bad in BAD {
        std::fs::write(dir.path().join("bad.toml"), bad).unwrap();
        let output = weir(dir.path(), &["check", "--config", "bad.toml"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        let named = |line: &usize| stderr.contains(&format!("bad.toml:{line}:"));
        let named: Vec<usize> = (1..=bad.lines().count()).filter(named).collect();
        let wrong = bad.lines().zip(1..).filter(|(line, _)| line.ends_with("# wrong"));
        assert_eq!(named, wrong.map(|(_, line)| line).collect::<Vec<usize>>(), "{stderr}");
        let count = stderr.matches("\nerror: ").count();
        assert!(stderr.starts_with(&format!("bad.toml has {count} errors\n")), "{stderr}");
        all += &stderr;
    }
    for part in [
        "two servers named \"b\"",
        "has the address of server \"b\"",
        "both [[servers]] and [cluster]",
        "gives one password in 2 ways",
        "given without `tls_key`",
        "given without `tls_cert`",
        "write `listen`",
    ] {
        assert!(all.contains(part), "no {part:?}\n{all}");
    }
    assert!(!all.contains("geheim"), "{all}");
}

/// The test above is only as good as its texts: a key that `proxy.toml` tells of has a wrong value in one of them.
#[test]
fn every_key_has_a_wrong_value() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml"));
    let example = keys(&example.unwrap(), |_| true);
    assert!(example.len() > 60, "{example:?}");
    let wrong = BAD.map(|bad| keys(bad, |line| line.ends_with("# wrong"))).concat();
    let forgotten: Vec<_> = example
        .iter()
        // Any option of mysqld can stand there.
        .filter(|(section, _)| !section.ends_with("options"))
        .filter(|key| !wrong.contains(key))
        .collect();
    assert!(forgotten.is_empty(), "without a wrong value: {forgotten:?}");
    for section in ["cluster.options", "cluster.node.2.options"] {
        assert!(wrong.iter().any(|(name, _)| name == section), "{section}");
    }
}

/// The keys with their sections, those that are commented out too, of the lines that count.
fn keys(text: &str, counts: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start_matches("#:").trim_start_matches('#').trim_start();
        let bare = bare.trim_start_matches('#').trim_start();
        let header = bare.split(" # ").next().unwrap_or_default().trim_end();
        if let Some(name) = header.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = bare.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && counts(line)
        {
            keys.push((section.clone(), key.to_owned()));
        }
    }
    keys
}

#[test]
fn a_syntax_error_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[proxy]\nlisten = 127.0.0.1:6033\n").unwrap();
    let output = weir(dir.path(), &["check", "--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("bad.toml:2:") && stderr.contains("not TOML"), "{stderr}");
}

#[test]
fn a_missing_file_and_wrong_usage_have_their_own_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let missing = weir(dir.path(), &["check", "--config", "none.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("none.toml cannot be read"));
    for arguments in [&["chekc"][..], &["check", "--confg", "x"], &[]] {
        assert_eq!(weir(dir.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(weir(dir.path(), &["--version"]).status.code(), Some(0));
}
