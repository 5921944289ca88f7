//! Keeps what only one server has, before its data is given up: its own transactions as SQL, in a file, or, where the
//! image has no mysqlbinlog to write that (the official ones do not), the pieces of its binary logs that hold them.

mod pieces;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::ClusterError;
use super::node::data_dir;
use super::replication;
use super::state::write_private;
use super::world::World;

/// The longest dump, bytes; what has more of its own is for a person to look at.
const MAX_DUMP_BYTES: usize = 256 << 20;

/// Lets the shell find the logs; the set comes as an argument, so that nothing in it is read as a command.
const DUMP: &str = "command -v mysqlbinlog >/dev/null || { echo no mysqlbinlog; exit; }; cd \"$1\" && exec mysqlbinlog \
                    --include-gtids=\"$0\" $(ls binlog.[0-9]*)";
/// What that writes where there is no such program.
const NO_PROGRAM: &[u8] = b"no mysqlbinlog\n";
/// The last line of a whole dump.
const END: &[u8] = b"# End of log file";

/// Writes what `node` has and `primary` has not to `<state_dir>/own-<node>-<time>.sql`, mode 0600. To run it
/// elsewhere, feed it to `mysql` after taking out the lines with GTID_NEXT. Without mysqlbinlog in the image it is
/// `own-<node>-<time>.binlog.000003`, one for each log, for a mysqlbinlog elsewhere. Returns what was written; nothing
/// when the node has nothing of its own.
///
/// # Errors
/// It could not be read or written whole: then the data must not be given up.
pub(super) async fn keep_own(
    world: &World,
    node: u32,
    primary: u32,
) -> Result<Vec<PathBuf>, ClusterError> {
    let executed = replication::executed(world, node).await?;
    let mut client = world.root_now(primary).await?;
    let own: String =
        replication::beyond(&mut client, &executed).await?.split_whitespace().collect();
    client.close().await;
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let name = world.name(node);
    let command = ["sh", "-c", DUMP, &own, data_dir(world.place(node))];
    let dump = world.engine.output_bytes(&name, &command, MAX_DUMP_BYTES).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let begin = world.state_dir.join(format!("own-{name}-{now}"));
    if dump == NO_PROGRAM {
        return pieces::keep(world, node, &own, &begin, MAX_DUMP_BYTES).await;
    }
    if !dump.windows(END.len()).any(|window| window == END) {
        return Err(not_kept(&name, "mysqlbinlog did not come to its end"));
    }
    let path = begin.with_added_extension("sql");
    write(&path, &dump)?;
    Ok(vec![path])
}

fn write(path: &Path, content: &[u8]) -> Result<(), ClusterError> {
    write_private(path, content).map_err(|error| ClusterError::State {
        doing: "cannot write",
        path: path.to_owned(),
        cause: error.to_string(),
    })
}

fn not_kept(name: &str, cause: &str) -> ClusterError {
    let doing = format!("keeping what only {name} has");
    ClusterError::Engine { doing, cause: cause.to_owned() }
}
