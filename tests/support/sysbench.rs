//! sysbench as a client of Weir: 64 connections that read and write in transactions, and end at the first error.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::stage::Stage;
use super::wait::until_or_show;

const CONNECTIONS: u32 = 64;
/// Transactions a second of all together: several clusters share the machine.
const RATE: u32 = 20;
/// Longer than any test; it is ended by a signal.
const SECONDS: u32 = 3_600;
const FIRST_LIMIT: Duration = Duration::from_secs(60);

/// Ended with this value.
pub(crate) struct Sysbench {
    run: Child,
    said: std::path::PathBuf,
}

impl Sysbench {
    /// Makes its table, and waits until transactions are counted.
    pub(crate) async fn start(stage: &Stage) -> Self {
        let made = command(stage, 1).arg("prepare").output().unwrap();
        assert!(made.status.success(), "{made:?}{}", stage.log());
        let said = stage.path("sysbench");
        let out = std::fs::File::create(&said).unwrap();
        let mut command = command(stage, CONNECTIONS);
        command.arg(format!("--rate={RATE}")).arg(format!("--time={SECONDS}"));
        command.args(["--report-interval=1", "run"]);
        let errors = Stdio::from(out.try_clone().unwrap());
        let run = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn().unwrap();
        let sysbench = Self { run, said };
        let words = || sysbench.said();
        until_or_show(FIRST_LIMIT, "transactions of sysbench", words, async || {
            sysbench.intervals().iter().any(|(rate, _)| *rate > 0.0).then_some(())
        })
        .await;
        sysbench
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Of each second: transactions, and errors with reconnects.
    fn intervals(&self) -> Vec<(f64, f64)> {
        let number = |line: &str, name: &str| -> Option<f64> {
            line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
        };
        let text = self.said();
        let of_line = |line: &str| {
            Some((number(line, "tps: ")?, number(line, "err/s: ")? + number(line, "reconn/s: ")?))
        };
        text.lines().filter_map(of_line).collect()
    }

    /// Ends it. It ran until now, and no statement failed.
    pub(crate) fn finish(mut self, stage: &Stage) {
        let ended = self.run.try_wait().unwrap();
        assert!(ended.is_none(), "it gave up: {ended:?} {}{}", self.said(), stage.log());
        let intervals = self.intervals();
        assert!(intervals.len() > 5, "{}", self.said());
        assert!(intervals.iter().all(|(_, errors)| *errors == 0.0), "{}", self.said());
    }
}

impl Drop for Sysbench {
    fn drop(&mut self) {
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}

fn command(stage: &Stage, threads: u32) -> Command {
    let password = stage.state().application.expose().to_owned();
    let mut command = Command::new("sysbench");
    command.args(["oltp_read_write", "--db-driver=mysql", "--mysql-host=127.0.0.1"]);
    command.arg(format!("--mysql-port={}", stage.port)).arg(format!("--threads={threads}"));
    // So many rows, all equally likely, that two transactions hardly ever want the same ones in different orders.
    command.args([
        "--mysql-user=app",
        "--mysql-db=app",
        "--table-size=50000",
        "--rand-type=uniform",
    ]);
    command.arg(format!("--mysql-password={password}"));
    command
}
