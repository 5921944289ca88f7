//! A shell that outlives whoever started it by one command: it waits until the pipe that it reads
//! from is closed, which the kernel does however the starter ends, and then cleans up.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Holds the pipe; dropping it sets the shell to work and waits for it.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Runs `cleanup`, a line of shell, when this value or this process is gone.
    pub fn at_end(cleanup: &str) -> Self {
        Self::start(&format!("cat >/dev/null\n{cleanup}"), Stdio::null()).0
    }

    /// Runs a program as the shell's child, with `log` for its output, and stops it with SIGTERM (after
    /// `grace` seconds SIGKILL) when this value or this process is gone. Also gives its pid, which stays
    /// its own until then: only the shell may reap it.
    pub fn run(program: &str, log: &std::path::Path, grace: u32) -> (Self, u32) {
        let script = format!(
            "{program} >'{}' 2>&1 </dev/null &\nP=$!\necho $P\nexec >/dev/null\ncat\nkill $P 2>/dev/null\n\
             (sleep {grace}; kill -9 $P) 2>/dev/null </dev/null &\nK=$!\nwait $P\nkill $K 2>/dev/null",
            log.display()
        );
        let (guard, first) = Self::start(&script, Stdio::piped());
        (guard, first.trim().parse().expect("the shell says the pid"))
    }

    fn start(script: &str, output: Stdio) -> (Self, String) {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(output)
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let pipe = shell.stdin.take();
        let mut first = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut first).unwrap();
        }
        (Self { shell, pipe }, first)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _gone = self.shell.wait();
    }
}
