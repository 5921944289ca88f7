//! Progress that remembers, and stops when it was told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;
use weir::cluster::{Progress, Step};

/// Remembers what it is told; stops before the step after `budget`.
pub(crate) struct Recorder {
    budget: AtomicU32,
    steps: Mutex<Vec<Step>>,
    pub(crate) notes: Mutex<Vec<String>>,
    pub(crate) details: Mutex<Vec<String>>,
    /// Told when rows are being copied.
    pub(crate) rows: Notify,
}

impl Recorder {
    pub(crate) fn with_budget(budget: u32) -> Self {
        Self {
            budget: AtomicU32::new(budget),
            steps: Mutex::default(),
            notes: Mutex::default(),
            details: Mutex::default(),
            rows: Notify::new(),
        }
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}

impl Progress for Recorder {
    fn begin(&self, _text: &str) {}
    fn end(&self) {}

    fn detail(&self, text: &str) {
        self.details.lock().unwrap().push(text.to_owned());
        if text.starts_with("rows: ") {
            self.rows.notify_one();
        }
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn allow(&self, step: Step) -> bool {
        let left = self.budget.load(Ordering::Relaxed);
        if left == 0 {
            return false;
        }
        self.budget.store(left - 1, Ordering::Relaxed);
        self.steps.lock().unwrap().push(step);
        true
    }
}
