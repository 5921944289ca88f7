//! Whether Weir serves.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

/// How long a client waits whose connection was taken: Weir listens before it has asked the servers.
const GREETING: Duration = Duration::from_secs(20);

/// Whether a greeting comes from there; `false` at once where nobody listens.
pub(crate) fn greets(address: &str) -> bool {
    let Ok(mut client) = TcpStream::connect(address) else { return false };
    client.set_read_timeout(Some(GREETING)).unwrap();
    client.read_exact(&mut [0]).is_ok()
}
