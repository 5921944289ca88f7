//! The state file: what cannot be found out by looking, above all the generated passwords.
//!
//! `<state_dir>/cluster-<name>.json`, mode 0600, written whole and renamed into place *before* anything
//! is made with what it says. Losing it means losing the key to the data, so nothing here ever writes
//! over a file that it could not read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Cluster, Secret};

use super::error::ClusterError;

/// The layout of the file; another number is refused.
const VERSION: u32 = 1;
/// Characters of a generated password: 24 of 62 kinds are 142 bits, and MySQL takes at most 32 for
/// replication.
const PASSWORD_CHARS: usize = 24;

/// What the file holds.
#[derive(Debug, Clone)]
pub struct State {
    pub root: Secret,
    pub replication: Secret,
    pub monitor: Secret,
    /// Generated; `application_password` of the configuration goes before it.
    pub application: Secret,
    /// Node n has server id base + n - 1: the published port, unique on one host.
    pub server_id_base: u32,
    /// The network's addresses, once the engine has given some.
    pub subnet: Option<String>,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    cluster: String,
    root_password: String,
    replication_password: String,
    monitor_password: String,
    application_password: String,
    server_id_base: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
}

impl State {
    /// Where the state of a cluster of that name is.
    pub fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("cluster-{name}.json"))
    }

    /// Reads the file; `None` when there is none. Anything else that is wrong with it is an error.
    pub fn load(state_dir: &Path, name: &str) -> Result<Option<Self>, ClusterError> {
        let path = Self::path(state_dir, name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("cannot read", &path, &error)),
        };
        // serde_json's message may quote the value at fault, so only the place is passed on.
        let raw: Raw = serde_json::from_str(&text).map_err(|error| {
            let cause =
                format!("not a state file: line {}, column {}", error.line(), error.column());
            failed("cannot use", &path, &cause)
        })?;
        if raw.version != VERSION || raw.cluster != name {
            let cause = format!(
                "it is of version {} for cluster {}, wanted is version {VERSION} for {name}",
                raw.version, raw.cluster
            );
            return Err(failed("cannot use", &path, &cause));
        }
        Ok(Some(Self::from_raw(raw)))
    }

    /// A new state with fresh passwords; nothing is written yet.
    pub fn generate(cluster: &Cluster) -> Result<Self, ClusterError> {
        Ok(Self {
            root: password()?,
            replication: password()?,
            monitor: password()?,
            application: password()?,
            server_id_base: u32::from(cluster.port_base),
            subnet: None,
        })
    }

    /// Writes the file whole: after a crash at any moment there is the old one or the new one.
    pub fn save(&self, state_dir: &Path, name: &str) -> Result<(), ClusterError> {
        let path = Self::path(state_dir, name);
        let raw = Raw {
            version: VERSION,
            cluster: name.to_owned(),
            root_password: self.root.expose().to_owned(),
            replication_password: self.replication.expose().to_owned(),
            monitor_password: self.monitor.expose().to_owned(),
            application_password: self.application.expose().to_owned(),
            server_id_base: self.server_id_base,
            subnet: self.subnet.clone(),
        };
        let text = serde_json::to_string_pretty(&raw)
            .map_err(|error| failed("cannot write", &path, &error))?;
        write_private(&path, text.as_bytes()).map_err(|error| failed("cannot write", &path, &error))
    }

    /// Removes the file; it is no error when it is gone already.
    pub fn remove(state_dir: &Path, name: &str) -> Result<(), ClusterError> {
        let path = Self::path(state_dir, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("cannot remove", &path, &error))
            }
            _ => Ok(()),
        }
    }

    fn from_raw(raw: Raw) -> Self {
        Self {
            root: Secret::new(raw.root_password),
            replication: Secret::new(raw.replication_password),
            monitor: Secret::new(raw.monitor_password),
            application: Secret::new(raw.application_password),
            server_id_base: raw.server_id_base,
            subnet: raw.subnet,
        }
    }
}

/// Holds the right to change a cluster; given back when dropped, also by a crash.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing alone would leave the lock to a child process that was forked meanwhile and has not yet
    /// let go of its copy of the file.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the cluster's lock is given back by closing its file");
        }
    }
}

impl Lock {
    /// Takes the lock, or says who has it by an error; never waits.
    pub(super) fn take(state_dir: &Path, name: &str) -> Result<Self, ClusterError> {
        make_directory(state_dir).map_err(|error| failed("cannot make", state_dir, &error))?;
        let path = state_dir.join(format!("cluster-{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("cannot open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(ClusterError::Busy { path }),
            Err(fs::TryLockError::Error(error)) => Err(failed("cannot lock", &path, &error)),
        }
    }
}

/// Writes a file of mode 0600 beside `path`, flushes it to the disk and renames it into place.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    make_directory(directory)?;
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(directory)?.sync_all()
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Letters and digits, all equally likely.
pub(super) fn password() -> Result<Secret, ClusterError> {
    const KINDS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(PASSWORD_CHARS);
    while text.len() < PASSWORD_CHARS {
        let mut bytes = [0_u8; PASSWORD_CHARS];
        getrandom::fill(&mut bytes)
            .map_err(|error| ClusterError::Random { cause: error.to_string() })?;
        // Six bits choose one of 64; the two that name nothing are thrown away.
        let chosen = bytes.iter().filter_map(|byte| KINDS.get(usize::from(byte & 63)));
        text.extend(chosen.map(|kind| char::from(*kind)).take(PASSWORD_CHARS - text.len()));
    }
    Ok(Secret::new(text))
}

fn failed(doing: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::State { doing, path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cluster::testing::cluster;

    #[test]
    fn written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("made/by/us");
        let mut state = State::generate(&cluster("t", 1)).unwrap();
        state.subnet = Some("172.18.0.0/16".to_owned());
        state.save(&state_dir, "t").unwrap();
        let path = State::path(&state_dir, "t");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = State::load(&state_dir, "t").unwrap().unwrap();
        assert_eq!(again.root, state.root);
        assert_eq!(again.subnet, state.subnet);
        assert_eq!(again.server_id_base, u32::from(cluster("t", 1).port_base));
        assert!(State::load(&state_dir, "other").unwrap().is_none());
        State::remove(&state_dir, "t").unwrap();
        State::remove(&state_dir, "t").unwrap();
        assert!(State::load(&state_dir, "t").unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_refused_and_its_content_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", r#"{"version": "hunter2"}"#, r#"{"version":1,"hunter2":3}"#] {
            fs::write(State::path(dir.path(), "t"), text).unwrap();
            let error = State::load(dir.path(), "t").unwrap_err().to_string();
            assert!(error.contains("not a state file"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn passwords_are_long_different_and_hidden() {
        let state = State::generate(&cluster("t", 1)).unwrap();
        for secret in [&state.root, &state.replication, &state.monitor, &state.application] {
            assert_eq!(secret.expose().len(), PASSWORD_CHARS);
            assert!(secret.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        assert_ne!(state.root, state.monitor);
        assert!(!format!("{state:?}").contains(state.root.expose()));
    }

    #[test]
    fn one_holder_of_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), "t").unwrap();
        assert!(matches!(Lock::take(dir.path(), "t"), Err(ClusterError::Busy { .. })));
        // As a child process that was forked in between holds it.
        let inherited = first.0.try_clone().unwrap();
        drop(first);
        Lock::take(dir.path(), "t").unwrap();
        drop(inherited);
    }
}
