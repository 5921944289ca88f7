//! Sorted intervals of transaction numbers of one source.

use std::fmt;

/// The last transaction number that there can be.
pub(super) const MAX_NUMBER: u64 = i64::MAX.cast_unsigned();

/// A union changes this many intervals one by one before sorting the lot becomes cheaper.
const FEW: usize = 8;

/// First and last transaction number, both in the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub first: u64,
    pub last: u64,
}

/// Intervals in order, none touching the next: 1-3 and 4-5 are one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Intervals(Vec<Interval>);

impl Intervals {
    /// Puts intervals of any order, overlapping or not, into order. `first <= last` in each.
    pub(super) fn from_unsorted(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable();
        intervals.dedup_by(|next, kept| {
            let touches = next.first <= kept.last.saturating_add(1);
            if touches {
                kept.last = kept.last.max(next.last);
            }
            touches
        });
        Self(intervals)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many numbers are in the intervals.
    pub(super) fn count(&self) -> u64 {
        // Disjoint and each at most `MAX_NUMBER`: the sum cannot overflow.
        self.0.iter().map(|interval| interval.last - interval.first + 1).sum()
    }

    pub(super) fn union(&mut self, other: &Self) {
        if other.len() <= FEW {
            other.0.iter().for_each(|interval| self.insert(*interval));
        } else {
            let mut all = std::mem::take(&mut self.0);
            all.extend_from_slice(&other.0);
            *self = Self::from_unsorted(all);
        }
    }

    /// Adds one interval; at the end, where new transactions come, without moving any.
    fn insert(&mut self, new: Interval) {
        let from = self.0.partition_point(|old| old.last.saturating_add(1) < new.first);
        let to = self.0.partition_point(|old| old.first <= new.last.saturating_add(1));
        let touched = self.0.get(from..to).unwrap_or_default();
        let joined = Interval {
            first: touched.first().map_or(new.first, |old| old.first.min(new.first)),
            last: touched.last().map_or(new.last, |old| old.last.max(new.last)),
        };
        self.0.splice(from..to, [joined]);
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| {
            let at = self.0.partition_point(|own| own.last < wanted.first);
            self.0.get(at).is_some_and(|own| own.first <= wanted.first && wanted.last <= own.last)
        })
    }

    /// What is here and not there.
    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut taken = other.0.as_slice();
        for &interval in &self.0 {
            // What ends before this interval ends before all later ones too.
            let passed = taken.partition_point(|gone| gone.last < interval.first);
            taken = taken.get(passed..).unwrap_or_default();
            let mut first = interval.first;
            for gone in taken.iter().take_while(|gone| gone.first <= interval.last) {
                if first < gone.first {
                    left.push(Interval { first, last: gone.first - 1 });
                }
                first = first.max(gone.last.saturating_add(1));
            }
            if first <= interval.last {
                left.push(Interval { first, last: interval.last });
            }
        }
        Self(left)
    }

    /// One interval from the first number to the last.
    pub(super) fn collapse(&mut self) {
        if let (Some(first), Some(last)) = (self.0.first(), self.0.last()) {
            self.0 = vec![Interval { first: first.first, last: last.last }];
        }
    }
}

/// `:1-5:7`, each interval with its colon before it.
impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Interval { first, last } in &self.0 {
            if first == last {
                write!(f, ":{first}")?;
            } else {
                write!(f, ":{first}-{last}")?;
            }
        }
        Ok(())
    }
}
