//! How often Weir writes of clients that do not get in: whoever reaches the port could fill the disk.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lines that one worker writes in each [`WINDOW`], at most.
const MAX_LINES: u32 = 10;

/// The time that [`MAX_LINES`] is for.
const WINDOW: Duration = Duration::from_secs(10);

/// Characters of one line's reason; a client's own words may be in it.
const MAX_WORDS: usize = 200;

/// What one worker has written. Time is an argument.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    window_began: Cell<Option<Instant>>,
    written: Cell<u32>,
    kept_back: Cell<u64>,
}

impl Complaints {
    /// Whether a line may be written; then how many were not, since the last one that was.
    pub(super) fn may_write(&self, now: Instant) -> Option<u64> {
        let began = self.window_began.get();
        if began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            self.window_began.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= MAX_LINES {
            self.kept_back.set(self.kept_back.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.kept_back.replace(0))
    }
}

/// The reason as far as a line has room for it.
pub(super) fn shortened(why: &str) -> &str {
    why.char_indices().nth(MAX_WORDS).and_then(|(end, _)| why.get(..end)).unwrap_or(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_in_ten_seconds() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let written = |from: u64| {
            let at = start + Duration::from_secs(from);
            (0..100).filter_map(|_| complaints.may_write(at)).collect::<Vec<_>>()
        };
        assert_eq!(written(0), [0; 10]);
        assert_eq!(written(9), [0; 0]);
        let mut next = vec![190];
        next.resize(10, 0);
        assert_eq!(written(10), next, "the first line tells how many were kept back");
        assert_eq!(written(10), [0; 0]);
        next[0] = 190;
        assert_eq!(written(1_000), next);
    }

    #[test]
    fn reasons_are_shortened_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(500)), "é".repeat(200));
        assert_eq!(shortened(&"é".repeat(200)), "é".repeat(200));
    }
}
