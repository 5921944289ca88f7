//! Driver suites: scripts that print what a driver showed, one step a line. The output against a
//! server and the output against Weir must be the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::client::Login;

/// A suite that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// Where a suite connects.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// host:port
    pub address: &'a str,
    pub login: Login<'a>,
    pub database: &'a str,
    pub tls: bool,
}

/// The programs that `scripts/test-setup.sh` put in place.
#[derive(Debug)]
pub struct Tools {
    values: BTreeMap<String, String>,
}

impl Tools {
    /// Reads `target/test-tools/env`.
    pub fn load() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/env");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}; run scripts/test-setup.sh, or `make test`", file.display())
        });
        let pair = |line: &str| {
            let (key, value) = line.trim_start_matches("export ").split_once('=')?;
            Some((key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        };
        Self { values: text.lines().filter_map(pair).collect() }
    }

    /// One of them.
    pub fn get(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("target/test-tools/env does not name {key}"))
    }

    /// A command made of the words of a value.
    pub fn command(&self, key: &str) -> tokio::process::Command {
        let mut words = self.get(key).split_whitespace();
        let mut command = tokio::process::Command::new(words.next().unwrap());
        command.args(words).kill_on_drop(true);
        command
    }

    /// Runs one of `tests/drivers/` and gives what it printed.
    pub async fn suite(&self, script: &str, variant: &str, target: Target<'_>) -> String {
        let path = directory().join(script);
        let mut command = if script.ends_with(".js") {
            let mut node = tokio::process::Command::new(
                self.values.get("NODE").map_or("node", String::as_str),
            );
            node.env("NODE_PATH", self.get("NODE_PATH")).kill_on_drop(true);
            node
        } else {
            let mut python = self.command("PYTHON");
            python.args(["-W", "ignore"]);
            python
        };
        let (host, port) = target.address.rsplit_once(':').unwrap();
        command
            .arg(path)
            .args(["--host", host, "--port", port, "--user", target.login.user])
            .args(["--database", target.database, "--variant", variant])
            .args(target.tls.then_some("--tls"))
            // Python would read all of the machine's authorities for each connection with TLS, and nobody asks them.
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nonexistent")
            .env("WEIR_TEST_PASSWORD", target.login.password);
        output(command, script, None).await.0
    }
}

/// Runs to the end within the limit; standard output and standard error.
pub async fn output(
    mut command: tokio::process::Command,
    what: &str,
    input: Option<&[u8]>,
) -> (String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{what} does not start: {error}"));
    let mut pipe = child.stdin.take().unwrap();
    let write = async {
        if let Some(input) = input {
            let _sent = tokio::io::AsyncWriteExt::write_all(&mut pipe, input).await;
        }
        drop(pipe);
    };
    let both = async { tokio::join!(child.wait_with_output(), write).0 };
    let result = tokio::time::timeout(LIMIT, both).await;
    let output =
        result.unwrap_or_else(|_| panic!("{what} hangs: over {} s", LIMIT.as_secs())).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{errors}", output.status);
    (text(&output.stdout), errors)
}

/// `tests/drivers`
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers")
}

/// A text statement of every driver's course.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: String,
    /// The code of the error that it must end in; without one it must succeed.
    pub refused: Option<u16>,
}

/// All of them. Names that are the whole server's (XA, GET_LOCK) carry the database's: other suites run beside this
/// one.
pub fn statements(database: &str) -> Vec<Statement> {
    let text = std::fs::read_to_string(directory().join("statements.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let all = document["statements"].as_array().unwrap().iter();
    let statement = |each: &serde_json::Value| Statement {
        sql: each
            .as_str()
            .or_else(|| each["sql"].as_str())
            .unwrap()
            .replace("{database}", database),
        refused: each["refused"].as_u64().map(|code| code.try_into().unwrap()),
    };
    all.map(statement).collect()
}

/// Panics with the first lines that differ.
pub fn same(what: &str, expected: &str, got: &str) {
    if expected == got {
        return;
    }
    let mut report = String::new();
    let mut differences = 0;
    let (left, right): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    for line in 0..left.len().max(right.len()) {
        let pair =
            (left.get(line).unwrap_or(&"(nothing)"), right.get(line).unwrap_or(&"(nothing)"));
        if pair.0 == pair.1 {
            continue;
        }
        differences += 1;
        if differences <= 12 {
            let from = pair.0.bytes().zip(pair.1.bytes()).take_while(|(a, b)| a == b).count();
            let cut = |text: &str| {
                let head: String = text.chars().take(100).collect();
                let tail: String = text.chars().skip(from.saturating_sub(60)).take(400).collect();
                if from < 150 {
                    text.chars().take(500).collect()
                } else {
                    format!("{head} .. {tail}")
                }
            };
            report += &format!(
                "line {}\n  server: {}\n  Weir:   {}\n",
                line + 1,
                cut(pair.0),
                cut(pair.1)
            );
        }
    }
    panic!("{what}: {differences} of {} steps differ from the server's\n{report}", left.len());
}
