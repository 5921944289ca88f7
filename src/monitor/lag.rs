//! How far a replica is behind, by what it has executed and not by what it says.
//!
//! `Seconds_Behind_Source` is 0 on a replica whose source went silent, and counts whole seconds of
//! one worker. So once a second the primary's executed set is kept with its time; a replica that
//! lacks a set which the primary had n seconds ago is n seconds behind, whatever it says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::gtid::GtidSet;

/// The least time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples are kept for the greatest lag that counts and this much more.
const KEEP_MORE: Duration = Duration::from_secs(5);

/// Samples kept, at most: an hour of them, however great the limit of lag is.
const MAX_SAMPLES: usize = 3600;

/// What the primary had executed, and when; oldest first, each set containing the one before.
/// Times are since the monitor's start.
#[derive(Debug, Default)]
pub struct Samples {
    ring: VecDeque<(Duration, Arc<GtidSet>)>,
}

/// A replica's distance from the primary, as far as the samples tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimate {
    /// Behind by this much, to about a second.
    Exact(Duration),
    /// Behind by this much or more: it lacks something of every sample.
    AtLeast(Duration),
    /// Nothing to compare with.
    None,
}

impl Samples {
    /// Notes what the primary had executed at `at`. A set that lacks something of the one before
    /// (the primary's history was reset) begins anew.
    pub fn note(&mut self, at: Duration, executed: &Arc<GtidSet>, max_lag: Duration) {
        if let Some((last, set)) = self.ring.back() {
            if !executed.contains(set) {
                self.ring.clear();
            } else if at < *last + SAMPLE_EVERY {
                return;
            }
        }
        self.ring.push_back((at, Arc::clone(executed)));
        let oldest = at.saturating_sub(max_lag + KEEP_MORE);
        while self.ring.len() > MAX_SAMPLES || self.ring.front().is_some_and(|s| s.0 < oldest) {
            self.ring.pop_front();
        }
    }

    /// Forgets all: another server became the primary, and what only the old one had will never come.
    pub fn clear(&mut self) {
        self.ring.clear();
    }

    /// What the primary had when it last answered.
    pub fn newest(&self) -> Option<&GtidSet> {
        self.ring.back().map(|(_, set)| &**set)
    }

    /// How far behind a server was that had executed `executed` at `at`. A newest sample older than
    /// `fresh` does not prove that it is level: the primary may have gone on without being seen.
    pub fn estimate(&self, at: Duration, executed: &GtidSet, fresh: Duration) -> Estimate {
        let mut lacking = None;
        for (index, (then, set)) in self.ring.iter().rev().filter(|s| s.0 <= at).enumerate() {
            if executed.contains(set) {
                return match lacking {
                    None if index == 0 && *then + fresh < at => Estimate::None,
                    None => Estimate::Exact(Duration::ZERO),
                    Some(lag) => Estimate::Exact(lag),
                };
            }
            lacking = Some(at.saturating_sub(*then));
        }
        lacking.map_or(Estimate::None, Estimate::AtLeast)
    }
}

impl Estimate {
    /// The lag to believe, when the replica itself says `seconds_behind`: its own word counts where
    /// the samples do not settle it. `None`: nobody knows.
    pub fn with_word_of_replica(self, seconds_behind: Option<u64>) -> Option<Duration> {
        let word = seconds_behind.map(Duration::from_secs);
        match self {
            Self::Exact(lag) => Some(lag),
            Self::AtLeast(lag) => word.map(|word| word.max(lag)),
            Self::None => word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{secs, set};

    const MAX: Duration = Duration::from_secs(10);
    const FRESH: Duration = Duration::from_secs(3);

    /// One sample a second from second 1: at second n transactions 1 to 10n were executed.
    fn samples(last: u64) -> Samples {
        let mut samples = Samples::default();
        for second in 1..=last {
            samples.note(secs(second), &set(&format!("1-{}", second * 10)), MAX);
        }
        samples
    }

    #[test]
    fn distance_is_measured_by_sets() {
        let samples = samples(8);
        for (at, executed, want) in [
            (8, "1-80", Estimate::Exact(secs(0))),
            (8, "1-95", Estimate::Exact(secs(0))),
            (8, "1-79", Estimate::Exact(secs(0))),
            (8, "1-69", Estimate::Exact(secs(1))),
            (9, "1-50", Estimate::Exact(secs(3))),
            (8, "1-9", Estimate::AtLeast(secs(7))),
            // Samples taken after the replica answered say nothing about it.
            (6, "1-60", Estimate::Exact(secs(0))),
            (0, "1", Estimate::None),
            // The primary has not answered for a while.
            (12, "1-80", Estimate::None),
            (12, "1-79", Estimate::Exact(secs(4))),
        ] {
            assert_eq!(
                samples.estimate(secs(at), &set(executed), FRESH),
                want,
                "{at} s {executed}"
            );
        }
        assert_eq!(Samples::default().estimate(secs(1), &set("1"), FRESH), Estimate::None);
    }

    #[test]
    fn silent_receiver_shows() {
        // The replica says 0 seconds, but nothing arrived for eight seconds.
        let lag =
            samples(20).estimate(secs(20), &set("1-119"), FRESH).with_word_of_replica(Some(0));
        assert_eq!(lag, Some(secs(8)));
    }

    #[test]
    fn the_replicas_word_fills_gaps() {
        let word = Some(100);
        assert_eq!(Estimate::None.with_word_of_replica(word), Some(secs(100)));
        assert_eq!(Estimate::AtLeast(secs(3)).with_word_of_replica(word), Some(secs(100)));
        assert_eq!(Estimate::AtLeast(secs(3)).with_word_of_replica(Some(1)), Some(secs(3)));
        assert_eq!(Estimate::AtLeast(secs(3)).with_word_of_replica(None), None);
        assert_eq!(Estimate::Exact(secs(3)).with_word_of_replica(word), Some(secs(3)));
        assert_eq!(Estimate::None.with_word_of_replica(None), None);
    }

    #[test]
    fn the_ring_is_bounded_and_forgets() {
        let mut samples = samples(1000);
        assert!(samples.ring.len() <= 16);
        samples.note(secs(1000) + Duration::from_millis(200), &set("1-20000"), MAX);
        assert_eq!(samples.newest(), Some(&*set("1-10000")), "one sample a second");
        samples.note(secs(1001), &set("1-5"), MAX);
        assert_eq!(samples.ring.len(), 1, "the primary's history was reset");
    }
}
