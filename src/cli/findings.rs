//! What is wrong with a cluster and why replicas are behind, for people.

use std::fmt::Write as _;

use crate::cluster::{Examined, Finding, Lag};

/// A paragraph for each, blank line first; empty when nothing is wrong.
pub(super) fn text(examined: &Examined) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for Finding { kind, sentence, remedy, .. } in &examined.findings {
        let _ = write!(text, "\n{}: {sentence}.\n  {remedy}.\n", kind.name());
    }
    for Lag { cause, sentence, .. } in &examined.lags {
        let _ = write!(text, "\nlag ({}): {sentence}.\n", cause.name());
    }
    text
}
