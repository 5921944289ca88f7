//! Keeps what only one server has, before its data is given up: its own transactions as SQL, in a file.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::ClusterError;
use super::node::DATA_DIR;
use super::replication;
use super::state::write_private;
use super::world::World;

/// The longest dump, bytes; what has more of its own is for a person to look at.
const MAX_DUMP_BYTES: usize = 256 << 20;

/// Lets the shell find the logs; the set comes as an argument, so that nothing in it is read as a command.
const DUMP: &str = "cd \"$1\" && exec mysqlbinlog --include-gtids=\"$0\" $(ls binlog.[0-9]*)";

/// Writes what `node` has and `primary` has not to `<state_dir>/own-<node>-<time>.sql`, mode 0600. To run it
/// elsewhere, feed it to `mysql` after taking out the lines with GTID_NEXT. `None`: it has nothing of its own.
///
/// # Errors
/// It could not be read or written whole: then the data must not be given up.
pub(super) async fn keep_own(
    world: &World,
    node: u32,
    primary: u32,
) -> Result<Option<PathBuf>, ClusterError> {
    let executed = replication::executed(world, node).await?;
    let mut client = world.root_now(primary).await?;
    let own: String =
        replication::beyond(&mut client, &executed).await?.split_whitespace().collect();
    client.close().await;
    if own.is_empty() {
        return Ok(None);
    }
    let name = world.name(node);
    let command = ["sh", "-c", DUMP, &own, DATA_DIR];
    let dump = world.engine.output_bytes(&name, &command, MAX_DUMP_BYTES).await?;
    // mysqlbinlog ends what it could read to the end with this line.
    if !dump.windows(END.len()).any(|window| window == END) {
        let cause = "mysqlbinlog did not come to its end".to_owned();
        return Err(ClusterError::Engine { doing: format!("keeping what only {name} has"), cause });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let path = world.state_dir.join(format!("own-{name}-{now}.sql"));
    write_private(&path, &dump).map_err(|error| ClusterError::State {
        doing: "cannot write",
        path: path.clone(),
        cause: error.to_string(),
    })?;
    Ok(Some(path))
}

/// The last line of a whole dump.
const END: &[u8] = b"# End of log file";
