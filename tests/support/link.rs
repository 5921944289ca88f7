//! A link between two nodes that is cut, which neither of them is told.

use std::process::Command;

use super::docker::docker;

/// Whole again when dropped.
pub(crate) struct Cut {
    node: String,
    other: String,
}

impl Cut {
    /// From now on nothing passes between these nodes of a cluster.
    pub(crate) fn between(cluster: &str, node: &str, other: &str) -> Self {
        let address = format!("{{{{(index .NetworkSettings.Networks \"{cluster}\").IPAddress}}}}");
        let other = docker(&["inspect", "--format", &address, other]);
        let cut = Self { node: node.to_owned(), other };
        cut.rules("--insert");
        cut
    }

    fn rules(&self, change: &str) {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &self.node]);
        for (chain, side) in [("INPUT", "--source"), ("OUTPUT", "--destination")] {
            let inside = ["--target", &pid, "--net", "iptables", change, chain];
            let rule = [side, &self.other, "--jump", "DROP"];
            let done = Command::new("nsenter").args(inside).args(rule).output().unwrap();
            assert!(done.status.success() || std::thread::panicking(), "{chain}: {done:?}");
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rules("--delete");
    }
}
