//! Signs that the Weirs of one cluster give each other on its servers, before they move the primary's role or stop a
//! replica on purpose.
//!
//! A sign is a named lock of the server's, <https://dev.mysql.com/doc/refman/9.7/en/locking-functions.html>. Anybody may
//! ask who has one, whatever his rights; it writes nothing, and it ends with the connection that has it, so a Weir
//! that dies leaves none behind.

/// The role is about to be moved away from this server. The id of the connection that has it names the move.
pub const MOVES: &str = "weir.moves";

/// This replica is about to be stopped. The id of the connection that has it names that, as if it were a move.
pub const LEAVES: &str = "weir.leaves";

/// Followed by the id of the monitor's connection that has it: a Weir that serves clients.
pub const SERVES: &str = "weir.serves.";

/// Followed by a move, a point and that id: of that Weir's clients none is under way on this server, and none will
/// be until the move is over. Of a replica that leaves: no read will begin there.
pub const WAITS: &str = "weir.waits.";
