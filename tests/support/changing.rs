//! What the tests of a cluster that is changed through the library stand on.

pub(crate) mod docker;
pub(crate) mod managed;
pub(crate) mod ports;
pub(crate) mod recorder;
pub(crate) mod roles;
