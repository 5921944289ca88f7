//! The asking end.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Event, Request};
use crate::cluster::Progress;

/// Asks the Weir that serves with this state directory, if there is one, and shows what it does. `Ok(None)`:
/// none serves.
///
/// # Errors
/// The link broke before the end; what was asked for may go on.
pub async fn ask(
    state_dir: &Path,
    request: &Request,
    progress: &dyn Progress,
) -> io::Result<Option<Result<String, String>>> {
    let Ok(mut stream) = UnixStream::connect(super::socket(state_dir)).await else {
        return Ok(None);
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Event::Begin { text } => progress.begin(&text),
            Event::Detail { text } => progress.detail(&text),
            Event::End => progress.end(),
            Event::Note { text } => progress.note(&text),
            Event::Done { text, .. } => return Ok(Some(Ok(text))),
            Event::Failed { text, .. } => return Ok(Some(Err(text))),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the Weir that serves ended before it had answered",
    ))
}
