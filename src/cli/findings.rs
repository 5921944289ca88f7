//! What is wrong with a cluster and why replicas are behind, for people and for programs.

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

/// `"findings": [{node, kind, sentence, remedy}]`, `"lag": [{node, cause, sentence, ..}]`
pub(super) fn add_json(examined: &Examined, json: &mut serde_json::Value) {
    let findings: Vec<serde_json::Value> = examined
        .findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "node": finding.node,
                "kind": finding.kind.name(),
                "sentence": finding.sentence,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let lags: Vec<serde_json::Value> = examined
        .lags
        .iter()
        .map(|lag| {
            serde_json::json!({
                "node": lag.node,
                "cause": lag.cause.name(),
                "sentence": lag.sentence,
                "behind_transactions": lag.behind,
                "seconds": lag.seconds,
            })
        })
        .collect();
    if let Some(object) = json.as_object_mut() {
        object.insert("findings".to_owned(), findings.into());
        object.insert("lag".to_owned(), lags.into());
    }
}
