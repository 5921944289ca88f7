//! What was acknowledged, when, and what a server has of it. Pure: times are arguments.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Acknowledgements whose time is remembered, to tell by how long a server is behind.
const REMEMBERED: usize = 100_000;
/// Numbers of rows that are listed one by one.
const MOST_LISTED: usize = 5;

/// What became of the rows that were sent. Numbers grow by one from row to row.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// First and last numbers of unbroken runs, in order.
    acknowledged: Vec<(u64, u64)>,
    recent: VecDeque<(u64, Instant)>,
    count: u64,
    errors: u64,
    /// Errors that nobody has been told of yet, and the last of them.
    untold: u64,
    last_error: String,
    /// Since when a row is due that was not acknowledged.
    due: Option<Instant>,
    longest_pause: Duration,
}

/// What one server has of the rows that it should have.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Acknowledged rows that are not there.
    pub missing: u64,
    /// Some of these.
    pub first_missing: Vec<u64>,
    /// Rows that are there more than once.
    pub twice: u64,
    pub first_twice: Vec<u64>,
    /// Rows that nobody acknowledged: the writer saw an error, the server had executed it.
    pub unacknowledged: u64,
    /// The next acknowledged number that has to come: the run's place in the list, and the number.
    place: usize,
    next: u64,
    last: Option<u64>,
}

impl Tally {
    /// A row has to be written from now on.
    pub(super) fn due(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    /// The server said that the row is written.
    pub(super) fn acknowledged(&mut self, number: u64, now: Instant) {
        match self.acknowledged.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => self.acknowledged.push((number, number)),
        }
        self.count = self.count.saturating_add(1);
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((number, now));
        self.end_pause(now);
    }

    /// A row was not acknowledged.
    pub(super) fn failed(&mut self, error: String) {
        self.errors = self.errors.saturating_add(1);
        self.untold = self.untold.saturating_add(1);
        self.last_error = error;
    }

    /// Nothing more will be written.
    pub(super) fn end_pause(&mut self, now: Instant) {
        if let Some(since) = self.due.take() {
            self.longest_pause = self.longest_pause.max(now.saturating_duration_since(since));
        }
    }

    /// The errors since the last call: how many, and the last.
    pub(super) fn take_errors(&mut self) -> Option<(u64, String)> {
        let untold = std::mem::take(&mut self.untold);
        (untold > 0).then(|| (untold, self.last_error.clone()))
    }

    /// The number that was acknowledged last; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.acknowledged.last().map_or(0, |(_, last)| *last)
    }

    /// By how many acknowledged rows, and by how long, a server is behind that has rows up to `number`.
    pub(super) fn behind(&self, number: u64, now: Instant) -> (u64, Duration) {
        let rows = self.acknowledged.iter().rev().take_while(|(_, last)| *last > number).fold(
            0_u64,
            |sum, (first, last)| {
                let from = (*first).max(number.saturating_add(1));
                sum.saturating_add(last.saturating_sub(from).saturating_add(1))
            },
        );
        let at = self.recent.partition_point(|(acknowledged, _)| *acknowledged <= number);
        let oldest = self.recent.get(at).map(|(_, time)| now.saturating_duration_since(*time));
        (rows, oldest.unwrap_or_default())
    }

    /// Compares with the numbers that a server has: feed them in order, then `finish`.
    pub(super) fn check(&self) -> Check {
        let next = self.acknowledged.first().map_or(0, |(first, _)| *first);
        Check { next, ..Check::default() }
    }

    /// Three lines: rows, errors, pause.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "acknowledged rows  {}", self.count);
        let _ = writeln!(text, "errors             {}", self.errors);
        let _ = writeln!(text, "longest pause      {} ms", self.longest_pause.as_millis());
        text
    }
}

impl Check {
    /// The server has a row of that number.
    pub(super) fn has(&mut self, number: u64, tally: &Tally) {
        if self.last == Some(number) {
            self.twice = self.twice.saturating_add(1);
            if self.first_twice.len() < MOST_LISTED {
                self.first_twice.push(number);
            }
            return;
        }
        self.last = Some(number);
        self.miss_up_to(number, tally);
        match tally.acknowledged.get(self.place) {
            Some((first, last)) if *first <= number && number <= *last => {
                self.step_over(number, tally)
            }
            _ => self.unacknowledged = self.unacknowledged.saturating_add(1),
        }
    }

    /// There are no more rows.
    pub(super) fn finish(&mut self, tally: &Tally) {
        self.miss_up_to(u64::MAX, tally);
    }

    /// Each acknowledged row exactly once?
    pub(super) fn is_right(&self) -> bool {
        self.missing == 0 && self.twice == 0
    }

    /// "has each acknowledged row exactly once", or what is wrong.
    pub(super) fn words(&self) -> String {
        let listed = |count: u64, numbers: &[u64]| {
            let shown: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let more =
                if count > u64::try_from(numbers.len()).unwrap_or(count) { ", .." } else { "" };
            format!("{count} (number {}{more})", shown.join(", "))
        };
        let mut words = Vec::new();
        if self.missing > 0 {
            words.push(format!("lacks {}", listed(self.missing, &self.first_missing)));
        }
        if self.twice > 0 {
            words.push(format!("has twice {}", listed(self.twice, &self.first_twice)));
        }
        if words.is_empty() {
            words.push("has each acknowledged row exactly once".to_owned());
        }
        if self.unacknowledged > 0 {
            words.push(format!("and {} that failed for the writer", self.unacknowledged));
        }
        words.join(", ")
    }

    /// Acknowledged rows before `number` that did not come.
    fn miss_up_to(&mut self, number: u64, tally: &Tally) {
        while let Some((_, last)) = tally.acknowledged.get(self.place) {
            if self.next >= number {
                return;
            }
            let until = number.min(last.saturating_add(1));
            let missing = until.saturating_sub(self.next);
            self.missing = self.missing.saturating_add(missing);
            let room = MOST_LISTED.saturating_sub(self.first_missing.len());
            self.first_missing.extend((self.next..until).take(room));
            match until.checked_sub(1) {
                Some(before) if missing > 0 => self.step_over(before, tally),
                _ => return,
            }
        }
    }

    /// The row after `number` is the next to come.
    fn step_over(&mut self, number: u64, tally: &Tally) {
        self.next = number.saturating_add(1);
        let Some((_, last)) = tally.acknowledged.get(self.place) else { return };
        if self.next > *last {
            self.place += 1;
            self.next = tally.acknowledged.get(self.place).map_or(u64::MAX, |(first, _)| *first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tally(numbers: &[u64], start: Instant) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            tally.acknowledged(*number, start + MS * u32::try_from(*number).unwrap());
        }
        tally
    }

    #[test]
    fn pauses_last_from_the_due_row_to_the_next_acknowledgement() {
        let start = Instant::now();
        let mut tally = Tally::default();
        tally.due(start);
        tally.acknowledged(1, start + MS * 3);
        tally.due(start + MS * 100);
        tally.failed("gone".to_owned());
        tally.due(start + MS * 200);
        tally.acknowledged(3, start + MS * 450);
        let summary = tally.summary();
        assert!(summary.contains("rows  2") && summary.contains("350 ms"), "{summary}");
        assert_eq!(tally.take_errors(), Some((1, "gone".to_owned())));
        assert_eq!(tally.take_errors(), None);
        // What is still due at the end counts too.
        tally.due(start + MS * 500);
        tally.end_pause(start + MS * 1500);
        assert!(tally.summary().contains("1000 ms"));
    }

    #[test]
    fn behind_in_rows_and_time() {
        let start = Instant::now();
        let tally = tally(&[1, 2, 3, 6, 7], start);
        let now = start + MS * 10;
        for (has, rows, ms) in [(0, 5, 9), (2, 3, 7), (3, 2, 4), (4, 2, 4), (7, 0, 0), (9, 0, 0)] {
            assert_eq!(tally.behind(has, now), (rows, MS * ms), "{has}");
        }
        assert_eq!(Tally::default().behind(0, now), (0, Duration::ZERO));
    }

    #[test]
    fn every_row_once() {
        let start = Instant::now();
        let of = |acknowledged: &[u64], there: &[u64]| {
            let tally = tally(acknowledged, start);
            let mut check = tally.check();
            for number in there {
                check.has(*number, &tally);
            }
            check.finish(&tally);
            (check.missing, check.twice, check.unacknowledged, check)
        };
        for (acknowledged, there, missing, twice, unacknowledged) in [
            (&[][..], &[][..], 0, 0, 0),
            (&[1, 2, 3], &[1, 2, 3], 0, 0, 0),
            (&[1, 2, 3], &[], 3, 0, 0),
            (&[1, 2, 3], &[1, 1, 2, 3, 3, 3], 0, 3, 0),
            (&[1, 2, 5, 6], &[1, 2, 3, 5, 6, 7], 0, 0, 2),
            (&[1, 2, 5, 6], &[2, 3, 4, 6], 2, 0, 2),
            (&[4, 9], &[1], 2, 0, 1),
            (&[], &[1, 2], 0, 0, 2),
        ] {
            let (m, t, u, check) = of(acknowledged, there);
            assert_eq!((m, t, u), (missing, twice, unacknowledged), "{acknowledged:?} {there:?}");
            assert_eq!(check.is_right(), missing == 0 && twice == 0);
        }
        let (.., check) = of(&[1, 2, 3, 4, 5, 6, 7, 9], &[9]);
        assert_eq!(check.words(), "lacks 7 (number 1, 2, 3, 4, 5, ..)");
    }
}
