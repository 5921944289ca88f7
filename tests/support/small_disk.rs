//! A small disk for one node of a cluster that is yet to be made, which can be filled.

use std::process::Command;

use super::docker::{base_image, docker};

/// What a server needs from the start is about 200 MiB.
const SIZE: &str = "640m";

/// The node's volume is a tmpfs. What is in one is gone when nobody has it mounted, so a container of its own holds it;
/// this must be dropped before the cluster is destroyed.
pub(crate) struct SmallDisk {
    /// Of the node, its container and its volume.
    pub(crate) node: String,
    holder: String,
}

impl SmallDisk {
    pub(crate) fn make(cluster: &str, node: u32) -> Self {
        let disk = Self { node: format!("{cluster}-{node}"), holder: format!("{cluster}-hold") };
        let labels = [format!("dev.weir.cluster={cluster}"), format!("dev.weir.node={node}")];
        let size = format!("o=size={SIZE}");
        let mut create = vec!["volume", "create"];
        for label in &labels {
            create.extend(["--label", label]);
        }
        for option in ["type=tmpfs", "device=tmpfs", &size] {
            create.extend(["--opt", option]);
        }
        create.push(&disk.node);
        docker(&create);
        let image = base_image();
        let mount = format!("{}:/held", disk.node);
        let mut hold = vec!["run", "--detach", "--name", &disk.holder, "--network", "none"];
        hold.extend(["--volume", &mount, "--entrypoint", "sleep", &image, "infinity"]);
        docker(&hold);
        disk
    }

    /// Takes the last byte.
    pub(crate) fn fill(&self) {
        let fill =
            "dd if=/dev/zero of=/held/fill bs=1M; dd if=/dev/zero of=/held/rest bs=512; df /held";
        let said = docker(&["exec", &self.holder, "sh", "-c", fill]);
        assert!(said.contains("100%"), "{said}");
    }

    /// Gives back what [`Self::fill`] took.
    pub(crate) fn make_room(&self) {
        docker(&["exec", &self.holder, "rm", "-f", "/held/fill", "/held/rest"]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("docker").args(["rm", "-f", &self.holder]).output();
    }
}
