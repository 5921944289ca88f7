//! Nodes by what they are.

use weir::cluster::{ClusterView, NodeView};
use weir::topology::Role;

/// The first node of that role.
pub(crate) fn node(view: &ClusterView, role: Role) -> &NodeView {
    view.nodes.iter().find(|node| node.role == role).unwrap()
}
