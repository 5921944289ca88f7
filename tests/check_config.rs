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

/// Every section once, every value wrong; the lines that must be named say so.
const BAD: &str = r#"[proxy]
listen = "nowhere"               # wrong
workers = 1000                   # wrong
max_connections = "many"         # wrong
max_packet_bytes = 5             # wrong
handshake_seconds = -1           # wrong
tls = "maybe"                    # wrong
tls_cert = "missing.pem"         # wrong
state_dir = 7                    # wrong
statement_cache = 0              # wrong
server_tls = "sometimes"         # wrong
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
name = "b"                       # wrong
address = "127.0.0.1:1"          # wrong
[cluster]                        # wrong
replicas = 99                    # wrong
semi_sync = "yes"                # wrong
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
    std::fs::write(dir.path().join("bad.toml"), BAD).unwrap();
    let output = weir(dir.path(), &["check", "--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr);
    let named = |line: &usize| stderr.contains(&format!("bad.toml:{line}:"));
    let named: Vec<usize> = (1..=BAD.lines().count()).filter(named).collect();
    let wrong = BAD.lines().zip(1..).filter(|(line, _)| line.ends_with("# wrong"));
    assert_eq!(named, wrong.map(|(_, line)| line).collect::<Vec<usize>>(), "{stderr}");
    for part in [
        "two servers named \"b\"",
        "has the address of server \"b\"",
        "both [[servers]] and [cluster]",
        "gives one password in 2 ways",
        "given without `tls_key`",
        "write `listen`",
    ] {
        assert!(stderr.contains(part), "no {part:?}\n{stderr}");
    }
    assert!(!stderr.contains("geheim"), "{stderr}");
    let count = stderr.matches("\nerror: ").count();
    assert!(stderr.starts_with(&format!("bad.toml has {count} errors\n")), "{stderr}");
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
