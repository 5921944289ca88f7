//! How far a dump is, in bytes of the tables as the donor estimates them. Pure.

use std::time::Duration;

/// Rows as text are longer or shorter than in the tables, so a table counts as what it was estimated to
/// have: while it is under way by the rows that came, at most all of it, and whole when it is done.
#[derive(Debug, Default)]
pub(super) struct Meter {
    all: u64,
    finished: u64,
    /// Of the table under way.
    table: u64,
    came: u64,
}

impl Meter {
    /// `all`: what all tables are estimated to take, bytes.
    pub(super) fn new(all: u64) -> Self {
        Self { all, ..Self::default() }
    }

    pub(super) fn begin(&mut self, estimate: u64) {
        (self.table, self.came) = (estimate, 0);
    }

    pub(super) fn came(&mut self, bytes: usize) {
        self.came = self.came.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn end(&mut self) {
        self.finished = self.finished.saturating_add(self.table);
        (self.table, self.came) = (0, 0);
    }

    /// "rows: 312 of 1204 MB, 14 s left"
    pub(super) fn told(&self, elapsed: Duration) -> String {
        let done = self.finished.saturating_add(self.came.min(self.table));
        super::super::clone::told("rows", done, self.all, elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_as_estimated() {
        const MB: u64 = 1_000_000;
        let mut meter = Meter::new(40 * MB);
        assert_eq!(meter.told(Duration::ZERO), "rows");
        meter.begin(10 * MB);
        meter.came(5_000_000);
        assert_eq!(meter.told(Duration::from_secs(1)), "rows: 5 of 40 MB, 7 s left");
        meter.came(50_000_000);
        assert_eq!(meter.told(Duration::from_secs(2)), "rows: 10 of 40 MB, 6 s left");
        meter.end();
        meter.begin(30 * MB);
        meter.end();
        assert_eq!(meter.told(Duration::from_secs(4)), "rows: 40 of 40 MB");
    }
}
