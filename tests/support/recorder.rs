//! Progress that remembers, and stops when it was told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use weir::cluster::{Progress, Step};

/// Remembers steps and notes; stops before the step after `budget`.
pub(crate) struct Recorder {
    budget: AtomicU32,
    steps: Mutex<Vec<Step>>,
    pub(crate) notes: Mutex<Vec<String>>,
}

impl Recorder {
    pub(crate) fn with_budget(budget: u32) -> Self {
        Self { budget: AtomicU32::new(budget), steps: Mutex::default(), notes: Mutex::default() }
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}

impl Progress for Recorder {
    fn begin(&self, _text: &str) {}
    fn detail(&self, _text: &str) {}
    fn end(&self) {}

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
