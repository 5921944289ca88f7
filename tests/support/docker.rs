//! The engine's own command line, as an operator has it.

use std::path::PathBuf;
use std::process::Command;

/// What `docker ARGUMENTS` prints; of `logs` also what is on standard error, where servers log. Panics
/// when it fails.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "docker {arguments:?}: {said}");
    let mut text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if arguments.first() == Some(&"logs") {
        text.push_str(&said);
    }
    text
}

/// Where the engine of this host listens: at what `DOCKER_HOST` says, when that is a socket.
pub(crate) fn engine_socket() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").unwrap_or_default();
    PathBuf::from(named.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"))
}
