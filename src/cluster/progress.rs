//! How a long change tells what it is doing; the command line shows it, tests record it.

use super::plan::Step;

/// Hears of every step. All methods may be called from any thread and must return at once.
pub trait Progress: Send + Sync {
    /// A step begins: "create container weir-2".
    fn begin(&self, text: &str);
    /// More about the step that runs, each replacing the one before: "3.1 of 60 MB".
    fn detail(&self, text: &str);
    /// The running step is done.
    fn end(&self);
    /// Something the operator should know, beside the steps.
    fn note(&self, text: &str);
    /// Asked before each step. `false` ends the run right there with `ClusterError::Stopped`, leaving
    /// everything as a kill of the process would.
    fn allow(&self, _step: Step) -> bool {
        true
    }
}

/// Shows nothing; at level debug the steps are in the log all the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _text: &str) {}
    fn detail(&self, _text: &str) {}
    fn end(&self) {}
    fn note(&self, _text: &str) {}
}

/// Puts every step into the log at level info: for a Weir that works unattended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logged;

impl Progress for Logged {
    fn begin(&self, text: &str) {
        tracing::info!(step = text, "cluster");
    }
    fn detail(&self, _text: &str) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        tracing::warn!(note = text, "cluster");
    }
}
