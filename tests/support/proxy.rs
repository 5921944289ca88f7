//! Weir as a child process.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cluster::TestCluster;
use super::greeting::greets;
use super::guard::Guard;
use super::{direct, free_ports};

/// How long `weir serve` may take to listen.
const START: Duration = Duration::from_secs(20);
/// Seconds from SIGTERM to SIGKILL when a test is over.
const GRACE: u32 = 5;

/// A running `weir serve`, stopped when dropped.
#[derive(Debug)]
pub struct Weir {
    /// host:port for clients.
    pub address: String,
    pid: u32,
    log: PathBuf,
    _guard: Option<Guard>,
    _directory: tempfile::TempDir,
}

impl Weir {
    /// In front of the cluster's servers, with defaults and quick probes.
    pub fn start(cluster: &TestCluster) -> Self {
        Self::start_with(cluster, "", "")
    }

    /// The same with more lines for `[proxy]`, and more sections.
    pub fn start_with(cluster: &TestCluster, proxy: &str, sections: &str) -> Self {
        let port = free_ports(0);
        let (user, password) = &cluster.monitor;
        let mut text = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n{proxy}\n\
             [monitor]\nuser = \"{user}\"\npassword = \"{password}\"\ninterval_ms = 100\n{sections}\n"
        );
        for (number, address) in cluster.servers.iter().enumerate() {
            text += &format!("[[servers]]\nname = \"s{number}\"\naddress = \"{address}\"\n");
        }
        if direct() { Self::instead(cluster) } else { Self::serve(&text, port) }
    }

    /// `weir serve` with a whole configuration that listens on `port` of 127.0.0.1.
    pub fn serve(config: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, config).unwrap();
        let log = directory.path().join("weir.log");
        let program =
            format!("'{}' serve --config '{}'", env!("CARGO_BIN_EXE_weir"), file.display());
        let (guard, pid) = Guard::run(&program, &log, GRACE);
        let weir = Self {
            address: format!("127.0.0.1:{port}"),
            pid,
            log,
            _guard: Some(guard),
            _directory: directory,
        };
        let start = Instant::now();
        while !greets(&weir.address) {
            let late = start.elapsed() > START;
            assert!(!late && weir.alive(), "weir serve does not greet:\n{}", weir.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        weir
    }

    /// The primary in Weir's place.
    fn instead(cluster: &TestCluster) -> Self {
        Self {
            address: cluster.servers[0].clone(),
            pid: std::process::id(),
            log: PathBuf::new(),
            _guard: None,
            _directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Whether the process runs: not gone, and not dead and waiting to be reaped.
    pub fn alive(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z")))
    }

    /// Resident memory in KiB.
    pub fn rss_kb(&self) -> u64 {
        self.memory_kb("VmRSS:")
    }

    /// The most that was resident so far, KiB.
    pub fn peak_rss_kb(&self) -> u64 {
        self.memory_kb("VmHWM:")
    }

    fn memory_kb(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(&self.log) {
            let _read = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if std::thread::panicking() && !direct() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the last lines of Weir's log:");
            for line in last.iter().rev() {
                eprintln!("  {line}");
            }
        }
    }
}
