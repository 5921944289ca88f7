//! `weir serve` as a child process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::greeting::greets;
use crate::guard::Guard;
use crate::ports::free_ports;

/// Seconds from SIGTERM to SIGKILL when a test is over.
const GRACE: u32 = 3;

/// A running `weir serve`, stopped when dropped.
pub struct Weir {
    /// host:port for clients.
    pub address: String,
    pid: u32,
    log: PathBuf,
    _guard: Guard,
    _directory: tempfile::TempDir,
}

impl Weir {
    /// In front of these servers.
    pub fn start(servers: &[&str]) -> Self {
        Self::start_with(servers, "")
    }

    /// The same with more sections of configuration.
    pub fn start_with(servers: &[&str], sections: &str) -> Self {
        Self::start_as(servers, "", sections)
    }

    /// The same with more lines of `[proxy]`, too.
    pub fn start_as(servers: &[&str], proxy: &str, sections: &str) -> Self {
        let weir = Self::launch(servers, proxy, sections);
        weir.await_greeting();
        weir
    }

    /// The same, when it may not serve yet.
    pub fn launch(servers: &[&str], proxy: &str, sections: &str) -> Self {
        // Not one that the system gives out: a server of another test could get it before Weir has it.
        let port = free_ports(0);
        let workers = if proxy.contains("workers") { "" } else { "workers = 2" };
        let mut config = format!(
            "[proxy]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n{workers}\n{proxy}\n\
             [monitor]\nuser = \"mon\"\npassword = \"mon\"\ninterval_ms = 100\n{sections}\n"
        );
        for (number, address) in servers.iter().enumerate() {
            config += &format!("[[servers]]\nname = \"s{number}\"\naddress = \"{address}\"\n");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, config).unwrap();
        let log = directory.path().join("weir.log");
        let program = format!(
            "NO_COLOR=1 '{}' serve --config '{}'",
            env!("CARGO_BIN_EXE_weir"),
            file.display()
        );
        let (guard, pid) = Guard::run(&program, &log, GRACE);
        let address = format!("127.0.0.1:{port}");
        Self { address, pid, log, _guard: guard, _directory: directory }
    }

    fn await_greeting(&self) {
        let start = Instant::now();
        while !greets(&self.address) {
            let late = start.elapsed() > PATIENCE;
            assert!(!late && self.alive(), "weir serve does not greet:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process runs: not gone, and not dead and waiting to be reaped.
    pub fn alive(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z")))
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the last lines of Weir's log:");
            for line in last.iter().rev() {
                eprintln!("  {line}");
            }
        } else {
            assert!(self.alive(), "Weir has died:\n{log}");
            assert!(!log.contains("panicked"), "Weir has panicked:\n{log}");
        }
    }
}
