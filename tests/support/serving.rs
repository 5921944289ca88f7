//! What the tests of a Weir that serves a managed cluster stand on.

pub(crate) mod docker;
pub(crate) mod ports;
pub(crate) mod stage;
pub(crate) mod wait;
pub(crate) mod writers;
