//! The engine's own command line, as an operator has it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long an engine may say that it cannot freeze a container just now.
const FREEZE_LIMIT: Duration = Duration::from_secs(60);
/// Between two tries.
const FREEZE_PAUSE: Duration = Duration::from_millis(200);
/// With control groups of version 1 a container in which programs begin and end may not freeze at once, and the engine
/// gives up soon; on a busy machine that was seen in two of three runs.
const CANNOT_FREEZE: &str = "unable to freeze";

/// What `docker ARGUMENTS` prints; of `logs` also what is on standard error, where servers log. Panics
/// when it fails.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let started = Instant::now();
    let (done, said) = loop {
        let done = Command::new("docker").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if !said.contains(CANNOT_FREEZE) || started.elapsed() > FREEZE_LIMIT {
            break (done, said);
        }
        std::thread::sleep(FREEZE_PAUSE);
    };
    assert!(done.status.success(), "docker {arguments:?}: {said}");
    let mut text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if arguments.first() == Some(&"logs") {
        text.push_str(&said);
    }
    text
}

/// Sends it to the server in that container: "-STOP".
pub(crate) fn signal(signal: &str, container: &str) {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container]);
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// How many processors' time the container may take from now on; `None`: all there are.
pub(crate) fn processors(container: &str, cpus: Option<&str>) {
    // There is no word for all.
    let all = || std::thread::available_parallelism().unwrap().to_string();
    let cpus = cpus.map_or_else(all, str::to_owned);
    docker(&["update", "--cpus", &cpus, container]);
}

/// What the tests' servers are made of.
pub(crate) fn base_image() -> String {
    std::env::var("WEIR_MYSQL_IMAGE").unwrap_or_else(|_| "weir-mysql:9.7".to_owned())
}

/// Where the engine of this host listens: at what `DOCKER_HOST` says, when that is a socket.
pub(crate) fn engine_socket() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").unwrap_or_default();
    PathBuf::from(named.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"))
}
