//! `weir explain` as a person or a script runs it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, and its helpers stand outside of the test functions"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const GOOD: &str = "[proxy]\nlisten = \"127.0.0.1:6033\"\n[monitor]\nuser = \"mon\"\npassword = \"mon\"\n\
                    [[servers]]\nname = \"a\"\naddress = \"127.0.0.1:13301\"\n";

fn explain(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("explain")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("weir does not start: {error}"))
}

/// What it prints, when it succeeds.
fn printed(arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = explain(directory.path(), arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of `--json`: it has these members and no other.
fn as_json(arguments: &[&str]) -> Value {
    let text = printed(&[&["--json"], arguments].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    let mut members: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["pins", "reason", "statements", "target"], "{text}");
    assert!(value["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{text}");
    assert!(value["pins"].as_array().unwrap().iter().all(Value::is_string), "{text}");
    value
}

#[test]
fn text() {
    let text = printed(&["SELECT @a := 1"]);
    let names: Vec<&str> = text.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(names, ["target", "reason", "pins", "statements"], "{text}");
    assert!(text.starts_with("target      primary\n"), "{text}");
    assert!(text.contains("\npins        user variable\nstatements  1\n"), "{text}");
    assert!(printed(&["SELECT 1"]).contains("\npins        none\n"));
}

#[test]
fn json_of_every_target() {
    for (sql, target, pins, statements) in [
        ("SELECT 1", "replica", json!([]), 1),
        ("DELETE FROM t", "primary", json!([]), 1),
        ("SHOW WARNINGS", "previous", json!([]), 1),
        ("SELECT CONNECTION_ID()", "proxy", json!([]), 1),
        ("SHUTDOWN", "denied", json!([]), 1),
        ("SELECT GET_LOCK('a', 1); SELECT 2", "primary", json!(["named lock"]), 2),
    ] {
        let got = as_json(&[sql]);
        assert_eq!(got["target"], target, "{sql}: {got}");
        assert_eq!(got["pins"], pins, "{sql}: {got}");
        assert_eq!(got["statements"], statements, "{sql}: {got}");
    }
    // Of nothing, too, it says something.
    as_json(&[""]);
}

#[test]
fn a_session_in_a_transaction_or_without_autocommit() {
    let got = as_json(&["--in-transaction", "SELECT 1"]);
    assert_eq!((&got["target"], &got["reason"]), (&json!("primary"), &json!("in a transaction")));
    let got = as_json(&["--autocommit-off", "SELECT 1"]);
    assert_eq!(got["target"], "primary", "{got}");
    assert_ne!(got["reason"], as_json(&["SELECT 1"])["reason"]);
    assert!(printed(&["--in-transaction", "SELECT 1"]).contains("in a transaction"));
}

#[test]
fn a_configuration_is_judged_first() {
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.toml");
    std::fs::write(&good, GOOD).unwrap();
    let bad = directory.path().join("bad.toml");
    std::fs::write(&bad, GOOD.replace("listen", "listn")).unwrap();

    let good = good.to_str().unwrap();
    assert_eq!(as_json(&["--config", good, "SELECT 1"])["target"], "replica");

    for (config, words) in [(bad.to_str().unwrap(), "bad.toml:2:"), ("none.toml", "none.toml")] {
        let output = explain(directory.path(), &["--config", config, "SELECT 1"]);
        assert_eq!(output.status.code(), Some(1), "{config}");
        assert!(output.stdout.is_empty(), "{config}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(words), "{stderr}");
    }
    // Without --config none is read, not even a wrong one that lies there.
    std::fs::rename(bad, directory.path().join("proxy.toml")).unwrap();
    assert_eq!(explain(directory.path(), &["SELECT 1"]).status.code(), Some(0));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["--jsn", "SELECT 1"], &["SELECT 1", "SELECT 2"]] {
        assert_eq!(explain(directory.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}
