//! The table of what faults cost, from what was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::faults::{Fault, Outcome};

/// How many faults of how many kinds there were, and a row for each kind.
pub(crate) fn table(outcomes: &[Outcome], minutes: u64, seed: u64) -> String {
    let mut by_fault: BTreeMap<Fault, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        by_fault.entry(outcome.fault).or_default().push(outcome);
    }
    let mut text = format!(
        "{} faults of {} kinds in {minutes} minutes; `SOAK_SEED={seed}` repeats their order.\n\n",
        outcomes.len(),
        by_fault.len()
    );
    text += "| fault | times | outcome | seconds until writes are acknowledged (median, worst) | \
                    seconds until nothing is left to do (median, worst) |\n|---|---|---|---|---|\n";
    for (fault, all) in by_fault {
        let seconds = |pick: fn(&Outcome) -> Duration| {
            let mut all: Vec<Duration> = all.iter().map(|outcome| pick(outcome)).collect();
            all.sort_unstable();
            let [median, worst] = [all[all.len() / 2], all[all.len() - 1]].map(|d| d.as_secs_f64());
            format!("{median:.1}, {worst:.1}")
        };
        let moved = all.iter().filter(|outcome| outcome.moved).count();
        let failed = all.iter().map(|outcome| outcome.errors).max().unwrap_or_default();
        let failed = match failed {
            _ if fault.ends_weir() => "clients connected again".to_owned(),
            0 => "no errors".to_owned(),
            most => format!("at most {most} statements failed"),
        };
        let ended = match moved {
            0 => "the primary stayed".to_owned(),
            moved if moved == all.len() => "another node is the primary".to_owned(),
            moved => format!("another node is the primary in {moved}"),
        };
        let (times, name) = (all.len(), fault.name());
        let (writes, whole) = (seconds(|outcome| outcome.writes), seconds(|outcome| outcome.whole));
        writeln!(text, "| {name} | {times} | {ended}, {failed} | {writes} | {whole} |").unwrap();
    }
    text
}
