//! The state file: what cannot be found out by looking, above all the generated passwords.
//!
//! `<state_dir>/cluster-<name>.json`, mode 0600, written whole and renamed into place *before* anything
//! is made with what it says. Losing it means losing the key to the data, so nothing here ever writes
//! over a file that it could not read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Cluster, Data, Secret};

use super::error::ClusterError;
use super::failover::FailedOver;

/// How long a command waits for another that changes the same cluster.
const LOCK_WAIT: Duration = Duration::from_secs(20);
const LOCK_POLL: Duration = Duration::from_millis(50);
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
    /// Of the account by which one server copies another's data.
    pub donor: Secret,
    /// Generated; `application_password` of the configuration goes before it.
    pub application: Secret,
    /// Node n has server id base + n - 1: the published port, unique on one host.
    pub server_id_base: u32,
    /// The network's addresses, once the engine has given some.
    pub subnet: Option<String>,
    /// The node that takes writes, written down before it may: where none is writable (every server starts
    /// read-only), this one is to be made so.
    pub primary: Option<u32>,
    /// How many replicas the last `up` or `remove` wanted: a Weir that serves may have an older configuration.
    pub replicas: Option<u32>,
    /// How often the role has moved.
    pub epoch: u64,
    /// Nodes that lost the role because they were dead and were not right since: the data of one is copied anew should it
    /// have transactions of its own, which no client was promised.
    pub deposed: Vec<u32>,
    /// `weir cluster down` was said: nobody is to start anything until `up`.
    pub down: bool,
    /// Nodes whose data was given up and is being copied anew; a copy that was cut off is seen by this.
    pub renewing: Vec<u32>,
    /// When copies of nodes' data were begun without being asked; seconds since 1970, of the last day.
    pub renewed: BTreeMap<u32, Vec<u64>>,
    /// The last time that a dead primary was replaced.
    pub failed_over: Option<FailedOver>,
    /// How often what all Weirs share was written down.
    pub sequence: u64,
    /// Where each node's data is; written down before anything is there. A node that is not here is one of an
    /// older Weir, or yet to be made.
    pub places: BTreeMap<u32, Data>,
    /// Nodes whose volume is being filled with a snapshot's data; while they stand here, it is not whole.
    pub seeding: Vec<u32>,
    /// The group's name, a UUID, for the cluster's whole life; `None` where there is no group.
    pub group: Option<String>,
    /// Sums of an image with the options that its server has found right.
    pub options_right: Vec<String>,
    /// Whether the file lacks something that was made up while it was read.
    incomplete: bool,
}

/// What every Weir of the cluster must know alike: the file without what never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub sequence: u64,
    pub epoch: u64,
    pub primary: Option<u32>,
    pub replicas: Option<u32>,
    #[serde(default, deserialize_with = "none_one_or_many")]
    pub deposed: Vec<u32>,
    pub down: bool,
    pub renewing: Vec<u32>,
    pub subnet: Option<String>,
    #[serde(default)]
    pub places: BTreeMap<u32, Place>,
    #[serde(default)]
    pub seeding: Vec<u32>,
    #[serde(default)]
    pub renewed: BTreeMap<u32, Vec<u64>>,
    #[serde(default)]
    pub failed_over: Option<FailedOver>,
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
    /// Absent in files of an older Weir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    donor_password: Option<String>,
    application_password: String,
    server_id_base: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    #[serde(default)]
    epoch: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "none_one_or_many")]
    deposed: Vec<u32>,
    #[serde(default)]
    down: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    renewing: Vec<u32>,
    #[serde(default)]
    sequence: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    places: BTreeMap<u32, Place>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seeding: Vec<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    renewed: BTreeMap<u32, Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_over: Option<FailedOver>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    options_right: Vec<String>,
}

/// Nodes as they are written now, and as an older Weir wrote them: one at most.
fn none_one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nodes {
        Many(Vec<u32>),
        One(Option<u32>),
    }
    Ok(match Nodes::deserialize(from)? {
        Nodes::Many(nodes) => nodes,
        Nodes::One(node) => node.into_iter().collect(),
    })
}

/// A place as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Place(Data);

impl TryFrom<String> for Place {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Data::parse(&text).map(Self).ok_or("no place for data")
    }
}

impl From<Place> for String {
    fn from(Place(data): Place) -> Self {
        data.to_string()
    }
}

fn as_text(places: &BTreeMap<u32, Data>) -> BTreeMap<u32, Place> {
    places.iter().map(|(node, place)| (*node, Place(place.clone()))).collect()
}

fn as_data(places: BTreeMap<u32, Place>) -> BTreeMap<u32, Data> {
    places.into_iter().map(|(node, Place(place))| (node, place)).collect()
}

impl State {
    /// Notes that a node takes the role of a dead one.
    pub(super) fn depose(&mut self, old: u32, new: u32) {
        self.deposed.retain(|node| ![old, new].contains(node));
        self.deposed.push(old);
    }

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
        Self::from_raw(raw).map(Some)
    }

    /// Where node `number` has its data, or shall have it.
    pub(super) fn place<'a>(&'a self, cluster: &'a Cluster, number: u32) -> &'a Data {
        self.places.get(&number).unwrap_or(&cluster.data)
    }

    /// A new state with fresh passwords; nothing is written yet.
    pub fn generate(cluster: &Cluster) -> Result<Self, ClusterError> {
        Ok(Self {
            root: password()?,
            replication: password()?,
            monitor: password()?,
            donor: password()?,
            application: password()?,
            server_id_base: u32::from(cluster.port_base),
            subnet: None,
            primary: None,
            replicas: None,
            epoch: 0,
            deposed: Vec::new(),
            down: false,
            renewing: Vec::new(),
            sequence: 0,
            places: BTreeMap::new(),
            seeding: Vec::new(),
            renewed: BTreeMap::new(),
            failed_over: None,
            group: if cluster.is_group() { Some(uuid()?) } else { None },
            options_right: Vec::new(),
            incomplete: false,
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
            donor_password: Some(self.donor.expose().to_owned()),
            application_password: self.application.expose().to_owned(),
            server_id_base: self.server_id_base,
            subnet: self.subnet.clone(),
            primary: self.primary,
            replicas: self.replicas,
            epoch: self.epoch,
            deposed: self.deposed.clone(),
            down: self.down,
            renewing: self.renewing.clone(),
            sequence: self.sequence,
            places: as_text(&self.places),
            seeding: self.seeding.clone(),
            renewed: self.renewed.clone(),
            failed_over: self.failed_over.clone(),
            group: self.group.clone(),
            options_right: self.options_right.clone(),
        };
        let text = serde_json::to_string_pretty(&raw)
            .map_err(|error| failed("cannot write", &path, &error))?;
        write_private(&path, text.as_bytes()).map_err(|error| failed("cannot write", &path, &error))
    }

    /// What of it is shared.
    pub(super) fn record(&self) -> Record {
        Record {
            sequence: self.sequence,
            epoch: self.epoch,
            primary: self.primary,
            replicas: self.replicas,
            deposed: self.deposed.clone(),
            down: self.down,
            renewing: self.renewing.clone(),
            subnet: self.subnet.clone(),
            places: as_text(&self.places),
            seeding: self.seeding.clone(),
            renewed: self.renewed.clone(),
            failed_over: self.failed_over.clone(),
        }
    }

    /// Takes over what another Weir has written down, unless this one knows of something later; whether it did.
    pub(super) fn learn(&mut self, record: Record) -> bool {
        if record.epoch < self.epoch || record == self.record() {
            return false;
        }
        let Record {
            sequence,
            epoch,
            primary,
            replicas,
            deposed,
            down,
            renewing,
            subnet,
            places,
            seeding,
            renewed,
            failed_over,
        } = record;
        (self.sequence, self.epoch, self.primary, self.replicas) =
            (sequence, epoch, primary, replicas);
        (self.deposed, self.down, self.renewing, self.subnet) = (deposed, down, renewing, subnet);
        (self.places, self.seeding) = (as_data(places), seeding);
        (self.renewed, self.failed_over) = (renewed, failed_over);
        true
    }

    /// Writes the file when an older Weir made it, which did not know all of today's passwords; before
    /// anything is made with them.
    pub(super) fn completed(mut self, state_dir: &Path, name: &str) -> Result<Self, ClusterError> {
        if self.incomplete {
            self.save(state_dir, name)?;
            self.incomplete = false;
        }
        Ok(self)
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

    fn from_raw(raw: Raw) -> Result<Self, ClusterError> {
        let incomplete = raw.donor_password.is_none();
        let donor = raw.donor_password.map_or_else(password, |text| Ok(Secret::new(text)))?;
        Ok(Self {
            donor,
            renewing: raw.renewing,
            sequence: raw.sequence,
            places: as_data(raw.places),
            seeding: raw.seeding,
            renewed: raw.renewed,
            failed_over: raw.failed_over,
            group: raw.group,
            options_right: raw.options_right,
            incomplete,
            root: Secret::new(raw.root_password),
            replication: Secret::new(raw.replication_password),
            monitor: Secret::new(raw.monitor_password),
            application: Secret::new(raw.application_password),
            server_id_base: raw.server_id_base,
            subnet: raw.subnet,
            primary: raw.primary,
            replicas: raw.replicas,
            epoch: raw.epoch,
            deposed: raw.deposed,
            down: raw.down,
        })
    }
}

/// One process of those that share a state directory; `lease` decides between directories. Given back when dropped, also by a crash.
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
    /// As [`Lock::take`], but waits a while for whoever has it: a Weir that serves mends things for a moment
    /// at a time.
    pub(super) async fn wait(state_dir: &Path, name: &str) -> Result<Self, ClusterError> {
        let started = tokio::time::Instant::now();
        loop {
            match Self::take(state_dir, name) {
                Err(ClusterError::Busy { .. }) if started.elapsed() < LOCK_WAIT => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                done => return done,
            }
        }
    }

    /// Takes the lock, or says who has it by an error; never waits.
    pub(super) fn take(state_dir: &Path, name: &str) -> Result<Self, ClusterError> {
        let (path, file) = lock_file(state_dir, name)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(ClusterError::Busy { path }),
            Err(fs::TryLockError::Error(error)) => Err(failed("cannot lock", &path, &error)),
        }
    }
}

/// Which lock file on which running machine: alike for all processes that share the lock, and for no others,
/// also not for those with a copy of the directory.
pub(super) fn identity(state_dir: &Path, name: &str) -> Result<String, ClusterError> {
    let (path, file) = lock_file(state_dir, name)?;
    let meta = file.metadata().map_err(|error| failed("cannot look at", &path, &error))?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| failed("cannot read the number of this boot for", &path, &error))?;
    Ok(format!("{}-{:x}-{:x}", boot.trim(), meta.dev(), meta.ino()))
}

fn lock_file(state_dir: &Path, name: &str) -> Result<(PathBuf, File), ClusterError> {
    make_directory(state_dir).map_err(|error| failed("cannot make", state_dir, &error))?;
    let path = state_dir.join(format!("cluster-{name}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed("cannot open", &path, &error))?;
    Ok((path, file))
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

/// A random UUID (version 4), as MySQL writes them.
fn uuid() -> Result<String, ClusterError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ClusterError::Random { cause: error.to_string() })?;
    let bits = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    let with_dashes = hex.chars().enumerate().flat_map(|(at, digit)| {
        let dash = matches!(at, 8 | 12 | 16 | 20).then_some('-');
        dash.into_iter().chain([digit])
    });
    Ok(with_dashes.collect())
}

fn failed(doing: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::State { doing, path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cluster::testing::cluster;

    fn failed_over() -> FailedOver {
        FailedOver {
            from: "t-1".to_owned(),
            to: "t-2".to_owned(),
            at: "2026-11-27T10:52:03Z".to_owned(),
            lost: Some(2),
            semi_sync: Some(false),
        }
    }

    #[test]
    fn written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("made/by/us");
        let mut state = State::generate(&cluster("t", 1)).unwrap();
        state.subnet = Some("172.18.0.0/16".to_owned());
        state.primary = Some(2);
        state.epoch = 7;
        state.down = true;
        state.places = [(1, Data::Container), (2, Data::Folder("/srv".into()))].into();
        state.seeding = vec![3];
        state.deposed = vec![1, 3];
        state.renewed = [(2, vec![1_000, 2_000])].into();
        state.failed_over = Some(failed_over());
        state.save(&state_dir, "t").unwrap();
        let path = State::path(&state_dir, "t");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = State::load(&state_dir, "t").unwrap().unwrap();
        assert_eq!(again.root, state.root);
        assert_eq!(again.subnet, state.subnet);
        assert_eq!((again.primary, again.epoch, again.down), (Some(2), 7, true));
        assert_eq!(again.places, state.places);
        assert_eq!((again.seeding, again.deposed), (vec![3], vec![1, 3]));
        assert_eq!((again.renewed, again.failed_over), (state.renewed, state.failed_over));
        assert_eq!(again.server_id_base, u32::from(cluster("t", 1).port_base));
        assert!(State::load(&state_dir, "other").unwrap().is_none());
        State::remove(&state_dir, "t").unwrap();
        State::remove(&state_dir, "t").unwrap();
        assert!(State::load(&state_dir, "t").unwrap().is_none());
    }

    #[test]
    fn a_file_of_an_older_weir_gets_what_it_lacks_once() {
        let dir = tempfile::tempdir().unwrap();
        State::generate(&cluster("t", 1)).unwrap().save(dir.path(), "t").unwrap();
        let path = State::path(dir.path(), "t");
        let text = fs::read_to_string(&path).unwrap();
        let older: Vec<&str> = text.lines().filter(|line| !line.contains("donor")).collect();
        fs::write(&path, older.join("\n")).unwrap();
        let state = State::load(dir.path(), "t").unwrap().unwrap();
        let kept = state.completed(dir.path(), "t").unwrap();
        assert_eq!(State::load(dir.path(), "t").unwrap().unwrap().donor, kept.donor);
    }

    #[test]
    fn the_one_deposed_node_of_an_older_weir_is_read() {
        for (text, nodes) in [("null", vec![]), ("3", vec![3]), ("[3, 1]", vec![3, 1])] {
            let mut record = serde_json::to_value(Record::default()).unwrap();
            record["deposed"] = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_value::<Record>(record).unwrap().deposed, nodes, "{text}");
        }
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
    fn what_another_weir_wrote_down_is_learnt_unless_it_is_older() {
        let mut state = State::generate(&cluster("t", 1)).unwrap();
        (state.primary, state.epoch, state.down) = (Some(1), 3, true);
        let root = state.root.clone();
        let older = Record { epoch: 2, primary: Some(2), ..Record::default() };
        assert!(!state.learn(older));
        assert!(!state.learn(state.record()), "there is nothing new in it");
        assert_eq!((state.primary, state.down), (Some(1), true));
        let newer = Record {
            sequence: 9,
            epoch: 4,
            primary: Some(3),
            replicas: Some(2),
            deposed: vec![1],
            down: false,
            renewing: vec![2],
            subnet: Some("172.18.0.0/16".to_owned()),
            places: [(2, Place(Data::Container))].into(),
            seeding: vec![3],
            renewed: [(2, vec![1_000])].into(),
            failed_over: Some(failed_over()),
        };
        assert!(state.learn(newer.clone()));
        assert_eq!((state.record(), &state.root), (newer, &root));
    }

    #[test]
    fn a_copy_of_the_directory_is_another_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        let id = identity(&first, "t").unwrap();
        let _held = Lock::take(&first, "t").unwrap();
        assert_eq!(identity(&first, "t").unwrap(), id);
        fs::create_dir(&second).unwrap();
        fs::copy(first.join("cluster-t.lock"), second.join("cluster-t.lock")).unwrap();
        assert_ne!(identity(&second, "t").unwrap(), id);
    }

    #[test]
    fn a_group_has_a_uuid_of_its_own_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted = cluster("t", 2);
        assert_eq!(State::generate(&wanted).unwrap().group, None);
        wanted.replication = crate::config::Replication::Group;
        let state = State::generate(&wanted).unwrap();
        let name = state.group.clone().unwrap();
        assert_ne!(State::generate(&wanted).unwrap().group.unwrap(), name);
        let parts: Vec<usize> = name.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{name}");
        assert!(name.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{name}");
        assert_eq!(name.as_bytes()[14], b'4', "{name}");
        state.save(dir.path(), "t").unwrap();
        assert_eq!(State::load(dir.path(), "t").unwrap().unwrap().group, Some(name));
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
