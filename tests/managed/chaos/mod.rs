//! Everything breaks, one thing after the other, while clients write through a Weir that serves; each time the
//! cluster is whole again by itself, and every acknowledged row is there once, on every server. A full disk needs
//! somebody to make room: then `weir cluster status` says so.
//!
//! Needs an engine and the image (`make test` sees to both). With `SOAK_MINUTES` (`make soak`) all faults are
//! made in a random order until the time is over; `SOAK_SEED` gives the order of an earlier run, `SOAK_FAULT` the
//! beginning of the names of those that are made, "replica: disk", say.

pub(crate) mod engine;
mod faults;
mod ground;
mod table;

use std::time::{Duration, Instant, SystemTime};

use crate::figures;
use faults::{FAILOVER, Fault, Outcome, PLAIN, SWITCHOVER};
use ground::Ground;

/// What the short form makes, beside what Weir is killed at; other faults of the primary are in
/// `failover`.
const SHORT: [Fault; 10] = [
    Fault::ReplicaRelayLogDamaged,
    Fault::ReplicaWiped,
    Fault::ReplicaWritable,
    Fault::ReplicaPurged,
    Fault::ReplicaPurgedTooOften,
    Fault::ReplicaDuplicateKey,
    Fault::ReplicaErrant,
    Fault::PrimaryStopped,
    Fault::EngineRestarted,
    Fault::PrimaryDiskFull,
];
/// Steps of a failover at which the short form kills Weir: half fenced, written down.
const SHORT_FAILOVER: [usize; 2] = [1, 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_end_in_a_whole_cluster() {
    let mut ground = Ground::make("fault");
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|text| text.parse::<u64>().unwrap());
    let Some(minutes) = minutes else {
        let moving = SWITCHOVER.map(Fault::WeirKilledMoving);
        let replacing = SHORT_FAILOVER.map(|step| Fault::WeirKilledReplacing(FAILOVER[step]));
        for fault in SHORT.into_iter().chain(moving).chain(replacing) {
            fault.run(&mut ground).await;
        }
        return;
    };
    let seed = seed();
    eprintln!("SOAK_SEED={seed}");
    let outcomes = soak(&mut ground, Duration::from_secs(60 * minutes), seed).await;
    let table = table::table(&outcomes, minutes, seed);
    eprintln!("{table}");
    figures::publish("all faults", &table);
}

/// What the order comes from.
fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    std::env::var("SOAK_SEED").ok().map_or_else(now, |text| text.parse().unwrap())
}

/// All faults, in another order every round.
async fn soak(ground: &mut Ground, time: Duration, seed: u64) -> Vec<Outcome> {
    let mut faults: Vec<Fault> = PLAIN
        .into_iter()
        .chain(SWITCHOVER.map(Fault::WeirKilledMoving))
        .chain(FAILOVER.map(Fault::WeirKilledReplacing))
        .collect();
    let only = std::env::var("SOAK_FAULT").unwrap_or_default();
    faults.retain(|fault| fault.name().starts_with(&only));
    assert!(!faults.is_empty(), "no fault is named {only:?}");
    let mut chance = seed.max(1);
    let (started, mut outcomes) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        for last in (1..faults.len()).rev() {
            faults.swap(last, random(&mut chance) % (last + 1));
        }
        for fault in &faults {
            if started.elapsed() >= time {
                break;
            }
            outcomes.push(fault.run(ground).await);
            ground.forget_old_logs().await;
        }
    }
    outcomes
}

/// Marsaglia's xorshift, 64 bits.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}
