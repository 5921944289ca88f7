//! Weir's process is killed at each step of `weir cluster up`, from nothing and when a replica is added to a primary
//! whose binary logs do not tell of its data any more; the next one goes on, and ends in the same place.
//!
//! Needs an engine and the image (`make test` sees to both).

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use crate::stage::Stage;

/// More runs than any cluster has steps.
const MOST_RUNS: u64 = 60;
const ROWS: u64 = 500;

impl Stage {
    /// Runs `up` until one has nothing left to do; each before is killed a while after its first step has ended, so
    /// somewhere in the next. The steps that ended.
    fn up_killed_at_each_step(&self) -> Vec<String> {
        let mut steps = Vec::new();
        for run in 0..MOST_RUNS {
            let mut command = self.command(&["cluster", "up"]);
            let mut up = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut said = BufReader::new(up.stderr.take().unwrap()).lines().map(Result::unwrap);
            let mut all = Vec::new();
            // "  create network t (0.1 s)"
            let ended = said.by_ref().find(|line| {
                all.push(line.clone());
                line.ends_with(" s)")
            });
            let Some(step) = ended else {
                assert!(up.wait().unwrap().success(), "after {steps:?}: {all:?}");
                return steps;
            };
            steps.push(step.trim().rsplit_once(" (").unwrap().0.to_owned());
            std::thread::sleep(Duration::from_millis(run * 37 % 200));
            up.kill().unwrap();
            up.wait().unwrap();
        }
        panic!("still not done after {steps:?}");
    }
}

#[tokio::test]
async fn a_weir_that_is_killed_at_each_step_ends_in_the_same_place() {
    let mut stage = Stage::configured("cut", "replicas = 1\n");
    let made = stage.up_killed_at_each_step();
    // What was done when it was killed is not told again.
    assert!(made.len() >= 5, "{made:?}");
    let primary = stage.primary();
    let mut root = stage.root(&primary).await;
    let numbers: Vec<String> = (1..=ROWS).map(|id| format!("({id})")).collect();
    for statement in [
        "CREATE TABLE app.written (id BIGINT PRIMARY KEY)",
        &format!("INSERT INTO app.written VALUES {}", numbers.join(", ")),
        "FLUSH BINARY LOGS",
        "DO SLEEP(1)",
        "PURGE BINARY LOGS BEFORE NOW()",
    ] {
        root.query_drop(statement).await.unwrap();
    }
    stage.want_two_replicas();
    let added = stage.up_killed_at_each_step();
    assert!(added.len() >= 3, "{added:?}");
    assert_eq!(stage.primary(), primary, "{added:?}");
    stage.serve();
    stage.whole().await;
    stage.check_rows(&(1..=ROWS).collect::<Vec<u64>>()).await;
}
